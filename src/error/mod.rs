//! Errors: one variant for each remedy.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::shape::Shape;

mod task;

pub use task::{Death, Phase, TaskError};

/// The result of every fallible call of this crate.
///
/// # Examples
///
/// ```
/// fn column_means(rows: usize) -> brigade::Result<Vec<f64>> {
///     let pool = brigade::Pool::builder().workers(1).build()?;
///     let table = brigade::SharedArray::from_fn([rows, 2], |[_, column]| column as f64)?;
///     Ok(pool.mean_axis(&table, 0)?.as_slice().to_vec())
/// }
/// assert_eq!(column_means(10)?, [0.0, 1.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
///
/// Each variant stands for a remedy: match on it to decide what to do next. The message contains
/// the values and, if there is one, the next step.
///
/// # Examples
///
/// ```
/// use brigade::{Error, SharedArray};
/// let refused = SharedArray::<f64>::zeroed([1 << 31, 1 << 26]);
/// assert!(matches!(refused, Err(Error::NoSpace { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is less memory than requested. Request less, free arrays, or raise the limit.
    #[error(
        "no space for {requested_bytes} bytes: {free_bytes} bytes are free, limited by \
         {limited_by}; free arrays or raise that limit"
    )]
    NoSpace {
        /// The requested memory, in bytes.
        requested_bytes: u64,
        /// The most that could have been granted, in bytes.
        free_bytes: u64,
        /// The limit that was reached.
        limited_by: Limit,
    },
    /// A region of this name exists already. Choose another name, or open it.
    #[error(
        "the name {name:?} is taken; choose another, open it, or reclaim it if no process uses it"
    )]
    NameTaken {
        /// The requested name.
        name: String,
    },
    /// Nothing has this name.
    #[error("found nothing named {name:?} in {place}; check the name, or create it first")]
    NotFound {
        /// The requested name or path.
        name: String,
        /// The directory or table that was searched.
        place: &'static str,
    },
    /// The name is not a valid name for a region.
    #[error(
        "{name:?} is not a name for a region: {reason}; \
         use 1 to 100 of A-Z a-z 0-9 _ . - without a leading dot"
    )]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An argument lies outside its range.
    #[error("{what} is {value}, but must be {expected}")]
    InvalidArgument {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: String,
        /// The accepted values.
        expected: Cow<'static, str>,
    },
    /// Bytes do not have the expected layout: dtype, shape, order or header.
    #[error("{place}: found {found}, but expected {expected}")]
    Layout {
        /// The file, region or value.
        place: String,
        /// The layout that was found.
        found: String,
        /// The expected layout.
        expected: String,
    },
    /// Two shapes do not fit each other.
    #[error("{operation}: shapes {left} and {right} do not fit: {rule}")]
    ShapeMismatch {
        /// The operation.
        operation: &'static str,
        /// Shape of the left operand.
        left: Shape,
        /// Shape of the right operand.
        right: Shape,
        /// The rule that they violate.
        rule: &'static str,
    },
    /// A system with this matrix has no solution, or infinitely many.
    #[error(
        "{operation}: the matrix{} is singular, pivot {pivot} of its factorisation is zero; \
         some of its rows or columns are linearly dependent",
        InStack(*.member)
    )]
    Singular {
        /// The operation.
        operation: &'static str,
        /// The index of the matrix, if it is one of a stack.
        member: Option<usize>,
        /// The index of the zero on the diagonal of U.
        pivot: usize,
    },
    /// The matrix has no Cholesky factor: it is not positive definite.
    #[error(
        "{operation}: the matrix{} is not positive definite, pivot {pivot} of its factorisation is \
         not positive; use the LU factorisation",
        InStack(*.member)
    )]
    NotPositiveDefinite {
        /// The operation.
        operation: &'static str,
        /// The index of the matrix, if it is one of a stack.
        member: Option<usize>,
        /// The index of the pivot.
        pivot: usize,
    },
    /// A least squares problem has more than one solution: the matrix does not have full rank.
    #[error(
        "{operation}: column {column} of the matrix is a combination of others, up to \
         rounding; leave it out, or use the singular value decomposition"
    )]
    RankDeficient {
        /// The operation.
        operation: &'static str,
        /// The index of such a column.
        column: usize,
    },
    /// An operand or a result has NaN or an infinity.
    #[error(
        "{operation}: {what} has NaN or an infinity at {position:?}; \
         replace it, or scale what overflows"
    )]
    NotFinite {
        /// The operation.
        operation: &'static str,
        /// The operand or result.
        what: &'static str,
        /// The index of the element in each dimension.
        position: Vec<usize>,
    },
    /// The fork server found threads that a library started before `main`.
    #[error(
        "the fork server has {threads} threads, but must have one to fork: a linked library \
         starts threads when it is loaded ({names:?}); switch that off (for jemalloc, \
         background_thread:false), load the library later, or use Start::InProcess"
    )]
    MultiThreaded {
        /// The number of threads.
        threads: usize,
        /// Names of the other threads, or of the first of them; `exe` for a thread without one.
        names: Vec<String>,
    },
    /// The program has privileges that its caller lacks, or gets them when it is executed again
    /// (set-user-ID, file capabilities). Its caller could control a fork server, so it starts none.
    #[error(
        "a program with more privileges than its caller has no worker processes ({privileges}): \
         remove them from its file and start it as the user it needs, or use Start::InProcess"
    )]
    Privileged {
        /// The privileges.
        privileges: String,
    },
    /// A process at the deepest level of nesting tried to start a process or a pool.
    #[error(
        "processes are nested {depth} deep here, and {limit} is the limit; \
         start it in a process with fewer levels above it"
    )]
    TooDeep {
        /// The nesting depth of this process.
        depth: u32,
        /// The largest allowed depth.
        limit: u32,
    },
    /// A process of this crate could not be started.
    #[error("could not start {what}: {reason}")]
    Spawn {
        /// The process.
        what: &'static str,
        /// The reason.
        reason: String,
    },
    /// The pool or channel was shut down.
    #[error("{what} is closed; build another")]
    Closed {
        /// What was closed.
        what: &'static str,
    },
    /// There is no room at present.
    #[error("{what} is full ({capacity}); take something out, or wait")]
    Full {
        /// What is full.
        what: &'static str,
        /// Its capacity, with its unit.
        capacity: String,
    },
    /// There is nothing to take at present.
    #[error("{what} is empty; put something in, or wait")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// The value is larger than the limit, so it can never fit.
    #[error("{what} of {size_bytes} bytes exceeds the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The value.
        what: &'static str,
        /// Its size.
        size_bytes: u64,
        /// The largest that fits.
        limit_bytes: u64,
    },
    /// Shared memory has values that this crate never writes: something overwrote it.
    #[error("{what} is corrupt: {found}; something overwrote shared memory, create it again")]
    Corrupt {
        /// Which structure.
        what: &'static str,
        /// The impossible values.
        found: String,
    },
    /// It cannot continue: a barrier whose member died, a pool whose workers do not start.
    #[error("{what} is broken: {cause}")]
    Broken {
        /// What is broken.
        what: &'static str,
        /// Why.
        cause: String,
    },
    /// The other process is in another pid namespace, so this one could not detect its death.
    #[error(
        "{what} belongs to pid namespace {theirs}, but this process is in {ours}; \
         share the namespace"
    )]
    PidNamespace {
        /// The object to open.
        what: String,
        /// The inode of its namespace.
        theirs: u64,
        /// The inode of this process's namespace.
        ours: u64,
    },
    /// The other process is in another time namespace, so this one could not detect its death:
    /// processes are identified by their start time.
    #[error(
        "{what} belongs to time namespace {theirs}, but this process is in {ours}; \
         share the namespace"
    )]
    TimeNamespace {
        /// The object to open.
        what: String,
        /// The inode of its namespace; 0 if its kernel has none.
        theirs: u64,
        /// The inode of this process's namespace; 0 if the kernel has none.
        ours: u64,
    },
    /// A wait reached its time limit.
    #[error(
        "timed out after {after:?} waiting for {what}; wait longer, or cancel the tasks ahead of it"
    )]
    TimedOut {
        /// The awaited event or resource.
        what: &'static str,
        /// The time limit.
        after: Duration,
    },
    /// A wait for several tasks reached its time limit before all had ended.
    #[error(
        "{unfinished} of {total} tasks unfinished after {after:?}; wait again, cancel or kill them"
    )]
    Unfinished {
        /// The number of tasks that had not ended.
        unfinished: usize,
        /// The number of awaited tasks.
        total: usize,
        /// The time limit.
        after: Duration,
    },
    /// A message, or the argument of an initializer, could not be encoded or decoded. For example,
    /// it has another type, it nests more than 512 levels deep, or more than 2^20 of its elements
    /// take no bytes.
    #[error("the {what} could not be {action}: {reason}")]
    Codec {
        /// `message`, in most cases.
        what: &'static str,
        /// `encoded` or `decoded`.
        action: &'static str,
        /// The codec's message.
        reason: String,
    },
    /// A task did not return a value.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A call to the operating system failed.
    #[error("{call} failed for {subject}: {source}")]
    Os {
        /// The call.
        call: &'static str,
        /// The file, process or memory it was called for.
        subject: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without a change to its arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Error;
    /// assert!(Error::Empty { what: "the queue" }.is_retryable());
    /// assert!(!Error::Closed { what: "the queue" }.is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::NoSpace { .. }
                | Error::Full { .. }
                | Error::Empty { .. }
                | Error::TimedOut { .. }
                | Error::Unfinished { .. }
        )
    }

    /// The death of a worker, if this error reports one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ExitReason, Pool};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let error = pool.submit(|()| -> () { std::process::abort() }, ())?.join().unwrap_err();
    /// assert_eq!(error.death().map(|death| death.reason), Some(ExitReason::Signal(6)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn death(&self) -> Option<&Death> {
        match self {
            Error::Task(TaskError::Died(death)) => Some(death),
            _ => None,
        }
    }

    /// The error of a call that drops its result when it fails: no array of the caller's is torn.
    pub(crate) fn without_torn(mut self) -> Error {
        if let Error::Task(TaskError::Died(death)) = &mut self {
            death.torn.clear();
        }
        self
    }

    /// An argument outside its range.
    pub(crate) fn invalid(
        what: &'static str,
        value: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Error {
        Error::InvalidArgument { what, value: value.to_string(), expected: expected.into() }
    }

    /// A failed system call.
    pub(crate) fn os(
        call: &'static str,
        subject: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Error {
        Error::Os { call, subject: subject.into(), source: source.into() }
    }
}

/// Which matrix of a stack an error is about, in its message.
struct InStack(Option<usize>);

impl fmt::Display for InStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |member| write!(f, " {member} of the stack"))
    }
}

/// The limit that a request for memory exceeded.
///
/// # Examples
///
/// ```
/// use brigade::{Error, Limit, SharedArray, set_memory_limit};
/// set_memory_limit(16 << 20);
/// let error = SharedArray::<u8>::zeroed([32 << 20]).unwrap_err();
/// assert!(matches!(error, Error::NoSpace { limited_by: Limit::Caller, .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// Memory that the machine has available (`MemAvailable`), or what
    /// [`set_available_memory`](crate::set_available_memory) or `BRIGADE_AVAILABLE_MEMORY` states.
    Machine,
    /// The memory limit of this process's cgroup.
    Cgroup,
    /// The cap that the caller set.
    Caller,
    /// The size of the arena, fixed when it was made; see
    /// [`set_arena_size`](crate::set_arena_size) and `BRIGADE_ARENA_SIZE`.
    Arena,
    /// The kernel's commit limit (`vm.overcommit_memory` is 2).
    Commit,
    /// The file system that holds the region or file.
    FileSystem,
    /// The limit on the size of this process's files (`RLIMIT_FSIZE`, `ulimit -f`), of which the
    /// arena is one.
    FileSize,
    /// The limit on this process's address space (`RLIMIT_AS`, `ulimit -v`), or its free part.
    AddressSpace,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Machine => "the machine's available memory (or BRIGADE_AVAILABLE_MEMORY)",
            Limit::Cgroup => "the cgroup's memory limit",
            Limit::Caller => "the cap set by the program",
            Limit::Arena => "the size of the arena (BRIGADE_ARENA_SIZE)",
            Limit::Commit => "the kernel's commit limit",
            Limit::FileSystem => "the file system",
            Limit::FileSize => "RLIMIT_FSIZE (ulimit -f)",
            Limit::AddressSpace => "the address space (RLIMIT_AS, ulimit -v)",
        })
    }
}
