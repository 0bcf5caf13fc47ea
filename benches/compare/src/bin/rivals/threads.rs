//! The limit of the machine: pinned threads over private memory.
//!
//! Each thread has a fixed share; nothing is dispatched or balanced. In small pages, and in huge
//! ones.

use std::hint::black_box;
use std::thread;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{seconds_a_call, seconds_a_new_call};
use brigade_compare::stream::{AXPY_BYTES, PAGE_BYTES, axpy, gib_a_second, sum};
use bytemuck::Pod;
use memmap2::{Advice, MmapMut};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// How fast is a big array in small pages summed?
pub(crate) fn sum_small(arguments: &Arguments) -> Repetition {
    sums(arguments, Advice::NoHugePage)
}

/// How fast is a big array in huge pages summed?
pub(crate) fn sum_huge(arguments: &Arguments) -> Repetition {
    sums(arguments, Advice::HugePage)
}

/// How fast is a multiple of one array added to another, in small pages?
pub(crate) fn axpy_small(arguments: &Arguments) -> Repetition {
    axpys(arguments, Advice::NoHugePage)
}

/// How fast is a multiple of one array added to another, in huge pages?
pub(crate) fn axpy_huge(arguments: &Arguments) -> Repetition {
    axpys(arguments, Advice::HugePage)
}

/// How fast is new memory allocated in small pages, touched by all threads?
pub(crate) fn allocate_small(arguments: &Arguments) -> Repetition {
    allocations(arguments, Advice::NoHugePage)
}

/// How fast is new memory allocated in huge pages, touched by all threads?
pub(crate) fn allocate_huge(arguments: &Arguments) -> Repetition {
    allocations(arguments, Advice::HugePage)
}

/// How fast are zeros written over existing memory in huge pages?
pub(crate) fn rezero_huge(arguments: &Arguments) -> Repetition {
    let (cpus, budget) = (processors(arguments), arguments.budget());
    let bytes = arguments.size_bytes();
    let mut memory = map(bytes, Advice::HugePage);
    memory.fill(1);
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let shares: Vec<&mut [u8]> = shares(&mut memory, cpus.len());
            on_each(&cpus, shares, |share| black_box(share).fill(0));
        });
        vec![("rezero_gib_s", gib_a_second(bytes, seconds))]
    })
}

fn sums(arguments: &Arguments, pages: Advice) -> Repetition {
    let (cpus, budget) = (processors(arguments), arguments.budget());
    let bytes = arguments.size_bytes();
    let mut memory = map(bytes, pages);
    on_each(&cpus, shares::<f64>(&mut memory, cpus.len()), |share| share.fill(1.0));
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let shares = shares::<f64>(&mut memory, cpus.len());
            let total: f64 = on_each(&cpus, shares, |share| sum(share)).into_iter().sum();
            assert_eq!(total, (bytes / 8) as f64, "the sum is wrong");
        });
        vec![("sum_gbps", bytes as f64 / seconds / 1e9)]
    })
}

fn axpys(arguments: &Arguments, pages: Advice) -> Repetition {
    let (cpus, budget) = (processors(arguments), arguments.budget());
    let bytes = arguments.size_bytes();
    let (mut x, mut y) = (map(bytes, pages), map(bytes, pages));
    for (memory, value) in [(&mut x, 1.0f32), (&mut y, 2.0)] {
        on_each(&cpus, shares(memory, cpus.len()), move |share| share.fill(value));
    }
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let (x, y) = (shares(&mut x, cpus.len()), shares(&mut y, cpus.len()));
            let pairs = x.into_iter().zip(y).collect();
            on_each(&cpus, pairs, |(x, y)| axpy(black_box(0.5), x, y));
        });
        vec![("axpy_gbps", (bytes / 4 * AXPY_BYTES) as f64 / seconds / 1e9)]
    })
}

fn allocations(arguments: &Arguments, pages: Advice) -> Repetition {
    let (cpus, budget) = (processors(arguments), arguments.budget());
    let bytes = arguments.size_bytes();
    Box::new(move || {
        let seconds = seconds_a_new_call(
            budget,
            || {},
            |()| {
                let mut memory = map(bytes, pages);
                let touch =
                    |share: &mut [u8]| share.chunks_mut(PAGE_BYTES).for_each(|page| page[0] = 1);
                on_each(&cpus, shares(&mut memory, cpus.len()), touch);
                memory
            },
        );
        vec![("alloc_gib_s", gib_a_second(bytes, seconds))]
    })
}

/// A processor for each thread, from those that this process may use.
fn processors(arguments: &Arguments) -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("there is a mask");
    let allowed: Vec<usize> =
        (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    allowed.into_iter().cycle().take(arguments.number("workers")).collect()
}

/// Private memory that has not been touched yet.
fn map(bytes: usize, pages: Advice) -> MmapMut {
    let memory = MmapMut::map_anon(bytes).expect("there is memory");
    // A kernel without huge pages rejects the advice.
    let _ = memory.advise(pages);
    memory
}

/// The elements of `memory`, a share for each thread.
fn shares<T: Pod>(memory: &mut MmapMut, threads: usize) -> Vec<&mut [T]> {
    let elements: &mut [T] = bytemuck::cast_slice_mut(memory);
    elements.chunks_mut(elements.len().div_ceil(threads)).collect()
}

/// Runs `work` on each share, each in a thread on a different processor.
fn on_each<S: Send, R: Send>(
    cpus: &[usize],
    shares: Vec<S>,
    work: impl Fn(S) -> R + Copy + Send,
) -> Vec<R> {
    thread::scope(|scope| {
        let start = |(&cpu, share)| {
            scope.spawn(move || {
                let mut here = CpuSet::new();
                here.set(cpu).expect("the mask has this processor");
                sched_setaffinity(Pid::from_raw(0), &here).expect("the thread moves");
                work(share)
            })
        };
        let threads: Vec<_> = cpus.iter().zip(shares).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}
