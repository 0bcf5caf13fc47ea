//! Workers that are replaced intentionally between tasks.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::common::Log;
use crate::common::alone::{alone, own_processes, progress, workers};
use crate::common::tasks::{count, counted, forever, same, tally, with};
use crate::common::time::wait_for;
use brigade::{Error, Shutdown, TaskError};

fn pid(_: u32) -> u32 {
    std::process::id()
}

#[test]
fn with_so_many_tasks_for_each_worker_all_results_arrive_and_workers_are_replaced() {
    alone(|| {
        for (workers, tasks_max, tasks) in [(1, 2, 6), (2, 2, 8), (1, 1, 10), (3, 7, 100)] {
            let pool = with(workers).max_tasks_per_worker(tasks_max).build().unwrap();
            let handles: Vec<_> = (0..tasks).map(|n| pool.submit(pid, n).unwrap()).collect();
            let mut pids: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
            pids.sort_unstable();
            for same in pids.chunk_by(|a, b| a == b) {
                assert!(same.len() as u64 <= tasks_max, "{same:?}");
            }
            pids.dedup();
            assert!(pids.len() as u64 >= u64::from(tasks) / tasks_max, "{pids:?}");
            let stats = pool.stats();
            assert_eq!((stats.failed, stats.restarts_by.died), (0, 0), "{stats:?}");
            pool.shutdown().unwrap();
            progress();
        }
    });
}

#[test]
fn recycling_goes_on_while_a_pool_shuts_down() {
    alone(|| {
        for mode in [Shutdown::Wait, Shutdown::Background] {
            let pool = with(1).max_tasks_per_worker(1).build().unwrap();
            let handles: Vec<_> = (0..10).map(|n| pool.submit(same, n).unwrap()).collect();
            pool.shutdown_with(mode).unwrap();
            for (n, handle) in (0..).zip(handles) {
                assert_eq!(handle.join().unwrap(), n);
            }
            wait_for(|| own_processes().is_empty());
        }
    });
}

#[test]
fn dropping_the_pool_while_workers_are_recycled_ends_what_is_left_promptly() {
    alone(|| {
        let pool = with(1).max_tasks_per_worker(1).grace(Duration::ZERO).build().unwrap();
        let first = pool.submit(same, 1).unwrap();
        let hangs = pool
            .submit(
                |_: u32| -> u32 {
                    loop {
                        forever()
                    }
                },
                0,
            )
            .unwrap();
        let queued: Vec<_> = (0..10).map(|n| pool.submit(same, n).unwrap()).collect();
        assert_eq!(first.join().unwrap(), 1);
        drop(pool);
        for handle in queued.into_iter().chain([hangs]) {
            assert!(matches!(handle.join(), Err(Error::Task(TaskError::Cancelled))));
        }
    });
}

/// An initializer that succeeds only the first time.
fn works_once(path: String) -> Result<(), String> {
    count(&path);
    if counted(&path) == 1 { Ok(()) } else { Err("no licence is left".into()) }
}

#[test]
fn if_no_replacement_can_be_started_the_queued_tasks_fail_and_say_why() {
    alone(|| {
        let path = tally("once");
        let pool =
            with(1).max_tasks_per_worker(1).initializer(works_once, path.clone()).build().unwrap();
        let handles: Vec<_> = (0..10).map(|n| pool.submit(same, n).unwrap()).collect();
        let outcomes: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        assert_eq!(*outcomes[0].as_ref().unwrap(), 0);
        for outcome in &outcomes[1..] {
            let error = outcome.as_ref().unwrap_err();
            assert!(matches!(error, Error::Broken { .. }), "{error}");
            assert!(error.to_string().contains("no licence is left"), "{error}");
        }
        assert!(matches!(pool.submit(same, 1), Err(Error::Broken { .. })));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_worker_that_outgrows_its_memory_is_recycled_with_one_notice_and_its_result_is_kept() {
    alone(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        let pool = with(1).memory_soft_bytes(64 << 20).build().unwrap();
        let leaks = |bytes: usize| {
            let leak = vec![1u8; bytes].leak();
            (std::process::id(), leak.len())
        };
        let (first, len) = pool.submit(leaks, 100 << 20).unwrap().join().unwrap();
        assert_eq!(len, 100 << 20);
        let (second, _) = pool.submit(leaks, 1 << 10).unwrap().join().unwrap();
        assert_ne!(first, second);
        let (third, _) = pool.submit(leaks, 1 << 10).unwrap().join().unwrap();
        assert_eq!(second, third);
        assert_eq!((pool.stats().restarts_by.memory, pool.stats().restarts), (1, 1));
        pool.shutdown().unwrap();
        let text = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        // Another thread emits the supervisor's events.
        wait_for(|| text().contains("memory_soft_bytes"));
        assert_eq!(text().matches("memory_soft_bytes").count(), 1, "{}", text());
    });
}

#[test]
fn tasks_one_after_the_other_use_one_worker() {
    alone(|| {
        let pool = with(4).build().unwrap();
        // Until all of them are asleep.
        let is_asleep = |pid: u32| {
            let path = format!("/proc/{pid}/wchan");
            std::fs::read_to_string(path).is_ok_and(|at| at.contains("futex"))
        };
        wait_for(|| workers().iter().filter(|worker| is_asleep(worker.pid)).count() == 4);
        let pids: BTreeSet<_> =
            (0..100).map(|n| pool.submit(pid, n).unwrap().join().unwrap()).collect();
        assert_eq!(pids.len(), 1);
    });
}

#[test]
fn every_task_sees_what_the_initializer_has_set() {
    static STATE: Mutex<String> = Mutex::new(String::new());
    alone(|| {
        let sets = |text: String| {
            *STATE.lock().unwrap() = text;
            Ok(())
        };
        let pool = with(2).max_tasks_per_worker(3).initializer(sets, "set".into()).build().unwrap();
        for _ in 0..20 {
            let seen = pool.submit(|()| STATE.lock().unwrap().clone(), ()).unwrap();
            assert_eq!(seen.join().unwrap(), "set");
        }
        assert_eq!(*STATE.lock().unwrap(), "", "the host's own is its own");
    });
}
