//! Arrays as operands of a parallel loop.
#![allow(unsafe_code)]

use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::array::{
    Element, Frozen, LentNamed, MappedArray, MappedArrayMut, NamedArray, SharedArray,
};
use crate::error::{Error, Result};
use crate::object::source::{Resolver, Source};
use crate::region::windows::Windows;
use crate::sys::mmap::Access;

/// What is public for the compiler alone: it stands in signatures of public traits.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented or made elsewhere")]
mod private {
    use crate::object::source::{Resolved, Source};
    use crate::shape::Shape;

    /// Keeps other crates from implementing a trait.
    pub trait Sealed {}

    /// An operand as the host describes it to workers.
    #[derive(Debug)]
    pub struct HostOperand {
        pub(crate) source: Source,
        pub(crate) shape: Shape,
        pub(crate) len: usize,
        pub(crate) is_written: bool,
    }

    /// An operand in the address space of a worker.
    #[derive(Debug)]
    pub struct WorkerOperand {
        pub(crate) resolved: Resolved,
        pub(crate) len_bytes: usize,
    }

    /// Operands together with the number of each chunk.
    #[derive(Debug)]
    pub struct Enumerated<P>(pub(crate) P);
}
pub(super) use private::{Enumerated, HostOperand, Sealed, WorkerOperand};

/// An array that a loop takes chunks of, borrowed for the call.
///
/// This crate implements it for `&SharedArray`, `&Frozen`, `&MappedArray` and
/// [`NamedArray::lend`](crate::NamedArray::lend), which are read, for `&mut SharedArray`,
/// `&mut MappedArrayMut` and [`NamedArray::lend_mut`](crate::NamedArray::lend_mut), which are
/// written, and for pairs of operands. Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Operand, ParChunks, Pool, SharedArray};
/// fn loop_over<'p, A: Operand>(pool: &'p Pool, array: A) -> ParChunks<'p, A> {
///     pool.par_chunks(array, 2).retries(1)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[1u32, 2, 3])?;
/// assert_eq!(loop_over(&pool, &x).map(|x| x.len()).collect()?, [2, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operand of a parallel loop",
    label = "not `&SharedArray`, `&mut SharedArray`, `&Frozen`, or another operand",
    note = "copy a slice or a `Vec` into shared memory first: `SharedArray::from_slice(&x)?`"
)]
pub trait Operand: Sealed {
    /// What the loop's function gets for each chunk: `&[T]`, `&mut [T]`, or a pair.
    type Item<'a>;

    /// Appends the description of each array.
    #[doc(hidden)]
    fn describe(&self, operands: &mut Vec<HostOperand>) -> Result<()>;

    /// Chunk number `index`, the elements `range` of each array; takes the arrays from `operands`.
    ///
    /// # Safety
    ///
    /// - For `'a`, no other process or thread uses the same range of a written operand, and
    ///   none writes to that of a read one.
    #[doc(hidden)]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        index: usize,
        range: &Range<usize>,
    ) -> Self::Item<'a>;
}

impl WorkerOperand {
    /// Maps the array that `source` names.
    pub(super) fn map(
        resolver: &Resolver,
        windows: &Windows,
        source: &Source,
        is_written: bool,
    ) -> Result<WorkerOperand> {
        let access = if is_written { Access::ReadWrite } else { Access::ReadOnly };
        let resolved = resolver.resolve(windows, source, access)?;
        let len_bytes = usize::try_from(source.len_bytes()).unwrap_or(0);
        Ok(WorkerOperand { resolved, len_bytes })
    }

    /// Where the next operand has its elements `range`.
    ///
    /// # Panics
    ///
    /// If there is none, or if they lie outside, or are not aligned.
    fn next<T>(operands: &mut slice::Iter<'_, WorkerOperand>, range: &Range<usize>) -> *mut T {
        let WorkerOperand { resolved, len_bytes } = operands.next().expect("an operand is missing");
        let end_bytes = range.end.checked_mul(size_of::<T>());
        assert!(
            range.start <= range.end && end_bytes.is_some_and(|end| end <= *len_bytes),
            "elements {range:?} of {len_bytes} bytes",
        );
        let start = resolved.as_ptr().cast::<T>();
        assert!(start.is_aligned(), "an operand at {start:p}");
        start.wrapping_add(range.start)
    }
}

/// The next operand's elements `range`, to be read.
///
/// # Safety
///
/// - For `'a`, nobody writes to them.
unsafe fn read<'a, T: Pod>(
    operands: &mut slice::Iter<'a, WorkerOperand>,
    range: &Range<usize>,
) -> &'a [T] {
    let start = WorkerOperand::next::<T>(operands, range);
    // SAFETY: in bounds and aligned, checked by `next`; every byte of an array is initialised;
    // nobody writes there for `'a`, by the caller's contract.
    unsafe { slice::from_raw_parts(start, range.len()) }
}

/// The next operand's elements `range`, to be written.
///
/// # Safety
///
/// - For `'a`, nobody else uses them.
unsafe fn write<'a, T: Pod>(
    operands: &mut slice::Iter<'a, WorkerOperand>,
    range: &Range<usize>,
) -> &'a mut [T] {
    let start = WorkerOperand::next::<T>(operands, range);
    // SAFETY: as in `read`; nobody else uses the range for `'a`, by the caller's contract.
    unsafe { slice::from_raw_parts_mut(start, range.len()) }
}

// A macro, not a blanket implementation over a trait of all arrays: for an argument that is no
// operand, rustc would then name that private trait instead of listing the operands.
macro_rules! operand {
    ($bound:ident, $operand:ty, $item:ty, $access:ident, $this:ident => $array:expr) => {
        impl<T> Sealed for $operand {}

        impl<T: $bound> Operand for $operand {
            type Item<'a> = $item;

            fn describe(&self, operands: &mut Vec<HostOperand>) -> Result<()> {
                let $this = self;
                let source = found($array.source())?;
                let (shape, len) = ($array.shape().clone(), $array.len());
                let is_written = stringify!($access) == "write";
                operands.push(HostOperand { source, shape, len, is_written });
                Ok(())
            }

            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                _: usize,
                range: &Range<usize>,
            ) -> $item {
                // SAFETY: the same contract, passed on.
                unsafe { $access(operands, range) }
            }
        }
    };
}
operand!(Pod, &SharedArray<T>, &'a [T], read, array => array);
operand!(Pod, &mut SharedArray<T>, &'a mut [T], write, array => array);
operand!(Pod, &Frozen<T>, &'a [T], read, array => array);
operand!(Element, &MappedArray<T>, &'a [T], read, array => array);
operand!(Element, &mut MappedArrayMut<T>, &'a mut [T], write, array => array);
operand!(Element, LentNamed<&NamedArray<T>>, &'a [T], read, lent => lent.0);
operand!(Element, LentNamed<&mut NamedArray<T>>, &'a mut [T], write, lent => lent.0);

/// Where the elements of an array are; an error for one that was lent to a task.
fn found(source: impl Into<Option<Source>>) -> Result<Source> {
    source.into().ok_or_else(|| {
        Error::invalid("a loop's operand", "an array lent to a task", "an array of this process")
    })
}

impl<P, Q> Sealed for (P, Q) {}
impl<P> Sealed for Enumerated<P> {}

impl<P: Operand, Q: Operand> Operand for (P, Q) {
    type Item<'a> = (P::Item<'a>, Q::Item<'a>);

    fn describe(&self, operands: &mut Vec<HostOperand>) -> Result<()> {
        self.0.describe(operands)?;
        self.1.describe(operands)
    }

    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        index: usize,
        range: &Range<usize>,
    ) -> Self::Item<'a> {
        // SAFETY: the same contract, passed on.
        let left = unsafe { P::item(operands, index, range) };
        // SAFETY: the same contract, passed on; a written operand is no other operand, because
        // the host borrowed it mutably.
        let right = unsafe { Q::item(operands, index, range) };
        (left, right)
    }
}

impl<P: Operand> Operand for Enumerated<P> {
    type Item<'a> = (usize, P::Item<'a>);

    fn describe(&self, operands: &mut Vec<HostOperand>) -> Result<()> {
        self.0.describe(operands)
    }

    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        index: usize,
        range: &Range<usize>,
    ) -> Self::Item<'a> {
        // SAFETY: the same contract, passed on.
        (index, unsafe { P::item(operands, index, range) })
    }
}
