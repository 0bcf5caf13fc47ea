//! A vector that crosses as bytes.

use std::ops::{Deref, DerefMut};

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::wire_elements::WireElements;
use crate::object::transfer;

/// A vector of plain elements, whose bytes are sent without an encoding of each element.
///
/// It can be an argument or a result of a task, or a part of one, or a message. A large one is
/// copied twice on its way into a task, and twice on its way back: into shared memory and out of
/// it. A [`Frozen`](crate::Frozen) array and an [`OwnedChunk`](crate::OwnedChunk) are not copied.
/// A `Vec` is encoded element by element, which takes many times as long.
///
/// Outside of tasks and messages it serialises its type and its bytes, and is deserialised by
/// formats that can lend bytes, in the same program.
///
/// # Examples
///
/// ```
/// use brigade::{Packed, Pool};
/// let pool = Pool::builder().workers(1).build()?;
/// let samples = Packed(vec![0.5f32; 100_000]);
/// let doubled = pool.submit(
///     |mut samples: Packed<f32>| {
///         samples.iter_mut().for_each(|x| *x *= 2.0);
///         samples
///     },
///     samples,
/// )?;
/// let doubled: Vec<f32> = doubled.join()?.0;
/// assert_eq!(doubled, [1.0; 100_000]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Packed<T>(pub Vec<T>);

impl<T> Deref for Packed<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for Packed<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> From<Vec<T>> for Packed<T> {
    fn from(elements: Vec<T>) -> Packed<T> {
        Packed(elements)
    }
}

impl<T: Pod> Serialize for Packed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = WireElements::send(&self.0, &[self.0.len()]);
        let wire = wire.map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        wire.serialize(serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Packed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Packed<T>, D::Error> {
        let elements = WireElements::deserialize(deserializer)?.into_vec();
        elements.map(Packed).map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
    }
}
