//! Products too long for one transform, computed in pieces.
//!
//! Each piece of one factor is multiplied by each of the other, and the products are added. It
//! takes as many transforms as one long product would, each a little shorter, and less memory.
#![allow(unsafe_code)]

use std::slice;

use crate::kernel::team::{PeerDied, Team};

use super::limbs::add_assign;
use super::ntt::{self, Backend};

/// The limbs of the pieces of a factor of `limbs`: all but the last are equally long, none above
/// `max`.
fn piece_limbs(limbs: usize, max: usize) -> usize {
    limbs.div_ceil(limbs.div_ceil(max).max(1))
}

/// Limbs of scratch memory: the product of two pieces, and the scratch memory for it.
pub(super) fn scratch_limbs(a_limbs: usize, b_limbs: usize, piece_limbs_max: usize) -> usize {
    let [x, y] = [a_limbs, b_limbs].map(|limbs| piece_limbs(limbs, piece_limbs_max));
    x + y + ntt::scratch_limbs(x, Some(y)).max(ntt::scratch_limbs(x.min(y), None))
}

/// `a b`, or `a^2` when `b` is `None`, by pieces of at most `piece_limbs_max`, by the members of a
/// team.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - As for [`ntt::multiply`], with `scratch` of [`scratch_limbs`].
pub(super) unsafe fn multiply(
    team: &impl Team,
    backend: Backend,
    out: *mut u64,
    (a, b): (&[u64], Option<&[u64]>),
    scratch: *mut u64,
    piece_limbs_max: usize,
) -> Result<(), PeerDied> {
    let other = b.unwrap_or(a);
    let out_limbs = a.len() + other.len();
    let [x_limbs, y_limbs] = [a, other].map(|factor| piece_limbs(factor.len(), piece_limbs_max));
    let work = scratch.wrapping_add(x_limbs + y_limbs);
    // Ranks are known after this barrier.
    team.barrier()?;
    if team.rank() == 0 {
        // SAFETY: valid by this function's contract, and only one member has rank 0.
        unsafe { out.write_bytes(0, out_limbs) };
    }
    for (i, x) in a.chunks(x_limbs).enumerate() {
        for (j, y) in other.chunks(y_limbs).enumerate() {
            // In a square each product of two pieces counts twice.
            let times = match b {
                Some(_) => 1,
                None if i < j => 2,
                None => usize::from(i == j),
            };
            if times == 0 {
                continue;
            }
            let product_limbs = x.len() + y.len();
            let y = if b.is_none() && i == j { None } else { Some(y) };
            // SAFETY: the product and its scratch memory lie in `scratch`; between the barriers of
            // the product nothing else writes to them.
            unsafe { ntt::multiply(team, scratch, x, y, work, backend)? };
            if team.rank() > 0 {
                // The next product is written only after a barrier that rank 0 reaches when it has
                // read this one.
                continue;
            }
            // SAFETY: written above, and not written again before the next product.
            let product = unsafe { slice::from_raw_parts(scratch.cast_const(), product_limbs) };
            // SAFETY: valid by this function's contract, and only one member has rank 0.
            let out = unsafe { slice::from_raw_parts_mut(out, out_limbs) };
            for _ in 0..times {
                add_assign(&mut out[i * x_limbs + j * y_limbs..], product);
            }
        }
    }
    team.barrier()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::{Shared, awkward, is_product, with_team};

    #[test]
    fn pieces_give_the_same_product_for_any_team() {
        for (n, m, max) in [(1000, 1000, 999), (1000, 700, 300), (5000, 10, 301), (2000, 1999, 500)]
        {
            let (a, b) = (awkward(n, 3), awkward(m, 5));
            for members in [1, 2, 3] {
                let mut out = vec![7; n + m];
                let mut scratch = vec![9; scratch_limbs(n, m, max).max(scratch_limbs(n, n, max))];
                let mut square = vec![7; 2 * n];
                let (buffer, at) = (Shared(scratch.as_mut_ptr()), Shared(out.as_mut_ptr()));
                let square_at = Shared(square.as_mut_ptr());
                with_team(members, false, |team| {
                    for &backend in Backend::all() {
                        let factors = (&a[..], Some(&b[..]));
                        // SAFETY: the vectors outlive the team and have the required lengths.
                        unsafe { multiply(team, backend, at.get(), factors, buffer.get(), max) }
                            .unwrap();
                        let factors = (&a[..], None);
                        // SAFETY: as above.
                        unsafe {
                            multiply(team, backend, square_at.get(), factors, buffer.get(), max)
                        }
                        .unwrap();
                    }
                });
                assert!(is_product(&out, &a, &b), "{n} by {m} in pieces of {max}, {members}");
                assert!(is_product(&square, &a, &a), "{n} in pieces of {max}, {members}");
            }
        }
    }
}
