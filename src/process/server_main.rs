//! The fork server: forks children, reaps them, reports.
//!
//! It has one thread and one loop. It waits for its socket, its children's pidfds and the host's
//! pidfd. It ends, and thereby its children, when the host has ended or closed the socket.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::process::child::{self, Child, EntryPoint};
use crate::process::message::{MESSAGE_BYTES, Report, Request, ThreadNames};
use crate::process::peer;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::poll::{Interest, wait_any};
use crate::sys::process::{self, Children, Forked};
use crate::sys::signal::{self, Signal};
use crate::sys::socket::{self, Peer, Received, Socket};
use crate::sys::stdio_buffers;

/// The most rounds of killing adopted processes; a task that forks faster than that is not ended.
const GENERATIONS_MAX: usize = 1000;
/// How long to wait at once for killed processes to end. A process that sleeps in the kernel, or is
/// frozen, is checked again whenever another process ends, or after `CHECK_INTERVAL`.
const KILL_TIMEOUT: Duration = Duration::from_millis(500);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A child that has not been reaped.
struct ForkedChild {
    id: u64,
    pid: u32,
    pidfd: OwnedFd,
}

thread_local! {
    /// A value whose destructor is registered with the C library at its first use.
    static FIRST_DESTRUCTOR: Cell<Option<Box<u8>>> = const { Cell::new(None) };
}

/// How long to wait when the kernel has no memory for a message, or too many descriptors are in
/// transit.
const SHORTAGE: Duration = Duration::from_millis(10);

/// Why the server stops.
enum StopReason {
    /// The host has ended, or closed the socket.
    HostGone,
    /// A call failed that must not.
    Failed,
    /// The process that sends the requests is not the host, for this reason.
    Rejected(String),
}

struct Server {
    socket: Socket,
    /// The process that made the socket, according to the kernel.
    peer: Peer,
    /// The host's pidfd; `None` until it has sent a handshake, before which no request is accepted.
    host: Option<OwnedFd>,
    token: u64,
    /// The name that `ps` shows.
    name: &'static str,
    children: Vec<ForkedChild>,
    /// Other processes that were killed and have not ended.
    dying: Vec<u32>,
    /// The kernel's list of these, and of adopted processes; `None` without `/proc`.
    list: Option<Children>,
    /// Reports that the socket had no room for.
    unsent: VecDeque<(Report, Option<OwnedFd>)>,
}

/// Serves until the host is gone, then ends this process.
pub(super) fn serve(socket: Socket, peer: Peer, token: u64, name: &'static str) -> ! {
    let mut server = Server {
        socket,
        peer,
        host: None,
        token,
        name,
        children: Vec::new(),
        dying: Vec::new(),
        list: None,
        unsent: VecDeque::new(),
    };
    let stop = match server.set_up() {
        Ok(()) => loop {
            if let Err(stop) = server.turn() {
                break stop;
            }
        },
        Err(_) => StopReason::Failed,
    };
    server.end_children();
    process::exit_now(match stop {
        StopReason::HostGone => 0,
        StopReason::Failed => child::EXIT_SETUP,
        StopReason::Rejected(found) => peer::refuse(&found),
    })
}

impl Server {
    fn set_up(&mut self) -> std::io::Result<()> {
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::ServerStart);
        process::open_missing_stdio()?;
        // Tasks must not consume the host's input.
        process::close_stdin()?;
        let own = std::os::fd::AsRawFd::as_raw_fd(&self.socket.as_fd());
        process::close_all_but(3, &[own])?;
        self.list = Children::open().ok();
        // The first use of each makes the loader search every library for a symbol, which takes as
        // long as a dozen page faults: once here, instead of in every child.
        FIRST_DESTRUCTOR.set(None);
        stdio_buffers::flush_quickly();
        signal::ignore(&signal::GROUP)?;
        signal::ignore(&[Signal::SIGPIPE])?;
        // A library may have ignored it when it was loaded; then no child could be reaped.
        signal::default(&[Signal::SIGCHLD])?;
        // The host starts this process with all signals blocked.
        signal::unblock_all()?;
        process::become_subreaper()?;
        process::set_name(self.name)
    }

    /// Waits for events, and handles them.
    fn turn(&mut self) -> Result<(), StopReason> {
        let ready = {
            let mut interests: Vec<Interest<'_>> = Vec::with_capacity(self.children.len() + 2);
            let writable = !self.unsent.is_empty();
            interests.push(Interest { fd: self.socket.as_fd(), writable });
            for child in &self.children {
                interests.push(Interest { fd: child.pidfd.as_fd(), writable: false });
            }
            if let Some(host) = &self.host {
                interests.push(Interest { fd: host.as_fd(), writable: false });
            }
            let look = (!self.dying.is_empty()).then_some(CHECK_INTERVAL);
            wait_any(&interests, look).map_err(|_| StopReason::Failed)?
        };
        let count = self.children.len();
        if ready.get(count + 1) == Some(&true) {
            return Err(StopReason::HostGone);
        }
        if ready[1..=count].contains(&true) {
            self.reap(&ready[1..=count]);
        } else if !self.dying.is_empty() {
            self.dying.retain(|&pid| matches!(process::try_reap(pid), Ok(None)));
        }
        self.send_unsent()?;
        if ready[0] { self.receive() } else { Ok(()) }
    }

    /// Reaps the children whose pidfds are readable, and the processes that they left.
    fn reap(&mut self, ended: &[bool]) {
        for index in (0..ended.len()).rev() {
            if !ended[index] {
                continue;
            }
            if let Ok(Some(reaped)) = process::try_reap(self.children[index].pid) {
                let ForkedChild { id, pid, .. } = self.children.remove(index);
                let peak_rss_bytes = reaped.peak_rss_bytes;
                let report = Report::Ended { id, pid, reason: reaped.reason, peak_rss_bytes };
                self.unsent.push_back((report, None));
            }
        }
        self.end_adopted();
    }

    /// Kills and reaps descendants that were adopted when their parent ended, and those that
    /// are adopted when these end, until there are none.
    fn end_adopted(&mut self) {
        let deadline = Instant::now() + KILL_TIMEOUT;
        self.dying.retain(|&pid| matches!(process::try_reap(pid), Ok(None)));
        for _ in 0..GENERATIONS_MAX {
            let Some(Ok(mut strangers)) = self.list.as_ref().map(Children::ids) else { return };
            strangers.retain(|pid| self.children.iter().all(|child| child.pid != *pid));
            strangers.retain(|pid| !self.dying.contains(pid));
            if strangers.is_empty() {
                return;
            }
            self.end_strangers(strangers, deadline);
        }
    }

    /// Kills and reaps these; processes that have not ended by `deadline` are left to later turns.
    fn end_strangers(&mut self, strangers: Vec<u32>, deadline: Instant) {
        for &pid in &strangers {
            // It is an unreaped child of this process, so its number was not reused.
            let _ = process::kill_child(pid);
        }
        for pid in strangers {
            while let Ok(None) = process::try_reap(pid) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.dying.push(pid);
                    break;
                }
                if let Ok(pidfd) = process::pidfd_open(pid) {
                    let end = [Interest { fd: pidfd.as_fd(), writable: false }];
                    let _ = wait_any(&end, Some(left));
                }
            }
        }
    }

    fn send_unsent(&mut self) -> Result<(), StopReason> {
        while let Some((report, fd)) = self.unsent.front() {
            let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
            let message = report.message();
            #[cfg(feature = "failpoints")]
            failpoint::hit(Point::ServerBeforeReport);
            match self.socket.try_send(bytemuck::bytes_of(&message), &fds) {
                Ok(true) => drop(self.unsent.pop_front()),
                Ok(false) => return Ok(()),
                Err(error) if socket::is_shortage(&error) => {
                    // The next turn retries; an immediate retry would only make the shortage worse.
                    let host: Vec<Interest<'_>> = self
                        .host
                        .iter()
                        .map(|fd| Interest { fd: fd.as_fd(), writable: false })
                        .collect();
                    let _ = wait_any(&host, Some(SHORTAGE));
                    return Ok(());
                }
                Err(_) => return Err(StopReason::HostGone),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), StopReason> {
        let mut buffer = [0u8; MESSAGE_BYTES];
        match self.socket.try_receive(&mut buffer) {
            Ok(Received::Message(len, fds)) => {
                let request = Request::parse(&buffer[..len]).map_err(|error| {
                    StopReason::Rejected(format!("a message is not a request: {error}"))
                })?;
                self.answer(request, fds)
            }
            Ok(Received::WouldBlock) => Ok(()),
            Ok(Received::Closed) | Err(_) => Err(StopReason::HostGone),
        }
    }

    fn answer(&mut self, request: Request, mut fds: Vec<OwnedFd>) -> Result<(), StopReason> {
        match request {
            Request::Hello { token } if token == self.token && self.host.is_none() => {
                let host = fds.pop().ok_or_else(process::no_more_descriptors);
                let host = host.map_err(|_| StopReason::Failed)?;
                peer::host(host.as_fd(), self.peer).map_err(StopReason::Rejected)?;
                self.host = Some(host);
                let threads = process::settled_thread_count().map_err(|_| StopReason::Failed)?;
                let pidfd = process::pidfd_open(process::pid()).map_err(|_| StopReason::Failed)?;
                let report = match threads {
                    1 => Report::Ready { token },
                    _ => {
                        let names = ThreadNames::new(&process::names_of_other_threads());
                        Report::MultiThreaded { threads: threads as u64, names }
                    }
                };
                self.unsent.push_back((report, Some(pidfd)));
            }
            Request::Hello { .. } => {
                return Err(StopReason::Rejected("its handshake has another token".to_owned()));
            }
            Request::Spawn { .. } | Request::Signal { .. } if self.host.is_none() => {
                return Err(StopReason::Rejected("a request came before the handshake".to_owned()));
            }
            Request::Spawn { id, entry, words, name, setup } => {
                let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                let name = String::from_utf8_lossy(&name[..len]);
                let entry =
                    EntryPoint::find(entry).map_err(|e| StopReason::Rejected(e.to_string()))?;
                self.spawn(id, entry, &name, Child { fds, words, setup });
            }
            Request::Signal { id, number } => {
                let child = self.children.iter().find(|child| child.id == id);
                // A child that has ended is reaped at the next turn. If a child changed its user,
                // this process may lack the right to signal it; no other way exists.
                let _ = child.map(|child| process::pidfd_signal(child.pidfd.as_fd(), number));
            }
        }
        self.send_unsent()
    }

    fn spawn(&mut self, id: u64, entry: fn(Child), name: &str, child: Child) {
        let report = match fork(entry, name, child) {
            Ok(pid) => self.admit(id, pid).inspect_err(|_| {
                // The host gets no report of this unreaped child, so it must not run.
                self.end_strangers(vec![pid], Instant::now() + KILL_TIMEOUT);
            }),
            Err(error) => Err(error),
        };
        self.unsent.push_back(report.unwrap_or_else(|error| {
            (Report::Failed { id, errno: process::errno_of(&error) }, None)
        }));
    }

    /// Registers a child that was forked, and returns the report of its start.
    fn admit(&mut self, id: u64, pid: u32) -> std::io::Result<(Report, Option<OwnedFd>)> {
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::ServerAfterFork);
        let pidfd = process::pidfd_open(pid)?;
        let for_host = pidfd.try_clone()?;
        self.children.push(ForkedChild { id, pid, pidfd });
        Ok((Report::Started { id, pid }, Some(for_host)))
    }

    /// Kills and reaps all children.
    fn end_children(&mut self) {
        for child in &self.children {
            // All at once; without `/proc`, they are not found below. The kernel ends them later.
            let _ = process::pidfd_kill(child.pidfd.as_fd());
        }
        self.children.clear();
        self.end_adopted();
    }
}

/// Forks a child. The parent returns its id; the child does not return.
#[allow(unsafe_code)]
fn fork(entry: fn(Child), name: &str, child: Child) -> std::io::Result<u32> {
    if child.fds.len() != usize::from(child.setup.fds) {
        // The kernel dropped the descriptors, because this process has no room for them.
        return Err(process::no_more_descriptors());
    }
    let server_pid = process::pid();
    // The child begins with all signals blocked, and unblocks them when its own dispositions are
    // set. Until then it ignores the server's signals, and a SIGTERM would be lost.
    signal::block_all()?;
    // SAFETY: `answer` refused to serve unless this process had exactly one thread, and it has
    // started none since.
    let forked = unsafe { process::fork() };
    if let Ok(Forked::Child) = forked {
        child::run(entry, child, name, server_pid)
    }
    signal::unblock_all()?;
    match forked? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => unreachable!("a child does not return from its entry"),
    }
}
