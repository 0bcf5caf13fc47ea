//! Carries and borrows: sums and differences of limb slices.

/// `number += limb`; returns the carry out.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::add_limb;
/// let mut number = [u64::MAX, 7];
/// assert_eq!(add_limb(&mut number, 2), 0);
/// assert_eq!(number, [1, 8]);
/// ```
pub fn add_limb(number: &mut [u64], limb: u64) -> u64 {
    let mut carry = limb;
    for limb in number {
        if carry == 0 {
            return 0;
        }
        let (sum, overflow) = limb.overflowing_add(carry);
        *limb = sum;
        carry = u64::from(overflow);
    }
    carry
}

/// `number -= limb`; returns the borrow.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::sub_limb;
/// let mut number = [1, 8];
/// assert_eq!(sub_limb(&mut number, 2), 0);
/// assert_eq!(number, [u64::MAX, 7]);
/// ```
pub fn sub_limb(number: &mut [u64], limb: u64) -> u64 {
    let mut borrow = limb;
    for limb in number {
        if borrow == 0 {
            return 0;
        }
        let (difference, overflow) = limb.overflowing_sub(borrow);
        *limb = difference;
        borrow = u64::from(overflow);
    }
    borrow
}

/// `number += other`; returns the carry out, 0 or 1.
///
/// # Panics
///
/// If `other` is longer than `number`.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::add_assign;
/// let mut number = [u64::MAX, u64::MAX];
/// assert_eq!(add_assign(&mut number, &[2]), 1);
/// assert_eq!(number, [1, 0]);
/// ```
pub fn add_assign(number: &mut [u64], other: &[u64]) -> u64 {
    let (low, high) = number.split_at_mut(other.len());
    let mut carry = false;
    for (x, &y) in low.iter_mut().zip(other) {
        (*x, carry) = add_with_carry(*x, y, carry);
    }
    add_limb(high, u64::from(carry))
}

/// `number -= other`; returns the borrow, 0 or 1.
///
/// # Panics
///
/// If `other` is longer than `number`.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::sub_assign;
/// let mut number = [1, 3];
/// assert_eq!(sub_assign(&mut number, &[2]), 0);
/// assert_eq!(number, [u64::MAX, 2]);
/// ```
pub fn sub_assign(number: &mut [u64], other: &[u64]) -> u64 {
    let (low, high) = number.split_at_mut(other.len());
    let mut borrow = false;
    for (x, &y) in low.iter_mut().zip(other) {
        (*x, borrow) = sub_with_borrow(*x, y, borrow);
    }
    sub_limb(high, u64::from(borrow))
}

/// `number *= limb`, plus `carry`; returns the limb that is carried out.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::mul_limb;
/// let mut number = [1 << 63, 5];
/// assert_eq!(mul_limb(&mut number, 4, 7), 0);
/// assert_eq!(number, [7, 22]);
/// ```
pub fn mul_limb(number: &mut [u64], limb: u64, carry: u64) -> u64 {
    let mut carry = carry;
    for x in number {
        (*x, carry) = mul_add(*x, limb, carry, 0);
    }
    carry
}

/// `x + y + carry`, and the carry out.
#[inline(always)]
pub(super) const fn add_with_carry(x: u64, y: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = x.overflowing_add(y);
    let (sum, second) = sum.overflowing_add(carry as u64);
    (sum, first | second)
}

/// `x - y - borrow`, and the borrow out.
#[inline(always)]
pub(super) const fn sub_with_borrow(x: u64, y: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = x.overflowing_sub(y);
    let (difference, second) = difference.overflowing_sub(borrow as u64);
    (difference, first | second)
}

/// The low and high limb of `x y + a + b`, which is at most `2^128 - 1`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is asked for")]
pub(super) const fn mul_add(x: u64, y: u64, a: u64, b: u64) -> (u64, u64) {
    let sum = x as u128 * y as u128 + a as u128 + b as u128;
    (sum as u64, (sum >> 64) as u64)
}

/// The low 64 bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low limb is what is asked for")]
pub(crate) const fn low_limb(x: u128) -> u64 {
    x as u64
}

/// `number` without the zero limbs at its end.
///
/// # Examples
///
/// ```
/// assert_eq!(brigade::kernel::bigint::trim(&[0, 5, 0, 0]), [0, 5]);
/// ```
pub fn trim(number: &[u64]) -> &[u64] {
    let zeros = number.iter().rev().take_while(|&&limb| limb == 0).count();
    &number[..number.len() - zeros]
}

/// `number *= 2^bits`; bits shifted beyond the end are lost.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::shift_left;
/// let mut number = [3, 0];
/// shift_left(&mut number, 64 + 1);
/// assert_eq!(number, [0, 6]);
/// ```
pub fn shift_left(number: &mut [u64], bits: u64) {
    let limbs = usize::try_from(bits / 64).unwrap_or(usize::MAX).min(number.len());
    let kept = number.len() - limbs;
    number.copy_within(..kept, limbs);
    number[..limbs].fill(0);
    let shift = bits % 64;
    if shift > 0 {
        let mut below = 0;
        for limb in &mut number[limbs..] {
            let high = *limb >> (64 - shift);
            *limb = *limb << shift | below;
            below = high;
        }
    }
}
