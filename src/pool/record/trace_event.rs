//! Events of a timeline, and their form in a Chrome trace.

use std::fmt::{self, Write};

use crate::json_text::JsonText;
use crate::pool::record::task::TaskKind;
use crate::worker::current_task::PART;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Returned,
    Panicked,
    /// Its argument or its result could not be encoded or decoded.
    Codec,
    /// Its worker died.
    Died,
    TimedOut,
    Killed,
    /// The recording ended first.
    Running,
}

impl Ending {
    fn text(self) -> &'static str {
        match self {
            Ending::Returned => "returned",
            Ending::Panicked => "panicked",
            Ending::Codec => "not encoded or decoded",
            Ending::Died => "died",
            Ending::TimedOut => "timed out",
            Ending::Killed => "killed",
            Ending::Running => "still running",
        }
    }
}

/// One task, or several short ones of the same function. Times are those of CLOCK_MONOTONIC, in
/// nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) name: &'static str,
    pub(crate) kind: TaskKind,
    pub(crate) ending: Ending,
    /// At least 1.
    pub(crate) count: u32,
    /// The number of the first task, marked if it is a part of a map, a loop or a team.
    pub(crate) number: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// The sum of the times of the tasks.
    pub(crate) busy_ns: u64,
}

impl Slice {
    pub(crate) fn new(
        name: &'static str,
        kind: TaskKind,
        number: u64,
        start_ns: u64,
        elapsed_ns: u64,
        ending: Ending,
    ) -> Slice {
        let end_ns = start_ns.saturating_add(elapsed_ns);
        Slice { name, kind, ending, count: 1, number, start_ns, end_ns, busy_ns: elapsed_ns }
    }
}

/// An event of a timeline, on the track of a worker.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The track of this worker exists.
    Track { worker: usize },
    /// The worker ran tasks.
    Tasks(usize, Slice),
    /// The worker had nothing to run.
    Idle { worker: usize, start_ns: u64, end_ns: u64 },
    /// Something happened to the worker's process.
    Instant { worker: usize, at_ns: u64, name: &'static str, text: String },
}

impl Event {
    /// Limits its times, which a worker may have made up.
    pub(crate) fn limit(&mut self, now_ns: u64) {
        match self {
            Event::Tasks(_, Slice { start_ns, end_ns, .. })
            | Event::Idle { start_ns, end_ns, .. } => {
                *start_ns = now_ns.min(*start_ns);
                *end_ns = now_ns.min(*end_ns);
            }
            Event::Track { .. } | Event::Instant { .. } => {}
        }
    }
}

/// Appends events to a trace.
pub(crate) struct Formatter {
    /// The process of the trace: this one.
    pub(crate) pid: u32,
    /// The time of the trace's zero.
    pub(crate) start_ns: u64,
}

impl Formatter {
    /// The beginning of a trace, with its first event. Events, and then [`TAIL`], follow.
    pub(crate) fn head(&self, pool: &str, unix_seconds: f64) -> String {
        let mut out = String::new();
        let version = env!("CARGO_PKG_VERSION");
        put(
            &mut out,
            format_args!(
                "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"brigade\":\"{version}\",\
                 \"start_unix_seconds\":{unix_seconds:.6}}},\"traceEvents\":[\n{{\"ph\":\"M\",\
                 \"pid\":{},\"name\":\"process_name\",\"args\":{{\"name\":",
                self.pid
            ),
        );
        put(&mut out, format_args!("{}", JsonText(&format!("pool {pool}"))));
        out.push_str("}}");
        out
    }

    /// Appends one event, after a comma.
    pub(crate) fn event(&self, out: &mut String, event: &Event) {
        out.push_str(",\n");
        match event {
            Event::Track { worker } => {
                self.begin(out, "M", "thread_name", *worker);
                put(out, format_args!(",\"args\":{{\"name\":\"worker {worker}\"}}}}"));
            }
            Event::Tasks(worker, slice) => self.tasks(out, *worker, slice),
            Event::Idle { worker, start_ns, end_ns } => {
                self.begin(out, "X", "idle", *worker);
                self.times(out, *start_ns, *end_ns);
                out.push_str(",\"cat\":\"idle\",\"cname\":\"grey\"}");
            }
            Event::Instant { worker, at_ns, name, text } => {
                self.begin(out, "i", name, *worker);
                let at = micros(at_ns.saturating_sub(self.start_ns));
                put(out, format_args!(",\"s\":\"t\",\"cat\":\"process\",\"ts\":{at},\"args\":{{"));
                out.push_str("\"reason\":");
                put(out, format_args!("{}", JsonText(text)));
                out.push_str("}}");
            }
        }
    }

    fn tasks(&self, out: &mut String, worker: usize, slice: &Slice) {
        let Slice { name, kind, ending, count, number, start_ns, end_ns, busy_ns } = slice;
        let category = match kind {
            TaskKind::Single => "task",
            TaskKind::Batch => "batch",
            TaskKind::Loop => "loop",
            TaskKind::Team => "team",
        };
        self.begin(out, "X", name, worker);
        self.times(out, *start_ns, *end_ns);
        put(out, format_args!(",\"cat\":\"{category}\",\"args\":{{"));
        if number & PART == 0 {
            // The field of this name in a log record is the same.
            put(out, format_args!("\"task_number\":{number},"));
        }
        if *count > 1 {
            let busy = micros(*busy_ns);
            put(out, format_args!("\"tasks\":{count},\"busy_us\":{busy},"));
        }
        put(out, format_args!("\"ending\":\"{}\"}}}}", ending.text()));
    }

    fn begin(&self, out: &mut String, phase: &str, name: &str, worker: usize) {
        put(out, format_args!("{{\"ph\":\"{phase}\",\"pid\":{},\"tid\":{worker}", self.pid));
        out.push_str(",\"name\":");
        put(out, format_args!("{}", JsonText(name)));
    }

    fn times(&self, out: &mut String, start_ns: u64, end_ns: u64) {
        let start = micros(start_ns.saturating_sub(self.start_ns));
        let duration = micros(end_ns.saturating_sub(start_ns));
        put(out, format_args!(",\"ts\":{start},\"dur\":{duration}"));
    }
}

/// The end of a trace.
pub(crate) const TAIL: &str = "\n]}\n";

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string never fails.
    let _ = out.write_fmt(text);
}

/// A time in nanoseconds as microseconds with three decimals.
struct Micros(u64);

fn micros(ns: u64) -> Micros {
    Micros(ns)
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
