//! The identity of the running executable.

use std::io;

/// A hash of all bytes of the running executable. Functions travel as positions in it, so ranks
/// with different hashes must not work together.
///
/// A build id would be shorter to read, but not every linker writes one.
///
/// # Errors
///
/// The executable cannot be read.
pub(crate) fn identity() -> io::Result<u64> {
    Ok(hash(&std::fs::read("/proc/self/exe")?))
}

/// A multiplicative hash, eight bytes at a time: against mistakes, not against an attacker.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(FACTOR);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let state =
        words.iter().fold(bytes.len() as u64, |state, word| mix(state, u64::from_le_bytes(*word)));
    mix(state, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_or_length_changes_the_hash() {
        let bytes = [7u8; 20];
        let mut changed = bytes;
        changed[19] = 8;
        assert_ne!(hash(&bytes), hash(&changed));
        assert_ne!(hash(&bytes), hash(&bytes[..19]));
        assert_ne!(hash(&[]), hash(&[0]));
    }
}
