//! The read-only array: many handles, many tasks.

#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::slice;
use std::sync::Arc;

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::shared::SharedArray;
use crate::array::wire_handle::WireHandle;
use crate::error::Result;
use crate::object::source::Source;
use crate::object::transfer::{self, LeasedBytes};
use crate::region::arena::Span;
use crate::shape::Shape;

/// An array that nobody writes any more: clones and tasks share it without a copy.
///
/// It can be an argument of a task, or part of one; in the worker its elements are read where
/// they are. Serialising it for anything but a task is an error.
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
    place: Place,
    shape: Shape,
    len: usize,
    elements: PhantomData<T>,
}

#[derive(Debug, Clone)]
enum Place {
    /// In the process that made it.
    Host(Arc<Span>),
    /// In a worker, for the length of a task.
    Worker(Arc<LeasedBytes>),
}

impl<T: Pod> Frozen<T> {
    pub(crate) fn of_span(span: Span, shape: Shape) -> Frozen<T> {
        let len = shape.len_elements().expect("the shape of an array was checked");
        Frozen { place: Place::Host(Arc::new(span)), shape, len, elements: PhantomData }
    }

    /// The extents, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in row-major order.
    ///
    /// # Panics
    ///
    /// In a child that was forked by hand.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        let start = match &self.place {
            Place::Host(span) => span.as_ptr().cast_const(),
            Place::Worker(leased) => leased.as_ptr().cast_const(),
        };
        // SAFETY: the span has `len` elements, aligned for `T` (made so by `SharedArray`; in a
        // worker, checked by `transfer::take`). Nobody writes them while this handle lives:
        // points 4 and 6 of the argument in `array/mod.rs`.
        unsafe { slice::from_raw_parts(start.cast(), self.len) }
    }

    /// The element at `index`, or `None` if it lies outside or has the wrong dimensions.
    #[must_use]
    pub fn get<const N: usize>(&self, index: [usize; N]) -> Option<&T> {
        self.as_slice().get(self.shape.offset(&index)?)
    }

    /// Makes the array writable again: without a copy if this is the last handle and no task
    /// has it, else as a copy.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NoSpace`] if a copy is needed and there is no memory for it;
    /// [`crate::Error::Closed`] in a child that was forked by hand.
    pub fn thaw(self) -> Result<SharedArray<T>> {
        let place = match self.place {
            Place::Host(span) => match Arc::try_unwrap(span) {
                Ok(span) => return Ok(SharedArray::of_parts(span, self.shape)),
                Err(shared) => Place::Host(shared),
            },
            worker => worker,
        };
        if let Place::Host(span) = &place {
            span.check()?;
        }
        let frozen = Frozen { place, ..self };
        let mut copy = SharedArray::from_slice(frozen.as_slice())?;
        copy.reshape(&frozen.shape)?;
        Ok(copy)
    }

    /// What a worker needs to find the elements; `None` in a worker.
    pub(crate) fn source(&self) -> Option<Source> {
        match &self.place {
            Place::Host(span) => Some(Source::of_span(span)),
            Place::Worker(_) => None,
        }
    }
}

impl<T> Clone for Frozen<T> {
    fn clone(&self) -> Frozen<T> {
        let (place, shape) = (self.place.clone(), self.shape.clone());
        Frozen { place, shape, len: self.len, elements: PhantomData }
    }
}

impl<T> fmt::Debug for Frozen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen<{}>{}", std::any::type_name::<T>(), self.shape)
    }
}

/// Inside the codec of a task only.
impl<T: Pod> Serialize for Frozen<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let slot = match &self.place {
            Place::Host(span) => transfer::lend_frozen(span, size_of::<T>()),
            Place::Worker(leased) => transfer::return_frozen(leased),
        };
        let slot = slot.map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        WireHandle::new::<T>(slot, 0, self.shape.dims()).serialize(serializer)
    }
}

/// Inside the codec of a task only.
impl<'de, T: Pod> Deserialize<'de> for Frozen<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let wire = WireHandle::deserialize(deserializer)?;
        let (shape, len) =
            wire.check::<T>().map_err(|refusal| D::Error::custom(transfer::noted(refusal)))?;
        let place = match transfer::take_frozen::<T>(wire.slot, len)
            .map_err(|refusal| D::Error::custom(transfer::noted(refusal)))?
        {
            transfer::Taken::Host(span) => Place::Host(span),
            transfer::Taken::Worker(leased) => Place::Worker(leased),
        };
        Ok(Frozen { place, shape, len, elements: PhantomData })
    }
}
