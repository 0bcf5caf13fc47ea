//! A key: the bytes that name one piece of work.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The name of one piece of a batch's work: a path or any other bytes.
///
/// Two keys are equal if their bytes are; `a` and `./a` are two keys. A key need not be UTF-8, and
/// may have newlines in it. Its `Display` is one line in any case: control characters and bytes
/// that are not UTF-8 are escaped.
///
/// # Examples
///
/// ```
/// use std::path::{Path, PathBuf};
/// use brigade::batch::Key;
/// let key = Key::from(PathBuf::from("photos/one\ntwo.jpg"));
/// assert_eq!(key.as_path(), Path::new("photos/one\ntwo.jpg"));
/// assert_eq!(key.to_string(), "photos/one\\ntwo.jpg");
/// assert_eq!(Key::from(b"caf\xe9".to_vec()).to_string(), "caf\\xe9");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(Vec<u8>);

impl Key {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The bytes as text; `None` if they are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character.is_control() {
                    true => write!(f, "{}", character.escape_default())?,
                    false => write!(f, "{character}")?,
                }
            }
            write!(f, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Key {
        Key(bytes)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Key {
        Key(text.into_bytes())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key(text.as_bytes().to_vec())
    }
}

impl From<OsString> for Key {
    fn from(name: OsString) -> Key {
        Key(name.into_vec())
    }
}

impl From<PathBuf> for Key {
    fn from(path: PathBuf) -> Key {
        Key::from(path.into_os_string())
    }
}

impl From<&Path> for Key {
    fn from(path: &Path) -> Key {
        Key(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<&PathBuf> for Key {
    fn from(path: &PathBuf) -> Key {
        Key::from(path.as_path())
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Key {
        Key::from(text.as_str())
    }
}

impl From<&OsStr> for Key {
    fn from(name: &OsStr) -> Key {
        Key(name.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Key {
        Key(bytes.to_vec())
    }
}
