//! Scheduling of tasks on workers, and recovery when a worker dies.
//!
//! `README.md` in this folder describes the protocol step by step, and why it is correct.

pub(crate) mod api;
pub(crate) mod driver;
mod items;
mod loops;
mod members;
pub(crate) mod record;
mod team;
mod with;

pub use crate::worker::child::{is_cancelled, worker_index};
pub use crate::worker::current_task::{seed_of, task_number, task_seed};
pub use crate::worker::logs::level::LogLevel;
pub use api::broadcast::{BroadcastOptions, WorkerResult};
pub use api::builder::PoolBuilder;
pub use api::completed::{AsCompleted, ReturnWhen, Unfinished, Waited, as_completed, wait};
pub use api::handle::Handle;
pub use api::pool::Pool;
pub use api::pools::{PoolInfo, WorkerInfo, pools};
pub use api::shutdown::Shutdown;
pub use api::stats::{Stats, WorkerStats};
pub use api::timeline::TimelineSummary;
pub use driver::progress::Progress;
pub use items::{Imap, Indexed, Options};
pub use loops::{
    ByRows, ByTiles, Elements, Fold, FoldArray, Halo, HaloRows, HaloTile, Operand, ParLoop, ParMap,
    Records, Rows, RowsMut, Scratch, Subsampled, Tile, TileMut, Unit, Whole,
};
pub(crate) use loops::{Parts, Scattered};
pub use members::{TeamBroken, TeamMember, TeamOptions};
pub use record::config::Start;
pub use record::counters::Restarts;
pub use record::report::WorkerStatus;
pub use record::run_times::RunTimes;
pub use with::With;

pub(crate) use crate::worker::invocation::{CodecError, Invocation};
pub(crate) use team::{Member, TeamDescriptor, TeamJob, take_part};
