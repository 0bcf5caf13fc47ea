//! The roster of a team, and its barrier.
//!
//! 1. A member joins by setting its bit in the roster with a compare-and-swap, unless CLOSED is
//!    set.
//! 2. A member at its first barrier sets CLOSED. From then on the members are fixed.
//! 3. A member arrives by adding one to `arrived`. The last one resets it, increments `generation`,
//!    and wakes the others, which wait for that word to change.
//! 4. If a member dies, the host sets BROKEN in the word that all wait for, and wakes them. A
//!    barrier that was complete before counts; every later one fails.
//!
//! No member ever waits for a task that has not joined: `arrived` is compared with the roster only
//! after CLOSED was set, and no bit is set after that. So two teams cannot wait for each other's
//! workers. A waiter cannot miss 3 or 4: both change the word that it compares when it falls asleep
//! (fact F1 of `docs/internals/assumptions.md`).

use std::time::Duration;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sys::futex;

/// The most members of a team: the bits of the roster without CLOSED.
pub(crate) const MEMBERS_MAX: usize = 63;
/// Set in the roster when the members are fixed.
const CLOSED: u64 = 1 << 63;
/// Set in `generation` when a member has died; the other bits count complete barriers, and wrap.
const BROKEN: u32 = 1 << 31;

/// The words that the members and the host share; zero at first.
///
/// | field        | written by             | read by | guard             | if the writer dies        |
/// |--------------|------------------------|---------|-------------------|---------------------------|
/// | `roster`     | members, by CAS        | all     | the word itself   | its bit stays; host sets BROKEN |
/// | `arrived`    | members, by adding     | members | `generation`      | host sets BROKEN          |
/// | `generation` | last to arrive; host   | members | Release / Acquire | host sets BROKEN          |
#[repr(C)]
#[derive(Debug)]
pub(crate) struct TeamWords {
    roster: AtomicU64,
    _roster: [u64; 7],
    arrived: AtomicU32,
    _arrived: [u32; 15],
    generation: AtomicU32,
    _generation: [u32; 15],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<TeamWords>() == 192);

impl TeamWords {
    #[cfg(loom)]
    pub(crate) fn new() -> TeamWords {
        TeamWords {
            roster: AtomicU64::new(0),
            _roster: [0; 7],
            arrived: AtomicU32::new(0),
            _arrived: [0; 15],
            generation: AtomicU32::new(0),
            _generation: [0; 15],
        }
    }

    /// Adds member `ordinal`, less than [`MEMBERS_MAX`]; false if the members are fixed.
    pub(crate) fn join(&self, ordinal: usize) -> bool {
        let mut roster = self.roster.load(Ordering::Acquire);
        while roster & CLOSED == 0 {
            // AcqRel: what members do after joining is ordered by the barriers.
            let (new, success) = (roster | 1 << ordinal, Ordering::AcqRel);
            match self.roster.compare_exchange(roster, new, success, Ordering::Acquire) {
                Ok(_) => return true,
                Err(current) => roster = current,
            }
        }
        false
    }

    /// The members that have joined: bit `n` is ordinal `n`.
    pub(crate) fn joined(&self) -> u64 {
        self.roster.load(Ordering::Acquire) & !CLOSED
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.roster.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Fixes the members.
    pub(crate) fn close(&self) {
        self.roster.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Waits until every member has arrived. The members are fixed. `spin` is called before each
    /// sleep with the condition that ends the wait, and returns whether it became true; a sleep
    /// takes at most `sleep_max`. Returns false if the team is broken.
    pub(crate) fn wait(
        &self,
        spin: impl Fn(&dyn Fn() -> bool) -> bool,
        sleep_max: Option<Duration>,
    ) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if generation & BROKEN != 0 {
            return false;
        }
        // AcqRel: the last to arrive has seen everything that the others did before.
        let arrived = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        if arrived == self.joined().count_ones() {
            self.complete(generation);
            return true;
        }
        let current = || self.generation.load(Ordering::Acquire);
        let is_over = || current() != generation;
        while !spin(&is_over) && !is_over() {
            futex::wait(&self.generation, generation, sleep_max);
        }
        // A barrier that was complete counts, even if a member died after it.
        current() & !BROKEN != generation
    }

    fn complete(&self, generation: u32) {
        // Relaxed: published by the generation.
        self.arrived.store(0, Ordering::Relaxed);
        let (mut current, next) = (generation, (generation + 1) & !BROKEN);
        // Release: pairs with the Acquire loads in `wait`. Only the host writes meanwhile, and it
        // only sets BROKEN, which must stay.
        while let Err(other) = self.generation.compare_exchange(
            current,
            next | current & BROKEN,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            current = other;
        }
        futex::wake(&self.generation, futex::ALL);
    }

    /// Called by the host after a death, and by a member that leaves: fails every barrier that is
    /// not complete.
    pub(crate) fn abort(&self) {
        if self.generation.fetch_or(BROKEN, Ordering::AcqRel) & BROKEN == 0 {
            futex::wake(&self.generation, futex::ALL);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::atomics::mortal::live_for;
    use loom::thread;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// Two members, the work of each, and its number of passed barriers.
    struct TeamModel {
        words: TeamWords,
        work: [AtomicU32; 2],
    }

    impl TeamModel {
        fn new() -> Arc<TeamModel> {
            let work = std::array::from_fn(|_| AtomicU32::new(0));
            Arc::new(TeamModel { words: TeamWords::new(), work })
        }

        fn wait(&self) -> bool {
            if !self.words.is_closed() {
                self.words.close();
            }
            self.words.wait(|_| false, None)
        }

        /// Joins, works, and meets the others `barriers` times; `None` if it joined too late.
        fn run(&self, ordinal: usize, barriers: u32) -> Option<u64> {
            if !self.words.join(ordinal) {
                return None;
            }
            for round in 1..=barriers {
                self.work[ordinal].store(round, Ordering::Relaxed);
                if !self.wait() {
                    break;
                }
                for (other, work) in self.work.iter().enumerate() {
                    let is_member = self.words.joined() >> other & 1 == 1;
                    assert!(!is_member || work.load(Ordering::Relaxed) >= round);
                }
            }
            Some(self.words.joined())
        }
    }

    fn members_meet(barriers: u32) {
        let shared = TeamModel::new();
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.run(1, barriers))
        };
        let own = shared.run(0, barriers);
        let outcomes = [own, other.join().unwrap()];
        let members: Vec<u64> = outcomes.into_iter().flatten().collect();
        assert!(!members.is_empty(), "the first to close the roster is a member");
        let expected = outcomes.map(|outcome| u64::from(outcome.is_some()));
        let expected = expected[0] | expected[1] << 1;
        assert!(members.iter().all(|&seen| seen == expected), "{outcomes:?}");
    }

    #[test]
    fn loom_members_agree_on_the_roster_and_meet_only_when_all_have_worked() {
        loom::model(|| members_meet(1));
    }

    #[test]
    fn loom_a_barrier_is_met_again_and_again() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| members_meet(2));
    }

    /// Kills a member before each of its operations; the host then calls `abort`.
    fn deaths_of_a_member(abort: fn(&TeamWords)) {
        let mut operations = 0;
        let has_died = Arc::new(AtomicBool::new(true));
        while has_died.swap(false, Ordering::Relaxed) {
            let has_died = Arc::clone(&has_died);
            let mut model = loom::model::Builder::new();
            model.preemption_bound = Some(3);
            model.check(move || {
                let shared = TeamModel::new();
                let [survivor, victim] = [Arc::clone(&shared), Arc::clone(&shared)];
                let survivor = thread::spawn(move || survivor.run(0, 2));
                let run = move || victim.run(1, 2);
                let victim = thread::spawn(move || live_for(operations, run).is_none());
                if victim.join().unwrap() {
                    has_died.store(true, Ordering::Relaxed);
                    abort(&shared.words);
                }
                survivor.join().unwrap();
            });
            operations += 1;
        }
        assert!(operations > 6, "a member has several operations");
    }

    #[test]
    fn loom_a_member_that_dies_leaves_no_other_waiting() {
        deaths_of_a_member(TeamWords::abort);
    }

    // A member that returns leaves, while others may still be in the last barrier.
    #[test]
    fn loom_a_member_that_leaves_does_not_break_the_barrier_that_it_has_passed() {
        loom::model(|| {
            let shared = TeamModel::new();
            let run = |shared: &TeamModel, ordinal| {
                let is_member = shared.words.join(ordinal);
                assert!(!is_member || shared.wait());
                if is_member {
                    shared.words.abort();
                }
            };
            let other = Arc::clone(&shared);
            let other = thread::spawn(move || run(&other, 1));
            run(&shared, 0);
            other.join().unwrap();
        });
    }

    // The negative control: a wake-up that does not change the word misses a member that has
    // compared it and is about to sleep.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn loom_a_wake_up_that_leaves_the_word_alone_leaves_a_member_waiting() {
        deaths_of_a_member(|words| _ = futex::wake(&words.generation, futex::ALL));
    }
}
