//! Which axes of an array are reduced.

use bytemuck::Pod;

use crate::array::ArrayView;
use crate::error::{Error, Result};
use crate::shape::Shape;

/// The axes of a reduction, counted from 0: one, or several in any order.
///
/// This crate implements it for `usize`, `[usize; N]` and `&[usize]`. Other crates cannot.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_fn([2, 3, 4], |_| 1.0)?;
/// assert_eq!(pool.sum_axis(&x, 1)?.shape().dims(), [2, 4]);
/// assert_eq!(pool.sum_axis(&x, [2, 0])?.as_slice(), [8.0; 3]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub trait Axes: private::Sealed {
    #[doc(hidden)]
    fn as_slice(&self) -> &[usize];
}

#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    pub trait Sealed {}
}

impl private::Sealed for usize {}
impl<const N: usize> private::Sealed for [usize; N] {}
impl private::Sealed for &[usize] {}

impl Axes for usize {
    fn as_slice(&self) -> &[usize] {
        std::slice::from_ref(self)
    }
}

impl<const N: usize> Axes for [usize; N] {
    fn as_slice(&self) -> &[usize] {
        self
    }
}

impl Axes for &[usize] {
    fn as_slice(&self) -> &[usize] {
        self
    }
}

/// The axes in ascending order.
pub(super) fn sorted_axes(axes: &[usize], shape: &Shape) -> Result<Vec<usize>> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    let distinct = sorted.is_sorted_by(|a, b| a < b);
    if axes.is_empty() || !distinct || sorted[sorted.len() - 1] >= shape.ndim() {
        let found = describe(axes, shape);
        let rule = "at least one axis, each once and less than the number of dimensions";
        return Err(Error::invalid("the axes of a reduction", found, rule));
    }
    Ok(sorted)
}

/// An array that is reduced, seen as `[outer, n, inner]`.
pub(super) struct Reduction<'a, T> {
    pub(super) a: ArrayView<'a, T>,
    pub(super) outer: usize,
    pub(super) n: usize,
    pub(super) inner: usize,
    /// The shape of the result.
    pub(super) shape: Vec<usize>,
    pub(super) axes: Vec<usize>,
}

impl<T: Pod> Reduction<'_, T> {
    /// Refuses axes without elements.
    pub(super) fn not_empty(&self) -> Result<()> {
        if self.n == 0 {
            let found = describe(&self.axes, self.a.shape());
            let rule = "at least one element long";
            return Err(Error::invalid("the axes of a reduction", found, rule));
        }
        Ok(())
    }
}

/// The axes and the shape, for an error.
fn describe(axes: &[usize], shape: &Shape) -> String {
    match axes {
        [axis] => format!("{axis} of {shape}"),
        _ => format!("{axes:?} of {shape}"),
    }
}
