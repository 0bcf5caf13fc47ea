//! Passes over lines in memory.
//!
//! Each loads, runs a net in registers, and stores.
#![allow(unsafe_code)]

use super::butterflies::{self, Field, Ring, Twiddles};
use super::plan::{Line, Node, PAGE_LINES, Plan, halve, padded};
use super::prime_field::{Factor, PRIMES};
use super::simd::{Arithmetic, LANES, Lanes};
use super::splitting::{DigitResidues, Digits};
use super::twiddles::{Table, mirror};

/// The addresses of `R` columns, `stride` lines apart, from line `start` on: of as many lines as
/// follow without a gap, which is a page, or all of them in a node that fits into one.
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

/// The vectors that `lines` lines are.
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

/// `log2(R)` forward layers on each of `nodes` siblings from `node` on.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - The lines of these nodes, each at its padded place, are this thread's to read and write.
#[inline(always)]
pub(super) unsafe fn forward<G: Ring, const R: usize, const PHASE: usize>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let rows = rows(node.row, table.odd);
    let stride = (1usize << node.log) / R;
    for n in 0..nodes {
        let node = node.sibling(n);
        let twiddles = Forward::new::<R>(table, rows, node.index);
        for start in (0..stride).step_by(PAGE_LINES) {
            let columns = columns::<R>(data, node.line + start, stride);
            for i in 0..vectors::<G::Lane>(stride.min(PAGE_LINES)) {
                // SAFETY: the line is the node's, ours by this function's contract.
                let mut x = unsafe { load::<G::Lane, R>(&columns, i) };
                butterflies::forward(&field, &mut x, PHASE, &twiddles);
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

/// The factors of a forward pass: layer `d` of node `index` has `2^d`, one after another.
struct Forward<'a>([&'a [Factor]; 4]);

impl<'a> Forward<'a> {
    #[inline(always)]
    fn new<const R: usize>(table: &'a Table, rows: [usize; 4], index: usize) -> Self {
        let mut layers: [&[Factor]; 4] = [&[]; 4];
        for d in 0..R.ilog2() as usize {
            layers[d] = &table.row(rows[d])[index << d..][..1 << d];
        }
        Self(layers)
    }
}

impl Twiddles for Forward<'_> {
    #[inline(always)]
    fn factor(&self, d: usize, t: usize) -> &Factor {
        &self.0[d][t]
    }
}

/// The factors of an inverse pass: layer `d` of node `index` has `2^d`, the last one first.
struct Inverse<'a>([&'a [Factor]; 4]);

impl<'a> Inverse<'a> {
    #[inline(always)]
    fn new<const R: usize>(table: &'a Table, rows: [usize; 4], index: usize) -> Self {
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
}

impl Twiddles for Inverse<'_> {
    #[inline(always)]
    fn factor(&self, d: usize, t: usize) -> &Factor {
        &self.0[d][(1 << d) - 1 - t]
    }
}

/// Undoes [`forward`], up to a factor `R`. All values in and out are in `[3p, 5p]`.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - The lines of these nodes, each at its padded place, are this thread's to read and write.
#[inline(always)]
pub(super) unsafe fn inverse<G: Ring, const R: usize>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let rows = rows(node.row, table.odd);
    let stride = (1usize << node.log) / R;
    for n in 0..nodes {
        let node = node.sibling(n);
        let twiddles = Inverse::new::<R>(table, rows, node.index);
        for start in (0..stride).step_by(PAGE_LINES) {
            let columns = columns::<R>(data, node.line + start, stride);
            for i in 0..vectors::<G::Lane>(stride.min(PAGE_LINES)) {
                // SAFETY: the line is the node's, ours by this function's contract.
                let mut x = unsafe { load::<G::Lane, R>(&columns, i) };
                butterflies::inverse(&field, &mut x, &twiddles);
                // SAFETY: as above.
                unsafe { store(&columns, i, x) };
            }
        }
    }
}

/// Chunk `chunk` of the first pass: splits the operand into digits, transforms the columns
/// modulo `x^(8 odd) - 1`, and does the plan's first binary layers. `R = M << J`.
///
/// Windows: from `[0, 5)`; an odd transform leaves `[3 - e, 5 + e]`, one layer from a reduction.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - Memory for the plan at `data`, of which this chunk's lines are this thread's to write.
#[inline(always)]
pub(super) unsafe fn first<G: DigitResidues, const M: usize, const R: usize>(
    data: *mut Line,
    operand: Digits<'_>,
    plan: Plan,
    chunk: usize,
    table: &Table,
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
                16 if live <= 8 => head_forward::<G, M, 16, true>(&field, table, e, &mut x),
                16 => head_forward::<G, M, 16, false>(&field, table, e, &mut x),
                4 => head_forward::<G, M, 4, false>(&field, table, e, &mut x),
                2 => head_forward::<G, M, 2, false>(&field, table, e, &mut x),
                _ => {}
            }
        }
        // SAFETY: the line belongs to this chunk, ours by this function's contract.
        unsafe { store(&columns, i, x) };
    }
}

/// The binary layers of the first pass on elements `e N..(e + 1) N`, modulo `y^N - omega^e`; if
/// `HALF`, the upper half of them is zero.
#[inline(always)]
fn head_forward<G: Ring, const M: usize, const N: usize, const HALF: bool>(
    field: &G,
    table: &Table,
    e: usize,
    x: &mut [G::Lane],
) {
    let mut y = [field.zero(); N];
    for i in 0..N {
        y[i] = x[e * N + i];
    }
    let twiddles = Forward::new::<N>(table, rows(e, M), 0);
    if HALF {
        butterflies::forward_half(field, &mut y, &twiddles);
    } else {
        butterflies::forward(field, &mut y, usize::from(M > 1), &twiddles);
    }
    for i in 0..N {
        x[e * N + i] = y[i];
    }
}

/// Chunk `chunk` of the last pass: undoes [`first`] up to a factor `R`, except for the digits.
///
/// # Safety
///
/// - The processor has what the lanes need.
/// - Memory for the plan at `data`, of which this chunk's lines are this thread's to write.
#[inline(always)]
pub(super) unsafe fn last<G: Ring, const M: usize, const R: usize>(
    data: *mut Line,
    plan: Plan,
    chunk: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { G::new(table.prime) };
    let stride = 1usize << plan.column_log();
    let start = chunk * PAGE_LINES;
    let columns = columns::<R>(data, start, stride);
    for i in 0..vectors::<G::Lane>(stride.min(PAGE_LINES)) {
        // SAFETY: the line belongs to this chunk, ours by this function's contract.
        let mut x = unsafe { load::<G::Lane, R>(&columns, i) };
        for e in 0..M {
            match R / M {
                16 => head_inverse::<G, M, 16>(&field, table, e, &mut x),
                4 => head_inverse::<G, M, 4>(&field, table, e, &mut x),
                2 => head_inverse::<G, M, 2>(&field, table, e, &mut x),
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

/// Undoes [`head_forward`], up to a factor `N`.
#[inline(always)]
fn head_inverse<G: Ring, const M: usize, const N: usize>(
    field: &G,
    table: &Table,
    e: usize,
    x: &mut [G::Lane],
) {
    let mut y = [field.zero(); N];
    for i in 0..N {
        y[i] = x[e * N + i];
    }
    let twiddles = Inverse::new::<N>(table, rows(e, M), 0);
    butterflies::inverse(field, &mut y, &twiddles);
    for i in 0..N {
        x[e * N + i] = y[i];
    }
}

/// Products of leaves: `a <- a b 2^-52 (mod x^8 - rho, p)` for each of `leaves` from `leaf` on,
/// where `rho` is the leaf's `omega^row R[index]^2`.
///
/// Row `i` of the product is `a[i] x^i b`, whose lanes are those of `b` and `rho b`, aligned. With
/// `a, b < 2^52` the eight high and the eight low halves add up to less than 2^55 each. Let
/// `H 2^52 + L` be the sum, `L < 2^52`; with `q = L / p mod 2^52` (Montgomery), `q p` has the same
/// low half, so `H - floor(q p / 2^52)`, in `(-p, 2^55 + 8)`, is the quotient by 2^52 modulo `p`.
/// `p` is added, what lies above 2^49 is folded by `2^49 = gap`, and `3p` makes it `[3p, 5p]`.
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
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { Field::<L>::new(table.prime) };
    let row = table.row(leaf.row);
    for n in 0..leaves {
        let place = padded(leaf.line + n);
        let index = leaf.index + n;
        let rho = field.spread(&row[index / 2]);
        // SAFETY: the line is the leaf's, readable by this function's contract.
        let y = unsafe { L::load(b.wrapping_add(place).cast()) };
        let ry = field.mul_add(field.p, y, rho);
        let ry = if index.is_multiple_of(2) { ry } else { field.splat(2 * field.prime.p).sub(ry) };
        // SAFETY: the line is the leaf's, ours by this function's contract.
        unsafe { leaf_product(&field, a.wrapping_add(place).cast(), y, ry) };
    }
}

/// One leaf product: `a <- a y 2^-52`, given `ry = rho y`, both true values in `[0, 2^52)`.
///
/// # Safety
///
/// - 64 bytes at `a` are readable and writable.
#[inline(always)]
unsafe fn leaf_product<L: Lanes>(field: &Field<L>, a: *mut u64, y: L, ry: L) {
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
    // Even and odd rows apart: two chains of additions, each half as long.
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
