//! Matrix products by teams of workers.

use std::sync::atomic::{AtomicBool, Ordering};

use brigade::kernel::matmul::{MatMut, MatRef, naive};
use brigade::{Error, Matrix, Pool, SharedArray, Start};

fn matrix(m: usize, n: usize, seed: usize) -> SharedArray<f64> {
    // Small integers: every product and sum is exact, so results must be equal.
    SharedArray::from_fn([m, n], |[i, j]| ((i * 7 + j * 13 + seed) % 17) as f64 - 8.0).unwrap()
}

fn expected(a: &SharedArray<f64>, b: &SharedArray<f64>) -> Vec<f64> {
    let [m, k] = *a.shape().dims() else { panic!() };
    let n = b.shape().dims()[1];
    let mut c = vec![0.0; m * n];
    naive(
        1.0,
        MatRef::row_major(a.as_slice(), m, k).unwrap(),
        MatRef::row_major(b.as_slice(), k, n).unwrap(),
        0.0,
        MatMut::row_major(&mut c, m, n).unwrap(),
    )
    .unwrap();
    c
}

#[test]
fn products_equal_the_naive_oracle_for_any_number_of_workers() {
    for workers in [1, 2, 3, 5] {
        let pool = Pool::builder().workers(workers).build().unwrap();
        for (m, k, n) in [(300, 200, 310), (1, 900, 900), (900, 900, 1), (257, 513, 129), (3, 4, 5)]
        {
            let (a, b) = (matrix(m, k, 1), matrix(k, n, 2));
            assert_eq!(pool.matmul(&a, &b).unwrap().as_slice(), expected(&a, &b), "{m} {k} {n}");
        }
    }
}

#[test]
fn products_of_empty_matrices_are_empty_or_zero() {
    let pool = Pool::builder().workers(2).build().unwrap();
    for (m, k, n) in [(0, 3, 3), (3, 0, 3), (3, 3, 0), (0, 0, 0)] {
        let c = pool.matmul(&matrix(m, k, 0), &matrix(k, n, 0)).unwrap();
        assert_eq!(c.shape().dims(), [m, n]);
        assert!(c.as_slice().iter().all(|&x| x == 0.0));
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_workers() {
    let a = SharedArray::from_fn([500, 700], |[i, j]| 1.0 / (1.0 + (i + 2 * j) as f64)).unwrap();
    let b = SharedArray::from_fn([700, 600], |[i, j]| 1.0 / (3.0 + (5 * i + j) as f64)).unwrap();
    let product = |workers| {
        let pool = Pool::builder().workers(workers).build().unwrap();
        pool.matmul(&a, &b).unwrap()
    };
    let one = product(1);
    for workers in [2, 3, 5] {
        assert!(product(workers) == one, "{workers} workers");
    }
    let own = Pool::builder().start(Start::InProcess).build().unwrap();
    assert!(own.matmul(&a, &b).unwrap() == one, "in process");
}

#[test]
fn transposed_operands_are_read_in_place() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let (a, b) = (matrix(400, 300, 3), matrix(400, 350, 4));
    let flipped = SharedArray::from_fn([300, 400], |[i, j]| a[[j, i]]).unwrap();
    let c = pool.matmul(Matrix::from(&a).transposed(), &b).unwrap();
    assert_eq!(c.as_slice(), expected(&flipped, &b));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let error = pool.matmul(&matrix(3, 4, 0), &matrix(3, 4, 0)).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
    assert!(error.to_string().contains("[3, 4]"), "{error}");
    let flat = SharedArray::<f64>::zeroed([4]).unwrap();
    assert!(matches!(pool.matmul(&flat, &flat), Err(Error::InvalidArgument { .. })));
    let mut wrong = SharedArray::<f64>::zeroed([2, 2]).unwrap();
    let error = pool.product(&matrix(3, 4, 0), &matrix(4, 3, 0)).run_into(&mut wrong).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
}

#[test]
fn two_products_at_once_do_not_wait_for_each_other_for_ever() {
    let pool = Pool::builder().workers(3).build().unwrap();
    let (a, b) = (matrix(400, 400, 5), matrix(400, 400, 6));
    let expected = expected(&a, &b);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(pool.matmul(&a, &b).unwrap().as_slice(), expected);
                }
            });
        }
    });
}

/// The ids of all workers: asked until each has answered.
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

/// Runs `product` while another thread kills a worker as soon as the product is under way.
fn with_a_worker_killed<R>(pool: &Pool, product: impl FnOnce() -> R) -> (R, u32) {
    let victim = worker_pids(pool)[0];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while pool.stats().offered < 2 {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                std::thread::yield_now();
            }
            let victim = nix::unistd::Pid::from_raw(victim.cast_signed());
            nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).unwrap();
        });
        let result = product();
        is_over.store(true, Ordering::Release);
        (result, victim)
    })
}

#[test]
fn a_worker_killed_in_a_product_is_named_and_hangs_nobody() {
    let pool = Pool::builder().workers(3).build().unwrap();
    // Packed panels and barriers; strips of a wide product, without a barrier.
    for (m, k, n) in [(700, 1100, 700), (300, 900, 2000)] {
        let (a, b) = (matrix(m, k, 7), matrix(k, n, 8));
        let expected = expected(&a, &b);
        let mut named = 0;
        for _ in 0..20 {
            match with_a_worker_killed(&pool, || pool.matmul(&a, &b)) {
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
        assert!(named > 0, "no kill met a product {m} {k} {n}");
        assert!(pool.matmul(&a, &b).unwrap().as_slice() == expected);
    }
}

#[test]
fn a_repeatable_product_survives_the_death_of_a_worker() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let (a, b) = (matrix(700, 1100, 9), matrix(1100, 700, 10));
    let expected = expected(&a, &b);
    for _ in 0..4 {
        let (c, _) = with_a_worker_killed(&pool, || pool.product(&a, &b).retries(3).run());
        assert_eq!(c.unwrap().as_slice(), expected);
    }
    assert!(pool.stats().restarts > 0, "no kill met a product");
}
