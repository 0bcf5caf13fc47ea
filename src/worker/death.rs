//! The outcome of a call, or a death report.

use crate::error::{Death, Error, Phase, Result, TaskError};
use crate::exit::ExitReason;
use crate::process::child;
use crate::region::arena::Span;
use crate::worker::call::Encoded;
use crate::worker::grants::Grants;
use crate::worker::host_side::Drained;
use crate::worker::invocation;
use crate::worker::queue_pair::{Place, Status};

/// Whether the span of a drained result, if it has one, was granted for it.
#[inline]
pub(crate) fn is_granted(drained: &Drained, grants: &Grants) -> bool {
    match drained.meta.place {
        Place::Span(offset) => grants.has(drained.seq, offset),
        _ => true,
    }
}

/// The bytes of a drained result, and the other spans that its worker was granted for it. A span
/// must be one that the host has granted to the worker; its length is the granted one.
///
/// # Errors
///
/// [`Error::Corrupt`] for a span that was not granted.
pub(crate) fn payload(drained: Drained, grants: &mut Grants) -> Result<(Encoded, Vec<Span>)> {
    let mut spans = grants.take(drained.seq);
    let Place::Span(offset) = drained.meta.place else { return Ok((drained.bytes, spans)) };
    let Some(at) = spans.iter().position(|span| span.offset() == offset) else {
        let found = format!("a span at {offset}, which was not granted");
        return Err(Error::Corrupt { what: "a result slot", found });
    };
    let body = spans.swap_remove(at);
    Ok((Encoded::Span(body), spans))
}

/// The value that a call returned, or why it has none.
///
/// # Errors
///
/// [`Error::Task`] if the function panicked or a value could not be encoded or decoded.
pub(crate) fn value(status: Status, payload: Encoded) -> std::result::Result<Encoded, Box<Error>> {
    let codec = |what, action| {
        let reason = payload.with(|bytes| String::from_utf8_lossy(bytes).into_owned());
        TaskError::Codec { what, action, reason }
    };
    let error = match status {
        Status::Value => return Ok(payload),
        Status::Panicked => {
            let (message, location, item) = payload.with(invocation::panic_report);
            let item = item.and_then(|item| usize::try_from(item).ok());
            let items = item.and_then(|item| Some(item..item.checked_add(1)?));
            TaskError::Panicked { message, location, items }
        }
        Status::ArgumentCodec => codec("argument", "decoded"),
        Status::ResultCodec => codec("result", "encoded"),
        Status::Skipped => TaskError::Cancelled,
    };
    Err(Box::new(Error::Task(error)))
}

/// The phase of call `seq`, as its worker reported last.
pub(crate) fn phase_of(seq: u64, running: Option<(u64, Phase, u64)>) -> Phase {
    match running {
        Some((found, phase, _)) if found == seq => phase,
        _ => Phase::Decoding,
    }
}

/// The report of a worker that ended for `reason`. The caller adds the fields of the call.
pub(crate) fn report(pid: u32, reason: ExitReason, crash_message: Option<String>) -> Death {
    Death {
        pid,
        worker: 0,
        process: None,
        reason,
        out_of_memory: false,
        peak_rss_bytes: None,
        task: "",
        phase: Phase::Decoding,
        torn: Vec::new(),
        items: None,
        crash_message: crash_message.or_else(|| child::default_crash_message(reason)),
        stdout_tail: None,
        stderr_tail: None,
        log_tail: Vec::new(),
    }
}
