//! The choice of instruction set, and its functions.
#![allow(unsafe_code)]

use std::fmt;
use std::sync::OnceLock;

use super::element::Element;
use super::micro::{Pack, Tile};
use super::portable::Portable;
use super::simd::Simd;
#[cfg(target_arch = "x86_64")]
use super::{
    avx2::{F32x8, F64x4},
    avx512::{F32x16, F64x8},
};

/// The environment variable that forces the choice of [`Kernel::best`].
pub const KERNEL_VARIABLE: &str = "BRIGADE_KERNEL";

/// An instruction set that the micro-kernels are compiled for and this machine has.
///
/// There is no way to make one that the machine does not have, so a value is the proof.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Kernel;
/// assert!(Kernel::all().any(|kernel| kernel == Kernel::best()));
/// assert_eq!(Kernel::named("portable").map(|kernel| kernel.to_string()), Some("portable".into()));
/// assert_eq!(Kernel::named("abacus"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Set {
    /// Best first.
    const ALL: &[Set] = &[
        #[cfg(target_arch = "x86_64")]
        Set::Avx512,
        #[cfg(target_arch = "x86_64")]
        Set::Avx2,
        Set::Portable,
    ];

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Portable => "portable",
        }
    }

    fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Set::Portable => true,
        }
    }
}

impl Kernel {
    /// Those that this machine has, best first.
    pub fn all() -> impl Iterator<Item = Kernel> {
        Set::ALL.iter().copied().filter(|set| set.is_here()).map(Kernel)
    }

    /// The one of this name (`avx512`, `avx2` or `portable`), if this machine has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Kernel> {
        Kernel::all().find(|kernel| kernel.0.name() == name)
    }

    /// The best that this machine has, or the one that the environment variable
    /// `BRIGADE_KERNEL` names, if the machine has it. Decided by the first call.
    #[must_use]
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = std::env::var(KERNEL_VARIABLE).ok();
            let forced = forced.and_then(|name| Kernel::named(&name));
            forced.or_else(|| Kernel::all().next()).unwrap_or(Kernel(Set::Portable))
        })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Micro-kernel for one size of tile.
pub(super) type TileFn<T> = unsafe fn(&Tile<T>);

/// [`Simd::columns`] or [`Simd::dots`].
pub(super) type MatvecFn<T> = unsafe fn(&mut [T], *const T, isize, &[T]);

/// Most vectors that a tile is high.
pub(super) const VECTORS_MAX: usize = 3;

/// Most columns that a tile is wide.
pub(super) const COLUMNS_MAX: usize = 8;

/// Micro-kernels by `[vectors - 1][columns - 1]`.
type Tiles<T> = [[TileFn<T>; COLUMNS_MAX]; VECTORS_MAX];

/// The functions of one instruction set for one element type.
#[derive(Debug)]
#[expect(unnameable_types, reason = "part of what seals `Element`")]
pub struct Table<T: 'static> {
    /// Elements a vector.
    pub(super) lanes: usize,
    /// Vectors that make up MR.
    pub(super) vectors: usize,
    /// NR.
    pub(super) columns: usize,
    /// For packed operands.
    pub(super) packed: Tiles<T>,
    /// For operands where they lie, whose last vector is full.
    pub(super) direct: Tiles<T>,
    /// For operands where they lie, whose last vector is masked.
    pub(super) direct_masked: Tiles<T>,
    /// Packs a micropanel.
    pub(super) pack: unsafe fn(&Pack<T>),
    /// Matrix times vector, by columns.
    pub(super) matvec_columns: MatvecFn<T>,
    /// Matrix times vector, by dot products of rows.
    pub(super) matvec_dots: MatvecFn<T>,
}

impl<T: Element> Table<T> {
    /// MR, the rows of a full tile.
    pub(super) fn rows(&self) -> usize {
        self.vectors * self.lanes
    }

    const fn of<S: Simd<Elem = T>>() -> Table<T> {
        Table {
            lanes: S::LANES,
            vectors: S::VECTORS,
            columns: S::COLUMNS,
            packed: [packed::<S, 1>(), packed::<S, 2>(), packed::<S, 3>()],
            direct: [direct::<S, 1, false>(), direct::<S, 2, false>(), direct::<S, 3, false>()],
            direct_masked: [direct::<S, 1, true>(), direct::<S, 2, true>(), direct::<S, 3, true>()],
            pack: S::pack,
            matvec_columns: S::columns,
            matvec_dots: S::dots,
        }
    }
}

/// The packed micro-kernels that are MV vectors high; those wider than S's tile are never called.
const fn packed<S: Simd, const MV: usize>() -> [TileFn<S::Elem>; COLUMNS_MAX] {
    let mut tiles: [TileFn<S::Elem>; COLUMNS_MAX] = [S::tile_packed::<MV, 1>; COLUMNS_MAX];
    tiles[1] = S::tile_packed::<MV, 2>;
    tiles[2] = S::tile_packed::<MV, 3>;
    tiles[3] = S::tile_packed::<MV, 4>;
    if S::COLUMNS > 4 {
        tiles[4] = S::tile_packed::<MV, 5>;
        tiles[5] = S::tile_packed::<MV, 6>;
    }
    if S::COLUMNS > 6 {
        tiles[6] = S::tile_packed::<MV, 7>;
        tiles[7] = S::tile_packed::<MV, 8>;
    }
    tiles
}

/// The direct micro-kernels that are MV vectors high; those wider than S's tile are never called.
const fn direct<S: Simd, const MV: usize, const MASKED: bool>() -> [TileFn<S::Elem>; COLUMNS_MAX] {
    let mut tiles: [TileFn<S::Elem>; COLUMNS_MAX] = [S::tile_direct::<MV, 1, MASKED>; COLUMNS_MAX];
    tiles[1] = S::tile_direct::<MV, 2, MASKED>;
    tiles[2] = S::tile_direct::<MV, 3, MASKED>;
    tiles[3] = S::tile_direct::<MV, 4, MASKED>;
    if S::COLUMNS > 4 {
        tiles[4] = S::tile_direct::<MV, 5, MASKED>;
        tiles[5] = S::tile_direct::<MV, 6, MASKED>;
    }
    if S::COLUMNS > 6 {
        tiles[6] = S::tile_direct::<MV, 7, MASKED>;
        tiles[7] = S::tile_direct::<MV, 8, MASKED>;
    }
    tiles
}

/// Types that have a table for every instruction set. Sealed: nobody can name it outside.
#[expect(unnameable_types, reason = "this is what seals `Element`")]
pub trait Tables: Sized + 'static {
    /// The functions of `kernel` for this type.
    fn table(kernel: Kernel) -> &'static Table<Self>;
}

impl Tables for f32 {
    fn table(kernel: Kernel) -> &'static Table<f32> {
        match kernel.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => const { &Table::of::<F32x16>() },
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => const { &Table::of::<F32x8>() },
            Set::Portable => const { &Table::of::<Portable<f32, 4>>() },
        }
    }
}

impl Tables for f64 {
    fn table(kernel: Kernel) -> &'static Table<f64> {
        match kernel.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => const { &Table::of::<F64x8>() },
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => const { &Table::of::<F64x4>() },
            Set::Portable => const { &Table::of::<Portable<f64, 2>>() },
        }
    }
}
