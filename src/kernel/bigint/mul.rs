//! Products and squares of any size, and the choice of method.
#![allow(unsafe_code)]

use crate::kernel::team::{PeerDied, SingleThread, Team};

use super::limbs::add_assign;
use super::thresholds::{
    KARATSUBA_MIN, TRANSFORM_FMA_MIN, TRANSFORM_MIN, TRANSFORM_PORTABLE_MIN, TRANSFORM_SQUARE_MIN,
    TRANSFORM_TOTAL_MIN, TRANSFORM_UNBALANCED_MIN,
};
use super::{Backend, karatsuba, ntt, piecewise, schoolbook};

/// The most limbs in the shorter factor of one transform: about 117 million, 7.5 thousand million
/// bits. Longer products are computed in pieces.
pub const SHORTER_LIMBS_MAX: usize = ntt::SHORTER_LIMBS_MAX;

/// The most limbs of any number: 512 GiB.
pub const LIMBS_MAX: usize = 1 << 36;

/// The most limbs of the product of one transform, to limit memory.
pub(super) const TRANSFORM_LIMBS_MAX: usize = 2 * SHORTER_LIMBS_MAX;

/// Limbs of scratch memory that [`mul`] needs for factors of these lengths, in either order.
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
    // For the backend whose transform begins at the smallest size: the transform needs the most
    // memory.
    match method(Backend::Ifma, long, short) {
        Method::School => 0,
        // The product of a piece, and the scratch memory for it.
        Method::Karatsuba => 2 * short + karatsuba::scratch_limbs(short),
        Method::Transform => ntt::scratch_limbs(long, Some(short)),
        Method::Pieces => piecewise::scratch_limbs(long, short, SHORTER_LIMBS_MAX),
    }
}

/// Limbs of the tables that each process allocates, and keeps, for products of factors of these
/// lengths: about a tenth of the scratch memory. They are computed once for each length.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{mul_scratch_limbs, mul_table_limbs};
/// assert_eq!(mul_table_limbs(20, 20), 0); // short factors need no tables
/// assert!(mul_table_limbs(5000, 5000) < mul_scratch_limbs(5000, 5000));
/// ```
#[must_use]
pub fn mul_table_limbs(a_limbs: usize, b_limbs: usize) -> usize {
    let (long, short) = (a_limbs.max(b_limbs), a_limbs.min(b_limbs));
    match method(Backend::Ifma, long, short) {
        Method::School | Method::Karatsuba => 0,
        Method::Transform => ntt::table_limbs(long, short),
        Method::Pieces => {
            let piece = |limbs: usize| limbs.min(SHORTER_LIMBS_MAX);
            ntt::table_limbs(piece(long), piece(short))
        }
    }
}

/// Limbs of scratch memory that [`square`] needs.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{square, square_scratch_limbs};
/// let mut scratch = vec![0; square_scratch_limbs(500)];
/// let mut out = vec![0; 1000];
/// square(&mut out, &[u64::MAX; 500], &mut scratch); // (2^32000 - 1)^2
/// assert_eq!((out[0], out[499], out[500], out[999]), (1, 0, u64::MAX - 1, u64::MAX));
/// ```
#[must_use]
pub fn square_scratch_limbs(limbs: usize) -> usize {
    if limbs < TRANSFORM_SQUARE_MIN {
        karatsuba::scratch_limbs(limbs)
    } else if limbs > SHORTER_LIMBS_MAX {
        piecewise::scratch_limbs(limbs, limbs, SHORTER_LIMBS_MAX)
    } else {
        ntt::scratch_limbs(limbs, None)
    }
}

enum Method {
    School,
    Karatsuba,
    Transform,
    Pieces,
}

fn method(backend: Backend, long: usize, short: usize) -> Method {
    let transform_min = match backend {
        Backend::Portable => TRANSFORM_PORTABLE_MIN,
        Backend::Fma => TRANSFORM_FMA_MIN,
        Backend::Ifma => TRANSFORM_MIN,
    };
    let unbalanced = backend == Backend::Ifma
        && short >= TRANSFORM_UNBALANCED_MIN
        && long + short >= TRANSFORM_TOTAL_MIN;
    if short < KARATSUBA_MIN {
        Method::School
    } else if short < transform_min && !unbalanced {
        Method::Karatsuba
    } else if long + short <= TRANSFORM_LIMBS_MAX {
        Method::Transform
    } else {
        Method::Pieces
    }
}

/// `out = a b`.
///
/// # Panics
///
/// If `out` does not have as many limbs as `a` and `b` together, or `scratch` has fewer than
/// [`mul_scratch_limbs`] returns.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{mul, mul_scratch_limbs};
/// let (mut out, mut scratch) = ([0; 3], vec![0; mul_scratch_limbs(2, 1)]);
/// mul(&mut out, &[u64::MAX, 1], &[3], &mut scratch);
/// assert_eq!(out, [u64::MAX - 2, 5, 0]);
/// ```
pub fn mul(out: &mut [u64], a: &[u64], b: &[u64], scratch: &mut [u64]) {
    mul_by(Backend::detect(), out, a, b, scratch);
}

/// [`mul`] with a given backend of the transform.
///
/// # Panics
///
/// As [`mul`], or if the processor lacks the backend.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{Backend, mul_by, mul_scratch_limbs};
/// let mut scratch = vec![0; mul_scratch_limbs(1, 1)];
/// let mut product = [0; 2];
/// mul_by(Backend::Portable, &mut product, &[u64::MAX], &[2], &mut scratch);
/// assert_eq!(product, [u64::MAX - 1, 1]);
/// ```
pub fn mul_by(backend: Backend, out: &mut [u64], a: &[u64], b: &[u64], scratch: &mut [u64]) {
    assert_eq!(out.len(), a.len() + b.len(), "a product has the limbs of both its factors");
    assert!(scratch.len() >= mul_scratch_limbs(a.len(), b.len()), "scratch is too short");
    let team = SingleThread::default();
    // SAFETY: `out` and `scratch` are exclusive borrows, as long as asserted.
    let done = unsafe { mul_team(&team, backend, out.as_mut_ptr(), a, b, scratch.as_mut_ptr()) };
    done.expect("a team of one has no peer that dies");
}

/// `out = a^2`.
///
/// # Panics
///
/// If `out` does not have twice as many limbs as `a`, or `scratch` has fewer than
/// [`square_scratch_limbs`] returns.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{square, square_scratch_limbs};
/// let mut out = [0; 4];
/// square(&mut out, &[u64::MAX, 1], &mut vec![0; square_scratch_limbs(2)]);
/// assert_eq!(out, [1, u64::MAX - 3, 3, 0]); // (2^65 - 1)^2
/// ```
pub fn square(out: &mut [u64], a: &[u64], scratch: &mut [u64]) {
    square_by(Backend::detect(), out, a, scratch);
}

/// [`square`] with a given backend of the transform.
///
/// # Panics
///
/// As [`square`], or if the processor lacks the backend.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{Backend, square_by, square_scratch_limbs};
/// let mut scratch = vec![0; square_scratch_limbs(1)];
/// let mut out = [0; 2];
/// square_by(Backend::Portable, &mut out, &[1 << 40], &mut scratch);
/// assert_eq!(out, [0, 1 << 16]);
/// ```
pub fn square_by(backend: Backend, out: &mut [u64], a: &[u64], scratch: &mut [u64]) {
    assert_eq!(out.len(), 2 * a.len(), "a square has twice the limbs of its root");
    assert!(scratch.len() >= square_scratch_limbs(a.len()), "scratch is too short");
    let team = SingleThread::default();
    // SAFETY: `out` and `scratch` are exclusive borrows, as long as asserted.
    let done = unsafe { square_team(&team, backend, out.as_mut_ptr(), a, scratch.as_mut_ptr()) };
    done.expect("a team of one has no peer that dies");
}

/// `out = a b`, by the members of a team that share the memory: each calls this with its own view
/// of the team. The limbs are the same for any number of members. One member computes a product
/// that is too small for the transform.
///
/// `a` and `b` must be visible to all members before the call; the product is visible when it
/// returns.
///
/// # Errors
///
/// [`PeerDied`] if a member died; the contents of `out` and `scratch` are then unspecified.
///
/// # Panics
///
/// If the processor lacks the backend.
///
/// # Safety
///
/// - `out` is valid for reads and writes of as many limbs as `a` and `b` have together, `scratch`
///   for [`mul_scratch_limbs`]; neither overlaps the other, `a` or `b`.
/// - Only the team uses both until every member has returned or is dead.
/// - All members call with the same factors, memory and backend. The team's counters are at zero;
///   they are at zero again when all members have returned.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{Backend, mul_scratch_limbs, mul_team};
/// use brigade::kernel::SingleThread;
/// let (team, backend) = (SingleThread::default(), Backend::detect());
/// let (mut out, mut scratch) = ([0; 2], vec![0; mul_scratch_limbs(1, 1)]);
/// let (out_at, scratch_at) = (out.as_mut_ptr(), scratch.as_mut_ptr());
/// // SAFETY: both are as long as asked for, and the team has one member.
/// let done = unsafe { mul_team(&team, backend, out_at, &[u64::MAX], &[4], scratch_at) };
/// assert_eq!((done, out), (Ok(()), [u64::MAX - 3, 3]));
/// ```
pub unsafe fn mul_team(
    team: &impl Team,
    backend: Backend,
    out: *mut u64,
    a: &[u64],
    b: &[u64],
    scratch: *mut u64,
) -> Result<(), PeerDied> {
    let (a, b) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    match method(backend, a.len(), b.len()) {
        Method::Transform => {
            // SAFETY: by this function's contract.
            return unsafe { ntt::multiply(team, out, a, Some(b), scratch, backend) };
        }
        Method::Pieces => {
            let factors = (a, Some(b));
            // SAFETY: by this function's contract.
            return unsafe {
                piecewise::multiply(team, backend, out, factors, scratch, SHORTER_LIMBS_MAX)
            };
        }
        Method::School | Method::Karatsuba => {}
    }
    team.barrier()?;
    if team.rank() == 0 {
        let limbs = a.len() + b.len();
        // SAFETY: valid by this function's contract, and only one member has rank 0.
        let out = unsafe { std::slice::from_raw_parts_mut(out, limbs) };
        let limbs = mul_scratch_limbs(a.len(), b.len());
        // SAFETY: as above.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch, limbs) };
        match method(backend, a.len(), b.len()) {
            Method::School => schoolbook::mul(out, a, b),
            _ => mul_in_pieces(out, a, b, scratch),
        }
    }
    team.barrier()
}

/// `out = a^2`, by the members of a team: as [`mul_team`].
///
/// # Errors
///
/// [`PeerDied`] if a member died; the contents of `out` and `scratch` are then unspecified.
///
/// # Panics
///
/// If the processor lacks the backend.
///
/// # Safety
///
/// - As for [`mul_team`], with `out` of `2 a.len()` limbs and `scratch` of
///   [`square_scratch_limbs`].
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{Backend, square_scratch_limbs, square_team};
/// use brigade::kernel::SingleThread;
/// let (team, backend) = (SingleThread::default(), Backend::detect());
/// let (mut out, mut scratch) = ([0; 2], vec![0; square_scratch_limbs(1)]);
/// let (out_at, scratch_at) = (out.as_mut_ptr(), scratch.as_mut_ptr());
/// // SAFETY: both are as long as asked for, and the team has one member.
/// let done = unsafe { square_team(&team, backend, out_at, &[1 << 33], scratch_at) };
/// assert_eq!((done, out), (Ok(()), [0, 4]));
/// ```
pub unsafe fn square_team(
    team: &impl Team,
    backend: Backend,
    out: *mut u64,
    a: &[u64],
    scratch: *mut u64,
) -> Result<(), PeerDied> {
    let transform_min = match backend {
        Backend::Portable => TRANSFORM_PORTABLE_MIN,
        Backend::Fma => TRANSFORM_FMA_MIN,
        Backend::Ifma => TRANSFORM_SQUARE_MIN,
    };
    if a.len() > SHORTER_LIMBS_MAX {
        let factors = (a, None);
        // SAFETY: by this function's contract.
        return unsafe {
            piecewise::multiply(team, backend, out, factors, scratch, SHORTER_LIMBS_MAX)
        };
    }
    if a.len() >= transform_min {
        // SAFETY: by this function's contract.
        return unsafe { ntt::multiply(team, out, a, None, scratch, backend) };
    }
    team.barrier()?;
    if team.rank() == 0 {
        // SAFETY: valid by this function's contract, and only one member has rank 0.
        let out = unsafe { std::slice::from_raw_parts_mut(out, 2 * a.len()) };
        let limbs = square_scratch_limbs(a.len());
        // SAFETY: as above.
        let scratch = unsafe { std::slice::from_raw_parts_mut(scratch, limbs) };
        karatsuba::square(out, a, scratch);
    }
    team.barrier()
}

/// `out = a b` by pieces of `a` as long as `b`, each by Karatsuba's method, and a shorter last
/// piece by whatever method suits its size.
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
        } else if piece.len() < KARATSUBA_MIN {
            schoolbook::mul(product, b, piece);
        } else {
            mul_in_pieces(product, b, piece, scratch);
        }
        add_assign(&mut out[(i + 1) * n..], product);
    }
}
