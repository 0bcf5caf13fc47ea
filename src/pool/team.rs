//! The workers that have claimed one cooperative job.
//!
//! 1. The host makes a control block and offers one task to each worker.
//! 2. A task that starts sets its bit in the roster. If the roster is closed, it returns.
//! 3. A member that reaches the first barrier waits briefly for the others, then closes the roster.
//!    From then on the members are fixed, and every barrier waits for exactly these.
//! 4. If a member dies, the fork server notifies the host, which breaks the barrier: all members
//!    that wait there, or reach it later, get [`PeerDied`].
//!
//! No member waits for a task that has not set its bit, so two concurrent jobs cannot wait for each
//! other's workers.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, TaskError};
use crate::kernel::{COUNTERS, PeerDied, Team};
use crate::pool::api::handle;
use crate::pool::driver::core::Core;
use crate::pool::driver::group::{Group, SharedArgument};
use crate::pool::record::outcome::Outcome;
use crate::pool::record::task::{TaskKind, TaskOptions, TaskRecord};
use crate::region::arena::{Contents, Span};
use crate::region::windows::Windows;
use crate::sync::team::{MEMBERS_MAX, TeamWords};
use crate::worker::backoff;
use crate::worker::call::TaskId;
use crate::worker::cpu_spread::{CpuSpread, CpuTable};
use crate::worker::invocation::{self, CodecError, Invocation, Trampoline};

/// How long the first member at the first barrier waits for workers that are still waking up.
const JOIN_TIMEOUT: Duration = Duration::from_micros(300);
/// How often a member yields while offered workers have not joined. A yield takes 0.3 us if nothing
/// else wants the processor, and a member takes work every 5 to 50 us.
const YIELDS_MAX: u32 = 256;
/// How long a member yields at a barrier before it sleeps.
const BARRIER_SPIN: Duration = Duration::from_millis(1);
/// How long it sleeps at a time; a wake-up ends the sleep.
const BARRIER_SLEEP: Duration = Duration::from_millis(200);

/// A counter on its own cache line.
#[repr(C, align(64))]
struct PaddedCounter(AtomicU64);

/// The memory that the members of a team share besides the job's own data.
///
/// | field        | written by            | read by | guard              | if the writer dies     |
/// |--------------|-----------------------|---------|--------------------|------------------------|
/// | `words`      | members; host         | all     | see [`TeamWords`]  | host breaks the team   |
/// | `cpus`       | members               | members | none: a hint       | see [`CpuTable`]       |
/// | `counters`   | members, by adding    | members | barriers           | host breaks the team   |
#[repr(C)]
struct TeamControl {
    words: TeamWords,
    cpus: CpuTable<MEMBERS_MAX>,
    counters: [PaddedCounter; COUNTERS],
}

const _: () =
    assert!(size_of::<TeamControl>() == 192 + size_of::<CpuTable<MEMBERS_MAX>>() + 64 * COUNTERS);

/// What each task of a job gets about its team, before the job's own argument.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TeamDescriptor {
    control: u64,
    /// The task's bit.
    ordinal: usize,
    /// The number of tasks.
    pub(crate) members_max: usize,
}

/// The result of one task of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum MemberResult<V> {
    /// It completed its part, and returned this.
    Done(V),
    /// It started after the members were fixed.
    NotJoined,
    /// Another member died.
    PeerDied,
}

/// A team as one of its members sees it.
pub(crate) struct Member {
    control: *const TeamControl,
    ordinal: usize,
    expected: usize,
    spread: RefCell<CpuSpread>,
    /// How often it may still yield to workers that have not joined yet.
    yields_left: Cell<u32>,
}

impl Member {
    /// Joins the team; `None` if its members are already fixed.
    ///
    /// # Errors
    ///
    /// A control block that is not inside the arena.
    pub(crate) fn join(
        windows: &Windows,
        descriptor: TeamDescriptor,
    ) -> std::result::Result<Option<Member>, CodecError> {
        let refuse = |text: String| CodecError::Argument(text);
        if descriptor.ordinal >= MEMBERS_MAX || !descriptor.control.is_multiple_of(64) {
            return Err(refuse(format!("a team of another kind: {descriptor:?}")));
        }
        let control = windows
            .write(descriptor.control, size_of::<TeamControl>())
            .map_err(|error| refuse(error.to_string()))?
            .cast::<TeamControl>();
        let member = Member {
            control,
            ordinal: descriptor.ordinal,
            expected: descriptor.members_max.min(MEMBERS_MAX),
            spread: RefCell::new(CpuSpread::new(descriptor.ordinal)),
            yields_left: Cell::new(YIELDS_MAX),
        };
        if !member.control().words.join(descriptor.ordinal) {
            return Ok(None);
        }
        member.spread.borrow_mut().rebalance(&member.control().cpus);
        Ok(Some(member))
    }

    fn control(&self) -> &TeamControl {
        // SAFETY: `join` checked bounds and alignment; the host keeps the span until no task of the
        // job is left; it contains only atomics and padding.
        unsafe { &*self.control }
    }

    /// Closes the roster, after waiting briefly for workers that may still join.
    fn close(&self) {
        backoff::spin(JOIN_TIMEOUT, || self.is_complete());
        self.control().words.close();
    }

    /// Whether no other worker can join, or is expected to.
    fn is_complete(&self) -> bool {
        let words = &self.control().words;
        words.is_closed() || words.joined().count_ones() as usize >= self.expected
    }

    /// Waits until every member has reached the barrier; see [`Team::barrier`].
    fn meet(&self) -> std::result::Result<(), PeerDied> {
        let words = &self.control().words;
        if !words.is_closed() {
            self.close();
        }
        let spin = |is_over: &dyn Fn() -> bool| backoff::spin(BARRIER_SPIN, is_over);
        if words.wait(spin, Some(BARRIER_SLEEP)) { Ok(()) } else { Err(PeerDied) }
    }

    /// Leaves the team: from now on no barrier can be complete. One that was complete counts.
    pub(crate) fn leave(&self) {
        self.control().words.abort();
    }

    /// Yields to a worker that may have been woken on this processor. It joins, and moves to
    /// another processor, instead of waiting for the end of this member's time slice.
    fn yield_to_joiners(&self) {
        let left = self.yields_left.get();
        if left > 0 {
            if self.is_complete() {
                self.yields_left.set(0);
            } else {
                self.yields_left.set(left - 1);
                thread::yield_now();
            }
        }
    }
}

// SAFETY: `rank` counts the members of lower ordinals in a roster that `meet` has closed, so it is
// different for each; `take` is one atomic addition to a shared counter; `meet` returns `Ok` only
// when as many have arrived as the closed roster has members, by Acquire and Release.
unsafe impl Team for Member {
    fn members(&self) -> usize {
        self.control().words.joined().count_ones() as usize
    }

    fn rank(&self) -> usize {
        let lower = (1 << self.ordinal) - 1;
        (self.control().words.joined() & lower).count_ones() as usize
    }

    fn take(&self, counter: usize, count: usize) -> usize {
        self.yield_to_joiners();
        // Relaxed: it hands out numbers; the barriers order the work.
        let first = self.control().counters[counter].0.fetch_add(count as u64, Ordering::Relaxed);
        usize::try_from(first).unwrap_or(usize::MAX)
    }

    fn reset(&self, counter: usize) {
        // Relaxed: the barriers on both sides order it, by `Team::reset`'s contract.
        self.control().counters[counter].0.store(0, Ordering::Relaxed);
    }

    fn barrier(&self) -> std::result::Result<(), PeerDied> {
        let met = self.meet();
        // The kernel may have moved this member, or moved another to its processor.
        self.spread.borrow_mut().rebalance(&self.control().cpus);
        met
    }
}

/// A job for a team.
pub(crate) struct TeamJob<'a> {
    pub(crate) core: &'a Core,
    pub(crate) name: &'static str,
    pub(crate) options: TaskOptions,
    /// The number of tasks. Memory of the job is reserved for that many members, so it is fixed
    /// here, whatever the pool's size becomes.
    members_max: usize,
}

impl<'a> TeamJob<'a> {
    /// A job for all workers that the pool should have now.
    pub(crate) fn new(core: &'a Core, name: &'static str, options: TaskOptions) -> TeamJob<'a> {
        TeamJob { core, name, options, members_max: core.workers().clamp(1, MEMBERS_MAX) }
    }

    /// The most members that any attempt has.
    pub(crate) fn members_max(&self) -> usize {
        self.members_max
    }

    /// Runs the job, whose members get `argument`; again after a death, if the options permit.
    /// Returns the result of one of the members.
    ///
    /// # Errors
    ///
    /// The death of a member, or another failure of a task; what the job wrote is then unspecified.
    pub(crate) fn run<O, V>(&self, trampoline: Trampoline, argument: &O) -> Result<V>
    where
        O: Serialize,
        V: DeserializeOwned,
    {
        let values = self.run_all(trampoline, argument)?;
        Ok(values.into_iter().next_back().expect("`conclude` fails if no member has a result"))
    }

    /// As [`run`](TeamJob::run), but returns the results of all members, at least one.
    ///
    /// # Errors
    ///
    /// As `run`.
    pub(crate) fn run_all<O, V>(&self, trampoline: Trampoline, argument: &O) -> Result<Vec<V>>
    where
        O: Serialize,
        V: DeserializeOwned,
    {
        let argument = SharedArgument::new(&mut |out| invocation::encode_onto(out, argument))?;
        let mut repeats_left = self.options.retries;
        loop {
            match self.run_once(trampoline, &argument) {
                Err(Error::Task(TaskError::Died(_))) if repeats_left > 0 => repeats_left -= 1,
                other => return other,
            }
        }
    }

    fn run_once<V: DeserializeOwned>(
        &self,
        trampoline: Trampoline,
        argument: &SharedArgument,
    ) -> Result<Vec<V>> {
        let span = self.core.arena.reserve(size_of::<TeamControl>(), Contents::Zeroed)?;
        let control = HostTeamControl { span, joined: Cell::new(0), causes: Cell::new(0) };
        let members_max = self.members_max;
        let on_unwind = || control.abort();
        let mut group = Group::new(self.core, argument, &on_unwind);
        let options = TaskOptions { kind: TaskKind::Team, ..self.options };
        group.submit_each(members_max, trampoline, self.name, options, |ordinal| {
            TeamDescriptor { control: control.span.offset(), ordinal, members_max }
        })?;
        // If a member fails, the others must not wait for it.
        let outcomes = group.wait_all(|state, ids| {
            let has_failed = |(ordinal, &id): (usize, &TaskId)| {
                let has_joined = control.has_joined(ordinal);
                let outcome = state.tasks.get(id).and_then(TaskRecord::outcome);
                has_joined && outcome.is_some_and(|outcome| outcome.is_err())
            };
            let failed = ids.iter().enumerate().filter(|&task| has_failed(task));
            let failed = failed.fold(0, |failed, (ordinal, _)| failed | 1 << ordinal);
            if failed != 0 {
                control.abort_because_of(failed);
            }
        });
        let part = |(ordinal, outcome)| match (control.has_joined(ordinal), outcome) {
            (false, outcome) => (Part::NotMember, outcome),
            (true, outcome) if control.is_cause(ordinal) => (Part::Cause, outcome),
            (true, outcome) => (Part::Member, outcome),
        };
        conclude(outcomes.into_iter().enumerate().map(part).collect())
    }
}

/// What a task was in its team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It had not joined.
    NotMember,
    Member,
    /// A member that failed before the barrier was broken for the others.
    Cause,
}

/// The outcome of a job, from the outcomes of its tasks and what each was.
///
/// If one member fails, the job fails. The others may return values, because they notice a failure
/// only at a barrier. A task that failed without joining had taken no work.
///
/// If several members fail, the error is that of one that was killed or died; otherwise one that is
/// not a consequence of the broken barrier, at which a member may panic.
fn conclude<V: DeserializeOwned>(outcomes: Vec<(Part, Outcome)>) -> Result<Vec<V>> {
    let (mut values, mut has_dead_member) = (Vec::new(), false);
    let (mut of_member, mut of_other): (Option<(u8, Error)>, Option<Error>) = (None, None);
    for (part, outcome) in outcomes {
        match handle::open::<MemberResult<V>>(outcome) {
            Ok(MemberResult::Done(value)) => values.push(value),
            Ok(MemberResult::NotJoined) => {}
            Ok(MemberResult::PeerDied) => has_dead_member = true,
            Err(error) if part == Part::NotMember => of_other = of_other.or(Some(error)),
            Err(error) => {
                let rank = match &error {
                    Error::Task(TaskError::Died(_)) => 0,
                    Error::Task(TaskError::TimedOut { .. }) => 1,
                    _ if part == Part::Cause => 2,
                    _ => 3,
                };
                if of_member.as_ref().is_none_or(|&(least, _)| rank < least) {
                    of_member = Some((rank, error));
                }
            }
        }
    }
    match of_member {
        Some((_, error)) => Err(error),
        None if values.is_empty() => Err(of_other.unwrap_or(Error::Task(TaskError::Cancelled))),
        // None has failed, so the barrier was broken by a member that left.
        None if has_dead_member => Err(Error::Broken { what: "the team", cause: LEFT.to_owned() }),
        None => Ok(values),
    }
}

/// The cause of a broken team if no member has failed.
const LEFT: &str = "a member returned while others waited for it at a barrier";

/// The control block as the host sees it.
struct HostTeamControl {
    span: Span,
    /// The members seen so far: a bit in the roster is never cleared.
    joined: Cell<u64>,
    /// The members that had failed when the host first broke the barrier.
    causes: Cell<u64>,
}

impl HostTeamControl {
    fn control(&self) -> &TeamControl {
        // SAFETY: the span is as large as a control block, aligned to a cache line, lives as long
        // as `self`, and contains only atomics and padding.
        unsafe { &*self.span.as_ptr().cast::<TeamControl>() }
    }

    fn has_joined(&self, ordinal: usize) -> bool {
        let joined = self.joined.get() | self.control().words.joined();
        self.joined.set(joined);
        joined >> ordinal & 1 == 1
    }

    fn is_cause(&self, ordinal: usize) -> bool {
        self.causes.get() >> ordinal & 1 == 1
    }

    /// Breaks the barrier: all members return.
    fn abort(&self) {
        self.control().words.abort();
    }

    /// The same after these members have failed. Later ones may fail because of that.
    fn abort_because_of(&self, failed: u64) {
        if self.causes.get() == 0 {
            self.causes.set(failed);
        }
        self.abort();
    }
}

/// Runs one member's part in a trampoline: join, work, report. All members return the same value,
/// or values any of which the host may use.
pub(crate) fn take_part<V: Serialize>(
    invocation: &mut Invocation<'_>,
    descriptor: TeamDescriptor,
    work: impl FnOnce(
        &Invocation<'_>,
        &Member,
    ) -> std::result::Result<std::result::Result<V, PeerDied>, CodecError>,
) -> std::result::Result<(), CodecError> {
    let took = match Member::join(invocation.windows, descriptor)? {
        None => MemberResult::NotJoined,
        Some(member) => {
            invocation.begin();
            match work(invocation, &member)? {
                Ok(value) => MemberResult::Done(value),
                Err(PeerDied) => MemberResult::PeerDied,
            }
        }
    };
    invocation.finish(&took)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitReason;
    use crate::object::transfer::LeaseList;
    use crate::pool::record::outcome::EncodedResult;
    use crate::worker::call::Encoded;
    use crate::worker::death::report;
    use crate::worker::invocation;

    fn took(took: MemberResult<u8>) -> Outcome {
        let mut bytes = Vec::new();
        invocation::encode_onto(&mut bytes, &took).unwrap();
        let leases = LeaseList::default();
        Ok(EncodedResult { bytes: Encoded::copied(bytes), leases, elapsed_ns: 0 })
    }

    fn failed() -> Outcome {
        let (message, location) = ("no".into(), "here".into());
        Err(Box::new(Error::Task(TaskError::Panicked { message, location, items: None })))
    }

    #[test]
    fn a_members_failure_fails_the_job_though_the_others_met_no_barrier() {
        let outcome = conclude::<u8>(vec![
            (Part::Member, took(MemberResult::Done(5))),
            (Part::Member, failed()),
        ]);
        assert!(matches!(outcome, Err(Error::Task(TaskError::Panicked { .. }))), "{outcome:?}");
    }

    #[test]
    fn the_failure_of_a_task_that_was_no_member_fails_nothing() {
        let outcome = conclude(vec![
            (Part::Member, took(MemberResult::Done(5))),
            (Part::NotMember, failed()),
        ]);
        assert_eq!(outcome.ok(), Some(vec![5u8]));
        let outcome = conclude(vec![
            (Part::Member, took(MemberResult::Done(5))),
            (Part::NotMember, took(MemberResult::NotJoined)),
        ]);
        assert_eq!(outcome.ok(), Some(vec![5u8]));
    }

    #[test]
    fn a_job_that_no_worker_did_has_failed() {
        assert!(
            conclude::<u8>(vec![
                (Part::NotMember, failed()),
                (Part::NotMember, took(MemberResult::NotJoined))
            ])
            .is_err()
        );
        assert!(
            conclude::<u8>(vec![
                (Part::Member, took(MemberResult::PeerDied)),
                (Part::Member, failed())
            ])
            .is_err()
        );
    }

    #[test]
    fn a_death_or_the_first_panic_is_the_error_and_not_what_followed_from_it() {
        let reason = ExitReason::Signal(6);
        let died =
            || Err(Box::new(Error::Task(TaskError::Died(Box::new(report(1, reason, None))))));
        let panicked = |message: &str| -> Outcome {
            let (message, location) = (message.to_owned(), "here".into());
            Err(Box::new(Error::Task(TaskError::Panicked { message, location, items: None })))
        };
        let outcome = conclude::<u8>(vec![(Part::Member, failed()), (Part::Cause, died())]);
        assert!(matches!(outcome, Err(Error::Task(TaskError::Died(_)))), "{outcome:?}");
        let outcome = conclude::<u8>(vec![
            (Part::Member, panicked("the team is broken")),
            (Part::Cause, panicked("the cause")),
        ]);
        assert!(outcome.unwrap_err().to_string().contains("the cause"));
    }
}
