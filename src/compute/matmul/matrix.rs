//! Arrays, and parts of them, as matrices; nothing is copied.

use std::ops::{Deref, RangeBounds};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::{Element, Frozen, MappedArray, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::matmul::{Float, Strided};
use crate::object::source::Source;
use crate::shape::Shape;

/// The element type of matrices: `f32` or `f64`.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, Scalar, SharedArray};
/// fn sum_of_squares<T: Scalar>(pool: &Pool, x: &[T]) -> brigade::Result<T> {
///     let mut row = SharedArray::from_slice(x)?;
///     row.reshape([1, x.len()])?;
///     Ok(pool.gram(&row)?.as_slice()[0])
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// assert_eq!(sum_of_squares(&pool, &[1.0f32, 2.0, 3.0])?, 14.0);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type of matrices",
    label = "neither `f32` nor `f64`",
    note = "convert integers first: `pool.cast::<_, f64>(&a)?`"
)]
pub trait Scalar: Float + Element + Serialize + DeserializeOwned {}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// How the dimensions of an array are interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// One dimension: a single column, if the operation takes one.
    Vector,
    Matrix,
    /// Three dimensions: a stack of matrices.
    Stack {
        count: usize,
        /// The number of elements from one matrix to the next.
        step: isize,
    },
    /// Anything else.
    Other(Shape),
}

/// A matrix to read: an array of two dimensions, or a part of one, possibly transposed.
///
/// Made by [`from`](From::from) from `&SharedArray`, `&Frozen` and `&MappedArray`. Elements are
/// never copied, neither by methods of this type nor by a product. Where an operation accepts it,
/// an array of three dimensions stands for a stack of matrices, and one of one dimension for a
/// vector.
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
pub type Matrix<'a, T> = MatrixBase<&'a [T]>;

/// A matrix to write: an array of two dimensions, or a part of one.
///
/// Made by [`from`](From::from) from `&mut SharedArray`, so it cannot also be an operand: the
/// compiler rejects a product into an array that is being read.
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
pub type MatrixMut<'a, T> = MatrixBase<&'a mut [T]>;

/// An array as a matrix: [`Matrix`] or [`MatrixMut`], depending on how its elements are borrowed.
///
/// # Examples
///
/// ```
/// use brigade::{Matrix, MatrixBase, MatrixMut, SharedArray};
/// fn corner<E>(matrix: MatrixBase<E>) -> brigade::Result<MatrixBase<E>> {
///     matrix.rows(..1)?.columns(..1)
/// }
/// let mut a = SharedArray::from_fn([2, 2], |[i, j]| (i + j) as f64)?;
/// assert!(corner(Matrix::from(&a)).is_ok());
/// assert!(corner(MatrixMut::from(&mut a)).is_ok());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MatrixBase<E> {
    elements: E,
    /// The source from which workers find the elements; `None` if they cannot.
    source: Option<Source>,
    form: Form,
    /// The matrix among the elements; of a stack, the first one.
    pub(in crate::compute) place: Strided<usize>,
}

/// A matrix for the members of a team.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::compute) struct SharedMatrix {
    pub(in crate::compute) source: Source,
    pub(in crate::compute) place: Strided<usize>,
}

impl<E> MatrixBase<E> {
    /// All elements of an array.
    fn of(elements: E, source: Option<Source>, shape: &Shape) -> MatrixBase<E> {
        let (form, [rows, cols]) = match *shape.dims() {
            [len] => (Form::Vector, [len, 1]),
            [rows, cols] => (Form::Matrix, [rows, cols]),
            [count, rows, cols] => {
                let step = rows.wrapping_mul(cols).cast_signed();
                (Form::Stack { count, step }, [rows, cols])
            }
            _ => (Form::Other(shape.clone()), [0, 0]),
        };
        MatrixBase { elements, source, form, place: Strided::row_major(0, rows, cols) }
    }

    pub(in crate::compute) fn shape(&self) -> Shape {
        let [rows, cols] = self.place.shape();
        match &self.form {
            Form::Vector => Shape::from([rows]),
            Form::Matrix => Shape::from([rows, cols]),
            Form::Stack { count, .. } => Shape::from([*count, rows, cols]),
            Form::Other(shape) => shape.clone(),
        }
    }

    fn refuse<R>(&self, operation: &'static str, expected: &'static str) -> Result<R> {
        let found = format!("an operand of shape {}", self.shape());
        Err(Error::invalid(operation, found, expected))
    }

    /// The matrix; an error for a vector or a stack.
    pub(in crate::compute) fn single(self, operation: &'static str) -> Result<MatrixBase<E>> {
        let expected = match self.form {
            Form::Matrix => return Ok(self),
            Form::Stack { .. } => "two dimensions; methods for stacks end in `_batch`",
            Form::Vector => "two dimensions; reshape a vector to a single row or column",
            Form::Other(_) => "two dimensions",
        };
        self.refuse(operation, expected)
    }

    /// A vector as a column, or a matrix of one column.
    pub(super) fn column(self, operation: &'static str) -> Result<MatrixBase<E>> {
        match self.form {
            Form::Vector => Ok(self),
            Form::Matrix if self.place.cols == 1 => Ok(self),
            _ => self.refuse(operation, "one dimension, or a single column"),
        }
    }

    /// The number of matrices (`None`: one for all), and the elements from one to the next.
    pub(in crate::compute) fn stack(
        &self,
        operation: &'static str,
    ) -> Result<(Option<usize>, isize)> {
        match self.form {
            Form::Matrix => Ok((None, 0)),
            Form::Stack { count, step } => Ok((Some(count), step)),
            _ => self.refuse(operation, "two or three dimensions"),
        }
    }

    /// The matrix for other processes.
    pub(in crate::compute) fn shared(&self) -> Result<SharedMatrix> {
        let lent =
            || Error::invalid("an operand", "an array lent to a task", "one of this process");
        let source = self.source.clone().ok_or_else(lent)?;
        Ok(SharedMatrix { source, place: self.place })
    }

    /// Whether the array has `count` matrices, `step` elements apart, of which this is the first.
    pub(in crate::compute) fn has_stack<T>(&self, count: usize, step: isize) -> bool
    where
        E: Deref<Target = [T]>,
    {
        let last = count.saturating_sub(1).cast_signed().checked_mul(step);
        let last = last.and_then(|moved| self.place.first.checked_add_signed(moved));
        let is_within = |first| Strided { first, ..self.place }.within(self.elements.len()).is_ok();
        count == 0 || last.is_some_and(is_within)
    }

    /// Another place in the same array.
    pub(in crate::compute) fn at(self, place: Strided<usize>) -> MatrixBase<E> {
        MatrixBase { place, ..self }
    }

    /// The same matrix with rows and columns exchanged, or each matrix of a stack. A vector does
    /// not change.
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
    pub fn transposed(mut self) -> MatrixBase<E> {
        if self.form != Form::Vector {
            self.place = self.place.transposed();
        }
        self
    }

    /// The rows in `range`, or those of each matrix of a stack.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a row does not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([3, 2], |[i, j]| (2 * i + j) as f64)?;
    /// assert_eq!(pool.gram(Matrix::from(&a).rows(1..2)?)?.as_slice(), [13.0]);
    /// assert!(Matrix::from(&a).rows(2..4).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn rows(self, range: impl RangeBounds<usize>) -> Result<MatrixBase<E>> {
        if matches!(self.form, Form::Other(_)) {
            return self.refuse("rows of an array", "one, two or three dimensions");
        }
        let place = self.place.block(range, ..)?;
        Ok(self.at(place))
    }

    /// The columns in `range`, or those of each matrix of a stack.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a column does not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([1, 4], |[_, j]| j as f64)?;
    /// assert_eq!(pool.gram(Matrix::from(&a).columns(2..)?)?.as_slice(), [13.0]);
    /// assert!(Matrix::from(&a).columns(..5).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn columns(self, range: impl RangeBounds<usize>) -> Result<MatrixBase<E>> {
        if matches!(self.form, Form::Vector | Form::Other(_)) {
            return self.refuse("columns of an array", "two or three dimensions");
        }
        let place = self.place.block(.., range)?;
        Ok(self.at(place))
    }

    /// The matrix whose element (0, 0) is element `first` of the array.
    fn restrided<T>(self, first: usize, shape: [usize; 2], strides: [isize; 2]) -> Result<Self>
    where
        E: Deref<Target = [T]>,
    {
        let ([rows, cols], [row_stride, col_stride]) = (shape, strides);
        let place = Strided { first, rows, cols, row_stride, col_stride };
        let place = place.within(self.elements.len())?;
        Ok(MatrixBase { form: Form::Matrix, ..self.at(place) })
    }
}

impl<'a, T> Matrix<'a, T> {
    /// The element in this row and column.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(in crate::compute) fn element(&self, row: usize, col: usize) -> T
    where
        T: Copy,
    {
        assert!(row < self.place.rows && col < self.place.cols, "an element of the matrix");
        self.elements[self.place.at(row, col)]
    }

    /// The elements of the first row as a column.
    pub(in crate::compute) fn first_row_as_column(self) -> Matrix<'a, T> {
        let Strided { first, rows, cols, col_stride, .. } = self.place;
        let count = if rows == 0 { 0 } else { cols };
        self.at(Strided { first, rows: count, cols: 1, row_stride: col_stride, col_stride: 1 })
    }

    /// The elements of an array of any shape, seen as a matrix whose element (i, j) is element
    /// `first + i * strides[0] + j * strides[1]` of the array.
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
        shape: [usize; 2],
        strides: [isize; 2],
    ) -> Result<Matrix<'a, T>> {
        array.into().restrided(first, shape, strides)
    }

    /// The matrix for this process.
    pub(in crate::compute) fn local(self) -> Strided<*mut T> {
        self.place.in_array(self.elements.as_ptr().cast_mut())
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// The elements of an array as a matrix; see [`Matrix::strided`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element lies outside the array, or if two may coincide: the
    /// longer stride must step over everything that the shorter one reaches.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{MatrixMut, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([1, 1], |_| 3.0)?;
    /// let mut c = SharedArray::<f64>::zeroed([4])?;
    /// pool.product(&a, &a).run_into(MatrixMut::strided(&mut c, 2, [1, 1], [1, 1])?)?;
    /// assert_eq!(c.as_slice(), [0.0, 0.0, 9.0, 0.0]);
    /// assert!(MatrixMut::strided(&mut c, 0, [2, 2], [1, 1]).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn strided(
        array: impl Into<MatrixMut<'a, T>>,
        first: usize,
        shape: [usize; 2],
        strides: [isize; 2],
    ) -> Result<MatrixMut<'a, T>> {
        let matrix = array.into().restrided(first, shape, strides)?;
        matrix.place.without_overlap()?;
        Ok(matrix)
    }

    /// The same matrix, borrowed from this one.
    pub(in crate::compute) fn reborrow(&mut self) -> MatrixMut<'_, T> {
        let MatrixBase { elements, source, form, place } = self;
        MatrixBase { elements, source: source.clone(), form: form.clone(), place: *place }
    }

    /// The same matrix to read.
    pub(in crate::compute) fn as_matrix(&self) -> Matrix<'_, T> {
        let MatrixBase { elements, source, form, place } = self;
        MatrixBase { elements, source: source.clone(), form: form.clone(), place: *place }
    }

    /// The matrix for this process.
    pub(in crate::compute) fn local(self) -> Strided<*mut T> {
        self.place.in_array(self.elements.as_mut_ptr())
    }
}

impl<'a, T: Scalar> From<&'a SharedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a SharedArray<T>) -> Matrix<'a, T> {
        MatrixBase::of(array.as_slice(), Some(array.source()), array.shape())
    }
}

impl<'a, T: Scalar> From<&'a Frozen<T>> for Matrix<'a, T> {
    fn from(array: &'a Frozen<T>) -> Matrix<'a, T> {
        MatrixBase::of(array.as_slice(), array.source(), array.shape())
    }
}

impl<'a, T: Scalar> From<&'a MappedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a MappedArray<T>) -> Matrix<'a, T> {
        MatrixBase::of(array.as_slice(), Some(array.source()), array.shape())
    }
}

impl<'a, T: Scalar> From<&'a mut SharedArray<T>> for MatrixMut<'a, T> {
    fn from(array: &'a mut SharedArray<T>) -> MatrixMut<'a, T> {
        let (source, shape) = (array.source(), array.shape().clone());
        MatrixBase::of(array.as_mut_slice(), Some(source), &shape)
    }
}
