//! A barrier: nobody goes on before all have come.
//!
//! Members join before they wait, so that the death of one is noticed wherever it happens. A
//! barrier breaks when a member dies, when one's patience ends, or by [`abort`](Barrier::abort):
//! then all who wait, and all who come, get [`Error::Broken`], until [`reset`](Barrier::reset).
//!
//! The state is one 64-bit word, and each change of it one compare-and-swap:
//!
//! | resets (63-48) | phase (47-17) | BROKEN (16) | arrived (15-0)                            |
//! |----------------|---------------|-------------|-------------------------------------------|
//! | r              | p             | 0           | a < parties: so many members wait         |
//! | r              | p + 1         | 0           | 0: the last came, all of phase p go on    |
//! | r              | p             | 1           | any: all get an error                     |
//! | r + 1          | any           | 0           | 0: reset; who waited before gets an error |
//!
//! 1. A member adds itself to `arrived`; the last one instead starts the next phase and notifies.
//! 2. Who waits does so until phase, resets or BROKEN differ from what it left.
//! 3. Before it sleeps it looks whether a member has died. A sweep marks the slots of the dead and
//!    wakes all, so a member asleep will look again. It sets BROKEN and notifies.
//!
//! A member that dies between the store that starts a phase and its notification: the sweep makes
//! up for that; those who wait find the phase started, and the next phase broken.
#![allow(unsafe_code)]

#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::directory::WordKind;
use crate::sync::eventcount::{EventCount, Moment};
use crate::sync::owner::Owner;
use crate::sync::patience::{Patience, Watch};
use crate::sync::slots::Slots;

const ARRIVED: u64 = (1 << 16) - 1;
const BROKEN: u64 = 1 << 16;
const ONE_PHASE: u64 = 1 << 17;
const ONE_RESET: u64 = 1 << 48;
const PHASES: u64 = ONE_RESET - ONE_PHASE;
const RESETS: u64 = !(ONE_RESET - 1);

/// Most members of one barrier.
pub const PARTIES_MAX: u32 = (1 << 14) - 1;

/// Start of a barrier in shared memory; `parties` slots of four bytes follow.
///
/// | field     | written by         | read by   | guard             | if the writer dies       |
/// |-----------|--------------------|-----------|-------------------|--------------------------|
/// | `magic`   | creator, last      | attachers | Release / Acquire | barrier is not published |
/// | `parties` | creator, once      | attachers | `magic`           | the same                 |
/// | `moved`   | see `EventCount`   | members   | compare-and-swap  | sweeps wake all          |
/// | `state`   | members, resetters | the same  | compare-and-swap  | the barrier breaks       |
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct BarrierHeader {
    magic: AtomicU64,
    parties: AtomicU32,
    moved: EventCount,
    state: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<BarrierHeader>() == 24);

const MAGIC: u64 = u64::from_le_bytes(*b"brigbar1");

impl BarrierHeader {
    pub(in crate::sync) fn new(parties: u32) -> BarrierHeader {
        BarrierHeader {
            magic: AtomicU64::new(0),
            parties: AtomicU32::new(parties),
            moved: EventCount::new(),
            state: AtomicU64::new(0),
        }
    }
}

/// A barrier as one owner sees it. [`join`](Barrier::join) it to wait.
pub struct Barrier {
    header: NonNull<BarrierHeader>,
    slots: Slots,
    owner: Owner,
}

// SAFETY: header and slots are atomics, valid wherever the barrier goes by `from_parts`.
unsafe impl Send for Barrier {}
// SAFETY: as for `Send`.
unsafe impl Sync for Barrier {}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.header().state.load(Ordering::Relaxed);
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("arrived", &(state & ARRIVED))
            .field("broken", &(state & BROKEN != 0))
            .finish_non_exhaustive()
    }
}

impl Barrier {
    /// The alignment that a barrier needs, in bytes.
    pub const ALIGN: usize = 64;

    /// The size of a barrier for so many members, in bytes.
    #[must_use]
    pub const fn size_bytes(parties: u32) -> usize {
        size_of::<BarrierHeader>() + parties as usize * size_of::<AtomicU32>()
    }

    /// Writes a new barrier at `place`, and enters its words into the directory of `owner`'s
    /// table: two entries.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `parties` is 0 or above [`PARTIES_MAX`], or if `place` is
    /// not in the table's region; [`Error::Full`] if the table's directory is.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Barrier::ALIGN`] and valid for [`Barrier::size_bytes`]`(parties)`
    ///   bytes, for as long as the barrier is used;
    /// - nobody else uses those bytes until this returns, and afterwards only through barriers.
    #[cfg(not(loom))]
    pub unsafe fn create(place: NonNull<u8>, parties: u32, owner: &Owner) -> Result<Barrier> {
        if !(1..=PARTIES_MAX).contains(&parties) {
            let expected = format!("1 to {PARTIES_MAX}");
            return Err(Error::invalid("the number of a barrier's members", parties, expected));
        }
        let header = place.cast::<BarrierHeader>();
        // SAFETY: aligned and valid for a header, unused by others: contract.
        unsafe { header.write(BarrierHeader::new(parties)) };
        let slots = slots_of(header, parties as usize);
        // SAFETY: the slots lie within `size_bytes`, unused by others: contract.
        unsafe { slots.cast::<AtomicU32>().write_bytes(0, parties as usize) };
        // SAFETY: both were written above.
        let barrier = unsafe { Barrier::from_parts(header, slots, owner) };
        barrier.register()?;
        // Release pairs with the Acquire in `attach`.
        barrier.header().magic.store(MAGIC, Ordering::Release);
        Ok(barrier)
    }

    /// Uses the barrier that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is no barrier there, or it does not fit into `place_bytes`.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Barrier::ALIGN`] and valid for `place_bytes` bytes, for as long
    ///   as the barrier is used;
    /// - whoever else uses those bytes does so by atomics: through barriers, or hostile;
    /// - `owner` belongs to the table that the creator of the barrier used.
    #[cfg(not(loom))]
    pub unsafe fn attach(place: NonNull<u8>, place_bytes: usize, owner: &Owner) -> Result<Barrier> {
        let layout = |found: String| Error::Layout {
            place: "barrier".to_owned(),
            found,
            expected: format!("a barrier within {place_bytes} bytes"),
        };
        if place_bytes < size_of::<BarrierHeader>() {
            return Err(layout("less than a header".to_owned()));
        }
        let header = place.cast::<BarrierHeader>();
        // SAFETY: aligned by the contract, valid as checked above, all atomics.
        let shared = unsafe { header.as_ref() };
        // Acquire pairs with the Release in `create`.
        let magic = shared.magic.load(Ordering::Acquire);
        let parties = shared.parties.load(Ordering::Relaxed);
        if magic != MAGIC
            || !(1..=PARTIES_MAX).contains(&parties)
            || Barrier::size_bytes(parties) > place_bytes
        {
            return Err(layout(format!("magic {magic:#018x} and {parties} members")));
        }
        // SAFETY: checked: both lie within `place_bytes`.
        Ok(unsafe { Barrier::from_parts(header, slots_of(header, parties as usize), owner) })
    }

    /// # Safety
    ///
    /// Header and slots are initialised, stay valid while the barrier or a member of it is used,
    /// and are atomics to all.
    pub(in crate::sync) unsafe fn from_parts(
        header: NonNull<BarrierHeader>,
        slots: NonNull<[AtomicU32]>,
        owner: &Owner,
    ) -> Barrier {
        // SAFETY: the contract.
        let slots = unsafe { Slots::new(slots) };
        Barrier { header, slots, owner: owner.clone() }
    }

    pub(in crate::sync) fn register(&self) -> Result<()> {
        let table = self.owner.table();
        self.slots.register(table)?;
        table.register(WordKind::Count, NonNull::from(&self.header().moved).cast(), 1)
    }

    /// Takes the barrier's words out of the directory, before its memory serves something else.
    pub fn unregister(&self) {
        let table = self.owner.table();
        self.slots.unregister(table);
        table.unregister(WordKind::Count, NonNull::from(&self.header().moved).cast(), 1);
    }

    #[inline]
    fn header(&self) -> &BarrierHeader {
        // SAFETY: valid and all atomics while `self` exists: contract of `from_parts`.
        unsafe { self.header.as_ref() }
    }

    /// How many members it takes.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.slots.count()
    }

    /// Whether it is broken. It may break before the caller has looked at the answer.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.header().state.load(Ordering::Relaxed) & BROKEN != 0 || self.slots.has_dead()
    }

    /// Becomes a member.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if there are as many as it takes: members that died count until a reset.
    pub fn join(&self) -> Result<Member<'_>> {
        match self.slots.claim_free(self.owner.token()) {
            Some(slot) => Ok(Member { barrier: self, slot }),
            None => {
                let capacity = format!("{} members", self.parties());
                Err(Error::Full { what: "the barrier", capacity })
            }
        }
    }

    /// Breaks the barrier: all who wait and all who come get [`Error::Broken`].
    pub fn abort(&self) {
        self.change(|state| state | BROKEN);
    }

    /// Makes the barrier new: not broken, and without its dead members, so that others can join.
    /// Who waits at this time gets [`Error::Broken`].
    pub fn reset(&self) {
        self.slots.bury_dead();
        self.change(|state| (state & (RESETS | PHASES)).wrapping_add(ONE_RESET));
    }

    fn change(&self, new: impl Fn(u64) -> u64) {
        let word = &self.header().state;
        let mut state = word.load(Ordering::Relaxed);
        // AcqRel: Release pairs with the Acquire in `pass`; Acquire keeps what arrivals before
        // it released, since it replaces their store.
        while let Err(now) =
            word.compare_exchange(state, new(state), Ordering::AcqRel, Ordering::Relaxed)
        {
            state = now;
        }
        self.header().moved.notify();
    }

    /// One wait of a member. `None` if patience ended, which breaks the barrier.
    fn pass(&self, patience: Patience) -> Result<Option<bool>> {
        let word = &self.header().state;
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
            // Release and Acquire pair with each other: what any member wrote before it came is
            // visible to all who go on, through the chain of these swaps.
            match word.compare_exchange(entered, arrived, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if is_last => {
                    self.header().moved.notify();
                    return Ok(Some(true));
                }
                Ok(_) => break,
                Err(now) => entered = now,
            }
        }
        let attempt = |moment| self.outcome(entered, moment);
        let outcome = self.header().moved.wait_for(patience, self.owner.watch(), attempt);
        if outcome.is_none() {
            self.break_phase(entered);
            // Unless the last member came at the last moment.
            return Ok(self.outcome(entered, Moment::First).and_then(Result::ok));
        }
        outcome.transpose()
    }

    /// Whether a wait that began in state `entered` is over, and how.
    fn outcome(&self, entered: u64, moment: Moment) -> Option<Result<bool>> {
        // Acquire pairs with the Release in `pass` and `change`.
        let state = self.header().state.load(Ordering::Acquire);
        if (state ^ entered) & RESETS != 0 {
            return Some(Err(self.broken("it was reset")));
        }
        if (state ^ entered) & PHASES != 0 {
            return Some(Ok(false));
        }
        if state & BROKEN != 0 {
            return Some(Err(self.broken("a member died, or gave up")));
        }
        if moment == Moment::BeforeSleep {
            if self.owner.watch() == Watch::Waiters {
                self.owner.table().sweep_dead();
            }
            if self.slots.has_dead() {
                self.break_phase(entered);
                return self.outcome(entered, Moment::First);
            }
        }
        None
    }

    /// Breaks the barrier, unless the phase that was entered is over.
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

#[cfg(not(loom))]
fn slots_of(header: NonNull<BarrierHeader>, parties: usize) -> NonNull<[AtomicU32]> {
    // SAFETY: the slots follow the header in one span, by the contracts of the callers.
    let first = unsafe { header.add(1) }.cast();
    NonNull::slice_from_raw_parts(first, parties)
}

/// One of a barrier's members. Dropping it leaves the barrier, whose others then wait for
/// somebody to join in its place.
#[derive(Debug)]
pub struct Member<'a> {
    barrier: &'a Barrier,
    slot: usize,
}

impl Member<'_> {
    /// Waits until all members wait, without a bound. All that they wrote before is visible
    /// after. Returns whether this was the last to come: true for one of them.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if a member died or gave up, or by [`Barrier::abort`] or
    /// [`Barrier::reset`].
    pub fn wait(&mut self) -> Result<bool> {
        loop {
            // Endless patience ends with an outcome; the loop is for the compiler.
            if let Some(is_last) = self.barrier.pass(Patience::Endless)? {
                return Ok(is_last);
            }
        }
    }

    /// As [`wait`](Member::wait), at most for `timeout`; then the barrier breaks for all.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`wait`](Member::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<bool> {
        self.barrier
            .pass(Patience::lasting(timeout))?
            .ok_or(Error::TimedOut { what: "the barrier", after: timeout })
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.barrier.slots.release(self.slot, self.barrier.owner.token());
    }
}
