//! Times a factorial by the workers and by one process.
//!
//! `alone` is the same kernel in this process, by one thread.

use std::time::Duration;

use brigade::Pool;
use brigade::kernel::bigint;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn factorials(criterion: &mut Criterion) {
    let pool = Pool::new().expect("a pool");
    let mut group = criterion.benchmark_group(format!("factorial/{}", pool.workers()));
    group.measurement_time(Duration::from_secs(2)).sample_size(10);
    for n in [1_000u64, 20_000, 200_000] {
        group.bench_function(BenchmarkId::new("workers", n), |bencher| {
            bencher.iter(|| pool.factorial(n).expect("memory"));
        });
        group.bench_function(BenchmarkId::new("alone", n), |bencher| {
            bencher.iter(|| bigint::factorial(n));
        });
    }
    group.finish();
}

criterion_group!(benches, factorials);
criterion_main!(benches);
