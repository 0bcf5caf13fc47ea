//! The worker's subscriber of `tracing` and its logger of `log`.
//!
//! A record is encoded in a buffer of its thread, without a lock, because the values' own code runs
//! meanwhile. Then it is stored in the ring under a lock of this process. A thread that does not
//! get the lock soon drops its record: another thread may be stopped, or this code may run in a
//! signal handler that has interrupted the holder.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use tracing::field::Visit;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Event, Metadata, Subscriber};

#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::per_process::PerProcess;
use crate::sys::socket::Socket;
use crate::worker::current_task;
use crate::worker::link::SpanMessage;
use crate::worker::logs::level::{Levels, of_level};
use crate::worker::logs::record::{Definition, Head, IDS_MAX, Kind, Writer};
use crate::worker::logs::ring::{LogRing, LogWriter, Push};

/// Where the records of this worker go.
pub(crate) struct Capture {
    ring: LogRing<'static>,
    socket: &'static Socket,
    producer: Mutex<Producer>,
    /// The logger of this process is the recorder.
    is_logger: AtomicBool,
    /// The host's levels that are in effect here.
    levels: AtomicU32,
}

#[derive(Default)]
struct Producer {
    writer: LogWriter,
    /// The callsites that the host knows.
    defined: HashSet<u64>,
    scratch: Vec<u8>,
    /// The host has to be notified, and the socket had no room.
    is_unnotified: bool,
}

/// Not inherited: a child that a task forks has no ring.
static CAPTURE: PerProcess<OnceLock<Capture>> = PerProcess::new(OnceLock::new);

thread_local! {
    /// The buffer in which records are encoded.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The names of the spans that this thread is in.
    static SPANS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// How often a thread tries to get the lock: first at once, then after yielding.
const SPINS: u32 = 64;
const YIELDS: u32 = 32;
/// The largest buffer that a thread keeps, in bytes.
const KEPT_BYTES: usize = 32 << 10;

/// The capture of this worker; `None` in a child that a task forked.
fn capture() -> Option<&'static Capture> {
    CAPTURE.get().get()
}

impl Capture {
    /// Makes the capture of this worker.
    pub(crate) fn new(ring: LogRing<'static>, socket: &'static Socket) -> &'static Capture {
        CAPTURE.get().get_or_init(|| Capture {
            ring,
            socket,
            producer: Mutex::default(),
            is_logger: AtomicBool::new(false),
            levels: AtomicU32::new(0),
        })
    }

    /// Makes it the subscriber of this thread until the guard is dropped.
    pub(crate) fn begin(&self) -> DefaultGuard {
        self.apply_levels();
        tracing::subscriber::set_default(Recorder)
    }

    /// Makes it the subscriber and the logger of this process, unless there are others.
    pub(crate) fn install(&self) {
        self.apply_levels();
        // Not asked before: `begin` counts as setting one, also when it is over.
        let _ = tracing::subscriber::set_global_default(Recorder);
        // Relaxed: no other data depends on it.
        self.is_logger.store(log::set_logger(&Recorder).is_ok(), Ordering::Relaxed);
        self.apply_log_level();
    }

    /// Sets the level of `log`, unless the logger is another one.
    fn apply_log_level(&self) {
        // Relaxed: as above.
        if self.is_logger.load(Ordering::Relaxed) {
            log::set_max_level(self.current().log.into());
        }
    }

    /// Applies the levels that the host has set since the last task.
    #[inline]
    pub(crate) fn begin_task(&self) {
        // Relaxed: the word publishes nothing.
        let wanted = self.ring.control.levels.load(Ordering::Relaxed);
        if wanted != self.levels.load(Ordering::Relaxed) {
            self.apply_levels();
            self.apply_log_level();
            tracing::callsite::rebuild_interest_cache();
        }
    }

    fn apply_levels(&self) {
        // Relaxed: the word publishes nothing.
        let wanted = self.ring.control.levels.load(Ordering::Relaxed);
        self.levels.store(wanted, Ordering::Relaxed);
    }

    fn current(&self) -> Levels {
        Levels::unpack(self.levels.load(Ordering::Relaxed))
    }

    fn head(kind: Kind, callsite: u64) -> Head {
        let (number, function) = current_task::current();
        Head { kind, number, function, callsite }
    }

    /// The lock, unless another thread keeps it.
    fn producer(&self) -> Option<MutexGuard<'_, Producer>> {
        for attempt in 0..SPINS + YIELDS {
            match self.producer.try_lock() {
                Ok(producer) => return Some(producer),
                // No code under the lock panics in the middle of a change.
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if attempt < SPINS => std::hint::spin_loop(),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        self.ring.control.count_dropped(1);
        None
    }

    /// Stores an encoded record, after the definition of its callsite if that is new.
    fn store<'d>(&self, record: &[u8], callsite: u64, definition: impl FnOnce() -> Definition<'d>) {
        let Some(mut producer) = self.producer() else { return };
        let Producer { writer, defined, scratch, is_unnotified } = &mut *producer;
        if writer.host_has_skipped(self.ring.control) || defined.len() >= IDS_MAX {
            defined.clear();
        }
        if !defined.contains(&callsite) {
            scratch.clear();
            Writer::new(scratch, Self::head(Kind::Definition, callsite)).definition(&definition());
            match writer.push(self.ring, scratch) {
                // Counted, as one record.
                Push::Dropped => return,
                push => *is_unnotified |= push == Push::Notify,
            }
            defined.insert(callsite);
        }
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerBeforeLog);
        *is_unnotified |= writer.push(self.ring, record) == Push::Notify;
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::WorkerAfterLog);
        if *is_unnotified {
            let message = SpanMessage::LOGS;
            *is_unnotified =
                !self.socket.try_send(bytemuck::bytes_of(&message), &[]).unwrap_or(true);
        }
    }
}

/// Encodes a record with `encode` in the buffer of this thread, and hands it to `store`.
fn with_buffer(head: Head, encode: impl FnOnce(&mut Writer<'_>), store: impl FnOnce(&[u8])) {
    // A value that logs while it is encoded gets another buffer; so does a late destructor.
    let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
    bytes.clear();
    let mut writer = Writer::new(&mut bytes, head);
    let spans = SPANS.try_with(|spans| spans.try_borrow().map(|names| names.join(":")));
    writer.text(&spans.ok().and_then(Result::ok).unwrap_or_default());
    encode(&mut writer);
    store(&bytes);
    if bytes.capacity() <= KEPT_BYTES {
        let _ = BUFFER.try_with(|buffer| buffer.set(bytes));
    }
}

/// The subscriber and the logger.
struct Recorder;

/// Names of spans by id. An id stands for all spans of one place in the program.
static SPAN_NAMES: PerProcess<Mutex<HashMap<u64, &'static str>>> = PerProcess::new(Mutex::default);

fn span_names() -> MutexGuard<'static, HashMap<u64, &'static str>> {
    // No code under this lock panics.
    SPAN_NAMES.get().lock().unwrap_or_else(PoisonError::into_inner)
}

fn level() -> LevelFilter {
    capture().map_or(LevelFilter::OFF, |capture| capture.current().tracing.into())
}

fn key(metadata: &'static Metadata<'static>) -> u64 {
    std::ptr::from_ref(metadata).addr() as u64
}

impl Subscriber for Recorder {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = key(span.metadata());
        let name = span.metadata().name();
        span_names().entry(id).or_insert(name);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(capture) = capture() else { return };
        let metadata = event.metadata();
        let callsite = key(metadata);
        with_buffer(
            Capture::head(Kind::Event, callsite),
            |writer| event.record(writer as &mut dyn Visit),
            |record| capture.store(record, callsite, || definition_of(metadata)),
        );
    }

    fn enter(&self, span: &Id) {
        let name = span_names().get(&span.into_u64()).copied();
        let _ = SPANS.try_with(|spans| {
            if let Ok(mut spans) = spans.try_borrow_mut() {
                spans.push(name.unwrap_or(""));
            }
        });
    }

    fn exit(&self, _: &Id) {
        let _ = SPANS.try_with(|spans| spans.try_borrow_mut().map(|mut spans| spans.pop()));
    }
}

fn definition_of(metadata: &'static Metadata<'static>) -> Definition<'static> {
    Definition {
        level: of_level(*metadata.level()),
        name: metadata.name(),
        target: metadata.target(),
        module: metadata.module_path().unwrap_or(""),
        file: metadata.file().unwrap_or(""),
        line: metadata.line().unwrap_or(0),
        fields: metadata.fields().iter().map(|field| field.name()).collect(),
    }
}

impl log::Log for Recorder {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        let filter = |capture: &Capture| log::LevelFilter::from(capture.current().log);
        capture().is_some_and(|capture| metadata.level() <= filter(capture))
    }

    fn log(&self, record: &log::Record<'_>) {
        let Some(capture) = capture() else { return };
        if !log::Log::enabled(self, record.metadata()) {
            return;
        }
        let place = (record.target(), record.file(), record.line(), record.level());
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        let callsite = hasher.finish();
        with_buffer(
            Capture::head(Kind::Log, callsite),
            |writer| writer.formatted(0, *record.args()),
            |bytes| capture.store_log(bytes, callsite, record),
        );
    }

    fn flush(&self) {}
}

impl Capture {
    fn store_log(&self, bytes: &[u8], callsite: u64, record: &log::Record<'_>) {
        // The texts of a record of `log` may be temporary.
        let texts = [record.target(), record.module_path().unwrap_or("")];
        let file = record.file().unwrap_or("");
        let level = Levels::unpack(record.level() as u32).tracing;
        let [target, module] = texts;
        let line = record.line().unwrap_or(0);
        let fields = vec!["message"];
        let definition =
            Definition { level, name: "log event", target, module, file, line, fields };
        self.store(bytes, callsite, || definition);
    }
}
