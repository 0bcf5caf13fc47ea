//! What is made of each kind of picture.

mod support;

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use brigade::batch::Key;
use image::codecs::png::{PngDecoder, PngEncoder};
use image::{
    DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, ImageDecoder, ImageEncoder, ImageFormat,
    Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage,
};
use images::recipe::{Format, Recipe};
use images::task::{Job, process};
use jpeg_encoder::{ColorType, Encoder};
use support::{Directory, declares, encoded, gradient, turned};

const RECIPE: Recipe = Recipe {
    size: Some(64),
    blur: 0.0,
    grey: false,
    edges: false,
    format: Format::Png,
    quality: 90,
    max_pixels: 10_000_000,
};

/// Two folders, and what is made of their files.
struct Bench {
    _directory: Directory,
    input: PathBuf,
    output: PathBuf,
}

impl Bench {
    fn new() -> Bench {
        let directory = Directory::new();
        let (input, output) = (directory.folder("in"), directory.folder("out"));
        Bench { _directory: directory, input, output }
    }

    /// Makes the output of the file `name`.
    fn make(&self, name: &str, bytes: &[u8], recipe: &Recipe) -> Result<u64, String> {
        fs::write(self.input.join(name), bytes).unwrap();
        let job = Job::new(self.input.clone(), self.output.clone(), recipe.clone());
        process(&job, &Key::from(name)).map_err(|e| e.to_string())
    }

    fn output(&self, name: &str) -> DynamicImage {
        let bytes = fs::read(self.output.join(name)).unwrap();
        image::load_from_memory(&bytes).unwrap()
    }
}

/// The output, as a PNG, of one picture.
fn made(bytes: &[u8], recipe: &Recipe) -> DynamicImage {
    let bench = Bench::new();
    bench.make("picture", bytes, recipe).unwrap();
    bench.output("picture.png")
}

fn refused(bytes: &[u8]) -> String {
    let bench = Bench::new();
    let why = bench.make("picture.jpg", bytes, &RECIPE).unwrap_err();
    assert!(support::files(&bench.output).is_empty(), "{why}");
    why
}

fn assert_near(found: &RgbImage, expected: impl Fn(u32, u32) -> [u8; 3], tolerance: u8) {
    for (x, y, pixel) in found.enumerate_pixels() {
        let expected = expected(x, y);
        let is_near = pixel.0.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= tolerance);
        assert!(is_near, "{pixel:?} at {x}, {y} instead of {expected:?}");
    }
}

/// The colour of a gradient of 64 by 48 pixels.
fn expected(x: u32, y: u32) -> [u8; 3] {
    let part = |at: u32, len: u32| u8::try_from((2 * at + 1) * 255 / (2 * len)).unwrap();
    [part(x, 64), part(y, 48), 77]
}

#[test]
fn every_format_is_read_by_its_content_and_resized() {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    for format in [Bmp, Jpeg, Png, Tiff, WebP] {
        let found = made(&encoded(gradient(640, 480, 77), format), &RECIPE).to_rgb8();
        assert_eq!(found.dimensions(), (64, 48));
        assert_near(&found, expected, 4);
    }
    // A GIF has 256 colours.
    let gif = encoded(DynamicImage::from(gradient(640, 480, 77)).to_rgba8(), Gif);
    assert_near(&made(&gif, &RECIPE).to_rgb8(), expected, 32);
}

#[test]
fn every_format_is_written_and_can_be_read() {
    use Format::{Bmp, Gif, Jpeg, Png, Same, Tiff, Webp};
    for format in [Bmp, Jpeg, Png, Tiff, Webp, Gif, Same] {
        for grey in [false, true] {
            for (name, bytes) in [
                ("rgb.png", encoded(gradient(200, 150, 77), ImageFormat::Png)),
                ("alpha.png", encoded(half_clear(200, 150), ImageFormat::Png)),
            ] {
                let bench = Bench::new();
                let recipe = Recipe { format, grey, blur: 1.0, ..RECIPE };
                let size = bench.make(name, &bytes, &recipe).unwrap();
                let path = &support::files(&bench.output)[0];
                let bytes = fs::read(bench.output.join(path)).unwrap();
                assert_eq!(size, bytes.len() as u64);
                let found = image::load_from_memory(&bytes).unwrap();
                assert_eq!((found.width(), found.height()), (64, 48), "{path:?}");
                let expected = format.of(ImageFormat::Png);
                assert_eq!(image::guess_format(&bytes).unwrap(), expected, "{path:?}");
            }
        }
    }
}

/// Red that is opaque on the left and clear on the right, where its colour is green.
fn half_clear(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, _| match x < width / 2 {
        true => Rgba([255, 0, 0, 255]),
        false => Rgba([0, 255, 0, 0]),
    })
}

#[test]
fn the_colour_of_clear_pixels_does_not_show() {
    let found = made(&encoded(half_clear(201, 99), ImageFormat::Png), &RECIPE).to_rgba8();
    for pixel in found.pixels().filter(|pixel| pixel[3] > 8) {
        assert!(pixel[0] >= 250 && pixel[1] <= 2, "{pixel:?}");
    }
    assert_eq!((found.get_pixel(3, 3)[3], found.get_pixel(60, 3)[3]), (255, 0));
}

#[test]
fn a_gif_is_clear_where_the_picture_is_less_than_half_opaque() {
    let soft = RgbaImage::from_fn(64, 9, |x, _| Rgba([200, 40, 90, u8::try_from(x * 4).unwrap()]));
    let bench = Bench::new();
    let recipe = Recipe { format: Format::Gif, ..RECIPE };
    bench.make("a.png", &encoded(soft, ImageFormat::Png), &recipe).unwrap();
    for (x, _, pixel) in bench.output("a.png.gif").to_rgba8().enumerate_pixels() {
        assert_eq!(pixel[3], if x < 32 { 0 } else { 255 }, "{x}");
        let is_near = pixel.0.iter().zip([200, 40, 90]).all(|(a, b)| a.abs_diff(b) <= 3);
        assert!(x < 32 || is_near, "{x}: {pixel:?}");
    }
}

#[test]
fn a_jpeg_has_a_white_ground_where_the_picture_is_clear() {
    let bench = Bench::new();
    let recipe = Recipe { format: Format::Jpeg, ..RECIPE };
    bench.make("a.png", &encoded(half_clear(200, 100), ImageFormat::Png), &recipe).unwrap();
    let found = bench.output("a.png.jpg").to_rgb8();
    for x in (0..28).chain(36..64) {
        let expected = if x < 32 { [255, 0, 0] } else { [255; 3] };
        let found = found.get_pixel(x, 10).0;
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 8), "{x}: {found:?}");
    }
}

#[test]
fn light_is_averaged_and_not_its_code() {
    // Black and white in turn are half of the light, which is 188 in sRGB.
    let stripes = GrayImage::from_fn(640, 640, |x, _| Luma([if x % 2 == 0 { 0 } else { 255 }]));
    let found = made(&encoded(stripes, ImageFormat::Png), &RECIPE).to_luma8();
    // At the border the filter sees more of one stripe.
    for (x, y, pixel) in found.enumerate_pixels() {
        let tolerance = if x == 0 || x == 63 { 8 } else { 1 };
        assert!(pixel[0].abs_diff(188) <= tolerance, "{pixel:?} at {x}, {y}");
    }
}

#[test]
fn sixteen_bits_and_grey_are_read() {
    let grey = ImageBuffer::from_fn(640, 480, |x, _| Luma([u16::try_from(x * 102).unwrap()]));
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let bytes = encoded(DynamicImage::ImageLuma16(grey.clone()), format);
        let found = made(&bytes, &RECIPE);
        assert!(matches!(found, DynamicImage::ImageLuma8(_)));
        assert_near(&found.to_rgb8(), |x, _| [expected(x, 0)[0]; 3], 4);
    }
    let colours = ImageBuffer::from_fn(64, 48, |x, _| {
        Rgba([u16::try_from(x * 1020).unwrap(), 65_535, 0, 65_535])
    });
    let bytes = encoded(DynamicImage::ImageRgba16(colours), ImageFormat::Png);
    let found = made(&bytes, &RECIPE).to_rgb8();
    assert_near(&found, |x, _| [u8::try_from(x * 1020 / 257).unwrap(), 255, 0], 1);
    let alpha = GrayAlphaImage::from_pixel(300, 300, LumaA([200, 128]));
    let found = made(&encoded(alpha, ImageFormat::Png), &RECIPE).to_luma_alpha8();
    assert!(found.pixels().all(|pixel| pixel[0].abs_diff(200) <= 1 && pixel[1] == 128));
}

#[test]
fn grey_is_the_luminance() {
    for (colour, expected) in [([255, 0, 0], 127), ([0, 255, 0], 220), ([0, 0, 255], 76)] {
        let picture = RgbImage::from_pixel(100, 80, Rgb(colour));
        let recipe = Recipe { grey: true, ..RECIPE };
        let found = made(&encoded(picture, ImageFormat::Png), &recipe);
        assert!(matches!(found, DynamicImage::ImageLuma8(_)));
        assert!(found.to_luma8().pixels().all(|pixel| pixel[0].abs_diff(expected) <= 1));
    }
}

#[test]
fn inks_become_colours() {
    // No ink, cyan, magenta, yellow and black.
    let inks = [[0u8; 4], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0], [0, 0, 0, 255]];
    let colours = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]];
    for (ink, colour) in inks.into_iter().zip(colours) {
        for kind in [ColorType::Cmyk, ColorType::CmykAsYcck] {
            let mut jpeg = Vec::new();
            let pixels = ink.repeat(640 * 480);
            Encoder::new(&mut jpeg, 95).encode(&pixels, 640, 480, kind).unwrap();
            assert_near(&made(&jpeg, &RECIPE).to_rgb8(), |_, _| colour, 3);
        }
    }
}

#[test]
fn pictures_are_turned_as_the_camera_was_held() {
    let jpeg = encoded(gradient(640, 480, 77), ImageFormat::Jpeg);
    let upright = made(&turned(&jpeg, 6), &RECIPE).to_rgb8();
    assert_eq!(upright.dimensions(), (48, 64));
    assert_near(&upright, |x, y| expected(y, 47 - x), 4);
    assert_near(&made(&turned(&jpeg, 3), &RECIPE).to_rgb8(), |x, y| expected(63 - x, 47 - y), 4);
    assert_near(&made(&turned(&jpeg, 1), &RECIPE).to_rgb8(), expected, 4);
}

#[test]
fn a_jpeg_decoded_at_a_fraction_of_its_size_is_not_shifted() {
    // Sizes that are no multiples of 8, so the decoder rounds.
    let jpeg = encoded(gradient(1021, 763, 77), ImageFormat::Jpeg);
    let png = encoded(gradient(1021, 763, 77), ImageFormat::Png);
    let whole = made(&png, &RECIPE).to_rgb8();
    let found = made(&jpeg, &RECIPE).to_rgb8();
    assert_near(&found, |x, y| whole.get_pixel(x, y).0, 3);
}

#[test]
fn a_jpeg_of_one_row_keeps_its_columns() {
    let stripe = |at: u32| if (at / 4).is_multiple_of(2) { 40 } else { 210 };
    let recipe = Recipe { size: Some(256), ..RECIPE };
    for (width, height) in [(200, 1), (1, 200)] {
        let stripes = GrayImage::from_fn(width, height, |x, y| Luma([stripe(x + y)]));
        let found = made(&encoded(stripes, ImageFormat::Jpeg), &recipe).to_luma8();
        assert_eq!(found.dimensions(), (width, height));
        for (x, y, pixel) in found.enumerate_pixels() {
            assert!(pixel[0].abs_diff(stripe(x + y)) <= 40, "{pixel:?} at {x}, {y}");
        }
    }
}

#[test]
fn a_blur_spreads_light_and_keeps_its_sum() {
    let dot = GrayImage::from_fn(63, 63, |x, y| Luma([if (x, y) == (31, 31) { 255 } else { 0 }]));
    let recipe = Recipe { blur: 1.5, ..RECIPE };
    let found = made(&encoded(dot, ImageFormat::Png), &recipe).to_luma8();
    let at = |x, y| images::light::from_8()[usize::from(found.get_pixel(x, y)[0])];
    let sum: u32 =
        (0..63).flat_map(|y| (0..63).map(move |x| (x, y))).map(|(x, y)| u32::from(at(x, y))).sum();
    assert!((60_000..71_000).contains(&sum), "{sum}");
    assert_eq!((at(31, 29), at(29, 31)), (at(31, 33), at(33, 31)));
    let tiny = encoded(gradient(1, 1, 9), ImageFormat::Png);
    made(&tiny, &Recipe { blur: 1000.0, ..RECIPE });
}

#[test]
fn small_pictures_and_thin_ones_are_not_enlarged_and_not_empty() {
    for (size, expected) in
        [((1, 1), (1, 1)), ((5, 3), (5, 3)), ((3000, 1), (64, 1)), ((1, 900), (1, 64))]
    {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let found = made(&encoded(gradient(size.0, size.1, 7), format), &RECIPE);
            assert_eq!((found.width(), found.height()), expected);
        }
    }
}

#[test]
fn what_is_no_picture_is_refused_with_its_first_bytes() {
    assert_eq!(refused(b""), "the file is empty (0 bytes)");
    assert!(refused(b"hello").contains("begins with the bytes 68 65 6c 6c 6f"));
    assert!(refused(b"\0\0\x01\0\x01\0\x10\x10").contains("Ico is not supported"));
    assert!(refused(b"\xff\xd8\xff").contains("cut short"));
}

/// A lossless JPEG of one grey, with `precision` bits a sample. Its decoder returns samples of 16
/// bits at the full size, whatever size it was asked for.
fn lossless(precision: u8, width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = b"\xff\xd8".to_vec();
    // One code of one bit: the sample is as predicted.
    jpeg.extend(b"\xff\xc4\0\x14\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    jpeg.extend(b"\xff\xc3\0\x0b");
    jpeg.push(precision);
    jpeg.extend(height.to_be_bytes());
    jpeg.extend(width.to_be_bytes());
    jpeg.extend(b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\x01\0\0");
    jpeg.resize(jpeg.len() + (usize::from(width) * usize::from(height)).div_ceil(8), 0);
    jpeg.extend(b"\xff\xd9");
    jpeg
}

#[test]
fn a_lossless_jpeg_is_refused() {
    for precision in [8, 12, 16] {
        let why = refused(&lossless(precision, 640, 480));
        assert!(why.starts_with("lossless JPEG is not supported"), "{precision}: {why}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error_or_whole() {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    for format in [Png, Jpeg, Tiff, WebP, Gif, Bmp] {
        let picture = DynamicImage::from(gradient(40, 30, 7));
        let is_gif = format == Gif;
        let whole = encoded(if is_gif { picture.to_rgba8().into() } else { picture }, format);
        for len in (0..whole.len() * 9 / 10).step_by(7) {
            let why = refused(&whole[..len]);
            assert!(!why.contains('\n'), "{format:?} {len}: {why}");
        }
    }
}

#[test]
fn a_damaged_jpeg_is_an_error() {
    let mut jpeg = encoded(gradient(640, 480, 77), ImageFormat::Jpeg);
    let middle = jpeg.len() / 2;
    // No code of JPEG has ones alone.
    for pair in jpeg[middle..][..64].chunks_exact_mut(2) {
        pair.copy_from_slice(b"\xff\0");
    }
    let why = refused(&jpeg);
    assert!(why.starts_with("cannot be decoded: "), "{why}");
}

#[test]
fn too_many_pixels_are_refused_before_they_are_decoded() {
    let jpeg = declares(encoded(gradient(20, 20, 7), ImageFormat::Jpeg), 60_000, 60_000);
    assert!(refused(&jpeg).contains("60000 x 60000 are 3600 megapixels, at most 10 are allowed"));
    let mut png = encoded(gradient(20, 20, 7), ImageFormat::Png);
    // The width is in the header, whose checksum follows.
    png[16..20].copy_from_slice(&1_000_000u32.to_be_bytes());
    let sum = checksum(&png[12..29]);
    png[29..33].copy_from_slice(&sum.to_be_bytes());
    assert!(refused(&png).contains("1000000 x 20 are 20 megapixels"), "{}", refused(&png));
    refused(&declares(encoded(gradient(20, 20, 7), ImageFormat::Jpeg), 0, 9));
}

#[test]
fn a_frame_that_is_larger_than_its_picture_is_refused() {
    // A GIF of one pixel, whose first frame has 5000 x 4000.
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0".to_vec();
    gif.extend([5000u16.to_le_bytes(), 4000u16.to_le_bytes()].concat());
    gif.extend(b"\0\x02\x02\x44\x01\0\x3b");
    assert!(refused(&gif).contains("more memory than a picture of its size"), "{}", refused(&gif));
}

#[test]
fn a_profile_is_passed_on_unless_it_is_huge() {
    for (len, expected) in [(3 << 20, Some(3 << 20)), (5 << 20, None)] {
        let mut png = Vec::new();
        let mut encoder = PngEncoder::new(&mut png);
        let mut profile = vec![0; len];
        profile[16..20].copy_from_slice(b"RGB ");
        encoder.set_icc_profile(profile).unwrap();
        gradient(20, 20, 7).write_with_encoder(encoder).unwrap();
        let bench = Bench::new();
        bench.make("a.png", &png, &RECIPE).unwrap();
        let made = fs::read(bench.output.join("a.png")).unwrap();
        let mut decoder = PngDecoder::new(Cursor::new(made)).unwrap();
        assert_eq!(decoder.icc_profile().unwrap().map(|profile| profile.len()), expected);
    }
}

/// The CRC of a chunk of a PNG.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[test]
fn no_two_files_have_one_output() {
    let bench = Bench::new();
    let (jpeg, png) = (
        encoded(gradient(20, 20, 1), ImageFormat::Jpeg),
        encoded(gradient(20, 20, 200), ImageFormat::Png),
    );
    let recipe = Recipe { format: Format::Jpeg, ..RECIPE };
    bench.make("a.jpg", &jpeg, &recipe).unwrap();
    bench.make("a.png", &png, &recipe).unwrap();
    bench.make("a.png.jpg", &jpeg, &recipe).unwrap();
    let why = bench.make("a.png", &png, &recipe).unwrap_err();
    assert!(why.contains("a.png.jpg, which is the output of the input of that name"), "{why}");
    let same = Recipe { format: Format::Same, ..RECIPE };
    bench.make("is jpeg.png", &jpeg, &same).unwrap();
    assert!(bench.output.join("is jpeg.png.jpg").exists());
}

#[test]
fn an_input_is_not_replaced_by_its_output() {
    let bench = Bench::new();
    let link = bench.output.join("link");
    std::os::unix::fs::symlink(&bench.input, &link).unwrap();
    let jpeg = encoded(gradient(400, 300, 1), ImageFormat::Jpeg);
    fs::write(bench.input.join("a.jpg"), &jpeg).unwrap();
    let recipe = Recipe { format: Format::Same, ..RECIPE };
    let job = Job::new(bench.input.clone(), link, recipe);
    let why = process(&job, &Key::from("a.jpg")).unwrap_err().to_string();
    assert!(why.contains("is the input itself"), "{why}");
    assert_eq!(fs::read(bench.input.join("a.jpg")).unwrap(), jpeg);
}

#[test]
fn an_output_that_cannot_be_made_is_named() {
    let bench = Bench::new();
    let png = encoded(gradient(400, 300, 1), ImageFormat::Png);
    fs::write(bench.input.join("a.png"), png).unwrap();
    let job = Job::new(bench.input.clone(), Path::new("/proc/self").to_owned(), RECIPE);
    let why = process(&job, &Key::from("a.png")).unwrap_err().to_string();
    assert!(why.starts_with("the output cannot be written: /proc/self/a.png: "), "{why}");
}
