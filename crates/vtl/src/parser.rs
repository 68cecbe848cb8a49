//! Tokens → tree, by recursive descent, one function per rule of Velocity 1.7's grammar, in order
//! of precedence.
//!
//! Errors are raised bare and get their place in one spot. May not look at values.

use std::{borrow::Cow, collections::HashMap};

use num_bigint::BigInt;

use super::{
    ast::{
        Before, Block, Branch, Chain, Expr, FIXED_NAMES, Foreach, Interpolated, Link, Load, Many,
        Node, Operator, Reference, ReferenceKind, Region, Set, Slot, Span, Step, StepKind, Tree,
    },
    error::{Error, ErrorKind},
    lexer::Lexer,
    token::{Kind, Token},
};

/// Deeper nesting of directives, parentheses, lists and arguments than this is refused.
pub(crate) const MAX_DEPTH: u32 = 200;

/// Bytes. Source: API Gateway quotas, "Mapping template size".
pub(crate) const MAX_TEMPLATE: usize = 300 * 1024;

/// An error with the range of the pool it is about.
pub(crate) struct Raised {
    pub error: Error,
    pub span: Span,
}

type Parsed<T> = Result<T, Raised>;

/// What Velocity does with a node after the whole text is parsed, in its order.
enum Later {
    /// Parse the text of a string as a template.
    String {
        index: usize,
        text: String,
        written: Span,
        exact: bool,
    },
    Fail(Raised),
}

/// Names shared by a template and the strings in it.
#[derive(Default)]
struct Names {
    list: Vec<Cow<'static, str>>,
    /// Kept once there are many.
    index: Option<HashMap<Box<str>, Slot>>,
}

impl Names {
    fn slot(&mut self, name: &str) -> Slot {
        const FEW: usize = 24;
        let known = match &self.index {
            Some(index) => index.get(name).copied(),
            None => self.list.iter().position(|known| *known == name).map(|at| at as Slot),
        };
        if let Some(known) = known {
            return known;
        }
        let slot = self.list.len() as Slot;
        self.list.push(Cow::Owned(name.to_owned()));
        if let Some(index) = &mut self.index {
            index.insert(name.into(), slot);
        } else if self.list.len() > FEW {
            self.index = Some(
                self.list
                    .iter()
                    .enumerate()
                    .map(|(at, name)| (Box::from(&**name), at as Slot))
                    .collect(),
            );
        }
        slot
    }
}

/// State shared by the parse of a template and of the strings in it.
#[derive(Default)]
struct Shared {
    tree: Tree,
    names: Names,
    macros: Vec<Box<str>>,
    unverified: Vec<&'static str>,
    foreachs: u32,
    depth: u32,
    /// Tokens of the text that is being parsed.
    tokens: Vec<Token>,
    // Parts of what isn't finished yet: they move into the tree's tables when it is.
    nodes: Vec<Node>,
    expressions: Vec<Expr>,
    steps: Vec<Step>,
    links: Vec<Link>,
    branches: Vec<Branch>,
}

struct Parser<'s> {
    source: &'s str,
    /// Where `source` starts in the pool.
    base: u32,
    lexer: Lexer<'s>,
    shared: &'s mut Shared,
    /// The first token that isn't consumed.
    next: usize,
    /// The first node of the innermost block.
    block: usize,
    later: Vec<Later>,
    /// Which references start at a token of the look-ahead, and where they end.
    scanned: Option<HashMap<usize, Option<usize>>>,
    /// Whether the image of a token inside the current node was changed (escapes taken off).
    changed: bool,
}

pub(crate) fn parse(source: &str) -> Result<Tree, Box<(Raised, Tree)>> {
    let mut shared = Shared::default();
    shared.tree.source = source.len();
    shared.tree.pool = source.to_owned();
    if source.len() > MAX_TEMPLATE {
        let error = Error::limit(format!(
            "the template has {} bytes; API Gateway takes at most {MAX_TEMPLATE}",
            source.len()
        ))
        .help("shorten it, or let the function do what the template does");
        return Err(Box::new((Raised { error, span: Span::default() }, shared.tree)));
    }
    shared.tree.reserve(source.len());
    shared.tokens.reserve((source.len() / 4).clamp(8, 4096));
    shared.names.list.reserve(16);
    shared.names.list.extend(FIXED_NAMES.iter().map(|name| Cow::Borrowed(*name)));
    let parsed = parse_text(source, 0, &mut shared);
    let Shared { mut tree, names, .. } = shared;
    tree.names = names.list;
    match parsed {
        Ok(body) => {
            tree.body = body;
            Ok(tree)
        }
        Err(raised) => Err(Box::new((raised, tree))),
    }
}

/// Parses a text that stands at `base` in the pool, then the strings in it that are templates.
fn parse_text(source: &str, base: u32, shared: &mut Shared) -> Parsed<Block> {
    shared.tokens.clear();
    let lexer = Lexer::new(source);
    let mut parser = Parser {
        source,
        base,
        lexer,
        shared,
        next: 0,
        block: 0,
        later: Vec::new(),
        scanned: None,
        changed: false,
    };
    let body = parser.process()?;
    for task in parser.later {
        match task {
            Later::Fail(raised) => return Err(raised),
            Later::String { index, text, written, exact } => {
                let start = shared.tree.pool.len() as u32;
                shared.tree.pool.push_str(&text);
                shared.tree.regions.push(Region { start, written, exact });
                shared.depth += 1;
                if shared.depth > MAX_DEPTH {
                    return Err(Raised { error: too_deep(), span: written });
                }
                let body = parse_text(&text, start, shared)?;
                shared.depth -= 1;
                shared.tree.strings[index].body = body;
            }
        }
    }
    Ok(body)
}

fn too_deep() -> Error {
    Error::limit(format!(
        "directives, parentheses or arguments are nested more than {MAX_DEPTH} deep"
    ))
    .help("assign inner parts to variables with #set")
}

/// Directives that Velocity has as classes; those of the grammar itself (`if`, `set`, …) aren't
/// among them.
fn is_directive(name: &str) -> bool {
    matches!(
        name,
        "foreach" | "include" | "parse" | "macro" | "literal" | "break" | "define" | "stop"
    )
}

/// Methods that change the list or map they are called on.
fn changes_value(method: &str) -> bool {
    matches!(
        method,
        "put"
            | "putAll"
            | "putIfAbsent"
            | "add"
            | "addAll"
            | "set"
            | "setValue"
            | "remove"
            | "removeAll"
            | "retainAll"
            | "replace"
            | "clear"
            | "merge"
    )
}

fn starts_statement(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::LeftParen
            | Kind::RightParen
            | Kind::EscapeDirective
            | Kind::Set
            | Kind::LineCommentStart
            | Kind::DoubleEscape
            | Kind::Escape
            | Kind::Text
            | Kind::FormalComment
            | Kind::BlockComment
            | Kind::Textblock
            | Kind::StringLiteral
            | Kind::If
            | Kind::Integer
            | Kind::Float
            | Kind::Word
            | Kind::BracketedWord
            | Kind::Identifier
            | Kind::Dot
            | Kind::ReferenceLeftBrace
            | Kind::ReferenceRightBrace
            | Kind::EmptyIndex
    )
}

fn starts_parameter(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::LeftBracket
            | Kind::LeftBrace
            | Kind::Blank
            | Kind::StringLiteral
            | Kind::True
            | Kind::False
            | Kind::Integer
            | Kind::Float
            | Kind::Identifier
            | Kind::ReferenceLeftBrace
    )
}

fn starts_argument(kind: Kind) -> bool {
    kind == Kind::Word || (kind != Kind::Blank && starts_parameter(kind))
}

impl<'s> Parser<'s> {
    // ---- tokens ----

    /// The kind of the n-th token that isn't consumed yet, counted from 0.
    #[inline]
    fn peek(&mut self, ahead: usize) -> Kind {
        let at = self.next + ahead;
        match self.shared.tokens.get(at) {
            Some(token) => token.kind,
            None => self.read(at),
        }
    }

    /// Reads tokens up to the one at `at`; where no token can start, the last one is repeated.
    fn read(&mut self, at: usize) -> Kind {
        while self.shared.tokens.len() <= at {
            let token = match self.shared.tokens.last() {
                Some(last) if matches!(last.kind, Kind::Invalid | Kind::Unfinished) => *last,
                _ => self.lexer.next(),
            };
            self.shared.tokens.push(token);
        }
        self.shared.tokens[at].kind
    }

    /// Consumes the next token, whatever it is.
    fn take(&mut self) -> usize {
        self.peek(0);
        self.next += 1;
        self.next - 1
    }

    fn expect(&mut self, kind: Kind, what: &str) -> Parsed<usize> {
        if self.peek(0) == kind { Ok(self.take()) } else { Err(self.unexpected(what)) }
    }

    fn accept(&mut self, kind: Kind) -> bool {
        let found = self.peek(0) == kind;
        if found {
            self.next += 1;
        }
        found
    }

    fn image(&self, token: usize) -> &'s str {
        let token = &self.shared.tokens[token];
        self.source.get(token.start as usize..token.end as usize).unwrap_or("")
    }

    fn span(&self, first: usize, last: usize) -> Span {
        Span::new(
            self.shared.tokens[first].start + self.base,
            self.shared.tokens[last].end + self.base,
        )
    }

    /// From the start of a token to the end of the last one consumed.
    fn span_from(&self, first: usize) -> Span {
        self.span(first, (self.next - 1).max(first))
    }

    /// What the lexer passed over right before a token and is printed: `$` and `#`, and backslashes
    /// before a `$`.
    fn special(&self, token: usize) -> String {
        let (start, end) = self.shared.tokens[token].special;
        if end == 0 {
            return String::new();
        }
        let text = &self.source.as_bytes()[start as usize..end as usize];
        let mut out = String::new();
        let mut i = 0;
        while i < text.len() {
            match text[i] {
                byte @ (b'$' | b'#') => out.push(byte as char),
                b'\\' => {
                    let run = text[i..].iter().take_while(|byte| **byte == b'\\').count();
                    if text.get(i + run) == Some(&b'$') {
                        out.extend(std::iter::repeat_n('\\', run));
                        out.push('$');
                        // Velocity goes on one character too far.
                        i += run + 1;
                    }
                }
                _ => {}
            }
            i += 1;
        }
        out
    }

    fn raise_at(
        &self,
        start: u32,
        end: u32,
        message: impl Into<String>,
        help: Option<&str>,
    ) -> Raised {
        let mut error = Error::new(ErrorKind::Parse, "ParseErrorException", message);
        if let Some(help) = help {
            error = error.help(help);
        }
        Raised { error, span: Span::new(start + self.base, end + self.base) }
    }

    fn raise(&self, token: usize, message: impl Into<String>, help: Option<&str>) -> Raised {
        let Token { start, end, .. } = self.shared.tokens[token];
        self.raise_at(start, end, message, help)
    }

    /// The lexer can't go on.
    fn stuck(&self, Token { kind, start, .. }: Token) -> Raised {
        let rest = self.source.get(start as usize..).unwrap_or("");
        let (message, help) = if kind == Kind::Unfinished {
            (
                format!("the template ends in the middle of `{}`", head(rest)),
                "a `$` or `#` can't be the last character; write `#set($dollar = '$')` and `$dollar`, or put text behind it",
            )
        } else {
            let wrong = rest.chars().next().unwrap_or(' ');
            (
                format!("`{wrong}` can't stand here"),
                match wrong {
                    '"' | '\'' => {
                        "the quote is never closed; inside a string a quote is written twice, there are no backslash escapes"
                    }
                    '&' => "write `&&`",
                    '|' => "write `||`",
                    '+' | '-' | '*' | '/' | '%' => {
                        "nothing can be calculated inside an argument; assign it first: `#set($sum = $a + $b)`"
                    }
                    _ => "check for a parenthesis or a quote that is missing before it",
                },
            )
        };
        self.raise_at(start, start + 1, message, Some(help))
    }

    /// The next token isn't what the grammar asks for.
    #[cold]
    fn unexpected(&self, wanted: &str) -> Raised {
        if let Some(last) = self
            .shared
            .tokens
            .last()
            .filter(|last| matches!(last.kind, Kind::Invalid | Kind::Unfinished))
        {
            return self.stuck(*last);
        }
        let token = self.next.min(self.shared.tokens.len() - 1);
        let kind = self.shared.tokens[token].kind;
        let image = self.image(token);
        let found = match kind {
            Kind::Eof => "the end of the template".to_owned(),
            Kind::Blank => "a blank".to_owned(),
            _ => format!("`{}`", head(image.trim_end())),
        };
        let start = self.shared.tokens[token].start as usize;
        let before = self.source.get(..start).unwrap_or("");
        // The line up to here, without the argument that is being looked at.
        let line = before.rsplit('\n').next().unwrap_or("");
        let directive = line.rfind('#').and_then(|at| line.get(at..)).unwrap_or("");
        let help = match kind {
            _ if line.ends_with("$.")
                || (line.contains("($.")
                    && kind != Kind::Eof
                    && !line.contains("('$.")
                    && !line.contains("(\"$.")) =>
            {
                "a JSONPath stands in quotes: `$input.json('$.name')`"
            }
            _ if directive.starts_with("#elsif")
                || directive.starts_with("#elif")
                || directive.starts_with("#else if") =>
            {
                "did you mean `#elseif`?"
            }
            Kind::Word if before.ends_with("\\\"") || before.ends_with("\\'") => {
                "the string ended at the quote before it: there are no backslash escapes, inside a string its quote is written twice"
            }
            Kind::Word if before.ends_with(['"', '\'']) => {
                "the string ended at the quote before it; inside a string its quote is written twice, as in 'it''s'"
            }
            Kind::Word if directive.starts_with("#set(") && directive.len() < 8 => {
                "what is assigned to is a reference: `#set($name = …)`"
            }
            Kind::ReferenceRightBrace | Kind::Text
                if self.source.get(start..start + 1) == Some("\"") && line.contains("${") =>
            {
                "a `${` is not closed; write `}` behind the name or the last `)`"
            }
            Kind::Eof => {
                "a directive, a parenthesis or a bracket that was opened is not closed; every #if, #foreach and #define needs its #end"
            }
            Kind::End => {
                "there is an #end too many, or the directive it should close is inside a string or a comment"
            }
            Kind::Else | Kind::ElseIf => "it stands outside of any #if",
            Kind::Word if image == "null" => {
                "there is no null; compare with \"\" instead, which is what a missing value is"
            }
            Kind::Integer if image.starts_with('-') => {
                "put blanks around the minus sign: `5 - 7`, or it is taken as the sign of the number"
            }
            Kind::Assign => "compare with `==`; inside a condition `=` means nothing",
            _ => "check the parentheses, commas and quotes before it",
        };
        self.raise(token, format!("expected {wanted}, found {found}"), Some(help))
    }

    fn enter(&mut self) -> Parsed<()> {
        self.shared.depth += 1;
        if self.shared.depth > MAX_DEPTH {
            let token = self.next.min(self.shared.tokens.len().saturating_sub(1));
            let span = if self.shared.tokens.is_empty() {
                Span::default()
            } else {
                self.span(token, token)
            };
            return Err(Raised { error: too_deep(), span });
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.shared.depth -= 1;
    }

    /// Notes an error that Velocity raises only after the whole text is parsed.
    fn fail_later(
        &mut self,
        token: usize,
        class: &'static str,
        message: impl Into<String>,
        help: &str,
    ) {
        let span = self.span(token, token);
        let error = Error::new(ErrorKind::Parse, class, message).help(help);
        self.later.push(Later::Fail(Raised { error, span }));
    }

    // ---- statements ----

    fn process(&mut self) -> Parsed<Block> {
        let body = self.block()?;
        if self.peek(0) != Kind::Eof {
            return Err(self.unexpected("text, a reference or a directive"));
        }
        Ok(body)
    }

    fn block(&mut self) -> Parsed<Block> {
        self.enter()?;
        let outer = std::mem::replace(&mut self.block, self.shared.nodes.len());
        while starts_statement(self.peek(0)) {
            self.statement()?;
        }
        let block = self.shared.tree.keep_from(&mut self.shared.nodes, self.block);
        self.block = outer;
        self.leave();
        Ok(block)
    }

    fn push(&mut self, node: Node) {
        self.shared.nodes.push(node);
    }

    fn push_text(&mut self, span: Span) {
        if span.is_empty() {
            return;
        }
        if let Some(Node::Text(last)) = self.shared.nodes[self.block..].last_mut()
            && last.end == span.start
        {
            last.end = span.end;
            return;
        }
        self.push(Node::Text(span));
    }

    /// Puts a text that isn't a part of the template into the pool.
    fn made(&mut self, text: &str) -> Span {
        let pool = &mut self.shared.tree.pool;
        let start = pool.len() as u32;
        pool.push_str(text);
        Span::new(start, pool.len() as u32)
    }

    fn push_made(&mut self, text: &str) {
        let span = self.made(text);
        self.push_text(span);
    }

    fn statement(&mut self) -> Parsed<()> {
        match self.peek(0) {
            Kind::If => self.if_statement()?,
            Kind::Identifier => {
                // Velocity looks one token further before it takes the reference.
                self.peek(1);
                let reference = self.reference()?;
                self.push(Node::Reference(reference));
            }
            Kind::ReferenceLeftBrace if self.peek(1) == Kind::Identifier => {
                let reference = self.reference()?;
                self.push(Node::Reference(reference));
            }
            Kind::LineCommentStart => {
                let token = self.take();
                self.accept(Kind::LineCommentEnd);
                self.comment(token);
            }
            Kind::BlockComment | Kind::FormalComment => {
                let token = self.take();
                self.comment(token);
            }
            Kind::Textblock => {
                let token = self.take();
                let span = self.span(token, token);
                self.push_text(Span::new(span.start + 3, span.end - 3));
            }
            Kind::Set => {
                let set = self.set_directive()?;
                let set = self.shared.tree.keep(set);
                self.push(Node::Set(set));
            }
            Kind::EscapeDirective => {
                let token = self.take();
                self.escaped_directive(token);
            }
            Kind::DoubleEscape => self.double_escapes(),
            Kind::Word | Kind::BracketedWord => self.directive()?,
            _ => {
                let token = self.take();
                let special = self.special(token);
                let span = self.span(token, token);
                // The passed-over `$` or `#` usually stands right before the token.
                if special.is_empty() {
                    self.push_text(span);
                } else {
                    let start = span.start - special.len() as u32;
                    if self
                        .source
                        .get((start - self.base) as usize..(span.start - self.base) as usize)
                        == Some(special.as_str())
                    {
                        self.push_text(Span::new(start, span.end));
                    } else {
                        self.push_made(&(special + self.image(token)));
                    }
                }
            }
        }
        Ok(())
    }

    /// A comment prints what the lexer took for a part of its start (`$##`).
    fn comment(&mut self, token: usize) {
        let image = self.image(token);
        let at = image.find("##").or_else(|| image.find("#*")).unwrap_or(0);
        let start = self.shared.tokens[token].start + self.base;
        self.push_text(Span::new(start, start + at as u32));
    }

    fn escaped_directive(&mut self, token: usize) {
        let image = self.image(token);
        let last = image.rfind('\\').unwrap_or(0);
        let name = &image[last + 2..];
        let name =
            name.strip_prefix('{').map_or(name, |inner| inner.strip_suffix('}').unwrap_or(inner));
        let known = is_directive(name)
            || self.shared.macros.iter().any(|known| **known == *name)
            || matches!(name, "if" | "end" | "set" | "else" | "elseif");
        let span = self.span(token, token);
        let dropped = if known { last + 1 - last / 2 } else { 0 };
        // What a #literal around it prints is without them too.
        self.shared.tokens[token].start += dropped as u32;
        self.changed |= dropped > 0;
        self.push_text(Span::new(span.start + dropped as u32, span.end));
    }

    fn double_escapes(&mut self) {
        let first = self.next;
        while self.peek(0) == Kind::DoubleEscape {
            self.next += 1;
        }
        let count = self.next - first;
        let following = self.next;
        let mut control = matches!(
            self.shared.tokens[following].kind,
            Kind::If | Kind::Else | Kind::ElseIf | Kind::End
        );
        if !control && self.shared.tokens[following].kind != Kind::Eof {
            let mut chars = self.image(following).chars();
            chars.next();
            let name = chars.as_str();
            control = is_directive(name) || self.shared.macros.iter().any(|known| **known == *name);
        }
        let start = self.shared.tokens[first].start + self.base;
        let length = if control { count } else { 2 * count };
        self.push_text(Span::new(start, start + length as u32));
    }

    fn if_statement(&mut self) -> Parsed<()> {
        let opening = self.take();
        let outer = self.shared.branches.len();
        self.branch("`(` behind #if")?;
        while self.accept(Kind::ElseIf) {
            self.branch("`(` behind #elseif")?;
        }
        let otherwise = if self.accept(Kind::Else) { Some(self.block()?) } else { None };
        self.end_of(opening, "an #if")?;
        let branches = self.shared.tree.keep_from(&mut self.shared.branches, outer);
        self.push(Node::If { branches, otherwise });
        Ok(())
    }

    /// The `#end` of a directive. Where the template ends without it, the directive is what has to
    /// be looked at.
    fn end_of(&mut self, opening: usize, what: &str) -> Parsed<()> {
        match self.peek(0) {
            Kind::End => {
                self.take();
                Ok(())
            }
            Kind::Eof => {
                let name =
                    self.image(opening).trim_start_matches(['\\', '#', '{']).trim_end_matches('}');
                Err(self.raise(
                    opening,
                    format!("this #{name} has no #end"),
                    Some("write `#end` where its block ends; every #if, #foreach and #define needs one, those inside of it too"),
                ))
            }
            _ => Err(self.unexpected(&format!("#end of {what}"))),
        }
    }

    fn branch(&mut self, wanted: &str) -> Parsed<()> {
        self.accept(Kind::Blank);
        self.expect(Kind::LeftParen, wanted)?;
        let condition = self.expression()?;
        self.expect(Kind::RightParen, "`)` or an operator")?;
        let body = self.block()?;
        self.shared.branches.push(Branch { condition, body });
        Ok(())
    }

    fn set_directive(&mut self) -> Parsed<Set> {
        self.take();
        self.accept(Kind::Blank);
        if !matches!(self.peek(0), Kind::Identifier | Kind::ReferenceLeftBrace) {
            return Err(self.unexpected("a reference to assign to"));
        }
        let target = self.next;
        let left = self.reference()?;
        // By an oddity of Velocity's, what is assigned is called by the text of the first token
        // without its first character.
        let slot = self.shared.names.slot(without_first(self.image(target)));
        self.shared.tree.changes_values |= !left.steps.is_empty();
        self.accept(Kind::Blank);
        self.expect(Kind::Assign, "`=`")?;
        let right = self.expression()?;
        self.expect(Kind::RightParen, "`)` or an operator")?;
        self.lexer.in_set = false;
        self.accept(Kind::Newline);
        Ok(Set { left, slot, right })
    }

    fn directive(&mut self) -> Parsed<()> {
        let token = self.take();
        let image = self.image(token);
        let name: &'s str = if self.shared.tokens[token].kind == Kind::BracketedWord {
            image.get(2..image.len() - 1).unwrap_or("")
        } else {
            image.get(1..).unwrap_or("")
        };
        let known = is_directive(name);
        if let Some(name) = ["break", "literal", "include", "parse"]
            .into_iter()
            .find(|unverified| *unverified == name)
            && !self.shared.unverified.contains(&name)
        {
            let span = self.span(token, token);
            self.shared.unverified.push(name);
            self.shared.tree.unverified.push(span);
        }
        let is_macro = name == "macro";
        let has_block = matches!(name, "foreach" | "macro" | "literal" | "define")
            || (!known && name.starts_with('@'));
        self.lexer.switch_to_directive();
        if !self.lexer.left_paren_follows() {
            if is_macro {
                return Err(self.raise(
                    token,
                    "#macro needs at least a name",
                    Some("API Gateway takes no macros; use #define for a block without arguments"),
                ));
            }
            self.lexer.pop();
            self.bare_directive(token, name, known);
            return Ok(());
        }
        let outer_changed = std::mem::replace(&mut self.changed, false);
        self.accept(Kind::Blank);
        self.expect(Kind::LeftParen, "`(`")?;
        let outer = self.shared.expressions.len();
        // The tokens of the first argument.
        let mut name_tokens = None;
        loop {
            let more = match self.peek(0) {
                Kind::Blank => {
                    let second = self.peek(1);
                    second == Kind::Comma || starts_argument(second)
                }
                Kind::Comma => {
                    let second = self.peek(1);
                    second == Kind::Blank || starts_argument(second)
                }
                kind => starts_argument(kind),
            };
            if !more {
                break;
            }
            self.accept(Kind::Blank);
            if self.accept(Kind::Comma) {
                self.accept(Kind::Blank);
            }
            let first = self.next;
            let argument = self.directive_argument()?;
            let position = self.shared.expressions.len() - outer;
            if matches!(argument, Expr::Word) {
                if known && !(is_macro && position == 0) && !(name == "foreach" && position == 1) {
                    return Err(self.raise(
                        first,
                        format!("`{}` can't be an argument of #{name}", self.image(first)),
                        Some("a reference starts with `$`, a text stands in quotes"),
                    ));
                }
            } else if is_macro && position == 0 {
                return Err(self.raise(
                    first,
                    "the first argument of #macro is its name, without quotes",
                    None,
                ));
            }
            name_tokens.get_or_insert((first, self.next - 1));
            self.shared.expressions.push(argument);
        }
        let arguments = self.shared.tree.keep_from(&mut self.shared.expressions, outer);
        self.accept(Kind::Blank);
        self.expect(Kind::RightParen, "`)` or an argument")?;
        let mut body = Block::default();
        let mut inner = (self.next, self.next);
        if has_block {
            let start = self.next;
            self.peek(0);
            body = self.block()?;
            inner = (start, self.next);
            self.end_of(token, &format!("#{name}"))?;
            if is_macro {
                let Some((name, _)) = name_tokens else {
                    return Err(self.raise(token, "#macro needs a name", None));
                };
                let name = self.image(name);
                self.shared.macros.push(name.into());
            }
        }
        let span = self.span_from(token);
        match name {
            "foreach" => self.foreach(arguments, name_tokens, body, span),
            "define" => self.define(token, arguments, name_tokens, body),
            "macro" => {}
            "literal" => {
                // Prints its first argument, or its block, as it was written.
                let text = match name_tokens {
                    Some((first, last)) => self.literal(first, last),
                    None if inner.0 == inner.1 => {
                        // Velocity looks for the last token of an empty block behind its first, and
                        // never finds it.
                        self.fail_later(
                            token,
                            "NullPointerException",
                            "#literal() without a text",
                            "take it out, or put a text into it",
                        );
                        String::new()
                    }
                    None => self.literal(inner.0, inner.1 - 1),
                };
                self.push_made(&text);
            }
            "stop" => {
                let message = self
                    .only_argument(token, arguments, "stop")
                    .map(|message| self.shared.tree.keep(message));
                self.push(Node::Stop(message));
            }
            "break" => {
                let node = match self.only_argument(token, arguments, "break") {
                    Some(scope) => Node::BreakOf(self.shared.tree.keep(scope), span),
                    None => Node::Break,
                };
                self.push(node);
            }
            "include" | "parse" => self.load(name, arguments, span),
            _ => {
                // Not a directive: printed as it stands, but for what the lexer passed over.
                let word = self.span(token, token);
                self.shared.tree.words.push(word);
                if self.changed
                    || self.shared.tokens[token + 1..self.next]
                        .iter()
                        .any(|inner| inner.special.1 > 0)
                {
                    let text: String = (token..self.next).map(|at| self.image(at)).collect();
                    self.push_made(&text);
                } else {
                    self.push_text(span);
                }
            }
        }
        self.changed |= outer_changed;
        Ok(())
    }

    /// A directive's name without parentheses behind it.
    fn bare_directive(&mut self, token: usize, name: &str, known: bool) {
        let span = self.span(token, token);
        match name {
            "stop" => self.push(Node::Stop(None)),
            "break" => self.push(Node::Break),
            "include" | "parse" => self.load(name, Many::default(), span),
            _ if known => self.fail_later(
                token,
                "NullPointerException",
                format!("#{name} without parentheses"),
                "write its parentheses; to print the word, write `#set($hash = '#')` and `${hash}` before it",
            ),
            _ if name.starts_with('@') => self.push_made(&format!("#{name}")),
            _ => {
                self.shared.tree.words.push(span);
                self.push_text(span);
            }
        }
    }

    fn load(&mut self, name: &str, arguments: Many<Expr>, span: Span) {
        let load = self.shared.tree.keep(Load { include: name == "include", arguments, span });
        self.push(Node::Load(load));
    }

    fn foreach(
        &mut self,
        arguments: Many<Expr>,
        name_tokens: Option<(usize, usize)>,
        body: Block,
        span: Span,
    ) {
        let element = match (self.shared.tree[arguments].first(), name_tokens) {
            (Some(Expr::Reference(reference)), _) => reference.slot,
            (_, Some((name, _))) => self.shared.names.slot(without_first(self.image(name))),
            (_, None) => 0,
        };
        self.shared.foreachs += 1;
        let foreach = self.shared.tree.keep(Foreach {
            element,
            arguments,
            body,
            span,
            id: self.shared.foreachs,
        });
        self.push(Node::Foreach(foreach));
    }

    fn define(
        &mut self,
        token: usize,
        arguments: Many<Expr>,
        name_tokens: Option<(usize, usize)>,
        body: Block,
    ) {
        match name_tokens {
            Some((name, _)) if arguments.len() == 1 => {
                let slot = self.shared.names.slot(without_first(self.image(name)));
                self.shared.tree.defines = true;
                self.push(Node::Define { slot, body });
            }
            _ => self.fail_later(
                token,
                "VelocityException",
                "#define takes exactly one name",
                "write `#define($name)…#end`",
            ),
        }
    }

    /// The last argument of a directive that takes at most one.
    fn only_argument(&mut self, token: usize, arguments: Many<Expr>, name: &str) -> Option<Expr> {
        if arguments.len() > 1 {
            self.fail_later(
                token,
                "VelocityException",
                format!("#{name} takes at most one argument"),
                &format!("write `#{name}`"),
            );
        }
        self.shared.tree[arguments].last().copied()
    }

    /// The text of a range of tokens as Velocity puts it together again.
    fn literal(&self, first: usize, last: usize) -> String {
        (first..=last)
            .map(|at| {
                if self.shared.tokens[at].kind == Kind::BlockComment {
                    return String::new();
                }
                self.special(at) + self.image(at)
            })
            .collect()
    }

    fn directive_argument(&mut self) -> Parsed<Expr> {
        match self.peek(0) {
            Kind::Word => {
                self.take();
                Ok(Expr::Word)
            }
            _ => self.value(),
        }
    }

    // ---- expressions ----

    fn expression(&mut self) -> Parsed<Expr> {
        self.enter()?;
        let (expression, _) = self.operation(Precedence::Or)?;
        self.leave();
        Ok(expression)
    }

    /// Operands joined by operators that bind at least as strongly as `weakest`, and what `+`
    /// prints for the whole if it is null.
    fn operation(&mut self, weakest: Precedence) -> Parsed<(Expr, Span)> {
        let (mut whole, mut literal) = self.unary()?;
        while let Some(precedence) = operator(self.peek(0))
            .map(|(_, precedence)| precedence)
            .filter(|found| *found >= weakest)
        {
            let (first, first_literal) = (whole, literal);
            let outer = self.shared.links.len();
            while let Some((operator, _)) =
                operator(self.peek(0)).filter(|(_, found)| *found == precedence)
            {
                self.take();
                let start = self.next;
                let (right, right_literal) = match precedence.stronger() {
                    Some(stronger) => self.operation(stronger)?,
                    None => self.unary()?,
                };
                literal = self.span_from(start);
                self.shared.links.push(Link {
                    operator,
                    right,
                    literal: right_literal,
                    tail: literal,
                });
            }
            let rest = self.shared.tree.keep_from(&mut self.shared.links, outer);
            whole = Expr::Chain(self.shared.tree.keep(Chain { first, first_literal, rest }));
        }
        Ok((whole, literal))
    }

    fn unary(&mut self) -> Parsed<(Expr, Span)> {
        let mut nots = 0usize;
        loop {
            match self.peek(0) {
                Kind::Not => {
                    self.take();
                }
                Kind::Blank if self.peek(1) == Kind::Not => {
                    self.take();
                    self.take();
                }
                _ => break,
            }
            nots += 1;
        }
        let (mut expression, span) = self.primary()?;
        if nots > 0 {
            // Two negations aren't none: they make a boolean of what they stand before.
            for _ in 0..if nots % 2 == 1 { 1 } else { 2 } {
                expression = Expr::Not(self.shared.tree.keep(expression));
            }
        }
        Ok((expression, span))
    }

    fn primary(&mut self) -> Parsed<(Expr, Span)> {
        self.accept(Kind::Blank);
        let first = self.next;
        let expression = if self.peek(0) == Kind::LeftParen {
            self.take();
            let start = self.next;
            let inner = self.expression()?;
            let span = self.span_from(start);
            self.expect(Kind::RightParen, "`)` or an operator")?;
            self.accept(Kind::Blank);
            return Ok((Expr::Group(self.shared.tree.keep(inner)), span));
        } else {
            self.value()?
        };
        let span = self.span_from(first);
        self.accept(Kind::Blank);
        Ok((expression, span))
    }

    /// A parameter of a method, an element of a list, a key or a value of a map.
    fn parameter(&mut self) -> Parsed<Expr> {
        self.accept(Kind::Blank);
        let value = self.value()?;
        self.accept(Kind::Blank);
        Ok(value)
    }

    /// One or more of them, with commas between them, onto the stack of expressions.
    fn parameters(&mut self) -> Parsed<()> {
        loop {
            let parameter = self.parameter()?;
            self.shared.expressions.push(parameter);
            if !self.accept(Kind::Comma) {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Parsed<Expr> {
        match self.peek(0) {
            Kind::StringLiteral => self.string(),
            Kind::Integer => self.integer(),
            Kind::Float => self.float(),
            Kind::True => {
                self.take();
                Ok(Expr::Bool(true))
            }
            Kind::False => {
                self.take();
                Ok(Expr::Bool(false))
            }
            Kind::Identifier | Kind::ReferenceLeftBrace => Ok(Expr::Reference(self.reference()?)),
            Kind::LeftBracket => {
                self.enter()?;
                let value = if self.range_follows()? { self.range()? } else { self.array()? };
                self.leave();
                Ok(value)
            }
            Kind::LeftBrace => {
                self.enter()?;
                let value = self.map()?;
                self.leave();
                Ok(value)
            }
            _ => Err(self.unexpected("a value")),
        }
    }

    fn array(&mut self) -> Parsed<Expr> {
        self.take();
        let outer = self.shared.expressions.len();
        if starts_parameter(self.peek(0)) {
            self.parameters()?;
        }
        self.expect(Kind::RightBracket, "`]` or `,`")?;
        Ok(Expr::Array(self.shared.tree.keep_from(&mut self.shared.expressions, outer)))
    }

    fn map(&mut self) -> Parsed<Expr> {
        self.take();
        let outer = self.shared.expressions.len();
        let closes = |kind| matches!(kind, Kind::RightBrace | Kind::ReferenceRightBrace);
        let empty = match self.peek(0) {
            Kind::Blank => closes(self.peek(1)),
            kind => closes(kind),
        };
        if empty {
            self.accept(Kind::Blank);
        } else {
            loop {
                let key = self.parameter()?;
                self.expect(Kind::Colon, "`:` between key and value")?;
                let value = self.parameter()?;
                self.shared.expressions.extend([key, value]);
                if !self.accept(Kind::Comma) {
                    break;
                }
            }
        }
        if !closes(self.peek(0)) {
            return Err(self.unexpected("`}` or `,`"));
        }
        self.take();
        Ok(Expr::Map(self.shared.tree.keep_from(&mut self.shared.expressions, outer)))
    }

    fn range(&mut self) -> Parsed<Expr> {
        self.take();
        self.accept(Kind::Blank);
        let from = self.range_end()?;
        self.accept(Kind::Blank);
        self.expect(Kind::DoubleDot, "`..`")?;
        self.accept(Kind::Blank);
        let to = self.range_end()?;
        self.accept(Kind::Blank);
        self.expect(Kind::RightBracket, "`]`")?;
        Ok(Expr::Range(self.shared.tree.keep(from), self.shared.tree.keep(to)))
    }

    fn range_end(&mut self) -> Parsed<Expr> {
        match self.peek(0) {
            Kind::Integer => self.integer(),
            Kind::Identifier | Kind::ReferenceLeftBrace => Ok(Expr::Reference(self.reference()?)),
            _ => Err(self.unexpected("a whole number or a reference")),
        }
    }

    fn integer(&mut self) -> Parsed<Expr> {
        let token = self.take();
        let image = self.image(token);
        if let Ok(number) = image.parse::<i32>() {
            return Ok(Expr::Int(number));
        }
        if let Ok(number) = image.parse::<i64>() {
            return Ok(Expr::Long(number));
        }
        match image.parse::<BigInt>() {
            Ok(number) => Ok(Expr::Big(self.shared.tree.keep(number))),
            Err(_) => {
                self.fail_later(
                    token,
                    "NumberFormatException",
                    format!("`{image}` is not a number"),
                    "take the `#` or `$` away from it",
                );
                Ok(Expr::Int(0))
            }
        }
    }

    fn float(&mut self) -> Parsed<Expr> {
        let token = self.take();
        let image = self.image(token);
        match image.parse::<f64>() {
            Ok(number) => Ok(Expr::Double(number)),
            Err(_) => {
                self.fail_later(
                    token,
                    "NumberFormatException",
                    format!("`{image}` is not a number"),
                    "take the `#` or `$` away from it",
                );
                Ok(Expr::Double(0.0))
            }
        }
    }

    fn string(&mut self) -> Parsed<Expr> {
        let token = self.take();
        let image = self.image(token);
        let written = self.span(token, token);
        let double = image.starts_with('"');
        let inner = &image[1..image.len() - 1];
        let mut text = Cow::Borrowed(inner);
        if double && inner.contains("\\u") {
            match unescape(inner) {
                Ok(unescaped) => text = unescaped.into(),
                Err(class) => {
                    self.fail_later(
                        token,
                        class,
                        "`\\u` without four hexadecimal digits behind it",
                        "write `\\u0041`, or take the backslash away",
                    );
                    return Ok(Expr::Bool(false));
                }
            }
        }
        let quote = if double { "\"" } else { "'" };
        if text.contains(quote) {
            text = text.replace(&quote.repeat(2), quote).into();
        }
        if double && (inner.contains('$') || inner.contains('#')) {
            let exact = matches!(text, Cow::Borrowed(_));
            let trimmed = !text.contains("##");
            let mut text = text.into_owned();
            if trimmed {
                text.push(' ');
            }
            let index = self.shared.tree.strings.len();
            self.shared.tree.strings.push(Interpolated { body: Block::default(), trimmed });
            self.later.push(Later::String { index, text, written, exact });
            return Ok(Expr::Interpolated(index as u32));
        }
        Ok(match text {
            Cow::Borrowed(_) => Expr::Text(Span::new(written.start + 1, written.end - 1)),
            Cow::Owned(text) => Expr::Text(self.made(&text)),
        })
    }

    // ---- references ----

    fn reference(&mut self) -> Parsed<Reference> {
        self.enter()?;
        let first = self.next;
        let outer_changed = std::mem::replace(&mut self.changed, false);
        let braced = self.peek(0) == Kind::ReferenceLeftBrace;
        self.take();
        if braced {
            self.expect(Kind::Identifier, "a name behind `{`")?;
        }
        let outer = self.shared.steps.len();
        self.indexes()?;
        while self.peek(0) == Kind::Dot && self.peek(1) == Kind::Identifier {
            self.take();
            self.member()?;
            self.indexes()?;
        }
        if braced {
            self.expect(Kind::ReferenceRightBrace, "`}`")?;
        }
        let steps = self.shared.tree.keep_from(&mut self.shared.steps, outer);
        let reference = self.finish_reference(first, steps);
        self.changed |= outer_changed;
        self.leave();
        Ok(reference)
    }

    fn indexes(&mut self) -> Parsed<()> {
        while self.peek(0) == Kind::IndexLeft {
            let first = self.take();
            self.accept(Kind::Blank);
            let index = match self.peek(0) {
                Kind::StringLiteral
                | Kind::Integer
                | Kind::True
                | Kind::False
                | Kind::Identifier
                | Kind::ReferenceLeftBrace => self.value()?,
                _ => {
                    return Err(
                        self.unexpected("an index: a string, a whole number or a reference")
                    );
                }
            };
            self.accept(Kind::Blank);
            self.expect(Kind::IndexRight, "`]`")?;
            let step = Step {
                kind: StepKind::Index(self.shared.tree.keep(index)),
                span: self.span_from(first),
            };
            self.shared.steps.push(step);
        }
        Ok(())
    }

    fn member(&mut self) -> Parsed<()> {
        let is_method = self.peek(1) == Kind::LeftParen && {
            let third = self.peek(2);
            third == Kind::MethodRightParen || starts_parameter(third)
        };
        let name_token = self.expect(Kind::Identifier, "a name")?;
        let name = self.span(name_token, name_token);
        self.shared.tree.changes_values |= is_method && changes_value(self.image(name_token));
        if !is_method {
            self.shared.steps.push(Step { kind: StepKind::Property(name), span: name });
            return Ok(());
        }
        self.take();
        let outer = self.shared.expressions.len();
        if self.peek(0) != Kind::MethodRightParen {
            self.parameters()?;
        }
        let arguments = self.shared.tree.keep_from(&mut self.shared.expressions, outer);
        self.expect(
            Kind::MethodRightParen,
            "`)` or `,`; arguments can't be calculated in place, assign them with #set first",
        )?;
        let step =
            Step { kind: StepKind::Method(name, arguments), span: self.span_from(name_token) };
        self.shared.steps.push(step);
        Ok(())
    }

    /// Works out what the first token of a reference says: kind, name, and what is printed before
    /// it.
    fn finish_reference(&mut self, first: usize, steps: Many<Step>) -> Reference {
        let last = self.next - 1;
        let written = self.span(first, last);
        let image = self.image(first);
        let mut reference = Reference {
            kind: ReferenceKind::Normal,
            computable: true,
            slot: 0,
            steps,
            literal: written,
            before: None,
        };
        let plain = image.strip_prefix('$').map(|rest| rest.strip_prefix('!').unwrap_or(rest));
        let image = if plain.is_some_and(|name| !name.starts_with(['$', '\\', '#'])) {
            image
        } else if image.contains("\\!") {
            // `$\!x` prints as such where it is no reference; here every missing reference is an
            // empty text.
            reference.slot = self.shared.names.slot(image);
            reference.computable = false;
            return reference;
        } else {
            self.take_before(&mut reference, first, last)
        };
        let name = if let Some(quiet) = image.strip_prefix("$!") {
            reference.kind = ReferenceKind::Quiet;
            if quiet.starts_with('{') { self.image(first + 1) } else { quiet }
        } else if image == "${" {
            reference.kind = ReferenceKind::Formal;
            self.image(first + 1)
        } else if let Some(plain) = image.strip_prefix('$') {
            plain
        } else {
            reference.kind = ReferenceKind::Runt;
            image
        };
        reference.slot = self.shared.names.slot(name);
        reference
    }

    /// Takes what the lexer put before a reference off its first token, and returns the rest of
    /// that.
    fn take_before(&mut self, reference: &mut Reference, first: usize, last: usize) -> &'s str {
        let image = self.image(first);
        let backslashes = image.bytes().take_while(|byte| *byte == b'\\').count();
        let rest = &image[backslashes..];
        let dollar = rest.rfind('$').unwrap_or(0);
        let start = self.shared.tokens[first].start + self.base + backslashes as u32;
        let prefix = Span::new(start, start + dollar as u32);
        let dropped = (backslashes + dollar) as u32;
        if dropped > 0 {
            self.shared.tokens[first].start += dropped;
            self.changed = true;
        }
        reference.literal.start = prefix.end;
        let escaped = backslashes % 2 == 1;
        let made = escaped && (self.changed || self.shared.tokens[first].special.1 > 0);
        let literal = if made { Some(self.made(&self.literal(first, last))) } else { None };
        let before = Before { escaped, backslashes: (backslashes / 2) as u32, prefix, literal };
        reference.before = Some(self.shared.tree.keep(before));
        &rest[dollar..]
    }

    // ---- look-ahead for ranges ----

    /// Whether `[` starts a range: a reference or whole number, then `..`.
    fn range_follows(&mut self) -> Parsed<bool> {
        let found = self.scan_range_start(self.next)?.is_some();
        match self.shared.tokens.last() {
            Some(last) if matches!(last.kind, Kind::Invalid | Kind::Unfinished) => {
                Err(self.stuck(*last))
            }
            _ => Ok(found),
        }
    }

    fn kind_at(&mut self, at: usize) -> Kind {
        self.peek(at - self.next)
    }

    fn skip_blank(&mut self, at: usize) -> usize {
        if self.kind_at(at) == Kind::Blank { at + 1 } else { at }
    }

    fn scan_range_start(&mut self, at: usize) -> Parsed<Option<usize>> {
        if self.kind_at(at) != Kind::LeftBracket {
            return Ok(None);
        }
        let at = self.skip_blank(at + 1);
        let Some(at) = self.scan_range_end(at)? else { return Ok(None) };
        let at = self.skip_blank(at);
        Ok(if self.kind_at(at) == Kind::DoubleDot { Some(at + 1) } else { None })
    }

    fn scan_range_end(&mut self, at: usize) -> Parsed<Option<usize>> {
        match self.kind_at(at) {
            Kind::Integer => Ok(Some(at + 1)),
            _ => self.scan_reference(at),
        }
    }

    fn scan_range(&mut self, at: usize) -> Parsed<Option<usize>> {
        let Some(at) = self.scan_range_start(at)? else { return Ok(None) };
        let at = self.skip_blank(at);
        let Some(at) = self.scan_range_end(at)? else { return Ok(None) };
        let at = self.skip_blank(at);
        Ok(if self.kind_at(at) == Kind::RightBracket { Some(at + 1) } else { None })
    }

    fn scan_reference(&mut self, start: usize) -> Parsed<Option<usize>> {
        if !matches!(self.kind_at(start), Kind::Identifier | Kind::ReferenceLeftBrace) {
            return Ok(None);
        }
        if let Some(known) = self.scanned.as_ref().and_then(|scanned| scanned.get(&start)) {
            return Ok(*known);
        }
        self.enter()?;
        let end = self.scan_reference_body(start)?;
        self.leave();
        self.scanned.get_or_insert_default().insert(start, end);
        Ok(end)
    }

    fn scan_reference_body(&mut self, start: usize) -> Parsed<Option<usize>> {
        let mut at = start;
        let braced = self.kind_at(at) == Kind::ReferenceLeftBrace;
        if braced {
            at += 1;
            if self.kind_at(at) != Kind::Identifier {
                return Ok(None);
            }
        }
        at = self.scan_indexes(at + 1)?;
        while self.kind_at(at) == Kind::Dot {
            let member = match self.scan_method(at + 1)? {
                Some(behind) => behind,
                None if self.kind_at(at + 1) == Kind::Identifier => at + 2,
                None => break,
            };
            at = self.scan_indexes(member)?;
        }
        if braced {
            if self.kind_at(at) != Kind::ReferenceRightBrace {
                return Ok(None);
            }
            at += 1;
        }
        Ok(Some(at))
    }

    fn scan_indexes(&mut self, start: usize) -> Parsed<usize> {
        let mut at = start;
        while self.kind_at(at) == Kind::IndexLeft {
            let inner = self.skip_blank(at + 1);
            let behind = match self.kind_at(inner) {
                Kind::StringLiteral | Kind::Integer | Kind::True | Kind::False => inner + 1,
                _ => match self.scan_reference(inner)? {
                    Some(behind) => behind,
                    None => return Ok(at),
                },
            };
            let behind = self.skip_blank(behind);
            if self.kind_at(behind) != Kind::IndexRight {
                return Ok(at);
            }
            at = behind + 1;
        }
        Ok(at)
    }

    fn scan_method(&mut self, start: usize) -> Parsed<Option<usize>> {
        if self.kind_at(start) != Kind::Identifier || self.kind_at(start + 1) != Kind::LeftParen {
            return Ok(None);
        }
        let at = self.scan_parameters(start + 2)?;
        Ok(if self.kind_at(at) == Kind::MethodRightParen { Some(at + 1) } else { None })
    }

    /// As many parameters as there are, with commas between them.
    fn scan_parameters(&mut self, start: usize) -> Parsed<usize> {
        let Some(mut at) = self.scan_parameter(start)? else { return Ok(start) };
        while self.kind_at(at) == Kind::Comma {
            match self.scan_parameter(at + 1)? {
                Some(behind) => at = behind,
                None => break,
            }
        }
        Ok(at)
    }

    fn scan_parameter(&mut self, start: usize) -> Parsed<Option<usize>> {
        self.enter()?;
        let at = self.skip_blank(start);
        let behind = match self.kind_at(at) {
            Kind::StringLiteral | Kind::Integer | Kind::Float | Kind::True | Kind::False => {
                Some(at + 1)
            }
            Kind::LeftBracket => match self.scan_range(at)? {
                Some(behind) => Some(behind),
                None => {
                    let inner = self.scan_parameters(at + 1)?;
                    (self.kind_at(inner) == Kind::RightBracket).then_some(inner + 1)
                }
            },
            Kind::LeftBrace => self.scan_map(at)?,
            _ => self.scan_reference(at)?,
        };
        self.leave();
        match behind {
            Some(behind) => Ok(Some(self.skip_blank(behind))),
            None => Ok(None),
        }
    }

    fn scan_map(&mut self, start: usize) -> Parsed<Option<usize>> {
        let mut at = match self.scan_entry(start + 1)? {
            Some(behind) => behind,
            None => self.skip_blank(start + 1),
        };
        while self.kind_at(at) == Kind::Comma {
            match self.scan_entry(at + 1)? {
                Some(behind) => at = behind,
                None => break,
            }
        }
        Ok(matches!(self.kind_at(at), Kind::RightBrace | Kind::ReferenceRightBrace)
            .then_some(at + 1))
    }

    fn scan_entry(&mut self, start: usize) -> Parsed<Option<usize>> {
        let Some(at) = self.scan_parameter(start)? else { return Ok(None) };
        if self.kind_at(at) != Kind::Colon {
            return Ok(None);
        }
        self.scan_parameter(at + 1)
    }
}

fn without_first(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// How strongly an operator binds, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Or,
    And,
    Equality,
    Relation,
    Sum,
    Product,
}

impl Precedence {
    fn stronger(self) -> Option<Self> {
        match self {
            Precedence::Or => Some(Precedence::And),
            Precedence::And => Some(Precedence::Equality),
            Precedence::Equality => Some(Precedence::Relation),
            Precedence::Relation => Some(Precedence::Sum),
            Precedence::Sum => Some(Precedence::Product),
            Precedence::Product => None,
        }
    }
}

fn operator(kind: Kind) -> Option<(Operator, Precedence)> {
    Some(match kind {
        Kind::Or => (Operator::Or, Precedence::Or),
        Kind::And => (Operator::And, Precedence::And),
        Kind::Equal => (Operator::Equal, Precedence::Equality),
        Kind::NotEqual => (Operator::NotEqual, Precedence::Equality),
        Kind::Less => (Operator::Less, Precedence::Relation),
        Kind::Greater => (Operator::Greater, Precedence::Relation),
        Kind::LessEqual => (Operator::LessEqual, Precedence::Relation),
        Kind::GreaterEqual => (Operator::GreaterEqual, Precedence::Relation),
        Kind::Plus => (Operator::Add, Precedence::Sum),
        Kind::Minus => (Operator::Subtract, Precedence::Sum),
        Kind::Multiply => (Operator::Multiply, Precedence::Product),
        Kind::Divide => (Operator::Divide, Precedence::Product),
        Kind::Modulus => (Operator::Modulo, Precedence::Product),
        _ => return None,
    })
}

/// The first characters of a text, for a message.
fn head(text: &str) -> String {
    let mut shown: String = text.chars().take(20).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(['\n', '\r'], " ")
}

/// Replaces `\uXXXX`, as Velocity does in double quotes. The error is the class of the exception
/// that Java raises.
fn unescape(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u") {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 2..];
        let mut units = 0;
        let mut end = behind.len();
        for (offset, c) in behind.char_indices() {
            if units >= 4 {
                end = offset;
                break;
            }
            units += c.len_utf16();
        }
        if units < 4 {
            return Err("StringIndexOutOfBoundsException");
        }
        let digits = &behind[..end];
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("NumberFormatException");
        }
        let number = i32::from_str_radix(digits, 16).map_err(|_| "NumberFormatException")?;
        super::text::push_unit(&mut out, number as u16);
        rest = &behind[end..];
    }
    out.push_str(rest);
    Ok(out)
}
