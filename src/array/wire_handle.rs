//! What handles are in a payload.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::checked_size;
use crate::array::transfer::{self, Refusal};
use crate::error::Error;
use crate::object::{Kind, Memory};
use crate::shape::{DIMENSIONS_MAX, Shape};

/// What a handle is in a payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireHandle {
    /// Index into the table of leases.
    pub(super) slot: u32,
    /// Where a chunk begins in its array, in elements; a hint for display.
    pub(super) offset: u64,
    pub(super) dims: Vec<u64>,
    /// A number made from the name of the element type.
    pub(super) type_tag: u64,
}

impl WireHandle {
    pub(crate) fn new<T>(slot: u32, offset: usize, dims: &[usize]) -> WireHandle {
        let dims = dims.iter().map(|&extent| extent as u64).collect();
        WireHandle { slot, offset: offset as u64, dims, type_tag: type_tag::<T>() }
    }

    /// Checks type and shape by themselves: the shape and its number of elements.
    pub(crate) fn check<T>(&self) -> Result<(Shape, usize), Refusal> {
        if self.type_tag != type_tag::<T>() {
            let wanted = std::any::type_name::<T>();
            return Err(format!("an array of other elements, instead of {wanted}"));
        }
        if self.dims.len() > DIMENSIONS_MAX {
            return Err(format!("an array of {} dimensions", self.dims.len()));
        }
        let dims: Result<Vec<usize>, _> = self.dims.iter().map(|&d| usize::try_from(d)).collect();
        let shape = Shape::from(dims.map_err(|e| e.to_string())?);
        let (len, _) = checked_size::<T>(&shape).map_err(|e| e.to_string())?;
        Ok((shape, len))
    }

    /// Where the chunk begins in its array, in elements, for display.
    pub(crate) fn offset(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(usize::MAX)
    }

    pub(super) fn find<'a, S>(&self, slots: &'a mut [S]) -> Result<&'a mut S, Refusal> {
        let count = slots.len();
        let found = usize::try_from(self.slot).ok().and_then(|slot| slots.get_mut(slot));
        found.ok_or_else(|| format!("slot {} of {count}", self.slot))
    }
}

/// FNV-1a of the type's name: host and worker run the same program, so the names agree.
pub(crate) fn type_tag<T>() -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    std::any::type_name::<T>().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// What a handle of object memory is in a payload: where its lease must be found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct LentObject {
    pub(super) arena_id: u64,
    pub(super) offset: u64,
    pub(super) kind: u32,
    pub(super) tag: u64,
}

impl LentObject {
    /// The primitive's own number, as the sender has it.
    pub(crate) fn tag(&self) -> u64 {
        self.tag
    }
}

/// How a handle of object memory crosses.
#[derive(Debug, Serialize, Deserialize)]
enum WireObject {
    /// Lent, inside the codec of a task.
    Lent(LentObject),
    /// By name, anywhere.
    Named(String),
}

/// Serialises a primitive in `memory`: the body of its `Serialize`. One with a name crosses by it,
/// wherever there is somebody to open it.
///
/// # Errors
///
/// In a forked child; without a name, outside of the codec of a task, and in a worker other than on
/// the way back.
pub(crate) fn serialize_object<S: Serializer>(
    memory: &Memory,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if let Some(name) = memory.name() {
        memory.check().map_err(S::Error::custom)?;
        return WireObject::Named(name.to_owned()).serialize(serializer);
    }
    match transfer::lend_object(memory, None) {
        Ok(wire) => WireObject::Lent(wire).serialize(serializer),
        Err(refusal) => Err(S::Error::custom(transfer::noted(refusal))),
    }
}

/// Deserialises the memory of a primitive: what its `Deserialize` begins with.
///
/// # Errors
///
/// Outside of the codec of a task, and for a memory that was not lent to it; for one with a name,
/// if it cannot be opened.
pub(crate) fn deserialize_object<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
    tag: u64,
) -> Result<Memory, D::Error> {
    let wire = match WireObject::deserialize(deserializer)? {
        WireObject::Lent(wire) => wire,
        WireObject::Named(name) => {
            let opened = Memory::open_named(&name, kind, tag, |_| Ok(()));
            let noted = |error: Error| D::Error::custom(transfer::noted(error.to_string()));
            return opened.map(|((), memory)| memory).map_err(noted);
        }
    };
    transfer::take_object(&wire, kind, tag)
        .map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
}
