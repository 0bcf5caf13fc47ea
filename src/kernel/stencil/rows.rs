//! The rows that a range of output rows reads.

use std::ops::Range;

use super::Boundary;

/// A row for places where the boundary gives a constant or nothing; empty for other boundaries.
pub(super) fn outside_row<T: Copy + Default>(n: usize, boundary: Boundary<T>) -> Vec<T> {
    match boundary {
        Boundary::Constant(_) | Boundary::Shrink => vec![boundary.outside(); n],
        _ => Vec::new(),
    }
}

/// The rows of an [m, n] array that the outputs `rows` read, `reach[0]` rows up and `reach[1]`
/// down. Row `r` of the output reads those from index `r - rows.start` on.
pub(super) fn rows_around<'a, T: Copy + Default>(
    input: &'a [T],
    [m, n]: [usize; 2],
    rows: &Range<usize>,
    reach: [usize; 2],
    boundary: Boundary<T>,
    outside: &'a [T],
) -> Vec<&'a [T]> {
    let first = rows.start.wrapping_sub(reach[0]).cast_signed();
    let row = |r| boundary.index(r, m).map_or(outside, |r| &input[r * n..(r + 1) * n]);
    (first..).take(rows.len() + reach[0] + reach[1]).map(row).collect()
}
