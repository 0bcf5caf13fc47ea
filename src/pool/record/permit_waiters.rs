//! The futures that wait for a permit of a limited queue.

use std::collections::BTreeMap;
use std::task::Waker;

/// The futures that wait for a permit. A future keeps its number until it ends: if it was woken
/// and found no permit, it is still before those that came later.
#[derive(Debug, Default)]
pub(crate) struct PermitWaiters {
    /// Those that are not woken yet. The lowest number is woken first.
    waiting: BTreeMap<u64, Waker>,
    last_number: u64,
    /// How many were woken, and have neither registered again nor ended.
    woken: usize,
}

impl PermitWaiters {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Registers the future with this number; a new one gets its number. Returns its old waker,
    /// which is dropped without the mutex, because dropping it runs foreign code.
    #[must_use]
    pub(crate) fn register(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let is_known = number.is_some();
        let number = *number.get_or_insert_with(|| {
            self.last_number += 1;
            self.last_number
        });
        let old = self.waiting.insert(number, waker);
        if is_known && old.is_none() {
            self.woken -= 1;
        }
        old
    }

    /// Removes a future that was registered. Returns its waker, as `register`, unless it was woken.
    #[must_use]
    pub(crate) fn remove(&mut self, number: u64) -> Option<Waker> {
        let waker = self.waiting.remove(&number);
        if waker.is_none() {
            self.woken -= 1;
        }
        waker
    }

    /// The wakers to call for so many permits, without the permits of those that were woken before.
    pub(crate) fn wake(&mut self, permits: usize) -> Vec<Waker> {
        let count = permits.saturating_sub(self.woken).min(self.waiting.len());
        self.woken += count;
        (0..count).filter_map(|_| self.waiting.pop_first()).map(|(_, waker)| waker).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_futures_are_woken_as_there_are_permits_and_the_first_ones_first() {
        let mut waiters = PermitWaiters::default();
        let mut numbers = [None; 4];
        for number in &mut numbers {
            assert!(waiters.register(number, Waker::noop().clone()).is_none());
        }
        let [first, second, third, fourth] = numbers.map(|number| number.unwrap());
        let left = |waiters: &PermitWaiters| waiters.waiting.keys().copied().collect::<Vec<_>>();
        assert_eq!(waiters.wake(1).len(), 1);
        assert_eq!(left(&waiters), [second, third, fourth]);
        assert_eq!(waiters.wake(1).len(), 0, "the permit is for the first");
        assert_eq!(waiters.wake(2).len(), 1);
        assert_eq!(left(&waiters), [third, fourth]);
        // Another took its permit.
        assert!(waiters.register(&mut numbers[0], Waker::noop().clone()).is_none());
        assert_eq!(numbers[0], Some(first));
        assert_eq!(left(&waiters), [first, third, fourth]);
        assert!(waiters.register(&mut numbers[0], Waker::noop().clone()).is_some(), "replaced");
        // The second ends, woken, and the third while it waits.
        assert!(waiters.remove(second).is_none());
        assert!(waiters.remove(third).is_some());
        assert_eq!(waiters.wake(1).len(), 1);
        assert_eq!(left(&waiters), [fourth]);
        assert_eq!(waiters.wake(usize::MAX).len(), 1);
        assert!(waiters.is_empty());
    }
}
