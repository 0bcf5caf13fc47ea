//! Who runs what, and what happens when a worker dies.

mod claim;
mod lane;
