//! The validated settings of a pool.

use std::any::TypeId;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::object::transfer::{self, Lease, LeaseList};
use crate::pool::record::task::TaskOptions;
use crate::process::function::FunctionOffset;
use crate::process::host_snapshot::HostSnapshot;
use crate::sys::limits;
use crate::worker::call;
use crate::worker::cpu_spread::WORKERS_MAX;
use crate::worker::invocation::{Encode, Trampoline};
use crate::worker::settings::Settings;

/// How tasks are run.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, Start};
/// let here = Pool::builder().start(Start::InProcess).build()?;
/// assert_eq!(here.submit(|()| std::process::id(), ())?.join()?, std::process::id());
/// let apart = Pool::builder().workers(1).start(Start::ForkServer).build()?;
/// assert_ne!(apart.submit(|()| std::process::id(), ())?.join()?, std::process::id());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Start {
    /// In workers that a fork server forks: a crash costs one task.
    #[default]
    ForkServer,
    /// In the calling thread, at once, inside `submit`: for debugging. The initializer runs in
    /// `build`. Tasks cannot be killed, timed out, limited or resized (these are errors), and a
    /// crash ends the program.
    InProcess,
}

/// The settings of a pool. [`PoolBuilder`](crate::PoolBuilder) sets them, and `build` checks them.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) start: Start,
    /// Set in `build`.
    pub(crate) workers: usize,
    pub(crate) name: String,
    pub(crate) grace: Duration,
    pub(crate) task_options: TaskOptions,
    /// Moved to the pool's state, which keeps it while there are workers.
    pub(crate) initializer: Option<Initializer>,
    /// Runs in the process from which the workers are forked.
    pub(crate) preload: Option<Initializer>,
    /// How long `build` waits for it.
    pub(crate) preload_timeout: Option<Duration>,
    /// The value that each worker has.
    pub(crate) state: Option<StateType>,
    /// Moved to the pool's state, as the initializer.
    pub(crate) state_maker: Option<Initializer>,
    /// For random numbers. Set in `build`, unless it was given.
    pub(crate) seed: Option<u64>,
    pub(crate) max_tasks_per_worker: Option<u64>,
    pub(crate) memory_soft_bytes: Option<u64>,
    pub(crate) settings: Settings,
    /// Processors for the workers, in turn. Set in `build`.
    pub(crate) pin: Option<Vec<usize>>,
    /// Set in `build`; `None` where tasks have no processes.
    pub(crate) snapshot: Option<Arc<HostSnapshot>>,
    /// Set in `build`: spinning uses up a processor quota.
    pub(crate) spin_short: bool,
    /// A worker without work for this long leaves.
    pub(crate) idle_timeout: Option<Duration>,
    /// How many more tasks than workers may be unfinished.
    pub(crate) queue_limit: Option<usize>,
}

/// The type of the workers' states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateType {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

/// A function and its encoded argument: an initializer, a preload, a maker of states, or the
/// function of a broadcast.
#[derive(Debug, Clone)]
pub(crate) struct Initializer {
    pub(crate) function: Trampoline,
    /// The number of the broadcast whose replacements run it; `None` if all workers do.
    pub(crate) broadcast: Option<u64>,
    /// The offset of the function, for other processes. Set in `build`.
    pub(crate) word: u64,
    pub(crate) encoded: Vec<u8>,
    /// What its argument refers to. Every worker, including replacements, may keep it.
    pub(crate) leases: Arc<LeaseList>,
}

impl Initializer {
    /// An initializer with this trampoline, whose argument `encode` writes.
    pub(crate) fn new(
        function: Trampoline,
        encode: Encode<'_>,
    ) -> std::result::Result<Initializer, String> {
        let mut encoded = Vec::new();
        let ((), leases) = transfer::encode_shared(|| encode(&mut encoded))?;
        let word = FunctionOffset::NONE.to_word();
        let (leases, broadcast) = (Arc::new(leases), None);
        Ok(Initializer { function, broadcast, word, encoded, leases })
    }

    /// Its leases, for one more process.
    pub(crate) fn leases_again(&self) -> LeaseList {
        self.leases.iter().filter_map(Lease::again).collect()
    }

    /// Sets the offset of the function.
    pub(crate) fn locate(&mut self) -> Result<()> {
        self.word = FunctionOffset::of(self.function as *const ())?.to_word();
        Ok(())
    }

    /// The initializer in the form of a worker's configuration.
    pub(crate) fn worker_config(&self) -> (u64, usize, Vec<u8>) {
        let mut bytes = call::table(&self.leases);
        bytes.extend_from_slice(&self.encoded);
        (self.word, self.leases.len(), bytes)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            start: Start::ForkServer,
            workers: 0,
            name: "brigade".into(),
            grace: Duration::from_secs(5),
            task_options: TaskOptions::default(),
            initializer: None,
            preload: None,
            preload_timeout: None,
            state: None,
            state_maker: None,
            seed: None,
            max_tasks_per_worker: None,
            memory_soft_bytes: None,
            settings: Settings::default(),
            pin: None,
            snapshot: None,
            spin_short: false,
            idle_timeout: None,
            queue_limit: None,
        }
    }
}

impl Config {
    /// Raises the limit of descriptors if `count` more workers need that.
    pub(crate) fn make_room_for(&self, count: usize) -> Result<()> {
        // Each takes a socket and a pidfd, and a pipe for each captured stream.
        let each = 2 + self.settings.captures.count();
        limits::reserve_descriptors("a worker", count * each)
    }
}

/// Checks the number of workers of a pool.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if it is out of range.
pub(crate) fn check_worker_count(workers: usize) -> Result<()> {
    if (1..=WORKERS_MAX).contains(&workers) {
        return Ok(());
    }
    Err(Error::invalid("the number of workers", workers, "1 to 1024"))
}
