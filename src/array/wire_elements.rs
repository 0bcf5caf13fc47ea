//! The encoded form of elements that cross by value.

use bytemuck::Pod;
use serde::{Deserialize, Serialize, Serializer};

use crate::array::frozen::Frozen;
use crate::array::shared_array::SharedArray;
use crate::array::wire_handle::WireHandle;
use crate::object::transfer::{self, Place, Refusal};
use crate::sys::huge_pages;

/// Elements in a payload, or where they are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireElements<'a> {
    /// Their type and shape; the slot is used for [`Place::Argument`].
    handle: WireHandle,
    place: Place,
    /// Their bytes, for [`Place::Inline`].
    #[serde(borrow, serialize_with = "as_bytes")]
    inline: &'a [u8],
}

fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

impl<'a> WireElements<'a> {
    /// Copies large elements to where the receiver finds them.
    pub(super) fn send<T: Pod>(
        elements: &'a [T],
        dims: &[usize],
    ) -> Result<WireElements<'a>, Refusal> {
        // Elements without a size have no bytes.
        let bytes = if size_of::<T>() == 0 { &[] } else { bytemuck::cast_slice(elements) };
        let place = transfer::send_elements::<T>(bytes)?;
        let inline = if place == Place::Inline { bytes } else { &[] };
        let slot = if let Place::Argument(slot) = place { slot } else { 0 };
        Ok(WireElements { handle: WireHandle::new::<T>(slot, 0, dims), place, inline })
    }

    /// The elements as a vector.
    pub(super) fn into_vec<T: Pod>(self) -> Result<Vec<T>, Refusal> {
        let (shape, len) = self.handle.check::<T>()?;
        match self.place {
            Place::Inline => {
                let mut elements = vec![T::zeroed(); check_len::<T>(self.inline, len)?];
                copy_bytes(self.inline, &mut elements);
                Ok(elements)
            }
            Place::Argument(slot) => {
                let lent = Frozen::<T>::take(slot, shape, len)?;
                Ok(copied(lent.as_slice()))
            }
            Place::Result(offset) => {
                let span = transfer::take_returned::<T>(offset, len)?;
                Ok(copied(SharedArray::of_parts(span, shape).as_slice()))
            }
        }
    }

    /// The elements as an array, for a result.
    pub(super) fn into_array<T: Pod>(self) -> Result<SharedArray<T>, Refusal> {
        let (shape, len) = self.handle.check::<T>()?;
        match self.place {
            Place::Inline => {
                check_len::<T>(self.inline, len)?;
                let mut array =
                    SharedArray::for_overwrite(shape).map_err(|error| error.to_string())?;
                copy_bytes(self.inline, array.as_mut_slice());
                Ok(array)
            }
            Place::Result(offset) => {
                let span = transfer::take_returned::<T>(offset, len)?;
                Ok(SharedArray::of_parts(span, shape))
            }
            Place::Argument(slot) => Err(format!("slot {slot} for an array that is a result")),
        }
    }
}

/// Checks that `bytes` are `len` elements; returns `len`.
fn check_len<T>(bytes: &[u8], len: usize) -> Result<usize, Refusal> {
    if len.checked_mul(size_of::<T>()) == Some(bytes.len()) {
        return Ok(len);
    }
    Err(format!("{} bytes for {len} elements of {} bytes", bytes.len(), size_of::<T>()))
}

/// Copies the bytes of elements, of which there are as many.
fn copy_bytes<T: Pod>(bytes: &[u8], elements: &mut [T]) {
    if !bytes.is_empty() {
        bytemuck::cast_slice_mut(elements).copy_from_slice(bytes);
    }
}

/// A copy in huge pages, if it is large and the kernel has them.
fn copied<T: Pod>(elements: &[T]) -> Vec<T> {
    let mut copy = Vec::new();
    huge_pages::reserve(&mut copy, elements.len());
    copy.extend_from_slice(elements);
    copy
}
