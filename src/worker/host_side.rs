//! The host's end of a queue pair: offers, recalls, drains.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, Phase, Result};
use crate::region::arena::{Arena, Contents, Span};
use crate::sys::clock;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::worker::call::{Call, Encoded, TaskId};
use crate::worker::claim::{self, ClaimState};
use crate::worker::queue_pair::{
    ByteRing, CRASH_MESSAGE_BYTES, Place, QueuePair, REBUILDING, ResultMeta, SLOTS,
    TASK_INLINE_BYTES, TaskMeta, load_words, store_words,
};

/// A task that was offered and whose result slot has not been drained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InFlight {
    pub(crate) seq: u64,
    /// `None` if it was recalled: the worker has not skipped its slot yet.
    pub(crate) task: Option<TaskId>,
    /// End of its payload in the task ring.
    bytes_end: u64,
    /// The earliest possible start time: CLOCK_MONOTONIC, in nanoseconds; 0 if it is not needed.
    offered_ns: u64,
}

/// A drained result: the fields of its slot, and its payload unless that is in a span.
#[derive(Debug)]
pub(crate) struct Drained {
    pub(crate) seq: u64,
    pub(crate) task: Option<TaskId>,
    pub(crate) meta: ResultMeta,
    /// The payload; for a payload in a span, empty.
    pub(crate) bytes: Encoded,
}

/// A commit to poll for. It keeps the queue pair's memory, even if the worker is replaced.
#[derive(Debug)]
pub(crate) struct PendingCommit {
    queues: Arc<Span>,
    seq: u64,
}

impl PendingCommit {
    /// Whether the task is committed.
    pub(crate) fn is_committed(&self) -> bool {
        claim::is_committed(&queue_pair_in(&self.queues).result(self.seq).seq, self.seq)
    }
}

/// The queue pair in a span that [`HostSide::new`] reserved.
fn queue_pair_in(span: &Span) -> &QueuePair {
    // SAFETY: the span is as large as a queue pair, aligned to more than a cache line (spans of
    // this size are), and lives as long as the reference to it. A queue pair consists of atomics
    // and padding, for which any bytes are values and any process may write at any time.
    unsafe { &*span.as_ptr().cast::<QueuePair>() }
}

/// A queue pair, and the host's private record of the tasks in it.
///
/// The worker can write to all of the queue pair at any time. So the host keeps here what it has
/// read there once, and accepts a reported start time only between the offer and the time when it
/// first saw the claim.
#[derive(Debug)]
pub(crate) struct HostSide {
    span: Arc<Span>,
    next_seq: u64,
    in_flight: VecDeque<InFlight>,
    /// The next free position of the task ring, and the end of the bytes that the worker has read.
    bytes_head: u64,
    bytes_tail: u64,
    /// The number of tasks in `in_flight` that were not recalled.
    live: usize,
    /// The number of its slots; 0 while they are reserved.
    slots: u64,
    /// The first process id that the worker reported, when it was ready; 0 before.
    pid: Cell<u32>,
    /// The worker has committed a result, so it is ready, whatever its words contain.
    has_answered: bool,
    /// The latest task that was seen claimed, and when that was first seen.
    begun: Cell<Option<(u64, u64)>>,
}

impl HostSide {
    /// Makes a queue pair for a worker that will be started.
    pub(crate) fn new(arena: &Arc<Arena>) -> Result<HostSide> {
        let contents = Contents::ZeroedUpTo(QueuePair::ZEROED_BYTES);
        Ok(HostSide {
            span: Arc::new(arena.reserve(size_of::<QueuePair>(), contents)?),
            next_seq: 1,
            in_flight: VecDeque::new(),
            bytes_head: 0,
            bytes_tail: 0,
            live: 0,
            slots: SLOTS,
            pid: Cell::new(0),
            has_answered: false,
            begun: Cell::new(None),
        })
    }

    /// The offset of the queue pair in the arena.
    pub(crate) fn offset(&self) -> u64 {
        self.span.offset()
    }

    pub(crate) fn queues(&self) -> &QueuePair {
        queue_pair_in(&self.span)
    }

    /// The number of the worker's tasks that are not known to have ended.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Whether there is a slot for another task.
    pub(crate) fn has_slot(&self) -> bool {
        (self.in_flight.len() as u64) < self.slots
    }

    /// Makes `has_slot` false from now on, or no longer.
    pub(crate) fn reserve(&mut self, is_reserved: bool) {
        self.slots = if is_reserved { 0 } else { SLOTS };
    }

    pub(crate) fn in_flight(&self) -> impl DoubleEndedIterator<Item = &InFlight> {
        self.in_flight.iter()
    }

    /// Offers a task; `None` if there is no room for its payload now. `offered_ns` is the current
    /// time, or 0 if the task is not timed.
    #[inline]
    pub(crate) fn offer(&mut self, id: TaskId, call: &Call, offered_ns: u64) -> Option<NonZeroU64> {
        debug_assert!((self.in_flight.len() as u64) < SLOTS);
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::HostOffer);
        let seq = self.next_seq;
        let slot = self.queues().task(seq);
        let mut bytes_end = self.bytes_head;
        let place = match &call.payload {
            Encoded::Inline { len, words } => {
                for (to, &word) in slot.inline.iter().zip(words).take(usize::from(*len).div_ceil(8))
                {
                    // Relaxed: published by the claim word.
                    to.store(word, Ordering::Relaxed);
                }
                Place::Inline
            }
            Encoded::Heap(bytes) if bytes.len() <= TASK_INLINE_BYTES => {
                store_words(&slot.inline, bytes);
                Place::Inline
            }
            Encoded::Heap(bytes) => {
                let (at, end) = ByteRing::place(self.bytes_head, self.bytes_tail, bytes.len())?;
                self.queues().task_bytes.write(at, bytes);
                bytes_end = end;
                Place::Ring(at)
            }
            Encoded::Span(span) => Place::Span(span.offset()),
        };
        let meta = TaskMeta { len: call.payload.len(), leases: call.leases.len(), place };
        let (meta, place) = meta.pack();
        // Relaxed: published by the claim word.
        slot.function.store(call.function.to_word(), Ordering::Relaxed);
        slot.meta.store(meta, Ordering::Relaxed);
        slot.place.store(place, Ordering::Relaxed);
        slot.number.store(call.number, Ordering::Relaxed);
        claim::offer(&slot.claim, seq);
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::HostAfterOffer);
        self.bytes_head = bytes_end;
        self.in_flight.push_back(InFlight { seq, task: Some(id), bytes_end, offered_ns });
        self.next_seq += 1;
        self.live += 1;
        NonZeroU64::new(seq)
    }

    /// The sequence number of the next offer.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether the worker has claimed a task whose result was not drained.
    pub(crate) fn has_running(&self) -> bool {
        self.next_live().is_some_and(|entry| self.has_started(entry.seq))
    }

    /// The oldest task of the worker that was not recalled. If a task runs it is this one, since
    /// workers take them in order.
    fn next_live(&self) -> Option<&InFlight> {
        self.in_flight.iter().find(|entry| entry.task.is_some())
    }

    /// The sequence number in the middle of the tasks in flight.
    pub(crate) fn half_way(&self) -> Option<u64> {
        self.in_flight.get(self.in_flight.len() / 2).map(|entry| entry.seq)
    }

    /// Wakes the worker if it sleeps. Call it after an offer, and after making room.
    #[inline]
    pub(crate) fn wake(&self) {
        self.queues().header.parked.wake();
    }

    /// Wakes the worker even if its word says that it is awake, which may be wrong.
    pub(crate) fn wake_anyway(&self) {
        self.queues().header.parked.wake_anyway();
    }

    /// Whether the worker sleeps, or is about to.
    pub(crate) fn is_parked(&self) -> bool {
        self.queues().header.parked.is_parked()
    }

    /// Recalls the task that was offered as `seq`. False if it has started.
    pub(crate) fn recall(&mut self, seq: u64) -> bool {
        if !claim::try_recall(&self.queues().task(seq).claim, seq) {
            return false;
        }
        if let Some(entry) = self.in_flight.iter_mut().find(|entry| entry.seq == seq) {
            self.live -= usize::from(entry.task.take().is_some());
        }
        true
    }

    /// Recalls up to `count` of the tasks that were offered last, latest first.
    pub(crate) fn recall_latest(&mut self, count: usize) -> Vec<TaskId> {
        let mut recalled = Vec::new();
        for index in (0..self.in_flight.len()).rev() {
            if recalled.len() == count {
                break;
            }
            let InFlight { seq, task: Some(id), .. } = self.in_flight[index] else { continue };
            if !claim::try_recall(&self.queues().task(seq).claim, seq) {
                // All earlier ones have started too.
                break;
            }
            self.in_flight[index].task = None;
            self.live -= 1;
            recalled.push(id);
        }
        recalled
    }

    /// Whether the result of `seq`, which is in flight, or a later one is committed, not drained.
    pub(crate) fn has_result_from(&self, seq: u64) -> bool {
        // Workers commit in order, so checking the first one suffices.
        let Some(front) = self.in_flight.front() else { return false };
        let first = seq.max(front.seq);
        first < self.next_seq && claim::is_committed(&self.queues().result(first).seq, first)
    }

    /// Whether the worker waits for room in its result ring, and there is a result to drain.
    pub(crate) fn is_without_room(&self) -> bool {
        // Relaxed: ordered by the fence in `DriverWord::arm`.
        self.has_result_from(0) && self.queues().header.waiting.load(Ordering::Relaxed) == 1
    }

    /// The commit of the oldest task in flight.
    pub(crate) fn pending_commit(&self) -> Option<PendingCommit> {
        let next = self.in_flight.front()?;
        Some(PendingCommit { queues: Arc::clone(&self.span), seq: next.seq })
    }

    /// Whether the queue pair has a state that the protocol cannot reach: a claim word that is not
    /// of the offer, its claim or its recall; or a claimed task after one that is not committed.
    /// The remaining tasks of such a worker would never end.
    pub(crate) fn is_corrupt(&self) -> bool {
        let Some(front) = self.in_flight.front() else { return false };
        // The second is read first: its claim comes after the commit of the first.
        let second = self.in_flight.get(1);
        let is_passed = second.is_some_and(|second| self.has_started(second.seq));
        let claim = claim::read(&self.queues().task(front.seq).claim, front.seq);
        let is_right = match front.task {
            Some(_) => matches!(claim, ClaimState::Offered | ClaimState::Claimed),
            None => claim == ClaimState::Recalled,
        };
        let is_committed = claim::is_committed(&self.queues().result(front.seq).seq, front.seq);
        !is_committed && (!is_right || is_passed)
    }

    /// The result of the oldest task in flight, if it is committed.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a worker cannot have written this record.
    #[inline]
    pub(crate) fn drain(&mut self) -> Result<Option<Drained>> {
        let Some(&InFlight { seq, task, bytes_end, .. }) = self.in_flight.front() else {
            return Ok(None);
        };
        let slot = self.queues().result(seq);
        if !claim::is_committed(&slot.seq, seq) {
            return Ok(None);
        }
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::HostDrain);
        // Relaxed: made visible by the load above. Each word is read once.
        let (meta, place) = (slot.meta.load(Ordering::Relaxed), slot.place.load(Ordering::Relaxed));
        let meta = ResultMeta::unpack(meta, place)?;
        let bytes = match meta.place {
            Place::Inline if meta.len <= size_of_val(&slot.inline) => {
                // Relaxed: as above.
                Encoded::of_words(meta.len, |word| slot.inline[word].load(Ordering::Relaxed))
            }
            Place::Inline => {
                let found = format!("{} bytes in a slot", meta.len);
                return Err(Error::Corrupt { what: "a result slot", found });
            }
            Place::Ring(at) => {
                let mut bytes = Vec::new();
                self.queues().result_bytes.read(at, meta.len, &mut bytes)?;
                let end = at.saturating_add((meta.len as u64).next_multiple_of(8));
                let header = &self.queues().header;
                header.bytes_read.store(end, Ordering::Release);
                header.parked.wake_if_waiting(&header.waiting);
                Encoded::copied(bytes)
            }
            Place::Span(_) => Encoded::copied(Vec::new()),
        };
        self.has_answered = true;
        self.in_flight.pop_front();
        self.bytes_tail = bytes_end;
        self.live -= usize::from(task.is_some());
        Ok(Some(Drained { seq, task, meta, bytes }))
    }

    /// When the task that was the last to be drained started, as its worker reports.
    pub(crate) fn reported_start_ns(&self, drained: &Drained) -> u64 {
        let queues = self.queues();
        let start_ns = match drained.meta.place {
            Place::Inline => &queues.result(drained.seq).place,
            Place::Ring(_) | Place::Span(_) => queues.start(drained.seq),
        };
        // Relaxed: made visible by the commit.
        start_ns.load(Ordering::Relaxed)
    }

    /// Requests a wake-up at the commit of task `seq`, or a later one; `u64::MAX` for none.
    pub(crate) fn set_wake_at(&self, seq: u64) {
        // Relaxed: the fence of `State::arm` orders it.
        self.queues().header.wake_at.store(seq, Ordering::Relaxed);
    }

    /// Requests that task `seq`, which has started, ends early. Has no effect after a request for a
    /// later task, because then `seq` has ended.
    pub(crate) fn request_cancel(&self, seq: u64) {
        let cancel_seq = &self.queues().header.cancel_seq;
        // Relaxed: only the host writes it, under its mutex, and it publishes no data.
        if cancel_seq.load(Ordering::Relaxed) < seq {
            cancel_seq.store(seq, Ordering::Relaxed);
        }
    }

    /// Whether the worker has claimed `seq`, which is in flight.
    pub(crate) fn has_started(&self, seq: u64) -> bool {
        claim::read(&self.queues().task(seq).claim, seq) == ClaimState::Claimed
    }

    /// Tells the worker to exit when nothing is offered.
    pub(crate) fn stop(&self) {
        self.queues().header.stop.store(1, Ordering::Release);
        self.wake();
    }

    /// Withdraws that, if the worker has not exited yet.
    pub(crate) fn cancel_stop(&self) {
        self.queues().header.stop.store(0, Ordering::Release);
    }

    /// Whether the worker is ready. Once true, it stays true.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_answered || self.begun.get().is_some() || self.pid() != 0
    }

    /// The process id that the worker reported when it was ready; 0 before.
    pub(crate) fn pid(&self) -> u32 {
        if self.pid.get() == 0 {
            let ready = self.queues().header.ready.load(Ordering::Acquire);
            self.pid.set(if ready == REBUILDING { 0 } else { ready });
        }
        self.pid.get()
    }

    /// Whether the worker makes its state again, and begins no task for now.
    pub(crate) fn is_rebuilding(&self) -> bool {
        self.queues().header.ready.load(Ordering::Acquire) == REBUILDING
    }

    /// Excludes a gap, in which this process was stopped, from the times measured here.
    pub(crate) fn exclude_gap(&mut self, gap: Duration) {
        let Some((seq, _, started_ns)) = self.running() else { return };
        let later = |ns: u64| ns.saturating_add(u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        if let Some(entry) = self.in_flight.iter_mut().find(|entry| entry.seq == seq) {
            entry.offered_ns = later(started_ns);
        }
        self.begun.set(self.begun.get().map(|(seq, seen_ns)| (seq, later(seen_ns))));
    }

    /// The task that runs now: its sequence number, its phase, and its start time.
    ///
    /// The sequence number follows from the host's record. Phase and start time are the worker's
    /// report, limited to possible values.
    pub(crate) fn running(&self) -> Option<(u64, Phase, u64)> {
        let &InFlight { seq, offered_ns, .. } = self.next_live()?;
        if !self.has_started(seq) {
            return None;
        }
        let seen_ns = match self.begun.get() {
            Some((seen, at)) if seen == seq => at,
            _ => {
                let now = clock::now_ns();
                self.begun.set(Some((seq, now)));
                now
            }
        };
        let header = &self.queues().header;
        let phase = header.phase.load(Ordering::Acquire);
        if phase >> 2 != seq {
            return Some((seq, Phase::Decoding, seen_ns));
        }
        let phase = match phase & 3 {
            0 => Phase::Decoding,
            1 => Phase::Running,
            _ => Phase::Publishing,
        };
        // Relaxed: written before `phase`.
        let started_ns = header.started_ns.load(Ordering::Relaxed);
        Some((seq, phase, started_ns.max(offered_ns).min(seen_ns)))
    }

    /// The task that runs now, and its start time, as [`running`](HostSide::running) has it.
    pub(crate) fn running_task(&self) -> Option<(TaskId, u64)> {
        let (seq, _, start_ns) = self.running()?;
        let entry = self.next_live().filter(|entry| entry.seq == seq)?;
        Some((entry.task?, start_ns))
    }

    /// The oldest task of the worker, if it has not started.
    pub(crate) fn unstarted(&self) -> Option<u64> {
        let next = self.next_live()?.seq;
        (!self.has_started(next)).then_some(next)
    }

    /// The message that the worker left, if any. Bytes that are not UTF-8 are replaced.
    pub(crate) fn crash_message(&self) -> Option<String> {
        let header = &self.queues().header;
        let len = header.crash_message_len.load(Ordering::Acquire);
        let len = usize::try_from(len).ok().filter(|&len| len > 0 && len <= CRASH_MESSAGE_BYTES)?;
        let mut bytes = Vec::new();
        load_words(&header.crash_message, len, &mut bytes);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Removes the tasks that satisfy `is_over` from an abandoned worker.
    pub(crate) fn take_abandoned(
        &mut self,
        is_over: impl Fn(TaskId) -> bool,
    ) -> Vec<(u64, TaskId)> {
        let mut over = Vec::new();
        for entry in &mut self.in_flight {
            if let Some(id) = entry.task.take_if(|id| is_over(*id)) {
                self.live -= 1;
                over.push((entry.seq, id));
            }
        }
        over
    }

    /// Splits the tasks of a dead worker into those that had started and those that had not, each
    /// in the order of the offers.
    pub(crate) fn classify_in_flight(&mut self) -> (Vec<(u64, TaskId)>, Vec<TaskId>) {
        let (mut started, mut untouched) = (Vec::new(), Vec::new());
        for InFlight { seq, task, .. } in std::mem::take(&mut self.in_flight) {
            let Some(id) = task else { continue };
            // By the same swap as every recall, so that one rule decides what has started. A word
            // that is neither offered nor claimed was overwritten by the worker. It counts as
            // started, since running a task twice is worse than reporting a death.
            if claim::try_recall(&self.queues().task(seq).claim, seq) {
                untouched.push(id);
            } else {
                started.push((seq, id));
            }
        }
        self.live = 0;
        (started, untouched)
    }
}

#[cfg(test)]
#[path = "host_side_tests.rs"]
mod tests;
