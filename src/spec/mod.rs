//! The stack file: YAML text to a validated [`Stack`], or every problem in it at once.
//!
//! Pure: the text, the environment and the files it names come in through arguments; nothing is
//! read, printed or asked of AWS here. The way through: `yaml` makes a tree with places, `load`
//! makes a draft of it, `check` looks the whole draft over.

mod check;
mod draft;
mod load;
mod names;
mod reader;
mod suggest;
mod text;
mod yaml;

pub use names::destination_variable;
pub use routeto_function::{S3Format, SqsFormat, TokenRule};
pub use suggest::{did_you_mean, nearest};

use crate::diagnostic::{Diagnostic, Place, Severity};
use reader::Reader;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

/// Bytes. A larger file is refused before it is read any further; the largest stack that AWS takes
/// is a tenth of it.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The stack file as it came from the disk.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// As the user named it: diagnostics show it, and template files are relative to its
    /// directory.
    pub path: &'a Path,
    pub bytes: &'a [u8],
}

/// What a stack file may ask of the world around it.
pub struct World<'a> {
    /// A variable of the environment. What it gives may be secret, and is shown in no diagnostic.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The bytes of a template file; the path is joined to the stack file's directory.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    /// The region that the command is going to use, if that is settled; else the file's own
    /// counts, else the longest there is.
    pub region: Option<&'a str>,
}

/// A stack without errors.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub stack: Stack,
    /// In the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a stack file. The errors, in the order of the file, have the warnings among them.
pub fn load(source: &Source<'_>, world: &World<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let text = text_of(source)?;
    let parsed = yaml::parse(text);
    let mut reader = Reader::new(source.path, text, world);
    let empty = parsed.root.as_ref().is_none_or(yaml::Node::is_null) && parsed.faults.is_empty();
    if empty {
        let help = "a stack file begins with `stack: NAME`; docs/stack-file.md has a whole one";
        return Err(vec![whole_file(source.path, "the stack file is empty", help)]);
    }
    parsed.faults.into_iter().for_each(|fault| reader.fault(fault));
    let draft = parsed.root.as_ref().and_then(|root| load::stack(&mut reader, root));
    if let Some(draft) = &draft {
        check::stack(&mut reader, draft);
    }
    let failed = reader.failed();
    let mut diagnostics = reader.diagnostics;
    diagnostics.sort_by_key(|diagnostic| diagnostic.place);
    if failed {
        return Err(diagnostics);
    }
    let stack = draft
        .and_then(|draft| draft.finish(source.path))
        .expect("whatever could not be read was told as an error");
    Ok(Loaded { stack, warnings: diagnostics })
}

fn text_of<'a>(source: &Source<'a>) -> Result<&'a str, Vec<Diagnostic>> {
    let Source { path, bytes } = *source;
    if bytes.len() > MAX_BYTES {
        return Err(vec![too_large(path)]);
    }
    match std::str::from_utf8(bytes) {
        // A byte order mark is no part of the text.
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let message = format!(
                "the stack file is not UTF-8: the first byte that is not is byte {}, in line {line}",
                before.len() + 1
            );
            Err(vec![whole_file(path, &message, "save it as UTF-8 text")])
        }
    }
}

/// For whoever reads the file and sees from its size that there is no need to.
pub fn too_large(path: &Path) -> Diagnostic {
    whole_file(
        path,
        &format!("the stack file is larger than {} KiB", MAX_BYTES / 1024),
        "this is not a stack file; name the right one",
    )
}

fn whole_file(file: &Path, message: &str, help: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        place: None::<Place>,
        source_line: None,
        width: 1,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

/// Whether it has the form of a region's name, `us-east-1`.
pub fn is_region(name: &str) -> bool {
    names::region(name).is_ok()
}

/// Text of the user's for a message: control characters made visible, long text cut.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown
}

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
    /// The file as the user named it.
    pub file: PathBuf,
    /// The line of each route, by its path.
    pub lines: BTreeMap<String, usize>,
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

impl Default for FunctionSettings {
    fn default() -> Self {
        Self { memory: 128, timeout: 10, architecture: Architecture::X86_64, log_retention: 30 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Arm64,
}

impl Stack {
    /// These stages in the file's order, which is the order in which they are shown everywhere.
    /// Those that the file doesn't have come last.
    pub fn in_order<'s>(&'s self, stages: &'s BTreeSet<String>) -> Vec<&'s String> {
        let place = |name: &String| {
            self.stages.iter().position(|stage| stage.name == *name).unwrap_or(usize::MAX)
        };
        let mut ordered: Vec<&String> = stages.iter().collect();
        ordered.sort_by_key(|name| place(name));
        ordered
    }

    /// By what a resource is sorted where resources are shown: its name, with its stage's place in
    /// the file for the stage's name. Names end with the stage in most files; the last one counts.
    pub fn order_key(&self, name: &str) -> String {
        let bounded = |at: usize, stage: &str| {
            let ends = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
            ends(name[..at].chars().next_back()) && ends(name[at + stage.len()..].chars().next())
        };
        let named = self.stages.iter().enumerate().filter_map(|(place, stage)| {
            let stage = stage.name.as_str();
            let (at, _) = name.rmatch_indices(stage).find(|(at, _)| bounded(*at, stage))?;
            Some((at + stage.len(), stage.len(), place))
        });
        // Of `prod` and `eu-prod` the longer one is meant.
        match named.max_by_key(|(end, length, _)| (*end, *length)) {
            Some((end, length, place)) => {
                format!("{}\u{1}{place:02}{}", &name[..end - length], &name[end..])
            }
            None => name.to_owned(),
        }
    }

    /// The stages that `--stage` asks for, in the order of the file; all of them if it asks for
    /// none.
    ///
    /// The error is the text of a usage error, for the first name that is no stage of the file.
    pub fn select_stages(&self, wanted: &[String]) -> Result<Vec<&Stage>, String> {
        let names: Vec<&str> = self.stages.iter().map(|stage| stage.name.as_str()).collect();
        if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
            let tip = match unknown.split(',').all(|part| names.contains(&part)) {
                true => "give --stage once for each of them".to_owned(),
                false => did_you_mean(unknown, &names),
            };
            return Err(format!("stack `{}` has no stage `{}`; {tip}", self.name, shown(unknown)));
        }
        Ok(self
            .stages
            .iter()
            .filter(|stage| wanted.is_empty() || wanted.contains(&stage.name))
            .collect())
    }

    /// Where a route stands in the file: `stacks/routeto.yaml:12 (route /input)`.
    pub fn place(&self, route: &Route) -> String {
        let line = self.lines.get(&route.path).map_or(String::new(), |line| format!(":{line}"));
        format!("{}{line} (route {})", self.file.display(), route.path)
    }

    /// The route that `--route` asks for. The error is the text of a usage error.
    pub fn route(&self, wanted: &str) -> Result<&Route, String> {
        self.routes.get(wanted).ok_or_else(|| {
            let paths: Vec<&str> = self.routes.keys().map(String::as_str).collect();
            format!(
                "stack `{}` has no route `{}`; {}",
                self.name,
                shown(wanted),
                did_you_mean(wanted, &paths)
            )
        })
    }
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

impl Route {
    /// The value of the route's stage variable on a stage: all that the function must know of the
    /// route, in the function's own words. A queue's URL depends on the partition too, which
    /// only the caller knows: `queue_url` makes it of the name.
    pub fn variable_value(
        &self,
        queue_url: impl FnOnce(&str) -> String,
        stage: &str,
        account: &str,
        region: &str,
    ) -> String {
        let resolve = |pattern: &Pattern| pattern.resolve(stage, account, region);
        let place = |text: String| {
            let (bucket, path) = text.split_once('/').unwrap_or((&text, ""));
            routeto_function::Place {
                bucket: bucket.into(),
                path: path.strip_suffix('/').unwrap_or(path).into(),
            }
        };
        let token = self.token;
        let destination = match &self.destination {
            Destination::S3(s3) => routeto_function::Destination::S3 {
                bucket: resolve(&s3.bucket),
                prefix: resolve(&s3.prefix),
                format: s3.format,
                allow: s3.allow.iter().map(|entry| place(resolve(entry))).collect(),
                token,
            },
            Destination::Sqs(sqs) => routeto_function::Destination::Sqs {
                queue_url: queue_url(&resolve(&sqs.queue)),
                format: sqs.format,
                token,
            },
        };
        destination.to_string()
    }
}

/// A custom mapping template as its file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// The path as the stack file writes it, joined to the stack file's directory.
    pub file: std::path::PathBuf,
    pub text: String,
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

/// Text with `${stage}`, `${account}` and `${region}` still in it; `${env.NAME}` is filled in when
/// the file is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(pub String);

impl Pattern {
    /// The text for one stage. The placeholders were checked when the file was read.
    pub fn resolve(&self, stage: &str, account: &str, region: &str) -> String {
        self.0
            .replace("${stage}", stage)
            .replace("${account}", account)
            .replace("${region}", region)
    }
}
