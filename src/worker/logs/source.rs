//! The host's end of a worker's log records.
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};
use tracing::subscriber::NoSubscriber;

use crate::error::Result;
use crate::process::diagnostics;
use crate::region::arena::{Arena, Contents, Span};
use crate::worker::logs::callsite::{self, HostCallsite};
use crate::worker::logs::emit::{self, Origin, Parts};
use crate::worker::logs::level::{HostLevels, LogLevel};
use crate::worker::logs::record::{IDS_MAX, Kind, RECORD_BYTES_MAX, Reader};
use crate::worker::logs::ring::{LogControl, LogReader, LogRing, Popped, has_more};

/// The words of a ring: 256 KiB.
const WORDS: usize = 1 << 15;
const _: () = assert!(RECORD_BYTES_MAX < WORDS * 8 / 4);

/// A ring of log records in the arena.
#[repr(C)]
pub(crate) struct LogMemory {
    control: LogControl,
    words: [AtomicU64; WORDS],
}

impl LogMemory {
    pub(crate) fn ring(&self) -> LogRing<'_> {
        LogRing { control: &self.control, words: &self.words }
    }
}

/// The last records that are kept of a worker, for its death report.
const KEPT: usize = 16;
/// The records that are copied out at once.
const BATCH: usize = 128;
/// How long the end of a pool or of a process waits for another thread that emits.
const END_WAIT: Duration = Duration::from_secs(1);
/// How long the thread that emits stays at one source while others wait.
const SHARE: Duration = Duration::from_millis(5);
/// The buffers that are kept for further records.
const SPARE_MAX: usize = 2 * BATCH;

/// A worker's log records, in the host.
pub(crate) struct LogSource {
    memory: Span,
    worker: Option<usize>,
    process: Option<String>,
    limit: LogLevel,
    /// The worker's process id; 0 until it has started.
    pid: AtomicU32,
    /// The subscriber of the thread that made the pool.
    subscriber: Dispatch,
    /// No user code runs while this is held.
    incoming: Mutex<Incoming>,
    /// The position of the reader, for a look without the lock.
    head: AtomicU64,
    /// Records may have been copied out and not been emitted, for a look without the lock. Set
    /// before they are copied; cleared under `incoming`.
    has_copied: AtomicBool,
    /// A thread emits records.
    emitting: Mutex<bool>,
    /// A wait for the emitting thread has timed out.
    is_slow: AtomicBool,
    has_emitted: Condvar,
}

/// A record that was copied out of the ring.
struct RawRecord {
    callsite: &'static HostCallsite,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Incoming {
    reader: LogReader,
    /// By the worker's name for them: the latest, and up to as many before them.
    callsites: [HashMap<u64, &'static HostCallsite>; 2],
    /// Copied when the worker had ended, and not emitted yet.
    backlog: VecDeque<RawRecord>,
    /// The last records that were taken to be emitted.
    kept: VecDeque<RawRecord>,
    spare: Vec<Vec<u8>>,
    dropped: u64,
    corrupt: u64,
}

impl LogSource {
    /// Makes the ring of a worker that will be started.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory.
    pub(crate) fn new(
        arena: &Arc<Arena>,
        limit: LogLevel,
        worker: Option<usize>,
        process: Option<String>,
        subscriber: &Dispatch,
    ) -> Result<Arc<LogSource>> {
        let memory =
            arena.reserve(size_of::<LogMemory>(), Contents::ZeroedUpTo(size_of::<LogControl>()))?;
        assert!(memory.as_ptr().cast::<LogMemory>().is_aligned(), "spans of this size are");
        let source = LogSource {
            memory,
            worker,
            process,
            limit,
            pid: AtomicU32::new(0),
            subscriber: subscriber.clone(),
            incoming: Mutex::default(),
            head: AtomicU64::new(0),
            has_copied: AtomicBool::new(false),
            emitting: Mutex::new(false),
            is_slow: AtomicBool::new(false),
            has_emitted: Condvar::new(),
        };
        source.update_levels();
        source.lock().reader.watch(source.ring().control);
        Ok(Arc::new(source))
    }

    /// The offset of the ring in the arena.
    pub(crate) fn offset(&self) -> u64 {
        self.memory.offset()
    }

    fn ring(&self) -> LogRing<'_> {
        // SAFETY: `new` reserved as many bytes, and asserted their alignment; the span lives as
        // long as `self`. A ring consists of atomics and padding, for which any bytes are values.
        let memory = unsafe { &*self.memory.as_ptr().cast::<LogMemory>() };
        memory.ring()
    }

    /// Tells the worker which levels the host wants now.
    pub(crate) fn update_levels(&self) {
        let levels = HostLevels::current().limited(self.limit).pack();
        // Relaxed: the word publishes nothing.
        self.ring().control.levels.store(levels, Ordering::Relaxed);
    }

    /// The worker has started.
    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn origin(&self) -> Origin {
        let pid = self.pid.load(Ordering::Relaxed);
        Origin { worker: self.worker, process: self.process.clone(), pid }
    }

    fn lock(&self) -> MutexGuard<'_, Incoming> {
        // No code under this lock panics in the middle of a change.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be records that were not copied out. Costs two loads.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        // Acquire: pairs with the Release in `next`.
        has_more(self.ring().control, self.head.load(Ordering::Acquire))
    }

    /// Whether there may be records that were not emitted. Costs a few loads.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        // In this order: the flag is set before records are copied out. Acquire: pairs with the
        // Release of the thread that has emitted them.
        self.has_news() || self.has_copied.load(Ordering::Acquire)
    }

    /// The subscriber for the records.
    fn subscriber(&self) -> Dispatch {
        match self.subscriber.is::<NoSubscriber>() {
            true => dispatcher::get_default(Dispatch::clone),
            false => self.subscriber.clone(),
        }
    }

    /// Emits the records that there are until `end`, on a thread that joins a task. If another
    /// thread does so, waits for it, but not again before that has ended.
    pub(crate) fn emit_for_joiner(&self, end: Instant) {
        let left = end.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            let is_slow = self.is_slow.load(Ordering::Relaxed);
            self.emit_until(Some(end), if is_slow { Duration::ZERO } else { left });
        }
    }

    /// Emits records for a bounded time, on the thread that does nothing else.
    pub(crate) fn emit_share(&self) {
        self.emit_until(Instant::now().checked_add(SHARE), Duration::ZERO);
    }

    /// Emits all records, when the worker has ended; waits for some time while another thread does
    /// so.
    pub(crate) fn emit_all(&self) {
        self.emit_until(None, END_WAIT);
    }

    /// Emits records until there are none, or until `end`.
    fn emit_until(&self, end: Option<Instant>, wait: Duration) {
        if diagnostics::is_emitting() {
            // The subscriber has called the pool; whoever called the subscriber continues.
            return;
        }
        // Also without records: another thread may be about to emit the last ones.
        while self.begin_emitting(wait) {
            let emitting = EndEmitting(self);
            self.emit_batches(end);
            drop(emitting);
            if is_over(end) || !self.has_unemitted() {
                return;
            }
        }
    }

    fn emit_batches(&self, end: Option<Instant>) {
        let (to, origin) = (self.subscriber(), self.origin());
        let mut batch = Vec::new();
        loop {
            let (dropped, corrupt) = self.lock().next_batch(self, &mut batch);
            if dropped > 0 || corrupt > 0 {
                diagnostics::guard(|| emit::report_loss(&origin, dropped, corrupt, &to));
            }
            if batch.is_empty() {
                return;
            }
            let mut emitted = 0;
            for RawRecord { callsite, bytes } in &batch {
                if let Some(parts) = Parts::read(bytes, callsite) {
                    diagnostics::guard(|| parts.emit(callsite, &origin, &to));
                }
                emitted += 1;
                if is_over(end) {
                    break;
                }
            }
            let mut incoming = self.lock();
            for record in batch.drain(emitted..).rev() {
                // It is in the backlog again instead.
                incoming.kept.pop_back();
                incoming.backlog.push_front(record);
            }
            incoming.recycle(&mut batch);
            drop(incoming);
            if is_over(end) {
                return;
            }
        }
    }

    /// Whether there are records, or a loss, that were not emitted.
    pub(crate) fn has_unemitted(&self) -> bool {
        self.has_news() || self.lock().has_backlog()
    }

    /// False if another thread emits for longer than `wait`.
    fn begin_emitting(&self, wait: Duration) -> bool {
        let guard = self.emitting.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.has_emitted.wait_timeout_while(guard, wait, |is_busy| *is_busy);
        let (mut guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let was_busy = std::mem::replace(&mut *guard, true);
        if was_busy {
            // A thread that did not wait has no wait that timed out.
            self.is_slow.fetch_or(!wait.is_zero(), Ordering::Relaxed);
        } else {
            self.is_slow.store(false, Ordering::Relaxed);
            // Relaxed: the reader's position, which is published by Release, is stored after it.
            self.has_copied.store(true, Ordering::Relaxed);
        }
        !was_busy
    }

    /// Makes the worker notify of its next record. False if there are records now.
    pub(crate) fn watch(&self) -> bool {
        let incoming = self.lock();
        incoming.backlog.is_empty() && incoming.reader.watch(self.ring().control)
    }

    /// The worker has ended: copies what its ring holds, to be emitted later.
    pub(crate) fn finish(&self) {
        let mut incoming = self.lock();
        let mut looks = WORDS;
        while let Some(record) = incoming.next(self, &mut looks) {
            incoming.backlog.push_back(record);
        }
        incoming.take_dropped(self);
        // Under the lock: the end of an emission looks at the backlog, too.
        self.has_copied.fetch_or(incoming.has_backlog(), Ordering::Release);
    }

    /// The last records of the task with this number, oldest first.
    pub(crate) fn last_records(&self, number: u64) -> Vec<String> {
        let incoming = self.lock();
        let latest = incoming.kept.iter().chain(&incoming.backlog).rev();
        let lines = latest.filter_map(|record| {
            let parts = Parts::read(&record.bytes, record.callsite)?;
            parts.is_of(number).then(|| parts.line(record.callsite))
        });
        let mut lines: Vec<String> = lines.take(KEPT).collect();
        lines.reverse();
        lines
    }
}

fn is_over(end: Option<Instant>) -> bool {
    end.is_some_and(|end| Instant::now() >= end)
}

/// Ends the emission, also after a panic.
struct EndEmitting<'a>(&'a LogSource);

impl Drop for EndEmitting<'_> {
    fn drop(&mut self) {
        let LogSource { emitting, has_copied, has_emitted, .. } = self.0;
        let mut is_busy = emitting.lock().unwrap_or_else(PoisonError::into_inner);
        let incoming = self.0.lock();
        // Release: pairs with the Acquire in `is_pending`.
        has_copied.store(incoming.has_backlog(), Ordering::Release);
        drop(incoming);
        *is_busy = false;
        has_emitted.notify_all();
    }
}

impl Incoming {
    fn has_backlog(&self) -> bool {
        !self.backlog.is_empty() || self.dropped > 0 || self.corrupt > 0
    }

    /// Fills `batch`. Returns how many records were dropped, and found overwritten.
    fn next_batch(&mut self, source: &LogSource, batch: &mut Vec<RawRecord>) -> (u64, u64) {
        let mut looks = WORDS;
        while batch.len() < BATCH {
            match self.backlog.pop_front() {
                Some(record) => batch.push(record),
                None => match self.next(source, &mut looks) {
                    Some(record) => batch.push(record),
                    None => break,
                },
            }
        }
        for record in &batch[batch.len().saturating_sub(KEPT)..] {
            self.keep(record);
        }
        self.take_dropped(source);
        (std::mem::take(&mut self.dropped), std::mem::take(&mut self.corrupt))
    }

    fn take_dropped(&mut self, source: &LogSource) {
        let fresh = self.reader.take_dropped(source.ring().control);
        self.dropped = self.dropped.saturating_add(fresh);
    }

    /// The next record in the ring. Definitions are taken on the way. Each look into the ring takes
    /// one of `looks`: a faulty worker may write on without end.
    fn next(&mut self, source: &LogSource, looks: &mut usize) -> Option<RawRecord> {
        while *looks > 0 {
            *looks -= 1;
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            let popped = self.reader.pop(source.ring(), &mut bytes);
            source.head.store(self.reader.head(), Ordering::Release);
            match popped {
                Popped::Empty => {
                    self.spare.push(bytes);
                    return None;
                }
                Popped::Corrupt => self.corrupt += 1,
                Popped::Record => match self.accept(bytes) {
                    Ok(Some(record)) => return Some(record),
                    Ok(None) => {}
                    Err(()) => self.corrupt += 1,
                },
            }
        }
        None
    }

    /// Takes a record; `None` if it is a definition.
    fn accept(&mut self, bytes: Vec<u8>) -> std::result::Result<Option<RawRecord>, ()> {
        let (head, rest) = Reader::new(&bytes).ok_or(())?;
        if head.kind == Kind::Definition {
            let definition = rest.definition().ok_or(())?;
            let callsite = callsite::of(&definition).ok_or(())?;
            let [latest, before] = &mut self.callsites;
            if latest.len() >= IDS_MAX {
                *before = std::mem::take(latest);
            }
            latest.insert(head.callsite, callsite);
            return Ok(None);
        }
        let found = self.callsites.iter().find_map(|known| known.get(&head.callsite));
        let callsite = *found.ok_or(())?;
        Ok(Some(RawRecord { callsite, bytes }))
    }

    /// Keeps a copy of a record.
    fn keep(&mut self, record: &RawRecord) {
        let oldest = if self.kept.len() < KEPT { None } else { self.kept.pop_front() };
        let mut bytes = oldest.map(|record| record.bytes).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&record.bytes);
        self.kept.push_back(RawRecord { callsite: record.callsite, bytes });
    }

    fn recycle(&mut self, batch: &mut Vec<RawRecord>) {
        let room = SPARE_MAX.saturating_sub(self.spare.len());
        self.spare.extend(batch.drain(..).map(|record| record.bytes).take(room));
    }
}

impl std::fmt::Debug for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSource").field("worker", &self.worker).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
