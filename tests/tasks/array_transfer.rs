//! Arrays that travel into tasks and back by handle.

use std::any::Any;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::common::alone::alone;
use crate::common::processes;
use crate::common::tasks::{count, counted, forever, tally};
use crate::common::time::wait_for;
use brigade::{
    Error, Frozen, Handle, OwnedChunk, Pool, Process, Queue, SharedArray, Start, TaskError,
};
use serde::{Deserialize, Serialize};

fn pools() -> [Pool; 2] {
    let builder = || Pool::builder().workers(2);
    [builder().build().unwrap(), builder().start(Start::InProcess).build().unwrap()]
}

fn sum((x, from): (Frozen<u64>, usize)) -> u64 {
    x.as_slice()[from..].iter().sum()
}

fn double(mut chunk: OwnedChunk<u64>) -> OwnedChunk<u64> {
    chunk.as_mut_slice().iter_mut().for_each(|x| *x *= 2);
    chunk
}

#[test]
fn a_frozen_array_is_read_by_many_tasks_and_thawed_without_a_copy() {
    alone(|| {
        for pool in pools() {
            let x = SharedArray::from_fn([1000], |[i]| i as u64).unwrap();
            let address = x.as_slice().as_ptr();
            let frozen = x.freeze();
            let sums: Vec<u64> =
                pool.map((0..10).map(|i| (frozen.clone(), i)), sum).unwrap().collect();
            assert!(
                sums.iter()
                    .zip(0u64..)
                    .all(|(&sum, i)| sum == 499_500 - i * i.saturating_sub(1) / 2)
            );
            let thawed = frozen.thaw().unwrap();
            assert_eq!(thawed.as_slice().as_ptr(), address);
        }
    });
}

#[test]
fn a_frozen_array_comes_back_as_the_same_array() {
    alone(|| {
        for pool in pools() {
            let frozen = SharedArray::from_slice(&[1u8, 2, 3]).unwrap().freeze();
            let address = frozen.as_slice().as_ptr();
            let back: Frozen<u8> = pool.submit(|x: Frozen<u8>| x, frozen).unwrap().join().unwrap();
            assert_eq!((back.as_slice().as_ptr(), back.as_slice()), (address, &[1u8, 2, 3][..]));
        }
    });
}

#[test]
fn chunks_move_into_tasks_and_come_back_changed_without_a_copy() {
    alone(|| {
        for pool in pools() {
            let x = SharedArray::from_fn([100, 10], |[i, j]| (10 * i + j) as u64).unwrap();
            let address = x.as_slice().as_ptr();
            let chunks = x.into_chunks(64).unwrap();
            let back: Vec<OwnedChunk<u64>> = pool.map(chunks, double).unwrap().collect();
            let x = SharedArray::from_chunks(back).unwrap();
            assert_eq!((x.as_slice().as_ptr(), x.shape().dims()), (address, &[100, 10][..]));
            assert!(x.as_slice().iter().zip(0..).all(|(&x, i)| x == 2 * i));
        }
    });
}

#[test]
fn a_chunk_that_its_task_keeps_for_later_costs_the_worker_its_life_and_nothing_else() {
    alone(|| {
        static HIDDEN: Mutex<Vec<OwnedChunk<u64>>> = Mutex::new(Vec::new());
        let hide = |chunk: OwnedChunk<u64>| {
            HIDDEN.lock().unwrap().push(chunk);
            std::process::id()
        };
        let pool = Pool::builder().workers(1).build().unwrap();
        let mut chunks = SharedArray::from_fn([8], |[i]| i as u64).unwrap().into_chunks(4).unwrap();
        let kept = chunks.pop().unwrap();
        let hider = pool.submit(hide, chunks.pop().unwrap()).unwrap().join().unwrap();
        let next = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
        assert_ne!(hider, next, "the worker that hid a chunk runs another task");
        drop(kept);
    });
}

#[test]
fn a_chunk_whose_worker_dies_is_lost_with_the_task_and_the_others_are_whole() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let mut chunks = SharedArray::from_fn([8], |[i]| i as u64).unwrap().into_chunks(4).unwrap();
        let second = chunks.pop().unwrap();
        let crash = |_: OwnedChunk<u64>| -> OwnedChunk<u64> { std::process::abort() };
        let crashed = pool.submit(crash, chunks.pop().unwrap()).unwrap();
        let doubled = pool.submit(double, second).unwrap();
        assert!(crashed.join().unwrap_err().death().is_some());
        assert_eq!(doubled.join().unwrap().as_slice(), [8, 10, 12, 14]);
    });
}

#[test]
fn a_task_that_writes_to_its_input_dies_and_the_input_is_intact() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let frozen = SharedArray::from_slice(&[7u64; 100]).unwrap().freeze();
        let vandal = |x: Frozen<u64>| {
            let address = x.as_slice().as_ptr().cast_mut();
            // SAFETY: none; that is the point. The page is mapped read-only here.
            #[allow(unsafe_code)]
            unsafe {
                address.write_volatile(1)
            };
        };
        let error = pool.submit(vandal, frozen.clone()).unwrap().join().unwrap_err();
        let death = error.death().expect("a death");
        assert_eq!(death.reason.signal_name(), Some("SIGSEGV"), "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
        assert_eq!(frozen.as_slice(), [7; 100]);
    });
}

#[test]
fn a_handle_is_refused_where_it_cannot_cross() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let frozen = SharedArray::from_slice(&[1u8]).unwrap().freeze();
        let queue = Queue::<Frozen<u8>>::new(1 << 10).unwrap();
        let error = queue.put(frozen).unwrap_err().error;
        assert!(error.to_string().contains("the argument or the result of a task"), "{error}");
        let made_inside = |()| SharedArray::from_slice(&[1u8]).unwrap().freeze();
        let error = pool.submit(made_inside, ()).unwrap().join().unwrap_err();
        assert!(error.to_string().contains("that a task made in shared memory"), "{error}");
    });
}

/// An array, and a number from it that an initializer keeps.
static KEPT: OnceLock<(Frozen<u64>, u64)> = OnceLock::new();

fn keep(array: Frozen<u64>, seven: u64) -> Result<(), String> {
    KEPT.set((array, seven)).map_err(|_| "a second initializer".to_owned())
}

// Class of bug: whether a value for several workers could hold an array depended on the method by
// which it was passed.
#[test]
fn a_frozen_array_goes_wherever_an_argument_goes() {
    alone(|| {
        let frozen = SharedArray::from_fn([1000], |[i]| i as u64).unwrap().freeze();
        let sum_of = |x: &Frozen<u64>, n: u64| x.as_slice().iter().sum::<u64>() + n;
        let pool = Pool::builder().workers(2);
        let pool = pool.initializer(|(x, n)| keep(x, n), (frozen.clone(), 7)).build().unwrap();
        // Twice for each worker: what the initializer keeps does not make the worker leave.
        for n in 0..8 {
            let of_kept = |n: u64| {
                let (array, seven) = KEPT.get().unwrap();
                array.as_slice().iter().sum::<u64>() + seven + n
            };
            assert_eq!(pool.submit(of_kept, n).unwrap().join().unwrap(), 499_507 + n);
        }
        assert_eq!(pool.submit(sum, (frozen.clone(), 0)).unwrap().join().unwrap(), 499_500);
        let sums: Vec<u64> = pool.with(frozen.clone()).map(0..9, sum_of).unwrap().collect();
        assert!(sums.into_iter().eq(499_500..499_509));
        let sums = pool.with(frozen.clone()).imap(0..9, 3, sum_of).unwrap();
        assert!(sums.map(Result::unwrap).eq(499_500..499_509));
        // The items may also be arrays, including the same one, and all of them come back.
        let other = SharedArray::from_slice(&[5u64, 6]).unwrap().freeze();
        let items = [frozen.clone(), other.clone(), frozen.clone()];
        let both = |x: &Frozen<u64>, y: Frozen<u64>| (x.clone(), y);
        for (item, (x, y)) in
            items.iter().zip(pool.with(frozen.clone()).map(items.clone(), both).unwrap())
        {
            assert_eq!((x.as_slice(), y.as_slice()), (frozen.as_slice(), item.as_slice()));
        }
        let ones = SharedArray::from_slice(&[1u64; 10]).unwrap();
        let sums =
            pool.par_chunks(&ones, 5).with(frozen.clone()).map(|x, y| x.as_slice()[9] + y[0]);
        assert_eq!(sums.collect().unwrap(), [10, 10]);
        let process = Process::spawn(|x: Frozen<u64>| x.as_slice().len(), frozen.clone()).unwrap();
        assert_eq!(process.join().unwrap(), 1000);
        assert_eq!(pool.stats().restarts, 0);
        // A handle that outlives its pool keeps no worker, so there are no leases.
        let handle = pool.submit(|n: u8| n, 7).unwrap();
        drop((items, pool));
        let place = frozen.as_slice().as_ptr();
        assert_eq!(frozen.thaw().unwrap().as_slice().as_ptr(), place, "every lease is over");
        drop(handle);
    });
}

#[test]
fn in_process_a_frozen_array_goes_wherever_an_argument_goes() {
    alone(|| {
        let frozen = SharedArray::from_slice(&[7u64, 8]).unwrap().freeze();
        let first =
            |x: Frozen<u64>| if x.as_slice()[0] == 7 { Ok(()) } else { Err("no 7".to_owned()) };
        let pool = Pool::builder().start(Start::InProcess).initializer(first, frozen.clone());
        let pool = pool.build().unwrap();
        let kept: Vec<Frozen<u64>> =
            pool.with(frozen.clone()).map(0..3, |x, _: u8| x.clone()).unwrap().collect();
        drop((frozen, pool));
        assert!(kept.iter().all(|x| x.as_slice() == [7, 8]));
    });
}

#[test]
fn a_chunk_in_a_value_for_several_workers_is_refused_in_words_and_stays_where_it_was() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let chunk = || SharedArray::from_slice(&[1u8]).unwrap().into_chunks(1).unwrap().remove(0);
        let numbers = SharedArray::from_slice(&[1u8; 8]).unwrap();
        let errors = [
            pool.with(chunk()).map(0..3u8, |_, n| n).map(drop).unwrap_err(),
            pool.par_chunks(&numbers, 1).with(chunk()).for_each(|_, _| ()).unwrap_err(),
            Pool::builder().initializer(|_: OwnedChunk<u8>| Ok(()), chunk()).build().unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("moves into one task"), "{error}");
        }
    });
}

/// How a task keeps its handle.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Hide {
    Thread,
    Static,
    Leak,
    Forget,
}

/// How it ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum End {
    Value,
    Error,
    Panic,
    Cancel,
    Retry,
    Timeout,
    Kill,
    Drop,
}

const HIDES: [Hide; 4] = [Hide::Thread, Hide::Static, Hide::Leak, Hide::Forget];
const ENDS: [End; 8] = [
    End::Value,
    End::Error,
    End::Panic,
    End::Cancel,
    End::Retry,
    End::Timeout,
    End::Kill,
    End::Drop,
];
const ELEMENTS: usize = 1 << 15;

/// A handle that can be kept, and used while it exists.
trait Kept: Any + Send {
    fn work(&mut self);
}

impl Kept for OwnedChunk<u64> {
    fn work(&mut self) {
        self.as_mut_slice().fill(0xdead);
    }
}

impl Kept for Frozen<u64> {
    fn work(&mut self) {
        assert!(self.as_slice().iter().all(|&x| x == 0));
    }
}

/// Keeps a handle beyond the end of its task, and has threads that end late.
fn hide(mut kept: impl Kept, how: Hide) {
    static HIDDEN: Mutex<Vec<Box<dyn Any + Send>>> = Mutex::new(Vec::new());
    for _ in 0..30 {
        std::thread::spawn(forever);
    }
    match how {
        Hide::Thread => drop(std::thread::spawn(move || {
            loop {
                kept.work();
            }
        })),
        Hide::Static => HIDDEN.lock().unwrap().push(Box::new(kept)),
        Hide::Leak => drop(Box::leak(Box::new(kept))),
        Hide::Forget => std::mem::forget(kept),
    }
}

/// Ends in the given way; writes to a file that the handle is kept.
fn end(how: End, path: &str) -> Result<(), String> {
    count(path);
    match how {
        End::Value => Ok(()),
        End::Error => Err("no".to_owned()),
        End::Panic => panic!("no"),
        End::Cancel | End::Drop => {
            while !brigade::is_cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        }
        End::Retry if counted(path) == 1 => std::process::abort(),
        End::Retry => Ok(()),
        End::Timeout | End::Kill => {
            forever();
            Ok(())
        }
    }
}

fn keep_chunk(
    (chunk, hidden, how, path): (OwnedChunk<u64>, Hide, End, String),
) -> Result<(), String> {
    hide(chunk, hidden);
    end(how, &path)
}

fn keep_frozen((x, hidden, how, path): (Frozen<u64>, Hide, End, String)) -> Result<(), String> {
    hide(x, hidden);
    end(how, &path)
}

/// Waits for a task that ends in this way; when that is known, nothing can use what it kept.
fn await_end(pool: Pool, task: Handle<Result<(), String>>, how: End, path: &str, worker: u32) {
    wait_for(|| counted(path) > 0 || task.is_finished());
    match how {
        End::Cancel => drop(task.cancel()),
        End::Kill => task.kill(Duration::ZERO).unwrap(),
        _ => {}
    }
    let pool = (!matches!(how, End::Drop)).then_some(pool);
    let outcome = task.join();
    // With a retry the worker is another one, whose process id is not known here.
    let is_gone = matches!(how, End::Retry) || processes::Process::of(worker).is_none();
    assert!(is_gone, "{how:?}: {outcome:?} while worker {worker} is there");
    match (how, outcome) {
        (End::Value | End::Cancel | End::Retry | End::Drop, Ok(Ok(()))) => {}
        (End::Error, Ok(Err(text))) => assert_eq!(text, "no"),
        (End::Panic, Err(Error::Task(TaskError::Panicked { .. }))) => {}
        (End::Timeout, Err(Error::Task(TaskError::TimedOut { .. }))) => {}
        (End::Kill, Err(Error::Task(TaskError::Cancelled))) => {}
        (how, outcome) => panic!("{how:?}: {outcome:?}"),
    }
    drop(pool);
}

fn pool_for(how: End) -> (Pool, u32) {
    let timeout = if matches!(how, End::Timeout) { 300 } else { 60_000 };
    let builder = Pool::builder().workers(1).timeout(Duration::from_millis(timeout)).retries(1);
    let pool = builder.build().unwrap();
    let worker = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
    (pool, worker)
}

// Class of bug: a lease is returned to the host while a handle of it is alive in the worker.
#[test]
fn a_lease_ends_with_its_worker_however_its_task_hid_the_handle_and_ended() {
    alone(|| {
        for (hidden, how) in HIDES.into_iter().flat_map(|hide| ENDS.map(|end| (hide, end))) {
            let (pool, worker) = pool_for(how);
            let path = tally("hidden");
            let array = SharedArray::<u64>::zeroed([ELEMENTS]).unwrap();
            let chunk = array.into_chunks(ELEMENTS).unwrap().pop().unwrap();
            let task = pool.submit(keep_chunk, (chunk, hidden, how, path.clone())).unwrap();
            await_end(pool, task, how, &path, worker);
            for _ in 0..4 {
                let fresh = SharedArray::<u64>::zeroed([ELEMENTS]).unwrap();
                let foreign = fresh.as_slice().iter().filter(|&&x| x != 0).count();
                assert_eq!(foreign, 0, "{hidden:?} and {how:?}: in an array just made");
            }
            let _ = std::fs::remove_file(path);
        }
    });
}

#[test]
fn a_frozen_array_is_thawed_without_a_copy_when_no_worker_can_read_it() {
    alone(|| {
        for (hidden, how) in HIDES.into_iter().flat_map(|hide| ENDS.map(|end| (hide, end))) {
            let (pool, worker) = pool_for(how);
            let path = tally("frozen");
            let frozen = SharedArray::<u64>::zeroed([ELEMENTS]).unwrap().freeze();
            let address = frozen.as_slice().as_ptr();
            let argument = (frozen.clone(), hidden, how, path.clone());
            let task = pool.submit(keep_frozen, argument).unwrap();
            await_end(pool, task, how, &path, worker);
            let mut thawed = frozen.thaw().unwrap();
            assert_eq!(thawed.as_slice().as_ptr(), address, "{hidden:?} and {how:?}");
            thawed.as_mut_slice().fill(1);
            let _ = std::fs::remove_file(path);
        }
    });
}

#[test]
fn a_task_with_more_handles_than_can_be_counted_is_refused_and_keeps_none() {
    alone(|| {
        let chunks = SharedArray::<u8>::zeroed([1 << 20]).unwrap().into_chunks(1).unwrap();
        let pool = Pool::builder().workers(1).build().unwrap();
        let refused = pool.submit(|chunks: Vec<OwnedChunk<u8>>| chunks.len(), chunks).unwrap_err();
        let Error::TooLarge { size_bytes, limit_bytes, .. } = refused else { panic!("{refused}") };
        assert_eq!((size_bytes, limit_bytes), (32 << 20, (32 << 20) - 32));
        let mut chunks = SharedArray::<u8>::zeroed([1 << 20]).unwrap().into_chunks(1).unwrap();
        chunks.pop();
        let counted = pool.submit(|chunks: Vec<OwnedChunk<u8>>| chunks.len(), chunks).unwrap();
        assert_eq!(counted.join().unwrap(), (1 << 20) - 1);
    });
}
