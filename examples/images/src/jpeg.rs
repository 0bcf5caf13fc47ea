//! JPEG, decoded at a fraction of its size.

use std::io::Cursor;
use std::rc::Rc;

use image::metadata::Orientation;
use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};

use crate::decode::{Decoded, Depth, Header, check_pixels, checked_profile};
use crate::failure::Failure;
use crate::recipe::Recipe;
use crate::turbo;

/// How many times as large as the output a picture is decoded, at least. From this on, what the
/// decoder leaves out cannot be seen in the output.
const MARGIN: u32 = 2;

/// A JPEG whose header was read.
pub(crate) struct Jpeg {
    content: Rc<[u8]>,
    decoder: Decoder<Cursor<Rc<[u8]>>>,
    format: PixelFormat,
    header: Header,
}

impl Jpeg {
    /// Reads the header of a JPEG, which is to be decoded not much larger than the recipe needs it.
    pub(crate) fn open(content: Vec<u8>, recipe: &Recipe) -> Result<Jpeg, Failure> {
        let content = Rc::from(content);
        let mut decoder = Decoder::new(Cursor::new(Rc::clone(&content)));
        decoder.read_info()?;
        let Some(info) = decoder.info() else {
            return Err(Failure::Decode("it has no picture".to_owned()));
        };
        let size = (u32::from(info.width), u32::from(info.height));
        check_pixels(size.0, size.1, recipe)?;
        if info.coding_process == CodingProcess::Lossless || info.pixel_format == PixelFormat::L16 {
            return Err(Failure::Unsupported { what: "lossless JPEG is not supported".to_owned() });
        }
        let target = recipe.target(size.0, size.1);
        // The decoder takes the first scale at which one side is large enough. The longer decides:
        // a side of a few pixels is large enough at any scale.
        let wanted = |target: u32, len: u16| u16::try_from(target * MARGIN).unwrap_or(len).min(len);
        let (width, height) = match info.width >= info.height {
            true => decoder.scale(wanted(target.0, info.width), u16::MAX)?,
            false => decoder.scale(u16::MAX, wanted(target.1, info.height))?,
        };
        let (width, height) = (u32::from(width), u32::from(height));
        let channels = match info.pixel_format {
            PixelFormat::L8 | PixelFormat::L16 => 1,
            PixelFormat::RGB24 | PixelFormat::CMYK32 => 3,
        };
        let scale = scale(size.0.max(size.1), width.max(height));
        let part = (f64::from(size.0) * scale, f64::from(size.1) * scale);
        let header = Header { width, height, channels, size, part };
        Ok(Jpeg { content, decoder, format: info.pixel_format, header })
    }

    /// What the header says.
    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Decodes the pixels.
    pub(crate) fn decode(self) -> Result<Decoded, Failure> {
        let Jpeg { content, mut decoder, format, header } = self;
        let bytes = match format {
            PixelFormat::L8 | PixelFormat::RGB24 if turbo::IS_THERE => {
                match turbo::decode(&content, &header) {
                    Ok(bytes) => bytes,
                    Err(failure) => {
                        // Usually this says more exactly what is wrong.
                        decoder.decode()?;
                        return Err(failure);
                    }
                }
            }
            _ => decoder.decode()?,
        };
        let expected = header.width as usize * header.height as usize * format.pixel_bytes();
        if bytes.len() != expected {
            let why = format!("its decoder gave {} bytes instead of {expected}", bytes.len());
            return Err(Failure::Decode(why));
        }
        let bytes = if format == PixelFormat::CMYK32 { rgb_of_cmyk(&bytes) } else { bytes };
        let depth = Depth::Eight(bytes);
        let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk);
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        // A profile of inks says nothing about red, green and blue.
        let profile = decoder.icc_profile().filter(|_| format != PixelFormat::CMYK32);
        Ok(Decoded { header, depth, orientation, profile: checked_profile(profile) })
    }
}

/// The scale that makes `scaled` of `len`, rounded up.
fn scale(len: u32, scaled: u32) -> f64 {
    let found = [1, 2, 4, 8].into_iter().find(|eighths| (len * eighths).div_ceil(8) == scaled);
    f64::from(found.unwrap_or(8)) / 8.0
}

/// Red, green and blue of inks.
fn rgb_of_cmyk(inks: &[u8]) -> Vec<u8> {
    let light = |ink: u8, black: u8| {
        let product = u32::from(255 - ink) * u32::from(255 - black) + 127;
        u8::try_from(product / 255).unwrap_or(u8::MAX)
    };
    let pixels = inks.chunks_exact(4);
    pixels.flat_map(|p| [light(p[0], p[3]), light(p[1], p[3]), light(p[2], p[3])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Format;
    use image::{GrayImage, ImageFormat};

    #[test]
    fn the_longer_side_decides_the_scale() {
        for (width, height, size, expected) in [
            (640, 480, 64, (160, 120)),
            (480, 640, 60, (120, 160)),
            (200, 1, 256, (200, 1)),
            (1, 200, 256, (1, 200)),
            (1, 1, 256, (1, 1)),
            (9000, 9, 1499, (4500, 5)),
            (9, 9000, 1500, (5, 4500)),
            (9000, 9, 9000, (9000, 9)),
        ] {
            let mut content = Cursor::new(Vec::new());
            GrayImage::new(width, height).write_to(&mut content, ImageFormat::Jpeg).unwrap();
            let recipe = Recipe {
                size: Some(size),
                blur: 0.0,
                grey: false,
                edges: false,
                format: Format::Same,
                quality: 85,
                max_pixels: 1_000_000,
            };
            let header = Jpeg::open(content.into_inner(), &recipe).unwrap().header();
            assert_eq!((header.width, header.height), expected, "{width} x {height} to {size}");
        }
    }
}
