//! A hash table of byte strings.

use serde::{Deserialize, Serialize};

use super::slots::{Slots, mix};
use super::words::{GroupWords, NO_VALUES, add, merge};
use crate::kernel::number::Number;

/// Where a key is in `keys`, and its group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    start: usize,
    len: usize,
    group: GroupWords,
}

/// Groups by byte strings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct BytesTable {
    /// The keys one behind another.
    keys: Vec<u8>,
    entries: Vec<Entry>,
    /// A table that was sent has none.
    #[serde(skip)]
    slots: Slots,
}

impl BytesTable {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn key(&self, entry: &Entry) -> &[u8] {
        &self.keys[entry.start..entry.start + entry.len]
    }

    /// Adds a value to the group of `key`.
    #[inline]
    pub(crate) fn add<V: Number>(&mut self, key: &[u8], value: V) {
        add(self.group(key), value);
    }

    #[inline(always)]
    fn group(&mut self, key: &[u8]) -> &mut GroupWords {
        if !self.slots.has_room(self.entries.len()) {
            self.rebuild();
        }
        let entries = &self.entries;
        let found = self.slots.find(hash(key), |entry| {
            let entry = &entries[entry];
            entry.len == key.len() && self.keys[entry.start..entry.start + entry.len] == *key
        });
        let entry = found.unwrap_or_else(|slot| self.push(slot, key));
        &mut self.entries[entry].group
    }

    #[cold]
    fn push(&mut self, slot: usize, key: &[u8]) -> usize {
        let (number, start) = (self.entries.len(), self.keys.len());
        self.keys.extend_from_slice(key);
        self.entries.push(Entry { start, len: key.len(), group: NO_VALUES });
        self.slots.fill(slot, number);
        number
    }

    #[cold]
    fn rebuild(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.rebuild(self.entries.iter().map(|entry| hash(self.key(entry))));
        self.slots = slots;
    }

    /// The groups of the values of `self`, followed by those of `other`.
    pub(crate) fn merged<V: Number>(mut self, other: &BytesTable) -> BytesTable {
        for entry in &other.entries {
            let ours = self.group(other.key(entry));
            *ours = merge::<V>(*ours, entry.group);
        }
        self
    }

    /// The group of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&GroupWords> {
        let entry = match self.slots.has_room(0) {
            true => {
                let is_equal = |entry: usize| self.key(&self.entries[entry]) == key;
                &self.entries[self.slots.find(hash(key), is_equal).ok()?]
            }
            // It was sent.
            false => self.entries.iter().find(|entry| self.key(entry) == key)?,
        };
        Some(&entry.group)
    }

    /// The keys and their groups, in the order of the keys.
    pub(crate) fn sorted(&self) -> Vec<(&[u8], &GroupWords)> {
        let entries = self.entries.iter();
        let mut sorted: Vec<_> = entries.map(|entry| (self.key(entry), &entry.group)).collect();
        sorted.sort_unstable_by_key(|&(key, _)| key);
        sorted
    }
}

/// The hash of a key. Up to 16 bytes are read as two words, which may overlap.
#[inline(always)]
fn hash(key: &[u8]) -> u64 {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    // Spread over the word, so that no short key has the bits of the length of another one.
    let len = (key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        let mut hash = mix(word(first), word(last) ^ len);
        if key.len() > 16 {
            let (words, _) = key[8..].as_chunks();
            hash = words.iter().fold(hash, |hash, bytes| mix(hash ^ word(bytes), len));
        }
        return hash;
    }
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return mix(half(first) | half(last) << 32, len);
    }
    mix(key.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), len)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_byte_of_a_key_and_its_length_counts() {
        let mut hashes = BTreeSet::new();
        let mut keys = 0;
        for len in 0..40 {
            let mut key = vec![0u8; len];
            hashes.insert(hash(&key));
            for at in 0..len {
                key[at] = 1;
                hashes.insert(hash(&key));
                key[at] = 0;
            }
            keys += len + 1;
        }
        assert_eq!(hashes.len(), keys);
    }
}
