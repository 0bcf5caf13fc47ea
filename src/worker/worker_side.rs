//! The worker's end of a queue pair: claims, commits, sleeps.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Error, Phase, Result};
use crate::region::windows::Windows;
use crate::sys::clock;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::poll::EventFd;
use crate::worker::backoff;
use crate::worker::claim::{self, ClaimState};
use crate::worker::cpu_spread::CpuSpread;
use crate::worker::pool_control::PoolControl;
use crate::worker::queue_pair::{
    ByteRing, CRASH_MESSAGE_BYTES, LeaveReason, Place, QueuePair, REBUILDING, RESULT_INLINE_BYTES,
    RING_PAYLOAD_BYTES_MAX, ResultMeta, Status, TaskMeta, load_words, store_words,
};
use crate::worker::wakeup::Driver;

/// A task that this worker has claimed.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) function: u64,
    pub(crate) meta: TaskMeta,
    /// Its number in its pool.
    pub(crate) number: u64,
}

/// The result of [`WorkerSide::next`].
#[derive(Debug)]
pub(crate) enum Next {
    /// A task to run. Its payload is in the buffer, unless it is in a span.
    Task(Claimed),
    /// Nothing is offered.
    Nothing,
}

/// The payload of a result.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ResultBody<'a> {
    /// At most [`RING_PAYLOAD_BYTES_MAX`] bytes, to be copied into slot or ring.
    Bytes(&'a [u8]),
    /// Bytes that were written to the arena before.
    Span { at: u64, len: usize },
}

/// A queue pair as its worker sees it.
#[derive(Debug)]
pub(crate) struct WorkerSide {
    queues: *const QueuePair,
    /// Wakes the pool's driver; `None` in a one-off process, which has no driver.
    waker: Option<Waker>,
    /// The sequence number of the next task.
    seq: u64,
    /// The next free position of the result ring.
    bytes_head: u64,
    /// The end time of the last task, which is the start time of the next if that follows at once.
    last_ns: u64,
    /// The run time of the claimed task; 0 until it has ended.
    elapsed_ns: u64,
}

/// The pool's control block, and the doorbell of the supervisor.
#[derive(Debug)]
struct Waker {
    control: *const PoolControl,
    doorbell: EventFd,
}

impl Waker {
    fn control(&self) -> &PoolControl {
        // SAFETY: `WorkerSide::attach` checked bounds; the window stays mapped until the process
        // ends; the host aligned the span; it consists of atomics and padding.
        unsafe { &*self.control }
    }

    fn wake(&self, driver: Driver) {
        match driver {
            Driver::Joiner => self.control().driver.wake_taken_joiner(),
            Driver::Supervisor => self.doorbell.ring(),
            Driver::Awake => {}
        }
    }
}

impl WorkerSide {
    /// Attaches the queue pair and, in a worker of a pool, the control block at these offsets.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if an offset is outside the arena.
    pub(crate) fn attach(
        windows: &Windows,
        queues: u64,
        waker: Option<(u64, EventFd)>,
    ) -> Result<WorkerSide> {
        let waker = waker.map(|(control, doorbell)| {
            let control = windows.write(control, size_of::<PoolControl>())?.cast();
            Ok::<_, Error>(Waker { control, doorbell })
        });
        Ok(WorkerSide {
            queues: windows.write(queues, size_of::<QueuePair>())?.cast(),
            waker: waker.transpose()?,
            seq: 1,
            bytes_head: 0,
            last_ns: 0,
            elapsed_ns: 0,
        })
    }

    pub(crate) fn queues(&self) -> &'static QueuePair {
        // SAFETY: `attach` checked bounds; the window stays mapped until the process ends; the host
        // aligned the span; a queue pair consists of atomics and padding.
        unsafe { &*self.queues }
    }

    /// Reports that the worker does not begin a task for now.
    pub(crate) fn set_rebuilding(&self) {
        self.queues().header.ready.store(REBUILDING, Ordering::Release);
    }

    /// Reports that the worker is ready, and wakes the supervisor, because a thread may wait for
    /// that.
    pub(crate) fn set_ready(&self) {
        // A plain call: caching the process id for one use would cost two page faults.
        self.queues().header.ready.store(std::process::id(), Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.doorbell.ring();
        }
    }

    /// Claims the next offered task, and copies its payload.
    pub(crate) fn next(&mut self, payload: &mut Vec<u8>) -> Result<Next> {
        loop {
            let seq = self.seq;
            let slot = self.queues().task(seq);
            #[cfg(feature = "failpoints")]
            if claim::read(&slot.claim, seq) == ClaimState::Offered {
                failpoint::hit(Point::WorkerBeforeClaim);
            }
            match claim::read(&slot.claim, seq) {
                ClaimState::Offered if claim::try_claim(&slot.claim, seq) => {}
                ClaimState::Offered => continue,
                ClaimState::Recalled => {
                    self.commit(Status::Skipped, None, ResultBody::Bytes(&[]));
                    continue;
                }
                ClaimState::Claimed | ClaimState::Other => return Ok(Next::Nothing),
            }
            #[cfg(feature = "failpoints")]
            failpoint::hit(Point::WorkerAfterClaim);
            let now = if self.last_ns == 0 { clock::now_ns() } else { self.last_ns };
            self.last_ns = now;
            // Relaxed: published by the phase word.
            self.queues().header.started_ns.store(now, Ordering::Relaxed);
            self.set_phase(Phase::Decoding);
            // Relaxed: made visible by the claim.
            let function = slot.function.load(Ordering::Relaxed);
            let number = slot.number.load(Ordering::Relaxed);
            let (meta, place) =
                (slot.meta.load(Ordering::Relaxed), slot.place.load(Ordering::Relaxed));
            let meta = TaskMeta::unpack(meta, place)?;
            payload.clear();
            match meta.place {
                Place::Inline if meta.len <= size_of_val(&slot.inline) => {
                    load_words(&slot.inline, meta.len, payload);
                }
                Place::Ring(at) => self.queues().task_bytes.read(at, meta.len, payload)?,
                Place::Inline | Place::Span(_) => {}
            }
            return Ok(Next::Task(Claimed { function, meta, number }));
        }
    }

    /// Reports the phase of the task.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.queues().header.phase.store(self.seq << 2 | phase as u64, Ordering::Release);
        #[cfg(feature = "failpoints")]
        match phase {
            Phase::Decoding => {}
            Phase::Running => failpoint::hit(Point::WorkerBeforeRun),
            Phase::Publishing => failpoint::hit(Point::WorkerAfterRun),
        }
    }

    /// Whether `len` bytes can be committed without a span.
    pub(crate) fn fits_ring(len: usize) -> bool {
        len <= RING_PAYLOAD_BYTES_MAX
    }

    /// Stops timing the claimed task. Returns its run time in nanoseconds.
    pub(crate) fn stop_clock(&mut self) -> u64 {
        let now = clock::now_ns();
        self.elapsed_ns = now.saturating_sub(self.last_ns);
        self.last_ns = now;
        self.elapsed_ns
    }

    /// The next task does not begin at this one's end, because clean-up took time.
    pub(crate) fn restart_clock(&mut self) {
        self.last_ns = 0;
    }

    /// Publishes the result of the claimed (or skipped) task and advances to the next one.
    pub(crate) fn commit(
        &mut self,
        status: Status,
        leaving: Option<LeaveReason>,
        body: ResultBody<'_>,
    ) {
        let seq = self.seq;
        let slot = self.queues().result(seq);
        let (place, len) = match body {
            ResultBody::Span { at, len } => (Place::Span(at), len),
            ResultBody::Bytes(bytes) if bytes.len() <= RESULT_INLINE_BYTES => {
                store_words(&slot.inline, bytes);
                (Place::Inline, bytes.len())
            }
            ResultBody::Bytes(bytes) => (Place::Ring(self.write_to_ring(bytes)), bytes.len()),
        };
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerMidCopy);
        let elapsed_ns = std::mem::take(&mut self.elapsed_ns);
        let meta = ResultMeta { status, leaving, elapsed_ns, len, place };
        let is_inline = meta.place == Place::Inline;
        let (meta, place) = meta.pack();
        // Relaxed: a word that this process writes.
        let start_ns = self.queues().header.started_ns.load(Ordering::Relaxed);
        let place = if is_inline { start_ns } else { place };
        if !is_inline {
            // Relaxed: published by the commit.
            self.queues().start(seq).store(start_ns, Ordering::Relaxed);
        }
        // Relaxed: published by the commit.
        slot.meta.store(meta, Ordering::Relaxed);
        slot.place.store(place, Ordering::Relaxed);
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerBeforeCommit);
        claim::commit(&slot.seq, seq);
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerAfterCommit);
        self.seq += 1;
        // Relaxed: ordered by the fences.
        let is_awaited = || seq >= self.queues().header.wake_at.load(Ordering::Relaxed);
        if let Some(waker) = &self.waker {
            waker.wake(waker.control().driver.take_after_commit(is_awaited));
        }
    }

    /// Wakes the driver if it sleeps.
    fn ring(&self) {
        if let Some(waker) = &self.waker {
            waker.wake(waker.control().driver.take());
        }
    }

    fn write_to_ring(&mut self, bytes: &[u8]) -> u64 {
        let header = &self.queues().header;
        loop {
            let read = header.bytes_read.load(Ordering::Acquire);
            if let Some((at, end)) = ByteRing::place(self.bytes_head, read, bytes.len()) {
                self.queues().result_bytes.write(at, bytes);
                self.bytes_head = end;
                return at;
            }
            // Full of undrained results: wakes the driver.
            header.waiting.store(1, Ordering::Relaxed);
            let has_room = || header.bytes_read.load(Ordering::Acquire) != read;
            header.parked.park(has_room, || self.ring(), Some(ROOM_RETRY));
            header.waiting.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a task is offered, or the worker should exit.
    fn has_work_or_stop(&self) -> bool {
        claim::read(&self.queues().task(self.seq).claim, self.seq) != ClaimState::Other
            || self.should_stop()
    }

    /// Whether the host told this worker to exit when nothing is offered.
    pub(crate) fn should_stop(&self) -> bool {
        self.queues().header.stop.load(Ordering::Acquire) == 1
    }

    /// Waits until a task is offered, or the worker should exit. It pauses, moves to a less crowded
    /// processor, yields for `budget`, and then sleeps. `before_sleep` is called before it sleeps,
    /// and again after the time that it returns.
    pub(crate) fn wait(
        &mut self,
        budget: Duration,
        spread: &mut CpuSpread,
        mut before_sleep: impl FnMut() -> Option<Duration>,
    ) {
        self.last_ns = 0;
        if backoff::pause(|| self.has_work_or_stop()) {
            return;
        }
        if let Some(waker) = &self.waker {
            spread.rebalance(&waker.control().cpus);
        }
        if !backoff::yield_for(budget, || self.has_work_or_stop()) {
            while !self.park(before_sleep()) {}
        }
    }

    /// Removes this worker from the table of processors, before it exits.
    pub(crate) fn leave_cpu_table(&self, spread: &CpuSpread) {
        if let Some(waker) = &self.waker {
            spread.leave(&waker.control().cpus);
        }
    }

    /// Sleeps until a task is offered or the worker should exit (true), or for `timeout` (false).
    fn park(&self, timeout: Option<Duration>) -> bool {
        let before_sleep = || {
            #[cfg(feature = "failpoints")]
            failpoint::hit(Point::WorkerBeforePark);
            // The driver may move tasks of other workers to this one.
            let is_wanted =
                |waker: &Waker| waker.control().has_surplus.load(Ordering::Relaxed) == 1;
            if self.waker.as_ref().is_some_and(is_wanted) {
                self.ring();
            }
        };
        self.queues().header.parked.park(|| self.has_work_or_stop(), before_sleep, timeout)
    }

    /// Clears the crash message of a task that the worker survived.
    pub(crate) fn clear_crash_message(&self) {
        let len = &self.queues().header.crash_message_len;
        // Relaxed: only this process writes it. Loading first keeps the cache line shared.
        if len.load(Ordering::Relaxed) != 0 {
            len.store(0, Ordering::Release);
        }
    }

    /// Sets the message for the report of this worker's death. Async-signal-safe.
    pub(crate) fn set_crash_message(queues: &QueuePair, text: &[u8]) {
        let text = &text[..text.len().min(CRASH_MESSAGE_BYTES)];
        store_words(&queues.header.crash_message, text);
        queues.header.crash_message_len.store(text.len() as u64, Ordering::Release);
    }
}

/// How long to wait for room before ringing again. No ring is lost (`wakeup.rs`), so this only
/// limits the harm of a driver word that something overwrote.
const ROOM_RETRY: Duration = Duration::from_millis(100);
