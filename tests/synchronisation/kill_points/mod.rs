//! Primitives whose processes are killed, stopped, or hostile.

#![cfg(not(loom))]
#![allow(unsafe_code)]

mod process;
mod scene;
mod step;
mod step_sleepers;
mod stepping;
