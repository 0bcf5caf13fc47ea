//! The word before each message.
//!
//! It holds the length of the message, and a check of length and position.

/// Size of the word, in bytes. Records begin at multiples of it.
pub(super) const WORD_BYTES: u64 = 8;

/// The longest message, in bytes: its length takes the lower half of the word.
pub(super) const LENGTH_MAX: u64 = u32::MAX as u64;

/// The size in the ring of a message of `length` bytes: its word, its bytes, and the padding.
#[inline]
pub(super) fn record_bytes(length: u64) -> u64 {
    WORD_BYTES + length.next_multiple_of(WORD_BYTES)
}

/// The word of a message of `length` bytes at `position`.
///
/// ```text
/// 63              32 31               0
/// +-----------------+-----------------+
/// |     check       | length in bytes |
/// +-----------------+-----------------+
/// ```
///
/// The check mixes length and position. So a word of an earlier lap, a word at a forged position,
/// or a word with an overwritten length is accepted with a probability of 2^-32.
#[inline]
pub(super) fn pack(length: u64, position: u64) -> u64 {
    debug_assert!(length <= LENGTH_MAX);
    (check(length, position) & !LENGTH_MAX) | length
}

/// The length in a word read at `position`, if the word belongs there.
#[inline]
pub(super) fn unpack(word: u64, position: u64) -> Option<u64> {
    let length = word & LENGTH_MAX;
    (pack(length, position) == word).then_some(length)
}

#[inline]
fn check(length: u64, position: u64) -> u64 {
    // The finalizer of splitmix64, cut short: every bit of the input reaches the upper half.
    let mixed = (position ^ length.rotate_left(40)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_yields_its_length_where_it_was_written(length in 0..=LENGTH_MAX, position: u64) {
            prop_assert_eq!(unpack(pack(length, position), position), Some(length));
        }

        #[test]
        fn a_word_with_a_flipped_bit_is_refused(
            length in 0..=LENGTH_MAX, position: u64, bit in 0..64,
        ) {
            prop_assert_eq!(unpack(pack(length, position) ^ (1u64 << bit), position), None);
        }

        #[test]
        fn a_word_of_another_position_is_refused(
            length in 0..=LENGTH_MAX, position: u64, shift in 0..64,
        ) {
            let word = pack(length, position);
            prop_assert_eq!(unpack(word, position.wrapping_add(1u64 << shift)), None);
        }

        #[test]
        fn a_record_holds_its_message_and_keeps_the_next_aligned(length in 0..=LENGTH_MAX) {
            let bytes = record_bytes(length);
            prop_assert!(bytes >= length + 8 && bytes < length + 16 && bytes.is_multiple_of(8));
        }
    }

    #[test]
    fn zero_bytes_are_no_word() {
        for position in (0..1 << 20).step_by(8) {
            assert_eq!(unpack(0, position), None, "at {position}");
        }
    }
}
