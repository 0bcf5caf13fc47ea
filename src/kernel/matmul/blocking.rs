//! Block sizes of the matrix product, with reasons and measurements.
//!
//! Letters as in the BLIS papers: C (m x n) = A (m x k) * B (k x n); MR x NR is the tile of C
//! that one micro-kernel call holds in registers, MC x KC the block of A that stays in L2,
//! KC x NR the micropanel of B that stays in L1, KC x NC the panel of B that stays in L3.
//!
//! Measurements: AMD EPYC Zen 5 (L1d 48 KiB, L2 1 MiB, L3 32 MiB), one core at 3.7 GHz whose
//! peak is 119 GFLOP/s in f64 and 238 in f32 (24 independent chains of fused multiply-add).
//! Figures are GFLOP/s, best of many, AVX-512, all matrices row-major; m x n x k where the sides
//! differ.

/// Vectors by columns of the AVX-512 tile: 24 x 8 in f64, 48 x 8 in f32.
///
/// 24 accumulators, 3 vectors of A and a broadcast of B leave 4 of 32 registers. 11 loads feed 24
/// multiply-adds, so two load ports are busy half of the time.
pub(super) const AVX512_TILE: (usize, usize) = (3, 8);

/// Vectors by columns of the AVX2 tile: 8 x 6 in f64, 16 x 6 in f32.
///
/// 12 accumulators, 2 vectors of A and a broadcast leave one of 16 registers. 3 x 4 needs all 16,
/// and the compiler spills an accumulator: n = 1000 took 26 instead of 52 (peak 60).
pub(super) const AVX2_TILE: (usize, usize) = (2, 6);

/// Vectors by columns of the portable tile: 2 x 4 fill the 16 registers of SSE2 with room for
/// operands (n = 1000: 16 in f64, 39 in f32), 3 x 4 sit well in the 32 of NEON (not measured).
pub(super) const PORTABLE_TILE: (usize, usize) =
    if cfg!(target_arch = "aarch64") { (3, 4) } else { (2, 4) };

/// LOOP 4 cuts k into pieces of at most this, all but the last equal.
///
/// A micropanel of B takes 32 KiB in f64. The sum over one piece is rounded into C, so this
/// constant decides the bits of the result and is the same for every instruction set.
/// 512, 384, 256: 105, 107, 107 (f64, n = 2048) and 210, 212, 211 (f32, n = 1024): no difference,
/// and fewer passes over C leave more bandwidth to other cores.
pub(super) const KC: usize = 512;

/// LOOP 3 cuts m into pieces of at most this many bytes a column of A's packed block: 144 rows of
/// f64, 288 of f32, 6 tiles of AVX-512.
///
/// A block takes 576 KiB, which leaves room in L2 for B and C. 192, 144, 96 rows: 105, 107, 107
/// (f64, n = 2048). Members share smaller blocks more evenly.
pub(super) const MC_BYTES: usize = 144 * 8;

/// LOOP 5 cuts n into pieces of at most this many columns: two panels of B take 32 MiB in f64,
/// which is 8 % of the three matrices at n = 4096.
pub(super) const NC: usize = 4096;

/// Columns that the narrowest micro-kernel computes: bounds the micropanels of a panel.
pub(super) const NR_MIN: usize = 4;

/// C is at least this many times as wide as high: strips of columns are shared, each member packs
/// for itself, and there is no barrier.
pub(super) const WIDE: usize = 2;

/// Strips for each member, when strips are shared: members end within an eighth of a share.
pub(super) const STRIPS_A_MEMBER: usize = 4;

/// Nothing is packed while a block of A of this many bytes holds all of its rows: it stays in L2.
///
/// Direct and packed: f64 n = 48: 84, 69; 128: 113, 101; 320 (800 KiB): 112, 108; 384 (1152 KiB):
/// 93, 106. f32 n = 128: 219, 172; 448 (784 KiB): 228, 213; 512 (1024 KiB): 201, 208.
pub(super) const UNPACKED_A_BYTES: usize = 832 * 1024;

/// Nothing is packed either if C has no more columns than this, because packing A would not pay:
/// 2000x16x2000 took 42 packed, 79 direct; with 64 columns packing wins, 97 to 87 for 64x4096x64.
pub(super) const UNPACKED_COLUMNS: usize = 32;

/// B is read in place if its columns are contiguous or all of it lies within this many bytes.
/// Beyond that, the rows of a micropanel evict each other. For an A of [`UNPACKED_ROWS`] or more,
/// KC of its rows must lie within this many bytes too.
pub(super) const UNPACKED_B_BYTES: usize = 1024 * 1024;

/// From this many rows of A on, packing a large B pays: each of its columns is needed for 16 tiles
/// or more. AMD EPYC Zen 3, f64, in place and packed: 192x4000x64: 18.2, 22.0; 192x4000x128: 25.8,
/// 29.5; 96x4000x128: 24.8, 25.1; 48x4000x512: 31.8, 23.2.
pub(super) const UNPACKED_ROWS: usize = 128;

/// A is read in place if KC of its columns lie within this many bytes, or within four times as
/// many if they are not a multiple of [`UNEVEN_BYTES`] apart. Else its block is packed.
pub(super) const UNPACKED_SPAN_BYTES: usize = 1024 * 1024;

/// Columns that are a multiple of this apart map to few sets of a cache: 64x4096x64 took 87 in
/// place, 97 packed; 24x1000x1000, whose columns are 8000 bytes apart, 110 and 79.
pub(super) const UNEVEN_BYTES: usize = 1024;

/// A is read in place, however far its columns are apart, for no more columns of C than this:
/// each element is needed twice. 16x2000x2000: 64 in place, 39 packed.
pub(super) const UNPACKED_COLUMNS_FAR: usize = 16;

/// Columns of A that are packed at a time for all rows of a block: no more than the pages that
/// the first-level TLB holds (96 on Zen 5, 64 to 96 on Intel). 8, 32, 512: no difference with huge
/// pages.
pub(super) const PACK_STEPS: usize = 32;

/// Steps of k that packing of contiguous lanes prefetches: their pages are too far apart for the
/// processor's own prefetching. 32x3000x3000: 55 with, 52 without; f32 113, 102.
pub(super) const PACK_AHEAD: isize = 12;

/// The least number of columns in a strip of A times its transpose. The part of a strip above the
/// diagonal is computed and not used. n = 300: 166 operations of the full product a nanosecond,
/// 1000: 168.
pub(super) const GRAM_COLUMNS: usize = 64;

/// A product is shared if one worker would take longer than this, in nanoseconds. Waking another
/// worker and collecting its result takes 5 to 70 us, and sharing saves half. With two threads that
/// spin, so that none has to be woken, f64 n = 64 gains 1.5, n = 100 (18 us) 1.85, n = 200 1.9.
pub(crate) const SHARED_NS: f64 = 50_000.0;

/// Nanoseconds for an operation and byte of element: 100 GFLOP/s in f64, 200 in f32.
pub(super) const NS_A_FLOP_BYTE: f64 = 1.0 / 800.0;

/// Nanoseconds for a byte read or written: 37 GB/s, as matrix times vector reaches on one core.
pub(super) const NS_A_BYTE: f64 = 1.0 / 37.0;

/// Packed buffers begin at a multiple of this, in bytes: a page, so that no two share one.
pub(super) const ALIGN_BYTES: usize = 4096;

/// The size of the equal pieces when `total` is cut into the fewest of at most `most`, rounded
/// up to a multiple of `unit` (the last piece may be shorter).
pub(super) fn balanced(total: usize, most: usize, unit: usize) -> usize {
    let pieces = total.div_ceil(most).max(1);
    total.div_ceil(pieces).next_multiple_of(unit).max(unit)
}

/// Steps of k in one pass over C: the same for every instruction set and number of members.
pub(super) fn depth(k: usize) -> usize {
    balanced(k, KC, 8)
}
