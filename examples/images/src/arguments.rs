//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::recipe::{Format, Recipe};

/// The size of outputs if none is given.
const SIZE: u32 = 256;

/// Resizes all pictures of a folder, in worker processes that crash alone.
///
/// JPEG, PNG, WebP, TIFF, GIF and BMP are told apart by their content. A file that cannot be
/// decoded, crashes its worker or hangs is named in the summary, and the others go on.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "images",
    after_help = "\
Exit codes: 0 all done, 1 a file failed, 2 wrong command line, 130 interrupted."
)]
pub struct Arguments {
    /// The folder of the pictures, with all folders in it; with --tiles a picture
    #[arg(value_name = "IN_DIR")]
    pub input: PathBuf,
    /// Where the outputs go, made if need be; with --tiles a file
    #[arg(value_name = "OUT_DIR")]
    pub output: PathBuf,
    /// The longer side of an output, in pixels [default: 256; with --tiles the picture's own]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub size: Option<u32>,
    /// Blur by a Gaussian of this standard deviation, in pixels of the output, at most 1000
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = sigma)]
    pub blur: f32,
    /// Leave no colours
    #[arg(long)]
    pub grey: bool,
    /// The format of the outputs
    #[arg(long, value_enum, default_value_t = Format::Same)]
    pub format: Format,
    /// The quality of a JPEG, 1 to 100
    #[arg(long, value_name = "Q", default_value_t = 85)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// Worker processes, 1 to 1024 [default: one for each processor]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// What is done: run again with it to do the rest
    #[arg(long, value_name = "FILE", conflicts_with = "tiles")]
    pub journal: Option<PathBuf>,
    /// Run what has failed before once more
    #[arg(long, requires = "journal")]
    pub retry_failed: bool,
    /// How long a file may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,
    /// A picture that declares more is not decoded
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_megapixels: u32,
    /// Divide one large picture between all workers: IN_DIR and OUT_DIR are files
    #[arg(long)]
    pub tiles: bool,
    /// Show where the picture changes (the magnitude of its gradient, by Sobel); needs --tiles
    #[arg(long, requires = "tiles")]
    pub edges: bool,
    /// Print one line of JSON instead of the summary
    #[arg(long)]
    pub json: bool,
}

/// A standard deviation that a filter can have.
fn sigma(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(sigma) if (0.0..=1000.0).contains(&sigma) && (sigma == 0.0 || sigma.is_normal()) => {
            Ok(sigma)
        }
        _ => Err("must be a number from 0 to 1000".to_owned()),
    }
}

impl Arguments {
    /// What is made of each picture.
    #[must_use]
    pub fn recipe(&self) -> Recipe {
        Recipe {
            size: self.size.or((!self.tiles).then_some(SIZE)),
            blur: self.blur,
            grey: self.grey,
            edges: self.edges,
            format: self.format,
            quality: self.quality,
            max_pixels: u64::from(self.max_megapixels) * 1_000_000,
        }
    }

    /// How long a file may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}
