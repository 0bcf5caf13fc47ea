//! What is made of a picture: size, blur, colour, format.

use std::fmt;

use clap::ValueEnum;
use image::ImageFormat;
use serde::{Deserialize, Serialize};

/// The format of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Format {
    /// The format that the picture has.
    Same,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, without loss.
    Webp,
    /// TIFF.
    Tiff,
    /// GIF.
    Gif,
    /// BMP.
    Bmp,
}

impl Format {
    /// The format of the output of a picture of format `input`.
    #[must_use]
    pub fn of(self, input: ImageFormat) -> ImageFormat {
        match self {
            Format::Same => input,
            Format::Jpeg => ImageFormat::Jpeg,
            Format::Png => ImageFormat::Png,
            Format::Webp => ImageFormat::WebP,
            Format::Tiff => ImageFormat::Tiff,
            Format::Gif => ImageFormat::Gif,
            Format::Bmp => ImageFormat::Bmp,
        }
    }

    /// The format of outputs in `format`, if there can be such outputs.
    #[must_use]
    pub fn from_image(format: ImageFormat) -> Option<Format> {
        let formats = Format::value_variants().iter().skip(1);
        formats.copied().find(|known| known.of(format) == format && *known != Format::Same)
    }
}

/// What is made of each picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The most pixels that the longer side of an output has; `None` leaves the size as it is.
    pub size: Option<u32>,
    /// The standard deviation of the blur, in pixels of the output; 0 is none.
    pub blur: f32,
    /// The output has no colours.
    pub grey: bool,
    /// The output shows where the picture changes: the magnitude of its gradient.
    pub edges: bool,
    /// The format of the output.
    pub format: Format,
    /// The quality of a JPEG, 1 to 100.
    pub quality: u8,
    /// A picture with more pixels is not decoded.
    pub max_pixels: u64,
}

impl Recipe {
    /// The width and height of the output of a picture. The longer side fits, the shape is kept,
    /// and nothing is enlarged.
    #[must_use]
    pub fn target(&self, width: u32, height: u32) -> (u32, u32) {
        let longer = width.max(height);
        let Some(size) = self.size.filter(|&size| size < longer) else { return (width, height) };
        let side = |len: u32| {
            let scaled =
                (u64::from(len) * u64::from(size) + u64::from(longer / 2)) / u64::from(longer);
            u32::try_from(scaled).unwrap_or(size).max(1)
        };
        (side(width), side(height))
    }
}

/// The settings that decide what the outputs are: a part of the label of a journal.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recipe { size, blur, grey, edges, format, quality, .. } = self;
        match size {
            Some(size) => write!(f, "size {size}")?,
            None => f.write_str("whole size")?,
        }
        write!(f, ", blur {blur}, grey {grey}, edges {edges}, {format:?}, quality {quality}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_size(size: Option<u32>) -> Recipe {
        let (format, max_pixels) = (Format::Same, 1);
        Recipe { size, blur: 0.0, grey: false, edges: false, format, quality: 85, max_pixels }
    }

    #[test]
    fn the_longer_side_fits_and_the_shape_is_kept() {
        let recipe = of_size(Some(256));
        assert_eq!(recipe.target(4000, 3000), (256, 192));
        assert_eq!(recipe.target(3000, 4000), (192, 256));
        assert_eq!(recipe.target(257, 257), (256, 256));
        assert_eq!(recipe.target(u32::MAX, 1), (256, 1));
        assert_eq!(recipe.target(1, 65_535), (1, 256));
    }

    #[test]
    fn nothing_is_enlarged() {
        assert_eq!(of_size(Some(256)).target(256, 100), (256, 100));
        assert_eq!(of_size(Some(256)).target(1, 1), (1, 1));
        assert_eq!(of_size(None).target(9000, 100), (9000, 100));
    }
}
