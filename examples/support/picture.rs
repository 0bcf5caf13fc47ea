//! A picture of numbers on a plane.

use brigade::SharedArray;

use super::arguments::Stop;

/// Writes a matrix as a PNG file: blue is `-greatest`, white is 0, red is `greatest`.
pub(crate) fn write_png(path: &str, field: &SharedArray<f64>, greatest: f64) -> Result<(), Stop> {
    encode(path, field, greatest).map_err(|error| Stop::Failure(format!("{path}: {error}")))
}

fn encode(path: &str, field: &SharedArray<f64>, greatest: f64) -> Result<(), png::EncodingError> {
    let &[height, width] = field.shape().dims() else { unreachable!("a plane of two dimensions") };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let shade = |part: f64| (255.0 * (1.0 - part.clamp(0.0, 1.0))) as u8;
    // Red takes blue and green away, blue red and green.
    let colour = |&x: &f64| {
        let x = x / greatest;
        [shade(-x), shade(x.abs()), shade(x)]
    };
    let pixels: Vec<u8> = field.as_slice().iter().flat_map(colour).collect();
    let file = std::fs::File::create(path)?;
    let side = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), side(width), side(height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&pixels)
}
