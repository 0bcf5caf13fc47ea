//! Which processes hold which end of a pipe.
//!
//! Each side of a pipe has a row of slots. A process that has handles of an end holds one slot. So
//! does a handle in transit to a task: its slot belongs to the host until the worker that decodes
//! the handle takes the slot over, by one compare-and-swap. So the end always has a holder. The
//! slots are in the directory: a death leaves OWNER_DIED in them.
//!
//! 1. A process claims a slot and stores a new serial number beside it, under its own lock.
//! 2. A message that carries the handle contains slot, serial number and token.
//! 3. The receiver compares the serial number, and changes the slot from that token to its own.
//! 4. Releasing a claim compares the serial number, and changes the slot from its own token to 0.
//!
//! The serial number distinguishes a process's claim from its next claim of the same slot. A claim
//! that was taken over finds another number or another token, so its release has no effect. The
//! sender keeps its claim until the receiver has decoded the message, or is dead: so between the
//! two parts of step 3 the slot cannot be released and claimed again.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use serde::{Deserialize, Serialize};

use super::lock_word::Token;
use super::owner::{Owner, OwnerTable};
use super::slots::Slots;
#[cfg(not(loom))]
use super::{ring::Ring, slots::Holder};
use crate::atomics::{AtomicU32, Mutex, MutexGuard, Ordering};
use crate::error::{Error, Result};
use crate::sys::per_process::PerProcess;

/// The most processes, and handles in transit, that can hold one end at once.
const HOLDERS: usize = if cfg!(loom) { 2 } else { 64 };

/// The words, placed before a pipe's rings; the first index is the side.
///
/// | field     | written by                | read by | guard            | if the writer dies     |
/// |-----------|---------------------------|---------|------------------|------------------------|
/// | `holders` | see `Slots`               | all     | compare-and-swap | a sweep: OWNER_DIED    |
/// | `serials` | a slot's holder, after it | its     | the slot, and a  | it is written anew     |
/// |           | claimed it                | holder  | private mutex    | with the next claim    |
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct EndpointWords {
    holders: [[AtomicU32; HOLDERS]; 2],
    serials: [[AtomicU32; HOLDERS]; 2],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<EndpointWords>() == 1024);
    assert!(size_of::<EndpointWords>().is_multiple_of(Ring::ALIGN));
};

/// The number of directory entries for them.
pub(crate) const ENDPOINT_ENTRIES: u32 = 2;

/// An end of a pipe: 0 or 1.
pub(crate) type PipeSide = usize;

/// A slot that this process holds.
#[derive(Debug)]
pub(crate) struct EndpointClaim {
    side: PipeSide,
    index: usize,
    serial: u32,
}

impl EndpointClaim {
    pub(crate) fn side(&self) -> PipeSide {
        self.side
    }
}

/// A claim in transit to another process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ClaimInTransit {
    side: u32,
    index: u32,
    /// 0: the claim stays with the sender.
    serial: u32,
    token: u32,
}

impl ClaimInTransit {
    /// The side of the end, if it is one.
    pub(crate) fn side(&self) -> Option<PipeSide> {
        usize::try_from(self.side).ok().filter(|&side| side < 2)
    }
}

/// The last serial number of a process. The lock is held from a claim until its number is stored,
/// and from a comparison of a number until the slot is changed.
#[derive(Debug, Default)]
pub(crate) struct Serials(Mutex<u32>);

static SERIALS: PerProcess<Serials> = PerProcess::new(Serials::default);

impl Serials {
    /// The serial numbers of this process.
    pub(crate) fn own() -> &'static Serials {
        SERIALS.get()
    }

    fn lock(&self) -> MutexGuard<'_, u32> {
        // A single number is always consistent.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The words as one process sees them.
#[derive(Debug)]
pub(crate) struct Endpoints<'a> {
    words: NonNull<EndpointWords>,
    holders: [Slots; 2],
    serials: &'a Serials,
}

// SAFETY: the words are atomics, valid wherever this goes by the contract of `new`.
unsafe impl Send for Endpoints<'_> {}
// SAFETY: as for `Send`.
unsafe impl Sync for Endpoints<'_> {}

impl Endpoints<'_> {
    /// # Safety
    ///
    /// - `words` are valid as long as this is used; they are zero at first, and are written only by
    ///   atomics.
    pub(crate) unsafe fn new(words: NonNull<EndpointWords>, serials: &Serials) -> Endpoints<'_> {
        // SAFETY: valid, by the contract.
        let rows = unsafe { &words.as_ref().holders };
        let holders = [NonNull::from(&rows[0]), NonNull::from(&rows[1])].map(|row| {
            // SAFETY: valid as long as this is used, and atomics, by the contract.
            unsafe { Slots::new(row) }
        });
        Endpoints { words, holders, serials }
    }

    fn serial(&self, side: PipeSide, index: usize) -> Option<&AtomicU32> {
        // SAFETY: valid and all atomics, by the contract of `new`.
        unsafe { &self.words.as_ref().serials[side] }.get(index)
    }

    /// Registers the futex words in the directory. Called once, by the creator.
    pub(crate) fn register(&self, table: &OwnerTable) -> Result<()> {
        self.holders.iter().try_for_each(|row| row.register(table))
    }

    /// Claims a slot of a side.
    pub(crate) fn claim(&self, side: PipeSide, owner: &Owner) -> Result<EndpointClaim> {
        let mut latest = self.serials.lock();
        let Some(index) = self.holders[side].claim_any(owner.token()) else {
            let capacity = format!("{HOLDERS} processes");
            return Err(Error::Full { what: "the list of a pipe's holders", capacity });
        };
        Ok(self.number(&mut latest, side, index))
    }

    /// Gives a new claim its serial number.
    fn number(&self, latest: &mut u32, side: PipeSide, index: usize) -> EndpointClaim {
        *latest = latest.wrapping_add(1).max(1);
        if let Some(serial) = self.serial(side, index) {
            // Relaxed: read by this process under the same lock, or by the receiver of a message
            // that contains the number.
            serial.store(*latest, Ordering::Relaxed);
        }
        EndpointClaim { side, index, serial: *latest }
    }

    /// Describes a claim for a message. A claim that is `shared` stays with the sender.
    pub(crate) fn transit(
        &self,
        claim: &EndpointClaim,
        owner: &Owner,
        shared: bool,
    ) -> ClaimInTransit {
        let small = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let serial = if shared { 0 } else { claim.serial };
        let (side, index) = (small(claim.side), small(claim.index));
        ClaimInTransit { side, index, serial, token: owner.token().bits() }
    }

    /// Takes over a claim in transit, or makes another.
    pub(crate) fn receive(
        &self,
        side: PipeSide,
        transit: ClaimInTransit,
        owner: &Owner,
    ) -> Result<EndpointClaim> {
        let mut latest = self.serials.lock();
        let index = usize::try_from(transit.index).unwrap_or(usize::MAX);
        let serial = self.serial(side, index).map(|serial| serial.load(Ordering::Relaxed));
        let is_there = transit.serial != 0 && serial == Some(transit.serial);
        let from = Token::from_bits(transit.token).filter(|_| is_there);
        if from.is_some_and(|from| self.holders[side].pass_on(index, from, owner.token())) {
            return Ok(self.number(&mut latest, side, index));
        }
        drop(latest);
        self.claim(side, owner)
    }

    /// Releases a claim, unless it was taken over. Returns whether the side has no holder left.
    pub(crate) fn release(&self, claim: &EndpointClaim, owner: &Owner) -> bool {
        let latest = self.serials.lock();
        let serial = self.serial(claim.side, claim.index);
        if serial.is_some_and(|serial| serial.load(Ordering::Relaxed) == claim.serial) {
            self.holders[claim.side].release(claim.index, owner.token());
        }
        drop(latest);
        self.has_no_holder(claim.side)
    }

    /// Whether a side has no holder. A holder that died counts until the next sweep.
    pub(crate) fn has_no_holder(&self, side: PipeSide) -> bool {
        self.holders[side].is_unheld()
    }

    /// Whether a side has no living holder.
    #[cfg(not(loom))]
    pub(crate) fn has_no_living_holder(&self, side: PipeSide, table: &OwnerTable) -> bool {
        let row = &self.holders[side];
        let is_alive = |index| match row.holder(index) {
            Holder::Claimed(token) => table.lives(token),
            Holder::Nobody | Holder::Dead => false,
        };
        if (0..HOLDERS).any(is_alive) {
            return false;
        }
        if !self.has_no_holder(side) {
            table.sweep_dead();
        }
        self.has_no_holder(side)
    }
}

#[cfg(all(test, loom))]
impl EndpointWords {
    pub(super) fn new() -> EndpointWords {
        let rows = || std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0)));
        EndpointWords { holders: rows(), serials: rows() }
    }
}
