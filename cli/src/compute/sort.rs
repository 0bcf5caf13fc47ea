//! `brigade sort`.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use brigade::{Dtype, Pool, SharedArray, SortKey};

use super::progress::spinner;
use crate::error::CommandError;
use crate::json::Json;

/// Writes the elements of `input` to `output`, in ascending order.
pub(crate) fn sort(
    input: &Path,
    output: &Path,
    pool: &Pool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (dtype, shape) = brigade::npy_header(input)?;
    let sort = match dtype {
        Dtype::F64 => sort_file::<f64>,
        Dtype::F32 => sort_file::<f32>,
        Dtype::I64 => sort_file::<i64>,
        Dtype::I32 => sort_file::<i32>,
        Dtype::I16 => sort_file::<i16>,
        Dtype::I8 => sort_file::<i8>,
        Dtype::U64 => sort_file::<u64>,
        Dtype::U32 => sort_file::<u32>,
        Dtype::U16 => sort_file::<u16>,
        Dtype::U8 => sort_file::<u8>,
        _ => return Err(CommandError::unsupported(input, dtype, "integers or floats")),
    };
    let seconds = sort(input, output, pool, json)?;
    let count = shape.dims().iter().product::<usize>();
    if json {
        let line = Json::Object(vec![
            ("elements", Json::Number(count as u64)),
            ("dtype", Json::text(dtype)),
            ("workers", Json::Number(pool.workers() as u64)),
            ("seconds", Json::Float(seconds)),
        ]);
        return Ok(writeln!(out, "{line}")?);
    }
    Ok(writeln!(out, "{}: {count} elements, sorted in {seconds:.3} s", output.display())?)
}

/// Returns how long sorting took, in seconds.
fn sort_file<T: SortKey>(
    input: &Path,
    output: &Path,
    pool: &Pool,
    json: bool,
) -> Result<f64, CommandError> {
    let progress = spinner(json, "reading");
    let mut array = SharedArray::<T>::from_npy(input)?;
    progress.set_message("sorting");
    let started = Instant::now();
    pool.sort(&mut array)?;
    let seconds = started.elapsed().as_secs_f64();
    progress.set_message("writing");
    array.to_npy(output)?;
    progress.finish_and_clear();
    Ok(seconds)
}
