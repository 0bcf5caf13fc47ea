//! Timelines: what is recorded, and what of it survives.

use std::path::PathBuf;

use crate::common::alone::alone;
use brigade::{Boundary, Error, Pool, SharedArray};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

/// The path of a test's file, which is removed when this is dropped.
struct TraceFile(PathBuf);

impl TraceFile {
    fn new(name: &str) -> TraceFile {
        let name = format!("brigade-{name}-{}.json", std::process::id());
        TraceFile(std::env::temp_dir().join(name))
    }

    /// The events of the file, which must be complete JSON.
    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.0).unwrap();
        let trace: Value = serde_json::from_str(&text).unwrap();
        trace["traceEvents"].as_array().unwrap().clone()
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

fn count(events: &[Value], key: &str, value: &str) -> usize {
    events.iter().filter(|event| event[key] == value).count()
}

/// The number of tasks in events of `category`.
fn tasks(events: &[Value], category: &str) -> u64 {
    let of_category = events.iter().filter(|event| event["cat"] == category);
    of_category.map(|event| event["args"]["tasks"].as_u64().unwrap_or(1)).sum()
}

#[test]
fn every_task_of_every_kind_is_in_the_file_of_a_pool_that_was_dropped() {
    alone(|| {
        let file = TraceFile::new("kinds");
        let pool = pool(2);
        pool.timeline(&file.0).unwrap();
        let handles: Vec<_> = (0..1000u64).map(|n| pool.submit(|n: u64| n, n).unwrap()).collect();
        assert_eq!(handles.into_iter().map(|handle| handle.join().unwrap()).sum::<u64>(), 499_500);
        let items = pool.options().chunk_size(1).map(0..10u8, |n| n).unwrap();
        assert_eq!(items.count(), 10);
        let mut x = SharedArray::from_fn([1000], |[i]| i as f64).unwrap();
        pool.par_chunks_mut(&mut x, 500).for_each(|x| x[0] += 1.0).unwrap();
        let a = SharedArray::from_fn([600, 600], |[i, j]| (i + j) as f32).unwrap();
        pool.matmul(&a, &a).unwrap();
        drop(pool);
        let events = file.events();
        assert_eq!((tasks(&events, "task"), tasks(&events, "batch")), (1000, 10));
        assert!((1..=2).contains(&tasks(&events, "loop")), "{events:?}");
        assert!((1..=2).contains(&tasks(&events, "team")), "{events:?}");
        assert_eq!(count(&events, "name", "worker left"), 2);
    });
}

#[test]
fn a_death_and_the_restart_are_in_the_file_and_so_is_what_runs_at_its_end() {
    alone(|| {
        let file = TraceFile::new("death");
        let pool = pool(1);
        pool.timeline(&file.0).unwrap();
        pool.submit(|()| std::process::abort(), ()).unwrap().join().map(|()| 0).unwrap_err();
        let runs = pool.submit(|()| while !brigade::is_cancelled() {}, ()).unwrap();
        while !runs.is_running() {
            std::thread::yield_now();
        }
        let summary = pool.finish_timeline().unwrap();
        assert_eq!((summary.tasks, summary.lost), (2, 0));
        runs.cancel();
        runs.join().unwrap();
        let events = file.events();
        assert_eq!(events.len() as u64, summary.events + 1);
        let endings: Vec<_> = events.iter().filter(|event| event["cat"] == "task").collect();
        assert_eq!(endings[0]["args"]["ending"], "died");
        assert_eq!(endings[1]["args"]["ending"], "still running");
        let died = events.iter().find(|event| event["name"] == "worker died").unwrap();
        assert!(died["args"]["reason"].as_str().unwrap().contains("SIGABRT"), "{died}");
        assert_eq!(count(&events, "name", "worker started"), 1);
        assert!(matches!(pool.finish_timeline(), Err(Error::Closed { .. })));
    });
}

#[test]
fn a_file_that_cannot_grow_is_an_error_and_keeps_whole_events() {
    alone(|| {
        let file = TraceFile::new("full");
        let pool = pool(1);
        pool.timeline(&file.0).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 100_000, hard).unwrap();
        for n in 0..2000u64 {
            // Not merged, because each of them fails.
            let task = pool.submit(|n: u64| assert_eq!(n, u64::MAX, "fails"), n).unwrap();
            task.join().unwrap_err();
        }
        let error = pool.shutdown().unwrap_err();
        setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
        assert!(matches!(error, Error::Os { call: "write", .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("timeline") && text.contains("too large"), "{text}");
        assert!(std::fs::metadata(&file.0).unwrap().len() <= 100_000);
        file.events();
    });
}

#[test]
fn a_second_recording_an_ended_pool_and_a_folder_are_errors() {
    alone(|| {
        let file = TraceFile::new("second");
        let pool = pool(1);
        let folder = pool.timeline(std::env::temp_dir()).unwrap_err();
        assert!(matches!(folder, Error::Os { .. } | Error::Layout { .. }), "{folder}");
        let device = pool.timeline("/dev/null").unwrap_err();
        assert!(matches!(device, Error::Layout { .. }), "{device}");
        pool.timeline(&file.0).unwrap();
        let second = pool.timeline(&file.0).unwrap_err();
        assert!(second.to_string().contains("finish_timeline"), "{second}");
        pool.terminate().unwrap();
        assert!(matches!(pool.timeline(&file.0), Err(Error::Closed { .. })));
        file.events();
    });
}

#[test]
fn a_stencil_is_a_loop() {
    alone(|| {
        let file = TraceFile::new("stencil");
        let pool = pool(1);
        let x = SharedArray::from_fn([64, 64], |[i, j]| (i * j) as f64).unwrap();
        let mut y = pool.zeroed::<f64>([64, 64]).unwrap();
        pool.timeline(&file.0).unwrap();
        pool.stencil_into(&x, &mut y, [1, 1], Boundary::Shrink, |x| x.centre()).unwrap();
        drop(pool);
        assert!(tasks(&file.events(), "loop") >= 1);
    });
}
