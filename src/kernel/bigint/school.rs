//! Schoolbook products: four rows at a time, so that four carries run side by side.

use super::limbs::{add_limb, add_with_carry, mul_add};

/// Rows that are added together.
const ROWS: usize = 4;

/// `out = a b`, of `a.len() + b.len()` limbs.
pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64]) {
    debug_assert_eq!(out.len(), a.len() + b.len());
    out.fill(0);
    add_product(out, a, b);
}

/// `out += a b`, where the sum has no more than `out.len() >= a.len() + b.len()` limbs, and the
/// limbs of `out` from `a.len()` on are zero.
fn add_product(out: &mut [u64], a: &[u64], b: &[u64]) {
    let n = a.len();
    let mut groups = b.chunks_exact(ROWS);
    let mut at = 0;
    for group in &mut groups {
        let rows: &[u64; ROWS] = group.try_into().expect("a chunk has `ROWS` limbs");
        let carries = add_rows(&mut out[at..at + n + ROWS - 1], a, rows);
        out[at + n + ROWS - 1] = carries;
        at += ROWS;
    }
    for &limb in groups.remainder() {
        out[at + n] = add_row(&mut out[at..at + n], a, limb);
        at += 1;
    }
}

/// `out += a b` for one limb `b` and `out` as long as `a`; returns the carry.
#[inline]
fn add_row(out: &mut [u64], a: &[u64], b: u64) -> u64 {
    let mut carry = 0;
    for (out, &a) in out.iter_mut().zip(a) {
        (*out, carry) = mul_add(a, b, *out, carry);
    }
    carry
}

/// `out += a b` for `out` of `a.len() + ROWS - 1` limbs; returns the limb carried out, which has
/// to fit: the caller's sum is less than `2^64` times the place after `out`.
///
/// Row `r` is at limb `i + r` when row 0 is at limb `i`, and takes what row `r + 1` left there a
/// step before; so no step waits for all rows, and each limb of `out` is touched once.
#[inline]
fn add_rows(out: &mut [u64], a: &[u64], b: &[u64; ROWS]) -> u64 {
    let [b0, b1, b2, b3] = *b;
    let (mut w0, mut w1, mut w2) = (out[0], out[1], out[2]);
    let (mut c0, mut c1, mut c2, mut c3) = (0, 0, 0, 0);
    for (i, &a) in a.iter().enumerate() {
        let low;
        (low, c0) = mul_add(a, b0, w0, c0);
        (w0, c1) = mul_add(a, b1, w1, c1);
        (w1, c2) = mul_add(a, b2, w2, c2);
        (w2, c3) = mul_add(a, b3, out.get(i + ROWS - 1).copied().unwrap_or(0), c3);
        out[i] = low;
    }
    // The four carries belong to the places where each row would go on.
    let n = a.len();
    let (x0, carry) = w0.overflowing_add(c0);
    out[n] = x0;
    let (x1, carry) = add_with_carry(w1, c1, carry);
    out[n + 1] = x1;
    let (x2, carry) = add_with_carry(w2, c2, carry);
    out[n + 2] = x2;
    c3 + u64::from(carry)
}

/// `out = a^2`, of `2 a.len()` limbs: the products of different limbs once, doubled, and the
/// squares.
pub(super) fn square(out: &mut [u64], a: &[u64]) {
    debug_assert_eq!(out.len(), 2 * a.len());
    out.fill(0);
    let n = a.len();
    let mut i = 0;
    while i + ROWS < n {
        let rows: &[u64; ROWS] = a[i..i + ROWS].try_into().expect("`ROWS` limbs");
        // Among the four limbs themselves.
        for r in 0..ROWS - 1 {
            let row = &a[i + r + 1..i + ROWS];
            let carry = add_row(&mut out[2 * (i + r) + 1..][..row.len()], row, a[i + r]);
            add_limb(&mut out[2 * (i + r) + 1 + row.len()..], carry);
        }
        // With the limbs after them.
        let rest = &a[i + ROWS..];
        let at = 2 * i + ROWS;
        let carry = add_rows(&mut out[at..at + rest.len() + ROWS - 1], rest, rows);
        out[at + rest.len() + ROWS - 1] = carry;
        i += ROWS;
    }
    for i in i..n {
        let row = &a[i + 1..];
        let carry = add_row(&mut out[2 * i + 1..][..row.len()], row, a[i]);
        add_limb(&mut out[2 * i + 1 + row.len()..], carry);
    }
    double_and_add_squares(out, a);
}

/// `out = 2 out + sum a[i]^2 2^(128 i)`.
fn double_and_add_squares(out: &mut [u64], a: &[u64]) {
    let (mut above, mut carry) = (0, false);
    for (pair, &limb) in out.chunks_exact_mut(2).zip(a) {
        let (low, high) = mul_add(limb, limb, 0, 0);
        let doubled = [pair[0] << 1 | above, pair[1] << 1 | pair[0] >> 63];
        above = pair[1] >> 63;
        (pair[0], carry) = add_with_carry(doubled[0], low, carry);
        (pair[1], carry) = add_with_carry(doubled[1], high, carry);
    }
}
