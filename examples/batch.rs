//! Checksums of a folder's files, as a batch that survives.

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use brigade::batch::{Batch, Interrupt, Key, OutputFile, Summary};
use serde::Serialize;
use sha2::{Digest, Sha256};
use support::arguments::{Arguments, Stop, run};
use support::random::Random;
use support::report;

const USAGE: &str = "\
batch: SHA-256 of each file of a folder, written to a folder of checksums

  --in DIR            the files [some that are made and removed]
  --files N           without a folder: how many to make [200]
  --out DIR           where NAME.sha256 goes, made if need be [a temporary folder]
  --journal FILE      what is done; run again with it to do the rest [none]
  --retry-failed      run what has failed before once more
  --timeout-ms N      how long a file may take [60000]
  --memory-mib N      what a file may need: so many run at once as there is memory for
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --json              print one line of JSON

Exit codes: 0 all done, 1 a file failed, 2 wrong command line, 130 interrupted.";

fn main() -> ExitCode {
    let mut code = 0;
    let ended = run(USAGE, |arguments| batch(&arguments).map(|found| code = found));
    if code == 0 { ended } else { ExitCode::from(code) }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    files: usize,
    workers: usize,
    start: &'static str,
    done: usize,
    skipped: usize,
    failed: usize,
    bytes: u64,
    seconds: f64,
    interrupted: bool,
    checked: bool,
}

/// A folder that was given, or one that is removed at the end.
struct Folder {
    path: PathBuf,
    is_temporary: bool,
}

impl Folder {
    /// The folder that the option `name` gives, made if need be; without it a temporary one.
    fn of(arguments: &Arguments, name: &str) -> Result<Folder, Stop> {
        let is_temporary = !arguments.has(name);
        let own = || std::env::temp_dir().join(format!("brigade-{name}-{}", std::process::id()));
        let path = arguments.text(name).map_or_else(own, PathBuf::from);
        if is_temporary || name == "out" {
            fs::create_dir_all(&path)
                .map_err(|e| Stop::usage(format!("--{name} {}: {e}", path.display())))?;
        }
        Ok(Folder { path, is_temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The checksum of a file, as `sha256sum` prints it.
fn checksum(path: &Path) -> Result<String, std::io::Error> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where the checksum of a file goes.
fn output_of(folder: &Path, file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".sha256");
    folder.join(name)
}

/// What a worker does for a file.
fn work(folder: &Path, key: &Key) -> Result<u64, Box<dyn std::error::Error>> {
    let mut out = OutputFile::create(output_of(folder, key.as_path()))?;
    writeln!(out, "{}", checksum(key.as_path())?)?;
    Ok(out.commit()?)
}

/// The regular files of a folder, by name.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Stop> {
    let fail = |e: std::io::Error| Stop::usage(format!("--in {}: {e}", folder.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        // A link that leads nowhere is for the summary to name.
        if fs::metadata(&path).map_or(true, |found| found.is_file()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Makes `count` files of some kilobytes each.
fn make_files(folder: &Path, count: usize) -> Result<(), Stop> {
    let mut random = Random::new(1);
    for number in 0..count {
        let words = usize::try_from(random.bits() % 1000).unwrap_or(0);
        let bytes: Vec<u8> = (0..words).flat_map(|_| random.bits().to_le_bytes()).collect();
        let path = folder.join(format!("file {number:04}"));
        fs::write(&path, bytes).map_err(|e| Stop::usage(format!("{}: {e}", path.display())))?;
    }
    Ok(())
}

/// Runs the batch; the exit code.
fn batch(arguments: &Arguments) -> Result<u8, Stop> {
    let count = arguments.number("files", 1)?.unwrap_or(200);
    let (input, output) = (Folder::of(arguments, "in")?, Folder::of(arguments, "out")?);
    if input.is_temporary {
        make_files(&input.path, count)?;
    }
    let files = files_of(&input.path)?;
    let real = |folder: &Folder| fs::canonicalize(&folder.path).ok();
    if real(&input) == real(&output) {
        return Err(Stop::usage("--out is the folder of --in; name another"));
    }

    let interrupt = Interrupt::on_sigint()?;
    let (pool, start) = arguments.pool()?;
    let mut batch = Batch::new(&pool).interrupt(&interrupt).label("sha256");
    if start == "forkserver" {
        let timeout_ms = arguments.number("timeout-ms", 1)?.unwrap_or(60_000);
        batch = batch.timeout(Duration::from_millis(timeout_ms));
    }
    if let Some(path) = arguments.text("journal") {
        batch = batch.journal(path);
    }
    if let Some(mib) = arguments.number("memory-mib", 1u32)? {
        batch = batch.memory_per_task(u64::from(mib) << 20);
    }
    if arguments.has("retry-failed") {
        batch = batch.retry_failed();
    }
    if !arguments.has("json") {
        batch = batch.print_progress();
    }
    let folder = output.path.clone();
    let work = |folder: &PathBuf, key: &Key| work(folder, key);
    let summary = batch.with(folder).run(files.iter().map(PathBuf::as_path), work)?;
    check(&files, &output.path, &summary)?;

    if arguments.has("json") {
        report::json(&Line {
            op: "batch",
            files: files.len(),
            workers: pool.workers(),
            start,
            done: summary.done,
            skipped: summary.skipped,
            failed: summary.failed.len(),
            bytes: summary.bytes,
            seconds: summary.elapsed.as_secs_f64(),
            interrupted: summary.is_interrupted,
            checked: true,
        })?;
    } else {
        println!("{summary}");
    }
    Ok(summary.exit_code())
}

/// Compares the checksums with those that this process computes.
fn check(files: &[PathBuf], output: &Path, summary: &Summary) -> Result<(), Stop> {
    if summary.is_interrupted {
        return Ok(());
    }
    let failed: HashSet<&Path> = summary.failed.iter().map(|report| report.key.as_path()).collect();
    assert_eq!(summary.done + summary.skipped + failed.len(), files.len());
    for file in files.iter().filter(|file| !failed.contains(file.as_path())) {
        let path = output_of(output, file);
        let differs = |why: &dyn std::fmt::Display| {
            let (file, path) = (file.display(), path.display());
            Stop::Failure(format!(
                "{path} is not the checksum of {file}: {why}; what the journal names as done is \
                 not done again, so remove its line, or the journal"
            ))
        };
        let expected = checksum(file).map_err(|e| differs(&e))?;
        let found = fs::read_to_string(&path).map_err(|e| differs(&e))?;
        if found.trim_end() != expected {
            return Err(differs(&"one of the two has changed"));
        }
    }
    Ok(())
}
