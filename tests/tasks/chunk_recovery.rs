//! Chunks that a failed task had.

use std::time::Duration;

use crate::common::alone::{alone, progress};
use crate::common::tasks::forever;
use crate::common::time::wait_for;
use brigade::{ChunkRecovery, Error, Handle, OwnedChunk, Pool, SharedArray, Start, TaskError};
use serde::{Deserialize, Serialize};

/// How a task that has a chunk ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum End {
    Abort,
    Exit,
    Panic,
    Timeout,
    Kill,
    /// It returns something else.
    Drop,
    /// It keeps the handle, so that its worker has to end.
    Forget,
}

const ENDS: [End; 7] =
    [End::Abort, End::Exit, End::Panic, End::Timeout, End::Kill, End::Drop, End::Forget];

fn end((mut chunk, how): (OwnedChunk<u64>, End)) -> u8 {
    chunk.as_mut_slice().fill(99);
    match how {
        End::Abort => std::process::abort(),
        End::Exit => std::process::exit(3),
        End::Panic => panic!("no"),
        End::Timeout | End::Kill => forever(),
        End::Drop => {}
        End::Forget => std::mem::forget(chunk),
    }
    1
}

/// Three chunks, of which the last is lent with its recovery.
fn chunks() -> (Vec<OwnedChunk<u64>>, OwnedChunk<u64>, ChunkRecovery<u64>) {
    let array = SharedArray::from_fn([9], |[i]| i as u64).unwrap();
    let mut chunks = array.into_chunks(3).unwrap();
    let last = chunks.pop().unwrap();
    let recovery = last.recovery();
    (chunks, last, recovery)
}

fn reassembled(mut chunks: Vec<OwnedChunk<u64>>, mut recovery: ChunkRecovery<u64>) -> Vec<u64> {
    let chunk = recovery.recover().expect("no task has it");
    assert_eq!((chunk.offset(), chunk.len(), chunk.is_moved()), (6, 3, false));
    assert!(recovery.recover().is_none(), "it exists once");
    chunks.push(chunk);
    SharedArray::from_chunks(chunks).unwrap().as_slice().to_vec()
}

#[test]
fn a_chunk_is_recovered_however_its_task_ends() {
    alone(|| {
        let timeout = Duration::from_millis(300);
        let pool = Pool::builder().workers(1).build().unwrap();
        for how in ENDS {
            let (others, chunk, recovery) = chunks();
            let task: Handle<u8> = match how {
                End::Timeout => pool.options().timeout(timeout).submit(end, (chunk, how)).unwrap(),
                _ => pool.submit(end, (chunk, how)).unwrap(),
            };
            if how == End::Kill {
                wait_for(|| task.is_running());
                task.kill(Duration::ZERO).unwrap();
            }
            match (how, task.join()) {
                (End::Drop | End::Forget, Ok(1)) => {}
                (End::Abort | End::Exit, Err(error)) => assert!(error.death().is_some()),
                (End::Panic, Err(Error::Task(TaskError::Panicked { .. }))) => {}
                (End::Timeout, Err(Error::Task(TaskError::TimedOut { .. }))) => {}
                (End::Kill, Err(Error::Task(TaskError::Cancelled))) => {}
                (how, outcome) => panic!("{how:?}: {outcome:?}"),
            }
            // What the task wrote may be there; a killed one may not have come so far.
            assert_eq!(reassembled(others, recovery)[..6], [0, 1, 2, 3, 4, 5], "{how:?}");
            progress();
        }
    });
}

#[test]
fn a_chunk_of_a_task_that_never_ran_is_unchanged() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let running = pool.submit(|()| forever(), ()).unwrap();
        let (others, chunk, mut recovery) = chunks();
        let waits = pool.submit(end, (chunk, End::Drop)).unwrap();
        assert!(recovery.recover().is_none(), "a task has it");
        assert!(waits.cancel());
        assert_eq!(reassembled(others, recovery), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        running.kill(Duration::ZERO).unwrap();
        let (others, chunk, recovery) = chunks();
        // Refused, and then dropped by the caller.
        pool.shutdown().unwrap();
        assert!(pool_is_closed(chunk));
        assert_eq!(reassembled(others, recovery), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

/// Submits to a pool that takes no tasks.
fn pool_is_closed(chunk: OwnedChunk<u64>) -> bool {
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.terminate().unwrap();
    matches!(
        pool.try_submit(end, (chunk, End::Drop)).map_err(|e| *e.error),
        Err(Error::Closed { .. })
    )
}

#[test]
fn a_chunk_that_is_somewhere_is_not_recovered() {
    alone(|| {
        let same = |chunk: OwnedChunk<u64>| chunk;
        let in_process = Pool::builder().start(Start::InProcess).build().unwrap();
        let pool = Pool::builder().workers(1).build().unwrap();
        for pool in [&pool, &in_process] {
            let (_, chunk, mut recovery) = chunks();
            assert!(recovery.recover().is_none(), "its handle is here");
            let task = pool.submit(same, chunk).unwrap();
            assert!(recovery.recover().is_none(), "the task has it, or its result");
            let mut back = task.join().unwrap();
            assert!(recovery.recover().is_none(), "the task has returned it");
            assert_eq!(back.as_slice(), [6, 7, 8]);
            let mut again = back.recovery();
            drop(back);
            assert_eq!(again.recover().unwrap().as_slice(), [6, 7, 8]);
        }
        // A result that nobody takes.
        let (others, chunk, recovery) = chunks();
        drop(pool.submit(same, chunk).unwrap());
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        assert_eq!(reassembled(others, recovery), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    });
}
