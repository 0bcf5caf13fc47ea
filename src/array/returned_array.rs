//! An array that a task has made, as its result.

use bytemuck::Pod;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::shared_array::SharedArray;
use crate::array::wire_elements::WireElements;
use crate::object::transfer;

/// Only for the result of a task that has made the array; copies it.
impl<T: Pod> Serialize for SharedArray<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let wire = transfer::check_is_result()
            .and_then(|()| WireElements::send(self.as_slice(), self.shape().dims()));
        wire.map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?.serialize(serializer)
    }
}

/// Only for the result of a task.
impl<'de, T: Pod> Deserialize<'de> for SharedArray<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let array = WireElements::deserialize(deserializer)?.into_array();
        array.map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
    }
}
