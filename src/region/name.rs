//! Valid names of regions.

use std::fmt;

use crate::error::{Error, Result};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// A name that is safe to append to `/dev/shm/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(String);

impl Name {
    /// Checks a name: 1 to 100 of `A-Z a-z 0-9 _ . -`, without a leading dot.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`].
    pub(crate) fn new(name: &str) -> Result<Name> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > NAME_BYTES_MAX {
            "it is too long"
        } else if name.starts_with('.') {
            "it begins with a dot"
        } else if !name.chars().all(is_plain) {
            "it has a character that is not allowed"
        } else {
            return Ok(Name(name.to_owned()));
        };
        Err(Error::BadName { name: name.to_owned(), reason })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_names_are_names() {
        let longest = "x".repeat(NAME_BYTES_MAX);
        for good in ["a", "A-1_b.npy", "-", "_", longest.as_str()] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        let too_long = "x".repeat(NAME_BYTES_MAX + 1);
        let bad = ["", ".", "..", ".x", "/", "a/b", "/../x", "a\0", "a b", "\u{e9}", "a\n"];
        for bad in bad.into_iter().chain([too_long.as_str()]) {
            assert!(matches!(Name::new(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_directory(text in any::<String>()) {
            if let Ok(name) = Name::new(&text) {
                let path = crate::sys::shm::path_of(name.as_str());
                prop_assert_eq!(path.parent(), Some(std::path::Path::new("/dev/shm")));
                prop_assert_eq!(path.file_name().unwrap().to_str(), Some(name.as_str()));
            }
        }
    }
}
