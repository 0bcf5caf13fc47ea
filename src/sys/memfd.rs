//! Anonymous memory files and their seals.
