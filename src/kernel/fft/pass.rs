//! One pass over an array: its lanes and its blocks.

use serde::{Deserialize, Serialize};

use crate::kernel::fft::plan::TransformKind;

/// The bytes of the lanes that are transformed at a time, at most, unless one is longer.
///
/// A row of a block lies in a page of its own if the array is wide, so it should be long: 256 bytes
/// for 4096 rows. 256 KiB, 512 KiB, 1 MiB, 2 MiB on AMD EPYC Zen 3 with two workers: 4096 x 4096
/// along axis 0 took 229, 176, 166, 196 ms; one lane of 2^24 374, 332, 237, 289 ms.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// The fewest bytes of a row of a block: a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// The most bytes of lanes that are transformed at a time to fill a line. Longer lanes are
/// transformed one by one, so that scratch memory is bounded by this or by one lane.
const LINE_LANES_BYTES: usize = 16 << 20;
/// The number of blocks that an array has at least, if it is long enough.
pub(crate) const BLOCKS_MIN: usize = 16;

/// The transforms along one axis of an array, which is seen as `[outer, n, inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pass {
    pub(crate) kind: TransformKind,
    /// The length of the transforms, at least 1.
    pub(crate) len: usize,
    /// The factor of the results.
    pub(crate) scale: f64,
    pub(crate) outer: usize,
    /// The elements along the axis of the input. For [`TransformKind::RealInverse`] any number:
    /// missing elements are zeros, others are ignored. Otherwise `len`.
    pub(crate) in_len: usize,
    pub(crate) inner: usize,
}

impl Pass {
    /// The elements along the axis of the output.
    pub(crate) fn out_len(&self) -> usize {
        match self.kind {
            TransformKind::Real => self.len / 2 + 1,
            _ => self.len,
        }
    }

    /// The elements of a lane of the input that are used.
    pub(crate) fn used_len(&self) -> usize {
        match self.kind {
            TransformKind::RealInverse => self.in_len.min(self.len / 2 + 1),
            _ => self.in_len,
        }
    }

    /// The output as a matrix of which each block of this pass is a tile. Lanes are its rows if
    /// they are contiguous, and else parts of its columns.
    pub(crate) fn matrix(&self) -> [usize; 2] {
        if self.inner == 1 {
            [self.outer, self.out_len()]
        } else {
            [self.outer * self.out_len(), self.inner]
        }
    }

    /// The rows and columns of a tile, for elements of `size` bytes. They depend on the shape
    /// alone.
    pub(crate) fn tile(&self, size: usize) -> [usize; 2] {
        let lane_bytes = self.out_len() * size;
        let lanes = (BLOCK_BYTES / lane_bytes)
            .min(self.outer.saturating_mul(self.inner) / BLOCKS_MIN)
            .max(1);
        if self.inner == 1 {
            return [lanes, self.out_len()];
        }
        let line =
            if lane_bytes > LINE_LANES_BYTES / (LINE_BYTES / size) { 1 } else { LINE_BYTES / size };
        if lanes >= self.inner {
            return [lanes / self.inner * self.out_len(), self.inner];
        }
        [self.out_len(), (lanes / line * line).max(line).min(self.inner)]
    }
}
