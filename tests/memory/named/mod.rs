//! Named regions between programs that have only a name in common.

#![allow(unsafe_code)]

mod arrays;
mod command;
mod faults;
mod guards;
mod hostile;
mod locks;
mod marks;
mod mutator;
mod parts;
mod queues;
mod spoilt;
