//! Small square blocks, transposed in registers.
//!
//! A block of `N` rows of `N` elements, `N = 2^k`, is one sequence of `N^2` elements. Interleaving
//! its first half with its second rotates the bits of each element's index by one; `k` rotations
//! swap row and column.

#![allow(unsafe_code)] // SSE2, which every x86-64 processor has.

use bytemuck::Pod;

/// An element as its bits: `u8`, `u16`, `u32`, `u64` or `[u64; 2]`.
pub(crate) trait Word: Pod + PartialEq + std::fmt::Debug {
    /// Side of a block.
    const SIDE: usize;

    /// `out[j out_stride + i] = input[i in_stride + j]` for `i` and `j` below `SIDE`.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    fn transpose_block(out: &mut [Self], out_stride: usize, input: &[Self], in_stride: usize);
}

macro_rules! word {
    ($word:ty, $side:literal, $stages:literal, $low:ident, $high:ident) => {
        impl Word for $word {
            const SIDE: usize = $side;

            #[inline(always)]
            fn transpose_block(
                out: &mut [Self],
                out_stride: usize,
                input: &[Self],
                in_stride: usize,
            ) {
                let mut rows: [[Self; $side]; $side] = std::array::from_fn(|i| {
                    *input[i * in_stride..].first_chunk().expect("a row of the block")
                });
                for _ in 0..$stages {
                    let halves = rows;
                    for i in 0..$side / 2 {
                        let (x, y) = (halves[i], halves[i + $side / 2]);
                        #[cfg(target_arch = "x86_64")]
                        {
                            use std::arch::x86_64::{$high, $low};
                            let (x, y) = (bytemuck::cast(x), bytemuck::cast(y));
                            // SAFETY: SSE2 is part of x86-64.
                            rows[2 * i] = bytemuck::cast(unsafe { $low(x, y) });
                            // SAFETY: as above.
                            rows[2 * i + 1] = bytemuck::cast(unsafe { $high(x, y) });
                        }
                        #[cfg(not(target_arch = "x86_64"))]
                        for j in 0..$side / 2 {
                            rows[2 * i][2 * j] = x[j];
                            rows[2 * i][2 * j + 1] = y[j];
                            rows[2 * i + 1][2 * j] = x[$side / 2 + j];
                            rows[2 * i + 1][2 * j + 1] = y[$side / 2 + j];
                        }
                    }
                }
                for (j, row) in rows.iter().enumerate() {
                    *out[j * out_stride..].first_chunk_mut().expect("a row of the block") = *row;
                }
            }
        }
    };
}

word!(u8, 16, 4, _mm_unpacklo_epi8, _mm_unpackhi_epi8);
word!(u16, 8, 3, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
word!(u32, 4, 2, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
word!(u64, 2, 1, _mm_unpacklo_epi64, _mm_unpackhi_epi64);

impl Word for [u64; 2] {
    const SIDE: usize = 1;

    #[inline(always)]
    fn transpose_block(out: &mut [Self], _: usize, input: &[Self], _: usize) {
        out[0] = input[0];
    }
}
