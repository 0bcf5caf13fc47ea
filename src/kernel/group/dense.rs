//! Groups of keys from 0 to below a limit.

use super::words::{GroupWords, add};
use crate::kernel::number::Number;

/// The group of a key, if it is one of `groups`. For integer keys.
#[inline(always)]
fn place<K: Number>(key: K, groups: usize) -> Option<usize> {
    let place = usize::try_from(key.to_bits_u64()).unwrap_or(usize::MAX);
    (key >= K::ZERO && place < groups).then_some(place)
}

/// Adds each value to the group of its key. Keys that have none are left out.
pub(crate) fn add_dense<K: Number, V: Number>(groups: &mut [GroupWords], keys: &[K], values: &[V]) {
    for (&key, &value) in keys.iter().zip(values) {
        if let Some(place) = place(key, groups.len()) {
            add(&mut groups[place], value);
        }
    }
}

/// The index of the first key without a group.
pub(crate) fn first_outside<K: Number>(keys: &[K], groups: usize) -> Option<usize> {
    keys.iter().position(|&key| place(key, groups).is_none())
}
