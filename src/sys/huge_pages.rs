//! Vectors of the host in huge pages.
#![allow(unsafe_code)]

use rustix::mm::Advice;

use crate::sys::mmap::HUGE_BYTES;

/// Reserves room for `additional` more elements, as far as there is memory. A large vector gets
/// huge pages if the kernel grants them on request: the first touch of 2 MiB is then one page fault
/// instead of 512, which took longer than the encoding of short elements.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, additional: usize) {
    if vec.capacity() - vec.len() >= additional || vec.try_reserve(additional).is_err() {
        return;
    }
    let start = vec.as_ptr().addr();
    let end = (start + vec.capacity() * size_of::<T>()) & !(HUGE_BYTES - 1);
    let start = start.next_multiple_of(HUGE_BYTES);
    if start < end {
        let len = end - start;
        // SAFETY: the range lies in the vector's own memory, and the advice changes no contents. If
        // it is refused, the pages are small, which is only slower.
        let _ = unsafe { rustix::mm::madvise(start as *mut _, len, Advice::LinuxHugepage) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contents_of_a_vector_stay_however_large_it_becomes() {
        let mut vec: Vec<u64> = Vec::new();
        for n in 0..1 << 20 {
            if vec.len() == vec.capacity() {
                reserve(&mut vec, n.max(4));
            }
            vec.push(n as u64);
        }
        assert!(vec.iter().enumerate().all(|(n, &value)| value == n as u64));
    }

    #[test]
    fn a_reservation_of_too_much_has_no_effect() {
        let mut vec = vec![1u64];
        reserve(&mut vec, usize::MAX / 8);
        assert_eq!(vec, [1]);
        assert!(vec.capacity() < usize::MAX / 16);
    }
}
