//! Stencils: a function of the neighbourhood of each element.

use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::{AsArrayView, SharedArray};
use crate::compute::arrays::filter::{check_out, indices, lines, three_axes};
use crate::error::{Error, Result};
use crate::kernel::stencil::{self, Boundary, map_neighbours};
use crate::pool::{Pool, Whole};
use crate::shape::Shape;

/// The neighbourhood of an element of an array of `N` dimensions, as the function of
/// [`Pool::stencil`] sees it.
///
/// # Examples
///
/// ```
/// use brigade::{Boundary, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[1, 2, 4])?;
/// let sums = pool.stencil(&x, [1], Boundary::Shrink, |x| {
///     assert!(x.index()[0] < 3);
///     x.value([-1]) + x.centre() + x.get([1]).unwrap_or(100)
/// })?;
/// assert_eq!(sums.as_slice(), [3, 7, 106]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Neighbours<'a, T, const N: usize>(&'a stencil::Neighbours<'a, T>);

impl<T, const N: usize> Clone for Neighbours<'_, T, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const N: usize> Copy for Neighbours<'_, T, N> {}

impl<T: Copy + Default, const N: usize> Neighbours<'_, T, N> {
    /// The index of the element in the array.
    #[inline]
    #[must_use]
    pub fn index(&self) -> [usize; N] {
        let place = self.0.place();
        std::array::from_fn(|axis| place[3 - N + axis])
    }

    /// The element itself.
    #[inline]
    #[must_use]
    pub fn centre(&self) -> T {
        self.0.centre()
    }

    /// The element at `offset` from this one. Beyond the ends the boundary gives the element;
    /// `None` for [`Boundary::Shrink`].
    ///
    /// # Panics
    ///
    /// If the offset is beyond the reach of the stencil.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1, 2])?;
    /// let left = pool.stencil(&x, [1], Boundary::Shrink, |x| x.get([-1]).unwrap_or(9))?;
    /// assert_eq!(left.as_slice(), [9, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, offset: [isize; N]) -> Option<T> {
        self.0.get(three(offset))
    }

    /// As [`get`](Neighbours::get), but zero where there is no element.
    ///
    /// # Panics
    ///
    /// If the offset is beyond the reach of the stencil.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1, 2])?;
    /// let left = pool.stencil(&x, [1], Boundary::Shrink, |x| x.value([-1]))?;
    /// assert_eq!(left.as_slice(), [0, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn value(&self, offset: [isize; N]) -> T {
        self.0.value(three(offset))
    }
}

/// The offset in three dimensions.
#[inline]
fn three<const N: usize>(offset: [isize; N]) -> [isize; 3] {
    std::array::from_fn(|axis| axis.checked_sub(3 - N).map_or(0, |axis| offset[axis]))
}

impl Pool {
    /// An array of the results of `function` for the neighbourhood of each element of `array`,
    /// which has 1, 2 or 3 dimensions. `reach` says how many places away the function reads along
    /// each axis.
    ///
    /// The function sees the element and its [`Neighbours`]; beyond the ends of an axis `boundary`
    /// gives them. The result may have another type. An output depends only on its neighbourhood,
    /// so it is the same for any number of workers.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions). The call
    /// fails if it panics, as it does when it reads beyond the reach.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the number of dimensions is not that of `reach`, or not 1, 2
    /// or 3; [`Error::NoSpace`]; [`Error::Task`] if the function panicked or a worker died.
    ///
    /// # Examples
    ///
    /// A step of the game of life, on a torus:
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let is_alive = |[i, j]: [usize; 2]| i == 2 && (1..4).contains(&j);
    /// let blinker = SharedArray::from_fn([5, 5], |place| u8::from(is_alive(place)))?;
    /// let next = pool.stencil(&blinker, [1, 1], Boundary::Wrap, |cell| {
    ///     let around = (-1..=1).flat_map(|i| (-1..=1).map(move |j| [i, j]));
    ///     let alive: u8 = around.map(|offset| cell.value(offset)).sum();
    ///     u8::from(alive == 3 || (alive == 4 && cell.centre() == 1))
    /// })?;
    /// assert_eq!((next[[1, 2]], next[[2, 2]], next[[3, 2]], next[[2, 1]]), (1, 1, 1, 0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn stencil<T, U, F, const N: usize>(
        &self,
        array: &impl AsArrayView<T>,
        reach: [usize; N],
        boundary: Boundary<T>,
        function: F,
    ) -> Result<SharedArray<U>>
    where
        T: Pod + Default + Serialize + DeserializeOwned,
        U: Pod,
        F: Fn(Neighbours<'_, T, N>) -> U + Copy + Send + 'static,
    {
        let array = &array.as_array_view();
        check_dimensions(array.shape(), N)?;
        let mut out = self.for_overwrite(array.shape())?;
        self.stencil_into(array, &mut out, reach, boundary, function)
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// As [`stencil`](Pool::stencil), into an existing array: two arrays can change places from
    /// step to step.
    ///
    /// # Errors
    ///
    /// As [`stencil`](Pool::stencil); [`Error::ShapeMismatch`] for an `out` of another shape.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut now = SharedArray::from_slice(&[0.0, 0.0, 8.0, 0.0, 0.0])?;
    /// let mut next = SharedArray::zeroed([5])?;
    /// for _ in 0..2 {
    ///     pool.stencil_into(&now, &mut next, [1], Boundary::Constant(0.0), |x| {
    ///         0.5 * (x.value([-1]) + x.value([1]))
    ///     })?;
    ///     std::mem::swap(&mut now, &mut next);
    /// }
    /// assert_eq!(now.as_slice(), [2.0, 0.0, 4.0, 0.0, 2.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn stencil_into<T, U, F, const N: usize>(
        &self,
        array: &impl AsArrayView<T>,
        out: &mut SharedArray<U>,
        reach: [usize; N],
        boundary: Boundary<T>,
        function: F,
    ) -> Result<()>
    where
        T: Pod + Default + Serialize + DeserializeOwned,
        U: Pod,
        F: Fn(Neighbours<'_, T, N>) -> U + Copy + Send + 'static,
    {
        let array = &array.as_array_view();
        check_dimensions(array.shape(), N)?;
        check_out("stencil_into", array.shape(), out.shape())?;
        let shape = three_axes("the array of a stencil", array.shape())?;
        let mut reach_3 = [0; 3];
        reach_3[3 - N..].copy_from_slice(&reach);
        let (axis, rows) = lines(shape, N);
        let out_lines = self.par_axis(out, axis, rows);
        out_lines.zip(Whole(array)).with((shape, reach_3, boundary)).for_each(
            move |&(shape, reach, boundary), (out, input)| {
                let rows = indices(&out);
                // The rows of an array of one dimension are its elements.
                let part = if N == 1 { (0..1, rows) } else { (rows, 0..shape[2]) };
                let how = (reach, boundary);
                map_neighbours(out.into_slice(), input, shape, part, how, |x| {
                    function(Neighbours(x))
                });
            },
        )
    }
}

/// # Errors
///
/// [`Error::InvalidArgument`] if the number of dimensions is not `ndim`, or not 1, 2 or 3.
fn check_dimensions(shape: &Shape, ndim: usize) -> Result<()> {
    three_axes("the array of a stencil", shape)?;
    if shape.ndim() == ndim {
        return Ok(());
    }
    let rule = format!("an array of as many dimensions as the reach: {ndim}");
    Err(Error::invalid("the array of a stencil", shape, rule))
}
