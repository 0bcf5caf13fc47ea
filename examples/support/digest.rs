//! The SHA-256 of a number's limbs.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// In hexadecimal, over the little-endian bytes of the limbs.
pub(crate) fn sha256(limbs: &[u64]) -> String {
    let mut hasher = Sha256::new();
    for limbs in limbs.chunks(4096) {
        hasher.update(limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect::<Vec<u8>>());
    }
    hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
