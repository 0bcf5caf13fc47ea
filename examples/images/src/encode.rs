//! A picture becomes a file, under a name of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::BufWriter;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use brigade::batch::OutputFile;
use image::codecs::bmp::BmpEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ColorType, DynamicImage, ImageEncoder, ImageFormat};

use crate::failure::Failure;

/// Where an ICC profile names the colours that it is for.
const PROFILE_COLOURS: std::ops::Range<usize> = 16..20;

/// The least alpha that is opaque in a GIF, which knows no other than clear and opaque.
const OPAQUE_MIN: u8 = 128;

/// Whether a picture in this format can have alpha.
#[must_use]
pub fn has_alpha(format: ImageFormat) -> bool {
    format != ImageFormat::Jpeg
}

/// The name of the output of the file `relative`: the same if its extension is one of the format,
/// otherwise with that appended. So no two files of the input have the same output, unless one has
/// the name of the other's; this is an error.
///
/// # Errors
///
/// [`Failure::Collision`] if the name is that of another file in the folder `input`.
pub fn output_name(input: &Path, relative: &Path, format: ImageFormat) -> Result<PathBuf, Failure> {
    let extensions = format.extensions_str();
    let found = relative.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    if found.is_some_and(|found| extensions.contains(&found.as_str())) {
        return Ok(relative.to_owned());
    }
    let mut name = relative.as_os_str().to_owned();
    name.push(".");
    name.push(extensions[0]);
    let name = PathBuf::from(name);
    match fs::symlink_metadata(input.join(&name)) {
        Ok(_) => Err(collision(&name, "is the output of the input of that name")),
        Err(_) => Ok(name),
    }
}

fn collision(path: &Path, why: &'static str) -> Failure {
    Failure::Collision { path: path.display().to_string(), why }
}

/// Writes `image` to `path`, complete or not at all; the size of the file.
///
/// # Errors
///
/// [`Failure::Encode`] if the format cannot hold it; [`Failure::Write`], for example because the
/// disk is full; [`Failure::Collision`] if `path` is `input`.
pub fn write(
    image: DynamicImage,
    format: ImageFormat,
    quality: u8,
    profile: Option<Vec<u8>>,
    input: &Path,
    path: &Path,
) -> Result<u64, Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::Write(format!("{}: {e}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    }
    if let (Ok(old), Ok(input)) = (fs::metadata(path), fs::metadata(input))
        && (old.dev(), old.ino()) == (input.dev(), input.ino())
    {
        return Err(collision(path, "is the input itself"));
    }
    let mut out = OutputFile::create(path).map_err(|e| fail(&e))?;
    let profile = profile.filter(|profile| is_for(profile, image.color()));
    match encode(image, format, quality, profile, &mut out) {
        Ok(()) => out.commit().map_err(|e| fail(&e)),
        Err(image::ImageError::IoError(e)) => Err(fail(&e)),
        Err(e) => Err(Failure::Encode(e)),
    }
}

/// Whether a profile is for pictures of these colours.
fn is_for(profile: &[u8], colour: ColorType) -> bool {
    let expected: &[u8] = if colour.has_color() { b"RGB " } else { b"GRAY" };
    profile.get(PROFILE_COLOURS) == Some(expected)
}

fn encode(
    image: DynamicImage,
    format: ImageFormat,
    quality: u8,
    profile: Option<Vec<u8>>,
    out: &mut OutputFile,
) -> image::ImageResult<()> {
    match format {
        ImageFormat::Jpeg => {
            write_by(JpegEncoder::new_with_quality(BufWriter::new(out), quality), &image, profile)
        }
        ImageFormat::Png => write_by(PngEncoder::new(out), &image, profile),
        ImageFormat::WebP => write_by(WebPEncoder::new_lossless(out), &image, profile),
        ImageFormat::Tiff => match image.color() {
            // Its encoder has no grey with alpha.
            ColorType::La8 => {
                write_by(TiffEncoder::new(out), &DynamicImage::from(image.to_rgba8()), None)
            }
            _ => write_by(TiffEncoder::new(out), &image, profile),
        },
        ImageFormat::Gif => {
            // Its encoder makes the palette of red, green, blue and alpha, and takes every alpha
            // but 0 for opaque.
            let mut pixels = image.to_rgba8();
            for pixel in pixels.pixels_mut().filter(|pixel| pixel[3] < OPAQUE_MIN) {
                pixel.0 = [0; 4];
            }
            let (width, height) = pixels.dimensions();
            let mut encoder = GifEncoder::new(out);
            encoder.encode(pixels.as_raw(), width, height, image::ExtendedColorType::Rgba8)
        }
        _ => write_by(BmpEncoder::new(out), &image, None),
    }
}

fn write_by(
    mut encoder: impl ImageEncoder,
    image: &DynamicImage,
    profile: Option<Vec<u8>>,
) -> image::ImageResult<()> {
    if let Some(profile) = profile {
        // A format without profiles drops it.
        let _ = encoder.set_icc_profile(profile);
    }
    image.write_with_encoder(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_kept_or_appended() {
        let name = |relative: &str, format| {
            output_name(Path::new("/nonexistent"), Path::new(relative), format).unwrap()
        };
        assert_eq!(name("a/b.JPG", ImageFormat::Jpeg), Path::new("a/b.JPG"));
        assert_eq!(name("a/b.jpeg", ImageFormat::Jpeg), Path::new("a/b.jpeg"));
        assert_eq!(name("a.b/c", ImageFormat::Jpeg), Path::new("a.b/c.jpg"));
        assert_eq!(name("b.jpg", ImageFormat::Png), Path::new("b.jpg.png"));
    }
}
