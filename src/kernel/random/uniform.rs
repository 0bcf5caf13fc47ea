//! Uniform floats and integers by index.

use super::philox::{BATCH, Stream, multiply, words_into};
use crate::kernel::number::Number;
use crate::kernel::vectorized::vectorized;

vectorized! {
    /// Multiples of 2^-53 in [0, 1): element `start + i` is the high 53 bits of its word, as in
    /// NumPy's `Generator(Philox(key)).random()`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn fill_uniform(stream: Stream, start: u64, out: &mut [f64]) {
        let mut words = [0; BATCH];
        let mut index = start;
        for out in out.chunks_mut(BATCH) {
            let words = &mut words[..out.len()];
            words_into(stream, index, words);
            for (x, &word) in out.iter_mut().zip(&*words) {
                *x = (word >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
            }
            index = index.wrapping_add(BATCH as u64);
        }
    }
}

vectorized! {
    /// Multiples of 2^-24 in [0, 1): elements `2 j` and `2 j + 1` are the high 24 bits of the low
    /// and of the high half of word `j`, as in NumPy's `random(dtype=float32)`.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "24 bits")]
    pub(crate) fn fill_uniform_f32(stream: Stream, start: u64, out: &mut [f32]) {
        let convert = |half: u32| (half >> 8) as f32 * (1.0 / (1u32 << 24) as f32);
        let mut words = [0; BATCH];
        let (mut index, mut out) = (start / 2, out);
        if start % 2 == 1 && !out.is_empty() {
            words_into(stream, index, &mut words[..1]);
            out[0] = convert((words[0] >> 32) as u32);
            (index, out) = (index + 1, &mut out[1..]);
        }
        for out in out.chunks_mut(2 * BATCH) {
            let words = &mut words[..out.len().div_ceil(2)];
            words_into(stream, index, words);
            let (pairs, last) = out.as_chunks_mut::<2>();
            for (pair, &word) in pairs.iter_mut().zip(&*words) {
                *pair = [convert(word as u32), convert((word >> 32) as u32)];
            }
            if let [x] = last {
                *x = convert(words[words.len() - 1] as u32);
            }
            index += BATCH as u64;
        }
    }
}

/// The number below `span` for a word, or for later words of the same index if that one is
/// rejected. `span` 0 stands for 2^64: then any word is accepted.
///
/// Lemire, "Fast random integer generation in an interval", ACM TOMACS 29, 2019: the high half of
/// `word * span`, without bias because the `2^64 mod span` lowest products are rejected.
#[inline(always)]
pub(super) fn below(stream: Stream, index: u64, word: u64, span: u64) -> u64 {
    if span == 0 {
        return word;
    }
    let (high, low) = multiply(word, span);
    if low < span { below_slow(stream, index, high, low, span) } else { high }
}

/// The number of integers from `low` to `high`; 0 stands for 2^64.
pub(crate) fn span<T: Number>(low: T, high: T) -> u64 {
    let count = high.to_bits_u64().wrapping_sub(low.to_bits_u64()).wrapping_add(1);
    // Negative integers are extended with zeros: the difference is taken modulo the type's range.
    let last = count.wrapping_sub(1) & T::from_bits_u64(u64::MAX).to_bits_u64();
    last.wrapping_add(1)
}

#[cold]
#[inline(never)]
fn below_slow(mut stream: Stream, index: u64, mut high: u64, mut low: u64, span: u64) -> u64 {
    let refused = span.wrapping_neg() % span;
    while low < refused {
        stream.retry += 1;
        (high, low) = multiply(stream.word(index), span);
    }
    high
}

vectorized! {
    /// Integers from `low` to `low + span - 1`, all equally likely; `span` 0 stands for 2^64.
    ///
    /// Element `start + i` takes the word of its index. A rejected word (with probability below
    /// `span / 2^64`) is replaced by the word of the same index with the next `retry`, so no
    /// element depends on another. NumPy's `integers` takes words one after the other and gives
    /// other numbers.
    ///
    /// For integer types; `low + span - 1` must fit into the type.
    pub(crate) fn fill_range<T: Number>(
        stream: Stream,
        start: u64,
        low: T,
        span: u64,
        out: &mut [T],
    ) {
        let mut words = [0; BATCH];
        let mut index = start;
        for out in out.chunks_mut(BATCH) {
            let words = &mut words[..out.len()];
            words_into(stream, index, words);
            for (x, &word) in out.iter_mut().zip(&*words) {
                let offset = below(stream, index, word, span);
                *x = T::from_bits_u64(low.to_bits_u64().wrapping_add(offset));
                index = index.wrapping_add(1);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Generator(Philox(key=7)).random(3)`, and with `dtype=float32`, of NumPy 2.4.6.
    #[test]
    fn floats_are_those_of_numpy() {
        let mut doubles = [0.0; 3];
        fill_uniform(Stream::new([7, 0]), 0, &mut doubles);
        let bits = [0x3feb_e806_9705_3d3f, 0x3fd2_e744_337e_3990, 0x3fda_e2e1_5f94_1aaa];
        assert_eq!(doubles.map(f64::to_bits), bits);
        let mut floats = [0.0; 3];
        fill_uniform_f32(Stream::new([7, 0]), 0, &mut floats);
        assert_eq!(
            floats.map(|x| (f64::from(x) * 16_777_216.0) as u32),
            [0x29e9fb, 0xdf4034, 0xf8e640]
        );
    }

    #[test]
    fn refused_words_are_replaced_and_nothing_is_more_likely() {
        // A third of all words is rejected.
        let span = (1 << 62) + (1 << 61);
        let mut out = vec![0u64; 30_000];
        fill_range(Stream::new([5, 6]), 0, 0, span, &mut out);
        assert!(out.iter().all(|&x| x < span));
        // Of three thirds each holds 10,000; the standard deviation is 82.
        for third in 0..3u64 {
            let count = out.iter().filter(|&&x| x >> 61 == third).count();
            assert!(count.abs_diff(10_000) < 500, "{third}: {count}");
        }
    }

    #[test]
    fn whole_ranges_of_types_are_met() {
        let mut out = vec![0i8; 10_000];
        fill_range(Stream::new([5, 6]), 0, -128, 256, &mut out);
        assert!((-128..=127).all(|x| out.contains(&x)));
        let mut words = [0u64; 5];
        fill_range(Stream::new([7, 9]), 0, 0, 0, &mut words);
        assert_eq!(words[0], 0x5ac4_9a5a_a6b0_7890);
    }

    proptest! {
        #[test]
        fn every_chunk_is_the_same_alone(start in 0u64..1500, len in 0usize..1500) {
            let stream = Stream::new([3, 4]);
            let (mut all, mut some) = (vec![0.0; 3000], vec![0.0; len]);
            fill_uniform(stream, 0, &mut all);
            fill_uniform(stream, start, &mut some);
            prop_assert_eq!(&all[start as usize..][..len], &some[..]);
            let (mut all, mut some) = (vec![0.0f32; 3000], vec![0.0f32; len]);
            fill_uniform_f32(stream, 0, &mut all);
            fill_uniform_f32(stream, start, &mut some);
            prop_assert_eq!(&all[start as usize..][..len], &some[..]);
            let (mut all, mut some) = (vec![0i16; 3000], vec![0i16; len]);
            fill_range(stream, 0, -50, 101, &mut all);
            fill_range(stream, start, -50, 101, &mut some);
            prop_assert_eq!(&all[start as usize..][..len], &some[..]);
            prop_assert!(all.iter().all(|x| (-50..=50).contains(x)));
        }
    }
}
