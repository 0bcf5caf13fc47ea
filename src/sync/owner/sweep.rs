//! The sweep: frees the locks of dead owners.
#![allow(unsafe_code)]

use super::table::{OwnerEntry, OwnerTable};
use crate::atomics::Ordering;
use crate::sync::directory::WordKind;
use crate::sync::eventcount;
use crate::sync::lock_word::{TOKEN, Token, mark_word};
use crate::sys::futex::{self, ALL};

impl OwnerTable {
    /// Takes the locks of a dead owner away from it, wakes all that may wait for it, and frees its
    /// entry. Returns how many locks it held.
    ///
    /// The three steps are [`mark_dead`](OwnerTable::mark_dead),
    /// [`wake_all`](OwnerTable::wake_all) and the freeing, in this order; a sweeper that dies
    /// between them leaves the entry, and the next sweep of the token repeats them all. Several
    /// sweeps of one token may run at once.
    ///
    /// # Safety
    ///
    /// - The process that claimed `dead` has ended (its pidfd is readable, or it was waited for),
    ///   or will never use a lock or guard of this table again. A sweep of one that goes on
    ///   would let two owners into one lock.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// std::mem::forget(lock.lock());
    /// // SAFETY: this owner never uses a lock or guard again.
    /// assert_eq!(unsafe { table.sweep(owner.token()) }, 1);
    /// let next = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: the same lock.
    /// let lock = unsafe { RobustLock::new(place.add(1024).cast(), &next) };
    /// assert!(lock.lock().recovered());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn sweep(&self, dead: Token) -> usize {
        // SAFETY: the contract.
        let marked = unsafe { self.mark_dead(dead) };
        self.wake_all();
        self.free_entry(dead);
        marked
    }

    /// As [`sweep`](OwnerTable::sweep), for an owner that leaves in order: it has completed every
    /// operation, so it wakes others only if it has left a lock behind.
    ///
    /// # Safety
    ///
    /// - As for [`sweep`](OwnerTable::sweep).
    pub(in crate::sync) unsafe fn leave(&self, token: Token) {
        // SAFETY: the contract.
        if unsafe { self.mark_dead(token) } > 0 {
            self.wake_all();
        }
        self.free_entry(token);
    }

    /// First step of a sweep: swaps the dead owner's token to OWNER_DIED in each lock word.
    /// Returns how many there were.
    ///
    /// This step alone is not a sweep: an owner that died between unlocking and its wake-up has
    /// left no token, but a sleeper.
    ///
    /// # Safety
    ///
    /// - As for [`sweep`](OwnerTable::sweep).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// std::mem::forget(lock.lock());
    /// // SAFETY: this owner never uses a lock or guard again.
    /// assert_eq!(unsafe { table.mark_dead(owner.token()) }, 1);
    /// assert!(!lock.is_locked());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn mark_dead(&self, dead: Token) -> usize {
        let mut marked = 0;
        self.directory().for_each(|kind, word| {
            if kind == WordKind::Lock && mark_word(word, dead) {
                marked += 1;
            }
        });
        marked
    }

    /// The number of sweeps, modulo 2^32. A waiter that sees it change tests its condition again: a
    /// dead process may have changed the condition without notifying.
    pub(in crate::sync) fn sweeps(&self) -> u32 {
        self.header().sweeps.load(Ordering::Acquire)
    }

    /// Second step of a sweep: wakes the sleepers of every word.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RawEvent, Timeout, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a manual-reset event.
    /// # let event = unsafe { RawEvent::new(place.add(1024).cast(), Watch::Waiters) };
    /// # event.register(&table)?;
    /// // Sleepers check their condition again, and sleep on: the event is not set.
    /// table.wake_all();
    /// assert!(!event.wait(Timeout::Now));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wake_all(&self) {
        // Before the wake-ups, so that the woken see it. Release pairs with the Acquire in
        // `sweeps`.
        self.header().sweeps.fetch_add(1, Ordering::Release);
        self.directory().for_each(|kind, word| {
            if kind == WordKind::Count {
                eventcount::notify(word);
            }
            futex::wake(word, ALL);
        });
    }

    /// Sweeps every owner whose process has ended. Returns their number.
    ///
    /// Takes about 10 us for each owner, so it is for programs without a supervisor, and for
    /// reclaiming. It reads the directory once, however many owners have ended, or entries were
    /// forged.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// assert_eq!(table.sweep_dead(), 0, "the only owner lives");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sweep_dead(&self) -> usize {
        // The process has ended: its pidfd is readable, its pid is free, or its pid was given to a
        // process with another start time.
        let ended = |entry: &OwnerEntry| {
            let (pid, token) = entry.claimant()?;
            (!entry.lives(pid, token)).then_some(token)
        };
        let mut dead: Vec<Token> = self.owners().iter().filter_map(ended).collect();
        if dead.is_empty() {
            return 0;
        }
        dead.sort_unstable();
        let is_dead = |token: Token| dead.binary_search(&token).is_ok();
        // The steps of `sweep`, for all of them together.
        self.directory().for_each(|kind, word| {
            let holder = Token::from_bits(word.load(Ordering::Relaxed) & TOKEN);
            if let (WordKind::Lock, Some(holder)) = (kind, holder.filter(|&held| is_dead(held))) {
                mark_word(word, holder);
            }
        });
        self.wake_all();
        self.free_entries(is_dead);
        dead.len()
    }
}
