//! Template text → tokens.
//!
//! Lexes on demand, because the parser tells the lexer when a directive is none and where an
//! assignment ends. The longest match wins; the states and what they do to each other are those of
//! Velocity 1.7. May not look at values; never panics on any input.

use super::token::{Kind, State, Token};

#[derive(Clone, Copy)]
struct Saved {
    left: u32,
    right: u32,
    state: State,
}

pub(crate) struct Lexer<'s> {
    source: &'s [u8],
    pos: usize,
    state: State,
    stack: Vec<Saved>,
    left: u32,
    right: u32,
    in_comment: bool,
    pub in_set: bool,
    /// End of the run of backslashes looked at last, so that a long run is read once only.
    backslashes_end: usize,
}

/// What matched: a token, text that the next match goes on from, or something to pass over.
enum Match {
    Token(Kind),
    Dollar,
    TextblockStart,
    FormalCommentStart,
    BlockCommentStart,
    Hash,
    More,
    Skip,
    ReferenceEnd,
    DirectiveEnd,
}

fn is_alpha(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}

fn is_word_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'@'
}

/// Which bytes an identifier goes on with: a table, because most of a template's tokens are
/// identifiers.
static IN_IDENTIFIER: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] =
            (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'-' || byte as u8 == b'_';
        byte += 1;
    }
    table
};

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Self {
        Lexer {
            source: source.as_bytes(),
            pos: 0,
            state: State::Default,
            stack: Vec::with_capacity(8),
            left: 0,
            right: 0,
            in_comment: false,
            in_set: false,
            backslashes_end: 0,
        }
    }

    pub fn switch_to_directive(&mut self) {
        self.state = State::Directive;
    }

    /// Whether `(` follows, with blanks and line breaks before it or none.
    pub fn left_paren_follows(&self) -> bool {
        let rest = self.source.get(self.pos..).unwrap_or(&[]);
        rest.iter().find(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) == Some(&b'(')
    }

    pub fn pop(&mut self) -> bool {
        match self.stack.pop() {
            Some(Saved { left, right, state }) => {
                self.left = left;
                self.right = right;
                self.state = state;
                true
            }
            None => {
                self.left = 0;
                self.state = State::Default;
                false
            }
        }
    }

    fn push(&mut self) {
        self.stack.push(Saved { left: self.left, right: self.right, state: self.state });
        self.left = 0;
    }

    /// `)` in a directive: drops down to below the state that holds the open parenthesis.
    fn right_paren(&mut self) {
        if self.in_comment {
            return;
        }
        loop {
            if self.left > 0 {
                if self.left == self.right + 1 {
                    self.pop();
                } else {
                    self.right += 1;
                }
                return;
            }
            if !self.pop() {
                return;
            }
        }
    }

    fn at(&self, offset: usize) -> u8 {
        self.source.get(self.pos + offset).copied().unwrap_or(0)
    }

    fn starts_with(&self, text: &[u8]) -> bool {
        self.source.get(self.pos..).is_some_and(|rest| rest.starts_with(text))
    }

    /// The next token. Nothing comes behind one that is `Invalid` or `Unfinished`.
    pub fn next(&mut self) -> Token {
        let mut special = (0u32, 0u32);
        'token: loop {
            let begin = self.pos;
            if begin >= self.source.len() {
                return Token { kind: Kind::Eof, start: begin as u32, end: begin as u32, special };
            }
            loop {
                let Some((found, length)) = self.longest() else {
                    return Token {
                        kind: Kind::Invalid,
                        start: self.pos as u32,
                        end: self.pos as u32,
                        special,
                    };
                };
                self.pos += length;
                match found {
                    Match::Token(kind) => {
                        let mut token =
                            Token { kind, start: begin as u32, end: self.pos as u32, special };
                        self.after(&mut token);
                        return token;
                    }
                    Match::ReferenceEnd | Match::DirectiveEnd => {
                        // The character that ended the reference or directive is read again, in the
                        // state below.
                        if special == (0, 0) {
                            special = (begin as u32, self.pos as u32);
                        } else {
                            special.1 = self.pos as u32;
                        }
                        self.pos -= 1;
                        self.pop();
                        continue 'token;
                    }
                    Match::Skip => continue 'token,
                    Match::More => {}
                    Match::Dollar => {
                        if !self.in_comment {
                            if self.state == State::Reference {
                                self.pop();
                            }
                            self.push();
                            self.state = State::Reference;
                        }
                    }
                    Match::TextblockStart => {
                        if !self.in_comment {
                            self.in_comment = true;
                            self.push();
                            self.state = State::Textblock;
                        }
                    }
                    Match::FormalCommentStart => {
                        if !self.in_comment {
                            self.pos -= 1;
                            self.in_comment = true;
                            self.push();
                            self.state = State::FormalComment;
                        }
                    }
                    Match::BlockCommentStart => {
                        if !self.in_comment {
                            self.in_comment = true;
                            self.push();
                            self.state = State::BlockComment;
                        }
                    }
                    Match::Hash => {
                        if !self.in_comment {
                            if matches!(self.state, State::Reference | State::ReferenceModifier) {
                                self.pop();
                            }
                            self.push();
                            self.state = State::PreDirective;
                        }
                    }
                }
                if self.pos >= self.source.len() {
                    return Token {
                        kind: Kind::Unfinished,
                        start: begin as u32,
                        end: self.pos as u32,
                        special,
                    };
                }
            }
        }
    }

    /// What a token does to the state of the lexer.
    fn after(&mut self, token: &mut Token) {
        match token.kind {
            Kind::IndexLeft => {
                self.push();
                self.state = State::Index;
            }
            Kind::IndexRight | Kind::ReferenceRightBrace => {
                self.pop();
            }
            Kind::LeftParen => {
                if !self.in_comment {
                    self.left += 1;
                }
                if self.state == State::ReferenceModifier {
                    self.state = State::MethodArguments;
                }
            }
            Kind::RightParen => self.right_paren(),
            Kind::MethodRightParen => self.state = State::Reference,
            Kind::Set if !self.in_comment => {
                self.push();
                self.in_set = true;
                self.state = State::Directive;
                self.left += 1;
            }
            Kind::LineCommentStart if !self.in_comment => {
                if self.state == State::Reference {
                    self.pop();
                }
                self.in_comment = true;
                self.push();
                self.state = State::LineComment;
            }
            Kind::LineCommentEnd | Kind::FormalComment | Kind::BlockComment | Kind::Textblock => {
                self.in_comment = false;
                self.pop();
            }
            Kind::StringLiteral
                if self.state == State::Directive && !self.in_set && self.left == 0 =>
            {
                self.pop();
            }
            Kind::Newline => {
                self.pop();
                self.in_set = false;
            }
            Kind::End | Kind::Else => {
                self.pop();
            }
            Kind::If | Kind::ElseIf => self.state = State::Directive,
            Kind::Integer => {
                if self.source[..self.pos].ends_with(b"..") {
                    self.pos -= 2;
                    token.end -= 2;
                }
                if self.left == 0
                    && !self.in_set
                    && !matches!(self.state, State::MethodArguments | State::Index)
                {
                    self.pop();
                }
            }
            Kind::Float
                if self.left == 0 && !self.in_set && self.state != State::MethodArguments =>
            {
                self.pop();
            }
            Kind::Dot => {
                // The letter behind the dot belongs to the identifier that follows.
                self.pos -= 1;
                token.end -= 1;
                token.start = token.end - 1;
                self.state = State::ReferenceModifier;
            }
            _ => {}
        }
    }

    /// The longest match at the current position in the current state.
    fn longest(&mut self) -> Option<(Match, usize)> {
        let byte = self.source[self.pos];
        match self.state {
            State::Default => self.in_default(byte),
            State::Reference | State::ReferenceModifier => self.in_reference(byte),
            State::PreDirective => self.in_pre_directive(byte),
            State::Directive => self.in_directive(byte),
            State::MethodArguments => self.in_method_arguments(byte),
            State::Index => self.in_index(byte),
            State::LineComment => match byte {
                b'\r' if self.at(1) == b'\n' => Some((Match::Token(Kind::LineCommentEnd), 2)),
                b'\n' | b'\r' => Some((Match::Token(Kind::LineCommentEnd), 1)),
                _ => self.everywhere(byte).or(Some((Match::Skip, 1))),
            },
            State::BlockComment | State::FormalComment => {
                if byte == b'*' && self.at(1) == b'#' {
                    let kind = if self.state == State::BlockComment {
                        Kind::BlockComment
                    } else {
                        Kind::FormalComment
                    };
                    return Some((Match::Token(kind), 2));
                }
                self.everywhere(byte).or(Some((Match::Skip, 1)))
            }
            State::Textblock => {
                if self.starts_with(b"]]#") {
                    return Some((Match::Token(Kind::Textblock), 3));
                }
                self.everywhere(byte).or(Some((Match::More, 1)))
            }
        }
    }

    /// What exists in every state: the start of a reference, a comment, a text block or a
    /// directive.
    fn everywhere(&mut self, byte: u8) -> Option<(Match, usize)> {
        match byte {
            b'$' => Some((Match::Dollar, self.dollar(0))),
            b'\\' => {
                let run = self.backslashes();
                (self.at(run) == b'$').then(|| (Match::Dollar, self.dollar(run)))
            }
            b'#' => Some(if self.starts_with(b"#[[") {
                (Match::TextblockStart, 3)
            } else if self.starts_with(b"#**")
                && self.pos + 3 < self.source.len()
                && self.at(3) != b'#'
            {
                (Match::FormalCommentStart, 4)
            } else if self.at(1) == b'*' {
                (Match::BlockCommentStart, 2)
            } else {
                (Match::Hash, 1)
            }),
            _ => None,
        }
    }

    /// Length of the run of backslashes at the current position.
    fn backslashes(&mut self) -> usize {
        if self.backslashes_end <= self.pos {
            let run = self.source[self.pos..].iter().take_while(|byte| **byte == b'\\').count();
            self.backslashes_end = self.pos + run;
        }
        self.backslashes_end - self.pos
    }

    /// Length of `$` or `$!` (backslashes may stand between the two) at `offset`, counted from the
    /// current position.
    fn dollar(&self, offset: usize) -> usize {
        let mut behind = offset + 1;
        while self.at(behind) == b'\\' {
            behind += 1;
        }
        if self.at(behind) == b'!' { behind + 1 } else { offset + 1 }
    }

    /// `#set(` or `#{set}(` with blanks before it.
    fn set_directive(&self) -> Option<usize> {
        let mut length = 0;
        while matches!(self.at(length), b' ' | b'\t') {
            length += 1;
        }
        let rest = &self.source[(self.pos + length).min(self.source.len())..];
        length += if rest.starts_with(b"#set") {
            4
        } else if rest.starts_with(b"#{set}") {
            6
        } else {
            return None;
        };
        while self.at(length) == b' ' {
            length += 1;
        }
        (self.at(length) == b'(').then_some(length + 1)
    }

    fn empty_index(&self) -> Option<usize> {
        if self.starts_with(b"$[") || self.starts_with(b"$.") {
            Some(2)
        } else if self.starts_with(b"$![") {
            Some(3)
        } else if self.starts_with(b"$\\![") {
            Some(4)
        } else {
            None
        }
    }

    fn in_default(&mut self, byte: u8) -> Option<(Match, usize)> {
        match byte {
            b'$' => {
                let dollar = self.dollar(0);
                match self.empty_index() {
                    Some(length) if length > dollar => {
                        Some((Match::Token(Kind::EmptyIndex), length))
                    }
                    _ => Some((Match::Dollar, dollar)),
                }
            }
            b'#' => {
                if self.at(1) == b'#' {
                    return Some((Match::Token(Kind::LineCommentStart), 2));
                }
                match self.set_directive() {
                    Some(length) => Some((Match::Token(Kind::Set), length)),
                    None => self.everywhere(byte),
                }
            }
            b'\\' => {
                let run = self.backslashes();
                match self.at(run) {
                    b'$' => Some((Match::Dollar, self.dollar(run))),
                    b'#' if run % 2 == 1 => match self.word_at(run + 1) {
                        0 => Some(self.plain_backslash(run)),
                        length => Some((Match::Token(Kind::EscapeDirective), run + 1 + length)),
                    },
                    _ => Some(self.plain_backslash(run)),
                }
            }
            _ => {
                let rest = &self.source[self.pos..];
                let text = memchr::memchr3(b'$', b'#', b'\\', rest).unwrap_or(rest.len());
                if matches!(byte, b' ' | b'\t')
                    && let Some(length) = self.set_directive()
                    && length > text
                {
                    return Some((Match::Token(Kind::Set), length));
                }
                Some((Match::Token(Kind::Text), text))
            }
        }
    }

    fn plain_backslash(&self, run: usize) -> (Match, usize) {
        if run >= 2 {
            (Match::Token(Kind::DoubleEscape), 2)
        } else {
            (Match::Token(Kind::Escape), 1)
        }
    }

    /// Length of a word or of `{word}` at an offset from the current position, 0 if there is none.
    fn word_at(&self, offset: usize) -> usize {
        let first = self.at(offset);
        if is_alpha(first) || first == b'_' || first == b'@' {
            let mut length = 1;
            while is_word_char(self.at(offset + length)) {
                length += 1;
            }
            return length;
        }
        if first == b'{' {
            return self.bracketed_word_at(offset);
        }
        0
    }

    fn bracketed_word_at(&self, offset: usize) -> usize {
        let second = self.at(offset + 1);
        if !(is_alpha(second) || second == b'_') {
            return 0;
        }
        let mut length = 2;
        while is_word_char(self.at(offset + length)) {
            length += 1;
        }
        if self.at(offset + length) == b'}' { length + 1 } else { 0 }
    }

    fn identifier_or_boolean(&self) -> Option<(Match, usize)> {
        let rest = &self.source[self.pos..];
        if !(is_alpha(rest[0]) || rest[0] == b'_') {
            return None;
        }
        let length =
            rest.iter().position(|byte| !IN_IDENTIFIER[usize::from(*byte)]).unwrap_or(rest.len());
        let kind = match &rest[..length] {
            b"true" => Kind::True,
            b"false" => Kind::False,
            _ => Kind::Identifier,
        };
        Some((Match::Token(kind), length))
    }

    /// In a reference, behind `$` or behind a dot.
    fn in_reference(&mut self, byte: u8) -> Option<(Match, usize)> {
        let plain = self.state == State::Reference;
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.identifier_or_boolean(),
            b'[' => Some((Match::Token(Kind::IndexLeft), 1)),
            b'(' if !plain => Some((Match::Token(Kind::LeftParen), 1)),
            b'{' => Some((Match::Token(Kind::ReferenceLeftBrace), 1)),
            b'}' => Some((Match::Token(Kind::ReferenceRightBrace), 1)),
            b'.' if is_alpha(self.at(1)) => Some((Match::Token(Kind::Dot), 2)),
            b'$' => {
                let dollar = self.dollar(0);
                match self.empty_index() {
                    Some(length) if plain && length > dollar => {
                        Some((Match::Token(Kind::EmptyIndex), length))
                    }
                    _ => Some((Match::Dollar, dollar)),
                }
            }
            b' ' | b'\t' | b'#' => {
                if let Some(length) = self.set_directive() {
                    return Some((Match::Token(Kind::Set), length));
                }
                if byte == b'#' {
                    if plain && self.at(1) == b'#' {
                        return Some((Match::Token(Kind::LineCommentStart), 2));
                    }
                    return self.everywhere(byte);
                }
                Some((Match::ReferenceEnd, 1))
            }
            b'\\' => self.everywhere(byte).or(Some((Match::ReferenceEnd, 1))),
            _ => Some((Match::ReferenceEnd, 1)),
        }
    }

    /// Length of an optional run of blanks and a line break, at an offset; 0 without a line break.
    fn line_rest(&self, offset: usize) -> usize {
        let mut length = 0;
        while matches!(self.at(offset + length), b' ' | b'\t') {
            length += 1;
        }
        match self.at(offset + length) {
            b'\r' if self.at(offset + length + 1) == b'\n' => length + 2,
            b'\n' | b'\r' => length + 1,
            _ => 0,
        }
    }

    fn in_pre_directive(&mut self, byte: u8) -> Option<(Match, usize)> {
        if byte == b'#' && self.at(1) == b'#' {
            return Some((Match::Token(Kind::LineCommentStart), 2));
        }
        if let Some(found) = self.everywhere(byte) {
            return Some(found);
        }
        if let Some(found) = self.number() {
            return Some(found);
        }
        let length = self.word_at(0);
        if length == 0 {
            return Some((Match::DirectiveEnd, 1));
        }
        let word = &self.source[self.pos..self.pos + length];
        let (name, bracketed) =
            if byte == b'{' { (&word[1..length - 1], true) } else { (word, false) };
        Some(match name {
            b"end" => (Match::Token(Kind::End), length + self.line_rest(length)),
            b"if" => (Match::Token(Kind::If), length),
            b"elseif" => (Match::Token(Kind::ElseIf), length),
            b"else" => (Match::Token(Kind::Else), length + self.line_rest(length)),
            _ => (Match::Token(if bracketed { Kind::BracketedWord } else { Kind::Word }), length),
        })
    }

    /// An integer (two dots behind it are looked at too, so that `1..3` isn't `1.`) or a number
    /// with a point or an exponent.
    fn number(&self) -> Option<(Match, usize)> {
        let sign = usize::from(self.at(0) == b'-');
        let digits = |from: usize| {
            let mut length = 0;
            while self.at(from + length).is_ascii_digit() {
                length += 1;
            }
            length
        };
        let exponent = |from: usize| {
            if !matches!(self.at(from), b'e' | b'E') {
                return 0;
            }
            let mark = 1 + usize::from(matches!(self.at(from + 1), b'+' | b'-'));
            match digits(from + mark) {
                0 => 0,
                length => mark + length,
            }
        };
        let whole = digits(sign);
        if whole == 0 {
            if self.at(sign) != b'.' {
                return None;
            }
            let fraction = digits(sign + 1);
            if fraction == 0 {
                return None;
            }
            let length = sign + 1 + fraction;
            return Some((Match::Token(Kind::Float), length + exponent(length)));
        }
        let mut integer = sign + whole;
        let mut float = 0;
        if self.at(integer) == b'.' {
            let fraction = digits(integer + 1);
            float = integer + 1 + fraction;
            float += exponent(float);
            if self.at(integer + 1) == b'.' {
                integer += 2;
            }
        } else {
            let power = exponent(integer);
            if power > 0 {
                float = integer + power;
            }
        }
        Some(if float > integer {
            (Match::Token(Kind::Float), float)
        } else {
            (Match::Token(Kind::Integer), integer)
        })
    }

    /// A quoted string; a doubled quote inside stands for one, if a closing quote follows.
    fn string(&self, quote: u8) -> Option<(Match, usize)> {
        let rest = &self.source[self.pos..];
        let mut from = 1;
        let mut best = None;
        while let Some(at) = memchr::memchr(quote, rest.get(from..)?) {
            let closing = from + at;
            best = Some(closing + 1);
            if rest.get(closing + 1) != Some(&quote) {
                break;
            }
            from = closing + 2;
        }
        best.map(|length| (Match::Token(Kind::StringLiteral), length))
    }

    fn blanks(&self) -> (Match, usize) {
        let mut length = 1;
        while matches!(self.at(length), b' ' | b'\t' | b'\n' | b'\r') {
            length += 1;
        }
        (Match::Token(Kind::Blank), length)
    }

    fn in_index(&mut self, byte: u8) -> Option<(Match, usize)> {
        match byte {
            b']' => Some((Match::Token(Kind::IndexRight), 1)),
            b' ' | b'\t' | b'\n' | b'\r' => Some(self.blanks()),
            b'"' | b'\'' => self.string(byte),
            b't' if self.starts_with(b"true") => Some((Match::Token(Kind::True), 4)),
            b'f' if self.starts_with(b"false") => Some((Match::Token(Kind::False), 5)),
            _ => self.everywhere(byte).or_else(|| self.number()),
        }
    }

    fn in_method_arguments(&mut self, byte: u8) -> Option<(Match, usize)> {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.identifier_or_boolean(),
            b'[' => Some((Match::Token(Kind::LeftBracket), 1)),
            b']' => Some((Match::Token(Kind::RightBracket), 1)),
            b',' => Some((Match::Token(Kind::Comma), 1)),
            b':' => Some((Match::Token(Kind::Colon), 1)),
            b'{' => Some((Match::Token(Kind::LeftBrace), 1)),
            b'}' => Some((Match::Token(Kind::RightBrace), 1)),
            b')' => Some((Match::Token(Kind::MethodRightParen), 1)),
            b'"' | b'\'' => self.string(byte),
            b'.' => match self.number() {
                Some(found) => Some(found),
                None if self.at(1) == b'.' => Some((Match::Token(Kind::DoubleDot), 2)),
                None if is_alpha(self.at(1)) => Some((Match::Token(Kind::Dot), 2)),
                None => None,
            },
            b' ' | b'\t' | b'\n' | b'\r' | b'#' => {
                let blanks = if byte == b'#' { None } else { Some(self.blanks()) };
                let set = self.set_directive();
                match (blanks, set) {
                    (Some(blanks), Some(set)) if set <= blanks.1 => Some(blanks),
                    (_, Some(set)) => Some((Match::Token(Kind::Set), set)),
                    (Some(blanks), None) => Some(blanks),
                    (None, None) => self.everywhere(byte),
                }
            }
            _ => self.everywhere(byte).or_else(|| self.number()),
        }
    }

    fn in_directive(&mut self, byte: u8) -> Option<(Match, usize)> {
        let token = |kind, length| Some((Match::Token(kind), length));
        match byte {
            b'[' => token(Kind::LeftBracket, 1),
            b']' => token(Kind::RightBracket, 1),
            b',' => token(Kind::Comma, 1),
            b':' => token(Kind::Colon, 1),
            b'{' => match self.bracketed_word_at(0) {
                0 => token(Kind::LeftBrace, 1),
                length => token(Kind::BracketedWord, length),
            },
            b'}' => token(Kind::RightBrace, 1),
            b'(' => token(Kind::LeftParen, 1),
            b')' => token(Kind::RightParen, 1 + self.line_rest(1)),
            b'"' | b'\'' => self.string(byte),
            b' ' | b'\t' | b'\n' | b'\r' => Some(self.blanks()),
            b'+' => token(Kind::Plus, 1),
            b'*' => token(Kind::Multiply, 1),
            b'/' => token(Kind::Divide, 1),
            b'%' => token(Kind::Modulus, 1),
            b'-' => self.number().or_else(|| token(Kind::Minus, 1)),
            b'.' => match self.number() {
                Some(found) => Some(found),
                None if self.at(1) == b'.' => token(Kind::DoubleDot, 2),
                None => None,
            },
            b'&' if self.at(1) == b'&' => token(Kind::And, 2),
            b'|' if self.at(1) == b'|' => token(Kind::Or, 2),
            b'<' if self.at(1) == b'=' => token(Kind::LessEqual, 2),
            b'<' => token(Kind::Less, 1),
            b'>' if self.at(1) == b'=' => token(Kind::GreaterEqual, 2),
            b'>' => token(Kind::Greater, 1),
            b'=' if self.at(1) == b'=' => token(Kind::Equal, 2),
            b'=' => token(Kind::Assign, 1),
            b'!' if self.at(1) == b'=' => token(Kind::NotEqual, 2),
            b'!' => token(Kind::Not, 1),
            b'#' if self.at(1) == b'#' => token(Kind::LineCommentStart, 2),
            b'$' | b'\\' | b'#' => self.everywhere(byte),
            b'0'..=b'9' => self.number(),
            _ => {
                let length = self.word_at(0);
                if length == 0 {
                    return None;
                }
                let kind = match &self.source[self.pos..self.pos + length] {
                    b"true" => Kind::True,
                    b"false" => Kind::False,
                    b"and" => Kind::And,
                    b"or" => Kind::Or,
                    b"lt" => Kind::Less,
                    b"le" => Kind::LessEqual,
                    b"gt" => Kind::Greater,
                    b"ge" => Kind::GreaterEqual,
                    b"eq" => Kind::Equal,
                    b"ne" => Kind::NotEqual,
                    b"not" => Kind::Not,
                    _ => Kind::Word,
                };
                token(kind, length)
            }
        }
    }
}
