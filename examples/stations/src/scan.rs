//! The fast path over a piece of the file.
//!
//! A line takes no branch that depends on its contents, as long as its name has at most 15 bytes:
//!
//! - the `;` is found in two words of 8 bytes at once;
//! - the value is read as one word of 8 bytes, whatever its sign and its number of digits;
//! - a name is compared as two words.
//!
//! What is unusual in any way is left to [`line`](crate::line), which knows what is wrong.

use memchr::memchr;

use crate::line::NAME_BYTES_MAX;
use crate::table::{HEAD_BYTES, Key, Table};

/// A byte in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Adds the lines of `piece`. The last one may have no newline.
pub(crate) fn add_piece(table: &mut Table, piece: &[u8]) {
    let mut rest = piece;
    while !rest.is_empty() {
        if let Some(len) = usual_line(table, rest) {
            rest = &rest[len..];
            continue;
        }
        let end = memchr(b'\n', rest);
        table.add_line(&rest[..end.unwrap_or(rest.len())]);
        rest = end.map_or(&[], |end| &rest[end + 1..]);
    }
}

/// Adds the line at the beginning of `text`, and returns its length with its end. `None`, and
/// nothing is added, if it is wrong, or too near to the end of `text`.
#[inline(always)]
fn usual_line(table: &mut Table, text: &[u8]) -> Option<usize> {
    let head = text.first_chunk::<HEAD_BYTES>()?;
    let words = [word(head, 0), word(head, 8)];
    let found = words.map(separators);
    let (name_len, head) = if (found[0] | found[1]) == 0 {
        let rest = &text[HEAD_BYTES..text.len().min(NAME_BYTES_MAX + 1)];
        (HEAD_BYTES + memchr(b';', rest)?, words)
    } else {
        let is_short = found[0] != 0;
        let len = if is_short { first_byte(found[0]) } else { 8 + first_byte(found[1]) };
        let second = if is_short { 0 } else { words[1] & below(found[1]) };
        (len, [words[0] & below(found[0]), second])
    };
    let value = text.get(name_len + 1..)?.first_chunk::<8>()?;
    let (value, value_len) = tenths(u64::from_le_bytes(*value))?;
    let key = Key { name: &text[..name_len], head };
    table.add(key, value).then_some(name_len + 1 + value_len)
}

#[inline(always)]
fn word(bytes: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// The high bit of the first byte that is `;`, and perhaps of later bytes.
#[inline(always)]
fn separators(word: u64) -> u64 {
    let zero_if_equal = word ^ (ONES * b';' as u64);
    zero_if_equal.wrapping_sub(ONES) & !zero_if_equal & HIGH_BITS
}

/// The index of the first byte whose high bit is set.
#[inline(always)]
fn first_byte(bits: u64) -> usize {
    (bits.trailing_zeros() / 8) as usize
}

/// A mask of the bytes before the first one whose high bit is set; all, if there is none.
#[inline(always)]
fn below(bits: u64) -> u64 {
    ((bits & bits.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// The value at the beginning of a word in tenths, and its length with the end of the line.
///
/// After a shift that depends on the place of the point the bytes of the word are: something, tens,
/// ones, point, tenths. Of the characters that may occur, only the point, `-` and line ends have a
/// bit 4 of 0.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low bytes of a word")]
fn tenths(word: u64) -> Option<(i16, usize)> {
    const POINTS: u64 = 0x1010_1000;
    let point_bit = (!word & POINTS).trailing_zeros();
    if point_bit > 28 {
        return None;
    }
    let is_negative = u64::from(word as u8 == b'-');
    let digits = point_bit / 8 - u32::from(word as u8 == b'-');
    // Without the sign, and with a zero for the tens if there are none.
    let unsigned = (word & !(is_negative * 0xff)) << (28 - point_bit);
    let unsigned = unsigned | (u64::from(digits == 1) * (u64::from(b'0') << 8));
    // Each byte less that of "00.0".
    let offsets = (unsigned >> 8) as u32 ^ 0x302e_3030;
    let is_wrong = (offsets.wrapping_add(0x767f_7676) | offsets) & 0x8080_8080 != 0;
    let [tens, ones, _, tenths] = offsets.to_le_bytes().map(i16::from);
    let value = 100 * tens + 10 * ones + tenths;
    let value = if is_negative == 1 { -value } else { value };
    let len = (point_bit / 8 + 2) as usize;
    let end = word >> (8 * len);
    let end_len = match end as u16 {
        end if end as u8 == b'\n' => 1,
        0x0a0d => 2,
        _ => return None,
    };
    let is_right = !is_wrong & ((digits == 1) | (digits == 2));
    is_right.then_some((value, len + end_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;

    /// Whatever the fast path accepts, it reads as the other one does.
    #[test]
    fn values_are_read_as_by_the_plain_parser() {
        let characters = *b"059.-+\r\n\0/:;a";
        let mut indices = [0; 6];
        let mut accepted = 0;
        loop {
            let text = indices.map(|index: usize| characters[index]);
            let word = u64::from_le_bytes([text.as_slice(), b"\n."].concat().try_into().unwrap());
            let line = text.split(|&byte| byte == b'\n').next().unwrap();
            let expected = line::parse(&[b"x;", line].concat()).ok().map(|(_, value)| value);
            match tenths(word) {
                Some((value, len)) => {
                    assert_eq!((Some(value), len), (expected, line.len() + 1), "{text:?}");
                    accepted += 1;
                }
                None => assert_eq!(expected, None, "{text:?}"),
            }
            let Some(digit) = indices.iter().position(|&i| i + 1 < characters.len()) else { break };
            indices[..digit].fill(0);
            indices[digit] += 1;
        }
        assert!(accepted > 100, "{accepted}");
    }

    #[test]
    fn every_length_of_a_name_is_found_and_a_newline_ends_it() {
        for len in 0..=120 {
            let name = vec![b'n'; len];
            let text = [&name[..], b";1.5\nother\nnext;2.0\r\n", &name, b";-0.5"].concat();
            let mut table = Table::new();
            add_piece(&mut table, &text);
            let is_right = (1..=NAME_BYTES_MAX).contains(&len);
            assert_eq!((table.lines(), table.wrong()), (4, if is_right { 1 } else { 3 }), "{len}");
            let sorted = table.sorted();
            let found = sorted.iter().find(|(found, _)| found.as_bytes() == name);
            let sums = found.map(|(_, found)| (found.count, found.sum, found.min, found.max));
            assert_eq!(sums, is_right.then_some((2, 10, -5, 15)), "{len}");
            let first = table.first_wrong().unwrap();
            assert_eq!(first.number, if is_right { 2 } else { 1 });
        }
    }
}
