//! Every call to the operating system, behind thin safe faces.

pub(crate) mod cgroup;
pub(crate) mod clock;
#[cfg(feature = "failpoints")]
pub(crate) mod failpoint;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod holders;
pub(crate) mod huge;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod inherited;
pub(crate) mod limits;
pub(crate) mod memfd;
pub(crate) mod mmap;
pub(crate) mod oom;
pub(crate) mod output;
#[cfg(not(loom))]
pub(crate) mod parking;
pub(crate) mod per_process;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod pseudo;
pub(crate) mod sched;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod state;
pub(crate) mod stdio;
pub(crate) mod thread;
