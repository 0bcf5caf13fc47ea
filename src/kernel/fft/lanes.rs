//! A block of lanes in scratch memory.
//!
//! Columns are gathered into it, transformed, and scattered.

use bytemuck::Pod;
use rustfft::num_complex::Complex;

use crate::kernel::fft::float::FftFloat;
use crate::kernel::fft::pass::Pass;
use crate::kernel::fft::plan::{LanePlan, TransformKind};

/// Reals between the lanes of a block, so that the elements of a row, which are written together,
/// are not in the same cache set if the length is a power of two.
const GAP: usize = 16;

/// The plan and the scratch memory of a pass. Lengths are in reals unless said otherwise.
pub(crate) struct Lanes<T> {
    pass: Pass,
    plan: LanePlan<T>,
    /// Lane `c` of the block begins at `c stride`, and its result `out_start` after that.
    block: Vec<T>,
    stride: usize,
    out_start: usize,
    scratch: Vec<Complex<T>>,
}

impl<T: FftFloat> Lanes<T> {
    pub(crate) fn new(pass: Pass) -> Lanes<T> {
        let half = 2 * (pass.len / 2 + 1);
        let (out_start, span) = match pass.kind {
            TransformKind::Forward | TransformKind::Inverse => (0, 2 * pass.len),
            // The results are complex numbers, at even places.
            TransformKind::Real => {
                (pass.len.next_multiple_of(2), pass.len.next_multiple_of(2) + half)
            }
            TransformKind::RealInverse => (half, half + pass.len.next_multiple_of(2)),
        };
        let plan = T::planner().with_borrow_mut(|planner| planner.plan(pass.kind, pass.len));
        let scratch = vec![Complex::new(T::ZERO, T::ZERO); plan.scratch_len()];
        Lanes { pass, plan, block: Vec::new(), stride: span + GAP, out_start, scratch }
    }

    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Makes room for `lanes` lanes.
    pub(crate) fn reserve(&mut self, lanes: usize) {
        if self.block.len() < lanes * self.stride {
            self.block.resize(lanes * self.stride, T::ZERO);
        }
    }

    /// Writes element `i` of each lane of the block, as many as `row` has.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    #[inline]
    pub(crate) fn load_row<E: Pod>(&mut self, i: usize, row: &[E]) {
        let step = self.stride / (size_of::<E>() / size_of::<T>());
        let lanes = &mut bytemuck::cast_slice_mut::<T, E>(&mut self.block)[i..];
        for (place, &x) in lanes.iter_mut().step_by(step).zip(row) {
            *place = x;
        }
    }

    /// Reads result `i` of each lane of the block, as many as `row` has.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[inline]
    pub(crate) fn store_row<E: Pod>(&self, i: usize, row: &mut [E]) {
        let reals = size_of::<E>() / size_of::<T>();
        let step = self.stride / reals;
        let lanes = &bytemuck::cast_slice::<T, E>(&self.block)[self.out_start / reals + i..];
        for (x, &place) in row.iter_mut().zip(lanes.iter().step_by(step)) {
            *x = place;
        }
    }

    /// The result of lane `lane` of the block.
    pub(crate) fn result<E: Pod>(&self, lane: usize) -> &[E] {
        let len = self.pass.out_len() * (size_of::<E>() / size_of::<T>());
        bytemuck::cast_slice(&self.block[lane * self.stride + self.out_start..][..len])
    }

    /// Transforms the first `lanes` lanes of the block.
    pub(crate) fn transform(&mut self, lanes: usize) {
        for lane in 0..lanes {
            let block = &mut self.block[lane * self.stride..][..self.stride];
            let (kind, len, used) = (self.pass.kind, self.pass.len, self.pass.used_len());
            match &self.plan {
                LanePlan::Complex(fft) => {
                    let lane = bytemuck::cast_slice_mut(&mut block[..2 * len]);
                    fft.process_with_scratch(lane, &mut self.scratch);
                }
                LanePlan::Real(fft) => {
                    let (input, output) = block.split_at_mut(self.out_start);
                    let output = bytemuck::cast_slice_mut(&mut output[..2 * (len / 2 + 1)]);
                    fft.process_with_scratch(&mut input[..len], output, &mut self.scratch)
                        .expect("the lengths are those of the plan");
                }
                LanePlan::RealInverse(fft) => {
                    let (input, output) = block.split_at_mut(self.out_start);
                    let input: &mut [Complex<T>] = bytemuck::cast_slice_mut(input);
                    input[used..].fill(Complex::new(T::ZERO, T::ZERO));
                    // Reals have no imaginary part at these frequencies. It is ignored, as in
                    // NumPy.
                    input[0].im = T::ZERO;
                    if len.is_multiple_of(2) {
                        input[len / 2].im = T::ZERO;
                    }
                    fft.process_with_scratch(input, &mut output[..len], &mut self.scratch)
                        .expect("the lengths are those of the plan");
                }
            }
            let out_len =
                if kind == TransformKind::RealInverse { len } else { 2 * self.pass.out_len() };
            scale(&mut block[self.out_start..][..out_len], self.pass.scale);
        }
    }

    /// Transforms a lane that is contiguous.
    pub(crate) fn transform_lane<I: Pod, O: Pod>(&mut self, input: &[I], out: &mut [O]) {
        let used = &input[..self.pass.used_len()];
        if let LanePlan::Complex(fft) = &self.plan {
            let (input, out) = (bytemuck::cast_slice(used), bytemuck::cast_slice_mut(out));
            fft.process_immutable_with_scratch(input, out, &mut self.scratch);
            scale::<T>(bytemuck::cast_slice_mut(out), self.pass.scale);
        } else {
            self.reserve(1);
            bytemuck::cast_slice_mut(&mut self.block)[..used.len()].copy_from_slice(used);
            self.transform(1);
            out.copy_from_slice(self.result(0));
        }
    }

    /// Transforms lanes that lie one after the other, from complex to complex.
    ///
    /// # Panics
    ///
    /// If the pass is from or to reals.
    pub(crate) fn transform_in_place(&mut self, lanes: &mut [Complex<T>]) {
        let LanePlan::Complex(fft) = &self.plan else { panic!("{:?} in place", self.pass.kind) };
        fft.process_with_scratch(lanes, &mut self.scratch);
        scale::<T>(bytemuck::cast_slice_mut(lanes), self.pass.scale);
    }
}

/// Multiplies by a factor.
pub(super) fn scale<T: FftFloat>(x: &mut [T], factor: f64) {
    if factor != 1.0 {
        let factor = T::of_f64(factor);
        x.iter_mut().for_each(|x| *x = *x * factor);
    }
}
