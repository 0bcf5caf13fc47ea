//! What a worker's death costs: its own task, and nothing else.

mod common;

use std::time::{Duration, Instant};

use brigade::{Death, Error, ExitReason, Handle, Phase, Pool, PoolBuilder, TaskError};
use common::alone::{alone, own_processes, server, workers};
use common::processes::{Process, send, wait_for};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// Longer than a joining thread spins: whoever waits for the caller is asleep by now.
fn long_enough_to_sleep() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(30) {
        std::hint::spin_loop();
    }
}

fn forever() {
    loop {
        std::thread::park();
    }
}

/// A task that is noted in a file and never returns.
fn endless(path: String) {
    count(&path);
    forever();
}

fn raise(signal: Signal) {
    signal::kill(Pid::this(), signal).unwrap();
}

fn with(workers: usize) -> PoolBuilder {
    Pool::builder().workers(workers)
}

fn death<R: DeserializeOwned + std::fmt::Debug>(handle: Handle<R>) -> Death {
    let error = handle.join().unwrap_err();
    error.death().unwrap_or_else(|| panic!("not a death: {error}")).clone()
}

/// A file whose bytes count what tasks did, whatever became of them.
fn tally(label: &str) -> String {
    std::env::temp_dir().join(common::unique(label)).to_string_lossy().into_owned()
}

fn count(path: &str) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
}

fn counted(path: &str) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.len())
}

// The death completed the task under the mutex and unparked the joiner, which slept on the
// board's word instead.
#[test]
fn a_joiner_that_sleeps_hears_of_its_tasks_death() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let dies = |()| {
            long_enough_to_sleep();
            raise(Signal::SIGABRT);
        };
        assert_eq!(death(pool.submit(dies, ()).unwrap()).reason, ExitReason::Signal(6));
    });
}

#[test]
fn a_worker_killed_while_idle_costs_no_task_and_is_replaced() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let before = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        for worker in workers() {
            send(worker.pid, Signal::SIGKILL);
        }
        wait_for(|| pool.stats().restarts >= 2);
        let after = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        assert_ne!(after, before);
        assert_eq!((pool.stats().failed, pool.stats().workers), (0, 2));
    });
}

#[test]
fn a_worker_killed_in_a_task_fails_that_task_alone_and_once() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let path = tally("killed");
        let killed = pool.submit(endless, path.clone()).unwrap();
        let queued: Vec<_> = (0..50u32).map(|n| pool.submit(|n: u32| n + 1, n).unwrap()).collect();
        wait_for(|| counted(&path) == 1);
        let worker = workers()[0].pid;
        send(worker, Signal::SIGKILL);
        let death = death(killed);
        assert_eq!((death.pid, death.worker, death.phase), (worker, 0, Phase::Running));
        assert_eq!((death.reason, death.out_of_memory), (ExitReason::Signal(9), false));
        assert!(death.task.contains("endless"), "{}", death.task);
        assert!(death.peak_rss_bytes.is_some_and(|bytes| bytes > 0));
        for (n, handle) in (0..).zip(queued) {
            assert_eq!(handle.join().unwrap(), n + 1);
        }
        assert_eq!(counted(&path), 1, "run again although it had started");
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn every_signal_that_kills_is_named_in_the_error() {
    alone(|| {
        let pool = with(2).build().unwrap();
        for signal in [
            Signal::SIGSEGV,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGBUS,
            Signal::SIGABRT,
            Signal::SIGTERM,
            Signal::SIGKILL,
            Signal::SIGXCPU,
            Signal::SIGUSR1,
        ] {
            let die = |number: i32| raise(Signal::try_from(number).unwrap());
            let handle = pool.submit(die, signal as i32).unwrap();
            let error = handle.join().unwrap_err();
            assert!(error.to_string().contains(signal.as_str()), "{error}");
            let reason = error.death().map(|death| death.reason);
            assert_eq!(reason, Some(ExitReason::Signal(signal as i32)));
        }
    });
}

#[test]
fn a_task_that_exits_has_failed_whatever_its_code() {
    alone(|| {
        let pool = with(1).build().unwrap();
        for code in [0, 1, 8, 255] {
            let exits = |code: i32| std::process::exit(code);
            let handle: Handle<()> = pool.submit(exits, code).unwrap();
            assert_eq!(death(handle).reason, ExitReason::Code(code));
            // SAFETY: `_exit` takes any number and does not return.
            #[allow(unsafe_code)]
            let leaves = |code: i32| unsafe { libc::_exit(code) };
            let handle: Handle<()> = pool.submit(leaves, code).unwrap();
            assert_eq!(death(handle).reason, ExitReason::Code(code));
        }
    });
}

#[test]
fn an_abort_leaves_the_panic_message_as_last_words() {
    alone(|| {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("second");
            }
        }
        let pool = with(1).build().unwrap();
        let twice = |()| {
            let _bomb = Bomb;
            panic!("first");
        };
        let handle: Handle<()> = pool.submit(twice, ()).unwrap();
        let death = death(handle);
        assert_eq!(death.reason, ExitReason::Signal(6));
        let words = death.last_words.unwrap();
        assert!(words.contains("second") || words.contains("destructor"), "{words}");
    });
}

// A task that had caught its own panic left its words for a later death to be reported with.
#[test]
fn a_caught_panic_is_no_last_word_of_a_later_death() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let catches = |()| std::panic::catch_unwind(|| panic!("caught")).is_err();
        assert!(pool.submit(catches, ()).unwrap().join().unwrap());
        let killed = pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap();
        assert_eq!(death(killed).last_words, None);
    });
}

#[test]
fn a_stack_overflow_is_named_and_a_segmentation_fault_too() {
    fn deep(n: u64) -> u64 {
        let page = std::hint::black_box([n; 512]);
        if n == u64::MAX { 0 } else { deep(n + 1) + page[1] }
    }
    alone(|| {
        let pool = with(1).build().unwrap();
        let overflow = death(pool.submit(deep, 0).unwrap());
        assert_eq!(overflow.reason, ExitReason::Signal(6));
        assert!(overflow.last_words.unwrap().contains("stack overflow"));
        // SAFETY: it is not sound; that is what the task is for, in a process of its own.
        #[allow(unsafe_code)]
        let wild = |at: usize| unsafe { (at as *const u8).read_volatile() };
        let fault = death(pool.submit(wild, 8).unwrap());
        assert_eq!(fault.reason, ExitReason::Signal(11));
        assert!(fault.last_words.unwrap().contains("not mapped"));
    });
}

#[test]
fn a_worker_beyond_its_hard_memory_limit_aborts_alone_and_large_results_do_not_count() {
    alone(|| {
        let pool = with(1).memory_hard_bytes(256 << 20).build().unwrap();
        let hungry = |()| {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 16 << 20]);
            }
        };
        let handle: Handle<()> = pool.submit(hungry, ()).unwrap();
        assert_eq!(death(handle).reason, ExitReason::Signal(6));
        let polite = |()| Vec::<u8>::new().try_reserve_exact(1 << 30).is_err();
        assert!(pool.submit(polite, ()).unwrap().join().unwrap());
        let large = pool.submit(|()| vec![7u8; 40 << 20], ()).unwrap().join().unwrap();
        assert_eq!(large.len(), 40 << 20);
    });
}

#[test]
fn panics_of_any_payload_leave_the_worker_alive() {
    alone(|| {
        struct Rude;
        impl Drop for Rude {
            fn drop(&mut self) {
                panic!("and again");
            }
        }
        let pool = with(1).build().unwrap();
        let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        let expected = ["text 1", "literal", "no text", "no text"];
        for (index, expected) in expected.into_iter().enumerate() {
            let handle = match index {
                0 => pool.submit(|()| -> () { panic!("text {}", 1) }, ()),
                1 => pool.submit(|()| -> () { panic!("literal") }, ()),
                2 => pool.submit(|()| -> () { std::panic::panic_any(17u8) }, ()),
                _ => pool.submit(|()| -> () { std::panic::panic_any(Rude) }, ()),
            };
            match handle.unwrap().join().unwrap_err() {
                Error::Task(TaskError::Panicked { message, location }) => {
                    assert!(message.contains(expected), "{message}");
                    assert!(location.contains("worker_death.rs"), "{location}");
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(), pid);
    });
}

/// Dies on the way in or out.
#[derive(Debug, PartialEq)]
struct Fragile(u8);

const DIES_ENCODED: u8 = 1;
const DIES_DECODED: u8 = 2;
const FAILS_ENCODED: u8 = 3;

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            DIES_ENCODED => raise(Signal::SIGKILL),
            FAILS_ENCODED => return Err(S::Error::custom("not today")),
            _ => {}
        }
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Fragile {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fragile, D::Error> {
        let kind = u8::deserialize(deserializer)?;
        if kind == DIES_DECODED {
            raise(Signal::SIGKILL);
        }
        Ok(Fragile(kind))
    }
}

#[test]
fn a_death_names_how_far_its_task_had_come() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let decoding = pool.submit(|_: Fragile| (), Fragile(DIES_DECODED)).unwrap();
        assert_eq!(death(decoding).phase, Phase::Decoding);
        let running = pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap();
        assert_eq!(death(running).phase, Phase::Running);
        let publishing = pool.submit(|()| Fragile(DIES_ENCODED), ()).unwrap();
        assert_eq!(death(publishing).phase, Phase::Publishing);
    });
}

#[test]
fn a_result_that_cannot_be_encoded_twenty_times_costs_no_worker() {
    alone(|| {
        let pool = with(2).build().unwrap();
        for _ in 0..20 {
            let handle = pool.submit(|()| Fragile(FAILS_ENCODED), ()).unwrap();
            let error = handle.join().unwrap_err();
            assert!(matches!(&error, Error::Task(TaskError::Codec { .. })), "{error}");
        }
        assert_eq!((pool.stats().workers, pool.stats().restarts), (2, 0));
    });
}

#[test]
fn a_large_argument_to_a_worker_that_dies_is_an_error_and_no_blocked_writer() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let before = pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap();
        let large = pool.submit(|v: Vec<u8>| v.len(), vec![1; 20 << 20]).unwrap();
        let both = |_: Vec<u8>| raise(Signal::SIGKILL);
        let both = pool.submit(both, vec![2; 20 << 20]).unwrap();
        assert_eq!(death(before).reason, ExitReason::Signal(9));
        assert_eq!(large.join().unwrap(), 20 << 20);
        assert_eq!(death(both).reason, ExitReason::Signal(9));
    });
}

#[test]
fn all_workers_killed_at_once_fail_what_ran_and_lose_nothing_else() {
    alone(|| {
        let pool = with(4).build().unwrap();
        let path = tally("all");
        let running: Vec<_> = (0..4).map(|_| pool.submit(endless, path.clone()).unwrap()).collect();
        wait_for(|| counted(&path) == 4);
        let queued: Vec<_> = (0..400u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
        for worker in workers() {
            send(worker.pid, Signal::SIGKILL);
        }
        for handle in running {
            assert_eq!(death(handle).reason, ExitReason::Signal(9));
        }
        for (n, handle) in (0..).zip(queued) {
            assert_eq!(handle.join().unwrap(), n);
        }
        assert_eq!(counted(&path), 4);
        std::fs::remove_file(path).unwrap();
    });
}

// Strikes were counted for the whole pool, whoever had killed the workers.
#[test]
fn killing_the_workers_of_a_fresh_pool_does_not_break_it() {
    alone(|| {
        for _ in 0..3 {
            let pool = with(4).build().unwrap();
            for worker in workers() {
                send(worker.pid, Signal::SIGKILL);
            }
            assert_eq!(pool.submit(|n: u8| n + 1, 1).unwrap().join().unwrap(), 2);
        }
    });
}

#[test]
fn workers_that_die_before_they_are_ready_break_the_pool_with_the_cause() {
    alone(|| {
        for start in 0..4 {
            let pool = with(2);
            let pool = match start {
                0 => pool.initializer(|()| -> Result<(), String> { std::process::exit(3) }, ()),
                1 => pool.initializer(|()| Err("no licence".into()), ()),
                2 => pool.initializer(|()| -> Result<(), String> { panic!("no luck") }, ()),
                _ => pool.initializer(
                    |()| {
                        raise(Signal::SIGKILL);
                        Ok(())
                    },
                    (),
                ),
            };
            // It may break before it is built or after.
            let Ok(pool) = pool.build() else { continue };
            let cause = match pool.submit(|n: u8| n, 1) {
                Ok(handle) => handle.join().unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            let expected = ["code 3", "no licence", "no luck", "SIGKILL"][start];
            assert!(cause.contains(expected), "{cause}");
            let refused = pool.submit(|n: u8| n, 1).map(drop).unwrap_err();
            assert!(matches!(refused, Error::Broken { .. }), "{refused}");
            assert!(matches!(pool.shutdown(), Err(Error::Broken { .. })));
        }
    });
}

#[test]
fn a_task_that_always_kills_its_worker_is_tried_as_often_as_allowed() {
    alone(|| {
        for retries in [0, 1, 3] {
            let pool = with(2).retries(retries).build().unwrap();
            let path = tally("poison");
            let poison = |path: String| {
                count(&path);
                raise(Signal::SIGKILL);
            };
            let poisoned = pool.submit(poison, path.clone()).unwrap();
            let others: Vec<_> = (0..50u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
            assert_eq!(death(poisoned).reason, ExitReason::Signal(9));
            assert_eq!(counted(&path), 1 + retries as usize);
            for (n, other) in (0..).zip(others) {
                assert_eq!(other.join().unwrap(), n);
            }
            assert_eq!(pool.stats().retried, u64::from(retries));
            std::fs::remove_file(path).unwrap();
        }
    });
}

/// Forks; the child runs `child` and never returns.
#[allow(unsafe_code)]
fn fork(child: fn()) -> u32 {
    // SAFETY: the worker has one thread, so the child may do what it likes.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Parent { child } => child.as_raw().cast_unsigned(),
        nix::unistd::ForkResult::Child => {
            child();
            std::process::abort()
        }
    }
}

#[test]
fn a_grandchild_outlives_neither_its_worker_nor_delays_the_news() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let leaves_one = |()| {
            // A child with a child of its own, in a session of its own.
            fork(|| {
                nix::unistd::setsid().unwrap();
                fork(forever);
                forever();
            });
            raise(Signal::SIGKILL);
        };
        let handle = pool.submit(leaves_one, ()).unwrap();
        assert_eq!(death(handle).reason, ExitReason::Signal(9));
        // The server and the new worker.
        wait_for(|| own_processes().len() == 2);
    });
}

#[test]
fn a_child_of_a_task_has_no_arena() {
    alone(|| {
        let array = brigade::SharedArray::<u64>::zeroed(1 << 20).unwrap().freeze();
        let pool = with(1).build().unwrap();
        let reads = |array: brigade::Frozen<u64>| {
            // SAFETY: the worker has one thread, so the child may do what it likes.
            #[allow(unsafe_code)]
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Parent { child } => {
                    match nix::sys::wait::waitpid(child, None).unwrap() {
                        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => signal as i32,
                        _ => 0,
                    }
                }
                nix::unistd::ForkResult::Child => {
                    std::hint::black_box(array.as_slice()[0]);
                    std::process::exit(0)
                }
            }
        };
        assert_eq!(pool.submit(reads, array).unwrap().join().unwrap(), libc::SIGSEGV);
    });
}

#[test]
fn a_killed_fork_server_takes_its_workers_and_a_new_one_starts() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let path = tally("server");
        let running: Vec<_> = (0..2).map(|_| pool.submit(endless, path.clone()).unwrap()).collect();
        wait_for(|| counted(&path) == 2);
        let queued: Vec<_> = (0..100u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
        let old = server().unwrap().pid;
        send(old, Signal::SIGKILL);
        for handle in running {
            assert_eq!(death(handle).reason, ExitReason::Unknown);
        }
        for (n, handle) in (0..).zip(queued) {
            assert_eq!(handle.join().unwrap(), n);
        }
        assert_ne!(server().unwrap().pid, old);
        assert_eq!(counted(&path), 2);
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_stopped_fork_server_is_told_to_go_on() {
    alone(|| {
        let pool = with(1).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        send(server().unwrap().pid, Signal::SIGSTOP);
        let dies = pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap();
        assert_eq!(death(dies).reason, ExitReason::Signal(9));
        send(server().unwrap().pid, Signal::SIGSTOP);
        pool.shutdown().unwrap();
    });
}

#[test]
fn a_worker_stopped_while_idle_keeps_no_task_from_the_others() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let all: Vec<_> = (0..2).map(|_| pool.submit(|()| long_enough_to_sleep(), ())).collect();
        all.into_iter().for_each(|handle| handle.unwrap().join().unwrap());
        let stopped = workers()[0].pid;
        send(stopped, Signal::SIGSTOP);
        wait_for(|| Process::of(stopped).unwrap().state == 'T');
        let handles: Vec<_> = (0..20u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.join().unwrap(), n);
        }
        assert_eq!(Process::of(stopped).unwrap().state, 'T', "killed for being stopped");
        send(stopped, Signal::SIGCONT);
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn a_worker_stopped_in_a_task_is_no_death_until_the_timeout() {
    alone(|| {
        let pool = with(1).timeout(Duration::from_millis(300)).build().unwrap();
        let stops = |()| raise(Signal::SIGSTOP);
        let error = pool.submit(stops, ()).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);

        let patient = with(1).build().unwrap();
        let mut handle = patient.submit(stops, ()).unwrap();
        let error = handle.join_timeout(Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        let stopped = workers().into_iter().find(|worker| worker.state == 'T').unwrap();
        send(stopped.pid, Signal::SIGCONT);
        handle.join().unwrap();
    });
}

#[test]
fn a_worker_stopped_before_it_begins_does_not_outlast_the_timeout() {
    alone(|| {
        let pool = with(1).timeout(Duration::from_millis(50)).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        let stopped = workers()[0].pid;
        send(stopped, Signal::SIGSTOP);
        wait_for(|| Process::of(stopped).unwrap().state == 'T');
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_thread_that_outlives_its_workers_main_thread_ends_with_the_timeout() {
    alone(|| {
        let pool = with(1).timeout(Duration::from_millis(200)).build().unwrap();
        let headless = |()| {
            std::thread::spawn(forever);
            // SAFETY: it ends this thread and touches no memory.
            #[allow(unsafe_code)]
            unsafe {
                libc::syscall(libc::SYS_exit, 0)
            };
        };
        let error = pool.submit(headless, ()).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_task_may_close_every_descriptor_and_join_another_session() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let closes = |()| {
            // SAFETY: it is not sound for the worker's own descriptors; that is what is tested.
            #[allow(unsafe_code)]
            unsafe {
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0)
            };
            5u8
        };
        assert_eq!(pool.submit(closes, ()).unwrap().join().unwrap(), 5);
        let large = |()| vec![1u8; 1 << 20];
        wait_for(|| pool.stats().restarts == 1);
        assert_eq!(pool.submit(large, ()).unwrap().join().unwrap().len(), 1 << 20);
        pool.submit(|()| drop(nix::unistd::setsid()), ()).unwrap().join().unwrap();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn the_death_of_one_worker_spares_the_nested_pool_of_another() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let path = tally("nested");
        let nests = |path: String| {
            let inner = Pool::builder().workers(1).build().unwrap();
            inner.submit(|()| (), ()).unwrap().join().unwrap();
            count(&path);
            // Until the sibling is dead.
            while counted(&path) < 2 {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let sum: u32 =
                (0..50u32).map(|n| inner.submit(|n: u32| n, n).unwrap().join().unwrap()).sum();
            (sum, inner.stats().restarts)
        };
        let nested = pool.submit(nests, path.clone()).unwrap();
        wait_for(|| counted(&path) == 1);
        let sibling = death(pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap());
        assert_eq!(sibling.reason, ExitReason::Signal(9));
        count(&path);
        assert_eq!(nested.join().unwrap(), (1225, 0));
        std::fs::remove_file(path).unwrap();
    });
}
