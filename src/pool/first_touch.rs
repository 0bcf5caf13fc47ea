//! Fresh arrays whose memory is put behind them by the workers.

use bytemuck::Pod;

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::pool::core::Core;
use crate::pool::job::{self, Job, JobError};
use crate::pool::state::Watch;
use crate::pool::task::TaskId;
use crate::pool::{Pool, Start, handle};
use crate::shape::Shape;

/// Smaller arrays are left to be touched by whoever uses them first, in bytes.
const WORTH_SHARING_BYTES: u64 = 8 << 20;
/// Parts are multiples of this, the size of a huge page, in bytes.
const PART_UNIT_BYTES: u64 = 2 << 20;

impl Pool {
    /// An array of zeros, whose memory the workers put behind it in parallel, in huge pages where
    /// the kernel has them: the work that the first loop over it would have to do otherwise.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::zeroed`], and what [`submit`](Pool::submit) and
    /// [`join`](crate::Handle::join) fail with.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = pool.zeroed::<f32>([1 << 10, 3])?;
    /// assert!(x.as_slice().iter().all(|&x| x == 0.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn zeroed<T: Pod>(&self, shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        let array = SharedArray::zeroed(shape)?;
        self.touch(&array)?;
        Ok(array)
    }

    /// The same without zeroing what is reused: elements are unspecified, but initialised.
    ///
    /// # Errors
    ///
    /// As [`Pool::zeroed`].
    pub fn for_overwrite<T: Pod>(&self, shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        let array = SharedArray::for_overwrite(shape)?;
        self.touch(&array)?;
        Ok(array)
    }

    fn touch<T: Pod>(&self, array: &SharedArray<T>) -> Result<()> {
        let (start, len) = (array.span().offset(), array.span().len_bytes() as u64);
        if len < WORTH_SHARING_BYTES || self.core.config.start == Start::InProcess {
            return Ok(());
        }
        let part = len.div_ceil(self.workers() as u64).next_multiple_of(PART_UNIT_BYTES);
        let mut ids: Vec<TaskId> = Vec::new();
        let mut outcome = Ok(());
        for from in (0..len).step_by(usize::try_from(part).unwrap_or(usize::MAX)) {
            let range = (start + from, part.min(len - from));
            let encode = |out: &mut Vec<u8>| job::encode_onto(out, &range);
            let name = "brigade::Pool::zeroed";
            match self.core.submit(populate, name, self.core.rules(), encode) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // All are waited for, come what may: the array may be dropped next.
        for id in ids {
            let taken = self.core.wait(None, Watch::Tasks(&[id]), |state| Core::take(state, id));
            let taken = taken.map_or(Err(Error::Closed { what: "the pool" }), handle::open::<()>);
            outcome = outcome.and(taken);
        }
        outcome
    }
}

/// Puts memory behind a range of the arena, in a worker.
fn populate(job: &mut Job<'_>) -> std::result::Result<(), JobError> {
    let (offset, len) = job.argument::<(u64, u64)>()?;
    job.begin();
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    job.windows.populate(offset, len).map_err(|error| JobError::Result(error.to_string()))?;
    job.finish(&())
}
