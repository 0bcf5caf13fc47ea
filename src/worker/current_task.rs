//! Number and seed of the task that this process runs.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes the seeds of tasks others than those of items with the same numbers.
const OF_TASKS: u64 = 0x7461_736b_7365_6564;
/// Marks the number of a part of a map, a loop or a broadcast: how many there are depends on
/// timing, or on the number of workers. Marks the call of a one-off process, too.
pub(crate) const PART: u64 = 1 << 63;

/// In a worker: the number of the task that runs, plus one, or 0; and its trampoline.
static NUMBER: AtomicU64 = AtomicU64::new(0);
static FUNCTION: AtomicU64 = AtomicU64::new(0);
/// In a worker: the seed of its pool.
static SEED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Where tasks have no processes: number and seed of the task that runs on this thread.
    static IN_PROCESS: Cell<Option<(u64, u64)>> = const { Cell::new(None) };
}

/// In a worker: the task with this number begins.
#[inline]
pub(crate) fn begin(number: u64, function: u64) {
    // Relaxed: for this thread, and for others that do not depend on the moment.
    NUMBER.store(number + 1, Ordering::Relaxed);
    FUNCTION.store(function, Ordering::Relaxed);
}

/// In a worker: the task is over.
#[inline]
pub(crate) fn end() {
    // Relaxed: as in `begin`.
    NUMBER.store(0, Ordering::Relaxed);
}

/// In a worker: sets the seed of its pool, at the start.
pub(crate) fn set_seed(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
}

/// Runs a task on this thread.
pub(crate) fn in_process<R>(number: u64, seed: u64, run: impl FnOnce() -> R) -> R {
    let before = IN_PROCESS.replace(Some((number, seed)));
    let value = run();
    IN_PROCESS.set(before);
    value
}

/// The number plus one, or 0, and the trampoline; for log records.
pub(crate) fn current() -> (u64, u64) {
    (NUMBER.load(Ordering::Relaxed), FUNCTION.load(Ordering::Relaxed))
}

/// The number of the task that runs, among those of its pool that were submitted one by one, in the
/// order of submission from 0. `None` outside of tasks, in a [`Process`](crate::Process), and in
/// maps, loops and broadcasts, where the number of tasks depends on timing or on the workers.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let tasks = [(); 3].map(|()| pool.submit(|()| brigade::task_number(), ()));
/// for (n, task) in (0..).zip(tasks) {
///     assert_eq!(task?.join()?, Some(n));
/// }
/// assert_eq!(brigade::task_number(), None);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn task_number() -> Option<u64> {
    let number = match IN_PROCESS.get() {
        Some((number, _)) => Some(number),
        None => NUMBER.load(Ordering::Relaxed).checked_sub(1),
    };
    number.filter(|number| number & PART == 0)
}

/// A seed for random numbers of the task that runs: a function of the pool's
/// [seed](crate::PoolBuilder::seed) and the task's [number](task_number) alone, whichever worker
/// runs it, and however often. `None` where the task has no number; see [`seed_of`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let seeds = |workers| {
///     let pool = Pool::builder().workers(workers).seed(7).build()?;
///     let tasks: Vec<_> =
///         (0..4).map(|_| pool.submit(|()| brigade::task_seed(), ())).collect::<Result<_, _>>()?;
///     tasks.into_iter().map(|task| task.join()).collect::<Result<Vec<_>, brigade::Error>>()
/// };
/// assert_eq!(seeds(1)?, seeds(3)?);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn task_seed() -> Option<u64> {
    task_number().map(|number| mix(pool_seed() ^ OF_TASKS, number))
}

/// A seed for random numbers of the item with this index: a function of the pool's
/// [seed](crate::PoolBuilder::seed) and the index alone. For maps and loops, where which items
/// share a task depends on timing. Outside of tasks the pool's seed counts as 0. Threads that a
/// task starts count as outside of it with
/// [`Start::InProcess`](crate::Start::InProcess), and as part of it otherwise.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let seeds = |workers| {
///     let pool = Pool::builder().workers(workers).seed(7).build()?;
///     Ok::<Vec<u64>, brigade::Error>(pool.map(0..1000u64, brigade::seed_of)?.collect())
/// };
/// assert_eq!(seeds(1)?, seeds(2)?);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use]
pub fn seed_of(index: u64) -> u64 {
    mix(pool_seed(), index)
}

fn pool_seed() -> u64 {
    IN_PROCESS.get().map_or_else(|| SEED.load(Ordering::Relaxed), |(_, seed)| seed)
}

/// The generator SplitMix64 with this seed, at this index.
fn mix(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_those_of_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([0, 1].map(|index| mix(1_234_567, index)), expected);
    }

    #[test]
    fn a_task_and_an_item_of_the_same_number_have_different_seeds() {
        in_process(3, 7, || assert_ne!(task_seed(), Some(seed_of(3))));
        let seeds = [7, 8].map(|seed| in_process(3, seed, task_seed));
        assert_ne!(seeds[0], seeds[1]);
    }

    #[test]
    fn a_part_of_a_map_has_no_number() {
        assert_eq!(in_process(PART | 3, 0, task_number), None);
        assert_eq!(in_process(3, 0, task_number), Some(3));
        assert_eq!(task_number(), None);
    }
}
