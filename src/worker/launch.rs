//! Starts a worker.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tracing::dispatcher::Dispatch;

use crate::error::{Error, Result};
use crate::process::captured_output::{CapturedStreams, StreamEnds};
use crate::process::fork_server::{ForkServer, SpawnAttributes, SpawnRequest, Watcher};
use crate::process::supervisor::Supervisor;
use crate::region::arena::{Arena, Contents, Span};
use crate::sys::socket::Socket;
use crate::worker::child::{self, WorkerConfig};
use crate::worker::invocation;
use crate::worker::link::{ChildLink, LinkOwner};
use crate::worker::logs::level::LogLevel;
use crate::worker::logs::source::LogSource;

/// A request for a worker.
pub(crate) struct Launch<'a> {
    pub(crate) arena: &'a Arc<Arena>,
    pub(crate) supervisor: &'a Arc<Supervisor>,
    pub(crate) server: &'a ForkServer,
    /// The name that `ps` shows, at most 15 bytes.
    pub(crate) name: &'a str,
    pub(crate) config: WorkerConfig,
    /// The index of a pool's worker.
    pub(crate) worker: Option<usize>,
    pub(crate) attributes: SpawnAttributes<'a>,
    /// The subscriber for its log records.
    pub(crate) subscriber: &'a Dispatch,
    /// Wakes the supervisor of a pool.
    pub(crate) doorbell: Option<BorrowedFd<'a>>,
}

/// The host's resources for a requested worker.
pub(crate) struct Launched {
    /// The encoded configuration, kept while the worker may read it.
    pub(crate) config: Span,
    pub(crate) link: Arc<ChildLink>,
    /// Its standard streams, as far as they are captured.
    pub(crate) streams: CapturedStreams,
    /// Its log records, unless they are switched off.
    pub(crate) logs: Option<Arc<LogSource>>,
}

impl Launch<'_> {
    /// Requests the worker from the fork server. `watcher` receives its events.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`] if the server is gone; [`Error::NoSpace`] or [`Error::Os`] without memory
    /// or descriptors. Then the watcher is not called.
    pub(crate) fn start(self, owner: Box<dyn LinkOwner>, watcher: Watcher) -> Result<Launched> {
        let Launch {
            arena,
            supervisor,
            server,
            name,
            mut config,
            worker,
            attributes,
            subscriber,
            doorbell,
        } = self;
        let logs = match config.settings.logs {
            LogLevel::Off => None,
            limit => {
                let process = worker.is_none().then(|| name.to_owned());
                Some(LogSource::new(arena, limit, worker, process, subscriber)?)
            }
        };
        config.logs = logs.as_ref().map(|logs| logs.offset());
        let mut bytes = Vec::new();
        invocation::encode_onto(&mut bytes, &config).map_err(|reason| {
            Error::invalid("a worker's configuration", reason, "values that can be encoded")
        })?;
        let span = arena.reserve(bytes.len().max(1), Contents::Stale)?;
        span.store(&bytes);
        let (streams, ends) = CapturedStreams::start(config.settings.captures, supervisor)?;
        let StreamEnds { stdout, stderr } = &ends;
        let socket = Socket::pair().map_err(|e| Error::os("socketpair", "a worker's socket", e));
        let requested = socket.and_then(|(ours, theirs)| {
            let link = ChildLink::open(ours, supervisor, owner, logs.clone())?;
            let fds: Vec<BorrowedFd<'_>> =
                [arena.fd(), theirs.as_fd()].into_iter().chain(doorbell).collect();
            let stdout = stdout.as_ref().map(AsFd::as_fd).or(attributes.stdout);
            let stderr = stderr.as_ref().map(AsFd::as_fd).or(attributes.stderr);
            let request = SpawnRequest {
                entry: &child::ENTRY,
                words: child::words((span.offset(), bytes.len()), (arena.id(), arena.size_bytes())),
                fds: &fds,
                name,
                attributes: SpawnAttributes { stdout, stderr, ..attributes },
            };
            match server.spawn(&request, watcher) {
                Ok(()) => Ok(link),
                Err(error) => {
                    link.close();
                    Err(error)
                }
            }
        });
        match requested {
            Ok(link) => Ok(Launched { config: span, link, streams, logs }),
            Err(error) => {
                streams.stop();
                Err(error)
            }
        }
    }
}
