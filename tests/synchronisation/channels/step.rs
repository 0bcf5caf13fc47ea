//! Workers killed after their k-th instruction in a channel.
//!
//! A worker stops before the section under test, is traced from there by the test, stepped k
//! instructions, and killed. What follows is what follows any death: the server reaps it, the host
//! sweeps. The instructions of the ring under a channel are tested in
//! `tests/synchronisation/kill_points`; here it is some of them, of whole calls.

use brigade::{Connection, Error, JoinableQueue, Pipe, Pool, Queue};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LONG;
use crate::common::alone::alone;
use crate::common::processes::send;
use crate::common::skipped;
use crate::common::tasks::{raise, with};

/// How many points of each section are tried, spread evenly.
const POINTS: usize = 40;

/// Begins and ends a section: a signal that does nothing to a process that is not traced.
const MARK: Signal = Signal::SIGURG;

/// A tracer of one worker.
struct Tracer(Pid);

impl Tracer {
    /// Seizes a worker that waits for that, and waits until it is before its section. `None` where
    /// this process may not.
    fn seize(pid: u32) -> Option<Tracer> {
        let pid = Pid::from_raw(pid.cast_signed());
        ptrace::seize(pid, ptrace::Options::empty()).ok()?;
        let tracer = Tracer(pid);
        assert_eq!(tracer.wait(), WaitStatus::Stopped(pid, MARK), "at the start");
        Some(tracer)
    }

    fn wait(&self) -> WaitStatus {
        waitpid(self.0, Some(WaitPidFlag::__WALL)).unwrap()
    }

    /// Runs `instructions` of them; whether the worker came to its next stop instead.
    fn step(&self, instructions: usize) -> bool {
        for _ in 0..instructions {
            ptrace::step(self.0, None).unwrap();
            match self.wait() {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, MARK) => return true,
                other => panic!("the worker is {other:?}"),
            }
        }
        false
    }

    /// How many instructions there are to the next stop.
    fn count(&self) -> usize {
        (1..).find(|_| self.step(1)).unwrap_or(0)
    }

    fn kill(self) {
        send(self.0.as_raw().cast_unsigned(), Signal::SIGKILL);
        // A stop may be reported before the end.
        while !matches!(self.wait(), WaitStatus::Signaled(..)) {}
    }
}

/// Says who it is, waits until it is traced, and calls `section` between two marks.
fn sectioned<T>(queue: &Queue<u32>, value: T, section: impl Fn(T)) {
    queue.put(std::process::id()).unwrap();
    let is_traced = |status: String| !status.contains("TracerPid:\t0");
    while !std::fs::read_to_string("/proc/self/status").is_ok_and(is_traced) {}
    raise(MARK);
    section(value);
    raise(MARK);
}

/// For points all over the section that `task` runs: makes what `stage` makes, has a worker killed
/// there, and calls `check` with the stage.
fn for_points<S, A, F>(stage: impl Fn(&Pool) -> (S, A), task: F, mut check: impl FnMut(&Pool, S))
where
    F: Fn((Queue<u32>, A)) + Copy + Send + 'static,
    A: Serialize + DeserializeOwned,
{
    let pool = with(1).build().unwrap();
    let pids = Queue::<u32>::new(1).unwrap();
    let mut at = 0;
    let mut section = None;
    loop {
        let (staged, argument) = stage(&pool);
        let handle = pool.submit(task, (pids.clone(), argument)).unwrap();
        let Some(tracer) = Tracer::seize(pids.get().unwrap()) else {
            handle.kill(std::time::Duration::ZERO).unwrap();
            return skipped("this process may not trace workers");
        };
        match section {
            None => section = Some(tracer.count()),
            Some(_) => assert!(!tracer.step(at), "the section is shorter than it was"),
        }
        tracer.kill();
        assert!(handle.join().unwrap_err().death().is_some());
        check(&pool, staged);
        let all = section.unwrap_or(0);
        assert!(all > 100, "a section of {all} instructions is none");
        at += all.div_ceil(POINTS);
        // The last instructions may be fewer another time: a lock was free, say.
        if at + at / 10 + 10 > all {
            return;
        }
    }
}

#[test]
fn a_put_is_there_or_not_and_the_next_works_wherever_a_producer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<String>::new(2).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<String>)| {
            sectioned(&pids, queue, |queue| queue.put("from the dead".to_owned()).unwrap());
        };
        for_points(stage, task, |_, queue| {
            let before = queue.len();
            queue.put("from the living".to_owned()).unwrap();
            let got = queue.get_many(9).unwrap();
            assert_eq!(got.len(), before + 1);
            assert!(before == 0 || got[0] == "from the dead");
            assert_eq!(got[before], "from the living");
        });
    });
}

#[test]
fn a_get_has_taken_the_message_or_left_it_wherever_a_consumer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<u32>::new(2).unwrap();
            queue.put_many([1, 2]).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<u32>)| {
            sectioned(&pids, queue, |queue| drop(queue.get()));
        };
        for_points(stage, task, |_, queue| {
            let left = queue.len();
            assert_eq!(queue.get_many(9).unwrap(), [1, 2][2 - left..]);
            queue.put_many([3, 4]).unwrap();
            assert!(queue.is_full(), "two, as ever");
        });
    });
}

#[test]
fn a_join_ends_wherever_a_consumer_is_killed_between_get_and_task_done() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = JoinableQueue::<u32>::new(9).unwrap();
            queue.put_many([1, 2, 3]).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, JoinableQueue<u32>)| {
            sectioned(&pids, queue, |queue| {
                queue.get().unwrap();
                queue.task_done().unwrap();
            });
        };
        let (mut lost, mut done) = (0, 0);
        for_points(stage, task, |_, queue| {
            let left = queue.len();
            while queue.try_get().is_ok() {
                queue.task_done().unwrap();
            }
            match queue.join_timeout(LONG) {
                Ok(()) => done += 1,
                Err(Error::Broken { cause, .. }) => {
                    assert!(left == 2 && cause.starts_with("1 messages"), "{cause}");
                    lost += 1;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(queue.task_done().is_err(), "nothing is counted twice");
            queue.put(4).unwrap();
            assert_eq!(queue.unfinished(), 1);
        });
        assert!(lost > 0 && done > 0, "{lost} lost, {done} done");
    });
}

#[test]
fn a_pipe_ends_wherever_the_holder_of_its_other_end_is_killed() {
    alone(|| {
        let stage = |_: &Pool| Pipe::duplex().unwrap();
        let task = |(pids, there): (Queue<u32>, Connection)| {
            sectioned(&pids, there, |there| {
                there.send(&5u32).unwrap();
                drop(there);
            });
        };
        for_points(stage, task, |_, here| {
            match here.recv_timeout::<u32>(LONG) {
                Ok(5) => {
                    assert!(matches!(here.recv_timeout::<u32>(LONG), Err(Error::Closed { .. })))
                }
                outcome => assert!(matches!(outcome, Err(Error::Closed { .. })), "{outcome:?}"),
            }
            assert!(matches!(here.send(&1), Err(Error::Closed { .. })));
        });
    });
}

#[test]
fn a_closing_is_heard_of_or_can_be_repeated_wherever_the_closer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<u32>::new(2).unwrap();
            queue.put(1).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<u32>)| {
            sectioned(&pids, queue, |queue| queue.close().unwrap());
        };
        for_points(stage, task, |_, queue| {
            if !queue.is_closed() {
                queue.close().unwrap();
            }
            assert_eq!(queue.get().unwrap(), 1);
            assert!(matches!(queue.get_timeout(LONG), Err(Error::Closed { .. })));
        });
    });
}
