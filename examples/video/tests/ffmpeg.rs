//! Pipes to and from ffmpeg, where it is installed.

mod clips;

use std::process::{Command, Stdio};

use clips::{Clip, run, text};
use video::filter::Filter;

/// Whether ffmpeg is there; says so if the test is skipped.
fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        println!("skipped: ffmpeg is not installed");
    }
    is_there
}

fn ffmpeg(arguments: &[&str]) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-nostdin"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_chain_of_the_documentation_filters_a_film() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = ["-f", "lavfi", "-i", "testsrc=size=321x179:rate=25:duration=2"];
    ffmpeg(&[&source[..], &["-pix_fmt", "yuv420p", "-c:v", "ffv1", &*path("in.mkv")]].concat());
    let chain = "set -e -o pipefail; ffmpeg -v error -i \"$1\" -f yuv4mpegpipe - | \
                 \"$0\" - - --filter edges | \
                 ffmpeg -v error -y -f yuv4mpegpipe -i - -c:v ffv1 \"$2\"";
    let mut command = Command::new("bash");
    command.args(["-c", chain, env!("CARGO_BIN_EXE_video"), &path("in.mkv"), &path("out.mkv")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("50 frames of 321 x 179 (420jpeg)"), "{}", text(&output));

    // What the encoder got is what the filter makes of what the decoder gave.
    ffmpeg(&["-i", &path("in.mkv"), "-f", "yuv4mpegpipe", &path("in.y4m")]);
    ffmpeg(&["-i", &path("out.mkv"), "-f", "yuv4mpegpipe", &path("out.y4m")]);
    let filtered = run(&[&path("in.y4m"), "-", "--filter", "edges"], b"");
    assert!(filtered.stdout == std::fs::read(path("out.y4m")).unwrap());
}

#[test]
fn every_format_that_ffmpeg_writes_is_read_back_by_it() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for format in [
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "yuv411p",
        "gray",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
        "gray10le",
        "yuv420p9le",
        "yuv444p12le",
    ] {
        let source = ["-f", "lavfi", "-i", "testsrc2=size=67x45:rate=25:duration=0.2"];
        let to = ["-pix_fmt", format, "-strict", "-1", "-f", "yuv4mpegpipe"];
        ffmpeg(&[&source[..], &to, &[&*path("in.y4m")]].concat());
        let output = run(&[&*path("in.y4m"), &*path("out.y4m"), "--filter", "blur"], b"");
        assert!(output.status.success(), "{format}: {}", text(&output));
        // Raw samples of both sides, through ffmpeg's own reader.
        let raw = |name: &str| {
            let to = [&*path("raw"), "-f", "rawvideo"];
            ffmpeg(&["-i", &path(name), to[1], to[2], to[0]]);
            std::fs::read(to[0]).unwrap()
        };
        let (before, after) = (raw("in.y4m"), raw("out.y4m"));
        assert!(before.len() == after.len() && before != after, "{format}");
        let stream = std::fs::read(path("out.y4m")).unwrap();
        assert!(stream.ends_with(&after[after.len() / 5 * 4..]), "{format}");
    }
}

#[test]
fn the_blur_is_near_that_of_ffmpeg() {
    if !has_ffmpeg() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let clip = Clip::new(320, 240, "420jpeg", 3);
    std::fs::write(path("in.y4m"), clip.stream()).unwrap();
    let gblur = ["-vf", "gblur=sigma=2:steps=6", "-f", "yuv4mpegpipe", &*path("out.y4m")];
    ffmpeg(&[&["-i", &*path("in.y4m")], &gblur[..]].concat());
    let (ours, theirs) =
        (clip.filtered(&Filter::blur(8, 2.0)), std::fs::read(path("out.y4m")).unwrap());
    let frame = &theirs[theirs.len() - clip.header.layout.frame_bytes()..];
    let pairs = ours.frames[2].iter().zip(frame);
    let squares = pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    let mean = squares.sum::<f64>() / frame.len() as f64;
    let psnr = 10.0 * (255.0 * 255.0 / mean).log10();
    println!("PSNR beside gblur at sigma 2: {psnr:.1} dB");
    assert!(psnr > 45.0, "{psnr} dB");
}
