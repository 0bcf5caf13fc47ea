//! The host's callsites for the records of workers.
//!
//! Subscribers filter and print by the metadata of a callsite, which lives as long as the program.
//! So the host makes one for each place in the program that has logged, with the fields of that
//! place and those that the host adds. Their number is limited: what a worker writes must not
//! exhaust the host's memory.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::callsite::{Callsite, Identifier};
use tracing::field::{Field, FieldSet};
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};

use crate::sys::per_process::PerProcess;
use crate::worker::logs::level::LogLevel;
use crate::worker::logs::record::Definition;

/// The most callsites that are made.
const CALLSITES_MAX: usize = 8192;

/// The fields that the host adds, after those of the record.
pub(super) const ADDED: [&str; 6] = ["span", "worker", "process", "pid", "task", "task_number"];

/// A place in the program that has logged in a worker.
pub(super) struct HostCallsite {
    pub(super) metadata: Metadata<'static>,
    pub(super) level: LogLevel,
    /// The fields of the record, and then those of [`ADDED`].
    pub(super) fields: Vec<Field>,
    /// The names of the record's fields.
    pub(super) names: Vec<&'static str>,
}

/// A definition with texts of its own.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    level: LogLevel,
    line: u32,
    texts: Vec<String>,
}

static KNOWN: PerProcess<Mutex<HashMap<Key, &'static HostCallsite>>> =
    PerProcess::new(Mutex::default);

/// The callsite of this definition; `None` if there are too many.
pub(super) fn of(definition: &Definition<'_>) -> Option<&'static HostCallsite> {
    let Definition { level, name, target, module, file, line, ref fields } = *definition;
    let texts = [name, target, module, file].into_iter().chain(fields.iter().copied());
    let key = Key { level, line, texts: texts.map(str::to_owned).collect() };
    // No code under this lock panics in the middle of a change.
    let mut known = KNOWN.get().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(callsite) = known.get(&key) {
        return Some(callsite);
    }
    if known.len() >= CALLSITES_MAX {
        return None;
    }
    let callsite = HostCallsite::make(definition)?;
    known.insert(key, callsite);
    Some(callsite)
}

impl HostCallsite {
    fn make(definition: &Definition<'_>) -> Option<&'static HostCallsite> {
        let level = match definition.level {
            LogLevel::Off => return None,
            LogLevel::Error => Level::ERROR,
            LogLevel::Warn => Level::WARN,
            LogLevel::Info => Level::INFO,
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Trace => Level::TRACE,
        };
        let names: Vec<&'static str> = definition.fields.iter().map(|name| leak(name)).collect();
        let all: Vec<&'static str> = names.iter().copied().chain(ADDED).collect();
        let unset: &'static Unset = Box::leak(Box::new(Unset(OnceLock::new())));
        let set = FieldSet::new(Vec::leak(all), Identifier(unset));
        let fields = set.iter().collect();
        let text = |text: &str| (!text.is_empty()).then(|| leak(text));
        let metadata = Metadata::new(
            leak(definition.name),
            leak(definition.target),
            level,
            text(definition.file),
            Some(definition.line).filter(|&line| line > 0),
            text(definition.module),
            set,
            Kind::EVENT,
        );
        let level = definition.level;
        let made = Box::leak(Box::new(HostCallsite { metadata, level, fields, names }));
        let _ = unset.0.set(made);
        Some(made)
    }
}

/// A callsite before its metadata is known, which contains it.
struct Unset(OnceLock<&'static HostCallsite>);

impl Callsite for Unset {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &self.0.get().expect("set before it is used").metadata
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}
