//! Workers that die in the middle of a transform.

use brigade::{Complex, Pool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{C, complex_noise};
use crate::common::alone::alone;

/// A pool and one of its workers.
fn pool_and_worker(retries: u32) -> (Pool, Pid) {
    let pool = Pool::builder().workers(2).retries(retries).build().unwrap();
    let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
    (pool, Pid::from_raw(pid.cast_signed()))
}

#[test]
fn a_transform_is_repeated_from_its_input_after_a_death() {
    alone(|| {
        let x = complex_noise::<f64>(&[300, 512]);
        let expected = Pool::builder().workers(1).build().unwrap().fft(&x).run().unwrap();
        for _ in 0..6 {
            let (pool, victim) = pool_and_worker(1);
            std::thread::scope(|scope| {
                scope.spawn(|| kill(victim, Signal::SIGKILL).unwrap());
                for _ in 0..3 {
                    assert!(pool.fft(&x).run().unwrap() == expected);
                }
            });
        }
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
                let again = pool.fft(&x).run().unwrap();
                assert!(
                    again.as_slice().iter().all(|z: &Complex<f64>| *z != C::new(f64::NAN, 0.0))
                );
                return;
            }
        }
        panic!("no worker died in the middle");
    });
}
