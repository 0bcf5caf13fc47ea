//! Workers that die in the middle of a transform.

use brigade::{ConvolveMode, Pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{complex_noise, real_noise};
use crate::common::alone::alone;

/// A pool and one of its workers.
fn pool_and_worker(retries: u32) -> (Pool, Pid) {
    let pool = Pool::builder().workers(2).retries(retries).build().unwrap();
    let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
    (pool, Pid::from_raw(pid.cast_signed()))
}

/// Repeats a call while one of its two workers is killed, until `deaths` workers died in a call.
fn with_deaths(deaths: u64, call: impl Fn(&Pool)) {
    let mut found = 0;
    for _ in 0..400 {
        let (pool, victim) = pool_and_worker(1);
        std::thread::scope(|scope| {
            scope.spawn(|| kill(victim, Signal::SIGKILL).unwrap());
            call(&pool);
        });
        // A worker that dies between the tasks of a call fails none.
        found += pool.stats().failed;
        if found >= deaths {
            return;
        }
    }
    panic!("{found} workers died in the middle");
}

#[test]
fn a_transform_is_repeated_from_its_input_after_a_death() {
    alone(|| {
        let x = complex_noise::<f64>(&[300, 512]);
        let expected = Pool::builder().workers(1).build().unwrap().fft(&x).run().unwrap();
        with_deaths(3, |pool| assert!(pool.fft(&x).run().unwrap() == expected));
    });
}

#[test]
fn every_step_of_a_convolution_is_repeated_after_a_death() {
    alone(|| {
        let (a, b) = (real_noise::<f64>(&[100_000]), real_noise::<f64>(&[30_000]));
        let convolve = |pool: &Pool| pool.fft_convolve(&a, &b, ConvolveMode::Full).unwrap();
        let expected = convolve(&Pool::builder().workers(1).build().unwrap());
        with_deaths(8, |pool| assert!(convolve(pool) == expected));
    });
}

#[test]
fn a_death_fails_a_transform_in_place_even_with_retries() {
    alone(|| {
        let mut deaths = 0;
        for _ in 0..200 {
            let mut x = complex_noise::<f32>(&[64, 4096]);
            let (pool, victim) = pool_and_worker(3);
            let expected = pool.fft(&x).run().unwrap();
            let ended = std::thread::scope(|scope| {
                scope.spawn(|| kill(victim, Signal::SIGKILL).unwrap());
                pool.fft_in_place(&mut x).run()
            });
            match ended {
                Ok(()) => assert!(x == expected),
                Err(error) => {
                    let death = error.death().unwrap_or_else(|| panic!("{error}"));
                    assert_eq!(death.pid, victim.as_raw().cast_unsigned());
                    deaths += 1;
                }
            }
            if deaths == 2 {
                return;
            }
        }
        panic!("{deaths} workers died in the middle");
    });
}

#[test]
fn a_death_without_retries_is_the_error_of_the_call() {
    alone(|| {
        let x = complex_noise::<f64>(&[64, 4096]);
        let expected = Pool::builder().workers(1).build().unwrap().fft(&x).run().unwrap();
        for _ in 0..200 {
            let (pool, victim) = pool_and_worker(0);
            let ended = std::thread::scope(|scope| {
                scope.spawn(|| kill(victim, Signal::SIGKILL).unwrap());
                pool.fft(&x).run()
            });
            if let Err(error) = ended {
                let death = error.death().unwrap_or_else(|| panic!("{error}"));
                assert_eq!(
                    (death.pid, &death.torn[..]),
                    (victim.as_raw().cast_unsigned(), &[][..])
                );
                assert!(pool.fft(&x).run().unwrap() == expected);
                return;
            }
        }
        panic!("no worker died in the middle");
    });
}
