//! A barrier: no member continues before all have arrived.
//!
//! Members join before they wait, so the death of one is noticed at any time. A barrier breaks when
//! a member dies, when a wait times out, or by [`abort`](RawBarrier::abort). Then present and later
//! waiters get [`Error::Broken`], until [`reset`](RawBarrier::reset).
//!
//! The state is one 64-bit word; each change is one compare-and-swap:
//!
//! | resets (63-48) | phase (47-17) | BROKEN (16) | arrived (15-0)                            |
//! |----------------|---------------|-------------|-------------------------------------------|
//! | r              | p             | 0           | a < parties: so many members wait         |
//! | r              | p + 1         | 0           | 0: the last arrived, phase p continues     |
//! | r              | p             | 1           | any: all get an error                     |
//! | r + 1          | any           | 0           | 0: reset; who waited before gets an error |
//!
//! 1. A member adds itself to `arrived`; the last one instead starts the next phase and notifies.
//! 2. A waiter waits until phase, resets or BROKEN differ from the state that it stored.
//! 3. Before it sleeps, it checks whether a member has died; if so, it sets BROKEN and notifies. A
//!    sweep marks the slots of the dead and wakes all, so sleeping members check again.
//!
//! A member may die between the store that starts a phase and its notification. Then the sweep
//! notifies: the waiters find the phase started, and the next phase broken.

#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;

use crate::atomics::Ordering;
use crate::error::{Error, Result};
use crate::sync::eventcount::WaitPhase;
use crate::sync::slot_table::{
    self, FreeAtFirst, SlotPart, SlotPrimitive, SlotTable, SlotTableKind,
};
use crate::sync::timeout::Timeout;

const ARRIVED: u64 = (1 << 16) - 1;
const BROKEN: u64 = 1 << 16;
const ONE_PHASE: u64 = 1 << 17;
const ONE_RESET: u64 = 1 << 48;
const PHASES: u64 = ONE_RESET - ONE_PHASE;
const RESETS: u64 = !(ONE_RESET - 1);

/// The most members of one barrier.
pub const PARTIES_MAX: u32 = slot_table::SLOTS_MAX;

/// What makes a slot table a barrier. Each slot is for one member.
#[derive(Debug, Clone)]
pub struct BarrierPart;

impl SlotPart for BarrierPart {
    const KIND: SlotTableKind = SlotTableKind {
        magic: *b"brigbar2",
        name: "barrier",
        count: "the number of a barrier's members",
        extra: 0,
    };

    fn over(_: &SlotTable) -> BarrierPart {
        BarrierPart
    }
}

impl FreeAtFirst for BarrierPart {}

/// A barrier as one owner sees it. [`join`](RawBarrier::join) it and wait, or call
/// [`wait`](RawBarrier::wait) directly.
pub type RawBarrier = SlotPrimitive<BarrierPart>;

impl fmt::Debug for RawBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.slot_table.state().load(Ordering::Relaxed);
        f.debug_struct("RawBarrier")
            .field("parties", &self.parties())
            .field("arrived", &(state & ARRIVED))
            .field("broken", &(state & BROKEN != 0))
            .finish_non_exhaustive()
    }
}

impl RawBarrier {
    /// The number of members.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.slot_table.slots().count()
    }

    /// How many members wait in this phase. The number may be outdated at once.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let arrived = self.slot_table.state().load(Ordering::Relaxed) & ARRIVED;
        usize::try_from(arrived).map_or(self.parties(), |arrived| arrived.min(self.parties()))
    }

    /// Whether it is broken. The answer may be outdated at once.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.slot_table.state().load(Ordering::Relaxed) & BROKEN != 0
            || self.slot_table.slots().has_dead()
    }

    /// Becomes a member.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if it has all its members; those that died count until a reset.
    pub fn join(&self) -> Result<RawMember<'_>> {
        match self.slot_table.slots().claim_free(self.slot_table.token()) {
            Some(slot) => Ok(RawMember { barrier: self, slot }),
            None => {
                let capacity = format!("{} members", self.parties());
                Err(Error::Full { what: "the barrier", capacity })
            }
        }
    }

    /// Joins for this one wait, and waits as [`RawMember::wait`]. A death is noticed only during
    /// the wait, so a process that may die between two waits should [`join`](RawBarrier::join).
    ///
    /// # Errors
    ///
    /// As for [`RawMember::wait`].
    pub fn wait(&self, timeout: Timeout) -> Result<Option<bool>> {
        // Members of the previous phase may not have left yet.
        let join = |_| {
            if self.is_broken() {
                return Some(Err(self.broken("a member died, or gave up")));
            }
            self.slot_table.slots().claim_free(self.slot_table.token()).map(Ok)
        };
        match self.slot_table.wait_for(timeout, join) {
            None => Ok(None),
            Some(slot) => {
                let member = RawMember { barrier: self, slot: slot? };
                member.barrier.pass(timeout)
            }
        }
    }

    /// Breaks the barrier: present and later waiters get [`Error::Broken`].
    pub fn abort(&self) {
        self.change(|state| state | BROKEN);
    }

    /// Repairs the barrier and removes its dead members, so that others can join. Present waiters
    /// get [`Error::Broken`].
    pub fn reset(&self) {
        self.slot_table.slots().free_dead();
        self.change(|state| (state & (RESETS | PHASES)).wrapping_add(ONE_RESET));
    }

    fn change(&self, new: impl Fn(u64) -> u64) {
        let word = self.slot_table.state();
        let mut state = word.load(Ordering::Relaxed);
        // AcqRel: Release pairs with the Acquire in `pass`. Acquire preserves what earlier arrivals
        // released, whose store this one replaces.
        while let Err(now) =
            word.compare_exchange(state, new(state), Ordering::AcqRel, Ordering::Relaxed)
        {
            state = now;
        }
        self.slot_table.notify();
    }

    /// One wait of a member. `None` if the time is over, which breaks the barrier.
    fn pass(&self, timeout: Timeout) -> Result<Option<bool>> {
        let word = self.slot_table.state();
        let mut entered = word.load(Ordering::Relaxed);
        loop {
            if entered & BROKEN != 0 {
                return Err(self.broken("a member died, or gave up"));
            }
            let is_last = (entered & ARRIVED) + 1 >= self.parties() as u64;
            let arrived = if is_last {
                (entered & RESETS) | ((entered & PHASES).wrapping_add(ONE_PHASE) & PHASES)
            } else {
                entered + 1
            };
            // Release and Acquire pair with each other through the chain of these swaps: all that a
            // member wrote before it arrived is visible to all that continue.
            match word.compare_exchange(entered, arrived, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if is_last => {
                    self.slot_table.notify();
                    return Ok(Some(true));
                }
                Ok(_) => break,
                Err(now) => entered = now,
            }
        }
        let attempt = |phase| self.outcome(entered, phase);
        let outcome = self.slot_table.wait_for(timeout, attempt);
        if outcome.is_none() {
            self.break_phase(entered);
            // Unless the last member has arrived just now.
            return Ok(self.outcome(entered, WaitPhase::First).and_then(Result::ok));
        }
        outcome.transpose()
    }

    /// Whether a wait that began in state `entered` is over, and how.
    fn outcome(&self, entered: u64, phase: WaitPhase) -> Option<Result<bool>> {
        // Acquire pairs with the Release in `pass` and `change`.
        let state = self.slot_table.state().load(Ordering::Acquire);
        if (state ^ entered) & RESETS != 0 {
            return Some(Err(self.broken("it was reset")));
        }
        if (state ^ entered) & PHASES != 0 {
            return Some(Ok(false));
        }
        if state & BROKEN != 0 {
            return Some(Err(self.broken("a member died, or gave up")));
        }
        if phase == WaitPhase::BeforeSleep && self.slot_table.slots().has_dead() {
            self.break_phase(entered);
            return self.outcome(entered, WaitPhase::First);
        }
        None
    }

    /// Breaks the barrier, unless the phase that the caller entered is over.
    fn break_phase(&self, entered: u64) {
        self.change(|state| {
            let is_over = (state ^ entered) & (RESETS | PHASES) != 0;
            if is_over { state } else { state | BROKEN }
        });
    }

    #[cold]
    fn broken(&self, cause: &str) -> Error {
        Error::Broken { what: "the barrier", cause: cause.to_owned() }
    }
}

/// A member of a barrier. Dropping it leaves the barrier, and the others then wait until another
/// member joins in its place.
#[derive(Debug)]
pub struct RawMember<'a> {
    barrier: &'a RawBarrier,
    slot: usize,
}

impl RawMember<'_> {
    /// Waits until all members wait. What they wrote before is visible afterwards. Returns whether
    /// this member arrived last, which is true for one of them; `None` if `timeout` ended, which
    /// breaks the barrier for all.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if a member died or timed out, or by [`RawBarrier::abort`] or
    /// [`RawBarrier::reset`].
    pub fn wait(&mut self, timeout: Timeout) -> Result<Option<bool>> {
        self.barrier.pass(timeout)
    }
}

impl Drop for RawMember<'_> {
    fn drop(&mut self) {
        let slot_table = &self.barrier.slot_table;
        slot_table.slots().release(self.slot, slot_table.token());
        // Others may wait to join.
        slot_table.notify();
    }
}
