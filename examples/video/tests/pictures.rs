//! The picture is the same, however the work is divided.

mod clips;

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Sender, channel};

use brigade::Pool;
use brigade::batch::Interrupt;
use clips::Clip;
use video::error::Result;
use video::filter::Filter;
use video::header::Header;
use video::input::FrameReader;
use video::output::FrameWriter;
use video::picture::Sample;
use video::pipeline::{self, Mode, Ring, Settings, Summary};

/// The clip as the pipeline filters it, by the workers of `pool`.
fn filtered(pool: &Pool, clip: &Clip, filter: &Filter, mode: Mode) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = Settings { filter: filter.clone(), mode, retries: 0 };
    let (header, reader) = FrameReader::open(Cursor::new(clip.stream())).unwrap();
    let output = File::create(file.path()).unwrap();
    let writer = FrameWriter::create(output, &header.line).unwrap();
    let (ends, interrupt) = ((reader, writer), Interrupt::new());
    let mut seen = 0;
    let mut progress = |frames| seen = frames;
    let run = if header.layout.bits == 8 { run::<u8, _> } else { run::<u16, _> };
    let (summary, result) = run(pool, &settings, &header, ends, &interrupt, &mut progress);
    result.unwrap();
    assert_eq!((summary.frames, seen), (clip.frames.len() as u64, summary.frames));
    std::fs::read(file.path()).unwrap()
}

/// The pipeline with a ring of its own.
fn run<T: Sample, R: Read + Send + 'static>(
    pool: &Pool,
    settings: &Settings,
    header: &Header,
    ends: (FrameReader<R>, FrameWriter),
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(u64),
) -> (Summary, Result<()>) {
    let ring = Ring::<T>::new(settings, &header.layout).unwrap();
    pipeline::run::<T, R>(pool, settings, header.layout, ring, ends, interrupt, progress)
}

fn filters(bits: u32) -> [Filter; 4] {
    [Filter::denoise(bits, 6), Filter::blur(bits, 1.5), Filter::edges(bits), Filter::grey(bits)]
}

const MODES: [Mode; 5] = [
    Mode::Bands { rows: 1 },
    Mode::Bands { rows: 7 },
    Mode::Bands { rows: usize::MAX },
    Mode::Frames { in_flight: 1 },
    Mode::Frames { in_flight: 5 },
];

#[test]
fn the_picture_is_the_same_for_bands_and_frames_and_any_workers() {
    let clip = Clip::new(67, 45, "420jpeg", 9);
    for filter in filters(8) {
        let expected = clip.filtered(&filter).stream();
        for workers in 1..=7 {
            let pool = Pool::builder().workers(workers).build().unwrap();
            for mode in MODES {
                let found = filtered(&pool, &clip, &filter, mode);
                assert!(found == expected, "{filter:?}, {mode:?}, {workers} workers");
            }
        }
    }
}

#[test]
fn every_format_and_odd_size_is_filtered_in_both_modes() {
    let pool = Pool::builder().workers(3).build().unwrap();
    let colours = [
        "420", "420jpeg", "420mpeg2", "420paldv", "420p9", "420p10", "420p12", "411", "422",
        "422p10", "444", "444p10", "mono", "mono10",
    ];
    for colour in colours {
        for (width, height) in [(1, 1), (2, 3), (33, 17), (130, 5)] {
            let clip = Clip::new(width, height, colour, 3);
            for filter in filters(clip.header.layout.bits) {
                let expected = clip.filtered(&filter).stream();
                for mode in [Mode::Bands { rows: 4 }, Mode::Frames { in_flight: 3 }] {
                    let found = filtered(&pool, &clip, &filter, mode);
                    assert!(found == expected, "{colour} {width} x {height}: {filter:?}, {mode:?}");
                }
            }
        }
    }
}

#[test]
fn a_stream_without_frames_gives_its_header() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let clip = Clip::new(8, 8, "444", 0);
    assert_eq!(filtered(&pool, &clip, &Filter::grey(8), MODES[0]), clip.stream());
}

/// An input whose end is known: it is dropped after the end of the stream was reported.
struct Watched(Cursor<Vec<u8>>, #[expect(dead_code, reason = "dropped with the input")] Sender<()>);

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

#[test]
fn an_interrupt_after_the_last_frame_is_none() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let clip = Clip::new(16, 8, "420", 3);
    for mode in [MODES[0], MODES[3]] {
        let file = tempfile::tempfile().unwrap();
        let settings = Settings { filter: Filter::grey(8), mode, retries: 0 };
        let (alive, ended) = channel();
        let input = Watched(Cursor::new(clip.stream()), alive);
        let (header, reader) = FrameReader::open(input).unwrap();
        let ends = (reader, FrameWriter::create(file, &header.line).unwrap());
        let interrupt = Interrupt::new();
        let mut progress = |frames| match frames {
            // Three frames and the end need no more than the ring has.
            1 => assert!(ended.recv().is_err()),
            3 => interrupt.request(),
            _ => {}
        };
        let (summary, result) =
            run::<u8, _>(&pool, &settings, &header, ends, &interrupt, &mut progress);
        result.unwrap();
        assert_eq!((summary.frames, summary.is_interrupted), (3, false), "{mode:?}");
        assert!(interrupt.is_requested());
    }
}

#[test]
fn an_interrupt_before_the_last_frame_leaves_frames() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let clip = Clip::new(16, 8, "420", 100);
    let file = tempfile::tempfile().unwrap();
    let settings = Settings { filter: Filter::grey(8), mode: MODES[0], retries: 0 };
    let (header, reader) = FrameReader::open(Cursor::new(clip.stream())).unwrap();
    let ends = (reader, FrameWriter::create(file, &header.line).unwrap());
    let interrupt = Interrupt::new();
    let mut progress = |_| interrupt.request();
    let (summary, result) =
        run::<u8, _>(&pool, &settings, &header, ends, &interrupt, &mut progress);
    result.unwrap();
    assert!(summary.is_interrupted && summary.frames < 100, "{summary:?}");
}
