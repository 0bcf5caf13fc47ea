//! Flushes the standard streams of this process.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys::per_process::OnceBox;

unsafe extern "C" {
    /// The C library's standard output.
    static mut stdout: *mut libc::FILE;
    /// The number of bytes that a stream of C has buffered.
    fn __fpending(stream: *mut libc::FILE) -> usize;
}

/// Flushes the standard streams of Rust and C. Waits for a thread that has locked a stream.
pub(crate) fn flush_all() {
    // Fails if the reader is gone, which is ignored.
    let _ = io::stdout().flush();
    // SAFETY: a null pointer means every stream of this process.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Flushes only standard output; fast if there is nothing to write. Returns false, without waiting,
/// if this process has ever had a second thread.
#[inline]
pub(crate) fn flush_quickly() -> bool {
    if !has_had_one_thread() {
        return false;
    }
    let _ = io::stdout().flush();
    // SAFETY: the C library sets it before any other code runs, and the only thread does not change
    // it meanwhile.
    let stream = unsafe { stdout };
    // SAFETY: an open stream: closing the C library's own stream is undefined behaviour already.
    if unsafe { __fpending(stream) } > 0 {
        // SAFETY: as above.
        unsafe { libc::fflush(stream) };
    }
    true
}

/// Whether this process has never had a second thread. A thread that has ended may have left a
/// stream locked.
pub(crate) fn has_had_one_thread() -> bool {
    static FLAG: OnceBox<Option<&'static AtomicU8>> = OnceBox::new();
    let flag = FLAG.get_or_init(|| {
        // SAFETY: a C string; `dlsym` only looks the name up.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
        // SAFETY: null, or a static `char` of glibc, which only glibc writes.
        unsafe { found.cast::<AtomicU8>().as_ref() }
    });
    // Relaxed: only this thread can start the second one, which clears the flag.
    flag.is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
}
