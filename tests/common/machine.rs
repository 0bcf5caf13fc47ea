//! A pool compared with a model of it.
//!
//! 1. Every handle resolves.
//! 2. No task runs twice, and one that returns a value ran once.
//! 3. A value is what the function returns.
//! 4. Every error has a reason: a death needs a kill, a timeout something that takes long.
//! 5. A death names a worker of this pool and the task that died.
//! 6. Every callback runs once, and the sets of a wait are right.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use brigade::{Error, Handle, Pool, ReturnWhen, Shutdown, TaskError, as_completed, wait};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::alone::{progress, server, workers};
use super::processes::{Process, send};
use super::time::spend_millis;
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
    /// Runs until it is asked to end.
    Polite,
}

/// An operation on the pool or its processes; an index is taken modulo the number of candidates.
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
    /// Kills a task after this many milliseconds.
    KillAfter(usize, u8),
    Resize(u8),
    /// Passes the handle to a callback.
    Then(usize),
    /// Adds a callback to a task that keeps its handle.
    OnFinish(usize),
    Wait(ReturnWhen, u8),
    /// Takes this many handles, and the outcomes that arrive within this many milliseconds.
    AsCompleted(usize, u8),
}

/// How the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Shutdown,
    Cancel,
    Terminate,
    Kill,
    Drop,
}

const TIMEOUT: Duration = Duration::from_millis(150);

#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    killed_workers: bool,
    stopped: bool,
    killed_server: bool,
}

/// The outcome of a task: its number, and data that can be checked.
type Output = (u32, Vec<u8>);

/// What a callback reports: the task, and its outcome if the callback got it.
type Told = (u32, Kind, Option<Result<Output, Error>>);

struct Machine {
    pool: Option<Pool>,
    tally: PathBuf,
    next: u32,
    open: Vec<(u32, Kind, Handle<Output>)>,
    /// Tasks for which a cancel was requested.
    cancelled: Vec<u32>,
    outcomes: BTreeMap<u32, (Kind, Result<Output, Error>)>,
    faults: Faults,
    sender: Sender<Told>,
    told: Receiver<Told>,
    callbacks: usize,
}

fn task((number, kind, tally): (u32, Kind, PathBuf)) -> Output {
    let mut file = std::fs::OpenOptions::new().append(true).open(tally).unwrap();
    file.write_all(&number.to_ne_bytes()).unwrap();
    match kind {
        Kind::Quick => {}
        Kind::Large(kibibytes) => return (number, vec![7; usize::from(kibibytes) << 10]),
        Kind::Slow(millis) => spend_millis(millis.into()),
        Kind::Panics => panic!("as told"),
        Kind::Aborts => std::process::abort(),
        Kind::Exits => std::process::exit(0),
        Kind::Endless => loop {
            thread::park();
        },
        Kind::Polite => {
            while !brigade::is_cancelled() {
                thread::yield_now();
            }
        }
    }
    (number, Vec::new())
}

/// Runs operations on a new pool, ends it, and checks the invariants.
pub(crate) fn run(workers: usize, is_sleepy: bool, ops: impl IntoIterator<Item = Op>, end: End) {
    let tally = std::env::temp_dir().join(unique("model"));
    std::fs::write(&tally, "").unwrap();
    let grace = Duration::from_millis(20);
    let builder = Pool::builder().workers(workers).timeout(TIMEOUT).grace(grace);
    // A backtrace takes longer than a task may.
    let builder = builder.env("RUST_BACKTRACE", "0");
    let sleepy = builder.clone().idle_timeout(Duration::from_millis(3));
    let pool = if is_sleepy { sleepy } else { builder }.build().unwrap();
    let (sender, told) = channel();
    let mut machine = Machine {
        pool: Some(pool),
        tally,
        next: 0,
        open: Vec::new(),
        cancelled: Vec::new(),
        outcomes: BTreeMap::new(),
        faults: Faults::default(),
        sender,
        told,
        callbacks: 0,
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
            Op::KillAfter(at, millis) => {
                if let Some((number, _, handle)) = pick(&self.open, at) {
                    handle.kill(Duration::from_millis(millis.into())).unwrap();
                    self.cancelled.push(*number);
                }
            }
            Op::Resize(size) => self.resize(1 + usize::from(size % 4)),
            Op::Then(at) => self.hand_over(at),
            Op::OnFinish(at) => {
                if let Some((number, kind, handle)) = pick(&self.open, at) {
                    let (sender, number, kind) = (self.sender.clone(), *number, *kind);
                    self.callbacks += 1;
                    handle.on_finish(move || sender.send((number, kind, None)).unwrap()).unwrap();
                }
            }
            Op::Wait(when, millis) => self.wait(when, Duration::from_millis(millis.into())),
            Op::AsCompleted(count, millis) => {
                self.complete(count, Duration::from_millis(millis.into()));
            }
        }
    }

    fn resize(&mut self, size: usize) {
        match self.pool.as_ref().expect("the pool is there until the end").resize(size) {
            Ok(()) => {}
            Err(error) => assert!(self.any_kill(), "{error}"),
        }
    }

    fn hand_over(&mut self, at: usize) {
        if self.open.is_empty() {
            return;
        }
        let (number, kind, handle) = self.open.remove(at % self.open.len());
        let sender = self.sender.clone();
        self.callbacks += 1;
        handle.then(move |outcome| sender.send((number, kind, Some(outcome))).unwrap()).unwrap();
    }

    fn wait(&mut self, when: ReturnWhen, timeout: Duration) {
        let handles = || self.open.iter().map(|(_, _, handle)| handle);
        let sets = match wait(handles(), when, Some(timeout)) {
            Ok(sets) => {
                let is_enough = match when {
                    ReturnWhen::All => sets.pending.is_empty(),
                    _ => !sets.done.is_empty() || self.open.is_empty(),
                };
                assert!(is_enough, "{when:?} of {sets:?}");
                sets
            }
            Err(late) => {
                assert!(!late.sets.pending.is_empty(), "{late}");
                late.sets
            }
        };
        assert_eq!(sets.done.len() + sets.pending.len(), self.open.len());
        assert!(sets.done.iter().all(|&at| self.open[at].2.is_finished()));
    }

    fn complete(&mut self, count: usize, timeout: Duration) {
        let taken: Vec<_> = self.open.drain(..count.min(self.open.len())).collect();
        let mut of = Vec::new();
        let mut handles = Vec::new();
        for (number, kind, handle) in taken {
            of.push((number, kind));
            handles.push(handle);
        }
        let mut completed = as_completed(handles, Some(timeout));
        let mut yielded = 0;
        for next in completed.by_ref() {
            let Ok((position, outcome)) = next else { break };
            let (number, kind) = of[position];
            assert!(self.outcomes.insert(number, (kind, outcome)).is_none(), "{number} twice");
            yielded += 1;
        }
        let pending = completed.into_pending();
        assert_eq!(yielded + pending.len(), of.len());
        let back = pending.into_iter().map(|(at, handle)| (of[at].0, of[at].1, handle));
        self.open.splice(0..0, back);
    }

    /// Waits for every callback, and takes what they reported.
    fn hear(&mut self) {
        for _ in 0..self.callbacks {
            let (number, kind, outcome) = self.told.recv().expect("a sender is kept");
            if let Some(outcome) = outcome {
                assert!(self.outcomes.insert(number, (kind, outcome)).is_none(), "{number} twice");
            }
        }
        assert!(self.told.try_recv().is_err(), "a callback ran twice");
    }

    fn submit(&mut self, kind: Kind) {
        let argument = (self.next, kind, self.tally.clone());
        let pool = self.pool.as_ref().expect("the pool is there until the end");
        match pool.submit(task, argument) {
            Ok(handle) => self.open.push((self.next, kind, handle)),
            // The test has killed it repeatedly before it was ready.
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
        // Waiting for a stopped process would take some seconds each time.
        for process in workers().into_iter().chain(server()) {
            send(process.pid, Signal::SIGCONT);
        }
        let ended = match end {
            End::Shutdown => pool.shutdown(),
            End::Cancel => pool.shutdown_with(Shutdown::Cancel),
            End::Terminate => pool.terminate(),
            End::Kill => pool.kill(),
            End::Drop => {
                drop(pool);
                Ok(())
            }
        };
        match ended {
            Ok(()) => {}
            Err(Error::Broken { .. }) if self.any_kill() => {}
            Err(error) => panic!("{error}"),
        }
        self.hear();
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
                    Kind::Quick | Kind::Slow(_) | Kind::Polite => assert!(bytes.is_empty()),
                    _ => panic!("{kind:?} has returned"),
                }
            }
            Err(Error::Task(TaskError::Panicked { message, .. })) => {
                assert_eq!((kind, message.as_str()), (Kind::Panics, "as told"));
            }
            Err(Error::Task(TaskError::Died(death))) => {
                let own = matches!(kind, Kind::Aborts | Kind::Exits);
                assert!(own || self.any_kill(), "nobody killed {number}: {death}");
                assert!(death.worker < 64 && death.pid > 0, "{death:?}");
                assert!(death.task.contains("machine::task"), "{death:?}");
            }
            Err(Error::Task(TaskError::TimedOut { .. })) => {
                // A process ends only when the kernel gets to it.
                let ends = matches!(kind, Kind::Aborts | Kind::Exits);
                let long = matches!(kind, Kind::Endless | Kind::Slow(_) | Kind::Polite)
                    || ends
                    || self.faults.stopped;
                assert!(long, "{kind:?} timed out");
            }
            Err(Error::Task(TaskError::Cancelled)) => {
                let asked = self.cancelled.contains(&number) || end != End::Shutdown;
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
