//! Parallel loops over arrays.

mod fold;
mod rows;
mod unwinding;

use crate::common::alone::alone;
use crate::common::float::{MODES, mode, set_mode, under};
use brigade::shared::Value;
use brigade::{Error, Pool, Process, SharedArray, Start, TaskError};

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

#[test]
fn every_chunk_is_written_once() {
    alone(|| {
        let pool = pool(3);
        for len in [0usize, 1, 5, 64, 1000, 70_000] {
            let mut x = SharedArray::<u32>::zeroed([len]).unwrap();
            pool.par_chunks_mut(&mut x, 3)
                .enumerate()
                .for_each(|(i, x)| x.iter_mut().for_each(|x| *x += u32::try_from(i).unwrap() + 1))
                .unwrap();
            assert!(x.as_slice().iter().zip(0u32..).all(|(&x, i)| x == i / 3 + 1), "{len}");
        }
    });
}

#[test]
fn operands_are_taken_in_step() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([1000], |[i]| i as f32).unwrap();
        let mut y = SharedArray::from_fn([1000], |[i]| 2.0 * i as f32).unwrap();
        pool.par_chunks_mut(&mut y, 17)
            .zip(&x)
            .with(10.0f32)
            .for_each(|a, (y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x))
            .unwrap();
        assert!(y.as_slice().iter().zip(0u16..).all(|(&y, i)| y == 12.0 * f32::from(i)));
        let short = SharedArray::<f32>::zeroed([999]).unwrap();
        let error = pool.par_chunks(&x, 4).zip(&short).for_each(|_| ()).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
        assert!(matches!(
            pool.par_chunks(&x, 0).for_each(|_| ()),
            Err(Error::InvalidArgument { .. })
        ));
    });
}

/// The worker that runs this, by the name that the pool gave it.
fn worker() -> u64 {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    name.trim().rsplit('-').next().unwrap().parse().unwrap()
}

#[test]
fn the_same_range_goes_to_the_same_worker_in_every_call() {
    alone(|| {
        let pool = pool(3);
        // No worker finishes its first chunk before all have one, so none takes chunks of another.
        let met = brigade::shared::Barrier::new(3).unwrap();
        let mut x = SharedArray::<u64>::zeroed([3000]).unwrap();
        let short = SharedArray::<u8>::zeroed([3]).unwrap();
        for round in 0..50 {
            let x_by = pool.par_chunks_mut(&mut x, 1000).with(met.clone());
            x_by.for_each(|met, x| {
                met.wait().unwrap();
                x.fill(worker());
            })
            .unwrap();
            let by: Vec<u64> = x.as_slice().chunks(1000).map(|x| x[0]).collect();
            assert_eq!(by, [0, 1, 2], "call {round}");
            let other = pool.par_chunks(&short, 1).with(met.clone()).map(|met, _| {
                met.wait().unwrap();
                worker()
            });
            assert_eq!(other.collect().unwrap(), [0, 1, 2], "call {round}, by another loop");
        }
    });
}

#[test]
fn no_chunk_waits_for_one_that_takes_long() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::<u64>::zeroed([100]).unwrap();
        for long in [0, 30, 49, 50, 99] {
            let gate = brigade::shared::Event::new().unwrap();
            let left = brigade::shared::Value::new(99u64).unwrap();
            let calls = pool.par_chunks(&x, 1).enumerate().with((long, gate, left));
            // It lasts until all others are done, so another worker must have run those.
            calls
                .for_each(|(long, gate, left), (i, _)| {
                    if i == *long {
                        gate.wait().unwrap();
                    } else if left.update(|left| left - 1).unwrap() == 1 {
                        gate.set().unwrap();
                    }
                })
                .unwrap();
        }
    });
}

#[test]
fn in_process_chunks_are_taken_in_order() {
    alone(|| {
        let pool = Pool::builder().workers(4).start(Start::InProcess).build().unwrap();
        let x = SharedArray::<u8>::zeroed([100]).unwrap();
        static SEEN: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());
        pool.par_chunks(&x, 3).enumerate().for_each(|(i, _)| SEEN.lock().unwrap().push(i)).unwrap();
        assert!(SEEN.lock().unwrap().iter().copied().eq(0..34));
    });
}

#[test]
fn an_array_that_the_workers_compute_is_the_one_that_the_host_computes() {
    alone(|| {
        let pool = pool(3);
        for shape in [[0, 5, 3], [1, 1, 1], [7, 3, 5], [70, 1, 1001]] {
            let element = |[i, j, k]: [usize; 3]| (i * 1_000_000 + j * 10_000 + k) as u64;
            let own = SharedArray::from_fn(shape, element).unwrap();
            assert_eq!(
                pool.from_fn(shape, element).unwrap().as_slice(),
                own.as_slice(),
                "{shape:?}"
            );
        }
        let scalar = pool.from_fn([], |[]| 7u8).unwrap();
        assert_eq!(scalar.as_slice(), [7]);
    });
}

#[test]
fn a_reduction_has_the_same_bits_for_any_number_of_workers() {
    alone(|| {
        let x = SharedArray::from_fn([100_003], |[i]| 1.0 / (i as f64 + 0.1)).unwrap();
        let sum = |pool: &Pool| {
            pool.par_chunks(&x, 7).map(|x| x.iter().sum::<f64>()).reduce(0.0, |a, b| a + b).unwrap()
        };
        let bits: Vec<u64> = [1, 2, 3, 5].map(|n| sum(&pool(n)).to_bits()).to_vec();
        let own = Pool::builder().workers(2).start(Start::InProcess).build().unwrap();
        assert_eq!(bits, [sum(&own).to_bits(); 4]);
    });
}

#[test]
fn results_are_collected_in_order() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([5000], |[i]| i as u64).unwrap();
        let firsts = pool.par_chunks(&x, 10).map(|x| x[0]).collect().unwrap();
        assert!(firsts.iter().copied().eq((0..500).map(|i| i * 10)));
        let empty = SharedArray::<u64>::zeroed([0]).unwrap();
        assert_eq!(pool.par_chunks(&empty, 10).map(|x| x[0]).collect().unwrap(), [0u64; 0]);
        assert_eq!(pool.par_chunks(&empty, 10).map(|x| x[0]).reduce(7, |a, b| a + b).unwrap(), 7);
    });
}

// The limit on elements without bytes holds for each value; all results of a worker were one value.
#[test]
fn a_loop_has_any_number_of_results_that_take_no_bytes() {
    alone(|| {
        let pool = pool(1);
        let x = SharedArray::<u8>::zeroed([(1 << 20) + 5]).unwrap();
        assert_eq!(pool.par_chunks(&x, 1).map(|_| ()).collect().unwrap().len(), x.len());
        let threes = pool.par_chunks(&x, 2).map(|_| [(); 3].to_vec()).collect().unwrap();
        assert_eq!(threes.iter().map(Vec::len).sum::<usize>(), x.len().div_ceil(2) * 3);
        let many = pool.par_chunks(&x, 1 << 18).map(|x| vec![(); x.len()]);
        assert_eq!(
            many.reduce(Vec::new(), |a, b| if a < b { b } else { a }).unwrap().len(),
            1 << 18
        );
    });
}

// The last levels of a reduction used the pool's rules instead of the loop's.
#[test]
fn a_repeatable_reduction_survives_a_death_in_its_last_levels() {
    alone(|| {
        let pool = pool(1);
        let x = SharedArray::from_slice(&[1u64; 8]).unwrap();
        let died = std::env::temp_dir().join(format!("brigade-reduction-{}", std::process::id()));
        let mapped = pool.par_chunks(&x, 1).retries(1).with(died.clone());
        let sum = mapped.map(|died, x| (x[0], died.clone())).reduce((0, died.clone()), |a, b| {
            // Each block is one chunk here, so this runs only in the last levels.
            if std::fs::File::create_new(&a.1).is_ok() {
                std::process::abort();
            }
            (a.0 + b.0, a.1)
        });
        std::fs::remove_file(&died).unwrap();
        assert_eq!(sum.unwrap().0, 8);
    });
}

#[test]
fn the_first_failure_comes_back_untouched() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([1000], |[i]| i as u64).unwrap();
        let failed = pool
            .par_chunks(&x, 10)
            .try_for_each(|x| if x.contains(&505) { Err(format!("at {}", x[0])) } else { Ok(()) })
            .unwrap();
        assert_eq!(failed, Err("at 500".to_owned()));
        assert_eq!(pool.par_chunks(&x, 10).try_for_each(|_| Ok::<(), ()>(())).unwrap(), Ok(()));
    });
}

#[test]
fn a_panic_in_a_chunk_fails_the_call_and_the_workers_live_on() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::from_fn([1000], |[i]| i as u64).unwrap();
        let error =
            pool.par_chunks(&x, 10).for_each(|x| assert!(x[0] != 500, "five hundred")).unwrap_err();
        match error {
            Error::Task(TaskError::Panicked { message, .. }) => assert_eq!(message, "five hundred"),
            other => panic!("{other}"),
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn a_death_in_a_loop_names_the_torn_range_and_keeps_the_rest() {
    alone(|| {
        let pool = pool(3);
        let mut x = SharedArray::<u64>::zeroed([1000]).unwrap();
        let error = pool
            .par_chunks_mut(&mut x, 10)
            .enumerate()
            .for_each(|(i, x)| {
                if i == 50 {
                    std::process::abort();
                }
                x.fill(i as u64 + 1);
            })
            .unwrap_err();
        let death = error.death().expect("a death");
        assert_eq!(death.torn, vec![500..510], "{error}");
        for (i, &x) in x.as_slice().iter().enumerate() {
            assert!((500..510).contains(&i) || x == i as u64 / 10 + 1, "{i}: {x}");
        }
    });
}

#[test]
fn a_repeatable_loop_survives_a_death() {
    alone(|| {
        let pool = pool(2);
        let mut x = SharedArray::<u64>::zeroed([1000]).unwrap();
        // The first worker that reaches chunk 50 finds it untouched, marks it and dies.
        let run = pool.par_chunks_mut(&mut x, 10).enumerate().retries(3).for_each(|(i, x)| {
            if i == 50 && x[0] == 0 {
                x[0] = 1;
                std::process::abort();
            }
            x.fill(i as u64 + 1);
        });
        run.unwrap();
        assert!(x.as_slice().iter().zip(0u64..).all(|(&x, i)| x == i / 10 + 1));
    });
}

// Retrying the last chunk made no progress in a round, so the loop ended as cancelled.
#[test]
fn a_repeatable_loop_survives_as_many_deaths_of_its_last_chunk_as_allowed() {
    alone(|| {
        fn dies(&(deaths, ref died): &(u32, Value<u32>), x: &mut [u8]) {
            if died.get().unwrap() < deaths {
                died.fetch_add(1).unwrap();
                std::process::abort();
            }
            x.fill(1);
        }
        let pool = pool(1);
        for (retries, deaths) in [(1, 1), (3, 2), (3, 3), (3, 4)] {
            let died = Value::new(0).unwrap();
            let mut x = SharedArray::<u8>::zeroed([1]).unwrap();
            let run = pool.par_chunks_mut(&mut x, 1).retries(retries).with((deaths, died.clone()));
            match run.for_each(dies) {
                Ok(()) => assert!(deaths <= retries && x[[0]] == 1),
                Err(error) => {
                    assert!(deaths > retries, "{deaths}: {error}");
                    assert_eq!(error.death().unwrap().torn.first(), Some(&(0..1)));
                }
            }
            assert_eq!(died.get().unwrap(), deaths.min(retries + 1));
        }
    });
}

#[test]
fn a_repeatable_loop_survives_a_death_before_anything_is_done() {
    alone(|| {
        // Such a round was taken for one without progress, and the loop ended as cancelled.
        let pool = pool(1);
        let mut x = SharedArray::<u64>::zeroed([10]).unwrap();
        let run = pool.par_chunks_mut(&mut x, 1).enumerate().retries(1).for_each(|(i, x)| {
            if i == 0 && x[0] == 0 {
                x[0] = 1;
                std::process::abort();
            }
            x[0] = i as u64 + 1;
        });
        run.unwrap();
        assert!(x.as_slice().iter().copied().eq(1..=10));
    });
}

/// Returns the mode that it finds, and leaves another.
fn found_and_left(other: u32) -> u32 {
    let found = mode();
    set_mode(other);
    found
}

/// No user function begins in a floating-point mode that another function has left: which function
/// ran before it in its worker depends on timing, and results must not.
#[test]
fn every_call_of_a_function_begins_in_the_standard_floating_point_mode() {
    alone(|| {
        let here = Pool::builder().start(Start::InProcess).build().unwrap();
        let x = SharedArray::<u8>::zeroed([5000]).unwrap();
        for (pool, other) in [&pool(1), &here].into_iter().flat_map(|pool| MODES.map(|m| (pool, m)))
        {
            let host = mode();
            let found = |what: &str, found: Vec<u32>| {
                assert!(
                    found.iter().all(|&mode| mode == 0),
                    "{what}, after {other:#x}: {found:x?}"
                );
                assert_eq!(mode(), host, "{what} has left its mode in the host");
            };
            let submit = || pool.submit(found_and_left, other).unwrap().join().unwrap();
            found("tasks", vec![submit(), submit()]);
            found("items", pool.map([other; 50], found_and_left).unwrap().collect());
            let shared = pool.with(other).map(0..50, |&other, _: u32| found_and_left(other));
            found("items with a value", shared.unwrap().collect());
            let pairs = pool.starmap([(other, 0); 50], |other, _: u32| found_and_left(other));
            found("arguments", pairs.unwrap().collect());
            let chunks = pool.par_chunks(&x, 1).with(other).map(|&other, _| found_and_left(other));
            found("chunks", chunks.collect().unwrap());
            let chunks = pool.par_chunks(&x, 1).with(other).map(|&other, _| (0, other));
            let sum = chunks.reduce((0, other), |(a, other), (b, _)| {
                (a + b + u64::from(found_and_left(other) != 0), other)
            });
            assert_eq!(sum.unwrap().0, 0, "combinations begun in a mode that another has left");
            let (send, receive) = std::sync::mpsc::channel();
            for _ in 0..2 {
                let send = send.clone();
                let callback = move |_| send.send(found_and_left(other)).unwrap();
                pool.submit(|()| (), ()).unwrap().then(callback).unwrap();
            }
            found("callbacks", receive.iter().take(2).collect());
        }
        under(MODES[0], || {
            let found = here.submit(found_and_left, MODES[1]).unwrap().join().unwrap();
            assert_eq!((found, mode()), (0, MODES[0]), "the host has its own mode again");
        });
        assert_eq!(Process::spawn(found_and_left, MODES[0]).unwrap().join().unwrap(), 0);
    });
}

#[test]
fn torn_ranges_are_of_operands_that_are_written() {
    alone(|| {
        let pool = pool(2);
        let x = SharedArray::<u8>::zeroed([1000]).unwrap();
        let mut y = SharedArray::<u8>::zeroed([1000]).unwrap();
        let dies = |i: usize| if i == 5 { std::process::abort() } else { 0 };
        let error =
            pool.par_chunks(&x, 100).enumerate().for_each(move |(i, _)| assert_eq!(dies(i), 0));
        let error = error.unwrap_err();
        assert_eq!(error.death().unwrap().torn, [], "{error}");
        let sum =
            pool.par_chunks(&x, 100).enumerate().map(move |(i, _)| dies(i)).reduce(0, |a, b| a + b);
        assert_eq!(sum.unwrap_err().death().unwrap().torn, []);
        // Nobody gets the results of a call that fails.
        let results = pool.par_chunks(&x, 100).enumerate().map(move |(i, _)| dies(i));
        assert_eq!(results.collect_array().unwrap_err().death().unwrap().torn, []);
        let bins = pool.par_chunks(&x, 100).enumerate();
        let bins = bins.fold_array(1, move |bins: &mut [i32], (i, _)| bins[0] += dies(i));
        assert_eq!(bins.merge(|a, b| a + b).unwrap_err().death().unwrap().torn, []);
        let filled = pool.from_fn([100_000], move |[i]| dies(i)).unwrap_err();
        assert_eq!(filled.death().unwrap().torn, []);
        let written = pool.par_chunks_mut(&mut y, 100).enumerate().map(move |(i, _)| dies(i));
        let error = written.collect_array().unwrap_err();
        assert_eq!(error.death().unwrap().torn, std::slice::from_ref(&(500..600)), "{error}");
        let pairs = pool.par_chunks(&x, 100).zip(&mut y).enumerate();
        let error = pairs.for_each(move |(i, _)| assert_eq!(dies(i), 0)).unwrap_err();
        assert_eq!(error.death().unwrap().torn, std::slice::from_ref(&(500..600)), "{error}");
    });
}
