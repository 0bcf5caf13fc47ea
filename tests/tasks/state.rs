//! Typed state, indices of workers, and seeds.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use brigade::{Error, Frozen, Pool, PoolBuilder, SharedArray, Start, TaskError};

use crate::common::Directory;
use crate::common::time::spend_millis;

fn one() -> PoolBuilder {
    Pool::builder().workers(1)
}

/// A value that needs neither `Send` nor an encoding, and leaves traces in a directory.
struct Traced {
    directory: PathBuf,
    calls: std::rc::Rc<u32>,
}

fn traced(directory: PathBuf) -> Result<Traced, String> {
    append(&directory, "made");
    Ok(Traced { directory, calls: 0.into() })
}

impl Drop for Traced {
    fn drop(&mut self) {
        append(&self.directory, "dropped");
    }
}

fn append(directory: &std::path::Path, event: &str) {
    let path = directory.join(event);
    let count = fs::read_to_string(&path).map_or(0, |text| text.parse().unwrap());
    fs::write(path, (count + 1).to_string()).unwrap();
}

fn count(directory: &Directory, event: &str) -> u32 {
    fs::read_to_string(directory.0.join(event)).map_or(0, |text| text.parse().unwrap())
}

fn call(state: &mut Traced, n: u32) -> u32 {
    *std::rc::Rc::get_mut(&mut state.calls).unwrap() += n;
    *state.calls
}

#[test]
fn a_function_that_makes_a_state_again_runs_outside_of_tasks() {
    let make = |()| Ok::<_, String>(brigade::task_number());
    let pool = one().state(make, ()).build().unwrap();
    let fail = |_: &mut Option<u64>, ()| assert!(std::process::id() == 0, "on purpose");
    assert!(pool.submit_with_state(fail, ()).unwrap().join().is_err());
    let look = |state: &mut Option<u64>, ()| (*state, brigade::task_number());
    assert_eq!(pool.submit_with_state(look, ()).unwrap().join().unwrap(), (None, Some(1)));
}

#[test]
fn a_state_lives_as_long_as_its_worker_and_is_dropped_when_that_leaves() {
    let directory = Directory::new();
    let pool = one().state(traced, directory.0.clone()).build().unwrap();
    for n in 1..=5 {
        assert_eq!(pool.submit_with_state(call, 1).unwrap().join().unwrap(), n);
    }
    assert_eq!(pool.submit(|()| 7, ()).unwrap().join().unwrap(), 7, "a task without it");
    assert_eq!((count(&directory, "made"), count(&directory, "dropped")), (1, 0));
    pool.shutdown().unwrap();
    assert_eq!((count(&directory, "made"), count(&directory, "dropped")), (1, 1));
}

/// A value that prints when it is dropped.
struct Prints;

impl Drop for Prints {
    fn drop(&mut self) {
        print!("closed, without an end of line");
    }
}

#[test]
fn what_a_state_prints_when_it_is_dropped_is_flushed() {
    let directory = Directory::new();
    let path = directory.0.join("printed");
    let make = |path: PathBuf| {
        let file = fs::File::create(path).map_err(|error| error.to_string())?;
        nix::unistd::dup2_stdout(&file).map_err(|error| error.to_string())?;
        Ok(Prints)
    };
    let pool = one().state(make, path.clone()).build().unwrap();
    assert_eq!(pool.submit(|()| 7, ()).unwrap().join().unwrap(), 7);
    pool.shutdown().unwrap();
    assert_eq!(fs::read_to_string(path).unwrap(), "closed, without an end of line");
}

#[test]
fn a_replacement_makes_a_state_of_its_own() {
    let directory = Directory::new();
    let pool = one().state(traced, directory.0.clone()).build().unwrap();
    pool.submit_with_state(call, 1).unwrap().join().unwrap();
    let crash = |_: &mut Traced, ()| -> () { std::process::abort() };
    assert!(pool.submit_with_state(crash, ()).unwrap().join().unwrap_err().death().is_some());
    assert_eq!(pool.submit_with_state(call, 1).unwrap().join().unwrap(), 1);
    assert_eq!((count(&directory, "made"), count(&directory, "dropped")), (2, 0));
    pool.shutdown().unwrap();
    let pool = one().state(traced, directory.0.clone()).max_tasks_per_worker(1).build().unwrap();
    for _ in 0..3 {
        assert_eq!(pool.submit_with_state(call, 1).unwrap().join().unwrap(), 1);
    }
    pool.shutdown().unwrap();
    assert_eq!(count(&directory, "made"), count(&directory, "dropped") + 1);
}

#[test]
fn a_panic_in_a_task_that_has_the_state_drops_it_and_another_is_made() {
    let directory = Directory::new();
    let pool = one().state(traced, directory.0.clone()).build().unwrap();
    assert_eq!(pool.submit_with_state(call, 5).unwrap().join().unwrap(), 5);
    let panics = |_: &mut Traced, ()| -> () { panic!("half way") };
    let error = pool.submit_with_state(panics, ()).unwrap().join().unwrap_err();
    assert!(matches!(error, Error::Task(TaskError::Panicked { .. })));
    assert_eq!(pool.submit_with_state(call, 1).unwrap().join().unwrap(), 1);
    assert_eq!((count(&directory, "made"), count(&directory, "dropped")), (2, 1));
    // A panic of a task that does not have it leaves it alone.
    pool.submit(|()| -> () { panic!("elsewhere") }, ()).unwrap().join().unwrap_err();
    assert_eq!(pool.submit_with_state(call, 1).unwrap().join().unwrap(), 2);
}

#[test]
fn a_task_that_waits_while_the_state_is_made_again_does_not_time_out() {
    let directory = Directory::new();
    let make = |directory: PathBuf| {
        append(&directory, "made");
        if fs::read_to_string(directory.join("made")).unwrap() != "1" {
            // Longer than the timeout, and the second that a worker may take to wake up.
            spend_millis(1600);
        }
        Ok(())
    };
    let builder = one().state(make, directory.0.clone());
    let pool = builder.timeout(Duration::from_millis(200)).build().unwrap();
    let panics = |_: &mut (), ()| -> () { panic!("on purpose") };
    pool.submit_with_state(panics, ()).unwrap().join().unwrap_err();
    let waits = pool.submit_with_state(|_: &mut (), n: u32| n, 7).unwrap();
    assert_eq!(waits.join().unwrap(), 7);
    assert_eq!((count(&directory, "made"), pool.stats().restarts), (2, 0));
}

#[test]
fn another_type_or_none_is_an_error_at_the_submit() {
    let pool = one().state(|()| Ok(1u32), ()).build().unwrap();
    let error = pool.submit_with_state(|_: &mut i64, ()| (), ()).unwrap_err();
    assert_eq!(error.to_string(), "the state of a task is i64, but must be u32");
    assert_eq!(pool.submit_with_state(|n: &mut u32, ()| *n, ()).unwrap().join().unwrap(), 1);
    let error = one().build().unwrap().submit_with_state(|_: &mut i64, ()| (), ()).unwrap_err();
    assert!(error.to_string().contains("PoolBuilder::state"), "{error}");
    let error = one().start(Start::InProcess).state(|()| Ok(1u32), ()).build().unwrap_err();
    assert!(error.to_string().starts_with("the state is set"), "{error}");
}

#[test]
fn a_state_that_cannot_be_made_breaks_the_pool_with_its_reason() {
    let fails = |()| Err::<u32, String>("there is no licence".into());
    let panics = |()| -> Result<u32, String> { panic!("no disk") };
    let pools = [
        (one().state(fails, ()), "the function that makes the state failed: there is no licence"),
        (one().state(panics, ()), "no disk"),
    ];
    for (builder, expected) in pools {
        let ready = builder.build().and_then(|pool| pool.wait_ready(Duration::from_secs(60)));
        let text = ready.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_state_that_is_never_made_holds_up_no_end_of_the_pool() {
    let hangs = |()| -> Result<u32, String> {
        loop {
            std::thread::park();
        }
    };
    let pool = one().state(hangs, ()).grace(Duration::ZERO).build().unwrap();
    let task = pool.submit_with_state(|n: &mut u32, ()| *n, ()).unwrap();
    drop(pool);
    task.join().unwrap_err();
}

#[test]
fn a_state_may_keep_a_shared_array() {
    let array = SharedArray::from_fn([1000], |[i]| i as u64).unwrap().freeze();
    let keep = |array: Frozen<u64>| Ok(array);
    let pool = one().state(keep, array.clone()).build().unwrap();
    let sum = |array: &mut Frozen<u64>, ()| array.as_slice().iter().sum::<u64>();
    for _ in 0..3 {
        assert_eq!(pool.submit_with_state(sum, ()).unwrap().join().unwrap(), 499_500);
    }
}

#[test]
fn each_worker_knows_its_index_and_a_replacement_has_the_same() {
    let pool = Pool::builder().workers(2).max_tasks_per_worker(3).build().unwrap();
    let tasks: Vec<_> =
        (0..40).map(|_| pool.submit(|()| brigade::worker_index().unwrap(), ()).unwrap()).collect();
    let found: Vec<usize> = tasks.into_iter().map(|task| task.join().unwrap()).collect();
    assert!(found.iter().all(|&index| index < 2));
}

#[test]
fn seeds_do_not_depend_on_workers_deaths_or_maps_between() {
    let seeds = |workers: usize, crashes: bool| {
        let pool = Pool::builder().workers(workers).seed(11).retries(1).build().unwrap();
        let path = std::env::temp_dir().join(crate::common::unique("seed"));
        let first_dies = |path: PathBuf| {
            if fs::File::create_new(&path).is_ok() {
                std::process::abort();
            }
            let _ = fs::remove_file(&path);
            brigade::task_seed().unwrap()
        };
        let mut found = Vec::new();
        for n in 0..6 {
            let mapped = pool.map(0..n * 1000, |_: u64| brigade::task_number()).unwrap();
            assert!(mapped.collect::<Vec<_>>().iter().all(Option::is_none));
            let everywhere = pool.broadcast(|()| brigade::task_seed(), ()).unwrap();
            assert!(everywhere.iter().all(|one| one.result == Ok(None)));
            found.push(match crashes {
                true => pool.submit(first_dies, path.clone()).unwrap().join().unwrap(),
                false => {
                    pool.submit(|()| brigade::task_seed().unwrap(), ()).unwrap().join().unwrap()
                }
            });
        }
        found
    };
    let expected = seeds(1, false);
    assert_eq!(seeds(3, true), expected);
    let mut distinct = expected.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), expected.len());
}
