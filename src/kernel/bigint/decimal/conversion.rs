//! A member's part of the digits.
//!
//! 1. *Powers*: `5^digits` for each level, by squares, the small ones by each member for itself.
//! 2. *Root*: its fraction, by a reciprocal and a product, all members together.
//! 3. *Upper levels*: nodes are split one after another, all members together.
//! 4. *Nodes*: each is taken by one member, who splits it down to the leaves, depth first.
//!
//! What one member writes in 1 to 3 the others read after a barrier. In 4 a member writes to the
//! fraction of its node, to the digits of that, and to an area of its own.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::slice;

use crate::kernel::bigint::Backend;
use crate::kernel::bigint::limbs::{add_assign, mul_limb, shift_left, trim};
use crate::kernel::bigint::mul::{mul, mul_scratch_limbs, square, square_scratch_limbs};
use crate::kernel::bigint::reciprocal::{Rooms, reciprocal};
use crate::kernel::bigint::team_arithmetic::{LimbSpan, TEAM_LIMBS_MIN, TeamArithmetic};
use crate::kernel::team::{PeerDied, Team};

use super::power_of_ten::Power;
use super::workspace::{Area, Layout};
use super::{BLOCK, BLOCK_DIGITS};

/// Counter of the team: the first ten are the products' own.
const NODE: usize = 10;

/// One member at work.
struct Member<'a, C> {
    arithmetic: TeamArithmetic<'a, C>,
    layout: &'a Layout,
    memory: LimbSpan,
}

/// This member's part of [`super::to_decimal_team`].
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Panics
///
/// If `memory` is shorter than the layout.
///
/// # Safety
///
/// - As for [`super::to_decimal_team`].
pub(super) unsafe fn write_digits(
    team: &impl Team,
    backend: Backend,
    layout: &Layout,
    x: &[u64],
    digits: *mut u8,
    memory: LimbSpan,
) -> Result<(), PeerDied> {
    // Ranks are known from the first barrier on.
    team.barrier()?;
    let scratch = memory.part(layout.scratch.start, layout.scratch.limbs);
    let arithmetic = TeamArithmetic { team, scratch, backend };
    let member = Member { arithmetic, layout, memory };
    let (powers, root) = member.powers()?;
    member.root(&root, x)?;
    let nodes = member.split_together(&powers, &root)?;
    // SAFETY: by this function's contract.
    unsafe { member.take_nodes(&powers, &root, nodes, digits) };
    team.barrier()
}

impl<'a, C: Team> Member<'a, C> {
    fn area(&self, area: Area) -> LimbSpan {
        self.memory.part(area.start, area.limbs)
    }

    /// The powers of ten of each level below the root's, and that of the root as one of five.
    fn powers(&self) -> Result<(Vec<Power<'a>>, Root<'a>), PeerDied> {
        let tree = self.layout.tree;
        let mut five = vec![1];
        for _ in 0..tree.leaf_blocks {
            let carry = mul_limb(&mut five, BLOCK >> BLOCK_DIGITS, 0);
            five.extend((carry > 0).then_some(carry));
        }
        let mut fives: Vec<Cow<'a, [u64]>> = vec![five.into()];
        for level in 1..=tree.levels {
            let below = &fives[level - 1];
            let five = if below.len() < TEAM_LIMBS_MIN {
                let mut five = vec![0; 2 * below.len()];
                square(&mut five, below, &mut vec![0; square_scratch_limbs(below.len())]);
                five.truncate(trim(&five).len());
                five.into()
            } else {
                let room = self.area(self.layout.fives[level]);
                // SAFETY: each level has an area of its own.
                let five = unsafe { self.arithmetic.square_limbs(room, below)? };
                // SAFETY: nobody writes to it from here on.
                Cow::Borrowed(unsafe { five.read() })
            };
            fives.push(five);
        }
        let five = fives.pop().expect("one for each level, and one more");
        let powers = fives.into_iter().enumerate();
        let powers = powers.map(|(level, five)| Power::new(tree.digits(level), five)).collect();
        let power = Power::new(tree.digits(tree.levels), five.clone());
        Ok((powers, Root { power, five }))
    }

    /// The fraction of `x`, at the beginning of the first area of fractions.
    fn root(&self, root: &Root<'_>, x: &[u64]) -> Result<(), PeerDied> {
        let layout = self.layout;
        let five = &root.five;
        // 1 / 5^digits = 2^zeros B^-five / v, with v in [1/2, 1).
        let zeros = five[five.len() - 1].leading_zeros();
        let divisor = self.area(layout.divisor).part(0, five.len());
        self.arithmetic.once(|| {
            // SAFETY: one member does this, and the others wait for it; five lies elsewhere.
            unsafe { divisor.store(five) };
            // SAFETY: one member does this, and the others wait for it.
            shift_left(unsafe { divisor.write() }, u64::from(zeros));
        })?;
        let limbs = root.power.fraction_limbs();
        let rooms = Rooms {
            results: layout.results.map(|area| self.area(area)),
            error: self.area(layout.wide),
            change: self.area(layout.change),
        };
        // SAFETY: these are areas of their own, and all come from a barrier.
        let inverse = unsafe { reciprocal(&self.arithmetic, divisor, limbs, rooms)? };
        // SAFETY: nobody writes to it before the members part.
        let inverse = unsafe { inverse.read() };
        // SAFETY: the areas differ.
        let product =
            unsafe { self.arithmetic.multiply_limbs(self.area(layout.wide), x, inverse)? };
        // x / 10^digits = product 2^(zeros - digits) B^-(five + limbs), in units of B^-limbs.
        let down = 64 * five.len() + root.power.digits - zeros as usize;
        let y = self.area(layout.fractions[0]).part(0, limbs);
        self.arithmetic.once(|| {
            // SAFETY: nobody writes to it meanwhile.
            let product = unsafe { product.read() };
            // SAFETY: one member does this, and the others wait for it.
            let y = unsafe { y.write() };
            shift_right_into(y, product, down);
            add_assign(y, &root.power.portion(1 << 63));
        })
    }

    /// Splits the root, and so on, all members together; returns the nodes in the end.
    fn split_together(
        &self,
        powers: &[Power<'_>],
        root: &Root<'_>,
    ) -> Result<Vec<LimbSpan>, PeerDied> {
        let tree = self.layout.tree;
        let lowest = tree.levels - tree.levels_together(self.arithmetic.team.members());
        let [mut here, mut other] = self.layout.fractions.map(|area| self.area(area));
        let mut nodes = vec![here.part(0, root.power.fraction_limbs())];
        for level in (lowest..tree.levels).rev() {
            let power = &powers[level];
            let limbs = power.fraction_limbs();
            let mut halves = Vec::new();
            for &node in &nodes {
                let upper = other.part(halves.len() * limbs, limbs);
                let lower = other.part((halves.len() + 1) * limbs, limbs);
                // SAFETY: nobody writes to it before the next level.
                let y = unsafe { node.read() };
                let room = self.area(self.layout.wide);
                // SAFETY: the areas differ.
                let product = unsafe { self.arithmetic.multiply_limbs(room, y, &power.factor)? };
                self.arithmetic.once(|| {
                    // SAFETY: nobody writes to it meanwhile.
                    let product = unsafe { product.read() };
                    // SAFETY: one member does this, and the others wait for it.
                    let upper = unsafe { upper.write() };
                    // SAFETY: as above; it is another part.
                    let lower = unsafe { lower.write() };
                    power.halves(y, product, upper, lower);
                })?;
                halves.extend([upper, lower]);
            }
            nodes = halves;
            (here, other) = (other, here);
        }
        Ok(nodes)
    }

    /// Writes the digits of the nodes that this member takes.
    ///
    /// # Safety
    ///
    /// - `digits` is valid for writes of as many bytes as the root has digits, for the team alone.
    unsafe fn take_nodes(
        &self,
        powers: &[Power<'_>],
        root: &Root<'_>,
        nodes: Vec<LimbSpan>,
        digits: *mut u8,
    ) {
        let tree = self.layout.tree;
        let team = self.arithmetic.team;
        let level = tree.levels - tree.levels_together(team.members());
        let own = tree.node_limbs(level);
        let memory = self.area(self.layout.members).part(team.rank() * own, own);
        // SAFETY: the part of this rank; the others have other parts, and products are over.
        let memory = unsafe { memory.write() };
        let leaf = powers.first().unwrap_or(&root.power);
        let node_digits = tree.digits(level);
        loop {
            let number = team.take(NODE, 1);
            let Some(&node) = nodes.get(number) else { return };
            // SAFETY: each number is one member's, and each node's fraction another part.
            let y = unsafe { node.write() };
            let at = digits.wrapping_add(number * node_digits);
            // SAFETY: the digits of this node, which only this member has.
            let out = unsafe { slice::from_raw_parts_mut(at, node_digits) };
            write(powers, leaf, y, out, memory);
        }
    }
}

/// The root's power, and `5^digits`.
struct Root<'a> {
    power: Power<'a>,
    five: Cow<'a, [u64]>,
}

/// Writes the digits of `y`, a node above the nodes of all `powers` whose digits it has twice;
/// `leaf` is the power of a leaf.
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
