//! Runs a test in its own process, with a watchdog.
//!
//! [`alone`] starts this test binary again for one test, which runs in that process. Leftovers are
//! searched from both sides: descriptors, threads, children and mappings from inside, processes and
//! names in /dev/shm from outside. Processes are recognised by a variable in their environment, so
//! a worker or a server is found even if its parents have ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::processes::{self, Process};
use super::time::wait_until;

/// The test to which a process belongs: `NAME:PID of the runner`.
const MARK: &str = "BRIGADE_TEST";
/// How long a test may make no progress; the machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long processes may take to vanish after a test.
const LINGER: Duration = Duration::from_secs(20);

/// Runs `body` in its own process; fails if it fails or leaves anything behind.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    alone_with(&[], body);
}

/// As [`alone`], one test at a time: for tests that leave names of dead programs in /dev/shm, and
/// those that remove all such names.
pub(crate) fn alone_in_turn<F: FnOnce()>(body: F) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    alone(body);
}

/// As [`alone`], with variables in the environment of the process.
pub(crate) fn alone_with<F: FnOnce()>(env: &[(&str, &str)], body: F) {
    run_alone(&test_name::<F>(), env, Box::new(body));
}

/// Boxed, so that this is compiled once, not for each test.
fn run_alone(name: &str, env: &[(&str, &str)], body: Box<dyn FnOnce() + '_>) {
    if is_inside(name) {
        return inside(body);
    }
    Runner::start(name, env).finish(name);
}

/// Runs `host` in its own process, and `outside` in this one to act on it. The host usually dies;
/// `outside`, a closure written in the test, may examine how it ended. Fails if anything of the
/// host is left.
pub(crate) fn against_host<F, G>(host: F, outside: G)
where
    F: FnOnce(),
    G: FnOnce(&mut Runner),
{
    against_host_with(&[], host, outside);
}

/// As [`against_host`], with variables in the environment of the host.
pub(crate) fn against_host_with<F, G>(env: &[(&str, &str)], host: F, outside: G)
where
    F: FnOnce(),
    G: FnOnce(&mut Runner),
{
    let name = test_name::<G>();
    if is_inside(&name) {
        watch();
        return host();
    }
    let mut runner = Runner::start(&name, env);
    outside(&mut runner);
    runner.end();
    runner.expect_gone(&name);
}

/// Sends one word from a host to the outside.
pub(crate) fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{word}").unwrap();
    out.flush().unwrap();
}

/// The processes of this test; from inside, all but this one.
pub(crate) fn own_processes() -> Vec<Process> {
    let mark = format!("{MARK}={}", std::env::var(MARK).unwrap_or_default());
    let own = std::process::id();
    let mut found = processes::marked(&mark);
    found.retain(|process| process.pid != own && process.state != 'Z');
    found
}

/// The fork server of this test.
pub(crate) fn server() -> Option<Process> {
    own_processes().into_iter().find(Process::is_server)
}

/// The workers of this test.
pub(crate) fn workers() -> Vec<Process> {
    let mut found = own_processes();
    found.retain(Process::is_worker);
    found
}

/// The test that contains the closure `F`.
fn test_name<F>() -> String {
    // "binary::name::{{closure}}", or with modules between.
    let full = std::any::type_name::<F>();
    let path = full.split("::{{closure}}").next().unwrap_or(full);
    path.split_once("::").map_or(path, |(_, rest)| rest).to_owned()
}

fn is_inside(name: &str) -> bool {
    std::env::var(MARK).is_ok_and(|mark| mark.split(':').next() == Some(&name.replace(':', "_")))
}

fn inside(body: Box<dyn FnOnce() + '_>) {
    watch();
    let before = everything();
    body();
    let mut after = everything();
    // Threads that were asked to end may not have ended yet.
    wait_until(LINGER, || {
        after = everything();
        after == before
    });
    assert_eq!(after, before, "left behind, or closed although not its own");
}

/// Everything of this process that a test could leave behind.
fn everything() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut add = |what: String| *found.entry(what).or_insert(0) += 1;
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        // The directory that is listed is also open, and closed by now.
        if let Ok(target) = fs::read_link(entry.path())
            && !target.to_string_lossy().ends_with("/fd")
        {
            add(format!("descriptor {} on {}", entry.path().display(), target.display()));
        }
    }
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        add(format!("thread {}", name.trim()));
    }
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        if line.contains("memfd:") || line.contains("/dev/shm") {
            add(format!("mapping {}", line.split_whitespace().last().unwrap_or_default()));
        }
    }
    let own = std::process::id();
    for process in processes::all() {
        if process.parent == own {
            add(format!("child {} {}", process.name, process.state));
        }
    }
    for process in own_processes() {
        add(format!("process {} {}", process.pid, process.name));
    }
    found
}

/// The process in which a test runs, seen from outside.
pub(crate) struct Runner {
    child: Child,
    mark: String,
    /// The lines that it prints. A thread reads them, because a process that the host leaves behind
    /// keeps the pipe open; it must be found rather than waited for.
    lines: Receiver<String>,
    names: Vec<OsString>,
    status: Option<ExitStatus>,
    /// What it has printed so far.
    heard: String,
}

impl Runner {
    fn start(name: &str, env: &[(&str, &str)]) -> Runner {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}:{}:{count}", name.replace(':', "_"), std::process::id());
        let names = shm_names();
        let mut child = Command::new("/proc/self/exe")
            .args(["--exact", name, "--nocapture", "--test-threads=1", "--include-ignored"])
            .env(MARK, &value)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            // The receiver may be gone, and a partial character is not a line.
            out.lines().map_while(Result::ok).try_for_each(|text| line.send(text))
        });
        let mark = format!("{MARK}={value}");
        Runner { child, mark, lines, names, status: None, heard: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next word that the host [`say`]s; `None` if the host has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let mut has_ended = false;
        loop {
            match self.lines.recv_timeout(Duration::from_millis(20)) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                    if let Some(word) = line.strip_prefix('@') {
                        return Some(word.trim_end().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                // Reads once more after the end, for what was printed before it.
                Err(RecvTimeoutError::Timeout) if has_ended => return None,
                Err(RecvTimeoutError::Timeout) => {
                    has_ended = self.child.try_wait().unwrap().is_some();
                }
            }
        }
    }

    /// Waits until the host says `word`.
    pub(crate) fn expect(&mut self, word: &str) {
        let heard = self.hear();
        assert_eq!(heard.as_deref(), Some(word), "{}", self.heard);
    }

    pub(crate) fn send(&self, signal: Signal) {
        processes::send(self.pid(), signal);
    }

    /// Its processes, including the host, without zombies.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let mut found = processes::marked(&self.mark);
        found.retain(|process| process.state != 'Z');
        found
    }

    /// Waits for the host to end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        while self.hear().is_some() {}
        let status = self.child.wait().unwrap();
        self.status = Some(status);
        status
    }

    fn finish(mut self, name: &str) {
        let status = self.end();
        self.expect_gone(name);
        assert!(status.success(), "{name} in a process of its own: {status}\n{}", self.heard);
        // Messages about skipped tests.
        print!("{}", self.heard);
    }

    fn expect_gone(&self, name: &str) {
        let start = Instant::now();
        let mut left = Vec::new();
        let gone = wait_until(LINGER, || {
            left = self.processes();
            left.is_empty()
        });
        if !gone {
            for process in &left {
                processes::send(process.pid, Signal::SIGKILL);
            }
        }
        let late = start.elapsed();
        assert!(gone, "{name} left processes behind: {left:?}\n{}", self.heard);
        if late > Duration::from_secs(1) {
            println!("{name}: the last process was gone {late:?} after the host");
        }
        let own = self.child.id().to_string();
        let left: Vec<_> = shm_names()
            .into_iter()
            .filter(|name| !self.names.contains(name))
            .filter(|name| name.to_string_lossy().contains(&own))
            .collect();
        assert!(left.is_empty(), "{name} left names in /dev/shm: {left:?}");
    }
}

fn shm_names() -> Vec<OsString> {
    fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.file_name()).collect()
}

/// The progress of the test, for the watchdog.
static PROGRESS: AtomicU64 = AtomicU64::new(0);

/// Reports progress to the watchdog; for tests with many rounds.
pub(crate) fn progress() {
    PROGRESS.fetch_add(1, Ordering::Relaxed);
}

/// Starts the watchdog of this process, which ends the process with a report if it makes no
/// progress.
fn watch() {
    // A thread sets its own name, and must have done so before threads are counted by name.
    let (named, is_named) = mpsc::channel();
    let watchdog = move || {
        named.send(()).unwrap();
        let mut seen = PROGRESS.load(Ordering::Relaxed);
        loop {
            let start = Instant::now();
            while start.elapsed() < PATIENCE {
                thread::park_timeout(PATIENCE.saturating_sub(start.elapsed()));
            }
            let now = PROGRESS.load(Ordering::Relaxed);
            if now == seen {
                report();
                std::process::abort();
            }
            seen = now;
        }
    };
    thread::Builder::new().name("watchdog".into()).spawn(watchdog).unwrap();
    is_named.recv().unwrap();
}

/// Prints what every process of the test is doing.
fn report() {
    eprintln!("watchdog: no progress for {PATIENCE:?}");
    let own = Process::of(std::process::id());
    for process in own.into_iter().chain(own_processes()) {
        eprintln!("{process:?}");
        let tasks = format!("/proc/{}/task", process.pid);
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let read = |file: &str| {
                let text = fs::read_to_string(task.path().join(file)).unwrap_or_default();
                text.trim().replace('\n', " | ")
            };
            let (name, at, call) = (read("comm"), read("wchan"), read("syscall"));
            eprintln!("  thread {name}: in {at}, system call {call}");
        }
        let pid = process.pid.to_string();
        let arguments = ["-p", &pid, "-batch", "-nx", "-ex", "thread apply all bt 30"];
        if let Ok(output) = Command::new("gdb").args(arguments).output() {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
