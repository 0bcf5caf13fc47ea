//! The picture is the same, however the work is divided.

mod clips;

use std::fs::File;
use std::io::Cursor;

use brigade::Pool;
use brigade::batch::Interrupt;
use clips::Clip;
use video::filter::Filter;
use video::input::FrameReader;
use video::output::FrameWriter;
use video::pipeline::{self, Mode, Settings};

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
    let (summary, result) = if header.layout.bits == 8 {
        pipeline::run::<u8, _>(pool, &settings, header.layout, ends, &interrupt, &mut progress)
    } else {
        pipeline::run::<u16, _>(pool, &settings, header.layout, ends, &interrupt, &mut progress)
    };
    result.unwrap();
    assert_eq!((summary.frames, seen), (clip.frames.len() as u64, summary.frames));
    std::fs::read(file.path()).unwrap()
}

fn filters(bits: u32) -> [Filter; 4] {
    [Filter::denoise(bits, 6), Filter::blur(bits, 1.5), Filter::edges(bits), Filter::grey(bits)]
}

const MODES: [Mode; 5] = [
    Mode::Bands { rows: 1 },
    Mode::Bands { rows: 7 },
    Mode::Bands { rows: 1000 },
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
