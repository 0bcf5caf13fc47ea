//! Rust sources as text: comments and literals blanked, functions found.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file of this repository.
pub(crate) struct Source {
    /// The path from the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with every comment and literal blanked, line by line.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        Source { path: path.into(), code: blanked(&text), text }
    }

    /// A function of more than one line: where it starts, from 1, and how many lines it has.
    pub(crate) fn functions(&self) -> Vec<(usize, usize)> {
        let tokens = tokens(&self.code);
        let mut found = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            let named = tokens.get(at + 1).is_some_and(|next| is_word(next.text));
            if token.text != "fn" || !named {
                continue;
            }
            let rest = &tokens[at..];
            let body = rest.iter().position(|t| matches!(t.text, "{" | ";"));
            if let Some(body) = body.filter(|&body| rest[body].text == "{") {
                let end = closing(rest, body).expect("braces that match");
                found.push((token.line, rest[end].line - token.line + 1));
            }
        }
        found
    }
}

/// Every Rust source under `directories` of the repository, in order of path.
pub(crate) fn sources(directories: &[&str]) -> Vec<Source> {
    let mut found = files(directories, "rs")
        .into_iter()
        .map(|path| Source::new(path.clone(), fs::read_to_string(root().join(path)).unwrap()))
        .collect::<Vec<_>>();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 3, "no sources under {directories:?}");
    found
}

/// Paths of the files whose names end in `.extension`, build output left out.
pub(crate) fn files(directories: &[&str], extension: &str) -> Vec<String> {
    let mut left: Vec<PathBuf> = directories.iter().map(|name| root().join(name)).collect();
    let mut found = Vec::new();
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                left.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A word or one character of punctuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric())
}

/// The words and punctuation of blanked code.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = if is_word(rest) {
                rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            found.push(Token { text: &rest[..len], line });
            rest = rest[len..].trim_start();
        }
    }
    found
}

/// The position at which the brace that opens at `open` closes.
pub(crate) fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `text` with comments, strings and characters replaced by spaces; line breaks are kept.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        // An identifier that ends in `r` or `b` does not begin a literal.
        let in_word = code.ends_with(|c: char| c == '_' || c.is_ascii_alphanumeric());
        let len = comment(rest).or_else(|| if in_word { None } else { literal(rest) });
        let len = len.or_else(|| quoted(rest));
        let kept = len.is_none();
        let len = len.unwrap_or_else(|| rest.chars().next().map_or(0, char::len_utf8));
        let (now, later) = rest.split_at(len);
        code.extend(now.chars().map(|c| if kept || c == '\n' { c } else { ' ' }));
        rest = later;
    }
    code
}

/// The length of a comment at the start.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*").map(|inside| inside.find("*/").map_or(rest.len(), |end| end + 4))
}

/// The length of a raw, byte or C string at the start.
fn literal(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'r' | 'b' | 'c')).filter(|&n| n == 1 || n == 2)?;
    let inside = &rest[prefix..];
    if !rest[..prefix].contains('r') {
        return quoted(inside).map(|len| prefix + len);
    }
    let hashes = inside.find(|c| c != '#')?;
    inside[hashes..].strip_prefix('"').map(|inside| {
        let end = format!("\"{}", &rest[prefix..prefix + hashes]);
        let len = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        prefix + hashes + 1 + len
    })
}

/// The length of a string or character at the start; a lifetime is neither.
fn quoted(rest: &str) -> Option<usize> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            // A character is followed by a quote, or is an escape; anything else is a lifetime.
            _ if quote == '\'' && at > 1 && !rest[1..].starts_with('\\') => {
                return (c == quote && rest[1..at].chars().count() == 1).then_some(at + 1);
            }
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "a /* b */ \"c\\\"{\" 'd' '\\'' '{' 'e: r#\"f\"{\"# br\"g\" // h\nunder\"i\"";
    let code = Source::new("x.rs", text).code;
    let words: Vec<_> = tokens(&code).into_iter().map(|token| token.text).collect();
    assert_eq!(words, ["a", "'", "e", ":", "under"]);
    assert_eq!(code.len(), text.len());
}

#[test]
fn functions_are_measured_from_name_to_brace() {
    let text = "trait T { fn a(); }\nfn b() {\n    if x { '}' }\n}\ntype C = fn(u8) -> u8;\n";
    assert_eq!(Source::new("x.rs", text).functions(), [(2, 3)]);
}
