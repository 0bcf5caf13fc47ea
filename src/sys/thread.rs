//! Threads that can also be started in a forked child.
//!
//! The standard library enters each thread into a list, under a lock. In a child that was forked
//! while another thread of its parent held that lock, a new thread never runs (observed once in
//! some thousands of children). The C library's own locks are safe: its `fork` handles them.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::sys::process;

/// A started thread. Dropping this detaches it.
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

type Body = Box<dyn FnOnce() + Send>;

/// The standard library's default.
pub(crate) const STACK_BYTES: usize = 2 << 20;

/// The system's id of the calling thread.
pub(crate) fn id() -> u32 {
    rustix::thread::gettid().as_raw_pid().cast_unsigned()
}

/// Runs `body` on a new thread with this name, of which 15 bytes are kept, and a stack of
/// `stack_bytes`. A panic ends the thread, and is printed as usual.
pub(crate) fn start(
    name: &'static str,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    let named: Body = Box::new(move || {
        // The name is not essential.
        let _ = process::set_name(name);
        body();
    });
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the pointer is to a live local.
    check(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
    // SAFETY: initialised above.
    let sized = unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), stack_bytes) };
    // A thin pointer to the fat one.
    let argument = Box::into_raw(Box::new(named));
    let mut thread = 0;
    let started = check(sized).and_then(|()| {
        // SAFETY: the attributes are initialised; `run` takes over the box that it is given.
        let errno = unsafe {
            libc::pthread_create(&raw mut thread, attributes.as_ptr(), run, argument.cast())
        };
        check(errno)
    });
    // SAFETY: initialised above, not used after.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    if let Err(error) = started {
        // SAFETY: made by `Box::into_raw` above, and no thread was started that would own it.
        drop(unsafe { Box::from_raw(argument) });
        return Err(error);
    }
    Ok(Thread(thread))
}

extern "C" fn run(argument: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `start` made it by `Box::into_raw` from this very type, for this thread alone.
    let body = unsafe { Box::from_raw(argument.cast::<Body>()) };
    // The panic hook has printed the message. The payload is not dropped, because its drop may
    // panic.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        std::mem::forget(payload);
    }
    ptr::null_mut()
}

thread_local! {
    /// The bounds of the calling thread's stack, once known; equal if the system does not report
    /// them.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Whether the calling thread uses more than three quarters of its stack. False on another stack,
/// as that of a coroutine, and if the system does not report the bounds.
pub(crate) fn is_stack_low() -> bool {
    let mark = 0u8;
    let here = ptr::from_ref(std::hint::black_box(&mark)).addr();
    let (begin, end) = STACK.get().unwrap_or_else(|| {
        let stack = own_stack().unwrap_or((0, 0));
        STACK.set(Some(stack));
        stack
    });
    (begin..end).contains(&here) && here - begin < (end - begin) / 4
}

/// Lowest address and end of the calling thread's stack.
fn own_stack() -> io::Result<(usize, usize)> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: has no arguments and cannot fail.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: the calling thread lives, and the pointer is to a live local.
    check(unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) })?;
    let (mut begin, mut bytes) = (ptr::null_mut(), 0);
    // SAFETY: initialised above; the others are live locals.
    let status = check(unsafe {
        libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut begin, &raw mut bytes)
    });
    // SAFETY: initialised above, not used after.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    status?;
    Ok((begin.addr(), begin.addr() + bytes))
}

fn check(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

impl Thread {
    /// Whether this is the calling thread.
    pub(crate) fn is_current(&self) -> bool {
        // SAFETY: has no arguments and cannot fail.
        let own = unsafe { libc::pthread_self() };
        // SAFETY: both are threads that were neither joined nor detached.
        unsafe { libc::pthread_equal(own, self.0) != 0 }
    }

    /// Waits for its end. Must not be called on the thread itself.
    pub(crate) fn join(self) {
        // SAFETY: neither joined nor detached so far: `join` and `disown` consume `self`.
        unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
        std::mem::forget(self);
    }

    /// Forgets it, in a child that was forked from the process of the thread.
    pub(crate) fn disown(self) {
        std::mem::forget(self);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: neither joined nor detached so far, and not used after.
        unsafe { libc::pthread_detach(self.0) };
    }
}

// SAFETY: a thread's handle is a number that is valid on every thread.
unsafe impl Send for Thread {}
// SAFETY: as for `Send`.
unsafe impl Sync for Thread {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_runs_its_body_under_its_name_and_is_joined() {
        let (said, hears) = mpsc::channel();
        let thread = start("sys-test", 256 << 10, move || {
            said.send(std::fs::read_to_string("/proc/thread-self/comm").unwrap()).unwrap();
        })
        .unwrap();
        assert!(!thread.is_current());
        assert_eq!(hears.recv().unwrap(), "sys-test\n");
        thread.join();
        assert!(hears.recv().is_err());
    }

    #[test]
    fn a_panic_ends_the_thread_and_drops_what_it_had() {
        let (said, hears) = mpsc::channel::<()>();
        let body = move || {
            let _said = said;
            panic!("on purpose");
        };
        start("sys-test", 256 << 10, body).unwrap().join();
        assert!(hears.recv().is_err());
    }

    #[test]
    fn an_impossible_stack_size_is_an_error_and_drops_the_body() {
        let (said, hears) = mpsc::channel::<()>();
        assert!(start("sys-test", 1, move || drop(said)).is_err());
        assert!(hears.recv().is_err());
    }
}
