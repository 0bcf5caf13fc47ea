//! What a pool does for tasks that behave well.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use crate::common::alone::alone;
use crate::common::tasks::{forever, with};
use brigade::{Error, Pool, PoolBuilder, SharedArray, Start, TaskError};

fn square(n: u64) -> u64 {
    n * n
}

fn crash((): ()) {
    std::process::abort()
}

fn spin_for_ever((): ()) {
    loop {
        std::hint::spin_loop();
    }
}

#[test]
fn a_task_returns_its_value() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        assert_eq!(pool.submit(square, 12).unwrap().join().unwrap(), 144);
    });
}

#[test]
fn many_tasks_return_their_own_values() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let handles: Vec<_> = (0..5000u64).map(|n| pool.submit(square, n).unwrap()).collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.join().unwrap(), n * n);
        }
        pool.shutdown().unwrap();
    });
}

#[test]
fn a_panic_fails_its_task_and_the_worker_lives_on() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        let error =
            pool.submit(|n: u32| -> u32 { panic!("no {n}") }, 7).unwrap().join().unwrap_err();
        match error {
            Error::Task(TaskError::Panicked { message, location, .. }) => {
                assert_eq!(message, "no 7");
                assert!(location.contains("pool.rs"), "{location}");
            }
            other => panic!("{other}"),
        }
        assert_eq!(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(), pid);
    });
}

#[test]
fn a_death_fails_its_task_and_the_worker_is_replaced() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let dies = pool.submit(crash, ()).unwrap();
        let next = pool.submit(square, 3).unwrap();
        let error = dies.join().unwrap_err();
        assert!(error.death().is_some(), "{error}");
        println!("{error}");
        assert_eq!(next.join().unwrap(), 9);
    });
}

#[test]
fn large_payloads_travel_both_ways() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for len in [0usize, 1, 30, 100, 10_000, 65_000, 70_000, 3_000_000] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let back = pool
                .submit(|v: Vec<u8>| v.into_iter().rev().collect::<Vec<u8>>(), bytes.clone())
                .unwrap()
                .join()
                .unwrap();
            assert!(back.iter().eq(bytes.iter().rev()), "{len}");
        }
    });
}

#[test]
fn a_task_past_its_timeout_is_killed_and_only_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let limited = pool.options().timeout(Duration::from_millis(50));
        let endless = limited.submit(spin_for_ever, ()).unwrap();
        let next = pool.submit(square, 5).unwrap();
        let error = endless.join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert_eq!(next.join().unwrap(), 25);
    });
}

#[test]
fn tasks_run_in_process_on_request() {
    alone(|| {
        let pool = Pool::builder().workers(2).start(Start::InProcess).build().unwrap();
        assert_eq!(
            pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(),
            std::process::id()
        );
    });
}

#[test]
fn what_a_pool_without_processes_cannot_do_is_an_error() {
    alone(|| {
        let inside = || Pool::builder().start(Start::InProcess);
        let cannot: [fn(PoolBuilder) -> PoolBuilder; 9] = [
            |pool| pool.timeout(Duration::from_secs(1)),
            |pool| pool.max_tasks_per_worker(1),
            |pool| pool.memory_soft_bytes(1 << 30),
            |pool| pool.memory_hard_bytes(1 << 30),
            |pool| pool.env("A", "b"),
            |pool| pool.nice(1),
            |pool| pool.pin_workers(),
            |pool| pool.idle_timeout(Duration::from_secs(1)),
            |pool| pool.preload_timeout(Duration::from_secs(1)),
        ];
        for set in cannot {
            let refused = set(inside()).build().map(drop).unwrap_err();
            assert!(matches!(refused, Error::InvalidArgument { .. }), "{refused}");
            assert!(refused.to_string().contains("no processes"), "{refused}");
        }
        let pool = inside().build().unwrap();
        let late = pool.options().timeout(Duration::from_secs(1)).submit(square, 3).map(drop);
        assert!(matches!(late, Err(Error::InvalidArgument { .. })));
        assert_eq!(pool.starmap([(2u64, 5)], u64::pow).unwrap().sum::<u64>(), 32);
        let inputs = pool.imap(0u64.., 3, square).unwrap().take(3).map(Result::unwrap);
        assert_eq!(inputs.sum::<u64>(), 5);
    });
}

#[test]
fn an_initializer_runs_in_process_too_and_its_failure_is_the_builds() {
    alone(|| {
        static STATE: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        use std::sync::atomic::Ordering;
        let sets = |n: u64| {
            STATE.store(n, Ordering::Relaxed);
            if n == 0 { Err("nothing to set".to_owned()) } else { Ok(()) }
        };
        let build = |n| Pool::builder().start(Start::InProcess).initializer(sets, n).build();
        let pool = build(7).unwrap();
        assert_eq!(pool.submit(|()| STATE.load(Ordering::Relaxed), ()).unwrap().join().unwrap(), 7);
        let refused = build(0).map(drop).unwrap_err();
        assert!(refused.to_string().contains("nothing to set"), "{refused}");
    });
}

/// Builds a pool in a task of a pool, and so on; returns how many there were, and the final error.
fn nest(levels: u32) -> (u32, String) {
    match Pool::builder().workers(1).build() {
        Ok(pool) => pool.submit(nest, levels + 1).unwrap().join().unwrap(),
        Err(error @ Error::TooDeep { .. }) => (levels, error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn pools_nest_to_the_stated_depth_and_beyond_is_an_error_that_says_so() {
    alone(|| {
        let (levels, error) = nest(0);
        assert_eq!(levels, 4);
        assert!(error.contains("nested 4 deep") && error.contains("4 is the limit"), "{error}");
    });
}

#[test]
fn what_the_encoding_cannot_carry_is_an_error_that_says_why() {
    alone(|| {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u8),
            Text(String),
        }
        #[derive(Debug, serde::Deserialize)]
        struct Unwilling;
        impl serde::Serialize for Unwilling {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let pool = Pool::builder().workers(1).build().unwrap();
        let either = |is_number: bool| match is_number {
            true => Either::Number(1),
            false => Either::Text("one".into()),
        };
        let undecodable = pool.submit(either, true).unwrap().join().unwrap_err();
        assert!(undecodable.to_string().contains("untagged"), "{undecodable}");
        let unencodable = pool.submit(|()| Unwilling, ()).unwrap().join().unwrap_err();
        assert!(unencodable.to_string().contains("its own code refused"), "{unencodable}");
        assert_eq!(pool.stats().restarts, 0);
    });
}

/// A list that may be very long; like every long list it is dropped without recursion.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct List {
    number: u64,
    next: Option<Box<List>>,
}

impl List {
    fn of(nodes: u32) -> List {
        (0..nodes).fold(List::default(), |next, _| List { number: 1, next: Some(Box::new(next)) })
    }

    fn nodes(&self) -> usize {
        std::iter::successors(self.next.as_deref(), |node| node.next.as_deref()).count()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}

/// Class of bug: a value has more levels or elements than its encoded bytes justify.
#[test]
fn a_value_too_deep_or_of_too_many_elements_fails_its_task_alone() {
    alone(|| {
        for start in [Start::ForkServer, Start::InProcess] {
            let pool = Pool::builder().workers(1).start(start).build().unwrap();
            let is_refused = |error: Error| {
                let text = error.to_string();
                assert!(text.contains("levels") || text.contains("no bytes"), "{text}");
            };
            let list = pool.submit(List::of, 200).unwrap().join().unwrap();
            assert_eq!(list.nodes(), 200);
            assert_eq!(pool.submit(|list: List| list.nodes(), list).unwrap().join().unwrap(), 200);

            is_refused(pool.submit(List::of, 1 << 20).unwrap().join().unwrap_err());
            is_refused(pool.submit(|list: List| list.nodes(), List::of(1 << 20)).unwrap_err());
            is_refused(pool.submit(|()| vec![(); usize::MAX], ()).unwrap().join().unwrap_err());
            is_refused(pool.map([1, 1 << 20], List::of).map(drop).unwrap_err());
            is_refused(pool.map([vec![(); usize::MAX]], |units: Vec<()>| units.len()).unwrap_err());
            is_refused(
                pool.par_chunks(&SharedArray::<u8>::zeroed([9]).unwrap(), 1)
                    .map(|_| List::of(1 << 20))
                    .collect()
                    .map(drop)
                    .unwrap_err(),
            );
            assert_eq!(pool.submit(|()| vec![(); 1000], ()).unwrap().join().unwrap().len(), 1000);
            assert_eq!(pool.stats().restarts, 0);
        }
    });
}

#[test]
fn a_long_panic_message_arrives_whole_and_takes_no_memory_for_good() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        let panics = |len: usize| -> () { std::panic::panic_any("x".repeat(len)) };
        // More often than a worker may have results of this length in flight.
        for _ in 0..300 {
            match pool.submit(panics, 100_000).unwrap().join().unwrap_err() {
                Error::Task(TaskError::Panicked { message, .. }) => {
                    assert_eq!(message.len(), 100_000)
                }
                other => panic!("{other}"),
            }
        }
        let long = pool.submit(|len: usize| vec![1u8; len], 100_000).unwrap().join().unwrap();
        assert_eq!(long.len(), 100_000);
        assert_eq!(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(), pid);
    });
}

/// Calls a function at every event of the engine.
struct Subscriber(fn());

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target().starts_with("brigade") {
            EVENTS.fetch_add(1, Ordering::Relaxed);
            self.0();
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

static EVENTS: AtomicUsize = AtomicUsize::new(0);

/// Calls `subscriber` for every event while a pool and a process go through everything that emits
/// events.
fn with_subscriber(subscriber: fn()) {
    tracing::subscriber::set_global_default(Subscriber(subscriber)).unwrap();
    let pool = with(1).build().unwrap();
    let pool = SUBSCRIBED.get_or_init(|| Mutex::new(Some(Arc::new(pool))));
    let pool = Arc::clone(pool.lock().unwrap().as_ref().unwrap());
    assert_eq!(pool.submit(square, 1).unwrap().join().unwrap(), 1);
    let dies = pool.submit(|()| std::process::abort(), ()).unwrap();
    let error: Error = dies.join().map(|(): ()| ()).unwrap_err();
    assert!(matches!(error, Error::Task(TaskError::Died(_))), "{error}");
    let limited = pool.options().timeout(Duration::from_millis(300));
    let error = limited.submit(|()| forever(), ()).unwrap().join().unwrap_err();
    assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
    let (sender, values) = mpsc::channel();
    pool.submit(square, 2).unwrap().on_finish(|| panic!("as a test")).unwrap();
    let task = pool.submit(square, 3).unwrap();
    task.then(move |value| sender.send(value.unwrap()).unwrap()).unwrap();
    assert_eq!(values.recv().unwrap(), 9);
    pool.resize(2).unwrap();
    assert_eq!(pool.submit(square, 4).unwrap().join().unwrap(), 16);
    assert_eq!(brigade::Process::spawn(square, 5).unwrap().join().unwrap(), 25);
    pool.terminate().unwrap();
    assert!(EVENTS.load(Ordering::Relaxed) > 10);
}

static SUBSCRIBED: OnceLock<Mutex<Option<Arc<Pool>>>> = OnceLock::new();

/// Events were emitted under the pool's mutex: a subscriber that called the pool never returned.
#[test]
fn a_subscriber_of_events_may_ask_the_pool_that_they_are_about() {
    alone(|| {
        with_subscriber(|| {
            if let Some(pool) = SUBSCRIBED.get()
                && let Ok(pool) = pool.try_lock()
                && let Some(pool) = pool.as_ref()
            {
                let _ = pool.stats();
            }
        });
        SUBSCRIBED.get().unwrap().lock().unwrap().take();
    });
}

/// Events were emitted on the supervisor: a panic of a subscriber ended it.
#[test]
fn a_subscriber_that_panics_at_every_event_harms_no_task() {
    alone(|| {
        with_subscriber(|| panic!("as a test"));
        SUBSCRIBED.get().unwrap().lock().unwrap().take();
    });
}

/// Events were emitted on the supervisor: a subscriber that blocked there stopped all pools.
#[test]
fn a_subscriber_that_blocks_on_a_thread_of_the_engine_delays_no_deadline() {
    static GATE: Mutex<()> = Mutex::new(());
    alone(|| {
        let gate = GATE.lock().unwrap();
        with_subscriber(|| {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            // The callback thread also runs other user code.
            if name.starts_with("brigade-") && name.trim() != "brigade-call" {
                drop(GATE.lock());
            }
        });
        SUBSCRIBED.get().unwrap().lock().unwrap().take();
        drop(gate);
    });
}

// The message said "an unknown place".
#[test]
fn a_panic_in_a_pool_without_processes_has_its_place() {
    alone(|| {
        let pool = Pool::builder().start(Start::InProcess).build().unwrap();
        for _ in 0..2 {
            let failed = pool.submit(|n: u32| -> u32 { panic!("no {n}") }, 7).unwrap().join();
            let error = failed.unwrap_err().to_string();
            assert!(error.contains("no 7") && error.contains("pool.rs"), "{error}");
        }
        fn three() -> fn(u8) -> u8 {
            |n| n + 3
        }
        assert_eq!(pool.submit_fn(three(), 4).unwrap().join().unwrap(), 7);
    });
}
