//! Arrays as operands of a parallel loop.
//!
//! All operands of a loop have the same number of *units*: elements, rows or tiles. A written
//! operand lends the units of a chunk only to the call for that chunk. A read operand may lend
//! more, up to all of it, because nobody writes to it while the loop runs.
#![allow(unsafe_code)]

use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::array::{
    ArrayView, Element, Frozen, LentNamed, MappedArray, MappedArrayMut, NamedArray, SharedArray,
};
use crate::error::{Error, Result};
use crate::object::source::{Resolver, Source};
use crate::region::windows::Windows;
use crate::shape::Shape;
use crate::sys::mmap::Access;

/// Public only because signatures of public traits name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented or made elsewhere")]
mod private {
    use std::ops::Range;

    use serde::{Deserialize, Serialize};

    use crate::object::source::{Resolved, Source};
    use crate::shape::Shape;

    /// Keeps other crates from implementing a trait.
    pub trait Sealed {}

    /// How a loop divides its operands.
    #[derive(Debug, Clone, Copy)]
    pub enum Cut {
        /// In single elements, in row-major order.
        Elements,
        /// At each index of the axes up to this one.
        Rows { axis: usize },
        /// In tiles of this many rows and columns.
        Tiles { shape: [usize; 2] },
    }

    /// Which part of an operand belongs to a chunk.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    pub(crate) struct Layout {
        /// The number of rows of the operand: of elements, where the loop's units are elements.
        pub(crate) rows: usize,
        /// The number of elements of a row.
        pub(crate) row_len: usize,
        /// The ratio: how many units of the loop the operand has one row for.
        pub(crate) every: usize,
        /// The rows and columns of a tile; zeros in other loops.
        pub(crate) tile: [usize; 2],
    }

    /// An operand as the host describes it to workers.
    #[derive(Debug)]
    pub struct HostOperand {
        pub(crate) source: Source,
        pub(crate) shape: Shape,
        pub(crate) is_written: bool,
        /// The call made it, and drops it if the loop fails: a death leaves nothing of it torn.
        pub(crate) is_new: bool,
        /// The number of units; `None` if each call sees the whole operand.
        pub(crate) units: Option<usize>,
        pub(crate) layout: Layout,
        /// What an adapter sends to its part in the workers.
        pub(crate) extra: Vec<u8>,
    }

    /// An operand in the address space of a worker.
    #[derive(Debug)]
    pub struct WorkerOperand {
        pub(crate) resolved: Resolved,
        pub(crate) len_bytes: usize,
        pub(crate) layout: Layout,
        pub(crate) extra: Vec<u8>,
    }

    /// A chunk that this task has claimed, and for which it has not called the function yet.
    /// Neither `Clone` nor `Copy`: it is the right to the chunk's units.
    #[derive(Debug)]
    pub struct ClaimedChunk {
        /// The chunk's number.
        pub(crate) index: usize,
        /// The number of the block that it is part of.
        pub(crate) block: usize,
        /// Its units: elements, rows or tiles.
        pub(crate) range: Range<usize>,
    }

    /// Operands together with the number of each chunk.
    #[derive(Debug)]
    pub struct Enumerated<P>(pub(crate) P);
}
pub(super) use private::{
    ClaimedChunk, Cut, Enumerated, HostOperand, Layout, Sealed, WorkerOperand,
};

/// What a loop divides its operands into: [`Elements`], [`ByRows`] or [`ByTiles`].
///
/// # Examples
///
/// ```
/// use brigade::{Operand, ParLoop, Pool, SharedArray, Unit};
/// /// The loop, which computes its chunks again after a death.
/// fn patient<'p, A: Operand<U>, U: Unit>(any: ParLoop<'p, A, (), U>) -> ParLoop<'p, A, (), U> {
///     any.retries(1)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::<u8>::zeroed([4, 2])?;
/// assert_eq!(patient(pool.par_rows(&x, 3)).map(|rows| rows.len()).collect()?, [3, 1]);
/// assert_eq!(patient(pool.par_chunks(&x, 5)).map(|x| x.len()).collect()?, [5, 3]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub trait Unit: Sealed + 'static {}

/// Units of [`Pool::par_chunks`](crate::Pool::par_chunks): elements, in row-major order.
///
/// # Examples
///
/// ```
/// let pool = brigade::Pool::builder().workers(1).build()?;
/// let x = brigade::SharedArray::from_slice(&[1u8, 2, 3])?;
/// let pairs: brigade::ParLoop<'_, _, (), brigade::Elements> = pool.par_chunks(&x, 2);
/// assert_eq!(pairs.map(|x| x.len()).collect()?, [2, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Elements {}

/// Units of [`Pool::par_rows`](crate::Pool::par_rows): rows, each of them what one index of the
/// first axis selects.
///
/// # Examples
///
/// ```
/// let pool = brigade::Pool::builder().workers(1).build()?;
/// let x = brigade::SharedArray::<u8>::zeroed([3, 5])?;
/// let pairs: brigade::ParLoop<'_, _, (), brigade::ByRows> = pool.par_rows(&x, 2);
/// assert_eq!(pairs.map(|rows| rows.len()).collect()?, [2, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum ByRows {}

/// Units of [`Pool::par_tiles`](crate::Pool::par_tiles): rectangles of a matrix.
///
/// # Examples
///
/// ```
/// let pool = brigade::Pool::builder().workers(1).build()?;
/// let x = brigade::SharedArray::<u8>::zeroed([3, 5])?;
/// let tiles: brigade::ParLoop<'_, _, (), brigade::ByTiles> = pool.par_tiles(&x, [3, 4]);
/// assert_eq!(tiles.map(|tile| tile.columns()).collect()?, [0..4, 4..5]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum ByTiles {}

impl Sealed for Elements {}
impl Sealed for ByRows {}
impl Sealed for ByTiles {}
impl Unit for Elements {}
impl Unit for ByRows {}
impl Unit for ByTiles {}

/// An array that a loop takes parts of, borrowed for the call.
///
/// This crate implements it for `&SharedArray`, `&Frozen`, `&MappedArray` and
/// [`NamedArray::lend`](crate::NamedArray::lend), which are read, for `&mut SharedArray`,
/// `&mut MappedArrayMut` and [`NamedArray::lend_mut`](crate::NamedArray::lend_mut), which are
/// written, for pairs of operands, and for [`Whole`](crate::Whole), [`Halo`](crate::Halo),
/// [`Subsampled`](crate::Subsampled) and [`Records`](crate::Records) of an array that is read.
/// Other crates cannot implement it.
///
/// `U` is what the loop divides its operands into.
///
/// # Examples
///
/// ```
/// use brigade::{Operand, ParLoop, Pool, SharedArray};
/// fn loop_over<'p, A: Operand>(pool: &'p Pool, array: A) -> ParLoop<'p, A> {
///     pool.par_chunks(array, 2).retries(1)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[1u32, 2, 3])?;
/// assert_eq!(loop_over(&pool, &x).map(|x| x.len()).collect()?, [2, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operand of this parallel loop",
    label = "not `&SharedArray`, `&mut SharedArray`, `&Frozen`, or another operand",
    note = "copy a slice or a `Vec` into shared memory first: `SharedArray::from_slice(&x)?`"
)]
pub trait Operand<U: Unit = Elements>: Sealed {
    /// What the loop's function gets for each chunk: `&[T]`, `&mut [T]`, [`Rows`](crate::Rows),
    /// or a pair of such.
    type Item<'a>;

    /// Appends the description of each array.
    #[doc(hidden)]
    fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()>;

    /// The part for `chunk`; takes the arrays from `operands`.
    ///
    /// # Safety
    ///
    /// - For `'a`, no other process or thread uses the chunk's units of a written operand, and
    ///   none writes to any element of a read one.
    #[doc(hidden)]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> Self::Item<'a>;
}

impl HostOperand {
    /// Describes an array of `shape` at `source`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array without the axis that the loop divides, or, for
    /// tiles, one that is not a matrix.
    pub(super) fn new(
        source: impl Into<Option<Source>>,
        shape: &Shape,
        is_written: bool,
        cut: Cut,
    ) -> Result<HostOperand> {
        let source = source.into().ok_or_else(|| {
            let lent = "an array lent to a task";
            Error::invalid("a loop's operand", lent, "an array of this process")
        })?;
        let dims = shape.dims();
        // The product of the whole shape was checked when the array was made.
        let product = |dims: &[usize]| dims.iter().product::<usize>();
        let (rows, row_len, units, tile) = match cut {
            Cut::Elements => (product(dims), 1, product(dims), [0, 0]),
            Cut::Rows { axis } if axis < dims.len() => {
                let rows = product(&dims[..=axis]);
                (rows, product(&dims[axis + 1..]), rows, [0, 0])
            }
            Cut::Rows { axis } => {
                let rule = "operands with more axes than the number of the one that is cut";
                return Err(Error::invalid(
                    "the axis of a loop",
                    format!("{axis} of {shape}"),
                    rule,
                ));
            }
            Cut::Tiles { shape: tile @ [height, width] } => match *dims {
                [_, _] if height == 0 || width == 0 => {
                    let found = format!("{height} by {width}");
                    return Err(Error::invalid("the shape of a tile", found, "at least 1 by 1"));
                }
                [rows, columns] => {
                    (rows, columns, rows.div_ceil(height) * columns.div_ceil(width), tile)
                }
                _ => {
                    let rule = "an array of two dimensions";
                    return Err(Error::invalid("an operand of a loop over tiles", shape, rule));
                }
            },
        };
        let layout = Layout { rows, row_len, every: 1, tile };
        let (shape, units) = (shape.clone(), Some(units));
        let (is_new, extra) = (false, Vec::new());
        Ok(HostOperand { source, shape, is_written, is_new, units, layout, extra })
    }
}

/// What the host sends to a worker about each operand.
pub(super) type WireOperand = (Source, bool, Layout, Vec<u8>);

impl WorkerOperand {
    /// Maps the array that `operand` names.
    pub(super) fn map(
        resolver: &Resolver,
        windows: &Windows,
        (source, is_written, layout, extra): &WireOperand,
    ) -> Result<WorkerOperand> {
        let access = if *is_written { Access::ReadWrite } else { Access::ReadOnly };
        let resolved = resolver.resolve(windows, source, access)?;
        let len_bytes = usize::try_from(source.len_bytes()).unwrap_or(0);
        Ok(WorkerOperand { resolved, len_bytes, layout: *layout, extra: extra.clone() })
    }

    /// The next of `operands`.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[inline]
    pub(super) fn next<'a>(operands: &mut slice::Iter<'a, WorkerOperand>) -> &'a WorkerOperand {
        operands.next().expect("an operand is missing")
    }

    /// The operand's rows for the units `units` of the loop.
    #[inline]
    pub(super) fn rows(&self, units: &Range<usize>) -> Range<usize> {
        let Layout { rows, every, .. } = self.layout;
        if every <= 1 {
            return units.clone();
        }
        units.start / every..units.end.div_ceil(every).min(rows)
    }

    /// The elements of `rows`.
    ///
    /// # Panics
    ///
    /// If there are more than a `usize` can count.
    #[inline]
    pub(super) fn elements(&self, rows: &Range<usize>) -> Range<usize> {
        let element =
            |row: usize| row.checked_mul(self.layout.row_len).expect("a row of the array");
        element(rows.start)..element(rows.end)
    }

    /// The address of the elements `range`.
    ///
    /// # Panics
    ///
    /// If they lie outside, or are not aligned.
    #[inline]
    pub(super) fn start<T>(&self, range: &Range<usize>) -> *mut T {
        let end_bytes = range.end.checked_mul(size_of::<T>());
        assert!(
            range.start <= range.end && end_bytes.is_some_and(|end| end <= self.len_bytes),
            "elements {range:?} of {} bytes",
            self.len_bytes,
        );
        let start = self.resolved.as_ptr().cast::<T>();
        assert!(start.is_aligned(), "an operand at {start:p}");
        start.wrapping_add(range.start)
    }

    /// The elements `range`, to be read.
    ///
    /// # Safety
    ///
    /// - For `'a`, nobody writes to them.
    #[inline]
    pub(super) unsafe fn read<T: Pod>(&self, range: &Range<usize>) -> &[T] {
        let start = self.start::<T>(range);
        // SAFETY: in bounds and aligned, checked by `start`; every byte of an array is
        // initialised; nobody writes there for the borrow, by the caller's contract.
        unsafe { slice::from_raw_parts(start, range.len()) }
    }

    /// The elements `range`, to be written.
    ///
    /// # Safety
    ///
    /// - As long as the slice lives, nobody else uses them.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the memory is not the operand's own")]
    pub(super) unsafe fn write<T: Pod>(&self, range: &Range<usize>) -> &mut [T] {
        let start = self.start::<T>(range);
        // SAFETY: as in `read`; nobody else uses the range, by the caller's contract.
        unsafe { slice::from_raw_parts_mut(start, range.len()) }
    }
}

/// Passes each type of array to the macro `$each`: the bound of its elements, its type, whether a
/// loop reads or writes it, and how to find the array in it. `$args` go in front.
// A macro, not a blanket implementation over a trait of all arrays: for an argument that is not an
// operand, rustc would then name that private trait instead of listing the operands.
macro_rules! for_each_array {
    ($each:ident!($($args:tt)*)) => {
        for_each_array!(read $each!($($args)*));
        $each!($($args)* bytemuck::Pod, &mut crate::array::SharedArray<T>, write, array => array);
        $each!(
            $($args)* crate::array::Element, &mut crate::array::MappedArrayMut<T>, write,
            array => array
        );
        $each!(
            $($args)* crate::array::Element,
            crate::array::LentNamed<&mut crate::array::NamedArray<T>>, write, lent => lent.0
        );
    };
    (read $each:ident!($($args:tt)*)) => {
        $each!($($args)* bytemuck::Pod, &crate::array::SharedArray<T>, read, array => array);
        $each!($($args)* bytemuck::Pod, &crate::array::Frozen<T>, read, array => array);
        $each!($($args)* bytemuck::Pod, &crate::array::ArrayView<'_, T>, read, array => array);
        $each!(
            $($args)* crate::array::Element, &crate::array::MappedArray<T>, read, array => array
        );
        $each!(
            $($args)* crate::array::Element,
            crate::array::LentNamed<&crate::array::NamedArray<T>>, read, lent => lent.0
        );
    };
}
pub(super) use for_each_array;

impl<T> Sealed for &SharedArray<T> {}
impl<T> Sealed for &mut SharedArray<T> {}
impl<T> Sealed for &Frozen<T> {}
impl<T> Sealed for &ArrayView<'_, T> {}
impl<T: Element> Sealed for &MappedArray<T> {}
impl<T: Element> Sealed for &mut MappedArrayMut<T> {}
impl<T: Element> Sealed for LentNamed<&NamedArray<T>> {}
impl<T: Element> Sealed for LentNamed<&mut NamedArray<T>> {}
impl<P, Q> Sealed for (P, Q) {}

/// Makes an array an operand of loops over `$unit`. Arguments: what a call gets of a read array and
/// of a written one, each with the function that finds it in a worker.
macro_rules! array_operand {
    (@ $unit:ty, $is_written:literal, ($item:ty, $find:path); $bound:path, $operand:ty,
     $this:ident => $array:expr) => {
        impl<T: $bound> Operand<$unit> for $operand {
            type Item<'a> = $item;

            fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
                let $this = self;
                let (source, shape) = ($array.source(), $array.shape());
                operands.push(HostOperand::new(source, shape, $is_written, cut)?);
                Ok(())
            }

            #[inline]
            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                chunk: &ClaimedChunk,
            ) -> $item {
                // SAFETY: the same contract, passed on.
                unsafe { $find(WorkerOperand::next(operands), chunk) }
            }
        }
    };
    ($unit:ty, $read:tt, $write:tt; $bound:path, $operand:ty, read, $($array:tt)*) => {
        array_operand!(@ $unit, false, $read; $bound, $operand, $($array)*);
    };
    ($unit:ty, $read:tt, $write:tt; $bound:path, $operand:ty, write, $($array:tt)*) => {
        array_operand!(@ $unit, true, $write; $bound, $operand, $($array)*);
    };
}
pub(super) use array_operand;

/// The elements of `chunk`, to be read.
///
/// # Safety
///
/// - Nobody writes to them while they are borrowed.
#[inline]
unsafe fn read<'a, T: Pod>(operand: &'a WorkerOperand, chunk: &ClaimedChunk) -> &'a [T] {
    // SAFETY: the same contract, passed on.
    unsafe { operand.read(&chunk.range) }
}

/// The elements of `chunk`, to be written.
///
/// # Safety
///
/// - Nobody else uses them while they are borrowed.
#[inline]
#[expect(clippy::mut_from_ref, reason = "the memory is not the operand's own")]
unsafe fn write<'a, T: Pod>(operand: &'a WorkerOperand, chunk: &ClaimedChunk) -> &'a mut [T] {
    // SAFETY: the same contract, passed on.
    unsafe { operand.write(&chunk.range) }
}

for_each_array!(array_operand!(Elements, (&'a [T], read), (&'a mut [T], write);));

impl<U: Unit, P: Operand<U>, Q: Operand<U>> Operand<U> for (P, Q) {
    type Item<'a> = (P::Item<'a>, Q::Item<'a>);

    fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        self.0.describe(cut, operands)?;
        self.1.describe(cut, operands)
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> Self::Item<'a> {
        // SAFETY: the same contract, passed on.
        let left = unsafe { P::item(operands, chunk) };
        // SAFETY: the same contract, passed on. A written operand overlaps no other operand: the
        // host borrowed it mutably, and for arrays that another handle may refer to, the contract
        // of `NamedArray::lend_mut`, or that of mapping a file to be written, excludes it.
        let right = unsafe { Q::item(operands, chunk) };
        (left, right)
    }
}
