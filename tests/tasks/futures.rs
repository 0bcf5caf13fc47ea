//! What happens when tasks end: callbacks, and their thread.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::Log;
use crate::common::alone::{alone, progress};
use crate::common::tasks::{forever, hanging, panics, same, with};
use crate::common::time::{ThreadId, spend_millis, wait_for};
use brigade::{Error, Pool, ReturnWhen, TaskError, as_completed, wait};

fn one() -> Pool {
    with(1).grace(Duration::from_millis(50)).build().unwrap()
}

fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.filter(|found| found.as_ref().is_ok_and(|found| found.trim() == name)).count()
}

#[test]
fn a_callback_runs_exactly_once_whether_it_came_before_or_after_the_end() {
    alone(|| {
        let pool = with(2).build().unwrap();
        for round in 0..200u32 {
            let (sender, values) = mpsc::channel();
            let task = pool.submit(same, round).unwrap();
            if round % 2 == 0 {
                wait_for(|| task.is_finished());
            }
            let noted = sender.clone();
            task.on_finish(move || noted.send(None).unwrap()).unwrap();
            task.then(move |value| sender.send(Some(value.unwrap())).unwrap()).unwrap();
            assert_eq!(values.iter().collect::<Vec<_>>(), [None, Some(round)]);
        }
        progress();
        // Without a join, the supervisor notices the end.
        let (sender, values) = mpsc::channel();
        let slow = |host: ThreadId| -> u32 {
            host.wait_until_blocked();
            7
        };
        pool.submit(slow, ThreadId::current())
            .unwrap()
            .then(move |value| sender.send(value).unwrap())
            .unwrap();
        assert_eq!(values.recv().unwrap().unwrap(), 7);
    });
}

#[test]
fn callbacks_report_every_kind_of_end() {
    alone(|| {
        let pool = one();
        let (sender, ends) = mpsc::channel();
        let tell = |name: &'static str| {
            let sender = sender.clone();
            move |outcome: Result<u32, Error>| sender.send((name, outcome)).unwrap()
        };
        let hangs = hanging(&pool);
        let queued = pool.submit(same, 1).unwrap();
        assert!(queued.cancel());
        queued.then(tell("cancelled")).unwrap();
        pool.submit(panics, 1).unwrap().then(tell("panicked")).unwrap();
        pool.submit(|_: ()| -> u32 { std::process::abort() }, ())
            .unwrap()
            .then(tell("died"))
            .unwrap();
        hangs.kill(Duration::ZERO).unwrap();
        hangs.then(tell("killed")).unwrap();
        let endless = pool.options().timeout(Duration::from_millis(20));
        let late = endless
            .submit(
                |_: ()| -> u32 {
                    loop {
                        forever()
                    }
                },
                (),
            )
            .unwrap();
        late.then(tell("late")).unwrap();
        drop(sender);
        for (name, outcome) in ends {
            let error = outcome.unwrap_err();
            let fits = match name {
                "panicked" => matches!(error, Error::Task(TaskError::Panicked { .. })),
                "died" => error.death().is_some(),
                "late" => matches!(error, Error::Task(TaskError::TimedOut { .. })),
                _ => matches!(error, Error::Task(TaskError::Cancelled)),
            };
            assert!(fits, "{name}: {error}");
        }
    });
}

#[test]
fn a_callback_that_panics_is_logged_and_later_ones_still_run() {
    alone(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let pool = one();
        let (sender, values) = mpsc::channel();
        for n in 0..3 {
            let sender = sender.clone();
            let task = pool.submit(same, n).unwrap();
            task.on_finish(|| panic!("as a test")).unwrap();
            task.then(move |value| sender.send(value.unwrap()).unwrap()).unwrap();
        }
        assert_eq!((0..3).map(|_| values.recv().unwrap()).sum::<u32>(), 3);
        assert_eq!(pool.submit(same, 7).unwrap().join().unwrap(), 7);
        pool.shutdown().unwrap();
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("a callback panicked").count(), 3, "{text}");
        assert!(text.contains("as a test"), "{text}");
    });
}

/// A waiting thread slept in `std::thread::park`, and consumed wake-ups meant for other users of
/// that.
#[test]
fn a_wait_leaves_the_wake_up_of_an_executor_to_it() {
    fn slow((n, waiting): (u32, ThreadId)) -> u32 {
        waiting.wait_until_blocked();
        n
    }
    let parks_after = |waits: &dyn Fn()| {
        thread::current().unpark();
        waits();
        // Returns at once, if the wake-up is still there.
        thread::park();
        progress();
    };
    alone(|| {
        let (pool, other) = (with(2).queue_limit(1).build().unwrap(), one());
        let hangs = hanging(&pool);
        thread::scope(|scope| {
            // Sleeps on the control block's word, so that the others find it taken.
            let first = scope.spawn(|| hangs.join());
            parks_after(&|| {
                assert_eq!(pool.submit(slow, (1, ThreadId::current())).unwrap().join().unwrap(), 1)
            });
            parks_after(&|| {
                let mut task = pool.submit(slow, (1, ThreadId::current())).unwrap();
                task.join_timeout(Duration::from_secs(60)).unwrap();
            });
            parks_after(&|| {
                let tasks = vec![
                    pool.submit(slow, (1, ThreadId::current())).unwrap(),
                    other.submit(slow, (2, ThreadId::current())).unwrap(),
                ];
                assert_eq!(as_completed(tasks, None).count(), 2);
            });
            parks_after(&|| {
                let all: Vec<_> =
                    (0..9).map(|n| pool.submit(slow, (n, ThreadId::current())).unwrap()).collect();
                all.into_iter().for_each(|task| assert!(task.join().is_ok()));
            });
            parks_after(&|| pool.terminate().unwrap());
            assert!(first.join().unwrap().is_err());
        });
    });
}

/// Scratch buffers of a thread were assumed to exist in destructors that run after theirs.
#[test]
fn destructors_of_thread_locals_and_exit_handlers_may_use_pools_and_queues() {
    static POOL: OnceLock<Pool> = OnceLock::new();
    fn uses() {
        let pool = POOL.get().unwrap();
        assert_eq!(pool.submit(same, 7).unwrap().join().unwrap(), 7);
        let (sender, values) = mpsc::channel();
        let task = pool.submit(same, 8).unwrap();
        task.then(move |value| sender.send(value).unwrap()).unwrap();
        assert_eq!(values.recv().unwrap().unwrap(), 8);
        assert!(pool.submit(panics, 1).unwrap().join().is_err());
        let queue = brigade::Queue::<String>::new(1 << 12).unwrap();
        queue.put("text".to_owned()).unwrap();
        assert_eq!(queue.get().unwrap(), "text");
        queue.put("text".to_owned()).unwrap();
        assert_eq!(queue.get_many(2).unwrap(), ["text"]);
        assert_eq!(pool.map(0..9, same).unwrap().sum::<u32>(), 36);
        let array = brigade::SharedArray::<f64>::from_slice(&[1.0; 9]).unwrap();
        let frozen = array.freeze();
        let sums = |frozen: brigade::Frozen<f64>| frozen.as_slice().iter().sum::<f64>();
        assert!((pool.submit(sums, frozen).unwrap().join().unwrap() - 9.0).abs() < 1e-9);
    }
    struct Uses;
    impl Drop for Uses {
        fn drop(&mut self) {
            uses();
            crate::common::alone::say("destructor");
        }
    }
    thread_local! {
        static LATE: std::cell::RefCell<Option<Uses>> = const { std::cell::RefCell::new(None) };
    }
    extern "C" fn at_exit() {
        uses();
        crate::common::alone::say("exit");
    }
    crate::common::alone::against_host(
        || {
            POOL.get_or_init(one);
            // Before all others of this thread: destructors run in the opposite order.
            LATE.set(Some(Uses));
            uses();
            // SAFETY: the handler is a function of this program and unwinds nowhere.
            assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
            std::process::exit(0);
        },
        |runner| {
            runner.expect("destructor");
            runner.expect("exit");
        },
    );
}

#[test]
fn one_thread_runs_the_callbacks_of_all_pools_and_ends_with_the_last() {
    alone(|| {
        assert_eq!(threads_named("brigade-call"), 0);
        let pools = [one(), one()];
        let (sender, threads) = mpsc::channel();
        for pool in &pools {
            for n in 0..10 {
                let sender = sender.clone();
                let id = move || sender.send(thread::current().id()).unwrap();
                pool.submit(same, n).unwrap().on_finish(id).unwrap();
            }
        }
        drop(sender);
        let threads: BTreeSet<_> = threads.iter().map(|id| format!("{id:?}")).collect();
        assert_eq!((threads.len(), threads_named("brigade-call")), (1, 1));
        let [first, second] = pools;
        first.shutdown().unwrap();
        assert_eq!(threads_named("brigade-call"), 1);
        drop(second);
        wait_for(|| threads_named("brigade-call") == 0);
    });
}

#[test]
fn a_callback_may_drop_its_pool_or_shut_it_down() {
    alone(|| {
        for round in 0..4 {
            let pool = one();
            let (sent, done) = mpsc::channel();
            let last = pool.submit(same, 1).unwrap();
            let task = pool.submit(same, 2).unwrap();
            let hangs = hanging(&pool);
            task.then(move |value| {
                assert_eq!(value.unwrap(), 2);
                match round {
                    0 => drop(pool),
                    1 => pool.terminate().unwrap(),
                    _ => {
                        hangs.kill(Duration::ZERO).unwrap();
                        pool.shutdown().unwrap();
                    }
                }
                last.then(move |value| sent.send(value.unwrap()).unwrap()).unwrap();
            })
            .unwrap();
            assert_eq!(done.recv().unwrap(), 1);
            progress();
        }
    });
}

#[test]
fn a_callback_may_submit_and_join() {
    alone(|| {
        let pool = Arc::new(one());
        let (sent, done) = mpsc::channel();
        let inner = Arc::clone(&pool);
        let task = pool.submit(same, 1).unwrap();
        task.then(move |_| {
            sent.send(inner.submit(same, 5).unwrap().join().unwrap()).unwrap();
        })
        .unwrap();
        assert_eq!(done.recv().unwrap(), 5);
    });
}

#[test]
fn shutdown_waits_for_callbacks() {
    alone(|| {
        let pool = one();
        let run = Arc::new(AtomicUsize::new(0));
        for n in 0..20 {
            let run = Arc::clone(&run);
            let task = pool.submit(same, n).unwrap();
            task.on_finish(move || {
                spend_millis(2);
                run.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        }
        pool.shutdown().unwrap();
        assert_eq!(run.load(Ordering::Relaxed), 20);
    });
}

// A sleeping callback thread, a sleeping joiner, and workers that die.
#[test]
fn waits_and_callbacks_report_deaths() {
    alone(|| {
        let pool = with(2).build().unwrap();
        for _ in 0..10 {
            let dies = |waiting: ThreadId| -> u32 {
                waiting.wait_until_blocked();
                std::process::exit(3)
            };
            let tasks = [(); 2].map(|()| pool.submit(dies, ThreadId::current()).unwrap());
            let (sender, told) = mpsc::channel();
            for task in &tasks {
                let sender = sender.clone();
                task.on_finish(move || sender.send(()).unwrap()).unwrap();
            }
            assert_eq!(wait(&tasks, ReturnWhen::All, None).unwrap().done.len(), 2);
            for _ in 0..2 {
                told.recv().unwrap();
            }
            progress();
        }
    });
}

// No thread drives the pool, so the supervisor has to notice it.
#[test]
fn a_worker_stopped_while_idle_keeps_no_task_from_a_callback() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let hangs = hanging(&pool);
        let busy = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        crate::common::processes::send(busy, nix::sys::signal::Signal::SIGSTOP);
        let (sender, values) = mpsc::channel();
        for n in 0..4 {
            let sender = sender.clone();
            pool.submit(same, n).unwrap().then(move |n| sender.send(n.unwrap()).unwrap()).unwrap();
        }
        hangs.kill(Duration::ZERO).unwrap();
        assert_eq!((0..4).map(|_| values.recv().unwrap()).sum::<u32>(), 6);
        crate::common::processes::send(busy, nix::sys::signal::Signal::SIGCONT);
    });
}

#[test]
fn times_that_no_clock_can_count_are_for_ever() {
    alone(|| {
        let pool = with(1)
            .timeout(Duration::MAX)
            .idle_timeout(Duration::MAX)
            .grace(Duration::MAX)
            .build()
            .unwrap();
        let task = pool.options().timeout(Duration::MAX).submit(same, 1).unwrap();
        wait([&task], ReturnWhen::All, Some(Duration::MAX)).unwrap();
        let mut all = as_completed([task], Some(Duration::MAX));
        assert_eq!(all.next().unwrap().unwrap().1.unwrap(), 1);
        let hangs = hanging(&pool);
        hangs.kill(Duration::MAX).unwrap();
        hangs.kill(Duration::ZERO).unwrap();
        assert!(hangs.join().is_err());
        pool.submit_timeout(same, 2, Duration::MAX).unwrap().join().unwrap();
    });
}

#[test]
fn handles_of_another_process_are_over_in_a_child() {
    alone(|| {
        let pool = one();
        let task = pool.submit(same, 1).unwrap();
        match nix_fork() {
            0 => {
                let sets = wait([&task], ReturnWhen::All, None).unwrap();
                let refused = task.on_finish(|| ());
                let is_inert = sets.done == [0]
                    && matches!(refused, Err(Error::Closed { .. }))
                    && !task.is_running()
                    && matches!(pool.resize(2), Err(Error::Closed { .. }))
                    && matches!(pool.terminate(), Err(Error::Closed { .. }));
                std::process::exit(i32::from(!is_inert));
            }
            child => {
                let child = nix::unistd::Pid::from_raw(child);
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert_eq!(task.join().unwrap(), 1);
    });
}

/// Forks; 0 in the child.
fn nix_fork() -> i32 {
    // SAFETY: the child uses what it has inherited of the pool, which should be inert, and exits.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Parent { child } => child.as_raw(),
        nix::unistd::ForkResult::Child => 0,
    }
}
