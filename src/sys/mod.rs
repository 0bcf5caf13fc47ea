//! All calls to the operating system, behind thin safe wrappers.

pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod elf_image;
pub(crate) mod exec_attributes;
pub(crate) mod exec_privileges;
#[cfg(feature = "failpoints")]
pub(crate) mod failpoint;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod huge_pages;
pub(crate) mod identity;
pub(crate) mod interrupt;
pub(crate) mod limits;
pub(crate) mod memfd;
pub(crate) mod mmap;
pub(crate) mod oom;
pub(crate) mod open_files;
pub(crate) mod peak_memory;
pub(crate) mod per_process;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod posix_spawn;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod random;
pub(crate) mod sched;
pub(crate) mod shm;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod stdio_buffers;
pub(crate) mod task_state;
pub(crate) mod thread;
#[cfg(not(loom))]
pub(crate) mod thread_parker;
pub(crate) mod write_file;
