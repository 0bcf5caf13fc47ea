//! How fast is a matrix product by the workers?
//!
//! Throughput is in operations: `elem/s` means FLOP/s. `alone` is the same kernel in this process,
//! by one thread; `gemm_kernel` measures it in detail.

use std::time::Duration;

use brigade::kernel::matmul::{MatMut, MatRef, gemm};
use brigade::{Pool, Scalar, SharedArray};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Sizes m, k, n: square, odd, and one with many terms for each element.
const SIZES: [[usize; 3]; 4] =
    [[256, 256, 256], [1024, 1024, 1024], [777, 511, 333], [64, 4096, 64]];

fn products<T: Scalar>(criterion: &mut Criterion, pool: &Pool, of: impl Fn(usize) -> T) {
    let name = format!("matmul/{}/{}", pool.workers(), std::any::type_name::<T>());
    let mut group = criterion.benchmark_group(name);
    group.measurement_time(Duration::from_secs(2)).sample_size(10);
    for [m, k, n] in SIZES {
        let a = SharedArray::from_fn([m, k], |[i, j]| of(i + j)).expect("memory");
        let b = SharedArray::from_fn([k, n], |[i, j]| of(i * 3 + j)).expect("memory");
        let mut c = SharedArray::<T>::zeroed([m, n]).expect("memory");
        let id = |what| BenchmarkId::new(what, format!("{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group.bench_function(id("workers"), |bencher| {
            bencher.iter(|| pool.matmul(&a, &b).expect("a product"));
        });
        group.bench_function(id("alone"), |bencher| {
            bencher.iter(|| {
                let a = MatRef::row_major(a.as_slice(), m, k).expect("the sizes fit");
                let b = MatRef::row_major(b.as_slice(), k, n).expect("the sizes fit");
                let c = MatMut::row_major(c.as_mut_slice(), m, n).expect("the sizes fit");
                gemm(T::ONE, a, b, T::ZERO, c).expect("the shapes fit");
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let pool = Pool::new().expect("a pool");
    products(criterion, &pool, |i| (i % 17) as f64 - 8.0);
    products(criterion, &pool, |i| (i % 17) as f32 - 8.0);
}

criterion_group!(benches, all);
criterion_main!(benches);
