//! The micro-kernels of one instruction set, as function pointers.
#![allow(unsafe_code)]

use std::ptr;

use super::simd::Simd;

/// One call of the micro-kernel: a tile of C, at most MR x NR.
///
/// `C = alpha * A * B + beta * C`, where the tile's rows are contiguous in A and C.
#[derive(Debug)]
pub(super) struct Tile<T> {
    /// The number of products to add up.
    pub(super) k: usize,
    /// The first column of the tile's rows of A.
    pub(super) a: *const T,
    /// Elements from one column of A to the next (unpacked operands only).
    pub(super) a_step: isize,
    /// The first row of the tile's columns of B.
    pub(super) b: *const T,
    /// Elements from one row of B to the next (unpacked operands only).
    pub(super) b_step: isize,
    /// Elements from one column of B to the next (unpacked operands only).
    pub(super) b_next: isize,
    /// The factor of the product.
    pub(super) alpha: T,
    /// The factor of C; if it is zero, C is not read.
    pub(super) beta: T,
    /// The tile of C.
    pub(super) c: *mut T,
    /// Elements from one column of C to the next.
    pub(super) c_next: isize,
    /// The rows in the last vector, from 1 to the number of lanes.
    pub(super) rows_last: usize,
    /// The first address to prefetch for the next tile; it need not be valid.
    pub(super) ahead: *const T,
    /// Elements from one prefetch, at every fourth of the k products, to the next.
    pub(super) ahead_step: isize,
}

impl<T> Tile<T> {
    /// A tile for `k` products and these factors. The other fields must be set.
    pub(super) fn new(k: usize, alpha: T, beta: T) -> Tile<T> {
        let (a, b, c, ahead) = (ptr::null(), ptr::null(), ptr::null_mut(), ptr::null());
        let (a_step, b_step, b_next, c_next, ahead_step) = (0, 0, 0, 0, 0);
        let rows_last = 0;
        Tile {
            k,
            a,
            a_step,
            b,
            b_step,
            b_next,
            alpha,
            beta,
            c,
            c_next,
            rows_last,
            ahead,
            ahead_step,
        }
    }
}

/// A micropanel to pack: `to[p * width + r] = from[r * minor + p * major]`.
#[derive(Debug)]
pub(super) struct Micropanel<T> {
    /// The first element of the source.
    pub(super) from: *const T,
    /// Elements from one lane of the micropanel to the next, in the source.
    pub(super) minor: isize,
    /// Elements from one step of k to the next, in the source.
    pub(super) major: isize,
    /// The lanes of the source, at least 1.
    pub(super) count: usize,
    /// The lanes of the micropanel, at least `count`; those past `count` become zero.
    pub(super) width: usize,
    /// The steps of k.
    pub(super) k: usize,
    /// The micropanel: `k * width` elements.
    pub(super) to: *mut T,
}

/// The generic bodies compiled for one vector type.
///
/// # Safety
///
/// Each function has the conditions of the body that it names.
pub(super) trait MicroKernels: Simd {
    /// The vectors in MR, the height of the tile.
    const VECTORS: usize;
    /// NR, the width of the tile.
    const COLUMNS: usize;

    /// [`microkernel::tile`](super::microkernel::tile), with the steps of packed operands or
    /// those of the tile.
    unsafe fn tile<const MV: usize, const NR: usize, const PACKED: bool, const MASKED: bool>(
        tile: &Tile<Self::Elem>,
    );
    /// [`packing::pack`](super::packing::pack)
    unsafe fn pack(micropanel: &Micropanel<Self::Elem>);
    /// [`gemv_kernel::columns`](super::gemv_kernel::columns)
    unsafe fn gemv_columns(
        sums: &mut [Self::Elem],
        a: *const Self::Elem,
        a_step: isize,
        x: &[Self::Elem],
    );
    /// [`gemv_kernel::dots`](super::gemv_kernel::dots)
    unsafe fn gemv_dots(
        sums: &mut [Self::Elem],
        a: *const Self::Elem,
        a_step: isize,
        x: &[Self::Elem],
    );
}

/// The greatest height of a tile, in vectors.
pub(super) const VECTORS_MAX: usize = 3;

/// The greatest width of a tile, in columns.
pub(super) const COLUMNS_MAX: usize = 8;

/// Micro-kernels by `[vectors - 1][columns - 1]`.
pub(super) type Tiles<T> = [[unsafe fn(&Tile<T>); COLUMNS_MAX]; VECTORS_MAX];

/// [`MicroKernels::gemv_columns`] or [`MicroKernels::gemv_dots`].
type GemvFn<T> = unsafe fn(&mut [T], *const T, isize, &[T]);

/// The functions of one instruction set for one element type.
#[derive(Debug)]
#[expect(unnameable_types, reason = "seals `Float`: no other crate can name it")]
pub struct MicroKernelTable<T: 'static> {
    /// The elements of a vector.
    pub(super) lanes: usize,
    /// The vectors in MR.
    pub(super) vectors: usize,
    /// NR.
    pub(super) columns: usize,
    /// For packed operands.
    pub(super) packed: Tiles<T>,
    /// For operands in place, where the last vector of the tile is full.
    pub(super) unpacked: Tiles<T>,
    /// For operands in place, where the last vector of the tile is masked.
    pub(super) unpacked_masked: Tiles<T>,
    /// Packs a micropanel.
    pub(super) pack: unsafe fn(&Micropanel<T>),
    /// Matrix times vector, by columns.
    pub(super) gemv_columns: GemvFn<T>,
    /// Matrix times vector, by dot products of rows.
    pub(super) gemv_dots: GemvFn<T>,
}

impl<T> MicroKernelTable<T> {
    /// MR, the rows of a full tile.
    pub(super) fn rows(&self) -> usize {
        self.vectors * self.lanes
    }

    /// The functions of S.
    pub(super) const fn of<S: MicroKernels<Elem = T>>() -> MicroKernelTable<T> {
        MicroKernelTable {
            lanes: S::LANES,
            vectors: S::VECTORS,
            columns: S::COLUMNS,
            packed: tiles::<S, true, false>(),
            unpacked: tiles::<S, false, false>(),
            unpacked_masked: tiles::<S, false, true>(),
            pack: S::pack,
            gemv_columns: S::gemv_columns,
            gemv_dots: S::gemv_dots,
        }
    }
}

/// The micro-kernels for tiles of every size.
const fn tiles<S: MicroKernels, const PACKED: bool, const MASKED: bool>() -> Tiles<S::Elem> {
    [row::<S, 1, PACKED, MASKED>(), row::<S, 2, PACKED, MASKED>(), row::<S, 3, PACKED, MASKED>()]
}

/// The micro-kernels that are MV vectors high. Those wider than S's tile are never called.
const fn row<S: MicroKernels, const MV: usize, const PACKED: bool, const MASKED: bool>()
-> [unsafe fn(&Tile<S::Elem>); COLUMNS_MAX] {
    let narrowest: unsafe fn(&Tile<S::Elem>) = S::tile::<MV, 1, PACKED, MASKED>;
    let mut tiles = [narrowest; COLUMNS_MAX];
    tiles[1] = S::tile::<MV, 2, PACKED, MASKED>;
    tiles[2] = S::tile::<MV, 3, PACKED, MASKED>;
    tiles[3] = S::tile::<MV, 4, PACKED, MASKED>;
    if S::COLUMNS > 4 {
        tiles[4] = S::tile::<MV, 5, PACKED, MASKED>;
        tiles[5] = S::tile::<MV, 6, PACKED, MASKED>;
    }
    if S::COLUMNS > 6 {
        tiles[6] = S::tile::<MV, 7, PACKED, MASKED>;
        tiles[7] = S::tile::<MV, 8, PACKED, MASKED>;
    }
    tiles
}
