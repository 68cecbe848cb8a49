//! routeto: one YAML file in, and in the user's own AWS account stands what takes webhooks and
//! keeps every one of them.

pub mod apply;
pub mod aws;
pub mod cli;
pub mod coding;
pub mod commands;
pub mod desired;
pub mod dev;
pub mod diagnostic;
pub mod error;
pub mod observed;
pub mod openapi;
pub mod package;
pub mod partition;
pub mod plan;
pub mod policy;
pub mod previous;
pub mod render;
pub mod report;
pub mod resource;
pub mod risks;
pub mod rollback;
pub mod samples;
pub mod spec;
pub mod token;

use clap::{CommandFactory, FromArgMatches};
use error::{Error, Failure};
use futures_util::future::OptionFuture;
use std::{ffi::OsString, io::Write, process::ExitCode, time::Duration};

/// Runs the command line and answers the process's exit code.
pub fn run() -> ExitCode {
    let cli = match cli::Cli::command()
        .try_get_matches()
        .and_then(|matches| cli::Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let context = commands::Context::new(cli.global.clone());
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return end(
                &context,
                Err(Failure::new("routeto", format!("no threads to work with: {error}")).into()),
            );
        }
    };
    let outcome = runtime.block_on(async {
        survive_file_limit();
        // These end at a signal in their own way. Until they listen for it, it ends the process: one heard here would be lost.
        let stops_itself = matches!(cli.command, cli::Command::Dev(_) | cli::Command::Tail(_));
        // Before anything else: a signal that comes while the first calls are being sent is heard, too.
        let interrupted = OptionFuture::from((!stops_itself).then(interrupted));
        tokio::select! {
            outcome = commands::run(&context, cli) => outcome,
            Some(signal) = interrupted => {
                // What was under way is dropped; the lock goes back, so that the next run need not wait for its lease.
                let _ = tokio::time::timeout(Duration::from_millis(800), context.release()).await;
                context.progress.clear();
                if context.show_tokens() {
                    context.report.note("if this token is refused, the command stopped before setting it");
                }
                Err(Error::Interrupted(match context.has_begun() {
                    true => Failure::new(signal, "stopped in the middle").now(context.again()),
                    false => Failure::new(signal, "stopped before anything was changed"),
                }))
            }
        }
    });
    // A build that is being killed need not be waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    end(&context, outcome)
}

/// Help and version were asked for; anything else is a wrong command line (64, as sysexits has it).
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = asks_for_json(std::env::args_os());
    match in_our_words(error) {
        Some(failure) => fail(json, &Error::Usage(failure)),
        None if json => {
            let text = error.render().to_string();
            let text = text.trim_end();
            let what = text.strip_prefix("error: ").unwrap_or(text);
            fail(json, &Error::Usage(Failure::new("the command line", what)))
        }
        None => {
            let _ = error.print();
            ExitCode::from(64)
        }
    }
}

/// Whether a command line that clap refused has `--output json` in it.
fn asks_for_json(args: impl IntoIterator<Item = OsString>) -> bool {
    let args: Vec<OsString> = args.into_iter().take_while(|arg| arg != "--").collect();
    let asked = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    args.iter().any(|arg| arg == "--output=json") || args.windows(2).any(asked)
}

/// What clap would say too much or too little of.
fn in_our_words(error: &clap::Error) -> Option<Failure> {
    use clap::error::{ContextKind, ContextValue};
    if may_hold_a_token(error) {
        let what = "an argument is too many; it isn't shown, since it could be a token";
        return Some(Failure::new("set-token", what).now(token::GIVE_ON_STDIN));
    }
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let Some(word) = given(ContextKind::InvalidSubcommand) {
        let failure =
            Failure::new("routeto", format!("there is no command `{}`", spec::shown(word)));
        return Some(failure.now(cli::instead_of(word)));
    }
    (given(ContextKind::InvalidArg) == Some("--dry-run")).then(|| {
        let verb = std::env::args_os().find(|arg| arg == "deploy" || arg == "rollback");
        let now = match verb.as_deref().and_then(|verb| verb.to_str()) {
            Some("deploy") => "`routeto plan` shows what deploy would do, and changes nothing",
            Some("rollback") => "`routeto status` shows what a rollback would restore, and changes nothing",
            _ => "`plan` shows what `deploy` would do; `teardown --dry-run` lists what would be deleted",
        };
        Failure::new("--dry-run", "there is no such option").now(now)
    })
}

/// clap repeats an argument that it can't place. One of `set-token`'s that is no option is likely
/// to be the token.
fn may_hold_a_token(error: &clap::Error) -> bool {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let option = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(text)) if text.starts_with('-'));
    let stray = match error.kind() {
        ErrorKind::UnknownArgument => !option,
        ErrorKind::TooManyValues => true,
        _ => false,
    };
    stray && std::env::args_os().any(|arg| arg == "set-token")
}

/// Ctrl-C or SIGTERM, in a word. Listens from the moment on that it is called; ends with the
/// signal.
#[cfg(unix)]
pub(crate) fn interrupted() -> impl Future<Output = &'static str> {
    use tokio::signal::unix::{Signal, SignalKind, signal};
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async fn next(signal: std::io::Result<Signal>) {
        match signal {
            Ok(mut signal) => drop(signal.recv().await),
            // Nothing to listen to: the signal ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    }
    async move {
        tokio::select! {
            () = next(signals.0) => "interrupted",
            () = next(signals.1) => "terminated",
        }
    }
}

/// Makes a write beyond `ulimit -f` an error of that write (EFBIG), where SIGXFSZ would end the
/// process without a word. Source: setrlimit(2), `RLIMIT_FSIZE`. The handler stays once it is set.
fn survive_file_limit() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let number = rustix::process::Signal::XFSZ.as_raw();
        // Where it can't be set, the limit does what it does by default.
        drop(signal(SignalKind::from_raw(number)));
    }
}

#[cfg(not(unix))]
pub(crate) async fn interrupted() -> &'static str {
    let _ = tokio::signal::ctrl_c().await;
    "interrupted"
}

fn end(context: &commands::Context, outcome: error::Result<u8>) -> ExitCode {
    let outcome = outcome.and_then(|code| match report::lost_result() {
        Some(error) => Err(Failure::new(
            "stdout",
            format!("the result couldn't be written: {error}"),
        )
        .now("what the command was to do is done; run it again with its output going elsewhere")
        .into()),
        None => Ok(code),
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            context.progress.clear();
            fail(context.report.json, &error)
        }
    }
}

/// Prints why a command ended without doing its work, and answers the exit code: the one place
/// that prints an error. For programs it is an event among the others on stderr, and on stdout the
/// command's one object, unless it printed that already.
fn fail(json: bool, error: &Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    if json {
        let object = report::json::error(error);
        let mut event = serde_json::json!({"event": "error"});
        if let (Some(event), Some(error)) = (event.as_object_mut(), object["error"].as_object()) {
            event.extend(error.clone());
        }
        let _ = writeln!(stderr, "{event}");
        if !report::has_result() {
            let _ = writeln!(std::io::stdout().lock(), "{object}");
        }
    } else {
        let _ = writeln!(stderr, "{error}");
    }
    ExitCode::from(error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_line_is_answered_in_the_form_that_it_asks_for() {
        let asks = |line: &str| asks_for_json(line.split_whitespace().map(OsString::from));
        for line in [
            "routeto --output json deploi",
            "routeto plan --output=json --nope",
            "routeto plan --nope --output json",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "routeto plan --output",
            "routeto plan --output text json",
            "routeto plan -- --output json",
            "routeto json",
        ] {
            assert!(!asks(line), "{line}");
        }
    }
}
