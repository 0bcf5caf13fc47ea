//! The handle of an object memory.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::header::{self, ALIGN_BYTES, Geometry, TABLE_OFFSET};
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::region::arena::{Arena, Contents, Span};
use crate::region::named_region::NamedRegion;
use crate::region::npy;
use crate::region::windows::Windows;
use crate::sync::{Owner, OwnerTable, ReusableToken, Watch};
use crate::sys::fork::Instance;
use crate::sys::limits;
use crate::sys::per_process::PerProcess;

/// The parameters of a new memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) kind: Kind,
    /// A number chosen by the primitive, for its type for example. `open` must pass the same.
    pub(crate) tag: u64,
    /// The number of directory entries for the body; a lock has one, a ring three.
    pub(crate) entries: u32,
    /// The size of the body.
    pub(crate) body_bytes: usize,
}

impl Spec {
    /// The size of the whole memory, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if that overflows.
    pub(crate) fn size_bytes(&self) -> Result<usize> {
        Ok(self.geometry()?.total_bytes())
    }

    fn geometry(&self) -> Result<Geometry> {
        Geometry::new(owners(), self.entries.max(1), self.body_bytes).ok_or_else(|| {
            let expected = "a size within the address space";
            Error::invalid("the size of a shared primitive", self.body_bytes, expected)
        })
    }
}

/// The most processes that can use one memory at once: several pools with a worker per processor.
fn owners() -> u32 {
    u32::try_from(limits::processors().saturating_mul(4)).unwrap_or(u32::MAX).clamp(256, 1 << 16)
}

/// The bytes of a memory.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for each object, behind an `Arc`")]
pub(crate) enum Backing {
    /// A span of this process's own arena, from its first aligned byte on.
    Span(Span),
    /// A span of another process's arena, in a worker.
    Lent { windows: Windows, offset: u64, len_bytes: usize },
    /// The data of a named region.
    Named(NamedRegion),
}

impl Backing {
    /// A span of the arena for `len_bytes` aligned bytes, all zero.
    fn reserve(len_bytes: usize) -> Result<Backing> {
        let span = Arena::host()?.reserve(len_bytes + ALIGN_BYTES, Contents::Zeroed)?;
        Ok(Backing::Span(span))
    }

    /// The bytes in their arena: its number, the offset of the first byte, and their count. For a
    /// named region, device and inode replace the first two.
    fn address(&self) -> (u64, u64, usize) {
        match self {
            Backing::Span(span) => {
                let offset = span.offset().next_multiple_of(ALIGN_BYTES as u64);
                (span.arena().id(), offset, span.len_bytes() - ALIGN_BYTES)
            }
            Backing::Lent { windows, offset, len_bytes } => (windows.id(), *offset, *len_bytes),
            Backing::Named(region) => {
                let id = region.mapping().id();
                (id.device, id.inode, region.mapping().len_bytes() - npy::DATA_OFFSET)
            }
        }
    }

    /// The bytes in this process: aligned, readable and writable while `self` exists.
    fn place(&self) -> Result<(NonNull<u8>, usize)> {
        let (_, offset, len_bytes) = self.address();
        let start = match self {
            // Windows are aligned to 2 MiB, so offset and address have the same alignment.
            Backing::Span(span) => {
                let skip = usize::try_from(offset - span.offset()).unwrap_or(0);
                span.as_ptr().wrapping_add(skip)
            }
            Backing::Lent { windows, .. } => windows.write(offset, len_bytes)?,
            Backing::Named(region) => region.mapping().base().wrapping_add(npy::DATA_OFFSET),
        };
        match NonNull::new(start) {
            Some(start) if start.addr().get().is_multiple_of(ALIGN_BYTES) => Ok((start, len_bytes)),
            _ => {
                let found = format!("offset {offset}");
                Err(Error::Corrupt { what: "the place of an object memory", found })
            }
        }
    }
}

/// An object memory as one process sees it. Clones are the same handle.
///
/// The bytes stay while a handle exists, or a lock or ring that was made with its owner. The bytes
/// of a primitive without an owner (an event) stay only while a handle exists.
#[derive(Clone)]
pub(crate) struct Memory(Arc<Inner>);

struct Inner {
    /// Keeps the backing: releasing the claim writes to the table.
    owner: Owner,
    start: NonNull<u8>,
    geometry: Geometry,
    kind: Kind,
    tag: u64,
    made_in: Instance,
    backing: Arc<Backing>,
}

// SAFETY: `start` points into memory that `backing` keeps mapped on every thread, and which is used
// only through atomics, or under locks.
unsafe impl Send for Inner {}
// SAFETY: as for `Send`.
unsafe impl Sync for Inner {}

/// Memories that this process has handles of, by arena and offset. A memory that arrives twice is
/// attached once, with one owner.
static ATTACHED: PerProcess<Mutex<Attached>> = PerProcess::new(Mutex::default);

type Attached = BTreeMap<(u64, u64), Weak<Inner>>;

/// The tokens that this process has had in other memories, by arena, offset and number. A worker
/// that gets the same lock with each task is thus one owner, and not one for each task.
static TOKENS: PerProcess<Mutex<ReusableTokens>> = PerProcess::new(Mutex::default);

type ReusableTokens = BTreeMap<(u64, u64, u64), ReusableToken>;

/// The most memories whose tokens are remembered.
const TOKENS_MAX: usize = 1024;

/// Where this process keeps its token for the memory `number` in `backing`.
fn reusable_token(backing: &Backing, number: u64) -> Option<ReusableToken> {
    let (id, offset, _) = backing.address();
    let mut tokens = TOKENS.get().lock().unwrap_or_else(PoisonError::into_inner);
    if tokens.len() >= TOKENS_MAX {
        // Older memories without a user are forgotten; each of them loses one token.
        tokens.retain(|_, reusable_token| Arc::strong_count(reusable_token) > 1);
    }
    let is_kept = number != 0 && tokens.len() < TOKENS_MAX;
    is_kept.then(|| Arc::clone(tokens.entry((id, offset, number)).or_default()))
}

fn attached() -> MutexGuard<'static, Attached> {
    // Every change of the map is one call, so a panic cannot interrupt it.
    ATTACHED.get().lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// Makes a memory in this process's arena. `make` makes the primitive's words in the body,
    /// which is zero, and adds them to the directory.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::Os`], and those of `make`.
    pub(crate) fn create<R>(
        spec: &Spec,
        make: impl FnOnce(&Memory) -> Result<R>,
    ) -> Result<(R, Memory)> {
        let made = Memory::create_in(Backing::reserve(spec.size_bytes()?)?, spec, make)?;
        made.1.enlist();
        Ok(made)
    }

    /// Lets later attachments of the same bytes in this process find this handle.
    pub(super) fn enlist(&self) {
        let (id, offset, _) = self.0.backing.address();
        attached().insert((id, offset), Arc::downgrade(&self.0));
    }

    /// As `create`, in existing bytes that are zero and have no other user.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if they are too few; [`Error::Os`], and those of `make`.
    pub(crate) fn create_in<R>(
        backing: Backing,
        spec: &Spec,
        make: impl FnOnce(&Memory) -> Result<R>,
    ) -> Result<(R, Memory)> {
        let geometry = spec.geometry()?;
        let (start, len_bytes) = backing.place()?;
        if geometry.total_bytes() > len_bytes {
            let (size_bytes, limit_bytes) = (geometry.total_bytes() as u64, len_bytes as u64);
            return Err(Error::TooLarge { what: "a shared primitive", size_bytes, limit_bytes });
        }
        // SAFETY: inside: the geometry's total was checked above, and the table comes first.
        let table_place = unsafe { start.add(TABLE_OFFSET) };
        let (owners, entries) = (owners(), spec.entries.max(1));
        // SAFETY: aligned (header.rs asserts it), within `body_offset` by the geometry, kept by the
        // backing, which the owner keeps; the bytes have no other user yet.
        let table = unsafe {
            OwnerTable::create(table_place, owners, entries, start, geometry.total_bytes())
        }?;
        // SAFETY: aligned and inside, as above; all zero, and accessed only by atomics.
        let header = unsafe { header::at(start) };
        header.write(spec.kind, spec.tag, geometry);
        let Spec { kind, tag, .. } = *spec;
        let number = header.number();
        let memory = Memory::over(&table, start, geometry, (kind, tag, number), backing)?;
        let made = make(&memory)?;
        header.publish();
        Ok((made, memory))
    }

    /// Uses a memory that another process has made.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the bytes do not hold a `kind` with this `tag`; [`Error::Full`] if too
    /// many processes use it; [`Error::PidNamespace`], [`Error::Os`].
    pub(crate) fn open(backing: Backing, kind: Kind, tag: u64) -> Result<Memory> {
        let (start, len_bytes) = backing.place()?;
        if len_bytes < TABLE_OFFSET {
            return Err(too_short(len_bytes));
        }
        // SAFETY: aligned, long enough, kept by the backing, and accessed only by atomics.
        let header = unsafe { header::at(start) };
        let (found, found_tag, geometry) = header.read(len_bytes)?;
        expect((found, found_tag), (kind, tag))?;
        // SAFETY: `TABLE_OFFSET <= len_bytes`, checked above.
        let table_place = unsafe { start.add(TABLE_OFFSET) };
        let table_bytes = geometry.body_offset - TABLE_OFFSET;
        // SAFETY: aligned; `read` checked that the table ends before the body, and the body within
        // the bytes, which the backing keeps; all accesses are atomic.
        let table =
            unsafe { OwnerTable::attach(table_place, table_bytes, start, geometry.total_bytes()) }?;
        Memory::over(&table, start, geometry, (kind, tag, header.number()), backing)
    }

    /// A worker's handle of a memory that was lent to it: a new one, or a clone of the one that it
    /// already has.
    ///
    /// # Errors
    ///
    /// As [`open`](Memory::open), and [`Error::Corrupt`] outside of the arena.
    pub(crate) fn attach(
        windows: &Windows,
        offset: u64,
        len_bytes: usize,
        kind: Kind,
        tag: u64,
    ) -> Result<Memory> {
        let backing = Backing::Lent { windows: windows.clone(), offset, len_bytes };
        Memory::attach_in(backing, kind, tag)
    }

    /// A new handle, or a clone of the one that this process has of the same bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Memory::open).
    pub(super) fn attach_in(backing: Backing, kind: Kind, tag: u64) -> Result<Memory> {
        let (id, offset, _) = backing.address();
        let mut attached = attached();
        let known = attached.get(&(id, offset)).and_then(Weak::upgrade).map(Memory);
        if let Some(memory) = known {
            // Dropped after the list is unlocked: the last handle removes itself from the list.
            drop(attached);
            expect((memory.0.kind, memory.0.tag), (kind, tag))?;
            return Ok(memory);
        }
        let memory = Memory::open(backing, kind, tag)?;
        attached.insert((id, offset), Arc::downgrade(&memory.0));
        Ok(memory)
    }

    /// The named region of the memory, if it has one.
    pub(super) fn region(&self) -> Option<&NamedRegion> {
        match &*self.0.backing {
            Backing::Named(region) => Some(region),
            _ => None,
        }
    }

    fn over(
        table: &OwnerTable,
        start: NonNull<u8>,
        geometry: Geometry,
        (kind, tag, number): (Kind, u64, u64),
        backing: Backing,
    ) -> Result<Memory> {
        let backing = Arc::new(backing);
        let (reusable_token, keep) = (reusable_token(&backing, number), Arc::clone(&backing) as _);
        let owner = Owner::claim_with_token(table, Watch::Waiters, reusable_token, keep)?;
        let made_in = Instance::current();
        Ok(Memory(Arc::new(Inner { owner, start, geometry, kind, tag, made_in, backing })))
    }

    /// Returns an error in a child that was forked from the process of this handle. Called before
    /// every use of an object over the body.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.made_in.is_current() { Ok(()) } else { Err(forked()) }
    }

    /// The body: aligned to 128 bytes, valid while a handle of this memory exists.
    pub(crate) fn body(&self) -> (NonNull<u8>, usize) {
        let Geometry { body_offset, body_bytes } = self.0.geometry;
        // SAFETY: inside, checked when the handle was made.
        (unsafe { self.0.start.add(body_offset) }, body_bytes)
    }

    #[cfg(test)]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.0.start
    }

    /// The owner for which this process takes locks in this memory.
    pub(crate) fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// The kind of primitive that it holds.
    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The number that the primitive chose.
    pub(crate) fn tag(&self) -> u64 {
        self.0.tag
    }

    /// Whether both are handles of the same attachment.
    pub(crate) fn is_same(&self, other: &Memory) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The position of the bytes: the arena's number, the offset of the first, and their count.
    pub(crate) fn address(&self) -> (u64, u64, usize) {
        self.0.backing.address()
    }

    /// Whether this process made it in its own arena, and can thus lend it to workers.
    pub(crate) fn is_own(&self) -> bool {
        matches!(&*self.0.backing, Backing::Span(_))
    }

    /// Whether process `pid` has a handle of it.
    pub(crate) fn has_process(&self, pid: u32) -> bool {
        self.check().is_ok() && self.0.owner.table().has_process(pid)
    }

    /// Frees the locks of process `pid`, which has ended, and wakes their waiters. Returns how many
    /// locks it held.
    pub(crate) fn sweep_process(&self, pid: u32) -> usize {
        if self.check().is_err() {
            return 0;
        }
        self.0.owner.table().sweep_process(pid)
    }
}

#[cold]
fn forked() -> Error {
    Error::Closed { what: "a shared handle that was made before this process forked" }
}

pub(super) fn too_short(len_bytes: usize) -> Error {
    layout(format!("{len_bytes} bytes"), format!("a header of {TABLE_OFFSET}"))
}

/// Checks that a memory has the expected kind and type.
fn expect(found: (Kind, u64), expected: (Kind, u64)) -> Result<()> {
    match (found, expected) {
        _ if found == expected => Ok(()),
        ((found, found_tag), (expected, tag)) if found == expected => {
            let show = |tag| format!("{} of type {tag:#018x}", found.with_article());
            Err(layout(show(found_tag), show(tag)))
        }
        ((found, _), (expected, _)) => Err(layout(found.with_article(), expected.with_article())),
    }
}

fn layout(found: String, expected: String) -> Error {
    Error::Layout { place: "object memory".to_owned(), found, expected }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a forked child all of this belongs to the parent.
        if !self.made_in.is_current() {
            return;
        }
        let (id, offset, _) = self.backing.address();
        let mut attached = attached();
        // Another handle may have been attached after this one's count fell to zero.
        if attached.get(&(id, offset)).is_some_and(|known| std::ptr::eq(known.as_ptr(), self)) {
            attached.remove(&(id, offset));
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("kind", &self.0.kind.name())
            .field("body_bytes", &self.0.geometry.body_bytes)
            .finish_non_exhaustive()
    }
}
