//! One product by the transform, run by a team.
//!
//! For each prime, three steps: *first* splits both operands and transforms their columns;
//! *middle*, for each block, finishes both transforms, multiplies the leaves, and undoes these
//! transforms (depth first, in cache); *last* undoes the columns. Then the limbs are reconstructed
//! from the residues of the three primes. The second operand's memory serves all primes; the
//! residues of each prime stay until the reconstruction. There is a barrier wherever a member may
//! read what another wrote:
//!
//! ```text
//! first 1 | middle 1 | last 1, first 2 | middle 2 | last 2, first 3 | middle 3 | last 3
//!         | reconstruct | carries |
//! ```
#![allow(unsafe_code)]

use crate::kernel::FloatMode;
use crate::kernel::team::{COUNTERS, PeerDied, Team};

use crate::kernel::bigint::limbs::add_limb;

use super::backend::{Backend, PortableKernel, TransformKernel};
#[cfg(target_arch = "x86_64")]
use super::backend::{FmaKernel, IfmaKernel};
use super::plan::{Line, Node, TransformPlan};
use super::splitting::Digits;
use super::twiddles::{TwiddleTable, table_bytes, tables};

/// Nodes of at most this logarithm of lines are finished layer by layer: both operands then fit
/// into the first-level cache.
const TILE_LOG: u32 = 6;

/// The most segments into which the last step is divided, each with its own carry.
const SEGMENTS_MAX: usize = 64;

/// A segment is a multiple of this many lines, so that it begins on a limb for every width of
/// digits.
const SEGMENT_UNIT: usize = 8;

/// Steps of a product that take their work from a counter of the team, one counter each: first,
/// middle and last for each prime, and the reconstruction.
const STEPS: usize = 10;

const _: () = assert!(STEPS <= COUNTERS);

/// Limbs of a line.
const LINE_LIMBS: usize = size_of::<Line>() / size_of::<u64>();

/// Limbs of scratch memory for a product of `a_limbs` by `b_limbs`, or the square of `a_limbs`
/// when `b_limbs` is `None`.
///
/// # Panics
///
/// If the operands are too long for the transform.
pub(in crate::kernel::bigint) fn scratch_limbs(a_limbs: usize, b_limbs: Option<usize>) -> usize {
    let plan = plan(a_limbs, b_limbs);
    // The scratch memory is aligned to a limb: the first line may begin almost a line later.
    (scratch_lines(plan, b_limbs.is_none()) + 1) * LINE_LIMBS
}

/// Limbs of the tables that each process keeps after such a product.
pub(in crate::kernel::bigint) fn table_limbs(a_limbs: usize, b_limbs: usize) -> usize {
    table_bytes(plan(a_limbs, Some(b_limbs))) / size_of::<u64>()
}

fn plan(a_limbs: usize, b_limbs: Option<usize>) -> TransformPlan {
    TransformPlan::new(a_limbs, b_limbs.unwrap_or(a_limbs))
        .unwrap_or_else(|| panic!("{a_limbs} by {b_limbs:?} limbs are too many for one product"))
}

/// `a b`, or `a^2` when `b` is `None`, into `out`, by the members of a team.
///
/// # Errors
///
/// [`PeerDied`] if another member died; the contents of `out` are then unspecified.
///
/// # Panics
///
/// If the processor lacks `backend`, or an operand is empty or too long.
///
/// # Safety
///
/// - `out` is valid for reads and writes of the limbs of `a` and `b` together, `scratch` of
///   [`scratch_limbs`]; only the team uses both until all its members have returned, and neither
///   overlaps the other or an operand.
/// - All members call with the same operands, memory and backend.
pub(in crate::kernel::bigint) unsafe fn multiply(
    team: &impl Team,
    out: *mut u64,
    a: &[u64],
    b: Option<&[u64]>,
    scratch: *mut u64,
    backend: Backend,
) -> Result<(), PeerDied> {
    assert!(backend.is_available(), "this processor lacks {backend:?}");
    // Residues may be `f64`.
    let _mode = FloatMode::standard();
    let b_limbs = b.map_or(a.len(), <[u64]>::len);
    let plan = plan(a.len(), b.map(<[u64]>::len));
    let skip = scratch.align_offset(align_of::<Line>());
    let scratch = scratch.wrapping_add(skip).cast();
    let product = Convolution { plan, a, b, out, out_limbs: a.len() + b_limbs, scratch };
    match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the backend is available, as asserted; the rest by this function's contract.
        Backend::Ifma => unsafe { product.run::<IfmaKernel>(team) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Backend::Fma => unsafe { product.run::<FmaKernel>(team) },
        // SAFETY: no processor feature is needed; the rest by this function's contract.
        _ => unsafe { product.run::<PortableKernel>(team) },
    }
}

/// Memory of a product, all shared by the team.
#[derive(Clone, Copy)]
struct ConvolutionMemory {
    /// The first operand modulo each prime, then the product.
    residues: [*mut Line; 3],
    /// The second operand, modulo one prime at a time; `None` for a square.
    other: Option<*mut Line>,
    /// A carry for each segment.
    carries: *mut u64,
}

/// Lines of scratch memory for a plan.
pub(super) const fn scratch_lines(plan: TransformPlan, square: bool) -> usize {
    let arrays = if square { 3 } else { 4 };
    arrays * plan.memory_lines() + SEGMENTS_MAX.div_ceil(8)
}

/// The product of `a` and `b`, or the square of `a`, into `out`, of `out_limbs` limbs.
pub(super) struct Convolution<'a> {
    pub(super) plan: TransformPlan,
    pub(super) a: &'a [u64],
    /// `None` for a square.
    pub(super) b: Option<&'a [u64]>,
    pub(super) out: *mut u64,
    pub(super) out_limbs: usize,
    pub(super) scratch: *mut Line,
}

impl Convolution<'_> {
    fn memory(&self) -> ConvolutionMemory {
        let lines = self.plan.memory_lines();
        let array = |i: usize| self.scratch.wrapping_add(i * lines);
        let arrays = if self.b.is_some() { 4 } else { 3 };
        ConvolutionMemory {
            residues: [array(0), array(1), array(2)],
            other: self.b.map(|_| array(3)),
            carries: array(arrays).cast(),
        }
    }

    /// This member's part of the product.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if another member died; the contents of `out` are then unspecified.
    ///
    /// # Safety
    ///
    /// - The processor has what `K` needs.
    /// - `out` is valid for `out_limbs` limbs, `scratch` for [`scratch_lines`], only the team uses
    ///   both until all its members have returned, and neither overlaps the other or an operand.
    /// - All members call with the same memory and the same plan.
    pub(super) unsafe fn run<K: TransformKernel>(&self, team: &impl Team) -> Result<(), PeerDied> {
        let memory = self.memory();
        for table in tables(self.plan, K::KIND) {
            // SAFETY: only this member has the chunks that it takes, until the barrier. The last
            // pass over the previous prime reads other memory than this prime's first pass writes,
            // except `other`; the previous middle, which ended at a barrier, was the last to read
            // that.
            unsafe { self.first::<K>(team, memory, table) };
            team.barrier()?;
            // SAFETY: the barrier has made all columns visible, and each block is one member's.
            unsafe { self.middle::<K>(team, memory, table) };
            team.barrier()?;
            // SAFETY: the barrier has made all blocks visible, and each chunk is one member's.
            unsafe { self.last::<K>(team, memory, table) };
        }
        team.barrier()?;
        // SAFETY: the barrier has made all residues visible, and each segment is one member's.
        unsafe { self.reconstruct::<K>(team, memory) };
        team.barrier()?;
        if team.rank() == 0 {
            // SAFETY: the barrier has made all limbs visible, and only one member has rank 0.
            unsafe { self.add_carries(team.members(), memory) };
            (0..STEPS).for_each(|counter| team.reset(counter));
        }
        team.barrier()
    }

    /// The first pass of this member's chunks, on both operands.
    ///
    /// # Safety
    ///
    /// - As for [`Convolution::run`], and no other step works on this prime or on `other`.
    unsafe fn first<K: TransformKernel>(
        &self,
        team: &impl Team,
        memory: ConvolutionMemory,
        table: &TwiddleTable,
    ) {
        let plan = self.plan;
        let a = Digits::new(self.a, plan.digit_bits);
        let b = self.b.map(|b| Digits::new(b, plan.digit_bits));
        take(team, 3 * table.prime, plan.chunks(), |chunk| {
            // SAFETY: by this function's contract; only this member has the chunk.
            unsafe { K::first(memory.residues[table.prime], a, plan, chunk, table) };
            if let (Some(b), Some(other)) = (b, memory.other) {
                // SAFETY: as above.
                unsafe { K::first(other, b, plan, chunk, table) };
            }
        });
    }

    /// The middle of this member's blocks.
    ///
    /// # Safety
    ///
    /// - As for [`Convolution::run`], and the first pass over this prime is done.
    unsafe fn middle<K: TransformKernel>(
        &self,
        team: &impl Team,
        memory: ConvolutionMemory,
        table: &TwiddleTable,
    ) {
        let (a, b) = (memory.residues[table.prime], memory.other);
        let phase = self.plan.middle_phase();
        take(team, 3 * table.prime + 1, self.plan.columns(), |block| {
            // SAFETY: by this function's contract; only this member has the block.
            unsafe { middle::<K>(a, b, self.plan.block(block), phase, table) };
        });
    }

    /// The last pass of this member's chunks.
    ///
    /// # Safety
    ///
    /// - As for [`Convolution::run`], and the middle of this prime is done.
    unsafe fn last<K: TransformKernel>(
        &self,
        team: &impl Team,
        memory: ConvolutionMemory,
        table: &TwiddleTable,
    ) {
        take(team, 3 * table.prime + 2, self.plan.chunks(), |chunk| {
            // SAFETY: by this function's contract; only this member has the chunk.
            unsafe { K::last(memory.residues[table.prime], self.plan, chunk, table) };
        });
    }

    /// Reconstructs this member's segments.
    ///
    /// # Safety
    ///
    /// - As for [`Convolution::run`], and the last pass over every prime is done.
    unsafe fn reconstruct<K: TransformKernel>(&self, team: &impl Team, memory: ConvolutionMemory) {
        let residues = memory.residues.map(<*mut Line>::cast_const);
        let (segment, count) = self.segments(team.members());
        let bytes = self.out_limbs * size_of::<u64>();
        take(team, STEPS - 1, count, |i| {
            let lines = i * segment..((i + 1) * segment).min(self.out_lines());
            // SAFETY: by this function's contract; the segment begins on a limb and only this
            // member has it.
            let carry =
                unsafe { K::reconstruct(residues, &self.plan, lines, self.out.cast(), bytes) };
            // SAFETY: there is a carry for each of `SEGMENTS_MAX` segments (`scratch_lines`).
            unsafe { memory.carries.wrapping_add(i).write(carry) };
        });
    }

    /// Lines that the result's digits fill.
    fn out_lines(&self) -> usize {
        (self.out_limbs * size_of::<u64>()).div_ceil(self.plan.digit_bits as usize)
    }

    /// The lines of a segment, and how many segments there are.
    fn segments(&self, members: usize) -> (usize, usize) {
        let lines = self.out_lines();
        let parts = if members == 1 { 1 } else { SEGMENTS_MAX };
        let segment = lines.div_ceil(parts).next_multiple_of(SEGMENT_UNIT);
        (segment, lines.div_ceil(segment))
    }

    /// Adds the carry out of each segment to the next.
    ///
    /// # Safety
    ///
    /// - As for [`Convolution::run`], all segments are reconstructed, and only one member calls.
    unsafe fn add_carries(&self, members: usize, memory: ConvolutionMemory) {
        let (segment, count) = self.segments(members);
        // SAFETY: `out` is valid for its limbs and, now, this member's alone.
        let out = unsafe { std::slice::from_raw_parts_mut(self.out, self.out_limbs) };
        for i in 1..count {
            // SAFETY: the carry of each segment was written in `reconstruct`.
            let carry = unsafe { memory.carries.wrapping_add(i - 1).read() };
            let limb = i * segment * self.plan.digit_bits as usize / size_of::<u64>();
            add_limb(&mut out[limb..], carry);
        }
    }
}

/// Calls `work` for each of `units` that this member gets, from the counter of step `step`.
fn take(team: &impl Team, step: usize, units: usize, mut work: impl FnMut(usize)) {
    loop {
        let unit = team.take(step, 1);
        if unit >= units {
            return;
        }
        work(unit);
    }
}

/// Forward transforms of `node` at `a` and `b`, the product of their leaves, and the inverse
/// transform at `a`, depth first. Without `b`, the square.
///
/// # Safety
///
/// - The processor has what `K` needs.
/// - The lines of `node` at `a` and at `b` are this thread's to read and write.
unsafe fn middle<K: TransformKernel>(
    a: *mut Line,
    b: Option<*mut Line>,
    node: Node,
    phase: usize,
    table: &TwiddleTable,
) {
    if node.log <= TILE_LOG {
        // SAFETY: by this function's contract.
        return unsafe { tile::<K>(a, b, node, phase, table) };
    }
    let layers = (node.log - 4).min(4);
    for data in [Some(a), b].into_iter().flatten() {
        // SAFETY: by this function's contract.
        unsafe { K::forward(data, node, 1, layers, phase % 3, table) };
    }
    let child = node.first_child(layers, table.odd);
    for n in 0..1 << layers {
        // SAFETY: the child's lines are among the node's.
        unsafe { middle::<K>(a, b, child.sibling(n), phase + layers as usize, table) };
    }
    // SAFETY: by this function's contract.
    unsafe { K::inverse(a, node, 1, layers, table) };
}

/// [`middle`] for a small node, layer by layer in at most two passes.
///
/// # Safety
///
/// - As for [`middle`].
unsafe fn tile<K: TransformKernel>(
    a: *mut Line,
    b: Option<*mut Line>,
    node: Node,
    phase: usize,
    table: &TwiddleTable,
) {
    let upper = node.log - node.log.min(4).min(node.log.div_ceil(2).max(3));
    let lower = node.log - upper;
    let (child, children) = (node.first_child(upper, table.odd), 1 << upper);
    for data in [Some(a), b].into_iter().flatten() {
        if upper > 0 {
            // SAFETY: by this function's contract.
            unsafe { K::forward(data, node, 1, upper, phase % 3, table) };
        }
        if lower > 0 {
            let phase = (phase + upper as usize) % 3;
            // SAFETY: by this function's contract.
            unsafe { K::forward(data, child, children, lower, phase, table) };
        }
    }
    let leaf = node.first_child(node.log, table.odd);
    // SAFETY: by this function's contract.
    unsafe { K::leaves(a, b.unwrap_or(a), leaf, 1 << node.log, table) };
    if lower > 0 {
        // SAFETY: by this function's contract.
        unsafe { K::inverse(a, child, children, lower, table) };
    }
    if upper > 0 {
        // SAFETY: by this function's contract.
        unsafe { K::inverse(a, node, 1, upper, table) };
    }
}
