//! Named regions between programs that share nothing but a name.

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
