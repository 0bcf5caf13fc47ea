//! Who holds which end of a pipe.
//!
//! Each side of a pipe has a row of slots. A process that has handles of an end holds one, and so
//! does a handle on its way to a task: its slot is the host's until the worker that decodes it
//! takes it over, by one compare-and-swap, so there is no moment at which the end has no holder.
//! The slots are in the directory: a death leaves OWNER_DIED in them.
//!
//! A slot's serial number tells one claim of a process from its next: a lease that was taken over
//! finds another number, and gives up nothing.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::atomics::{AtomicU32, Ordering};
use crate::error::{Error, Result};
use crate::sync::{Holder, Owner, OwnerTable, Slots, Token};
use crate::sys::per_process::PerProcess;

/// Processes, and handles on their way, that can hold one end at once.
const HOLDERS: usize = 64;

/// The words, in front of a pipe's rings; the first index is the side.
///
/// | field     | written by                | read by | guard            | if the writer dies     |
/// |-----------|---------------------------|---------|------------------|------------------------|
/// | `holders` | see `Slots`               | all     | compare-and-swap | a sweep: OWNER_DIED    |
/// | `serials` | a slot's holder, after it | who     | the slot, and a  | it is written anew     |
/// |           | claimed it                | holds   | private mutex    | with the next claim    |
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Words {
    holders: [[AtomicU32; HOLDERS]; 2],
    serials: [[AtomicU32; HOLDERS]; 2],
}

const _: () = assert!(size_of::<Words>() == 1024);
const _: () = assert!(size_of::<Words>().is_multiple_of(crate::sync::Ring::ALIGN));

/// Runs of futex words among them.
pub(super) const ENTRIES: u32 = 2;

/// An end of a pipe: 0 or 1.
pub(super) type Side = usize;

/// A slot that this process holds.
#[derive(Debug)]
pub(super) struct Claim {
    side: Side,
    index: usize,
    serial: u32,
}

/// A claim on its way to another process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Transit {
    side: u32,
    index: u32,
    /// 0: it stays with who sent it.
    serial: u32,
    token: u32,
}

impl Transit {
    /// Which end travels, if it can be one.
    pub(super) fn side(&self) -> Option<Side> {
        usize::try_from(self.side).ok().filter(|&side| side < 2)
    }
}

/// The latest serial number of this process. Its lock is held from a claim to its number, and from
/// a look at a number to what follows from it.
static LATEST: PerProcess<Mutex<u32>> = PerProcess::new(Mutex::default);

fn latest() -> MutexGuard<'static, u32> {
    // A number on its own, whole at any time.
    LATEST.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// The words as one process sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    words: NonNull<Words>,
    holders: [Slots; 2],
}

// SAFETY: the words are atomics, valid wherever this goes by the contract of `new`.
unsafe impl Send for Ends {}
// SAFETY: as for `Send`.
unsafe impl Sync for Ends {}

impl Ends {
    /// # Safety
    ///
    /// - `place` is aligned for [`Words`] and valid for them as long as this is used; they are zero
    ///   at first, and written by atomics only.
    pub(super) unsafe fn new(place: NonNull<u8>) -> Ends {
        let words = place.cast::<Words>();
        // SAFETY: valid, by the contract.
        let rows = unsafe { &words.as_ref().holders };
        let holders = [NonNull::from(&rows[0]), NonNull::from(&rows[1])].map(|row| {
            // SAFETY: valid as long as this is used, and atomics, by the contract.
            unsafe { Slots::new(row) }
        });
        Ends { words, holders }
    }

    fn serials(&self, side: Side) -> &[AtomicU32; HOLDERS] {
        // SAFETY: valid and all atomics, by the contract of `new`.
        unsafe { &self.words.as_ref().serials[side] }
    }

    /// Enters the futex words into the directory. Once, by the creator.
    pub(super) fn register(&self, table: &OwnerTable) -> Result<()> {
        self.holders.iter().try_for_each(|row| row.register(table))
    }

    /// Claims a slot of a side.
    pub(super) fn claim(&self, side: Side, owner: &Owner) -> Result<Claim> {
        let mut latest = latest();
        let Some(index) = self.holders[side].claim_any(owner.token()) else {
            let capacity = format!("{HOLDERS} processes");
            return Err(Error::Full { what: "the list of a pipe's holders", capacity });
        };
        let serial = self.number(&mut latest, side, index);
        Ok(Claim { side, index, serial })
    }

    fn number(&self, latest: &mut u32, side: Side, index: usize) -> u32 {
        *latest = latest.wrapping_add(1).max(1);
        // Relaxed: read by this process, under the same lock, or by who has had it in a message.
        self.serials(side)[index].store(*latest, Ordering::Relaxed);
        *latest
    }

    /// What a message says of a claim. One that is `shared` stays with who sends it.
    pub(super) fn transit(&self, claim: &Claim, owner: &Owner, shared: bool) -> Transit {
        let small = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
        let serial = if shared { 0 } else { claim.serial };
        let (side, index) = (small(claim.side), small(claim.index));
        Transit { side, index, serial, token: owner.token().bits() }
    }

    /// Takes over a claim that was on its way, or makes another.
    pub(super) fn receive(&self, side: Side, transit: Transit, owner: &Owner) -> Result<Claim> {
        let mut latest = latest();
        let index = usize::try_from(transit.index).unwrap_or(usize::MAX);
        let serial = self.serials(side).get(index).map(|serial| serial.load(Ordering::Relaxed));
        let is_there = transit.serial != 0 && serial == Some(transit.serial);
        let from = Token::from_bits(transit.token).filter(|_| is_there);
        if from.is_some_and(|from| self.holders[side].pass_on(index, from, owner.token())) {
            let serial = self.number(&mut latest, side, index);
            return Ok(Claim { side, index, serial });
        }
        drop(latest);
        self.claim(side, owner)
    }

    /// Gives a claim up, unless it was taken over. Whether the side has no holder any more.
    pub(super) fn release(&self, claim: &Claim, owner: &Owner) -> bool {
        let latest = latest();
        let serial = self.serials(claim.side)[claim.index].load(Ordering::Relaxed);
        if serial == claim.serial {
            self.holders[claim.side].release(claim.index, owner.token());
        }
        drop(latest);
        self.is_deserted(claim.side)
    }

    /// Whether nobody holds a side; one that died since the last sweep still does.
    pub(super) fn is_deserted(&self, side: Side) -> bool {
        self.holders[side].is_unheld()
    }

    /// Whether nobody who lives holds a side.
    pub(super) fn is_dead(&self, side: Side, table: &OwnerTable) -> bool {
        let row = &self.holders[side];
        let is_alive = |index| match row.holder(index) {
            Holder::Claimed(token) => table.lives(token),
            Holder::Nobody | Holder::Dead => false,
        };
        if (0..HOLDERS).any(is_alive) {
            return false;
        }
        if !self.is_deserted(side) {
            table.sweep_dead();
        }
        self.is_deserted(side)
    }
}
