//! How a handle of a shared object crosses to another process.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;
use crate::object::transfer::context::{lend_object, noted, take_object};
use crate::object::transfer::lease::LentObject;
use crate::object::{Kind, Memory};

/// The form in which a handle of object memory crosses.
#[derive(Debug, Serialize, Deserialize)]
enum WireObject {
    /// Lent, inside the codec of a task.
    Lent(LentObject),
    /// By name, anywhere.
    Named(String),
}

/// Serialises a primitive in `memory`, for its `Serialize`. A primitive with a name crosses by it,
/// to any process that can open it.
///
/// # Errors
///
/// In a forked child. Without a name: outside of the codec of a task, and in a worker except for a
/// returned handle.
pub(crate) fn serialize_object<S: Serializer>(
    memory: &Memory,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if let Some(name) = memory.name() {
        memory.check().map_err(S::Error::custom)?;
        return WireObject::Named(name.to_owned()).serialize(serializer);
    }
    match lend_object(memory, None) {
        Ok(wire) => WireObject::Lent(wire).serialize(serializer),
        Err(refusal) => Err(S::Error::custom(noted(refusal))),
    }
}

/// Deserialises the memory of a primitive, for its `Deserialize`.
///
/// # Errors
///
/// Outside of the codec of a task, and for a memory that was not lent to the task; with a name, if
/// it cannot be opened.
pub(crate) fn deserialize_object<'de, D: Deserializer<'de>>(
    deserializer: D,
    kind: Kind,
    tag: u64,
) -> Result<Memory, D::Error> {
    let wire = match WireObject::deserialize(deserializer)? {
        WireObject::Lent(wire) => wire,
        WireObject::Named(name) => {
            let opened = Memory::open_named(&name, kind, tag, |_| Ok(()));
            let refused = |error: Error| D::Error::custom(noted(error.to_string()));
            return opened.map(|((), memory)| memory).map_err(refused);
        }
    };
    take_object(&wire, kind, tag).map_err(|refusal| D::Error::custom(noted(refusal)))
}
