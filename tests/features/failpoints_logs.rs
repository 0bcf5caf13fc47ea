//! A death at each step of a log record.

use std::fs::File;
use std::io::{Result, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use brigade::Pool;
use brigade::failpoint::{self, Action, Point, set};

use crate::common::alone::alone_with;

/// The file with a test's points, removed at the end.
struct Points(PathBuf);

impl Drop for Points {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn alone<F: FnOnce()>(body: F) {
    let points = Points(std::env::temp_dir().join(crate::common::unique("points")));
    File::create(&points.0).unwrap().set_len(failpoint::FILE_BYTES as u64).unwrap();
    alone_with(&[(failpoint::VARIABLE, points.0.to_str().unwrap())], body);
}

/// Where the subscriber writes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Logs the numbers from 0 to 2 from one place.
fn log(_: ()) {
    (0..3).for_each(|n| tracing::info!(n, "numbered"));
}

/// The numbers that arrive if the worker dies at the pass after `passes` of the point.
fn arrived(point: Point, action: Action, passes: u32) -> usize {
    let lines = Lines::default();
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
