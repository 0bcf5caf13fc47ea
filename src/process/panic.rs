//! What a panic said, kept for whoever reports it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

thread_local! {
    static LAST: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Notes a panic of this thread, from its hook, for [`caught`]. Returns message and location.
pub(crate) fn note(info: &PanicHookInfo<'_>) -> (String, String) {
    let message = message_of(info.payload());
    let location = info.location().map_or_else(|| "an unknown place".into(), ToString::to_string);
    // A panic in a destructor that runs after this thread's values are gone is not noted.
    let _ = LAST.try_with(|last| last.replace(Some((message.clone(), location.clone()))));
    (message, location)
}

/// Message and location of a panic that was caught with this payload, which is dropped.
pub(crate) fn caught(payload: Box<dyn Any + Send>) -> (String, String) {
    let noted = LAST.try_with(RefCell::take).unwrap_or_default();
    let said = noted.unwrap_or_else(|| (message_of(&*payload), "an unknown place".to_owned()));
    // Its own drop may throw in turn, and that is given up on.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    let _ = LAST.try_with(RefCell::take);
    said
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "(a payload that is no text)".to_owned()
    }
}
