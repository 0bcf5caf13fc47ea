//! Passes over lines in memory: each loads, runs a net in registers, and stores.

use super::digits::{Digits, residue};
use super::field::PRIMES;
use super::lanes::{LANES, Lanes};
use super::net::{self, Field};
use super::plan::{Line, Node, PAGE_LINES, Plan, halve, padded};
use super::table::{Table, mirror};

/// Calls `each` with the addresses of the `R` columns of the node that begins at line `start`,
/// `stride` lines apart, and the number of lines that follow without a gap.
#[inline(always)]
fn columns<const R: usize>(
    data: *mut Line,
    start: usize,
    stride: usize,
    mut each: impl FnMut(&[*mut Line; R], usize),
) {
    if R * stride <= PAGE_LINES {
        let base = data.wrapping_add(padded(start));
        each(&std::array::from_fn(|i| base.wrapping_add(i * stride)), stride);
        return;
    }
    for chunk in (0..stride).step_by(PAGE_LINES) {
        let column = |i| data.wrapping_add(padded(start + i * stride + chunk));
        each(&std::array::from_fn(column), stride.min(PAGE_LINES));
    }
}

/// Line `i` of each column.
///
/// # Safety
///
/// - Line `i` of each column is readable, and the processor has what `L` needs.
#[inline(always)]
unsafe fn load<L: Lanes, const R: usize>(columns: &[*mut Line; R], i: usize) -> [L; R] {
    std::array::from_fn(|column| {
        // SAFETY: line `i` of the column is readable, by this function's contract.
        unsafe { L::load(columns[column].wrapping_add(i).cast()) }
    })
}

/// Writes line `i` of each column.
///
/// # Safety
///
/// - Line `i` of each column is writable.
#[inline(always)]
unsafe fn store<L: Lanes, const R: usize>(columns: &[*mut Line; R], i: usize, x: [L; R]) {
    for column in 0..R {
        // SAFETY: line `i` of the column is writable, by this function's contract.
        unsafe { x[column].store(columns[column].wrapping_add(i).cast()) };
    }
}

/// `log2(R)` forward layers on each of `nodes` siblings from `node` on.
///
/// # Safety
///
/// - The processor has what `L` needs.
/// - The lines of these nodes, each at its padded place, are this thread's to read and write.
#[inline(always)]
pub(super) unsafe fn forward<L: Lanes, const R: usize, const PHASE: usize>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { Field::<L>::new(table.prime) };
    let layers = R.trailing_zeros() as usize;
    let mut row = node.row;
    let rows = [0, 1, 2, 3].map(|_| {
        row = halve(row, table.odd);
        table.row(row)
    });
    let stride = (1usize << node.log) / R;
    for n in 0..nodes {
        let node = node.sibling(n);
        let at: [_; 4] = std::array::from_fn(|d| {
            if d < layers { &rows[d][node.index << d..][..1 << d] } else { &[] }
        });
        columns::<R>(data, node.line, stride, |columns, lines| {
            for i in 0..lines {
                // SAFETY: the line is the node's, ours by this function's contract.
                let mut x = unsafe { load::<L, R>(columns, i) };
                net::forward(&field, &mut x, PHASE, |d, t| field.spread(&at[d][t]));
                // SAFETY: as above.
                unsafe { store(columns, i, x) };
            }
        });
    }
}

/// Undoes [`forward`], up to a factor `R`. All values in and out are in `[3p, 5p]`.
///
/// # Safety
///
/// - The processor has what `L` needs.
/// - The lines of these nodes, each at its padded place, are this thread's to read and write.
#[inline(always)]
pub(super) unsafe fn inverse<L: Lanes, const R: usize>(
    data: *mut Line,
    node: Node,
    nodes: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { Field::<L>::new(table.prime) };
    let layers = R.trailing_zeros() as usize;
    let mut row = node.row;
    let rows = [0, 1, 2, 3].map(|_| {
        row = halve(row, table.odd);
        row
    });
    let stride = (1usize << node.log) / R;
    for n in 0..nodes {
        let node = node.sibling(n);
        // Layer d's factors in reverse order: entry `t` is the last but `t`.
        let at: [_; 4] = std::array::from_fn(|d| {
            if d >= layers {
                &[][..]
            } else if node.index == 0 {
                &table.inverses(rows[d])[1 << d..2 << d]
            } else {
                let row = table.row((table.odd - rows[d]) % table.odd);
                &row[mirror(node.index) << d..][..1 << d]
            }
        });
        columns::<R>(data, node.line, stride, |columns, lines| {
            for i in 0..lines {
                // SAFETY: the line is the node's, ours by this function's contract.
                let mut x = unsafe { load::<L, R>(columns, i) };
                net::inverse(&field, &mut x, |d, t| field.spread(&at[d][(1 << d) - 1 - t]));
                // SAFETY: as above.
                unsafe { store(columns, i, x) };
            }
        });
    }
}

/// Chunk `chunk` of the first pass: splits the operand into digits, transforms the columns
/// modulo `x^(8 odd) - 1`, and does the plan's first binary layers. `R = M << J`.
///
/// Windows: from `[0, 3)`; an odd transform leaves `[3 - e, 5 + e]`, one layer from a reduction.
///
/// # Safety
///
/// - The processor has what `L` needs.
/// - Memory for the plan at `data`, of which this chunk's lines are this thread's to write.
#[inline(always)]
pub(super) unsafe fn first<L: Lanes, const M: usize, const R: usize, const D: u32>(
    data: *mut Line,
    operand: Digits<'_>,
    plan: Plan,
    chunk: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { Field::<L>::new(table.prime) };
    let stride = 1usize << plan.column_log();
    let lines = stride.min(PAGE_LINES);
    let start = chunk * PAGE_LINES;
    let out: [_; R] =
        std::array::from_fn(|c| data.wrapping_add(padded(c * stride + start)));
    for i in start..start + lines {
        let mut x: [L; R] = std::array::from_fn(|c| {
            residue(&field, operand.line::<L, D>(&field, c * stride + i))
        });
        for c in 0..R / M {
            let column = std::array::from_fn(|t| x[t * (R / M) + c]);
            let column: [L; M] = net::odd(&field, &table.odd_factors, column);
            for t in 0..M {
                x[t * (R / M) + c] = column[t];
            }
        }
        for e in 0..M {
            head_forward::<L, M, R>(&field, table, e, &mut x);
        }
        // SAFETY: the line belongs to this chunk, ours by this function's contract.
        unsafe { store(&out, i - start, x) };
    }
}

/// The binary layers of the first pass on the elements of `x` modulo `y^(R/M) - omega^e`.
#[inline(always)]
fn head_forward<L: Lanes, const M: usize, const R: usize>(
    field: &Field<L>,
    table: &Table,
    e: usize,
    x: &mut [L; R],
) {
    let twiddle = |d, t| field.spread(&table.row(head_row::<M>(e, d))[t]);
    let phase = usize::from(M > 1);
    match R / M {
        16 => part::<L, 16>(x, e, |x| net::forward(field, x, phase, twiddle)),
        4 => part::<L, 4>(x, e, |x| net::forward(field, x, phase, twiddle)),
        2 => part::<L, 2>(x, e, |x| net::forward(field, x, phase, twiddle)),
        _ => {}
    }
}

/// The row of layer `d` in block `e` of the first pass.
#[inline(always)]
const fn head_row<const M: usize>(e: usize, d: usize) -> usize {
    let mut row = halve(e, M);
    let mut layer = 0;
    while layer < d {
        row = halve(row, M);
        layer += 1;
    }
    row
}

/// Runs `net` on elements `e N..(e + 1) N` of `x`.
#[inline(always)]
fn part<L: Lanes, const N: usize>(x: &mut [L], e: usize, net: impl FnOnce(&mut [L; N])) {
    let mut y: [L; N] = std::array::from_fn(|i| x[e * N + i]);
    net(&mut y);
    for i in 0..N {
        x[e * N + i] = y[i];
    }
}

/// Chunk `chunk` of the last pass: undoes [`first`] up to a factor `R`, except for the digits.
///
/// # Safety
///
/// - The processor has what `L` needs.
/// - Memory for the plan at `data`, of which this chunk's lines are this thread's to write.
#[inline(always)]
pub(super) unsafe fn last<L: Lanes, const M: usize, const R: usize>(
    data: *mut Line,
    plan: Plan,
    chunk: usize,
    table: &Table,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { Field::<L>::new(table.prime) };
    let stride = 1usize << plan.column_log();
    let start = chunk * PAGE_LINES;
    let out: [_; R] =
        std::array::from_fn(|c| data.wrapping_add(padded(c * stride + start)));
    for i in 0..stride.min(PAGE_LINES) {
        // SAFETY: the line belongs to this chunk, ours by this function's contract.
        let mut x = unsafe { load::<L, R>(&out, i) };
        for e in 0..M {
            head_inverse::<L, M, R>(&field, table, e, &mut x);
        }
        for c in 0..R / M {
            let column = std::array::from_fn(|t| x[t * (R / M) + c]);
            let column: [L; M] = net::odd(&field, &table.odd_factors, column);
            for t in 0..M {
                // The inverse transform is the transform with its results in the other order.
                x[(M - t) % M * (R / M) + c] = column[t];
            }
        }
        // SAFETY: as above.
        unsafe { store(&out, i, x) };
    }
}

/// Undoes [`head_forward`], up to a factor `R / M`.
#[inline(always)]
fn head_inverse<L: Lanes, const M: usize, const R: usize>(
    field: &Field<L>,
    table: &Table,
    e: usize,
    x: &mut [L; R],
) {
    let twiddle =
        |d: usize, t| field.spread(&table.inverses(head_row::<M>(e, d))[(2 << d) - 1 - t]);
    match R / M {
        16 => part::<L, 16>(x, e, |x| net::inverse(field, x, twiddle)),
        4 => part::<L, 4>(x, e, |x| net::inverse(field, x, twiddle)),
        2 => part::<L, 2>(x, e, |x| net::inverse(field, x, twiddle)),
        _ => {}
    }
}

/// Products of leaves: `a <- a b 2^-52 (mod x^8 - rho, p)` for each of `leaves` from `leaf` on, where `rho` is
/// the leaf's `omega^row R[index]^2`.
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
    let (mut high, mut low) = (zero, zero);
    for i in 0..LANES {
        // SAFETY: lane `i < 8` of the line, readable by this function's contract.
        let x = unsafe { L::splat_from(a.wrapping_add(i)) };
        low = low.add_low(x, rows[i]);
        high = high.add_high(x, rows[i]);
    }
    let high = high.add(low.shift_right::<52>()).add(field.p);
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
    const INVERSES: [u64; 3] = [
        PRIMES[0].inverse_of_p(),
        PRIMES[1].inverse_of_p(),
        PRIMES[2].inverse_of_p(),
    ];
    if p == PRIMES[0].p {
        INVERSES[0]
    } else if p == PRIMES[1].p {
        INVERSES[1]
    } else {
        INVERSES[2]
    }
}
