//! System calls that fail, or at which a process is killed.
//!
//! This program runs itself under strace repeatedly. Each time another system call is the one at
//! which the calling process is killed, or the one that fails. In every case the host must end, by
//! itself or by the kill, and leave no process behind. `BRIGADE_LONG=1` tries every call; otherwise
//! a sample is tried, which `BRIGADE_SEED` selects.

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brigade::{Error, Pool, TaskError};
use common::Random;
use common::processes::{Process, marked, send};
use common::time::wait_until;
use nix::sys::signal::Signal;

/// The run to which a process belongs; marks the host of that run.
const MARK: &str = "BRIGADE_INJECT";
/// How long a run may take; strace makes each call some ten times slower.
const PATIENCE: Duration = Duration::from_secs(60);
/// Only calls that are made at most this often are tried each time.
const TIMES_MAX: usize = 40;
/// The runs of each kind if time is short.
const SAMPLE: usize = 40;

pub(crate) fn main() {
    if std::env::var_os(MARK).is_some() {
        return host();
    }
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        return common::skipped("there is no strace, which kills at the n-th system call");
    }
    let seed = std::env::var("BRIGADE_SEED").ok().and_then(|text| text.parse().ok());
    let mut random = Random(seed.unwrap_or_else(|| u64::from(std::process::id())));
    println!("BRIGADE_SEED={}", random.0);
    let calls = calls_made();
    println!("{} calls, {} kinds", calls.values().sum::<usize>(), calls.len());
    whoever_is_killed_at_any_call_leaves_nothing(&calls, &mut random);
    interrupted_calls_are_made_again(&calls, &mut random);
    calls_that_fail_are_errors_that_say_so(&calls, &mut random);
    a_message_that_the_kernel_has_no_memory_for_is_sent_again();
    a_process_that_is_stopped_before_it_executes_its_program_is_continued();
    println!("test result: ok");
}

/// What is traced: a pool from its start to its end, and a one-off process.
fn host() {
    let outcome = Pool::builder().workers(2).build().and_then(|pool| {
        let large = pool.submit(|v: Vec<u8>| v, vec![1; 1 << 20])?;
        let tasks: Vec<_> = (0..4u64).map(|n| pool.submit(|n: u64| n * n, n)).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task?.join()?, n * n);
        }
        assert_eq!(large.join()?.len(), 1 << 20);
        assert_eq!(brigade::Process::spawn(|n: u64| n * n, 9)?.join()?, 81);
        pool.shutdown()
    });
    match outcome {
        Ok(()) => println!("@ok"),
        Err(error) => println!("@{}: {error}", kind(&error)),
    }
}

/// The variant of an error that a failed call may cause.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Os { .. } => "Os",
        Error::Spawn { .. } => "Spawn",
        Error::Broken { .. } => "Broken",
        Error::NoSpace { .. } => "NoSpace",
        Error::Task(TaskError::Died(_)) => "Died",
        Error::Task(TaskError::Codec { .. }) => "Codec",
        _ => "unexpected",
    }
}

/// A run under strace.
struct Run {
    child: Child,
    mark: String,
    what: String,
}

impl Run {
    /// Runs the host with these arguments to strace.
    fn start(arguments: &[&str]) -> Run {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let value = format!("{}:{count}", std::process::id());
        let own = std::env::current_exe().unwrap();
        let child = Command::new("strace")
            .args(["-f", "-qq"])
            .args(arguments)
            .args(["--", own.to_str().unwrap()])
            .env(MARK, &value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Run { child, mark: format!("{MARK}={value}"), what: arguments.join(" ") }
    }

    /// Waits for its end; returns the last word of the host, if there was one.
    fn end(mut self) -> Option<String> {
        let start = Instant::now();
        let ended = wait_until(PATIENCE, || self.child.try_wait().unwrap().is_some());
        let mut left = Vec::new();
        let gone = ended
            && wait_until(PATIENCE, || {
                left = marked(&self.mark);
                left.retain(|process: &Process| process.state != 'Z');
                left.is_empty()
            });
        if !gone {
            let found = marked(&self.mark);
            let at = |process: &Process| {
                let file = |name| std::fs::read_to_string(format!("/proc/{}/{name}", process.pid));
                format!("{process:?} in {:?} {:?}", file("wchan"), file("syscall"))
            };
            let found: Vec<_> = found.iter().map(at).collect();
            for process in marked(&self.mark) {
                send(process.pid, Signal::SIGKILL);
            }
            panic!("{}: still there after {:?}: {found:#?}", self.what, start.elapsed());
        }
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        said.lines().find_map(|line| Some(line.strip_prefix('@')?.to_owned()))
    }
}

/// How often each call is made by the process that makes it most often.
fn calls_made() -> BTreeMap<String, usize> {
    let path = std::env::temp_dir().join(common::unique("calls"));
    let said = Run::start(&["-o", path.to_str().unwrap()]).end();
    assert_eq!(said.as_deref(), Some("ok"));
    let trace = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in trace.lines() {
        // "PID  name(arguments) = result", or "PID  <... name resumed>", "+++", "---".
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((name, _)) = rest.trim_start().split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            *counts.entry((name.to_owned(), pid.to_owned())).or_insert(0) += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in counts {
        let entry = most.entry(name).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}

/// Each of `calls`, with the ordinal of the invocation; all of them, or a sample.
fn points(calls: &BTreeMap<String, usize>, random: &mut Random) -> Vec<(String, usize)> {
    let each = |(name, &count): (&String, &usize)| {
        let name = name.clone();
        (1..=count.min(TIMES_MAX)).map(move |time| (name.clone(), time))
    };
    let mut points: Vec<_> = calls.iter().flat_map(each).collect();
    if std::env::var_os("BRIGADE_LONG").is_none() {
        while points.len() > SAMPLE {
            points.swap_remove(random.below(points.len()));
        }
    }
    points
}

fn only(calls: &BTreeMap<String, usize>, names: &[&str]) -> BTreeMap<String, usize> {
    let wanted = calls.iter().filter(|(name, _)| names.contains(&name.as_str()));
    wanted.map(|(name, count)| (name.clone(), *count)).collect()
}

fn whoever_is_killed_at_any_call_leaves_nothing(
    calls: &BTreeMap<String, usize>,
    random: &mut Random,
) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (name, time) in points(calls, random) {
        let injection = format!("inject={name}:signal=SIGKILL:when={time}");
        let said = Run::start(&["-o", "/dev/null", "-e", &injection]).end();
        let said = said.unwrap_or_else(|| "killed".into());
        let outcome = said.split(':').next().unwrap().to_owned();
        assert_ne!(outcome, "unexpected", "{injection}: {said}");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    println!("test whoever_is_killed_at_any_call_leaves_nothing ... ok {outcomes:?}");
}

fn interrupted_calls_are_made_again(calls: &BTreeMap<String, usize>, random: &mut Random) {
    // Without futex: a wake-up, which the kernel never interrupts, would be lost.
    let waits = ["poll", "epoll_wait", "sendmsg", "recvmsg", "wait4", "fallocate"];
    for (name, time) in points(&only(calls, &waits), random) {
        let injection = format!("inject={name}:error=EINTR:when={time}");
        let said = Run::start(&["-o", "/dev/null", "-e", &injection]).end();
        assert_eq!(said.as_deref(), Some("ok"), "{injection}");
    }
    println!("test interrupted_calls_are_made_again ... ok");
}

fn calls_that_fail_are_errors_that_say_so(calls: &BTreeMap<String, usize>, random: &mut Random) {
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for (names, errno) in [
        (&["clone", "clone3", "vfork", "fork"][..], "EAGAIN"),
        (&["sendmsg"], "ENOBUFS"),
        (&["memfd_create", "socketpair", "eventfd2", "epoll_create1", "pidfd_open"], "EMFILE"),
        (&["execve", "prctl", "close_range", "epoll_ctl", "fallocate", "ftruncate"], "EPERM"),
        (&["pidfd_open", "close_range", "memfd_create", "clone3"], "ENOSYS"),
    ] {
        for (name, time) in points(&only(calls, names), random) {
            // The first execve is that of the host itself.
            let time = if name == "execve" { time + 1 } else { time };
            let injection = format!("inject={name}:error={errno}:when={time}");
            let said = Run::start(&["-o", "/dev/null", "-e", &injection]).end();
            let Some(said) = said else { panic!("{injection}: the host ended without a word") };
            let outcome = said.split(':').next().unwrap().to_owned();
            assert_ne!(outcome, "unexpected", "{injection}: {said}");
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    }
    println!("test calls_that_fail_are_errors_that_say_so ... ok {outcomes:?}");
}

/// An answer that could not be sent was lost, and the worker waited for it for ever. Each process
/// and each thread runs out of memory at the same one of its messages.
fn a_message_that_the_kernel_has_no_memory_for_is_sent_again() {
    for time in 1..=6 {
        let injection = format!("inject=sendmsg:error=ENOBUFS:when={time}");
        let said = Run::start(&["-o", "/dev/null", "-e", &injection]).end();
        assert_eq!(said.as_deref(), Some("ok"), "{injection}");
    }
    println!("test a_message_that_the_kernel_has_no_memory_for_is_sent_again ... ok");
}

/// The fork server duplicates a descriptor before it executes its program, in memory that the host
/// shares. If it was stopped there, the thread that had created it waited for a SIGCONT from
/// outside. The server's children also duplicate descriptors, and are stopped too: a stopped worker
/// waits for SIGCONT, which the test sends.
fn a_process_that_is_stopped_before_it_executes_its_program_is_continued() {
    let mut run = Run::start(&["-o", "/dev/null", "-e", "inject=dup2:signal=SIGSTOP:when=1"]);
    wait_until(PATIENCE, || {
        let all = marked(&run.mark);
        let is_server = |pid| all.iter().any(|other| other.pid == pid && other.is_server());
        for stopped in all.iter().filter(|one| matches!(one.state, 'T' | 't')) {
            if is_server(stopped.parent) {
                send(stopped.pid, Signal::SIGCONT);
            }
        }
        run.child.try_wait().unwrap().is_some()
    });
    assert_eq!(run.end().as_deref(), Some("ok"));
    println!("test a_process_that_is_stopped_before_it_executes_its_program_is_continued ... ok");
}
