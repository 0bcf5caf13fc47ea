//! Conversions between element types, and broadcasting of two shapes.

pub(crate) mod broadcast;
pub(crate) mod cast;
