//! The transform of one contiguous lane, by the libraries.

use std::sync::Arc;

use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftNum, FftPlanner};
use serde::{Deserialize, Serialize};

/// The most transforms that a planner keeps.
pub(super) const KEPT_MAX: usize = 32;
/// The longest lanes whose transforms are kept: a transform holds tables as long as its lane.
pub(super) const KEPT_LEN_MAX: usize = 1 << 16;

/// What is computed of each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TransformKind {
    /// From complex to complex, forward.
    Forward,
    /// From complex to complex, inverse.
    Inverse,
    /// From `n` reals to the first `n / 2 + 1` elements of their forward transform.
    Real,
    /// From the first `n / 2 + 1` elements of a transform to `n` reals: the inverse of `Real`.
    RealInverse,
}

/// A transform of lanes of one length.
#[derive(Clone)]
pub(super) enum LanePlan<T> {
    Complex(Arc<dyn Fft<T>>),
    Real(Arc<dyn RealToComplex<T>>),
    RealInverse(Arc<dyn ComplexToReal<T>>),
}

impl<T: FftNum> LanePlan<T> {
    /// Plans a transform.
    ///
    /// A planner of the libraries builds a transform from parts that it planned before, so the bits
    /// of the results depend on its earlier lengths. Each transform has a new one, so that its bits
    /// depend on its length alone.
    fn new(kind: TransformKind, len: usize) -> LanePlan<T> {
        match kind {
            TransformKind::Forward => LanePlan::Complex(FftPlanner::new().plan_fft_forward(len)),
            TransformKind::Inverse => LanePlan::Complex(FftPlanner::new().plan_fft_inverse(len)),
            TransformKind::Real => LanePlan::Real(RealFftPlanner::new().plan_fft_forward(len)),
            TransformKind::RealInverse => {
                LanePlan::RealInverse(RealFftPlanner::new().plan_fft_inverse(len))
            }
        }
    }

    /// The scratch memory that a call needs, in complex numbers.
    pub(super) fn scratch_len(&self) -> usize {
        match self {
            LanePlan::Complex(fft) => {
                fft.get_inplace_scratch_len().max(fft.get_immutable_scratch_len())
            }
            LanePlan::Real(fft) => fft.get_scratch_len(),
            LanePlan::RealInverse(fft) => fft.get_scratch_len(),
        }
    }
}

/// The transforms that a thread keeps: to plan one takes longer than a short lane.
///
/// Public only because a bound of a public trait names it.
#[expect(unnameable_types, reason = "what cannot be named cannot be used elsewhere")]
pub struct Planner<T: FftNum> {
    pub(super) kept: Vec<(TransformKind, usize, LanePlan<T>)>,
}

impl<T: FftNum> Planner<T> {
    pub(super) fn new() -> Planner<T> {
        Planner { kept: Vec::new() }
    }

    /// The plan that is kept for this kind and length, or a new one.
    pub(super) fn plan(&mut self, kind: TransformKind, len: usize) -> LanePlan<T> {
        if let Some((_, _, plan)) = self.kept.iter().find(|kept| (kept.0, kept.1) == (kind, len)) {
            return plan.clone();
        }
        let plan = LanePlan::new(kind, len);
        if len <= KEPT_LEN_MAX {
            if self.kept.len() == KEPT_MAX {
                self.kept.remove(0);
            }
            self.kept.push((kind, len, plan.clone()));
        }
        plan
    }
}

impl<T: FftNum> std::fmt::Debug for Planner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}
