//! The read-only array: many handles, many tasks.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::array_ref::ArrayRef;
use crate::array::shared_array::SharedArray;
use crate::array::wire_handle::WireHandle;
use crate::error::Result;
use crate::object::source::Source;
use crate::object::transfer::{self, LeasedBytes, Received, Refusal};
use crate::region::arena::Span;
use crate::shape::Shape;
use crate::sys::fork::Instance;

/// An array that can no longer be written: clones and tasks share it without a copy.
///
/// It can be an argument of a task, or part of one; the worker reads its elements in place.
/// Serialising it for anything but a task is an error.
///
/// # Examples
///
/// ```
/// use brigade::SharedArray;
/// let frozen = SharedArray::from_slice(&[1.5, 2.5])?.freeze();
/// let other = frozen.clone();
/// assert_eq!(other.as_slice(), [1.5, 2.5]);
/// drop(other);
/// let mut thawed = frozen.thaw()?;
/// thawed[[0]] = 7.0;
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Frozen<T> {
    place: FrozenBacking,
    elements: ArrayRef<T>,
}

#[derive(Debug, Clone)]
enum FrozenBacking {
    /// In the process that made it.
    Host(Arc<Span>),
    /// In a worker, for the length of a task.
    Worker(Arc<LeasedBytes>),
}

impl<T: Pod> SharedArray<T> {
    /// Makes the array read-only, so that many tasks may share it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Frozen, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let table = SharedArray::from_slice(&[2.0, 3.0, 5.0])?.freeze();
    /// let tasks = (0..3).map(|i| (table.clone(), i));
    /// let squares = pool.map(tasks, |(table, i): (Frozen<f64>, usize)| table[[i]] * table[[i]])?;
    /// assert_eq!(squares.sum::<f64>(), 38.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn freeze(self) -> Frozen<T> {
        let (span, elements) = self.into_parts();
        Frozen { place: FrozenBacking::Host(Arc::new(span)), elements }
    }
}

impl<T: Pod> Frozen<T> {
    /// Makes the array writable again: without a copy if this is the last handle and no task has
    /// the array, otherwise as a copy.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NoSpace`] if a copy is needed and there is no memory for it;
    /// [`crate::Error::Closed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedArray;
    /// let frozen = SharedArray::from_slice(&[1, 2, 3])?.freeze();
    /// let other = frozen.clone();
    /// let mut copy = frozen.thaw()?;
    /// copy.as_mut_slice()[0] = 9;
    /// assert_eq!((copy.as_slice(), other.as_slice()), (&[9, 2, 3][..], &[1, 2, 3][..]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn thaw(self) -> Result<SharedArray<T>> {
        let Frozen { place, elements } = self;
        let place = match place {
            FrozenBacking::Host(span) => match Arc::try_unwrap(span) {
                Ok(span) => return Ok(SharedArray::of_elements(span, elements)),
                Err(shared) => FrozenBacking::Host(shared),
            },
            worker => worker,
        };
        elements.check()?;
        let mut copy = SharedArray::from_slice(elements.as_slice())?;
        drop(place);
        copy.reshape(elements.shape())?;
        Ok(copy)
    }

    /// The array in this slot of the leases; `shape`, of `len` elements, was checked.
    pub(super) fn take(
        slot: u32,
        shape: Shape,
        len: usize,
    ) -> std::result::Result<Frozen<T>, Refusal> {
        let (place, start) = match transfer::take_frozen::<T>(slot, len)? {
            Received::Host(span) => (FrozenBacking::Host(Arc::clone(&span)), span.as_ptr()),
            Received::Worker(leased) => {
                (FrozenBacking::Worker(Arc::clone(&leased)), leased.as_ptr())
            }
        };
        // SAFETY: `take_frozen` checked that this many aligned elements of that size were leased;
        // `place` keeps them, and they are not written: points 4 and 6 of the argument in
        // `array/mod.rs`.
        let elements = unsafe { ArrayRef::new(start, shape, Some(Instance::current())) };
        Ok(Frozen { place, elements })
    }

    /// The source from which a worker finds the elements; `None` in a worker.
    pub(crate) fn source(&self) -> Option<Source> {
        match &self.place {
            FrozenBacking::Host(span) => Some(Source::of_span(span)),
            FrozenBacking::Worker(_) => None,
        }
    }
}

impl<T> Deref for Frozen<T> {
    type Target = ArrayRef<T>;

    #[inline]
    fn deref(&self) -> &ArrayRef<T> {
        &self.elements
    }
}

impl<T: Pod> Clone for Frozen<T> {
    fn clone(&self) -> Frozen<T> {
        // SAFETY: the clone keeps the same span or lease.
        let elements = unsafe { self.elements.again() };
        Frozen { place: self.place.clone(), elements }
    }
}

impl<T> fmt::Debug for Frozen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.show("Frozen", f)
    }
}

/// Only within the codec of a task.
impl<T: Pod> Serialize for Frozen<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let slot = match &self.place {
            FrozenBacking::Host(span) => transfer::lend_frozen(span, size_of::<T>()),
            FrozenBacking::Worker(leased) => transfer::return_frozen(leased),
        };
        let slot = slot.map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        WireHandle::new::<T>(slot, 0, self.shape().dims()).serialize(serializer)
    }
}

/// Only within the codec of a task.
impl<'de, T: Pod> Deserialize<'de> for Frozen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let wire = WireHandle::deserialize(deserializer)?;
        let taken = wire.check::<T>().and_then(|(shape, len)| Frozen::take(wire.slot, shape, len));
        taken.map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
    }
}
