//! The encoded form of elements that cross by value.

use bytemuck::Pod;
use serde::{Deserialize, Serialize, Serializer};

use crate::array::codec::EMPTY_MAX;
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
        check_empty::<T>(elements.len())?;
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
        check_empty::<T>(len)?;
        match self.place {
            Place::Inline => {
                check_len::<T>(self.inline, len)?;
                if size_of::<T>() == 0 {
                    return Ok(vec![T::zeroed(); len]);
                }
                // The bytes may not be aligned for `T`.
                let parts = self.inline.chunks_exact(size_of::<T>());
                Ok(parts.map(bytemuck::pod_read_unaligned).collect())
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
        check_empty::<T>(len)?;
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

/// Checks that elements which take no bytes are not more than the codec accepts: any number of them
/// could be announced in a few bytes.
fn check_empty<T>(len: usize) -> Result<(), Refusal> {
    if size_of::<T>() > 0 || len <= EMPTY_MAX {
        return Ok(());
    }
    Err(format!(
        "{len} elements that take no bytes, and at most {EMPTY_MAX} may; send their number"
    ))
}

/// Checks that `bytes` are `len` elements.
fn check_len<T>(bytes: &[u8], len: usize) -> Result<(), Refusal> {
    if len.checked_mul(size_of::<T>()) == Some(bytes.len()) {
        return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn inline<T: Pod>(bytes: &[u8], len: usize) -> WireElements<'_> {
        let handle = WireHandle::new::<T>(0, 0, &[len]);
        WireElements { handle, place: Place::Inline, inline: bytes }
    }

    #[test]
    fn elements_are_read_wherever_their_bytes_begin() {
        let numbers: Vec<u64> = (0..9).map(|n| n << 40 | 7).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&numbers);
        let moved = [&[0], bytes].concat();
        assert_eq!(inline::<u64>(&moved[1..], 9).into_vec::<u64>().unwrap(), numbers);
        assert!(inline::<u64>(bytes, 8).into_vec::<u64>().is_err());
    }

    #[test]
    fn elements_without_bytes_are_limited_in_number() {
        let most = vec![[0u8; 0]; EMPTY_MAX];
        let wire = WireElements::send(&most, &[most.len()]).unwrap();
        assert_eq!(wire.into_vec::<[u8; 0]>().unwrap().len(), EMPTY_MAX);
        let more = vec![[0u8; 0]; EMPTY_MAX + 1];
        let refused = WireElements::send(&more, &[more.len()]).unwrap_err();
        assert!(refused.contains("take no bytes"), "{refused}");
        for len in [EMPTY_MAX + 1, isize::MAX.unsigned_abs()] {
            assert!(inline::<[u8; 0]>(&[], len).into_vec::<[u8; 0]>().is_err());
            assert!(inline::<[u8; 0]>(&[], len).into_array::<[u8; 0]>().is_err());
        }
    }
}
