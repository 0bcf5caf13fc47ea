//! A folder of pictures, worked on by all workers.

use std::fmt;
use std::path::{Path, PathBuf};

use brigade::Pool;
use brigade::batch::{Batch, Interrupt, Key, Summary};

use crate::arguments::Arguments;
use crate::folder::{self, Contents};
use crate::report::{self, Stop};
use crate::task::Job;

/// How many workers may die in a loop over one picture. A batch has its own rule.
const DEATHS_MAX: u32 = 8;

/// The outcome of a folder.
#[derive(Debug)]
pub struct Outcome {
    /// The outcome of its files.
    pub summary: Summary,
    /// What is no file, or cannot be read, and why.
    pub refused: Vec<(PathBuf, String)>,
}

impl Outcome {
    /// The exit code of the program.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.summary.exit_code() {
            0 => u8::from(!self.refused.is_empty()),
            code => code,
        }
    }
}

/// Checks the two folders and makes that of the outputs; the paths without symbolic links.
fn folders(arguments: &Arguments) -> Result<(PathBuf, PathBuf), Stop> {
    let (input, output) = (&arguments.input, &arguments.output);
    let usage = |path: &Path, e: &dyn fmt::Display| Stop::usage(path, e);
    let found = std::fs::metadata(input).map_err(|e| usage(input, &e))?;
    if !found.is_dir() {
        return Err(usage(input, &"not a folder; give a folder, or --tiles for one picture"));
    }
    let input = std::fs::canonicalize(input).map_err(|e| usage(input, &e))?;
    // Checked before it is made, as far as it is there.
    let mut there = std::path::absolute(output).map_err(|e| usage(output, &e))?;
    let mut missing = Vec::new();
    while !there.exists() {
        let Some(name) = there.file_name() else {
            return Err(usage(output, &"`..` after a folder that does not exist; leave both out"));
        };
        missing.push(name.to_owned());
        there.pop();
    }
    let mut real = std::fs::canonicalize(&there).map_err(|e| usage(output, &e))?;
    real.extend(missing.iter().rev());
    if real == input || input.starts_with(&real) {
        let why = format!(
            "outputs would replace inputs: it is, or contains, the input folder {}; give another",
            input.display()
        );
        return Err(usage(output, &why));
    }
    std::fs::create_dir_all(&real).map_err(|e| usage(output, &e))?;
    Ok((input, real))
}

/// Runs `function` for each file of the folder.
///
/// # Errors
///
/// [`Stop`] if the command line is wrong, or the batch cannot run to its end.
pub fn run<E: fmt::Display>(
    arguments: &Arguments,
    function: impl Fn(&Job, &Key) -> Result<u64, E> + Copy + Send + 'static,
) -> Result<Outcome, Stop> {
    let (input, output) = folders(arguments)?;
    let mut without = vec![output.clone()];
    without.extend(arguments.journal.as_ref().and_then(|path| std::fs::canonicalize(path).ok()));
    let Contents { files, refused } =
        folder::contents(&input, &without).map_err(|e| Stop::usage(&arguments.input, &e))?;
    if files.is_empty() {
        report::say(format_args!("{}: no files", arguments.input.display()));
    }

    // Before the pool, so that what workers start ends by Ctrl-C.
    let interrupt = Interrupt::on_sigint()?;
    let pool = pool(arguments)?;
    let job = Job::new(input, output, arguments.recipe());
    let mut batch = Batch::new(&pool)
        .label(job.label())
        .timeout(arguments.timeout())
        .measure_memory()
        .interrupt(&interrupt);
    if let Some(path) = &arguments.journal {
        batch = batch.journal(path);
    }
    if arguments.retry_failed {
        batch = batch.retry_failed();
    }
    if !arguments.json {
        batch = batch.print_progress();
    }
    let summary = batch.with(job).run(files.iter().map(PathBuf::as_path), function)?;
    Ok(Outcome { summary, refused })
}

/// The pool of the command line. What a worker says before its death is in the report of it.
///
/// # Errors
///
/// [`Stop`] if there cannot be such a pool.
pub fn pool(arguments: &Arguments) -> Result<Pool, Stop> {
    let mut builder = Pool::builder().name("images").capture_stderr().retries(DEATHS_MAX);
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers);
    }
    Ok(builder.build()?)
}
