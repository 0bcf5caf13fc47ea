//! The choice of instruction set, and the element types.

use std::cell::Cell;
use std::fmt::{self, Debug};
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::arch::Portable;
#[cfg(target_arch = "x86_64")]
use super::arch::{F32x8, F32x16, F64x4, F64x8};
use super::microkernel_table::MicroKernelTable;

/// The environment variable that overrides the choice of [`Kernel::best`].
pub const KERNEL_VARIABLE: &str = "BRIGADE_KERNEL";

/// An instruction set for which the micro-kernels are compiled and that this machine has.
///
/// The existence of a value proves that the machine has it: no other can be made, and one that
/// comes from another process is checked when it is deserialized.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Kernel;
/// assert!(Kernel::all().any(|kernel| kernel == Kernel::best()));
/// assert_eq!(Kernel::named("portable").map(|kernel| kernel.to_string()), Some("portable".into()));
/// assert_eq!(Kernel::named("abacus"), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "InstructionSet", into = "InstructionSet")]
pub struct Kernel(InstructionSet);

/// The instruction sets for which the micro-kernels are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum InstructionSet {
    Portable,
    Avx2,
    Avx512,
}

impl InstructionSet {
    /// All of them, the fastest first.
    const ALL: [InstructionSet; 3] =
        [InstructionSet::Avx512, InstructionSet::Avx2, InstructionSet::Portable];

    fn name(self) -> &'static str {
        match self {
            InstructionSet::Avx512 => "avx512",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Portable => "portable",
        }
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
            }
            #[cfg(not(target_arch = "x86_64"))]
            InstructionSet::Avx512 | InstructionSet::Avx2 => false,
            InstructionSet::Portable => true,
        }
    }
}

impl TryFrom<InstructionSet> for Kernel {
    type Error = String;

    fn try_from(set: InstructionSet) -> Result<Kernel, String> {
        let missing = || format!("this machine does not have {}", set.name());
        set.is_available().then_some(Kernel(set)).ok_or_else(missing)
    }
}

impl From<Kernel> for InstructionSet {
    fn from(kernel: Kernel) -> InstructionSet {
        kernel.0
    }
}

impl Kernel {
    /// The instruction sets of this machine, the fastest first.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Kernel;
    /// // Every machine has the portable kernel.
    /// assert_eq!(Kernel::all().last(), Kernel::named("portable"));
    /// ```
    pub fn all() -> impl Iterator<Item = Kernel> {
        InstructionSet::ALL.into_iter().filter_map(|set| Kernel::try_from(set).ok())
    }

    /// The instruction set with this name (`avx512`, `avx2` or `portable`), if this machine has
    /// it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Kernel;
    /// assert!(Kernel::named("portable").is_some());
    /// assert!(Kernel::named("unknown").is_none());
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Kernel> {
        Kernel::all().find(|kernel| kernel.0.name() == name)
    }

    /// The fastest instruction set of this machine, or the one that the environment variable
    /// `BRIGADE_KERNEL` names, if the machine has it. The first call decides.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Kernel;
    /// assert!(Kernel::all().any(|kernel| kernel == Kernel::best()));
    /// ```
    #[must_use]
    pub fn best() -> Kernel {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let forced = std::env::var(KERNEL_VARIABLE).ok();
            let forced = forced.and_then(|name| Kernel::named(&name));
            forced.or_else(|| Kernel::all().next()).unwrap_or(Kernel(InstructionSet::Portable))
        })
    }

    /// The products of linear algebra in this thread use this kernel while the guard lives.
    ///
    /// A step has many products, in many functions. All members of its team use the kernel of the
    /// host, so that they compute the same bits.
    pub(crate) fn choose(self) -> ChosenKernel {
        ChosenKernel(CHOSEN.replace(Some(self)))
    }

    /// The kernel that [`choose`](Kernel::choose) has set for this thread, or the best one.
    pub(crate) fn chosen() -> Kernel {
        CHOSEN.get().unwrap_or_else(Kernel::best)
    }
}

thread_local! {
    static CHOSEN: Cell<Option<Kernel>> = const { Cell::new(None) };
}

/// Restores the choice of before when it is dropped; see [`Kernel::choose`].
#[must_use]
#[derive(Debug)]
pub(crate) struct ChosenKernel(Option<Kernel>);

impl Drop for ChosenKernel {
    fn drop(&mut self) {
        CHOSEN.set(self.0);
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// The element type of matrices: `f32` or `f64`.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Float;
/// fn doubled<T: Float>(x: T) -> T {
///     x + x
/// }
/// assert_eq!((doubled(f32::ONE), f64::ZERO), (2.0, 0.0));
/// ```
pub trait Float:
    Copy
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;
    /// The smallest positive normal number.
    const MIN_POSITIVE: Self;

    /// The absolute value.
    #[must_use]
    fn abs(self) -> Self;

    /// The square root; NaN of a negative number.
    #[must_use]
    fn sqrt(self) -> Self;

    /// The same number as `f64`.
    fn to_f64(self) -> f64;

    /// The nearest number of this type.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Float;
    /// assert_eq!((f32::from_f64(0.1), f64::from_f64(0.1)), (0.1f32, 0.1f64));
    /// ```
    fn from_f64(x: f64) -> Self;

    /// The functions of `kernel` for this type. Never inlined: a crate that contains this function
    /// compiles all micro-kernels once more.
    #[doc(hidden)]
    fn table(kernel: Kernel) -> &'static MicroKernelTable<Self>;
}

impl Float for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    const EPSILON: f32 = f32::EPSILON;
    const MIN_POSITIVE: f32 = f32::MIN_POSITIVE;

    #[inline]
    fn abs(self) -> f32 {
        f32::abs(self)
    }

    #[inline]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is what is wanted")]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    #[inline(never)]
    fn table(kernel: Kernel) -> &'static MicroKernelTable<f32> {
        match kernel.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => const { &MicroKernelTable::of::<F32x16>() },
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => const { &MicroKernelTable::of::<F32x8>() },
            _ => const { &MicroKernelTable::of::<Portable<f32, 4>>() },
        }
    }
}

impl Float for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    const EPSILON: f64 = f64::EPSILON;
    const MIN_POSITIVE: f64 = f64::MIN_POSITIVE;

    #[inline]
    fn abs(self) -> f64 {
        f64::abs(self)
    }

    #[inline]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    #[inline]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline]
    fn from_f64(x: f64) -> f64 {
        x
    }

    #[inline(never)]
    fn table(kernel: Kernel) -> &'static MicroKernelTable<f64> {
        match kernel.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => const { &MicroKernelTable::of::<F64x8>() },
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => const { &MicroKernelTable::of::<F64x4>() },
            _ => const { &MicroKernelTable::of::<Portable<f64, 2>>() },
        }
    }
}
