//! The host's part in a loop: rounds of tasks.

use std::ops::Range;

use crate::error::{Death, Error, Result, TaskError};
use crate::pool::driver::core::Core;
use crate::pool::driver::group::{Group, SharedArgument};
use crate::pool::driver::progress::{ProgressFn, ProgressReporter};
use crate::pool::loops::blocks::HostBlocks;
use crate::pool::loops::loop_worker::LoopTask;
use crate::pool::loops::partition::Partition;
use crate::pool::record::config::Start;
use crate::pool::record::outcome::{EncodedResult, Outcome};
use crate::pool::record::task::{TaskKind, TaskOptions};
use crate::sync::block_table::BlockTable;
use crate::worker::invocation::{Encode, Trampoline};

/// A loop to run.
pub(super) struct ParallelLoop<'a> {
    pub(super) core: &'a Core,
    pub(super) partition: Partition,
    /// An operand is written, so a death may leave it torn.
    pub(super) is_written: bool,
    /// A task may find that the last blocks need not be done.
    pub(super) may_end_early: bool,
    pub(super) task_options: TaskOptions,
    pub(super) progress: Option<&'a ProgressFn>,
    /// The type name of the function, for error messages.
    pub(super) name: &'static str,
}

/// What a loop has done so far.
struct Rounds {
    blocks: HostBlocks,
    /// Results of the tasks that committed.
    results: Vec<EncodedResult>,
    repeats_left: u32,
    failure: Option<Error>,
}

impl ParallelLoop<'_> {
    /// Runs the loop to its end, and returns the results of its tasks. Each task gets a
    /// [`LoopTask`] and then what `encode` writes.
    ///
    /// # Errors
    ///
    /// The first failure of a task: a panic, or a death with the torn ranges of all deaths.
    pub(super) fn run(
        &self,
        trampoline: Trampoline,
        encode: Encode<'_>,
    ) -> Result<Vec<EncodedResult>> {
        let count = self.partition.blocks();
        let mut reporter = match self.progress {
            Some(function) => Some(ProgressReporter::new(function, Some(self.partition.len()))?),
            None => None,
        };
        if count == 0 {
            reporter.into_iter().for_each(|reporter| reporter.finish(0));
            return Ok(Vec::new());
        }
        // In a forked child the arena is not mapped, so access to the blocks would fault.
        self.core.check_ours()?;
        let argument = SharedArgument::new(encode)?;
        let (arena, shares) = (&self.core.arena, self.tasks(count));
        let blocks = HostBlocks::new(arena, count, shares, self.core.next_call())?;
        let repeats_left = self.task_options.retries;
        let mut rounds = Rounds { blocks, results: Vec::new(), repeats_left, failure: None };
        let mut claimers = 0;
        loop {
            let (free, repeats) = (rounds.blocks.table().free(), rounds.repeats_left);
            self.round(&mut rounds, &mut claimers, (trampoline, &argument), &mut reporter);
            if rounds.failure.is_none() {
                rounds.blocks.table().check(claimers)?;
            }
            let left = rounds.blocks.table().free();
            if left == 0 {
                break;
            }
            if left == free && rounds.repeats_left == repeats {
                // No progress in this round, and no repeat was used: every task was cancelled or
                // died before its first block. Another round would end in the same way.
                rounds.failure.get_or_insert(Error::Task(TaskError::Cancelled));
                break;
            }
            if matches!(&rounds.failure, Some(error) if error.death().is_none()) {
                break;
            }
            rounds.blocks.table().rewind();
        }
        let Rounds { blocks, results, failure, .. } = rounds;
        let blocks = blocks.table();
        if let Some(reporter) = reporter {
            reporter.finish(self.done(blocks));
        }
        match failure {
            Some(error) => Err(error),
            None if !self.may_end_early && blocks.needed() < count => Err(Error::Corrupt {
                what: "the blocks of a loop",
                found: format!("a limit of {} of {count} blocks", blocks.needed()),
            }),
            None if blocks.are_done() => Ok(results),
            // A worker was stopped in a block that it had claimed, and there was no other failure.
            None => Err(Error::Task(TaskError::Cancelled)),
        }
    }

    /// Submits tasks for the free blocks, waits for them, and records their results and failures.
    fn round(
        &self,
        rounds: &mut Rounds,
        claimers: &mut u32,
        (trampoline, argument): (Trampoline, &SharedArgument),
        reporter: &mut Option<ProgressReporter>,
    ) {
        let first = *claimers + 1;
        let (place, blocks) = (&rounds.blocks, rounds.blocks.table());
        let stop = || blocks.limit(0);
        let mut group = Group::new(self.core, argument, &stop);
        let task_options = TaskOptions { kind: TaskKind::Loop, ..self.task_options };
        let submitted = group.submit_each(
            self.tasks(blocks.free()),
            trampoline,
            self.name,
            task_options,
            |_| {
                *claimers += 1;
                LoopTask {
                    partition: self.partition,
                    blocks_offset: place.offset(),
                    number: place.number,
                    shares: place.shares,
                    claimer: *claimers,
                }
            },
        );
        let outcomes = match reporter {
            None => group.wait_all(|_, _| {}),
            Some(reporter) => group.wait_all_reporting(reporter, || self.done(blocks)),
        };
        if let Err(error) = submitted {
            rounds.failure = Some(error);
        }
        for (claimer, outcome) in (first..).zip(outcomes) {
            rounds.note(self, claimer, outcome);
        }
    }

    /// How many units of the loop are in blocks that are done.
    fn done(&self, blocks: BlockTable<'_>) -> usize {
        blocks.done().map(|block| self.partition.elements(block).len()).sum()
    }

    /// The number of tasks for `blocks` blocks: one if tasks run one after the other.
    fn tasks(&self, blocks: usize) -> usize {
        match self.core.config.start {
            Start::ForkServer => self.core.workers().min(blocks),
            Start::InProcess => 1,
        }
    }
}

impl Rounds {
    /// Records how the task `claimer` ended, and updates its blocks.
    fn note(&mut self, parallel_loop: &ParallelLoop<'_>, claimer: u32, outcome: Outcome) {
        let error = match outcome.map_err(|error| *error) {
            Ok(value) => return self.results.push(value),
            Err(Error::Task(TaskError::Cancelled)) => return,
            Err(error) => error,
        };
        let blocks = self.blocks.table();
        let has_died = matches!(&error, Error::Task(error) if error.is_lost_worker());
        if has_died && self.repeats_left > 0 {
            self.repeats_left -= 1;
            // Blocks that it completed may have been part of its lost result.
            blocks.set_free(&blocks.torn(claimer));
            blocks.set_free(&blocks.done_by(claimer));
            // The result for which it set a limit is lost too.
            blocks.unlimit();
            return;
        }
        let torn = blocks.torn(claimer).into_iter().filter(|_| parallel_loop.is_written);
        let torn = torn.map(|block| parallel_loop.partition.elements(block));
        match (self.failure.as_mut(), error) {
            (None, Error::Task(TaskError::Died(mut death))) => {
                death.torn = merge(torn.collect());
                self.failure = Some(Error::Task(TaskError::Died(death)));
            }
            (Some(Error::Task(TaskError::Died(first))), _) => {
                let all = first.torn.iter().cloned().chain(torn).collect();
                let first: &mut Death = first;
                first.torn = merge(all);
            }
            (Some(_), _) => {}
            (None, error) => self.failure = Some(error),
        }
    }
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touching_ranges_are_merged() {
        assert_eq!(merge(vec![4..6, 0..2, 2..3, 5..9]), [0..3, 4..9]);
    }
}
