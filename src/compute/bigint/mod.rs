//! Whole numbers of any size, by a caller or a team.
//!
//! The methods of [`Pool`](crate::Pool) are in `multiply`, `multiply_all`, `factorial`,
//! `combination` and `decimal`; `team_call` is the one call for all of them.

mod combination;
mod decimal;
mod factorial;
mod multiply;
mod multiply_all;
mod progress;
mod shared_big_uint;
mod team_call;

pub use shared_big_uint::SharedBigUint;
