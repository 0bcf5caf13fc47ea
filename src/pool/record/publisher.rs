//! The file in which a pool publishes its state.

use crate::sys::clock;
use crate::sys::published::PublishedFile;

/// The label of the files, by which readers find them.
pub(crate) const LABEL: &str = "brigade-pool";

/// The file of a pool, and what it published last.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) file: PublishedFile,
    pub(crate) started_ns: u64,
    /// When it was published, and how many tasks were over then.
    pub(crate) last: Option<(u64, u64)>,
}

impl Publisher {
    /// A file with nothing in it; `None` if there can be none: a pool works without.
    pub(crate) fn new() -> Option<Publisher> {
        let file = PublishedFile::new(LABEL).ok().flatten()?;
        let started_ns = clock::now_ns();
        Some(Publisher { file, started_ns, last: None })
    }
}
