//! Process state that a task may change, saved and restored.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use crate::sys::{process, stdio_buffers};

/// Working directory, umask, signal mask of the calling thread, and which timers are set.
#[derive(Debug)]
pub(crate) struct TaskState {
    /// `None` if it cannot be saved.
    directory: Option<OwnedFd>,
    /// `None` if it cannot be saved.
    umask: Option<u32>,
    mask: Option<SigSet>,
    /// Whether `ITIMER_REAL` was not set.
    has_no_alarm: bool,
    /// Timers of processor time that were not set.
    idle_timers: Vec<libc::c_int>,
}

impl TaskState {
    /// The current state of this process.
    pub(crate) fn current() -> TaskState {
        let directory = process::directory().ok().flatten();
        TaskState {
            directory: directory.and_then(|fd| process::with_high_number(&fd).ok()),
            umask: umask(),
            mask: SigSet::thread_get_mask().ok(),
            has_no_alarm: is_idle(libc::ITIMER_REAL),
            idle_timers: [libc::ITIMER_VIRTUAL, libc::ITIMER_PROF]
                .into_iter()
                .filter(|&timer| is_idle(timer))
                .collect(),
        }
    }

    /// Restores all but the timers of processor time, by four system calls.
    pub(crate) fn restore(&self) {
        // Timers first: a signal of theirs may be pending, and the new mask may deliver it.
        if self.has_no_alarm {
            stop(libc::ITIMER_REAL);
        }
        if self.mask.is_some() {
            let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, self.mask.as_ref(), None);
        }
        self.umask.map(process::set_umask);
        // Fails if the task closed the descriptor, or the directory may no longer be entered.
        let _ = self.directory.as_ref().map(|fd| process::change_directory(fd.as_fd()));
    }

    /// Stops the timers of processor time that were not running when the state was saved.
    pub(crate) fn stop_timers(&self) {
        self.idle_timers.iter().for_each(|&timer| stop(timer));
    }
}

/// Reads the umask. The fast call changes it for a moment, so it is used only with one thread.
fn umask() -> Option<u32> {
    if !stdio_buffers::has_had_one_thread() {
        return process::umask();
    }
    let mask = process::set_umask(0);
    process::set_umask(mask);
    Some(mask)
}

fn stop(timer: libc::c_int) {
    // SAFETY: an `itimerval` of zeros is valid, and stops the timer.
    let none: libc::itimerval = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local; nothing is written.
    unsafe { libc::setitimer(timer, &raw const none, ptr::null_mut()) };
}

fn is_idle(timer: libc::c_int) -> bool {
    // SAFETY: a plain C struct, for which all-zero bytes are a value.
    let mut found: libc::itimerval = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local.
    let done = unsafe { libc::getitimer(timer, &raw mut found) };
    done == 0 && found.it_value.tv_sec == 0 && found.it_value.tv_usec == 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    // The fast call sets the umask to 0 for a moment: a file that another thread created then would
    // be writable for all users.
    #[test]
    fn reading_the_state_changes_nothing_for_other_threads() {
        let is_done = AtomicBool::new(false);
        let changes = std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let own = process::umask();
                let mut changes = 0;
                while !is_done.load(Ordering::Relaxed) {
                    changes += u32::from(process::umask() != own);
                }
                changes
            });
            for _ in 0..20_000 {
                TaskState::current();
            }
            is_done.store(true, Ordering::Relaxed);
            looks.join().unwrap()
        });
        assert_eq!(changes, 0);
    }
}
