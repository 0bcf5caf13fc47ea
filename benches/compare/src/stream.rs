//! The simple kernels that every contender runs over big arrays.

/// Elements of a chunk.
pub const CHUNK: usize = 1 << 16;

/// The distance between two touched bytes in new memory.
pub const PAGE_BYTES: usize = 4096;

/// The part that a worker or thread touches at a time.
pub const PART_BYTES: usize = 2 << 20;

/// GiB a second, for bytes that took this many seconds.
#[must_use]
pub fn gib_a_second(bytes: usize, seconds: f64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64 / seconds
}

/// The sum, in sixteen partial sums so that memory is the limit.
#[must_use]
pub fn sum(values: &[f64]) -> f64 {
    let mut partial = [0.0; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (partial, value) in partial.iter_mut().zip(block) {
            *partial += value;
        }
    }
    partial.iter().sum::<f64>() + rest.iter().sum::<f64>()
}

/// `y <- y + alpha * x`.
pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// Bytes that [`axpy`] moves for each element: it reads `x`, reads `y` and writes `y`.
pub const AXPY_BYTES: usize = 12;
