//! The product of many numbers by a team.
//!
//! The factors are divided into groups of about equal size; each group is multiplied by one
//! member, and the products of the groups by all members together.

use std::ops::Range;

use crate::kernel::team::{PeerDied, Team};

use super::Combination;
use super::product_tree::product_of_all;
use super::team_arithmetic::{LimbSpan, MemoryNeeds, TeamArithmetic, scratch_limbs_max};

/// Groups for each member.
const GROUPS_A_MEMBER: usize = 2;

/// The factors.
#[derive(Debug)]
pub(crate) enum Factors<'a> {
    Numbers(Vec<&'a [u64]>),
    Segments(Combination),
}

impl Factors<'_> {
    /// Ranges of neighbours of about equal length, at most `count_max`.
    fn groups(&self, count_max: usize) -> Vec<Range<usize>> {
        match self {
            Factors::Numbers(numbers) => divide(numbers, count_max),
            Factors::Segments(combination) => {
                let segments = combination.segments();
                let count = count_max.min(segments);
                let bound = |i: usize| i * segments / count;
                (0..count).map(|i| bound(i)..bound(i + 1)).collect()
            }
        }
    }

    /// The product of a group; `scratch` grows as needed.
    fn product(&self, group: Range<usize>, scratch: &mut Vec<u64>) -> Vec<u64> {
        match self {
            Factors::Numbers(numbers) => product_of_all(&numbers[group], scratch),
            Factors::Segments(combination) => combination.product_of(group, scratch),
        }
    }
}

/// Divides the factors into at most `count` groups of neighbours, about equal in limbs.
fn divide(factors: &[&[u64]], count: usize) -> Vec<Range<usize>> {
    let limbs: usize = factors.iter().map(|factor| factor.len()).sum();
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut before, mut group) = (0, usize::MAX);
    for (i, factor) in factors.iter().enumerate() {
        // A factor belongs to the group in which its middle lies.
        let here = (2 * before + factor.len()) * count / (2 * limbs);
        match groups.last_mut() {
            Some(last) if here == group => last.end = i + 1,
            _ => groups.push(i..i + 1),
        }
        (before, group) = (before + factor.len(), here);
    }
    groups
}

/// The sizes in limbs of the spans in the workspace: `groups | buffer | scratch`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductSizes {
    groups_max: usize,
    groups: usize,
    buffer: usize,
    /// Each member has memory for its group and for the scratch memory of its product.
    pub(crate) needs: MemoryNeeds,
}

impl ProductSizes {
    /// The sizes for factors of `limbs` limbs together, at least one of them nonzero, and at most
    /// `members` members.
    pub(crate) fn new(limbs: usize, members: usize) -> ProductSizes {
        let groups_max = GROUPS_A_MEMBER * members;
        // The product of a group may have one more limb; each group has two words in a table.
        let buffer = limbs + groups_max;
        let groups = buffer + 2 * groups_max;
        // Of all pairs with this total length, two equal ones take the most.
        let half = buffer / 2 + 1;
        ProductSizes {
            groups_max,
            groups,
            buffer,
            needs: MemoryNeeds {
                workspace: groups + buffer + scratch_limbs_max(half, half),
                result: buffer,
                member: 12 * limbs / groups_max,
                factors: [limbs / 2 + 1; 2],
            },
        }
    }
}

/// Writes the product of `factors`, of `limbs` limbs together, to the beginning of `result`, by the
/// members of a team. Returns the number of its limbs.
///
/// # Errors
///
/// [`PeerDied`] if a member died; the contents of the memory are then unspecified.
///
/// # Panics
///
/// If there is no factor, or the memory is less than [`ProductSizes`] requires.
pub(crate) fn multiply_all_team<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    factors: &Factors<'_>,
    limbs: usize,
    mut result: LimbSpan<'_>,
    mut workspace: LimbSpan<'_>,
) -> Result<usize, PeerDied> {
    let sizes = ProductSizes::new(limbs, arithmetic.members_max());
    let [groups_room, buffer] = [sizes.groups, sizes.buffer].map(|limbs| workspace.take(limbs));
    let groups = factors.groups(sizes.groups_max);
    let mut own_scratch = Vec::new();
    let numbers = arithmetic
        .map(groups.len(), groups_room, |i| factors.product(groups[i].clone(), &mut own_scratch))?;
    let mut scratch = arithmetic.scratch(workspace)?;
    match *numbers {
        [number] => arithmetic
            .once(result.take(number.len()), |out| out.copy_from_slice(number))
            .map(<[u64]>::len),
        _ => arithmetic.multiply_all(&numbers, result, buffer, &mut scratch).map(<[u64]>::len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::{awkward, by_team};

    #[test]
    fn teams_of_any_size_give_the_same_product() {
        let numbers: Vec<Vec<u64>> =
            (1..60).map(|i| awkward(i * i * 7 % 501 + 1, i as u64)).collect();
        let numbers: Vec<&[u64]> = numbers.iter().map(Vec::as_slice).collect();
        for count in [1, 2, 3, 59] {
            let numbers = &numbers[..count];
            let expected = product_of_all(numbers, &mut Vec::new());
            let limbs = numbers.iter().map(|number| number.len()).sum();
            for members in [1, 2, 3, 5] {
                let needs = ProductSizes::new(limbs, members).needs;
                let sizes = [needs.workspace, needs.result];
                let found = by_team(members, sizes, |arithmetic, result, workspace| {
                    let factors = Factors::Numbers(numbers.to_vec());
                    multiply_all_team(arithmetic, &factors, limbs, result, workspace)
                });
                assert!(found == expected, "{count} numbers, {members} members");
            }
        }
    }

    #[test]
    fn teams_of_any_size_give_the_same_primorial() {
        let combination = || Combination::primorial(300_000);
        let (expected, limbs) = (combination().product(), Combination::primorial_limbs(300_000));
        for members in [1, 2, 3] {
            let needs = ProductSizes::new(limbs.unwrap(), members).needs;
            let sizes = [needs.workspace, needs.result];
            let found = by_team(members, sizes, |arithmetic, result, workspace| {
                let factors = Factors::Segments(combination());
                multiply_all_team(arithmetic, &factors, limbs.unwrap(), result, workspace)
            });
            assert!(found == expected, "{members} members");
        }
    }
}
