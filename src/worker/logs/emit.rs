//! Gives a worker's record to the host's subscriber or logger.

use std::fmt::Write;

use tracing::Event;
use tracing::dispatcher::{self, Dispatch};
use tracing::field::{DisplayValue, Value, display};
use tracing::subscriber::NoSubscriber;

use crate::worker::current_task::PART;
use crate::worker::logs::callsite::{ADDED, HostCallsite};
use crate::worker::logs::level::LogLevel;
use crate::worker::logs::record::{FIELDS_MAX, FieldValue, Head, Kind, Reader};
use crate::worker::logs::task_names;

/// The process that logged.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// Its index in its pool.
    pub(super) worker: Option<usize>,
    /// Its name, if it is a one-off process.
    pub(super) process: Option<String>,
    pub(super) pid: u32,
}

/// A record with its parts.
pub(super) struct Parts<'a> {
    kind: Kind,
    spans: &'a str,
    fields: Vec<(usize, FieldValue<'a>)>,
    task: Option<&'static str>,
    number: Option<u64>,
}

impl<'a> Parts<'a> {
    /// `None` for bytes that no worker writes at this callsite.
    pub(super) fn read(bytes: &'a [u8], callsite: &HostCallsite) -> Option<Parts<'a>> {
        let (Head { kind, number, function, .. }, mut rest) = Reader::new(bytes)?;
        let spans = rest.text()?;
        let mut fields = Vec::new();
        while let Some((index, value)) = rest.field() {
            if index >= callsite.names.len() || fields.len() == FIELDS_MAX {
                return None;
            }
            fields.push((index, value));
        }
        let number = number.checked_sub(1);
        let task = number.and_then(|_| task_names::name(function));
        Some(Parts { kind, spans, fields, task, number })
    }

    /// Emits it. The caller's own spans do not apply to it.
    pub(super) fn emit(&self, callsite: &'static HostCallsite, origin: &Origin, to: &Dispatch) {
        let has_subscriber = !to.is::<NoSubscriber>();
        let has_logger = log::max_level() != log::LevelFilter::Off;
        match self.kind {
            Kind::Log if has_logger => self.to_log(callsite, origin),
            _ if has_subscriber => self.to_tracing(callsite, origin, to),
            _ if has_logger => self.to_log(callsite, origin),
            _ => {}
        }
    }

    fn to_tracing(&self, callsite: &'static HostCallsite, origin: &Origin, to: &Dispatch) {
        let metadata = &callsite.metadata;
        if !to.enabled(metadata) {
            return;
        }
        let mut held: [Held<'_>; SLOTS] = [const { Held::None }; SLOTS];
        for &(index, value) in &self.fields {
            held[index] = Held::of(value);
        }
        let added = [
            Some(self.spans).filter(|names| !names.is_empty()).map_or(Held::None, Held::Text),
            origin.worker.map_or(Held::None, |worker| Held::U64(worker as u64)),
            origin.process.as_deref().map_or(Held::None, Held::Text),
            Held::U64(origin.pid.into()),
            self.task.map_or(Held::None, Held::Text),
            self.task_number().map_or(Held::None, Held::U64),
        ];
        for (place, value) in held[callsite.names.len()..].iter_mut().zip(added) {
            *place = value;
        }
        let none = (&callsite.fields[0], None);
        let mut values: [(&tracing::field::Field, Option<&dyn Value>); SLOTS] = [none; SLOTS];
        for ((place, field), value) in values.iter_mut().zip(&callsite.fields).zip(&held) {
            *place = (field, value.as_value());
        }
        let set = metadata.fields().value_set(&values);
        to.event(&Event::new_child_of(None, metadata, &set));
    }

    fn to_log(&self, callsite: &'static HostCallsite, origin: &Origin) {
        let level = match callsite.level {
            LogLevel::Off => return,
            LogLevel::Error => log::Level::Error,
            LogLevel::Warn => log::Level::Warn,
            LogLevel::Info => log::Level::Info,
            LogLevel::Debug => log::Level::Debug,
            LogLevel::Trace => log::Level::Trace,
        };
        if level > log::max_level() {
            return;
        }
        let mut text = self.text(callsite);
        let mut add = |name: &str, value: &dyn std::fmt::Display| {
            let _ = write!(text, " {name}={value}");
        };
        if !self.spans.is_empty() {
            add(ADDED[0], &self.spans);
        }
        let _ = origin.worker.inspect(|worker| add(ADDED[1], worker));
        let _ = origin.process.as_ref().inspect(|name| add(ADDED[2], name));
        add(ADDED[3], &origin.pid);
        let _ = self.task.inspect(|task| add(ADDED[4], task));
        let _ = self.task_number().inspect(|number| add(ADDED[5], number));
        log::logger().log(
            &log::Record::builder()
                .level(level)
                .target(callsite.metadata.target())
                .module_path_static(callsite.metadata.module_path())
                .file_static(callsite.metadata.file())
                .line(callsite.metadata.line())
                .args(format_args!("{text}"))
                .build(),
        );
    }

    /// The message and the fields of the record.
    fn text(&self, callsite: &HostCallsite) -> String {
        let mut text = String::new();
        let is_message = |index: usize| callsite.names[index] == "message";
        for (_, value) in self.fields.iter().filter(|(index, _)| is_message(*index)) {
            let _ = match value {
                FieldValue::Text(message) => write!(text, "{message}"),
                value => write!(text, "{value}"),
            };
        }
        for (index, value) in self.fields.iter().filter(|(index, _)| !is_message(*index)) {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{}={value}", callsite.names[*index]);
        }
        text
    }

    /// The record as a line of a death report.
    pub(super) fn line(&self, callsite: &HostCallsite) -> String {
        let (level, target) = (callsite.metadata.level(), callsite.metadata.target());
        format!("{level} {target}: {}", self.text(callsite))
    }

    /// The number of a task that was submitted by itself.
    fn task_number(&self) -> Option<u64> {
        self.number.filter(|number| number & PART == 0)
    }

    /// Whether the task with this number made it.
    pub(super) fn is_of(&self, number: u64) -> bool {
        self.number == Some(number)
    }
}

const SLOTS: usize = FIELDS_MAX + ADDED.len();

/// A value of a field, as `tracing` takes it.
enum Held<'a> {
    None,
    Text(&'a str),
    Debug(DisplayValue<&'a str>),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
}

impl<'a> Held<'a> {
    fn of(value: FieldValue<'a>) -> Held<'a> {
        match value {
            FieldValue::Text(text) => Held::Text(text),
            FieldValue::Debug(text) => Held::Debug(display(text)),
            FieldValue::I64(value) => Held::I64(value),
            FieldValue::U64(value) => Held::U64(value),
            FieldValue::I128(value) => Held::I128(value),
            FieldValue::U128(value) => Held::U128(value),
            FieldValue::F64(value) => Held::F64(value),
            FieldValue::Bool(value) => Held::Bool(value),
        }
    }

    fn as_value(&self) -> Option<&dyn Value> {
        match self {
            Held::None => None,
            Held::Text(value) => Some(value),
            Held::Debug(value) => Some(value),
            Held::I64(value) => Some(value),
            Held::U64(value) => Some(value),
            Held::I128(value) => Some(value),
            Held::U128(value) => Some(value),
            Held::F64(value) => Some(value),
            Held::Bool(value) => Some(value),
        }
    }
}

/// Reports that records of this process were lost.
pub(super) fn report_loss(origin: &Origin, dropped: u64, corrupt: u64, to: &Dispatch) {
    let Origin { worker, process, pid } = origin;
    let process = process.as_deref();
    let (text, hint) = (
        "log records of a worker were lost: dropped without room, or overwritten",
        "log less, or use a faster subscriber",
    );
    if !to.is::<NoSubscriber>() {
        dispatcher::with_default(to, || {
            tracing::warn!(worker, process, pid, dropped, corrupt, "{text}; {hint}");
        });
    } else {
        let worker = worker.map_or(String::new(), |worker| format!(" worker={worker}"));
        let process = process.map_or(String::new(), |process| format!(" process={process}"));
        let counts = format_args!("dropped={dropped} corrupt={corrupt}");
        log::warn!("{text}; {hint}{worker}{process} pid={pid} {counts}");
    }
}
