//! A file becomes a picture: format by content, limits first.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::jpeg::Jpeg;
use crate::picture::{Picture, Samples, to_linear};
use crate::recipe::Recipe;

/// As many bytes of a file tell its format.
const HEADER_BYTES: usize = 32;
/// What a decoder may allocate besides the pixels: tables, profiles, text.
const EXTRA_BYTES: u64 = 64 << 20;
/// The most bytes that a pixel has: four channels of 16 bits.
const PIXEL_BYTES_MAX: u64 = 8;
/// A larger colour profile is no profile of a camera, a screen or a printer, and is dropped.
const PROFILE_BYTES_MAX: usize = 4 << 20;

/// Samples of a picture, as its decoder gives them.
#[derive(Debug)]
pub enum Depth {
    /// 8 bits a channel.
    Eight(Vec<u8>),
    /// 16 bits a channel.
    Sixteen(Vec<u16>),
}

/// What a header says of a picture, and of the pixels that its decoder will give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The number of columns that are decoded.
    pub width: u32,
    /// The number of rows that are decoded.
    pub height: u32,
    /// 1 grey, 2 grey and alpha, 3 red, green and blue, 4 with alpha.
    pub channels: usize,
    /// The width and height that the file declares.
    pub size: (u32, u32),
    /// Which part of the decoded pixels the picture covers, from the upper left corner.
    pub part: (f64, f64),
}

/// A picture as its decoder gives it.
#[derive(Debug)]
pub struct Decoded {
    /// What the header says.
    pub header: Header,
    /// The samples.
    pub depth: Depth,
    /// How the picture is to be turned.
    pub orientation: Orientation,
    /// The colour profile (ICC).
    pub profile: Option<Vec<u8>>,
}

impl Decoded {
    /// The picture in linear light.
    #[must_use]
    pub fn to_picture(&self) -> Picture {
        let Header { width, height, channels, .. } = self.header;
        let mut samples = vec![0; width as usize * height as usize * channels];
        to_linear(self.depth.as_samples(), channels, &mut samples);
        Picture { width, height, channels, samples }
    }
}

impl Depth {
    /// The samples, borrowed.
    #[must_use]
    pub fn as_samples(&self) -> Samples<'_> {
        match self {
            Depth::Eight(samples) => Samples::Eight(samples),
            Depth::Sixteen(samples) => Samples::Sixteen(samples),
        }
    }
}

/// Fails if a header declares more pixels than the recipe allows, or none.
///
/// # Errors
///
/// [`Failure::TooManyPixels`], [`Failure::Decode`].
pub fn check_pixels(width: u32, height: u32, recipe: &Recipe) -> Result<(), Failure> {
    if width == 0 || height == 0 {
        return Err(Failure::Decode(format!("it declares {width} x {height} pixels")));
    }
    if u64::from(width) * u64::from(height) > recipe.max_pixels {
        return Err(Failure::TooManyPixels { width, height, max_pixels: recipe.max_pixels });
    }
    Ok(())
}

/// The format of an open file, by its first bytes. The file is at its beginning afterwards.
fn format_of(file: &mut File) -> Result<ImageFormat, Failure> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    file.rewind()?;
    match image::guess_format(&header) {
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Tiff
            | ImageFormat::Gif
            | ImageFormat::Bmp),
        ) => Ok(format),
        Ok(format) => {
            Err(Failure::Unsupported { what: format!("the format {format:?} is not supported") })
        }
        Err(_) if header.is_empty() => Err(Failure::Empty),
        Err(_) => {
            let begins: Vec<_> = header.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            Err(Failure::UnknownFormat { begins: begins.join(" ") })
        }
    }
}

/// A picture whose header was read.
enum Opened {
    /// A JPEG.
    Jpeg(Box<Jpeg>),
    /// Any other format; of an animation the first frame.
    Other(Header, Box<dyn ImageDecoder>),
}

/// What a decoder may allocate for `pixels` pixels and what accompanies them.
fn max_bytes(pixels: u64) -> u64 {
    pixels.saturating_mul(PIXEL_BYTES_MAX).saturating_add(EXTRA_BYTES)
}

/// The same for a decoder of `image`. That of TIFF has pixels twice: as in the file, and decoded.
fn limits(pixels: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes(pixels.saturating_mul(2)));
    limits
}

/// The profile, unless it is too large.
pub(crate) fn checked_profile(profile: Option<Vec<u8>>) -> Option<Vec<u8>> {
    profile.filter(|profile| profile.len() <= PROFILE_BYTES_MAX)
}

/// Opens the picture in the file `path`, and reads its header.
fn open(path: &Path, recipe: &Recipe) -> Result<(Opened, ImageFormat), Failure> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Failure::NotAFile);
    }
    let format = format_of(&mut file)?;
    if format == ImageFormat::Jpeg {
        // A JPEG is read as a whole, so its size is limited too.
        let (bytes, max_bytes) = (metadata.len(), max_bytes(recipe.max_pixels));
        if bytes > max_bytes {
            return Err(Failure::TooManyBytes { bytes, max_bytes });
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(max_bytes).read_to_end(&mut content)?;
        return Ok((Opened::Jpeg(Box::new(Jpeg::open(content, recipe)?)), format));
    }
    let mut reader = ImageReader::with_format(BufReader::new(file), format);
    // Nothing is known of the pixels. The decoder of PNG reads a profile before them.
    reader.limits(limits(0));
    let mut decoder = Box::new(reader.into_decoder()?);
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, recipe)?;
    decoder.set_limits(limits(u64::from(width) * u64::from(height)))?;
    let colour = decoder.color_type();
    if matches!(colour, ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Failure::Unsupported {
            what: format!("pictures of {colour:?} are not supported"),
        });
    }
    let (channels, size) = (colour.channel_count().into(), (width, height));
    let part = (f64::from(width), f64::from(height));
    Ok((Opened::Other(Header { width, height, channels, size, part }, decoder), format))
}

/// Reads the header of the picture in the file `path`.
///
/// # Errors
///
/// What is wrong with the file, as far as its header says.
pub fn header(path: &Path, recipe: &Recipe) -> Result<Header, Failure> {
    match open(path, recipe)?.0 {
        Opened::Jpeg(jpeg) => Ok(jpeg.header()),
        Opened::Other(header, _) => Ok(header),
    }
}

/// Decodes the picture in the file `path`.
///
/// # Errors
///
/// Whatever is wrong with the file.
pub fn decode(path: &Path, recipe: &Recipe) -> Result<(Decoded, ImageFormat), Failure> {
    let (opened, format) = open(path, recipe)?;
    let (header, mut decoder) = match opened {
        Opened::Jpeg(jpeg) => return Ok((jpeg.decode()?, format)),
        Opened::Other(header, decoder) => (header, decoder),
    };
    // What accompanies the pixels is no reason to refuse them.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = checked_profile(decoder.icc_profile().unwrap_or(None));
    let depth = match DynamicImage::from_decoder(decoder)? {
        DynamicImage::ImageLuma8(image) => Depth::Eight(image.into_raw()),
        DynamicImage::ImageLumaA8(image) => Depth::Eight(image.into_raw()),
        DynamicImage::ImageRgb8(image) => Depth::Eight(image.into_raw()),
        DynamicImage::ImageRgba8(image) => Depth::Eight(image.into_raw()),
        DynamicImage::ImageLuma16(image) => Depth::Sixteen(image.into_raw()),
        DynamicImage::ImageLumaA16(image) => Depth::Sixteen(image.into_raw()),
        DynamicImage::ImageRgb16(image) => Depth::Sixteen(image.into_raw()),
        DynamicImage::ImageRgba16(image) => Depth::Sixteen(image.into_raw()),
        other => {
            let what = format!("pictures of {:?} are not supported", other.color());
            return Err(Failure::Unsupported { what });
        }
    };
    Ok((Decoded { header, depth, orientation, profile }, format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Format;
    use image::ImageEncoder;
    use image::codecs::png::PngEncoder;

    #[test]
    fn a_profile_has_no_more_memory_because_pictures_may_be_large() {
        let path = std::env::temp_dir().join(format!("brigade-profile-{}", std::process::id()));
        let mut encoder = PngEncoder::new(File::create(&path).unwrap());
        encoder.set_icc_profile(vec![0; 80 << 20]).unwrap();
        encoder.write_image(&[0], 1, 1, ColorType::L8.into()).unwrap();
        let recipe = Recipe {
            size: None,
            blur: 0.0,
            grey: false,
            edges: false,
            format: Format::Same,
            quality: 85,
            max_pixels: 100_000_000,
        };
        let opened = open(&path, &recipe);
        std::fs::remove_file(&path).unwrap();
        let Ok((Opened::Other(_, mut decoder), _)) = opened else { panic!("it is a PNG") };
        assert_eq!(decoder.icc_profile().unwrap().map(|profile| profile.len()), None);
    }
}
