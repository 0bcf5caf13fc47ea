//! A test in a process of its own, with failpoints.

use std::fs::File;
use std::path::PathBuf;

use brigade::failpoint;

use crate::common::alone::alone_with;

/// The file with a test's points, removed at the end.
pub(crate) struct Points(PathBuf);

impl Points {
    pub(crate) fn new() -> Points {
        let path = std::env::temp_dir().join(crate::common::unique("points"));
        File::create(&path).unwrap().set_len(failpoint::FILE_BYTES as u64).unwrap();
        Points(path)
    }

    /// The variable by which processes find the file.
    pub(crate) fn env(&self) -> [(&str, &str); 1] {
        [(failpoint::VARIABLE, self.0.to_str().unwrap())]
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Runs a test in a process of its own, which has points.
pub(crate) fn alone<F: FnOnce()>(body: F) {
    let points = Points::new();
    alone_with(&points.env(), body);
}
