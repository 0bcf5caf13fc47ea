//! The connection to a fork server, and its children's watchers.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::child_handle::{ChildEvent, ChildHandle, ServerChild, Watcher};
use crate::process::exit_watch::{ChildExitWatch, OnExit, ServerExitWatch};
use crate::process::handshake::{self, Answer, Handshake, Names, spawn_error};
use crate::process::message::{MESSAGE_BYTES, Report, Request, WireMessage};
use crate::process::outbox::{Outbox, RETRY_AFTER, SendState};
use crate::process::supervisor::{Handler, HandlerId, Supervisor};
use crate::process::sweep;
use crate::sys::poll::is_readable;
use crate::sys::process;
use crate::sys::socket::{Received, Socket};

/// How long a report of the server may be overdue before the server is checked.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
/// How many times the server is sent SIGCONT, `REPORT_TIMEOUT` apart, before it is declared dead.
const CHECKS_MAX: u32 = 40;

#[derive(Clone, Copy)]
struct OverdueReport {
    count: u32,
    /// When the next check is due.
    next: Instant,
}

struct WatchedChild {
    watcher: Arc<Watcher>,
    has_started: bool,
    /// It runs, but its pidfd did not arrive, so it must be killed.
    is_unwanted: bool,
    /// Watches for its end, with the registration; set when it has started.
    end: Option<(Arc<ChildExitWatch>, HandlerId)>,
}

/// This process's end of a fork server's socket, and its records of the server's children.
pub(super) struct ServerConnection {
    pub(super) socket: Socket,
    /// The token that the server's answer must repeat.
    pub(super) token: u64,
    /// See [`Handshake::pidfd`]; `None` for a server below another.
    early_pidfd: Option<OwnedFd>,
    /// What is known of a server below another.
    pub(super) below: Option<ServerChild>,
    /// The server's pidfd, set when it has answered.
    pidfd: OnceLock<OwnedFd>,
    pub(super) answer: Answer,
    /// `None` once the server is gone.
    children: Mutex<Option<HashMap<u64, WatchedChild>>>,
    own: Weak<ServerConnection>,
    supervisor: Weak<Supervisor>,
    /// The registrations with the supervisor: this, and the server's end. `None` once there is
    /// nothing left to listen to.
    pub(super) handler_ids: Mutex<Option<Vec<HandlerId>>>,
    /// The checks of an overdue report; `None` if none is overdue.
    overdue: Mutex<Option<OverdueReport>>,
    /// Requests that the socket had no room for.
    outbox: Outbox,
}

impl Handler for ServerConnection {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn readable(&self) {
        let mut buffer = [0u8; MESSAGE_BYTES];
        loop {
            let report = match self.socket.try_receive(&mut buffer) {
                Ok(Received::Message(len, fds)) => {
                    Report::parse(&buffer[..len]).ok().map(|report| (report, fds))
                }
                Ok(Received::WouldBlock) => return,
                Ok(Received::Closed) | Err(_) => None,
            };
            match report {
                Some((report, fds)) => self.deliver(report, fds),
                None => return self.server_gone(),
            }
        }
    }

    /// Called when a report is overdue: if it still is, the server is stopped, or worse.
    fn deadline(&self) {
        self.readable();
        let is_unsent = self.outbox.send(&self.socket) != SendState::Done;
        let is_silent = self.answer.is_awaited();
        if is_silent && self.below.is_some() {
            *lock(&self.overdue) = None;
            return self.check_silent(is_unsent);
        }
        if is_silent && self.early_pidfd.as_ref().is_some_and(|pidfd| is_readable(pidfd.as_fd())) {
            return self.server_gone();
        }
        let owes = is_silent
            || is_unsent
            || lock(&self.children).as_ref().is_some_and(|children| {
                children.values().any(|child| match &child.end {
                    None => !child.has_started,
                    Some((end, _)) => is_readable(end.pidfd.as_fd()),
                })
            });
        let mut overdue = lock(&self.overdue);
        let Some(OverdueReport { count, next }) = overdue.filter(|_| owes) else {
            *overdue = None;
            return;
        };
        let now = Instant::now();
        if now < next {
            // Only the outbox was due.
            drop(overdue);
            return self.schedule_check();
        }
        *overdue = Some(OverdueReport { count: count + 1, next: now + REPORT_TIMEOUT });
        drop(overdue);
        // Count polls, not elapsed time: after the host itself was stopped (SIGSTOP), the server
        // must not be declared dead.
        if count < CHECKS_MAX {
            let _ = self.pidfd().map(process::pidfd_continue);
        } else {
            // It ends now, or at end of file if it continues after a stop.
            let _ = self.pidfd.get().map(|pidfd| process::pidfd_kill(pidfd.as_fd()));
            self.note_end(|| "the preload server did not answer".to_owned());
            return self.server_gone();
        }
        self.schedule_check();
    }
}

impl ServerConnection {
    /// Starts a server without the variables `without`, and listens to its socket.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] or [`Error::Os`].
    pub(super) fn open(
        supervisor: &Arc<Supervisor>,
        without: &Names,
    ) -> Result<Arc<ServerConnection>> {
        ServerConnection::listen_to(supervisor, handshake::start_server(without)?, None)
    }

    /// Listens to a server that was greeted.
    pub(super) fn listen_to(
        supervisor: &Arc<Supervisor>,
        handshake: Handshake,
        below: Option<ServerChild>,
    ) -> Result<Arc<ServerConnection>> {
        let Handshake { socket, token, pidfd } = handshake;
        let connection = Arc::new_cyclic(|own: &Weak<ServerConnection>| ServerConnection {
            own: own.clone(),
            socket,
            token,
            early_pidfd: pidfd,
            below,
            pidfd: OnceLock::new(),
            answer: Answer::default(),
            children: Mutex::new(Some(HashMap::new())),
            supervisor: Arc::downgrade(supervisor),
            handler_ids: Mutex::new(Some(Vec::new())),
            overdue: Mutex::new(None),
            outbox: Outbox::default(),
        });
        let handler = Arc::clone(&connection) as Arc<dyn Handler>;
        connection.listen(supervisor, handler).inspect_err(|_| connection.close())?;
        connection.expect_report();
        Ok(connection)
    }

    /// Whether the server can still fork.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.children).is_some()
    }

    /// Whether the server has answered that it can fork, and still can.
    pub(super) fn is_ready(&self) -> bool {
        self.answer.is_ready() && self.is_open()
    }

    /// Sends a request for the child `id`, without waiting. `watcher` receives the child's events.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if the server is gone; the watcher is not called then.
    pub(super) fn spawn(
        &self,
        id: u64,
        message: &WireMessage,
        fds: &[BorrowedFd<'_>],
        watcher: Watcher,
    ) -> Result<()> {
        let watcher = Arc::new(watcher);
        let watched = WatchedChild { watcher, has_started: false, is_unwanted: false, end: None };
        match lock(&self.children).as_mut() {
            Some(children) => drop(children.insert(id, watched)),
            None => return Err(spawn_error("the fork server has ended")),
        }
        if let Err(error) = self.post(message, fds) {
            let mut children = lock(&self.children);
            if children.as_mut().is_some_and(|children| children.remove(&id).is_some()) {
                return Err(spawn_error(format!("the fork server does not receive: {error}")));
            }
            // Its end was noticed first, and reported to the watcher.
            return Ok(());
        }
        self.expect_report();
        Ok(())
    }

    /// Requests that the server sends a signal to the child `id`, if that has not ended.
    fn signal(&self, id: u64, number: i32) -> io::Result<()> {
        self.post(&Request::Signal { id, number }.message(), &[])?;
        self.expect_report();
        Ok(())
    }

    /// Sends a message, now or when there is room for it.
    fn post(&self, message: &WireMessage, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.outbox.post(&self.socket, bytemuck::bytes_of(message), fds)? != SendState::Done {
            self.schedule_check();
        }
        Ok(())
    }

    /// Ends the server, and thereby its children.
    pub(super) fn close(&self) {
        self.unregister();
        let Some(pidfd) = self.pidfd() else { return self.close_below() };
        // A server that was killed has not ended the processes that its children have started.
        let was_killed = is_readable(pidfd);
        // The server ends at end of file; a stopped one when it continues. A hanging one is killed.
        self.socket.shut_down();
        let _ = process::pidfd_continue(pidfd);
        // This also reaps the server if this process has adopted it.
        let has_ended = handshake::wait_for_exit(pidfd);
        if !has_ended && let Some(pidfd) = self.pidfd.get() {
            let _ = process::pidfd_kill(pidfd.as_fd());
            handshake::wait_for_exit(pidfd.as_fd());
        }
        if was_killed || !has_ended {
            self.sweep();
        }
        self.end_children();
    }

    /// Ends the children of a server that has ended, and the processes that they have started.
    fn sweep(&self) {
        let mut above: Vec<_> = self
            .pidfd()
            .and_then(|pidfd| pidfd.try_clone_to_owned().ok().map(Arc::new))
            .into_iter()
            .collect();
        for child in lock(&self.children).iter().flat_map(HashMap::values) {
            if let Some((end, _)) = &child.end {
                let _ = process::pidfd_kill(end.pidfd.as_fd());
                above.push(Arc::clone(&end.pidfd));
            }
        }
        sweep::sweep(self.token, above);
    }

    /// The server's own pidfd, or else the one that was opened by number; `None` for a server below
    /// another that has not answered.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.get().or(self.early_pidfd.as_ref()).map(AsFd::as_fd)
    }

    /// The server may fork. From now on its own pidfd is watched for its end.
    fn ready(&self, pidfd: OwnedFd) {
        // The server above reports the end of one below.
        let end = pidfd.try_clone().ok().filter(|_| self.below.is_none());
        let _ = self.pidfd.set(pidfd);
        if let Some((end, supervisor)) = end.zip(self.supervisor.upgrade()) {
            // If it cannot be watched, the end of file still reports its end.
            let on_exit = self.call_back(|connection| {
                // The reports that it sent before it ended come first.
                connection.readable();
                connection.server_gone();
            });
            let _ = self.listen(&supervisor, Arc::new(ServerExitWatch { pidfd: end, on_exit }));
        }
        self.answer.set(Ok(()));
        // Of the children that were requested before.
        self.expect_report();
    }

    /// From now on a report of the server is expected.
    fn expect_report(&self) {
        let mut overdue = lock(&self.overdue);
        if overdue.is_none() {
            *overdue = Some(OverdueReport { count: 0, next: Instant::now() + REPORT_TIMEOUT });
            drop(overdue);
            self.schedule_check();
        }
    }

    pub(super) fn schedule_check(&self) {
        let after = if self.outbox.is_empty() { REPORT_TIMEOUT } else { RETRY_AFTER };
        self.schedule(Instant::now() + after);
    }

    pub(super) fn schedule(&self, at: Instant) {
        let token =
            lock(&self.handler_ids).as_ref().and_then(|handler_ids| handler_ids.first().copied());
        if let (Some(supervisor), Some(token)) = (self.supervisor.upgrade(), token) {
            supervisor.set_deadline(token, at);
        }
    }

    /// A callback that holds the connection weakly.
    fn call_back(&self, run: impl Fn(&ServerConnection) + Send + Sync + 'static) -> OnExit {
        let own = self.own.clone();
        Box::new(move || {
            if let Some(connection) = own.upgrade() {
                run(&connection);
            }
        })
    }

    /// A child has ended; the server's report of that is expected.
    fn child_ended(&self, id: u64) {
        let token = lock(&self.children)
            .as_ref()
            .and_then(|children| Some(children.get(&id)?.end.as_ref()?.1));
        if let (Some(token), Some(supervisor)) = (token, self.supervisor.upgrade()) {
            supervisor.remove(token);
            self.expect_report();
        }
    }

    /// Registers a watch for the end of a child.
    fn watch(&self, id: u64, pidfd: &Arc<OwnedFd>) -> Option<(Arc<ChildExitWatch>, HandlerId)> {
        let on_exit = self.call_back(move |connection| connection.child_ended(id));
        let end = Arc::new(ChildExitWatch::new(Arc::clone(pidfd), on_exit));
        let token = self.supervisor.upgrade()?.add(Arc::clone(&end) as Arc<dyn Handler>).ok()?;
        Some((end, token))
    }

    /// Registers `handler` with the supervisor, unless the connection is closed.
    fn listen(&self, supervisor: &Supervisor, handler: Arc<dyn Handler>) -> Result<()> {
        // Held while adding, so that a handler that is called at once finds its token.
        if let Some(handler_ids) = lock(&self.handler_ids).as_mut() {
            handler_ids.push(supervisor.add(handler)?);
        }
        Ok(())
    }

    /// Stops listening to the server.
    pub(super) fn unregister(&self) {
        let handler_ids = lock(&self.handler_ids).take();
        if let Some(supervisor) = self.supervisor.upgrade() {
            handler_ids.into_iter().flatten().for_each(|token| supervisor.remove(token));
        }
    }

    fn deliver(&self, report: Report, mut fds: Vec<OwnedFd>) {
        match report {
            Report::Started { id, pid } => match fds.pop() {
                Some(pidfd) => self.started(id, pid, pidfd),
                None => self.reject(id),
            },
            Report::Failed { id, errno } => {
                self.finished(id, ChildEvent::Failed(io::Error::from_raw_os_error(errno)));
            }
            Report::Ended { id, reason, peak_rss_bytes, .. } => {
                let peak_rss_bytes = Some(peak_rss_bytes);
                self.finished(id, ChildEvent::Ended { reason, peak_rss_bytes });
            }
            Report::Ready { token } if token == self.token => match fds.pop() {
                Some(pidfd) => self.ready(pidfd),
                None => self.refused(Error::os(
                    "recvmsg",
                    "the fork server",
                    process::no_more_descriptors(),
                )),
            },
            Report::MultiThreaded { threads, names } => self.refused(Error::MultiThreaded {
                threads: usize::try_from(threads).unwrap_or(usize::MAX),
                names: names.list(),
            }),
            Report::Privileged => {
                let privileges = "its file gave them to the fork server".to_owned();
                self.refused(Error::Privileged { privileges });
            }
            Report::Unprepared => self.unprepared(fds.pop()),
            Report::Ready { .. } => self.refused(spawn_error("its answer has another token")),
        }
    }

    /// The server refuses to serve.
    pub(super) fn refused(&self, error: Error) {
        self.note_end(|| error.to_string());
        self.answer.set(Err(error));
        self.socket.shut_down();
    }

    fn started(&self, id: u64, pid: u32, pidfd: OwnedFd) {
        let pidfd = Arc::new(pidfd);
        let mut end = self.watch(id, &pidfd);
        if end.is_none() {
            return self.reject(id);
        }
        let watcher = {
            let mut children = lock(&self.children);
            children.as_mut().and_then(|children| children.get_mut(&id)).map(|watched| {
                watched.has_started = true;
                watched.end = end.take();
                Arc::clone(&watched.watcher)
            })
        };
        // No further report is expected.
        if let (Some((_, token)), Some(supervisor)) = (end, self.supervisor.upgrade()) {
            supervisor.remove(token);
        }
        if let Some(watcher) = watcher {
            let own = self.own.clone();
            let signal_by_server = Box::new(move |number| match own.upgrade() {
                Some(connection) => connection.signal(id, number),
                None => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            });
            let child = ChildHandle::new(pidfd, signal_by_server);
            watcher(ChildEvent::Started { pid, child });
        }
    }

    /// This process has no free descriptor, so the kernel dropped the pidfd of a child, or the
    /// pidfd cannot be watched. The server is told to kill the child, whose end counts as a failure
    /// to start.
    fn reject(&self, id: u64) {
        if let Some(children) = lock(&self.children).as_mut()
            && let Some(watched) = children.get_mut(&id)
        {
            watched.is_unwanted = true;
        }
        // A failure means that the server has ended, and the child with it.
        let _ = self.signal(id, process::SIGKILL);
    }

    /// Delivers the last event of a child.
    fn finished(&self, id: u64, event: ChildEvent) {
        let Some(watched) = lock(&self.children).as_mut().and_then(|all| all.remove(&id)) else {
            return;
        };
        let WatchedChild { watcher, is_unwanted, end, .. } = watched;
        if let (Some((_, token)), Some(supervisor)) = (end, self.supervisor.upgrade()) {
            supervisor.remove(token);
        }
        watcher(match is_unwanted {
            true => ChildEvent::Failed(process::no_more_descriptors()),
            false => event,
        });
    }

    /// The server has ended on its own, so its children end too, and the processes they have
    /// started.
    fn server_gone(&self) {
        if self.below.is_some() {
            return self.below_gone();
        }
        let has_children = lock(&self.children).as_ref().is_some_and(|all| !all.is_empty());
        if has_children {
            self.sweep();
        }
        self.end_children();
    }

    /// Called when the server has ended, and thus its children end too. Calls the watcher of each
    /// child when that has ended, without waiting for that here.
    pub(super) fn end_children(&self) {
        self.unregister();
        // A server that was stopped or frozen cannot send further reports when it continues.
        self.socket.shut_down();
        let children = lock(&self.children).take();
        self.answer.set(Err(spawn_error("it ended before it answered")));
        for WatchedChild { watcher, end, .. } in children.into_iter().flat_map(HashMap::into_values)
        {
            match end {
                Some((end, token)) => {
                    let supervisor = Weak::clone(&self.supervisor);
                    end.orphan(watcher, token, supervisor, self.end_noted());
                }
                // It has no permit to begin.
                None => {
                    watcher(ChildEvent::Failed(self.failure()));
                }
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code under these locks panics in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
