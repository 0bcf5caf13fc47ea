//! A pool beside a model of it.
//!
//! 1. Every handle resolves.
//! 2. No task runs twice, and one that returns a value ran once.
//! 3. A value is what the function gives.
//! 4. Every error has a reason: a death needs a killer, a timeout something that takes long.
//! 5. A death names a worker of this pool and the task that died.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use brigade::{Error, Handle, Pool, TaskError};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::alone::{progress, server, workers};
use super::processes::{Process, send};
use super::unique;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Quick,
    /// Returns this many kibibytes.
    Large(u16),
    /// Runs for this many milliseconds.
    Slow(u8),
    Panics,
    Aborts,
    Exits,
    Endless,
}

/// What is done to the pool, or to its processes; an index counts what there is, modulo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Submit(Kind),
    Cancel(usize),
    KillTask(usize),
    KillWorker(usize),
    StopWorker(usize),
    ContinueWorker(usize),
    KillServer,
    StopServer,
    Join(usize),
    JoinFor(usize, u8),
    Detach(usize),
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Shutdown,
    Drop,
}

const TIMEOUT: Duration = Duration::from_millis(150);

#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    killed_workers: bool,
    stopped: bool,
    killed_server: bool,
}

/// The outcome of a task: its number, and what of it can be checked.
type Output = (u32, Vec<u8>);

struct Machine {
    pool: Option<Pool>,
    workers: usize,
    tally: PathBuf,
    next: u32,
    open: Vec<(u32, Kind, Handle<Output>)>,
    /// Tasks that somebody asked to end.
    cancelled: Vec<u32>,
    outcomes: BTreeMap<u32, (Kind, Result<Output, Error>)>,
    faults: Faults,
}

fn task((number, kind, tally): (u32, Kind, PathBuf)) -> Output {
    let mut file = std::fs::OpenOptions::new().append(true).open(tally).unwrap();
    file.write_all(&number.to_ne_bytes()).unwrap();
    match kind {
        Kind::Quick => {}
        Kind::Large(kibibytes) => return (number, vec![7; usize::from(kibibytes) << 10]),
        Kind::Slow(millis) => thread::park_timeout(Duration::from_millis(u64::from(millis))),
        Kind::Panics => panic!("as told"),
        Kind::Aborts => std::process::abort(),
        Kind::Exits => std::process::exit(0),
        Kind::Endless => loop {
            thread::park();
        },
    }
    (number, Vec::new())
}

/// Runs operations on a new pool, ends it, and checks that all that must hold does.
pub(crate) fn run(workers: usize, ops: impl IntoIterator<Item = Op>, end: End) {
    let tally = std::env::temp_dir().join(unique("model"));
    std::fs::write(&tally, "").unwrap();
    let grace = Duration::from_millis(20);
    let pool = Pool::builder().workers(workers).timeout(TIMEOUT).grace(grace).build().unwrap();
    let mut machine = Machine {
        pool: Some(pool),
        workers,
        tally,
        next: 0,
        open: Vec::new(),
        cancelled: Vec::new(),
        outcomes: BTreeMap::new(),
        faults: Faults::default(),
    };
    for op in ops {
        machine.step(op);
        progress();
    }
    machine.end(end);
}

impl Machine {
    fn step(&mut self, op: Op) {
        match op {
            Op::Submit(kind) => self.submit(kind),
            Op::Cancel(at) => {
                if let Some((number, _, handle)) = pick(&self.open, at)
                    && handle.cancel()
                {
                    self.cancelled.push(*number);
                }
            }
            Op::KillTask(at) => {
                if let Some((number, _, handle)) = pick(&self.open, at) {
                    handle.kill(Duration::ZERO).unwrap();
                    self.cancelled.push(*number);
                }
            }
            Op::KillWorker(at) => {
                self.faults.killed_workers = true;
                signal_worker(at, Signal::SIGKILL);
            }
            Op::StopWorker(at) => {
                self.faults.stopped = true;
                signal_worker(at, Signal::SIGSTOP);
            }
            Op::ContinueWorker(at) => signal_worker(at, Signal::SIGCONT),
            Op::KillServer => {
                self.faults.killed_server = true;
                if let Some(server) = server() {
                    send(server.pid, Signal::SIGKILL);
                }
            }
            Op::StopServer => {
                self.faults.stopped = true;
                if let Some(server) = server() {
                    send(server.pid, Signal::SIGSTOP);
                }
            }
            Op::Join(at) => {
                if !self.open.is_empty() {
                    let (number, kind, handle) = self.open.remove(at % self.open.len());
                    self.outcomes.insert(number, (kind, handle.join()));
                }
            }
            Op::JoinFor(at, millis) => self.join_for(at, Duration::from_millis(millis.into())),
            Op::Detach(at) => {
                if !self.open.is_empty() {
                    drop(self.open.remove(at % self.open.len()));
                }
            }
        }
    }

    fn submit(&mut self, kind: Kind) {
        let argument = (self.next, kind, self.tally.clone());
        let pool = self.pool.as_ref().expect("the pool is there until the end");
        match pool.submit(task, argument) {
            Ok(handle) => self.open.push((self.next, kind, handle)),
            // Killed again and again before it was ready: by this test.
            Err(Error::Broken { .. }) if self.any_kill() => {}
            Err(error) => panic!("{error}"),
        }
        self.next += 1;
    }

    fn join_for(&mut self, at: usize, timeout: Duration) {
        if self.open.is_empty() {
            return;
        }
        let at = at % self.open.len();
        match self.open[at].2.join_timeout(timeout) {
            Err(Error::TimedOut { .. }) => {}
            outcome => {
                let (number, kind, _) = self.open.remove(at);
                self.outcomes.insert(number, (kind, outcome));
            }
        }
    }

    fn any_kill(&self) -> bool {
        self.faults.killed_workers || self.faults.killed_server
    }

    fn end(mut self, end: End) {
        let pool = self.pool.take().expect("it is taken once");
        // What is still stopped would be waited for in vain, for some seconds each time.
        for process in workers().into_iter().chain(server()) {
            send(process.pid, Signal::SIGCONT);
        }
        match end {
            End::Shutdown => match pool.shutdown() {
                Ok(()) => {}
                Err(Error::Broken { .. }) if self.any_kill() => {}
                Err(error) => panic!("{error}"),
            },
            End::Drop => drop(pool),
        }
        for (number, kind, handle) in std::mem::take(&mut self.open) {
            assert!(handle.is_finished(), "task {number} has no end");
            self.outcomes.insert(number, (kind, handle.join()));
            progress();
        }
        let bytes = std::fs::read(&self.tally).unwrap();
        std::fs::remove_file(&self.tally).unwrap();
        let mut runs: BTreeMap<u32, usize> = BTreeMap::new();
        for number in bytes.chunks_exact(4) {
            *runs.entry(u32::from_ne_bytes(number.try_into().unwrap())).or_insert(0) += 1;
        }
        assert!(runs.values().all(|&count| count == 1), "run more than once: {runs:?}");
        for (number, (kind, outcome)) in &self.outcomes {
            self.check(*number, *kind, outcome, runs.contains_key(number), end);
        }
    }

    fn check(&self, number: u32, kind: Kind, outcome: &Result<Output, Error>, ran: bool, end: End) {
        match outcome {
            Ok((returned, bytes)) => {
                assert!(ran && *returned == number, "{returned} of {number}, ran: {ran}");
                match kind {
                    Kind::Large(kibibytes) => {
                        assert_eq!(bytes.len(), usize::from(kibibytes) << 10);
                        assert!(bytes.iter().all(|&byte| byte == 7));
                    }
                    Kind::Quick | Kind::Slow(_) => assert!(bytes.is_empty()),
                    _ => panic!("{kind:?} has returned"),
                }
            }
            Err(Error::Task(TaskError::Panicked { message, .. })) => {
                assert_eq!((kind, message.as_str()), (Kind::Panics, "as told"));
            }
            Err(Error::Task(TaskError::Died(death))) => {
                let own = matches!(kind, Kind::Aborts | Kind::Exits);
                assert!(own || self.any_kill(), "nobody killed {number}: {death}");
                assert!(death.worker < self.workers && death.pid > 0, "{death:?}");
                assert!(death.task.contains("machine::task"), "{death:?}");
            }
            Err(Error::Task(TaskError::TimedOut { .. })) => {
                let long = matches!(kind, Kind::Endless | Kind::Slow(_)) || self.faults.stopped;
                assert!(long, "{kind:?} timed out");
            }
            Err(Error::Task(TaskError::Cancelled)) => {
                let asked = self.cancelled.contains(&number) || end == End::Drop;
                assert!(asked, "nobody cancelled {number}");
            }
            Err(Error::Broken { .. } | Error::Closed { .. }) => assert!(self.any_kill()),
            Err(error) => panic!("{kind:?}: {error}"),
        }
    }
}

fn pick<T>(all: &[T], at: usize) -> Option<&T> {
    if all.is_empty() { None } else { all.get(at % all.len()) }
}

fn signal_worker(at: usize, signal: Signal) {
    let workers: Vec<Process> = workers();
    if let Some(worker) = pick(&workers, at) {
        send(worker.pid, signal);
    }
}
