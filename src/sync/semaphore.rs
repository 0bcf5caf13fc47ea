//! A semaphore whose permits know who holds them.
//!
//! It gives out a fixed number of permits; who finds none waits. A permit goes back when it is
//! dropped, or when its holder dies, so none is ever lost, and none can be given back twice. (A
//! plain counter, as of POSIX or Python, can do neither.) Whoever gets a permit that a dead
//! holder left is told: what it stood for may be half done.
//!
//! 1. Each permit is a slot, and taking one is a single store of the owner's token.
//! 2. Giving it back is a single store too; then who sleeps is notified.
//! 3. A sweep marks the slots of the dead and notifies, so that a sleeper finds them.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use super::directory::WordKind;
use super::eventcount::{EventCount, Moment};
use super::owner::Owner;
use super::patience::{Patience, Watch};
use super::slots::Slots;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// Most permits of one semaphore.
pub const PERMITS_MAX: u32 = (1 << 14) - 1;

/// Start of a semaphore in shared memory; `permits` slots of four bytes follow.
///
/// | field      | written by       | read by   | guard             | if the writer dies         |
/// |------------|------------------|-----------|-------------------|----------------------------|
/// | `magic`    | creator, last    | attachers | Release / Acquire | it is not published        |
/// | `permits`  | creator, once    | attachers | `magic`           | the same                   |
/// | `released` | see `EventCount` | all       | compare-and-swap  | sweeps notify in its place |
#[repr(C)]
#[derive(Debug)]
struct SemaphoreHeader {
    magic: AtomicU64,
    permits: AtomicU32,
    released: EventCount,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SemaphoreHeader>() == 16);

const MAGIC: u64 = u64::from_le_bytes(*b"brigsem1");

/// A semaphore as one owner sees it.
pub struct Semaphore {
    header: NonNull<SemaphoreHeader>,
    slots: Slots,
    owner: Owner,
}

// SAFETY: header and slots are atomics, valid wherever it goes by `create` and `attach`.
unsafe impl Send for Semaphore {}
// SAFETY: as for `Send`.
unsafe impl Sync for Semaphore {}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("permits", &self.permits())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl Semaphore {
    /// The alignment that a semaphore needs, in bytes.
    pub const ALIGN: usize = 64;

    /// The size of a semaphore of so many permits, in bytes.
    #[must_use]
    pub const fn size_bytes(permits: u32) -> usize {
        size_of::<SemaphoreHeader>() + permits as usize * size_of::<AtomicU32>()
    }

    /// Writes a new semaphore at `place`, and enters its words into the directory of `owner`'s
    /// table: two entries.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `permits` is 0 or above [`PERMITS_MAX`], or if `place` is
    /// not in the table's region; [`Error::Full`] if the table's directory is.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Semaphore::ALIGN`] and valid for
    ///   [`Semaphore::size_bytes`]`(permits)` bytes, for as long as the semaphore is used;
    /// - nobody else uses those bytes until this returns, and afterwards only through semaphores.
    #[cfg(not(loom))]
    pub unsafe fn create(place: NonNull<u8>, permits: u32, owner: &Owner) -> Result<Semaphore> {
        if !(1..=PERMITS_MAX).contains(&permits) {
            let expected = format!("1 to {PERMITS_MAX}");
            return Err(Error::invalid("the number of permits", permits, expected));
        }
        let header = place.cast::<SemaphoreHeader>();
        let fresh = SemaphoreHeader {
            magic: AtomicU64::new(0),
            permits: AtomicU32::new(permits),
            released: EventCount::new(),
        };
        // SAFETY: aligned and valid for a header, unused by others: contract.
        unsafe { header.write(fresh) };
        // SAFETY: the slots follow the header within `size_bytes`.
        let first = unsafe { header.add(1) }.cast::<AtomicU32>();
        // SAFETY: within `size_bytes`, unused by others: contract.
        unsafe { first.write_bytes(0, permits as usize) };
        // SAFETY: both were written above.
        let semaphore = unsafe { Semaphore::over(header, permits, owner) };
        semaphore.slots.register(owner.table())?;
        owner.table().register(WordKind::Count, semaphore.released_word(), 1)?;
        // Release pairs with the Acquire in `attach`.
        semaphore.header().magic.store(MAGIC, Ordering::Release);
        Ok(semaphore)
    }

    /// Uses the semaphore that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is none there, or it does not fit into `place_bytes`.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Semaphore::ALIGN`] and valid for `place_bytes` bytes, for as long
    ///   as the semaphore is used;
    /// - whoever else uses those bytes does so by atomics: through semaphores, or hostile;
    /// - `owner` belongs to the table that the creator of the semaphore used.
    #[cfg(not(loom))]
    pub unsafe fn attach(
        place: NonNull<u8>,
        place_bytes: usize,
        owner: &Owner,
    ) -> Result<Semaphore> {
        let layout = |found: String| Error::Layout {
            place: "semaphore".to_owned(),
            found,
            expected: format!("a semaphore within {place_bytes} bytes"),
        };
        if place_bytes < size_of::<SemaphoreHeader>() {
            return Err(layout("less than a header".to_owned()));
        }
        let header = place.cast::<SemaphoreHeader>();
        // SAFETY: aligned by the contract, valid as checked above, all atomics.
        let shared = unsafe { header.as_ref() };
        // Acquire pairs with the Release in `create`.
        let magic = shared.magic.load(Ordering::Acquire);
        let permits = shared.permits.load(Ordering::Relaxed);
        if magic != MAGIC
            || !(1..=PERMITS_MAX).contains(&permits)
            || Semaphore::size_bytes(permits) > place_bytes
        {
            return Err(layout(format!("magic {magic:#018x} and {permits} permits")));
        }
        // SAFETY: checked: header and slots lie within `place_bytes`.
        Ok(unsafe { Semaphore::over(header, permits, owner) })
    }

    /// # Safety
    ///
    /// Header and slots are initialised, and stay valid while the semaphore is used.
    #[cfg(not(loom))]
    unsafe fn over(header: NonNull<SemaphoreHeader>, permits: u32, owner: &Owner) -> Semaphore {
        // SAFETY: the slots follow the header in one span, by the contract.
        let first = unsafe { header.add(1) }.cast::<AtomicU32>();
        let words = NonNull::slice_from_raw_parts(first, permits as usize);
        // SAFETY: the contract.
        let slots = unsafe { Slots::new(words) };
        Semaphore { header, slots, owner: owner.clone() }
    }

    /// Takes the semaphore's words out of the directory, before its memory serves something else.
    pub fn unregister(&self) {
        let table = self.owner.table();
        self.slots.unregister(table);
        table.unregister(WordKind::Count, self.released_word(), 1);
    }

    fn released_word(&self) -> NonNull<AtomicU32> {
        NonNull::from(&self.header().released).cast()
    }

    fn header(&self) -> &SemaphoreHeader {
        // SAFETY: valid and all atomics while `self` exists: contract of `over`.
        unsafe { self.header.as_ref() }
    }

    /// How many permits there are.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.slots.count()
    }

    /// How many permits nobody holds. Others may take or return some before the caller has
    /// looked at the answer.
    #[must_use]
    pub fn available(&self) -> usize {
        self.slots.unheld()
    }

    /// Takes a permit; waits for one, without a bound.
    pub fn acquire(&self) -> Permit<'_> {
        loop {
            // Endless patience ends with a permit; the loop is for the compiler.
            if let Some(permit) = self.acquire_within(Patience::Endless) {
                return permit;
            }
        }
    }

    /// Takes a permit if there is one. Never waits.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        self.acquire_within(Patience::Never)
    }

    /// Takes a permit; waits for one at most for `timeout`, by CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if none came free in that time.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_within(Patience::lasting(timeout))
            .ok_or(Error::TimedOut { what: "a permit", after: timeout })
    }

    fn acquire_within(&self, patience: Patience) -> Option<Permit<'_>> {
        let attempt = |moment| {
            if moment == Moment::BeforeSleep && self.owner.watch() == Watch::Waiters {
                self.owner.table().sweep_dead();
            }
            let (slot, recovered) = self.slots.claim_any(self.owner.token())?;
            Some(Permit { semaphore: self, slot, recovered })
        };
        self.header().released.wait_for(patience, self.owner.watch(), attempt)
    }
}

/// A permit, held. Dropping it gives it back.
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    slot: usize,
    recovered: bool,
}

impl Permit<'_> {
    /// Whether its last holder died while it held it. Said once.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.slots.release(self.slot, self.semaphore.owner.token());
        self.semaphore.header().released.notify();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::arena::Arena;

    fn with_semaphore(permits: u32, test: impl FnOnce(&Arena, &Semaphore)) {
        let arena = Arena::new();
        // SAFETY: the place is the arena's, aligned and large enough for a few permits.
        let semaphore = unsafe { Semaphore::create(arena.place(), permits, &arena.owner()) };
        test(&arena, &semaphore.unwrap());
    }

    #[test]
    fn there_are_as_many_permits_as_asked_for() {
        with_semaphore(3, |_, semaphore| {
            let held: Vec<Permit> = std::iter::from_fn(|| semaphore.try_acquire()).collect();
            assert_eq!((held.len(), semaphore.available()), (3, 0));
            let refused = semaphore.acquire_timeout(Duration::from_millis(1));
            assert!(matches!(refused, Err(Error::TimedOut { what: "a permit", .. })));
            drop(held);
            assert_eq!(semaphore.available(), 3);
        });
    }

    #[test]
    fn no_more_threads_than_permits_are_inside() {
        with_semaphore(2, |_, semaphore| {
            let inside = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            let permit = semaphore.acquire();
                            assert!(inside.fetch_add(1, Ordering::Relaxed) < 2);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::Relaxed);
                            drop(permit);
                        }
                    });
                }
            });
            assert_eq!(semaphore.available(), 2);
        });
    }

    #[test]
    fn a_permit_of_a_dead_holder_is_found_by_who_waits_and_says_so_once() {
        with_semaphore(1, |arena, semaphore| {
            let dead = arena.dead_owner();
            let room = Semaphore::size_bytes(1);
            // SAFETY: the place is the arena's, and has that much room.
            let theirs = unsafe { Semaphore::attach(arena.place(), room, &dead) }.unwrap();
            std::mem::forget(theirs.acquire());
            assert!(semaphore.acquire().recovered());
            assert!(!semaphore.acquire().recovered());
        });
    }

    #[test]
    fn numbers_of_permits_out_of_range_and_other_bytes_are_refused() {
        with_semaphore(2, |arena, semaphore| {
            let owner = arena.owner();
            for permits in [0, PERMITS_MAX + 1] {
                // SAFETY: refused before anything is written.
                let refused = unsafe { Semaphore::create(arena.place(), permits, &owner) };
                assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
            }
            semaphore.header().permits.store(3, Ordering::Relaxed);
            for room in [8, 24] {
                // SAFETY: the place is the arena's, and has that much room.
                let refused = unsafe { Semaphore::attach(arena.place(), room, &owner) };
                assert!(matches!(refused, Err(Error::Layout { .. })));
            }
        });
    }
}
