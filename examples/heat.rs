//! The temperature of a plate, by Jacobi steps until it converges.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use brigade::{Boundary, Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
heat: the steady heat of a square plate whose border is held, by Jacobi steps

  --size N            the plate is N by N, at least 3 [100]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --out FILE          write the temperatures to this .npy file
  --png FILE          and a picture of them to this file
  --json              print one line of JSON";

/// The greatest allowed error of the result; the border has temperatures from -1 to 1.
const ERROR_MAX: f64 = 1e-4;
/// The steps between two checks of the change.
const STEPS: u32 = 100;
/// Steps of the progress bar.
const BAR_STEPS: usize = 1000;
/// Elements of a chunk of the loop that finds the greatest change.
const CHUNK: usize = 1 << 16;

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    size: usize,
    workers: usize,
    steps: u32,
    error: f64,
    seconds: f64,
}

fn main() -> ExitCode {
    run(USAGE, heat)
}

fn heat(arguments: Arguments) -> Result<(), Stop> {
    let size = arguments.number("size", 3usize)?.unwrap_or(100);
    let (pool, _) = arguments.pool()?;
    // x^2 - y^2 is the mean of its four neighbours everywhere, so the plate must converge to it.
    let exact = |[i, j]: [usize; 2]| {
        let (x, y) = (i as f64 / (size - 1) as f64, j as f64 / (size - 1) as f64);
        x * x - y * y
    };
    let is_border = |place: [usize; 2]| place.iter().any(|&i| i == 0 || i == size - 1);
    let begin = |place| if is_border(place) { exact(place) } else { 0.0 };
    let mut now = SharedArray::from_fn([size, size], begin)?;
    let mut next = pool.zeroed::<f64>([size, size])?;

    // An error shrinks by the cosine of pi / (size - 1) in each step. So a change this small
    // implies an error of less than half of the allowed one.
    let rate = 1.0 - (std::f64::consts::PI / (size - 1) as f64).cos();
    let tolerance = 0.5 * ERROR_MAX * rate;
    // The change shrinks by a constant factor, so the bar follows its logarithm.
    let bar = report::bar(BAR_STEPS, !arguments.has("json"));
    let since = Instant::now();
    let mut steps = 0;
    let mut first = None;
    loop {
        for _ in 0..STEPS {
            step(&pool, &now, &mut next)?;
            std::mem::swap(&mut now, &mut next);
        }
        steps += STEPS;
        let change = largest_difference(&pool, &now, &next)?;
        if change <= tolerance {
            break;
        }
        let first = *first.get_or_insert(change);
        let done = (first / change).ln() / (first / tolerance).ln();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        bar.set_position((BAR_STEPS as f64 * done.clamp(0.0, 1.0)) as u64);
        bar.set_message(format!("{steps} steps, change {change:.1e}"));
    }
    let seconds = since.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let exact = SharedArray::from_fn([size, size], exact)?;
    let error = largest_difference(&pool, &now, &exact)?;
    assert!(error <= ERROR_MAX, "off by {error} after {steps} steps");
    if let Some(path) = arguments.text("out") {
        now.to_npy(path)?;
    }
    if let Some(path) = arguments.text("png") {
        write_png(path, &now).map_err(|error| Stop::Failure(format!("{path}: {error}")))?;
    }
    let line = Line { op: "heat", size, workers: pool.workers(), steps, error, seconds };
    if arguments.has("json") {
        return report::json(&line);
    }
    println!("{size} by {size}: {steps} steps in {seconds:.2} s, off by {error:.1e} at most");
    Ok(())
}

/// Each element except those of the border becomes the mean of its four neighbours.
fn step(pool: &Pool, now: &SharedArray<f64>, next: &mut SharedArray<f64>) -> brigade::Result<()> {
    pool.stencil_into(now, next, [1, 1], Boundary::Shrink, |x| {
        match (x.get([-1, 0]), x.get([1, 0]), x.get([0, -1]), x.get([0, 1])) {
            (Some(up), Some(down), Some(left), Some(right)) => 0.25 * (up + down + left + right),
            // At the border a neighbour is missing.
            _ => x.centre(),
        }
    })
}

/// A picture of the temperatures: blue is -1, white is 0, red is 1.
fn write_png(path: &str, field: &SharedArray<f64>) -> Result<(), png::EncodingError> {
    let &[height, width] = field.shape().dims() else { unreachable!("a plate has two dimensions") };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let shade = |part: f64| (255.0 * (1.0 - part.clamp(0.0, 1.0))) as u8;
    // Warm takes blue and green away, cold red and green.
    let colour = |&x: &f64| [shade(-x), shade(x.abs()), shade(x)];
    let pixels: Vec<u8> = field.as_slice().iter().flat_map(colour).collect();
    let file = std::fs::File::create(path)?;
    let side = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), side(width), side(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)
}

fn largest_difference(
    pool: &Pool,
    x: &SharedArray<f64>,
    y: &SharedArray<f64>,
) -> brigade::Result<f64> {
    let differences = pool
        .par_chunks(x, CHUNK)
        .zip(y)
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max));
    differences.reduce(0.0, f64::max)
}
