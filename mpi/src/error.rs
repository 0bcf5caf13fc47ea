//! What can go wrong between ranks.

use std::path::PathBuf;

/// Why a call on a [`Cluster`](crate::Cluster) failed.
///
/// # Examples
///
/// ```
/// let error = brigade_mpi::Error::AlreadyInitialized;
/// assert!(error.to_string().contains("MPI_Init"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The rank's own pool, or its memory, failed.
    #[error(transparent)]
    Brigade(#[from] brigade::Error),
    /// MPI was initialised before, or has been finalised: a process has one cluster in its life.
    #[error(
        "MPI is initialised already, and MPI_Init works once in a process: make one Cluster, and \
         keep it until the program ends"
    )]
    AlreadyInitialized,
    /// The MPI library cannot be used in a process with several threads.
    #[error("the MPI library offers thread level {provided}, and MPI_THREAD_FUNNELED is needed")]
    Threads {
        /// The level that it offers.
        provided: String,
    },
    /// The ranks do not run the same executable.
    #[error(
        "rank {rank} on {host} runs another executable than rank 0 on {first}: install the same \
         file on every node"
    )]
    DifferentExecutable {
        /// The first rank with another executable.
        rank: usize,
        /// Its node.
        host: String,
        /// The node of rank 0.
        first: String,
    },
    /// A setting differs between the ranks, or a call has different arguments on them.
    #[error("{what} is {theirs} on rank {rank} and {ours} on rank 0; all ranks need the same")]
    Disagreement {
        /// The setting or argument.
        what: &'static str,
        /// The first rank that differs.
        rank: usize,
        /// Its value.
        theirs: String,
        /// The value of rank 0.
        ours: String,
    },
    /// A call that all ranks make together failed on another rank.
    #[error("rank {rank} on {host} failed: {message}")]
    RankFailed {
        /// The rank.
        rank: usize,
        /// Its node.
        host: String,
        /// Its error.
        message: String,
    },
    /// A value could not be encoded or decoded.
    #[error("{what} could not be {action}: {reason}")]
    Codec {
        /// The value.
        what: &'static str,
        /// `encoded` or `decoded`.
        action: &'static str,
        /// The codec's message.
        reason: String,
    },
    /// An argument is outside its range.
    #[error("{what} is {value}, expected {expected}")]
    InvalidArgument {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// The result of a call on a cluster.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn invalid(
        what: &'static str,
        value: impl ToString,
        expected: impl ToString,
    ) -> Error {
        Error::InvalidArgument { what, value: value.to_string(), expected: expected.to_string() }
    }

    pub(crate) fn encode(what: &'static str, reason: &impl ToString) -> Error {
        Error::Codec { what, action: "encoded", reason: reason.to_string() }
    }

    pub(crate) fn decode(what: &'static str, reason: &impl ToString) -> Error {
        Error::Codec { what, action: "decoded", reason: reason.to_string() }
    }
}
