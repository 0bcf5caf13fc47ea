//! JSON objects of one line, written and read.
//!
//! The journal needs flat objects of texts and numbers. A reader of JSON as a dependency of the
//! library would be larger than this file.

use std::fmt::Write;

use crate::json_text::JsonText;

/// How deep values may be nested.
const DEPTH_MAX: usize = 32;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JsonValue<'a> {
    Null,
    Text(String),
    /// As it is written.
    Number(&'a str),
    /// `true`, `false`, an array or an object, whose contents were checked and skipped.
    Other,
}

/// Appends `text` as a JSON string.
pub(super) fn push_text(out: &mut String, text: &str) {
    push_plain(out, JsonText(text));
}

/// Appends what is written as it is: a number, or the marks between values.
pub(super) fn push_plain(out: &mut String, plain: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{plain}");
}

/// The fields of the object that fills `line`; `None` if `line` is not one JSON object.
pub(super) fn fields(line: &str) -> Option<Vec<(String, JsonValue<'_>)>> {
    let mut reader = Reader { line, at: 0 };
    let mut found = Vec::new();
    reader.skip_space();
    reader.members(|reader, name| {
        found.push((name, reader.value(DEPTH_MAX)?));
        Some(())
    })?;
    reader.skip_space();
    (reader.at == line.len()).then_some(found)
}

struct Reader<'a> {
    line: &'a str,
    /// The position of the next byte; always at the beginning of a character.
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes `text`, if it is next.
    fn pass(&mut self, text: &str) -> Option<()> {
        self.line[self.at..].starts_with(text).then(|| self.at += text.len())
    }

    /// Passes an object; `member` reads the value behind each name.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Reader<'a>, String) -> Option<()>,
    ) -> Option<()> {
        self.items("{", "}", |reader| {
            let name = reader.text()?;
            reader.skip_space();
            reader.pass(":")?;
            reader.skip_space();
            member(reader, name)
        })
    }

    /// Passes what stands between `open` and `close`, with commas between.
    fn items(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Reader<'a>) -> Option<()>,
    ) -> Option<()> {
        self.pass(open)?;
        self.skip_space();
        if self.pass(close).is_some() {
            return Some(());
        }
        loop {
            self.skip_space();
            item(self)?;
            self.skip_space();
            if self.pass(close).is_some() {
                return Some(());
            }
            self.pass(",")?;
        }
    }

    fn value(&mut self, depth: usize) -> Option<JsonValue<'a>> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.text().map(JsonValue::Text),
            b'{' => {
                self.members(|reader, _| reader.value(depth).map(drop))?;
                Some(JsonValue::Other)
            }
            b'[' => {
                self.items("[", "]", |reader| reader.value(depth).map(drop))?;
                Some(JsonValue::Other)
            }
            b'n' => self.pass("null").map(|()| JsonValue::Null),
            b't' => self.pass("true").map(|()| JsonValue::Other),
            b'f' => self.pass("false").map(|()| JsonValue::Other),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<JsonValue<'a>> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let rest = &self.line[self.at..];
        let len = rest.bytes().take_while(|byte| is_part(byte)).count();
        let number = &rest[..len];
        // This accepts a little more than JSON does, `1.` for example.
        number.parse::<f64>().ok()?;
        self.at += len;
        Some(JsonValue::Number(number))
    }

    fn text(&mut self) -> Option<String> {
        self.pass("\"")?;
        let mut text = String::new();
        loop {
            let rest = &self.line[self.at..];
            let plain = rest.find(['"', '\\'])?;
            if rest[..plain].bytes().any(|byte| byte < b' ') {
                return None;
            }
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest.as_bytes()[plain] == b'"' {
                return Some(text);
            }
            text.push(self.escaped()?);
        }
    }

    /// The character that an escape stands for, behind its backslash.
    fn escaped(&mut self) -> Option<char> {
        let kind = self.peek().filter(u8::is_ascii)?;
        self.at += 1;
        Some(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                self.pass("\\u")?;
                let low = self.hex()?.checked_sub(0xdc00).filter(|&low| low < 0x400)?;
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + low);
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.line.get(self.at..self.at + 4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u32::from_str_radix(digits, 16).ok())??;
        self.at += 4;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reads(line: &str) -> bool {
        fields(line).is_some()
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for line in
            ["", "{", "}", "[]", "null", "{}x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}"]
        {
            assert!(!reads(line), "{line}");
        }
        for line in [
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":nul}",
            "{\"a\":\"\n\"}",
        ] {
            assert!(!reads(line), "{line}");
        }
        assert!(reads(" { } ") && reads("{\"a\":[1,{\"b\":[true,null]}],\"c\":-1.5e3}"));
    }

    #[test]
    fn values_that_are_nested_too_deep_are_refused() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(reads(&nested(DEPTH_MAX)));
        assert!(!reads(&nested(DEPTH_MAX + 1)));
        assert!(!reads(&nested(1 << 20)));
    }

    proptest! {
        #[test]
        fn texts_are_those_of_another_library(text in any::<String>()) {
            let mut out = String::new();
            push_text(&mut out, &text);
            prop_assert_eq!(&serde_json::from_str::<String>(&out).unwrap(), &text);
            prop_assert!(!out.chars().any(char::is_control));
            let theirs = serde_json::json!({ "a": text, "b": 7 }).to_string();
            let (a, b) = (JsonValue::Text(text), JsonValue::Number("7"));
            let expected = vec![("a".to_owned(), a), ("b".to_owned(), b)];
            prop_assert_eq!(fields(&theirs), Some(expected));
        }

        #[test]
        fn no_line_makes_the_reader_panic(line in "[\\{\\}\\[\\]\",:\\\\u0-9a-f\u{e9} ]{0,40}") {
            let _ = fields(&line);
        }
    }
}
