//! A team member's part of the conversion to decimal digits.
//!
//! 1. *Powers*: `5^digits` for each level, by squaring; each member computes the small ones for
//!    itself.
//! 2. *Root*: its fraction, by a reciprocal and a product of the whole team.
//! 3. *Upper levels*: nodes are split one after another by the whole team.
//! 4. *Nodes*: one member takes each node and splits it down to the leaves, depth first.

use std::borrow::Cow;

use crate::kernel::bigint::limbs::{add_assign, mul_limb, shift_left, trim};
use crate::kernel::bigint::mul::{mul, mul_scratch_limbs, square, square_scratch_limbs};
use crate::kernel::bigint::reciprocal::{ReciprocalBuffers, reciprocal};
use crate::kernel::bigint::team_arithmetic::{
    LimbSpan, Scratch, TEAM_LIMBS_MIN, TeamArithmetic, TeamSpan,
};
use crate::kernel::team::{PeerDied, Team};

use super::power_of_ten::{BLOCK, BLOCK_DIGITS, Power};
use super::workspace::{Tree, Workspace};

/// Writes the decimal digits of `x`, padded with leading zeros.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Panics
///
/// If the memory is less than `sizes` says.
pub(super) fn write_digits<'a, T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    sizes: &Workspace,
    x: &[u64],
    digits: TeamSpan<'_, u8>,
    mut workspace: LimbSpan<'a>,
) -> Result<(), PeerDied> {
    let tree = sizes.tree;
    let fives: Vec<LimbSpan<'a>> = sizes.fives.iter().map(|&limbs| workspace.take(limbs)).collect();
    let mut fractions = [(); 2].map(|()| workspace.take(sizes.fractions));
    let mut rest = workspace.reborrow();
    let mut wide = rest.take(sizes.wide);
    let divisor = rest.take(sizes.divisor);
    let results = [(); 2].map(|()| rest.take(sizes.result));
    let change = rest.take(sizes.change);
    let mut scratch = arithmetic.scratch(rest)?;

    let (powers, root) = powers(arithmetic, tree, fives, &mut scratch)?;
    let [y, _] = &mut fractions;
    let y = y.reborrow().take(root.power.fraction_limbs());
    let buffers = ReciprocalBuffers { results, error: wide.reborrow(), change };
    let inverse = root.inverse(arithmetic, divisor, buffers, &mut scratch)?;
    root.fraction(arithmetic, x, (inverse.read(), wide.reborrow()), y, &mut scratch)?;
    let level = tree.levels - tree.levels_together(arithmetic.members());
    let (mut nodes, mut limbs) = (1, root.power.fraction_limbs());
    for power in powers[level..].iter().rev() {
        let [here, other] = &mut fractions;
        let parts = here.read()[..nodes * limbs].chunks_exact(limbs);
        split_all(arithmetic, power, parts, other.reborrow(), wide.reborrow(), &mut scratch)?;
        fractions.swap(0, 1);
        (nodes, limbs) = (2 * nodes, power.fraction_limbs());
    }
    let leaf = powers.first().unwrap_or(&root.power);
    let own = workspace.take(arithmetic.members() * tree.node_limbs(level));
    let [fractions, _] = &fractions;
    arithmetic.for_each_part(digits, tree.digits(level), own, |node, out, own| {
        let (y, own) = own.split_at_mut(limbs);
        y.copy_from_slice(&fractions.read()[node * limbs..][..limbs]);
        write(&powers, leaf, y, out, own);
    })
}

/// The powers of ten for the root and each level below it.
fn powers<'a, T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    tree: Tree,
    buffers: Vec<LimbSpan<'a>>,
    scratch: &mut Scratch<'_>,
) -> Result<(Vec<Power<'a>>, Root<'a>), PeerDied> {
    let mut five = vec![1];
    for _ in 0..tree.leaf_blocks {
        let carry = mul_limb(&mut five, BLOCK >> BLOCK_DIGITS, 0);
        five.extend((carry > 0).then_some(carry));
    }
    let mut five: Cow<'a, [u64]> = five.into();
    let mut powers = Vec::new();
    for (level, buffer) in buffers.into_iter().enumerate() {
        let next = if five.len() < TEAM_LIMBS_MIN {
            let mut next = vec![0; 2 * five.len()];
            square(&mut next, &five, &mut vec![0; square_scratch_limbs(five.len())]);
            next.truncate(trim(&next).len());
            next.into()
        } else {
            Cow::Borrowed(arithmetic.square(buffer, &five, scratch)?)
        };
        powers.push(Power::new(tree.digits(level), five));
        five = next;
    }
    let power = Power::new(tree.digits(tree.levels), five.clone());
    Ok((powers, Root { power, five }))
}

/// Splits each of the fractions `nodes` into two, by the whole team; `power` is that of a half.
fn split_all<'n, T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    power: &Power<'_>,
    nodes: impl Iterator<Item = &'n [u64]>,
    mut halves: LimbSpan<'_>,
    mut wide: LimbSpan<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<(), PeerDied> {
    for y in nodes {
        let product = arithmetic.multiply(wide.reborrow(), y, &power.factor, scratch)?;
        let buffer = halves.take(2 * power.fraction_limbs());
        arithmetic.once(buffer, |halves| {
            let (upper, lower) = halves.split_at_mut(power.fraction_limbs());
            power.halves(y, product, upper, lower);
        })?;
    }
    Ok(())
}

/// The root's power, and `5^digits`.
struct Root<'a> {
    power: Power<'a>,
    five: Cow<'a, [u64]>,
}

impl Root<'_> {
    /// `5^digits` is this many bits shorter than a whole number of limbs.
    fn zeros(&self) -> u32 {
        self.five[self.five.len() - 1].leading_zeros()
    }

    /// `2^-zeros B^five / 5^digits`, in `[1, 2]`.
    fn inverse<'r, T: Team>(
        &self,
        arithmetic: &TeamArithmetic<'_, T>,
        mut divisor: LimbSpan<'_>,
        buffers: ReciprocalBuffers<'r, '_>,
        scratch: &mut Scratch<'_>,
    ) -> Result<LimbSpan<'r>, PeerDied> {
        let divisor = arithmetic.once(divisor.take(self.five.len()), |divisor| {
            divisor.copy_from_slice(&self.five);
            shift_left(divisor, u64::from(self.zeros()));
        })?;
        reciprocal(arithmetic, divisor, self.power.fraction_limbs(), buffers, scratch)
    }

    /// Writes the fraction of `x` to `y`, from the inverse and a buffer for its product with `x`.
    fn fraction<T: Team>(
        &self,
        arithmetic: &TeamArithmetic<'_, T>,
        x: &[u64],
        (inverse, buffer): (&[u64], LimbSpan<'_>),
        y: LimbSpan<'_>,
        scratch: &mut Scratch<'_>,
    ) -> Result<(), PeerDied> {
        let product = arithmetic.multiply(buffer, x, inverse, scratch)?;
        // x / 10^digits = product 2^(zeros - digits) B^-(five + limbs), in units of B^-limbs.
        let down = 64 * self.five.len() + self.power.digits - self.zeros() as usize;
        arithmetic.once(y, |y| {
            shift_right_into(y, product, down);
            add_assign(y, &self.power.portion(1 << 63));
        })?;
        Ok(())
    }
}

/// Writes the digits of `y`, a node above the nodes of all `powers`, which have half as many
/// digits; `leaf` is the power of a leaf.
fn write(
    powers: &[Power<'_>],
    leaf: &Power<'_>,
    y: &mut [u64],
    out: &mut [u8],
    memory: &mut [u64],
) {
    let level = (out.len() / leaf.digits).trailing_zeros() as usize;
    if level == 0 {
        return leaf.leaf(y, out);
    }
    let power = &powers[level - 1];
    let limbs = power.fraction_limbs();
    let (upper, memory) = memory.split_at_mut(limbs);
    let (lower, memory) = memory.split_at_mut(limbs);
    let (product, scratch) = memory.split_at_mut(y.len() + power.factor.len());
    let scratch = &mut scratch[..mul_scratch_limbs(y.len(), power.factor.len())];
    mul(product, y, &power.factor, scratch);
    power.halves(y, product, upper, lower);
    let (first, second) = out.split_at_mut(out.len() / 2);
    write(powers, leaf, upper, first, memory);
    write(powers, leaf, lower, second, memory);
}

/// `out = number / 2^bits`, rounded down, which must fit.
fn shift_right_into(out: &mut [u64], number: &[u64], bits: usize) {
    let (skip, shift) = (bits / 64, bits % 64);
    let kept = trim(number.get(skip..).unwrap_or(&[]));
    let limb = |i: usize| kept.get(i).copied().unwrap_or(0);
    let whole = |i: usize| limb(i) >> shift | limb(i + 1) << 1 << (63 - shift);
    assert!((out.len()..=kept.len()).all(|i| whole(i) == 0), "a number longer than its tree");
    for (i, out) in out.iter_mut().enumerate() {
        *out = whole(i);
    }
}
