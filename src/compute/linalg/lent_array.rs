//! An array that is lent to a step, beside its matrices.

use bytemuck::Pod;

use crate::array::SharedArray;
use crate::object::source::Source;

/// An array that a step reads or writes.
pub(super) enum LentArray<'m, T> {
    Read(&'m SharedArray<T>),
    Written(&'m mut SharedArray<T>),
}

impl<T: Pod> LentArray<'_, T> {
    pub(super) fn len(&self) -> usize {
        match self {
            LentArray::Read(array) => array.len(),
            LentArray::Written(array) => array.len(),
        }
    }

    pub(super) fn source(&self) -> Source {
        match self {
            LentArray::Read(array) => array.source(),
            LentArray::Written(array) => array.source(),
        }
    }

    /// The address in the host. It may be written only if the array is lent to be written.
    pub(super) fn local(self) -> *mut T {
        match self {
            LentArray::Read(array) => array.as_slice().as_ptr().cast_mut(),
            LentArray::Written(array) => array.as_mut_slice().as_mut_ptr(),
        }
    }
}
