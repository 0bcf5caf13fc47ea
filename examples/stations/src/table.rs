//! A hash table of names with their statistics.

use serde::{Deserialize, Serialize};

use crate::line::{Fault, WrongLine, check_name};

/// The bytes of a name that an entry has in itself.
pub(crate) const HEAD_BYTES: usize = 16;
/// The slots of a new table, a power of two.
const SLOTS_MIN: usize = 2048;
/// An odd number of random bits, for the hash.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The statistics of a name. Values are in tenths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: i64,
    /// The least value.
    pub min: i16,
    /// The greatest value.
    pub max: i16,
}

impl Statistics {
    fn of(value: i16) -> Statistics {
        Statistics { count: 1, sum: i64::from(value), min: value, max: value }
    }

    #[inline(always)]
    fn merge(&mut self, other: &Statistics) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// A name, prepared for the table: its first [`HEAD_BYTES`] bytes, filled up with zeros, as two
/// little-endian words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) head: [u64; 2],
}

impl<'a> Key<'a> {
    fn of(name: &'a [u8]) -> Key<'a> {
        let mut bytes = [0; HEAD_BYTES];
        let len = name.len().min(HEAD_BYTES);
        bytes[..len].copy_from_slice(&name[..len]);
        let (words, _) = bytes.as_chunks::<8>();
        Key { name, head: [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])] }
    }

    #[inline(always)]
    fn hash(&self) -> u64 {
        let mut hash = (self.head[0] ^ self.head[1].rotate_left(23)).wrapping_mul(MULTIPLIER);
        if self.name.len() > HEAD_BYTES {
            for &byte in &self.name[HEAD_BYTES..] {
                hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(MULTIPLIER);
            }
        }
        hash
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    head: [u64; 2],
    /// Where the name begins in `names`, and its length.
    start: usize,
    len: usize,
    statistics: Statistics,
}

/// Names with their statistics, the number of lines that were read, and what was wrong with them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Table {
    /// The names one behind another.
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// For each slot one more than the number of its entry; 0 if it is free. Their number is a
    /// power of two, and at least twice that of the entries. A table that was sent has none.
    #[serde(skip)]
    slots: Vec<u32>,
    lines: u64,
    wrong: u64,
    first_wrong: Option<WrongLine>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new() -> Table {
        Table { slots: vec![0; SLOTS_MIN], ..Table::default() }
    }

    /// The number of lines that were added, wrong ones too.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The number of wrong lines.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        self.wrong
    }

    /// The first wrong line.
    #[must_use]
    pub fn first_wrong(&self) -> Option<&WrongLine> {
        self.first_wrong.as_ref()
    }

    /// The names and their statistics, in the order of the bytes of the names.
    ///
    /// # Panics
    ///
    /// If the table was sent by another program, with names that are not UTF-8.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, Statistics)> {
        let entry = |entry: &Entry| (self.name(entry), entry.statistics);
        let mut sorted: Vec<_> = self.entries.iter().map(entry).collect();
        sorted.sort_unstable_by_key(|&(name, _)| name);
        let text = |name| str::from_utf8(name).expect("checked by `insert`");
        sorted.into_iter().map(|(name, statistics)| (text(name), statistics)).collect()
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.start..entry.start + entry.len]
    }

    /// Adds a line that was read.
    pub(crate) fn add_line(&mut self, line: &[u8]) {
        self.lines += 1;
        let added = crate::line::parse(line)
            .and_then(|(name, value)| self.insert(Key::of(name), &Statistics::of(value)));
        if let Err(fault) = added {
            self.wrong += 1;
            let number = self.lines;
            self.first_wrong.get_or_insert_with(|| WrongLine::new(number, fault, line));
        }
    }

    /// Adds the value of a line; false, and nothing is added, if the name is new and wrong.
    #[inline(always)]
    pub(crate) fn add(&mut self, key: Key<'_>, value: i16) -> bool {
        let is_added = match self.find(&key) {
            Ok(entry) => {
                let statistics = &mut self.entries[entry].statistics;
                statistics.merge(&Statistics::of(value));
                true
            }
            Err(_) => self.add_new(key, value),
        };
        self.lines += u64::from(is_added);
        is_added
    }

    #[cold]
    #[inline(never)]
    fn add_new(&mut self, key: Key<'_>, value: i16) -> bool {
        // A name with a newline is a line without a separator, and the next one.
        !key.name.contains(&b'\n') && self.insert(key, &Statistics::of(value)).is_ok()
    }

    /// The number of an entry, or the free slot where it would be.
    #[inline(always)]
    fn find(&self, key: &Key<'_>) -> Result<usize, usize> {
        let slots = &self.slots[..];
        let mask = slots.len() - 1;
        let mut slot = (key.hash() >> 32) as usize & mask;
        loop {
            let Some(number) = (slots[slot] as usize).checked_sub(1) else { return Err(slot) };
            let entry = &self.entries[number];
            let len = key.name.len();
            if entry.head == key.head
                && entry.len == len
                && (len <= HEAD_BYTES || self.name(entry) == key.name)
            {
                return Ok(number);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Merges statistics into those of a name, which may be new.
    #[inline(never)]
    fn insert(&mut self, key: Key<'_>, statistics: &Statistics) -> Result<(), Fault> {
        if 2 * (self.entries.len() + 1) > self.slots.len() {
            self.rehash();
        }
        match self.find(&key) {
            Ok(entry) => self.entries[entry].statistics.merge(statistics),
            Err(slot) => {
                check_name(key.name)?;
                let (head, start, len) = (key.head, self.names.len(), key.name.len());
                self.names.extend_from_slice(key.name);
                self.entries.push(Entry { head, start, len, statistics: *statistics });
                self.slots[slot] = u32::try_from(self.entries.len()).expect("fewer than 2^32");
            }
        }
        Ok(())
    }

    /// Makes room for as many entries again.
    fn rehash(&mut self) {
        self.slots = vec![0; (4 * self.entries.len()).next_power_of_two().max(SLOTS_MIN)];
        for number in 0..self.entries.len() {
            let entry = &self.entries[number];
            let key = Key { name: self.name(entry), head: entry.head };
            let slot = self.find(&key).expect_err("each name occurs once");
            self.slots[slot] = u32::try_from(number + 1).expect("fewer than 2^32");
        }
    }

    /// The table of the lines of `self`, followed by those of `other`.
    ///
    /// # Panics
    ///
    /// If there are 2^32 names.
    #[must_use]
    pub fn merged(mut self, other: Table) -> Table {
        // A table that was sent has no slots.
        self.rehash();
        for entry in &other.entries {
            let key = Key { name: other.name(entry), head: entry.head };
            self.insert(key, &entry.statistics).expect("a name that was checked");
        }
        self.wrong += other.wrong;
        let later =
            other.first_wrong.map(|wrong| WrongLine { number: self.lines + wrong.number, ..wrong });
        self.first_wrong = self.first_wrong.or(later);
        self.lines += other.lines;
        self
    }
}
