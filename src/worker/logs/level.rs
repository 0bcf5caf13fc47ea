//! Which log records travel from a worker to its host.

use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

/// The least severe log records that workers send to the host, for
/// [`PoolBuilder::logs`](crate::PoolBuilder::logs).
///
/// # Examples
///
/// ```
/// use brigade::{LogLevel, Pool};
/// let pool = Pool::builder().workers(1).logs(LogLevel::Warn).build()?;
/// // A call below the level costs one load.
/// pool.submit(|()| tracing::info!("stays in the worker"), ())?.join()?;
/// assert!(LogLevel::Off < LogLevel::Error && LogLevel::Error < LogLevel::Trace);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum LogLevel {
    /// None.
    Off,
    /// Errors.
    Error,
    /// Warnings and errors.
    Warn,
    /// Also information.
    Info,
    /// Also debug records.
    Debug,
    /// All.
    #[default]
    Trace,
}

impl LogLevel {
    const ALL: [LogLevel; 6] = [
        LogLevel::Off,
        LogLevel::Error,
        LogLevel::Warn,
        LogLevel::Info,
        LogLevel::Debug,
        LogLevel::Trace,
    ];

    /// The level that was written as this byte.
    pub(super) fn from_byte(byte: u8) -> Option<LogLevel> {
        LogLevel::ALL.get(usize::from(byte)).copied()
    }

    /// The level with this number; `Trace` beyond the last.
    fn from_number(number: u32) -> LogLevel {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        LogLevel::ALL.get(at).copied().unwrap_or_default()
    }
}

/// The levels of both facades in this process, as these keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostLevels {
    tracing: LevelFilter,
    log: log::LevelFilter,
}

impl HostLevels {
    /// Costs two loads.
    #[inline]
    pub(crate) fn current() -> HostLevels {
        HostLevels { tracing: LevelFilter::current(), log: log::max_level() }
    }

    /// The host's levels, at most `limit`. A host that uses only one of the two facades gets the
    /// records of both.
    pub(crate) fn limited(self, limit: LogLevel) -> Levels {
        let tracing = of_filter(self.tracing);
        let log = LogLevel::from_number(self.log as u32);
        let or = |level, other| if level == LogLevel::Off { other } else { level };
        Levels { tracing: or(tracing, log).min(limit), log: or(log, tracing).min(limit) }
    }
}

/// The levels of both facades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) tracing: LogLevel,
    pub(crate) log: LogLevel,
}

impl Levels {
    pub(crate) fn pack(self) -> u32 {
        self.tracing as u32 | (self.log as u32) << 8
    }

    pub(crate) fn unpack(word: u32) -> Levels {
        let level = |shift: u32| LogLevel::from_number(word >> shift & 0xff);
        Levels { tracing: level(0), log: level(8) }
    }
}

fn of_filter(filter: LevelFilter) -> LogLevel {
    filter.into_level().map_or(LogLevel::Off, of_level)
}

/// The level of a record of `tracing`.
pub(super) fn of_level(level: tracing::Level) -> LogLevel {
    match level {
        tracing::Level::ERROR => LogLevel::Error,
        tracing::Level::WARN => LogLevel::Warn,
        tracing::Level::INFO => LogLevel::Info,
        tracing::Level::DEBUG => LogLevel::Debug,
        tracing::Level::TRACE => LogLevel::Trace,
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> LevelFilter {
        match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> log::LevelFilter {
        match level {
            LogLevel::Off => log::LevelFilter::Off,
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_survive_packing_and_any_word_is_a_level() {
        for tracing in LogLevel::ALL {
            for log in LogLevel::ALL {
                let levels = Levels { tracing, log };
                assert_eq!(Levels::unpack(levels.pack()), levels);
            }
        }
        assert_eq!(Levels::unpack(u32::MAX).tracing, LogLevel::Trace);
    }
}
