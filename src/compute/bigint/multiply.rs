//! Products, squares and powers of big numbers by a team.

use crate::compute::bigint::shared_big_uint::{SharedBigUint, grant_scratch};
use crate::compute::bigint::team_call::{Computation, TeamCall, checked_limbs};
use crate::error::{Error, Result};
use crate::kernel::bigint::limbs::low_limb;
use crate::kernel::bigint::product_tree::product_of_all;
use crate::kernel::bigint::{LIMBS_MAX, mul, mul_scratch_limbs, square, square_scratch_limbs};
use crate::pool::Pool;

/// The caller computes products of fewer limbs: that takes no longer than waking workers.
pub(super) const SHARED_LIMBS_MIN: usize = 10_000;

impl Pool {
    /// `a b`, computed by the workers together in shared memory; the caller computes a small
    /// product.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the product has more than [`LIMBS_MAX`] limbs, [`Error::NoSpace`] if
    /// there is no memory for the product or for computing it (about five times as much),
    /// [`Error::Task`] if a worker dies, unless the pool's [`retries`](crate::PoolBuilder::retries)
    /// permit another attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedBigUint};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedBigUint::from_limbs(&vec![u64::MAX; 6000])?;
    /// let square = pool.multiply(&a, &a)?;
    /// assert_eq!(square.limbs()[0], 1); // (2^k - 1)^2 = 2^2k - 2^(k + 1) + 1
    /// assert_eq!(square.bits(), 2 * a.bits());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn multiply(&self, a: &SharedBigUint, b: &SharedBigUint) -> Result<SharedBigUint> {
        let b = if std::ptr::eq(a, b) { None } else { Some(b) };
        self.multiplied(a, b)
    }

    /// `a^2`, computed by the workers together in shared memory; the caller computes a small
    /// square.
    ///
    /// It takes about two thirds of the time of a product.
    ///
    /// # Errors
    ///
    /// As [`Pool::multiply`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedBigUint};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedBigUint::from_limbs(&[0, 3])?;
    /// assert_eq!(pool.square(&a)?.limbs(), [0, 0, 9]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn square(&self, a: &SharedBigUint) -> Result<SharedBigUint> {
        self.multiplied(a, None)
    }

    /// `a^exponent`, by squaring and multiplying; 1 if the exponent is 0.
    ///
    /// # Errors
    ///
    /// As [`Pool::multiply`]; [`Error::TooLarge`] is returned before any work.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedBigUint};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let power = pool.pow(&SharedBigUint::from_limbs(&[3])?, 50)?;
    /// assert_eq!(power.limbs(), [717_897_987_691_852_588_770_249_u128 as u64, 38_917]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pow(&self, a: &SharedBigUint, exponent: u64) -> Result<SharedBigUint> {
        power(a, exponent, |x| self.square(x), |x, y| self.multiply(x, y))
    }

    /// `a b`, or `a^2` if `b` is `None`.
    fn multiplied(&self, a: &SharedBigUint, b: Option<&SharedBigUint>) -> Result<SharedBigUint> {
        let (x, y) = (a.limbs(), b.unwrap_or(a).limbs());
        if let Some(product) = by_shifting(x, y) {
            return product;
        }
        check(x.len(), y.len())?;
        if !self.has_workers() || x.len() + y.len() < SHARED_LIMBS_MIN {
            return multiplied_alone(x, b.map(SharedBigUint::limbs));
        }
        let (computation, operands) = match b {
            Some(b) => (Computation::Product, vec![a, b]),
            None => (Computation::Square, vec![a]),
        };
        let call = TeamCall { pool: self, name: "brigade::Pool::multiply", computation, operands };
        let (result, limbs) = call.run()?;
        Ok(SharedBigUint::of_array(result, limbs))
    }
}

impl SharedBigUint {
    /// `self other`, computed by the caller; [`Pool::multiply`] uses the workers.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] and [`Error::NoSpace`], as [`Pool::multiply`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedBigUint;
    /// let x = SharedBigUint::from_limbs(&[0, 5])?;
    /// assert_eq!(x.mul(&SharedBigUint::from_limbs(&[3])?)?.limbs(), [0, 15]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn mul(&self, other: &SharedBigUint) -> Result<SharedBigUint> {
        let (x, y) = (self.limbs(), other.limbs());
        if let Some(product) = by_shifting(x, y) {
            return product;
        }
        check(x.len(), y.len())?;
        multiplied_alone(x, Some(y))
    }

    /// Its square, computed by the caller; [`Pool::square`] uses the workers.
    ///
    /// # Errors
    ///
    /// As [`SharedBigUint::mul`].
    ///
    /// # Examples
    ///
    /// ```
    /// let x = brigade::SharedBigUint::from_limbs(&[0, 5])?;
    /// assert_eq!(x.square()?.limbs(), [0, 0, 25]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn square(&self) -> Result<SharedBigUint> {
        let x = self.limbs();
        if let Some(square) = by_shifting(x, x) {
            return square;
        }
        check(x.len(), x.len())?;
        multiplied_alone(x, None)
    }

    /// `self^exponent`, computed by the caller; 1 if the exponent is 0. [`Pool::pow`] uses the
    /// workers.
    ///
    /// # Errors
    ///
    /// As [`SharedBigUint::mul`]; [`Error::TooLarge`] is returned before any work.
    ///
    /// # Examples
    ///
    /// ```
    /// let ten = brigade::SharedBigUint::from_limbs(&[10])?;
    /// assert_eq!(ten.pow(19)?.limbs(), [10_000_000_000_000_000_000]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pow(&self, exponent: u64) -> Result<SharedBigUint> {
        power(self, exponent, SharedBigUint::square, SharedBigUint::mul)
    }

    /// The product of all `numbers`, computed by the caller; 1 if there are none.
    /// [`Pool::multiply_all`] uses the workers.
    ///
    /// # Errors
    ///
    /// As [`SharedBigUint::mul`], for the product of about half of them by the other half.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::SharedBigUint;
    /// let numbers = [SharedBigUint::from_limbs(&[6])?, SharedBigUint::from_limbs(&[0, 7])?];
    /// assert_eq!(SharedBigUint::product(&numbers)?.limbs(), [0, 42]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn product<'n>(
        numbers: impl IntoIterator<Item = &'n SharedBigUint>,
    ) -> Result<SharedBigUint> {
        let factors: Vec<&[u64]> = numbers.into_iter().map(SharedBigUint::limbs).collect();
        product_alone(&factors)
    }
}

/// The product of `factors`, computed by this process.
///
/// # Errors
///
/// As [`SharedBigUint::product`].
pub(super) fn product_alone(factors: &[&[u64]]) -> Result<SharedBigUint> {
    let limbs: usize = factors.iter().map(|factor| factor.len()).sum();
    check(limbs.div_ceil(2), limbs.div_ceil(2))?;
    if factors.iter().any(|factor| factor.is_empty()) {
        return SharedBigUint::from_limbs(&[]);
    }
    grant_scratch(8 * limbs)?;
    SharedBigUint::from_limbs(&product_of_all(factors, &mut Vec::new()))
}

/// `x y`, or `x^2` if `y` is `None`, computed by this process.
fn multiplied_alone(x: &[u64], y: Option<&[u64]>) -> Result<SharedBigUint> {
    let limbs = x.len() + y.unwrap_or(x).len();
    let scratch_limbs = match y {
        Some(y) => mul_scratch_limbs(x.len(), y.len()),
        None => square_scratch_limbs(x.len()),
    };
    grant_scratch(scratch_limbs)?;
    let mut scratch = vec![0; scratch_limbs];
    SharedBigUint::written(limbs, |out| match y {
        Some(y) => mul(out, x, y, &mut scratch),
        None => square(out, x, &mut scratch),
    })
}

/// `number / 2^twos`.
///
/// # Errors
///
/// [`Error::NoSpace`].
fn odd_part(number: &[u64], twos: u64) -> Result<SharedBigUint> {
    let zeros = usize::try_from(twos / 64).unwrap_or(usize::MAX).min(number.len());
    let (number, shift) = (&number[zeros..], twos % 64);
    SharedBigUint::written(number.len(), |out| {
        for (i, limb) in out.iter_mut().enumerate() {
            let above = number.get(i + 1).map_or(0, |&above| u128::from(above) << 64);
            *limb = low_limb((above | u128::from(number[i])) >> shift);
        }
    })
}

/// The number of trailing zero bits of a nonzero number.
fn twos(number: &[u64]) -> u64 {
    let zeros = number.iter().take_while(|&&limb| limb == 0).count();
    zeros as u64 * 64 + number.get(zeros).map_or(0, |limb| u64::from(limb.trailing_zeros()))
}

/// `x y` if one of them is a power of two.
fn by_shifting(x: &[u64], y: &[u64]) -> Option<Result<SharedBigUint>> {
    let is_power = |number: &[u64]| match number {
        [below @ .., top] => top.is_power_of_two() && below.iter().all(|&limb| limb == 0),
        [] => false,
    };
    if is_power(y) {
        Some(SharedBigUint::shifted(x, twos(y)))
    } else {
        is_power(x).then(|| SharedBigUint::shifted(y, twos(x)))
    }
}

/// `a^exponent`, by squaring and multiplying its odd part, and one shift.
fn power(
    a: &SharedBigUint,
    exponent: u64,
    square: impl Fn(&SharedBigUint) -> Result<SharedBigUint>,
    multiply: impl Fn(&SharedBigUint, &SharedBigUint) -> Result<SharedBigUint>,
) -> Result<SharedBigUint> {
    // The result has at least this many bits, unless a is 0 or 1.
    let bits = a.bits().saturating_sub(1).checked_mul(exponent);
    let bits_max = LIMBS_MAX as u64 * 64;
    if bits.is_none_or(|bits| bits > bits_max) {
        return Err(Error::TooLarge {
            what: "a power",
            size_bytes: bits.map_or(u64::MAX, |bits| bits / 8),
            limit_bytes: bits_max / 8,
        });
    }
    let twos = twos(a.limbs());
    let odd = if twos == 0 { None } else { Some(odd_part(a.limbs(), twos)?) };
    let base = odd.as_ref().unwrap_or(a);
    let mut power = SharedBigUint::from_limbs(&[1])?;
    // 0 and 1 do not change after the first factor.
    let exponent_bits = if base.bits() <= 1 { exponent.min(1) } else { exponent };
    for bit in (0..u64::BITS - exponent_bits.leading_zeros()).rev() {
        power = square(&power)?;
        if exponent_bits >> bit & 1 == 1 {
            power = multiply(&power, base)?;
        }
    }
    // The product of a number of at least `twos + 1` bits and the exponent was bounded above.
    if twos == 0 { Ok(power) } else { SharedBigUint::shifted(power.limbs(), twos * exponent) }
}

/// Checks that the product is not too long.
///
/// # Errors
///
/// [`Error::TooLarge`].
pub(super) fn check(a_limbs: usize, b_limbs: usize) -> Result<()> {
    checked_limbs("a product", a_limbs.checked_add(b_limbs)).map(drop)
}
