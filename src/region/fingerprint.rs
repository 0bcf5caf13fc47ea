//! The fingerprint that distinguishes a region from its copies.
//!
//! A file in `/dev/shm` may look like a region without being one: `to_npy` or NumPy wrote it there,
//! or it is a copy of a region that must be kept. So the creator of a region writes a fingerprint
//! into the padding of the header: a hash of the region's name, of its inode and of the machine's
//! boot id. A copy has another inode, a second link has another name, and a backup that is restored
//! after a restart has another boot id, so none of them matches.
//!
//! Readers of `.npy` files skip white space there, so each bit is a space (0) or a tab (1).

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::region::npy;
use crate::sys::file::FileId;
use crate::sys::identity;

/// The size of the fingerprint, in bytes of padding.
const FINGERPRINT_BYTES: usize = 64;

/// The offset of the fingerprint: before the line feed that ends the header.
const FINGERPRINT_OFFSET: usize = npy::DATA_OFFSET - 1 - FINGERPRINT_BYTES;

/// Writes the fingerprint of the file `id` with this name into a header of this crate.
pub(crate) fn write(header: &mut [u8], name: &str, id: FileId) {
    let place = &mut header[FINGERPRINT_OFFSET..FINGERPRINT_OFFSET + FINGERPRINT_BYTES];
    debug_assert!(place.iter().all(|&byte| byte == b' '), "the header is padded there");
    place.copy_from_slice(&fingerprint(name, id));
}

/// Whether `file`, with this id and name, has the matching fingerprint.
pub(crate) fn matches(file: &File, name: &str, id: FileId) -> bool {
    let mut found = [0; FINGERPRINT_BYTES];
    file.read_exact_at(&mut found, FINGERPRINT_OFFSET as u64).is_ok()
        && found == fingerprint(name, id)
}

fn fingerprint(name: &str, id: FileId) -> [u8; FINGERPRINT_BYTES] {
    let numbers = [id.device.to_le_bytes(), id.inode.to_le_bytes()];
    let boot = identity::boot();
    let all = [b"brigade region", numbers.as_flattened(), boot.as_bytes(), b"\n", name.as_bytes()];
    // FNV-1a: the same in every program, whichever compiler built it.
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = all.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    std::array::from_fn(|bit| if hash >> bit & 1 == 1 { b'\t' } else { b' ' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_have_different_fingerprints() {
        let id = |device, inode| FileId { device, inode };
        let first = fingerprint("a", id(1, 2));
        assert_eq!(fingerprint("a", id(1, 2)), first);
        for other in
            [fingerprint("b", id(1, 2)), fingerprint("a", id(2, 2)), fingerprint("a", id(1, 3))]
        {
            assert_ne!(other, first);
        }
        assert!(first.contains(&b'\t') && first.iter().all(|byte| b" \t".contains(byte)));
    }
}
