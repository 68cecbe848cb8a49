//! What is wrong with a template or a render: where, what, which values, and what to write instead.
//!
//! Draws text; prints nothing.

use std::{borrow::Cow, fmt};

/// A place in a template. Line and column count from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// The kind of an error, by what has to be mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The template doesn't parse; API Gateway answers every request with 500.
    Parse,
    /// The template parses but fails for this request; API Gateway answers 500.
    Render,
    /// The request's body is not JSON, and the template reads it as such.
    Body,
    /// A limit: of API Gateway's, or this engine's own. The message says which.
    Limit,
}

/// An error of a template. `Display` is one line; [`Error::frame`] shows the place. Its fields are
/// those of [`Details`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Details>);

impl std::ops::Deref for Error {
    type Target = Details;
    fn deref(&self) -> &Details {
        &self.0
    }
}

impl std::ops::DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What an [`Error`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub kind: ErrorKind,
    /// The Java exception's simple class name, as the engine in API Gateway raises it.
    pub class: Cow<'static, str>,
    pub message: String,
    pub place: Option<Place>,
    /// The source line of `place`, without its line break.
    pub source_line: Option<String>,
    /// How many characters of the line are concerned, at least 1.
    pub width: usize,
    /// The references involved, each with its value.
    pub variables: Vec<(String, String)>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        class: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Error(Box::new(Details {
            kind,
            class: class.into(),
            message: message.into(),
            place: None,
            source_line: None,
            width: 1,
            variables: Vec::new(),
            help: None,
        }))
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Limit, "LimitExceeded", message)
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The HTTP status that API Gateway answers with: 400 for a body that can't be read, 500
    /// otherwise.
    pub fn status(&self) -> u16 {
        if self.kind == ErrorKind::Body { 400 } else { 500 }
    }

    /// Several lines: file, line, column, the line itself, a caret, the values of the references
    /// involved and what to write instead.
    pub fn frame(&self, file: &str) -> String {
        let mut text = format!("error: {}", self.message);
        if let Some(Place { line, column }) = self.place {
            text.push_str(&format!("\n  --> {file}:{line}:{column}"));
            if let Some(source) = &self.source_line {
                let gutter = line.to_string();
                let blank = " ".repeat(gutter.len());
                let (shown, column) = window(source, column);
                let indent: String = shown
                    .chars()
                    .take(column - 1)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                let room = shown.chars().count().saturating_sub(column - 1).max(1);
                let carets = "^".repeat(self.width.clamp(1, room));
                text.push_str(&format!(
                    "\n {blank} |\n {gutter} | {shown}\n {blank} | {indent}{carets}"
                ));
            }
        } else {
            text.push_str(&format!("\n  --> {file}"));
        }
        for (name, value) in &self.variables {
            text.push_str(&format!("\n  = {name} is {value}"));
        }
        text.push_str(&format!("\n  = API Gateway answers {}", self.status()));
        if let Some(help) = &self.help {
            text.push_str(&format!("\n  = help: {help}"));
        }
        text
    }
}

/// At most 120 characters of a line around `column`, with the column as counted in them.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let column = column.max(1);
    let length = line.chars().count();
    if length <= WIDTH {
        return (line.to_owned(), column.min(length + 1));
    }
    let start = column.saturating_sub(WIDTH / 2).min(length - WIDTH);
    (line.chars().skip(start).take(WIDTH).collect(), (column - start).min(WIDTH + 1))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => {
                write!(f, "{} at line {line}, column {column}", self.message)
            }
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
