//! The encoded form of handles in a payload.

use serde::{Deserialize, Serialize};

use crate::array::array_ref::checked_size;
use crate::object::transfer::{Refusal, type_tag};
use crate::shape::{DIMENSIONS_MAX, Shape};

/// A handle in a payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireHandle {
    /// Index into the table of leases.
    pub(super) slot: u32,
    /// Where a chunk begins in its array, in elements; only for display.
    pub(super) offset: u64,
    pub(super) dims: Vec<u64>,
    /// A number computed from the name of the element type.
    pub(super) type_tag: u64,
}

impl WireHandle {
    pub(crate) fn new<T>(slot: u32, offset: usize, dims: &[usize]) -> WireHandle {
        let dims = dims.iter().map(|&extent| extent as u64).collect();
        WireHandle { slot, offset: offset as u64, dims, type_tag: type_tag::<T>() }
    }

    /// Checks type and shape, without the lease: returns the shape and its number of elements.
    pub(crate) fn check<T>(&self) -> Result<(Shape, usize), Refusal> {
        if self.type_tag != type_tag::<T>() {
            let wanted = std::any::type_name::<T>();
            return Err(format!("an array of another element type, instead of {wanted}"));
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
}
