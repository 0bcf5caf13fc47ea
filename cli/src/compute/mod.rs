//! The commands that compute.

mod factorial;
mod matmul;
mod progress;
mod sort;
mod stats;

use brigade::Pool;

use crate::arguments::Workers;
use crate::error::CommandError;

pub(crate) use factorial::factorial;
pub(crate) use matmul::matmul;
pub(crate) use sort::sort;
pub(crate) use stats::stats;

impl Workers {
    /// A pool of these workers.
    pub(crate) fn pool(&self) -> Result<Pool, CommandError> {
        let builder = Pool::builder().name("brigade");
        let builder = match self.workers {
            Some(workers) => builder.workers(workers.into()),
            None => builder,
        };
        Ok(builder.build()?)
    }
}
