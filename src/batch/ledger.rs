//! What is known of each key, and which keys run.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::batch::key::Key;
use crate::batch::report::{KeyOutcome, KeyReport};

/// Deaths of its worker after which a key is quarantined.
const DEATHS_MAX: u32 = 2;

/// All keys that the journal names or this run has met.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    known: HashMap<Key, Known>,
}

/// What is known of a key.
#[derive(Debug, Default)]
struct Known {
    /// How its last attempt ended, if there was one.
    outcome: Option<KeyOutcome>,
    attempts: u32,
    /// Deaths since the last attempt that ended otherwise.
    deaths: u32,
    /// Why it failed permanently in an earlier run; taken when this run reaches the key.
    error: Option<String>,
    /// This run has met it.
    is_met: bool,
}

/// An attempt to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub(super) key: Key,
    /// From 1.
    pub(super) number: u32,
    /// Nothing else may run meanwhile: its worker ran out of memory.
    pub(super) is_alone: bool,
}

impl Attempt {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The report of its failure, without a cause.
    #[must_use]
    pub fn report(self) -> KeyReport {
        KeyReport {
            key: self.key,
            outcome: KeyOutcome::Failed,
            attempt: self.number,
            duration: None,
            bytes: 0,
            error: None,
            death: None,
        }
    }
}

/// What is to be done with a key.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// It was met in this run before.
    Repeated,
    /// It is done.
    Done,
    /// It has failed permanently in an earlier run.
    Failed(KeyReport),
    Run(Attempt),
}

impl Ledger {
    /// Records how an attempt ended.
    pub(super) fn note(&mut self, report: &KeyReport) {
        let known = match self.known.get_mut(&report.key) {
            Some(known) => known,
            None => self.known.entry(report.key.clone()).or_default(),
        };
        known.attempts = report.attempt;
        known.outcome = Some(report.outcome);
        known.deaths = match report.outcome {
            KeyOutcome::Died | KeyOutcome::OutOfMemory => known.deaths + 1,
            _ => 0,
        };
        let is_needed = report.outcome.is_failure() && !known.is_met;
        known.error = report.error.clone().filter(|_| is_needed);
    }

    /// What this run does with a key that it meets.
    pub(super) fn decide(&mut self, key: Key, retries_failed: bool) -> Decision {
        let mut entry = match self.known.entry(key) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Known::default()),
        };
        let key = entry.key().clone();
        let known = entry.get_mut();
        if std::mem::replace(&mut known.is_met, true) {
            return Decision::Repeated;
        }
        match known.outcome {
            Some(KeyOutcome::Done) => Decision::Done,
            Some(outcome) if outcome.is_failure() && !retries_failed => {
                let (attempt, error) = (known.attempts, known.error.take());
                let (duration, bytes, death) = (None, 0, None);
                let report = KeyReport { key, outcome, attempt, duration, bytes, error, death };
                Decision::Failed(report)
            }
            outcome => Decision::Run(Attempt {
                key,
                number: known.attempts.saturating_add(1),
                is_alone: outcome == Some(KeyOutcome::OutOfMemory),
            }),
        }
    }

    /// What a death of its worker is for a key.
    pub(super) fn death_of(&self, key: &Key, is_out_of_memory: bool) -> KeyOutcome {
        let deaths = self.known.get(key).map_or(0, |known| known.deaths);
        match is_out_of_memory {
            _ if deaths + 1 >= DEATHS_MAX => KeyOutcome::Quarantined,
            true => KeyOutcome::OutOfMemory,
            false => KeyOutcome::Died,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(key: &str, outcome: KeyOutcome, attempt: u32) -> KeyReport {
        let (key, error) = (Key::from(key), Some("why".to_owned()));
        KeyReport { key, outcome, attempt, duration: None, bytes: 0, error, death: None }
    }

    fn run(key: &str, number: u32, is_alone: bool) -> Decision {
        Decision::Run(Attempt { key: Key::from(key), number, is_alone })
    }

    #[test]
    fn the_last_line_of_a_key_decides_what_becomes_of_it() {
        let mut ledger = Ledger::default();
        for report in [
            ended("done", KeyOutcome::Failed, 1),
            ended("done", KeyOutcome::Done, 2),
            ended("failed", KeyOutcome::Failed, 1),
            ended("died", KeyOutcome::Died, 1),
            ended("greedy", KeyOutcome::OutOfMemory, 4),
        ] {
            ledger.note(&report);
        }
        let mut decide = |key: &str| ledger.decide(Key::from(key), false);
        assert_eq!(decide("done"), Decision::Done);
        assert_eq!(decide("failed"), Decision::Failed(ended("failed", KeyOutcome::Failed, 1)));
        assert_eq!(decide("died"), run("died", 2, false));
        assert_eq!(decide("greedy"), run("greedy", 5, true));
        assert_eq!(decide("new"), run("new", 1, false));
        assert_eq!(decide("new"), Decision::Repeated);
        assert_eq!(decide("done"), Decision::Repeated);
    }

    #[test]
    fn the_second_death_in_a_row_is_quarantine_and_a_retry_begins_anew() {
        let (key, mut ledger) = (Key::from("k"), Ledger::default());
        assert_eq!(ledger.death_of(&key, false), KeyOutcome::Died);
        ledger.note(&ended("k", KeyOutcome::OutOfMemory, 1));
        assert_eq!(ledger.death_of(&key, true), KeyOutcome::Quarantined);
        ledger.note(&ended("k", KeyOutcome::Quarantined, 2));
        assert_eq!(ledger.decide(key.clone(), true), run("k", 3, false));
        assert_eq!(ledger.death_of(&key, true), KeyOutcome::OutOfMemory);
    }
}
