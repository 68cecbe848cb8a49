//! API Gateway's mapping templates, rendered on any machine exactly as API Gateway renders them.
//!
//! The language is Apache Velocity 1.7 with three settings that API Gateway makes: a reference
//! without a value is an empty text, macros defined in a template are ignored, `#evaluate` is
//! unknown. `$input`, `$util`, `$context` and `$stageVariables` are there; JSON is read as
//! json-smart does, JSONPath as Jayway's library does, methods are Java's.
//!
//! Pure: no input or output, no clock, no randomness, no threads. Any template and any body may be
//! given; limits make sure that an answer comes. It does not know what is done with the text.
//!
//! ```
//! # use vtl::{Limits, Request, Template};
//! let template = Template::parse("{\"name\": \"$input.path('$.name')\"}").unwrap();
//! let request = Request { body: Some(r#"{"name":"Ann"}"#.into()), ..Request::new() };
//! assert_eq!(template.render(&request, &Limits::GATEWAY).unwrap().text, r#"{"name": "Ann"}"#);
//! ```
//!
//! From text to text: `lexer` → `parser` → `ast` → `eval`, which asks `java` for methods; values
//! are in `value`.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod ast;
mod batch;
mod error;
mod eval;
mod format;
pub mod gateway;
mod java;
mod json;
mod jsonpath;
mod lexer;
mod lint;
mod number;
mod parser;
mod regex;
mod request;
mod text;
mod token;
mod value;

use self::{
    ast::{Region, Span, Tree},
    eval::{Eval, Flow},
    parser::Raised,
    value::Value,
};
pub use self::{
    batch::render_batch,
    error::{Details, Error, ErrorKind, Place},
    java::{escape_javascript, url_encode},
    lint::{Lint, LintKind, lint, lint_stage_variables},
    request::{Data, Limits, Pairs, Request},
};

/// A parsed template. Can be rendered any number of times, from any thread.
#[derive(Clone, Debug)]
pub struct Template {
    tree: Tree,
}

/// What a render made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    pub text: String,
    /// What the template assigned to `$context.requestOverride` and `$context.responseOverride`.
    pub overrides: Overrides,
    /// `$context` after the render, if the template looked at it as a whole.
    pub context: Option<Pairs>,
    /// With [`Template::explain`]: each reference in the order of evaluation.
    pub references: Vec<Explained>,
}

/// The values of `$context.requestOverride` and `$context.responseOverride` after a render.
/// Source: API Gateway Developer Guide, "Override your API's request and response parameters and
/// status codes".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    pub request_header: Pairs,
    pub request_path: Pairs,
    pub request_querystring: Pairs,
    pub response_header: Pairs,
    /// Only a whole number from 100 to 599 counts.
    pub response_status: Option<u16>,
}

/// A reference, its value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// As written.
    pub reference: String,
    /// As printed.
    pub value: String,
    pub place: Place,
}

impl Template {
    /// Parses a template. The error says where it doesn't and what to write instead.
    pub fn parse(source: &str) -> Result<Template, Error> {
        match parser::parse(source) {
            Ok(tree) => Ok(Template { tree }),
            Err(failed) => {
                let (raised, tree) = *failed;
                Err(placed(source, &tree.regions, raised))
            }
        }
    }

    pub fn source(&self) -> &str {
        &self.tree.pool[..self.tree.source]
    }

    /// Renders the template for a request.
    pub fn render(&self, request: &Request, limits: &Limits) -> Result<Rendered, Error> {
        self.run(request, limits, false)
    }

    /// Renders the template and notes each reference with its value.
    pub fn explain(&self, request: &Request, limits: &Limits) -> Result<Rendered, Error> {
        self.run(request, limits, true)
    }

    fn run(&self, request: &Request, limits: &Limits, explain: bool) -> Result<Rendered, Error> {
        let mut eval = Eval::new(&self.tree, request, *limits);
        if explain {
            eval.seen = Some(Vec::new());
        }
        // The output is about as long as the template and the body.
        let mut text = String::with_capacity(
            (self.tree.source + request.body_text().len() + 64).min(limits.output),
        );
        match eval.run(&mut text) {
            Ok(()) | Err(Flow::Stop(_)) => {}
            Err(Flow::Raised(raised)) => {
                return Err(placed(self.source(), &self.tree.regions, *raised));
            }
        }
        let context = eval.context().and_then(to_pairs);
        let overrides = context.as_ref().map(overrides).unwrap_or_default();
        let references = eval
            .seen
            .take()
            .unwrap_or_default()
            .into_iter()
            .map(|seen| self.explained(seen))
            .collect();
        Ok(Rendered { text: text::leave(text), overrides, context, references })
    }

    fn explained(&self, seen: eval::Seen) -> Explained {
        let place = place(self.source(), main_offset(&self.tree.regions, seen.span.start).0);
        Explained {
            reference: seen.span.of(&self.tree.pool).to_owned(),
            value: text::leave(seen.value),
            place,
        }
    }
}

/// The offset in the template of an offset in the pool, and whether it is exact.
fn main_offset(regions: &[Region], offset: u32) -> (u32, bool) {
    let mut offset = offset;
    let mut exact = true;
    // Regions are in order of their start, and each was written in an earlier one.
    for region in regions.iter().rev() {
        if offset >= region.start {
            if region.exact && exact {
                offset = region.written.start + 1 + (offset - region.start);
            } else {
                exact = false;
                offset = region.written.start;
            }
        }
    }
    (offset, exact)
}

fn place(source: &str, offset: u32) -> Place {
    let mut offset = (offset as usize).min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// The error with its place and its line.
fn placed(source: &str, regions: &[Region], raised: Raised) -> Error {
    let Raised { mut error, span } = raised;
    if error.place.is_none() && (error.kind != ErrorKind::Limit || span != Span::default()) {
        let (start, exact) = main_offset(regions, span.start);
        let at = place(source, start);
        let line = source.lines().nth(at.line - 1).unwrap_or("");
        let width = if exact {
            let (start, end) =
                (start as usize, (start + span.end.saturating_sub(span.start)) as usize);
            source
                .get(start..end.min(source.len()))
                .map_or(1, |text| text.trim_end().lines().next().unwrap_or("").chars().count())
        } else {
            1
        };
        error.width = width.max(1);
        error.source_line = Some(line.to_owned());
        error.place = Some(at);
    }
    error
}

fn to_data(value: &Value, depth: usize) -> Data {
    if depth > value::MAX_NESTING {
        return Data::Null;
    }
    match value {
        Value::Null => Data::Null,
        Value::Bool(value) => Data::Bool(*value),
        Value::Int(number) => Data::Int(*number),
        Value::Long(number) => Data::Long(*number),
        Value::Float(number) => Data::Float(*number),
        Value::Double(number) => Data::Double(*number),
        Value::Big(number) => Data::Big((**number).clone()),
        Value::Decimal(number) => Data::Decimal(number.unscaled.clone(), number.scale),
        Value::Text(text) => Data::Text(text.to_string()),
        Value::List(list) => {
            Data::List(list.items.borrow().iter().map(|item| to_data(item, depth + 1)).collect())
        }
        Value::Map(map) => Data::Map(
            map.inner
                .borrow()
                .entries
                .iter()
                .map(|(key, value)| {
                    let mut name = String::new();
                    let printed = value::print(key, &mut name, 0, &mut value::NoBlocks);
                    (if printed.is_ok() { name } else { String::new() }, to_data(value, depth + 1))
                })
                .collect(),
        ),
        other => {
            let mut text = String::new();
            match value::print(other, &mut text, 0, &mut value::NoBlocks) {
                Ok(()) => Data::Text(text),
                Err(_) => Data::Null,
            }
        }
    }
}

fn to_pairs(value: &Value) -> Option<Pairs> {
    match to_data(value, 0) {
        Data::Map(pairs) => Some(pairs),
        _ => None,
    }
}

/// What a template assigned under `requestOverride` and `responseOverride`.
fn overrides(context: &Pairs) -> Overrides {
    let inner = |pairs: &Pairs, name: &str| -> Pairs {
        match pairs.iter().find(|(known, _)| known == name) {
            Some((_, Data::Map(inner))) => inner.clone(),
            _ => Pairs::new(),
        }
    };
    let request = inner(context, "requestOverride");
    let response = inner(context, "responseOverride");
    let response_status =
        response.iter().find(|(name, _)| name == "status").and_then(|(_, status)| match status {
            Data::Int(status) => {
                u16::try_from(*status).ok().filter(|status| (100..=599).contains(status))
            }
            Data::Text(text) => text.parse().ok().filter(|status| (100..=599).contains(status)),
            _ => None,
        });
    Overrides {
        request_header: inner(&request, "header"),
        request_path: inner(&request, "path"),
        request_querystring: inner(&request, "querystring"),
        response_header: inner(&response, "header"),
        response_status,
    }
}
