//! The files of a folder and of the folders in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Contents {
    /// The regular files, by their paths in the folder, in order.
    pub files: Vec<PathBuf>,
    /// What cannot be read or is no file, and why.
    pub refused: Vec<(PathBuf, String)>,
}

/// A folder that is yet to be read.
struct Place {
    /// Its path in the folder of all.
    relative: PathBuf,
    /// Its path without symbolic links.
    real: PathBuf,
}

struct Search<'a> {
    /// Paths without symbolic links that are left out, with all that is in them.
    without: &'a [PathBuf],
    /// Folders that were read, without symbolic links.
    seen: BTreeSet<PathBuf>,
    folders: Vec<Place>,
    /// Links to folders: their paths in the folder of all, and without symbolic links.
    links: BTreeMap<PathBuf, PathBuf>,
    found: Contents,
}

/// The files of the folder `root` and of the folders in it, except the paths `without`, which have
/// no symbolic links in them, and what is in these.
///
/// Symbolic links are followed. A folder that can be reached in several ways is read once, by its
/// own name if it has one in `root`.
///
/// # Errors
///
/// Those of reading `root` itself.
pub fn contents(root: &Path, without: &[PathBuf]) -> io::Result<Contents> {
    let real = fs::canonicalize(root)?;
    fs::read_dir(&real)?;
    let folders = vec![Place { relative: PathBuf::new(), real }];
    let (seen, links, found) = (BTreeSet::new(), BTreeMap::new(), Contents::default());
    let mut search = Search { without, seen, folders, links, found };
    loop {
        while let Some(folder) = search.folders.pop() {
            search.read(&folder);
        }
        // The first by name, whatever order the file system has them in.
        let Some((relative, real)) = search.links.pop_first() else { break };
        search.folders.push(Place { relative, real });
    }
    let mut found = search.found;
    found.files.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    found.refused.sort();
    Ok(found)
}

impl Search<'_> {
    fn refuse(&mut self, relative: &Path, why: impl ToString) {
        self.found.refused.push((relative.to_owned(), why.to_string()));
    }

    /// Whether a path without symbolic links is left out.
    fn is_without(&self, real: &Path) -> bool {
        self.without.iter().any(|without| real.starts_with(without))
    }

    /// Takes note of what is in a folder.
    fn read(&mut self, folder: &Place) {
        if !self.seen.insert(folder.real.clone()) {
            return;
        }
        let entries = match fs::read_dir(&folder.real) {
            Ok(entries) => entries,
            Err(e) => return self.refuse(&folder.relative, format!("cannot be read: {e}")),
        };
        for entry in entries {
            let (entry, kind) = match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                Ok((kind, entry)) => (entry, kind),
                Err(e) => {
                    self.refuse(&folder.relative, format!("cannot be read to its end: {e}"));
                    break;
                }
            };
            let (relative, real) = (folder.relative.join(entry.file_name()), entry.path());
            if self.is_without(&real) {
                continue;
            }
            if kind.is_file() {
                self.found.files.push(relative);
            } else if kind.is_dir() {
                self.folders.push(Place { relative, real });
            } else if kind.is_symlink() {
                self.note_link(relative, &folder.real, &real);
            } else {
                self.refuse(&relative, "neither a file nor a folder");
            }
        }
    }

    fn note_link(&mut self, relative: PathBuf, folder: &Path, link: &Path) {
        let found = fs::metadata(link).and_then(|found| Ok((found, fs::canonicalize(link)?)));
        let (found, real) = match found {
            Ok(found) => found,
            Err(e) => return self.refuse(&relative, format!("a symbolic link: {e}")),
        };
        if self.is_without(&real) {
            return;
        }
        if found.is_file() {
            self.found.files.push(relative);
        } else if !found.is_dir() {
            self.refuse(&relative, "a symbolic link to what is neither a file nor a folder");
        } else if folder.starts_with(&real) {
            self.refuse(&relative, "a symbolic link to a folder that contains it");
        } else {
            self.links.insert(relative, real);
        }
    }
}
