//! How fast do messages pass through a ring?
//!
//! `pair` is a push and a pop by one thread; `stream` sends 10 000 messages from one thread to
//! another; `batches` does so in batches of 100.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;
use std::thread;
use std::time::Duration;

use brigade::sync::{MessageBatch, Owner, OwnerTable, Ring, RingLock, Timeout, Watch};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: usize = 10_000;
const BATCH: usize = 100;
const CAPACITY_BYTES: usize = 1 << 16;
const OWNERS: u32 = 2;
const ENTRIES: u32 = 8;

/// Zeroed memory for a table with a ring behind it, never freed, because handles point into it.
fn memory() -> (NonNull<u8>, NonNull<u8>, usize) {
    let table_bytes = OwnerTable::size_bytes(OWNERS, ENTRIES).next_multiple_of(Ring::ALIGN);
    let bytes = table_bytes + Ring::size_bytes(CAPACITY_BYTES).expect("a size");
    let layout = Layout::from_size_align(bytes, Ring::ALIGN).expect("a small layout");
    // SAFETY: the layout is not empty.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
    // SAFETY: within the allocation.
    let ring = unsafe { start.add(table_bytes) };
    (start, ring, bytes)
}

fn robust() -> Ring {
    let (start, place, bytes) = memory();
    // SAFETY: aligned and large enough, and never freed.
    let table = unsafe { OwnerTable::create(start, OWNERS, ENTRIES, start, bytes) };
    let owner = Owner::claim(&table.expect("a table"), Watch::Waiters).expect("room for an owner");
    // SAFETY: aligned and large enough, without another user, and never freed.
    unsafe { Ring::create(place, CAPACITY_BYTES, &owner) }.expect("a ring")
}

fn passes<L: RingLock>(group: &mut BenchmarkGroup<'_, WallTime>, lock: &str, ring: &Ring<L>) {
    for size in [8, 64, 4096] {
        let message = vec![7u8; size];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{lock}/pair/{size}"), |bencher| {
            let mut into = Vec::new();
            bencher.iter(|| {
                ring.push(&message, Timeout::Never).expect("room");
                ring.pop_into(&mut into, Timeout::Never).expect("a message");
            });
        });
        group.throughput(Throughput::Elements(MESSAGES as u64));
        group.bench_function(format!("{lock}/stream/{size}"), |bencher| {
            bencher.iter(|| stream(ring, &message));
        });
        let batch = vec![message.as_slice(); BATCH.min(CAPACITY_BYTES / 2 / (size + 8))];
        group.bench_function(format!("{lock}/batches/{size}"), |bencher| {
            bencher.iter(|| batches(ring, &batch));
        });
    }
}

fn stream<L: RingLock>(ring: &Ring<L>, message: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..MESSAGES).for_each(|_| ring.push(message, Timeout::Never).expect("room in time"))
        });
        let mut into = Vec::new();
        (0..MESSAGES).for_each(|_| ring.pop_into(&mut into, Timeout::Never).expect("a message"));
    });
}

fn batches<L: RingLock>(ring: &Ring<L>, batch: &[&[u8]]) {
    let rounds = MESSAGES / batch.len();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                ring.push_batch(batch, Timeout::Never)
                    .map_err(|refused| refused.error)
                    .expect("room in time");
            }
        });
        let (mut into, mut left) = (MessageBatch::new(), rounds * batch.len());
        while left > 0 {
            ring.pop_batch(&mut into, left, Timeout::Never).expect("messages");
            left -= into.len();
        }
    });
}

fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.measurement_time(Duration::from_secs(2)).sample_size(10);
    passes(&mut group, "robust", &robust());
    {
        let (_, place, _) = memory();
        // SAFETY: aligned and large enough, without another user, and never freed.
        let ring = unsafe { Ring::create_raw_sync(place, CAPACITY_BYTES) }.expect("a ring");
        passes(&mut group, "raw_sync", &ring);
    }
    group.finish();
}

criterion_group!(benches, measure);
criterion_main!(benches);
