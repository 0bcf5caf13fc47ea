//! What a pool does for tasks that behave.

use brigade::{Error, Pool, Start, TaskError};
use std::time::Duration;

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
    let pool = Pool::builder().workers(2).build().unwrap();
    assert_eq!(pool.submit(square, 12).unwrap().join().unwrap(), 144);
}

#[test]
fn many_tasks_return_their_own_values() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let handles: Vec<_> = (0..5000u64).map(|n| pool.submit(square, n).unwrap()).collect();
    for (n, handle) in (0..).zip(handles) {
        assert_eq!(handle.join().unwrap(), n * n);
    }
    pool.shutdown().unwrap();
}

#[test]
fn a_panic_fails_its_task_and_the_worker_lives_on() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
    let error = pool.submit(|n: u32| -> u32 { panic!("no {n}") }, 7).unwrap().join().unwrap_err();
    match error {
        Error::Task(TaskError::Panicked { message, location }) => {
            assert_eq!(message, "no 7");
            assert!(location.contains("pool.rs"), "{location}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(), pid);
}

#[test]
fn a_death_fails_its_task_and_the_worker_is_replaced() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let dies = pool.submit(crash, ()).unwrap();
    let next = pool.submit(square, 3).unwrap();
    let error = dies.join().unwrap_err();
    assert!(error.death().is_some(), "{error}");
    println!("{error}");
    assert_eq!(next.join().unwrap(), 9);
}

#[test]
fn large_payloads_travel_both_ways() {
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
}

#[test]
fn a_task_past_its_timeout_is_killed_and_only_it() {
    let pool = Pool::builder().workers(1).timeout(Duration::from_millis(50)).build().unwrap();
    let endless = pool.submit(spin_for_ever, ()).unwrap();
    let next = pool.submit(square, 5).unwrap();
    let error = endless.join().unwrap_err();
    assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
    assert_eq!(next.join().unwrap(), 25);
}

#[test]
fn tasks_run_in_process_on_request() {
    let pool = Pool::builder().workers(2).start(Start::InProcess).build().unwrap();
    assert_eq!(
        pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap(),
        std::process::id()
    );
}
