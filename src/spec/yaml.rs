//! YAML text to a tree whose every key and value knows where it stands.
//!
//! Knows nothing of stacks. The syntax is `saphyr-parser`'s; this module keeps the places, types
//! plain scalars by YAML 1.2's core schema, and refuses what a stack file has no use for: tags,
//! merge keys, several documents, keys that aren't text, deep nesting and aliases that unfold into
//! very much.

use crate::diagnostic::Place;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as Marks};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Lists and mappings inside one another. A stack file needs five.
const MAX_DEPTH: usize = 32;
/// Keys and values in one file. The largest stack that AWS takes (95 routes, 10 stages, 100
/// variables each) has about 5,000.
const MAX_NODES: usize = 20_000;
/// Bytes and nodes that aliases may copy, so that a few lines can't fill the memory.
const MAX_COPIED: usize = 64 * 1024;

/// Where a key or value stands. The width is in characters of the first line, 0 where nothing is
/// written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub place: Place,
    pub width: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub value: Value,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

/// A scalar as written (escapes resolved), and what the core schema makes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scalar {
    pub text: String,
    pub core: Core,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Core {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text,
}

/// Something wrong with the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub span: Span,
    pub message: String,
    pub help: Option<String>,
}

/// What became of a text: no root where nothing could be made of it; then there is at least one
/// fault, or the text is empty.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub root: Option<Node>,
    pub faults: Vec<Fault>,
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { core: Core::Null, .. }))
    }

    /// What an alias to this node costs.
    fn cost(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::List(items) => items.iter().map(Node::cost).sum(),
            Value::Map(entries) => entries.iter().map(|e| 1 + e.key.len() + e.value.cost()).sum(),
        }
    }
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Parsed {
    let braces = Braces::free_in(text);
    let hidden = braces.hide(text);
    let mut builder = Builder { braces, ..Builder::default() };
    for event in Parser::new_from_str(&hidden) {
        let step = match event {
            Ok((event, marks)) => builder.take(event, span(marks)),
            Err(error) => Err(syntax(*error.marker(), error.info())),
        };
        if let Err(fault) = step {
            builder.parsed.faults.push(fault);
            builder.parsed.root = None;
            break;
        }
    }
    builder.parsed
}

/// The parser's own error, with the two things that most often cause it.
fn syntax(mark: Marker, info: &str) -> Fault {
    let help = if info.contains("recursion limit") {
        "lists and mappings are nested too deep for a stack file"
    } else if info.contains("tab") {
        "indent with spaces; YAML takes no tabs there"
    } else if info.contains("anchor") {
        "an alias (`*name`) needs an anchor (`&name`) before it; put the value in quotes if the `*` is part of it \
         (no content type has one: `accept` lists each type)"
    } else {
        "look at the indentation, at a missing `:` or quote, and put a value that starts with one of `{ [ * & ! % @ |` in quotes"
    };
    Fault {
        span: Span { place: place(mark), width: 1 },
        message: format!("this is not YAML: {info}"),
        help: Some(help.into()),
    }
}

fn place(mark: Marker) -> Place {
    Place { line: mark.line(), column: mark.col() + 1 }
}

fn span(marks: Marks) -> Span {
    let width = if marks.end.line() == marks.start.line() {
        marks.end.col().saturating_sub(marks.start.col())
    } else {
        usize::MAX
    };
    Span { place: place(marks.start), width }
}

/// Two characters that stand in for the braces of placeholders while YAML is read.
///
/// In a flow mapping a brace ends a plain scalar, so `{ queue: mail-${stage} }` would not be YAML.
/// The braces of a placeholder are ours, not YAML's; one character stands for one, so that columns
/// stay true.
#[derive(Clone, Copy, Debug, Default)]
struct Braces(Option<(char, char)>);

impl Braces {
    fn free_in(text: &str) -> Self {
        const PRIVATE_USE: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';
        let used: HashSet<char> = text.chars().filter(|c| PRIVATE_USE.contains(c)).collect();
        let mut free = PRIVATE_USE.filter(|c| !used.contains(c));
        Self(free.next().zip(free.next()))
    }

    fn hide(self, text: &str) -> String {
        let Some((open, close)) = self.0 else { return text.to_owned() };
        let mut hidden = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, placeholder) = rest.split_at(start);
            hidden.push_str(before);
            let name = &placeholder[2..];
            match name
                .find(|c: char| c == '}' || c == '{' || c.is_whitespace())
                .filter(|&end| name[end..].starts_with('}'))
            {
                Some(end) => {
                    hidden.extend(['$', open]);
                    hidden.push_str(&name[..end]);
                    hidden.push(close);
                    rest = &name[end + 1..];
                }
                None => {
                    hidden.push_str("${");
                    rest = name;
                }
            }
        }
        hidden.push_str(rest);
        hidden
    }

    fn show(self, text: &str) -> String {
        match self.0 {
            Some((open, close)) => text.replace(open, "{").replace(close, "}"),
            None => text.to_owned(),
        }
    }
}

/// A list or mapping that isn't closed yet.
enum Open {
    List { span: Span, anchor: usize, items: Vec<Node> },
    Map { span: Span, anchor: usize, entries: Vec<Entry>, key: Option<(String, Span)> },
}

impl Open {
    fn span(&self) -> Span {
        match self {
            Open::List { span, .. } | Open::Map { span, .. } => *span,
        }
    }
}

#[derive(Default)]
struct Builder {
    braces: Braces,
    parsed: Parsed,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    copied: usize,
    documents: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => self.document(span),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let text = self.braces.show(&text);
                if self.wants_key() {
                    self.count(span)?;
                    return self.key(text, span);
                }
                let core = if style == ScalarStyle::Plain { core(&text) } else { Core::Text };
                self.value(Node { value: Value::Scalar(Scalar { text, core }), span }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.enter(Open::List { span, anchor, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.enter(Open::Map { span, anchor, entries: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, span: Span) -> Result<(), Fault> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        Err(Fault {
            span,
            message: "a second YAML document starts here; a stack file has one".into(),
            help: Some("take the `---` out, or put the second stack into a file of its own".into()),
        })
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            self.parsed.faults.push(Fault {
                span,
                message: "YAML tags (`!…`) mean nothing in a stack file".into(),
                help: Some("take the tag out; put a value that starts with `!` in quotes".into()),
            });
        }
    }

    fn count(&mut self, span: Span) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        Err(Fault {
            span,
            message: format!("more than {MAX_NODES} keys and values; no stack needs so many"),
            help: None,
        })
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn key(&mut self, text: String, span: Span) -> Result<(), Fault> {
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = Some((text, span));
        }
        Ok(())
    }

    fn enter(&mut self, open: Open) -> Result<(), Fault> {
        let span = open.span();
        self.count(span)?;
        if self.wants_key() {
            return Err(not_text(span));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(Fault {
                span,
                message: format!("nested deeper than {MAX_DEPTH} levels"),
                help: None,
            });
        }
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Fault> {
        match self.open.pop() {
            Some(Open::List { span, anchor, items }) => {
                self.place(Node { value: Value::List(items), span }, anchor)
            }
            Some(Open::Map { span, anchor, entries, .. }) => {
                let entries = self.without_repeats(entries);
                self.place(Node { value: Value::Map(entries), span }, anchor);
            }
            None => {}
        }
        Ok(())
    }

    /// Keeps the first of each key, and says so of the others.
    fn without_repeats(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            match first.get(&entry.key) {
                Some(line) => self.parsed.faults.push(Fault {
                    span: entry.key_span,
                    message: format!(
                        "`{}` stands here twice, first in line {line}",
                        super::shown(&entry.key)
                    ),
                    help: Some("keep one of them".into()),
                }),
                None if entry.key == "<<" => self.parsed.faults.push(Fault {
                    span: entry.key_span,
                    message: "merge keys (`<<`) are not read".into(),
                    help: Some(
                        "write the keys out, or alias the whole value (`key: *name`)".into(),
                    ),
                }),
                None => {
                    first.insert(entry.key.clone(), entry.key_span.place.line);
                    kept.push(entry);
                }
            }
        }
        kept
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fault> {
        if self.wants_key() {
            return Err(not_text(span));
        }
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Fault {
                span,
                message: "this alias stands inside the value that it names".into(),
                help: None,
            });
        };
        self.copied += node.cost();
        if self.copied > MAX_COPIED {
            return Err(Fault {
                span,
                message: "the aliases in this file unfold into more than a stack can be".into(),
                help: Some("write the values out".into()),
            });
        }
        let node = node.clone();
        self.place(node, 0);
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.count(node.span)?;
        self.place(node, anchor);
        Ok(())
    }

    /// Puts a finished value where it belongs. Anchor 0 is none.
    fn place(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.parsed.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                if let Some((key, key_span)) = key.take() {
                    entries.push(Entry { key, key_span, value: node });
                }
            }
        }
    }
}

fn not_text(span: Span) -> Fault {
    Fault {
        span,
        message: "a key must be text, not a list, a mapping or an alias".into(),
        help: Some("put a value that starts with one of `{ [ *` in quotes".into()),
    }
}

/// The type of a plain scalar. Source: YAML 1.2.2, section 10.3.2 (`yes`, `on` and `1_000` are
/// text).
fn core(text: &str) -> Core {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Core::Null,
        "true" | "True" | "TRUE" => Core::Bool(true),
        "false" | "False" | "FALSE" => Core::Bool(false),
        _ => integer(text)
            .map(Core::Integer)
            .or_else(|| float(text).map(Core::Float))
            .unwrap_or(Core::Text),
    }
}

/// A whole number that doesn't fit 64 bits is left to [`float`].
fn integer(text: &str) -> Option<i64> {
    let only =
        |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    if let Some(digits) = text.strip_prefix("0x") {
        return only(digits, 16).then(|| i64::from_str_radix(digits, 16).ok()).flatten();
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return only(digits, 8).then(|| i64::from_str_radix(digits, 8).ok()).flatten();
    }
    only(text.strip_prefix(['-', '+']).unwrap_or(text), 10).then(|| text.parse().ok()).flatten()
}

fn float(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => return (digits == text).then_some(f64::NAN),
        _ => {}
    }
    // Rust reads more than the core schema does: `inf`, `nan`, `infinity`.
    let numeric = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().any(|c| c.is_ascii_digit());
    let alphabet =
        digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    (numeric && alphabet).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2() {
        for (text, expected) in [
            ("", Core::Null),
            ("~", Core::Null),
            ("null", Core::Null),
            ("true", Core::Bool(true)),
            ("False", Core::Bool(false)),
            ("0", Core::Integer(0)),
            ("-12", Core::Integer(-12)),
            ("+12", Core::Integer(12)),
            ("007", Core::Integer(7)),
            ("0x1F", Core::Integer(31)),
            ("0o17", Core::Integer(15)),
            ("1.5", Core::Float(1.5)),
            ("-.5", Core::Float(-0.5)),
            ("5.", Core::Float(5.0)),
            ("1e3", Core::Float(1000.0)),
            ("1.5E-2", Core::Float(0.015)),
            ("-.inf", Core::Float(f64::NEG_INFINITY)),
            ("99999999999999999999", Core::Float(1e20)),
            ("yes", Core::Text),
            ("off", Core::Text),
            ("tRUE", Core::Text),
            ("1_000", Core::Text),
            ("0x", Core::Text),
            ("0xg", Core::Text),
            ("0x+1", Core::Text),
            ("-0x1", Core::Text),
            ("1.2.3", Core::Text),
            ("inf", Core::Text),
            ("nan", Core::Text),
            ("-.nan", Core::Text),
            ("e5", Core::Text),
            ("+", Core::Text),
            ("-", Core::Text),
            (".", Core::Text),
            ("12:30", Core::Text),
        ] {
            assert_eq!(core(text), expected, "{text:?}");
        }
        assert!(matches!(core(".nan"), Core::Float(x) if x.is_nan()));
    }

    #[test]
    fn a_quoted_number_is_text() {
        let Some(Node { value: Value::List(items), .. }) = parse("['12', \"true\", 12]").root
        else {
            panic!("a list")
        };
        let cores: Vec<_> = items
            .into_iter()
            .map(|n| if let Value::Scalar(s) = n.value { s.core } else { Core::Null })
            .collect();
        assert_eq!(cores, [Core::Text, Core::Text, Core::Integer(12)]);
    }

    #[test]
    fn the_braces_of_a_placeholder_do_not_end_a_value_in_a_flow_mapping_and_columns_stay_true() {
        let parsed = parse("a: { queue: mail-${stage}-${env.X}, after: 5 }");
        assert_eq!(parsed.faults, []);
        let Some(Node { value: Value::Map(outer), .. }) = parsed.root else { panic!("a mapping") };
        let Value::Map(inner) = &outer[0].value.value else { panic!("a mapping") };
        let Value::Scalar(queue) = &inner[0].value.value else { panic!("a scalar") };
        assert_eq!(queue.text, "mail-${stage}-${env.X}");
        assert_eq!(inner[1].key_span, Span { place: Place { line: 1, column: 37 }, width: 5 });
    }

    #[test]
    fn private_use_characters_of_the_file_are_kept() {
        let parsed = parse("a: \u{e000}${stage}\u{e001}");
        let Some(Node { value: Value::Map(entries), .. }) = parsed.root else {
            panic!("a mapping")
        };
        let Value::Scalar(scalar) = &entries[0].value.value else { panic!("a scalar") };
        assert_eq!(scalar.text, "\u{e000}${stage}\u{e001}");
    }
}
