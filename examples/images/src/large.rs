//! A picture that all workers see, and loops over its rows.

use brigade::{Boundary, Pool, Result, SharedArray, Whole};
use serde::{Deserialize, Serialize};

use crate::blur::rounded;
use crate::light;
use crate::picture::{self, Window};
use crate::report::Stop;

/// Rows of a chunk of a loop. The same for any number of workers, so that the result is too.
const BAND_ROWS: usize = 32;
/// What Sobel's weights make of a step from 0 to 1.
const STEP: f32 = 4.0;

/// Samples of a picture in linear light, in memory that all workers see.
#[derive(Debug)]
pub(crate) struct Large {
    /// The number of columns.
    pub(crate) width: u32,
    /// As in [`Picture`](picture::Picture).
    pub(crate) channels: usize,
    /// A row for each row of pixels.
    pub(crate) samples: SharedArray<u16>,
}

/// What a worker needs to know to make some rows of a smaller picture.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Scaling {
    source: (u32, u32, usize),
    /// The part of the source that is used, from its upper left corner.
    part: (f64, f64),
    target: (u32, u32),
}

impl Large {
    /// A picture whose samples are not written yet.
    pub(crate) fn new(pool: &Pool, size: (u32, u32), channels: usize) -> Result<Large> {
        let (width, height) = size;
        let samples = pool.for_overwrite([height as usize, width as usize * channels])?;
        Ok(Large { width, channels, samples })
    }

    fn height(&self) -> u32 {
        u32::try_from(self.samples.shape().dims()[0]).unwrap_or(u32::MAX)
    }

    /// The picture in another size. Each chunk of rows reads the rows that its filter reaches.
    pub(crate) fn resized(
        self,
        pool: &Pool,
        part: (f64, f64),
        target: (u32, u32),
    ) -> std::result::Result<Large, Stop> {
        let source = (self.width, self.height(), self.channels);
        if (source.0, source.1) == target {
            return Ok(self);
        }
        let mut out = Large::new(pool, target, self.channels)?;
        pool.par_rows_mut(&mut out.samples, BAND_ROWS)
            .zip(Whole(&self.samples))
            .with(Scaling { source, part, target })
            .try_for_each(|scaling, (out, source)| {
                let Scaling { part: (width, height), target, .. } = *scaling;
                let (first, rows) = (out.first() as f64, out.len());
                let step = height / f64::from(target.1);
                let window = Window { top: first * step, width, height: rows as f64 * step };
                let target = (target.0, u32::try_from(rows).unwrap_or(u32::MAX));
                picture::resize(source, scaling.source, window, target, out.into_slice())
                    .map_err(|e| e.to_string())
            })?
            .map_err(Stop::Failure)?;
        Ok(out)
    }

    /// A picture of `channels` made row by row.
    fn mapped(
        &self,
        pool: &Pool,
        channels: usize,
        function: impl Fn(&[u16], usize, &mut [u16]) + Copy + Send + 'static,
    ) -> Result<Large> {
        let mut out = Large::new(pool, (self.width, self.height()), channels)?;
        pool.par_rows_mut(&mut out.samples, BAND_ROWS)
            .zip(&self.samples)
            .with(self.channels)
            .for_each(move |&channels, (out, source)| {
                function(source.as_slice(), channels, out.into_slice());
            })?;
        Ok(out)
    }

    /// The luminance.
    pub(crate) fn grey(self, pool: &Pool) -> Result<Large> {
        match self.channels {
            1 | 2 => Ok(self),
            channels => self.mapped(pool, channels - 2, picture::grey),
        }
    }

    /// The picture over a white ground.
    pub(crate) fn over_white(self, pool: &Pool) -> Result<Large> {
        match self.channels {
            1 | 3 => Ok(self),
            channels => self.mapped(pool, channels - 1, picture::over_white),
        }
    }

    /// One channel, as `function` has it.
    fn plane(
        &self,
        pool: &Pool,
        channel: usize,
        function: impl Fn(u16) -> f32 + Copy + Send + 'static,
    ) -> Result<SharedArray<f32>> {
        let mut plane = pool.for_overwrite([self.height() as usize, self.width as usize])?;
        pool.par_rows_mut(&mut plane, BAND_ROWS)
            .zip(&self.samples)
            .with((channel, self.channels))
            .for_each(move |&(channel, channels), (plane, rows)| {
                let pixels = rows.as_slice().chunks_exact(channels);
                for (out, pixel) in plane.into_slice().iter_mut().zip(pixels) {
                    *out = function(pixel[channel]);
                }
            })?;
        Ok(plane)
    }

    /// The picture blurred by a Gaussian, channel by channel.
    pub(crate) fn blurred(mut self, pool: &Pool, sigma: f32) -> Result<Large> {
        for channel in 0..self.channels {
            let plane = self.plane(pool, channel, f32::from)?;
            let blurred = pool.gaussian(&plane, sigma.into(), Boundary::Reflect)?;
            pool.par_rows_mut(&mut self.samples, BAND_ROWS)
                .zip(&blurred)
                .with((channel, self.channels))
                .for_each(|&(channel, channels), (out, blurred)| {
                    let pixels = out.into_slice().chunks_exact_mut(channels);
                    for (pixel, &value) in pixels.zip(blurred.as_slice()) {
                        pixel[channel] = rounded(value);
                    }
                })?;
        }
        Ok(self)
    }

    /// The samples in sRGB with 8 bits.
    pub(crate) fn to_bytes(&self, pool: &Pool) -> Result<SharedArray<u8>> {
        let mut bytes = pool.for_overwrite(self.samples.shape())?;
        pool.par_rows_mut(&mut bytes, BAND_ROWS).zip(&self.samples).with(self.channels).for_each(
            |&channels, (out, rows)| {
                picture::from_linear(rows.as_slice(), channels, out.into_slice());
            },
        )?;
        Ok(bytes)
    }

    /// The magnitude of the gradient of the first channel, in sRGB with 8 bits: 255 for a step from
    /// black to white.
    pub(crate) fn edges(&self, pool: &Pool) -> Result<SharedArray<u8>> {
        let plane = self.plane(pool, 0, |value| f32::from(light::to_8()[usize::from(value)]))?;
        let gradient = pool.sobel_magnitude(&plane, Boundary::Reflect)?;
        let mut bytes = pool.for_overwrite(plane.shape())?;
        pool.par_rows_mut(&mut bytes, BAND_ROWS).zip(&gradient).for_each(|(out, gradient)| {
            for (out, &value) in out.into_slice().iter_mut().zip(gradient.as_slice()) {
                *out = u8::try_from(rounded(value / STEP)).unwrap_or(u8::MAX);
            }
        })?;
        Ok(bytes)
    }
}
