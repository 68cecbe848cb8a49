//! The stack file: YAML text to a validated [`Stack`], or every problem in it at once.
//!
//! Pure: the text, the environment and the files it names come in through arguments; nothing is read, printed or asked of AWS here.

use std::collections::{BTreeMap, BTreeSet};

/// What one YAML file describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// `^[a-z][a-z0-9-]{1,39}$`; names and tags every resource.
    pub name: String,
    /// The file's own `region`, if it has one.
    pub region: Option<String>,
    pub function: FunctionSettings,
    /// Keyed by path, which starts with `/`.
    pub routes: BTreeMap<String, Route>,
    /// Lower-case media types whose custom templates take `$input.body` as base64.
    pub binary: BTreeSet<String>,
    /// Keyed by the stage's name, in the order of the file.
    pub stages: Vec<Stage>,
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FunctionSettings {
    /// MB, 128..=10240.
    pub memory: u32,
    /// Seconds, 1..=25.
    pub timeout: u32,
    pub architecture: Architecture,
    /// Days, one of CloudWatch's values.
    pub log_retention: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Arm64,
}

/// One path of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub path: String,
    /// The name of the stage variable that carries this route's destination; made from the path.
    pub variable: String,
    pub destination: Destination,
    pub token: TokenRule,
    /// Lower-case media types, those with a custom template included.
    pub accept: BTreeSet<String>,
    /// Text of the custom mapping template, by lower-case media type.
    pub templates: BTreeMap<String, Template>,
}

/// A custom mapping template as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The path as the stack file writes it, joined to the stack file's directory.
    pub file: std::path::PathBuf,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRule {
    Query,
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    S3(S3Destination),
    Sqs(SqsDestination),
}

#[derive(Clone, Debug, PartialEq)]
pub struct S3Destination {
    pub bucket: Pattern,
    pub existing: bool,
    /// Empty, or as written; used as it is before the key.
    pub prefix: Pattern,
    pub format: S3Format,
    /// `bucket[/path]` that `?bucket=` may name.
    pub allow: Vec<Pattern>,
    /// Days.
    pub expire_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Format {
    Raw,
    Ndjson,
    Envelope,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SqsDestination {
    pub queue: Pattern,
    pub existing: bool,
    pub dead_letter: Option<DeadLetter>,
    pub format: SqsFormat,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    pub queue: Pattern,
    /// How often a message is received before it moves, 1..=1000.
    pub after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqsFormat {
    Envelope,
    Body,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: String,
    /// Per route; the account's limits where left out.
    pub throttle: Option<Throttle>,
    /// Free stage variables for the user's own templates.
    pub variables: BTreeMap<String, Pattern>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Requests a second.
    pub rate: f64,
    /// Requests.
    pub burst: u32,
}

/// Text with `${stage}`, `${account}` and `${region}` still in it; `${env.NAME}` is filled in when the file is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(pub String);

impl Pattern {
    /// The text for one stage. The placeholders were checked when the file was read.
    pub fn resolve(&self, stage: &str, account: &str, region: &str) -> String {
        self.0.replace("${stage}", stage).replace("${account}", account).replace("${region}", region)
    }
}
