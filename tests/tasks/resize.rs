//! Pools that grow, shrink, become dormant and are full.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::alone::{alone, own_processes, progress, server, workers};
use crate::common::processes::send;
use crate::common::tasks::{count, counted, forever, hanging, same, tally, with};
use crate::common::time::{ThreadId, spend_millis, wait_for};
use brigade::{Error, Pool, Start};
use nix::sys::signal::Signal;

fn pid_after(millis: u64) -> u32 {
    spend_millis(millis);
    std::process::id()
}

fn pids() -> BTreeSet<u32> {
    workers().into_iter().map(|worker| worker.pid).collect()
}

#[test]
fn a_pool_resized_from_four_to_one_and_back_loses_no_task_and_keeps_a_worker() {
    alone(|| {
        for _ in 0..5 {
            let pool = with(4).build().unwrap();
            wait_for(|| pids().len() == 4);
            let before = pids();
            let running: Vec<_> = (0..4).map(|_| pool.submit(pid_after, 60).unwrap()).collect();
            let queued: Vec<_> = (0..400).map(|n| pool.submit(same, n).unwrap()).collect();
            wait_for(|| running.iter().all(|task| task.is_running()));
            pool.resize(1).unwrap();
            assert_eq!(pool.workers(), 1);
            for (n, task) in (0..).zip(queued) {
                assert_eq!(task.join().unwrap(), n);
            }
            let pids_of: BTreeSet<_> = running.into_iter().map(|t| t.join().unwrap()).collect();
            assert!(pids_of.is_subset(&before), "{pids_of:?} of {before:?}");
            wait_for(|| pids().len() == 1);
            let stays = pids();
            assert!(stays.is_subset(&before));
            pool.resize(4).unwrap();
            wait_for(|| pids().len() == 4);
            assert!(stays.is_subset(&pids()));
            let tasks: Vec<_> = (0..400).map(|n| pool.submit(same, n).unwrap()).collect();
            for (n, task) in (0..).zip(tasks) {
                assert_eq!(task.join().unwrap(), n);
            }
            assert_eq!((pool.stats().failed, pool.stats().restarts), (0, 0));
            progress();
        }
    });
}

#[test]
fn a_pool_may_be_resized_again_and_again_under_load() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let over = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for n in 0..600 {
                        assert_eq!(pool.submit(same, n).unwrap().join().unwrap(), n);
                    }
                    over.fetch_add(1, Ordering::Relaxed);
                });
            }
            scope.spawn(|| {
                for size in (1..6).cycle() {
                    pool.resize(size).unwrap();
                    progress();
                    if over.load(Ordering::Relaxed) == 3 {
                        break;
                    }
                }
            });
        });
        pool.resize(3).unwrap();
        wait_for(|| pids().len() == 3);
        assert_eq!(pool.stats().failed, 0);
        pool.shutdown().unwrap();
    });
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    alone(|| {
        let pool = with(1).build().unwrap();
        for size in [0, 1025] {
            assert!(matches!(pool.resize(size), Err(Error::InvalidArgument { .. })));
        }
        pool.kill().unwrap();
        assert!(matches!(pool.resize(2), Err(Error::Closed { .. })));
        let inside = Pool::builder().start(Start::InProcess).build().unwrap();
        assert!(matches!(inside.resize(2), Err(Error::InvalidArgument { .. })));
        for builder in [
            Pool::builder().idle_timeout(Duration::ZERO),
            Pool::builder().queue_limit(0),
            Pool::builder().max_tasks_per_worker(0),
            Pool::builder().workers(0),
        ] {
            assert!(matches!(builder.build(), Err(Error::InvalidArgument { .. })));
        }
    });
}

#[test]
fn idle_workers_leave_and_come_back_on_demand() {
    alone(|| {
        let pool = with(3).idle_timeout(Duration::from_millis(30)).build().unwrap();
        for round in 0..4 {
            wait_for(|| pool.stats().workers == 0);
            assert_eq!((pids().len(), pool.workers()), (0, 3));
            let tasks: Vec<_> = (0..3).map(|_| pool.submit(pid_after, 200).unwrap()).collect();
            let used: BTreeSet<_> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
            assert_eq!(used.len(), 3, "each of three that ran at once has its own");
            let many: Vec<_> = (0..500).map(|n| pool.submit(same, n).unwrap()).collect();
            for (n, task) in (0..).zip(many) {
                assert_eq!(task.join().unwrap(), n, "round {round}");
            }
            progress();
        }
        assert_eq!(pool.stats().failed, 0);
    });
}

#[test]
fn an_idle_timeout_shorter_than_a_transfer_loses_nothing() {
    alone(|| {
        let pool = with(2).idle_timeout(Duration::from_millis(1)).build().unwrap();
        let back = |bytes: Vec<u8>| bytes.len();
        for round in 0..30 {
            let len = 8 << 20;
            let large = pool.submit(back, vec![1; len]).unwrap();
            let small = pool.submit(same, round).unwrap();
            assert_eq!((large.join().unwrap(), small.join().unwrap()), (len, round));
            spend_millis(u64::from(round % 4));
            progress();
        }
        assert_eq!(pool.stats().failed, 0);
        pool.shutdown().unwrap();
    });
}

#[test]
fn a_pool_whose_workers_have_all_left_can_be_resized_terminated_and_bereft_of_its_server() {
    alone(|| {
        let build = || with(2).idle_timeout(Duration::from_millis(10)).build().unwrap();
        let asleep = |pool: &Pool| wait_for(|| pool.stats().workers == 0);
        let pool = build();
        asleep(&pool);
        pool.resize(4).unwrap();
        assert_eq!(pool.submit(same, 1).unwrap().join().unwrap(), 1);
        asleep(&pool);
        pool.resize(1).unwrap();
        send(server().unwrap().pid, Signal::SIGKILL);
        assert_eq!(pool.submit(same, 2).unwrap().join().unwrap(), 2);
        asleep(&pool);
        pool.shutdown().unwrap();
        let pool = build();
        asleep(&pool);
        pool.terminate().unwrap();
        assert!(matches!(pool.submit(same, 3), Err(Error::Closed { .. })));
        let pool = build();
        asleep(&pool);
        drop(pool);
    });
}

#[test]
fn a_full_queue_gives_the_argument_back_or_makes_the_submitter_wait() {
    alone(|| {
        let pool = with(1).queue_limit(2).build().unwrap();
        let hangs = hanging(&pool);
        let mut waiting: Vec<_> = (0..2).map(|n| pool.submit(same, n).unwrap()).collect();
        let refused = pool.try_submit(same, 7).unwrap_err();
        assert!(matches!(*refused.error, Error::Full { .. }), "{refused}");
        assert_eq!(refused.value, 7);
        let (start, short) = (Instant::now(), Duration::from_millis(30));
        let refused = pool.submit_timeout(same, 8, short).unwrap_err();
        assert!(matches!(*refused.error, Error::TimedOut { .. }), "{refused}");
        assert!(refused.value == 8 && start.elapsed() >= short);
        thread::scope(|scope| {
            let (begun, id) = mpsc::channel();
            let blocked = scope.spawn({
                let pool = &pool;
                move || {
                    begun.send(ThreadId::current()).unwrap();
                    pool.submit(same, 9).unwrap().join().unwrap()
                }
            });
            id.recv().unwrap().wait_until_blocked();
            assert!(!blocked.is_finished());
            assert!(waiting.pop().unwrap().cancel(), "makes room");
            wait_for(|| pool.stats().submitted == 4);
            hangs.kill(Duration::ZERO).unwrap();
            assert_eq!(blocked.join().unwrap(), 9);
        });
        assert_eq!(pool.try_submit(same, 10).unwrap().join().unwrap(), 10);
    });
}

#[test]
fn submitters_that_wait_for_room_all_get_through_in_the_end() {
    alone(|| {
        let pool = with(2).queue_limit(3).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    let base = thread * 1000;
                    let tasks: Vec<_> =
                        (0..300).map(|n| pool.submit(same, base + n).unwrap()).collect();
                    for (n, task) in (0..).zip(tasks) {
                        assert_eq!(task.join().unwrap(), base + n);
                    }
                    progress();
                });
            }
            // Maps and loops have their own limits.
            assert!(pool.map(0..2000u32, same).unwrap().eq(0..2000));
        });
        assert_eq!(pool.stats().failed, 0);
    });
}

#[test]
fn a_wait_for_room_ends_with_the_pool() {
    alone(|| {
        let pool = with(1).queue_limit(1).grace(Duration::ZERO).build().unwrap();
        let _hangs = hanging(&pool);
        let _waits = pool.submit(same, 1).unwrap();
        thread::scope(|scope| {
            let (begun, ids) = mpsc::channel();
            let blocked = [1, 2, 3].map(|n| {
                let (pool, begun) = (&pool, begun.clone());
                scope.spawn(move || {
                    begun.send(ThreadId::current()).unwrap();
                    pool.submit(same, n).map(drop)
                })
            });
            ids.iter().take(3).for_each(ThreadId::wait_until_blocked);
            pool.terminate().unwrap();
            for thread in blocked {
                assert!(matches!(thread.join().unwrap(), Err(Error::Closed { .. })));
            }
        });
    });
}

#[test]
fn stats_count_what_happened_by_cause() {
    alone(|| {
        let pool =
            with(1).max_tasks_per_worker(3).timeout(Duration::from_secs(60)).build().unwrap();
        for n in 0..3 {
            pool.submit(same, n).unwrap().join().unwrap();
        }
        let hangs = hanging(&pool);
        let stats = pool.stats();
        assert_eq!((stats.running, stats.submitted, stats.done()), (1, 4, 3));
        hangs.kill(Duration::ZERO).unwrap();
        pool.submit(|_: ()| -> u32 { std::process::abort() }, ()).unwrap().join().unwrap_err();
        let quick = pool.options().timeout(Duration::from_millis(10));
        quick
            .submit(
                |_: ()| -> u32 {
                    loop {
                        forever()
                    }
                },
                (),
            )
            .unwrap()
            .join()
            .unwrap_err();
        pool.submit(pid_after, 5).unwrap().join().unwrap();
        let stats = pool.stats();
        let by = stats.restarts_by;
        assert_eq!((by.max_tasks, by.killed, by.died, by.timed_out), (1, 1, 1, 1), "{by:?}");
        assert_eq!((stats.restarts, stats.failed, stats.cancelled), (4, 2, 1));
        assert!(stats.busy >= Duration::from_millis(5), "{stats:?}");
    });
}

/// An initializer that is recorded in a file, and returns when the file `go` exists.
fn waits_for_go((path, go): (String, String)) -> Result<(), String> {
    count(&path);
    while !std::fs::exists(&go).unwrap() {
        thread::yield_now();
    }
    Ok(())
}

#[test]
fn waiting_for_a_pool_to_be_ready_ends_when_every_initializer_has_run() {
    alone(|| {
        let (path, go) = (tally("initialized"), tally("go"));
        let arguments = (path.clone(), go.clone());
        let pool = with(3).initializer(waits_for_go, arguments).build().unwrap();
        wait_for(|| counted(&path) == 3);
        let early = pool.wait_ready(Duration::ZERO);
        assert!(matches!(early, Err(Error::TimedOut { .. })), "{early:?}");
        thread::scope(|scope| {
            let (begun, id) = mpsc::channel();
            let waiting = scope.spawn({
                let pool = &pool;
                move || {
                    begun.send(ThreadId::current()).unwrap();
                    pool.wait_ready(Duration::MAX)
                }
            });
            id.recv().unwrap().wait_until_blocked();
            std::fs::write(&go, "").unwrap();
            waiting.join().unwrap().unwrap();
        });
        assert_eq!(counted(&path), 3);
        pool.resize(4).unwrap();
        pool.wait_ready(Duration::MAX).unwrap();
        assert_eq!(counted(&path), 4);
        pool.kill().unwrap();
        let late = pool.wait_ready(Duration::MAX);
        assert!(matches!(late, Err(Error::Closed { .. })), "{late:?}");
        let inside = Pool::builder().start(Start::InProcess).build().unwrap();
        inside.wait_ready(Duration::ZERO).unwrap();
        for path in [path, go] {
            std::fs::remove_file(path).unwrap();
        }
    });
}

/// Fails the first time, and hangs the second.
fn fails_once(path: String) -> Result<(), String> {
    count(&path);
    if counted(&path) == 1 {
        return Err("no licence".into());
    }
    loop {
        forever();
    }
}

#[test]
fn waiting_for_a_pool_to_be_ready_says_why_a_worker_is_not() {
    alone(|| {
        let path = tally("unready");
        let pool = with(1).grace(Duration::ZERO).initializer(fails_once, path.clone());
        let pool = pool.build().unwrap();
        wait_for(|| counted(&path) == 2);
        let error = pool.wait_ready(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Spawn { .. }), "{error}");
        assert!(error.to_string().contains("the initializer failed: no licence"), "{error}");
        drop(pool);
        std::fs::remove_file(path).unwrap();

        let go = tally("built");
        let pool = with(2).initializer(waits_and_fails, go.clone()).build().unwrap();
        std::fs::write(&go, "").unwrap();
        let error = pool.wait_ready(Duration::MAX).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("the initializer failed: no money"), "{error}");
        std::fs::remove_file(go).unwrap();
    });
}

/// Fails after the pool was built.
fn waits_and_fails(go: String) -> Result<(), String> {
    wait_for(|| std::fs::exists(&go).unwrap());
    Err("no money".into())
}

// Class of bug: a limit of the system is reached half-way, and the error does not contain a number.
#[test]
fn a_limit_of_descriptors_allows_a_worker_for_two_and_is_named_with_the_need_where_it_does_not() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WORKERS: usize = 60;
    alone(|| {
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let used = open();
        let limit = (used + 2 * WORKERS + 40) as u64;
        // First with the soft limit as the bound, then with the hard one.
        for soft in [limit, used as u64 + 40] {
            setrlimit(Resource::RLIMIT_NOFILE, soft, limit).unwrap();
            let pool = Pool::builder().workers(WORKERS).build().unwrap();
            assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
            let error = pool.resize(2 * WORKERS).unwrap_err().to_string();
            assert!(error.contains(&limit.to_string()) && error.contains("120"), "{error}");
            assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
            drop(pool);
            // Some may still be open for a moment: 12 were, when the next pool was made at once.
            // That of the arena stays.
            wait_for(|| open() <= used + 1);
        }
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft <= limit);
        let error = Pool::builder().workers(WORKERS).capture_stderr().build().map(drop);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("180") && error.contains("ulimit"), "{error}");
        assert!(own_processes().is_empty());
    });
}

// Class of bug: a process that cannot set itself up has a reason, and does not report it.
#[test]
fn a_worker_that_cannot_map_the_arena_says_so() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    alone(|| {
        let array = brigade::SharedArray::from_slice(&[7u8]).unwrap();
        let hard = getrlimit(Resource::RLIMIT_AS).unwrap().1;
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        // The arena is mapped once here, and there is little room for more. A worker maps it twice.
        setrlimit(Resource::RLIMIT_AS, pages * 4096 + (1 << 30), hard).unwrap();
        let is_said = |text: &str| text.contains("mmap") && text.contains("bytes");
        let pool = Pool::builder().workers(1).capture_stderr().build();
        let error = pool.and_then(|pool| pool.wait_ready(Duration::MAX)).unwrap_err().to_string();
        assert!(is_said(&error), "{error}");
        let process = brigade::Process::builder().capture_stderr().spawn(same, 1).unwrap();
        let error = process.join().unwrap_err().to_string();
        assert!(is_said(&error), "{error}");
        let error = brigade::Process::spawn(same, 1).unwrap().join().unwrap_err().to_string();
        assert!(error.contains("on its standard error"), "{error}");
        drop(array);
    });
}
