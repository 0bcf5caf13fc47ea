//! From a plan's numbers to the passes compiled for them.
#![allow(unsafe_code)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each match makes one call; its arms differ in constants alone, and a pointer to the \
              function instead would keep it from being compiled with its caller's instructions"
)]

use std::ops::Range;

use super::butterflies::Ring;
use super::crt::{self, Crt};
use super::passes;
use super::plan::{Line, Node, Plan};
use super::splitting::{DigitResidues, Digits};
use super::twiddles::Table;

/// See [`passes::first`].
///
/// # Safety
///
/// - As for [`passes::first`].
#[inline(always)]
pub(super) unsafe fn first<G: DigitResidues>(
    data: *mut Line,
    operand: Digits<'_>,
    plan: Plan,
    chunk: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.odd {
            3 => passes::first::<G, 3, 12>(data, operand, plan, chunk, table),
            5 => passes::first::<G, 5, 10>(data, operand, plan, chunk, table),
            7 => passes::first::<G, 7, 14>(data, operand, plan, chunk, table),
            9 => passes::first::<G, 9, 9>(data, operand, plan, chunk, table),
            15 => passes::first::<G, 15, 15>(data, operand, plan, chunk, table),
            _ => passes::first::<G, 1, 16>(data, operand, plan, chunk, table),
        }
    }
}

/// See [`passes::forward`]; `layers` is 1 to 4.
///
/// # Safety
///
/// - As for [`passes::forward`].
#[inline(always)]
pub(super) unsafe fn forward<G: Ring>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    layers: u32,
    phase: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    unsafe {
        match (layers, phase) {
            (1, 0) => passes::forward::<G, 2, 0>(data, node, nodes, table),
            (1, 1) => passes::forward::<G, 2, 1>(data, node, nodes, table),
            (1, _) => passes::forward::<G, 2, 2>(data, node, nodes, table),
            (2, 0) => passes::forward::<G, 4, 0>(data, node, nodes, table),
            (2, 1) => passes::forward::<G, 4, 1>(data, node, nodes, table),
            (2, _) => passes::forward::<G, 4, 2>(data, node, nodes, table),
            (3, 0) => passes::forward::<G, 8, 0>(data, node, nodes, table),
            (3, 1) => passes::forward::<G, 8, 1>(data, node, nodes, table),
            (3, _) => passes::forward::<G, 8, 2>(data, node, nodes, table),
            (_, 0) => passes::forward::<G, 16, 0>(data, node, nodes, table),
            (_, 1) => passes::forward::<G, 16, 1>(data, node, nodes, table),
            _ => passes::forward::<G, 16, 2>(data, node, nodes, table),
        }
    }
}

/// See [`passes::inverse`]; `layers` is 1 to 4.
///
/// # Safety
///
/// - As for [`passes::inverse`].
#[inline(always)]
pub(super) unsafe fn inverse<G: Ring>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    layers: u32,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    unsafe {
        match layers {
            1 => passes::inverse::<G, 2>(data, node, nodes, table),
            2 => passes::inverse::<G, 4>(data, node, nodes, table),
            3 => passes::inverse::<G, 8>(data, node, nodes, table),
            _ => passes::inverse::<G, 16>(data, node, nodes, table),
        }
    }
}

/// See [`passes::last`].
///
/// # Safety
///
/// - As for [`passes::last`].
#[inline(always)]
pub(super) unsafe fn last<G: Ring>(data: *mut Line, plan: Plan, chunk: usize, table: &Table) {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.odd {
            3 => passes::last::<G, 3, 12>(data, plan, chunk, table),
            5 => passes::last::<G, 5, 10>(data, plan, chunk, table),
            7 => passes::last::<G, 7, 14>(data, plan, chunk, table),
            9 => passes::last::<G, 9, 9>(data, plan, chunk, table),
            15 => passes::last::<G, 15, 15>(data, plan, chunk, table),
            _ => passes::last::<G, 1, 16>(data, plan, chunk, table),
        }
    }
}

/// See [`crt::reconstruct`].
///
/// # Safety
///
/// - As for [`crt::reconstruct`].
#[inline(always)]
pub(super) unsafe fn reconstruct<J: Crt>(
    residues: [*const Line; 3],
    plan: &Plan,
    lines: Range<usize>,
    out: *mut u8,
    out_bytes: usize,
) -> u64 {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.digit_bits {
            63 => crt::reconstruct::<J, 63>(residues, plan, lines, out, out_bytes),
            62 => crt::reconstruct::<J, 62>(residues, plan, lines, out, out_bytes),
            _ => crt::reconstruct::<J, 60>(residues, plan, lines, out, out_bytes),
        }
    }
}
