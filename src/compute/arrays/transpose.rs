//! Transposes and permutations of axes.

use bytemuck::Pod;

use crate::array::{AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::transpose::{Permutation, Word};
use crate::pool::{Pool, Whole};

/// The bytes that a call moves at once: more than a first-level cache, less than a second-level
/// one.
const CHUNK_BYTES: usize = 512 << 10;
/// The sizes, and alignments, of the words as which elements are moved, in bytes.
const WORDS: [usize; 5] = [16, 8, 4, 2, 1];

impl Pool {
    /// The transpose of a matrix, as a new array: `out[j, i]` is `matrix[i, j]`.
    ///
    /// A view of the same elements needs no copy: see [`Matrix::transposed`](crate::Matrix).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array that is not a matrix; [`Error::NoSpace`];
    /// [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 3], |[i, j]| 10 * i + j)?;
    /// let t = pool.transpose(&a)?;
    /// assert_eq!(t.shape().dims(), [3, 2]);
    /// assert_eq!(t.as_slice(), [0, 10, 1, 11, 2, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn transpose<T: Pod>(&self, matrix: &impl AsArrayView<T>) -> Result<SharedArray<T>> {
        let matrix = &matrix.as_array_view();
        if matrix.shape().ndim() != 2 {
            let rule = "a matrix (see `permute_axes` for other arrays)";
            return Err(Error::invalid("the array of `transpose`", matrix.shape(), rule));
        }
        self.permute_axes(matrix, &[1, 0])
    }

    /// The elements of `array` with its axes in another order, as a new array: axis `d` of the
    /// result is axis `axes[d]` of `array`, as in `numpy.transpose`.
    ///
    /// Elements of any size are moved bit for bit. Sizes of 1, 2, 4, 8 and 16 bytes are fastest;
    /// others are moved in words of the largest of these sizes that divides theirs.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `axes` does not contain each axis of the array once;
    /// [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// The planes of an image:
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([20, 30, 3], |[i, j, c]| (i + j + 100 * c) as u16)?;
    /// let planes = pool.permute_axes(&image, &[2, 0, 1])?;
    /// assert_eq!(planes.shape().dims(), [3, 20, 30]);
    /// assert_eq!((planes[[0, 5, 6]], planes[[2, 5, 6]]), (11, 211));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn permute_axes<T: Pod>(
        &self,
        array: &impl AsArrayView<T>,
        axes: &[usize],
    ) -> Result<SharedArray<T>> {
        let array = &array.as_array_view();
        let dims = array.shape().dims();
        let permutation = Permutation::new(dims, axes).map_err(|bad| {
            let rule = format!("each of the {} axes of the array once", bad.dimensions);
            let found = format!("{axes:?}, wrong at position {}", bad.position);
            Error::invalid("the axes of `permute_axes`", found, rule)
        })?;
        let shape: Vec<usize> = axes.iter().map(|&axis| dims[axis]).collect();
        let mut out = self.for_overwrite(shape)?;
        if size_of::<T>() == 0 {
            return Ok(out);
        }
        let target = (CHUNK_BYTES / size_of::<T>()).max(1);
        let chunk_len = permutation.chunk_len(size_of::<T>(), target);
        let order = (dims.to_vec(), axes.to_vec(), chunk_len);
        let chunks = self.par_chunks_mut(&mut out, chunk_len).enumerate();
        chunks
            .zip(Whole(array))
            .with(order)
            .for_each(|(dims, axes, chunk_len), ((chunk, out), input)| {
                permute_part(out, input, (dims, axes), chunk * chunk_len);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }
}

/// The elements of the output from `start` on, as words.
fn permute_part<T: Pod>(out: &mut [T], input: &[T], order: (&[usize], &[usize]), start: usize) {
    let size = size_of::<T>();
    match WORDS.into_iter().find(|word| size.is_multiple_of(*word)) {
        Some(16) => permute_words::<T, [u64; 2]>(out, input, order, start),
        Some(8) => permute_words::<T, u64>(out, input, order, start),
        Some(4) => permute_words::<T, u32>(out, input, order, start),
        Some(2) => permute_words::<T, u16>(out, input, order, start),
        _ => permute_words::<T, u8>(out, input, order, start),
    }
}

/// The same for words of type `W`. An element of several words is one more axis, which stays last.
///
/// # Panics
///
/// If an array is not aligned to a word. Arrays begin at multiples of 64 bytes, and the size of a
/// word divides that of an element.
fn permute_words<T: Pod, W: Word>(
    out: &mut [T],
    input: &[T],
    (dims, axes): (&[usize], &[usize]),
    start: usize,
) {
    let words = size_of::<T>() / size_of::<W>();
    let (mut dims, mut axes) = (dims.to_vec(), axes.to_vec());
    axes.push(dims.len());
    dims.push(words);
    let permutation = Permutation::new(&dims, &axes).expect("the host checked the axes");
    let range = start * words..(start + out.len()) * words;
    permutation.permute::<W>(bytemuck::cast_slice_mut(out), bytemuck::cast_slice(input), range);
}
