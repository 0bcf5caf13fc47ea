//! How pools end, and what happens to their tasks.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::alone::{against_host, alone, own_processes, progress, say, server, workers};
use crate::common::processes::{Process, send};
use crate::common::time::{ThreadId, spend_millis, wait_for};
use brigade::{Error, Handle, Pool, Shutdown, Start, TaskError};
use nix::sys::signal::Signal;

fn forever() {
    loop {
        thread::park();
    }
}

/// Keeps a worker busy for some time.
fn works(millis: u64) -> u64 {
    spend_millis(millis);
    millis
}

#[test]
fn shutdown_runs_what_was_submitted() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let handles: Vec<_> = (0..50u64).map(|n| pool.submit(|n: u64| n, n).unwrap()).collect();
        pool.shutdown().unwrap();
        assert!(own_processes().is_empty(), "{:?}", own_processes());
        for (n, handle) in (0..).zip(handles) {
            assert!(handle.is_finished());
            assert_eq!(handle.join().unwrap(), n);
        }
    });
}

#[test]
fn shutdown_after_a_cancellation_returns() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let running = pool.submit(works, 50).unwrap();
        let queued = pool.submit(works, 50).unwrap();
        let was_cancelled = queued.cancel();
        pool.shutdown().unwrap();
        assert_eq!(running.join().unwrap(), 50);
        assert_eq!(queued.join().is_err(), was_cancelled);
    });
}

#[test]
fn a_worker_that_dies_during_shutdown_fails_its_task_alone() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let endless: Vec<_> = (0..2).map(|_| pool.submit(|()| forever(), ()).unwrap()).collect();
        let queued: Vec<_> = (0..20u64).map(|n| pool.submit(|n: u64| n, n).unwrap()).collect();
        let ends_the_pool = ThreadId::current();
        let killer = thread::spawn(move || {
            ends_the_pool.wait_until_blocked();
            workers().iter().for_each(|worker| send(worker.pid, Signal::SIGKILL));
        });
        pool.shutdown().unwrap();
        killer.join().unwrap();
        for handle in endless {
            assert!(handle.join().unwrap_err().death().is_some());
        }
        for (n, handle) in (0..).zip(queued) {
            assert_eq!(handle.join().unwrap(), n);
        }
    });
}

#[test]
fn dropping_a_pool_cancels_what_waits_and_ends_what_runs_after_the_grace() {
    alone(|| {
        let grace = Duration::from_millis(200);
        let pool = Pool::builder().workers(1).grace(grace).build().unwrap();
        let endless = pool.submit(|()| forever(), ()).unwrap();
        let queued: Vec<_> = (0..50).map(|_| pool.submit(|()| (), ()).unwrap()).collect();
        drop(pool);
        assert!(own_processes().is_empty());
        for handle in queued.into_iter().chain([endless]) {
            let error = handle.join().unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::Cancelled)), "{error}");
        }
    });
}

#[test]
fn dropping_a_pool_lets_what_runs_finish_within_the_grace() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let running = pool.submit(works, 30).unwrap();
        wait_for(|| !running.cancel() || pool.stats().cancelled > 0);
        drop(pool);
        let outcome = running.join();
        assert!(matches!(outcome, Ok(30) | Err(Error::Task(TaskError::Cancelled))), "{outcome:?}");
    });
}

#[test]
fn a_pool_may_be_dropped_while_others_join_its_tasks() {
    alone(|| {
        for _ in 0..10 {
            let pool = Pool::builder().workers(2).grace(Duration::ZERO).build().unwrap();
            let handles: Vec<_> =
                (0..6).map(|_| pool.submit(|()| forever(), ()).unwrap()).collect();
            thread::scope(|scope| {
                let joins: Vec<_> =
                    handles.into_iter().map(|handle| scope.spawn(|| handle.join())).collect();
                drop(pool);
                for join in joins {
                    assert!(join.join().unwrap().is_err());
                }
            });
            progress();
        }
    });
}

#[test]
fn the_thread_that_owns_the_handles_may_drop_the_pool() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let handles: Vec<Handle<u64>> = (0..50).map(|_| pool.submit(works, 1).unwrap()).collect();
        let owner = thread::spawn(move || {
            let mut pool = Some(pool);
            let mut outcomes = Vec::new();
            for (index, handle) in handles.into_iter().enumerate() {
                if index == 10 {
                    drop(pool.take());
                }
                outcomes.push(handle.join().is_ok());
            }
            outcomes
        });
        let outcomes = owner.join().unwrap();
        assert!(outcomes[..10].iter().all(|&done| done));
    });
}

#[test]
fn a_pool_whose_processes_are_all_dead_ends() {
    alone(|| {
        for _ in 0..5 {
            let pool = Pool::builder().workers(2).build().unwrap();
            let mut victims = workers();
            victims.extend(server());
            victims.iter().for_each(|process| send(process.pid, Signal::SIGKILL));
            pool.shutdown().unwrap();
            progress();
        }
    });
}

#[test]
fn a_pool_whose_processes_are_all_stopped_ends() {
    alone(|| {
        let pool = Pool::builder().workers(2).grace(Duration::ZERO).build().unwrap();
        drop(pool.submit(|()| forever(), ()).unwrap());
        let mut victims = workers();
        victims.extend(server());
        victims.iter().for_each(|process| send(process.pid, Signal::SIGSTOP));
        drop(pool);
    });
}

#[test]
fn pools_come_and_go_on_many_threads_at_once() {
    alone(|| {
        let barrier = Barrier::new(6);
        thread::scope(|scope| {
            for thread in 0..6u64 {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..8 {
                        let count = 1 + usize::try_from((thread + round) % 3).unwrap();
                        let pool = Pool::builder().workers(count).build().unwrap();
                        let handles: Vec<_> =
                            (0..20u64).map(|n| pool.submit(|n: u64| n, n).unwrap()).collect();
                        for (n, handle) in (0..).zip(handles) {
                            assert_eq!(handle.join().unwrap(), n);
                        }
                        if round % 2 == 0 {
                            pool.shutdown().unwrap();
                        }
                        progress();
                    }
                });
            }
        });
    });
}

#[test]
fn pools_come_and_go_while_servers_are_killed() {
    alone(|| {
        let over = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            let pools: Vec<_> = (0..3u64)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..15 {
                            // A server that dies while a pool is built causes an error.
                            let Ok(pool) = Pool::builder().workers(2).build() else { continue };
                            let handles: Vec<_> = (0..20u64)
                                .filter_map(|n| Some((n, pool.submit(|n: u64| n, n).ok()?)))
                                .collect();
                            for (n, handle) in handles {
                                match handle.join() {
                                    Ok(value) => assert_eq!(value, n),
                                    Err(error) => assert!(
                                        error.death().is_some()
                                            || matches!(error, Error::Broken { .. }),
                                        "{error}"
                                    ),
                                }
                            }
                            progress();
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    if let Some(server) = server() {
                        send(server.pid, Signal::SIGKILL);
                    }
                    spend_millis(20);
                }
            });
            let joined: Vec<_> = pools.into_iter().map(|pool| pool.join()).collect();
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(joined.iter().all(Result::is_ok));
        });
    });
}

#[test]
fn two_pools_share_a_server_that_ends_with_the_second() {
    alone(|| {
        let first = Pool::builder().workers(1).build().unwrap();
        let shared = server().unwrap().pid;
        let second = Pool::builder().workers(1).build().unwrap();
        first.shutdown().unwrap();
        assert_eq!(server().unwrap().pid, shared);
        assert_eq!(second.submit(works, 1).unwrap().join().unwrap(), 1);
        second.shutdown().unwrap();
        wait_for(|| server().is_none());
    });
}

#[test]
fn submit_after_the_end_is_closed() {
    alone(|| {
        for end in [Pool::terminate, Pool::kill] {
            let pool = Pool::builder().workers(1).grace(Duration::ZERO).build().unwrap();
            end(&pool).unwrap();
            end(&pool).unwrap();
            let refused = pool.submit(works, 1).map(drop);
            assert!(matches!(refused, Err(Error::Closed { .. })), "{refused:?}");
            assert!(matches!(pool.map(0..3u64, works), Err(Error::Closed { .. })));
            assert!(pool.shutdown().is_ok(), "it has ended already");
        }
        let inside = Pool::builder().start(Start::InProcess).build().unwrap();
        inside.kill().unwrap();
        assert!(matches!(inside.submit(works, 1), Err(Error::Closed { .. })));
    });
}

#[test]
fn terminate_and_kill_end_pools_that_are_busy_and_pools_that_are_dead() {
    alone(|| {
        for end in [Pool::terminate, Pool::kill] {
            let grace = Duration::from_millis(20);
            let pool = Pool::builder().workers(2).grace(grace).build().unwrap();
            let blocked: Vec<_> =
                (0..9).map(|_| pool.submit(|()| forever(), ()).unwrap()).collect();
            end(&pool).unwrap();
            for task in blocked {
                assert!(matches!(task.join(), Err(Error::Task(TaskError::Cancelled))));
            }
            assert!(own_processes().iter().all(|process| process.is_server()));
            progress();
            let pool = Pool::builder().workers(2).grace(grace).build().unwrap();
            let mut victims = workers();
            victims.extend(server());
            victims.iter().for_each(|process| send(process.pid, Signal::SIGKILL));
            end(&pool).unwrap();
            progress();
        }
    });
}

#[test]
fn terminate_lets_the_polite_return_within_the_grace() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let polite = pool.submit(|()| while !brigade::is_cancelled() {}, ()).unwrap();
        wait_for(|| polite.is_running());
        let queued = pool.submit(works, 1).unwrap();
        pool.terminate().unwrap();
        polite.join().unwrap();
        assert!(matches!(queued.join(), Err(Error::Task(TaskError::Cancelled))));
    });
}

#[test]
fn shutdown_that_cancels_leaves_some_cancelled_others_finished_and_none_pending() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let handles: Vec<_> = (0..50).map(|_| pool.submit(works, 5).unwrap()).collect();
        wait_for(|| handles[0].is_running() || handles[0].is_finished());
        pool.shutdown_with(Shutdown::Cancel).unwrap();
        assert!(own_processes().is_empty());
        let (mut done, mut cancelled) = (0, 0);
        for handle in handles {
            assert!(handle.is_finished());
            match handle.join() {
                Ok(_) => done += 1,
                Err(Error::Task(TaskError::Cancelled)) => cancelled += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(done > 0 && cancelled > 0 && done + cancelled == 50, "{done} {cancelled}");
    });
}

#[test]
fn shutdown_in_the_background_runs_what_is_left_and_then_everything_ends() {
    alone(|| {
        let pool = Pool::builder().workers(2).max_tasks_per_worker(2).build().unwrap();
        let handles: Vec<_> = (0..20).map(|_| pool.submit(works, 3).unwrap()).collect();
        pool.shutdown_with(Shutdown::Background).unwrap();
        for handle in handles {
            assert_eq!(handle.join().unwrap(), 3);
        }
        wait_for(|| own_processes().is_empty());
    });
}

#[test]
fn many_threads_may_terminate_a_pool_at_once() {
    alone(|| {
        for _ in 0..5 {
            let pool = Pool::builder().workers(2).grace(Duration::from_millis(5)).build().unwrap();
            let tasks: Vec<_> = (0..6).map(|_| pool.submit(|()| forever(), ()).unwrap()).collect();
            thread::scope(|scope| {
                for round in 0..4 {
                    let pool = &pool;
                    scope.spawn(move || if round == 0 { pool.kill() } else { pool.terminate() });
                }
            });
            assert!(tasks.iter().all(|task| task.is_finished()));
            progress();
        }
    });
}

#[test]
fn a_program_that_ends_after_a_shutdown_in_the_background_ends_with_its_output() {
    let host = || {
        let pool = Pool::builder().workers(1).build().unwrap();
        let says = pool.submit(|()| println!("\n@from the task"), ()).unwrap();
        drop(pool.submit(|()| forever(), ()).unwrap());
        pool.shutdown_with(Shutdown::Background).unwrap();
        says.join().unwrap();
        say("the end");
    };
    against_host(host, |runner| {
        runner.expect("from the task");
        runner.expect("the end");
        assert!(runner.end().success());
    });
}

#[test]
fn killing_the_outer_of_nested_pools_ends_the_whole_tree() {
    alone(|| {
        for end in [Pool::kill, Pool::terminate] {
            let pool = Pool::builder().workers(2).grace(Duration::ZERO).build().unwrap();
            let nests = |()| {
                let inner = Pool::builder().workers(2).build().unwrap();
                let hang = [(); 2].map(|()| inner.submit(|()| forever(), ()).unwrap());
                for task in hang {
                    task.join().unwrap();
                }
            };
            let tasks = [(); 2].map(|()| pool.submit(nests, ()).unwrap());
            // Three servers, six workers.
            let is_ours = |process: &Process| process.name.starts_with("brigade-");
            wait_for(|| own_processes().iter().filter(|process| is_ours(process)).count() == 9);
            end(&pool).unwrap();
            wait_for(|| own_processes().iter().all(|process| process.is_server()));
            wait_for(|| own_processes().len() <= 1);
            assert!(tasks.iter().all(|task| task.is_finished()));
            progress();
        }
    });
}

#[test]
fn a_hundred_submits_at_once_do_not_block_and_a_large_pool_of_them_drains() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let hangs = pool.submit(|()| forever(), ()).unwrap();
        wait_for(|| hangs.is_running());
        // Far more than slots, rings and pipes have room for.
        let tasks: Vec<_> =
            (0..2000).map(|_| pool.submit(|bytes: Vec<u8>| bytes.len(), vec![1; 4000])).collect();
        hangs.kill(Duration::ZERO).unwrap();
        assert!(tasks.into_iter().all(|task| task.unwrap().join().unwrap() == 4000));
    });
}

// Such a worker was given five seconds, as if it were idle.
#[test]
fn a_worker_that_hangs_in_its_initializer_has_no_more_than_the_grace() {
    alone(|| {
        let hangs = |()| -> Result<(), String> {
            loop {
                thread::park();
            }
        };
        let pool = || {
            let grace = Duration::from_millis(20);
            Pool::builder().workers(2).grace(grace).initializer(hangs, ()).build().unwrap()
        };
        // A long timeout, but shorter than the delay that the bug caused.
        let start = Instant::now();
        drop(pool());
        pool().terminate().unwrap();
        let killed = pool();
        let task = killed.submit(|n: u8| n, 1).unwrap();
        killed.kill().unwrap();
        assert!(matches!(task.join(), Err(Error::Task(TaskError::Cancelled))));
        assert!(start.elapsed() < Duration::from_secs(4));
    });
}

// The pool waited for ever for the end of that worker, which was never asked to leave.
#[test]
fn a_pool_that_is_killed_starts_no_worker_in_the_place_of_one_that_was_killed_just_before() {
    alone(|| {
        for round in 0..20 {
            let pool = Pool::builder().workers(2).build().unwrap();
            let tasks: Vec<_> = (0..2).map(|_| pool.submit(|()| forever(), ()).unwrap()).collect();
            while !tasks.iter().all(Handle::is_running) {
                thread::yield_now();
            }
            tasks[round % 2].kill(Duration::ZERO).unwrap();
            pool.kill().unwrap();
            assert!(tasks.into_iter().all(|task| task.join().is_err()));
            progress();
        }
    });
}
