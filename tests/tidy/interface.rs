//! The public interface, one line an item.
//!
//! Read from the sources, so items made by macros and derives are not included.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Module, Modules};
use super::source::is_word;
use super::{assert_none, is_renewed, listed};

/// Where the list is, from the root of the repository.
const LIST: &str = "tests/tidy/interface.txt";

/// The public path of each public item: by module, and name there.
type Exports = BTreeMap<(usize, String), String>;

const KINDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "union"];
const QUALIFIERS: [&str; 4] = ["unsafe", "const", "async", "extern"];

/// A range of tokens of a module.
#[derive(Clone, Copy)]
struct TokenRange<'a> {
    module: &'a Module,
    start: usize,
    end: usize,
}

impl<'a> TokenRange<'a> {
    fn text(&self, at: usize) -> &'a str {
        if at < self.end { &self.module.tokens[at].0 } else { "" }
    }

    /// Positions that are not inside braces or parentheses of this range.
    fn top(self) -> Vec<usize> {
        let mut depth = 0usize;
        let mut found = Vec::new();
        for at in self.start..self.end {
            let text = self.text(at);
            if matches!(text, "}" | ")" | "]") {
                depth = depth.saturating_sub(1);
            }
            if depth == 0 {
                found.push(at);
            }
            if matches!(text, "{" | "(" | "[") {
                depth += 1;
            }
        }
        found
    }

    /// What is between the first braces from `at` on.
    fn braces(self, at: usize) -> Option<TokenRange<'a>> {
        let mut inside = TokenRange { start: at, ..self };
        inside.start = *inside.top().iter().find(|&&at| matches!(self.text(at), "{" | ";"))?;
        if self.text(inside.start) == ";" {
            return None;
        }
        let end = *inside.top().iter().find(|&&at| self.text(at) == "}")?;
        Some(TokenRange { start: inside.start + 1, end, ..self })
    }

    /// The kind, the name and the position of the name of the item whose visibility ends before
    /// `at`.
    fn item(self, mut at: usize) -> Option<(&'a str, &'a str, usize)> {
        while QUALIFIERS.contains(&self.text(at)) && !is_word_and_colon(self, at + 1) {
            at += 1;
        }
        let kind = self.text(at);
        KINDS.contains(&kind).then(|| (kind, self.text(at + 1), at + 1))
    }

    /// The text from `at` to the body, or to one of `ends`.
    fn signature(self, at: usize, ends: &[&str]) -> String {
        let rest = TokenRange { start: at, ..self };
        let top = rest.top();
        let end = top.iter().copied().find(|&at| ends.contains(&self.text(at)));
        rest.join(end.unwrap_or(self.end))
    }

    /// The tokens up to `end`, spaced as usual.
    fn join(self, end: usize) -> String {
        let mut text = String::new();
        for at in self.start..end {
            let (before, token) = (self.text(at.wrapping_sub(1)), self.text(at));
            let spaced = at > self.start
                && ((is_word(before) && is_word(token))
                    || matches!(before, "," | ";")
                    || (before == ":" && token != ":" && self.text(at.wrapping_sub(2)) != ":")
                    || matches!(token, "=" | "+" | "{" | "-")
                    || matches!(before, "=" | "+" | "{")
                    || (before == ">" && is_word(token))
                    || (before == ">" && matches!(token, "&" | "(") && self.text(at - 2) == "-")
                    || token == "}");
            if spaced {
                text.push(' ');
            }
            text.push_str(token);
        }
        text.replace(", )", ")")
    }
}

/// Whether a name and a colon are at `at`: then the name before it is the keyword of a constant.
fn is_word_and_colon(range: TokenRange<'_>, at: usize) -> bool {
    is_word(range.text(at)) && range.text(at + 1) == ":"
}

fn whole(module: &Module) -> TokenRange<'_> {
    TokenRange { module, start: 0, end: module.tokens.len() }
}

/// The positions of `pub` without a restriction, among these positions.
fn public(range: TokenRange<'_>) -> Vec<usize> {
    let is_public = |&at: &usize| range.text(at) == "pub" && range.text(at + 1) != "(";
    range.top().into_iter().filter(is_public).collect()
}

fn export(modules: &Modules, at: usize, prefix: &str, found: &mut Exports) {
    let all = whole(&modules.all[at]);
    for start in public(all) {
        let name = all.text(start + 2);
        if all.text(start + 1) == "mod" && all.text(start + 3) == ";" {
            let child = [&all.module.path[..], &[name.to_owned()]].concat();
            if let Some(child) = modules.at(&child) {
                export(modules, child, &format!("{prefix}::{name}"), found);
            }
        } else if all.text(start + 1) == "use" {
            for (path, name) in all.module.use_at(start + 1) {
                let Some(definer) = modules.definer_of(at, &path) else { continue };
                let original = path.last().expect("a path has a name").clone();
                let public = format!("{prefix}::{name}");
                found.entry((definer, original)).or_insert(public);
            }
        } else if let Some((_, name, _)) = all.item(start + 1) {
            found.insert((at, name.to_owned()), format!("{prefix}::{name}"));
        }
    }
}

/// The type of an inherent `impl` at `at`; `None` for a trait `impl`.
fn implemented(all: TokenRange<'_>, at: usize) -> Option<&str> {
    let mut depth = 0;
    let mut name = None;
    for at in at + 1..all.end {
        match all.text(at) {
            "<" => depth += 1,
            ">" if all.text(at - 1) != "-" => depth -= 1,
            "for" if depth == 0 => return None,
            "{" | "where" if depth == 0 => return name,
            text if depth == 0 && is_word(text) => name = Some(text),
            _ => {}
        }
    }
    None
}

/// The lines of one item whose public path is `path`.
fn describe(
    all: TokenRange<'_>,
    kind: &str,
    name_at: usize,
    path: &str,
    found: &mut BTreeSet<String>,
) {
    let ends: &[&str] = match kind {
        "const" | "static" | "type" => &["=", ";"],
        "fn" => &["{", ";"],
        _ => &["{", ";", "(", "where"],
    };
    let rest = all.signature(name_at + 1, ends);
    found.insert(format!("{kind} {path}{}{rest}", if rest.starts_with('=') { " " } else { "" }));
    let Some(body) = all.braces(name_at).filter(|_| matches!(kind, "struct" | "enum" | "trait"))
    else {
        return;
    };
    if kind == "struct" {
        for at in public(body) {
            found.insert(format!("field {path}.{}", body.signature(at + 1, &[","])));
        }
    } else if kind == "trait" {
        for at in body.top().into_iter().filter(|&at| body.text(at) == "fn") {
            found.insert(format!("fn {path}::{}", body.signature(at + 1, &["{", ";"])));
        }
    } else {
        let mut is_next = true;
        for at in body.top() {
            match body.text(at) {
                "," => is_next = true,
                text if is_next && is_word(text) => {
                    found.insert(format!("variant {path}::{}", body.signature(at, &[","])));
                    is_next = false;
                }
                _ => {}
            }
        }
    }
}

fn interface(modules: &Modules) -> BTreeSet<String> {
    let mut exports = Exports::new();
    export(modules, 0, "brigade", &mut exports);
    let mut found = BTreeSet::new();
    for (at, module) in modules.all.iter().enumerate() {
        let all = whole(module);
        for start in public(all) {
            let Some((kind, name, name_at)) = all.item(start + 1) else { continue };
            if let Some(path) = exports.get(&(at, name.to_owned())) {
                describe(all, kind, name_at, path, &mut found);
            }
        }
        for start in all.top().into_iter().filter(|&start| all.text(start) == "impl") {
            let Some(name) = implemented(all, start) else { continue };
            let definer = modules.definer_of(at, &[name.to_owned()]).unwrap_or(at);
            let path = exports.get(&(definer, name.to_owned()));
            let (Some(path), Some(body)) = (path, all.braces(start)) else { continue };
            for start in public(body) {
                if let Some((kind, name, name_at)) = body.item(start + 1) {
                    let rest = body.signature(name_at + 1, &["{", ";", "="]);
                    found.insert(format!("{kind} {path}::{name}{rest}"));
                }
            }
        }
    }
    found
}

#[test]
fn what_is_public_is_what_the_list_says() {
    let now = interface(&Modules::read());
    let text: String = now.iter().map(|line| format!("{line}\n")).collect();
    if is_renewed(LIST, &text) {
        return;
    }
    let Some(then) = listed(LIST) else { return };
    let gone = then.difference(&now).map(|line| format!("- {line}"));
    let new = now.difference(&then).map(|line| format!("+ {line}"));
    assert_none(
        gone.chain(new).collect(),
        &format!("{LIST} lists what is public; BRIGADE_RENEW=1 cargo test --test tidy writes it:"),
    );
}
