//! Object memory that anybody may have written.

use super::snapshot;
use crate::sys::identity;

/// Where the namespaces stand: the second word of the table, behind the header.
const NAMESPACE_OFFSET: usize = 64 + 8;

/// A header is refused, or its table and directory are read within the bytes.
pub(crate) fn object(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    // An input cannot know the namespace that it is tried in: zero stands for it.
    if let Some(word) = bytes.get_mut(NAMESPACE_OFFSET..NAMESPACE_OFFSET + 8)
        && word.iter().all(|&byte| byte == 0)
    {
        let own = identity::namespaces().expect("/proc is there");
        word.copy_from_slice(&own.to_ne_bytes());
    }
    // Whole, and as the beginning of something larger.
    for total_bytes in [bytes.len(), bytes.len() + (1 << 20)] {
        let Ok(found) = snapshot::of_bytes(&bytes, total_bytes) else { continue };
        assert!(found.body_bytes <= total_bytes, "{found:?}");
        if let Some((claimants, _)) = found.users {
            assert!(claimants.len() <= bytes.len() / 16 + 8, "{} claimants", claimants.len());
        }
    }
}
