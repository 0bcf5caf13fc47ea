//! Flushes output that this process has buffered in standard streams.
#![allow(unsafe_code)]

use std::io::{self, Write};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys::per_process::Once;

unsafe extern "C" {
    /// The C library's standard output.
    static mut stdout: *mut libc::FILE;
    /// Bytes that a stream of C holds and has not written.
    fn __fpending(stream: *mut libc::FILE) -> usize;
}

/// Flushes the buffered output of Rust's and C's standard streams. Waits for a thread that has
/// locked a stream.
pub(crate) fn flush_all() {
    // The reader may be gone; there is nothing to do about that.
    let _ = io::stdout().flush();
    // SAFETY: a null pointer means every stream of this process.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Flushes standard output only, and is fast if there is nothing to write. Returns false, without
/// waiting, unless this process has only ever had one thread.
#[inline]
pub(crate) fn flush_quickly() -> bool {
    if !has_had_one_thread() {
        return false;
    }
    let _ = io::stdout().flush();
    // SAFETY: the C library sets it before anything runs, and a program with one thread does not
    // change it meanwhile.
    let stream = unsafe { stdout };
    // SAFETY: an open stream: code that closes the C library's own has undefined behaviour itself.
    if unsafe { __fpending(stream) } > 0 {
        // SAFETY: as above.
        unsafe { libc::fflush(stream) };
    }
    true
}

/// Whether this process has never had a second thread. A thread that has ended may have left a
/// stream locked.
pub(crate) fn has_had_one_thread() -> bool {
    static FLAG: Once<Option<&'static AtomicU8>> = Once::new();
    let flag = FLAG.get_or_init(|| {
        // SAFETY: a C string; the name is looked up, nothing is called.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__libc_single_threaded".as_ptr()) };
        // SAFETY: null, or a static `char` of glibc, which only glibc writes.
        unsafe { found.cast::<AtomicU8>().as_ref() }
    });
    // Relaxed: only this thread can start the second one, which clears the flag.
    flag.is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
}
