//! One large picture, divided between all workers.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use brigade::{Error, OwnedChunk, Pool, SharedArray, TaskError};
use image::ImageFormat;
use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use crate::arguments::Arguments;
use crate::decode::{self, Header};
use crate::encode::{has_alpha, write};
use crate::large::Large;
use crate::picture::{image_of, to_linear};
use crate::recipe::{Format, Recipe};
use crate::report::Stop;

/// How often a picture may kill the worker that decodes or encodes it.
const ATTEMPTS: u32 = 3;

/// The outcome of a picture: the line that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Outcome {
    op: &'static str,
    /// The columns of the output.
    pub width: u32,
    /// The rows of the output.
    pub height: u32,
    /// The size of the output.
    pub bytes: u64,
    /// How long the picture took to decode, in one worker.
    pub read_s: f64,
    /// How long the filters took, in all workers.
    pub compute_s: f64,
    /// How long the output took to encode, in one worker.
    pub write_s: f64,
    /// Workers that died on the way.
    pub deaths: u64,
}

impl Outcome {
    /// Writes the outcome of the picture, as text or as a line of JSON.
    ///
    /// # Errors
    ///
    /// Those of writing, for example because nobody reads.
    pub fn print(&self, is_json: bool, mut out: impl Write) -> io::Result<()> {
        let Outcome { width, height, bytes, read_s, compute_s, write_s, deaths, .. } = self;
        match is_json {
            true => writeln!(out, "{}", serde_json::to_string(self)?)?,
            false => writeln!(
                out,
                "{width} x {height}, {bytes} bytes: read in {read_s:.2} s, computed in \
                 {compute_s:.2} s, written in {write_s:.2} s; {deaths} workers died"
            )?,
        }
        out.flush()
    }
}

/// What a picture has besides its pixels.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extras {
    /// As EXIF numbers it.
    orientation: u8,
    profile: Option<Vec<u8>>,
}

/// How an output is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Target {
    input: OsString,
    output: OsString,
    format: Format,
    quality: u8,
    size: (u32, u32),
    channels: usize,
    extras: Extras,
}

/// Reads the header of a picture.
fn read_header((path, recipe): (OsString, Recipe)) -> Result<Header, String> {
    decode::header(Path::new(&path), &recipe).map_err(|e| e.to_string())
}

type Read = Result<(OwnedChunk<u16>, Extras), String>;

/// Decodes a picture into `chunk`, in linear light.
fn read((path, recipe, mut chunk): (OsString, Recipe, OwnedChunk<u16>)) -> Read {
    let (decoded, _) = decode::decode(Path::new(&path), &recipe).map_err(|e| e.to_string())?;
    let Header { width, height, channels, .. } = decoded.header;
    if width as usize * height as usize * channels != chunk.len() {
        return Err("the file has changed while it was read".to_owned());
    }
    to_linear(decoded.depth.as_samples(), channels, chunk.as_mut_slice());
    Ok((chunk, Extras { orientation: decoded.orientation.to_exif(), profile: decoded.profile }))
}

/// What a worker has written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Written {
    /// Columns and rows.
    size: (u32, u32),
    bytes: u64,
}

/// Encodes a picture.
fn save((target, mut chunk): (Target, OwnedChunk<u8>)) -> Result<Written, String> {
    let (width, height) = target.size;
    let mut image = image_of(width, height, target.channels, chunk.as_slice().to_vec());
    let orientation = Orientation::from_exif(target.extras.orientation);
    image.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    let size = (image.width(), image.height());
    let (input, output) = (Path::new(&target.input), Path::new(&target.output));
    let format = target.format.of(ImageFormat::Png);
    let written = write(image, format, target.quality, target.extras.profile, input, output);
    written.map(|bytes| Written { size, bytes }).map_err(|e| e.to_string())
}

/// Makes the picture `input` of the arguments into `output`, by all workers of `pool`. A worker
/// that dies costs the part of the picture on which it worked; that is done again.
///
/// # Errors
///
/// [`Stop`] if the picture cannot be read or written, or workers die too often.
pub fn run(pool: &Pool, arguments: &Arguments) -> Result<Outcome, Stop> {
    let (input, output) = (&arguments.input, &arguments.output);
    if !std::fs::metadata(input).map_err(|e| Stop::usage(input, &e))?.is_file() {
        return Err(Stop::usage(input, &"not a file; --tiles takes one picture"));
    }
    let mut recipe = arguments.recipe();
    recipe.format = format_of(output, recipe.format)?;

    let since = Instant::now();
    let (header, picture, extras) = load(pool, arguments, &recipe)?;
    let read_s = since.elapsed().as_secs_f64();

    let since = Instant::now();
    let target = recipe.target(header.size.0, header.size.1);
    let mut picture = picture.resized(pool, header.part, target)?;
    if recipe.grey || recipe.edges {
        picture = picture.grey(pool)?;
    }
    if recipe.blur > 0.0 {
        picture = picture.blurred(pool, recipe.blur)?;
    }
    if !has_alpha(recipe.format.of(ImageFormat::Png)) {
        picture = picture.over_white(pool)?;
    }
    let finish = || if recipe.edges { picture.edges(pool) } else { picture.to_bytes(pool) };
    let mut pixels = Some(finish()?);
    let compute_s = since.elapsed().as_secs_f64();

    let since = Instant::now();
    let target = Target {
        input: input.into(),
        output: output.into(),
        format: recipe.format,
        quality: recipe.quality,
        size: target,
        channels: if recipe.edges { 1 } else { picture.channels },
        extras,
    };
    let Written { size: (width, height), bytes } = attempt(output, || {
        let pixels = pixels.take().map_or_else(finish, Ok)?;
        let chunk = into_chunk(pixels)?;
        options(pool, arguments).submit(save, (target.clone(), chunk))?.join()
    })?;
    let write_s = since.elapsed().as_secs_f64();
    let (op, deaths) = ("tiles", pool.stats().restarts_by.died);
    Ok(Outcome { op, width, height, bytes, read_s, compute_s, write_s, deaths })
}

/// The picture that the arguments name, decoded by one worker.
fn load(
    pool: &Pool,
    arguments: &Arguments,
    recipe: &Recipe,
) -> Result<(Header, Large, Extras), Stop> {
    let path: OsString = (&arguments.input).into();
    let header = attempt(&arguments.input, || {
        options(pool, arguments).submit(read_header, (path.clone(), recipe.clone()))?.join()
    })?;
    let Header { width, height, channels, .. } = header;
    let (chunk, extras) = attempt(&arguments.input, || {
        let chunk = into_chunk(Large::new(pool, (width, height), channels)?.samples)?;
        options(pool, arguments).submit(read, (path.clone(), recipe.clone(), chunk))?.join()
    })?;
    let mut samples = SharedArray::from_chunks(vec![chunk]).map_err(|e| *e.error)?;
    samples.reshape([height as usize, width as usize * channels])?;
    Ok((header, Large { width, channels, samples }, extras))
}

/// Tasks that are not done again unseen.
fn options<'p>(pool: &'p Pool, arguments: &Arguments) -> brigade::Options<'p> {
    pool.options().retries(0).timeout(arguments.timeout())
}

/// The whole array, to be moved into a task.
fn into_chunk<T: bytemuck::Pod>(array: SharedArray<T>) -> brigade::Result<OwnedChunk<T>> {
    let len = array.len().max(1);
    let mut chunks = array.into_chunks(len).map_err(|e| *e.error)?;
    Ok(chunks.swap_remove(0))
}

/// Runs a task on the file `path`, and again if its worker dies.
fn attempt<R>(
    path: &Path,
    mut task: impl FnMut() -> brigade::Result<Result<R, String>>,
) -> Result<R, Stop> {
    let failed = |why: &dyn std::fmt::Display| Stop::failure(path, why);
    for _ in 1..ATTEMPTS {
        match task() {
            Err(Error::Task(TaskError::Died(_))) => {}
            ended => return ended.map_err(|e| failed(&e))?.map_err(|why| failed(&why)),
        }
    }
    task().map_err(|e| failed(&e))?.map_err(|why| failed(&why))
}

/// The format of an output: what is asked for, or what its name says.
fn format_of(output: &Path, asked: Format) -> Result<Format, Stop> {
    if asked != Format::Same {
        return Ok(asked);
    }
    let found = ImageFormat::from_path(output).ok().and_then(Format::from_image);
    found.ok_or_else(|| {
        let why = "its extension names no format; end it in .png, for example, or give --format";
        Stop::usage(output, &why)
    })
}
