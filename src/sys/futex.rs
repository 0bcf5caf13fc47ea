//! Futex wait and wake on words shared between processes.
