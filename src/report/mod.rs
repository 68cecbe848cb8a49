//! All that a person or a program reads: progress and errors on stderr, results on stdout. The only
//! place, with `lib`, that prints.

mod dev;
pub mod json;
pub mod plan;
mod progress;

pub use progress::Progress;

use crate::{
    cli::{Color, Global, Output},
    diagnostic::Diagnostic,
};
use std::{
    io::{ErrorKind, IsTerminal, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Why a result didn't reach stdout, if one didn't: a full disk, say. A closed pipe is the reader's
/// choice and doesn't count.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// What kept a result from being written. A command whose result is lost has failed.
pub fn lost_result() -> Option<&'static std::io::Error> {
    LOST.get()
}

/// Whether a result was printed.
static RESULT: AtomicBool = AtomicBool::new(false);

/// Whether the command has printed its result, or the first of several.
pub fn has_result() -> bool {
    RESULT.load(Ordering::Relaxed)
}

/// A line on stderr, written at once: stderr has no buffer, so each piece of a formatted line would
/// be a call of the kernel's.
fn tell(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// How this command talks.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    /// Stderr is a terminal that a person looks at.
    pub terminal: bool,
    /// Stdout is a terminal: what is printed there is recorded nowhere.
    pub stdout_terminal: bool,
    color: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Good,
    Bad,
    Changed,
    Dim,
    Bold,
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

impl Report {
    pub fn new(global: &Global) -> Self {
        // A CI system may lend a terminal; what it shows is kept.
        let recorded = in_ci();
        let terminal = std::io::stderr().is_terminal() && !recorded;
        let stdout_terminal = std::io::stdout().is_terminal() && !recorded;
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                stdout_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        Self {
            json: global.output == Output::Json,
            quiet: global.quiet,
            verbose: global.verbose,
            terminal,
            stdout_terminal,
            color,
        }
    }

    /// Text in a style, or as it is where there are no colours.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Bad => "31",
            Style::Changed => "33",
            Style::Dim => "2",
            Style::Bold => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Whether a token may be printed: asked for, or to a person at a terminal. An object for
    /// programs has it only when asked for.
    pub fn shows_tokens(&self, asked: bool) -> bool {
        asked || (self.stdout_terminal && !self.json)
    }

    /// A result.
    pub fn result(&self, text: &str) {
        RESULT.store(true, Ordering::Relaxed);
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush());
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
        {
            let _ = LOST.set(error);
        }
    }

    /// One line of many on stdout; false when nobody reads them any more.
    pub fn line(&self, text: &str) -> bool {
        writeln!(std::io::stdout().lock(), "{text}").is_ok()
    }

    /// Something that a person should know, beside the result.
    pub fn note(&self, text: &str) {
        if self.quiet {
            return;
        }
        if self.json {
            self.event(&serde_json::json!({"event": "note", "text": text}));
        } else {
            tell(text);
        }
    }

    /// A line that every reader gets, quiet ones as well.
    pub fn warning(&self, text: &str) {
        if self.json {
            self.event(&serde_json::json!({"event": "warning", "text": text}));
        } else {
            tell(&self.paint(Style::Changed, &format!("warning: {text}")));
        }
    }

    /// Diagnostics that don't stop the command.
    pub fn diagnostics(&self, diagnostics: &[Diagnostic]) {
        for diagnostic in diagnostics {
            if self.json {
                self.event(
                    &serde_json::json!({"event": "warning", "text": diagnostic.to_string()}),
                );
            } else {
                tell(&format!("{diagnostic}\n"));
            }
        }
    }

    /// One JSON line on stderr.
    fn event(&self, event: &serde_json::Value) {
        tell(&event.to_string());
    }

    /// Stdin is a terminal at which a person types; a CI system may lend one.
    pub fn stdin_terminal(&self) -> bool {
        std::io::stdin().is_terminal() && !in_ci()
    }

    /// Asks a yes-or-no question on the terminal; no answer is a no. Blocks until there is one.
    pub fn ask(&self, question: &str) -> bool {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "{question} [y/N] ");
        let _ = stderr.flush();
        drop(stderr);
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if !answer.ends_with('\n') {
            // Ctrl-D leaves the cursor behind the question.
            let _ = writeln!(std::io::stderr().lock());
        }
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}
