//! What does the lock cost, free and contended?
//!
//! `free` is lock and unlock by one thread; `fought` is 10 000 of them by each of two threads.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use brigade::sync::{LockWord, Owner, OwnerTable, RobustLock, Watch};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ROUNDS: u64 = 10_000;
const OWNERS: u32 = 2;
const ENTRIES: u32 = 4;
const TABLE_BYTES: usize = OwnerTable::size_bytes(OWNERS, ENTRIES);

/// A region with an owner table and one lock.
#[repr(C, align(64))]
struct Region {
    table: [u8; TABLE_BYTES],
    lock: LockWord,
}

fn measure(criterion: &mut Criterion) {
    // Never freed: handles point into it.
    let region = NonNull::from(Box::leak(Box::new(Region {
        table: [0; TABLE_BYTES],
        lock: LockWord::new(),
    })));
    let bytes = region.cast::<u8>();
    // SAFETY: aligned and large enough by its type, and never freed.
    let table = unsafe { OwnerTable::create(bytes, OWNERS, ENTRIES, bytes, size_of::<Region>()) }
        .expect("a table");
    // SAFETY: never freed, and only atomics of it are used from here on.
    let word = NonNull::from(unsafe { &region.as_ref().lock });
    let lock = || {
        let owner = Owner::claim(&table, Watch::Waiters).expect("room for two owners");
        // SAFETY: the word is initialised and never freed, and its owners outlive this process.
        unsafe { RobustLock::new(word, &owner) }
    };
    let (ours, theirs) = (lock(), lock());
    let standard = Mutex::new(());

    let mut group = criterion.benchmark_group("lock");
    group.measurement_time(Duration::from_secs(2)).sample_size(20);
    group.bench_function("free/robust", |bencher| bencher.iter(|| drop(ours.lock())));
    group.bench_function("free/std", |bencher| {
        bencher.iter(|| drop(standard.lock().expect("no thread panics")));
    });
    group.throughput(Throughput::Elements(2 * ROUNDS));
    group.bench_function("fought/robust", |bencher| {
        bencher.iter(|| fight(&|| drop(ours.lock()), &|| drop(theirs.lock())));
    });
    group.bench_function("fought/std", |bencher| {
        let turn = || drop(standard.lock().expect("no thread panics"));
        bencher.iter(|| fight(&turn, &turn));
    });
    group.finish();
}

/// Both turns, `ROUNDS` times each, by two threads.
fn fight(ours: &(impl Fn() + Sync), theirs: &(impl Fn() + Sync)) {
    thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|_| theirs()));
        (0..ROUNDS).for_each(|_| ours());
    });
}

criterion_group!(benches, measure);
criterion_main!(benches);
