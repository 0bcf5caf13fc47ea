//! The temperature of a plate, by Jacobi steps until it converges.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use brigade::{Boundary, Frozen, Pool, SharedArray, TeamBroken, TeamMember};
use indicatif::ProgressBar;
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::{picture, report};

const USAGE: &str = "\
heat: the steady heat of a square plate whose border is held, by Jacobi steps

  --size N            the plate is N by N, at least 3 [100]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --team              one team with a barrier a step, instead of a loop a step
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
    let start = SharedArray::from_fn([size, size], begin)?;

    // An error shrinks by the cosine of pi / (size - 1) in each step. So a change this small
    // implies an error of less than half of the allowed one.
    let rate = 1.0 - (std::f64::consts::PI / (size - 1) as f64).cos();
    let tolerance = 0.5 * ERROR_MAX * rate;
    let bar = report::bar(BAR_STEPS, !arguments.has("json") && !arguments.has("team"));
    let since = Instant::now();
    let (now, steps) = match arguments.has("team") {
        true => by_team(&pool, start, tolerance)?,
        false => by_loops(&pool, start, tolerance, &bar)?,
    };
    let seconds = since.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let exact = SharedArray::from_fn([size, size], exact)?;
    let error = largest_difference(&pool, &now, &exact)?;
    assert!(error <= ERROR_MAX, "off by {error} after {steps} steps");
    if let Some(path) = arguments.text("out") {
        now.to_npy(path)?;
    }
    if let Some(path) = arguments.text("png") {
        picture::write_png(path, &now, 1.0)?;
    }
    let line = Line { op: "heat", size, workers: pool.workers(), steps, error, seconds };
    if arguments.has("json") {
        return report::json(&line);
    }
    println!("{size} by {size}: {steps} steps in {seconds:.2} s, off by {error:.1e} at most");
    Ok(())
}

/// Steps until the change is at most `tolerance`, a loop each. Returns the plate and the steps.
fn by_loops(
    pool: &Pool,
    mut now: SharedArray<f64>,
    tolerance: f64,
    bar: &ProgressBar,
) -> brigade::Result<(SharedArray<f64>, u32)> {
    let mut next = pool.zeroed::<f64>(now.shape().clone())?;
    let (mut steps, mut first) = (0, None);
    loop {
        for _ in 0..STEPS {
            step(pool, &now, &mut next)?;
            std::mem::swap(&mut now, &mut next);
        }
        steps += STEPS;
        let change = largest_difference(pool, &now, &next)?;
        if change <= tolerance {
            return Ok((now, steps));
        }
        // The change shrinks by a constant factor, so the bar follows its logarithm.
        let first = *first.get_or_insert(change);
        let done = (first / change).ln() / (first / tolerance).ln();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        bar.set_position((BAR_STEPS as f64 * done.clamp(0.0, 1.0)) as u64);
        bar.set_message(format!("{steps} steps, change {change:.1e}"));
    }
}

/// The same by a team: each member keeps a band of rows to itself, and exchanges border rows.
fn by_team(
    pool: &Pool,
    start: SharedArray<f64>,
    tolerance: f64,
) -> brigade::Result<(SharedArray<f64>, u32)> {
    let size = start.shape().dims()[1];
    let options = pool.team_options().exchange_bytes(2 * size * size_of::<f64>());
    let bands = options.run(relax, (start.freeze(), size, tolerance))?;
    let steps = bands[0].0;
    let plate: Vec<f64> = bands.into_iter().flat_map(|(_, rows)| rows).collect();
    Ok((SharedArray::from_fn([size, size], |[i, j]| plate[i * size + j])?, steps))
}

/// A member's band of rows, after all steps, and their number.
fn relax(
    member: &TeamMember<'_>,
    (start, size, tolerance): (Frozen<f64>, usize, f64),
) -> Result<(u32, Vec<f64>), TeamBroken> {
    // A plate of few rows has no work for all members.
    let (bands, rank) = (member.size().min(size), member.rank());
    let band = |rank: usize| (rank * size / bands).min(size);
    let (begin, end) = (band(rank), band(rank + 1));
    // The band, and one row of each neighbour.
    let above = begin.saturating_sub(1);
    let below = if begin < end { (end + 1).min(size) } else { end };
    let mut now = start.as_slice()[above * size..below * size].to_vec();
    let mut next = now.clone();
    let neighbours: Vec<usize> = match begin < end {
        true => (rank.saturating_sub(1)..(rank + 2).min(bands)).filter(|&r| r != rank).collect(),
        false => Vec::new(),
    };
    let everyone: Vec<usize> = (0..member.size()).collect();
    let row = |i: usize| (i - above) * size..(i - above + 1) * size;
    let mut steps = 0;
    loop {
        for _ in 0..STEPS {
            for i in begin.max(1)..end.min(size - 1) {
                let at = row(i).start;
                for j in at + 1..at + size - 1 {
                    next[j] = 0.25 * (now[j - size] + now[j + size] + now[j - 1] + now[j + 1]);
                }
            }
            std::mem::swap(&mut now, &mut next);
            let own = match begin < end {
                true => [&now[row(begin)], &now[row(end - 1)]].concat(),
                false => Vec::new(),
            };
            for (&other, rows) in neighbours.iter().zip(member.exchange(&own, &neighbours)?) {
                let (place, given) = match other < rank {
                    true => (row(above), &rows[size..]),
                    false => (row(below - 1), &rows[..size]),
                };
                now[place].copy_from_slice(given);
            }
        }
        steps += STEPS;
        let own = (begin - above) * size..(end - above) * size;
        let pairs = now[own.clone()].iter().zip(&next[own.clone()]);
        let change = pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        let changes = member.exchange(&[change], &everyone)?;
        if changes.concat().into_iter().fold(0.0, f64::max) <= tolerance {
            return Ok((steps, now[own].to_vec()));
        }
    }
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
