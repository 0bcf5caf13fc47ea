//! The product of many big numbers by a team of workers.
#![allow(unsafe_code)]

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::compute::bigint::{Lent, SharedBigUint, grant_members, reserve};
use crate::compute::multiply::{self, SHARED_LIMBS_MIN};
use crate::error::{Error, Result};
use crate::kernel::bigint::team_arithmetic::{
    LimbSpan, TeamArithmetic, product_of_all, scratch_limbs_max,
};
use crate::kernel::bigint::{Backend, Combination};
use crate::kernel::{PeerDied, Team};
use crate::pool::{CodecError, Invocation, Pool, TeamJob, TeamOrders, take_part};
use crate::sys::mmap::Access;

/// Counters of the team: the first ten are the products' own.
const GROUP: usize = 10;
const GROUP_LIMB: usize = 11;

/// Groups of numbers that are multiplied by one member each, for each member.
const GROUPS_A_MEMBER: usize = 2;

/// Members of a team at most.
const MEMBERS_MAX: usize = 64;

/// What is multiplied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Factors {
    Numbers(Vec<Lent>),
    /// All primes up to this.
    Primorial(u64),
    /// What makes the first number over the second.
    Binomial(u64, u64),
}

/// What the members of a team are told of a product of many numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    factors: Factors,
    /// Limbs of all factors together.
    limbs: usize,
    workspace: Lent,
    result: Lent,
}

/// Where what lies in the workspace: `table | groups | room | scratch`.
struct Layout {
    groups_max: usize,
    /// Limbs of all numbers together, and one more for each group.
    limbs: usize,
    scratch_limbs: usize,
}

impl Layout {
    fn new(limbs: usize, members_max: usize) -> Layout {
        let groups_max = GROUPS_A_MEMBER * members_max;
        let limbs = limbs + groups_max;
        // Of all pairs that are so long together, two equal ones take the most.
        let scratch_limbs = scratch_limbs_max(limbs / 2 + 1, limbs / 2 + 1);
        Layout { groups_max, limbs, scratch_limbs }
    }

    fn total_limbs(&self) -> usize {
        // For each group: where, how many limbs; and how many groups, and limbs of the result.
        2 * self.groups_max + 2 * self.limbs + self.scratch_limbs + 1
    }
}

impl Pool {
    /// The product of all `numbers`, computed by the workers together in shared memory; 1 if
    /// there are none. A small product is computed by the caller.
    ///
    /// # Errors
    ///
    /// As [`Pool::multiply`], for the product of about half of them by the other half.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedBigUint};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let number = |limb| SharedBigUint::from_limbs(&[limb]);
    /// let numbers = [number(6)?, number(7)?, number(1 << 63)?];
    /// assert_eq!(pool.multiply_all(&numbers)?.limbs(), [0, 21]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn multiply_all<'n>(
        &self,
        numbers: impl IntoIterator<Item = &'n SharedBigUint>,
    ) -> Result<SharedBigUint> {
        let numbers: Vec<&SharedBigUint> = numbers.into_iter().collect();
        match *numbers {
            [x, y] => return self.multiply(x, y),
            _ if numbers.iter().any(|number| number.is_zero()) => {
                return SharedBigUint::from_limbs(&[]);
            }
            _ => {}
        }
        let limbs: usize = numbers.iter().map(|number| number.limbs().len()).sum();
        let half = limbs / 2 + GROUPS_A_MEMBER * MEMBERS_MAX;
        multiply::check(half, half)?;
        if !self.has_workers() || limbs < SHARED_LIMBS_MIN || numbers.len() == 1 {
            let factors: Vec<&[u64]> = numbers.iter().map(|number| number.limbs()).collect();
            return multiply::product_alone(&factors);
        }
        let lent = numbers.iter().map(|number| number.lent()).collect::<Result<_>>()?;
        let factors = Factors::Numbers(lent);
        self.multiply_shared("brigade::Pool::multiply_all", factors, limbs)
    }

    /// The product of `factors`, which have `limbs` together, by a team.
    pub(super) fn multiply_shared(
        &self,
        name: &'static str,
        factors: Factors,
        limbs: usize,
    ) -> Result<SharedBigUint> {
        let (core, rules) = (self.core(), self.rules());
        let job = TeamJob { core, name, members_max: usize::MAX, rules };
        let layout = Layout::new(limbs, job.members_max());
        let [workspace, result] = reserve([layout.total_limbs(), layout.limbs])?;
        // A member's own groups, and the scratch memory of their products.
        let own = 12 * limbs / layout.groups_max;
        grant_members(job.members_max(), [limbs / 2 + 1; 2], own)?;
        let (workspace_room, result_room) = (Lent::room(&workspace), Lent::room(&result));
        let orders = Orders { factors, limbs, workspace: workspace_room, result: result_room };
        job.run(multiply_all, &orders)?;
        let found = workspace.as_slice()[layout.total_limbs() - 1];
        match usize::try_from(found) {
            Ok(limbs) if limbs <= result.len() => Ok(SharedBigUint::of_array(result, limbs)),
            _ => Err(Error::Corrupt { what: "a product", found: format!("{found} limbs") }),
        }
    }
}

/// One member's part, in a worker.
fn multiply_all(job: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders)>()?;
    take_part(job, team, |job, member| {
        let Orders { factors, limbs, workspace, result } = &orders;
        let layout = Layout::new(*limbs, team.members_max);
        if (workspace.limbs(), result.limbs()) != (layout.total_limbs(), layout.limbs) {
            return Err(CodecError::Argument("a product of other sizes".to_owned()));
        }
        let groups = match factors {
            Factors::Numbers(numbers) => {
                let mut found = Vec::with_capacity(numbers.len());
                for number in numbers {
                    let at = number.find(job, Access::ReadOnly)?.cast_const();
                    // SAFETY: `find` checked the bounds; the host borrows the number until no
                    // task of the job is left, so that nobody writes to it.
                    found.push(unsafe { std::slice::from_raw_parts(at, number.limbs()) });
                }
                Groups::of_numbers(found, layout.groups_max)
            }
            &Factors::Primorial(n) => {
                Groups::of_segments(Combination::primorial(n), layout.groups_max)
            }
            &Factors::Binomial(n, k) => {
                Groups::of_segments(Combination::binomial(n, k), layout.groups_max)
            }
        };
        let at = workspace.find(job, Access::ReadWrite)?;
        // SAFETY: `find` checked the bounds; the array is the job's, kept by the host, who does
        // not look at it, until no task of it is left; members write by turns, see `part`.
        let workspace = unsafe { LimbSpan::new(at, workspace.limbs()) };
        let at = result.find(job, Access::ReadWrite)?;
        // SAFETY: as above.
        let result = unsafe { LimbSpan::new(at, result.limbs()) };
        // SAFETY: all members are told the same, workspace and result are two arrays of the
        // sizes checked above, and a job's counters begin at zero.
        Ok(unsafe { part(member, &layout, &groups, workspace, result) })
    })
}

/// Multiplies groups of factors, each by one member alone, and then the products of the groups,
/// all members together.
///
/// # Safety
///
/// - Workspace and result are as large as `layout` says, and do not overlap.
/// - All members call with the same; the team's counters are at zero.
unsafe fn part(
    team: &impl Team,
    layout: &Layout,
    groups: &Groups<'_>,
    workspace: LimbSpan,
    result: LimbSpan,
) -> std::result::Result<(), PeerDied> {
    let table = workspace.part(0, 2 * layout.groups_max);
    let products = workspace.part(table.limbs(), layout.limbs);
    let room = workspace.part(table.limbs() + layout.limbs, layout.limbs);
    let scratch = workspace.part(table.limbs() + 2 * layout.limbs, layout.scratch_limbs);
    let mut own_scratch = Vec::new();
    loop {
        // Each group has one member; so does each place that a counter gives.
        let number = team.take(GROUP, 1);
        let Some(product) = groups.product(number, &mut own_scratch) else { break };
        let offset = team.take(GROUP_LIMB, product.len());
        // SAFETY: the counter gave this place to this member alone; nobody reads it before the
        // barrier.
        unsafe { products.rest(offset).store(&product) };
        // SAFETY: as above; the entry is the group's, and that is this member's.
        unsafe { table.set_word(2 * number, offset) };
        // SAFETY: as above.
        unsafe { table.set_word(2 * number + 1, product.len()) };
    }
    team.barrier()?;
    let find = |number: usize| {
        // SAFETY: the table was complete before the barrier, and nobody writes to it after.
        let [at, limbs] = [0, 1].map(|word| unsafe { table.word(2 * number + word) });
        products.part(at, limbs)
    };
    let numbers: Vec<LimbSpan> = (0..groups.ranges.len()).map(find).collect();
    let arithmetic = TeamArithmetic { team, scratch, backend: Backend::detect() };
    let product = match *numbers {
        // SAFETY: the products are in another part of the workspace than any room, and were
        // written before the barrier.
        [number] => unsafe { arithmetic.copy(result, number)? },
        // SAFETY: as above; nobody uses the rooms otherwise.
        _ => unsafe { arithmetic.multiply_all([result, room], numbers)? },
    };
    if team.rank() == 0 {
        // SAFETY: only this member uses the word, and the host when no task is left.
        unsafe { workspace.rest(workspace.limbs() - 1).set_word(0, product.limbs()) };
    }
    Ok(())
}

/// Factors in groups, each multiplied by one member.
struct Groups<'a> {
    factors: Parts<'a>,
    ranges: Vec<Range<usize>>,
}

enum Parts<'a> {
    Numbers(Vec<&'a [u64]>),
    Segments(Combination),
}

impl<'a> Groups<'a> {
    fn of_numbers(numbers: Vec<&'a [u64]>, count_max: usize) -> Self {
        let ranges = divide(&numbers, count_max);
        Self { factors: Parts::Numbers(numbers), ranges }
    }

    /// The groups of segments that are about equally long.
    fn of_segments(combination: Combination, count_max: usize) -> Self {
        let segments = combination.segments();
        let count = count_max.min(segments);
        let bound = |i: usize| i * segments / count;
        let ranges = (0..count).map(|i| bound(i)..bound(i + 1)).collect();
        Self { factors: Parts::Segments(combination), ranges }
    }

    /// The product of group `number`; `None` if there are not so many.
    fn product(&self, number: usize, scratch: &mut Vec<u64>) -> Option<Vec<u64>> {
        let range = self.ranges.get(number)?.clone();
        Some(match &self.factors {
            Parts::Numbers(numbers) => product_of_all(&numbers[range], scratch),
            Parts::Segments(combination) => {
                let segments: Vec<Vec<u64>> = range.map(|i| combination.segment(i)).collect();
                let segments: Vec<&[u64]> = segments.iter().map(Vec::as_slice).collect();
                product_of_all(&segments, scratch)
            }
        })
    }
}

/// Divides the factors into at most `count` groups of neighbours, about equal in limbs.
fn divide(factors: &[&[u64]], count: usize) -> Vec<Range<usize>> {
    let limbs: usize = factors.iter().map(|factor| factor.len()).sum();
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut before, mut group) = (0, usize::MAX);
    for (i, factor) in factors.iter().enumerate() {
        // A factor belongs where its middle is.
        let here = (2 * before + factor.len()) * count / (2 * limbs);
        match groups.last_mut() {
            Some(last) if here == group => last.end = i + 1,
            _ => groups.push(i..i + 1),
        }
        (before, group) = (before + factor.len(), here);
    }
    groups
}
