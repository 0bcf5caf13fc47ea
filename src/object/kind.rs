//! The primitives that an object memory can hold.

/// The kind of primitive in an object memory; its number is in the header.
///
/// A number is never reused for another primitive: programs of different versions may use the same
/// named memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue = 1,
    JoinableQueue = 2,
    Pipe = 4,
    Lock = 16,
    ReentrantLock = 17,
    RwLock = 18,
    Semaphore = 19,
    // 20 was a bounded semaphore, which is a `Semaphore` now.
    Condvar = 21,
    Event = 22,
    Barrier = 23,
    Once = 24,
    Value = 25,
    SharedList = 26,
}

const ALL: [Kind; 13] = [
    Kind::Queue,
    Kind::JoinableQueue,
    Kind::Pipe,
    Kind::Lock,
    Kind::ReentrantLock,
    Kind::RwLock,
    Kind::Semaphore,
    Kind::Condvar,
    Kind::Event,
    Kind::Barrier,
    Kind::Once,
    Kind::Value,
    Kind::SharedList,
];

impl Kind {
    /// The number in a header.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// The primitive of this number.
    pub(crate) fn from_number(number: u32) -> Option<Kind> {
        ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Queue => "queue",
            Kind::JoinableQueue => "joinable queue",
            Kind::Pipe => "pipe",
            Kind::Lock => "lock",
            Kind::ReentrantLock => "reentrant lock",
            Kind::RwLock => "reader-writer lock",
            Kind::Semaphore => "semaphore",
            Kind::Condvar => "condition variable",
            Kind::Event => "event",
            Kind::Barrier => "barrier",
            Kind::Once => "once",
            Kind::Value => "value",
            Kind::SharedList => "shared list",
        }
    }
}

impl Kind {
    /// Its name for people, with an article.
    pub(crate) fn with_article(self) -> String {
        let name = self.name();
        let article = if name.starts_with(['a', 'e', 'i']) { "an" } else { "a" };
        format!("{article} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_number_and_no_other_number_is_one() {
        for kind in ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        let known = (0..100).filter_map(Kind::from_number).count();
        assert_eq!(known, ALL.len());
    }
}
