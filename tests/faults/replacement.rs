//! Workers and servers that end, in pools that go on.
#![allow(unsafe_code)]

use std::time::Duration;

use crate::common::alone::{alone, own_processes, server, workers};
use crate::common::processes::{Process, send};
use crate::common::tasks::{count, counted, death, endless, forever, raise, tally, with};
use crate::common::time::{ThreadId, wait_for};
use brigade::shared::Barrier;
use brigade::{Error, ExitReason, OwnedChunk, Pool, SharedArray, TaskError};
use nix::sys::signal::Signal;

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

// Failures were counted for the whole pool, even if the workers had been killed from outside.
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

// The killed worker's task went to the next one, and its timeout was not checked again.
#[test]
fn a_task_that_a_stopped_worker_had_not_begun_has_its_timeout_with_the_next() {
    alone(|| {
        let pool = with(1).timeout(Duration::from_millis(100)).build().unwrap();
        let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        ThreadId::main_of(pid).wait_until_blocked();
        send(pid, Signal::SIGSTOP);
        let path = tally("late");
        let error = pool.submit(endless, path.clone()).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert_eq!(counted(&path), 1);
        std::fs::remove_file(path).unwrap();
    });
}

// Its chunk went back to the host while the worker still wrote to it.
#[test]
fn a_task_that_runs_when_its_pool_breaks_runs_to_its_end() {
    alone(|| {
        let refuses = |path: String| match std::fs::exists(path) {
            Ok(false) => Ok(()),
            _ => Err("no licence any more".to_owned()),
        };
        let (gone, path) = (tally("gone"), tally("goes"));
        let pool = with(2).initializer(refuses, gone.clone()).build().unwrap();
        let mut chunks = SharedArray::from_slice(&[1u64; 8]).unwrap().into_chunks(8).unwrap();
        let fills = |(mut chunk, path): (OwnedChunk<u64>, String)| {
            count(&path);
            while std::fs::exists(&path).unwrap() {
                std::thread::yield_now();
            }
            chunk.as_mut_slice().fill(u64::from(std::process::id()));
            chunk
        };
        let runs = pool.submit(fills, (chunks.pop().unwrap(), path.clone())).unwrap();
        wait_for(|| counted(&path) == 1);
        let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        std::fs::write(&gone, "").unwrap();
        send(pid, Signal::SIGKILL);
        let is_broken = || matches!(pool.try_submit(|()| (), ()), Err(e) if is_broken(&e.error));
        wait_for(is_broken);
        assert!(!runs.is_finished());
        std::fs::remove_file(&path).unwrap();
        let mut chunk = runs.join().unwrap();
        assert!(chunk.as_mut_slice().iter().all(|&n| n > 1 && n != u64::from(pid)));
        std::fs::remove_file(gone).unwrap();
    });
}

fn is_broken(error: &Error) -> bool {
    matches!(error, Error::Broken { cause, .. } if cause.contains("no licence any more"))
}

#[test]
fn workers_that_die_before_they_are_ready_break_the_pool_with_the_cause() {
    alone(|| {
        for start in 0..4 {
            let pool = with(2);
            let pool = match start {
                0 => pool.capture_stderr().initializer(
                    |()| -> Result<(), String> {
                        eprintln!("no money");
                        std::process::exit(3)
                    },
                    (),
                ),
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
            let expected =
                ["code 3 before it was ready: no money", "no licence", "no luck", "SIGKILL"][start];
            assert!(cause.contains(expected), "{cause}");
            let refused = pool.submit(|n: u8| n, 1).map(drop).unwrap_err();
            assert!(matches!(refused, Error::Broken { .. }), "{refused}");
            assert!(matches!(pool.shutdown(), Err(Error::Broken { .. })));
        }
    });
}

/// An initializer that fails: in the first worker when the file has 100 bytes, in any other when it
/// has 10. Each call begins by adding one byte.
fn fails_on_cue(path: String) -> Result<(), String> {
    count(&path);
    let cue = if counted(&path) == 1 { 100 } else { 10 };
    wait_for(|| counted(&path) >= cue);
    std::process::exit(3)
}

// The next death put them back into the queue, and their outcomes were lost.
#[test]
fn tasks_that_ended_when_the_pool_broke_stay_ended() {
    alone(|| {
        let path = tally("cues");
        let pool = with(2).initializer(fails_on_cue, path.clone()).build().unwrap();
        wait_for(|| counted(&path) == 2);
        let handles: Vec<_> = (0..8u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
        (0..10).for_each(|_| count(&path));
        // The worker of one slot has died three times; the other slot's worker still has its share
        // of the tasks.
        wait_for(|| handles.iter().all(|handle| handle.is_finished()));
        (0..100).for_each(|_| count(&path));
        wait_for(|| pool.stats().workers == 0);
        for handle in handles {
            let error = handle.join().unwrap_err();
            assert!(matches!(error, Error::Broken { .. }), "{error}");
        }
        assert!(matches!(pool.shutdown(), Err(Error::Broken { .. })));
        std::fs::remove_file(path).unwrap();
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
fn fork(child: fn()) -> u32 {
    // SAFETY: the worker has one thread, so the child may call anything.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Parent { child } => child.as_raw().cast_unsigned(),
        nix::unistd::ForkResult::Child => {
            child();
            std::process::abort()
        }
    }
}

#[test]
fn a_grandchild_neither_outlives_its_worker_nor_delays_the_report() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let leaves_one = |()| {
            // A child with a child in its own session.
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
        // How a child ends that reads the elements: through the handle, or at their address before
        // the fork.
        let ends = |(array, by_handle): (brigade::Frozen<u64>, bool)| {
            let before = array.as_slice();
            // SAFETY: the worker has one thread, so the child may call anything.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Parent { child } => {
                    match nix::sys::wait::waitpid(child, None).unwrap() {
                        nix::sys::wait::WaitStatus::Signaled(_, signal, _) => signal as i32,
                        nix::sys::wait::WaitStatus::Exited(_, code) => code,
                        other => panic!("{other:?}"),
                    }
                }
                nix::unistd::ForkResult::Child => {
                    let slice = if by_handle { array.as_slice() } else { before };
                    std::hint::black_box(slice[0]);
                    std::process::exit(0)
                }
            }
        };
        let by_handle = pool.submit(ends, (array.clone(), true)).unwrap().join().unwrap();
        assert_eq!(by_handle, 125, "a panic, after which it does not go on as the worker");
        let before = pool.submit(ends, (array, false)).unwrap().join().unwrap();
        assert_eq!(before, libc::SIGSEGV);
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
fn a_stopped_fork_server_is_continued() {
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
        // Both have had a task, and are idle again.
        let met = Barrier::new(2).unwrap();
        let meets = |met: Barrier| met.wait().map(drop).unwrap();
        let all = [(); 2].map(|()| pool.submit(meets, met.clone()));
        all.into_iter().for_each(|handle| handle.unwrap().join().unwrap());
        let stopped = workers()[0].pid;
        ThreadId::main_of(stopped).wait_until_blocked();
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
        let pool = with(1).build().unwrap();
        let limited = pool.options().timeout(Duration::from_millis(300));
        let stops = |()| raise(Signal::SIGSTOP);
        let error = limited.submit(stops, ()).unwrap().join().unwrap_err();
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
        let pool = with(1).timeout(Duration::from_secs(1)).build().unwrap();
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
        let pool = with(1).build().unwrap();
        let limited = pool.options().timeout(Duration::from_millis(200));
        let headless = |()| {
            std::thread::spawn(forever);
            // SAFETY: it ends this thread and touches no memory.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        };
        let error = limited.submit(headless, ()).unwrap().join().unwrap_err();
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
            unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            5u8
        };
        assert_eq!(pool.submit(closes, ()).unwrap().join().unwrap(), 5);
        let large = |()| vec![1u8; 1 << 20];
        wait_for(|| pool.stats().restarts == 1);
        assert_eq!(pool.submit(large, ()).unwrap().join().unwrap().len(), 1 << 20);
        pool.submit(|()| nix::unistd::setsid().is_ok(), ()).unwrap().join().unwrap();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

// It wrote to the descriptor number of its doorbell, which by then was a file of the task.
#[test]
fn a_worker_whose_descriptors_were_closed_writes_into_no_file_of_its_task() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let path = tally("innocent");
        let closes = |(path, joining): (String, ThreadId)| {
            // SAFETY: it is not sound for the worker's own descriptors; that is what is tested.
            unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            for n in 0..8 {
                std::mem::forget(std::fs::File::create(format!("{path}-{n}")).unwrap());
            }
            // The joiner is asleep when the task ends, so the worker has to wake it.
            joining.wait_until_blocked();
        };
        pool.submit(closes, (path.clone(), ThreadId::current())).unwrap().join().unwrap();
        wait_for(|| pool.stats().restarts == 1);
        for n in 0..8 {
            let path = format!("{path}-{n}");
            assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "{path}");
            std::fs::remove_file(path).unwrap();
        }
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
            wait_for(|| counted(&path) == 2);
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

#[test]
fn a_worker_killed_for_lack_of_memory_is_reported_as_that() {
    alone(|| {
        let group = match crate::common::cgroup::Cgroup::enter(200 << 20) {
            Ok(group) => group,
            Err(error) => return crate::common::skipped(&format!("no cgroup to limit: {error}")),
        };
        let pool = with(2).build().unwrap();
        let hungry = |()| {
            let mut kept = Vec::new();
            for n in 0..100u8 {
                kept.push(vec![n | 1; 8 << 20]);
            }
            kept.len()
        };
        for _ in 0..2 {
            let killed = death(pool.submit(hungry, ()).unwrap());
            assert_eq!((killed.reason, killed.out_of_memory), (ExitReason::Signal(9), true));
        }
        let by_hand = death(pool.submit(|()| raise(Signal::SIGKILL), ()).unwrap());
        assert!(!by_hand.out_of_memory, "{by_hand}");
        pool.shutdown().unwrap();
        drop(group);
    });
}
