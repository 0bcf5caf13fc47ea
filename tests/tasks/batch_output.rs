//! Output files of batches.

use std::fs;
use std::io::Write;

use crate::common::Directory;
use crate::common::alone::alone;
use brigade::Error;
use brigade::batch::OutputFile;

#[test]
fn an_output_replaces_the_old_file_at_once_or_leaves_it() {
    alone(|| {
        let directory = Directory::new();
        let path = directory.0.join("out");
        fs::write(&path, "old").unwrap();
        let begin = || {
            let mut file = OutputFile::create(&path).unwrap();
            file.write_all(&[b'n'; 100_000]).unwrap();
            file.flush().unwrap();
            file
        };
        drop(begin());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let file = begin();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(file.commit().unwrap(), 100_000);
        assert_eq!(fs::read(&path).unwrap().len(), 100_000);
        assert_eq!(begin().commit_synced().unwrap(), 100_000);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1, "nothing is left beside it");
        fs::hard_link(&path, directory.0.join("second")).unwrap();
        for (path, is_missing) in [(path, false), ("/nonexistent/out".into(), true)] {
            let error = OutputFile::create(path).unwrap_err();
            assert_eq!(matches!(error, Error::NotFound { .. }), is_missing, "{error}");
            assert_eq!(matches!(error, Error::InvalidArgument { .. }), !is_missing, "{error}");
        }
    });
}

#[test]
fn what_a_new_file_cannot_replace_is_refused_at_once() {
    alone(|| {
        let directory = Directory::new();
        let fifo = directory.0.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let name = directory.0.join("folder/");
        for path in [fifo.clone(), directory.0.clone(), "/dev/null".into(), name] {
            let error = OutputFile::create(&path).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    });
}

#[test]
fn an_output_in_a_folder_that_cannot_be_written_is_an_error_with_its_cause() {
    alone(|| {
        // Whoever may write there, no file is ever made in it.
        let error = OutputFile::create("/proc/self/output").unwrap_err();
        let Error::Os { source, .. } = &error else { panic!("{error}") };
        assert!(source.raw_os_error().is_some(), "{error}");
    });
}
