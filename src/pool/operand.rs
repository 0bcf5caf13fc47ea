//! Arrays as operands of a parallel loop.
//!
//! Who may be read, who may be written, chunk by chunk.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::array::{
    Element, Frozen, LentNamed, LentNamedMut, MappedArray, MappedArrayMut, SharedArray,
};
use crate::error::{Error, Result};
use crate::object::source::{Resolved, Resolver, Source};
use crate::region::windows::Windows;
use crate::shape::Shape;
use crate::sys::mmap::Access;

mod sealed {
    #[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
    pub trait Sealed {}
}
pub(super) use sealed::Sealed;

/// What a loop's function gets for each chunk; implemented by this crate only.
///
/// [`In<T>`] gives `&[T]`, [`Out<T>`] gives `&mut [T]`, a pair gives a pair, and
/// [`Enumerated<P>`] gives the chunk's number in front.
pub trait Chunks: Sealed + 'static {
    /// One chunk, borrowed for one call.
    type Item<'a>;

    /// How many operands there are.
    #[doc(hidden)]
    const OPERANDS: usize;

    /// Whether each operand is written, in order.
    #[doc(hidden)]
    fn written(written: &mut Vec<bool>);

    /// Whether any operand is written.
    #[doc(hidden)]
    fn writes() -> bool {
        let mut written = Vec::new();
        Self::written(&mut written);
        written.contains(&true)
    }

    /// The chunk of elements `range`, which is chunk number `index`.
    ///
    /// # Safety
    ///
    /// - For `'a`, no other process or thread uses the same range of a written operand, and
    ///   nobody writes to that of a read one.
    #[doc(hidden)]
    unsafe fn item<'a>(lent: &'a [Lent], index: usize, range: Range<usize>) -> Self::Item<'a>;
}

/// An operand's elements in a worker's address space; opaque.
#[derive(Debug)]
pub struct Lent {
    resolved: Resolved,
    len_bytes: usize,
}

impl Lent {
    /// Where elements `range` are.
    ///
    /// # Panics
    ///
    /// If they lie outside, or are not aligned.
    fn start<T>(&self, range: &Range<usize>) -> *mut T {
        let end_bytes = range.end.checked_mul(size_of::<T>());
        assert!(
            range.start <= range.end && end_bytes.is_some_and(|end| end <= self.len_bytes),
            "elements {range:?} of {} bytes",
            self.len_bytes
        );
        let start = self.resolved.as_ptr().cast::<T>();
        assert!(start.is_aligned(), "an operand at {start:p}");
        start.wrapping_add(range.start)
    }
}

/// Finds the operands of `P` that `sources` names.
pub(super) fn lend<P: Chunks>(
    resolver: &Resolver,
    windows: &Windows,
    sources: &[Source],
) -> Result<Vec<Lent>> {
    let mut written = Vec::with_capacity(P::OPERANDS);
    P::written(&mut written);
    if sources.len() != P::OPERANDS {
        let found = format!("{} operands instead of {}", sources.len(), P::OPERANDS);
        return Err(Error::Corrupt { what: "a loop", found });
    }
    let lend = |(source, written): (&Source, bool)| {
        let access = if written { Access::ReadWrite } else { Access::ReadOnly };
        let resolved = resolver.resolve(windows, source, access)?;
        let len_bytes = usize::try_from(source.len_bytes()).unwrap_or(0);
        Ok(Lent { resolved, len_bytes })
    };
    sources.iter().zip(written).map(lend).collect()
}

/// An operand that is read: its chunks are `&[T]`.
#[derive(Debug)]
pub struct In<T>(PhantomData<T>);

/// An operand that is written: its chunks are `&mut [T]`.
#[derive(Debug)]
pub struct Out<T>(PhantomData<T>);

/// No operand: chunks are ranges of elements.
#[derive(Debug)]
pub(super) struct Ranges;

/// Operands with the number of each chunk.
#[derive(Debug)]
pub struct Enumerated<P>(PhantomData<P>);

impl<T> Sealed for In<T> {}
impl<T> Sealed for Out<T> {}
impl<P> Sealed for Enumerated<P> {}
impl Sealed for Ranges {}
impl<P, Q> Sealed for (P, Q) {}

impl<T: Pod> Chunks for In<T> {
    type Item<'a> = &'a [T];
    const OPERANDS: usize = 1;

    fn written(written: &mut Vec<bool>) {
        written.push(false);
    }

    unsafe fn item(lent: &[Lent], _: usize, range: Range<usize>) -> &[T] {
        let start = lent[0].start::<T>(&range);
        // SAFETY: in bounds and aligned, checked by `start`; every byte of an array is
        // initialised; nobody writes there for `'a`, by the caller's contract.
        unsafe { slice::from_raw_parts(start, range.len()) }
    }
}

impl<T: Pod> Chunks for Out<T> {
    type Item<'a> = &'a mut [T];
    const OPERANDS: usize = 1;

    fn written(written: &mut Vec<bool>) {
        written.push(true);
    }

    unsafe fn item(lent: &[Lent], _: usize, range: Range<usize>) -> &mut [T] {
        let start = lent[0].start::<T>(&range);
        // SAFETY: as for `In`; and nobody else uses the range for `'a`, by the caller's contract.
        unsafe { slice::from_raw_parts_mut(start, range.len()) }
    }
}

impl Chunks for Ranges {
    type Item<'a> = Range<usize>;
    const OPERANDS: usize = 0;

    fn written(_: &mut Vec<bool>) {}

    unsafe fn item(_: &[Lent], _: usize, range: Range<usize>) -> Range<usize> {
        range
    }
}

impl<P: Chunks, Q: Chunks> Chunks for (P, Q) {
    type Item<'a> = (P::Item<'a>, Q::Item<'a>);
    const OPERANDS: usize = P::OPERANDS + Q::OPERANDS;

    fn written(written: &mut Vec<bool>) {
        P::written(written);
        Q::written(written);
    }

    unsafe fn item<'a>(lent: &'a [Lent], index: usize, range: Range<usize>) -> Self::Item<'a> {
        let (left, right) = lent.split_at(P::OPERANDS);
        // SAFETY: the same contract, passed on.
        let left = unsafe { P::item(left, index, range.clone()) };
        // SAFETY: the same contract, passed on; a written operand is no other operand, because
        // the host borrowed it mutably.
        let right = unsafe { Q::item(right, index, range) };
        (left, right)
    }
}

impl<P: Chunks> Chunks for Enumerated<P> {
    type Item<'a> = (usize, P::Item<'a>);
    const OPERANDS: usize = P::OPERANDS;

    fn written(written: &mut Vec<bool>) {
        P::written(written);
    }

    unsafe fn item<'a>(lent: &'a [Lent], index: usize, range: Range<usize>) -> Self::Item<'a> {
        // SAFETY: the same contract, passed on.
        (index, unsafe { P::item(lent, index, range) })
    }
}

/// An array as a loop's tasks are told of it; opaque.
#[derive(Debug)]
pub struct Described {
    pub(super) source: Source,
    pub(super) shape: Shape,
    pub(super) len: usize,
}

/// An array that a loop can take chunks of, borrowed for the call; implemented by this crate for
/// `&SharedArray`, `&Frozen`, `&MappedArray` (to read), `&mut SharedArray` and
/// `&mut MappedArrayMut` (to write).
pub trait Operand<'d>: Sealed {
    /// What its chunks are.
    type Chunks: Chunks;

    #[doc(hidden)]
    fn describe(self) -> Result<Described>;
}

impl<T> Sealed for &SharedArray<T> {}
impl<T> Sealed for &mut SharedArray<T> {}
impl<T> Sealed for &Frozen<T> {}
impl<T> Sealed for &MappedArray<T> {}
impl<T> Sealed for &mut MappedArrayMut<T> {}
impl<T> Sealed for LentNamed<'_, T> {}
impl<T> Sealed for LentNamedMut<'_, T> {}

impl<'d, T: Pod> Operand<'d> for &'d SharedArray<T> {
    type Chunks = In<T>;

    fn describe(self) -> Result<Described> {
        Ok(Described { source: self.source(), shape: self.shape().clone(), len: self.len() })
    }
}

impl<'d, T: Pod> Operand<'d> for &'d mut SharedArray<T> {
    type Chunks = Out<T>;

    fn describe(self) -> Result<Described> {
        Ok(Described { source: self.source(), shape: self.shape().clone(), len: self.len() })
    }
}

impl<'d, T: Pod> Operand<'d> for &'d Frozen<T> {
    type Chunks = In<T>;

    fn describe(self) -> Result<Described> {
        let source = self.source().ok_or_else(|| {
            Error::invalid(
                "a loop's operand",
                "an array lent to a task",
                "an array of this process",
            )
        })?;
        Ok(Described { source, shape: self.shape().clone(), len: self.len() })
    }
}

impl<'d, T: Element> Operand<'d> for &'d MappedArray<T> {
    type Chunks = In<T>;

    fn describe(self) -> Result<Described> {
        Ok(Described { source: self.source(), shape: self.shape().clone(), len: self.len() })
    }
}

impl<'d, T: Element> Operand<'d> for &'d mut MappedArrayMut<T> {
    type Chunks = Out<T>;

    fn describe(self) -> Result<Described> {
        Ok(Described { source: self.source(), shape: self.shape().clone(), len: self.len() })
    }
}

impl<'d, T: Element> Operand<'d> for LentNamed<'d, T> {
    type Chunks = In<T>;

    fn describe(self) -> Result<Described> {
        let LentNamed(array) = self;
        Ok(Described { source: array.source(), shape: array.shape().clone(), len: array.len() })
    }
}

impl<'d, T: Element> Operand<'d> for LentNamedMut<'d, T> {
    type Chunks = Out<T>;

    fn describe(self) -> Result<Described> {
        let LentNamedMut(array) = self;
        Ok(Described { source: array.source(), shape: array.shape().clone(), len: array.len() })
    }
}
