//! Describes the columns of a table.

use std::fmt;

use brigade::{Pool, Result, SharedArray};
use serde::{Deserialize, Serialize};

use crate::read::{Column, Numbers, Table};

/// The elements of a chunk.
const CHUNK_LEN: usize = 1 << 16;

/// A number of a column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Of a column of whole numbers.
    Integer(i64),
    /// Of any other column.
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Integer(number) => write!(f, "{number}"),
            Number::Float(number) => write!(f, "{number:.6}"),
        }
    }
}

/// What is known of a column. NaN, which empty fields are, are left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The column's name.
    pub name: String,
    /// `int` or `float`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The number of numbers.
    pub count: u64,
    /// The number of empty fields, and of NaN.
    pub empty: u64,
    /// The mean of the numbers; NaN without any.
    pub mean: f64,
    /// The least number; NaN without any.
    pub min: Number,
    /// The greatest number; NaN without any.
    pub max: Number,
}

/// A partial result.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Partial {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Partial {
    const NONE: Partial =
        Partial { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    fn of(numbers: impl Iterator<Item = f64>) -> Partial {
        let numbers = numbers.filter(|number| !number.is_nan());
        let one = |x| Partial { count: 1, sum: x, min: x, max: x };
        numbers.fold(Partial::NONE, |partial, number| partial.merge(one(number)))
    }

    #[inline]
    fn merge(self, other: Partial) -> Partial {
        Partial {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Describes each column.
///
/// # Errors
///
/// Those of the library, if a worker dies.
pub fn summaries(pool: &Pool, table: &Table) -> Result<Vec<Summary>> {
    table.columns.iter().map(|column| summary(pool, column)).collect()
}

fn summary(pool: &Pool, column: &Column) -> Result<Summary> {
    let floats = |partial: &Partial| match partial.count {
        0 => [Number::Float(f64::NAN); 2],
        _ => [partial.min, partial.max].map(Number::Float),
    };
    let (kind, len, partial, [min, max]) = match &column.numbers {
        Numbers::Integers(numbers) => {
            #[expect(clippy::cast_precision_loss, reason = "the nearest double")]
            let partial = partial(pool, numbers, |&number| number as f64)?;
            let extremes = match partial.count {
                0 => floats(&partial),
                _ => [pool.min(numbers)?, pool.max(numbers)?].map(Number::Integer),
            };
            ("int", numbers.len(), partial, extremes)
        }
        Numbers::Floats(numbers) => {
            let partial = partial(pool, numbers, |&x| x)?;
            ("float", numbers.len(), partial, floats(&partial))
        }
    };
    let Partial { count, sum, .. } = partial;
    #[expect(clippy::cast_precision_loss, reason = "the nearest double")]
    let mean = sum / count as f64;
    let empty = len as u64 - count;
    Ok(Summary { name: column.name.clone(), kind, count, empty, mean, min, max })
}

fn partial<T: brigade::Element>(
    pool: &Pool,
    numbers: &SharedArray<T>,
    number: impl Fn(&T) -> f64 + Copy + Send + 'static,
) -> Result<Partial> {
    pool.par_chunks(numbers, CHUNK_LEN)
        .map(move |numbers| Partial::of(numbers.iter().map(number)))
        .reduce(Partial::NONE, Partial::merge)
}
