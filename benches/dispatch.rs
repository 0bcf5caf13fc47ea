//! What does passing a task to a worker cost?
//!
//! `round_trip` is submit and join of an empty task; `burst` submits 1000 of them before it joins
//! the first; `map` passes 10 000 items to one call; `loop` is a parallel loop with one chunk for
//! each worker. The times of `burst` and `map` are for all tasks or items.

use std::hint::black_box;
use std::time::Duration;

use brigade::{Pool, SharedArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn next(n: u64) -> u64 {
    n + 1
}

fn dispatch(criterion: &mut Criterion) {
    let pool = Pool::new().expect("a pool");
    let mut group = criterion.benchmark_group(format!("dispatch/{}", pool.workers()));
    group.measurement_time(Duration::from_secs(3)).sample_size(30);

    group.bench_function("round_trip", |bencher| {
        bencher.iter(|| {
            let task = pool.submit(next, black_box(1)).expect("a task");
            task.join().expect("its result")
        });
    });

    group.throughput(Throughput::Elements(1000));
    group.bench_function("burst", |bencher| {
        bencher.iter(|| {
            let tasks: Vec<_> = (0..1000).map(|n| pool.submit(next, n).expect("a task")).collect();
            tasks.into_iter().map(|task| task.join().expect("its result")).sum::<u64>()
        });
    });

    group.throughput(Throughput::Elements(10_000));
    group.bench_function("map", |bencher| {
        bencher.iter(|| pool.map(0..10_000u64, next).expect("all results").sum::<u64>());
    });

    let mut chunks = SharedArray::<u64>::zeroed([pool.workers()]).expect("an array");
    group.throughput(Throughput::Elements(1));
    group.bench_function("loop", |bencher| {
        bencher.iter(|| {
            pool.par_chunks_mut(&mut chunks, 1).for_each(|chunk| chunk[0] += 1).expect("a loop");
        });
    });
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
