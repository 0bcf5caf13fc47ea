//! Arrays, and parts of them, as matrices; nothing is copied.

use std::ops::{Bound, Range, RangeBounds};

use crate::array::{Frozen, MappedArray, SharedArray};
use crate::compute::matmul::Scalar;
use crate::compute::matmul::layout::Layout;
use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::shape::Shape;

/// What an array is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// One dimension: a single column, where one is asked for.
    Vector,
    Matrix,
    /// Three dimensions: matrices one after the other, this many, this far apart.
    Stack(usize, isize),
    /// Anything else.
    Other(Shape),
}

/// An array as a matrix, a stack of matrices, or a vector.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    form: Form,
    /// Of the matrix, or of the first one.
    layout: Layout,
}

impl Frame {
    fn of(shape: &Shape) -> Frame {
        let (form, layout) = match *shape.dims() {
            [len] => (Form::Vector, Layout::row_major(len, 1)),
            [rows, cols] => (Form::Matrix, Layout::row_major(rows, cols)),
            [count, rows, cols] => {
                let step = rows.wrapping_mul(cols).cast_signed();
                (Form::Stack(count, step), Layout::row_major(rows, cols))
            }
            _ => (Form::Other(shape.clone()), Layout::row_major(0, 0)),
        };
        Frame { form, layout }
    }

    pub(super) fn shape(&self) -> Shape {
        let [rows, cols] = self.layout.dims();
        match &self.form {
            Form::Vector => Shape::from([rows]),
            Form::Matrix => Shape::from([rows, cols]),
            Form::Stack(count, _) => Shape::from([*count, rows, cols]),
            Form::Other(shape) => shape.clone(),
        }
    }

    fn refuse<R>(&self, operation: &'static str, expected: &'static str) -> Result<R> {
        let found = format!("an operand of shape {}", self.shape());
        Err(Error::invalid(operation, found, expected))
    }

    /// The layout of a matrix.
    pub(super) fn matrix(&self, operation: &'static str) -> Result<Layout> {
        match self.form {
            Form::Matrix => Ok(self.layout),
            Form::Stack(..) => {
                self.refuse(operation, "two dimensions; `matmul_batch` multiplies stacks")
            }
            Form::Vector => {
                self.refuse(operation, "two dimensions; `matvec` multiplies by a vector")
            }
            Form::Other(_) => self.refuse(operation, "two dimensions"),
        }
    }

    /// The layout of a vector, or of a matrix of one column, as a column.
    pub(super) fn column(&self, operation: &'static str) -> Result<Layout> {
        match self.form {
            Form::Vector => Ok(self.layout),
            Form::Matrix if self.layout.cols == 1 => Ok(self.layout),
            _ => self.refuse(operation, "one dimension, or a single column"),
        }
    }

    /// How many matrices there are (`None`: one for all), their distance and the first's layout.
    pub(super) fn stack(&self, operation: &'static str) -> Result<(Option<usize>, isize, Layout)> {
        match self.form {
            Form::Matrix => Ok((None, 0, self.layout)),
            Form::Stack(count, step) => Ok((Some(count), step, self.layout)),
            _ => self.refuse(operation, "two or three dimensions"),
        }
    }

    /// The same with rows and columns exchanged; a vector has none.
    fn transposed(mut self) -> Frame {
        if self.form != Form::Vector {
            self.layout = self.layout.transposed();
        }
        self
    }

    fn part(
        mut self,
        rows: (Bound<usize>, Bound<usize>),
        cols: (Bound<usize>, Bound<usize>),
    ) -> Result<Frame> {
        let layout = self.layout;
        if matches!(self.form, Form::Other(_)) || (self.form == Form::Vector && cols != ALL) {
            return self.refuse("a part of a matrix", "two or three dimensions");
        }
        let rows = within(rows, layout.rows, "rows of a matrix")?;
        let cols = within(cols, layout.cols, "columns of a matrix")?;
        self.layout = layout.part(rows, cols);
        Ok(self)
    }
}

/// Every row, or every column.
const ALL: (Bound<usize>, Bound<usize>) = (Bound::Unbounded, Bound::Unbounded);

fn owned(range: &impl RangeBounds<usize>) -> (Bound<usize>, Bound<usize>) {
    (range.start_bound().cloned(), range.end_bound().cloned())
}

/// The indices that a range stands for, of `len`.
fn within(
    (start, end): (Bound<usize>, Bound<usize>),
    len: usize,
    what: &'static str,
) -> Result<Range<usize>> {
    let first = match start {
        Bound::Included(at) => Some(at),
        Bound::Excluded(at) => at.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let past = match end {
        Bound::Included(at) => at.checked_add(1),
        Bound::Excluded(at) => Some(at),
        Bound::Unbounded => Some(len),
    };
    match (first, past) {
        (Some(first), Some(past)) if first <= past && past <= len => Ok(first..past),
        _ => {
            let shown = |at: Option<usize>| at.map_or("..".to_owned(), |at| at.to_string());
            let found = format!("from {} to {}", shown(first), shown(past));
            Err(Error::invalid(what, found, format!("in order and within 0 to {len}")))
        }
    }
}

/// Checks a layout that the caller made up.
fn checked(layout: Layout, len: usize) -> Result<Layout> {
    if layout.reach().is_some_and(|reach| reach.end <= len) {
        return Ok(layout);
    }
    let Layout { first, rows, cols, row_stride, col_stride } = layout;
    Err(Error::invalid(
        "a strided matrix",
        format_args!("{rows} x {cols} from {first}, strides {row_stride} and {col_stride}"),
        format!("within the {len} elements of its array"),
    ))
}

/// The elements of an array, for this process and for the workers.
#[derive(Debug, Clone)]
pub(super) struct Lender<'a, T> {
    source: std::result::Result<Source, &'static str>,
    pub(super) elements: &'a [T],
}

impl<T> Lender<'_, T> {
    /// What workers are told.
    pub(super) fn source(&self) -> Result<Source> {
        let refused = |value| Error::invalid("an operand", value, "an array of this process");
        self.source.clone().map_err(refused)
    }
}

/// A matrix to read: an array of two dimensions, or a part of one, as it is or transposed.
///
/// Made by [`from`](From::from) from `&SharedArray`, `&Frozen` and `&MappedArray`. No element is
/// copied, neither by what is made of it here nor by a product. An array of three dimensions
/// stands for a stack of matrices, one of one dimension for a vector, where an operation takes
/// them.
///
/// # Examples
///
/// ```
/// use brigade::{Matrix, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let a = SharedArray::from_fn([4, 6], |[i, j]| (6 * i + j) as f64)?;
/// // The middle of A, and two of its columns turned into rows.
/// let middle = Matrix::from(&a).rows(1..3)?.columns(2..4)?;
/// let pair = Matrix::from(&a).columns(..2)?.transposed().columns(..2)?;
/// // [8, 9; 14, 15] times [0, 6; 1, 7]
/// assert_eq!(pool.matmul(middle, pair)?.as_slice(), [9.0, 111.0, 15.0, 189.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Matrix<'a, T> {
    pub(super) lender: Lender<'a, T>,
    pub(super) frame: Frame,
}

impl<'a, T> Matrix<'a, T> {
    /// The same matrix with rows and columns exchanged; of a stack, each. A vector stays as it
    /// is.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([3, 2], |[i, j]| (2 * i + j) as f64)?;
    /// let gram = pool.matmul(Matrix::from(&a).transposed(), &a)?;
    /// assert_eq!(gram.as_slice(), [20.0, 26.0, 26.0, 35.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn transposed(mut self) -> Matrix<'a, T> {
        self.frame = self.frame.transposed();
        self
    }

    /// Some of its rows; of a stack, of each matrix.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are not so many.
    pub fn rows(mut self, range: impl RangeBounds<usize>) -> Result<Matrix<'a, T>> {
        self.frame = self.frame.part(owned(&range), ALL)?;
        Ok(self)
    }

    /// Some of its columns; of a stack, of each matrix.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are not so many.
    pub fn columns(mut self, range: impl RangeBounds<usize>) -> Result<Matrix<'a, T>> {
        self.frame = self.frame.part(ALL, owned(&range))?;
        Ok(self)
    }

    /// The elements of an array, whatever its shape, as the matrix whose element (i, j) is number
    /// `first + i * strides[0] + j * strides[1]` of them.
    ///
    /// Strides may be zero, to repeat a row or a column, or negative, to go backwards.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element lies outside the array.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// // Three rows of two, column after column; then every other element, from the last on.
    /// let tall = Matrix::strided(&a, 0, [3, 2], [1, 3])?;
    /// let back = Matrix::strided(&a, 5, [2, 1], [-2, 1])?;
    /// assert_eq!(pool.matmul(tall, back)?.as_slice(), [22.0, 32.0, 42.0]);
    /// assert!(Matrix::strided(&a, 0, [3, 3], [2, 1]).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn strided(
        array: impl Into<Matrix<'a, T>>,
        first: usize,
        [rows, cols]: [usize; 2],
        [row_stride, col_stride]: [isize; 2],
    ) -> Result<Matrix<'a, T>> {
        let lender = array.into().lender;
        let layout = Layout { first, rows, cols, row_stride, col_stride };
        let layout = checked(layout, lender.elements.len())?;
        Ok(Matrix { lender, frame: Frame { form: Form::Matrix, layout } })
    }
}

impl<'a, T: Scalar> From<&'a SharedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a SharedArray<T>) -> Matrix<'a, T> {
        let lender = Lender { source: Ok(array.source()), elements: array.as_slice() };
        Matrix { lender, frame: Frame::of(array.shape()) }
    }
}

impl<'a, T: Scalar> From<&'a Frozen<T>> for Matrix<'a, T> {
    fn from(array: &'a Frozen<T>) -> Matrix<'a, T> {
        let source = array.source().ok_or("an array lent to a task");
        let lender = Lender { source, elements: array.as_slice() };
        Matrix { lender, frame: Frame::of(array.shape()) }
    }
}

impl<'a, T: Scalar> From<&'a MappedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a MappedArray<T>) -> Matrix<'a, T> {
        let lender = Lender { source: Ok(array.source()), elements: array.as_slice() };
        Matrix { lender, frame: Frame::of(array.shape()) }
    }
}

/// A matrix to write: an array of two dimensions, or a part of one.
///
/// Made by [`from`](From::from) from `&mut SharedArray`, so it is never one of the operands: the
/// compiler refuses a product into an array that is being read.
///
/// ```compile_fail,E0502
/// # use brigade::{Pool, SharedArray};
/// # let pool = Pool::builder().workers(1).build()?;
/// let mut a = SharedArray::<f64>::zeroed([2, 2])?;
/// pool.product(&a, &a).run_into(&mut a)?;
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// # Examples
///
/// ```
/// use brigade::{MatrixMut, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let a = SharedArray::from_slice(&[2.0])?;
/// let mut table = SharedArray::<f64>::zeroed([2, 3])?;
/// let corner = MatrixMut::from(&mut table).rows(1..)?.columns(2..)?;
/// let a = brigade::Matrix::strided(&a, 0, [1, 1], [1, 1])?;
/// pool.product(a.clone(), a).run_into(corner)?;
/// assert_eq!(table.as_slice(), [0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    pub(super) source: Source,
    pub(super) elements: &'a mut [T],
    pub(super) frame: Frame,
}

impl<'a, T> MatrixMut<'a, T> {
    /// The same matrix with rows and columns exchanged.
    #[must_use]
    pub fn transposed(mut self) -> MatrixMut<'a, T> {
        self.frame = self.frame.transposed();
        self
    }

    /// Some of its rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are not so many.
    pub fn rows(mut self, range: impl RangeBounds<usize>) -> Result<MatrixMut<'a, T>> {
        self.frame = self.frame.part(owned(&range), ALL)?;
        Ok(self)
    }

    /// Some of its columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are not so many.
    pub fn columns(mut self, range: impl RangeBounds<usize>) -> Result<MatrixMut<'a, T>> {
        self.frame = self.frame.part(ALL, owned(&range))?;
        Ok(self)
    }

    /// The elements of an array as a matrix; see [`Matrix::strided`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element lies outside the array, or if two may share a
    /// place: the longer stride must step over everything that the shorter one reaches.
    pub fn strided(
        array: impl Into<MatrixMut<'a, T>>,
        first: usize,
        [rows, cols]: [usize; 2],
        [row_stride, col_stride]: [isize; 2],
    ) -> Result<MatrixMut<'a, T>> {
        let MatrixMut { source, elements, .. } = array.into();
        let layout = Layout { first, rows, cols, row_stride, col_stride };
        let layout = checked(layout, elements.len())?;
        if layout.may_coincide() {
            return Err(Error::invalid(
                "strides of a matrix to write",
                format_args!("{row_stride} and {col_stride} for {rows} x {cols}"),
                "such that no two elements coincide",
            ));
        }
        Ok(MatrixMut { source, elements, frame: Frame { form: Form::Matrix, layout } })
    }
}

impl<'a, T: Scalar> From<&'a mut SharedArray<T>> for MatrixMut<'a, T> {
    fn from(array: &'a mut SharedArray<T>) -> MatrixMut<'a, T> {
        let (source, frame) = (array.source(), Frame::of(array.shape()));
        MatrixMut { source, elements: array.as_mut_slice(), frame }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_outside_a_matrix_are_named() {
        let frame = || Frame::of(&Shape::from([3, 4]));
        assert_eq!(frame().part(owned(&(1..)), owned(&(..=2))).unwrap().shape().dims(), [2, 3]);
        assert_eq!(frame().part(owned(&(3..)), ALL).unwrap().shape().dims(), [0, 4]);
        for (rows, cols) in [(owned(&(2..4)), ALL), (ALL, owned(&(5..))), (ALL, owned(&(0..=4)))] {
            let error = frame().part(rows, cols).unwrap_err();
            assert!(error.to_string().contains("within 0 to"), "{error}");
        }
        let backwards = (Bound::Included(2), Bound::Excluded(1));
        assert!(frame().part(backwards, ALL).is_err());
        let endless = (Bound::Unbounded, Bound::Included(usize::MAX));
        assert!(frame().part(endless, ALL).is_err());
    }
}
