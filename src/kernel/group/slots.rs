//! The slots of a hash table with linear probing.

/// The fewest slots, a power of two.
const SLOTS_MIN: usize = 64;
/// Two odd numbers of random bits.
const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd1b5_4a32_d192_ed03;

/// Mixes two words: both halves of a product depend on all their bits.
#[inline(always)]
pub(super) fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ FIRST) * u128::from(b ^ SECOND);
    #[expect(clippy::cast_possible_truncation, reason = "both halves")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

/// For each slot one more than the number of its entry, or 0 if it is free. Their number is 0, or a
/// power of two and at least twice that of the entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Vec<u32>);

impl Slots {
    /// Whether there are slots for another entry, of `entries`.
    #[inline(always)]
    pub(super) fn has_room(&self, entries: usize) -> bool {
        2 * (entries + 1) <= self.0.len()
    }

    /// The number of the entry with this hash for which `is_equal`, or the free slot for it.
    ///
    /// # Panics
    ///
    /// If there are no slots.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_equal: impl Fn(usize) -> bool) -> Result<usize, usize> {
        let slots = &self.0[..];
        let mask = slots.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the mask leaves fewer bits")]
        let mut slot = hash as usize & mask;
        loop {
            match (slots[slot] as usize).checked_sub(1) {
                None => return Err(slot),
                Some(entry) if is_equal(entry) => return Ok(entry),
                Some(_) => slot = (slot + 1) & mask,
            }
        }
    }

    /// Puts an entry into a free slot.
    ///
    /// # Panics
    ///
    /// If there are 2^32 entries.
    pub(super) fn fill(&mut self, slot: usize, entry: usize) {
        self.0[slot] = u32::try_from(entry + 1).expect("a table has fewer than 2^32 groups");
    }

    /// Slots for twice as many entries as there are, which have these hashes.
    pub(super) fn rebuild(&mut self, hashes: impl ExactSizeIterator<Item = u64>) {
        self.0 = vec![0; (4 * hashes.len()).next_power_of_two().max(SLOTS_MIN)];
        for (entry, hash) in hashes.enumerate() {
            let slot = self.find(hash, |_| false).expect_err("no entry is equal");
            self.fill(slot, entry);
        }
    }
}
