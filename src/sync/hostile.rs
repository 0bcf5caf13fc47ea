//! A ring in which anybody may have written.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::{Owner, OwnerTable, Ring, Timeout, Watch};
use crate::atomics::{AtomicU64, Ordering};

/// Where the ring begins, in bytes.
const RING_OFFSET: usize = 1024;
const BYTES: usize = RING_OFFSET + 640 + 1024;
const CAPACITY_BYTES: usize = 600;
/// Calls that one input can cause.
const STEPS_MAX: usize = 64;

#[repr(C, align(128))]
struct Place([u8; BYTES]);

/// Plays an input on a ring: each step pushes, pops, overwrites a word or attaches anew. Every
/// call answers, and no message is longer than the ring.
pub(crate) fn ring(bytes: &[u8]) {
    let leaked: &'static mut Place = Box::leak(Box::new(Place([0; BYTES])));
    let place = NonNull::from(leaked).cast::<u8>();
    play(place, bytes);
    // SAFETY: leaked from a box above; what was made over it has gone with `play`.
    drop(unsafe { Box::from_raw(place.cast::<Place>().as_ptr()) });
}

fn play(place: NonNull<u8>, mut bytes: &[u8]) {
    // SAFETY: aligned, large enough for 4 owners and 16 entries, freed after this returns.
    let table = unsafe { OwnerTable::create(place, 4, 16, place, BYTES) }.expect("it fits");
    let owner = Owner::claim(&table, Watch::Waiters).expect("the table is empty");
    // SAFETY: within the place.
    let ring_place = unsafe { place.add(RING_OFFSET) };
    // SAFETY: the rest of the place is the ring's, which is aligned to 128.
    let made = unsafe { Ring::create(ring_place, CAPACITY_BYTES, &owner) };
    let mut ring = made.expect("it fits");
    for _ in 0..STEPS_MAX {
        let Some((&step, rest)) = bytes.split_first() else { break };
        bytes = rest;
        match step % 4 {
            0 => {
                let (message, rest) = bytes.split_at(bytes.len().min(usize::from(step)));
                bytes = rest;
                let _ = ring.push(message, Timeout::Now);
            }
            1 => {
                if let Ok(message) = ring.pop(Timeout::Now) {
                    assert!(message.len() as u64 <= ring.capacity_bytes(), "{}", message.len());
                }
            }
            2 => {
                let Some((change, rest)) = bytes.split_first_chunk::<9>() else { break };
                bytes = rest;
                let value = u64::from_le_bytes(*change.last_chunk().expect("nine bytes"));
                overwrite(ring_place, usize::from(change[0]), value);
            }
            _ => {
                // SAFETY: as for the creation; the words are atomics to all.
                let again = unsafe { Ring::attach(ring_place, BYTES - RING_OFFSET, &owner) };
                // A ring that is refused goes on being used as it was.
                ring = again.unwrap_or(ring);
            }
        }
    }
}

fn overwrite(ring: NonNull<u8>, word: usize, value: u64) {
    let word = word % ((BYTES - RING_OFFSET) / 8);
    // SAFETY: within the place.
    let word = unsafe { ring.cast::<AtomicU64>().add(word) };
    // SAFETY: aligned and within the place, and an atomic to all.
    unsafe { word.as_ref() }.store(value, Ordering::Relaxed);
}
