//! A frame in shared memory, and its samples.

use std::fmt::Debug;

use brigade::SharedArray;
use bytemuck::Pod;

use crate::header::Layout;

const _: () = assert!(cfg!(target_endian = "little"), "y4m has the lower byte of a sample first");

/// A sample of a plane: `u8` for up to 8 bits, else `u16`.
pub trait Sample: Pod + Debug + Ord + Send + Sync + 'static {
    /// The sample; at most `max`, which only a damaged stream exceeds.
    fn value(self, max: u16) -> u16;

    /// The sample of a value that fits.
    fn from_value(value: u16) -> Self;
}

impl Sample for u8 {
    #[inline(always)]
    fn value(self, _: u16) -> u16 {
        u16::from(self)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the value fits, by contract")]
    fn from_value(value: u16) -> u8 {
        value as u8
    }
}

impl Sample for u16 {
    #[inline(always)]
    fn value(self, max: u16) -> u16 {
        self.min(max)
    }

    #[inline(always)]
    fn from_value(value: u16) -> u16 {
        value
    }
}

/// The planes of a frame, with room for one frame after another.
#[derive(Debug)]
pub struct Picture<T> {
    /// The parameters of the frame's header: what follows `FRAME`.
    pub parameters: Vec<u8>,
    /// One array of rows and columns for each plane.
    pub planes: Vec<SharedArray<T>>,
}

impl<T: Sample> Picture<T> {
    /// A frame with unspecified samples.
    ///
    /// # Errors
    ///
    /// [`brigade::Error::NoSpace`].
    pub fn new(layout: &Layout) -> brigade::Result<Picture<T>> {
        let planes = layout.planes().into_iter().map(SharedArray::for_overwrite);
        Ok(Picture { parameters: Vec::new(), planes: planes.collect::<brigade::Result<_>>()? })
    }
}
