//! Log records of tasks arrive at the host.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::Log;
use brigade::{ExitReason, LogLevel, Pool, PoolBuilder, Process};
use tracing::subscriber::with_default;
use tracing_subscriber::fmt::MakeWriter;

/// What a subscriber has written.
#[derive(Clone, Default)]
struct Lines(Log);

impl MakeWriter<'_> for Lines {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        self.0.clone()
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().clone()).unwrap()
    }

    /// How many records were dropped, according to the warnings.
    fn dropped(&self) -> usize {
        let text = self.text();
        let reports = text.lines().filter_map(|line| line.split_once(" dropped="));
        reports.map(|(_, rest)| rest.split(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }

    /// The lines of the task, without their ends.
    fn of_task(&self) -> Vec<String> {
        let text = self.text();
        let own = text.lines().filter(|line| line.contains("tasks::logs"));
        own.map(|line| line.split(" worker=").next().unwrap().trim().to_owned()).collect()
    }
}

/// Calls `body` with a subscriber that writes records up to `level` to the lines.
fn subscribed<R>(level: tracing::Level, body: impl FnOnce(&Lines) -> R) -> R {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_max_level(level)
        .with_writer(lines.clone())
        .finish();
    with_default(subscriber, || body(&lines))
}

fn one() -> PoolBuilder {
    Pool::builder().workers(1)
}

fn four_levels(user: String) {
    tracing::error!(user, "no disk");
    tracing::warn!(left = 3u8, share = 0.5, ok = false, "low");
    log::info!("by log, {}", 7);
    tracing::debug!(?user);
}

#[test]
fn records_of_all_levels_are_there_when_the_task_is_joined() {
    subscribed(tracing::Level::DEBUG, |lines| {
        let pool = one().build().unwrap();
        let first = pool.submit(|()| std::process::id(), ()).unwrap();
        let pid = first.join().unwrap();
        pool.submit(four_levels, "ann".to_owned()).unwrap().join().unwrap();
        let text = lines.text();
        let found: Vec<&str> = text.lines().filter(|line| line.contains("four_levels")).collect();
        let end = format!("worker=0 pid={pid} task=\"tasks::logs::four_levels\" task_number=1");
        let begins = [
            "ERROR tasks::logs: no disk user=\"ann\"",
            " WARN tasks::logs: low left=3 share=0.5 ok=false",
            " INFO tasks::logs: by log, 7",
            "DEBUG tasks::logs: user=\"ann\"",
        ];
        assert_eq!(found.len(), begins.len(), "{text}");
        for (line, begin) in found.iter().zip(begins) {
            assert_eq!(*line, format!("{begin} {end}"));
        }
    });
}

fn spanned(_: ()) {
    let _outer = tracing::info_span!("outer").entered();
    tracing::info_span!("inner", n = 1).in_scope(|| tracing::warn!("within"));
    tracing::warn!("outside");
}

#[test]
fn a_record_names_the_spans_that_it_was_in() {
    subscribed(tracing::Level::INFO, |lines| {
        one().build().unwrap().submit(spanned, ()).unwrap().join().unwrap();
        let found: Vec<String> = lines.of_task();
        let expected = ["within span=\"outer:inner\"", "outside span=\"outer\""];
        assert_eq!(found, expected.map(|text| format!("WARN tasks::logs: {text}")));
    });
}

#[test]
fn the_level_of_the_pool_and_that_of_the_host_both_apply() {
    let log = |()| {
        tracing::warn!("warn");
        log::info!("info");
        tracing::enabled!(tracing::Level::INFO)
    };
    subscribed(tracing::Level::DEBUG, |lines| {
        let pool = one().logs(LogLevel::Warn).build().unwrap();
        assert!(!pool.submit(log, ()).unwrap().join().unwrap(), "it is not even made");
        assert_eq!(lines.of_task(), ["WARN tasks::logs: warn"]);
        let pool = one().logs(LogLevel::Off).build().unwrap();
        pool.submit(log, ()).unwrap().join().unwrap();
        drop(pool);
        assert_eq!(lines.of_task().len(), 1);
    });
    subscribed(tracing::Level::ERROR, |lines| {
        let pool = one().build().unwrap();
        pool.submit(log, ()).unwrap().join().unwrap();
        drop(pool);
        assert_eq!(lines.of_task(), [""; 0]);
    });
}

fn crash(_: ()) {
    tracing::info!(step = 1, "before");
    std::process::abort();
}

#[test]
fn what_a_worker_logged_before_it_died_arrives_and_is_in_its_death() {
    subscribed(tracing::Level::INFO, |lines| {
        let pool = one().build().unwrap();
        pool.submit(|()| tracing::info!("another task"), ()).unwrap().join().unwrap();
        let error = pool.submit(crash, ()).unwrap().join().unwrap_err();
        let death = error.death().unwrap();
        assert_eq!(death.reason, ExitReason::Signal(6));
        assert_eq!(death.log_tail, ["INFO tasks::logs: before step=1"]);
        assert!(error.to_string().contains("last log record: INFO tasks::logs: before step=1"));
        pool.submit(|()| tracing::info!("the replacement"), ()).unwrap().join().unwrap();
        drop(pool);
        let expected = ["another task", "before step=1", "the replacement"];
        assert_eq!(lines.of_task(), expected.map(|text| format!("INFO tasks::logs: {text}")));
    });
}

#[test]
fn records_of_a_process_have_its_name() {
    subscribed(tracing::Level::INFO, |lines| {
        let process = Process::builder().name("reader");
        let log = |()| {
            log::warn!("end of file");
            std::process::id()
        };
        let pid = process.spawn(log, ()).unwrap().join().unwrap();
        let (text, end) = (lines.text(), format!("process=\"reader\" pid={pid} "));
        assert!(text.contains(&format!(" WARN tasks::logs: end of file {end}")), "{text}");
        assert!(!text.contains("task_number"), "it is none of a pool's tasks");
        let seed = Process::spawn(|()| brigade::task_seed(), ()).unwrap();
        assert_eq!(seed.join().unwrap(), None);
        let error = Process::spawn(crash, ()).unwrap().join().unwrap_err();
        assert_eq!(error.death().unwrap().log_tail, ["INFO tasks::logs: before step=1"]);
    });
}

/// A subscriber's writer that takes a millisecond for each record.
struct Slow(Lines);

impl MakeWriter<'_> for Slow {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        self.0.0.clone()
    }
}

#[test]
fn the_end_of_a_process_waits_for_all_that_it_has_logged() {
    let lines = Lines::default();
    let slow = tracing_subscriber::fmt().with_ansi(false).with_writer(Slow(lines.clone()));
    with_default(slow.finish(), || {
        let log = |()| (0..600).for_each(|n| tracing::info!(n));
        Process::spawn(log, ()).unwrap().join().unwrap();
        assert_eq!(lines.of_task().len(), 600);
    });
}

#[test]
fn many_threads_log_in_order_and_lose_nothing_that_is_not_counted() {
    const EACH: usize = 20_000;
    subscribed(tracing::Level::INFO, |lines| {
        let pool = one().build().unwrap();
        let log = |()| {
            std::thread::scope(|scope| {
                for thread in 0..3 {
                    scope.spawn(move || (0..EACH).for_each(|n| tracing::info!(thread, n)));
                }
            });
        };
        pool.submit(log, ()).unwrap().join().unwrap();
        drop(pool);
        let mut last = [None; 3];
        for line in lines.of_task() {
            let number = |name: &str| -> usize {
                let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
                rest.split(' ').next().unwrap().parse().unwrap()
            };
            let (thread, n) = (number("thread"), number("n"));
            assert!(last[thread] < Some(n), "{line} after {:?}", last[thread]);
            last[thread] = Some(n);
        }
        let text = lines.text();
        assert_eq!(lines.of_task().len() + lines.dropped(), 3 * EACH);
        assert!(!text.contains("corrupt=") || text.contains("corrupt=0"));
    });
}

/// A subscriber's writer that waits until its test lets it go.
struct Blocked(Mutex<Receiver<()>>, Lines);

impl MakeWriter<'_> for Blocked {
    type Writer = Log;

    fn make_writer(&self) -> Log {
        let _ = self.0.lock().unwrap().recv();
        self.1.0.clone()
    }
}

fn blocked() -> (Sender<()>, Lines, impl tracing::Subscriber) {
    let ((go, wait), lines) = (channel(), Lines::default());
    let writer = Blocked(Mutex::new(wait), lines.clone());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer);
    (go, lines, subscriber.finish())
}

#[test]
fn a_blocked_subscriber_holds_up_no_task_and_the_loss_is_counted() {
    let (go, lines, subscriber) = blocked();
    let pool = with_default(subscriber, || one().build().unwrap());
    // More than the ring holds.
    let log = |()| (0..10_000).for_each(|n| tracing::info!(n, "{}", "x".repeat(100)));
    let task = pool.submit(log, ()).unwrap();
    while !task.is_finished() {
        std::thread::yield_now();
    }
    drop(go);
    task.join().unwrap();
    drop(pool);
    let (arrived, dropped) = (lines.of_task().len(), lines.dropped());
    assert!(arrived > 100 && dropped > 0, "{arrived} and {dropped}");
    assert_eq!(arrived + dropped, 10_000);
}

/// A subscriber that panics, or calls the pool.
struct Odd(Arc<Mutex<Option<Arc<Pool>>>>);

impl tracing::Subscriber for Odd {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "tasks::logs"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let pool = self.0.lock().unwrap().clone();
        match pool {
            Some(pool) => {
                assert_eq!(pool.stats().workers, 1);
                let task = pool.submit(|()| tracing::info!("more"), ()).unwrap();
                task.join().unwrap();
            }
            None => panic!("a subscriber that fails"),
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_subscriber_may_panic_and_may_call_the_pool() {
    let shared = Arc::new(Mutex::new(None));
    let subscriber = Odd(Arc::clone(&shared));
    let pool = Arc::new(with_default(subscriber, || one().build().unwrap()));
    pool.submit(|()| tracing::info!("once"), ()).unwrap().join().unwrap();
    *shared.lock().unwrap() = Some(Arc::clone(&pool));
    pool.submit(|()| tracing::info!("again"), ()).unwrap().join().unwrap();
    *shared.lock().unwrap() = None;
    assert_eq!(pool.submit(|n: u8| n, 3).unwrap().join().unwrap(), 3);
}

#[test]
fn an_initializer_may_log_and_may_have_a_subscriber_of_its_own() {
    subscribed(tracing::Level::INFO, |lines| {
        let log = |()| {
            tracing::info!("starting");
            Ok(())
        };
        let pool = one().initializer(log, ()).build().unwrap();
        pool.submit(|()| tracing::warn!("in a task"), ()).unwrap().join().unwrap();
        assert!(lines.text().contains("INFO tasks::logs: starting worker=0 pid="));
        assert!(lines.text().contains("WARN tasks::logs: in a task worker=0 pid="));
        let own = |()| {
            let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
            tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())
        };
        let pool = one().initializer(own, ()).build().unwrap();
        pool.submit(|()| tracing::error!("elsewhere"), ()).unwrap().join().unwrap();
        drop(pool);
        assert!(!lines.text().contains("elsewhere"));
    });
}

/// A logger that discards.
struct Sink;

impl log::Log for Sink {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &log::Record<'_>) {}

    fn flush(&self) {}
}

#[test]
fn an_initializer_may_have_a_logger_of_its_own_with_its_level() {
    subscribed(tracing::Level::INFO, |lines| {
        let own = |()| {
            log::set_max_level(log::LevelFilter::Error);
            log::set_logger(&Sink).map_err(|e| e.to_string())
        };
        let pool = one().initializer(own, ()).build().unwrap();
        let logs = |()| {
            log::error!("to the sink");
            tracing::info!("by tracing");
            log::max_level() as usize
        };
        let level = pool.submit(logs, ()).unwrap().join().unwrap();
        assert_eq!(level, log::LevelFilter::Error as usize);
        drop(pool);
        assert_eq!(lines.of_task(), ["INFO tasks::logs: by tracing"]);
    });
}
