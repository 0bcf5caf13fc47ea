//! Why a picture failed.

use std::io;

use image::ImageError;

/// Why there is no output for a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// The path points to a folder, a pipe or a device.
    #[error("not a regular file")]
    NotAFile,
    /// The content is of no format that is known.
    #[error(
        "not a picture in JPEG, PNG, WebP, TIFF, GIF or BMP: it begins with the bytes {begins}"
    )]
    UnknownFormat {
        /// The first bytes, in hexadecimal.
        begins: String,
    },
    /// The content is a picture that cannot be read here.
    #[error("{what}; convert it to JPEG, PNG or TIFF with 8 or 16 bits a channel")]
    Unsupported {
        /// What is not supported.
        what: String,
    },
    /// The header declares too many pixels.
    #[error(
        "{width} x {height} are {} megapixels, at most {} are allowed; \
         see --max-megapixels",
        (u64::from(*width) * u64::from(*height)).div_ceil(1_000_000), max_pixels / 1_000_000
    )]
    TooManyPixels {
        /// The declared width.
        width: u32,
        /// The declared height.
        height: u32,
        /// The most that are allowed.
        max_pixels: u64,
    },
    /// The file is larger than a picture of the allowed size can be.
    #[error("{bytes} bytes, at most {max_bytes} are read; see --max-megapixels")]
    TooManyBytes {
        /// The size of the file.
        bytes: u64,
        /// The most that are read.
        max_bytes: u64,
    },
    /// The file ends before the picture does.
    #[error("the file is cut short: it ends before the picture does")]
    CutShort,
    /// The content is damaged.
    #[error("cannot be decoded: {0}")]
    Decode(String),
    /// The picture cannot be written in the format.
    #[error("cannot be encoded: {0}")]
    Encode(ImageError),
    /// The output would be another picture's, or the input itself.
    #[error("its output would be {path}, which {why}; rename it, or give another --format")]
    Collision {
        /// The path of the output.
        path: String,
        /// What the path is already.
        why: &'static str,
    },
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Write(String),
}

/// What a decoder of `image` reports.
impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Failure {
        match error {
            ImageError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => Failure::CutShort,
            ImageError::IoError(e) => Failure::Read(e),
            ImageError::Limits(e) => {
                let why = format!("it needs more memory than a picture of its size: {e}");
                Failure::Decode(why)
            }
            ImageError::Unsupported(e) => Failure::Unsupported { what: e.to_string() },
            error => Failure::Decode(error.to_string()),
        }
    }
}

impl From<jpeg_decoder::Error> for Failure {
    fn from(error: jpeg_decoder::Error) -> Failure {
        match error {
            jpeg_decoder::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Failure::CutShort
            }
            jpeg_decoder::Error::Io(e) => Failure::Read(e),
            jpeg_decoder::Error::Unsupported(what) => {
                Failure::Unsupported { what: format!("JPEG with {what:?} is not supported") }
            }
            error => Failure::Decode(error.to_string()),
        }
    }
}
