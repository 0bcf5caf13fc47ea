//! Schoolbook products: row by row.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod adx;

use crate::kernel::bigint::limbs::{add_with_carry, mul_add};

/// How rows are added: `out += a b` for one limb `b` and `out` as long as `a`; returns the carry.
trait Rows {
    /// # Safety
    ///
    /// - The processor has what these rows need.
    unsafe fn add(out: &mut [u64], a: &[u64], b: u64) -> u64;
}

/// Rows for any processor.
struct PortableRows;

impl Rows for PortableRows {
    #[inline(always)]
    unsafe fn add(out: &mut [u64], a: &[u64], b: u64) -> u64 {
        add_row_from(out, a, b, 0)
    }
}

/// Rows by ADX, if the processor has it.
#[cfg(target_arch = "x86_64")]
struct AdxRows;

#[cfg(target_arch = "x86_64")]
impl Rows for AdxRows {
    #[inline(always)]
    unsafe fn add(out: &mut [u64], a: &[u64], b: u64) -> u64 {
        let rounds = a.len() & !3;
        let (out, out_rest) = out.split_at_mut(rounds);
        let (a, a_rest) = a.split_at(rounds);
        // SAFETY: the processor has ADX and BMI2, by this function's contract.
        let carry = unsafe { adx::add_rounds(out, a, b) };
        add_row_from(out_rest, a_rest, b, carry)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_adx() -> bool {
    is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("adx")
}

/// `out += a b + carry`; returns the carry.
#[inline(always)]
fn add_row_from(out: &mut [u64], a: &[u64], b: u64, carry: u64) -> u64 {
    let mut carry = carry;
    for (out, &a) in out.iter_mut().zip(a) {
        (*out, carry) = mul_add(a, b, *out, carry);
    }
    carry
}

/// `out = a b`, of `a.len() + b.len()` limbs.
pub(super) fn mul(out: &mut [u64], a: &[u64], b: &[u64]) {
    debug_assert_eq!(out.len(), a.len() + b.len());
    #[cfg(target_arch = "x86_64")]
    if has_adx() {
        // SAFETY: the processor's features were just detected.
        return unsafe { mul_with::<AdxRows>(out, a, b) };
    }
    // SAFETY: no processor feature is needed.
    unsafe { mul_with::<PortableRows>(out, a, b) };
}

/// # Safety
///
/// - The processor has what `R` needs.
unsafe fn mul_with<R: Rows>(out: &mut [u64], a: &[u64], b: &[u64]) {
    let n = a.len();
    out[..n].fill(0);
    for (i, &limb) in b.iter().enumerate() {
        let row = &mut out[i..=i + n];
        // SAFETY: by this function's contract.
        row[n] = unsafe { R::add(&mut row[..n], a, limb) };
    }
}

/// `out = a^2`, of `2 a.len()` limbs: the products of different limbs are computed once and
/// doubled, and the squares are added.
pub(super) fn square(out: &mut [u64], a: &[u64]) {
    debug_assert_eq!(out.len(), 2 * a.len());
    #[cfg(target_arch = "x86_64")]
    if has_adx() {
        // SAFETY: the processor's features were just detected.
        return unsafe { square_with::<AdxRows>(out, a) };
    }
    // SAFETY: no processor feature is needed.
    unsafe { square_with::<PortableRows>(out, a) };
}

/// # Safety
///
/// - The processor has what `R` needs.
unsafe fn square_with<R: Rows>(out: &mut [u64], a: &[u64]) {
    out.fill(0);
    for (i, &limb) in a.iter().enumerate() {
        let rest = &a[i + 1..];
        let row = &mut out[2 * i + 1..=2 * i + 1 + rest.len()];
        let (row, carry) = row.split_at_mut(rest.len());
        // SAFETY: by this function's contract.
        carry[0] = unsafe { R::add(row, rest, limb) };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::awkward;

    #[test]
    fn every_kind_of_row_gives_the_same_products() {
        for n in 1..60 {
            let (a, b) = (awkward(n, n as u64), awkward(n / 2 + 1, n as u64 / 5));
            let mut fast = vec![5; a.len() + b.len()];
            let mut portable = fast.clone();
            mul(&mut fast, &a, &b);
            // SAFETY: no processor feature is needed.
            unsafe { mul_with::<PortableRows>(&mut portable, &a, &b) };
            assert_eq!(fast, portable);
            let mut fast = vec![5; 2 * a.len()];
            let mut portable = fast.clone();
            square(&mut fast, &a);
            // SAFETY: no processor feature is needed.
            unsafe { mul_with::<PortableRows>(&mut portable, &a, &a) };
            assert_eq!(fast, portable);
        }
    }
}
