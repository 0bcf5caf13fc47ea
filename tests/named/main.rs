//! Named regions between programs that share nothing but a name.

#![allow(unsafe_code)]

#[path = "../common/mod.rs"]
mod common;

mod arrays;
mod command;
mod faults;
mod locks;
mod mutator;
mod parts;
mod queues;
