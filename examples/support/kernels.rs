//! What the workers of the examples compute.

/// A sum in sixteen lanes, so that additions do not wait for each other.
pub(crate) fn sum(x: &[f32]) -> f64 {
    let (lanes, rest) = x.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for lane in lanes {
        for (sum, x) in sums.iter_mut().zip(lane) {
            *sum += x;
        }
    }
    f64::from(sums.iter().sum::<f32>() + rest.iter().sum::<f32>())
}
