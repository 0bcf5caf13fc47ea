//! n! by a team of workers.
#![allow(unsafe_code)]

mod layout;
mod member;
mod progress;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::compute::bigint::{Lent, SharedBigUint, grant_members, grant_scratch, reserve};
use crate::error::{Error, Result};
use crate::kernel::bigint::team_arithmetic::LimbSpan;
use crate::kernel::bigint::{self, FactorialPlan};
use crate::pool::{CodecError, Invocation, Pool, TeamJob, TeamOrders, take_part};
use crate::sys::mmap::Access;

use layout::{GROUPS_DONE, LIMBS_DONE, Layout, RESULT_LIMBS, SEGMENTS_DONE, WORDS};
use member::Memory;

/// Factorials below are computed by the caller: it takes no longer than asking.
const SHARED_MIN: u64 = 20_000;

/// What the members of a team are told of a factorial.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    n: u64,
    workspace: Lent,
    result: Lent,
}

impl Pool {
    /// n!, computed by the workers together in shared memory.
    ///
    /// Below about 20 000 it is computed by the caller. The memory needed besides the result is
    /// about eight times as much; it is reserved before the work begins, and kept for the next.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if n! has more than 2^36 limbs, [`Error::NoSpace`] with the
    /// size it takes if there is not that much memory, both before any work;
    /// [`Error::Task`] if a worker dies meanwhile, unless the pool's
    /// [`retries`](crate::PoolBuilder::retries) allow to begin again.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.factorial(20)?.limbs(), [2_432_902_008_176_640_000]);
    /// assert_eq!(pool.factorial(30_000)?.bits(), 402_909);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn factorial(&self, n: u64) -> Result<SharedBigUint> {
        self.factorial_told(n, None)
    }

    /// [`Pool::factorial`], which tells every tenth of a second about how much of the work is
    /// done, from 0 to 1, for a progress bar. `watch` is called by another thread of the caller's
    /// process.
    ///
    /// # Errors
    ///
    /// As [`Pool::factorial`].
    ///
    /// # Panics
    ///
    /// If `watch` does.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// let mut told = 0.0;
    /// let number = pool.factorial_watched(30_000, |done| told = done)?;
    /// assert_eq!((number.bits(), told), (402_909, 1.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn factorial_watched(
        &self,
        n: u64,
        mut watch: impl FnMut(f64) + Send,
    ) -> Result<SharedBigUint> {
        let number = self.factorial_told(n, Some(&mut watch))?;
        watch(1.0);
        Ok(number)
    }

    fn factorial_told(&self, n: u64, watch: Option<Watch<'_>>) -> Result<SharedBigUint> {
        let limbs = layout::check(n)?;
        if !self.has_workers() || n < SHARED_MIN {
            // The product, its factors, and twice as much for each of three transforms.
            grant_scratch(8 * limbs)?;
            return SharedBigUint::from_limbs(&bigint::factorial(n));
        }
        let core = self.core();
        let rules = self.rules();
        let job =
            TeamJob { core, name: "brigade::Pool::factorial", members_max: usize::MAX, rules };
        let layout = Layout::new(n, job.members_max())?;
        let [mut workspace, result] = reserve([layout.total_limbs, layout.result_limbs])?;
        grant_members(job.members_max(), layout.factors, layout.member_limbs)?;
        let orders = Orders { n, workspace: Lent::room(&workspace), result: Lent::room(&result) };
        workspace.as_mut_slice()[..WORDS].fill(0);
        let run = || job.run(multiply, &orders);
        match watch {
            None => run()?,
            Some(watch) => {
                let words = Words(workspace.as_mut_slice().as_mut_ptr());
                progress::while_told(run, || words.progress(&layout), watch)?;
            }
        }
        let found = workspace.as_slice()[RESULT_LIMBS];
        match usize::try_from(found) {
            Ok(limbs) if limbs <= result.len() => Ok(SharedBigUint::of_array(result, limbs)),
            _ => Err(Error::Corrupt { what: "a factorial", found: format!("{found} limbs") }),
        }
    }
}

/// What is told how much is done.
type Watch<'a> = &'a mut (dyn FnMut(f64) + Send);

/// The counts at the beginning of a workspace, which its array keeps.
struct Words(*mut u64);

// SAFETY: it is only used for atomic loads.
unsafe impl Sync for Words {}

impl Words {
    /// How much of a factorial is done.
    fn progress(&self, layout: &Layout) -> f64 {
        let count = |word: usize| {
            // SAFETY: one of the words of the workspace, which the host keeps until the job has
            // ended; members only add to it meanwhile, atomically.
            let count = unsafe { AtomicU64::from_ptr(self.0.wrapping_add(word)) };
            // Relaxed: see `LimbSpan::count`.
            count.load(Ordering::Relaxed) as f64
        };
        layout.progress(count(SEGMENTS_DONE), count(GROUPS_DONE), count(LIMBS_DONE))
    }
}

/// One member's part, in a worker.
fn multiply(job: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders)>()?;
    take_part(job, team, |job, member| {
        let refuse = |error: Error| CodecError::Argument(error.to_string());
        let layout = Layout::new(orders.n, team.members_max).map_err(refuse)?;
        let find = |room: &Lent, limbs: usize| {
            if room.limbs() != limbs {
                return Err(CodecError::Argument(format!("{room:?} instead of {limbs} limbs")));
            }
            room.find(job, Access::ReadWrite)
        };
        let workspace = find(&orders.workspace, layout.total_limbs)?;
        let result = find(&orders.result, layout.result_limbs)?;
        // SAFETY: as long as the layout says, which `find` checked, aligned as arrays of limbs
        // are, and kept by the host, who does not look at it, until no task of the job is left;
        // who writes what between which barriers is argued in `member`.
        let workspace = unsafe { LimbSpan::new(workspace, layout.total_limbs) };
        // SAFETY: as above.
        let result = unsafe { LimbSpan::new(result, layout.result_limbs) };
        let memory = Memory { workspace, result };
        let plan = FactorialPlan::new(orders.n);
        // SAFETY: both arrays are as long as the layout says, which is for the job's number of
        // tasks; all members are told the same, and a job's counters begin at zero.
        Ok(unsafe { member::factorial(member, &plan, &layout, memory) })
    })
}
