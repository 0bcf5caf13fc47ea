//! Cells of bytes whose order is changed by one store.
//!
//! ```text
//! 0         8           12           64       128         then           then
//! +------+--+-----------+------------+--------+-----------+--------------+-----------------+
//! | lock |  | items_max | item_bytes | state  | order 0   | order 1      | cells           |
//! +------+--+-----------+------------+--------+-----------+--------------+-----------------+
//! ```
//!
//! There is one cell more than items. Each order is a permutation of the cells; bit 63 of the
//! state selects the current order; the low 32 bits are the number of items, which lie in its first
//! cells. The other cells are free.
//!
//! 1. A change takes the lock.
//! 2. It writes only free cells and, if the order changes, the order that is not current.
//! 3. One store of the state commits it.
//!
//! A process that dies before step 3 has changed nothing; after it, the change is complete. A sweep
//! frees the lock, and no other process has to repair anything.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::object::{Memory, body_error, check_body};
use crate::region::atomic_copy;
use crate::sync::{self, LockWord, RobustLock};

const MAX_OFFSET: usize = 8;
const BYTES_OFFSET: usize = 12;
const STATE_OFFSET: usize = 64;
const ORDER_OFFSET: usize = 128;
/// The length of the item comes first in a cell.
const LENGTH_BYTES: usize = 8;

/// Set if order 1 is current.
const SECOND: u64 = 1 << 63;
const LEN: u64 = u32::MAX as u64;

/// The limits of a list. Written once, by the creator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListLimits {
    items_max: u32,
    item_bytes: u32,
}

impl ListLimits {
    pub(super) fn new(items_max: usize, item_bytes: usize) -> Result<ListLimits> {
        let within = |what, value: usize| {
            let number = u32::try_from(value).ok().filter(|&n| (1..=1 << 31).contains(&n));
            number.ok_or_else(|| Error::invalid(what, value, "1 to 2^31"))
        };
        let items_max = within("the number of items", items_max)?;
        Ok(ListLimits { items_max, item_bytes: within("the bytes of an item", item_bytes)? })
    }

    pub(super) fn items_max(self) -> usize {
        self.items_max as usize
    }

    pub(super) fn item_bytes(self) -> usize {
        self.item_bytes as usize
    }

    /// One cell more than items, so that an item can be replaced in a full list.
    fn cells(self) -> usize {
        self.items_max() + 1
    }

    fn cell_stride(self) -> usize {
        LENGTH_BYTES + self.item_bytes().next_multiple_of(LENGTH_BYTES)
    }

    fn cells_offset(self) -> usize {
        let orders = 2 * self.cells() * size_of::<AtomicU32>();
        ORDER_OFFSET + orders.next_multiple_of(ORDER_OFFSET)
    }

    pub(super) fn body_bytes(self) -> Result<usize> {
        let cells = self.cell_stride().checked_mul(self.cells());
        cells.and_then(|cells| cells.checked_add(self.cells_offset())).ok_or_else(|| {
            let value = format!("{} of {} bytes", self.items_max, self.item_bytes);
            Error::invalid("the room for items", value, "a size within the address space")
        })
    }
}

/// The cells as one process sees them.
///
/// | field        | written by    | read by | guard         | if the writer dies          |
/// |--------------|---------------|---------|---------------|-----------------------------|
/// | `lock`       | lockers       | all     | itself        | a sweep frees it            |
/// | limits       | creator, once | all     | not published | the list is not published   |
/// | `state`      | lockers       | all     | `lock`        | it is old, or it is new     |
/// | orders       | lockers       | lockers | `lock`        | only free cells and the     |
/// | cells        | lockers       | lockers | `lock`        | other order are half written |
#[derive(Debug, Clone)]
pub(super) struct Cells {
    body: NonNull<u8>,
    limits: ListLimits,
    lock: RobustLock,
}

// SAFETY: the body is only used by atomics, in memory that the lock's owner keeps.
unsafe impl Send for Cells {}
// SAFETY: as for `Send`.
unsafe impl Sync for Cells {}

impl Cells {
    pub(super) fn make(memory: &Memory, limits: ListLimits) -> Result<Cells> {
        let cells = Cells::over(memory, limits)?;
        // Relaxed, all: published with the memory.
        cells.u32_at(MAX_OFFSET).store(limits.items_max, Ordering::Relaxed);
        cells.u32_at(BYTES_OFFSET).store(limits.item_bytes, Ordering::Relaxed);
        for (cell, number) in (0..limits.cells()).zip(0..) {
            cells.order(0, cell).store(number, Ordering::Relaxed);
        }
        cells.lock.register()?;
        Ok(cells)
    }

    pub(super) fn attach(memory: &Memory) -> Result<Cells> {
        let (body, body_bytes) = memory.body();
        if body_bytes < ORDER_OFFSET {
            return Err(body_error(memory, format!("a body of {body_bytes} bytes"), ORDER_OFFSET));
        }
        let number = |offset: usize| {
            // SAFETY: before the orders, so within the body, whose size was checked above.
            let word = unsafe { body.add(offset) }.cast::<AtomicU32>();
            // SAFETY: aligned, all offsets being multiples of four; an atomic to all.
            // Relaxed: published with the memory, and frozen.
            unsafe { word.as_ref() }.load(Ordering::Relaxed) as usize
        };
        let (items_max, item_bytes) = (number(MAX_OFFSET), number(BYTES_OFFSET));
        // Impossible limits come from the memory, not from the caller's argument.
        let limits = ListLimits::new(items_max, item_bytes)
            .and_then(|limits| limits.body_bytes().map(|_| limits))
            .map_err(|_| {
                let found = format!("{items_max} items of {item_bytes} bytes");
                body_error(memory, found, body_bytes)
            })?;
        Cells::over(memory, limits)
    }

    fn over(memory: &Memory, limits: ListLimits) -> Result<Cells> {
        check_body(memory, limits.body_bytes()?)?;
        let (body, _) = memory.body();
        // SAFETY: aligned, inside, checked above, and zero or a lock word since it was made; the
        // owner, which the lock keeps, keeps the memory. Registered by `make`.
        let lock = unsafe { RobustLock::new(body.cast::<LockWord>(), memory.owner()) };
        Ok(Cells { body, limits, lock })
    }

    pub(super) fn limits(&self) -> ListLimits {
        self.limits
    }

    fn u32_at(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset + size_of::<AtomicU32>() <= self.limits.cells_offset());
        // SAFETY: before the cells, so within the body, whose size `over` checked.
        let word = unsafe { self.body.add(offset) }.cast::<AtomicU32>();
        // SAFETY: aligned, all offsets being multiples of four; an atomic to all.
        unsafe { word.as_ref() }
    }

    fn order(&self, which: usize, index: usize) -> &AtomicU32 {
        assert!(which < 2 && index < self.limits.cells(), "an index into an order");
        self.u32_at(ORDER_OFFSET + 4 * (which * self.limits.cells() + index))
    }

    fn state(&self) -> &AtomicU64 {
        // SAFETY: within the body, whose size `over` checked.
        let word = unsafe { self.body.add(STATE_OFFSET) }.cast::<AtomicU64>();
        // SAFETY: aligned, and an atomic to all.
        unsafe { word.as_ref() }
    }

    /// The number of items.
    pub(super) fn len(&self) -> usize {
        // Relaxed: an independent number.
        let state = self.state().load(Ordering::Relaxed);
        usize::try_from(state & LEN).map_or(usize::MAX, |len| len.min(self.limits.items_max()))
    }

    /// Takes the lock. It does not matter whether its last holder died: the committed order is
    /// complete.
    pub(super) fn open(&self) -> Result<LockedCells<'_>> {
        let guard = self.lock.lock();
        // Acquire pairs with the Release in `commit`.
        let state = self.state().load(Ordering::Acquire);
        let (items_max, items) = (self.limits.items_max(), state & LEN);
        match usize::try_from(items) {
            Ok(len) if len <= items_max => Ok(LockedCells {
                cells: self,
                which: usize::from(state & SECOND != 0),
                len,
                _guard: guard,
            }),
            _ => {
                let found = format!("{items} items of at most {items_max}");
                Err(Error::Corrupt { what: "the list", found })
            }
        }
    }
}

/// The cells, while the lock is held.
pub(super) struct LockedCells<'a> {
    cells: &'a Cells,
    which: usize,
    len: usize,
    _guard: sync::RobustLockGuard<'a>,
}

impl LockedCells<'_> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn check_index(&self, index: usize, end: usize) -> Result<()> {
        if index < end {
            return Ok(());
        }
        Err(Error::invalid("the index into the list", index, format!("less than {end}")))
    }

    pub(super) fn check_room(&self, items: usize) -> Result<()> {
        let items_max = self.cells.limits.items_max();
        if items <= items_max - self.len {
            return Ok(());
        }
        Err(Error::Full { what: "the list", capacity: format!("{items_max} items") })
    }

    /// The number of the cell at `index` of the current order.
    fn cell(&self, index: usize) -> Result<u32> {
        // Relaxed: the lock orders it.
        let cell = self.cells.order(self.which, index).load(Ordering::Relaxed);
        if (cell as usize) < self.cells.limits.cells() {
            return Ok(cell);
        }
        Err(Error::Corrupt { what: "the list", found: format!("cell {cell} at {index}") })
    }

    /// The address of the cell at `index`.
    fn place(&self, index: usize) -> Result<*mut u8> {
        let (cell, limits) = (self.cell(index)? as usize, self.cells.limits);
        let offset = limits.cells_offset() + cell * limits.cell_stride();
        // SAFETY: `cell < cells`, checked in `cell`, so within the body by `body_bytes`.
        Ok(unsafe { self.cells.body.add(offset) }.as_ptr())
    }

    /// The contents of the cell at `index`.
    pub(super) fn read(&self, index: usize) -> Result<Vec<u8>> {
        let place = self.place(index)?;
        let mut length = [0; LENGTH_BYTES];
        // SAFETY: within the cell.
        unsafe { atomic_copy::copy_out(place, &mut length) };
        let length = usize::try_from(u64::from_ne_bytes(length)).unwrap_or(usize::MAX);
        if length > self.cells.limits.item_bytes() {
            let found = format!("an item of {length} bytes");
            return Err(Error::Corrupt { what: "the list", found });
        }
        let mut bytes = vec![0; length];
        // SAFETY: within the cell: `length <= item_bytes`, checked above.
        unsafe { atomic_copy::copy_out(place.wrapping_add(LENGTH_BYTES), &mut bytes) };
        Ok(bytes)
    }

    /// Fills the cell at `index`, which must be free: at or after the end.
    pub(super) fn write(&self, index: usize, bytes: &[u8]) -> Result<()> {
        assert!(index >= self.len && bytes.len() <= self.cells.limits.item_bytes());
        let place = self.place(index)?;
        // SAFETY: within the cell.
        unsafe { atomic_copy::copy_in(place, &(bytes.len() as u64).to_ne_bytes()) };
        // SAFETY: within the cell: as long as an item at most, asserted above.
        unsafe { atomic_copy::copy_in(place.wrapping_add(LENGTH_BYTES), bytes) };
        Ok(())
    }

    /// Ends the list at `len`, which commits the cells before it.
    pub(super) fn set_len(&mut self, len: usize) {
        self.commit(self.which, len);
    }

    fn commit(&mut self, which: usize, len: usize) {
        assert!(len <= self.cells.limits.items_max(), "checked by `check_room`");
        let second = if which == 1 { SECOND } else { 0 };
        // Release pairs with the Acquire in `open`, for the next locker if this process dies.
        self.cells.state().store(second | len as u64, Ordering::Release);
        (self.which, self.len) = (which, len);
    }

    /// Writes the other order, with each cell from the position that `source` returns, and commits
    /// it.
    fn reorder(&mut self, len: usize, source: impl Fn(usize) -> usize) -> Result<()> {
        let other = 1 - self.which;
        for index in 0..self.cells.limits.cells() {
            let cell = self.cell(source(index))?;
            // Relaxed: the commit's Release orders it.
            self.cells.order(other, index).store(cell, Ordering::Relaxed);
        }
        self.commit(other, len);
        Ok(())
    }

    /// Replaces the item at `index`.
    pub(super) fn replace(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let free = self.len;
        self.write(free, bytes)?;
        self.reorder(free, |at| match at {
            _ if at == index => free,
            _ if at == free => index,
            _ => at,
        })
    }

    /// Inserts an item before the one at `index`. The room was checked.
    pub(super) fn insert(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let free = self.len;
        self.write(free, bytes)?;
        self.reorder(free + 1, |at| match at {
            _ if at == index => free,
            _ if (index..=free).contains(&at) => at - 1,
            _ => at,
        })
    }

    /// Removes the item at `index`.
    pub(super) fn remove(&mut self, index: usize) -> Result<()> {
        let last = self.len - 1;
        self.reorder(last, |at| match at {
            _ if at == last => index,
            _ if (index..last).contains(&at) => at + 1,
            _ => at,
        })
    }
}
