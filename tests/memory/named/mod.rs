//! Named regions between programs that have only a name in common.

#![allow(unsafe_code)]

mod arrays;
mod corrupt;
mod faults;
mod guards;
mod hostile;
mod locks;
mod mutator;
mod parts;
mod queues;
mod removal;
