//! How fast do workers read an array, by chunk size?
//!
//! The sum of 64 MiB of `f64`: `alone` in this process, `chunks` by all workers.

use std::time::Duration;

use brigade::{Pool, SharedArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const LEN: usize = 8 << 20;

fn sum(x: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    for x in x.chunks_exact(8) {
        lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x);
    }
    lanes.iter().sum::<f64>() + x.chunks_exact(8).remainder().iter().sum::<f64>()
}

fn reduce(criterion: &mut Criterion) {
    let pool = Pool::new().expect("a pool");
    let x = SharedArray::from_fn([LEN], |[i]| (i % 1000) as f64).expect("memory");
    let expected = sum(x.as_slice());
    let mut group = criterion.benchmark_group(format!("reduce/{}", pool.workers()));
    group.measurement_time(Duration::from_secs(2)).sample_size(20);
    group.throughput(Throughput::Bytes(LEN as u64 * 8));
    group.bench_function("alone", |bencher| bencher.iter(|| sum(x.as_slice())));
    for chunk_len in [1 << 10, 1 << 14, 1 << 18] {
        group.bench_function(BenchmarkId::new("chunks", chunk_len), |bencher| {
            bencher.iter(|| {
                let sum = pool.par_chunks(&x, chunk_len).map(sum).reduce(0.0, |a, b| a + b);
                assert_eq!(sum.expect("a sum").to_bits(), expected.to_bits());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reduce);
criterion_main!(benches);
