//! A death at each step of a log record.

use brigade::Pool;
use brigade::failpoint::{Action, Point, set};

use crate::common::Log;
use crate::points::alone;

/// Logs the numbers from 0 to 2 from one place.
fn log(_: ()) {
    (0..3).for_each(|n| tracing::info!(n, "numbered"));
}

/// The numbers that arrive if the worker dies at the pass after `passes` of the point.
fn arrived(point: Point, action: Action, passes: u32) -> usize {
    let lines = Log::default();
    let out = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || out.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let pool = Pool::builder().workers(1).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        set(point, action, passes);
        let error = pool.submit(log, ()).unwrap().join().unwrap_err();
        let tail = error.death().unwrap().log_tail.clone();
        drop(pool);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let arrived: Vec<&str> = text.lines().filter(|line| line.contains("numbered n=")).collect();
        for (n, line) in arrived.iter().enumerate() {
            assert!(line.contains(&format!("numbered n={n} worker=0 ")), "{line}");
            assert!(tail[n].ends_with(&format!("numbered n={n}")), "{tail:?}");
        }
        assert_eq!(tail.len(), arrived.len(), "{point:?}");
        assert!(!text.contains("corrupt"), "{text}");
        arrived.len()
    })
}

#[test]
fn a_worker_that_dies_at_any_step_of_a_log_record_leaves_whole_records() {
    alone(|| {
        for action in [Action::Kill, Action::Abort] {
            for n in 0..3 {
                let found = arrived(Point::WorkerBeforeLog, action, n);
                assert_eq!(found, n as usize, "before record {n}");
                let found = arrived(Point::WorkerAfterLog, action, n);
                assert_eq!(found, n as usize + 1, "after record {n}");
            }
            // The definition of the place comes before the first record.
            for passes in 0..4 {
                let found = arrived(Point::WorkerMidLog, action, passes);
                assert_eq!(found, passes.saturating_sub(1) as usize, "in write {passes}");
            }
        }
    });
}
