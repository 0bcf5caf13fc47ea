//! From a plan's numbers to the passes compiled for them.
#![allow(unsafe_code)]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each match makes one call; its arms differ in constants alone, and a pointer to the \
              function instead would keep it from being compiled with its caller's instructions"
)]

use std::ops::Range;

use super::compose::{self as composing, Joiner};
use super::digits::Digits;
use super::net::{Front, Ring};
use super::pass;
use super::plan::{Line, Node, Plan};
use super::table::Table;

/// See [`pass::first`].
///
/// # Safety
///
/// - As for [`pass::first`].
#[inline(always)]
pub(super) unsafe fn first<G: Front>(
    data: *mut Line,
    operand: Digits<'_>,
    plan: Plan,
    chunk: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.odd {
            3 => pass::first::<G, 3, 12>(data, operand, plan, chunk, table),
            5 => pass::first::<G, 5, 10>(data, operand, plan, chunk, table),
            7 => pass::first::<G, 7, 14>(data, operand, plan, chunk, table),
            9 => pass::first::<G, 9, 9>(data, operand, plan, chunk, table),
            15 => pass::first::<G, 15, 15>(data, operand, plan, chunk, table),
            _ => pass::first::<G, 1, 16>(data, operand, plan, chunk, table),
        }
    }
}

/// See [`pass::forward`]; `layers` is 1 to 4.
///
/// # Safety
///
/// - As for [`pass::forward`].
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
            (1, 0) => pass::forward::<G, 2, 0>(data, node, nodes, table),
            (1, 1) => pass::forward::<G, 2, 1>(data, node, nodes, table),
            (1, _) => pass::forward::<G, 2, 2>(data, node, nodes, table),
            (2, 0) => pass::forward::<G, 4, 0>(data, node, nodes, table),
            (2, 1) => pass::forward::<G, 4, 1>(data, node, nodes, table),
            (2, _) => pass::forward::<G, 4, 2>(data, node, nodes, table),
            (3, 0) => pass::forward::<G, 8, 0>(data, node, nodes, table),
            (3, 1) => pass::forward::<G, 8, 1>(data, node, nodes, table),
            (3, _) => pass::forward::<G, 8, 2>(data, node, nodes, table),
            (_, 0) => pass::forward::<G, 16, 0>(data, node, nodes, table),
            (_, 1) => pass::forward::<G, 16, 1>(data, node, nodes, table),
            _ => pass::forward::<G, 16, 2>(data, node, nodes, table),
        }
    }
}

/// See [`pass::inverse`]; `layers` is 1 to 4.
///
/// # Safety
///
/// - As for [`pass::inverse`].
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
            1 => pass::inverse::<G, 2>(data, node, nodes, table),
            2 => pass::inverse::<G, 4>(data, node, nodes, table),
            3 => pass::inverse::<G, 8>(data, node, nodes, table),
            _ => pass::inverse::<G, 16>(data, node, nodes, table),
        }
    }
}

/// See [`pass::last`].
///
/// # Safety
///
/// - As for [`pass::last`].
#[inline(always)]
pub(super) unsafe fn last<G: Ring>(data: *mut Line, plan: Plan, chunk: usize, table: &Table) {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.odd {
            3 => pass::last::<G, 3, 12>(data, plan, chunk, table),
            5 => pass::last::<G, 5, 10>(data, plan, chunk, table),
            7 => pass::last::<G, 7, 14>(data, plan, chunk, table),
            9 => pass::last::<G, 9, 9>(data, plan, chunk, table),
            15 => pass::last::<G, 15, 15>(data, plan, chunk, table),
            _ => pass::last::<G, 1, 16>(data, plan, chunk, table),
        }
    }
}

/// See [`composing::compose`].
///
/// # Safety
///
/// - As for [`composing::compose`].
#[inline(always)]
pub(super) unsafe fn compose<J: Joiner>(
    residues: [*const Line; 3],
    plan: &Plan,
    lines: Range<usize>,
    out: *mut u8,
    out_bytes: usize,
) -> u64 {
    // SAFETY: by this function's contract.
    unsafe {
        match plan.digit_bits {
            63 => composing::compose::<J, 63>(residues, plan, lines, out, out_bytes),
            62 => composing::compose::<J, 62>(residues, plan, lines, out, out_bytes),
            _ => composing::compose::<J, 60>(residues, plan, lines, out, out_bytes),
        }
    }
}
