//! Whole frames as tasks, several of them at a time.

use brigade::{Error, Frozen, Handle, OwnedChunk, Pool, Result, SharedArray};

use crate::filter::{Filter, Role, Window};
use crate::picture::Sample;

/// What a task gets: the filter, the planes of the frame and of the frame before, and those of the
/// output, which move into the task and back.
type Job<T> = (Filter, [Vec<Frozen<T>>; 2], Vec<OwnedChunk<T>>);

fn filter_frame<T: Sample>((filter, [now, previous], mut out): Job<T>) -> Vec<OwnedChunk<T>> {
    let planes = out.iter_mut().zip(&now).zip(&previous);
    for (plane, ((out, now), previous)) in planes.enumerate() {
        let width = now.shape().dims()[1];
        let window = Window::new(now.as_slice(), 0, width);
        filter.apply(Role::of_plane(plane), window, previous.as_slice(), out.as_mut_slice());
    }
    out
}

/// Submits a task that filters a frame, and that runs again for up to `retries` deaths of its
/// worker. For the first frame, `previous` is the frame itself.
///
/// # Errors
///
/// As [`Pool::submit`].
pub fn submit<T: Sample>(
    pool: &Pool,
    filter: &Filter,
    retries: u32,
    [now, previous]: [&[Frozen<T>]; 2],
    out: Vec<SharedArray<T>>,
) -> Result<Handle<Vec<OwnedChunk<T>>>> {
    let mut chunks = Vec::with_capacity(out.len());
    for plane in out {
        let len = plane.len();
        chunks.extend(plane.into_chunks(len).map_err(Error::from)?);
    }
    let job: Job<T> = (filter.clone(), [now.to_vec(), previous.to_vec()], chunks);
    pool.options().retries(retries).submit(filter_frame, job)
}

/// The planes that a task has returned, with the shapes of `planes`.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if they are not those that went into the task.
pub fn planes<T: Sample>(
    chunks: Vec<OwnedChunk<T>>,
    planes: &[[usize; 2]],
) -> Result<Vec<SharedArray<T>>> {
    let plane = |(chunk, &shape): (OwnedChunk<T>, &[usize; 2])| {
        let mut plane = SharedArray::from_chunks(vec![chunk]).map_err(Error::from)?;
        plane.reshape(shape)?;
        Ok(plane)
    };
    chunks.into_iter().zip(planes).map(plane).collect()
}
