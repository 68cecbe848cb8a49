//! What AWS takes as a name, so that a bad one is found in the file and not halfway through a
//! deploy.
//!
//! Each rule gets the name as AWS would see it and says what is wrong with it, never repeating the
//! name: parts of it may come from the environment. The file's own text is shown by whoever asked.

use std::collections::BTreeSet;

/// What a rule has against a name: `what` goes on from "bucket `x` …", `help` says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub what: String,
    pub help: String,
}

pub(super) type Rule = fn(&str) -> Result<(), Problem>;

/// Characters. Source: IAM CreateRole, RoleName.
pub(super) const ROLE_NAME: usize = 64;
/// Characters of all inline policies of a role together, white space not counted. Source: IAM and
/// STS quotas.
pub(super) const ROLE_POLICY: usize = 10_240;
/// Stages of an API. Source: Amazon API Gateway quotas (raisable).
pub(super) const STAGES: usize = 10;
/// Resources of an API; every part of a path is one, and the root. Source: Amazon API Gateway
/// quotas (raisable).
pub(super) const API_RESOURCES: usize = 300;
/// Variables of a stage. Source: Amazon API Gateway quotas (fixed).
pub(super) const STAGE_VARIABLES: usize = 100;
/// The stage variables that are routeto's own, beside one per route.
pub(super) const OWN_VARIABLES: [&str; 4] =
    ["validToken", "functionName", "functionVersion", "previous"];
/// Routes of a stack: each takes a stage variable; one place is left for the user's own.
pub(super) const ROUTES: usize = STAGE_VARIABLES - OWN_VARIABLES.len() - 1;
/// Characters. Source: API Gateway CreateStage, stage variables.
pub(super) const VARIABLE_NAME: usize = 64;
/// Characters. Source: API Gateway CreateStage, stage variables.
pub(super) const VARIABLE_VALUE: usize = 512;
/// What the names of the routes' variables begin with; free variables may not, so that the two can
/// always be told apart.
pub(super) const DESTINATION: &str = "destination_";
/// What the names of the variables begin with that keep what a rollback goes back to.
pub(super) const PREVIOUS: &str = "previous_";
/// Bytes of a mapping template. Source: Amazon API Gateway quotas say 300 KB; the smaller reading,
/// and room for the line that is put before it.
pub(super) const TEMPLATE: usize = 299_000;
/// Tags of the user's own. Most services take 50 on a resource; the rest is for routeto's.
pub(super) const TAGS: usize = 45;
/// Days. Source: CloudWatch Logs PutRetentionPolicy, retentionInDays.
pub(super) const LOG_RETENTION: [u32; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];
/// Regions that are known to this version: for "did you mean" and for lengths. Another one is not
/// refused. Source: botocore's `partitions.json`.
pub(super) const REGIONS: [&str; 45] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];
/// Stands for the region while none is known: no region's name is longer.
pub(super) const LONGEST_REGION: &str = "ap-southeast-1";
/// Stands for the account while none is known: twelve digits.
pub(super) const ANY_ACCOUNT: &str = "000000000000";

fn problem(what: impl Into<String>, help: impl Into<String>) -> Result<(), Problem> {
    Err(Problem { what: what.into(), help: help.into() })
}

fn all(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.chars().all(allowed)
}

fn lower_digit_hyphen(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// `^[a-z][a-z0-9-]{<least - 1>,<most - 1>}$`.
fn plain_name(name: &str, least: usize, most: usize) -> Result<(), Problem> {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && all(name, lower_digit_hyphen)
        && (least..=most).contains(&name.len());
    if fits {
        return Ok(());
    }
    problem(
        "is not a name that can be used here",
        format!(
            "{least} to {most} characters: lower-case letters, digits and hyphens, a letter first"
        ),
    )
}

/// `^[a-z][a-z0-9-]{1,39}$`.
pub(super) fn stack(name: &str) -> Result<(), Problem> {
    plain_name(name, 2, 40)
}

/// `^[a-z][a-z0-9-]{0,15}$`.
pub(super) fn stage(name: &str) -> Result<(), Problem> {
    plain_name(name, 1, 16)
}

/// The form of a region's name, `us-east-1`; whether there is such a region is not asked.
pub(super) fn region(name: &str) -> Result<(), Problem> {
    let parts: Vec<&str> = name.split('-').collect();
    let words = parts.len() >= 3 && name.len() <= 32;
    let fits = words
        && parts.split_last().is_some_and(|(number, words)| {
            !number.is_empty()
                && number.len() <= 2
                && all(number, |c| c.is_ascii_digit())
                && words.iter().all(|word| word.len() >= 2 && all(word, |c| c.is_ascii_lowercase()))
        });
    if fits { Ok(()) } else { problem("is not a region's name", "a region looks like `us-east-1`") }
}

/// Source: Amazon S3 User Guide, "General purpose bucket naming rules".
pub(super) fn bucket(name: &str) -> Result<(), Problem> {
    let length = name.chars().count();
    if !all(name, |c| lower_digit_hyphen(c) || c == '.') {
        return problem(
            "has characters that a bucket's name can't have",
            "a bucket's name has lower-case letters, digits, hyphens and dots; a path goes into `prefix`",
        );
    }
    if !(3..=63).contains(&length) {
        return problem(
            format!("is {length} characters long; a bucket's name has 3 to 63"),
            "take a name of another length",
        );
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.ends_with(|c: char| c.is_ascii_alphanumeric())
    {
        return problem(
            "must begin and end with a letter or a digit",
            "take the hyphen or dot at its end away",
        );
    }
    if name.contains("..") {
        return problem("has two dots next to each other", "take one of them away");
    }
    if name.parse::<std::net::Ipv4Addr>().is_ok() {
        return problem("looks like an IP address, which S3 refuses", "take another name");
    }
    if let Some(reserved) =
        ["xn--", "sthree-", "amzn-s3-demo-"].iter().find(|prefix| name.starts_with(**prefix))
    {
        return problem(
            format!("begins with `{reserved}`, which S3 keeps for itself"),
            "take another name",
        );
    }
    if let Some(reserved) = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"]
        .iter()
        .find(|suffix| name.ends_with(**suffix))
    {
        return problem(
            format!("ends with `{reserved}`, which S3 keeps for itself"),
            "take another name",
        );
    }
    Ok(())
}

/// Source: SQS CreateQueue, QueueName.
pub(super) fn queue(name: &str) -> Result<(), Problem> {
    let length = name.chars().count();
    if name.ends_with(".fifo") {
        return problem(
            "is a FIFO queue's name; FIFO queues are refused for now",
            "take a standard queue: a name without `.fifo`",
        );
    }
    if name.starts_with("https:") || name.starts_with("arn:") {
        return problem(
            "is an address, not a name",
            "write the queue's name alone: what stands after the last `/` or `:`",
        );
    }
    if !all(name, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return problem(
            "has characters that a queue's name can't have",
            "a queue's name has letters, digits, hyphens and underscores",
        );
    }
    if !(1..=80).contains(&length) {
        return problem(
            format!("is {length} characters long; a queue's name has 1 to 80"),
            "take a name of another length",
        );
    }
    Ok(())
}

/// What the path of an object may have: the alphabet of stage variables without what separates the
/// settings behind it.
fn object_path(path: &str, whole: &str) -> Result<(), Problem> {
    if !all(path, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/' | ':')) {
        return problem(
            format!("has characters that {whole} can't have"),
            "it is kept in a stage variable: letters, digits and `- . _ ~ / :`",
        );
    }
    if path.starts_with('/') || path.contains("//") {
        return problem(
            "has an empty part before a `/`",
            "an object's key begins with a letter or digit and has no `//`",
        );
    }
    if path.split('/').any(|part| matches!(part, "." | "..")) {
        return problem(
            "has a `.` or `..` as a part of its path",
            "S3 has no directories; write the path out",
        );
    }
    Ok(())
}

/// The beginning of an object's key.
pub(super) fn prefix(prefix: &str) -> Result<(), Problem> {
    object_path(prefix, "a prefix")
}

/// `bucket[/path]`.
pub(super) fn allowed(entry: &str) -> Result<(), Problem> {
    let (name, path) = match entry.split_once('/') {
        Some((name, path)) => (name, Some(path)),
        None => (entry, None),
    };
    bucket(name)?;
    match path {
        None => Ok(()),
        Some(path) if path.is_empty() || path.ends_with('/') => {
            problem("ends with a `/`", "write it without: what is under the path is allowed too")
        }
        Some(path) => object_path(path, "a path in `allow`"),
    }
}

/// Source: API Gateway CreateStage, stage variables: "alphanumeric characters and underscores".
pub(super) fn variable(name: &str) -> Result<(), Problem> {
    if !all(name, |c| c.is_ascii_alphanumeric() || c == '_')
        || !(1..=VARIABLE_NAME).contains(&name.len())
    {
        return problem(
            "has characters, or a length, that API Gateway refuses",
            "1 to 64 characters: letters, digits and underscores",
        );
    }
    if OWN_VARIABLES.contains(&name) {
        return problem("is routeto's own", "take another name for yours");
    }
    if name.starts_with(DESTINATION) {
        return problem(
            format!("begins with `{DESTINATION}`, as routeto's own for the routes do"),
            "take another name for yours",
        );
    }
    if name.starts_with(PREVIOUS) {
        return problem(
            format!("begins with `{PREVIOUS}`, as routeto's own for rollback do"),
            "take another name for yours",
        );
    }
    Ok(())
}

/// Source: API Gateway CreateStage: values must match `[A-Za-z0-9-._~:/?#&=,]+`.
pub(super) fn variable_value(value: &str) -> Result<(), Problem> {
    let length = value.chars().count();
    if !(1..=VARIABLE_VALUE).contains(&length) {
        return problem(
            format!("has {length} characters; a stage variable's value has 1 to 512"),
            "take a value of another length",
        );
    }
    if !all(value, |c| c.is_ascii_alphanumeric() || "-._~:/?#&=,".contains(c)) {
        return problem(
            "has characters that a stage variable's value can't have",
            "API Gateway takes letters, digits and `- . _ ~ : / ? # & = ,` there",
        );
    }
    Ok(())
}

/// The alphabet that every service takes; API Gateway's is the narrowest. Source: Amazon API
/// Gateway Developer Guide, tag restrictions.
fn tag_alphabet(text: &str) -> bool {
    all(text, |c| c.is_ascii_alphanumeric() || "+-=._:/".contains(c))
}

pub(super) fn tag_key(key: &str) -> Result<(), Problem> {
    if !tag_alphabet(key) || !(1..=128).contains(&key.len()) {
        return problem(
            "has characters, or a length, that not every service takes",
            "1 to 128 characters: letters, digits and `+ - = . _ : /`",
        );
    }
    let lower = key.to_ascii_lowercase();
    if let Some(reserved) = ["aws:", "routeto:"].iter().find(|prefix| lower.starts_with(**prefix)) {
        return problem(format!("begins with `{reserved}`, which is reserved"), "take another key");
    }
    Ok(())
}

pub(super) fn tag_value(value: &str) -> Result<(), Problem> {
    if !tag_alphabet(value) || !(1..=256).contains(&value.len()) {
        return problem(
            "has characters, or a length, that not every service takes",
            "API Gateway is the narrowest: 1 to 256 letters, digits and `+ - = . _ : /`",
        );
    }
    Ok(())
}

/// `type/subtype` alone. Source: RFC 6838, section 4.2 (restricted names).
pub(super) fn media_type(text: &str) -> Result<(), Problem> {
    if text.contains(';') {
        return problem(
            "has a parameter",
            "write the part before the `;` alone: only that counts, whatever comes behind it in a request",
        );
    }
    if text.contains('*') {
        return problem("is a wildcard", ONE_BY_ONE);
    }
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.len() <= 127
            && all(name, |c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    match text.split_once('/') {
        Some((kind, subtype)) if name(kind) && name(subtype) => Ok(()),
        _ => match media_type_meant(text) {
            _ if means_any(text) => problem("is not of the form type/subtype", ONE_BY_ONE),
            meant if meant != text => {
                problem("is not of the form type/subtype", format!("write `{meant}`"))
            }
            _ => problem(
                "is not of the form type/subtype",
                "a content type looks like `multipart/form-data`",
            ),
        },
    }
}

/// Why there is no route for every content type. Source: Amazon API Gateway Developer Guide,
/// "Integration passthrough behaviors": a template is chosen by content type, without one a body is
/// handed on as text; and "Content type conversions": `*/*` as binary makes every answer binary,
/// too.
const ONE_BY_ONE: &str = "list the content types that the provider sends, such as `[application/json, text/plain]`: \
                          API Gateway chooses the template by content type, and has no catch-all that keeps the bytes";

/// Whether a word stands for every content type.
fn means_any(word: &str) -> bool {
    matches!(
        word.to_lowercase().as_str(),
        "any" | "all" | "every" | "everything" | "anything" | "default" | "true"
    ) || word.contains('*')
}

/// What to write where one text stands instead of a list of content types.
pub(super) fn media_types_meant(text: &str) -> String {
    if means_any(text) {
        ONE_BY_ONE.to_owned()
    } else {
        format!("write `[{}]`", super::shown(media_type_meant(text)))
    }
}

/// The content type that somebody means by a word; the word itself if nobody knows.
pub(super) fn media_type_meant(word: &str) -> &str {
    match word.to_lowercase().as_str() {
        "json" => "application/json",
        "xml" => "application/xml",
        "form" | "urlencoded" => "application/x-www-form-urlencoded",
        "multipart" => "multipart/form-data",
        "text" | "plain" | "txt" => "text/plain",
        "html" => "text/html",
        "csv" => "text/csv",
        "binary" | "bytes" => "application/octet-stream",
        "gzip" => "application/gzip",
        "pdf" => "application/pdf",
        _ => word,
    }
}

/// Source: Amazon API Gateway Developer Guide: a path part has `[A-Za-z0-9_.,:-]`; `/ping` and
/// `/sping` are reserved.
pub(super) fn path(path: &str) -> Result<(), Problem> {
    let Some(parts) = path.strip_prefix('/') else {
        return problem("does not begin with a `/`", format!("write `/{}`", super::shown(path)));
    };
    if parts.is_empty() {
        return problem(
            "has no name",
            "a route is at least `/name`: records are named after the last part of its path",
        );
    }
    if parts.contains(['{', '}']) {
        return problem(
            "has a path parameter, which routes can't have",
            "write one route per path",
        );
    }
    if parts.split('/').any(str::is_empty) {
        let whole: Vec<&str> = parts.split('/').filter(|part| !part.is_empty()).collect();
        return problem(
            "has an empty part",
            format!("write `/{}`", super::shown(&whole.join("/"))),
        );
    }
    if !all(parts, |c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | ',' | ':' | '-'))
    {
        return problem(
            "has characters that a path can't have",
            "a part of a path has letters, digits and `_ . , : -`",
        );
    }
    if parts.split('/').any(|part| matches!(part, "." | "..")) {
        return problem("has a `.` or `..` as a part", "write the path out");
    }
    if let Some(first @ ("ping" | "sping")) = parts.split('/').next() {
        return problem(
            format!("is under `/{first}`, which API Gateway keeps for itself"),
            "take another path",
        );
    }
    if DESTINATION.len() + parts.len() > VARIABLE_NAME {
        return problem(
            format!(
                "is too long: the stage variable made from it has {} characters of at most 64",
                DESTINATION.len() + parts.len()
            ),
            format!("a path has at most {} characters", VARIABLE_NAME - DESTINATION.len() + 1),
        );
    }
    Ok(())
}

/// The stage variable that carries a route's destination: `destination_` and the path, `_` for
/// whatever isn't a letter or digit.
pub fn destination_variable(path: &str) -> String {
    let name: String = path
        .trim_start_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    format!("{DESTINATION}{name}")
}

/// Whether a path's last part can name records as it is; else each POST must have `?app=`.
pub(super) fn names_records(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    all(last, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// How many resources the API has with these routes: the root and every part of every path.
pub(super) fn api_resources<'a>(paths: impl IntoIterator<Item = &'a str>) -> usize {
    let mut resources = BTreeSet::from([""]);
    for path in paths {
        resources.extend(path.match_indices('/').skip(1).map(|(end, _)| &path[..end]));
        resources.insert(path);
    }
    resources.len()
}
