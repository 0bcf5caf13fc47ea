//! A frame filtered by all workers together, in bands of rows.

use brigade::{Boundary, Frozen, Halo, HaloRows, Pool, Rows, RowsMut, SharedArray, Subsampled};

use crate::filter::{Filter, Role, Window};
use crate::header::Layout;
use crate::picture::Sample;

/// How a frame is cut, and how often its bands are computed again.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The luma rows of a band, at least 1; rounded up to whole chroma rows. At most, a band is the
    /// whole frame.
    pub rows: usize,
    /// How many deaths of workers one frame survives.
    pub retries: u32,
}

/// The part of a plane that belongs to one call: rows of the output, the same rows and those around
/// them of the frame, and the same rows of the frame before.
type Band<'a, T> = ((RowsMut<'a, T>, HaloRows<'a, T>), Rows<'a, T>);

fn filter_band<T: Sample>(filter: &Filter, role: Role, ((out, now), previous): Band<'_, T>) {
    let window = Window::new(now.as_slice(), now.above(), now.row_len());
    filter.apply(role, window, previous.as_slice(), out.into_slice());
}

/// Filters a frame into `out`, in a loop over bands of rows: rows of luma, and the rows of chroma
/// that belong to them. For the first frame, `previous` is the frame itself.
///
/// # Errors
///
/// [`brigade::Error::Task`] if more workers died than `cut` allows.
///
/// # Panics
///
/// If the arrays are not the planes of `layout`.
pub fn filter<T: Sample>(
    pool: &Pool,
    filter: &Filter,
    layout: &Layout,
    cut: Cut,
    [now, previous]: [&[Frozen<T>]; 2],
    out: &mut [SharedArray<T>],
) -> brigade::Result<()> {
    let ratio = layout.chroma.map_or(1, |chroma| chroma.rows);
    let rows = cut.rows.min(layout.height).next_multiple_of(ratio);
    let halo = |plane| Halo(plane, filter.reach(), Boundary::Clamp);
    match (out, now, previous) {
        ([y], [now], [previous]) => pool
            .par_rows_mut(y, rows)
            .zip(halo(now))
            .zip(previous)
            .retries(cut.retries)
            .with(filter.clone())
            .for_each(|filter, band| filter_band(filter, Role::Luma, band)),
        ([y, u, v], [now_y, now_u, now_v], [previous_y, previous_u, previous_v]) => pool
            .par_rows_mut(y, rows)
            .zip(halo(now_y))
            .zip(previous_y)
            .zip(Subsampled(u, ratio))
            .zip(Subsampled(halo(now_u), ratio))
            .zip(Subsampled(previous_u, ratio))
            .zip(Subsampled(v, ratio))
            .zip(Subsampled(halo(now_v), ratio))
            .zip(Subsampled(previous_v, ratio))
            .retries(cut.retries)
            .with(filter.clone())
            .for_each(|filter, ((((((luma, u), now_u), previous_u), v), now_v), previous_v)| {
                filter_band(filter, Role::Luma, luma);
                filter_band(filter, Role::Chroma, ((u, now_u), previous_u));
                filter_band(filter, Role::Chroma, ((v, now_v), previous_v));
            }),
        (out, ..) => panic!("a frame has 1 or 3 planes, not {}", out.len()),
    }
}
