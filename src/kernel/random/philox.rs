//! Philox 4x64-10: random words by index.
//!
//! Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.3.
//! A counter of four words is mixed by ten rounds of two 64-bit products with 128-bit results. The
//! products are scalar: a processor starts one 64 x 64 -> 128 multiplication a cycle, and AVX2 and
//! AVX-512 have no such product. Vectors of four products composed of 32-bit ones take longer.

use crate::kernel::vectorized::vectorized;

/// Words of one counter.
pub(super) const WORDS: usize = 4;
/// Words that are generated at a time for the functions that convert them.
pub(super) const BATCH: usize = 512;

const MULTIPLIERS: [u64; 2] = [0xd2e7_470e_e14c_6c93, 0xca5a_8263_9512_1157];
const WEYL: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];

/// A sequence of 2^64 random words.
///
/// Word `i` is word `i % 4` of the counter `[i / 4 + 1, lane, purpose, retry]`. If the last three
/// are zero these are the raw words of NumPy's `Philox(key=...)`, which counts before it generates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    /// NumPy's key, low word first.
    pub(crate) key: [u64; 2],
    /// Distinguishes sequences of one purpose.
    pub(super) lane: u64,
    /// 0: elements of arrays; 1: the buckets of a shuffle; 2: the order within a bucket.
    pub(super) purpose: u64,
    /// How often the word of an index was rejected before.
    pub(super) retry: u64,
}

impl Stream {
    /// The sequence from which arrays are filled.
    pub(crate) fn new(key: [u64; 2]) -> Stream {
        Stream { key, lane: 0, purpose: 0, retry: 0 }
    }

    /// The word of one index.
    #[cold]
    pub(super) fn word(self, index: u64) -> u64 {
        let mut words = [0; 1];
        fill_words(self, index, &mut words);
        words[0]
    }

    /// The words of a counter.
    #[inline(always)]
    fn words(self, number: u64) -> [u64; WORDS] {
        philox([number.wrapping_add(1), self.lane, self.purpose, self.retry], self.key)
    }
}

/// The high and the low half of a product.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
pub(super) fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64, product as u64)
}

/// Ten rounds; before each but the first, the key is advanced by a Weyl sequence.
#[inline(always)]
fn philox(mut x: [u64; 4], mut key: [u64; 2]) -> [u64; 4] {
    for _ in 0..10 {
        let (high0, low0) = multiply(MULTIPLIERS[0], x[0]);
        let (high1, low1) = multiply(MULTIPLIERS[1], x[2]);
        x = [high1 ^ x[1] ^ key[0], low1, high0 ^ x[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    x
}

vectorized! {
    /// `out[i]` = word `start + i` of the stream.
    pub(crate) fn fill_words(stream: Stream, start: u64, out: &mut [u64]) {
        words_into(stream, start, out);
    }
}

/// `fill_words` without the choice of an instruction set.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the remainder of a division by 4")]
pub(super) fn words_into(stream: Stream, start: u64, out: &mut [u64]) {
    let mut number = start / WORDS as u64;
    let skipped = (start % WORDS as u64) as usize;
    let mut out = out;
    if skipped != 0 {
        let (head, rest) = out.split_at_mut(out.len().min(WORDS - skipped));
        head.copy_from_slice(&stream.words(number)[skipped..][..head.len()]);
        (out, number) = (rest, number + 1);
    }
    let (counters, tail) = out.as_chunks_mut::<WORDS>();
    for words in counters {
        *words = stream.words(number);
        number = number.wrapping_add(1);
    }
    if !tail.is_empty() {
        tail.copy_from_slice(&stream.words(number)[..tail.len()]);
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `kat_vectors` of the authors' library Random123.
    #[test]
    fn known_answers_of_the_authors() {
        let pi = [
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ];
        let zeros = [
            0x1655_4d9e_ca36_314c,
            0xdb20_fe9d_672d_0fdc,
            0xd7e7_72ce_e186_176b,
            0x7e68_b68a_ec7b_a23b,
        ];
        assert_eq!(philox([0; 4], [0; 2]), zeros);
        let ones = [
            0x87b0_92c3_013f_e90b,
            0x438c_3c67_be8d_0224,
            0x9cc7_d7c6_9cd7_77b6,
            0xa09c_aebf_594f_0ba0,
        ];
        assert_eq!(philox([u64::MAX; 4], [u64::MAX; 2]), ones);
        let key = [0x4528_21e6_38d0_1377, 0xbe54_66cf_34e9_0c6c];
        let mixed = [
            0xa528_f454_03e6_1d95,
            0x38c7_2dbd_566e_9788,
            0xa5a1_610e_72fd_18b5,
            0x57bd_43b5_e52b_7fe6,
        ];
        assert_eq!(philox(pi, key), mixed);
    }

    /// `numpy.random.Philox(key=7 | 9 << 64).random_raw(9)` of NumPy 2.4.6.
    #[test]
    fn raw_words_are_those_of_numpy() {
        let mut words = [0; 9];
        fill_words(Stream::new([7, 9]), 0, &mut words);
        let numpy = [
            0x5ac4_9a5a_a6b0_7890,
            0x0593_0c87_7546_fc4e,
            0xf113_84d4_0c66_43b6,
            0xedde_a862_0f02_9b3f,
            0xec08_1962_7320_be76,
            0x2742_cecd_4f37_e8a8,
            0x127b_9274_5578_eba8,
            0x0828_1b2e_2f7a_5449,
            0xee1a_ff98_1f10_5446,
        ];
        assert_eq!(words, numpy);
    }

    proptest! {
        #[test]
        fn every_chunk_is_the_same_alone(start in 0u64..50, len in 0usize..50) {
            let stream = Stream::new([3, 4]);
            let mut all = [0; 100];
            fill_words(stream, 0, &mut all);
            let mut some = vec![0; len];
            fill_words(stream, start, &mut some);
            prop_assert_eq!(&all[start as usize..][..len], &some[..]);
        }
    }
}
