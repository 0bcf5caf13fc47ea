//! New arrays whose memory the workers allocate, by touching it first.
//!
//! Every worker begins with the share that it gets in later loops, and the kernel allocates memory
//! on the node of the processor that touches it first. So on a machine with several memory nodes, a
//! worker that is bound to a processor (`pin_workers`) finds its share of an array on its own node.
//! An unbound worker may be moved by the kernel, and its memory stays where it is.

use bytemuck::Pod;

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::pool::loops::loop_worker::{LoopTask, LoopWorker};
use crate::pool::loops::parallel_loop::ParallelLoop;
use crate::pool::loops::partition::Partition;
use crate::pool::{Pool, Start};
use crate::shape::Shape;
use crate::worker::invocation::{self, CodecError, Invocation};

/// Smaller arrays are left to be touched at their first use, in bytes.
const WORTH_SHARING_BYTES: usize = 8 << 20;
/// The memory that a worker populates at once: a huge page, in bytes.
const PART_BYTES: usize = 2 << 20;
/// The elements that a worker computes at once in `from_fn`, in bytes.
const CHUNK_BYTES: usize = 256 << 10;

impl Pool {
    /// An array of zeros, whose memory the workers allocate in parallel, in huge pages where the
    /// kernel has them. Otherwise the first loop over the array would have to do that. Each worker
    /// allocates the part with which it begins in later loops over arrays of that size.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::zeroed`], and what [`for_each`](crate::ParLoop::for_each) fails with.
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

    /// The same, but reused memory is not zeroed: elements are unspecified, but initialised.
    ///
    /// # Errors
    ///
    /// As [`Pool::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 2, 3])?;
    /// let mut double = pool.for_overwrite::<i32>(x.shape())?;
    /// pool.map_into(&x, &mut double, |x| 2 * x)?;
    /// assert_eq!(double.as_slice(), [2, 4, 6]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn for_overwrite<T: Pod>(&self, shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        let array = SharedArray::for_overwrite(shape)?;
        self.touch(&array)?;
        Ok(array)
    }

    /// An array whose element at `[i, j, ..]` is `element([i, j, ..])`, computed by the workers.
    /// Each worker allocates and fills the part that it gets in later loops over an array of that
    /// size. The order of the calls is unspecified.
    ///
    /// `element` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`SharedArray::from_fn`], and what [`for_each`](crate::ParLoop::for_each) fails with.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = pool.from_fn([2, 3], |[i, j]| 10 * i + j)?;
    /// assert_eq!(a.as_slice(), [0, 1, 2, 10, 11, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn from_fn<T: Pod, F, const N: usize>(
        &self,
        shape: [usize; N],
        element: F,
    ) -> Result<SharedArray<T>>
    where
        F: Fn([usize; N]) -> T + Copy + Send + 'static,
    {
        let mut array = SharedArray::for_overwrite(shape)?;
        let chunk_len = (CHUNK_BYTES / size_of::<T>().max(1)).max(1);
        self.par_chunks_mut(&mut array, chunk_len)
            .enumerate()
            .with((shape.to_vec(), chunk_len))
            .for_each(move |(shape, chunk_len), (chunk, places)| {
                let mut index = unravel::<N>(shape, chunk * chunk_len);
                for place in places {
                    *place = element(index);
                    advance(shape, &mut index);
                }
            })
            .map_err(Error::without_torn)?;
        Ok(array)
    }

    fn touch<T: Pod>(&self, array: &SharedArray<T>) -> Result<()> {
        let (start, len_bytes) = (array.span().offset(), array.span().len_bytes());
        if len_bytes < WORTH_SHARING_BYTES || self.core.config.start == Start::InProcess {
            return Ok(());
        }
        let core = &*self.core;
        let partition = Partition::new(len_bytes, PART_BYTES)?;
        let (task_options, name) = (core.task_options(), "brigade::Pool::zeroed");
        // The elements keep their values, so a death tears nothing.
        let parallel_loop = ParallelLoop {
            core,
            partition,
            is_written: false,
            may_end_early: true,
            task_options,
            progress: None,
            name,
        };
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &start);
        parallel_loop.run(populate, encode).map(drop)
    }
}

/// Populates parts of the arena, in a worker.
fn populate(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (task, start) = invocation.argument::<(LoopTask, u64)>()?;
    let worker = LoopWorker::new(invocation, task)?;
    invocation.begin();
    let mut populated = Ok(());
    worker.run(&mut |_, mut parts| {
        populated = parts.try_for_each(|part| {
            invocation.windows.populate(start + part.range.start as u64, part.range.len())
        });
        populated.is_err().then_some(0)
    });
    populated.map_err(|error| CodecError::Result(error.to_string()))?;
    invocation.finish(&())
}

/// The index of element `at`, in row-major order, of an array of this shape.
fn unravel<const N: usize>(shape: &[usize], mut at: usize) -> [usize; N] {
    let mut index = [0; N];
    for axis in (0..N).rev() {
        index[axis] = at % shape[axis];
        at /= shape[axis];
    }
    index
}

/// Advances to the index of the next element in row-major order; from the last to the first.
fn advance(shape: &[usize], index: &mut [usize]) {
    for (index, &extent) in index.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < extent {
            return;
        }
        *index = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_go_through_an_array_in_row_major_order() {
        let shape = [3, 1, 4];
        let mut index = [0; 3];
        for at in 0..12 {
            assert_eq!(index, [at / 4, 0, at % 4]);
            assert_eq!(unravel::<3>(&shape, at), index);
            advance(&shape, &mut index);
        }
        assert_eq!(index, [0; 3]);
    }
}
