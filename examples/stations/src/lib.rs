//! Groups a text of `name;value` lines by name, in parallel.
//!
//! The file is mapped, [`Pool::par_records`](brigade::Pool::par_records) cuts it at line ends, and
//! each piece is added to a table. The tables are merged in a fixed order. Values are counted in
//! tenths, as integers, so sums are exact and the result does not depend on the order.
//!
//! - [`line`] is the format of a line, and the reader that decides what is wrong.
//! - `scan` is the fast path over a piece; it leaves every unusual line to [`line`].
//! - [`table`] is the table of names.
//! - [`group`] reads a file, in parallel or by a plain loop.
//! - [`generate`] writes a file of random measurements.
//! - [`report`] prints the result.

pub mod generate;
pub mod group;
pub mod line;
pub mod report;
mod scan;
pub mod table;
