//! Finds where records begin, in blocks that may begin within quotes.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memrchr};
use serde::{Deserialize, Serialize};

/// The characters that structure a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Between two fields.
    pub delimiter: u8,
    /// At the beginning of a line that is left out.
    pub comment: Option<u8>,
}

/// Where a position is. A quote opens a quoted field only as the first byte of a field, as in
/// `csv-core`; elsewhere it is a character as any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// Outside of quotes.
    Outside,
    /// In a quoted field.
    Quoted,
    /// Behind a quote in a quoted field: another one makes both a character, else it was the end.
    Pending,
    /// In a line that is a comment.
    Comment,
}

pub(crate) const STATES: [State; 4] =
    [State::Outside, State::Quoted, State::Pending, State::Comment];

impl Format {
    fn begins_record(text: &[u8], at: usize) -> bool {
        at == 0 || text[at - 1] == b'\n'
    }

    fn begins_comment(self, text: &[u8], at: usize) -> bool {
        Format::begins_record(text, at)
            && self.comment.is_some()
            && text.get(at).copied() == self.comment
    }

    fn begins_field(self, text: &[u8], at: usize) -> bool {
        Format::begins_record(text, at) || text[at - 1] == self.delimiter
    }

    /// Goes on from `at` in `state`, until `records` newlines outside of quotes were passed, or to
    /// `end`. Returns where it is, its state, and how many were passed.
    pub(crate) fn advance(
        self,
        text: &[u8],
        (mut at, mut state): (usize, State),
        end: usize,
        records: usize,
    ) -> (usize, State, usize) {
        let mut passed = 0;
        while at < end && passed < records {
            let rest = &text[at..end];
            match state {
                State::Outside if self.begins_comment(text, at) => state = State::Comment,
                State::Outside => match memchr2(b'\n', b'"', rest) {
                    None => at = end,
                    Some(found) => {
                        let found = at + found;
                        at = found + 1;
                        if text[found] == b'\n' {
                            passed += 1;
                        } else if self.begins_field(text, found) {
                            state = State::Quoted;
                        }
                    }
                },
                State::Comment => match memchr(b'\n', rest) {
                    None => at = end,
                    Some(found) => {
                        (at, state) = (at + found + 1, State::Outside);
                        passed += 1;
                    }
                },
                State::Quoted => match memchr(b'"', rest) {
                    None => at = end,
                    Some(found) => (at, state) = (at + found + 1, State::Pending),
                },
                State::Pending if rest[0] == b'"' => (at, state) = (at + 1, State::Quoted),
                State::Pending => state = State::Outside,
            }
        }
        (at, state, passed)
    }

    /// Describes the block `range` of `text`.
    pub(crate) fn scan(self, text: &[u8], range: Range<usize>) -> Block {
        let (start, end) = (range.start, range.end);
        let block = &text[range];
        let lines = memchr_iter(b'\n', block).count();
        if memchr(b'"', block).is_some() {
            let exits = STATES.map(|state| {
                let (_, state, records) = self.advance(text, (start, state), end, usize::MAX);
                Exit { state, records }
            });
            return Block { lines, exits };
        }
        // Without quotes only the last line matters.
        let last = memrchr(b'\n', block).map(|at| start + at + 1);
        let in_last_line = |before| match last {
            Some(last) if last < end && self.begins_comment(text, last) => State::Comment,
            Some(_) => State::Outside,
            None if self.begins_comment(text, start) => State::Comment,
            None => before,
        };
        let outside = Exit { state: in_last_line(State::Outside), records: lines };
        let comment = Exit { state: in_last_line(State::Comment), records: lines };
        let quoted = Exit { state: State::Quoted, records: 0 };
        Block { lines, exits: [outside, quoted, outside, comment] }
    }
}

/// Where a block ends that begins in a given state, and the newlines outside of quotes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    state: State,
    records: usize,
}

/// What is known about a block without the blocks before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// All newlines.
    lines: usize,
    /// For each of [`STATES`].
    exits: [Exit; 4],
}

/// Where a group of records begins: behind `skip` newlines outside of quotes, counted from `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) at: usize,
    pub(crate) state: State,
    pub(crate) skip: usize,
    /// The newlines before `at`.
    pub(crate) lines: usize,
}

/// The groups of records of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) starts: Vec<Start>,
    /// The records of each group but the last: comments and empty lines count.
    pub(crate) records: usize,
    /// Whether the text ends in a quoted field, and the newlines before the block where the last
    /// one begins at the earliest.
    pub(crate) open_quote: Option<usize>,
}

/// Divides a text of `len` bytes into groups of about `group_bytes`. `blocks` describe its blocks
/// of `block_bytes`.
pub(crate) fn groups(
    blocks: &[Block],
    len: usize,
    block_bytes: usize,
    group_bytes: usize,
) -> Groups {
    let (mut at, mut records, mut open) = (Start::FIRST, 0, 0);
    // Each block's start, and the records before it.
    let mut begins = Vec::with_capacity(blocks.len());
    for block in blocks {
        begins.push((at, records));
        let state = STATES.iter().position(|&state| state == at.state).expect("one of all states");
        let exit = block.exits[state];
        if exit.state == State::Quoted && at.state != State::Quoted {
            open = at.lines;
        }
        records += exit.records;
        at = Start {
            at: at.at + block_bytes,
            state: exit.state,
            skip: 0,
            lines: at.lines + block.lines,
        };
    }
    // The last record may have no newline.
    let all = if len == 0 { 0 } else { records + 1 };
    let wanted = len.div_ceil(group_bytes).max(1);
    let per_group = all.div_ceil(wanted).max(1);
    let start = |group: usize| {
        let first = group * per_group;
        // The last block that begins before the newline in front of the record.
        let block = begins.partition_point(|&(_, before)| before < first).saturating_sub(1);
        let (start, before) = begins[block];
        Start { skip: first - before, ..start }
    };
    let starts = (0..all.div_ceil(per_group)).map(start).collect();
    let open_quote = (at.state == State::Quoted).then_some(open);
    Groups { starts, records: per_group, open_quote }
}

impl Start {
    const FIRST: Start = Start { at: 0, state: State::Outside, skip: 0, lines: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The positions behind the newlines outside of quotes, byte by byte.
    fn oracle(text: &[u8]) -> Vec<usize> {
        let (mut is_quoted, mut is_comment, mut found) = (false, false, vec![]);
        let mut at = 0;
        while at < text.len() {
            let begins_record = at == 0 || found.last() == Some(&at);
            if begins_record {
                is_comment = text[at] == b'#';
            }
            match text[at] {
                b'\n' if !is_quoted => {
                    found.push(at + 1);
                    is_comment = false;
                }
                b'"' if is_quoted && text.get(at + 1) == Some(&b'"') => at += 1,
                b'"' if is_quoted => is_quoted = false,
                b'"' if !is_comment && (begins_record || text[at - 1] == b',') => is_quoted = true,
                _ => {}
            }
            at += 1;
        }
        found
    }

    #[test]
    fn groups_begin_at_records_however_the_text_is_cut() {
        let format = Format { delimiter: b',', comment: Some(b'#') };
        let mut state = 5u32;
        for round in 0..4000 {
            let len = round % 60;
            let text: Vec<u8> = (0..len)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b"\"\"\"\n\n,,#a1"[(state >> 16) as usize % 10]
                })
                .collect();
            let expected: Vec<usize> = [0].into_iter().chain(oracle(&text)).collect();
            for block_bytes in [1, 2, 3, 7, 64] {
                let block =
                    |start: usize| format.scan(&text, start..(start + block_bytes).min(text.len()));
                let blocks: Vec<Block> = (0..text.len()).step_by(block_bytes).map(block).collect();
                let groups = groups(&blocks, text.len(), block_bytes, 9);
                let found = groups.starts.iter().map(|start| {
                    let from = (start.at, start.state);
                    let (at, state, passed) = format.advance(&text, from, text.len(), start.skip);
                    assert_eq!((state, passed), (State::Outside, start.skip), "{text:?}");
                    at
                });
                let found: Vec<usize> = found.collect();
                let starts: Vec<usize> = match text.len() {
                    0 => vec![],
                    _ => expected.iter().copied().step_by(groups.records).collect(),
                };
                assert_eq!(found, starts, "{:?} {block_bytes}", String::from_utf8_lossy(&text));
            }
        }
    }
}
