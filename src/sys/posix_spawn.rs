//! Starts a program, even if its process is stopped or killed.
//!
//! Until it has executed its program, the new process shares the memory of its creator, and the
//! creating thread is suspended (fact P7 of `docs/internals/assumptions.md`). SIGSTOP cannot be
//! blocked, so any process of the user may stop it there. Therefore a separate thread creates it,
//! owns everything that it uses, and is waited for with a limit. A process that seems to be stopped
//! is sent SIGCONT, and after many attempts SIGKILL.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::{process, procfs, thread};

/// Which process becomes the parent of a spawned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parentage {
    /// Adopted by the nearest subreaper or init. An intermediate process that shares this one's
    /// memory (`CLONE_VM | CLONE_VFORK`, no exit signal) spawns it and ends. No page table is
    /// copied, whatever the size of this process; no SIGCHLD is sent, and a plain `wait` never sees
    /// the intermediate.
    Orphan,
    /// A child of this process.
    Child,
}

/// How long a new process may take to execute its program before it is sent SIGCONT.
const PROMPT: Duration = Duration::from_millis(500);
/// How many times, `PROMPT` apart, it is sent SIGCONT before it is killed.
const REMINDERS_MAX: u32 = 40;

/// Enough for the C library's `posix_spawn` and the program's thread-local storage.
const THREAD_STACK_BYTES: usize = 1 << 20;
const INTERMEDIATE_STACK_BYTES: usize = 64 << 10;

/// Runs the program `path` in a new process, with `fd` as its descriptor 3, and returns its id. If
/// the process is not a child, its id may be reused by then.
///
/// It starts with default dispositions and every signal blocked, so that no signal ends it before
/// it has reported which ones it ignores.
///
/// # Errors
///
/// Without an OS error number if the new process was killed too early, or stopped for too long.
pub(crate) fn spawn(
    parentage: Parentage,
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    fd: OwnedFd,
) -> io::Result<u32> {
    let maker = Arc::new(AtomicU32::new(0));
    let (sender, receiver) = mpsc::channel();
    let of_thread = Arc::clone(&maker);
    let thread = thread::start("brigade-start", THREAD_STACK_BYTES, move || {
        // Relaxed: an independent number.
        of_thread.store(thread::id(), Ordering::Relaxed);
        // The receiver is dropped if this took too long.
        let _ = sender.send(
            SpawnArguments::new(path, args, env).and_then(|launch| launch.run(parentage, &fd)),
        );
    })?;
    // Count attempts, not elapsed time: after this process itself was stopped (SIGSTOP), the new
    // process must not be taken for stopped.
    for look in 0..=REMINDERS_MAX + 1 {
        match receiver.recv_timeout(PROMPT) {
            Ok(outcome) => {
                thread.join();
                return outcome;
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let signal = if look < REMINDERS_MAX { libc::SIGCONT } else { libc::SIGKILL };
                // Relaxed: as above.
                signal_descendants(maker.load(Ordering::Relaxed), signal);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "it was stopped before it could begin"))
}

/// Sends a signal to the children of a thread of this process, and to their children.
fn signal_descendants(thread: u32, signal: i32) {
    let found = descendants(thread);
    let opened: Vec<_> =
        found.iter().filter_map(|&pid| Some((pid, process::pidfd_open(pid).ok()?))).collect();
    // A process that is still listed was listed when its pidfd was opened, so the pid was not
    // reused.
    let still = descendants(thread);
    for (_, pidfd) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
        // Fails if it has been reaped.
        let _ = process::pidfd_signal(pidfd.as_fd(), signal);
    }
}

/// Ids of the children of a thread of this process, each after its own children.
fn descendants(thread: u32) -> Vec<u32> {
    let children = |path: String| -> Vec<u32> {
        let text = procfs::text(path).unwrap_or_default();
        text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let mut found = Vec::new();
    for child in children(format!("/proc/self/task/{thread}/children")) {
        found.extend(children(format!("/proc/{child}/task/{child}/children")));
        found.push(child);
    }
    found
}

/// Everything that a new process uses until it has executed its program.
struct SpawnArguments {
    path: CString,
    /// The strings of `argv` and `envp`.
    _strings: [Vec<CString>; 2],
    argv: Vec<*mut libc::c_char>,
    envp: Vec<*mut libc::c_char>,
    actions: libc::posix_spawn_file_actions_t,
    attributes: libc::posix_spawnattr_t,
    /// The result of `posix_spawn`; [`UNKNOWN`] before. An intermediate process, which shares this
    /// memory, may write it; it is read after that process has ended.
    outcome: i32,
    /// The id of the spawned process; written as `outcome` is.
    pid: libc::pid_t,
}

/// Not an error number.
const UNKNOWN: i32 = -1;

fn check(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

impl SpawnArguments {
    fn new(
        path: CString,
        args: Vec<CString>,
        env: Vec<CString>,
    ) -> io::Result<Box<SpawnArguments>> {
        let pointers = |strings: &[CString]| -> Vec<*mut libc::c_char> {
            strings.iter().map(|s| s.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
        };
        let (argv, envp) = (pointers(&args), pointers(&env));
        // SAFETY: a plain C struct, initialised right below before any use.
        let mut actions = unsafe { std::mem::zeroed() };
        // SAFETY: a plain C struct, initialised right below before any use.
        let mut attributes = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live local, which may be moved afterwards.
        check(unsafe { libc::posix_spawn_file_actions_init(&raw mut actions) })?;
        // SAFETY: the pointer is to a live local, which may be moved afterwards.
        let made = unsafe { libc::posix_spawnattr_init(&raw mut attributes) };
        let (outcome, pid) = (UNKNOWN, 0);
        let _strings = [args, env];
        // From here on a drop destroys both; destroying attributes has no effect.
        let launch =
            SpawnArguments { path, _strings, argv, envp, actions, attributes, outcome, pid };
        check(made).map(|()| Box::new(launch))
    }

    /// Spawns; returns the id of the new process.
    fn run(mut self: Box<Self>, parentage: Parentage, fd: &OwnedFd) -> io::Result<u32> {
        self.prepare(fd.as_raw_fd())?;
        match parentage {
            Parentage::Child => self.spawn(),
            Parentage::Orphan => self.run_intermediate()?,
        }
        if self.outcome == UNKNOWN {
            // A process that the intermediate has started may still run in this memory.
            Box::leak(self);
            return Err(io::Error::other("the process that was to start it was killed"));
        }
        check(self.outcome).map(|()| self.pid.cast_unsigned())
    }

    fn prepare(&mut self, fd: RawFd) -> io::Result<()> {
        // dup2 to the same number would keep the close-on-exec flag; glibc clears it in that case.
        // SAFETY: the actions were initialised by `new`.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.actions, fd, 3) })?;
        // SAFETY: an all-zero set is a valid one, and is filled right below.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live local.
        unsafe { libc::sigfillset(&raw mut all) };
        let attributes = &raw mut self.attributes;
        // SAFETY: the attributes were initialised by `new`; the set is a live local.
        check(unsafe { libc::posix_spawnattr_setsigmask(attributes, &raw const all) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(attributes, &raw const all) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::EINVAL)?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setflags(attributes, flags) })
    }

    fn spawn(&mut self) {
        // SAFETY: `prepare` set up actions and attributes; argv and envp end with a null pointer
        // and point into strings that are kept beside them.
        self.outcome = unsafe {
            libc::posix_spawn(
                &raw mut self.pid,
                self.path.as_ptr(),
                &raw const self.actions,
                &raw const self.attributes,
                self.argv.as_ptr(),
                self.envp.as_ptr(),
            )
        };
    }

    /// Spawns in an intermediate process; returns when that has ended.
    fn run_intermediate(&mut self) -> io::Result<()> {
        let mut stack = vec![0u128; INTERMEDIATE_STACK_BYTES / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end.cast::<libc::c_void>();
        let argument = ptr::from_mut(self).cast::<libc::c_void>();
        // The intermediate has this thread's mask and the host's handlers. A signal to the whole
        // group, as Ctrl-C, would run such a handler again, in the shared memory.
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK;
        // SAFETY: the stack is 16-byte aligned and large enough for `posix_spawn` (which runs its
        // own child on a separate stack). CLONE_VFORK suspends this thread until the intermediate
        // ends. The stack is freed below only if the intermediate has ended, and so has the child
        // that it started.
        let pid = Errno::result(unsafe { libc::clone(intermediate, top, flags, argument) })?;
        // It has ended; a wait without __WCLONE would not find it.
        loop {
            // SAFETY: a null status pointer is allowed.
            let got = unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WCLONE) };
            match Errno::result(got) {
                Err(Errno::EINTR) => {}
                // Another thread may have reaped it by a `wait` for any child.
                _ => break,
            }
        }
        if self.outcome == UNKNOWN {
            // It was killed. See `run`.
            stack.leak();
        }
        Ok(())
    }
}

impl Drop for SpawnArguments {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, not used after.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.attributes) };
        // SAFETY: initialised by `new`, not used after.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.actions) };
    }
}

/// The body of an intermediate process. It shares memory and thread-local storage with a thread
/// that is suspended meanwhile, as `posix_spawn` expects.
extern "C" fn intermediate(argument: *mut libc::c_void) -> libc::c_int {
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::HostIntermediate);
    // SAFETY: `run_intermediate` passes its own `self`, and does not use it until this process has
    // ended.
    let launch = unsafe { &mut *argument.cast::<SpawnArguments>() };
    launch.spawn();
    0
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::poll::{Interest, wait_any};
    use crate::sys::socket::{Received, Socket};

    fn shell(parentage: Parentage, script: &str, path: &str) -> (io::Result<u32>, Socket) {
        let (ours, theirs) = Socket::pair().unwrap();
        let own = |text: &str| CString::new(text).unwrap();
        let args = vec![own("sh"), own("-c"), own(script)];
        let env = vec![own("WORD=hello")];
        (spawn(parentage, own(path), args, env, theirs.into()), ours)
    }

    /// The lines that a script writes to its descriptor 3, until every copy of that is closed.
    fn heard(socket: &Socket) -> Vec<String> {
        let mut said = Vec::new();
        let mut buffer = [0; 64];
        loop {
            wait_any(&[Interest { fd: socket.as_fd(), writable: false }], None).unwrap();
            match socket.try_receive(&mut buffer).unwrap() {
                Received::Message(len, _) => {
                    said.push(String::from_utf8_lossy(&buffer[..len]).trim().to_owned());
                }
                Received::WouldBlock => {}
                Received::Closed => return said,
            }
        }
    }

    #[test]
    fn a_program_has_its_environment_its_descriptor_and_its_parent() {
        for parentage in [Parentage::Child, Parentage::Orphan] {
            let (pid, socket) = shell(parentage, "echo $WORD >&3; echo $PPID >&3", "/bin/sh");
            let pid = pid.unwrap();
            let said = heard(&socket);
            assert_eq!(said[0], "hello", "{said:?}");
            let is_ours = said[1] == process::pid().to_string();
            assert_eq!(is_ours, parentage == Parentage::Child, "{said:?}");
            if is_ours {
                while process::try_reap(pid).unwrap().is_none() {
                    std::thread::yield_now();
                }
            }
        }
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_system() {
        for parentage in [Parentage::Child, Parentage::Orphan] {
            let (refused, socket) = shell(parentage, "", "/nowhere/at/all");
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::ENOENT));
            assert!(heard(&socket).is_empty());
        }
    }
}
