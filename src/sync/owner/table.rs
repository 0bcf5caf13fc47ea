//! The table itself: claims, and the sweep of one dead owner.
#![allow(unsafe_code)]

#[cfg(all(test, not(loom)))]
mod tests;

use std::ptr::NonNull;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::directory::Directory;
use crate::sync::lock_word::{TOKEN, Token};
use crate::sys::identity::{self, Identity};

/// Start of an owner table in shared memory.
///
/// | field           | written by    | read by   | guard             | if the writer dies     |
/// |-----------------|---------------|-----------|-------------------|------------------------|
/// | `magic`         | creator, last | attachers | Release / Acquire | table is not published |
/// | `namespaces`    | creator, once | attachers | `magic`           | the same               |
/// | `owners`        | creator, once | attachers | `magic`           | the same               |
/// | `entries`       | creator, once | attachers | `magic`           | the same               |
/// | `last_token`    | each claimer  | claimers  | compare-and-swap  | a token is lost        |
/// | `sweeps`        | sweepers      | waiters   | see `sweeps`      | the next sweep counts  |
///
/// This is followed by `owners` times [`OwnerEntry`], then `entries` times an `AtomicU64`.
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct TableHeader {
    magic: AtomicU64,
    namespaces: AtomicU64,
    owners: AtomicU32,
    entries: AtomicU32,
    last_token: AtomicU32,
    pub(super) sweeps: AtomicU32,
}

/// One owner.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `identity` | claimer: 0 to pid and token | all | compare-and-swap | swept as any owner |
/// | | sweeper of the token: to 0 | | | the next sweeper does it |
/// | `start` | claimer, after `identity` | all | has the token in it | pid alone decides |
#[repr(C)]
#[derive(Debug)]
pub(in crate::sync) struct OwnerEntry {
    identity: AtomicU64,
    start: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<TableHeader>() == 32);
    assert!(size_of::<OwnerEntry>() == 16);
};

const MAGIC: u64 = u64::from_le_bytes(*b"brigown1");

/// The most owners or directory entries of one table.
const COUNT_MAX: u32 = 1 << 20;

/// Bits of a start time in [`OwnerEntry::start`]: five years of ticks. The token is above them.
const START_BITS: u32 = 34;
const START_MASK: u64 = (1 << START_BITS) - 1;

fn pack_identity(pid: u32, token: Token) -> u64 {
    u64::from(pid) << 32 | u64::from(token.bits())
}

fn unpack_identity(identity: u64) -> Option<(u32, Token)> {
    let pid = u32::try_from(identity >> 32).ok()?;
    let token = Token::from_bits(u32::try_from(identity & u64::from(u32::MAX)).ok()?)?;
    Some((pid, token))
}

fn pack_start(token: Token, start_ticks: u64) -> u64 {
    u64::from(token.bits()) << START_BITS | (start_ticks & START_MASK)
}

impl TableHeader {
    pub(in crate::sync) fn new(owners: u32, entries: u32, namespaces: u64) -> TableHeader {
        TableHeader {
            magic: AtomicU64::new(MAGIC),
            namespaces: AtomicU64::new(namespaces),
            owners: AtomicU32::new(owners),
            entries: AtomicU32::new(entries),
            last_token: AtomicU32::new(0),
            sweeps: AtomicU32::new(0),
        }
    }
}

impl OwnerEntry {
    #[cfg(all(test, loom))]
    pub(in crate::sync) fn free() -> OwnerEntry {
        OwnerEntry { identity: AtomicU64::new(0), start: AtomicU64::new(0) }
    }

    /// The process that has claimed the entry, and its token.
    pub(in crate::sync) fn claimant(&self) -> Option<(u32, Token)> {
        // Acquire pairs with the Release in `claim_entry`.
        unpack_identity(self.identity.load(Ordering::Acquire))
    }

    /// Whether the process `pid` that claimed the entry with `token` lives.
    pub(super) fn lives(&self, pid: u32, token: Token) -> bool {
        let start = self.start.load(Ordering::Relaxed);
        identity::lives(pid, |start_ticks| {
            let is_written = start >> START_BITS == u64::from(token.bits());
            !is_written || start == pack_start(token, start_ticks)
        })
    }
}

/// A view of an owner table: entries in shared memory, geometry in private memory.
///
/// # Examples
///
/// ```
/// use std::ptr::NonNull;
/// use brigade::sync::{Owner, OwnerTable, Watch};
///
/// #[repr(C, align(64))]
/// struct Region([u8; 4096]);
/// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
/// let owner = Owner::claim(&table, Watch::Waiters)?;
/// assert_eq!(table.sweep_dead(), 0, "the owner lives");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OwnerTable {
    header: NonNull<TableHeader>,
    owners: NonNull<[OwnerEntry]>,
    directory: Directory,
}

// SAFETY: all that the pointers reach are atomics, by the contract of `create` and `attach`.
unsafe impl Send for OwnerTable {}
// SAFETY: as for `Send`.
unsafe impl Sync for OwnerTable {}

impl OwnerTable {
    /// The alignment that a table needs, in bytes.
    pub const ALIGN: usize = 64;

    /// The size of a table for this many owners and directory entries, in bytes.
    ///
    /// A lock or an event takes one entry, a ring three.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::OwnerTable;
    /// assert!(OwnerTable::size_bytes(8, 8) <= 1024);
    /// assert!(OwnerTable::size_bytes(8, 9) > OwnerTable::size_bytes(8, 8));
    /// ```
    #[must_use]
    pub const fn size_bytes(owners: u32, entries: u32) -> usize {
        size_of::<TableHeader>()
            + owners as usize * size_of::<OwnerEntry>()
            + entries as usize * size_of::<AtomicU64>()
    }

    /// Writes a new table at `place` for the locks of the `region_bytes` bytes at `region`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `owners` or `entries` is 0 or above 2^20; [`Error::Os`] if
    /// the pid namespace cannot be read.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`OwnerTable::ALIGN`] and valid for
    ///   [`OwnerTable::size_bytes`]`(owners, entries)` bytes, for as long as any copy of the
    ///   table, an [`Owner`](crate::sync::Owner) or a lock of it is used;
    /// - no other process uses those bytes until this returns, and afterwards only through tables;
    /// - `region` is aligned to 4 and valid for `region_bytes` bytes for as long.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::OwnerTable;
    ///
    /// #[repr(C, align(64))]
    /// struct Region([u8; 4096]);
    /// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// // SAFETY: as above.
    /// assert!(unsafe { OwnerTable::create(place, 0, 8, place, 4096) }.is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[cfg(not(loom))]
    pub unsafe fn create(
        place: NonNull<u8>,
        owners: u32,
        entries: u32,
        region: NonNull<u8>,
        region_bytes: usize,
    ) -> Result<OwnerTable> {
        check_counts(owners, entries)?;
        let namespaces = identity::namespaces()?;
        let header = place.cast::<TableHeader>();
        let body_bytes = Self::size_bytes(owners, entries) - size_of::<TableHeader>();
        // SAFETY: within the `size_bytes` bytes at `place`, valid by the contract.
        let body = unsafe { header.add(1) }.cast::<u8>();
        // SAFETY: the same bytes, unused by others until this returns, by the contract.
        unsafe { body.write_bytes(0, body_bytes) };
        let fresh = TableHeader::new(owners, entries, namespaces);
        fresh.magic.store(0, Ordering::Relaxed);
        // SAFETY: aligned and valid for a header, unused by others, by the contract.
        unsafe { header.write(fresh) };
        // SAFETY: valid, by the contract.
        let table = unsafe { Self::over(place, owners, entries, region, region_bytes) };
        // Release pairs with the Acquire in `attach`.
        table.header().magic.store(MAGIC, Ordering::Release);
        Ok(table)
    }

    /// Uses the table that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is no table there, or it does not fit into `place_bytes`;
    /// [`Error::PidNamespace`] if it belongs to processes that are invisible to this one.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`OwnerTable::ALIGN`] and valid for `place_bytes` bytes, for as
    ///   long as any copy of the table, an [`Owner`](crate::sync::Owner) or a lock of it is used;
    /// - all other accesses to those bytes are atomic, also those of a hostile process;
    /// - `region` is aligned to 4 and valid for `region_bytes` bytes for as long, and is the region
    ///   that the creator passed.
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
    /// // SAFETY: aligned, never freed, and used by tables only; the region that was created.
    /// let attached = unsafe { OwnerTable::attach(place, 4096, place, 4096) }?;
    /// let other = Owner::claim(&attached, Watch::Waiters)?;
    /// assert_ne!(owner.token(), other.token());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[cfg(not(loom))]
    pub unsafe fn attach(
        place: NonNull<u8>,
        place_bytes: usize,
        region: NonNull<u8>,
        region_bytes: usize,
    ) -> Result<OwnerTable> {
        let layout = |found: String, expected: String| Error::Layout {
            place: "owner table".to_owned(),
            found,
            expected,
        };
        if place_bytes < size_of::<TableHeader>() {
            return Err(layout(format!("{place_bytes} bytes"), "a header of 32".to_owned()));
        }
        // SAFETY: valid for a header, checked above, and atomic to all, by the contract.
        let header = unsafe { place.cast::<TableHeader>().as_ref() };
        // Acquire pairs with the Release in `create`.
        let magic = header.magic.load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(layout(format!("magic {magic:#018x}"), format!("{MAGIC:#018x}")));
        }
        let owners = header.owners.load(Ordering::Relaxed);
        let entries = header.entries.load(Ordering::Relaxed);
        if check_counts(owners, entries).is_err() || Self::size_bytes(owners, entries) > place_bytes
        {
            let found = format!("{owners} owners and {entries} entries");
            return Err(layout(found, format!("a table within {place_bytes} bytes")));
        }
        let theirs = header.namespaces.load(Ordering::Relaxed);
        let ours = identity::namespaces()?;
        if theirs != ours {
            return Err(identity::other_namespaces("the owner table", theirs, ours));
        }
        // SAFETY: the size was checked against `place_bytes`; the rest holds by the contract.
        Ok(unsafe { Self::over(place, owners, entries, region, region_bytes) })
    }

    /// # Safety
    ///
    /// As for `create`, but the table is initialised.
    #[cfg(not(loom))]
    unsafe fn over(
        place: NonNull<u8>,
        owners: u32,
        entries: u32,
        region: NonNull<u8>,
        region_bytes: usize,
    ) -> OwnerTable {
        let header = place.cast::<TableHeader>();
        // SAFETY: within `size_bytes(owners, entries)`, valid by the contract.
        let first_owner = unsafe { header.add(1) }.cast::<OwnerEntry>();
        // SAFETY: the same.
        let first_slot = unsafe { first_owner.add(owners as usize) }.cast::<AtomicU64>();
        let owners = NonNull::slice_from_raw_parts(first_owner, owners as usize);
        let slots = NonNull::slice_from_raw_parts(first_slot, entries as usize);
        // SAFETY: all three parts are valid, by the contract.
        unsafe { Self::from_parts(header, owners, slots, region, region_bytes) }
    }

    /// # Safety
    ///
    /// The parts are valid and initialised for as long as the table is used, and `region` is
    /// aligned for `AtomicU32` and valid for `region_bytes`.
    pub(in crate::sync) unsafe fn from_parts(
        header: NonNull<TableHeader>,
        owners: NonNull<[OwnerEntry]>,
        slots: NonNull<[AtomicU64]>,
        region: NonNull<u8>,
        region_bytes: usize,
    ) -> OwnerTable {
        // SAFETY: the contract.
        let directory = unsafe { Directory::new(slots, region, region_bytes) };
        OwnerTable { header, owners, directory }
    }

    pub(super) fn header(&self) -> &TableHeader {
        // SAFETY: valid and all atomics while the table is used: contract of `from_parts`.
        unsafe { self.header.as_ref() }
    }

    pub(super) fn owners(&self) -> &[OwnerEntry] {
        // SAFETY: valid and all atomics while the table is used: contract of `from_parts`.
        unsafe { self.owners.as_ref() }
    }

    /// The list of the region's futex words, for sweeps.
    pub(in crate::sync) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Increments `last_token`, which stops at its end: no two processes get the same token.
    fn next_token(&self) -> Result<Token> {
        let counter = &self.header().last_token;
        let mut last = counter.load(Ordering::Relaxed);
        loop {
            let Some(token) = last.checked_add(1).and_then(Token::from_bits) else {
                let cause = format!("all {TOKEN} tokens have been used; make the region anew");
                return Err(Error::Broken { what: "the owner table", cause });
            };
            // Relaxed: only the number itself must be unique.
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match counter.compare_exchange(last, token.bits(), success, failure) {
                Ok(_) => return Ok(token),
                Err(now) => last = now,
            }
        }
    }

    /// Claims an entry for a process: with `known`, a token that it had before and gave up, or with
    /// a new one.
    pub(in crate::sync) fn claim_for(&self, who: Identity, known: Option<Token>) -> Result<Token> {
        let token = match known {
            Some(token) => token,
            None => self.next_token()?,
        };
        if self.claim_entry(who, token) {
            return Ok(token);
        }
        self.sweep_dead();
        if self.claim_entry(who, token) {
            return Ok(token);
        }
        let capacity = format!("{} owners", self.owners.len());
        Err(Error::Full { what: "the owner table", capacity })
    }

    fn claim_entry(&self, who: Identity, token: Token) -> bool {
        self.owners().iter().any(|entry| {
            let claim = pack_identity(who.pid, token);
            // One CAS claims the entry and records its owner. AcqRel: Acquire pairs with the
            // Release of `free_entry`; Release with the Acquire in `claimant`.
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            if entry.identity.compare_exchange(0, claim, success, failure).is_err() {
                return false;
            }
            // Relaxed: carries its token, so that a stale one is recognised.
            entry.start.store(pack_start(token, who.start_ticks), Ordering::Relaxed);
            true
        })
    }

    /// Whether the owner of `token` lives. An owner that is not in the table does not: it claimed
    /// an entry before its first lock, and lost it only by a sweep.
    pub(crate) fn lives(&self, token: Token) -> bool {
        self.owners().iter().any(|entry| match entry.claimant() {
            Some((pid, claimed)) if claimed == token => entry.lives(pid, token),
            _ => false,
        })
    }

    /// Frees the entry of `token`, if that was not done yet.
    pub(super) fn free_entry(&self, token: Token) {
        self.free_entries(|claimed| claimed == token);
    }

    pub(super) fn free_entries(&self, is_gone: impl Fn(Token) -> bool) {
        for entry in self.owners() {
            let identity = entry.identity.load(Ordering::Relaxed);
            if unpack_identity(identity).is_some_and(|(_, claimed)| is_gone(claimed)) {
                // Release pairs with the Acquire of `claim_entry`. It fails if another sweeper has
                // freed the entry.
                let (success, failure) = (Ordering::Release, Ordering::Relaxed);
                let _ = entry.identity.compare_exchange(identity, 0, success, failure);
            }
        }
    }
}

#[cfg(not(loom))]
fn check_counts(owners: u32, entries: u32) -> Result<()> {
    for (what, count) in [("owners", owners), ("directory entries", entries)] {
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(Error::invalid(what, count, format!("1 to {COUNT_MAX}")));
        }
    }
    Ok(())
}
