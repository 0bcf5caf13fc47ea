//! Headers and names that anybody may have written.

use std::path::Path;

use crate::region::name::Name;
use crate::region::npy;
use crate::sys::shm;

/// A header is refused, or describes elements that can be addressed.
pub(crate) fn header(bytes: &[u8]) {
    let Ok(header) = npy::parse(bytes, "fuzz") else { return };
    let size = header.shape.size_bytes(header.dtype.size_bytes());
    assert_eq!(size, Some(header.data_bytes), "{header:?}");
    assert!(header.data_offset <= bytes.len(), "{header:?}");
    assert!(header.data_offset.checked_add(header.data_bytes).is_some_and(|end| end < 1 << 63));
    if header.data_bytes > isize::MAX.unsigned_abs() - 2 * npy::DATA_OFFSET {
        // Our own header is longer, and leaves less room to be addressed.
        return;
    }
    // What is accepted can be written again, and means the same.
    let again = npy::encode(header.dtype, &header.shape).expect("at most 32 dimensions");
    let read = npy::parse(&again, "fuzz").expect("what this crate writes");
    assert_eq!((read.dtype, read.shape), (header.dtype, header.shape));
}

/// A name is refused, or means a file directly under `/dev/shm`.
pub(crate) fn name(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(name) = Name::new(&text) else { return };
    assert_eq!(name.as_str(), text);
    let path = shm::path_of(name.as_str());
    assert_eq!(path.parent(), Some(Path::new(shm::DIRECTORY)), "{text:?}");
    assert_eq!(path.file_name().and_then(|file| file.to_str()), Some(name.as_str()));
}
