//! The state that a pool, its handles and the supervisor share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tracing::dispatcher::Dispatch;

use crate::error::{Error, Result};
use crate::pool::record::config::Config;
use crate::pool::record::publisher::Publisher;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::state_guard::StateGuard;
use crate::pool::record::task::TaskOptions;
use crate::process::fork_server::ForkServer;
use crate::process::supervisor::{HandlerId, Supervisor};
use crate::region::arena::Arena;
use crate::sys::fork::Instance;
use crate::sys::poll::EventFd;
use crate::worker::preload;

/// How long a killed worker may take to end before it is abandoned.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a worker may take to wake up on a busy machine, after it was offered a task or asked to
/// leave.
pub(crate) const WAKE_TIMEOUT: Duration = Duration::from_secs(1);

/// The inner part of a pool, without the public interface.
pub(crate) struct Core {
    pub(crate) made_in: Instance,
    pub(crate) config: Config,
    pub(crate) arena: Arc<Arena>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) server: Mutex<Option<Arc<ForkServer>>>,
    pub(crate) doorbell: Arc<EventFd>,
    pub(crate) doorbell_handler: HandlerId,
    pub(crate) state: Mutex<State>,
    /// Notified when a worker starts or ends.
    pub(crate) changed: Condvar,
    pub(crate) own: Weak<Core>,
    pub(crate) last_call: AtomicU64,
    /// Counts the turns of all other drivers. A spinning thread looks again when it changes: its
    /// task may have moved to the queue pair of a replacement, which the thread does not poll.
    pub(crate) driver_turns: AtomicU64,
    /// How many workers there should be, as `State::target` has it under the mutex.
    pub(crate) size: AtomicUsize,
    /// What other processes can see; `None` once the pool has ended. Locked after `state`.
    pub(crate) publisher: Mutex<Option<Publisher>>,
    /// The subscriber of the thread that made the pool.
    pub(crate) subscriber: Dispatch,
}

impl Core {
    /// The fork server, if it runs. Does not wait for one that is starting.
    pub(crate) fn server_if_alive(&self) -> Option<Arc<ForkServer>> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().filter(|server| server.is_alive()).map(Arc::clone)
    }

    /// The fork server, started again if it has died. Starting takes milliseconds, so call this
    /// without the mutex. The server may not have answered yet; requests wait in its socket.
    pub(crate) fn ensure_server(&self) -> Result<Arc<ForkServer>> {
        if let Some(server) = self.server_if_alive() {
            return Ok(server);
        }
        let shared = ForkServer::current_unanswered(&self.config.settings.env_removed)?;
        let state = self.lock();
        if state.life == Lifecycle::Closed {
            // The pool has ended meanwhile.
            drop(state);
            return Err(Error::Closed { what: "the pool" });
        }
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = server.as_ref().filter(|server| server.is_alive()) {
            // Another thread has started it, and may have requested workers.
            return Ok(Arc::clone(running));
        }
        let limit = self.config.preload_timeout;
        let current = own_server(&self.config, &self.arena, shared, limit)?;
        let old = server.replace(Arc::clone(&current));
        drop(server);
        drop(state);
        // Its end may take a while, so no mutex is held.
        drop(old);
        Ok(current)
    }

    #[inline]
    pub(crate) fn lock(&self) -> StateGuard<'_> {
        // A panic under the mutex is a bug of this crate. Continuing is better than hanging.
        StateGuard::new(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a change among the workers, at most until `deadline`.
    pub(crate) fn wait_changed<'a>(
        &'a self,
        state: StateGuard<'a>,
        deadline: Option<Instant>,
    ) -> StateGuard<'a> {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        state.wait(&self.changed, left)
    }

    /// Whether this process made the pool: false in a child that was forked from it.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.made_in.is_current()
    }

    /// A number for a call that consists of several tasks.
    pub(crate) fn next_call(&self) -> u64 {
        // Only distinctness matters.
        self.last_call.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The arena that holds the pool's arrays and payloads.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many workers there are, or may be.
    pub(crate) fn workers(&self) -> usize {
        // Relaxed: the pool may be resized before the caller uses the number.
        self.size.load(Ordering::Relaxed)
    }

    /// The default options of tasks.
    pub(crate) fn task_options(&self) -> TaskOptions {
        self.config.task_options
    }
}

/// The server that forks the workers of a pool: the one that all pools share, or, if the pool
/// preloads, one of its own below that, which may not have answered yet. That is killed if it has
/// not answered within `answer_within`.
pub(crate) fn own_server(
    config: &Config,
    arena: &Arc<Arena>,
    shared: Arc<ForkServer>,
    answer_within: Option<Duration>,
) -> Result<Arc<ForkServer>> {
    let Some((function, host)) = config.preload.as_ref().zip(config.snapshot.as_deref()) else {
        return Ok(shared);
    };
    let call = (function.word, function.encoded.as_slice());
    preload::start(arena, &shared, call, &config.settings, host, answer_within).map(Arc::new)
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("config", &self.config).finish_non_exhaustive()
    }
}
