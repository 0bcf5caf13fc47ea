//! Reading, filtering and writing at the same time.
//!
//! ```text
//!              empty frames                                    empty frames
//!        +----------------------+                       +----------------------+
//!        v                      |                       v                      |
//!   reader thread --frames--> this thread --filter--> this thread --frames--> writer thread
//! ```
//!
//! There are [`Settings::ring_frames`] frames, made once: as many to read into and as many to write
//! from. They go round: the reader waits if no frame is empty, and so does, in a pipe, the program
//! before. A frame that was read is kept until it and the next one are filtered, because a filter
//! may read the frame before. Frames that are filtered out of order wait for their turn.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade::batch::Interrupt;
use brigade::{Frozen, OwnedChunk, Pool};

use crate::bands::{self, Cut};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::frames;
use crate::header::Layout;
use crate::input::FrameReader;
use crate::output::FrameWriter;
use crate::picture::{Picture, Sample};

/// How often the thread looks whether it shall end, if nothing else happens.
const POLL: Duration = Duration::from_millis(50);

/// What a task of a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A band of rows. All workers share one frame.
    Bands {
        /// The luma rows of a band, at least 1.
        rows: usize,
    },
    /// A whole frame.
    Frames {
        /// The most frames that are filtered, or wait for a worker, at a time; at least 1.
        in_flight: usize,
    },
}

/// How a stream is filtered.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is computed.
    pub filter: Filter,
    /// How the work is divided.
    pub mode: Mode,
    /// How many deaths of workers one frame survives.
    pub retries: u32,
}

impl Settings {
    fn in_flight(&self) -> usize {
        match self.mode {
            Mode::Bands { .. } => 1,
            Mode::Frames { in_flight } => in_flight,
        }
    }

    /// The frames to read into: those in flight, the one before them, one that waits and one that
    /// is being read.
    fn inputs(&self) -> usize {
        self.in_flight() + 3
    }

    /// The frames to write from: those in flight, one that waits and one that is being written.
    fn outputs(&self) -> usize {
        self.in_flight() + 2
    }

    /// The number of frames that there are in memory, whatever the length of the stream.
    #[must_use]
    pub fn ring_frames(&self) -> usize {
        self.inputs() + self.outputs()
    }
}

/// The frames that go round.
#[derive(Debug)]
pub struct Ring<T> {
    /// Those to read into.
    inputs: Vec<Picture<T>>,
    /// Those to write from.
    outputs: Vec<Picture<T>>,
}

impl<T: Sample> Ring<T> {
    /// Makes all frames.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`].
    pub fn new(settings: &Settings, layout: &Layout) -> Result<Ring<T>> {
        let (frames, frame_bytes) = (settings.ring_frames(), layout.frame_bytes());
        let make = |count| -> Result<Vec<Picture<T>>> {
            let pictures = (0..count).map(|_| Picture::new(layout));
            let made = pictures.collect::<brigade::Result<_>>();
            made.map_err(|source| Error::Memory { frames, frame_bytes, source })
        };
        Ok(Ring { inputs: make(settings.inputs())?, outputs: make(settings.outputs())? })
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The frames that were written.
    pub frames: u64,
    /// The time in which the reader waited for the input, and copied it.
    pub reading: Duration,
    /// The time in which at least one frame was being filtered.
    pub filtering: Duration,
    /// The time in which the writer waited for the output, and copied to it.
    pub writing: Duration,
    /// An interrupt was requested, and there may be frames that were not filtered or not written.
    pub is_interrupted: bool,
}

/// What the other threads and the workers report.
enum Event<T> {
    Read(Picture<T>, Duration),
    End(Result<()>),
    Filtered(u64, Vec<u8>, brigade::Result<Vec<OwnedChunk<T>>>),
    Written(Picture<T>, Duration),
    WriteFailed(Error),
}

/// A frame that was read.
struct Frame<T> {
    number: u64,
    parameters: Vec<u8>,
    planes: Vec<Frozen<T>>,
    is_done: bool,
}

struct Pipeline<'a, T> {
    pool: &'a Pool,
    settings: &'a Settings,
    layout: Layout,
    interrupt: &'a Interrupt,
    reports: Sender<Event<T>>,
    to_reader: Sender<Picture<T>>,
    to_writer: Sender<Picture<T>>,
    /// Frames to write into.
    empty: Vec<Picture<T>>,
    /// Frames that no worker has, in order.
    waiting: VecDeque<Frame<T>>,
    /// Frames that were given to workers, in order; the first is there for the second.
    started: VecDeque<Frame<T>>,
    /// Frames that are filtered, and wait for those before them.
    finished: BTreeMap<u64, Picture<T>>,
    in_flight: usize,
    /// The number of the next frame to be read, and to be written, from 1.
    next_read: u64,
    next_write: u64,
    has_ended: bool,
    /// The first frame that could not be filtered, and why.
    failure: Option<(u64, brigade::Error)>,
    /// Since when a frame is being filtered.
    busy_since: Option<Instant>,
    summary: Summary,
}

/// Filters all frames of `reader` into `writer`. Calls `progress` with the number of frames
/// written, after each. The ring was made for the same settings and layout.
///
/// When `interrupt` is requested, no more frames are filtered; those that are being filtered are
/// written, which lasts as long as nobody reads the output.
///
/// The summary is that of the frames that were written, also beside an error.
///
/// # Errors
///
/// [`Error`]; all frames before the one that it names are written, except after a write error.
pub fn run<T: Sample, R: Read + Send + 'static>(
    pool: &Pool,
    settings: &Settings,
    layout: Layout,
    ring: Ring<T>,
    (reader, writer): (FrameReader<R>, FrameWriter),
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(u64),
) -> (Summary, Result<()>) {
    let (reports, events) = channel::<Event<T>>();
    let (to_reader, from_ring) = channel();
    let (to_writer, filtered) = channel();
    let ends = (to_reader, to_writer);
    let mut pipeline = Pipeline::new(pool, settings, layout, interrupt, reports.clone(), ends);
    for picture in ring.inputs {
        // The receiver exists until the reader has ended.
        let _ = pipeline.to_reader.send(picture);
    }
    pipeline.empty = ring.outputs;
    let to_this = reports.clone();
    let begun = start_thread("reads", move || read_frames(reader, &from_ring, &to_this))
        .and_then(|_| start_thread("writes", move || write_frames(writer, &filtered, &reports)));
    let writing = match begun {
        Ok(writing) => writing,
        Err(error) => return (pipeline.summary, Err(error)),
    };
    let mut result = pipeline.work(&events, progress);
    let Pipeline { mut summary, to_writer, mut has_ended, waiting, .. } = pipeline;
    let mut is_left = !waiting.is_empty();
    // The writer writes what it has, and ends.
    drop(to_writer);
    if !matches!(result, Err(Error::Write { .. })) {
        let _ = writing.join();
        for event in events.try_iter() {
            match event {
                Event::Written(_, took) => {
                    summary.frames += 1;
                    summary.writing += took;
                    progress(summary.frames);
                }
                Event::WriteFailed(error) => result = Err(error),
                Event::Read(..) => is_left = true,
                Event::End(end) => has_ended = end.is_ok(),
                Event::Filtered(..) => {}
            }
        }
    }
    is_left |= !has_ended || result.is_err();
    summary.is_interrupted = is_left && interrupt.is_requested();
    (summary, result)
}

impl<'a, T: Sample> Pipeline<'a, T> {
    fn new(
        pool: &'a Pool,
        settings: &'a Settings,
        layout: Layout,
        interrupt: &'a Interrupt,
        reports: Sender<Event<T>>,
        (to_reader, to_writer): (Sender<Picture<T>>, Sender<Picture<T>>),
    ) -> Pipeline<'a, T> {
        Pipeline {
            pool,
            settings,
            layout,
            interrupt,
            reports,
            to_reader,
            to_writer,
            empty: Vec::new(),
            waiting: VecDeque::new(),
            started: VecDeque::new(),
            finished: BTreeMap::new(),
            in_flight: 0,
            next_read: 1,
            next_write: 1,
            has_ended: false,
            failure: None,
            busy_since: None,
            summary: Summary::default(),
        }
    }

    /// Handles events until all is filtered, or nothing more shall be.
    fn work(&mut self, events: &Receiver<Event<T>>, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let mut end = Ok(());
        while !self.is_over() {
            match events.recv_timeout(POLL) {
                Ok(Event::Read(picture, took)) => self.take_in(picture, took),
                Ok(Event::End(result)) => (self.has_ended, end) = (true, result),
                Ok(Event::Filtered(number, parameters, result)) => {
                    self.in_flight -= 1;
                    let result = result.and_then(|chunks| {
                        let planes = frames::planes(chunks, &self.layout.planes())?;
                        Ok(Picture { parameters, planes })
                    });
                    self.finish(number, result);
                }
                Ok(Event::Written(picture, took)) => {
                    self.empty.push(picture);
                    self.summary.frames += 1;
                    self.summary.writing += took;
                    progress(self.summary.frames);
                }
                Ok(Event::WriteFailed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this thread has a sender"),
            }
            self.start_frames();
        }
        match self.failure.take() {
            Some((frame, source)) => Err(Error::Filter { frame, source }),
            None => end,
        }
    }

    /// Whether no more frames shall be filtered.
    fn is_ending(&self) -> bool {
        self.failure.is_some() || self.interrupt.is_requested()
    }

    fn is_over(&self) -> bool {
        let has_more = !self.has_ended || !self.waiting.is_empty();
        self.in_flight == 0 && (self.is_ending() || !has_more)
    }

    /// Queues a frame that was read.
    fn take_in(&mut self, picture: Picture<T>, took: Duration) {
        let Picture { parameters, planes } = picture;
        let planes = planes.into_iter().map(brigade::SharedArray::freeze).collect();
        let number = self.next_read;
        self.next_read += 1;
        self.summary.reading += took;
        self.waiting.push_back(Frame { number, parameters, planes, is_done: false });
    }

    /// Gives frames to the workers, as many as there is room for.
    fn start_frames(&mut self) {
        while !self.is_ending()
            && self.in_flight < self.settings.in_flight()
            && !self.empty.is_empty()
            && let Some(frame) = self.waiting.pop_front()
            && let Some(out) = self.empty.pop()
        {
            let number = frame.number;
            self.busy_since.get_or_insert_with(Instant::now);
            self.started.push_back(frame);
            match self.settings.mode {
                Mode::Bands { rows } => {
                    let result = self.filter_in_bands(rows, out);
                    self.finish(number, result);
                }
                Mode::Frames { .. } => match self.submit(out) {
                    Ok(()) => self.in_flight += 1,
                    Err(error) => self.finish(number, Err(error)),
                },
            }
        }
    }

    /// The planes of the frame that was started last, and of the one before.
    fn last_two(&self) -> [&[Frozen<T>]; 2] {
        let mut newest = self.started.iter().rev().map(|frame| frame.planes.as_slice());
        let now = newest.next().unwrap_or_default();
        [now, newest.next().unwrap_or(now)]
    }

    /// Filters the frame that was started last.
    fn filter_in_bands(&self, rows: usize, mut out: Picture<T>) -> brigade::Result<Picture<T>> {
        let Settings { filter, retries, .. } = self.settings;
        let cut = Cut { rows, retries: *retries };
        let planes = &mut out.planes;
        bands::filter(self.pool, filter, &self.layout, cut, self.last_two(), planes)?;
        out.parameters = self.started.back().map_or_else(Vec::new, |f| f.parameters.clone());
        Ok(out)
    }

    /// Submits the frame that was started last.
    fn submit(&self, out: Picture<T>) -> brigade::Result<()> {
        let Settings { filter, retries, .. } = self.settings;
        let task = frames::submit(self.pool, filter, *retries, self.last_two(), out.planes)?;
        let reports = self.reports.clone();
        let (number, parameters) =
            self.started.back().map_or((0, Vec::new()), |f| (f.number, f.parameters.clone()));
        task.then(move |result| {
            // After an error nobody receives it.
            let _ = reports.send(Event::Filtered(number, parameters, result));
        })
    }

    /// Passes on what is filtered, in order, and empties frames that no filter reads any more.
    fn finish(&mut self, number: u64, result: brigade::Result<Picture<T>>) {
        match result {
            Ok(picture) => drop(self.finished.insert(number, picture)),
            Err(error) if self.failure.as_ref().is_none_or(|(first, _)| number < *first) => {
                self.failure = Some((number, error));
            }
            Err(_) => {}
        }
        while let Some(picture) = self.finished.remove(&self.next_write) {
            self.next_write += 1;
            // If the writer has ended, its event is on the way.
            let _ = self.to_writer.send(picture);
        }
        if let Some(frame) = self.started.iter_mut().find(|frame| frame.number == number) {
            frame.is_done = true;
        }
        while self.started.len() >= 2 && self.started.iter().take(2).all(|frame| frame.is_done) {
            self.started.pop_front().into_iter().for_each(|frame| self.empty_frame(frame));
        }
        if self.started.iter().all(|frame| frame.is_done)
            && let Some(since) = self.busy_since.take()
        {
            self.summary.filtering += since.elapsed();
        }
    }

    /// Gives a frame back to the reader.
    fn empty_frame(&mut self, frame: Frame<T>) {
        let planes = frame.planes.into_iter().map(Frozen::thaw).collect::<brigade::Result<_>>();
        match planes {
            // If the reader has ended, nobody needs it.
            Ok(planes) => drop(self.to_reader.send(Picture { parameters: Vec::new(), planes })),
            Err(error) => {
                self.failure.get_or_insert((self.next_write, error));
            }
        }
    }
}

fn start_thread(task: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(format!("video {task}"));
    builder.spawn(run).map_err(|source| Error::Thread { task, source })
}

/// The reader: fills frames until the input ends. It ends earlier only when no frame comes back.
fn read_frames<T: Sample, R: Read>(
    mut reader: FrameReader<R>,
    empty: &Receiver<Picture<T>>,
    reports: &Sender<Event<T>>,
) {
    for mut picture in empty {
        let since = Instant::now();
        let report = match reader.read(&mut picture) {
            Ok(true) => Event::Read(picture, since.elapsed()),
            Ok(false) => Event::End(Ok(())),
            Err(error) => Event::End(Err(error)),
        };
        let is_last = matches!(report, Event::End(_));
        if reports.send(report).is_err() || is_last {
            return;
        }
    }
}

/// The writer: writes frames until no more come, or the output fails.
fn write_frames<T: Sample>(
    mut writer: FrameWriter,
    filtered: &Receiver<Picture<T>>,
    reports: &Sender<Event<T>>,
) {
    for picture in filtered {
        let since = Instant::now();
        let report = match writer.write(&picture) {
            Ok(()) => Event::Written(picture, since.elapsed()),
            Err(error) => Event::WriteFailed(error),
        };
        let is_last = matches!(report, Event::WriteFailed(_));
        if reports.send(report).is_err() || is_last {
            return;
        }
    }
}
