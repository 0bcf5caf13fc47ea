//! The ranks of a job, with a pool in each.

use brigade::{Pool, PoolBuilder};
use mpi::Threading;
use mpi::environment::{self, Universe};
use mpi::traits::Communicator;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::executable;
use crate::launcher::{self, Place};
use crate::link::{Link, PIECE_BYTES};

/// The variable that limits the bytes of one call of MPI, for tests.
const PIECE_VARIABLE: &str = "BRIGADE_MPI_PIECE_BYTES";

/// The variable that sets from how many ranks on a product uses a grid, for tests.
const GRID_VARIABLE: &str = "BRIGADE_MPI_GRID_RANKS";

/// The default: on fewer ranks a grid saves little, and needs more memory for A.
const GRID_RANKS: usize = 9;

/// The ranks of an MPI job, seen from one of them, with this rank's [`Pool`].
///
/// Every rank runs the same program and makes the same calls in the same order. User functions run
/// in the workers of the pools, never in a rank itself. So a task that crashes ends its worker,
/// and the job goes on.
///
/// A rank that panics, or drops its cluster while others still wait for it, ends the whole job,
/// with a message that names the rank and its node.
///
/// All methods must be called by the thread that made the cluster.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade_mpi::Cluster;
///
/// // Also runs without mpirun, as a job of one rank.
/// let cluster = Cluster::new(Pool::builder().workers(2))?;
/// let squares = cluster.map(0..100u64, |n| n * n)?;
/// if cluster.rank() == 0 {
///     let squares: Result<Vec<u64>, _> = squares.into_iter().collect();
///     assert_eq!(squares?.iter().sum::<u64>(), 328_350);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cluster {
    pool: Pool,
    pub(crate) link: Link,
    workers: Vec<usize>,
    warning: Option<String>,
    /// From how many ranks on a product uses a grid of them.
    pub(crate) grid_ranks: usize,
    /// Dropped last: that is `MPI_Finalize`.
    _universe: Universe,
    /// MPI is called by one thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// What the ranks tell each other first: the hash of the executable, and the node. Programs with
/// different versions of this crate exchange it too, so its form never changes.
type Identity = ([u8; 8], String);

/// What ranks with the same executable tell each other before they start.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hello {
    place: Place,
    piece_bytes: usize,
    grid_ranks: usize,
}

impl Cluster {
    /// Initialises MPI, and makes a pool on every rank. All ranks call it, once in the life of
    /// their process.
    ///
    /// If `pool` leaves the number of workers open, the ranks of a node share its processors.
    /// Environment variables of launchers (`OMPI_`, `PMIX_`, `PMI_`, `SLURM_`, `HYDRA_` and
    /// similar) do not reach the workers, unless `pool` sets them. Children that
    /// [`brigade::Process`] starts inherit them like other variables; its builder can remove them.
    /// Rank 0 prints a warning to standard error if a rank is bound to fewer processors than its
    /// share.
    ///
    /// # Errors
    ///
    /// - [`Error::AlreadyInitialized`], and [`Error::Threads`] if the MPI library cannot be used
    ///   beside threads: on this rank.
    /// - [`Error::DifferentExecutable`], on every rank; instead of it [`Error::File`] on a rank
    ///   that cannot read its executable.
    /// - [`Error::Brigade`] if this rank's pool could not be made; then [`Error::RankFailed`] on
    ///   the others.
    /// - [`Error::Codec`] if a message of another rank could not be read.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// use brigade_mpi::{Cluster, Error};
    /// let cluster = Cluster::new(Pool::builder().workers(1))?;
    /// assert_eq!((cluster.rank(), cluster.size()), (0, 1));
    /// let second = Cluster::new(Pool::builder());
    /// assert!(matches!(second, Err(Error::AlreadyInitialized)));
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn new(pool: PoolBuilder) -> Result<Cluster> {
        if environment::is_initialized() || environment::is_finalized() {
            return Err(Error::AlreadyInitialized);
        }
        let (universe, provided) = environment::initialize_with_threading(Threading::Funneled)
            .ok_or(Error::AlreadyInitialized)?;
        // A communicator of its own: messages of other users of MPI do not mix with these.
        let mut link = Link::new(universe.world().duplicate(), PIECE_BYTES);
        if provided < Threading::Funneled {
            return Err(Error::Threads { provided: format!("{provided:?}") });
        }
        let host = environment::processor_name().unwrap_or_else(|_| "a node".to_owned());
        let hosts = same_executable(&link, &host)?;
        link.set_hosts(hosts);
        let hello = Hello {
            place: Place::here(host),
            piece_bytes: piece_bytes(),
            grid_ranks: grid_ranks(),
        };
        let all = link.all_gather(hello)?;
        let (piece_bytes, grid_ranks) = (all[0].piece_bytes, all[0].grid_ranks);
        let places: Vec<_> = all.into_iter().map(|hello| hello.place).collect();
        let pool = link.agree(make_pool(pool, places[link.rank()].workers(&places)))?;
        link.set_piece_bytes(piece_bytes);
        let workers = link.all_gather(pool.workers())?;
        let warning = launcher::binding_warning(&places);
        if let Some(text) = warning.as_ref().filter(|_| link.rank() == 0) {
            eprintln!("brigade-mpi: {text}");
        }
        let _not_send = std::marker::PhantomData;
        let _universe = universe;
        Ok(Cluster { pool, link, workers, warning, grid_ranks, _universe, _not_send })
    }

    /// This rank's number, from 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// assert!(cluster.rank() < cluster.size());
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    #[must_use]
    pub fn rank(&self) -> usize {
        self.link.rank()
    }

    /// The number of ranks.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// assert_eq!(cluster.size(), cluster.hosts().len());
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        self.link.size()
    }

    /// The node of each rank.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// assert!(!cluster.hosts()[cluster.rank()].is_empty());
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        self.link.hosts()
    }

    /// The number of workers of each rank when the cluster was made.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(2))?;
    /// assert_eq!(cluster.workers(), [2]);
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    #[must_use]
    pub fn workers(&self) -> &[usize] {
        &self.workers
    }

    /// This rank's pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// assert_eq!(cluster.pool().submit(|n: u32| n + 1, 41)?.join()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The warning about ranks that are bound to too few processors, if there was one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// if let Some(warning) = cluster.binding_warning() {
    ///     assert!(warning.contains("--bind-to none"));
    /// }
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    #[must_use]
    pub fn binding_warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.link.end_job("has panicked");
        }
        self.link.leave();
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("rank", &self.rank())
            .field("hosts", &self.hosts())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// The node of each rank, if all run the same executable.
fn same_executable(link: &Link, host: &str) -> Result<Vec<String>> {
    let executable = executable::identity();
    let own = executable.as_ref().map_or([0; 8], |hash| hash.to_le_bytes());
    let all: Vec<Identity> = link.all_gather((own, host.to_owned()))?;
    executable.map_err(|source| Error::File { path: "/proc/self/exe".into(), source })?;
    if let Some(rank) = all.iter().position(|(hash, _)| *hash != all[0].0) {
        let (host, first) = (all[rank].1.clone(), all[0].1.clone());
        return Err(Error::DifferentExecutable { rank, host, first });
    }
    Ok(all.into_iter().map(|(_, host)| host).collect())
}

/// This rank's pool, with so many workers if its program leaves that open.
fn make_pool(mut builder: PoolBuilder, workers: usize) -> Result<Pool> {
    for name in launcher::variables() {
        builder = builder.env_remove_inherited(name);
    }
    Ok(builder.workers_or(workers).build()?)
}

/// The bytes of one call of MPI that this process asks for.
fn piece_bytes() -> usize {
    let number = std::env::var(PIECE_VARIABLE).ok().and_then(|text| text.parse::<usize>().ok());
    number.unwrap_or(PIECE_BYTES).clamp(size_of::<u64>(), PIECE_BYTES)
}

/// From how many ranks on this process wants a grid.
fn grid_ranks() -> usize {
    let text = std::env::var(GRID_VARIABLE).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(GRID_RANKS)
}
