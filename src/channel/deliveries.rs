//! The messages that this process has taken and not acknowledged.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Result;
use crate::sync::{Owner, Ring, Timeout, Unacked, WaitPhase, Watch};

/// The state of one process for acknowledgments.
#[derive(Debug)]
pub(super) struct Deliveries {
    unacked: Unacked,
    /// The word of this process, claimed with its first message.
    slot: OnceLock<usize>,
    /// Losses that were reported in this process.
    lost_seen: AtomicU64,
}

impl Deliveries {
    pub(super) fn new(unacked: Unacked) -> Deliveries {
        let lost_seen = AtomicU64::new(unacked.lost());
        Deliveries { unacked, slot: OnceLock::new(), lost_seen }
    }

    /// The index of this process's word.
    fn slot(&self, ring: &Ring, owner: &Owner) -> Result<usize> {
        if let Some(&slot) = self.slot.get() {
            return Ok(slot);
        }
        let claimed = self.unacked.claim(owner, ring.popped())?;
        let slot = *self.slot.get_or_init(|| claimed);
        if slot != claimed {
            // Another thread claimed a word first.
            self.unacked.release(claimed, owner, ring.popped());
        }
        Ok(slot)
    }

    /// Takes the oldest message, and counts it as not acknowledged by this process.
    pub(super) fn take(
        &self,
        ring: &Ring,
        owner: &Owner,
        buffer: &mut Vec<u8>,
        timeout: Timeout,
    ) -> Result<()> {
        let slot = self.slot(ring, owner)?;
        self.unacked.take(slot, ring, buffer, timeout)
    }

    /// Acknowledges a message that this process took, or else one of another process; false if
    /// there is none.
    pub(super) fn acknowledge(&self) -> bool {
        self.unacked.acknowledge(self.slot.get().copied())
    }

    /// The number of messages in the ring, or taken and not acknowledged.
    pub(super) fn unfinished(&self, ring: &Ring) -> u64 {
        self.unacked.unfinished(ring)
    }

    /// Waits until no message is unfinished. Returns how many messages were lost since the last
    /// report in this process, or `None` at the timeout.
    pub(super) fn join(&self, ring: &Ring, owner: &Owner, timeout: Timeout) -> Option<u64> {
        let attempt = |phase: WaitPhase| {
            if phase == WaitPhase::BeforeSleep {
                self.unacked.count_lost_of_dead(owner, || ring.popped());
            }
            (self.unfinished(ring) == 0).then_some(())
        };
        self.unacked.joined().wait_for(timeout, Watch::Waiters, attempt)?;
        let lost = self.unacked.lost();
        // Relaxed: an independent number.
        Some(lost.wrapping_sub(self.lost_seen.swap(lost, Ordering::Relaxed)))
    }

    /// Releases the word of this process. The messages that it has not acknowledged are lost.
    pub(super) fn release(&self, ring: &Ring, owner: &Owner) {
        if let Some(&slot) = self.slot.get() {
            self.unacked.release(slot, owner, ring.popped());
        }
    }
}
