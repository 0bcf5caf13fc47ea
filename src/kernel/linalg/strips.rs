//! The partition of a matrix into panels and strips.
//!
//! It depends on the size of the matrix alone.

use std::ops::Range;

/// Widths of strips are multiples of this: two tiles of the widest micro-kernel in f64.
pub(crate) const UNIT: usize = 48;
/// The widest strip. Its part of the product's left operand stays in the second-level cache.
const WIDEST: usize = 6 * UNIT;
/// The number of strips that a wide matrix has at least, so that members end at about the same
/// time.
const STRIPS: usize = 12;

/// The number of columns of a panel, for a matrix whose smaller side is `size`.
pub(super) fn panel_width(size: usize) -> usize {
    match size {
        0..=96 => 32,
        97..=384 => 64,
        385..=900 => 96,
        901..=3000 => 128,
        _ => 192,
    }
}

/// The panel that begins at column `first`, of a matrix whose smaller side is `size`.
pub(super) fn panel(size: usize, first: usize) -> Range<usize> {
    first..size.min(first + panel_width(size))
}

/// Strip `index` of `columns`; the first has `head` columns, if there are so many. `None` beyond
/// the last.
pub(super) fn strip(columns: &Range<usize>, head: usize, index: usize) -> Option<Range<usize>> {
    let body = columns.start + head.min(columns.len());
    let strip = match index.checked_sub(usize::from(head > 0)) {
        None => columns.start..body,
        Some(index) => {
            let most = (columns.end - body).div_ceil(STRIPS);
            let width = most.next_multiple_of(UNIT).clamp(UNIT, WIDEST);
            let first = index.checked_mul(width)?.checked_add(body)?;
            first..columns.end.min(first.checked_add(width)?)
        }
    };
    (strip.start < strip.end).then_some(strip)
}
