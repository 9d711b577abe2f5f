//! Reads the paths that a Rust source names: enough of the language for that, and no more.

/// A path that a source names, from its crate's name on; ours is `crate`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// Its segments, `super` and `self` resolved. Of a glob the last one is `*`.
    pub(crate) path: Vec<String>,
    /// Where it stands: counted from 1.
    pub(crate) line: usize,
    /// Whether it stands in a module for tests.
    pub(crate) in_test: bool,
}

/// Returns what `source`, the file of the module `module`, imports or names by a path with two segments or more.
pub(crate) fn imports(module: &[String], source: &str) -> Vec<Import> {
    let tokens = tokens(source);
    let at_root = module.len() == 1 && module.first().is_some_and(|name| name == "lib" || name == "main");
    let file_is_test = module.last().is_some_and(|name| name == "tests");
    let home = if at_root { Vec::new() } else { module.to_vec() };
    let mut reader = Reader { tokens: &tokens, at: 0, scopes: Vec::new(), depth: 0, home, file_is_test };
    reader.read()
}

struct Token {
    text: String,
    line: usize,
}

/// An inline module that is open.
struct Scope {
    name: String,
    depth: usize,
    test: bool,
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    scopes: Vec<Scope>,
    depth: usize,
    home: Vec<String>,
    file_is_test: bool,
}

impl Reader<'_> {
    fn read(&mut self) -> Vec<Import> {
        let mut found = Vec::new();
        while let Some(token) = self.tokens.get(self.at) {
            let line = token.line;
            match token.text.as_str() {
                // What an `impl Trait` captures.
                "use" if self.text(1) == "<" => self.at += 1,
                "use" => {
                    self.at += 1;
                    let mut paths = Vec::new();
                    self.tree(&[], &mut paths);
                    found.extend(paths.into_iter().map(|path| self.import(path, line)));
                }
                "mod" if self.text(2) == "{" => {
                    let name = self.text(1).to_owned();
                    let test = name == "tests" || self.follows_cfg_test();
                    self.scopes.push(Scope { name, depth: self.depth, test });
                    self.depth += 1;
                    self.at += 3;
                }
                "{" => {
                    self.depth += 1;
                    self.at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.scopes.last().is_some_and(|scope| scope.depth == self.depth) {
                        self.scopes.pop();
                    }
                    self.at += 1;
                }
                "$" => self.at += 2,
                text if is_name(text) && self.text(1) == "::" && !self.continues_a_path() => {
                    let mut path = vec![text.to_owned()];
                    self.at += 1;
                    while self.text(0) == "::" && is_name(self.text(1)) {
                        path.push(self.text(1).to_owned());
                        self.at += 2;
                    }
                    found.push(self.import(path, line));
                }
                _ => self.at += 1,
            }
        }
        found
    }

    /// Reads one tree of a `use`, up to the comma, brace or semicolon behind it.
    fn tree(&mut self, before: &[String], paths: &mut Vec<Vec<String>>) {
        let mut path = before.to_vec();
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | ";" | "") {
                        self.tree(&path, paths);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "::" => self.at += 1,
                "as" => self.at += 2,
                "," | "}" | ";" | "" => {
                    paths.push(path);
                    return;
                }
                "self" if !path.is_empty() => self.at += 1,
                segment => {
                    path.push(segment.to_owned());
                    self.at += 1;
                }
            }
        }
    }

    fn import(&self, path: Vec<String>, line: usize) -> Import {
        let in_test = self.file_is_test || self.scopes.iter().any(|scope| scope.test);
        Import { path: self.resolved(path), line, in_test }
    }

    /// Replaces `self` and `super` at the head of a path by the module that they mean.
    fn resolved(&self, path: Vec<String>) -> Vec<String> {
        if !matches!(path.first().map(String::as_str), Some("self" | "super")) {
            return path;
        }
        let mut base = self.home.clone();
        base.extend(self.scopes.iter().map(|scope| scope.name.clone()));
        let mut rest = path.into_iter().peekable();
        while let Some(word) = rest.next_if(|word| word == "self" || word == "super") {
            if word == "super" {
                base.pop();
            }
        }
        std::iter::once("crate".to_owned()).chain(base).chain(rest).collect()
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    fn behind(&self, back: usize) -> &str {
        self.at.checked_sub(back).and_then(|at| self.tokens.get(at)).map_or("", |token| token.text.as_str())
    }

    fn continues_a_path(&self) -> bool {
        self.behind(1) == "::" || self.behind(1) == "."
    }

    /// Whether `#[cfg(test)]` stands before the `mod` here, with other attributes or a visibility between them.
    fn follows_cfg_test(&self) -> bool {
        let window: Vec<&str> = (1..=40)
            .map(|back| self.behind(back))
            .take_while(|text| !matches!(*text, "{" | "}" | ";" | ""))
            .collect();
        window.windows(4).any(|words| words == [")", "test", "(", "cfg"])
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits a source into names, `::` and single signs; comments, texts and characters are left out.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest);
        let (taken, token) = if length > 0 {
            (length, false)
        } else if first.is_alphanumeric() || first == '_' {
            (rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len()), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        let (head, tail) = rest.split_at(taken);
        if token {
            tokens.push(Token { text: head.to_owned(), line });
        }
        line += head.matches('\n').count();
        rest = tail;
    }
    tokens
}

/// Returns the length of the comment, text or character at the head of `rest`; 0 where none is.
fn skipped(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return comment(rest);
    }
    for prefix in ["r", "br", "cr"] {
        if let Some(length) = rest.strip_prefix(prefix).and_then(raw_text) {
            return prefix.len() + length;
        }
    }
    for prefix in ["", "b", "c"] {
        if let Some(text) = rest.strip_prefix(prefix).filter(|text| text.starts_with('"')) {
            return prefix.len() + quoted(text, '"');
        }
    }
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        // A lifetime has no quote behind its first character; a character has, or begins with a backslash.
        let second = chars.next();
        if second == Some('\\') || chars.next() == Some('\'') {
            return quoted(rest, '\'');
        }
        return 1;
    }
    0
}

fn comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Returns the length of `#"…"#` at the head of a raw text's rest.
fn raw_text(rest: &str) -> Option<usize> {
    let hashes = rest.find(|c| c != '#')?;
    let body = rest.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}
