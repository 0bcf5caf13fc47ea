//! Reads numbers of a CSV file into shared arrays, in parallel.
//!
//! 1. [`header`] reads the first mebibyte: names, and which columns have integers, floats or text.
//! 2. `cut` goes through blocks of the file in parallel, and finds where records begin. A newline
//!    in quotes ends no record; whether a block begins in quotes is known when all blocks before it
//!    were read. So each block says where it ends for every state in which it may begin.
//! 3. `parse` reads groups of as many records in parallel. A record without quotes, spaces and
//!    empty fields is read in one pass; every other one by `csv-core`.
//! 4. [`read`] joins the groups' numbers to one array for each column.
//!
//! [`summary`] and [`report`] describe the columns.

mod cut;
pub mod header;
mod parse;
pub mod read;
pub mod report;
pub mod summary;
