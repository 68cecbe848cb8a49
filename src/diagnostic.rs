//! A problem in a file of the user's, with the place and the line it stands in.
//!
//! Shared by the stack file (`spec`) and the mapping templates (`vtl`). Draws text; prints nothing.

use std::{fmt, path::PathBuf};

/// A place in a text file. Line and column count from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Whether a diagnostic stops the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One problem: where, what, and what to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: PathBuf,
    /// `None` where the file as a whole is the problem (not UTF-8, too large, a directory).
    pub place: Option<Place>,
    /// The source line itself, without its line break.
    pub source_line: Option<String>,
    /// How many characters the caret underlines, at least 1.
    pub width: usize,
    pub message: String,
    /// What to do now.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error of a route's mapping template, placed as the error is.
    pub fn of_template(route: &str, file: PathBuf, error: &vtl::Error) -> Self {
        let values: Vec<String> =
            error.variables.iter().map(|(name, value)| format!("{name} is {value}")).collect();
        let mut help = vec![];
        help.extend((!values.is_empty()).then(|| values.join("; ")));
        help.extend(error.help.clone());
        help.push(format!("API Gateway would answer {}", error.status()));
        Diagnostic {
            severity: Severity::Error,
            file,
            place: error.place.map(|place| Place { line: place.line, column: place.column }),
            source_line: error.source_line.clone(),
            width: error.width,
            message: format!("in the mapping template of {route}: {}", error.message),
            help: Some(help.join("\n  = help: ")),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { severity, file, place, source_line, width, message, help } = self;
        let word = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{word}: {message}")?;
        let file = file.display();
        match place {
            None => write!(f, "\n  --> {file}")?,
            Some(Place { line, column }) => {
                write!(f, "\n  --> {file}:{line}:{column}")?;
                if let Some(text) = source_line {
                    // A long line is cut around the place, so that the frame fits a terminal.
                    let (text, column) = window(text, *column);
                    let gutter = line.to_string();
                    let blank = " ".repeat(gutter.len());
                    let indent: String = text
                        .chars()
                        .take(column - 1)
                        .map(|c| if c == '\t' { '\t' } else { ' ' })
                        .collect();
                    let room = text.chars().count().saturating_sub(column - 1).max(1);
                    let carets = "^".repeat((*width).clamp(1, room));
                    write!(f, "\n {blank} |\n {gutter} | {text}\n {blank} | {indent}{carets}")?;
                }
            }
        }
        if let Some(help) = help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// At most 120 characters of a line around `column`, with the column as counted in them. Control
/// characters could drive the terminal: each is shown as one that can't.
fn window(line: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 120;
    let line: String = line
        .chars()
        .map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    let column = column.max(1);
    let length = line.chars().count();
    if length <= WIDTH {
        return (line, column.min(length + 1));
    }
    let start = column.saturating_sub(WIDTH / 2).min(length - WIDTH);
    (line.chars().skip(start).take(WIDTH).collect(), (column - start).min(WIDTH + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_file_line_column_the_line_a_caret_and_the_help() {
        let text = Diagnostic {
            severity: Severity::Error,
            file: "stacks/a.yaml".into(),
            place: Some(Place { line: 12, column: 3 }),
            source_line: Some("  memry: 128".into()),
            width: 5,
            message: "unknown key `memry`".into(),
            help: Some("did you mean `memory`?".into()),
        }
        .to_string();
        assert_eq!(
            text,
            "error: unknown key `memry`\n  --> stacks/a.yaml:12:3\n    |\n 12 |   memry: 128\n    |   ^^^^^\n  = help: did you mean `memory`?"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}x{}", "a".repeat(500), "b".repeat(500));
        let (shown, column) = window(&line, 501);
        assert_eq!(shown.chars().count(), 120);
        assert_eq!(shown.chars().nth(column - 1), Some('x'));
    }

    #[test]
    fn a_line_cannot_drive_the_terminal() {
        assert_eq!(window("a:\t\u{1b}[2Jb\u{7}", 3), ("a:\t\u{fffd}[2Jb\u{fffd}".to_owned(), 3));
    }
}
