//! Named files under /dev/shm.
