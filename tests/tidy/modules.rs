//! The modules of a crate, and where their paths lead.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Token, closing, is_word, sources, tokens};

/// A path from the root of the crate, one name an element.
pub(crate) type Path = Vec<String>;

/// A file of a crate that is part of an ordinary build, without tests.
pub(crate) struct Module {
    /// The file, from the root of the repository.
    pub(crate) file: String,
    pub(crate) path: Path,
    /// The code of an ordinary build: without tests, models and fuzz entries.
    pub(crate) tokens: Vec<(String, usize)>,
    /// The path of each imported name.
    imports: BTreeMap<String, Path>,
    /// Modules of which everything is imported.
    globs: Vec<Path>,
    /// Names that are defined here.
    defined: BTreeSet<String>,
}

/// All modules of the crate.
pub(crate) struct Modules {
    pub(crate) all: Vec<Module>,
    by_path: BTreeMap<Path, usize>,
}

impl Modules {
    pub(crate) fn read() -> Modules {
        Modules::of("src/lib.rs", sources(&["src"]))
    }

    /// The modules that the file `root` declares, directly or indirectly.
    pub(crate) fn of(root: &str, sources: Vec<Source>) -> Modules {
        let mut sources: BTreeMap<_, _> =
            sources.into_iter().map(|source| (source.path.clone(), source)).collect();
        let mut found = Modules { all: Vec::new(), by_path: BTreeMap::new() };
        let mut left = vec![(root.to_owned(), Path::new())];
        while let Some((file, path)) = left.pop() {
            let Some(source) = sources.remove(&file) else { continue };
            let module = Module::new(source, path.clone());
            let directory = ["lib.rs", "main.rs", "mod.rs"]
                .into_iter()
                .fold(file.as_str(), |file, own| file.trim_end_matches(own));
            let directory = match directory.strip_suffix(".rs") {
                Some(stem) => format!("{stem}/"),
                None => directory.to_owned(),
            };
            for name in module.declared() {
                let child = [&path[..], std::slice::from_ref(&name)].concat();
                for file in [format!("{directory}{name}.rs"), format!("{directory}{name}/mod.rs")] {
                    left.push((file, child.clone()));
                }
            }
            found.by_path.insert(path, found.all.len());
            found.all.push(module);
        }
        for at in 0..found.all.len() {
            let (imports, globs) = found.imports_of(at);
            (found.all[at].imports, found.all[at].globs) = (imports, globs);
        }
        found
    }

    fn imports_of(&self, at: usize) -> (BTreeMap<String, Path>, Vec<Path>) {
        let (mut imports, mut globs) = (BTreeMap::new(), Vec::new());
        for (path, name) in self.all[at].uses() {
            let Some(path) = self.absolute(at, &path) else { continue };
            match name.as_str() {
                "*" => globs.push(path),
                "_" => {}
                _ => drop(imports.insert(name, path)),
            }
        }
        (imports, globs)
    }

    /// A path as written in the module `at`, from the root of the crate; `None` if it leads out of
    /// the crate.
    fn absolute(&self, at: usize, written: &[String]) -> Option<Path> {
        let module = &self.all[at];
        let mut path = module.path.clone();
        let mut rest = written;
        match rest.first()?.as_str() {
            "crate" => path.clear(),
            "self" => {}
            "super" => {
                while rest.first().is_some_and(|name| name == "super") {
                    path.pop()?;
                    rest = &rest[1..];
                }
                path.extend(rest.iter().cloned());
                return Some(path);
            }
            first => {
                let child = [&path[..], &[first.to_owned()]].concat();
                if self.by_path.contains_key(&child) {
                    path.extend(rest.iter().cloned());
                    return Some(path);
                }
                let import = module.imports.get(first)?;
                return Some([&import[..], &rest[1..]].concat());
            }
        }
        path.extend(rest[1..].iter().cloned());
        Some(path)
    }

    /// The module at `path`.
    pub(crate) fn at(&self, path: &[String]) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// The module that defines what the module `at` refers to as `path`.
    pub(crate) fn definer_of(&self, at: usize, path: &[String]) -> Option<usize> {
        self.definer(&self.absolute(at, path)?)
    }

    /// The module that defines the item at `path`; `None` if the path names a module.
    pub(crate) fn definer(&self, path: &[String]) -> Option<usize> {
        self.definer_within(path, 8)
    }

    fn definer_within(&self, path: &[String], depth: usize) -> Option<usize> {
        let longest =
            (0..=path.len()).rev().find(|&len| self.by_path.contains_key(&path[..len]))?;
        let at = self.by_path[&path[..longest]];
        let name = path.get(longest)?;
        let module = &self.all[at];
        if depth == 0 || module.defined.contains(name) {
            return Some(at);
        }
        if let Some(import) = module.imports.get(name) {
            let further = [&import[..], &path[longest + 1..]].concat();
            return self.definer_within(&further, depth - 1);
        }
        let from_glob = module.globs.iter().find_map(|glob| {
            let inside = self.definer_within(&[&glob[..], &path[longest..]].concat(), depth - 1)?;
            self.all[inside].defined.contains(name).then_some(inside)
        });
        Some(from_glob.unwrap_or(at))
    }

    /// The modules whose items the module `at` names, with the line of one such place.
    pub(crate) fn used_by(&self, at: usize) -> BTreeMap<usize, usize> {
        let mut found = BTreeMap::new();
        for (path, line) in self.all[at].paths() {
            let definer = self.absolute(at, &path).and_then(|path| self.definer(&path));
            if let Some(definer) = definer.filter(|&definer| definer != at) {
                found.entry(definer).or_insert(line);
            }
        }
        found
    }
}

impl Module {
    fn new(source: Source, path: Path) -> Module {
        let all = tokens(&source.code);
        let kept = product(&all).into_iter().map(|token| (token.text.to_owned(), token.line));
        let tokens: Vec<(String, usize)> = kept.collect();
        const KINDS: [&str; 9] =
            ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "macro_rules"];
        let defined = tokens.windows(3).filter(|three| KINDS.contains(&three[0].0.as_str()));
        let defined = defined.map(|three| {
            let at = if matches!(three[1].0.as_str(), "!" | "mut") { 2 } else { 1 };
            three[at].0.clone()
        });
        let defined = defined.collect();
        Module {
            file: source.path,
            path,
            tokens,
            imports: BTreeMap::new(),
            globs: Vec::new(),
            defined,
        }
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.0)
    }

    /// Names of the modules in files of their own that are declared here.
    pub(crate) fn declared(&self) -> Vec<String> {
        let at =
            (0..self.tokens.len()).filter(|&at| self.text(at) == "mod" && self.text(at + 2) == ";");
        at.map(|at| self.text(at + 1).to_owned()).collect()
    }

    /// Whether the file contains only declarations of modules, and imports.
    pub(crate) fn only_declares(&self) -> bool {
        let mut at = 0;
        while at < self.tokens.len() {
            match self.text(at) {
                "#" => at = self.end_of_attribute(at),
                "pub" if self.text(at + 1) == "(" => at += 4,
                "pub" => at += 1,
                "mod" if self.text(at + 2) == ";" => at += 3,
                "use" => {
                    at += (at..).take_while(|&at| !matches!(self.text(at), ";" | "")).count() + 1;
                }
                _ => return false,
            }
        }
        true
    }

    fn end_of_attribute(&self, at: usize) -> usize {
        let mut depth = 0;
        for end in at.. {
            match self.text(end) {
                "[" => depth += 1,
                "]" => depth -= 1,
                _ => continue,
            }
            if depth == 0 {
                return end + 1;
            }
        }
        at
    }

    /// What the `use` at `at` imports, in the form of [`Module::uses`].
    pub(crate) fn use_at(&self, at: usize) -> Vec<(Path, String)> {
        let mut found = Vec::new();
        self.tree(at + 1, Path::new(), &mut found);
        found
    }

    /// What each `use` imports: the path as written, and its local name.
    fn uses(&self) -> Vec<(Path, String)> {
        let mut found = Vec::new();
        for at in 0..self.tokens.len() {
            let is_use = self.text(at) == "use" && self.text(at + 1) != "<";
            if is_use {
                self.tree(at + 1, Path::new(), &mut found);
            }
        }
        found
    }

    /// Reads the tree of a `use` from `at`, below `prefix`; returns where it ends.
    fn tree(&self, mut at: usize, prefix: Path, found: &mut Vec<(Path, String)>) -> usize {
        let mut path = prefix;
        loop {
            match self.text(at) {
                "{" => {
                    at += 1;
                    while self.text(at) != "}" {
                        at = self.tree(at, path.clone(), found);
                        if self.text(at) == "," {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                "*" => {
                    found.push((path, "*".to_owned()));
                    return at + 1;
                }
                ":" => at += 1,
                name if is_word(name) => {
                    // `a::{self}` imports `a`.
                    if name != "self" || path.is_empty() {
                        path.push(name.to_owned());
                    }
                    at += 1;
                    if self.text(at) == "as" {
                        found.push((path, self.text(at + 1).to_owned()));
                        return at + 2;
                    }
                    if self.text(at) != ":" {
                        let last = path.last().cloned().unwrap_or_default();
                        found.push((path, last));
                        return at;
                    }
                }
                _ => return at + 1,
            }
        }
    }

    /// Every path to an item in this file, with its line: imports, and paths of two or more names.
    fn paths(&self) -> Vec<(Path, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let line = self.tokens[at].1;
            if self.text(at) == "use" && self.text(at + 1) != "<" {
                let mut inside = Vec::new();
                let end = self.tree(at + 1, Path::new(), &mut inside);
                found.extend(inside.into_iter().map(|(path, _)| (path, line)));
                at = end;
                continue;
            }
            if !is_word(self.text(at)) {
                at += 1;
                continue;
            }
            let mut path = vec![self.text(at).to_owned()];
            at += 1;
            while self.text(at) == ":" && self.text(at + 1) == ":" && is_word(self.text(at + 2)) {
                path.push(self.text(at + 2).to_owned());
                at += 3;
            }
            if path.len() > 1 {
                found.push((path, line));
            }
        }
        found
    }
}

/// The tokens of an ordinary build with every feature.
fn product<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let is_off = text(at) == "#" && text(at + 2) == "cfg" && !holds(tokens, &mut (at + 4));
        if is_off {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Whether the condition of a `cfg` at `at` holds in an ordinary build; moves past it.
fn holds(tokens: &[Token<'_>], at: &mut usize) -> bool {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let name = text(*at);
    *at += 1;
    if text(*at) != "(" {
        // The value of a feature is a literal, which is blanked.
        if text(*at) == "=" {
            *at += 1;
        }
        return !["test", "loom", "fuzzing", "doctest", "miri"].contains(&name);
    }
    *at += 1;
    let mut each = Vec::new();
    while !matches!(text(*at), ")" | "") {
        each.push(holds(tokens, at));
        if text(*at) == "," {
            *at += 1;
        }
    }
    *at += 1;
    match name {
        "not" => !each[0],
        "any" => each.contains(&true),
        _ => !each.contains(&false),
    }
}

/// The end of the item that begins with the attribute at `at`.
fn end_of_item(tokens: &[Token<'_>], mut at: usize) -> usize {
    let mut depth = 0;
    while tokens[at].text == "#" {
        loop {
            match tokens[at].text {
                "[" => depth += 1,
                "]" => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 && tokens[at - 1].text == "]" {
                break;
            }
        }
    }
    let is_use = tokens[at..].iter().take(5).any(|token| token.text == "use");
    while at < tokens.len() {
        match tokens[at].text {
            ";" | "," if depth == 0 => return at + 1,
            "{" if depth == 0 && !is_use => {
                return closing(tokens, at).map_or(tokens.len(), |end| end + 1);
            }
            "(" | "[" | "{" => depth += 1,
            // The end of the enclosing group: a last field without a comma.
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}
