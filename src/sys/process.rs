//! Starting, naming, signalling and reaping processes.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags};

use crate::exit::ExitReason;
pub(crate) use crate::sys::fork::pid;
use crate::sys::procfs;
use crate::sys::signal::DirectedSignal;

/// The id of this process's parent; 0 if the parent is in another pid namespace.
pub(crate) fn parent_pid() -> u32 {
    nix::unistd::getppid().as_raw().cast_unsigned()
}

/// Which side of a [`fork`] this is.
pub(crate) enum Forked {
    /// The new process.
    Child,
    /// The old one, with the id of the new.
    Parent(u32),
}

/// Duplicates this process.
///
/// # Safety
///
/// - The process has exactly one thread, so that no lock can be held by a thread that the child
///   lacks.
pub(crate) unsafe fn fork() -> io::Result<Forked> {
    // SAFETY: single-threaded, by this function's contract; so the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Child => Ok(Forked::Child),
        nix::unistd::ForkResult::Parent { child } => {
            Ok(Forked::Parent(child.as_raw().cast_unsigned()))
        }
    }
}

/// Ends this process at once: no destructors, no `atexit`, no flushing of buffers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` accesses no memory and does not return.
    unsafe { libc::_exit(code) }
}

/// Opens a descriptor for the process `pid`, readable once that process has ended and closed on
/// exec.
pub(crate) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(Errno::ESRCH)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal by number to the process of `pidfd`; `Ok(false)` if it has been reaped.
///
/// It takes effect there even if that process holds signals that are sent to its whole group.
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<bool> {
    let info = DirectedSignal::new(signal);
    let pidfd = pidfd.as_raw_fd();
    // SAFETY: the pointer is to a live local as large as a `siginfo_t`, which is only read.
    let done =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, &raw const info, 0u32) };
    match Errno::result(done) {
        Ok(_) => Ok(true),
        Err(Errno::ESRCH) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// SIGKILL, which no process can block.
pub(crate) const SIGKILL: i32 = libc::SIGKILL;

/// Sends SIGKILL to the process of `pidfd`; `Ok(false)` if it has been reaped.
pub(crate) fn pidfd_kill(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    pidfd_signal(pidfd, libc::SIGKILL)
}

/// Continues the process of `pidfd` if it was stopped; `Ok(false)` if it has been reaped.
pub(crate) fn pidfd_continue(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    pidfd_signal(pidfd, libc::SIGCONT)
}

/// How a reaped child ended, and its peak memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reaped {
    pub(crate) pid: u32,
    pub(crate) reason: ExitReason,
    pub(crate) peak_rss_bytes: u64,
}

/// Reaps the child `pid` if it has ended; `None` if it lives.
pub(crate) fn try_reap(pid: u32) -> io::Result<Option<Reaped>> {
    reap(pid.cast_signed(), libc::WNOHANG)
}

fn reap(pid: i32, options: i32) -> io::Result<Option<Reaped>> {
    let mut status = 0;
    // SAFETY: `rusage` is a plain struct of integers, for which all-zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let got = loop {
        // SAFETY: both pointers are to locals of the right types, live across the call.
        let got = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        match Errno::result(got) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    if got == 0 {
        return Ok(None);
    }
    let reason = if libc::WIFEXITED(status) {
        ExitReason::Code(libc::WEXITSTATUS(status))
    } else {
        ExitReason::Signal(libc::WTERMSIG(status))
    };
    let peak_rss_bytes = usage.ru_maxrss.cast_unsigned().saturating_mul(1024);
    Ok(Some(Reaped { pid: got.cast_unsigned(), reason, peak_rss_bytes }))
}

/// The kernel's list of the children of this process's first thread. It is opened once, because
/// looking up the name takes longer than reading the file, which is mostly empty.
#[derive(Debug)]
pub(crate) struct Children(std::fs::File);

impl Children {
    /// Opens the list of the calling process.
    pub(crate) fn open() -> io::Result<Children> {
        std::fs::File::open(format!("/proc/self/task/{}/children", pid())).map(Children)
    }

    /// The ids of the children.
    pub(crate) fn ids(&self) -> io::Result<Vec<u32>> {
        use std::os::unix::fs::FileExt;
        let (mut text, mut chunk) = (Vec::new(), [0u8; 512]);
        loop {
            match self.0.read_at(&mut chunk, text.len() as u64)? {
                0 => break,
                count => text.extend_from_slice(&chunk[..count]),
            }
        }
        let words = String::from_utf8_lossy(&text);
        Ok(words.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect())
    }
}

/// The number of children that have ended and are not reaped.
pub(crate) fn zombies(children: &Children) -> usize {
    let ids = children.ids().unwrap_or_default();
    let has_ended = |pid: &u32| {
        let stat = procfs::text(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    ids.iter().filter(|&pid| has_ended(pid)).count()
}

/// Sends SIGKILL to a child of this process that it has not yet reaped.
pub(crate) fn kill_child(pid: u32) -> io::Result<()> {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    Ok(())
}

/// The number of threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// The same, once there is only one or 100 ms have passed: a thread that was joined may be listed
/// for an instant.
pub(crate) fn settled_thread_count() -> io::Result<usize> {
    for _ in 0..100 {
        if thread_count()? == 1 {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "no event for a thread that leaves /proc")]
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    thread_count()
}

/// The names of this process's threads except the first; fewer if some end meanwhile.
pub(crate) fn names_of_other_threads() -> Vec<String> {
    let own = pid().to_string();
    let threads = std::fs::read_dir("/proc/thread-self/..").into_iter().flatten().flatten();
    let others = threads.filter(|thread| thread.file_name().to_str() != Some(&own));
    let name = |thread: std::fs::DirEntry| procfs::text(thread.path().join("comm")).ok();
    others.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

/// Requests SIGKILL for this process when the thread that created it ends.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Makes this process adopt the orphans among its descendants.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Sets the name that `/proc/PID/comm` and `ps` show; the kernel keeps at most 15 bytes of it.
pub(crate) fn set_name(name: &str) -> io::Result<()> {
    let name: Vec<u8> = name.bytes().filter(|&byte| byte != 0).take(15).collect();
    let name = CString::new(name).unwrap_or_default();
    Ok(nix::sys::prctl::set_name(&name)?)
}

/// Closes every descriptor from `first` on, except those in `keep` (sorted, all at least `first`).
pub(crate) fn close_all_but(first: RawFd, keep: &[RawFd]) -> io::Result<()> {
    let mut from = first;
    for &kept in keep {
        if kept > from {
            close_range(from, kept - 1)?;
        }
        from = kept + 1;
    }
    close_range(from, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: callers own no descriptor in the range, by their contract: such a process was just
    // forked or exec'ed and owns only the descriptors that it keeps.
    let done = unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

/// Opens `/dev/null` on each of the descriptors 0, 1 and 2 that is closed.
pub(crate) fn open_missing_stdio() -> io::Result<()> {
    for fd in 0..3 {
        // SAFETY: F_GETFD reads a flag of a descriptor number and takes no pointer.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags == -1 {
            // SAFETY: the path is a C string literal; the lowest free number, `fd`, is used.
            let opened = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
            Errno::result(opened)?;
        }
    }
    Ok(())
}

/// This process's working directory; `None` if the process may no longer enter it.
pub(crate) fn directory() -> io::Result<Option<OwnedFd>> {
    use rustix::fs::{Mode, OFlags, open};
    match open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets this process's working directory.
pub(crate) fn change_directory(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::fchdir(fd)?)
}

/// Duplicates a standard descriptor of this process; `None` if that is closed.
pub(crate) fn duplicate(standard: impl AsFd) -> io::Result<Option<OwnedFd>> {
    match standard.as_fd().try_clone_to_owned() {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes `fd` the standard input of this process.
pub(crate) fn replace_stdin(fd: OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::dup2_stdin(fd)?)
}

/// Makes `/dev/null` the standard input of this process, or an empty pipe without a writer if there
/// is no `/dev/null`.
pub(crate) fn close_stdin() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null").map(OwnedFd::from);
    replace_stdin(null.or_else(|_| Ok::<_, io::Error>(nix::unistd::pipe()?.0))?)
}

/// The umask of this process; `None` if the kernel does not report it.
pub(crate) fn umask() -> Option<u32> {
    // The system call can only read it by changing it, which other threads would see.
    let status = procfs::text("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// Sets the umask; returns the old one.
pub(crate) fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask)).as_raw_mode()
}

/// The arguments with which this process was started.
pub(crate) fn arguments() -> Vec<CString> {
    use std::os::unix::ffi::OsStringExt;
    // They were C strings, so they contain no zero byte.
    std::env::args_os().filter_map(|arg| CString::new(arg.into_vec()).ok()).collect()
}

/// Makes `fd` the standard output of this process.
pub(crate) fn replace_stdout(fd: OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::dup2_stdout(fd)?)
}

/// Makes `fd` the standard error of this process.
pub(crate) fn replace_stderr(fd: OwnedFd) -> io::Result<()> {
    Ok(nix::unistd::dup2_stderr(fd)?)
}

/// Duplicates the descriptor with a high number, which programs rarely reach by opening files;
/// closed on exec.
pub(crate) fn with_high_number(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let (soft, _) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    let lowest = soft.min(HIGH_NUMBERS_END).saturating_sub(HIGH_NUMBERS).max(3);
    let lowest = RawFd::try_from(lowest).map_err(|_| Errno::EINVAL)?;
    match nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(lowest)) {
        // SAFETY: the kernel has just made this descriptor, for this call.
        Ok(number) => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        // All high numbers are taken: any number will do.
        Err(_) => fd.try_clone(),
    }
}

/// A child's own descriptors have numbers below this, if the limit allows.
const HIGH_NUMBERS_END: u64 = 1024;
/// The count of numbers that are kept for them.
const HIGH_NUMBERS: u64 = 16;

/// Whether the descriptor number `fd` is open.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of a descriptor number and takes no pointer.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Takes over the descriptor number `fd`, with which this process was started.
///
/// # Safety
///
/// - `fd` is open, and nothing else in this process owns it.
pub(crate) unsafe fn inherited(fd: RawFd) -> OwnedFd {
    // SAFETY: open, without another owner, by this function's contract.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether this process runs with privileges that its caller lacks (set-uid and the like).
pub(crate) fn is_privileged_exec() -> bool {
    // SAFETY: `getauxval` reads a table that the kernel made for this process.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The effective user of this process.
pub(crate) fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The users and groups that determine the rights of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    users: [u32; 3],
    groups: [u32; 3],
    others: Vec<u32>,
}

/// The users and groups of this process.
pub(crate) fn credentials() -> io::Result<Credentials> {
    let (users, groups) = (nix::unistd::getresuid()?, nix::unistd::getresgid()?);
    Ok(Credentials {
        users: [users.real, users.effective, users.saved].map(nix::unistd::Uid::as_raw),
        groups: [groups.real, groups.effective, groups.saved].map(nix::unistd::Gid::as_raw),
        others: nix::unistd::getgroups()?.into_iter().map(nix::unistd::Gid::as_raw).collect(),
    })
}

/// The pid of a process in two namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NamespacePids {
    /// In the namespace of `/proc`.
    pub(crate) in_proc: u32,
    /// In its own.
    pub(crate) own: u32,
}

/// The ids of the process of `pidfd`.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> io::Result<NamespacePids> {
    let text = procfs::text(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_ascii_whitespace().filter_map(|word| word.parse().ok()))
    };
    let no_process = || io::Error::other("the descriptor is not a pidfd");
    let in_proc = field("Pid:").and_then(|mut all| all.next()).ok_or_else(no_process)?;
    let own = field("NSpid:").and_then(Iterator::last).unwrap_or(in_proc);
    Ok(NamespacePids { in_proc, own })
}

/// The number of fork servers among this process's ancestors, of any version of this crate. Those
/// that `/proc` does not show are not counted.
pub(crate) fn servers_above() -> u8 {
    let (mut next, mut count) = (parent_pid(), 0u8);
    for _ in 0..ANCESTORS_MAX {
        let Ok(stat) = procfs::text(format!("/proc/{next}/stat")) else { break };
        // The name itself may contain parentheses.
        let Some((name, rest)) = stat.rsplit_once(')') else { break };
        let is_server = name.split_once('(').is_some_and(|(_, name)| name == SERVER);
        count = count.saturating_add(u8::from(is_server));
        let parent = rest.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
        let Some(parent) = parent else { break };
        next = parent;
    }
    count
}

/// The most ancestors that are examined.
const ANCESTORS_MAX: usize = 100;

/// Whether the process `pid` of `/proc` is a fork server that is not reaped.
pub(crate) fn is_unreaped_server(pid: u32) -> bool {
    procfs::text(format!("/proc/{pid}/stat"))
        .is_ok_and(|text| text.contains(&format!("({SERVER}) ")))
}

/// The name of a fork server.
pub(crate) const SERVER: &str = "brigade-server";

/// Device and inode of the file that the process `pid` of `/proc` runs.
///
/// Reads them from any thread: one that has ended, perhaps the first, has none.
pub(crate) fn executable(pid: &str) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let number = |file: std::fs::Metadata| (file.dev(), file.ino());
    let first = match std::fs::metadata(format!("/proc/{pid}/exe")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return other.map(number),
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    let mut files = threads.filter_map(|thread| std::fs::metadata(thread.path().join("exe")).ok());
    files.next().map(number).ok_or(first)
}

/// Writes a line to standard error in one call.
pub(crate) fn print_error(text: &str) {
    use std::io::Write;
    // Standard error may be closed.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// Removes a variable from the environment.
///
/// # Safety
///
/// - The process has exactly one thread.
pub(crate) unsafe fn remove_env(name: impl AsRef<OsStr>) {
    // SAFETY: no other thread can be reading the environment, by this function's contract.
    unsafe { std::env::remove_var(name) }
}

/// Sets a variable of the environment.
///
/// # Safety
///
/// - The process has exactly one thread.
pub(crate) unsafe fn set_env(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
    // SAFETY: no other thread can be reading the environment, by this function's contract.
    unsafe { std::env::set_var(name, value) };
}

/// Reaps the process of `pidfd` if it is a child of this process (a host that is init or a
/// subreaper adopts the processes that it starts); otherwise does nothing.
pub(crate) fn reap_if_adopted(pidfd: BorrowedFd<'_>) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    // ECHILD is the usual answer: not a child of this process.
    let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

/// The environment of this process as `NAME=value` strings, without the names that `skip` accepts.
pub(crate) fn environment(skip: impl Fn(&str) -> bool) -> Vec<CString> {
    use std::os::unix::ffi::OsStrExt;
    std::env::vars_os()
        .filter(|(name, _)| !name.to_str().is_some_and(&skip))
        .filter_map(|(name, value)| {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            CString::new(entry).ok()
        })
        .collect()
}

/// The error of a process that has reached its limit of descriptors.
pub(crate) fn no_more_descriptors() -> io::Error {
    io::Error::from(Errno::EMFILE)
}

/// The system's number of an error; EINVAL if it has none.
pub(crate) fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::EINVAL as i32)
}
