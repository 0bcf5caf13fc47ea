//! Batches that survive: a function over many keys, with a journal.
//!
//! A [`Batch`] runs a function for each of many [`Key`]s, such as the paths of a million files, on
//! a [`Pool`](crate::Pool). A key that fails, crashes its worker or hangs is named in the
//! [`Summary`], and the others go on. With a [journal](Batch::journal), the batch can be ended in
//! any way and run again: what is done is not done again.
//!
//! # Guarantees
//!
//! - A key that the journal names as done never runs again. A key whose function had not returned,
//!   or whose outcome was not written, runs again from the beginning. A function that writes its
//!   output by an [`OutputFile`] therefore leaves every output complete, whatever ends the batch.
//! - A line of the journal is appended whole after the function has returned. A run that was killed
//!   while it wrote leaves at most one torn line at the end, which the next run removes.
//! - A key that kills its worker runs once more, and alone if it ran out of memory. After the
//!   second death it is quarantined, with the report of the death.
//! - Two runs never write to one journal: the second is refused.
//! - At most 64 keys a worker are under way at once, however many there are.
//!
//! # What it does not do
//!
//! It does not know what a function has written: an output that was removed is not made again
//! unless its line is removed from the journal too. It does not order keys. Results other than a
//! number of bytes belong into files.
//!
//! The journal is text, described in `docs/batches.md`.
//!
//! # Examples
//!
//! ```
//! use std::io::Write;
//! use brigade::Pool;
//! use brigade::batch::{Batch, Key, OutputFile};
//!
//! /// Writes how many words a file has beside it.
//! fn count_words(key: &Key) -> Result<u64, Box<dyn std::error::Error>> {
//!     let words = std::fs::read_to_string(key.as_path())?.split_whitespace().count();
//!     let mut out = OutputFile::create(key.as_path().with_extension("words"))?;
//!     write!(out, "{words}")?;
//!     Ok(out.commit()?)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = std::env::temp_dir().join(format!("brigade-words-{}", std::process::id()));
//! std::fs::create_dir(&folder)?;
//! std::fs::write(folder.join("a.txt"), "one two three")?;
//! let pool = Pool::builder().workers(2).build()?;
//! let keys = [folder.join("a.txt"), folder.join("missing.txt")];
//! let summary = Batch::new(&pool).journal(folder.join("journal")).run(keys, count_words)?;
//! assert_eq!((summary.done, summary.failed.len()), (1, 1));
//! assert!(summary.failed[0].error.as_ref().unwrap().contains("No such file"));
//! assert_eq!(std::fs::read_to_string(folder.join("a.words"))?, "3");
//! # std::fs::remove_dir_all(folder)?;
//! # Ok(())
//! # }
//! ```

mod admission;
mod builder;
mod interrupt;
mod journal;
mod json;
mod key;
mod ledger;
mod output;
mod progress;
mod report;
mod run;
mod summary;
mod tally;
mod task;

pub use builder::Batch;
pub use interrupt::Interrupt;
pub use key::Key;
#[doc(hidden)]
pub use ledger::Attempt;
pub use output::OutputFile;
pub use progress::BatchProgress;
pub use report::{KeyOutcome, KeyReport};
pub use summary::Summary;
#[doc(hidden)]
pub use tally::Tally;
