//! Takes values out of the tree, each with its kind checked, and keeps every problem found on the
//! way.

use super::{
    Pattern, World,
    names::{Problem, Rule},
    shown,
    suggest::{did_you_mean, listed, nearest, one_of},
    text::{self, Piece, Placeholder, Text, pieces},
    yaml::{Core, Entry, Fault, Node, Scalar, Span, Value},
};
use crate::diagnostic::{Diagnostic, Place, Severity};
use std::{collections::BTreeSet, ops::RangeInclusive, path::Path};

/// A line longer than this is nobody's own writing; a thousand copies of it help nobody either.
const LONGEST_LINE: usize = 4_000;

/// A mapping of the file whose keys are ours, not the user's.
pub(super) struct Section {
    /// As one says where a key is: "in `function`".
    pub name: &'static str,
    pub keys: &'static [&'static str],
}

pub(super) const STACK: Section = Section {
    name: "the stack file",
    keys: &["stack", "region", "function", "routes", "binary", "stages", "tags"],
};
pub(super) const FUNCTION: Section =
    Section { name: "`function`", keys: &["memory", "timeout", "architecture", "log_retention"] };
pub(super) const ROUTE: Section =
    Section { name: "a route", keys: &["s3", "sqs", "accept", "token", "templates"] };
pub(super) const S3: Section = Section {
    name: "`s3`",
    keys: &["bucket", "existing", "prefix", "format", "allow", "expire_after"],
};
pub(super) const SQS: Section =
    Section { name: "`sqs`", keys: &["queue", "existing", "dead_letter", "format"] };
pub(super) const DEAD_LETTER: Section =
    Section { name: "`dead_letter`", keys: &["queue", "after"] };
pub(super) const STAGE: Section = Section { name: "a stage", keys: &["throttle", "variables"] };
pub(super) const THROTTLE: Section = Section { name: "`throttle`", keys: &["rate", "burst"] };
const SECTIONS: [&Section; 8] =
    [&STACK, &FUNCTION, &ROUTE, &S3, &SQS, &DEAD_LETTER, &STAGE, &THROTTLE];

/// A value with what it is called and where to point when it is wrong.
#[derive(Clone, Copy)]
pub(super) struct Item<'n> {
    pub name: &'n str,
    pub node: &'n Node,
    /// The key, or for an element of a list the list's key.
    pub key: Span,
}

impl<'n> Item<'n> {
    /// The value itself where it is one scalar that is written somewhere, else its key.
    pub fn span(&self) -> Span {
        match &self.node.value {
            Value::Scalar(_) if self.node.span.width > 0 => self.node.span,
            _ => self.key,
        }
    }

    fn element(&self, node: &'n Node) -> Self {
        Self { name: self.name, node, key: if node.span.width > 0 { node.span } else { self.key } }
    }
}

impl<'n> From<&'n Entry> for Item<'n> {
    fn from(entry: &'n Entry) -> Self {
        Self { name: &entry.key, node: &entry.value, key: entry.key_span }
    }
}

/// A mapping whose unknown keys have been told.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    /// Where the mapping is named, to point at when something is missing in it.
    pub at: Span,
}

impl<'n> Fields<'n> {
    /// Whether a key that isn't known stands for a route's destination: a slip in `s3` or `sqs`, or
    /// another service's name.
    pub fn names_another_destination(&self) -> bool {
        let meant = |key: &str| {
            service(key).is_some()
                || matches!(nearest(key, ROUTE.keys.iter().copied()), Some("s3" | "sqs"))
        };
        self.entries
            .iter()
            .any(|entry| !ROUTE.keys.contains(&entry.key.as_str()) && meant(&entry.key))
    }

    pub fn get(&self, key: &str) -> Option<Item<'n>> {
        self.entries.iter().find(|entry| entry.key == key).map(Item::from)
    }
}

/// Which placeholders a value may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// `${env.NAME}` alone: the value is the same on every stage.
    Env,
    /// All of them.
    All,
}

pub(super) struct Reader<'a> {
    file: &'a Path,
    lines: Vec<&'a str>,
    pub world: &'a World<'a>,
    pub diagnostics: Vec<Diagnostic>,
    told: BTreeSet<(Span, String)>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &'a Path, text: &'a str, world: &'a World<'a>) -> Self {
        Self { file, lines: lines(text), world, diagnostics: Vec::new(), told: BTreeSet::new() }
    }

    pub fn file(&self) -> &'a Path {
        self.file
    }

    pub fn failed(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }

    /// YAML's own errors can point behind the end of the text: then it is the end of the last line
    /// that is meant.
    fn inside(&self, mut span: Span) -> Span {
        if span.place.line > self.lines.len() {
            span.place = Place {
                line: self.lines.len(),
                column: self.lines.last().map_or(0, |line| line.chars().count()) + 1,
            };
        }
        span
    }

    fn report(&mut self, severity: Severity, span: Span, message: String, help: Option<String>) {
        let span = self.inside(span);
        let line = span
            .place
            .line
            .checked_sub(1)
            .and_then(|index| self.lines.get(index))
            .filter(|line| line.len() <= LONGEST_LINE);
        let room = line.map_or(1, |line| {
            line.chars().count().saturating_sub(span.place.column.saturating_sub(1))
        });
        // The same place can be read twice, by way of an alias or once per stage.
        if !self.told.insert((span, message.clone())) {
            return;
        }
        self.diagnostics.push(Diagnostic {
            severity,
            file: self.file.to_owned(),
            place: Some(span.place),
            source_line: line.map(|line| without_token(line)),
            width: span.width.clamp(1, room.max(1)),
            message,
            help,
        });
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, span, message.into(), Some(help.into()));
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Warning, span, message.into(), Some(help.into()));
    }

    /// What is wrong with a mapping template, placed in the template's file.
    pub fn template(&mut self, diagnostic: Diagnostic) {
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub fn fault(&mut self, fault: Fault) {
        self.report(Severity::Error, fault.span, fault.message, fault.help);
    }

    fn wrong_kind(&mut self, item: Item<'_>, expected: &str, help: impl Into<String>) {
        self.error(
            item.span(),
            format!("`{}` must be {expected}; found {}", shown(item.name), described(item.node)),
            help,
        );
    }

    /// The entries of a mapping whose keys are the user's. Nothing written counts as an empty one.
    pub fn entries<'n>(&mut self, item: Item<'n>) -> Option<&'n [Entry]> {
        match &item.node.value {
            Value::Map(entries) => Some(entries),
            _ if item.node.is_null() => Some(&[]),
            _ => {
                self.wrong_kind(item, "a mapping", "put `key: value` lines under it, indented");
                None
            }
        }
    }

    pub fn fields<'n>(&mut self, item: Item<'n>, section: &Section) -> Option<Fields<'n>> {
        let entries = self.entries(item)?;
        for entry in entries.iter().filter(|entry| !section.keys.contains(&entry.key.as_str())) {
            let message = format!("unknown key `{}` in {}", shown(&entry.key), section.name);
            self.error(entry.key_span, message, unknown_key_help(&entry.key, section, item.name));
        }
        Some(Fields { entries, at: item.key })
    }

    /// A key that must be there.
    pub fn required<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
        section: &Section,
        help: &str,
    ) -> Option<Item<'n>> {
        let item = fields.get(key);
        // A slip in its name was told, and is the same mistake.
        let meant = |entry: &Entry| {
            !section.keys.contains(&entry.key.as_str())
                && nearest(&entry.key, section.keys.iter().copied()) == Some(key)
        };
        if item.is_none() && !fields.entries.iter().any(meant) {
            self.error(fields.at, format!("`{key}` is missing in {}", section.name), help);
        }
        item
    }

    /// The elements of a list. Nothing written counts as an empty one.
    pub fn elements<'n>(&mut self, item: Item<'n>) -> Vec<Item<'n>> {
        self.elements_meant(item, |text| format!("write `[{}]`", shown(text)))
    }

    /// The same. `meant` says what to write where one text stands instead of a list.
    pub fn elements_meant<'n>(
        &mut self,
        item: Item<'n>,
        meant: fn(&str) -> String,
    ) -> Vec<Item<'n>> {
        match &item.node.value {
            Value::List(nodes) => nodes.iter().map(|node| item.element(node)).collect(),
            Value::Scalar(Scalar { text, core: Core::Text }) => {
                self.wrong_kind(item, "a list", meant(text));
                Vec::new()
            }
            _ if item.node.is_null() => Vec::new(),
            _ => {
                self.wrong_kind(item, "a list", "write `[a, b]`, or a line `- a` for each");
                Vec::new()
            }
        }
    }

    pub fn plain_text<'n>(&mut self, item: Item<'n>) -> Option<&'n str> {
        match &item.node.value {
            Value::Scalar(Scalar { text, core: Core::Text }) => Some(text),
            Value::Scalar(Scalar {
                text,
                core: Core::Bool(_) | Core::Integer(_) | Core::Float(_),
            }) => {
                self.wrong_kind(item, "text", format!("put it in quotes: `\"{}\"`", shown(text)));
                None
            }
            _ => {
                self.wrong_kind(item, "text", "write a value behind the `:`");
                None
            }
        }
    }

    pub fn integer(
        &mut self,
        item: Item<'_>,
        range: RangeInclusive<u32>,
        unit: &str,
    ) -> Option<u32> {
        let expected = format!("a whole number{unit}, {} to {}", range.start(), range.end());
        match item.node.value {
            Value::Scalar(Scalar { core: Core::Integer(number), .. }) => {
                match u32::try_from(number) {
                    Ok(number) if range.contains(&number) => Some(number),
                    _ => {
                        self.wrong_kind(item, &expected, "take a number of that range");
                        None
                    }
                }
            }
            _ => {
                self.wrong_kind(
                    item,
                    &expected,
                    "write the digits alone, without quotes, unit or `_`",
                );
                None
            }
        }
    }

    /// More than 0, at most `most`.
    pub fn rate(&mut self, item: Item<'_>, most: u32) -> Option<f64> {
        let number = match item.node.value {
            Value::Scalar(Scalar { core: Core::Integer(number), .. }) => number as f64,
            Value::Scalar(Scalar { core: Core::Float(number), .. }) => number,
            _ => f64::NAN,
        };
        if number > 0.0 && number <= f64::from(most) {
            return Some(number);
        }
        self.wrong_kind(
            item,
            &format!("a number of requests a second, more than 0 and at most {most}"),
            "write `5`, or `0.5` for one every two seconds",
        );
        None
    }

    pub fn boolean(&mut self, item: Item<'_>) -> Option<bool> {
        if let Value::Scalar(Scalar { core: Core::Bool(value), .. }) = item.node.value {
            return Some(value);
        }
        self.wrong_kind(
            item,
            "`true` or `false`",
            "write `true` or `false`, without quotes; `yes` and `on` are text in YAML 1.2",
        );
        None
    }

    pub fn choice<T: Copy>(&mut self, item: Item<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = match &item.node.value {
            Value::Scalar(scalar) => scalar.text.as_str(),
            Value::List(_) | Value::Map(_) => "",
        };
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let help = match nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "take one of these".to_owned(),
            };
            self.wrong_kind(item, &either(&words), help);
        }
        found
    }

    /// Text with placeholders, the environment's filled in.
    pub fn text(&mut self, item: Item<'_>, allowed: Allowed) -> Option<Text> {
        let written = self.plain_text(item)?;
        let mut filled = String::with_capacity(written.len());
        let mut good = true;
        for piece in pieces(written) {
            match piece {
                Piece::Literal(text) => {
                    match text::miswritten(text).filter(|_| allowed == Allowed::All) {
                        None => filled.push_str(text),
                        Some((slip, name)) => {
                            let message = format!("`{}` is no placeholder", shown(slip));
                            self.error(
                                self.within(item.span(), slip),
                                message,
                                placeholder_help(name, item.name),
                            );
                            good = false;
                        }
                    }
                }
                Piece::Placeholder(Placeholder::Env(name), text) => {
                    match (self.world.env)(name).filter(|value| !value.is_empty()) {
                        Some(value) => filled.push_str(&value),
                        None => {
                            let help = format!(
                                "set it before you run this (`export {name}=…`), or write the value into the file"
                            );
                            self.error(
                                self.within(item.span(), text),
                                format!("the environment variable `{name}` is not set, or empty"),
                                help,
                            );
                            good = false;
                        }
                    }
                }
                Piece::Placeholder(
                    Placeholder::Stage | Placeholder::Account | Placeholder::Region,
                    text,
                ) if allowed == Allowed::All => {
                    filled.push_str(text);
                }
                Piece::Placeholder(placeholder, text) => {
                    self.refuse_placeholder(item, placeholder, text);
                    good = false;
                }
            }
        }
        good.then(|| Text {
            written: written.to_owned(),
            pattern: Pattern(filled),
            span: item.span(),
        })
    }

    fn refuse_placeholder(&mut self, item: Item<'_>, placeholder: Placeholder<'_>, text: &str) {
        let span = self.within(item.span(), text);
        match placeholder {
            Placeholder::Open => self.error(span, "`${` without its `}`", "close it: `${stage}`"),
            Placeholder::Unknown(name) => {
                self.error(
                    span,
                    format!("there is no placeholder `{}`", shown(text)),
                    placeholder_help(name, item.name),
                );
            }
            _ => {
                let message = format!(
                    "`{text}` can't stand in `{}`: it is one for all stages",
                    shown(item.name)
                );
                self.error(span, message, "only `${env.NAME}` is filled in here");
            }
        }
    }

    /// Where `text` stands in the line of `span`; `span` itself where it can't be found there
    /// (escapes, several lines).
    fn within(&self, span: Span, text: &str) -> Span {
        let Some(line) = self.lines.get(span.place.line.saturating_sub(1)) else { return span };
        let before = span.place.column.saturating_sub(1);
        let Some(start) = line.char_indices().nth(before).map(|(index, _)| index) else {
            return span;
        };
        let Some(offset) = line[start..].find(text) else { return span };
        let mut found = span;
        found.place.column += line[start..start + offset].chars().count();
        found.width = text.chars().count();
        found
    }

    /// Text without `${stage}` and the like, under a rule.
    pub fn settled(&mut self, item: Item<'_>, what: &str, rule: Rule) -> Option<String> {
        let text = self.text(item, Allowed::Env)?;
        match rule(&text.pattern.0) {
            Ok(()) => Some(text.pattern.0),
            Err(problem) => {
                self.broken_rule(&text, what, "", problem);
                None
            }
        }
    }

    /// A name that is the user's own key, under a rule.
    pub fn key(&mut self, entry: &Entry, what: &str, rule: Rule) -> bool {
        match rule(&entry.key) {
            Ok(()) => true,
            Err(Problem { what: problem, help }) => {
                self.error(
                    entry.key_span,
                    format!("{what} `{}` {problem}", shown(&entry.key)),
                    help,
                );
                false
            }
        }
    }

    /// Shows the text as written: what the environment gave may be secret.
    pub fn broken_rule(&mut self, text: &Text, what: &str, where_: &str, problem: Problem) {
        let Problem { what: problem, mut help } = problem;
        if text.uses_env() {
            help.push_str("; the environment's value counts, and is not shown here");
        }
        self.error(text.span, format!("{what} `{}` {problem}{where_}", shown(&text.written)), help);
    }
}

/// The lines as YAML counts them: `\n`, `\r\n` and `\r` end one.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix("\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}

/// Another service that a user may want to send records to, by its usual name.
fn service(key: &str) -> Option<&'static str> {
    Some(match key.to_lowercase().replace(['-', '_'], "").as_str() {
        "sns" | "topic" => "SNS",
        "eventbridge" | "events" | "eventbus" | "bus" => "EventBridge",
        "firehose" | "kinesisfirehose" => "Firehose",
        "kinesis" | "stream" => "Kinesis",
        "dynamodb" | "dynamo" | "table" => "DynamoDB",
        "lambda" => "Lambda",
        "stepfunctions" | "sfn" | "statemachine" => "Step Functions",
        "kafka" | "msk" => "Kafka",
        "http" | "https" | "url" | "forward" | "webhook" => "another URL",
        _ => return None,
    })
}

/// `name`: of the mapping that has the key; a stage's, in a stage.
fn unknown_key_help(key: &str, section: &Section, name: &str) -> String {
    if section.name == STAGE.name && matches!(key, "token" | "tokens" | "secret") {
        let variable = format!("ROUTETO_TOKEN_{}", name.to_ascii_uppercase().replace('-', "_"));
        return format!(
            "each stage has a token of its own, and none is ever written into the file: set {variable} for the first deploy, \
             or run `routeto set-token --stage {}`",
            shown(name)
        );
    }
    if section.name == ROUTE.name
        && let Some(service) = service(key)
    {
        return format!(
            "a route stores in `s3` or `sqs`; to go on to {service}, let the queue's worker \
             or the bucket's event notifications pass records on"
        );
    }
    if nearest(key, section.keys.iter().copied()).is_none() {
        let homes: Vec<&str> = SECTIONS
            .iter()
            .filter(|other| other.keys.contains(&key))
            .map(|other| other.name)
            .collect();
        if !homes.is_empty() {
            return format!("`{key}` belongs in {}; look at the indentation", homes.join(" or "));
        }
        return one_of(section.keys);
    }
    did_you_mean(key, section.keys)
}

/// What to write for a placeholder that there isn't, in the value of this key.
fn placeholder_help(name: &str, key: &str) -> String {
    const KNOWN: &str = "there are `${stage}`, `${account}`, `${region}` and `${env.NAME}`, \
                         a variable of your shell when routeto runs";
    const TIMES: [&str; 15] = [
        "date",
        "time",
        "datetime",
        "timestamp",
        "now",
        "today",
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "yyyy",
        "mm",
        "dd",
        "dt",
    ];
    if TIMES.contains(&name.to_lowercase().as_str()) {
        let time = match key {
            "prefix" => {
                "a prefix has no date: it is the same for every record, and the time is in the rest of the key, \
                 `<prefix><app>_<time>_<id>`"
            }
            _ => "none is a date: a name is the same for every record",
        };
        return format!("{KNOWN}; {time}");
    }
    if let Some(variable) = name.strip_prefix("env.").filter(|name| text::is_variable(name)) {
        return format!("did you mean `${{env.{variable}}}`?");
    }
    match nearest(name, ["stage", "account", "region"]) {
        Some(known) => format!("did you mean `${{{known}}}`?"),
        // The environment's own names are written so; anything else is more likely no variable at
        // all.
        None if text::is_variable(name) && !name.contains(|c: char| c.is_ascii_lowercase()) => {
            format!("for a variable of the environment write `${{env.{name}}}`")
        }
        None => KNOWN.to_owned(),
    }
}

/// "`a`, `b` or `c`".
fn either(words: &[&str]) -> String {
    listed(words).replace(" and ", " or ")
}

/// Whether a value of `token:` looks like the token itself, which belongs nowhere in a stack file.
pub(super) fn could_be_a_token(text: &str) -> bool {
    text.len() >= 12 && !text.contains(char::is_whitespace)
}

/// The line as it may be shown: a secret that somebody wrote behind `token:` is covered.
fn without_token(line: &str) -> String {
    let covered = line.split_once("token:").and_then(|(before, after)| {
        let value = after.trim_start().split([',', '}', '#']).next().unwrap_or_default().trim_end();
        could_be_a_token(value.trim_matches(['"', '\''])).then(|| {
            format!(
                "{before}token:{}",
                after.replacen(value, &"*".repeat(value.chars().count()), 1)
            )
        })
    });
    covered.unwrap_or_else(|| line.to_owned())
}

fn described(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a mapping".into(),
        Value::Scalar(Scalar { text, core }) => match core {
            Core::Null => "nothing".into(),
            Core::Bool(_) => format!("`{text}`"),
            Core::Integer(_) | Core::Float(_) => format!("the number `{}`", shown(text)),
            Core::Text => format!("the text `{}`", shown(text)),
        },
    }
}
