//! Named points at which tests stop, kill or fail processes.
//!
//! Only with the feature `failpoints`. The points live in a file that every process of a test
//! maps. The environment variable [`VARIABLE`] names the file; server and workers inherit it from
//! the host. Without the variable no point does anything.
//!
//! [`Action::Pause`] holds every process that reaches the point until [`clear`] is called. A test
//! uses [`wait_held`] to wait until a process is held there, instead of sleeping.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::MmapRaw;
use nix::sys::signal::Signal;

use crate::sys::futex;
use crate::sys::per_process::OnceBox;

/// The environment variable with the path of a test's file, which has at least [`FILE_BYTES`].
pub const VARIABLE: &str = "BRIGADE_FAILPOINTS";

/// A step of the engine's protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named after the step that it stands before or after")]
pub enum Point {
    HostStartsServer,
    HostIntermediate,
    HostOffer,
    HostAfterOffer,
    HostDrain,
    HostWorkerExit,
    HostReplace,
    WorkerStart,
    WorkerBeforeReady,
    WorkerBeforeClaim,
    WorkerAfterClaim,
    WorkerBeforeRun,
    WorkerAfterRun,
    WorkerSpanRequest,
    WorkerSpanGranted,
    WorkerMidCopy,
    WorkerBeforeCommit,
    WorkerAfterCommit,
    WorkerBeforeRing,
    WorkerMidRing,
    WorkerBeforePark,
    WorkerBeforeLog,
    WorkerMidLog,
    WorkerAfterLog,
    ServerStart,
    ServerAfterFork,
    ServerBeforeReport,
    ChildStart,
}

/// All points, in order.
pub const POINTS: [Point; 28] = [
    Point::HostStartsServer,
    Point::HostIntermediate,
    Point::HostOffer,
    Point::HostAfterOffer,
    Point::HostDrain,
    Point::HostWorkerExit,
    Point::HostReplace,
    Point::WorkerStart,
    Point::WorkerBeforeReady,
    Point::WorkerBeforeClaim,
    Point::WorkerAfterClaim,
    Point::WorkerBeforeRun,
    Point::WorkerAfterRun,
    Point::WorkerSpanRequest,
    Point::WorkerSpanGranted,
    Point::WorkerMidCopy,
    Point::WorkerBeforeCommit,
    Point::WorkerAfterCommit,
    Point::WorkerBeforeRing,
    Point::WorkerMidRing,
    Point::WorkerBeforePark,
    Point::WorkerBeforeLog,
    Point::WorkerMidLog,
    Point::WorkerAfterLog,
    Point::ServerStart,
    Point::ServerAfterFork,
    Point::ServerBeforeReport,
    Point::ChildStart,
];

/// What happens at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Nothing.
    Pass,
    /// Hold the process there until [`clear`].
    Pause,
    /// End it by SIGKILL.
    Kill,
    /// End it by SIGABRT.
    Abort,
    /// Stop it by SIGSTOP.
    Stop,
    /// Panic on the thread that reaches it.
    Panic,
}

/// A point's words in the file.
///
/// | field    | written by       | read by   | guard | if the writer dies                  |
/// |----------|------------------|-----------|-------|-------------------------------------|
/// | `action` | test             | all       | futex | the test is over                    |
/// | `passes` | test; passer     | passer    | none  | one pass more or less               |
/// | `hits`   | passer           | test      | none  | the hit was counted                 |
/// | `held`   | held process     | test      | none  | a killed one stays counted as held  |
#[repr(C, align(64))]
struct PointWords {
    action: AtomicU32,
    /// Passes to let through before the action. The action then happens once, a pause to every
    /// process.
    passes: AtomicU32,
    hits: AtomicU32,
    held: AtomicU32,
}

const _: () = assert!(size_of::<PointWords>() == 64);

/// Bytes that the file of a test must have.
pub const FILE_BYTES: usize = POINTS.len() * size_of::<PointWords>();

fn words(point: Point) -> Option<&'static PointWords> {
    static MAPPING: OnceBox<Option<MmapRaw>> = OnceBox::new();
    let mapping = MAPPING.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        MmapRaw::map_raw(&file).ok().filter(|mapping| mapping.len() >= FILE_BYTES)
    });
    let first = mapping.as_ref()?.as_mut_ptr().cast::<PointWords>();
    // SAFETY: the mapping is page-aligned, holds all points, as checked above, and is never
    // unmapped; `PointWords` is nothing but atomics and padding.
    Some(unsafe { &*first.wrapping_add(point as usize) })
}

/// Makes processes do `action` at `point`, after `passes` passes.
pub fn set(point: Point, action: Action, passes: u32) {
    let Some(words) = words(point) else { return };
    // Relaxed: published by the action.
    words.passes.store(passes, Ordering::Relaxed);
    words.held.store(0, Ordering::Relaxed);
    words.action.store(action as u32, Ordering::Release);
}

/// Releases the processes that are held there and disables the point.
pub fn clear(point: Point) {
    let Some(words) = words(point) else { return };
    words.action.store(Action::Pass as u32, Ordering::Release);
    futex::wake(&words.action, u32::MAX >> 1);
}

/// How often the point was reached.
#[must_use]
pub fn hits(point: Point) -> u32 {
    words(point).map_or(0, |words| words.hits.load(Ordering::Acquire))
}

/// Waits until a process is held at the point.
pub fn wait_held(point: Point) {
    let Some(words) = words(point) else { return };
    while words.held.load(Ordering::Acquire) == 0 {
        futex::wait(&words.held, 0, None);
    }
}

/// Does the action that is set for the point.
pub(crate) fn hit(point: Point) {
    let Some(words) = words(point) else { return };
    words.hits.fetch_add(1, Ordering::AcqRel);
    let action = words.action.load(Ordering::Acquire);
    if action == Action::Pass as u32 {
        return;
    }
    let skips = words
        .passes
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |passes| passes.checked_sub(1));
    if skips.is_ok() {
        return;
    }
    if action == Action::Pause as u32 {
        words.held.fetch_add(1, Ordering::AcqRel);
        futex::wake(&words.held, u32::MAX >> 1);
        while words.action.load(Ordering::Acquire) == Action::Pause as u32 {
            futex::wait(&words.action, Action::Pause as u32, None);
        }
        return;
    }
    // Once: the replacement of a process that ends here passes.
    let once = words.action.compare_exchange(
        action,
        Action::Pass as u32,
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    if once.is_err() {
        return;
    }
    assert!(action != Action::Panic as u32, "the failpoint {point:?}");
    let signal = match action {
        action if action == Action::Kill as u32 => Signal::SIGKILL,
        action if action == Action::Abort as u32 => Signal::SIGABRT,
        _ => Signal::SIGSTOP,
    };
    // Cannot fail: the signals are valid, and a process may send them to itself.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), signal);
}
