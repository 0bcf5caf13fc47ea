//! JPEG by libjpeg-turbo, if that is compiled in.

use crate::decode::Header;
use crate::failure::Failure;

/// Whether it is.
pub(crate) const IS_THERE: bool = cfg!(feature = "turbojpeg");

/// Decodes the pixels, grey or red, green and blue, at the size that the header says.
#[cfg(feature = "turbojpeg")]
pub(crate) fn decode(content: &[u8], header: &Header) -> Result<Vec<u8>, Failure> {
    use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

    // A warning, which damaged content causes, is an error here too.
    let fail = |error: turbojpeg::Error| Failure::Decode(error.to_string());
    let (width, height) = (header.width as usize, header.height as usize);
    let full = (header.size.0 as usize, header.size.1 as usize);
    let mut scales = [1, 2, 4, 8].into_iter().map(|eighths| ScalingFactor::new(eighths, 8));
    let mut decompressor = Decompressor::new().map_err(fail)?;
    // The first, as `Jpeg::open` has it.
    if let Some(scale) = scales.find(|s| (s.scale(full.0), s.scale(full.1)) == (width, height)) {
        decompressor.set_scaling_factor(scale).map_err(fail)?;
    }
    let format = if header.channels == 1 { PixelFormat::GRAY } else { PixelFormat::RGB };
    let pitch = width * header.channels;
    let mut bytes = vec![0; pitch * height];
    let pixels = bytes.as_mut_slice();
    decompressor
        .decompress(content, Image { pixels, width, pitch, height, format })
        .map_err(fail)?;
    Ok(bytes)
}

#[cfg(not(feature = "turbojpeg"))]
pub(crate) fn decode(_: &[u8], _: &Header) -> Result<Vec<u8>, Failure> {
    unreachable!("the caller has looked at `IS_THERE`")
}
