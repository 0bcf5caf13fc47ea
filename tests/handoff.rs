//! Arrays that travel into tasks and back by handle.

use std::sync::Mutex;

use brigade::{Frozen, OwnedChunk, Pool, SharedArray, Start};

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
    for pool in pools() {
        let x = SharedArray::from_fn([1000], |[i]| i as u64).unwrap();
        let address = x.as_slice().as_ptr();
        let frozen = x.freeze();
        let sums: Vec<u64> = pool.map((0..10).map(|i| (frozen.clone(), i)), sum).unwrap().collect();
        assert!(
            sums.iter().zip(0u64..).all(|(&sum, i)| sum == 499_500 - i * i.saturating_sub(1) / 2)
        );
        let thawed = frozen.thaw().unwrap();
        assert_eq!(thawed.as_slice().as_ptr(), address);
    }
}

#[test]
fn a_frozen_array_comes_back_as_the_same_array() {
    for pool in pools() {
        let frozen = SharedArray::from_slice(&[1u8, 2, 3]).unwrap().freeze();
        let address = frozen.as_slice().as_ptr();
        let back: Frozen<u8> = pool.submit(|x: Frozen<u8>| x, frozen).unwrap().join().unwrap();
        assert_eq!((back.as_slice().as_ptr(), back.as_slice()), (address, &[1u8, 2, 3][..]));
    }
}

#[test]
fn chunks_move_into_tasks_and_come_back_changed_without_a_copy() {
    for pool in pools() {
        let x = SharedArray::from_fn([100, 10], |[i, j]| (10 * i + j) as u64).unwrap();
        let address = x.as_slice().as_ptr();
        let chunks = x.into_chunks(64).unwrap();
        let back: Vec<OwnedChunk<u64>> = pool.map(chunks, double).unwrap().collect();
        let x = SharedArray::from_chunks(back).unwrap();
        assert_eq!((x.as_slice().as_ptr(), x.shape().dims()), (address, &[100, 10][..]));
        assert!(x.as_slice().iter().zip(0..).all(|(&x, i)| x == 2 * i));
    }
}

#[test]
fn a_chunk_that_its_task_keeps_for_later_costs_the_worker_its_life_and_nothing_else() {
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
}

#[test]
fn a_chunk_whose_worker_dies_is_lost_with_the_task_and_the_others_are_whole() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let mut chunks = SharedArray::from_fn([8], |[i]| i as u64).unwrap().into_chunks(4).unwrap();
    let second = chunks.pop().unwrap();
    let crash = |_: OwnedChunk<u64>| -> OwnedChunk<u64> { std::process::abort() };
    let crashed = pool.submit(crash, chunks.pop().unwrap()).unwrap();
    let doubled = pool.submit(double, second).unwrap();
    assert!(crashed.join().unwrap_err().death().is_some());
    assert_eq!(doubled.join().unwrap().as_slice(), [8, 10, 12, 14]);
}

#[test]
fn a_task_that_writes_to_its_input_dies_and_the_input_is_intact() {
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
}

#[test]
fn a_handle_is_refused_where_it_cannot_cross() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let frozen = SharedArray::from_slice(&[1u8]).unwrap().freeze();
    let error = pool.with(frozen).map(0..3u8, |x, n| x.as_slice()[0] + n).unwrap_err();
    assert!(error.to_string().contains("shared value"), "{error}");
    let made_inside = |()| SharedArray::from_slice(&[1u8]).unwrap().freeze();
    let error = pool.submit(made_inside, ()).unwrap().join().unwrap_err();
    assert!(error.to_string().contains("inside a task"), "{error}");
}
