//! The program, its exit codes, and ends that fail.

mod clips;

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clips::{Clip, collect, end, run, stat, text, video, wait_for, workers_of};
use rustix::process::{Pid, Signal, kill_process};
use video::filter::Filter;

const MODES: [&str; 2] = ["bands", "frames"];

fn pid(child: &std::process::Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

#[test]
fn files_and_pipes_are_filtered_and_the_summary_names_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let clip = Clip::new(48, 30, "422p10", 12);
    std::fs::write(path("in"), clip.stream()).unwrap();
    std::fs::write(path("out"), vec![1; 1 << 20]).unwrap();
    let expected = clip.filtered(&Filter::blur(10, 3.0)).stream();
    let blur = ["--filter", "blur", "--sigma", "3", "--workers", "2"];

    let output = run(&[&[&*path("in"), &*path("out")], &blur[..]].concat(), b"");
    assert!(output.status.success(), "{}", text(&output));
    assert!(std::fs::read(path("out")).unwrap() == expected);
    // 4 + 3 frames of 48 x 30 samples and 2 x 24 x 30, of two bytes.
    assert!(text(&output).starts_with("12 frames of 48 x 30 (422p10) by 2 workers"), "{output:?}");
    assert!(text(&output).contains("the ring has 7 frames, 0.0 MiB"), "{output:?}");

    let in_frames = ["--mode", "frames", "--in-flight", "3", "--json"];
    let output = run(&[&["-", "-"], &blur[..], &in_frames].concat(), &clip.stream());
    assert!(output.status.success() && output.stdout == expected, "{}", text(&output));
    assert!(text(&output).contains("\"ring_frames\":11,\"ring_bytes\":63360"), "{output:?}");
    let output = run(&["-", "-", "--filter", "grey", "--quiet"], &clip.stream());
    assert!(output.status.success() && text(&output).is_empty(), "{}", text(&output));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.y4m");
    let clip = Clip::new(8, 8, "420", 1).stream();
    std::fs::write(&file, &clip).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let (file, link) = (file.to_str().unwrap(), link.to_str().unwrap());
    for (arguments, expected) in [
        (&["-"][..], "<OUTPUT>"),
        (&["-", "-", "--filter", "sharpen"], "denoise, blur, edges, grey"),
        (&["-", "-", "--mode", "rows"], "bands, frames"),
        (&["-", "-", "--sigma", "2"], "--sigma belongs to --filter blur"),
        (&["-", "-", "--filter", "blur", "--sigma", "30"], "--sigma is 30, but must be 0.1 to 20"),
        (&["-", "-", "--filter", "blur", "--sigma", "nan"], "--sigma is NaN"),
        (&["-", "-", "--filter", "blur", "--strength", "3"], "--strength belongs to"),
        (&["-", "-", "--strength", "0"], "--strength is 0, but must be 1 to 127"),
        (&["-", "-", "--in-flight", "3"], "--in-flight belongs to --mode frames"),
        (&["-", "-", "--mode", "frames", "--band-rows", "3"], "--band-rows belongs to"),
        (&["-", "-", "--band-rows", "0"], "0 is not in 1..=65535"),
        (&["-", "-", "--band-rows", "65536"], "65536 is not in 1..=65535"),
        (&["-", "-", "--band-rows", "18446744073709551615"], "is not in 1..=65535"),
        (&["-", "-", "--mode", "frames", "--in-flight", "0"], "0 is not in 1..=4096"),
        (&["-", "-", "--mode", "frames", "--in-flight", "18446744073709551615"], "1..=4096"),
        (&["-", "-", "--workers", "0"], "workers"),
        (&["-", "-", "--workers", "9999"], "1 to 1024"),
        (&[file, file], "is the input; give another output"),
        (&[file, link], "is the input; give another output"),
    ] {
        let output = run(arguments, b"");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(expected), "{arguments:?}: {}", text(&output));
    }
    let appended = std::process::Command::new("bash")
        .args(["-c", "\"$0\" \"$1\" - >> \"$1\"", env!("CARGO_BIN_EXE_video"), file])
        .output()
        .unwrap();
    assert_eq!(appended.status.code(), Some(2), "{}", text(&appended));
    assert!(text(&appended).contains("standard output is the input"), "{}", text(&appended));
    assert_eq!(std::fs::read(file).unwrap(), clip);
    let help = run(&["--help"], b"");
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("yuv4mpegpipe"));
}

#[test]
fn what_is_no_video_is_an_error_that_quotes_it_and_the_output_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::write(&out, "old").unwrap();
    let out = out.to_str().unwrap();
    for (input, expected) in [
        (&b""[..], "the input is empty"),
        (b"\x00\x00\x00\x18ftypmp42\n", "\\x18ftypmp42\": does not begin with \"YUV4MPEG2\""),
        (b"YUV4MPEG2 W0 H8\n", "\"YUV4MPEG2 W0 H8\": a side of \"0\""),
        (b"YUV4MPEG2 W8 H8 C420p16\n", "the colour space is \"420p16\""),
    ] {
        let output = run(&["-", out], input);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(expected), "{}", text(&output));
        assert_eq!(std::fs::read(out).unwrap(), b"old");
    }
    let missing = run(&["/nowhere/in.y4m", out], b"");
    assert!(
        missing.status.code() == Some(1) && text(&missing).contains("/nowhere/in.y4m: No such")
    );
    let folder = run(&[folder.path().to_str().unwrap(), out], b"");
    assert_eq!(folder.status.code(), Some(1), "{}", text(&folder));
    let nowhere = run(&["-", "/nowhere/out.y4m"], &Clip::new(8, 8, "420", 1).stream());
    assert!(nowhere.status.code() == Some(1) && text(&nowhere).contains("/nowhere/out.y4m: No"));
}

#[test]
fn a_stream_that_is_cut_or_damaged_gives_all_frames_before() {
    let clip = Clip::new(40, 30, "420jpeg", 6);
    let expected = clip.filtered(&Filter::denoise(8, 6)).stream();
    let stream = clip.stream();
    let frame_bytes = clip.bytes_of(1) - clip.bytes_of(0);
    for mode in MODES {
        for frames in [0, 1, 5] {
            let whole = clip.bytes_of(frames);
            for (more, expected_text) in [
                (3, format!("frame {}, after 3 of at least {frame_bytes} bytes", frames + 1)),
                (100, format!("frame {}, after 100 of its {frame_bytes} bytes", frames + 1)),
                (frame_bytes - 1, format!("ends in frame {}, after", frames + 1)),
            ] {
                let output = run(&["-", "-", "--mode", mode], &stream[..whole + more]);
                assert_eq!(output.status.code(), Some(1), "{}", text(&output));
                assert!(output.stdout == expected[..whole], "{mode}, {frames} frames and {more}");
                assert!(text(&output).contains(&expected_text), "{}", text(&output));
                let written = format!("; {frames} frames were written");
                assert!(text(&output).contains(&written), "{}", text(&output));
            }
            let mut damaged = stream.clone();
            damaged[whole + 2] = b'?';
            let output = run(&["-", "-", "--mode", mode], &damaged);
            assert_eq!(output.status.code(), Some(1), "{}", text(&output));
            assert!(output.stdout == expected[..whole], "{mode}, {frames} frames");
            let begins = format!("frame {} of the input begins with \"FR?ME\\n\"", frames + 1);
            assert!(text(&output).contains(&begins), "{}", text(&output));
        }
    }
}

#[test]
fn an_encoder_that_goes_away_is_an_error_and_no_signal() {
    let clip = Clip::new(320, 240, "420", 100);
    for mode in MODES {
        let mut child = video(&["-", "-", "--mode", mode]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let stream = clip.stream();
        let feeder = std::thread::spawn(move || stdin.write_all(&stream));
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut vec![0; clip.bytes_of(3)]).unwrap();
        drop(stdout);
        let stderr = child.stderr.take().unwrap();
        let (status, text) = end(child, stderr);
        assert_eq!((status.code(), status.signal()), (Some(1), None), "{text}");
        assert!(text.contains("of the output: Broken pipe"), "{text}");
        assert!(text.contains("the program that reads the output has ended"), "{text}");
        feeder.join().unwrap().unwrap_err();
    }
}

#[test]
fn a_full_disk_is_an_error_and_the_file_ends_after_a_whole_frame() {
    let clip = Clip::new(640, 480, "444", 40);
    let output = run(&["-", "/dev/full"], &clip.stream());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("cannot write the header of the output"), "{}", text(&output));

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (status, text) = limited(32 << 10, "exec \"$0\" - \"$1\" --filter grey", &out, &clip);
    assert_eq!(status.code(), Some(1), "{text}");
    // 32 MiB hold 36 frames of 921,606 bytes.
    assert!(text.contains("cannot write frame 37 of the output: File too large"), "{text}");
    assert!(text.contains("; the file ends after frame 36; 36 frames"), "{text}");
    let expected = clip.filtered(&Filter::grey(8)).stream();
    assert!(std::fs::read(out).unwrap() == expected[..clip.bytes_of(36)]);
}

/// Runs a script with the program and a path, where files have at most `kib` KiB: that limit is met
/// as a full disk is. It also holds for the memory file of the ring.
fn limited(kib: u64, script: &str, path: &Path, clip: &Clip) -> (ExitStatus, String) {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; {script}");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &*script, env!("CARGO_BIN_EXE_video"), path.to_str().unwrap()]);
    command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The program ends before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(&clip.stream());
    let stderr = child.stderr.take().unwrap();
    end(child, stderr)
}

#[test]
fn a_write_error_keeps_what_stood_in_the_file_before() {
    let clip = Clip::new(640, 480, "444", 40);
    let expected = clip.filtered(&Filter::grey(8)).stream();
    let whole = &expected[..clip.bytes_of(36)];
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    for script in [
        // Opened to append, by position, and after another program.
        "exec \"$0\" - - --filter grey >> \"$1\"",
        "exec 1<> \"$1\"; printf kept; exec \"$0\" - - --filter grey",
        "{ printf kept; \"$0\" - - --filter grey; } > \"$1\"",
    ] {
        std::fs::write(&archive, "kept").unwrap();
        let (status, text) = limited(32 << 10, script, &archive, &clip);
        assert_eq!(status.code(), Some(1), "{script}: {text}");
        assert!(text.contains("; the file ends after frame 36"), "{script}: {text}");
        let found = std::fs::read(&archive).unwrap();
        assert!(found.starts_with(b"kept") && found[4..] == *whole, "{script}: {}", found.len());
    }
    // What stands behind the frames stays, too.
    let size = 40 << 20;
    std::fs::File::options().write(true).open(&archive).unwrap().set_len(size).unwrap();
    let script = "exec \"$0\" - - --filter grey 1<> \"$1\"";
    let (status, text) = limited(32 << 10, script, &archive, &clip);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(!text.contains("the file ends"), "{text}");
    let found = std::fs::read(&archive).unwrap();
    assert!(found.len() as u64 == size && found.starts_with(whole), "{}", found.len());
}

#[test]
fn ctrl_c_ends_with_whole_frames_and_exit_code_130() {
    let clip = Clip::new(64, 48, "420", 500);
    let expected = clip.filtered(&Filter::edges(8)).stream();
    for mode in MODES {
        let mut child = video(&["-", "-", "--filter", "edges", "--mode", mode]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        // The decoder neither ends nor goes on after 20 frames.
        stdin.write_all(&clip.stream()[..clip.bytes_of(20)]).unwrap();
        let mut found = vec![0; clip.bytes_of(2)];
        stdout.read_exact(&mut found).unwrap();
        kill_process(pid(&child), Signal::INT).unwrap();
        stdout.read_to_end(&mut found).unwrap();
        let stderr = child.stderr.take().unwrap();
        let (status, text) = end(child, stderr);
        assert_eq!(status.code(), Some(130), "{text}");
        assert!(text.starts_with("interrupted: "), "{text}");
        let frame_bytes = clip.bytes_of(1) - clip.bytes_of(0);
        assert_eq!((found.len() - clip.bytes_of(0)) % frame_bytes, 0);
        assert!(found == expected[..found.len()], "{mode}");
        drop(stdin);
    }
}

#[test]
fn ctrl_c_ends_a_program_that_waits_for_its_input_or_output() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let clip = Clip::new(8, 8, "420", 1);
    for (input, out) in [(&b""[..], "-"), (b"YUV4MPEG2 W8 H8", "-"), (&clip.stream(), "fifo")] {
        let out = if out == "-" { out } else { fifo.to_str().unwrap() };
        let mut child = video(&["-", out, "--workers", "1"]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).unwrap();
        let host = child.id();
        wait_for(host, || !workers_of(host).is_empty());
        kill_process(pid(&child), Signal::INT).unwrap();
        // If the signal were only noted, the program would go on now.
        drop(stdin);
        let reader = std::fs::File::options().read(true).write(true).open(&fifo).unwrap();
        let stderr = child.stderr.take().unwrap();
        let (status, text) = end(child, stderr);
        assert_eq!((status.code(), status.signal()), (None, Some(2)), "{text}");
        assert!(text.is_empty(), "{text}");
        drop(reader);
    }
}

#[test]
fn without_memory_for_the_ring_the_output_stays() {
    let clip = Clip::new(1280, 720, "444", 1);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::write(&out, "old").unwrap();
    // The ring has 7 frames of 2.6 MiB.
    let (status, text) = limited(8 << 10, "exec \"$0\" - \"$1\" --workers 1", &out, &clip);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("no memory for 7 frames of 2764800 bytes"), "{text}");
    assert_eq!(std::fs::read(out).unwrap(), b"old");
}

#[test]
fn back_pressure_reaches_the_decoder() {
    let clip = Clip::new(160, 120, "420", 400);
    for mode in MODES {
        let arguments = ["-", "-", "--filter", "grey", "--workers", "2", "--mode", mode];
        let mut child = video(&arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (fed, stream) = (Arc::new(AtomicUsize::new(0)), clip.stream());
        let (count, frame_bytes) = (Arc::clone(&fed), clip.bytes_of(1) - clip.bytes_of(0));
        let feeder = std::thread::spawn(move || {
            for bytes in stream.chunks(frame_bytes) {
                stdin.write_all(bytes).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Nobody reads the output. Wait until all threads of the program wait, and nothing moves.
        let (host, mut last, mut still) = (child.id(), 0, 0);
        wait_for(host, || {
            let now = fed.load(Ordering::SeqCst);
            let threads = std::fs::read_dir(format!("/proc/{host}/task")).unwrap().flatten();
            let sleeps = threads.into_iter().all(|thread| {
                let path = format!("{host}/task/{}", thread.file_name().to_str().unwrap());
                stat(&path).is_none_or(|(_, state, _)| state == 'S')
            });
            still = if now == last && now > 0 && sleeps { still + 1 } else { 0 };
            last = now;
            still == 300 || feeder.is_finished()
        });
        // The ring, and two pipes of 64 KiB, at 28,806 bytes a frame.
        let ring = if mode == "bands" { 7 } else { 13 };
        let most = ring + 2 * (64 << 10) / frame_bytes + 2;
        let taken = fed.load(Ordering::SeqCst);
        assert!(taken <= most, "{mode}: {taken} frames were read, but the ring has {ring}");
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let found = collect(stdout);
        feeder.join().unwrap();
        let (status, text) = end(child, stderr);
        assert!(status.success(), "{text}");
        assert!(found.join().unwrap() == clip.filtered(&Filter::grey(8)).stream());
    }
}
