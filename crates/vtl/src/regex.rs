//! Java's regular expressions: `java.util.regex.Pattern` of Java 17, as far as templates can reach
//! it.
//!
//! Text → parse tree → instructions → a backtracking matcher over UTF-16 units. Its choices are
//! Java's, one by one: which quantifier is refused, what `[a&&]` is, where `$` stands, that a
//! search may begin inside a surrogate pair. Nothing recurses with the text, and every step
//! is counted against a budget, where Java would go on or overflow its stack. Unicode's tables are
//! those of `regex-syntax`.
//!
//! Not here: `\N{…}`, canonical equivalence; `\X` is a character with the marks behind it; of
//! Unicode's blocks only the commonest.

use super::text;

/// Groups nested in each other.
const MAX_DEPTH: usize = 100;

/// Java's "as often as it likes".
const MANY: i32 = i32::MAX;

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

fn given_up() -> RegexError {
    RegexError { message: "a pattern takes too long to match".into(), limit: true }
}

/// Where the groups of a match are, in positions of the subject; the first is the whole match.
pub(crate) type Groups = Vec<Option<(usize, usize)>>;

/// A text to be searched.
pub(crate) enum Subject<'t> {
    /// Positions are bytes, because every character is one, or because whole texts are looked for.
    Bytes(&'t str),
    /// Positions are UTF-16 units.
    Units(Vec<u16>),
}

impl Subject<'_> {
    pub fn len(&self) -> usize {
        match self {
            Subject::Bytes(text) => text.len(),
            Subject::Units(units) => units.len(),
        }
    }

    /// Appends the part between two positions.
    pub fn push(&self, from: usize, to: usize, out: &mut String) {
        match self {
            Subject::Bytes(text) => out.push_str(&text[from..to]),
            Subject::Units(units) => {
                units[from..to].iter().for_each(|unit| text::push_unit(out, *unit))
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Regex {
    /// The text to look for where the pattern holds nothing else.
    literal: Option<String>,
    program: Program,
    names: Vec<(String, usize)>,
}

#[derive(Debug)]
struct Program {
    code: Vec<Op>,
    sets: Vec<Set>,
    /// Numbers kept while matching: two for each group (start and end), then those of loops.
    registers: usize,
    groups: usize,
    /// A search doesn't begin inside a surrogate pair.
    whole_characters: bool,
    /// What a match begins with, if that is always the same.
    first: Option<u16>,
}

/// A set of code points: ranges in order, apart from each other.
#[derive(Clone, Debug, Default, PartialEq)]
struct Set {
    ranges: Vec<(u32, u32)>,
    /// Java keeps it as a set of the first plane, which lets a search begin anywhere.
    plane: bool,
}

impl Set {
    fn of(ranges: &[(u32, u32)]) -> Set {
        let mut set = Set { ranges: ranges.to_vec(), plane: true };
        set.tidy();
        set
    }

    fn range(from: u32, to: u32) -> Set {
        Set { ranges: vec![(from, to)], plane: to < 0xD800 || (from > 0xDFFF && to < 0x10000) }
    }

    fn tidy(&mut self) {
        self.ranges.sort_unstable();
        let mut tidy: Vec<(u32, u32)> = Vec::with_capacity(self.ranges.len());
        for (from, to) in self.ranges.drain(..) {
            match tidy.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => tidy.push((from, to)),
            }
        }
        self.ranges = tidy;
    }

    fn union(mut self, other: &Set) -> Set {
        self.ranges.extend_from_slice(&other.ranges);
        self.plane &= other.plane;
        self.tidy();
        self
    }

    fn negated(&self) -> Set {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = 0;
        for (from, to) in &self.ranges {
            if *from > next {
                ranges.push((next, from - 1));
            }
            next = to + 1;
        }
        if next <= 0x10_FFFF {
            ranges.push((next, 0x10_FFFF));
        }
        Set { ranges, plane: false }
    }

    fn and(&self, other: &Set) -> Set {
        let mut both = self.negated().union(&other.negated()).negated();
        both.plane = self.plane || other.plane;
        both
    }

    fn has(&self, code: u32) -> bool {
        match self.ranges.as_slice() {
            [(from, to)] => (*from..=*to).contains(&code),
            ranges => {
                let behind = ranges.partition_point(|(from, _)| *from <= code);
                behind > 0 && ranges[behind - 1].1 >= code
            }
        }
    }
}

const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
const SPACE: &[(u32, u32)] = &[(0x09, 0x0D), (0x20, 0x20)];
const HORIZONTAL: &[(u32, u32)] = &[
    (0x09, 0x09),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x180E, 0x180E),
    (0x2000, 0x200A),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
];
const VERTICAL: &[(u32, u32)] = &[(0x0A, 0x0D), (0x85, 0x85), (0x2028, 0x2029)];
const LINE_ENDS: &[(u32, u32)] = &[(0x0A, 0x0A), (0x0D, 0x0D), (0x85, 0x85), (0x2028, 0x2029)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Greedy,
    Lazy,
    Possessive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    End,
    /// `^` and `$`, for several lines or one, for all line ends or only for `\n`.
    Caret {
        unix: bool,
    },
    Dollar {
        lines: bool,
        unix: bool,
    },
    Bound(bool),
    LastMatch,
}

#[derive(Clone, Debug)]
enum Node {
    Empty,
    Char(u32, Fold),
    Set(Set),
    Place(Place),
    LineEnding,
    Grapheme,
    Reference(usize, Fold),
    Sequence(Vec<Node>),
    Branch(Vec<Node>),
    /// With its number if it is kept.
    Group(Box<Node>, Option<usize>),
    Repeat {
        node: Box<Node>,
        min: i32,
        max: i32,
        kind: Kind,
        /// `?`, which Java has as a choice.
        question: bool,
    },
    Ahead(Box<Node>, bool),
    Behind {
        node: Box<Node>,
        positive: bool,
        min: i32,
        max: i32,
        characters: bool,
    },
    Atomic(Box<Node>),
}

/// How letters are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Exact,
    Ascii,
    Unicode,
}

fn fold(code: u32, how: Fold) -> u32 {
    match how {
        Fold::Exact => code,
        Fold::Ascii => char::from_u32(code).map_or(code, |c| c.to_ascii_lowercase() as u32),
        Fold::Unicode => {
            let one = |mut chars: Box<dyn Iterator<Item = char>>, same: char| match (
                chars.next(),
                chars.next(),
            ) {
                (Some(c), None) => c,
                _ => same,
            };
            char::from_u32(code).map_or(code, |c| {
                let upper = one(Box::new(c.to_uppercase()), c);
                one(Box::new(upper.to_lowercase()), upper) as u32
            })
        }
    }
}

// ---- parser ----

#[derive(Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    unicode_case: bool,
    dot_all: bool,
    multiline: bool,
    comments: bool,
    unix_lines: bool,
    unicode_classes: bool,
}

struct Parser {
    /// Ends with two zeros, as Java's does.
    chars: Vec<u32>,
    length: usize,
    at: usize,
    flags: Flags,
    groups: usize,
    names: Vec<(String, usize)>,
    supplementary: bool,
    depth: usize,
}

const NONE: u32 = 0;

fn is(code: u32, c: char) -> bool {
    code == c as u32
}

fn ascii(code: u32) -> char {
    char::from_u32(code).filter(char::is_ascii).unwrap_or('\u{fffd}')
}

/// `\Q…\E` written with backslashes.
fn unquoted(chars: Vec<u32>) -> Vec<u32> {
    let slash = '\\' as u32;
    let get = |at: usize| chars.get(at).copied().unwrap_or(NONE);
    let mut at = 0;
    while at + 1 < chars.len() {
        if chars[at] != slash {
            at += 1;
        } else if !is(chars[at + 1], 'Q') {
            at += 2;
        } else {
            break;
        }
    }
    if at + 1 >= chars.len() {
        return chars;
    }
    let mut out = chars[..at].to_vec();
    at += 2;
    let (mut inside, mut begins) = (true, true);
    while at < chars.len() {
        let code = chars[at];
        at += 1;
        if code >= 128 || ascii(code).is_ascii_alphabetic() {
            out.push(code);
        } else if ascii(code).is_ascii_digit() {
            if begins {
                out.extend("\\x3".chars().map(u32::from));
            }
            out.push(code);
        } else if code != slash {
            if inside {
                out.push(slash);
            }
            out.push(code);
        } else if inside {
            if is(get(at), 'E') {
                at += 1;
                inside = false;
            } else {
                out.extend([slash, slash]);
            }
        } else if is(get(at), 'Q') {
            at += 1;
            inside = true;
            begins = true;
            continue;
        } else {
            out.push(code);
            if at < chars.len() {
                out.push(chars[at]);
                at += 1;
            }
        }
        begins = false;
    }
    out
}

impl Parser {
    fn new(pattern: &str, flags: Flags) -> Self {
        let mut chars = Vec::with_capacity(pattern.len() + 2);
        let mut units = text::units(pattern).peekable();
        let mut supplementary = false;
        while let Some(unit) = units.next() {
            let low = units.peek().copied().filter(|low| (0xDC00..0xE000).contains(low));
            match low {
                Some(low) if (0xD800..0xDC00).contains(&unit) => {
                    units.next();
                    chars.push(
                        0x10000 + ((u32::from(unit) - 0xD800) << 10) + (u32::from(low) - 0xDC00),
                    );
                }
                _ => chars.push(u32::from(unit)),
            }
            supplementary |= (0xD800..0xE000).contains(&unit);
        }
        let mut chars = unquoted(chars);
        let length = chars.len();
        chars.extend([NONE, NONE]);
        Parser {
            chars,
            length,
            at: 0,
            flags,
            groups: 1,
            names: Vec::new(),
            supplementary,
            depth: 0,
        }
    }

    fn char_at(&self, at: usize) -> u32 {
        self.chars.get(at).copied().unwrap_or(NONE)
    }

    /// With comments allowed, blanks and comments are passed over.
    fn skip_blanks(&mut self) {
        if !self.flags.comments {
            return;
        }
        loop {
            while matches!(ascii(self.char_at(self.at)), ' ' | '\t'..='\r') {
                self.at += 1;
            }
            if !is(self.char_at(self.at), '#') {
                return;
            }
            while self.at < self.length && !Set::of(LINE_ENDS).has(self.char_at(self.at)) {
                self.at += 1;
            }
        }
    }

    fn peek(&mut self) -> u32 {
        self.skip_blanks();
        self.char_at(self.at)
    }

    /// Goes one on and looks.
    fn next(&mut self) -> u32 {
        self.at += 1;
        self.peek()
    }

    /// Takes the character here.
    fn read(&mut self) -> u32 {
        let code = self.peek();
        self.at += 1;
        code
    }

    fn ended(&self) -> bool {
        self.at >= self.length
    }

    fn set(&mut self, set: Set) -> Node {
        self.supplementary |= !set.plane;
        Node::Set(set)
    }

    fn alternatives(&mut self) -> Result<Node, RegexError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RegexError {
                message: format!("a pattern with groups nested more than {MAX_DEPTH} deep"),
                limit: true,
            });
        }
        let mut branches = vec![self.sequence()?];
        while is(self.peek(), '|') && !self.ended() {
            self.at += 1;
            branches.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if branches.len() == 1 {
            branches.pop().unwrap_or(Node::Empty)
        } else {
            Node::Branch(branches)
        })
    }

    fn sequence(&mut self) -> Result<Node, RegexError> {
        let mut nodes = Vec::new();
        loop {
            let code = self.peek();
            if self.ended() {
                break;
            }
            let node = match ascii(code) {
                '(' => match self.group()? {
                    Some(node) => {
                        nodes.push(node);
                        continue;
                    }
                    None => continue,
                },
                '[' => {
                    let set = self.class(true)?;
                    self.set(set)
                }
                '^' => {
                    self.at += 1;
                    Node::Place(if self.flags.multiline {
                        Place::Caret { unix: self.flags.unix_lines }
                    } else {
                        Place::Start
                    })
                }
                '$' => {
                    self.at += 1;
                    Node::Place(Place::Dollar {
                        lines: self.flags.multiline,
                        unix: self.flags.unix_lines,
                    })
                }
                '.' => {
                    self.at += 1;
                    let ends: &[(u32, u32)] = match self.flags {
                        Flags { dot_all: true, .. } => &[],
                        Flags { unix_lines: true, .. } => &[(0x0A, 0x0A)],
                        _ => LINE_ENDS,
                    };
                    let dot = Set::of(ends).negated();
                    self.set(dot)
                }
                '|' | ')' => break,
                c @ ('*' | '+' | '?') => {
                    return refused(format!(
                        "`{c}` has nothing to repeat; write `\\{c}` for the character"
                    ));
                }
                // Java takes nothing at all as what `{2}` repeats.
                '{' => Node::Empty,
                '\\' => self.escape()?,
                _ => {
                    self.at += 1;
                    self.char(code)
                }
            };
            let node = self.repeated(node)?;
            nodes.push(node);
        }
        Ok(match nodes.len() {
            0 => Node::Empty,
            1 => nodes.pop().unwrap_or(Node::Empty),
            _ => Node::Sequence(nodes),
        })
    }

    fn fold(&self) -> Fold {
        match (self.flags.ignore_case, self.flags.unicode_case) {
            (false, _) => Fold::Exact,
            (true, false) => Fold::Ascii,
            (true, true) => Fold::Unicode,
        }
    }

    fn char(&mut self, code: u32) -> Node {
        Node::Char(fold(code, self.fold()), self.fold())
    }

    fn number(&mut self) -> Result<i32, RegexError> {
        let mut value = 0i32;
        while let Some(digit) = ascii(self.char_at(self.at)).to_digit(10) {
            value = match value.checked_mul(10).and_then(|value| value.checked_add(digit as i32)) {
                Some(value) => value,
                None => return refused("a repetition is too large"),
            };
            self.at += 1;
        }
        Ok(value)
    }

    fn repeated(&mut self, node: Node) -> Result<Node, RegexError> {
        let (min, max, question) = match ascii(self.peek()) {
            _ if self.ended() => return Ok(node),
            '?' => (0, 1, true),
            '*' => (0, MANY, false),
            '+' => (1, MANY, false),
            '{' => {
                self.at += 1;
                if !ascii(self.char_at(self.at)).is_ascii_digit() {
                    return refused(
                        "`{` starts a repetition such as `{2,3}`; write `\\{` for the character",
                    );
                }
                let min = self.number()?;
                let mut max = min;
                if is(self.char_at(self.at), ',') {
                    self.at += 1;
                    max = if is(self.char_at(self.at), '}') { MANY } else { self.number()? };
                }
                if !is(self.char_at(self.at), '}') {
                    return refused("a repetition `{` is never closed");
                }
                if max < min {
                    return refused("a repetition's end is before its start");
                }
                // As in Java, `{0,1}` is `?`.
                (min, max, min == 0 && max == 1)
            }
            _ => return Ok(node),
        };
        let kind = match ascii(self.next()) {
            '?' if !self.ended() => Kind::Lazy,
            '+' if !self.ended() => Kind::Possessive,
            _ => Kind::Greedy,
        };
        if kind != Kind::Greedy {
            self.at += 1;
        }
        Ok(Node::Repeat { node: Box::new(node), min, max, kind, question })
    }

    /// `None`: flags only.
    fn group(&mut self) -> Result<Option<Node>, RegexError> {
        let saved = self.flags;
        let node = if is(self.next(), '?') {
            self.at += 1;
            let code = self.char_at(self.at);
            self.at += 1;
            match ascii(code) {
                ':' => Node::Group(Box::new(self.alternatives()?), None),
                '=' => Node::Ahead(Box::new(self.alternatives()?), true),
                '!' => Node::Ahead(Box::new(self.alternatives()?), false),
                '>' => Node::Atomic(Box::new(self.alternatives()?)),
                '<' => {
                    let code = self.read();
                    if is(code, '=') || is(code, '!') {
                        let start = self.at;
                        let node = self.alternatives()?;
                        let mut info = Info::default();
                        info.study(&node);
                        if !info.bounded {
                            return refused(
                                "what is looked for behind has no obvious maximum length",
                            );
                        }
                        let characters = self.chars[start..self.length]
                            .iter()
                            .any(|code| *code >= 0x10000 || (0xD800..0xE000).contains(code));
                        Node::Behind {
                            node: Box::new(node),
                            positive: is(code, '='),
                            min: info.min,
                            max: info.max,
                            characters,
                        }
                    } else {
                        let name = self.group_name(code)?;
                        if self.names.iter().any(|(known, _)| *known == name) {
                            return refused(format!("the group name `{name}` is there twice"));
                        }
                        let number = self.groups;
                        self.groups += 1;
                        self.names.push((name, number));
                        Node::Group(Box::new(self.alternatives()?), Some(number))
                    }
                }
                _ => {
                    self.at -= 1;
                    self.add_flags();
                    match ascii(self.read()) {
                        ')' => return Ok(None),
                        ':' => Node::Group(Box::new(self.alternatives()?), None),
                        _ => return refused("`(?` isn't followed by anything known"),
                    }
                }
            }
        } else {
            let number = self.groups;
            self.groups += 1;
            Node::Group(Box::new(self.alternatives()?), Some(number))
        };
        if !is(self.peek(), ')') || self.ended() {
            return refused("a `(` is never closed");
        }
        self.at += 1;
        self.flags = saved;
        self.repeated(node).map(Some)
    }

    fn group_name(&mut self, first: u32) -> Result<String, RegexError> {
        if !ascii(first).is_ascii_alphabetic() {
            return refused("a group's name starts with a letter");
        }
        let mut name = String::from(ascii(first));
        loop {
            match ascii(self.read()) {
                '>' => return Ok(name),
                c if c.is_ascii_alphanumeric() => name.push(c),
                _ => return refused("a group's name is letters and digits between `<` and `>`"),
            }
        }
    }

    fn add_flags(&mut self) {
        let mut on = true;
        loop {
            let code = self.peek();
            match ascii(code) {
                'i' => self.flags.ignore_case = on,
                'm' => self.flags.multiline = on,
                's' => self.flags.dot_all = on,
                'd' => self.flags.unix_lines = on,
                'u' => self.flags.unicode_case = on,
                'c' => {}
                'x' => self.flags.comments = on,
                'U' => {
                    self.flags.unicode_classes = on;
                    self.flags.unicode_case = on;
                }
                '-' if on => on = false,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<Node, RegexError> {
        let code = self.char_at(self.at + 1);
        let flags = self.flags;
        let place = |place: Place| Ok(Node::Place(place));
        match ascii(code) {
            '1'..='9' => {
                self.at += 2;
                let mut number = (code - '0' as u32) as usize;
                while let Some(digit) = ascii(self.peek()).to_digit(10) {
                    let longer = number * 10 + digit as usize;
                    if self.groups - 1 < longer {
                        break;
                    }
                    number = longer;
                    self.at += 1;
                }
                return Ok(Node::Reference(number, self.fold()));
            }
            'k' => {
                self.at += 2;
                if !is(self.read(), '<') {
                    return refused("`\\k` needs a group's name");
                }
                let first = self.read();
                let name = self.group_name(first)?;
                return match self.names.iter().find(|(known, _)| *known == name) {
                    Some((_, number)) => Ok(Node::Reference(*number, self.fold())),
                    None => refused(format!("there is no group `{name}`")),
                };
            }
            'A' | 'B' | 'G' | 'R' | 'X' | 'Z' | 'b' | 'z' => {}
            _ => {
                return match self.escaped(false, false)? {
                    Escaped::Char(code) => Ok(self.char(code)),
                    Escaped::Set(set) => Ok(self.set(set)),
                };
            }
        }
        self.at += 2;
        match ascii(code) {
            'A' => place(Place::Start),
            'B' => place(Place::Bound(false)),
            'G' => place(Place::LastMatch),
            'R' => Ok(Node::LineEnding),
            'X' => Ok(Node::Grapheme),
            'Z' => place(Place::Dollar { lines: false, unix: flags.unix_lines }),
            'z' => place(Place::End),
            _ => {
                if is(self.peek(), '{') && is(self.char_at(self.at + 1), 'g') {
                    return refused("`\\b{g}` isn't known here");
                }
                place(Place::Bound(true))
            }
        }
    }

    /// A backslash and what it makes a character or a set; `self.at` is on the backslash.
    fn escaped(&mut self, in_class: bool, in_range: bool) -> Result<Escaped, RegexError> {
        self.at += 1;
        if self.ended() {
            return refused("a pattern can't end with a backslash");
        }
        let code = self.char_at(self.at);
        self.at += 1;
        let named = |name: &str, plain: &[(u32, u32)], negated: bool, flags: Flags| {
            let set = if flags.unicode_classes {
                unicode(name).unwrap_or_else(|| Set::of(plain))
            } else {
                Set::of(plain)
            };
            Escaped::Set(if negated { set.negated() } else { set })
        };
        let flags = self.flags;
        Ok(match ascii(code) {
            'p' | 'P' => Escaped::Set(self.property(code == 'P' as u32)?),
            'd' | 'D' => named(r"\p{Nd}", DIGIT, is(code, 'D'), flags),
            'w' | 'W' => named(r"\w", WORD, is(code, 'W'), flags),
            's' | 'S' => named(r"\s", SPACE, is(code, 'S'), flags),
            'v' if in_range => Escaped::Char(0x0B),
            'h' => Escaped::Set(Set::of(HORIZONTAL)),
            'H' => Escaped::Set(Set::of(HORIZONTAL).negated()),
            'v' => Escaped::Set(Set::of(VERTICAL)),
            'V' => Escaped::Set(Set::of(VERTICAL).negated()),
            't' => Escaped::Char(0x09),
            'n' => Escaped::Char(0x0A),
            'r' => Escaped::Char(0x0D),
            'f' => Escaped::Char(0x0C),
            'a' => Escaped::Char(0x07),
            'e' => Escaped::Char(0x1B),
            '0' => Escaped::Char(self.octal()?),
            'x' => Escaped::Char(self.hexadecimal()?),
            'u' => Escaped::Char(self.unit()?),
            'c' => {
                if self.ended() {
                    return refused("`\\c` needs a character");
                }
                Escaped::Char(self.read() ^ 64)
            }
            c if c.is_ascii_alphanumeric() => {
                let where_ = if in_class { " in brackets" } else { "" };
                return refused(format!("`\\{c}` means nothing{where_}"));
            }
            _ => Escaped::Char(code),
        })
    }

    fn octal(&mut self) -> Result<u32, RegexError> {
        let digit = |code: u32| ascii(code).to_digit(8);
        let Some(first) = digit(self.read()) else { return refused("`\\0` needs octal digits") };
        let Some(second) = digit(self.peek()) else { return Ok(first) };
        self.at += 1;
        match digit(self.peek()) {
            Some(third) if first <= 3 => {
                self.at += 1;
                Ok(first * 64 + second * 8 + third)
            }
            _ => Ok(first * 8 + second),
        }
    }

    fn hexadecimal(&mut self) -> Result<u32, RegexError> {
        let digit = |code: u32| ascii(code).to_digit(16);
        let first = self.read();
        if let Some(first) = digit(first) {
            if let Some(second) = digit(self.read()) {
                return Ok(first * 16 + second);
            }
        } else if is(first, '{') && digit(self.peek()).is_some() {
            let mut value = 0u32;
            loop {
                let code = self.read();
                match digit(code) {
                    Some(digit) => value = value * 16 + digit,
                    None if is(code, '}') => return Ok(value),
                    None => return refused("`\\x{` is never closed"),
                }
                if value > 0x10_FFFF {
                    return refused("no such character");
                }
            }
        }
        refused("a hexadecimal escape with too few digits")
    }

    fn unit(&mut self) -> Result<u32, RegexError> {
        let four = |parser: &mut Self| {
            let mut value = 0;
            for _ in 0..4 {
                match ascii(parser.read()).to_digit(16) {
                    Some(digit) => value = value * 16 + digit,
                    None => return refused("a hexadecimal escape with too few digits"),
                }
            }
            Ok(value)
        };
        let high = four(self)?;
        if (0xD800..0xDC00).contains(&high)
            && is(self.char_at(self.at), '\\')
            && is(self.char_at(self.at + 1), 'u')
        {
            let before = self.at;
            self.at += 2;
            let low = four(self)?;
            if (0xDC00..0xE000).contains(&low) {
                return Ok(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
            }
            self.at = before;
        }
        Ok(high)
    }

    /// `\p{…}`; `self.at` is behind the `p`.
    fn property(&mut self, negated: bool) -> Result<Set, RegexError> {
        let mut name = String::new();
        let mut push = |code: u32| name.push(char::from_u32(code).unwrap_or('\u{fffd}'));
        if is(self.peek(), '{') {
            self.at += 1;
            loop {
                if self.ended() {
                    return refused("`\\p{` is never closed");
                }
                let code = self.read();
                if is(code, '}') {
                    break;
                }
                push(code);
            }
            if name.is_empty() {
                return refused("`\\p{}` names nothing");
            }
        } else {
            if self.ended() {
                return refused("`\\p` names nothing");
            }
            push(self.read());
        }
        match property(&name, self.flags) {
            Some(set) => Ok(if negated { set.negated() } else { set }),
            None => refused(format!("there is no property `{name}`")),
        }
    }

    // ---- classes ----

    /// Adds a character to the plain ones of a class.
    fn bits(&self, bits: &mut Set, code: u32) {
        let mut add = |code: u32| bits.ranges.push((code, code));
        add(code);
        match (self.fold(), char::from_u32(code)) {
            (Fold::Ascii, Some(c)) if c.is_ascii() => {
                add(c.to_ascii_lowercase() as u32);
                add(c.to_ascii_uppercase() as u32);
            }
            (Fold::Unicode, Some(c)) => {
                c.to_lowercase().chain(c.to_uppercase()).for_each(|c| add(c as u32));
                fold_closure(c).into_iter().for_each(add);
            }
            _ => {}
        }
        bits.plane &= code < 0x10000 && !(0xD800..0xE000).contains(&code);
        bits.tidy();
    }

    /// `self.at` is on what opens it. `consume`: its `]` is taken too.
    fn class(&mut self, consume: bool) -> Result<Set, RegexError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RegexError {
                message: format!("a pattern with classes nested more than {MAX_DEPTH} deep"),
                limit: true,
            });
        }
        let mut previous: Option<Set> = None;
        let mut current: Option<Set> = None;
        let mut bits = Set { ranges: Vec::new(), plane: true };
        let mut has_bits = false;
        let mut negated = false;
        let mut code = self.next();
        if is(code, '^') && self.at > 0 && is(self.char_at(self.at - 1), '[') {
            code = self.next();
            negated = true;
        }
        let join = |previous: Option<Set>, set: &Set| match previous {
            Some(previous) => previous.union(set),
            None => set.clone(),
        };
        loop {
            match ascii(code) {
                '[' => {
                    let inner = self.class(true)?;
                    previous = Some(join(previous, &inner));
                    current = Some(inner);
                    code = self.peek();
                    continue;
                }
                '&' => {
                    if is(self.next(), '&') {
                        code = self.next();
                        let mut right: Option<Set> = None;
                        while !is(code, ']') && !is(code, '&') {
                            if self.ended() {
                                return refused("a `[` is never closed");
                            }
                            let part = if is(code, '[') {
                                self.class(true)?
                            } else {
                                self.at -= 1;
                                self.class(false)?
                            };
                            right = Some(join(right, &part));
                            code = self.peek();
                        }
                        if has_bits {
                            if previous.is_none() {
                                current = Some(bits.clone());
                            }
                            previous = Some(join(previous, &bits));
                            has_bits = false;
                        }
                        if right.is_some() {
                            current = right.clone();
                        }
                        previous = match (previous, right, &current) {
                            (None, None, _) => return refused("`&&` stands between nothing"),
                            (None, right, _) => right,
                            (Some(previous), _, Some(current)) => Some(previous.and(current)),
                            (previous, _, None) => previous,
                        };
                        continue;
                    }
                    self.at -= 1;
                }
                ']' if previous.is_some() || has_bits => {
                    if consume {
                        self.at += 1;
                    }
                    let set = match previous {
                        Some(previous) if has_bits => previous.union(&bits),
                        Some(previous) => previous,
                        None => bits,
                    };
                    self.depth -= 1;
                    return Ok(if negated { set.negated() } else { set });
                }
                _ if self.ended() => return refused("a `[` is never closed"),
                _ => {}
            }
            match self.class_part(&mut bits)? {
                None => {
                    has_bits = true;
                    current = None;
                }
                Some(set) => {
                    previous = Some(join(previous, &set));
                    current = Some(set);
                }
            }
            code = self.peek();
        }
    }

    /// A character, a range or an escape; `None`: a single character that went to the plain ones.
    fn class_part(&mut self, bits: &mut Set) -> Result<Option<Set>, RegexError> {
        let mut code = self.peek();
        if is(code, '\\') {
            let range = is(self.char_at(self.at + 2), '-');
            match self.escaped(true, range)? {
                Escaped::Char(escaped) => code = escaped,
                Escaped::Set(set) => return Ok(Some(set)),
            }
        } else {
            self.at += 1;
        }
        if is(self.peek(), '-') {
            let end = self.char_at(self.at + 1);
            if !is(end, '[') && !is(end, ']') && self.at + 1 < self.length {
                let mut last = self.next();
                if is(last, '\\') {
                    match self.escaped(true, true)? {
                        Escaped::Char(escaped) => last = escaped,
                        Escaped::Set(_) => return refused("a range ends with a set"),
                    }
                } else {
                    self.at += 1;
                }
                if last < code {
                    return refused("a range's end is before its start");
                }
                return Ok(Some(self.range(code, last)));
            }
        }
        if code < 256 {
            self.bits(bits, code);
            return Ok(None);
        }
        let mut single = Set { ranges: Vec::new(), plane: true };
        self.bits(&mut single, code);
        Ok(Some(single))
    }

    fn range(&self, from: u32, to: u32) -> Set {
        let set = Set::range(from, to);
        let within =
            |low: char, high: char, set: &Set| set.and(&Set::range(low as u32, high as u32)).ranges;
        match self.fold() {
            Fold::Exact => set,
            Fold::Ascii => {
                let lower = within('A', 'Z', &set).into_iter().map(|(a, b)| (a + 32, b + 32));
                let upper = within('a', 'z', &set).into_iter().map(|(a, b)| (a - 32, b - 32));
                let other = Set::of(&lower.chain(upper).collect::<Vec<_>>());
                let plane = set.plane;
                Set { plane, ..set.union(&other) }
            }
            Fold::Unicode => {
                let folded =
                    unicode(&format!("(?i)[\\u{{{from:x}}}-\\u{{{to:x}}}]")).unwrap_or_default();
                set.union(&folded)
            }
        }
    }
}

enum Escaped {
    Char(u32),
    Set(Set),
}

/// What equals a character when case doesn't count.
fn fold_closure(c: char) -> Vec<u32> {
    let set = unicode(&format!("(?i)\\u{{{:x}}}", c as u32)).unwrap_or_default();
    set.ranges.iter().flat_map(|(from, to)| *from..=*to).collect()
}

/// A set as `regex-syntax` understands it.
fn unicode(class: &str) -> Option<Set> {
    use regex_syntax::hir::{Class, HirKind};
    let parsed = regex_syntax::parse(class).ok()?;
    let ranges: Vec<(u32, u32)> = match parsed.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().map(|range| (range.start() as u32, range.end() as u32)).collect()
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
        HirKind::Literal(literal) => {
            std::str::from_utf8(&literal.0).ok()?.chars().map(|c| (c as u32, c as u32)).collect()
        }
        _ => return None,
    };
    let mut set = Set { ranges, plane: false };
    set.tidy();
    Some(set)
}

fn property(name: &str, flags: Flags) -> Option<Set> {
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "sc" | "script" => unicode(&format!(r"\p{{sc={value}}}")),
            "blk" | "block" => block(value),
            "gc" | "general_category" => plain_property(value, flags),
            _ => None,
        };
    }
    if let Some(name) = name.strip_prefix("In") {
        return block(name);
    }
    if let Some(name) = name.strip_prefix("Is") {
        return binary_property(name)
            .or_else(|| plain_property(name, flags))
            .or_else(|| unicode(&format!(r"\p{{sc={name}}}")));
    }
    if flags.unicode_classes
        && let Some(set) = binary_property(name)
    {
        return Some(set);
    }
    plain_property(name, flags)
}

fn plain_property(name: &str, flags: Flags) -> Option<Set> {
    let any_case = flags.ignore_case;
    let letters: &[(u32, u32)] = &[(0x41, 0x5A), (0x61, 0x7A)];
    Some(match name {
        "Lower" if any_case => Set::of(letters),
        "Upper" if any_case => Set::of(letters),
        "Lower" => Set::of(&[(0x61, 0x7A)]),
        "Upper" => Set::of(&[(0x41, 0x5A)]),
        "ASCII" => Set::of(&[(0, 0x7F)]),
        "Alpha" => Set::of(letters),
        "Digit" => Set::of(DIGIT),
        "Alnum" => Set::of(DIGIT).union(&Set::of(letters)),
        "Punct" => Set::of(&[(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)]),
        "Graph" => Set::of(&[(0x21, 0x7E)]),
        "Print" => Set::of(&[(0x20, 0x7E)]),
        "Blank" => Set::of(&[(0x09, 0x09), (0x20, 0x20)]),
        "Cntrl" => Set::of(&[(0, 0x1F), (0x7F, 0x7F)]),
        "XDigit" => Set::of(&[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
        "Space" => Set::of(SPACE),
        "L1" => Set::of(&[(0, 0xFF)]),
        "all" => Set::of(&[]).negated(),
        "LC" => unicode(r"[\p{Lu}\p{Ll}\p{Lt}]")?,
        "LD" => unicode(r"[\p{L}\p{Nd}]")?,
        "Lu" | "Ll" | "Lt" if any_case => unicode(r"[\p{Lu}\p{Ll}\p{Lt}]")?,
        "javaLowerCase" | "javaUpperCase" | "javaTitleCase" if any_case => {
            unicode(r"[\p{Lowercase}\p{Uppercase}\p{Lt}]")?
        }
        "javaLowerCase" => unicode(r"\p{Lowercase}")?,
        "javaUpperCase" => unicode(r"\p{Uppercase}")?,
        "javaTitleCase" => unicode(r"\p{Lt}")?,
        "javaAlphabetic" => unicode(r"\p{Alphabetic}")?,
        "javaDigit" => unicode(r"\p{Nd}")?,
        "javaLetter" => unicode(r"\p{L}")?,
        "javaLetterOrDigit" => unicode(r"[\p{L}\p{Nd}]")?,
        "javaSpaceChar" => unicode(r"\p{Z}")?,
        "javaWhitespace" => unicode(r"[[\p{Z}--[\u{a0}\u{2007}\u{202f}]]\t-\r\x1c-\x1f]")?,
        "javaISOControl" => Set::of(&[(0, 0x1F), (0x7F, 0x9F)]),
        "L" | "M" | "N" | "Z" | "C" | "P" | "S" | "Cn" | "Lu" | "Ll" | "Lt" | "Lm" | "Lo"
        | "Mn" | "Me" | "Mc" | "Nd" | "Nl" | "No" | "Zs" | "Zl" | "Zp" | "Cc" | "Cf" | "Co"
        | "Pd" | "Ps" | "Pe" | "Pc" | "Po" | "Sm" | "Sc" | "Sk" | "So" | "Pi" | "Pf" => {
            unicode(&format!(r"\p{{{name}}}"))?
        }
        "Cs" => Set::range(0xD800, 0xDFFF),
        _ => return None,
    })
}

fn binary_property(name: &str) -> Option<Set> {
    unicode(match name.to_ascii_uppercase().as_str() {
        "ALPHABETIC" | "ALPHA" => r"\p{Alphabetic}",
        "LETTER" => r"\p{L}",
        "IDEOGRAPHIC" => r"\p{Ideographic}",
        "LOWERCASE" | "LOWER" => r"\p{Lowercase}",
        "UPPERCASE" | "UPPER" => r"\p{Uppercase}",
        "TITLECASE" => r"\p{Lt}",
        "WHITE_SPACE" | "WHITESPACE" | "SPACE" => r"\p{White_Space}",
        "CONTROL" | "CNTRL" => r"\p{Cc}",
        "PUNCTUATION" | "PUNCT" => r"\p{P}",
        "HEX_DIGIT" | "HEXDIGIT" | "XDIGIT" => r"[\p{Nd}\p{Hex_Digit}]",
        "ASSIGNED" => r"\P{Cn}",
        "NONCHARACTER_CODE_POINT" | "NONCHARACTERCODEPOINT" => r"\p{Noncharacter_Code_Point}",
        "DIGIT" => r"\p{Nd}",
        "ALNUM" => r"[\p{Alphabetic}\p{Nd}]",
        "BLANK" => r"[\p{Zs}\t]",
        "GRAPH" => r"[^\p{White_Space}\p{Cc}\p{Cn}\p{Cs}]",
        "PRINT" => r"[[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}]",
        "WORD" => r"\w",
        "JOIN_CONTROL" | "JOINCONTROL" => r"\p{Join_Control}",
        "EMOJI" => r"\p{Emoji}",
        _ => return None,
    })
}

/// Of Unicode's blocks those that somebody might name.
fn block(name: &str) -> Option<Set> {
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
    let (from, to) = match name.as_str() {
        "basiclatin" => (0, 0x7F),
        "latin1supplement" => (0x80, 0xFF),
        "latinextendeda" => (0x100, 0x17F),
        "latinextendedb" => (0x180, 0x24F),
        "ipaextensions" => (0x250, 0x2AF),
        "combiningdiacriticalmarks" => (0x300, 0x36F),
        "greek" | "greekandcoptic" => (0x370, 0x3FF),
        "cyrillic" => (0x400, 0x4FF),
        "armenian" => (0x530, 0x58F),
        "hebrew" => (0x590, 0x5FF),
        "arabic" => (0x600, 0x6FF),
        "devanagari" => (0x900, 0x97F),
        "thai" => (0xE00, 0xE7F),
        "generalpunctuation" => (0x2000, 0x206F),
        "currencysymbols" => (0x20A0, 0x20CF),
        "arrows" => (0x2190, 0x21FF),
        "mathematicaloperators" => (0x2200, 0x22FF),
        "miscellaneoussymbols" => (0x2600, 0x26FF),
        "dingbats" => (0x2700, 0x27BF),
        "cjksymbolsandpunctuation" => (0x3000, 0x303F),
        "hiragana" => (0x3040, 0x309F),
        "katakana" => (0x30A0, 0x30FF),
        "cjkunifiedideographs" => (0x4E00, 0x9FFF),
        "hangulsyllables" => (0xAC00, 0xD7AF),
        "emoticons" => (0x1F600, 0x1F64F),
        _ => return None,
    };
    Some(Set { ranges: vec![(from, to)], plane: false })
}

/// What Java's parser works out of a part: lengths in units.
#[derive(Clone, Copy)]
struct Info {
    min: i32,
    max: i32,
    bounded: bool,
    fixed: bool,
}

impl Default for Info {
    fn default() -> Self {
        Info { min: 0, max: 0, bounded: true, fixed: true }
    }
}

impl Info {
    fn add(&mut self, min: i32, max: i32) {
        self.min = self.min.wrapping_add(min);
        self.max = self.max.wrapping_add(max);
    }

    fn study(&mut self, node: &Node) {
        self.follow(&mut vec![node]);
    }

    /// Goes along a chain of nodes, the next one last. As in Java, what comes behind alternatives
    /// is counted for itself and added, which decides where an overflow is noticed.
    fn follow(&mut self, chain: &mut Vec<&Node>) {
        while let Some(node) = chain.pop() {
            match node {
                Node::Empty | Node::Place(_) | Node::Ahead(..) | Node::Behind { .. } => {}
                Node::Char(..) | Node::Set(_) => self.add(1, 1),
                Node::LineEnding => self.add(1, 2),
                // Java forgets to count its length.
                Node::Grapheme => self.add(1, 0),
                Node::Reference(..) => self.bounded = false,
                Node::Sequence(nodes) => chain.extend(nodes.iter().rev()),
                Node::Group(node, _) => chain.push(node),
                Node::Atomic(node) => self.study(node),
                Node::Branch(nodes) => return self.branch(nodes, chain),
                Node::Repeat { node, kind, question: true, .. }
                    if matches!(**node, Node::Group(..)) && *kind != Kind::Possessive =>
                {
                    return self.branch(&[(**node).clone(), Node::Empty], chain);
                }
                Node::Repeat { node, question: true, .. } => {
                    let min = self.min;
                    self.study(node);
                    self.min = min;
                    self.fixed = false;
                }
                Node::Repeat { node, min, max, kind, .. } => {
                    let mut info = Info::default();
                    info.study(node);
                    let single = matches!(**node, Node::Set(_) | Node::Char(..));
                    if single && *max == MANY && *kind == Kind::Greedy {
                        // Java takes the largest number for a length, and lets it overflow.
                        self.add(*min, MANY);
                        self.fixed = false;
                        continue;
                    }
                    if matches!(**node, Node::Group(..)) && !info.fixed && *kind != Kind::Possessive
                    {
                        // A loop; Java looks no further.
                        self.bounded = false;
                        self.fixed = false;
                        return;
                    }
                    self.min = self.min.saturating_add(info.min.saturating_mul(*min));
                    if self.bounded && info.bounded {
                        let before = self.max;
                        self.max = info.max.wrapping_mul(*max).wrapping_add(before);
                        self.bounded = self.max >= before;
                    } else {
                        self.bounded = false;
                    }
                    self.fixed &= info.fixed && min == max;
                }
            }
        }
    }

    fn branch(&mut self, nodes: &[Node], behind: &mut Vec<&Node>) {
        let (mut min, mut max) = (i32::MAX, -1);
        for node in nodes {
            let mut info = Info::default();
            info.study(node);
            min = min.min(info.min);
            max = max.max(info.max);
            self.bounded &= info.bounded;
        }
        let mut rest = Info::default();
        rest.follow(behind);
        self.add(min, max);
        self.add(rest.min, rest.max);
        self.bounded &= rest.bounded;
        self.fixed = false;
    }
}

// ---- compiler ----

type Label = u32;

#[derive(Clone, Debug)]
enum Op {
    Unit(u16),
    Folded(u32, Fold),
    Set(u32),
    Place(Place),
    Grapheme,
    Reference(usize, Fold),
    Jump(Label),
    /// Goes on here first, there if that fails.
    Split(Label, Label),
    /// Keeps where a group begins.
    Begin(usize),
    /// A group's end: keeps both its ends.
    End(usize, usize),
    /// Repeats one set, with no body to run.
    Repeat {
        set: u32,
        min: u32,
        max: u32,
        kind: Kind,
    },
    /// Begins a loop: its count, its body (the next instruction) and what follows.
    Loop {
        count: usize,
        min: i32,
        max: i32,
        lazy: bool,
        exit: Label,
    },
    /// The end of a loop's body.
    Again {
        count: usize,
        begin: usize,
        min: i32,
        max: i32,
        lazy: bool,
        body: Label,
    },
    /// A part that is matched for itself, from the next instruction up to its `Match`; then what
    /// follows.
    Ahead {
        positive: bool,
        exit: Label,
    },
    Behind {
        positive: bool,
        min: i32,
        max: i32,
        characters: bool,
        exit: Label,
    },
    Atomic {
        min: i32,
        max: i32,
        exit: Label,
    },
    Match,
}

struct Compiler {
    code: Vec<Op>,
    sets: Vec<Set>,
    registers: usize,
}

impl Compiler {
    fn label(&self) -> Label {
        self.code.len() as Label
    }

    fn set(&mut self, set: &Set) -> u32 {
        if let Some(at) = self.sets.iter().position(|known| known == set) {
            return at as u32;
        }
        self.sets.push(set.clone());
        self.sets.len() as u32 - 1
    }

    fn register(&mut self) -> usize {
        self.registers += 1;
        self.registers - 1
    }

    fn emit(&mut self, op: Op) -> usize {
        self.code.push(op);
        self.code.len() - 1
    }

    /// Sets where an instruction leads on.
    fn patch(&mut self, at: usize) {
        let here = self.label();
        match &mut self.code[at] {
            Op::Jump(label)
            | Op::Split(_, label)
            | Op::Loop { exit: label, .. }
            | Op::Ahead { exit: label, .. }
            | Op::Behind { exit: label, .. }
            | Op::Atomic { exit: label, .. } => *label = here,
            _ => {}
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Char(code, Fold::Exact) => {
                if let Ok(unit) = u16::try_from(*code) {
                    self.emit(Op::Unit(unit));
                } else {
                    let rest = code - 0x10000;
                    self.emit(Op::Unit((0xD800 + (rest >> 10)) as u16));
                    self.emit(Op::Unit((0xDC00 + (rest & 0x3FF)) as u16));
                }
            }
            Node::Char(code, how) => {
                self.emit(Op::Folded(*code, *how));
            }
            Node::Set(set) => {
                let set = self.set(set);
                self.emit(Op::Set(set));
            }
            Node::Place(place) => {
                self.emit(Op::Place(*place));
            }
            Node::LineEnding => {
                let both = self.emit(Op::Split(self.label() + 1, 0));
                self.emit(Op::Unit(0x0D));
                self.emit(Op::Unit(0x0A));
                let done = self.emit(Op::Jump(0));
                self.patch(both);
                let set = self.set(&Set::of(VERTICAL));
                self.emit(Op::Set(set));
                self.patch(done);
            }
            Node::Grapheme => {
                self.emit(Op::Grapheme);
            }
            Node::Reference(number, how) => {
                self.emit(Op::Reference(*number, *how));
            }
            Node::Sequence(nodes) => nodes.iter().for_each(|node| self.node(node)),
            Node::Branch(nodes) => {
                let mut ends = Vec::new();
                for (at, node) in nodes.iter().enumerate() {
                    if at + 1 == nodes.len() {
                        self.node(node);
                    } else {
                        let split = self.emit(Op::Split(self.label() + 1, 0));
                        self.node(node);
                        ends.push(self.emit(Op::Jump(0)));
                        self.patch(split);
                    }
                }
                ends.into_iter().for_each(|end| self.patch(end));
            }
            Node::Group(inner, None) => self.node(inner),
            Node::Group(inner, Some(number)) => {
                let begin = self.register();
                self.emit(Op::Begin(begin));
                self.node(inner);
                self.emit(Op::End(*number, begin));
            }
            Node::Repeat { node, min, max, kind, question } => {
                self.repeat(node, *min, *max, *kind, *question)
            }
            Node::Ahead(inner, positive) => {
                self.part(Op::Ahead { positive: *positive, exit: 0 }, inner)
            }
            Node::Behind { node, positive, min, max, characters } => {
                let behind = Op::Behind {
                    positive: *positive,
                    min: *min,
                    max: *max,
                    characters: *characters,
                    exit: 0,
                };
                self.part(behind, node);
            }
            Node::Atomic(inner) => self.part(Op::Atomic { min: 1, max: 1, exit: 0 }, inner),
        }
    }

    fn part(&mut self, op: Op, inner: &Node) {
        let at = self.emit(op);
        self.node(inner);
        self.emit(Op::Match);
        self.patch(at);
    }

    fn repeat(&mut self, node: &Node, min: i32, max: i32, kind: Kind, question: bool) {
        let set = match node {
            Node::Set(set) => Some(set.clone()),
            Node::Char(code, Fold::Exact) => Some(Set::range(*code, *code)),
            _ => None,
        };
        if let Some(set) = set {
            let set = self.set(&set);
            self.emit(Op::Repeat { set, min: min as u32, max: max as u32, kind });
        } else if kind == Kind::Possessive {
            self.part(Op::Atomic { min, max, exit: 0 }, node);
        } else if question {
            let split = self.emit(Op::Split(self.label() + 1, 0));
            self.node(node);
            self.patch(split);
            if kind == Kind::Lazy
                && let Op::Split(first, second) = &mut self.code[split]
            {
                std::mem::swap(first, second);
            }
        } else {
            let (count, begin) = (self.register(), self.register());
            let lazy = kind == Kind::Lazy;
            let start = self.emit(Op::Loop { count, min, max, lazy, exit: 0 });
            let body = self.label();
            self.emit(Op::Begin(begin));
            if matches!(node, Node::LineEnding) {
                // What is repeated by itself doesn't give back a half of `\r\n`.
                self.part(Op::Atomic { min: 1, max: 1, exit: 0 }, node);
            } else {
                self.node(node);
            }
            self.emit(Op::Again { count, begin, min, max, lazy, body });
            self.patch(start);
        }
    }
}

// ---- matcher ----

/// What can be searched: bytes of ASCII, or UTF-16 units.
trait Units {
    fn len(&self) -> usize;
    fn unit(&self, at: usize) -> u16;
}

impl Units for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }
    fn unit(&self, at: usize) -> u16 {
        u16::from(self[at])
    }
}

impl Units for [u16] {
    fn len(&self) -> usize {
        <[u16]>::len(self)
    }
    fn unit(&self, at: usize) -> u16 {
        self[at]
    }
}

/// The character at a position and the units it takes.
fn code_at<U: Units + ?Sized>(text: &U, at: usize) -> (u32, usize) {
    let unit = text.unit(at);
    if (0xD800..0xDC00).contains(&unit) && at + 1 < text.len() {
        let low = text.unit(at + 1);
        if (0xDC00..0xE000).contains(&low) {
            return (0x10000 + ((u32::from(unit) - 0xD800) << 10) + (u32::from(low) - 0xDC00), 2);
        }
    }
    (u32::from(unit), 1)
}

fn code_before<U: Units + ?Sized>(text: &U, at: usize) -> u32 {
    if at >= 2 && code_at(text, at - 2).1 == 2 {
        code_at(text, at - 2).0
    } else {
        u32::from(text.unit(at - 1))
    }
}

/// Something to do when the way taken fails.
enum Back {
    Go {
        pc: usize,
        at: usize,
    },
    Restore {
        register: usize,
        value: i32,
    },
    /// Another loop of a body.
    Loop {
        pc: usize,
        at: usize,
        count: usize,
    },
    /// One character fewer.
    Fewer {
        pc: usize,
        least: usize,
        at: usize,
        set: u32,
    },
    /// One character more.
    More {
        pc: usize,
        at: usize,
        left: u32,
        set: u32,
    },
}

struct Matcher<'m, U: ?Sized> {
    program: &'m Program,
    text: &'m U,
    registers: Vec<i32>,
    back: Vec<Back>,
    budget: &'m mut u64,
    /// Where the match before this one ended.
    last: usize,
    /// A match must end where the text does.
    whole: bool,
}

impl<U: Units + ?Sized> Matcher<'_, U> {
    fn put(&mut self, register: usize, value: i32) {
        self.back.push(Back::Restore { register, value: self.registers[register] });
        self.registers[register] = value;
    }

    fn spend(&mut self, steps: u64) -> Result<(), RegexError> {
        match self.budget.checked_sub(steps) {
            Some(rest) => {
                *self.budget = rest;
                Ok(())
            }
            None => {
                *self.budget = 0;
                Err(given_up())
            }
        }
    }

    /// Runs a part by itself. Its choices are given up once it matched; what it kept can still be
    /// taken back.
    fn part(
        &mut self,
        pc: usize,
        at: usize,
        until: Option<usize>,
    ) -> Result<Option<usize>, RegexError> {
        let base = self.back.len();
        let found = self.run(pc, at, until, base)?;
        if found.is_some() {
            let mut kept = base;
            for index in base..self.back.len() {
                if matches!(self.back[index], Back::Restore { .. }) {
                    self.back.swap(kept, index);
                    kept += 1;
                }
            }
            self.back.truncate(kept);
        }
        Ok(found)
    }

    /// Goes back to the latest choice above `base`.
    fn backtrack(&mut self, base: usize) -> Option<(usize, usize)> {
        while self.back.len() > base {
            match self.back.pop()? {
                Back::Go { pc, at } => return Some((pc, at)),
                Back::Restore { register, value } => self.registers[register] = value,
                Back::Loop { pc, at, count } => {
                    let value = self.registers[count] + 1;
                    self.put(count, value);
                    return Some((pc, at));
                }
                Back::Fewer { pc, least, at, set } => {
                    let before = if at >= least + 2 && code_at(self.text, at - 2).1 == 2 {
                        at - 2
                    } else {
                        at - 1
                    };
                    if before > least {
                        self.back.push(Back::Fewer { pc, least, at: before, set });
                    }
                    return Some((pc, before));
                }
                Back::More { pc, at, left, set } => {
                    if left > 0 && at < self.text.len() {
                        let (code, width) = code_at(self.text, at);
                        if self.program.sets[set as usize].has(code) {
                            self.back.push(Back::More { pc, at: at + width, left: left - 1, set });
                            return Some((pc, at + width));
                        }
                    }
                }
            }
        }
        None
    }

    /// From an instruction and a position on to `Match`; where that was. `until`: where the match
    /// must end.
    fn run(
        &mut self,
        pc: usize,
        at: usize,
        until: Option<usize>,
        base: usize,
    ) -> Result<Option<usize>, RegexError> {
        let (mut pc, mut at) = (pc, at);
        let program = self.program;
        let length = self.text.len();
        loop {
            self.spend(1)?;
            let mut next = Some((pc + 1, at));
            match &program.code[pc] {
                Op::Unit(unit) => {
                    next = (at < length && self.text.unit(at) == *unit).then_some((pc + 1, at + 1))
                }
                Op::Folded(code, how) => {
                    next = None;
                    if at < length {
                        let (found, width) = code_at(self.text, at);
                        if fold(found, *how) == *code {
                            next = Some((pc + 1, at + width));
                        }
                    }
                }
                Op::Set(set) => {
                    next = None;
                    if at < length {
                        let (code, width) = code_at(self.text, at);
                        if program.sets[*set as usize].has(code) {
                            next = Some((pc + 1, at + width));
                        }
                    }
                }
                Op::Place(place) => {
                    if !self.stands(*place, at) {
                        next = None;
                    }
                }
                Op::Grapheme => next = (at < length).then(|| (pc + 1, self.grapheme(at))),
                Op::Reference(number, how) => {
                    next = self.reference(*number, *how, at)?.map(|at| (pc + 1, at))
                }
                Op::Jump(label) => next = Some((*label as usize, at)),
                Op::Split(first, second) => {
                    self.back.push(Back::Go { pc: *second as usize, at });
                    next = Some((*first as usize, at));
                }
                Op::Begin(register) => self.put(*register, at as i32),
                Op::End(number, begin) => {
                    let start = self.registers[*begin];
                    self.put(2 * number, start);
                    self.put(2 * number + 1, at as i32);
                }
                Op::Repeat { set, min, max, kind } => {
                    next = self.repeat(pc + 1, at, *set, *min, *max, *kind)?
                }
                Op::Loop { count, min, max, lazy, exit } => {
                    let body = (pc + 1, at);
                    let exit = (*exit as usize, at);
                    next = Some(if *min > 0 || (*max > 0 && !lazy) {
                        if *min == 0 {
                            self.back.push(Back::Go { pc: exit.0, at });
                        }
                        self.put(*count, 1);
                        body
                    } else {
                        if *max > 0 {
                            // The count is one more than what is there when the body is entered.
                            self.put(*count, 0);
                            self.back.push(Back::Loop { pc: body.0, at, count: *count });
                        }
                        exit
                    });
                }
                Op::Again { count, begin, min, max, lazy, body } => {
                    let done = self.registers[*count];
                    if at as i32 > self.registers[*begin] {
                        if done < *min {
                            self.put(*count, done + 1);
                            next = Some((*body as usize, at));
                        } else if done < *max {
                            if *lazy {
                                self.back.push(Back::Loop {
                                    pc: *body as usize,
                                    at,
                                    count: *count,
                                });
                            } else {
                                self.back.push(Back::Go { pc: pc + 1, at });
                                self.put(*count, done + 1);
                                next = Some((*body as usize, at));
                            }
                        }
                    }
                }
                Op::Ahead { positive, exit } => {
                    let before = self.back.len();
                    let found = self.part(pc + 1, at, None)?.is_some();
                    if found && !positive {
                        self.undo(before);
                    }
                    next = (found == *positive).then_some((*exit as usize, at));
                }
                Op::Behind { positive, min, max, characters, exit } => {
                    let before = self.back.len();
                    let found = self.behind(pc + 1, at, *min, *max, *characters)?;
                    if found && !positive {
                        self.undo(before);
                    }
                    next = (found == *positive).then_some((*exit as usize, at));
                }
                Op::Atomic { min, max, exit } => {
                    let mut done = 0;
                    let mut here = at;
                    next = None;
                    loop {
                        if done >= *min {
                            next = Some((*exit as usize, here));
                        }
                        if done >= *max {
                            break;
                        }
                        match self.part(pc + 1, here, None)? {
                            None => break,
                            Some(end) => {
                                let empty = end == here;
                                here = end;
                                done += 1;
                                if empty && done >= *min {
                                    next = Some((*exit as usize, here));
                                    break;
                                }
                            }
                        }
                    }
                }
                Op::Match => {
                    let wrong = until.is_some_and(|until| at != until);
                    if !wrong {
                        return Ok(Some(at));
                    }
                    next = None;
                }
            }
            (pc, at) = match next.or_else(|| self.backtrack(base)) {
                Some(next) => next,
                None => return Ok(None),
            };
        }
    }

    /// Takes back what was kept since.
    fn undo(&mut self, base: usize) {
        while self.back.len() > base {
            if let Some(Back::Restore { register, value }) = self.back.pop() {
                self.registers[register] = value;
            }
        }
    }

    fn repeat(
        &mut self,
        pc: usize,
        at: usize,
        set: u32,
        min: u32,
        max: u32,
        kind: Kind,
    ) -> Result<Option<(usize, usize)>, RegexError> {
        let members = &self.program.sets[set as usize];
        let mut here = at;
        let mut least = at;
        let mut done = 0;
        let most = if kind == Kind::Lazy { min } else { max };
        while done < most && here < self.text.len() {
            let (code, width) = code_at(self.text, here);
            if !members.has(code) {
                break;
            }
            here += width;
            done += 1;
            if done == min {
                least = here;
            }
        }
        self.spend(u64::from(done))?;
        if done < min {
            return Ok(None);
        }
        match kind {
            Kind::Greedy if here > least => {
                self.back.push(Back::Fewer { pc, least, at: here, set })
            }
            Kind::Lazy if max > min => {
                self.back.push(Back::More { pc, at: here, left: max - min, set })
            }
            _ => {}
        }
        Ok(Some((pc, here)))
    }

    fn behind(
        &mut self,
        pc: usize,
        at: usize,
        min: i32,
        max: i32,
        characters: bool,
    ) -> Result<bool, RegexError> {
        let back = |count: i32| {
            let mut from = at;
            if !characters {
                return at.checked_sub(count.max(0) as usize);
            }
            for _ in 0..count {
                from = match from {
                    0 => return None,
                    1 => 0,
                    _ if code_at(self.text, from - 2).1 == 2 => from - 2,
                    _ => from - 1,
                };
            }
            Some(from)
        };
        let first = if characters {
            if max < min {
                return Ok(false);
            }
            back(max).unwrap_or(0)
        } else {
            // As Java calculates it, where the longest length has overflowed.
            (at as i32).wrapping_sub(max).max(0) as usize
        };
        let Some(mut from) = back(min) else { return Ok(false) };
        loop {
            if from < first {
                return Ok(false);
            }
            self.spend(1)?;
            if self.part(pc, from, Some(at))?.is_some() {
                return Ok(true);
            }
            from = match from {
                0 => return Ok(false),
                _ if characters && from >= 2 && code_at(self.text, from - 2).1 == 2 => from - 2,
                _ => from - 1,
            };
        }
    }

    fn reference(
        &mut self,
        number: usize,
        how: Fold,
        at: usize,
    ) -> Result<Option<usize>, RegexError> {
        if number >= self.program.groups {
            return Ok(None);
        }
        let (start, end) = (self.registers[2 * number], self.registers[2 * number + 1]);
        if start < 0 || end < start {
            return Ok(None);
        }
        let (start, size) = (start as usize, (end - start) as usize);
        self.spend(size as u64)?;
        if at + size > self.text.len() {
            return Ok(None);
        }
        let same = (0..size).all(|by| {
            let (a, b) =
                (u32::from(self.text.unit(start + by)), u32::from(self.text.unit(at + by)));
            a == b || fold(a, how) == fold(b, how)
        });
        Ok(same.then_some(at + size))
    }

    fn grapheme(&self, at: usize) -> usize {
        let (code, width) = code_at(self.text, at);
        let mut end = at + width;
        if code == 0x0D && end < self.text.len() && self.text.unit(end) == 0x0A {
            return end + 1;
        }
        while end < self.text.len() {
            let (code, width) = code_at(self.text, end);
            if !is_mark(code) {
                break;
            }
            end += width;
        }
        end
    }

    fn is_word(&self, at: usize, code: u32) -> bool {
        is(code, '_')
            || char::from_u32(code).is_some_and(char::is_alphanumeric)
            || (is_mark(code) && self.has_base(at))
    }

    /// Whether a letter or digit stands before the marks that end at a position.
    fn has_base(&self, at: usize) -> bool {
        let mut at = at;
        while at > 0 {
            at -= 1;
            let code = u32::from(self.text.unit(at));
            if char::from_u32(code).is_some_and(char::is_alphanumeric) {
                return true;
            }
            if !is_mark(code) {
                return false;
            }
        }
        false
    }

    fn stands(&self, place: Place, at: usize) -> bool {
        let length = self.text.len();
        let unit = |at: usize| self.text.unit(at);
        let line_end = |unit: u16, unix: bool| {
            if unix { unit == 0x0A } else { matches!(unit, 0x0A | 0x0D | 0x85 | 0x2028 | 0x2029) }
        };
        match place {
            Place::Start => at == 0,
            Place::End => at == length,
            Place::LastMatch => at == self.last,
            Place::Caret { unix } => {
                at < length
                    && (at == 0
                        || (line_end(unit(at - 1), unix)
                            && (unix || !(unit(at - 1) == 0x0D && unit(at) == 0x0A))))
            }
            Place::Dollar { lines, unix } => {
                if at == length {
                    return true;
                }
                let last = at + 1 == length
                    || (!unix && at + 2 == length && unit(at) == 0x0D && unit(at + 1) == 0x0A);
                if !(lines || last) {
                    return false;
                }
                line_end(unit(at), unix)
                    && (unix || unit(at) != 0x0A || at == 0 || unit(at - 1) != 0x0D)
            }
            Place::Bound(wanted) => {
                let left = at > 0 && self.is_word(at - 1, code_before(self.text, at));
                let right = at < length && self.is_word(at, code_at(self.text, at).0);
                (left != right) == wanted
            }
        }
    }

    /// The first match at or behind `from`.
    fn search(&mut self, from: usize) -> Result<Option<Groups>, RegexError> {
        let mut start = from;
        let length = self.text.len();
        loop {
            if let Some(first) = self.program.first.filter(|_| !self.whole) {
                while start < length && self.text.unit(start) != first {
                    start += 1;
                }
                if start == length {
                    return Ok(None);
                }
            }
            let until = self.whole.then_some(length);
            self.registers.fill(-1);
            self.back.clear();
            if let Some(end) = self.run(0, start, until, 0)? {
                let mut groups = vec![Some((start, end))];
                groups.extend((1..self.program.groups).map(|number| {
                    let (start, end) = (self.registers[2 * number], self.registers[2 * number + 1]);
                    (start >= 0 && end >= start).then_some((start as usize, end as usize))
                }));
                return Ok(Some(groups));
            }
            if self.whole || start >= length {
                return Ok(None);
            }
            start += if self.program.whole_characters { code_at(self.text, start).1 } else { 1 };
        }
    }
}

fn is_mark(code: u32) -> bool {
    use std::sync::LazyLock;
    static MARKS: LazyLock<Set> = LazyLock::new(|| unicode(r"\p{Mn}").unwrap_or_default());
    code >= 0x300 && MARKS.has(code)
}

// ---- from outside ----

impl Regex {
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, RegexError> {
        let mut parser = Parser::new(pattern, Flags { ignore_case, ..Flags::default() });
        let tree = parser.alternatives()?;
        if !parser.ended() {
            return refused("a `)` too many");
        }
        let mut compiler =
            Compiler { code: Vec::new(), sets: Vec::new(), registers: 2 * parser.groups };
        compiler.node(&tree);
        compiler.emit(Op::Match);
        let first = match compiler.code.first() {
            Some(Op::Unit(unit)) => Some(*unit),
            _ => None,
        };
        let program = Program {
            code: compiler.code,
            sets: compiler.sets,
            registers: compiler.registers,
            groups: parser.groups,
            whole_characters: parser.supplementary,
            first,
        };
        Ok(Regex { literal: literal(&tree), program, names: parser.names })
    }

    /// The text as this pattern searches it.
    pub fn subject<'t>(&self, text: &'t str) -> Subject<'t> {
        if text.is_ascii() || self.literal.as_deref().is_some_and(|literal| !literal.is_empty()) {
            Subject::Bytes(text)
        } else {
            Subject::Units(text::units(text).collect())
        }
    }

    /// Whether the whole text matches. Each step is taken off the budget.
    pub fn matches(&self, text: &str, budget: &mut u64) -> Result<bool, RegexError> {
        if let Some(literal) = &self.literal {
            return Ok(text == literal);
        }
        let found = match self.subject(text) {
            Subject::Bytes(text) => self.matcher(text.as_bytes(), budget, true).search(0)?,
            Subject::Units(units) => self.matcher(units.as_slice(), budget, true).search(0)?,
        };
        Ok(found.is_some())
    }

    fn matcher<'m, U: Units + ?Sized>(
        &'m self,
        text: &'m U,
        budget: &'m mut u64,
        whole: bool,
    ) -> Matcher<'m, U> {
        let registers = vec![-1; self.program.registers];
        Matcher {
            program: &self.program,
            text,
            registers,
            back: Vec::new(),
            budget,
            last: 0,
            whole,
        }
    }

    pub fn named_group(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
    }

    /// The matches that don't overlap, at most so many.
    pub fn find_all(
        &self,
        subject: &Subject,
        most: usize,
        budget: &mut u64,
    ) -> Result<Vec<Groups>, RegexError> {
        match (subject, &self.literal) {
            (Subject::Bytes(text), Some(literal)) if !literal.is_empty() => {
                let found =
                    memchr::memmem::find_iter(text.as_bytes(), literal.as_bytes()).take(most);
                Ok(found.map(|at| vec![Some((at, at + literal.len()))]).collect())
            }
            (Subject::Bytes(text), _) => self.matcher(text.as_bytes(), budget, false).all(most),
            (Subject::Units(units), _) => self.matcher(units.as_slice(), budget, false).all(most),
        }
    }
}

impl<U: Units + ?Sized> Matcher<'_, U> {
    fn all(&mut self, most: usize) -> Result<Vec<Groups>, RegexError> {
        let mut all = Vec::new();
        let mut from = 0;
        while all.len() < most && from <= self.text.len() {
            let Some(groups) = self.search(from)? else { break };
            let (start, end) = groups[0].unwrap_or((from, from));
            self.last = end;
            from = if end > start { end } else { end + 1 };
            all.push(groups);
        }
        Ok(all)
    }
}

/// The pattern as a plain text, if it is one.
fn literal(node: &Node) -> Option<String> {
    let mut out = String::new();
    let nodes = match node {
        Node::Sequence(nodes) => nodes.as_slice(),
        one => std::slice::from_ref(one),
    };
    for node in nodes {
        match node {
            Node::Empty => {}
            Node::Char(code, Fold::Exact) => match char::from_u32(*code) {
                Some(c) => out.push(c),
                None => return None,
            },
            _ => return None,
        }
    }
    Some(out)
}
