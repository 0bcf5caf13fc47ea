//! What fuzzing attacks: readers of bytes that others wrote.
//!
//! Each function takes bytes that may be anything and panics if a reader does what it must not:
//! read outside, return a wrong length, or fail to return. `fuzz/` runs them for as long as one
//! likes; the tests here replay its corpus, and a bounded run of mutations of it.

/// The header of a `.npy` file or region.
pub fn header(bytes: &[u8]) {
    crate::region::fuzz_entry::header(bytes);
}

/// A name of a region.
pub fn name(bytes: &[u8]) {
    crate::region::fuzz_entry::name(bytes);
}

/// The words of a ring, between pushes and pops.
pub fn ring(bytes: &[u8]) {
    crate::sync::hostile::ring(bytes);
}

/// Descriptors of tasks and results, and the messages of the fork server.
pub fn task(bytes: &[u8]) {
    crate::worker::hostile::task(bytes);
}

/// A message, argument or result, as values of types that nest, or that take no bytes.
pub fn value(bytes: &[u8]) {
    crate::array::hostile::value(bytes);
}

/// Header, owner table and directory of an object memory.
pub fn object(bytes: &[u8]) {
    crate::object::hostile::object(bytes);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// Mutations of the corpus that each target is given.
    const MUTATIONS: usize = 3000;

    /// The inputs of a target, in the order of their names.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let entries = fs::read_dir(&directory).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// Numbers that are the same in each run: xorshift.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % end.max(1) as u64).unwrap()
        }
    }

    /// Changes an input in one way: a bit, a word that is often wrong, a cut, a part of another.
    fn mutate(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
        const WORDS: [u64; 8] =
            [0, 1, 7, 0x7fff_ffff, 0xffff_ffff, 1 << 40, i64::MAX as u64, u64::MAX];
        let at = numbers.below(input.len());
        match numbers.next() % 5 {
            0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
            1 if !input.is_empty() => input[at] = numbers.next().to_le_bytes()[0],
            2 => {
                let word = WORDS[numbers.below(WORDS.len())].to_le_bytes();
                let end = input.len().min(at + 8);
                input[at..end].copy_from_slice(&word[..end - at]);
            }
            3 => input.truncate(at),
            _ => {
                let from = numbers.below(other.len());
                let end = other.len().min(from + numbers.below(16));
                input.splice(at..at, other[from..end].iter().copied());
            }
        }
    }

    fn attack(target: &str, run: impl Fn(&[u8])) {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "fuzz/corpus/{target} has no input");
        corpus.iter().for_each(|input| run(input));
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for _ in 0..MUTATIONS {
            let mut input = corpus[numbers.below(corpus.len())].clone();
            for _ in 0..=numbers.below(4) {
                let other = &corpus[numbers.below(corpus.len())];
                mutate(&mut input, other, &mut numbers);
            }
            run(&input);
        }
    }

    #[test]
    fn any_header_is_refused_or_describes_what_is_there() {
        attack("header", super::header);
    }

    #[test]
    fn any_name_is_refused_or_stays_in_the_directory() {
        attack("name", super::name);
    }

    #[test]
    fn any_ring_answers_and_returns_no_message_longer_than_itself() {
        attack("ring", super::ring);
    }

    #[test]
    fn any_object_memory_is_refused_or_read_within_its_bytes() {
        attack("object", super::object);
    }

    #[test]
    fn any_value_is_refused_or_decoded_within_bounds_and_then_encoded_again() {
        attack("value", super::value);
    }

    #[test]
    fn any_descriptor_is_refused_or_read_by_its_length() {
        attack("task", super::task);
    }
}
