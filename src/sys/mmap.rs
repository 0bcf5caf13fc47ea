//! Mappings: reserved windows, files, page population.
