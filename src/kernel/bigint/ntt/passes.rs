//! Passes over lines in memory.
//!
//! Each loads vectors, computes butterflies in registers, and stores them.
#![allow(unsafe_code)]

use super::butterflies::{self, IntegerField, ResidueField, Twiddles};
use super::plan::{Line, Node, PAGE_LINES, TransformPlan, halve, padded};
use super::prime_field::{Factor, PRIMES};
use super::simd::{Arithmetic, LANES, Lanes};
use super::splitting::{DigitResidues, Digits};
use super::twiddles::{TwiddleTable, mirror};

/// The addresses of `R` columns, `stride` lines apart, from line `start` on. Each is valid for as
/// many lines as follow without a gap: a page, or all lines of a node that fits into one.
#[inline(always)]
fn columns<const R: usize>(data: *mut Line, start: usize, stride: usize) -> [*mut Line; R] {
    let mut columns = [data.wrapping_add(padded(start)); R];
    if R * stride <= PAGE_LINES {
        for (i, column) in columns.iter_mut().enumerate() {
            *column = column.wrapping_add(i * stride);
        }
    } else {
        for (i, column) in columns.iter_mut().enumerate() {
            *column = data.wrapping_add(padded(start + i * stride));
        }
    }
    columns
}

/// The number of vectors in `lines` lines.
#[inline(always)]
const fn vectors<L: Arithmetic>(lines: usize) -> usize {
    lines * (LANES / L::WIDTH)
}

/// Vector `i` of each column: a line has `LANES / L::WIDTH` of them.
///
/// # Safety
///
/// - Vector `i` of each column is readable, and the processor has what `L` needs.
#[inline(always)]
unsafe fn load<L: Arithmetic, const R: usize>(columns: &[*mut Line; R], i: usize) -> [L; R] {
    // SAFETY: the processor has what `L` needs, by this function's contract.
    let mut x = [unsafe { L::splat(0) }; R];
    for column in 0..R {
        // SAFETY: vector `i` of the column is readable, by this function's contract.
        x[column] = unsafe { L::load(columns[column].cast::<u64>().wrapping_add(i * L::WIDTH)) };
    }
    x
}

/// Writes vector `i` of each column.
///
/// # Safety
///
/// - Vector `i` of each column is writable.
#[inline(always)]
unsafe fn store<L: Arithmetic, const R: usize>(columns: &[*mut Line; R], i: usize, x: [L; R]) {
    for column in 0..R {
        // SAFETY: vector `i` of the column is writable, by this function's contract.
        unsafe { x[column].store(columns[column].cast::<u64>().wrapping_add(i * L::WIDTH)) };
    }
}

/// `log2(R)` layers on each of `nodes` siblings from `node` on. The inverse layers undo the forward
/// ones up to a factor `R`; all their inputs and outputs are in `[3p, 5p]`.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - Only this thread uses the lines of these nodes, each at its padded place.
#[inline(always)]
pub(super) unsafe fn layers<'t, G: ResidueField, D: Direction<'t>, const R: usize>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    table: &'t TwiddleTable,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let rows = rows(node.row, table.odd);
    let stride = (1usize << node.log) / R;
    for n in 0..nodes {
        let node = node.sibling(n);
        let direction = D::new::<R>(table, rows, node.index);
        for start in (0..stride).step_by(PAGE_LINES) {
            let columns = columns::<R>(data, node.line + start, stride);
            for i in 0..vectors::<G::Lane>(stride.min(PAGE_LINES)) {
                // SAFETY: the line is the node's, exclusive by this function's contract.
                let mut x = unsafe { load::<G::Lane, R>(&columns, i) };
                direction.butterflies(&field, &mut x);
                // SAFETY: as above.
                unsafe { store(&columns, i, x) };
            }
        }
    }
}

/// The rows of the table for the four layers below a node in row `row`.
#[inline(always)]
fn rows(row: usize, odd: usize) -> [usize; 4] {
    let mut rows = [halve(row, odd); 4];
    for d in 1..4 {
        rows[d] = halve(rows[d - 1], odd);
    }
    rows
}

/// The layers of one pass: their factors and their butterflies.
pub(super) trait Direction<'t>: Twiddles {
    /// The `log2(R)` layers below node `index`, of which layer `d` uses row `rows[d]`.
    fn new<const R: usize>(table: &'t TwiddleTable, rows: [usize; 4], index: usize) -> Self;

    /// The butterflies of these layers, on one vector of each column.
    fn butterflies<G: ResidueField, const R: usize>(&self, field: &G, x: &mut [G::Lane; R]);
}

/// Forward layers: layer `d` of node `index` has `2^d` factors, one after another. The first is
/// `PHASE` layers after a reduction. If `HALF`, the upper half of the elements is zero.
pub(super) struct Forward<'t, const PHASE: usize, const HALF: bool = false>([&'t [Factor]; 4]);

impl<'t, const PHASE: usize, const HALF: bool> Direction<'t> for Forward<'t, PHASE, HALF> {
    #[inline(always)]
    fn new<const R: usize>(table: &'t TwiddleTable, rows: [usize; 4], index: usize) -> Self {
        let mut layers: [&[Factor]; 4] = [&[]; 4];
        for d in 0..R.ilog2() as usize {
            layers[d] = &table.row(rows[d])[index << d..][..1 << d];
        }
        Self(layers)
    }

    #[inline(always)]
    fn butterflies<G: ResidueField, const R: usize>(&self, field: &G, x: &mut [G::Lane; R]) {
        if HALF {
            butterflies::forward_half(field, x, self);
        } else {
            butterflies::forward(field, x, PHASE, self);
        }
    }
}

impl<const PHASE: usize, const HALF: bool> Twiddles for Forward<'_, PHASE, HALF> {
    #[inline(always)]
    fn factor(&self, d: usize, t: usize) -> &Factor {
        &self.0[d][t]
    }
}

/// Inverse layers: layer `d` of node `index` has `2^d` factors, the last one first.
pub(super) struct Inverse<'t>([&'t [Factor]; 4]);

impl<'t> Direction<'t> for Inverse<'t> {
    #[inline(always)]
    fn new<const R: usize>(table: &'t TwiddleTable, rows: [usize; 4], index: usize) -> Self {
        let mut layers: [&[Factor]; 4] = [&[]; 4];
        for d in 0..R.ilog2() as usize {
            layers[d] = if index == 0 {
                &table.inverses(rows[d])[1 << d..2 << d]
            } else {
                let row = table.row(if rows[d] == 0 { 0 } else { table.odd - rows[d] });
                &row[mirror(index) << d..][..1 << d]
            };
        }
        Self(layers)
    }

    #[inline(always)]
    fn butterflies<G: ResidueField, const R: usize>(&self, field: &G, x: &mut [G::Lane; R]) {
        butterflies::inverse(field, x, self);
    }
}

impl Twiddles for Inverse<'_> {
    #[inline(always)]
    fn factor(&self, d: usize, t: usize) -> &Factor {
        &self.0[d][(1 << d) - 1 - t]
    }
}

/// Chunk `chunk` of the first pass: splits the operand into digits, transforms the columns
/// modulo `x^(8 odd) - 1`, and does the plan's first binary layers. `R = M << J`.
///
/// Intervals: from `[0, 5)`; an odd transform leaves `[3 - e, 5 + e]`, one layer from a reduction.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - `data` is valid for the plan's memory, and only this thread writes this chunk's lines.
#[inline(always)]
pub(super) unsafe fn first<G: DigitResidues, const M: usize, const R: usize>(
    data: *mut Line,
    operand: Digits<'_>,
    plan: TransformPlan,
    chunk: usize,
    table: &TwiddleTable,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let stride = 1usize << plan.column_log();
    let start = chunk * PAGE_LINES;
    let columns = columns::<R>(data, start, stride);
    let split = field.split(plan.digit_bits);
    let zero = field.zero();
    let width = vectors::<G::Lane>(1);
    // The columns after these are zero.
    let live = operand.lines().div_ceil(stride).min(R);
    for i in 0..width * stride.min(PAGE_LINES) {
        let mut x = [zero; R];
        for (c, x) in x.iter_mut().enumerate().take(live) {
            *x = field.residues(&operand, &split, width * (c * stride + start) + i);
        }
        for c in 0..R / M {
            let mut column = [zero; M];
            for t in 0..M {
                column[t] = x[t * (R / M) + c];
            }
            let column = butterflies::odd(&field, &table.odd_factors, column);
            for t in 0..M {
                x[t * (R / M) + c] = column[t];
            }
        }
        for e in 0..M {
            match R / M {
                16 if live <= 8 => head::<G, Forward<'_, 0, true>, M, 16>(&field, table, e, &mut x),
                16 => head::<G, Forward<'_, 0>, M, 16>(&field, table, e, &mut x),
                4 => head::<G, Forward<'_, 1>, M, 4>(&field, table, e, &mut x),
                2 => head::<G, Forward<'_, 1>, M, 2>(&field, table, e, &mut x),
                _ => {}
            }
        }
        // SAFETY: the line belongs to this chunk, exclusive by this function's contract.
        unsafe { store(&columns, i, x) };
    }
}

/// The binary layers of the first or last pass, on elements `e N..(e + 1) N`, modulo
/// `y^N - omega^e`.
#[inline(always)]
fn head<'t, G: ResidueField, D: Direction<'t>, const M: usize, const N: usize>(
    field: &G,
    table: &'t TwiddleTable,
    e: usize,
    x: &mut [G::Lane],
) {
    let mut y = [field.zero(); N];
    for i in 0..N {
        y[i] = x[e * N + i];
    }
    D::new::<N>(table, rows(e, M), 0).butterflies(field, &mut y);
    for i in 0..N {
        x[e * N + i] = y[i];
    }
}

/// Chunk `chunk` of the last pass: undoes [`first`] up to a factor `R`, except for the digits.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - `data` is valid for the plan's memory, and only this thread writes this chunk's lines.
#[inline(always)]
pub(super) unsafe fn last<G: ResidueField, const M: usize, const R: usize>(
    data: *mut Line,
    plan: TransformPlan,
    chunk: usize,
    table: &TwiddleTable,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let stride = 1usize << plan.column_log();
    let start = chunk * PAGE_LINES;
    let columns = columns::<R>(data, start, stride);
    for i in 0..vectors::<G::Lane>(stride.min(PAGE_LINES)) {
        // SAFETY: the line belongs to this chunk, exclusive by this function's contract.
        let mut x = unsafe { load::<G::Lane, R>(&columns, i) };
        for e in 0..M {
            match R / M {
                16 => head::<G, Inverse<'_>, M, 16>(&field, table, e, &mut x),
                4 => head::<G, Inverse<'_>, M, 4>(&field, table, e, &mut x),
                2 => head::<G, Inverse<'_>, M, 2>(&field, table, e, &mut x),
                _ => {}
            }
        }
        for c in 0..R / M {
            let mut column = [field.zero(); M];
            for t in 0..M {
                column[t] = x[t * (R / M) + c];
            }
            let column = butterflies::odd(&field, &table.odd_factors, column);
            for t in 0..M {
                // The inverse transform is the transform with its results in the other order.
                x[(M - t) % M * (R / M) + c] = column[t];
            }
        }
        // SAFETY: as above.
        unsafe { store(&columns, i, x) };
    }
}

/// Products of leaves: `a <- a b 2^-52 (mod x^8 - rho, p)` for each of `leaves` from `leaf` on,
/// where `rho` is the leaf's `omega^row R[index]^2`.
///
/// Row `i` of the product is `a[i] x^i b`, whose lanes are those of `b` and `rho b`, aligned. With
/// `a, b < 2^52` the eight high and the eight low halves add up to less than 2^55 each. Let
/// `H 2^52 + L` be the sum, `L < 2^52`; with `q = L / p mod 2^52` (Montgomery), `q p` has the same
/// low half, so `H - floor(q p / 2^52)`, in `(-p, 2^55 + 8)`, is the quotient by 2^52 modulo `p`.
/// `p` is added, the part above 2^49 is folded by `2^49 = gap`, and adding `3p` gives `[3p, 5p]`.
///
/// # Safety
///
/// - The processor has what `L` needs.
/// - The lines of these leaves at `a` are this thread's to read and write, those at `b` to read.
#[inline(always)]
pub(super) unsafe fn leaves<L: Lanes>(
    a: *mut Line,
    b: *const Line,
    leaf: Node,
    leaves: usize,
    table: &TwiddleTable,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { IntegerField::<L>::new(table.prime) };
    let row = table.row(leaf.row);
    for n in 0..leaves {
        let place = padded(leaf.line + n);
        let index = leaf.index + n;
        let rho = field.spread(&row[index / 2]);
        // SAFETY: the line is the leaf's, readable by this function's contract.
        let y = unsafe { L::load(b.wrapping_add(place).cast()) };
        let ry = field.mul_add(field.p, y, rho);
        let ry = if index.is_multiple_of(2) { ry } else { field.splat(2 * field.prime.p).sub(ry) };
        // SAFETY: the line is the leaf's, exclusive by this function's contract.
        unsafe { leaf_product(&field, a.wrapping_add(place).cast(), y, ry) };
    }
}

/// One leaf product: `a <- a y 2^-52`, given `ry = rho y`, both true values in `[0, 2^52)`.
///
/// # Safety
///
/// - 64 bytes at `a` are readable and writable.
#[inline(always)]
unsafe fn leaf_product<L: Lanes>(field: &IntegerField<L>, a: *mut u64, y: L, ry: L) {
    let zero = field.splat(0);
    let rows = [
        y,
        y.align::<7>(ry),
        y.align::<6>(ry),
        y.align::<5>(ry),
        y.align::<4>(ry),
        y.align::<3>(ry),
        y.align::<2>(ry),
        y.align::<1>(ry),
    ];
    // Even and odd rows separately: two chains of additions, each half as long.
    let (mut high, mut low) = ([zero; 2], [zero; 2]);
    for i in 0..LANES {
        // SAFETY: lane `i < 8` of the line, readable by this function's contract.
        let x = unsafe { L::splat_from(a.wrapping_add(i)) };
        low[i % 2] = low[i % 2].add_low(x, rows[i]);
        high[i % 2] = high[i % 2].add_high(x, rows[i]);
    }
    let low = low[0].add(low[1]);
    let high = high[0].add(high[1]).add(low.shift_right::<52>()).add(field.p);
    let q = zero.add_low(low, field.splat(const_inverse(field.prime.p)));
    let sum = high.sub(zero.add_high(q, field.p));
    let folded = sum.and(field.splat((1 << 49) - 1)).add(field.splat(3 * field.prime.p));
    let product = folded.add_low(sum.shift_right::<49>(), field.splat(field.prime.gap()));
    // SAFETY: writable, by this function's contract.
    unsafe { product.store(a) };
}

/// `1 / p mod 2^52` for one of the primes.
#[inline(always)]
fn const_inverse(p: u64) -> u64 {
    const INVERSES: [u64; 3] =
        [PRIMES[0].inverse_of_p(), PRIMES[1].inverse_of_p(), PRIMES[2].inverse_of_p()];
    if p == PRIMES[0].p {
        INVERSES[0]
    } else if p == PRIMES[1].p {
        INVERSES[1]
    } else {
        INVERSES[2]
    }
}
