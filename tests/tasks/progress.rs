//! Progress of loops and maps, reported to a callback.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use crate::common::alone::alone;
use brigade::shared::Event;
use brigade::{Pool, Progress, SharedArray};

/// Long enough for any report to arrive.
const LONG: Duration = Duration::from_secs(60);

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// A callback that sends what it gets, and sets `event` when `is_awaited` finds it.
fn reports(
    event: &Event,
    is_awaited: fn(&Progress) -> bool,
) -> (impl FnMut(Progress) + Send + 'static, Receiver<Progress>) {
    let (sender, receiver): (Sender<Progress>, _) = mpsc::channel();
    let event = event.clone();
    let report = move |progress: Progress| {
        if is_awaited(&progress) {
            event.set().unwrap();
        }
        let _ = sender.send(progress);
    };
    (report, receiver)
}

/// What is true of the reports of every call: they never go back, and the last is the last.
fn check(reports: Receiver<Progress>, last: usize, total: Option<usize>) {
    let reports: Vec<Progress> = reports.iter().collect();
    assert!(reports.is_sorted_by_key(|report| report.done), "{reports:?}");
    assert!(reports.iter().all(|report| report.total == total), "{reports:?}");
    assert_eq!(reports.last().unwrap().done, last, "{reports:?}");
}

#[test]
fn a_loop_reports_while_it_runs() {
    alone(|| {
        for workers in [1, 3] {
            let pool = pool(workers);
            let x = SharedArray::from_fn([100], |[i]| i).unwrap();
            let event = Event::new().unwrap();
            let (report, receiver) = reports(&event, |progress| progress.done > 0);
            // The last chunk is done only when a report of others has come.
            let chunks = pool.par_chunks(&x, 10).with(event.clone()).progress(report);
            chunks
                .for_each(|event, x| {
                    if x[0] == 90 {
                        event.wait_timeout(LONG).expect("a report");
                    }
                })
                .unwrap();
            check(receiver, 100, Some(100));
        }
    });
}

#[test]
fn a_map_reports_while_it_runs() {
    alone(|| {
        let pool = pool(2);
        for (total, is_known) in [(50u64, true), (50, false)] {
            let event = Event::new().unwrap();
            let (report, receiver) = reports(&event, |progress| progress.done >= 10);
            // A filter does not know how many it will let through.
            let items = (0..total).filter(|_| true);
            let options = pool.options().chunk_size(5).with(event.clone()).progress(report);
            let wait = |event: &Event, n: u64| {
                if n == 49 {
                    event.wait_timeout(LONG).expect("a report");
                }
                n
            };
            let sum: u64 = if is_known {
                options.map(items.collect::<Vec<_>>(), wait).unwrap().sum()
            } else {
                options.map(items, wait).unwrap().sum()
            };
            assert_eq!(sum, 49 * 25);
            check(receiver, 50, is_known.then_some(50));
        }
    });
}

#[test]
fn reports_are_at_most_ten_a_second() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([1 << 16], |[i]| i).unwrap();
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        let chunks = pool.par_chunks(&x, 1).with(start.elapsed()).progress(move |progress| {
            let _ = sender.send(progress);
        });
        chunks
            .for_each(|_, x| {
                let begin = Instant::now();
                while x[0] % 16 == 0 && begin.elapsed() < Duration::from_micros(200) {}
            })
            .unwrap();
        let tenths = start.elapsed().as_millis() / 100;
        let count = receiver.iter().count() as u128;
        assert!((1..=tenths + 1).contains(&count), "{count} reports in {tenths} tenths");
    });
}

#[test]
fn a_death_and_a_panic_do_not_disturb_the_reports() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([100], |[i]| i).unwrap();
        let event = Event::new().unwrap();
        let (mut report, receiver) = reports(&event, |_| false);
        let died = event.clone();
        let chunks = pool.par_chunks(&x, 10).retries(1).with(died).progress(move |progress| {
            report(progress);
            panic!("a callback that panics");
        });
        let sums = chunks.map(|died, x| {
            if x[0] == 50 && !died.is_set() {
                died.set().unwrap();
                std::process::abort();
            }
            x.iter().sum::<usize>()
        });
        assert_eq!(sums.reduce(0, |a, b| a + b).unwrap(), 4950);
        check(receiver, 100, Some(100));
    });
}

#[test]
fn a_failed_call_reports_what_was_done() {
    alone(|| {
        let pool = pool(1);
        let x = SharedArray::from_fn([100], |[i]| i).unwrap();
        let event = Event::new().unwrap();
        let (report, receiver) = reports(&event, |_| false);
        let chunks = pool.par_chunks(&x, 10).progress(report);
        chunks.for_each(|x| assert!(x[0] < 50, "too far")).unwrap_err();
        check(receiver, 50, Some(100));

        let none = SharedArray::from_slice(&[0u8; 0]).unwrap();
        let (report, receiver) = reports(&event, |_| false);
        pool.par_chunks(&none, 10).progress(report).for_each(|_| {}).unwrap();
        check(receiver, 0, Some(0));

        let (report, receiver) = reports(&event, |_| false);
        let options = pool.options().chunk_size(1).progress(report);
        let mut squares = options.imap(0u32.., 2, |n| n * n).unwrap();
        assert_eq!(squares.next().unwrap().unwrap(), 0);
        drop((squares, options));
        check(receiver, 1, None);
    });
}
