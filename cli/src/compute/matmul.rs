//! `brigade matmul`: the product of two matrices in files.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use brigade::{Dtype, Pool, Scalar, SharedArray};

use super::progress::spinner;
use crate::error::CommandError;
use crate::json::Json;

/// A product that was written.
struct Product {
    /// Rows of A, columns of A, columns of B.
    sizes: [usize; 3],
    seconds: f64,
}

/// Writes `A * B` to `output`.
pub(crate) fn matmul(
    a: &Path,
    b: &Path,
    output: &Path,
    pool: &Pool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let (dtype, shape) = brigade::npy_header(a)?;
    let (other, other_shape) = brigade::npy_header(b)?;
    if dtype != other {
        let text = format!("{} has dtype {dtype}, {} has {other}", a.display(), b.display());
        return Err(CommandError::Failure(format!("{text}; convert one of them")));
    }
    let (&[_, k], &[rows, _]) = (shape.dims(), other_shape.dims()) else {
        let text = format!("a matrix has two dimensions, not the shapes {shape} and {other_shape}");
        return Err(CommandError::Failure(text));
    };
    if k != rows {
        let text = format!("{shape} times {other_shape}: A has {k} columns, B has {rows} rows");
        return Err(CommandError::Failure(text));
    }
    let Product { sizes: [m, k, n], seconds } = match dtype {
        Dtype::F64 => multiply::<f64>(a, b, output, pool, json)?,
        Dtype::F32 => multiply::<f32>(a, b, output, pool, json)?,
        _ => return Err(CommandError::unsupported(a, dtype, "f32 or f64")),
    };
    let gflops = 2.0 * m as f64 * k as f64 * n as f64 / seconds / 1e9;
    if json {
        let line = Json::Object(vec![
            ("m", Json::Number(m as u64)),
            ("k", Json::Number(k as u64)),
            ("n", Json::Number(n as u64)),
            ("dtype", Json::text(dtype)),
            ("workers", Json::Number(pool.workers() as u64)),
            ("seconds", Json::Float(seconds)),
            ("gflops", Json::Float(gflops)),
        ]);
        return Ok(writeln!(out, "{line}")?);
    }
    let path = output.display();
    Ok(writeln!(out, "{path}: {m} by {n}, multiplied in {seconds:.3} s, {gflops:.1} GFLOP/s")?)
}

fn multiply<T: Scalar>(
    a: &Path,
    b: &Path,
    output: &Path,
    pool: &Pool,
    json: bool,
) -> Result<Product, CommandError> {
    let progress = spinner(json, "reading");
    let (a, b) = (SharedArray::<T>::from_npy(a)?, SharedArray::<T>::from_npy(b)?);
    progress.set_message("multiplying");
    let started = Instant::now();
    let c = pool.matmul(&a, &b)?;
    let seconds = started.elapsed().as_secs_f64();
    progress.set_message("writing");
    c.to_npy(output)?;
    progress.finish_and_clear();
    let [m, k, n] = [a.shape().dims()[0], a.shape().dims()[1], b.shape().dims()[1]];
    Ok(Product { sizes: [m, k, n], seconds })
}
