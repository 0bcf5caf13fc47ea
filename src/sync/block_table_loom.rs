//! Models of a loop's blocks, with two preemptions.

use super::*;
use crate::atomics::mortal::live_for;
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

/// A loop whose blocks write one cell each.
struct LoopModel {
    words: TableWords,
    cells: Vec<UnsafeCell<u32>>,
}

impl LoopModel {
    fn new(count: usize, shares: usize) -> Arc<LoopModel> {
        let cells = (0..count).map(|_| UnsafeCell::new(0)).collect();
        Arc::new(LoopModel { words: TableWords::new(count, shares, 5), cells })
    }

    /// A worker's part, as in `LoopWorker::run`.
    fn work(&self, home: usize, claimer: u32) {
        let table = self.words.table();
        while let Some(taken) = table.take(home) {
            for block in taken {
                if table.try_claim(block, claimer) {
                    // SAFETY: one task claims a block; loom checks that.
                    self.cells[block].with_mut(|cell| unsafe { *cell += 1 });
                    table.set_done(block, claimer);
                }
            }
        }
    }

    /// Reads the cells of the blocks that are done, as the host does with their results.
    fn check_done(&self) -> usize {
        let done = self.words.table().done();
        done.map(|block| {
            // SAFETY: a block that is done is not written; loom checks that.
            assert_eq!(self.cells[block].with(|cell| unsafe { *cell }), 1, "block {block}");
        })
        .count()
    }
}

fn bounded() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model
}

#[test]
fn loom_two_workers_compute_each_block_once_and_the_host_sees_what_is_done() {
    // One share, so that both take from it; and two, so that they steal from each other.
    for shares in [1, 2] {
        bounded().check(move || {
            let model = LoopModel::new(2, shares);
            let workers = [0, 1].map(|home| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.work(home, 1 + home as u32))
            });
            model.check_done();
            for worker in workers {
                worker.join().unwrap();
            }
            assert_eq!(model.check_done(), 2);
            model.words.table().check(2).unwrap();
        });
    }
}

/// Kills worker 2 before each of its operations; then the host repeats what it has claimed, and
/// another worker ends the loop.
fn deaths_of_a_worker(recover: fn(BlockTable<'_>)) {
    let mut operations = 0;
    let has_died = Arc::new(std::sync::atomic::AtomicBool::new(true));
    while has_died.swap(false, Ordering::Relaxed) {
        let has_died = Arc::clone(&has_died);
        bounded().check(move || {
            let model = LoopModel::new(2, 2);
            let [survivor, victim] = [Arc::clone(&model), Arc::clone(&model)];
            let survivor = thread::spawn(move || survivor.work(0, 1));
            let run = move || victim.work(1, 2);
            let victim = thread::spawn(move || live_for(operations, run).is_none());
            let is_dead = victim.join().unwrap();
            survivor.join().unwrap();
            let table = model.words.table();
            table.check(2).unwrap();
            if !is_dead {
                assert_eq!(model.check_done(), 2);
                return;
            }
            has_died.store(true, Ordering::Relaxed);
            // What a block wrote before its worker died is written again.
            for block in table.torn(2) {
                // SAFETY: its worker is dead, and the other has ended.
                model.cells[block].with_mut(|cell| unsafe { *cell = 0 });
            }
            recover(table);
            model.work(0, 3);
            assert_eq!(model.check_done(), 2);
        });
        operations += 1;
    }
    assert!(operations > 4, "a worker has several operations");
}

#[test]
fn loom_blocks_of_a_dead_worker_are_found_and_done_by_another() {
    deaths_of_a_worker(|table| {
        table.set_free(&table.torn(2));
        table.rewind();
    });
}

// The negative control: a block that the dead worker took and did not claim is in no share.
#[test]
#[should_panic(expected = "left: 1")]
fn loom_without_new_proposals_a_block_is_lost() {
    deaths_of_a_worker(|table| table.set_free(&table.torn(2)));
}
