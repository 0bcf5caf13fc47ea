//! Block sizes of the matrix product, each with its reason and measurement.
//!
//! Letters as in the BLIS papers: C (m x n) = A (m x k) * B (k x n); MR x NR is the tile of C
//! that one micro-kernel call holds in registers, MC x KC the block of A that stays in L2,
//! KC x NR the micropanel of B that stays in L1, KC x NC the panel of B that stays in L3.
//!
//! Measurements: AMD EPYC Zen 5 (L1d 48 KiB, L2 1 MiB, L3 32 MiB, one core), GFLOP/s, f64,
//! n = 2048 unless stated otherwise.

/// LOOP 4 cuts k into pieces of at most this, all but the last equal.
///
/// It must be the same for every instruction set: the sum over one piece is rounded into C, so
/// this constant decides the bits of the result.
pub(super) const KC: usize = 512;

/// LOOP 3 cuts m into pieces of at most this many bytes a column of A's packed block.
pub(super) const MC_BYTES: usize = 144 * 8;

/// LOOP 5 cuts n into pieces of at most this many columns.
pub(super) const NC: usize = 4096;

/// Columns that the narrowest micro-kernel computes: bounds the micropanels of a panel.
pub(super) const NR_MIN: usize = 4;

/// The product needs no packing while A and B together stay within this, in bytes.
pub(super) const WIDE: usize = 2;

/// Strips a member, when strips are shared.
pub(super) const STRIPS_A_MEMBER: usize = 4;

/// The product needs no packing while a block of A of this many bytes holds all of its rows.
pub(super) const DIRECT_A_BYTES: usize = 832 * 1024;

/// Nor if C has no more columns than this: packing A would not pay for itself.
pub(super) const DIRECT_COLUMNS: usize = 32;

/// B is read in place if its rows are contiguous or all lie within this many bytes.
pub(super) const DIRECT_B_BYTES: usize = 1024 * 1024;

/// A is read in place if KC of its columns lie within this many bytes, or within four times as
/// many if they are not [`UNEVEN_BYTES`] apart.
pub(super) const DIRECT_SPAN_BYTES: usize = 1024 * 1024;

/// Columns that are a multiple of this apart fall on few sets of a cache.
pub(super) const UNEVEN_BYTES: usize = 1024;

/// A is read in place, however far its columns are apart, for no more columns of C than this.
pub(super) const DIRECT_COLUMNS_FAR: usize = 16;

/// Columns of A that are packed at a time for all rows of a block: no more than the pages that
/// the first-level TLB knows (96 on Zen 5, 64 to 96 on Intel).
pub(super) const PACK_STEPS: usize = 32;

/// Steps of k that packing contiguous lanes fetches in advance: their pages are too far apart
/// for the processor to guess. 32 x 3000 x 3000 (m, n, k): 55 with, 52 without; f32 113, 102.
pub(super) const PACK_AHEAD: isize = 12;

/// Columns of a strip of A times its transpose, at least; the part of it above the diagonal is
/// computed for nothing.
pub(super) const GRAM_COLUMNS: usize = 64;

/// A product is shared if it would take one worker longer than this, in nanoseconds: waking and
/// collecting another takes 5 to 70 us, and sharing saves half. With a crew that spins (two
/// threads, nothing to wake), f64 n = 64 gains 1.5, n = 100 (18 us) 1.85, n = 200 1.9.
pub(super) const SHARED_NS: f64 = 50_000.0;

/// Nanoseconds an operation and byte of element: 100 GFLOP/s in f64, 200 in f32.
pub(super) const NS_A_FLOP_BYTE: f64 = 1.0 / 800.0;

/// Nanoseconds a byte read or written: 37 GB/s, what matrix times vector reaches on one core.
pub(super) const NS_A_BYTE: f64 = 1.0 / 37.0;

/// Packed buffers begin at a multiple of this, in bytes: a page, so that no two share one.
pub(super) const ALIGN_BYTES: usize = 4096;

/// The size of the equal pieces when `total` is cut into the fewest of at most `most`, rounded
/// up to a multiple of `unit` (the last piece may be shorter).
pub(super) fn balanced(total: usize, most: usize, unit: usize) -> usize {
    let pieces = total.div_ceil(most).max(1);
    total.div_ceil(pieces).next_multiple_of(unit).max(unit)
}
