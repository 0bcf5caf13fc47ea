//! Clips that the tests make, and the program.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::io::Read;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;

use video::filter::{Filter, Role, Window};
use video::header::Header;
use video::picture::Sample;

/// A stream and its parts.
pub(crate) struct Clip {
    pub(crate) header: Header,
    /// The samples of each frame, one plane after the other.
    pub(crate) frames: Vec<Vec<u8>>,
}

/// Numbers that look random, from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

impl Clip {
    /// Waves that move, with noise.
    #[expect(clippy::cast_possible_truncation, reason = "less than the greatest sample")]
    #[expect(clippy::cast_sign_loss, reason = "nothing is negative")]
    pub(crate) fn new(width: usize, height: usize, colour: &str, frames: usize) -> Clip {
        let line = format!("YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C{colour} XTEST");
        let header = Header::parse(line.as_bytes()).unwrap();
        let layout = header.layout;
        let mut random = Random((width * height * 31 + frames) as u64);
        let scale = f64::from((1u32 << layout.bits) - 1);
        let frame = |t: usize| {
            let mut bytes = Vec::with_capacity(layout.frame_bytes());
            for [rows, columns] in layout.planes() {
                for at in 0..rows * columns {
                    let (i, j) = (at / columns, at % columns);
                    let wave = ((i + 2 * t) as f64 / 9.0).sin() * ((j + t) as f64 / 7.0).cos();
                    let noise = random.below(1000) as f64 / 1000.0;
                    let sample = (scale * (0.5 + 0.4 * wave + 0.1 * (noise - 0.5))) as u16;
                    bytes.extend_from_slice(&sample.to_le_bytes()[..layout.sample_bytes()]);
                }
            }
            bytes
        };
        Clip { header, frames: (0..frames).map(frame).collect() }
    }

    /// The bytes of the stream.
    pub(crate) fn stream(&self) -> Vec<u8> {
        let mut stream = [self.header.line.as_slice(), b"\n"].concat();
        for frame in &self.frames {
            stream.extend_from_slice(b"FRAME\n");
            stream.extend_from_slice(frame);
        }
        stream
    }

    /// The length of the stream with its first `frames` frames.
    pub(crate) fn bytes_of(&self, frames: usize) -> usize {
        self.header.line.len() + 1 + frames * (6 + self.header.layout.frame_bytes())
    }

    /// What `filter` makes of the clip, in this process, plane by plane.
    pub(crate) fn filtered(&self, filter: &Filter) -> Clip {
        let frames = if self.header.layout.sample_bytes() == 1 {
            self.filtered_as::<u8>(filter)
        } else {
            self.filtered_as::<u16>(filter)
        };
        Clip { header: self.header.clone(), frames }
    }

    fn filtered_as<T: Sample>(&self, filter: &Filter) -> Vec<Vec<u8>> {
        let samples = |bytes: &[u8]| -> Vec<T> {
            bytes.chunks(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
        };
        let mut filtered = Vec::new();
        for (t, frame) in self.frames.iter().enumerate() {
            let (now, before) = (samples(frame), samples(&self.frames[t.saturating_sub(1)]));
            let mut out = now.clone();
            let mut start = 0;
            for (plane, [rows, columns]) in self.header.layout.planes().into_iter().enumerate() {
                let range = start..start + rows * columns;
                start = range.end;
                let window = Window::new(&now[range.clone()], 0, columns);
                let role = Role::of_plane(plane);
                filter.apply(role, window, &before[range.clone()], &mut out[range]);
            }
            filtered.push(bytemuck::cast_slice(&out).to_vec());
        }
        filtered
    }
}

/// The program with arguments, and pipes for all its streams.
pub(crate) fn video(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_video"));
    command.args(arguments).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program with `input` as its standard input, which may break off early.
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = video(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // The program may end before it has read everything.
            let _ = std::io::Write::write_all(&mut stdin, input);
        });
        child.wait_with_output().unwrap()
    })
}

/// Collects what a stream of the program has, in a thread.
pub(crate) fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Waits for the end of the program. Returns its exit status and what it complained about.
pub(crate) fn end(mut child: Child, stderr: ChildStderr) -> (ExitStatus, String) {
    let text = std::io::read_to_string(stderr).unwrap();
    (child.wait().unwrap(), text)
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Calls `condition` until it is true, as long as the program runs.
///
/// # Panics
///
/// If the program has ended.
pub(crate) fn wait_for(program: u32, mut condition: impl FnMut() -> bool) {
    while !condition() {
        assert!(is_running(program), "the program has ended");
        std::thread::yield_now();
    }
}

/// Whether a process has not ended.
pub(crate) fn is_running(process: u32) -> bool {
    stat(&process.to_string()).is_some_and(|(_, state, _)| state != 'Z')
}

/// The state of a process or thread, its name and its parent, from `stat` in `/proc`.
pub(crate) fn stat(path: &str) -> Option<(String, char, u32)> {
    let text = fs::read_to_string(format!("/proc/{path}/stat")).ok()?;
    let (before, after) = text.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    let state = fields.next()?.chars().next()?;
    let name = before.split_once('(')?.1.to_owned();
    Some((name, state, fields.next()?.parse().ok()?))
}

/// The workers of the program that are not dead. It has a descriptor of each; the parent of their
/// processes is another one.
pub(crate) fn workers_of(host: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{host}/fdinfo")).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let (_, pid) = text.split_once("Pid:")?;
        pid.lines().next()?.trim().parse::<u32>().ok()
    });
    let is_worker = |pid: &u32| {
        stat(&pid.to_string())
            .is_some_and(|(name, state, _)| name.starts_with("video-") && state != 'Z')
    };
    let mut workers: Vec<u32> = pids.filter(is_worker).collect();
    workers.sort_unstable();
    workers.dedup();
    workers
}
