//! A program that overwrites named objects of others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use brigade::shared::{
    Barrier, Condvar, Event, Lock, LockError, Once, ReentrantLock, RwLock, Semaphore, SharedList,
    Value,
};
use brigade::sync::Reset;
use brigade::{Error, Result};

use super::parts::{Part, say, wait};
use crate::common::alone::{alone_in_turn, progress};
use crate::common::names::{Removed, path_of};
use crate::common::unique;

/// Where the object memory begins in the file.
pub(crate) const START: u64 = 4096;
pub(crate) const BODY_OFFSET: u64 = START + 32;
pub(crate) const BODY_BYTES: u64 = START + 40;
/// How long one call may take.
const SHORT: Duration = Duration::from_millis(2);

/// The bytes of a name, for a program that respects no lock.
pub(crate) struct Bytes(pub(crate) File);

impl Bytes {
    pub(crate) fn of(name: &str) -> Bytes {
        Bytes(File::options().read(true).write(true).open(path_of(name)).unwrap())
    }

    pub(crate) fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, at).unwrap();
        u64::from_le_bytes(word)
    }

    pub(crate) fn set(&self, at: u64, word: u64) {
        self.0.write_all_at(&word.to_le_bytes(), at).unwrap();
    }

    /// The position of the body in the file, and its bytes.
    pub(crate) fn body(&self) -> (u64, Vec<u8>) {
        let (offset, bytes) = (self.word(BODY_OFFSET), self.word(BODY_BYTES));
        let mut body = vec![0; usize::try_from(bytes).unwrap()];
        self.0.read_exact_at(&mut body, START + offset).unwrap();
        (START + offset, body)
    }

    pub(crate) fn fill_body(&self, byte: u8) {
        let (at, body) = self.body();
        self.0.write_all_at(&vec![byte; body.len()], at).unwrap();
    }

    /// Whether these words are somewhere in the body.
    pub(crate) fn has(&self, words: &[u64]) -> bool {
        let wanted: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.body().1.windows(wanted.len()).any(|found| found == wanted)
    }
}

/// Runs the part that `words` name, if it is one of these.
pub(crate) fn part(words: &[&str]) -> bool {
    match *words {
        ["scribble", prefix] => scribble(prefix),
        ["reopen", prefix, rounds] => {
            let rounds = rounds.parse().unwrap();
            let mut refused = 0;
            for _ in 0..rounds {
                refused += Everything::open(prefix).use_all();
            }
            println!("{refused} refused");
        }
        _ => return false,
    }
    true
}

/// Overwrites every primitive of a prefix until it is killed, or its test has ended.
fn scribble(prefix: &str) {
    std::thread::spawn(|| {
        wait();
        std::process::exit(0);
    });
    let all: Vec<Bytes> =
        LABELS.iter().map(|label| Bytes::of(&format!("{prefix}-{label}"))).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    // The positions of the bodies, as long as they can be read.
    let bodies: Vec<(u64, u64)> =
        all.iter().map(|bytes| (bytes.word(BODY_OFFSET), bytes.word(BODY_BYTES))).collect();
    say("scribbling");
    loop {
        for (bytes, (body, body_bytes)) in all.iter().zip(&bodies) {
            // Mostly at words in use.
            let words = match next() % 8 {
                0 => 0..32,
                1 => 0..(body + body_bytes) / 8,
                2 | 3 => body / 8..(body + body_bytes) / 8,
                _ => body / 8..body / 8 + (body_bytes / 8).min(8),
            };
            if words.is_empty() {
                continue;
            }
            let at = START + 8 * (words.start + next() % (words.end - words.start));
            let old = bytes.word(at);
            let new = match next() % 6 {
                0 => next(),
                1 => old ^ (1 << (next() % 64)),
                2 => next() % 64,
                3 => (next() % 64) << 32,
                4 => old.wrapping_add(1),
                _ => 0,
            };
            bytes.set(at, new);
        }
        std::thread::yield_now();
    }
}

const LABELS: [&str; 13] = [
    "lock",
    "rwlock",
    "reentrant",
    "semaphore",
    "bounded",
    "changed",
    "event",
    "auto",
    "barrier",
    "once",
    "word",
    "wide",
    "list",
];

/// A type with invalid byte values: bytes that are not a `Mood` must never become one.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
enum Mood {
    Calm,
    Cross(bool, char),
}

/// One primitive of each kind.
struct Everything {
    lock: Result<Lock<[u64; 4]>>,
    rwlock: Result<RwLock<[u64; 4]>>,
    reentrant: Result<ReentrantLock>,
    semaphore: Result<Semaphore>,
    bounded: Result<Semaphore>,
    changed: Result<Condvar>,
    event: Result<Event>,
    auto: Result<Event>,
    barrier: Result<Barrier>,
    once: Result<Once>,
    word: Result<Value<u64>>,
    wide: Result<Value<[u64; 3]>>,
    list: Result<SharedList<(Mood, String)>>,
}

impl Everything {
    fn create(prefix: &str) -> Everything {
        let name = |label: &str| format!("{prefix}-{label}");
        Everything {
            lock: Lock::create(&name("lock"), [0; 4]),
            rwlock: RwLock::create(&name("rwlock"), [0; 4]),
            reentrant: ReentrantLock::create(&name("reentrant")),
            semaphore: Semaphore::create(&name("semaphore"), 2, 1024),
            bounded: Semaphore::create(&name("bounded"), 2, 2),
            changed: Condvar::create(&name("changed")),
            event: Event::create(&name("event"), Reset::Manual),
            auto: Event::create(&name("auto"), Reset::Auto),
            barrier: Barrier::create(&name("barrier"), 2),
            once: Once::create(&name("once")),
            word: Value::create(&name("word"), 0),
            wide: Value::create(&name("wide"), [0; 3]),
            list: SharedList::create(&name("list"), 5, 40),
        }
    }

    fn open(prefix: &str) -> Everything {
        let name = |label: &str| format!("{prefix}-{label}");
        Everything {
            lock: Lock::open(&name("lock")),
            rwlock: RwLock::open(&name("rwlock")),
            reentrant: ReentrantLock::open(&name("reentrant")),
            semaphore: Semaphore::open(&name("semaphore")),
            bounded: Semaphore::open(&name("bounded")),
            changed: Condvar::open(&name("changed")),
            event: Event::open(&name("event")),
            auto: Event::open(&name("auto")),
            barrier: Barrier::open(&name("barrier")),
            once: Once::open(&name("once")),
            word: Value::open(&name("word")),
            wide: Value::open(&name("wide")),
            list: SharedList::open(&name("list")),
        }
    }

    /// Calls all operations of the primitives that could be opened; returns how many failed.
    fn use_all(&self) -> usize {
        let outcomes = [
            opened(&self.lock).and_then(use_lock),
            opened(&self.lock).and_then(|lock| self.wait(lock)),
            opened(&self.rwlock).and_then(use_rwlock),
            opened(&self.reentrant).and_then(use_reentrant),
            opened(&self.semaphore).and_then(|semaphore| {
                let permits = [semaphore.acquire_timeout(SHORT), semaphore.acquire_timeout(SHORT)];
                permits.into_iter().filter_map(Result::ok).for_each(|permit| permit.forget());
                semaphore.release()
            }),
            opened(&self.bounded).and_then(|bounded| {
                let _permit = bounded.acquire_timeout(SHORT)?;
                bounded.release()
            }),
            opened(&self.event).and_then(|event| {
                event.set()?;
                event.wait_timeout(SHORT)?;
                event.reset().map(drop)
            }),
            opened(&self.auto).and_then(|event| {
                event.set()?;
                event.wait_timeout(SHORT)
            }),
            opened(&self.barrier).and_then(use_barrier),
            opened(&self.once).and_then(|once| once.call(|_| ())),
            opened(&self.word).and_then(|word| word.update(|n| n.wrapping_add(1)).map(drop)),
            opened(&self.wide).and_then(|wide| {
                wide.update(|[a, ..]| [a.wrapping_add(1); 3])?;
                wide.set([wide.get()?[0]; 3])
            }),
            opened(&self.list).and_then(use_list),
        ];
        let refused = outcomes.into_iter().filter_map(Result::err);
        refused.inspect(|error| assert!(is_told(error), "{error:?}")).count()
    }

    /// Waits for a change that is never notified.
    fn wait(&self, lock: &Lock<[u64; 4]>) -> Result<()> {
        let Ok(changed) = &self.changed else { return Ok(()) };
        changed.notify(1)?;
        let guard = lock.lock_timeout(SHORT).or_else(LockError::into_guard)?;
        let waited = changed.wait_timeout(guard, SHORT);
        waited.map(drop).or_else(|error| error.into_guard().map(drop))
    }
}

/// The primitive, if it could be opened; otherwise the error must have a reason.
fn opened<T>(handle: &Result<T>) -> Result<&T> {
    handle.as_ref().map_err(|error| {
        assert!(is_told(error), "{error:?}");
        Error::Closed { what: "what could not be opened" }
    })
}

/// Whether an error describes the state of shared memory, rather than a mistake of the caller.
fn is_told(error: &Error) -> bool {
    matches!(
        error,
        Error::TimedOut { .. }
            | Error::Layout { .. }
            | Error::Corrupt { .. }
            | Error::Broken { .. }
            | Error::Full { .. }
            | Error::Codec { .. }
            | Error::Closed { .. }
            | Error::PidNamespace { .. }
            | Error::TimeNamespace { .. }
            // A permit or a lock that is not there to be released.
            | Error::InvalidArgument { what: "the number of permits after a release", .. }
            | Error::InvalidArgument { what: "the lock to release", .. }
    )
}

fn use_lock(lock: &Lock<[u64; 4]>) -> Result<()> {
    let mut guard = lock.lock_timeout(SHORT).or_else(LockError::into_guard)?;
    *guard = [guard[0].wrapping_add(1); 4];
    let seen = *guard;
    std::thread::yield_now();
    assert_eq!(*guard, seen, "it changed under its holder");
    Ok(())
}

fn use_rwlock(lock: &RwLock<[u64; 4]>) -> Result<()> {
    let mut guard = lock.write_timeout(SHORT).or_else(LockError::into_guard)?;
    *guard = [7; 4];
    std::thread::yield_now();
    assert_eq!(*guard, [7; 4], "it changed under its holder");
    drop(guard);
    let guard = lock.read_timeout(SHORT).or_else(LockError::into_guard)?;
    let seen = *guard;
    std::thread::yield_now();
    assert_eq!(*guard, seen, "it changed under its reader");
    Ok(())
}

fn use_reentrant(lock: &ReentrantLock) -> Result<()> {
    let _outer = lock.lock_timeout(SHORT)?;
    let _inner = lock.lock_timeout(SHORT)?;
    lock.release()
}

fn use_barrier(barrier: &Barrier) -> Result<()> {
    barrier.reset()?;
    let _member = barrier.join()?;
    barrier.wait_timeout(SHORT).map(drop)
}

fn use_list(list: &SharedList<(Mood, String)>) -> Result<()> {
    let check = |(mood, text): (Mood, String)| {
        assert!(matches!(mood, Mood::Calm | Mood::Cross(true | false, _)));
        assert!(String::from_utf8(text.into_bytes()).is_ok());
    };
    if list.len() >= 5 {
        list.clear()?;
    }
    list.push(&(Mood::Cross(true, 'x'), "said".to_owned()))?;
    list.insert(0, &(Mood::Calm, "nothing".to_owned()))?;
    list.to_vec()?.into_iter().for_each(check);
    list.get(1)?.into_iter().for_each(check);
    list.set(1, &(Mood::Calm, String::new()))?;
    check(list.remove(0)?);
    list.pop()?.into_iter().for_each(check);
    Ok(())
}

#[test]
fn primitives_that_another_program_writes_over_answer_every_call() {
    alone_in_turn(|| {
        let prefix = unique("scribbled");
        // Whatever their bytes are by now, the files belong to this test.
        let _removed = LABELS.map(|label| Removed(format!("{prefix}-{label}")));
        let everything = Everything::create(&prefix);
        // No other process reaches the barrier, and all permits are there, so none can be released.
        assert_eq!(everything.use_all(), 2);
        let mut scribbler = Part::start("scribble", &[&prefix]);
        scribbler.expect("scribbling");
        let others = Part::start("reopen", &[&prefix, "15"]);
        let mut refused = 0;
        for _ in 0..15 {
            progress();
            refused += everything.use_all();
        }
        others.succeeds();
        scribbler.kill();
        println!("{refused} refused");
    });
}
