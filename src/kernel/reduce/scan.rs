//! Prefix sums and scans, in two passes.
//!
//! 1. The total of each chunk: [`super::partial`] with [`super::Sum`], or [`total`].
//! 2. The totals before each chunk, one after the other: [`carries`], or [`exclusive`].
//! 3. Each chunk again, from its carry on: [`cumsum`], [`cumsum_exclusive`], or [`inclusive`].
//!
//! Integers wrap, so chunks do not matter. A float's prefix sum is `((c + x0) + x1) + ...` from the
//! chunk's first element on; `c` is the sum of the earlier totals, from left to right, each added
//! pairwise. So the bits depend on the chunk length, not on workers. The carry of a chunk may
//! differ in its last bits from the last prefix sum before it; the carry is the more accurate one.
//! For `f32` all this is in `f64`, and each result is rounded once.

use crate::kernel::number::{Addend, Number};

/// Replaces each total by the sum of those before it; returns the sum of all.
pub(crate) fn carries<A: Addend>(totals: &mut [A]) -> A {
    let mut sum = A::ZERO;
    for total in totals {
        let next = sum.plus(*total);
        *total = sum;
        sum = next;
    }
    sum
}

/// `out[i] = carry + chunk[0] + ... + chunk[i]`.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn cumsum<T: Number>(chunk: &[T], carry: T::Total, out: &mut [T::Sum]) {
    assert_eq!(chunk.len(), out.len(), "a prefix sum for each element");
    let mut sum = carry;
    for (out, &x) in out.iter_mut().zip(chunk) {
        sum = sum.plus(x.sum_lane().total());
        *out = T::sum_of(sum);
    }
}

/// `out[i] = carry + chunk[0] + ... + chunk[i - 1]`.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn cumsum_exclusive<T: Number>(chunk: &[T], carry: T::Total, out: &mut [T::Sum]) {
    assert_eq!(chunk.len(), out.len(), "a prefix sum for each element");
    let mut sum = carry;
    for (out, &x) in out.iter_mut().zip(chunk) {
        *out = T::sum_of(sum);
        sum = sum.plus(x.sum_lane().total());
    }
}

/// Joins the elements from left to right.
///
/// # Panics
///
/// If there are none.
pub(crate) fn total<T: Copy>(chunk: &[T], join: impl Fn(T, T) -> T) -> T {
    chunk.iter().copied().reduce(join).expect("chunks have elements")
}

/// `out[i]` is the carry joined with `chunk[0]` to `chunk[i]`, from left to right.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn inclusive<T: Copy>(chunk: &[T], carry: T, join: impl Fn(T, T) -> T, out: &mut [T]) {
    assert_eq!(chunk.len(), out.len(), "a result for each element");
    let mut joined = carry;
    for (out, &x) in out.iter_mut().zip(chunk) {
        joined = join(joined, x);
        *out = joined;
    }
}

/// `out[i]` is the carry joined with `chunk[0]` to `chunk[i - 1]`; for the first chunk of an array
/// the carry is the function's neutral element.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn exclusive<T: Copy>(chunk: &[T], carry: T, join: impl Fn(T, T) -> T, out: &mut [T]) {
    assert_eq!(chunk.len(), out.len(), "a result for each element");
    let mut joined = carry;
    for (out, &x) in out.iter_mut().zip(chunk) {
        *out = joined;
        joined = join(joined, x);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::reduce::{Sum, partial};

    proptest! {
        #[test]
        fn sums_of_chunks_are_those_of_the_whole(
            data in prop::collection::vec(any::<i64>(), 0..300), size in 1usize..70,
        ) {
            let mut totals: Vec<i64> = data.chunks(size).map(|c| partial(Sum, c, ())).collect();
            let sum = carries(&mut totals);
            let mut out = vec![0; data.len()];
            let mut before = vec![0; data.len()];
            for (i, &carry) in totals.iter().enumerate() {
                let range = i * size..data.len().min((i + 1) * size);
                cumsum(&data[range.clone()], carry, &mut out[range.clone()]);
                cumsum_exclusive(&data[range.clone()], carry, &mut before[range]);
            }
            let mut expected = 0i64;
            for (i, x) in data.iter().enumerate() {
                prop_assert_eq!(before[i], expected);
                expected = expected.wrapping_add(*x);
                prop_assert_eq!(out[i], expected);
            }
            prop_assert_eq!(sum, expected);
        }

        /// Composition of affine maps: associative, not commutative.
        #[test]
        fn any_associative_function_is_scanned(
            data in prop::collection::vec((any::<u32>(), any::<u32>()), 0..200), size in 1usize..70,
        ) {
            let join = |a: (u32, u32), b: (u32, u32)| {
                (a.0.wrapping_mul(b.0), a.1.wrapping_mul(b.0).wrapping_add(b.1))
            };
            let totals: Vec<_> = data.chunks(size).map(|c| total(c, join)).collect();
            let mut carries = vec![(0, 0); totals.len()];
            exclusive(&totals, (1, 0), join, &mut carries);
            let (mut out, mut before) = (vec![(0, 0); data.len()], vec![(0, 0); data.len()]);
            for (i, &carry) in carries.iter().enumerate() {
                let range = i * size..data.len().min((i + 1) * size);
                inclusive(&data[range.clone()], carry, join, &mut out[range.clone()]);
                exclusive(&data[range.clone()], carry, join, &mut before[range]);
            }
            let mut expected = (1, 0);
            for (i, &x) in data.iter().enumerate() {
                prop_assert_eq!(before[i], expected);
                expected = join(expected, x);
                prop_assert_eq!(out[i], expected);
            }
        }
    }

    #[test]
    fn prefix_sums_of_f32_are_held_in_f64() {
        let data = vec![0.1f32; 1000];
        let mut out = vec![0.0; 1000];
        cumsum(&data, 16_777_216.0, &mut out);
        assert_eq!(out[999], 16_777_316.0);
    }
}
