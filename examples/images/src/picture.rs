//! A picture in linear light, and what is done to it.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U16, U16x2, U16x3, U16x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageBuffer};

use crate::blur;
use crate::failure::Failure;
use crate::light;
use crate::recipe::Recipe;

/// The parts of red, green and blue in the luminance, of 65536.
const LUMINANCE: [u32; 3] = [13_933, 46_871, 4_732];

/// Samples of a picture as a decoder gives them, row after row, in sRGB.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a> {
    /// 8 bits a channel.
    Eight(&'a [u8]),
    /// 16 bits a channel.
    Sixteen(&'a [u16]),
}

/// A picture in linear light, 16 bits a channel. Colours are multiplied by alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The number of columns.
    pub width: u32,
    /// The number of rows.
    pub height: u32,
    /// 1 grey, 2 grey and alpha, 3 red, green and blue, 4 with alpha.
    pub channels: usize,
    /// Channels of pixels, row after row.
    pub samples: Vec<u16>,
}

/// `value` times `alpha`, of 65535.
fn times(value: u16, alpha: u16) -> u16 {
    let product = u32::from(value) * u32::from(alpha) + 32_767;
    u16::try_from(product / 65_535).unwrap_or(u16::MAX)
}

/// Turns samples of sRGB into linear light. `out` has as many elements.
pub fn to_linear(samples: Samples<'_>, channels: usize, out: &mut [u16]) {
    let has_alpha = channels.is_multiple_of(2);
    match samples {
        Samples::Eight(samples) => {
            let table = light::from_8();
            for (out, &sample) in out.iter_mut().zip(samples) {
                *out = table[usize::from(sample)];
            }
            if has_alpha {
                let alphas = samples.chunks_exact(channels).map(|pixel| pixel[channels - 1]);
                multiply(out, channels, alphas.map(|alpha| u16::from(alpha) * 257));
            }
        }
        Samples::Sixteen(samples) => {
            let table = light::from_16();
            for (out, &sample) in out.iter_mut().zip(samples) {
                *out = table[usize::from(sample)];
            }
            if has_alpha {
                let alphas = samples.chunks_exact(channels).map(|pixel| pixel[channels - 1]);
                multiply(out, channels, alphas);
            }
        }
    }
}

/// Multiplies the colours of pixels by their alphas.
fn multiply(samples: &mut [u16], channels: usize, alphas: impl Iterator<Item = u16>) {
    for (pixel, alpha) in samples.chunks_exact_mut(channels).zip(alphas) {
        pixel[channels - 1] = alpha;
        pixel[..channels - 1].iter_mut().for_each(|colour| *colour = times(*colour, alpha));
    }
}

/// Turns linear light into samples of sRGB with 8 bits. `out` has as many elements.
pub fn from_linear(samples: &[u16], channels: usize, out: &mut [u8]) {
    let table = light::to_8();
    // Values of the table have 8 bits.
    let companded = |value: u16| table[usize::from(value)].to_be_bytes()[1];
    if !channels.is_multiple_of(2) {
        out.iter_mut().zip(samples).for_each(|(out, &value)| *out = companded(value));
        return;
    }
    for (out, pixel) in out.chunks_exact_mut(channels).zip(samples.chunks_exact(channels)) {
        let alpha = pixel[channels - 1];
        let of_alpha = |value: u16| {
            let whole = u32::from(value) * 65_535 / u32::from(alpha.max(1));
            u16::try_from(whole).unwrap_or(u16::MAX)
        };
        for (out, &value) in out.iter_mut().zip(&pixel[..channels - 1]) {
            *out = companded(of_alpha(value));
        }
        out[channels - 1] = u8::try_from((u32::from(alpha) + 128) / 257).unwrap_or(u8::MAX);
    }
}

/// The luminance of pixels of 3 or 4 `channels`; `out` has two channels less.
pub fn grey(samples: &[u16], channels: usize, out: &mut [u16]) {
    let pixels = samples.chunks_exact(channels);
    for (out, pixel) in out.chunks_exact_mut(channels - 2).zip(pixels) {
        let parts = pixel.iter().zip(LUMINANCE).map(|(&value, part)| u32::from(value) * part);
        out[0] = u16::try_from((parts.sum::<u32>() + 32_768) >> 16).unwrap_or(u16::MAX);
        out[1..].copy_from_slice(&pixel[3..]);
    }
}

/// Pixels of 2 or 4 `channels` over a white ground; `out` has one channel less.
pub fn over_white(samples: &[u16], channels: usize, out: &mut [u16]) {
    let pixels = samples.chunks_exact(channels);
    for (out, pixel) in out.chunks_exact_mut(channels - 1).zip(pixels) {
        let ground = u16::MAX - pixel[channels - 1];
        out.iter_mut().zip(pixel).for_each(|(out, &value)| *out = value.saturating_add(ground));
    }
}

/// The part of a picture that is resized, in pixels from its upper left corner.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The first row.
    pub top: f64,
    /// The number of columns.
    pub width: f64,
    /// The number of rows.
    pub height: f64,
}

/// Resizes the `window` of a picture of `width` by `height` by the filter Lanczos3. Pixels around
/// the window count where the filter reaches them.
///
/// # Errors
///
/// [`Failure::Decode`] if the window is not in the picture.
pub fn resize(
    samples: &[u16],
    (width, height, channels): (u32, u32, usize),
    window: Window,
    target: (u32, u32),
    out: &mut [u16],
) -> Result<(), Failure> {
    let source = (width, height);
    match channels {
        1 => resize_typed::<U16>(samples, source, window, target, out),
        2 => resize_typed::<U16x2>(samples, source, window, target, out),
        3 => resize_typed::<U16x3>(samples, source, window, target, out),
        _ => resize_typed::<U16x4>(samples, source, window, target, out),
    }
}

fn resize_typed<P: PixelTrait + InnerPixel>(
    samples: &[u16],
    (width, height): (u32, u32),
    window: Window,
    target: (u32, u32),
    out: &mut [u16],
) -> Result<(), Failure> {
    let fail = |e: &dyn std::fmt::Display| Failure::Decode(format!("cannot be resized: {e}"));
    let source = TypedImageRef::<P>::from_buffer(width, height, bytemuck::cast_slice(samples))
        .map_err(|e| fail(&e))?;
    let mut out = TypedImage::<P>::from_buffer(target.0, target.1, bytemuck::cast_slice_mut(out))
        .map_err(|e| fail(&e))?;
    // Rounding must not put the end of the last window beyond that of the picture.
    let (end, mut rows) = (f64::from(height), window.height);
    while window.top + rows > end {
        rows = rows.min(end - window.top).next_down();
    }
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop(0.0, window.top, window.width, rows)
        .use_alpha(false);
    Resizer::new().resize_typed(&source, &mut out, &options).map_err(|e| fail(&e))
}

impl Picture {
    /// This picture at the size of the recipe; its first `width` by `height` pixels are the whole
    /// of it, the rest is the padding of a decoder.
    ///
    /// # Errors
    ///
    /// Those of [`resize`].
    pub fn resized(
        self,
        (width, height): (f64, f64),
        target: (u32, u32),
    ) -> Result<Picture, Failure> {
        if (self.width, self.height) == target {
            return Ok(self);
        }
        let channels = self.channels;
        let mut samples = vec![0; target.0 as usize * target.1 as usize * channels];
        let window = Window { top: 0.0, width, height };
        let source = (self.width, self.height, channels);
        resize(&self.samples, source, window, target, &mut samples)?;
        Ok(Picture { width: target.0, height: target.1, channels, samples })
    }

    /// The blur and the grey of the recipe.
    #[must_use]
    pub fn filtered(self, recipe: &Recipe) -> Picture {
        let picture = if recipe.grey { self.grey() } else { self };
        if recipe.blur == 0.0 {
            return picture;
        }
        let Picture { width, channels, ref samples, .. } = picture;
        let samples = blur::gaussian(samples, width as usize, channels, recipe.blur);
        Picture { samples, ..picture }
    }

    fn grey(self) -> Picture {
        match self.channels {
            1 | 2 => self,
            channels => self.mapped(channels - 2, grey),
        }
    }

    /// The picture over a white ground.
    #[must_use]
    pub fn over_white(self) -> Picture {
        match self.channels {
            1 | 3 => self,
            channels => self.mapped(channels - 1, over_white),
        }
    }

    fn mapped(self, channels: usize, function: fn(&[u16], usize, &mut [u16])) -> Picture {
        let mut samples = vec![0; self.samples.len() / self.channels * channels];
        function(&self.samples, self.channels, &mut samples);
        Picture { channels, samples, ..self }
    }

    /// The picture in sRGB with 8 bits a channel.
    #[must_use]
    pub fn to_image(&self) -> DynamicImage {
        let mut bytes = vec![0; self.samples.len()];
        from_linear(&self.samples, self.channels, &mut bytes);
        image_of(self.width, self.height, self.channels, bytes)
    }
}

/// A picture of 8 bits a channel.
///
/// # Panics
///
/// If there are not as many bytes as the pixels have channels.
#[must_use]
pub fn image_of(width: u32, height: u32, channels: usize, bytes: Vec<u8>) -> DynamicImage {
    let image = match channels {
        1 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8),
        2 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageLumaA8),
        3 => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8),
        _ => ImageBuffer::from_raw(width, height, bytes).map(DynamicImage::ImageRgba8),
    };
    image.expect("as many bytes as the pixels have channels")
}
