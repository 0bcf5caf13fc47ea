//! Records the message of a panic for its report.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

thread_local! {
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static IS_RECORDING: Cell<bool> = const { Cell::new(false) };
}

/// Installs a hook that records panics of threads that are in [`recording`], and then calls the
/// program's own hook. A hook that the program sets later replaces this one; that is noticed, and
/// this one is installed again at the next call.
fn watch() {
    // A hook cannot be set during a panic.
    if thread::panicking() || IS_WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if IS_RECORDING.get() {
            record(info);
        }
        usual(info);
    }));
}

static IS_WATCHED: AtomicBool = AtomicBool::new(false);

/// Runs `task`, which catches its panics, and records them for [`take_message`].
pub(crate) fn recording<T>(task: impl FnOnce() -> T) -> T {
    watch();
    let was = IS_RECORDING.replace(true);
    let value = task();
    IS_RECORDING.set(was);
    value
}

/// Whether `RUST_BACKTRACE` requests a backtrace, which the usual hook prints.
pub(crate) fn wants_backtrace() -> bool {
    std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0")
}

/// Records a panic of this thread, from its hook, for [`take_message`]. Returns message and
/// location.
pub(crate) fn record(info: &PanicHookInfo<'_>) -> (String, String) {
    let message = message_of(info.payload());
    let location = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    // In a destructor after this thread's values are gone, a panic is not recorded.
    let _ = LAST.try_with(|last| last.replace(Some((message.clone(), location.clone()))));
    (message, location)
}

/// Message and location of a caught panic with this payload, which is dropped.
pub(crate) fn take_message(payload: Box<dyn Any + Send>) -> (String, String) {
    let noted = LAST.try_with(RefCell::take).unwrap_or_default();
    if noted.is_none() && IS_RECORDING.get() {
        IS_WATCHED.store(false, Ordering::Relaxed);
    }
    let said = noted.unwrap_or_else(|| (message_of(&*payload), "an unknown place".to_owned()));
    // Its drop may panic in turn; that payload is not dropped.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    let _ = LAST.try_with(RefCell::take);
    said
}

/// Runs `body`, user code that encodes or decodes a value, and returns its result; a panic becomes
/// an error.
///
/// # Errors
///
/// Those of `body`, and the message of its panic.
pub(crate) fn to_error<R>(body: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    let ended = catch_unwind(AssertUnwindSafe(body));
    ended.unwrap_or_else(|payload| {
        Err(format!("its own code panicked: {}", take_message(payload).0))
    })
}

/// Runs `body`, which contains user code, and catches its panic, which would be attributed to other
/// code.
pub(crate) fn ignore(body: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body)) {
        take_message(payload);
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a payload that is not text)".to_owned()
    }
}
