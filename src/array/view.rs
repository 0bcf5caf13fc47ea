//! Arrays as `ndarray` views.

use bytemuck::Pod;
use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn};

use crate::array::{Frozen, SharedArray};
use crate::shape::Shape;

impl<T: Pod> SharedArray<T> {
    /// The array as an `ndarray` view.
    ///
    /// # Examples
    ///
    /// ```
    /// let a = brigade::SharedArray::from_fn([2, 3], |[i, j]| (3 * i + j) as f64)?;
    /// assert_eq!(a.view().t()[[2, 1]], 5.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn view(&self) -> ArrayViewD<'_, T> {
        view_of(self.shape(), self.as_slice())
    }

    /// The array as a mutable `ndarray` view.
    #[must_use]
    pub fn view_mut(&mut self) -> ArrayViewMutD<'_, T> {
        let shape = IxDyn(self.shape().dims());
        view_mut_of(shape, self.as_mut_slice())
    }
}

impl<T: Pod> Frozen<T> {
    /// The array as an `ndarray` view.
    #[must_use]
    pub fn view(&self) -> ArrayViewD<'_, T> {
        view_of(self.shape(), self.as_slice())
    }
}

fn view_of<'a, T>(shape: &Shape, elements: &'a [T]) -> ArrayViewD<'a, T> {
    ArrayViewD::from_shape(IxDyn(shape.dims()), elements).expect(FITS)
}

fn view_mut_of<T>(shape: IxDyn, elements: &mut [T]) -> ArrayViewMutD<'_, T> {
    ArrayViewMutD::from_shape(shape, elements).expect(FITS)
}

/// What is true of every array: `checked_size` made sure, and its slice has that length.
const FITS: &str = "the shape of an array can be viewed";
