//! A worker's death fails its own task and nothing else.
#![allow(unsafe_code)]

use std::time::Duration;

use crate::common::alone::{alone, workers};
use crate::common::processes::send;
use crate::common::tasks::{counted, death, endless, forever, raise, tally, with};
use crate::common::time::{ThreadId, wait_for};
use brigade::{Error, ExitReason, Handle, Phase, TaskError};
use nix::sys::signal::Signal;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

// The death completed the task under the mutex and unparked the joiner, which slept on the control
// block's word instead.
#[test]
fn a_sleeping_joiner_wakes_at_its_tasks_death() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let dies = |joining: ThreadId| {
            joining.wait_until_blocked();
            raise(Signal::SIGABRT);
        };
        assert_eq!(
            death(pool.submit(dies, ThreadId::current()).unwrap()).reason,
            ExitReason::Signal(6)
        );
    });
}

#[test]
fn a_worker_killed_while_idle_costs_no_task_and_is_replaced() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let before = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        // One of them may not yet have the name by which it is found.
        wait_for(|| workers().len() == 2);
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
            let leaves = |code: i32| unsafe { libc::_exit(code) };
            let handle: Handle<()> = pool.submit(leaves, code).unwrap();
            assert_eq!(death(handle).reason, ExitReason::Code(code));
        }
    });
}

#[test]
fn an_abort_leaves_the_panic_message_as_crash_message() {
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
        let words = death.crash_message.unwrap();
        assert!(words.contains("second") || words.contains("destructor"), "{words}");
    });
}

// A task that had caught its own panic left the panic's message, which a later death then reported.
#[test]
fn a_caught_panic_is_no_last_word_of_a_later_death() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let catches = |()| std::panic::catch_unwind(|| panic!("caught")).is_err();
        assert!(pool.submit(catches, ()).unwrap().join().unwrap());
        let killed = pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap();
        assert_eq!(death(killed).crash_message, None);
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
        assert!(overflow.crash_message.unwrap().contains("stack overflow"));
        // SAFETY: it is not sound; the task is to crash, in its own process.
        let wild = |at: usize| unsafe { (at as *const u8).read_volatile() };
        let fault = death(pool.submit(wild, 8).unwrap());
        assert_eq!(fault.reason, ExitReason::Signal(11));
        assert!(fault.crash_message.unwrap().contains("not mapped"));
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
        let expected = ["text 1", "literal", "not text", "not text"];
        for (index, expected) in expected.into_iter().enumerate() {
            let handle = match index {
                0 => pool.submit(|()| -> () { panic!("text {}", 1) }, ()),
                1 => pool.submit(|()| -> () { panic!("literal") }, ()),
                2 => pool.submit(|()| -> () { std::panic::panic_any(17u8) }, ()),
                _ => pool.submit(|()| -> () { std::panic::panic_any(Rude) }, ()),
            };
            match handle.unwrap().join().unwrap_err() {
                Error::Task(TaskError::Panicked { message, location, .. }) => {
                    assert!(message.contains(expected), "{message}");
                    assert!(location.contains("worker_death.rs"), "{location}");
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(), pid);
    });
}

/// Panics while it is encoded or decoded.
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
fn the_end_of_a_workers_captured_standard_error_is_in_the_error() {
    alone(|| {
        let pool = with(1).capture_stderr().build().unwrap();
        let complains = |n: u32| -> u32 {
            eprintln!("the disk is {n} % full");
            std::process::abort()
        };
        let error = pool.submit(complains, 99).unwrap().join().unwrap_err();
        assert!(error.to_string().contains("the disk is 99 % full"), "{error}");
        // More than the pipe holds: the task does not wait for ever.
        let floods = |n: u32| {
            (0..20_000).for_each(|_| eprintln!("{}", "x".repeat(99)));
            n
        };
        let floods: Vec<_> = (0..2).map(|n| pool.submit(floods, n).unwrap()).collect();
        for (n, flood) in (0..).zip(floods) {
            assert_eq!(flood.join().unwrap(), n);
        }
        let killed = death(pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap());
        assert!(killed.stderr_tail.unwrap().ends_with("xx\n"));
        let plain = with(1).build().unwrap();
        let killed = death(plain.submit(|()| raise(Signal::SIGKILL), ()).unwrap());
        assert_eq!(killed.stderr_tail, None);
    });
}

/// Calls itself without end.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if here[1] == u64::MAX { 0 } else { deeper(depth + 1) + here[0] }
}

// Only the first thread has an alternate stack for the fault handler.
#[test]
fn a_stack_overflow_on_a_thread_that_a_task_started_is_named() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let overflows = |()| std::thread::spawn(|| deeper(0)).join().unwrap_or(0);
        let in_pool = pool.submit(overflows, ()).unwrap().join().unwrap_err();
        let by_itself = brigade::Process::spawn(overflows, ()).unwrap().join().unwrap_err();
        for error in [in_pool, by_itself] {
            assert!(error.to_string().contains("stack overflow on a thread"), "{error}");
        }
    });
}

// The error said that the worker had accessed memory that is not mapped.
#[test]
fn a_fault_signal_that_a_process_sent_is_reported_as_sent() {
    alone(|| {
        let pool = with(1).build().unwrap();
        for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
            let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
            let task = pool.submit(|()| forever(), ()).unwrap();
            wait_for(|| task.is_running());
            send(pid, signal);
            let error = task.join().unwrap_err().to_string();
            let sender = format!("sent by process {}", std::process::id());
            assert!(error.contains(&sender) && !error.contains("not mapped"), "{error}");
        }
    });
}

// It wrote its reason to memory that it had unmapped. A niceness is only a request, and must not
// end a worker.
#[test]
fn a_niceness_that_is_not_allowed_is_an_error_of_the_system_when_the_pool_is_built() {
    if !nix::unistd::geteuid().is_root() {
        return crate::common::skipped("only root may become another user");
    }
    alone(|| {
        // Only for this thread and what it starts.
        // SAFETY: a plain call without pointers.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, -1) };
        assert_eq!(done, 0);
        // SAFETY: as above.
        let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let error = with(1).nice(own - 1).build().map(drop).unwrap_err();
        assert!(error.to_string().contains("setpriority"), "{error}");
        // SAFETY: as above; the saved user is still root.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, -1) };
        assert_eq!(done, 0);
    });
}

/// Zeroes all of the memory shared with the host that a worker can write.
fn zero_all(_: ()) -> u64 {
    use nix::sys::mman::{MmapAdvise, madvise};
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.contains("memfd:brigade")) {
        let (range, rest) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
        if rest.starts_with("rw-s") {
            let place = std::ptr::NonNull::new(std::ptr::without_provenance_mut(start)).unwrap();
            // SAFETY: none; that is the purpose. The zeroed words are those that any process may
            // write.
            unsafe { madvise(place, end - start, MmapAdvise::MADV_REMOVE) }.unwrap();
        }
    }
    7
}

// Class of bug: a decision about life or time rests on a word that the worker can still write.
#[test]
fn a_worker_that_zeroes_what_it_shares_with_the_host_keeps_no_task_from_its_end() {
    alone(|| {
        let add_one = |n: u64| n + 1;
        for (workers, first) in [(1, true), (1, false), (2, true), (2, false)] {
            let pool = with(workers).build().unwrap();
            // A worker that is still reading its configuration could leave no message.
            pool.wait_ready(Duration::from_secs(20)).unwrap();
            let zero = pool.submit(zero_all, ()).unwrap();
            let mut zero = Some(zero);
            if first {
                drop(zero.take().unwrap().join());
            }
            let tasks: Vec<_> = (0..4).map(|n| pool.submit(add_one, n).unwrap()).collect();
            for (n, task) in (0..).zip(tasks) {
                match task.join() {
                    Ok(value) => assert_eq!(value, n + 1),
                    Err(error) => {
                        let words = error.death().and_then(|death| death.crash_message.clone());
                        assert!(words.unwrap().contains("wrote over memory"), "{error}");
                    }
                }
            }
            drop(zero.map(Handle::join));
            assert_eq!(pool.submit(add_one, 1).unwrap().join().unwrap(), 2);
        }
    });
}

#[test]
fn a_task_that_zeroes_its_lane_and_hangs_ends_with_its_timeout() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let limited = pool.options().timeout(Duration::from_millis(300));
        let hang = |()| {
            zero_all(());
            crate::common::tasks::forever();
        };
        let error = limited.submit(hang, ()).unwrap().join().unwrap_err();
        let is_ended = matches!(error, Error::Task(TaskError::TimedOut { .. }));
        assert!(is_ended || error.death().is_some(), "{error}");
        assert_eq!(pool.submit(|n: u64| n + 1, 1).unwrap().join().unwrap(), 2);
    });
}
