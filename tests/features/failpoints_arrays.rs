//! A death at each step of an array between processes.

use crate::common::alone::progress;
use crate::common::time::wait_for;
use crate::failpoints::OF_A_TASK;
use crate::points::alone;
use brigade::failpoint::{Action, Point, clear, hits, set};
use brigade::{OwnedChunk, Phase, Pool, SharedArray};

#[test]
fn the_chunk_of_a_worker_that_dies_at_any_step_is_recovered_or_returned() {
    alone(|| {
        for (point, expected) in OF_A_TASK {
            let pool = Pool::builder().workers(1).build().unwrap();
            let array = SharedArray::from_slice(&[1u64, 2, 3, 4]).unwrap();
            let mut chunks = array.into_chunks(2).unwrap();
            let last = chunks.pop().unwrap();
            let mut recovery = last.recovery();
            set(point, Action::Kill, 0);
            let task = pool.submit(|chunk: OwnedChunk<u64>| chunk, last).unwrap();
            match (task.join(), expected) {
                (Ok(chunk), None) => {
                    assert!(recovery.recover().is_none(), "{point:?}");
                    chunks.push(chunk);
                }
                (Err(error), Some(_)) => {
                    assert!(error.death().is_some(), "{error}");
                    chunks.push(recovery.recover().expect("no task has it"));
                }
                (outcome, _) => panic!("{point:?}: {outcome:?}"),
            }
            assert_eq!(SharedArray::from_chunks(chunks).unwrap().as_slice(), [1, 2, 3, 4]);
            wait_for(|| hits(point) > 0);
            clear(point);
            progress();
        }
    });
}

#[test]
fn a_worker_that_dies_over_the_span_of_an_array_in_its_result_gives_the_span_back() {
    alone(|| {
        const BYTES: usize = 8 << 20;
        brigade::set_memory_limit(6 * BYTES as u64);
        let make = |()| SharedArray::<u8>::zeroed([BYTES]).unwrap();
        for point in [Point::WorkerSpanRequest, Point::WorkerSpanGranted, Point::WorkerBeforeCommit]
        {
            let pool = Pool::builder().workers(1).build().unwrap();
            for _ in 0..20 {
                set(point, Action::Kill, 0);
                let error = pool.submit(make, ()).unwrap().join().unwrap_err();
                assert_eq!(error.death().unwrap().phase, Phase::Publishing);
                progress();
            }
            clear(point);
            assert_eq!(pool.submit(make, ()).unwrap().join().unwrap().len(), BYTES);
            assert!(SharedArray::<u8>::zeroed([4 * BYTES]).is_ok(), "{point:?}");
        }
    });
}
