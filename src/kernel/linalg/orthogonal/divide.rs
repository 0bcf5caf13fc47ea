//! Divide and conquer for tridiagonal and bidiagonal matrices, by a team.
//!
//! A matrix is cut in two, again and again, down to single columns. Then each pair of parts is
//! merged: see `merge` for the sources. A member merges the small parts within one subtree alone;
//! the team shares each merge above. A merge takes three phases:
//!
//! 1. Rows of the bases are rotated, and copied in the order of the products; roots are computed.
//! 2. The weights are computed from all roots.
//! 3. Tiles of the new bases are computed, by products, and sorted by value.
//!
//! The plan of a merge takes time proportional to its columns, so each member makes its own.
#![allow(unsafe_code)]

use std::ops::Range;

use super::merge::{Coupling, MergePlan};
use super::phases::{Phases, part_of};
use super::reflectors::{matrix, matrix_mut, product};
use super::secular::SecularRoot;
use super::shared_columns::{Carver, SharedColumns, stride_of};
use crate::kernel::{PeerDied, SingleThread};

/// The most columns of a subtree that one member merges.
const SUBTREE: usize = 64;
/// Rows that are copied at a time, roots and weights that are computed at a time.
const CHUNK: usize = 64;

/// The columns of [`Divide::roots`].
const VALUES: usize = 0;
/// The indices of the roots' poles.
const ORIGINS: usize = 1;
/// The roots' distances from their poles.
const OFFSETS: usize = 2;
/// The weights z.
const WEIGHTS: usize = 3;

/// A matrix of vectors, and as much memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Basis {
    /// Becomes the vectors.
    pub(super) vectors: SharedColumns<f64>,
    pub(super) copy: SharedColumns<f64>,
}

impl Basis {
    /// Memory for n vectors.
    pub(super) fn carve(memory: &mut Carver<f64>, n: usize) -> Basis {
        Basis { vectors: memory.columns(n, n), copy: memory.columns(n, n) }
    }
}

/// The matrix to decompose, by its elements.
#[derive(Debug, Clone)]
pub(super) enum Condensed {
    /// Symmetric: the diagonal, and what lies beside it.
    Tridiagonal(Vec<f64>, Vec<f64>),
    /// The diagonal, and what lies above it, with a zero at the end.
    Bidiagonal(Vec<f64>, Vec<f64>),
}

impl Condensed {
    fn is_bidiagonal(&self) -> bool {
        matches!(self, Condensed::Bidiagonal(..))
    }

    /// The columns that are divided: a bidiagonal matrix gets a column of zeros, so that each part
    /// of it has a column more than rows.
    fn columns(&self) -> usize {
        match self {
            Condensed::Tridiagonal(diagonal, _) => diagonal.len(),
            Condensed::Bidiagonal(diagonal, _) => diagonal.len() + 1,
        }
    }
}

/// A decomposition by divide and conquer, as a member sees it.
pub(super) struct Divide<'a> {
    pub(super) matrix: Condensed,
    /// The eigenvectors (n x n); or the right singular vectors ((n + 1) x (n + 1), the last one of
    /// the column of zeros) and the left ones (n x n).
    pub(super) bases: &'a [Basis],
    /// (n + 1) x [`Divide::ROOTS`]
    pub(super) roots: SharedColumns<f64>,
    /// Couplings up to this, relative to the largest element, are neglected.
    pub(super) tolerance: f64,
}

/// The columns of one merge: `first..middle` and `middle..end`.
#[derive(Debug, Clone, Copy)]
struct DivideNode {
    first: usize,
    middle: usize,
    end: usize,
}

/// A merge that is under way.
struct Merging {
    node: DivideNode,
    plan: MergePlan,
    /// For singular values, the rotation of the columns that no row of the parts reaches.
    null_rotation: Option<[f64; 2]>,
    /// The new place of each column of the plan's order, coupled ones by their pole.
    places: Vec<usize>,
}

/// One unit of a phase: a merge, by index, and a range of its rows, roots or columns.
type Unit = (usize, Work, Range<usize>);

/// What a unit does.
#[derive(Debug, Clone, Copy)]
enum Work {
    Copy,
    Roots,
    Weights,
    /// New columns of the basis of this index.
    Coupled(usize),
    /// Old columns of the basis of this index.
    Uncoupled(usize),
}

impl Divide<'_> {
    /// Columns of [`Divide::roots`].
    pub(super) const ROOTS: usize = 4;

    /// One member's part. Returns the values, ascending; they are those of the columns of the
    /// bases.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Safety
    ///
    /// - The memory is valid and has the shapes that the fields state; until all members have
    ///   returned, nothing else accesses it. All members pass the same matrix.
    pub(super) unsafe fn run(&self, phases: &mut Phases<'_>) -> Result<Vec<f64>, PeerDied> {
        let n = self.matrix.columns();
        let shared_levels = n.div_ceil(SUBTREE).next_power_of_two().ilog2();
        let levels = n.next_power_of_two().ilog2();
        while let Some(index) = phases.unit(1 << shared_levels) {
            // SAFETY: the caller's conditions; the phase gives each subtree to one member.
            unsafe { self.merge_subtree(n, shared_levels..levels, index) };
        }
        phases.end()?;
        // SAFETY: the caller's conditions; nothing writes the values in this phase, or later.
        let mut values = unsafe { self.roots.read_part(0..n, VALUES) }.to_vec();
        for level in (0..shared_levels).rev() {
            let nodes = (0..1 << level).map(|index| node(n, level, index));
            let nodes: Vec<DivideNode> = nodes.filter(|node| node.is_merge()).collect();
            // SAFETY: the caller's conditions; the parts below are complete.
            unsafe { self.merge_level(&nodes, &mut values, phases)? };
        }
        values.truncate(self.bases.last().map_or(0, |basis| basis.vectors.cols()));
        Ok(values)
    }

    /// Merges the nodes below node `index` of level `levels.start`, by one member.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; no other member accesses the columns of this subtree.
    unsafe fn merge_subtree(&self, n: usize, levels: Range<u32>, index: usize) {
        let DivideNode { first, end, .. } = node(n, levels.start, index);
        for basis in self.bases {
            let last = end.min(basis.vectors.cols());
            for column in first..last {
                // SAFETY: the caller's conditions.
                let column_part = unsafe { basis.vectors.write(column..column + 1) };
                column_part.fill(0.0);
                column_part[column] = 1.0;
            }
        }
        let mut values = vec![0.0; n];
        if let Condensed::Tridiagonal(diagonal, beside) = &self.matrix {
            for i in first..end {
                let next = beside.get(i).map_or(0.0, |x| x.abs());
                let before = i.checked_sub(1).map_or(0.0, |i| beside[i].abs());
                values[i] = diagonal[i] - before - next;
            }
        }
        let alone = SingleThread::default();
        let mut phases = Phases::new(&alone);
        for level in levels.clone().rev() {
            let below = 1 << (level - levels.start);
            let nodes = (index * below..(index + 1) * below).map(|index| node(n, level, index));
            let nodes: Vec<DivideNode> = nodes.filter(|node| node.is_merge()).collect();
            // SAFETY: the caller's conditions; the nodes lie in the subtree.
            let outcome = unsafe { self.merge_level(&nodes, &mut values, &mut phases) };
            debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
        }
        // SAFETY: the caller's conditions.
        let to = unsafe { self.roots.write_part(first..end, VALUES) };
        to.copy_from_slice(&values[first..end]);
    }

    /// One member's part of merges of disjoint columns.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; no one but the team of `phases` accesses the columns of the nodes.
    unsafe fn merge_level(
        &self,
        nodes: &[DivideNode],
        values: &mut [f64],
        phases: &mut Phases<'_>,
    ) -> Result<(), PeerDied> {
        // SAFETY: the caller's conditions; nothing writes to the bases before the next barrier.
        let mut merges: Vec<Merging> =
            nodes.iter().map(|&node| unsafe { self.plan(node, values) }).collect();
        phases.end()?;
        let mut units: Vec<Unit> = Vec::new();
        for (index, merge) in merges.iter().enumerate() {
            let rows = merge.node.first..merge.node.end;
            add_units(&mut units, index, Work::Copy, rows, CHUNK);
            add_units(&mut units, index, Work::Roots, 0..merge.coupled(), CHUNK);
        }
        // SAFETY: the caller's conditions; rows and roots of different units are different.
        unsafe { self.run_units(&merges, &units, phases)? };
        for merge in &mut merges {
            // SAFETY: the caller's conditions; the phase that writes the roots is over.
            unsafe { self.sort(merge, values) };
        }
        units.clear();
        for (index, merge) in merges.iter().enumerate() {
            add_units(&mut units, index, Work::Weights, 0..merge.coupled(), CHUNK);
        }
        // SAFETY: the caller's conditions; weights of different units are different.
        unsafe { self.run_units(&merges, &units, phases)? };
        units.clear();
        for (index, merge) in merges.iter().enumerate() {
            let (coupled, all) = (merge.coupled(), merge.plan.order.len());
            let width = coupled.div_ceil(16).next_multiple_of(8).clamp(16, 128);
            for basis in 0..self.bases.len() {
                add_units(&mut units, index, Work::Coupled(basis), 0..coupled, width);
                add_units(&mut units, index, Work::Uncoupled(basis), coupled..all, width);
            }
        }
        // SAFETY: the caller's conditions; columns of different units are different.
        unsafe { self.run_units(&merges, &units, phases) }
    }

    /// The plan of one merge.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; nothing writes to the columns of the node.
    unsafe fn plan(&self, node: DivideNode, values: &[f64]) -> Merging {
        let DivideNode { first, middle, end } = node;
        let poles = end - first - usize::from(self.matrix.is_bidiagonal());
        let basis = self.bases[0].vectors;
        // SAFETY: the caller's conditions.
        let element = |row: usize, col| unsafe { basis.read_part(row..row + 1, col) }[0];
        let across =
            |i: usize| if i < middle { element(middle - 1, i) } else { element(middle, i) };
        let mut z: Vec<f64> = (first..first + poles).map(across).collect();
        let (upper, lower) = z.split_at_mut(middle - first);
        let (mut rho, mut row, mut null_rotation) = (1.0, None, None);
        match &self.matrix {
            Condensed::Tridiagonal(_, beside) => {
                rho = beside[middle - 1].abs();
                lower.iter_mut().for_each(|z| *z *= beside[middle - 1].signum());
            }
            Condensed::Bidiagonal(diagonal, above) => {
                let (alpha, beta) = (diagonal[middle - 1], above[middle - 1]);
                upper.iter_mut().for_each(|z| *z *= alpha);
                lower.iter_mut().for_each(|z| *z *= beta);
                let at = middle - 1 - first;
                let (x, y) = (upper[at], beta * element(middle, end - 1));
                let length = x.hypot(y);
                null_rotation = (length > 0.0).then(|| [x / length, y / length]);
                upper[at] = length;
                row = Some(at);
            }
        }
        let values = &values[first..first + poles];
        let (middle, tolerance) = (middle - first, self.tolerance);
        let plan = MergePlan::new(Coupling { values, z, rho, row, middle, tolerance });
        Merging { node, plan, null_rotation, places: Vec::new() }
    }

    /// Finds the places of the new columns, and their values.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; the roots are complete, and nothing writes to them.
    unsafe fn sort(&self, merge: &mut Merging, values: &mut [f64]) {
        // SAFETY: the caller's conditions.
        let roots = unsafe { self.roots_of(merge) };
        let plan = &merge.plan;
        let new = roots.iter().map(|&root| plan.secular.value(root));
        let new: Vec<f64> = new.chain(plan.uncoupled.iter().copied()).collect();
        let mut sorted: Vec<usize> = (0..new.len()).collect();
        sorted.sort_by(|&i, &j| new[i].total_cmp(&new[j]));
        merge.places = vec![0; new.len()];
        for (place, &from) in sorted.iter().enumerate() {
            merge.places[from] = merge.node.first + place;
            values[merge.node.first + place] = new[from];
        }
    }

    /// The roots of a merge.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; the roots are complete, and nothing writes to them.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an origin is an index that was written as f64"
    )]
    unsafe fn roots_of(&self, merge: &Merging) -> Vec<SecularRoot> {
        let range = merge.node.first..merge.node.first + merge.coupled();
        // SAFETY: the caller's conditions.
        let origins = unsafe { self.roots.read_part(range.clone(), ORIGINS) };
        // SAFETY: the caller's conditions.
        let offsets = unsafe { self.roots.read_part(range, OFFSETS) };
        let root =
            |(&origin, &offset): (&f64, &f64)| SecularRoot { origin: origin as usize, offset };
        origins.iter().zip(offsets).map(root).collect()
    }

    /// Runs the units that this member takes, and ends the phase.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; each unit writes what no other unit of the phase accesses, and what it
    ///   reads is complete.
    unsafe fn run_units(
        &self,
        merges: &[Merging],
        units: &[Unit],
        phases: &mut Phases<'_>,
    ) -> Result<(), PeerDied> {
        let mut gaps = Vec::new();
        while let Some(index) = phases.unit(units.len()) {
            let (merge, work, range) = units[index].clone();
            let merge = &merges[merge];
            match work {
                Work::Copy => {
                    // SAFETY: the caller's conditions.
                    unsafe { self.copy_rows(merge, range) };
                }
                Work::Roots => {
                    let at = merge.node.first + range.start..merge.node.first + range.end;
                    // SAFETY: the caller's conditions.
                    let origins = unsafe { self.roots.write_part(at.clone(), ORIGINS) };
                    // SAFETY: the caller's conditions.
                    let offsets = unsafe { self.roots.write_part(at, OFFSETS) };
                    for (to, j) in range.enumerate() {
                        let root = merge.plan.secular.root(j, &mut gaps);
                        (origins[to], offsets[to]) = (root.origin as f64, root.offset);
                    }
                }
                Work::Weights => {
                    // SAFETY: the caller's conditions.
                    let roots = unsafe { self.roots_of(merge) };
                    let at = merge.node.first + range.start..merge.node.first + range.end;
                    // SAFETY: the caller's conditions.
                    let weights = unsafe { self.roots.write_part(at, WEIGHTS) };
                    merge.plan.secular.weights(&roots, range.start, weights);
                }
                Work::Coupled(basis) => {
                    // SAFETY: the caller's conditions.
                    unsafe { self.multiply(merge, basis, range) };
                }
                Work::Uncoupled(basis) => {
                    let Basis { vectors, copy } = self.bases[basis];
                    let rows = merge.node.first..merge.node.end.min(vectors.rows());
                    for index in range {
                        let column = merge.node.first + index;
                        // SAFETY: the caller's conditions.
                        let from = unsafe { copy.read_part(rows.clone(), column) };
                        let place = merge.places[index];
                        // SAFETY: the caller's conditions.
                        let to = unsafe { vectors.write_part(rows.clone(), place) };
                        to.copy_from_slice(from);
                    }
                }
            }
        }
        phases.end()
    }

    /// Rotates rows of all bases, and copies them in the order of the products.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; no other member accesses these rows in the node's columns.
    unsafe fn copy_rows(&self, merge: &Merging, rows: Range<usize>) {
        let DivideNode { first, middle, end } = merge.node;
        for (index, Basis { vectors, copy }) in self.bases.iter().enumerate() {
            let rows = rows.start..rows.end.min(vectors.rows());
            if rows.is_empty() {
                continue;
            }
            // SAFETY: the caller's conditions, for two different columns.
            let part = |column| unsafe { vectors.write_part(rows.clone(), column) };
            if let (0, Some([c, s])) = (index, merge.null_rotation) {
                rotate(part(middle - 1), part(end - 1), c, s);
            }
            for rotation in &merge.plan.rotations {
                let [x, y] = rotation.columns.map(|column| part(first + column));
                rotate(x, y, rotation.c, rotation.s);
            }
            for (to, &from) in merge.plan.order.iter().enumerate() {
                // SAFETY: the caller's conditions.
                let to = unsafe { copy.write_part(rows.clone(), first + to) };
                to.copy_from_slice(part(first + from));
            }
        }
    }

    /// New columns of a basis: the copied columns times the vectors of these roots.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; no other member accesses the places of these roots.
    unsafe fn multiply(&self, merge: &Merging, basis: usize, range: Range<usize>) {
        let DivideNode { first, middle, .. } = merge.node;
        let (coupled, count) = (merge.coupled(), range.len());
        // SAFETY: the caller's conditions.
        let factors = unsafe { self.root_vectors(merge, basis == 1, range.clone()) };
        let Basis { vectors, copy } = self.bases[basis];
        let end = merge.node.end.min(vectors.rows());
        // SAFETY: the caller's conditions; nothing writes to the copy in this phase.
        let columns = unsafe { copy.read(first..first + coupled) };
        let stride = stride_of::<f64>(end - first);
        let mut tile = vec![0.0; stride * count];
        let [lower, upper] = merge.plan.extents;
        for (rows, terms) in [(first..middle, 0..upper), (middle..end, lower..coupled)] {
            if rows.is_empty() || terms.is_empty() {
                continue;
            }
            let a = &columns[terms.start * copy.stride() + rows.start..];
            let a = matrix(a, rows.len(), terms.len(), copy.stride());
            let b = matrix(&factors[terms.start..], terms.len(), count, coupled);
            let c = matrix_mut(&mut tile[rows.start - first..], rows.len(), count, stride);
            product(1.0, a, b, 0.0, c);
        }
        for (root, column) in range.zip(tile.chunks_exact(stride)) {
            let place = merge.places[root];
            // SAFETY: the caller's conditions.
            let to = unsafe { vectors.write_part(first..end, place) };
            to.copy_from_slice(&column[..end - first]);
        }
    }

    /// The vectors of some roots, of length 1, with elements in the order of the products: those of
    /// the eigenvectors or of the right singular vectors, or those of the left ones.
    ///
    /// # Safety
    ///
    /// - As [`Divide::run`]; the roots and weights are complete, and nothing writes to them.
    unsafe fn root_vectors(&self, merge: &Merging, left: bool, range: Range<usize>) -> Vec<f64> {
        let coupled = merge.coupled();
        let at = merge.node.first..merge.node.first + coupled;
        // SAFETY: the caller's conditions.
        let roots = unsafe { self.roots_of(merge) };
        // SAFETY: the caller's conditions.
        let weights = unsafe { self.roots.read_part(at, WEIGHTS) };
        let (secular, mut vector) = (&merge.plan.secular, vec![0.0; coupled]);
        let mut factors = vec![0.0; coupled * range.len()];
        for (root, to) in range.zip(factors.chunks_exact_mut(coupled)) {
            secular.vector(roots[root], weights, &mut vector);
            if left {
                vector.iter_mut().zip(&secular.poles).for_each(|(x, pole)| *x *= pole);
                vector[0] = -1.0;
            }
            let length = super::householder::norm(&vector);
            for (to, &pole) in to.iter_mut().zip(&merge.plan.pole_of) {
                *to = vector[pole] / length;
            }
        }
        factors
    }
}

impl Merging {
    /// The number of coupled columns.
    fn coupled(&self) -> usize {
        self.plan.pole_of.len()
    }
}

impl DivideNode {
    fn is_merge(&self) -> bool {
        self.first < self.middle && self.middle < self.end
    }
}

/// Node `index` of a level of the tree over `n` columns, whose root is level 0.
fn node(n: usize, level: u32, index: usize) -> DivideNode {
    let bound = |index: usize, level: u32| (index * n) >> level;
    let (first, end) = (bound(index, level), bound(index + 1, level));
    DivideNode { first, middle: bound(2 * index + 1, level + 1), end }
}

/// Adds units of at most `width` elements of `whole`.
fn add_units(units: &mut Vec<Unit>, merge: usize, work: Work, whole: Range<usize>, width: usize) {
    let parts = (0..whole.len().div_ceil(width)).filter_map(|index| part_of(&whole, width, index));
    units.extend(parts.map(|part| (merge, work, part)));
}

/// Rotates two columns.
fn rotate(x: &mut [f64], y: &mut [f64], c: f64, s: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (c * *x + s * *y, c * *y - s * *x);
    }
}
