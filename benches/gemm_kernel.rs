//! How fast is a matrix product in one thread?
//!
//! Throughput is in operations: `elem/s` means FLOP/s. Run it on an idle machine by `taskset -c 1
//! cargo bench -p brigade-bench --bench gemm_kernel`. The block sizes in
//! `src/kernel/matmul/blocking.rs` come from it.

use std::hint::black_box;

use brigade::kernel::matmul::{Float, Kernel, MatMut, MatRef, gemm_with};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Sizes m, n, k: square ones from register-bound to memory-bound, then skinny ones.
const SIZES: [[usize; 3]; 16] = [
    [64, 64, 64],
    [128, 128, 128],
    [256, 256, 256],
    [512, 512, 512],
    [777, 777, 777],
    [1000, 1000, 1000],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [100, 257, 1000],
    [777, 511, 333],
    [4096, 4096, 64],
    [64, 64, 4096],
    [2000, 16, 2000],
    [16, 2000, 2000],
    [1, 4096, 4096],
    [4096, 1, 4096],
];

fn products<T: Float>(criterion: &mut Criterion, kernel: Kernel, of: impl Fn(usize) -> T) {
    let mut group = criterion.benchmark_group(format!("{}/{kernel}", std::any::type_name::<T>()));
    group.sample_size(10);
    for [m, n, k] in SIZES {
        let a: Vec<T> = (0..m * k).map(&of).collect();
        let b: Vec<T> = (0..k * n).map(&of).collect();
        let mut c = vec![T::ZERO; m * n];
        group.throughput(Throughput::Elements(2 * (m * n * k) as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{m}x{n}x{k}")), |bencher| {
            bencher.iter(|| {
                let a = MatRef::row_major(black_box(&a), m, k).expect("the sizes fit");
                let b = MatRef::row_major(black_box(&b), k, n).expect("the sizes fit");
                let c = MatMut::row_major(&mut c, m, n).expect("the sizes fit");
                gemm_with(kernel, T::ONE, a, b, T::ZERO, c).expect("the shapes fit");
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    for kernel in Kernel::all() {
        products(criterion, kernel, |i| (i % 17) as f64 - 8.0);
        products(criterion, kernel, |i| (i % 17) as f32 - 8.0);
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
