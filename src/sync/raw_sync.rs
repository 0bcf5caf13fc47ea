//! Adapters between this crate's primitives and raw_sync's.
//!
//! Programs that already use raw_sync can protect a ring with its `Mutex`, and use this crate's
//! event through its traits. The defects of raw_sync 0.1.5, and how they are handled here:
//!
//! - Its mutex is not robust: after its holder was killed, every later attempt to take it times
//!   out. This cannot be mended, so it is not the default, and waits without a limit can hang.
//! - Its timeouts add nanoseconds without a carry, and fail with EINVAL when they pass the end of a
//!   second. Each attempt here ends there at the latest, and is repeated.
//! - Its timeouts are points of CLOCK_REALTIME, so a step of that clock can lengthen one attempt by
//!   as much. The limit on the whole wait uses CLOCK_MONOTONIC, between attempts.
//! - Its errors are strings. The number at the end of one is the error code.
//! - Its `Event::new` writes more bytes than its `size_of` returns. The event here takes that many.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raw_sync::events::{EventImpl, EventInit, EventState};
use raw_sync::locks::{LockGuard, LockImpl, LockInit, Mutex};

use super::event::{EventWord, RawEvent, Reset};
use super::ring::{self, LockKind, LockSpace, Ring, RingLock};
use super::timeout::{Timeout, Watch};
use crate::error::{Error, Result};

/// The result of raw_sync's functions.
type RawResult<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// raw_sync's `Mutex` as the lock of a ring.
///
/// # Examples
///
/// ```
/// use std::ptr::NonNull;
/// use brigade::sync::{RawSyncLock, Ring, Timeout};
///
/// #[repr(C, align(128))]
/// struct Region([u8; 4096]);
/// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// let ring: Ring<RawSyncLock> = unsafe { Ring::create_raw_sync(place, 100) }?;
/// ring.push("hello", Timeout::Never)?;
/// assert_eq!(ring.pop(Timeout::Never)?, b"hello");
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct RawSyncLock(Box<dyn LockImpl>);

// SAFETY: always a raw_sync `Mutex`, see `create` and `attach`: a process-shared pthread mutex,
// which any thread may lock, and an unused data pointer. Its guards stay on their thread.
unsafe impl Send for RawSyncLock {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawSyncLock {}

impl fmt::Debug for RawSyncLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawSyncLock").field(&self.0.as_raw()).finish()
    }
}

impl RawSyncLock {
    /// # Safety
    ///
    /// `place` is valid while the lock is used, and is not used otherwise until this returns.
    unsafe fn create(place: NonNull<LockSpace>) -> Result<RawSyncLock> {
        let no_data = std::ptr::null_mut();
        // SAFETY: 64 bytes, aligned to 64, as a pthread mutex needs (asserted below).
        let made = unsafe { Mutex::new(place.as_ptr().cast(), no_data) };
        made.map(|(lock, _)| RawSyncLock(lock)).map_err(|error| os_error(&*error))
    }

    /// # Safety
    ///
    /// `place` was given to `create`, and is valid while the lock is used.
    unsafe fn attach(place: NonNull<LockSpace>) -> Result<RawSyncLock> {
        let no_data = std::ptr::null_mut();
        // SAFETY: a mutex is there, by the contract.
        let found = unsafe { Mutex::from_existing(place.as_ptr().cast(), no_data) };
        found.map(|(lock, _)| RawSyncLock(lock)).map_err(|error| os_error(&*error))
    }
}

/// The code of `pthread_mutex_timedlock` for a lock that was held until the timeout.
const ETIMEDOUT: i32 = 110;
/// Its code for an invalid time: raw_sync's missing carry.
const EINVAL: i32 = 22;

/// The longest duration of one attempt: to the end of the current second of CLOCK_REALTIME, less a
/// margin for the time until raw_sync reads that clock.
fn cut_at_second(wanted: Duration) -> Duration {
    const MARGIN: Duration = Duration::from_millis(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let to_second = Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos()));
    wanted.min(to_second.saturating_sub(MARGIN))
}

fn error_code(error: &dyn std::error::Error) -> Option<i32> {
    error.to_string().rsplit(' ').next().and_then(|code| code.parse().ok())
}

fn os_error(error: &dyn std::error::Error) -> Error {
    let source = match error_code(error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    };
    Error::os("pthread_mutex_lock", "raw_sync's mutex", source)
}

impl RingLock for RawSyncLock {
    type Guard<'a> = LockGuard<'a>;

    fn acquire(&self, timeout: Timeout) -> Result<Option<LockGuard<'_>>> {
        let deadline = match timeout {
            Timeout::Now => None,
            Timeout::At(deadline) => Some(deadline),
            Timeout::Never | Timeout::Sleeps(_) => {
                return self.0.lock().map(Some).map_err(|error| os_error(&*error));
            }
        };
        loop {
            let left = deadline.map_or(Duration::ZERO, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            match self.0.try_lock(raw_sync::Timeout::Val(cut_at_second(left))) {
                Ok(guard) => return Ok(Some(guard)),
                Err(error) => match error_code(&*error) {
                    Some(ETIMEDOUT | EINVAL) => {}
                    _ => return Err(os_error(&*error)),
                },
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }
}

const _: () = assert!(size_of::<LockSpace>() >= 40 && align_of::<LockSpace>() >= 8);

impl Ring<RawSyncLock> {
    /// Writes a new ring at `place` whose sides are protected by raw_sync's `Mutex`.
    ///
    /// Its waits for room and for messages check again every 50 ms, since no sweep reaches it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `capacity_bytes` is 0 or above 2^31; [`Error::Os`] if a
    /// mutex cannot be made.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for [`Ring::size_bytes`]`(capacity_bytes)`
    ///   initialised bytes, for as long as the ring is used;
    /// - no other process uses those bytes until this returns, and afterwards only through rings:
    ///   writing over a pthread mutex is undefined behaviour.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Ring, Timeout};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// let ring = unsafe { Ring::create_raw_sync(place, 100) }?;
    /// ring.push("hello", Timeout::Never)?;
    /// assert_eq!(ring.len(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn create_raw_sync(place: NonNull<u8>, capacity_bytes: usize) -> Result<Self> {
        // SAFETY: the caller's promise.
        let parts =
            unsafe { ring::write_header(place, capacity_bytes, u64::MAX, LockKind::RawSync) }?;
        // SAFETY: written above.
        let [push_place, pop_place] = unsafe { parts.0.as_ref() }.lock_spaces();
        // SAFETY: in the header, and not yet used.
        let push_lock = unsafe { RawSyncLock::create(push_place) }?;
        // SAFETY: the same.
        let pop_lock = unsafe { RawSyncLock::create(pop_place) }?;
        // SAFETY: the header was written above, the data follow it, and mutexes exclude.
        let ring = unsafe { Ring::from_parts(parts, Watch::Waiters, push_lock, pop_lock) };
        ring.publish();
        Ok(ring)
    }

    /// Uses the ring that another process created with
    /// [`create_raw_sync`](Ring::create_raw_sync).
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is no ring there, it does not fit into `place_bytes`, or it has
    /// locks of another kind.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for `place_bytes` initialised bytes, for
    ///   as long as the ring is used;
    /// - all other users of those bytes use them through rings.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Ring, Timeout};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let ring = unsafe { Ring::create_raw_sync(place, 100) }?;
    /// // SAFETY: aligned, never freed, and used by rings only.
    /// let attached = unsafe { Ring::attach_raw_sync(place, 4096) }?;
    /// ring.push("hello", Timeout::Never)?;
    /// assert_eq!(attached.pop(Timeout::Never)?, b"hello");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn attach_raw_sync(place: NonNull<u8>, place_bytes: usize) -> Result<Self> {
        // SAFETY: the caller's promise.
        let parts = unsafe { ring::check_header(place, place_bytes, LockKind::RawSync) }?;
        // SAFETY: checked above.
        let [push_place, pop_place] = unsafe { parts.0.as_ref() }.lock_spaces();
        // SAFETY: a published ring of this kind has a mutex there.
        let push_lock = unsafe { RawSyncLock::attach(push_place) }?;
        // SAFETY: the same.
        let pop_lock = unsafe { RawSyncLock::attach(pop_place) }?;
        // SAFETY: checked: header and data lie within `place_bytes`; mutexes exclude.
        Ok(unsafe { Ring::from_parts(parts, Watch::Waiters, push_lock, pop_lock) })
    }
}

/// The bytes of padding that bring `memory` to the alignment of an event.
fn padding(memory: *mut u8) -> usize {
    memory.addr().next_multiple_of(align_of::<EventWord>()) - memory.addr()
}

/// This crate's event through raw_sync's traits: `<RawEvent as EventInit>::new(memory,
/// auto_reset)`.
///
/// An event needs 4 bytes, and up to 3 before them for its alignment, which `size_of(None)`
/// includes.
impl EventInit for RawEvent {
    fn size_of(addr: Option<*mut u8>) -> usize {
        addr.map_or(align_of::<EventWord>() - 1, padding) + size_of::<EventWord>()
    }

    unsafe fn new(mem: *mut u8, auto_reset: bool) -> RawResult<(Box<dyn EventImpl>, usize)> {
        let reset = if auto_reset { Reset::Auto } else { Reset::Manual };
        // SAFETY: the caller has passed `size_of(Some(mem))` bytes.
        let place = unsafe { mem.add(padding(mem)) }.cast::<EventWord>();
        // SAFETY: aligned by the padding, and writable by the trait's contract.
        unsafe { place.write(EventWord::new(reset)) };
        // SAFETY: a word was written there.
        unsafe { <RawEvent as EventInit>::from_existing(mem) }
    }

    unsafe fn from_existing(mem: *mut u8) -> RawResult<(Box<dyn EventImpl>, usize)> {
        // SAFETY: the caller has passed `size_of(Some(mem))` bytes.
        let place = unsafe { mem.add(padding(mem)) }.cast::<EventWord>();
        let word = NonNull::new(place).ok_or("an event cannot be at address 0")?;
        // SAFETY: an event is there, by the trait's contract; any bits are a valid one.
        let event = unsafe { RawEvent::new(word, Watch::Waiters) };
        Ok((Box::new(event), <RawEvent as EventInit>::size_of(Some(mem))))
    }
}

impl EventImpl for RawEvent {
    fn wait(&self, timeout: raw_sync::Timeout) -> RawResult<()> {
        let (end, after) = match timeout {
            raw_sync::Timeout::Infinite => (Timeout::Never, Duration::MAX),
            raw_sync::Timeout::Val(timeout) => (Timeout::after(timeout), timeout),
        };
        match RawEvent::wait(self, end) {
            true => Ok(()),
            false => Err(Error::TimedOut { what: "the event", after }.into()),
        }
    }

    fn set(&self, state: EventState) -> RawResult<()> {
        match state {
            EventState::Clear => {
                self.reset();
            }
            EventState::Signaled => RawEvent::set(self),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory for a ring, never freed: the memory of a raw_sync mutex must stay valid.
    fn ring_memory(capacity_bytes: usize) -> NonNull<u8> {
        let bytes = Ring::size_bytes(capacity_bytes).unwrap();
        let memory = vec![0u8; bytes + Ring::ALIGN].leak().as_mut_ptr();
        // SAFETY: less than `ALIGN` bytes on, which were added to the size.
        NonNull::new(unsafe { memory.add(memory.align_offset(Ring::ALIGN)) }).unwrap()
    }

    #[test]
    fn a_ring_over_raw_sync_carries_messages_between_threads() {
        let place = ring_memory(64);
        // SAFETY: aligned, large enough and never freed.
        let ring = unsafe { Ring::create_raw_sync(place, 64) }.unwrap();
        // SAFETY: the same.
        let other = unsafe { Ring::attach_raw_sync(place, Ring::size_bytes(64).unwrap()) }.unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..1000u32).for_each(|n| ring.push(n.to_le_bytes(), Timeout::Never).unwrap())
            });
            for number in 0..1000u32 {
                assert_eq!(other.pop(Timeout::Never).unwrap(), number.to_le_bytes());
            }
        });
    }

    #[test]
    fn a_raw_sync_lock_that_stays_held_times_out_after_the_requested_time() {
        let place = ring_memory(64);
        // SAFETY: aligned, large enough and never freed.
        let ring = unsafe { Ring::create_raw_sync(place, 64) }.unwrap();
        let _held = ring.reserve(1, Timeout::Never).unwrap();
        for timeout_ms in [1, 20, 1100] {
            let (start, timeout) = (Instant::now(), Duration::from_millis(timeout_ms));
            let refused = ring.push([0], timeout).unwrap_err();
            assert!(matches!(refused.error, Error::TimedOut { .. }), "{refused:?}");
            assert!(start.elapsed() >= timeout, "not before its time");
        }
    }

    #[test]
    fn an_attempt_never_crosses_a_second_of_the_clock() {
        for wanted_ms in [0, 1, 400, 999, 1000, 5000] {
            let cut = cut_at_second(Duration::from_millis(wanted_ms));
            assert!(cut <= Duration::from_millis(wanted_ms.min(999)));
        }
    }

    #[test]
    fn a_ring_of_one_lock_kind_is_not_attached_as_another() {
        let place = ring_memory(64);
        let bytes = Ring::size_bytes(64).unwrap();
        // SAFETY: aligned, large enough and never freed.
        let _ring = unsafe { Ring::create_raw_sync(place, 64) }.unwrap();
        // SAFETY: the same.
        let refused = unsafe { ring::check_header(place, bytes, LockKind::Robust) };
        assert!(matches!(refused, Err(Error::Layout { .. })));
    }

    #[test]
    fn an_event_works_through_raw_syncs_traits_and_writes_as_many_bytes_as_it_returns() {
        for (offset, auto_reset) in [(0, false), (1, true), (2, false), (3, true)] {
            let mut memory = [0xa5u8; 32];
            // SAFETY: within the array.
            let place = unsafe { memory.as_mut_ptr().add(offset) };
            let size = <RawEvent as EventInit>::size_of(Some(place));
            assert!(size <= <RawEvent as EventInit>::size_of(None));
            // SAFETY: the array has room for it.
            let (event, used) = unsafe { <RawEvent as EventInit>::new(place, auto_reset) }.unwrap();
            assert_eq!(used, size);
            let short = || raw_sync::Timeout::Val(Duration::from_millis(1));
            assert!(event.wait(short()).is_err());
            event.set(EventState::Signaled).unwrap();
            // SAFETY: an event is there.
            let (same, used) = unsafe { <RawEvent as EventInit>::from_existing(place) }.unwrap();
            assert_eq!(used, size);
            same.wait(raw_sync::Timeout::Infinite).unwrap();
            assert_eq!(event.wait(short()).is_ok(), !auto_reset, "auto reset took it");
            event.set(EventState::Clear).unwrap();
            assert!(same.wait(short()).is_err());
            drop((event, same));
            assert!(memory[offset + size..].iter().all(|byte| *byte == 0xa5), "not a byte more");
        }
    }
}
