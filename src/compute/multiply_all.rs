//! The product of many big numbers by a team of workers.
#![allow(unsafe_code)]

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::compute::bigint::{Lent, SharedBigUint};
use crate::compute::ground::{Ground, Stretch, grant_scratch, product_of_all, scratch_limbs_max};
use crate::compute::multiply::{self, SHARED_LIMBS_MIN};
use crate::error::{Error, Result};
use crate::kernel::bigint::Backend;
use crate::kernel::{Crew, Deserted};
use crate::pool::{Job, JobError, Pool, TeamJob, TeamOrders, take_part};
use crate::sys::mmap::Access;

/// Counters of the crew: the first ten are the products' own.
const GROUP: usize = 10;
const GROUP_LIMB: usize = 11;

/// Groups of numbers that are multiplied by one member each, for each member.
const GROUPS_A_MEMBER: usize = 2;

/// Members of a team at most.
const MEMBERS_MAX: usize = 64;

/// What the members of a team are told of a product of many numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    numbers: Vec<Lent>,
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
            grant_scratch(8 * limbs)?;
            let factors: Vec<&[u64]> = numbers.iter().map(|number| number.limbs()).collect();
            return SharedBigUint::from_limbs(&product_of_all(&factors, &mut Vec::new()));
        }
        self.multiply_all_shared(&numbers, limbs)
    }

    fn multiply_all_shared(
        &self,
        numbers: &[&SharedBigUint],
        limbs: usize,
    ) -> Result<SharedBigUint> {
        let (core, rules) = (self.core(), self.rules());
        let name = "brigade::Pool::multiply_all";
        let job = TeamJob { core, name, members_max: usize::MAX, rules };
        let layout = Layout::new(limbs, job.members_max());
        let workspace = SharedArray::<u64>::for_overwrite([layout.total_limbs()])?;
        let result = SharedArray::<u64>::for_overwrite([layout.limbs])?;
        let orders = Orders {
            numbers: numbers.iter().map(|number| number.lent()).collect(),
            workspace: Lent::room(&workspace),
            result: Lent::room(&result),
        };
        job.run(multiply_all, |bytes| crate::pool::encode_onto(bytes, &orders))?;
        let found = workspace.as_slice()[layout.total_limbs() - 1];
        match usize::try_from(found) {
            Ok(limbs) if limbs <= result.len() => Ok(SharedBigUint::of_array(result, limbs)),
            _ => Err(Error::Corrupt { what: "a product", found: format!("{found} limbs") }),
        }
    }
}

/// One member's part, in a worker.
fn multiply_all(job: &mut Job<'_>) -> std::result::Result<(), JobError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders)>()?;
    take_part(job, team, |job, member| {
        let Orders { numbers, workspace, result } = &orders;
        let limbs = numbers.iter().map(Lent::limbs).sum();
        let layout = Layout::new(limbs, team.members_max);
        if (workspace.limbs(), result.limbs()) != (layout.total_limbs(), layout.limbs) {
            return Err(JobError::Argument("a product of other sizes".to_owned()));
        }
        let mut factors = Vec::with_capacity(numbers.len());
        for number in numbers {
            let at = number.find(job, Access::ReadOnly)?;
            // SAFETY: `find` checked the bounds; the host borrows the number until no task of the
            // job is left, so that nobody writes to it.
            factors.push(unsafe { std::slice::from_raw_parts(at.cast_const(), number.limbs()) });
        }
        let at = workspace.find(job, Access::ReadWrite)?;
        // SAFETY: `find` checked the bounds; the array is the job's, kept by the host, who does
        // not look at it, until no task of it is left; members write by turns, see `part`.
        let workspace = unsafe { Stretch::new(at, workspace.limbs()) };
        let at = result.find(job, Access::ReadWrite)?;
        // SAFETY: as above.
        let result = unsafe { Stretch::new(at, result.limbs()) };
        // SAFETY: all members are told the same, workspace and result are two arrays of the
        // sizes checked above, and a job's counters begin at zero.
        Ok(unsafe { part(member, &layout, &factors, workspace, result) })
    })
}

/// Multiplies groups of factors, each by one member alone, and then the products of the groups,
/// all members together.
///
/// # Safety
///
/// - Workspace and result are as large as `layout` says, and do not overlap.
/// - All members call with the same; the crew's counters are at zero.
unsafe fn part(
    crew: &impl Crew,
    layout: &Layout,
    factors: &[&[u64]],
    workspace: Stretch,
    result: Stretch,
) -> std::result::Result<(), Deserted> {
    let table = workspace.part(0, 2 * layout.groups_max);
    let products = workspace.part(table.limbs(), layout.limbs);
    let room = workspace.part(table.limbs() + layout.limbs, layout.limbs);
    let scratch = workspace.part(table.limbs() + 2 * layout.limbs, layout.scratch_limbs);
    let groups = divide(factors, layout.groups_max);
    let mut own_scratch = Vec::new();
    loop {
        // Each group has one member; so does each place that a counter gives.
        let number = crew.take(GROUP, 1);
        let Some(group) = groups.get(number) else { break };
        let product = product_of_all(&factors[group.clone()], &mut own_scratch);
        let offset = crew.take(GROUP_LIMB, product.len());
        products.rest(offset).store(&product);
        table.set_word(2 * number, offset);
        table.set_word(2 * number + 1, product.len());
    }
    crew.barrier()?;
    let find = |number| products.part(table.word(2 * number), table.word(2 * number + 1));
    let numbers: Vec<Stretch> = (0..groups.len()).map(find).collect();
    let ground = Ground { crew, scratch, backend: Backend::detect() };
    let product = match *numbers {
        // SAFETY: the products are in another part of the workspace than any room, and were
        // written before the barrier.
        [number] => unsafe { ground.copy(result, number)? },
        // SAFETY: as above; nobody uses the rooms otherwise.
        _ => unsafe { ground.multiply_all([result, room], numbers)? },
    };
    if crew.rank() == 0 {
        workspace.rest(workspace.limbs() - 1).set_word(0, product.limbs());
    }
    Ok(())
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
