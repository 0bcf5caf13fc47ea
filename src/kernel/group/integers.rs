//! A hash table of integer keys.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::slots::{Slots, mix};
use super::words::{GroupWords, NO_VALUES, add, merge};
use crate::kernel::number::Number;

/// A key as [`Number::to_bits_u64`], and its group.
type Entry = (u64, GroupWords);

/// Groups by integer keys of one type. It is sent as plain words.
#[derive(Debug, Clone, Default)]
pub(crate) struct IntegerTable {
    entries: Vec<Entry>,
    /// A table that was sent has none.
    slots: Slots,
}

impl IntegerTable {
    /// Adds each value to the group of its key.
    pub(crate) fn add<K: Number, V: Number>(&mut self, keys: &[K], values: &[V]) {
        for (&key, &value) in keys.iter().zip(values) {
            add(self.group(key.to_bits_u64()), value);
        }
    }

    #[inline(always)]
    fn group(&mut self, key: u64) -> &mut GroupWords {
        if !self.slots.has_room(self.entries.len()) {
            self.slots.rebuild(self.entries.iter().map(|&(key, _)| hash(key)));
        }
        let found = self.slots.find(hash(key), |entry| self.entries[entry].0 == key);
        let entry = found.unwrap_or_else(|slot| {
            self.entries.push((key, NO_VALUES));
            self.slots.fill(slot, self.entries.len() - 1);
            self.entries.len() - 1
        });
        &mut self.entries[entry].1
    }

    /// The groups of the values of `self`, followed by those of `other`.
    pub(crate) fn merged<V: Number>(mut self, other: IntegerTable) -> IntegerTable {
        for (key, theirs) in other.entries {
            let ours = self.group(key);
            *ours = merge::<V>(*ours, theirs);
        }
        self
    }

    /// The keys and their groups, in the order of the keys.
    pub(crate) fn into_sorted<K: Number>(self) -> Vec<(K, GroupWords)> {
        let entries = self.entries.into_iter();
        let mut sorted: Vec<_> =
            entries.map(|(key, group)| (K::from_bits_u64(key), group)).collect();
        sorted.sort_unstable_by(|(a, _), (b, _)| a.partial_cmp(b).expect("keys are integers"));
        sorted
    }
}

#[inline(always)]
fn hash(key: u64) -> u64 {
    mix(key, 0)
}

impl Serialize for IntegerTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for IntegerTable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<IntegerTable, D::Error> {
        Ok(IntegerTable { entries: Vec::deserialize(from)?, slots: Slots::default() })
    }
}
