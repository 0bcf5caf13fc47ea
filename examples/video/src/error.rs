//! What can go wrong.

use std::io;

/// Why a run has ended early. Frames are counted from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input does not begin with a header that this program reads.
    #[error("the header of the input, {text}: {problem}")]
    Header {
        /// The header, or its beginning, in quotes.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A frame does not begin with `FRAME`.
    #[error(
        "frame {frame} of the input begins with {text}, not with \"FRAME\"; the input is damaged \
         there, or the frames before have another size than the header says"
    )]
    FrameHeader {
        /// The frame.
        frame: u64,
        /// What stands there, in quotes.
        text: String,
    },
    /// The input ends in the middle of a frame.
    #[error(
        "the input ends in frame {frame}, after {got_bytes} of {} {frame_bytes} bytes; the file is \
         cut short, or the program that writes it has ended early",
        if *is_in_header { "at least" } else { "its" }
    )]
    Truncated {
        /// The frame.
        frame: u64,
        /// How many bytes of it there are, with its header.
        got_bytes: usize,
        /// How many there should be; at least, if the header is cut short.
        frame_bytes: usize,
        /// The header of the frame is cut short.
        is_in_header: bool,
    },
    /// The input cannot be read.
    #[error("cannot read {part} of the input: {source}")]
    Read {
        /// The header, or the number of a frame.
        part: String,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write {part} of the output: {source}{}", hint(source, *ends_after))]
    Write {
        /// The header, or the number of a frame.
        part: String,
        /// Why.
        source: io::Error,
        /// How many whole frames the output ends after. `None` if a part of a frame may follow.
        ends_after: Option<u64>,
    },
    /// There is no memory for the frames.
    #[error("no memory for {frames} frames of {frame_bytes} bytes: {source}")]
    Memory {
        /// The frames of the ring.
        frames: usize,
        /// The size of each.
        frame_bytes: usize,
        /// Why.
        source: brigade::Error,
    },
    /// A frame could not be filtered.
    #[error("cannot filter frame {frame}: {source}")]
    Filter {
        /// The frame.
        frame: u64,
        /// Why.
        source: brigade::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread that {task}: {source}")]
    Thread {
        /// What the thread is for.
        task: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Where the output ends after a write error, or who does not read it any more.
fn hint(error: &io::Error, ends_after: Option<u64>) -> String {
    match (error.kind(), ends_after) {
        (io::ErrorKind::BrokenPipe, _) => {
            "; the program that reads the output has ended".to_owned()
        }
        (_, Some(0)) => "; the file ends after the header".to_owned(),
        (_, Some(frame)) => format!("; the file ends after frame {frame}"),
        (_, None) => String::new(),
    }
}

/// The result of a step of a run.
pub type Result<T> = std::result::Result<T, Error>;
