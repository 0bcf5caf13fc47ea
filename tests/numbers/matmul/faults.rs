//! Workers that die in the middle of a product.

use crate::common::alone::alone;
use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade::{Error, Matrix, Pool, SharedArray};

use super::{expected, matrix};

/// The process ids of all workers, asked until each has answered.
fn worker_pids(pool: &Pool) -> Vec<u32> {
    let mut pids = Vec::new();
    while pids.len() < pool.workers() {
        let asked: Vec<_> = (0..pool.workers())
            .map(|_| pool.submit(|()| std::process::id(), ()).unwrap())
            .collect();
        pids.extend(asked.into_iter().map(|handle| handle.join().unwrap()));
        pids.sort_unstable();
        pids.dedup();
    }
    pids
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Runs `product` while another thread kills a worker `delay` after the product has started, unless
/// it has ended by then. Returns which worker that was.
pub(crate) fn with_a_worker_killed<R>(
    pool: &Pool,
    delay: Duration,
    product: impl FnOnce() -> R,
) -> (R, u32) {
    let victim = worker_pids(pool)[0];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let offered = || pool.stats().offered >= 2;
            let mut since = None::<Instant>;
            while since.is_none_or(|since| since.elapsed() < delay) {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                if since.is_none() && offered() {
                    since = Some(Instant::now());
                }
                std::thread::yield_now();
            }
            kill(victim);
        });
        let result = product();
        is_over.store(true, Ordering::Release);
        (result, victim)
    })
}

/// Repeats `call`, each time with a worker that is killed, until two of these deaths have failed a
/// part of it. The pool must repeat such a call.
pub(crate) fn with_deaths_in_it(pool: &Pool, mut call: impl FnMut()) {
    let before = pool.stats().failed;
    for attempt in 0..200 {
        let delay = Duration::from_micros(150 * (attempt % 20));
        with_a_worker_killed(pool, delay, &mut call);
        if pool.stats().failed >= before + 2 {
            return;
        }
    }
    panic!("no two of 200 kills hit the call");
}

#[test]
fn a_worker_killed_in_a_product_is_named_and_hangs_no_other() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        // Packed panels and barriers; strips of a wide product, without a barrier.
        for (m, k, n) in [(700, 1100, 700), (300, 900, 2000)] {
            let (a, b) = (matrix(m, k, 7), matrix(k, n, 8));
            let expected = expected(&a, &b);
            let mut named = 0;
            for _ in 0..20 {
                match with_a_worker_killed(&pool, Duration::ZERO, || pool.matmul(&a, &b)) {
                    // The product, or the worker's part of it, was complete before the kill.
                    (Ok(c), _) => assert!(c.as_slice() == expected, "a wrong product, {m} {k} {n}"),
                    (Err(error), victim) => {
                        assert_eq!(error.death().expect("a death").pid, victim, "{error}");
                        named += 1;
                    }
                }
                if named >= 3 {
                    break;
                }
            }
            assert!(named > 0, "no kill hit a product {m} {k} {n}");
            assert!(pool.matmul(&a, &b).unwrap().as_slice() == expected);
        }
    });
}

#[test]
fn a_kill_at_any_moment_of_any_product_is_an_error_or_comes_too_late() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(520, 600, 1), matrix(600, 560, 2));
        let x = SharedArray::from_fn([600], |[i]| (i % 5) as f64).unwrap();
        let stack =
            SharedArray::from_fn([12, 150, 150], |[i, j, k]| ((i + j + k) % 9) as f64).unwrap();
        let call = |kind: usize| match kind {
            0 => pool.matmul(&a, &b),
            1 => pool.matmul(Matrix::from(&b).transposed(), Matrix::from(&a).transposed()),
            2 => pool.gram(&a),
            3 => pool.matvec(&a, &x),
            _ => pool.matmul_batch(&stack, &stack),
        };
        for kind in 0..5 {
            let begin = Instant::now();
            let right = call(kind).unwrap();
            let whole = begin.elapsed();
            // From the first instruction to a little past the end.
            for step in 0..12 {
                let (outcome, victim) =
                    with_a_worker_killed(&pool, whole * step / 10, || call(kind));
                match outcome {
                    Ok(c) => assert!(c == right, "a wrong result of kind {kind}"),
                    Err(Error::Task(error)) => {
                        let error = Error::Task(error);
                        assert_eq!(error.death().expect("a death").pid, victim, "{error}");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(call(kind).unwrap() == right);
        }
    });
}

#[test]
fn a_repeatable_product_survives_the_death_of_a_worker() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let (a, b) = (matrix(700, 1100, 9), matrix(1100, 700, 10));
        let expected = expected(&a, &b);
        let product = || pool.product(&a, &b).retries(3).run().unwrap();
        with_deaths_in_it(&pool, || assert_eq!(product().as_slice(), expected));
    });
}

#[test]
fn a_product_that_adds_to_what_was_there_is_never_added_twice() {
    alone(|| {
        let pool = Pool::builder().workers(2).retries(5).build().unwrap();
        let (a, b) = (matrix(500, 700, 11), matrix(700, 500, 12));
        let mut expected = expected(&a, &b);
        expected.iter_mut().for_each(|x| *x += 1.0);
        for step in 0..6 {
            let mut c = SharedArray::from_fn([500, 500], |_| 1.0).unwrap();
            let delay = Duration::from_micros(300 * step);
            let (outcome, _) = with_a_worker_killed(&pool, delay, || {
                pool.product(&a, &b).beta(1.0).run_into(&mut c)
            });
            match outcome {
                Ok(()) => assert_eq!(c.as_slice(), expected),
                Err(error) => assert!(error.death().is_some(), "{error}"),
            }
        }
    });
}

#[test]
fn a_product_without_all_of_its_workers_is_right() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        let (a, b) = (matrix(400, 500, 13), matrix(500, 600, 14));
        let expected = expected(&a, &b);
        // One worker is busy until the product is complete.
        let (mut started, says_started) = std::io::pipe().unwrap();
        let (goes_on, go_on) = std::io::pipe().unwrap();
        let path = |fd: RawFd| format!("/proc/{}/fd/{fd}", std::process::id());
        let paths = (path(says_started.as_raw_fd()), path(goes_on.as_raw_fd()));
        let wait = |(started, goes_on): (String, String)| {
            std::fs::write(started, b"!").unwrap();
            std::fs::read(goes_on).unwrap().len()
        };
        let busy = pool.submit(wait, paths).unwrap();
        started.read_exact(&mut [0]).unwrap();
        assert_eq!(pool.matmul(&a, &b).unwrap().as_slice(), expected);
        drop(go_on);
        assert_eq!(busy.join().unwrap(), 0);
    });
}
