//! Java's regular expressions, translated for `fancy-regex`.
//!
//! What is different in Java and is kept: `\d`, `\w`, `\s` and the POSIX classes are ASCII; `.` stops at five line ends; `$` also matches
//! before a last line end; a `{` must be a repetition; a backslash before a letter must mean something; `\Q…\E`.
//! What isn't kept: matching in the middle of a surrogate pair, the flags `(?u)`, `(?U)`, `(?d)`, and Unicode scripts by their Java names.
//! A search that backtracks for too long is an error, where Java would go on or overflow its stack.

use std::cell::OnceCell;

/// A pattern that Java refuses, or a search that was given up.
#[derive(Debug)]
pub(crate) struct RegexError {
    pub message: String,
    /// Given up: a limit of this engine's.
    pub limit: bool,
}

fn refused<T>(message: impl Into<String>) -> Result<T, RegexError> {
    Err(RegexError { message: message.into(), limit: false })
}

#[derive(Debug)]
pub(crate) struct Regex {
    /// The text to look for where the pattern holds nothing else.
    literal: Option<String>,
    translated: String,
    /// Compiled when needed: for texts without line ends, and for texts with.
    search: OnceCell<fancy_regex::Regex>,
    whole: OnceCell<fancy_regex::Regex>,
}

/// Where the groups of a match are, in bytes; the first is the whole match.
pub(crate) type Groups = Vec<Option<(usize, usize)>>;

impl Regex {
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, RegexError> {
        let mut translation = Translation {
            chars: pattern.chars().collect(),
            at: 0,
            out: String::new(),
            literal: Some(String::new()),
            dot_all: false,
            multiline: false,
        };
        translation.alternatives(0)?;
        if translation.at < translation.chars.len() {
            return refused(format!("`{pattern}`: a `)` too many"));
        }
        let literal = if ignore_case { None } else { translation.literal };
        let translated = if ignore_case { format!("(?i){}", translation.out) } else { translation.out };
        let regex = Regex { literal, translated, search: OnceCell::new(), whole: OnceCell::new() };
        if regex.literal.is_none() {
            regex.search()?;
        }
        Ok(regex)
    }

    /// Whether the pattern is the empty text.
    pub fn is_empty(&self) -> bool {
        self.literal.as_deref() == Some("")
    }

    fn compile(source: &str) -> Result<fancy_regex::Regex, RegexError> {
        fancy_regex::RegexBuilder::new(source)
            .backtrack_limit(1_000_000)
            .build()
            .map_err(|error| RegexError { message: format!("not a pattern that can be used here: {error}"), limit: false })
    }

    fn search(&self) -> Result<&fancy_regex::Regex, RegexError> {
        if self.search.get().is_none() {
            let compiled = Self::compile(&self.translated)?;
            let _ = self.search.set(compiled);
        }
        Ok(self.search.get().expect("set right above"))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> Result<bool, RegexError> {
        if let Some(literal) = &self.literal {
            return Ok(text == literal);
        }
        if self.whole.get().is_none() {
            let compiled = Self::compile(&format!(r"\A(?:{})\z", self.translated))?;
            let _ = self.whole.set(compiled);
        }
        self.whole.get().expect("set right above").is_match(text).map_err(given_up)
    }

    /// The first match at or behind `from`.
    pub fn find(&self, text: &str, from: usize) -> Result<Option<Groups>, RegexError> {
        if from > text.len() {
            return Ok(None);
        }
        if let Some(literal) = &self.literal {
            let found = memchr::memmem::find(&text.as_bytes()[from..], literal.as_bytes());
            return Ok(found.map(|at| vec![Some((from + at, from + at + literal.len()))]));
        }
        let found = self.search()?.captures_from_pos(text, from).map_err(given_up)?;
        Ok(found.map(|captures| (0..captures.len()).map(|group| captures.get(group).map(|part| (part.start(), part.end()))).collect()))
    }

    pub fn named_group(&self, name: &str) -> Option<usize> {
        let search = self.search.get()?;
        search.capture_names().position(|known| known == Some(name))
    }

    /// All matches that don't overlap.
    pub fn find_all(&self, text: &str) -> Result<Vec<Groups>, RegexError> {
        let mut all = Vec::new();
        let mut from = 0;
        while let Some(groups) = self.find(text, from)? {
            let (start, end) = groups[0].unwrap_or((from, from));
            from = if end > start { end } else { end + text[end..].chars().next().map_or(1, char::len_utf8) };
            all.push(groups);
            if all.len() > 1_000_000 {
                return Err(RegexError { message: "a pattern matches more than a million times".into(), limit: true });
            }
        }
        Ok(all)
    }
}

fn given_up(error: fancy_regex::Error) -> RegexError {
    RegexError { message: format!("a pattern takes too long to match: {error}"), limit: true }
}

struct Translation {
    chars: Vec<char>,
    at: usize,
    out: String,
    /// What the pattern would be as a plain text, as long as it is one.
    literal: Option<String>,
    dot_all: bool,
    multiline: bool,
}

const DIGIT: &str = "0-9";
const WORD: &str = "a-zA-Z0-9_";
const SPACE: &str = r" \t\n\x0B\f\r";
const HORIZONTAL: &str = r" \t\xA0\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}";
const VERTICAL: &str = r"\n\x0B\f\r\x85\u{2028}\u{2029}";
const LINE_END: &str = r"\n\r\u{85}\u{2028}\u{2029}";

impl Translation {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.chars.get(self.at + by).copied()
    }

    fn push_literal(&mut self, c: char) {
        if !c.is_ascii_alphanumeric() && c.is_ascii() && c > ' ' && c != '_' && c != '<' && c != '>' {
            self.out.push('\\');
        }
        match c {
            '<' | '>' => self.out.push(c),
            _ => self.out.push(c),
        }
    }

    fn plain(&mut self, c: char) {
        self.push_literal(c);
        // A repetition takes the last character away again; see `repetition`.
        if let Some(literal) = &mut self.literal {
            literal.push(c);
        }
    }

    fn special(&mut self, text: &str) {
        self.out.push_str(text);
        self.literal = None;
    }

    fn alternatives(&mut self, depth: usize) -> Result<(), RegexError> {
        if depth > 100 {
            return Err(RegexError { message: "a pattern is nested too deeply".into(), limit: true });
        }
        let mut atom = false;
        while let Some(c) = self.peek() {
            match c {
                ')' => return Ok(()),
                '|' => {
                    self.at += 1;
                    self.special("|");
                    atom = false;
                }
                '(' => {
                    atom = self.group(depth)?;
                }
                '[' => {
                    let class = self.class(0)?;
                    self.special(&class);
                    atom = true;
                }
                '.' => {
                    self.at += 1;
                    let dot = if self.dot_all { "(?s:.)".to_owned() } else { format!("[^{LINE_END}]") };
                    self.special(&dot);
                    atom = true;
                }
                '^' => {
                    self.at += 1;
                    self.special(if self.multiline { "(?m:^)" } else { r"\A" });
                    atom = true;
                }
                '$' => {
                    self.at += 1;
                    let end = if self.multiline { format!(r"(?=[{LINE_END}]|\z)") } else { format!(r"(?=(?:\r\n|[{LINE_END}])?\z)") };
                    self.special(&end);
                    atom = true;
                }
                '*' | '+' | '?' => {
                    if !atom {
                        return refused(format!("`{c}` has nothing to repeat; write `\\\\{c}` for the character"));
                    }
                    self.repetition()?;
                    atom = false;
                }
                '{' => {
                    if !atom {
                        return refused("`{` has nothing to repeat; write `\\\\{` for the character");
                    }
                    self.repetition()?;
                    atom = false;
                }
                '\\' => {
                    self.escape()?;
                    atom = true;
                }
                _ => {
                    self.at += 1;
                    self.plain(c);
                    atom = true;
                }
            }
        }
        if depth > 0 { refused("a `(` is never closed") } else { Ok(()) }
    }

    fn repetition(&mut self) -> Result<(), RegexError> {
        self.literal = None;
        if self.peek() == Some('{') {
            let mut text = String::from("{");
            self.at += 1;
            loop {
                match self.peek() {
                    Some('}') => break,
                    Some(c) if c.is_ascii_digit() || (c == ',' && text.len() > 1 && !text.contains(',')) => text.push(c),
                    _ => return refused("`{` starts a repetition such as `{2,3}`; write `\\\\{` for the character"),
                }
                self.at += 1;
            }
            if text.len() == 1 {
                return refused("`{}` is an empty repetition");
            }
            text.push('}');
            self.out.push_str(&text);
            self.at += 1;
        } else if let Some(c) = self.peek() {
            self.out.push(c);
            self.at += 1;
        }
        if let Some(c @ ('?' | '+')) = self.peek() {
            self.out.push(c);
            self.at += 1;
        }
        Ok(())
    }

    /// A group; whether it can be repeated.
    fn group(&mut self, depth: usize) -> Result<bool, RegexError> {
        self.at += 1;
        let (dot_all, multiline) = (self.dot_all, self.multiline);
        if self.peek() == Some('?') {
            self.at += 1;
            match self.peek() {
                Some(c @ (':' | '=' | '!' | '>')) => {
                    self.at += 1;
                    self.special(&format!("(?{c}"));
                }
                Some('<') if matches!(self.ahead(1), Some('=' | '!')) => {
                    let c = self.ahead(1).unwrap_or('=');
                    self.at += 2;
                    self.special(&format!("(?<{c}"));
                }
                Some('<') => {
                    self.at += 1;
                    let mut name = String::new();
                    while let Some(c) = self.peek().filter(char::is_ascii_alphanumeric) {
                        name.push(c);
                        self.at += 1;
                    }
                    if self.peek() != Some('>') || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
                        return refused("a group's name is letters and digits between `<` and `>`");
                    }
                    self.at += 1;
                    self.special(&format!("(?P<{name}>"));
                }
                _ => return self.flags(depth, dot_all, multiline),
            }
        } else {
            self.special("(");
        }
        self.alternatives(depth + 1)?;
        self.close(dot_all, multiline)
    }

    fn close(&mut self, dot_all: bool, multiline: bool) -> Result<bool, RegexError> {
        if self.peek() != Some(')') {
            return refused("a `(` is never closed");
        }
        self.at += 1;
        self.out.push(')');
        self.dot_all = dot_all;
        self.multiline = multiline;
        Ok(true)
    }

    fn flags(&mut self, depth: usize, dot_all: bool, multiline: bool) -> Result<bool, RegexError> {
        let mut on = true;
        let mut kept = String::new();
        loop {
            match self.peek() {
                Some('-') => {
                    on = false;
                    kept.push('-');
                }
                Some('s') => self.dot_all = on,
                Some('m') => self.multiline = on,
                Some(c @ ('i' | 'x')) => kept.push(c),
                Some('u' | 'd' | 'U') => {}
                Some(end @ (')' | ':')) => {
                    self.at += 1;
                    let kept = kept.strip_suffix('-').unwrap_or(&kept).to_owned();
                    if end == ')' {
                        if !kept.is_empty() {
                            self.special(&format!("(?{kept})"));
                        }
                        self.literal = None;
                        return Ok(false);
                    }
                    self.special(&format!("(?{kept}:"));
                    self.alternatives(depth + 1)?;
                    return self.close(dot_all, multiline);
                }
                _ => return refused("`(?` isn't followed by anything known"),
            }
            self.at += 1;
        }
    }

    fn hex(&mut self, digits: usize) -> Result<u32, RegexError> {
        let mut value = 0;
        for _ in 0..digits {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return refused("a hexadecimal escape with too few digits");
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// A character written as an escape, behind the backslash; `None` if this isn't one.
    fn escaped_char(&mut self) -> Result<Option<char>, RegexError> {
        let Some(c) = self.peek() else { return refused("a pattern can't end with a backslash") };
        let found = match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            '0' => {
                self.at += 1;
                let mut value = 0;
                let mut count = 0;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) {
                    if count == 3 || (count == 2 && value > 0o37) {
                        break;
                    }
                    value = value * 8 + digit;
                    count += 1;
                    self.at += 1;
                }
                if count == 0 {
                    return refused("`\\\\0` needs octal digits");
                }
                return Ok(char::from_u32(value));
            }
            'x' if self.ahead(1) == Some('{') => {
                self.at += 2;
                let mut value = 0u32;
                while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) {
                    value = value.saturating_mul(16).saturating_add(digit);
                    self.at += 1;
                }
                if self.peek() != Some('}') {
                    return refused("`\\\\x{` is never closed");
                }
                self.at += 1;
                return match char::from_u32(value) {
                    Some(c) => Ok(Some(c)),
                    None => refused("no such character"),
                };
            }
            'x' | 'u' => {
                self.at += 1;
                let value = self.hex(if c == 'x' { 2 } else { 4 })?;
                let mut text = String::new();
                super::text::push_unit(&mut text, value as u16);
                return Ok(text.chars().next());
            }
            'c' => {
                self.at += 1;
                let Some(c) = self.peek() else { return refused("`\\\\c` needs a character") };
                self.at += 1;
                return Ok(char::from_u32(c as u32 ^ 64));
            }
            c if c.is_ascii_alphanumeric() => return Ok(None),
            c => c,
        };
        self.at += 1;
        Ok(Some(found))
    }

    fn escape(&mut self) -> Result<(), RegexError> {
        self.at += 1;
        if let Some(c) = self.escaped_char()? {
            self.plain(c);
            return Ok(());
        }
        let c = self.peek().unwrap_or(' ');
        if let Some(class) = self.class_escape()? {
            self.special(&class);
            return Ok(());
        }
        self.at += 1;
        match c {
            'b' | 'B' | 'A' | 'z' => self.special(&format!("\\{c}")),
            'G' => self.special(r"\G"),
            'Z' => self.special(&format!(r"(?=(?:\r\n|[{LINE_END}])?\z)")),
            'R' => self.special(&format!(r"(?:\r\n|[{VERTICAL}])")),
            'Q' => {
                while let Some(c) = self.peek() {
                    if c == '\\' && self.ahead(1) == Some('E') {
                        self.at += 2;
                        return Ok(());
                    }
                    self.plain(c);
                    self.at += 1;
                }
            }
            'E' => {}
            'k' => {
                let mut name = String::new();
                if self.peek() != Some('<') {
                    return refused("`\\\\k` needs a group's name");
                }
                self.at += 1;
                while let Some(c) = self.peek().filter(|c| *c != '>') {
                    name.push(c);
                    self.at += 1;
                }
                self.at += 1;
                self.special(&format!("(?P={name})"));
            }
            '1'..='9' => self.special(&format!("\\{c}")),
            _ => return refused(format!("`\\\\{c}` means nothing")),
        }
        Ok(())
    }

    /// `\d`, `\p{…}` and the like, as a bracketed class.
    fn class_escape(&mut self) -> Result<Option<String>, RegexError> {
        let Some(c) = self.peek() else { return Ok(None) };
        let (inside, negated) = match c {
            'd' => (DIGIT, false),
            'D' => (DIGIT, true),
            'w' => (WORD, false),
            'W' => (WORD, true),
            's' => (SPACE, false),
            'S' => (SPACE, true),
            'h' => (HORIZONTAL, false),
            'H' => (HORIZONTAL, true),
            'v' => (VERTICAL, false),
            'V' => (VERTICAL, true),
            'p' | 'P' => return self.property(c == 'P').map(Some),
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(format!("[{}{inside}]", if negated { "^" } else { "" })))
    }

    fn property(&mut self, negated: bool) -> Result<String, RegexError> {
        self.at += 1;
        let mut name = String::new();
        if self.peek() == Some('{') {
            self.at += 1;
            while let Some(c) = self.peek().filter(|c| *c != '}') {
                name.push(c);
                self.at += 1;
            }
            if self.peek().is_none() {
                return refused("`\\\\p{` is never closed");
            }
            self.at += 1;
        } else if let Some(c) = self.peek() {
            name.push(c);
            self.at += 1;
        }
        let sign = if negated { "^" } else { "" };
        let ascii = match name.as_str() {
            "Lower" => "a-z",
            "Upper" => "A-Z",
            "ASCII" => r"\x00-\x7F",
            "Alpha" => "a-zA-Z",
            "Digit" => DIGIT,
            "Alnum" => "a-zA-Z0-9",
            "Punct" => r##"!-/:-@\[-`{-~"##,
            "Graph" => "!-~",
            "Print" => " -~",
            "Blank" => r" \t",
            "Cntrl" => r"\x00-\x1F\x7F",
            "XDigit" => "0-9a-fA-F",
            "Space" => SPACE,
            "javaLowerCase" => r"\p{Lowercase}",
            "javaUpperCase" => r"\p{Uppercase}",
            "javaWhitespace" => r"\s",
            other => {
                let known = other.strip_prefix("Is").unwrap_or(other);
                return Ok(format!(r"[{sign}\p{{{known}}}]"));
            }
        };
        Ok(format!("[{sign}{ascii}]"))
    }

    fn class(&mut self, depth: usize) -> Result<String, RegexError> {
        if depth > 50 {
            return Err(RegexError { message: "a pattern is nested too deeply".into(), limit: true });
        }
        self.at += 1;
        let mut out = String::from("[");
        if self.peek() == Some('^') {
            out.push('^');
            self.at += 1;
        }
        let mut empty = true;
        loop {
            let Some(c) = self.peek() else { return refused("a `[` is never closed") };
            match c {
                ']' if !empty => {
                    self.at += 1;
                    out.push(']');
                    return Ok(out);
                }
                '[' => out.push_str(&self.class(depth + 1)?),
                '&' if self.ahead(1) == Some('&') => {
                    self.at += 2;
                    out.push_str("&&");
                }
                '\\' => {
                    self.at += 1;
                    if let Some(c) = self.escaped_char()? {
                        push_class_char(&mut out, c);
                    } else if let Some(class) = self.class_escape()? {
                        out.push_str(&class);
                    } else if self.peek() == Some('Q') {
                        self.at += 1;
                        while let Some(c) = self.peek() {
                            self.at += 1;
                            if c == '\\' && self.peek() == Some('E') {
                                self.at += 1;
                                break;
                            }
                            push_class_char(&mut out, c);
                        }
                    } else {
                        return refused(format!("`\\\\{}` means nothing in brackets", self.peek().unwrap_or(' ')));
                    }
                }
                '-' if !empty && self.ahead(1) != Some(']') => {
                    self.at += 1;
                    out.push('-');
                }
                _ => {
                    self.at += 1;
                    push_class_char(&mut out, c);
                }
            }
            empty = false;
        }
    }
}

fn push_class_char(out: &mut String, c: char) {
    if c.is_ascii() && !c.is_ascii_alphanumeric() && c > ' ' && !matches!(c, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(c);
}
