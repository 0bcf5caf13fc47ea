//! The kernels that the workers of the examples run.

/// Eight vectors of SSE. With fewer, additions wait for each other before memory is the limit.
const LANES: usize = 32;

/// A sum in enough lanes that memory is the limit.
pub(crate) fn sum(x: &[f32]) -> f64 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for block in blocks {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x;
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest.iter().sum::<f32>())
}
