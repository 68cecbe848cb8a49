//! The command line: words in, a typed command out.

use crate::{samples::Provider, spec::nearest};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, Parser)]
#[command(
    name = "routeto",
    version,
    about = "One YAML file in, and your AWS account keeps every webhook.",
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 `plan --exit-code` found changes, 64 usage, 65 bad stack file or template, 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// AWS region; else the stack file's, AWS_REGION's, the profile's
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
    /// Profile of the AWS configuration
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// Another endpoint than AWS's, an emulator's say; AWS_ENDPOINT_URL does the same
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// What stdout gets
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// More words: what stays as it is, too
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build, plan, apply; ends with a probe of every route
    Deploy(Deploy),
    /// Show what deploy would do
    Plan(PlanArgs),
    /// Give a stage a new token
    SetToken(SetToken),
    /// Put a stage back to what it was before its last change
    Rollback(Rollback),
    /// Show what stands where, and what was changed by hand
    Status(Status),
    /// Delete the stack's resources (buckets and queues that hold something are kept)
    Teardown(Teardown),
    /// Check the stack file and its templates; asks nobody
    Validate(Validate),
    /// Serve the stack on this machine: gateway, function, S3 and SQS, without an account
    Dev(Dev),
    /// Post what providers post, to `routeto dev` or to the deployed stages, and check that it
    /// arrived
    Test(Test),
    /// Print each record as it arrives, in `dev` or in AWS
    Tail(Tail),
    /// Print the event that a request becomes, as API Gateway's mapping templates make it
    Render(Render),
    /// Build the function's zip
    Package(Package),
    /// Print the shell's completions
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

#[derive(Clone, Debug, Args)]
pub struct StackArg {
    /// The stack file, or the name of one in stacks/ [default: stacks/routeto.yaml]
    #[arg(value_name = "STACK")]
    pub stack: Option<PathBuf>,
}

/// What is read where no file is named.
pub const DEFAULT_STACK: &str = "stacks/routeto.yaml";

impl StackArg {
    /// As it was named, or the default.
    pub fn path(&self) -> &Path {
        self.stack.as_deref().unwrap_or(Path::new(DEFAULT_STACK))
    }

    /// No file was named, and the default isn't there. A named file that is missing is a mistake,
    /// whatever its name.
    pub fn is_nowhere(&self) -> bool {
        self.stack.is_none() && !self.path().exists()
    }

    /// Another command about the same stack, to be pasted: `routeto deploy sendgrid-s3`.
    pub fn command(&self, verb: &str) -> String {
        let stack = self.path().display().to_string();
        match stack.as_str() {
            DEFAULT_STACK => format!("routeto {verb}"),
            plain if plain.chars().all(|c| c.is_ascii_alphanumeric() || "-._/~".contains(c)) => {
                format!("routeto {verb} {plain}")
            }
            _ => format!("routeto {verb} '{}'", stack.replace('\'', r"'\''")),
        }
    }
}

#[derive(Clone, Debug, Default, Args)]
pub struct Stages {
    /// Only this stage; may be repeated. Default: every stage of the file
    #[arg(long = "stage", value_name = "STAGE")]
    pub stages: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct FunctionZip {
    /// A zip of the function that is built already
    #[arg(long, value_name = "FILE")]
    pub function_zip: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Deploy {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
    #[command(flatten)]
    pub zip: FunctionZip,
    /// Print a new stage's token even where it might be recorded
    #[arg(long)]
    pub show_token: bool,
    /// Keep what was deployed even if it gives wrong answers for 90 seconds
    #[arg(long)]
    pub no_rollback: bool,
    /// Take the lock of a deploy that was killed
    #[arg(long)]
    pub break_lock: bool,
}

#[derive(Debug, Args)]
pub struct Rollback {
    #[command(flatten)]
    pub stack: StackArg,
    /// The stage that goes back
    #[arg(long, value_name = "STAGE", required = true)]
    pub stage: String,
    /// Take the lock of a deploy that was killed
    #[arg(long)]
    pub break_lock: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
    #[command(flatten)]
    pub zip: FunctionZip,
    /// Exit with 2 if there is anything to do
    #[arg(long)]
    pub exit_code: bool,
}

#[derive(Debug, Args)]
pub struct SetToken {
    #[command(flatten)]
    pub stack: StackArg,
    /// The stage that gets the token
    #[arg(long, value_name = "STAGE", required = true)]
    pub stage: String,
    /// Read the token from stdin instead of making one
    #[arg(long)]
    pub token_stdin: bool,
    /// How long the current token goes on working, e.g. 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = overlap, conflicts_with = "now")]
    pub overlap: Duration,
    /// End all old tokens at once
    #[arg(long)]
    pub now: bool,
    /// Print the token even where it might be recorded
    #[arg(long)]
    pub show_token: bool,
    /// Take the lock of a command that was killed
    #[arg(long)]
    pub break_lock: bool,
}

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
}

#[derive(Debug, Args)]
pub struct Teardown {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
    /// Delete buckets with objects and queues with messages, too
    #[arg(long)]
    pub delete_data: bool,
    /// Skip the confirmation. Required where stdin isn't a terminal, as in a CI job
    #[arg(short, long)]
    pub yes: bool,
    /// List what would be deleted and what would be kept, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Take the lock of a deploy that was killed
    #[arg(long)]
    pub break_lock: bool,
}

#[derive(Debug, Args)]
pub struct Validate {
    #[command(flatten)]
    pub stack: StackArg,
}

#[derive(Debug, Args)]
pub struct Render {
    #[command(flatten)]
    pub stack: StackArg,
    /// The route that gets the request
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// The stage whose variables count; default: the file's first
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// A file with a raw HTTP request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["header", "query", "body"])]
    pub request: Option<PathBuf>,
    /// A header, `Name: value`; may be repeated
    #[arg(long, value_name = "HEADER")]
    pub header: Vec<String>,
    /// Query parameters, `a=b&c=d`
    #[arg(long, value_name = "QUERY")]
    pub query: Vec<String>,
    /// The body, or @FILE
    #[arg(long, value_name = "BODY")]
    pub body: Option<String>,
    /// Each reference with its value and its place, on stderr
    #[arg(long)]
    pub explain: bool,
    /// Read cases on stdin, one JSON object a line, and answer each with one
    #[arg(long, conflicts_with_all = ["route", "stage", "request", "header", "query", "body", "explain"])]
    pub batch: bool,
}

fn address(text: &str) -> Result<std::net::IpAddr, String> {
    match text {
        "localhost" => Ok(std::net::Ipv4Addr::LOCALHOST.into()),
        _ => text.parse().map_err(|_| {
            "an address of this machine is wanted: 127.0.0.1, 0.0.0.0 for all of them, ::1"
                .to_owned()
        }),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err("a host name is wanted, without a scheme, a port or a wildcard: store.test".to_owned())
}

#[derive(Debug, Args)]
pub struct Dev {
    #[command(flatten)]
    pub stack: StackArg,
    /// Where the stages answer; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// The address to listen at; any other lets other machines in
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = address)]
    pub host: std::net::IpAddr,
    /// A name beside localhost that the page, S3 and SQS answer to; may be given several times
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub allow_host: Vec<String>,
    /// Where S3 and SQS answer; default: the port after --port
    #[arg(long, value_name = "PORT")]
    pub aws_port: Option<u16>,
    /// Where records go: to S3 and SQS of this machine, or to the account's own
    #[arg(long, value_enum, default_value_t = Destinations::Local)]
    pub destinations: Destinations,
    /// Print the tokens and the page's key even where they might be recorded
    #[arg(long)]
    pub show_token: bool,
}

#[derive(Debug, Args)]
pub struct Tail {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
    /// Only this route's records
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// Where records arrive; default: in the `dev` that runs in this directory, else in AWS
    #[arg(long, value_enum)]
    pub from: Option<From>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// The journal of a running `routeto dev`
    Dev,
    /// The functions' logs, which CloudWatch shows some seconds later
    Aws,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Destinations {
    Local,
    Aws,
}

#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub stages: Stages,
    /// Only this route; default: every route
    #[arg(long, value_name = "PATH")]
    pub route: Option<String>,
    /// Whose sample; default: one for each content type that a route takes, of the provider in the
    /// route's name if it posts that type
    #[arg(long, value_enum, value_name = "NAME")]
    pub provider: Option<Provider>,
    /// What is deployed, even if a `routeto dev` of the stack runs in this directory
    #[arg(long)]
    pub deployed: bool,
    /// Read the stage's token from stdin; else ROUTETO_TOKEN_<STAGE>, or ROUTETO_TOKEN for one
    /// stage; for `dev` it is known
    #[arg(long)]
    pub token_stdin: bool,
}

#[derive(Debug, Args)]
pub struct Package {
    #[command(flatten)]
    pub stack: StackArg,
    #[command(flatten)]
    pub zip: FunctionZip,
    /// Where the zip goes; default: it stays in the cache, whose path is printed
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What to type instead of a command that there isn't: other tools' words for the same, then a slip
/// of the finger. clap's own tips go by letters alone and answer `destroy` with `deploy`.
pub fn instead_of(word: &str) -> String {
    let lower = word.to_lowercase();
    let tip = match lower.as_str() {
        "destroy" | "delete" | "remove" | "rm" | "down" | "undeploy" | "cleanup" | "purge"
        | "uninstall" => {
            "`routeto teardown` deletes what deploy made; `routeto teardown --dry-run` lists it"
        }
        "up" | "apply" | "create" | "sync" | "push" | "publish" | "update" | "release" => {
            "`routeto deploy` makes and updates the stack"
        }
        "diff" | "preview" | "changes" | "dry-run" => "`routeto plan` shows what deploy would do",
        "ls" | "list" | "info" | "show" | "describe" | "state" | "history" | "outputs" | "url"
        | "urls" => "`routeto status` shows the stages, their URLs and the history",
        "log" | "logs" | "watch" | "follow" => {
            "`routeto tail` prints each record as it is stored; \
             the function's own log is /aws/lambda/<stack>-<stage> in CloudWatch"
        }
        "run" | "start" | "serve" | "server" | "local" | "listen" => {
            "`routeto dev` serves the stack on this machine"
        }
        "undo" | "revert" => "`routeto rollback --stage S` puts a stage back to what it was before",
        "check" | "lint" | "verify" => "`routeto validate` checks the stack file and its templates",
        "token" | "tokens" | "rotate" | "rotate-token" | "secret" => {
            "`routeto set-token --stage S` gives a stage a new token"
        }
        "build" | "zip" | "compile" => "`routeto package` builds the function's zip",
        "send" | "post" | "ping" | "trigger" => "`routeto test` posts what providers post",
        "version" => "`routeto --version` prints it",
        "init" | "new" => {
            "there is no such step: write stacks/routeto.yaml (the README has one); \
             `routeto dev` serves a built-in example"
        }
        _ => "",
    };
    if !tip.is_empty() {
        return tip.to_owned();
    }
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    match nearest(&lower, names.iter().copied()) {
        Some(name) => format!("did you mean `routeto {name}`?"),
        None => format!("the commands are {}; `routeto --help` explains them", names.join(", ")),
    }
}

/// How long two tokens work beside each other: for no time at all would be `--now`, which ends all.
fn overlap(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() {
        Err("use --now, which ends all old tokens at once".into())
    } else {
        Ok(time)
    }
}

/// `90s`, `30m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write 90s, 30m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let time = count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)?;
    // Stage variables hold the expiry as epoch seconds; a year is longer than anybody needs two
    // tokens.
    if time > Duration::from_secs(366 * 24 * 3600) {
        Err("the overlap is at most 366d".into())
    } else {
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn other_tools_words_for_a_command_lead_to_the_command() {
        for (word, wanted) in [
            ("destroy", "`routeto teardown`"),
            ("Destroy", "`routeto teardown`"),
            ("ls", "`routeto status`"),
            ("list", "`routeto status`"),
            ("logs", "`routeto tail`"),
            ("up", "`routeto deploy`"),
            ("version", "`routeto --version`"),
            ("init", "stacks/routeto.yaml"),
            ("deploi", "did you mean `routeto deploy`?"),
            ("roll-back", "did you mean `routeto rollback`?"),
            ("xyzzy", "the commands are deploy, plan, set-token,"),
        ] {
            let said = instead_of(word);
            assert!(said.contains(wanted), "{word}: {said}");
            assert!(
                word == "deploi"
                    || wanted.contains("deploy")
                    || !said.starts_with("`routeto deploy"),
                "{word}: {said}"
            );
        }
        // No word of ours is taken for another tool's.
        for command in Cli::command().get_subcommands() {
            assert!(
                instead_of(command.get_name()).starts_with("did you mean"),
                "{}",
                command.get_name()
            );
        }
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "24", "h", "-1h", "1.5h", "1w", "99999999999999999999d", "400d", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_overlap_is_not_taken_for_now_which_ends_all_old_tokens() {
        let said = Cli::try_parse_from("routeto set-token --stage prod --overlap 0s".split(' '))
            .expect_err("refused")
            .to_string();
        assert!(said.contains("use --now, which ends all old tokens at once"), "{said}");
        assert!(
            Cli::try_parse_from("routeto set-token --stage prod --overlap 1s".split(' ')).is_ok()
        );
    }
}
