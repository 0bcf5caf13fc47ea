//! The matrix product by its definition: the oracle of every other.

use super::element::Element;
use super::view::{MatMut, MatRef};
use super::{check_shapes, table};
use crate::error::Result;
