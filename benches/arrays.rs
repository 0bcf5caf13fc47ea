//! What does an array cost, in new and in used memory?
//!
//! `zeroed` and `for_overwrite` take memory that the previous iteration freed. `named` makes and
//! writes new pages under /dev/shm each time, `vec` new pages of this process.

use std::hint::black_box;
use std::time::Duration;

use brigade::SharedArray;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Sizes in bytes: a small span, a large one, one far beyond the caches.
const SIZES: [usize; 3] = [1 << 10, 2 << 20, 64 << 20];

fn arrays(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arrays");
    group.measurement_time(Duration::from_secs(2)).sample_size(10);
    for size_bytes in SIZES {
        group.throughput(Throughput::Bytes(size_bytes as u64));
        let id = |what| BenchmarkId::new(what, size_bytes);
        group.bench_function(id("zeroed"), |bencher| {
            bencher.iter(|| SharedArray::<u8>::zeroed([black_box(size_bytes)]).expect("memory"));
        });
        group.bench_function(id("for_overwrite"), |bencher| {
            bencher.iter(|| {
                let mut array =
                    SharedArray::<u8>::for_overwrite([black_box(size_bytes)]).expect("memory");
                array.as_mut_slice().fill(1);
                array
            });
        });
        group.bench_function(id("vec"), |bencher| {
            bencher.iter(|| vec![black_box(1u8); size_bytes]);
        });
        let name = format!("brigade-bench-{}", std::process::id());
        let ones = vec![1u8; size_bytes];
        group.bench_function(id("named"), |bencher| {
            bencher.iter(|| {
                let mut array = SharedArray::<u8>::named(&name, [size_bytes]).expect("memory");
                array.copy_from_slice(&ones).expect("as many elements");
                array
            });
        });
    }
    group.finish();
}

criterion_group!(benches, arrays);
criterion_main!(benches);
