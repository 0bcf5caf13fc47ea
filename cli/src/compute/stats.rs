//! `brigade stats`: a line for each column of an array.

use std::io::Write;
use std::path::Path;

use brigade::{AsArrayView, Dtype, Number, Pool, SharedArray, SortKey};
use indicatif::ProgressBar;

use super::progress::spinner;
use crate::error::CommandError;
use crate::json::Json;
use crate::table::columns;

/// The least element, the quartiles, and the greatest element.
const QUANTILES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// What is printed of a column.
struct Summary {
    count: usize,
    /// At [`QUANTILES`]; NaN for an empty column.
    quantiles: [f64; 5],
    mean: f64,
    deviation: f64,
}

/// Prints the statistics of each column of `input`, or of all its elements.
pub(crate) fn stats(
    input: &Path,
    all: bool,
    pool: &Pool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (dtype, shape) = brigade::npy_header(input)?;
    let summarise = match dtype {
        Dtype::F64 => summaries::<f64>,
        Dtype::F32 => summaries::<f32>,
        Dtype::I64 => summaries::<i64>,
        Dtype::I32 => summaries::<i32>,
        Dtype::I16 => summaries::<i16>,
        Dtype::I8 => summaries::<i8>,
        Dtype::U64 => summaries::<u64>,
        Dtype::U32 => summaries::<u32>,
        Dtype::U16 => summaries::<u16>,
        Dtype::U8 => summaries::<u8>,
        _ => return Err(CommandError::unsupported(input, dtype, "integers or floats")),
    };
    let by_column = shape.ndim() == 2 && !all;
    let progress = spinner(json, "reading");
    let found = summarise(input, by_column, pool, &progress)?;
    progress.finish_and_clear();
    if json {
        let line = Json::Object(vec![
            ("dtype", Json::text(dtype)),
            ("shape", Json::List(shape.dims().iter().map(|&n| Json::Number(n as u64)).collect())),
            ("by_column", Json::Bool(by_column)),
            ("statistics", Json::List(found.iter().map(in_json).collect())),
        ]);
        return Ok(writeln!(out, "{line}")?);
    }
    writeln!(out, "{}: {dtype}, shape {shape}", input.display())?;
    let first = if by_column { "COLUMN" } else { "" };
    let heading = [first, "COUNT", "MIN", "25 %", "MEDIAN", "75 %", "MAX", "MEAN", "STD"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(found.iter().enumerate().map(|(at, summary)| {
        let Summary { count, quantiles: [min, lower, median, upper, max], mean, deviation } =
            *summary;
        let name = if by_column { at.to_string() } else { "all".to_owned() };
        let [min, lower, median, upper, max, mean, deviation] =
            [min, lower, median, upper, max, mean, deviation].map(shown);
        [name, count.to_string(), min, lower, median, upper, max, mean, deviation]
    }));
    Ok(write!(out, "{}", columns(&rows))?)
}

fn summaries<T>(
    input: &Path,
    by_column: bool,
    pool: &Pool,
    progress: &ProgressBar,
) -> Result<Vec<Summary>, CommandError>
where
    T: SortKey + Number,
    <T as Number>::Mean: Into<f64>,
{
    let array = SharedArray::<T>::from_npy(input)?;
    progress.set_message("computing");
    if !by_column {
        return Ok(vec![summary(pool, &array)?]);
    }
    // A column lies in one piece there.
    let by_column = pool.transpose(&array)?;
    let column = |at| summary(pool, &by_column.as_array_view().rows(at..at + 1)?);
    (0..by_column.shape().dims()[0]).map(column).collect()
}

fn summary<T>(pool: &Pool, x: &impl AsArrayView<T>) -> Result<Summary, CommandError>
where
    T: SortKey + Number,
    <T as Number>::Mean: Into<f64>,
{
    let count = x.as_array_view().len();
    let mut quantiles = [f64::NAN; 5];
    if count > 0 {
        quantiles.copy_from_slice(&pool.quantiles(x, &QUANTILES)?);
    }
    let (mean, deviation) = (pool.mean(x)?.into(), pool.std(x, 1)?.into());
    Ok(Summary { count, quantiles, mean, deviation })
}

fn in_json(summary: &Summary) -> Json {
    let [min, lower, median, upper, max] = summary.quantiles.map(Json::Float);
    Json::Object(vec![
        ("count", Json::Number(summary.count as u64)),
        ("min", min),
        ("lower_quartile", lower),
        ("median", median),
        ("upper_quartile", upper),
        ("max", max),
        ("mean", Json::Float(summary.mean)),
        ("std", Json::Float(summary.deviation)),
    ])
}

/// A number with up to seven significant digits.
fn shown(number: f64) -> String {
    let size = number.abs();
    if size.is_nan() || size.is_infinite() || number == 0.0 {
        return number.to_string();
    }
    if !(1e-4..1e15).contains(&size) {
        return format!("{number:.6e}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
    let decimals = (6.0 - size.log10().floor()).clamp(0.0, 10.0) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_seven_digits_or_all_before_the_point() {
        let numbers = [0.0, 2.0, -0.5, 1.0 / 3.0, 1234567.89, 123456789.0, 1e-9, 1e20, f64::NAN];
        let texts = [
            "0",
            "2",
            "-0.5",
            "0.3333333",
            "1234568",
            "123456789",
            "1.000000e-9",
            "1.000000e20",
            "NaN",
        ];
        assert_eq!(numbers.map(shown), texts);
    }
}
