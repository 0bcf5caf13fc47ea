//! The command line of `video`.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brigade::Pool;
use brigade::batch::Interrupt;
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use video::filter::{Filter, SIGMAS, STRENGTHS};
use video::header::Header;
use video::input::FrameReader;
use video::output::FrameWriter;
use video::picture::Sample;
use video::pipeline::{self, Mode, Ring, Settings, Summary};

/// Parses a number of a range.
type Count = RangedU64ValueParser<usize>;

/// Filters a y4m video by worker processes, from file to file or in a pipe.
#[derive(Debug, Parser)]
#[command(
    name = "video",
    after_help = "In a pipe:\n  ffmpeg -i IN.mp4 -f yuv4mpegpipe - | video - - | \
                  ffmpeg -f yuv4mpegpipe -i - OUT.mp4\n\n\
                  Exit codes: 0 all written, 1 something failed, 2 wrong command line, \
                  130 interrupted."
)]
struct Arguments {
    /// The y4m file to read; - for standard input
    input: PathBuf,
    /// The y4m file to write, replaced if it exists; - for standard output
    output: PathBuf,
    /// What to compute
    #[arg(long, value_enum, default_value_t = FilterName::Denoise)]
    filter: FilterName,
    /// Standard deviation of the blur in samples of each plane, 0.1 to 20 [default: 2]
    #[arg(long, value_name = "S")]
    sigma: Option<f64>,
    /// How much noise there is, in levels of 8 bits, 1 to 127 [default: 6]
    #[arg(long, value_name = "LEVELS")]
    strength: Option<u16>,
    /// What a task of a worker is
    #[arg(long, value_enum, default_value_t = ModeName::Bands)]
    mode: ModeName,
    /// Luma rows of a band, 1 to 65535 [default: 32]
    #[arg(long, value_name = "ROWS", value_parser = Count::new().range(1..=65_535))]
    band_rows: Option<usize>,
    /// Frames that are filtered at a time, with --mode frames, 1 to 4096 [default: 2 a worker]
    #[arg(long, value_name = "N", value_parser = Count::new().range(1..=4096))]
    in_flight: Option<usize>,
    /// Worker processes [default: one for each processor]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// How many deaths of workers one frame survives
    #[arg(long, value_name = "N", default_value_t = 3)]
    retries: u32,
    /// Print no progress and no summary
    #[arg(long)]
    quiet: bool,
    /// Print the summary as one line of JSON on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilterName {
    /// Less noise, by the samples around and the frame before
    Denoise,
    /// Gaussian blur
    Blur,
    /// Sobel's operator on luma
    Edges,
    /// Neutral chroma
    Grey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// A band of rows; all workers share a frame
    Bands,
    /// A whole frame
    Frames,
}

/// Why the program ends early.
enum Stop {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// Something failed: exit code 1.
    Failure(String),
}

impl Stop {
    fn failure(error: impl std::fmt::Display) -> Stop {
        Stop::Failure(error.to_string())
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'static str,
    width: usize,
    height: usize,
    colour: &'a str,
    mode: &'static str,
    workers: usize,
    frames: u64,
    seconds: f64,
    reading_seconds: f64,
    filtering_seconds: f64,
    writing_seconds: f64,
    ring_frames: usize,
    ring_bytes: usize,
    deaths: u64,
    interrupted: bool,
    error: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (text, code) = match filter(&arguments) {
        Ok(code) => return ExitCode::from(code),
        Err(Stop::Usage(text)) => (text, 2),
        Err(Stop::Failure(text)) => (text, 1),
    };
    complain(&text);
    ExitCode::from(code)
}

/// Prints an error; there may be nobody who reads it.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "video: {}", text.replace('\n', " "));
}

impl Arguments {
    /// The mode, and the numbers that belong to it.
    fn mode(&self, workers: usize) -> Result<Mode, Stop> {
        match self.mode {
            ModeName::Bands if self.in_flight.is_some() => {
                Err(Stop::Usage("--in-flight belongs to --mode frames".to_owned()))
            }
            ModeName::Frames if self.band_rows.is_some() => {
                Err(Stop::Usage("--band-rows belongs to --mode bands".to_owned()))
            }
            ModeName::Bands => Ok(Mode::Bands { rows: self.band_rows.unwrap_or(32) }),
            ModeName::Frames => {
                Ok(Mode::Frames { in_flight: self.in_flight.unwrap_or(2 * workers) })
            }
        }
    }

    /// Checks the numbers of the filter; returns how to make it for a number of bits.
    fn filter(&self) -> Result<Box<dyn Fn(u32) -> Filter>, Stop> {
        if self.sigma.is_some() && self.filter != FilterName::Blur {
            return Err(Stop::Usage("--sigma belongs to --filter blur".to_owned()));
        }
        if self.strength.is_some() && self.filter != FilterName::Denoise {
            return Err(Stop::Usage("--strength belongs to --filter denoise".to_owned()));
        }
        let (sigma, strength) = (self.sigma.unwrap_or(2.0), self.strength.unwrap_or(6));
        if !SIGMAS.contains(&sigma) {
            return Err(Stop::Usage(format!("--sigma is {sigma}, but must be 0.1 to 20")));
        }
        if !STRENGTHS.contains(&strength) {
            return Err(Stop::Usage(format!("--strength is {strength}, but must be 1 to 127")));
        }
        Ok(match self.filter {
            FilterName::Denoise => Box::new(move |bits| Filter::denoise(bits, strength)),
            FilterName::Blur => Box::new(move |bits| Filter::blur(bits, sigma)),
            FilterName::Edges => Box::new(Filter::edges),
            FilterName::Grey => Box::new(Filter::grey),
        })
    }

    /// Opens the input.
    fn open_input(&self) -> Result<File, Stop> {
        if self.input.as_os_str() == "-" {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                let text = "standard input is a terminal; give a file, or pipe y4m into it";
                return Err(Stop::Usage(text.to_owned()));
            }
            return own(&stdin, "standard input");
        }
        let file = File::open(&self.input);
        file.map_err(|error| Stop::Failure(format!("{}: {error}", self.input.display())))
    }

    /// Opens the output. A file that is there is emptied, unless it is the input.
    fn open_output(&self, input: &File) -> Result<File, Stop> {
        if self.output.as_os_str() == "-" {
            let stdout = io::stdout();
            if stdout.is_terminal() {
                let text = "standard output is a terminal; give a file, or pipe it into a program";
                return Err(Stop::Usage(text.to_owned()));
            }
            let stdout = own(&stdout, "standard output")?;
            return match is_same(input, stdout.metadata()) {
                true => Err(is_input("standard output".as_ref())),
                false => Ok(stdout),
            };
        }
        if is_same(input, self.output.metadata()) {
            return Err(is_input(&self.output));
        }
        let file = File::create(&self.output);
        file.map_err(|error| Stop::Failure(format!("{}: {error}", self.output.display())))
    }
}

/// A stream of this process as a file of its own.
fn own(stream: &impl AsFd, name: &str) -> Result<File, Stop> {
    let copy = stream.as_fd().try_clone_to_owned();
    copy.map(File::from).map_err(|error| Stop::Failure(format!("{name}: {error}")))
}

/// Whether an open regular file is the one that the metadata are of.
fn is_same(file: &File, other: io::Result<Metadata>) -> bool {
    let (Ok(file), Ok(other)) = (file.metadata(), other) else { return false };
    file.is_file() && (file.dev(), file.ino()) == (other.dev(), other.ino())
}

fn is_input(output: &Path) -> Stop {
    Stop::Usage(format!("{} is the input; give another output", output.display()))
}

/// Runs the filter; returns the exit code.
fn filter(arguments: &Arguments) -> Result<u8, Stop> {
    let make_filter = arguments.filter()?;
    let mut builder = Pool::builder().name("video");
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers);
    }
    let pool = builder.build().map_err(|error| match error {
        brigade::Error::InvalidArgument { .. } => Stop::Usage(error.to_string()),
        error => Stop::failure(error),
    })?;
    let mode = arguments.mode(pool.workers())?;

    let input = arguments.open_input()?;
    let copy = input.try_clone().map_err(Stop::failure)?;
    let (header, reader) = FrameReader::open(input).map_err(Stop::failure)?;
    let settings =
        Settings { filter: make_filter(header.layout.bits), mode, retries: arguments.retries };
    let run = if header.layout.sample_bytes() == 1 { run::<u8> } else { run::<u16> };
    run(arguments, &pool, &settings, &header, reader, &copy)
}

/// Filters all frames and prints what was done; returns the exit code.
fn run<T: Sample>(
    arguments: &Arguments,
    pool: &Pool,
    settings: &Settings,
    header: &Header,
    reader: FrameReader<File>,
    input: &File,
) -> Result<u8, Stop> {
    // The output is not touched before the input is known to be a video, and there is memory.
    let ring = Ring::<T>::new(settings, &header.layout).map_err(Stop::failure)?;
    let output = arguments.open_output(input)?;
    let ends = (reader, FrameWriter::create(output, &header.line).map_err(Stop::failure)?);
    // Until here SIGINT ends the program: it may wait for a pipe or for the header.
    let interrupt = Interrupt::on_sigint().map_err(Stop::failure)?;
    let bar = progress_bar(arguments);
    let mut progress = |frames| bar.set_position(frames);
    let since = Instant::now();
    let layout = header.layout;
    let (summary, result) =
        pipeline::run::<T, _>(pool, settings, layout, ring, ends, &interrupt, &mut progress);
    let seconds = since.elapsed().as_secs_f64();
    bar.finish_and_clear();
    if let Err(error) = &result {
        complain(&format!("{error}; {} frames were written", summary.frames));
    }
    print_summary(arguments, pool, settings, header, summary, seconds, result.as_ref().err());
    Ok(match result {
        _ if summary.is_interrupted => 130,
        Ok(()) => 0,
        Err(_) => 1,
    })
}

/// A count of frames on a terminal; elsewhere nothing.
fn progress_bar(arguments: &Arguments) -> ProgressBar {
    if arguments.quiet || arguments.json {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("video: {pos} frames, {per_sec}, {elapsed}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

fn print_summary(
    arguments: &Arguments,
    pool: &Pool,
    settings: &Settings,
    header: &Header,
    summary: Summary,
    seconds: f64,
    error: Option<&video::error::Error>,
) {
    let (layout, frames) = (header.layout, settings.ring_frames());
    let (ring_bytes, deaths) = (frames * layout.frame_bytes(), pool.stats().restarts_by.died);
    let mode = if arguments.mode == ModeName::Bands { "bands" } else { "frames" };
    let (workers, read) = (pool.workers(), summary.reading.as_secs_f64());
    let (filtered, written) = (summary.filtering.as_secs_f64(), summary.writing.as_secs_f64());
    let mut stderr = io::stderr();
    if arguments.json {
        let line = Line {
            op: "video",
            width: layout.width,
            height: layout.height,
            colour: &header.colour,
            mode,
            workers,
            frames: summary.frames,
            seconds,
            reading_seconds: read,
            filtering_seconds: filtered,
            writing_seconds: written,
            ring_frames: frames,
            ring_bytes,
            deaths,
            interrupted: summary.is_interrupted,
            error: error.map(ToString::to_string),
        };
        let _ = writeln!(stderr, "{}", serde_json::to_string(&line).unwrap_or_default());
    } else if !arguments.quiet {
        let (width, height, colour) = (layout.width, layout.height, &header.colour);
        let (count, rate) = (summary.frames, summary.frames as f64 / seconds);
        let mib = ring_bytes as f64 / f64::from(1 << 20);
        let interrupted = if summary.is_interrupted { "interrupted: " } else { "" };
        let _ = writeln!(
            stderr,
            "{interrupted}{count} frames of {width} x {height} ({colour}) by {workers} workers in \
             {seconds:.2} s, {rate:.1} a second; reading took {read:.2} s, filtering \
             {filtered:.2} s, writing {written:.2} s; {deaths} workers died; the ring has {frames} \
             frames, {mib:.1} MiB"
        );
    }
}
