//! What can go wrong, as data: a kind per exit code, and for a failure where it happened, what it
//! is and what to do now.
//!
//! Words are put together in one place, [`Error`]'s `Display`; printing is `lib`'s.

use crate::diagnostic::Diagnostic;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command ended without doing its work.
#[derive(Debug)]
pub enum Error {
    /// The command line asks for something that can't be: exit 64.
    Usage(Failure),
    /// The stack file or a template is wrong; every problem at once: exit 65.
    Stack(Vec<Diagnostic>),
    /// Something failed while the work was done: exit 1. Several where independent changes failed,
    /// root causes only.
    Failed(Vec<Failure>),
    /// Ctrl-C or SIGTERM: exit 130.
    Interrupted(Failure),
}

/// One failure: where (the call, the resource, the file), what, and what to do now. No secret is
/// ever put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub place: String,
    pub what: String,
    pub now: Option<String>,
}

impl Failure {
    pub fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), now: None }
    }

    /// A resource that is somebody else's, by what it lacks or by what shows it.
    pub fn foreign(place: impl Into<String>, whose: &str) -> Self {
        Self::new(place, format!("it isn't this stack's ({whose})"))
            .now("routeto never touches what doesn't carry its tag")
    }

    /// Says what to do now.
    #[must_use]
    pub fn now(mut self, hint: impl Into<String>) -> Self {
        self.now = Some(hint.into());
        self
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Failed(vec![failure])
    }
}

impl Error {
    /// The process's exit code. Source: README, "Commands"; 64 and 65 as sysexits.h has them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failed(_) => 1,
            Error::Usage(_) => 64,
            Error::Stack(_) => 65,
            Error::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { place, what, now } = self;
        write!(f, "{place}: {what}")?;
        if let Some(now) = now {
            write!(f, "\n  = help: {now}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(failure) | Error::Interrupted(failure) => write!(f, "error: {failure}"),
            Error::Failed(failures) => {
                for (i, failure) in failures.iter().enumerate() {
                    write!(f, "{}error: {failure}", if i == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
            Error::Stack(diagnostics) => {
                for (i, diagnostic) in diagnostics.iter().enumerate() {
                    write!(f, "{}{diagnostic}", if i == 0 { "" } else { "\n\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {}
