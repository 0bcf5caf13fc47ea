//! Products and squares of any size: which method, and how operands are split.
#![allow(unsafe_code)]

use crate::kernel::crew::{Crew, Deserted, Solo};

use super::limbs::{add_assign, trim};
use super::params::{KARATSUBA_MIN, TRANSFORM_MIN, TRANSFORM_SQUARE_MIN};
use super::{Backend, karatsuba, ntt, school};

/// Limbs of scratch memory that [`mul`] needs for operands of these lengths, in either order.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{mul, mul_scratch_limbs};
/// let (a, b) = ([u64::MAX; 300], [u64::MAX; 200]);
/// let mut scratch = vec![0; mul_scratch_limbs(300, 200)];
/// let mut product = vec![0; 500];
/// mul(&mut product, &a, &b, &mut scratch);
/// // (2^19200 - 1) (2^12800 - 1) = 2^32000 - 2^19200 - 2^12800 + 1
/// assert_eq!((product[0], product[199], product[200]), (1, 0, u64::MAX));
/// ```
#[must_use]
pub fn mul_scratch_limbs(a_limbs: usize, b_limbs: usize) -> usize {
    let (long, short) = (a_limbs.max(b_limbs), a_limbs.min(b_limbs));
    match method(short) {
        Method::School => 0,
        // The product of a piece, and what is needed to make it.
        Method::Karatsuba => 2 * short + karatsuba::scratch_limbs(short),
        Method::Transform => ntt::scratch_limbs(long, Some(short)).unwrap_or(usize::MAX),
    }
}

/// Limbs of scratch memory that [`square`] needs.
#[must_use]
pub fn square_scratch_limbs(limbs: usize) -> usize {
    if limbs < TRANSFORM_SQUARE_MIN {
        karatsuba::scratch_limbs(limbs)
    } else {
        ntt::scratch_limbs(limbs, None).unwrap_or(usize::MAX)
    }
}

enum Method {
    School,
    Karatsuba,
    Transform,
}

fn method(short: usize) -> Method {
    match short {
        0..KARATSUBA_MIN => Method::School,
        KARATSUBA_MIN..TRANSFORM_MIN => Method::Karatsuba,
        _ => Method::Transform,
    }
}

/// `out = a b`.
///
/// # Panics
///
/// If `out` has not as many limbs as `a` and `b` together, or `scratch` fewer than
/// [`mul_scratch_limbs`] says.
pub fn mul(out: &mut [u64], a: &[u64], b: &[u64], scratch: &mut [u64]) {
    assert_eq!(out.len(), a.len() + b.len(), "a product has the limbs of both its factors");
    let (a, b) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    match method(b.len()) {
        Method::School => school::mul(out, a, b),
        Method::Karatsuba => mul_in_pieces(out, a, b, scratch),
        Method::Transform => {
            assert!(scratch.len() >= mul_scratch_limbs(a.len(), b.len()), "scratch is too short");
            let (crew, backend) = (Solo::default(), Backend::detect());
            let (out, scratch) = (out.as_mut_ptr(), scratch.as_mut_ptr());
            // SAFETY: `out` and `scratch` are exclusive borrows, as long as asserted.
            let done = unsafe { ntt::multiply(&crew, out, a, Some(b), scratch, backend) };
            done.expect("a crew of one is never deserted");
        }
    }
}

/// `out = a^2`.
///
/// # Panics
///
/// If `out` has not twice as many limbs as `a`, or `scratch` fewer than
/// [`square_scratch_limbs`] says.
pub fn square(out: &mut [u64], a: &[u64], scratch: &mut [u64]) {
    assert_eq!(out.len(), 2 * a.len(), "a square has twice the limbs of its root");
    if a.len() < TRANSFORM_SQUARE_MIN {
        return karatsuba::square(out, a, scratch);
    }
    assert!(scratch.len() >= square_scratch_limbs(a.len()), "scratch is too short");
    let (crew, backend) = (Solo::default(), Backend::detect());
    let (out, scratch) = (out.as_mut_ptr(), scratch.as_mut_ptr());
    // SAFETY: `out` and `scratch` are exclusive borrows, as long as asserted.
    let done = unsafe { ntt::multiply(&crew, out, a, None, scratch, backend) };
    done.expect("a crew of one is never deserted");
}

/// `out = a b` by pieces of `a` as long as `b`, each by Karatsuba's method.
fn mul_in_pieces(out: &mut [u64], a: &[u64], b: &[u64], scratch: &mut [u64]) {
    let n = b.len();
    let (first, rest) = a.split_at(n);
    karatsuba::mul(&mut out[..2 * n], first, b, scratch);
    out[2 * n..].fill(0);
    let (product, scratch) = scratch.split_at_mut(2 * n);
    for (i, piece) in rest.chunks(n).enumerate() {
        let product = &mut product[..piece.len() + n];
        if piece.len() == n {
            karatsuba::mul(product, piece, b, scratch);
        } else {
            mul(product, b, piece, scratch);
        }
        add_assign(&mut out[(i + 1) * n..], product);
    }
}
