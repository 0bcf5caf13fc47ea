//! Every call to the operating system, behind thin safe faces.

pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod memfd;
pub(crate) mod mmap;
pub(crate) mod shm;
