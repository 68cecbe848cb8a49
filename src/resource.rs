//! Desired and observed AWS state, in one and the same types, normalised so that equal means equal.
//!
//! Pure data: no I/O, no SDK. Defaults that AWS fills in are filled in on both sides; what AWS
//! makes up (ids, dates) is not here but beside it, in [`crate::observed`].

use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub type Tags = BTreeMap<String, String>;

/// A resource flattened to attribute → text: what a plan compares and shows. Multi-line texts are
/// shown as a text diff.
pub type Facts = BTreeMap<String, String>;

/// The tag that says whose a resource is.
pub const STACK_TAG: &str = "routeto:stack";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    Bucket,
    Queue,
    LogGroup,
    Role,
    Function,
    Api,
    Stage,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Bucket => "bucket",
            Kind::Queue => "queue",
            Kind::LogGroup => "log group",
            Kind::Role => "role",
            Kind::Function => "function",
            Kind::Api => "api",
            Kind::Stage => "stage",
        })
    }
}

/// What a resource is called, known before it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Id {
    pub kind: Kind,
    pub name: String,
}

impl Id {
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    Bucket(Bucket),
    Queue(Queue),
    LogGroup(LogGroup),
    Role(Role),
    Function(Function),
    Api(Api),
    Stage(Stage),
}

pub type Resources = BTreeMap<Id, Resource>;

/// A bucket that routeto made. What its user adds (statements, lifecycle rules, tags of their own)
/// is not part of it and stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub name: String,
    pub tags: Tags,
    /// All four settings of the public access block.
    pub public_access_blocked: bool,
    /// Object ownership `BucketOwnerEnforced`: no ACLs.
    pub owner_enforced: bool,
    /// Default encryption: `AES256` (SSE-S3) or `aws:kms …`.
    pub encryption: String,
    /// Our statement that denies requests without TLS stands in the bucket's policy.
    pub tls_only: bool,
    /// Days until objects expire, by prefix: the lifecycle rules whose id starts with `routeto-`.
    pub expire_after: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    pub name: String,
    pub tags: Tags,
    /// Server-side encryption: `SSE-SQS`, `none`, or a KMS key.
    pub encryption: String,
    /// Seconds.
    pub retention: u32,
    /// Bytes.
    pub maximum_message_size: u32,
    pub redrive: Option<Redrive>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redrive {
    pub dead_letter_queue: String,
    /// Receives before a message moves.
    pub after: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogGroup {
    pub name: String,
    pub tags: Tags,
    pub retention: Retention,
}

/// How long a log group keeps its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retention {
    Days(u32),
    Forever,
    /// An account-level policy of this name decides. What the group itself is set to doesn't show
    /// then, and has no effect.
    Account(String),
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Days(days) => write!(f, "{days} days"),
            Retention::Forever => f.write_str("for ever"),
            Retention::Account(policy) => write!(f, "by the account's policy {policy}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub name: String,
    pub tags: Tags,
    /// The trust policy as canonical JSON.
    pub trust: String,
    /// The inline policy `routeto` as canonical JSON; `None` only while observed.
    pub policy: Option<Policy>,
}

/// The role's inline policy in the only shape that routeto writes. What doesn't fit it is in
/// `other`, and so is a difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Object ARNs for `s3:PutObject`.
    pub put_objects: BTreeSet<String>,
    /// Queue ARNs for `sqs:SendMessage`.
    pub send_messages: BTreeSet<String>,
    /// KMS key ARNs for buckets and queues of the user's own.
    pub keys: BTreeSet<String>,
    /// Log stream ARN for `logs:CreateLogStream` and `logs:PutLogEvents`.
    pub logs: BTreeSet<String>,
    /// The account that `s3:PutObject` is held to.
    pub account: Option<String>,
    /// Statements that are not ours, canonical JSON.
    pub other: BTreeSet<String>,
}

impl Policy {
    /// Everything that either allows: what holds while a stage moves.
    pub fn union(&self, other: &Policy) -> Policy {
        let both = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.union(b).cloned().collect();
        Policy {
            put_objects: both(&self.put_objects, &other.put_objects),
            send_messages: both(&self.send_messages, &other.send_messages),
            keys: both(&self.keys, &other.keys),
            logs: both(&self.logs, &other.logs),
            account: self.account.clone().or_else(|| other.account.clone()),
            // A statement by hand is drift: it is not carried over.
            other: BTreeSet::new(),
        }
    }
}

/// The function's `$LATEST`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub tags: Tags,
    pub config: FunctionConfig,
}

/// What a version of the function freezes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionConfig {
    /// Base64 of the zip's SHA-256, as Lambda's `CodeSha256`.
    pub code_sha256: String,
    /// Role ARN.
    pub role: String,
    pub runtime: String,
    pub handler: String,
    /// MB.
    pub memory: i32,
    /// Seconds.
    pub timeout: i32,
    pub architecture: String,
    pub log_format: String,
    pub log_group: String,
    /// Names and values; routeto's function has none.
    pub environment: BTreeMap<String, String>,
}

/// The REST API as `PutRestApi` leaves it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Api {
    pub name: String,
    #[serde(skip)]
    pub tags: Tags,
    pub description: String,
    pub binary_media_types: BTreeSet<String>,
    /// By path, then by HTTP method.
    pub methods: BTreeMap<String, BTreeMap<String, Method>>,
    /// Customised gateway responses by type.
    pub gateway_responses: BTreeMap<String, GatewayResponse>,
}

impl Api {
    /// What a deployment's description carries, so that a second look knows what it serves.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("an API is plain data with text keys");
        format!("sha256:{}", hex(&Sha256::digest(&text)))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Method {
    /// `NONE` for routeto's.
    pub authorization: String,
    pub api_key_required: bool,
    /// Request parameters (`method.request.querystring.token`) and whether they are required.
    pub parameters: BTreeMap<String, bool>,
    /// Whether a request validator checks the parameters.
    pub parameters_validated: bool,
    /// Status codes that the method declares.
    pub responses: BTreeSet<String>,
    pub integration: Option<Integration>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Integration {
    /// `AWS` for routeto's.
    pub kind: String,
    pub uri: String,
    /// Milliseconds.
    pub timeout: i32,
    pub passthrough: String,
    pub content_handling: Option<String>,
    /// Mapping template by content type, the generated prelude included.
    pub templates: BTreeMap<String, String>,
    /// By status code.
    pub responses: BTreeMap<String, IntegrationResponse>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntegrationResponse {
    /// `None` is the default response.
    pub selection_pattern: Option<String>,
    pub content_handling: Option<String>,
    pub templates: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatewayResponse {
    pub status: String,
    pub parameters: BTreeMap<String, String>,
    pub templates: BTreeMap<String, String>,
}

/// What one stage serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: String,
    pub tags: Tags,
    /// Digest of the API it serves; empty where the deployment is not one of ours.
    pub api_digest: String,
    /// The configuration of the function version it calls; `None` where that version is gone.
    pub function: Option<FunctionConfig>,
    pub function_name: String,
    /// Destinations by stage variable.
    pub destinations: BTreeMap<String, String>,
    /// Free variables of the user's.
    pub variables: BTreeMap<String, String>,
    /// Rate (requests a second) and burst, on `/*/*`.
    pub throttle: Option<(f64, i32)>,
}

/// Whether a stage's rate and burst are no limit of its own, since the account's are no higher. A
/// negative one is none: it inherits the account's.
pub fn is_the_accounts((rate, burst): (f64, i32), account: (f64, i32)) -> bool {
    (rate < 0.0 || rate >= account.0) && (burst < 0 || burst >= account.1)
}

impl Stage {
    /// Of what it is set to do beside API and function version: a probe of another one proves
    /// nothing of this.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(&(&self.destinations, &self.variables))
            .expect("text by text is plain data");
        format!("sha256:{}", hex(&Sha256::digest(&text)))
    }
}

/// The stage variables that are neither destinations nor the user's.
pub mod variable {
    pub const VALID_TOKEN: &str = "validToken";
    pub const FUNCTION_NAME: &str = "functionName";
    pub const FUNCTION_VERSION: &str = "functionVersion";
    /// `<deployment id>:<function version>` before the present ones; see [`crate::previous`].
    pub const PREVIOUS: &str = "previous";
    /// How the variables begin that keep what the others were before.
    pub const PREVIOUS_PREFIX: &str = "previous_";
    /// Variables of a stage. Source: API Gateway, "Quotas for configuring and running a REST API";
    /// it can't be raised.
    pub const LIMIT: usize = 100;
    /// How the variables that carry destinations begin: those are routeto's, the others are the
    /// user's.
    pub const DESTINATION_PREFIX: &str = "destination_";
    /// The fixed ones.
    pub const RESERVED: [&str; 4] = [VALID_TOKEN, FUNCTION_NAME, FUNCTION_VERSION, PREVIOUS];
}

/// `validToken` of a stage without a token: stage variables can't be empty, and no token has this
/// hash.
pub const NO_TOKEN: &str =
    "sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl Resource {
    pub fn id(&self) -> Id {
        match self {
            Resource::Bucket(r) => Id::new(Kind::Bucket, &r.name),
            Resource::Queue(r) => Id::new(Kind::Queue, &r.name),
            Resource::LogGroup(r) => Id::new(Kind::LogGroup, &r.name),
            Resource::Role(r) => Id::new(Kind::Role, &r.name),
            Resource::Function(r) => Id::new(Kind::Function, &r.name),
            Resource::Api(r) => Id::new(Kind::Api, &r.name),
            Resource::Stage(r) => Id::new(Kind::Stage, &r.name),
        }
    }

    pub fn tags(&self) -> &Tags {
        match self {
            Resource::Bucket(r) => &r.tags,
            Resource::Queue(r) => &r.tags,
            Resource::LogGroup(r) => &r.tags,
            Resource::Role(r) => &r.tags,
            Resource::Function(r) => &r.tags,
            Resource::Api(r) => &r.tags,
            Resource::Stage(r) => &r.tags,
        }
    }

    /// Every attribute as text. Each arm takes its type apart, so that a new field can't be
    /// forgotten.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        match self {
            Resource::Bucket(Bucket {
                name: _,
                tags,
                public_access_blocked,
                owner_enforced,
                encryption,
                tls_only,
                expire_after,
            }) => {
                tag_facts(&mut facts, tags);
                facts.insert("public access blocked".into(), public_access_blocked.to_string());
                facts.insert("owner enforced".into(), owner_enforced.to_string());
                facts.insert("encryption".into(), encryption.clone());
                facts.insert("TLS only".into(), tls_only.to_string());
                for (prefix, days) in expire_after {
                    facts.insert(
                        format!("expire after, {}", if prefix.is_empty() { "all" } else { prefix }),
                        format!("{days} days"),
                    );
                }
            }
            Resource::Queue(Queue {
                name: _,
                tags,
                encryption,
                retention,
                maximum_message_size,
                redrive,
            }) => {
                tag_facts(&mut facts, tags);
                facts.insert("encryption".into(), encryption.clone());
                facts.insert("retention".into(), format!("{retention} s"));
                facts.insert("maximum message size".into(), format!("{maximum_message_size} B"));
                if let Some(Redrive { dead_letter_queue, after }) = redrive {
                    facts.insert(
                        "dead letters".into(),
                        format!("to {dead_letter_queue} after {after} receives"),
                    );
                }
            }
            Resource::LogGroup(LogGroup { name: _, tags, retention }) => {
                tag_facts(&mut facts, tags);
                facts.insert("retention".into(), retention.to_string());
            }
            Resource::Role(Role { name: _, tags, trust, policy }) => {
                tag_facts(&mut facts, tags);
                facts.insert("trust policy".into(), pretty(trust));
                if let Some(policy) = policy {
                    facts.insert("policy".into(), policy.to_string());
                }
            }
            Resource::Function(Function { name: _, tags, config }) => {
                tag_facts(&mut facts, tags);
                config.facts(&mut facts, "");
            }
            Resource::Api(Api {
                name: _,
                tags,
                description,
                binary_media_types,
                methods,
                gateway_responses,
            }) => {
                tag_facts(&mut facts, tags);
                facts.insert("description".into(), description.clone());
                facts.insert(
                    "binary media types".into(),
                    binary_media_types.iter().cloned().collect::<Vec<_>>().join("\n"),
                );
                for (path, verbs) in methods {
                    for (verb, method) in verbs {
                        method.facts(&mut facts, &format!("{verb} {path}"));
                    }
                }
                for (kind, GatewayResponse { status, parameters, templates }) in gateway_responses {
                    facts.insert(format!("gateway response {kind}"), status.clone());
                    for (key, value) in parameters {
                        facts.insert(format!("gateway response {kind} {key}"), value.clone());
                    }
                    for (key, value) in templates {
                        facts.insert(format!("gateway response {kind} {key}"), value.clone());
                    }
                }
            }
            Resource::Stage(Stage {
                name: _,
                tags,
                api_digest,
                function,
                function_name,
                destinations,
                variables,
                throttle,
            }) => {
                tag_facts(&mut facts, tags);
                facts.insert(
                    "api".into(),
                    if api_digest.is_empty() {
                        "not one of ours".into()
                    } else {
                        api_digest.clone()
                    },
                );
                facts.insert("function name".into(), function_name.clone());
                match function {
                    Some(config) => config.facts(&mut facts, "function "),
                    None => {
                        facts.insert("function version".into(), "none".into());
                    }
                }
                for (key, value) in destinations.iter().chain(variables) {
                    facts.insert(format!("variable {key}"), value.clone());
                }
                if let Some((rate, burst)) = throttle {
                    facts.insert("throttle".into(), format!("{rate} a second, burst {burst}"));
                }
            }
        }
        facts
    }
}

impl FunctionConfig {
    fn facts(&self, facts: &mut Facts, prefix: &str) {
        let FunctionConfig {
            code_sha256,
            role,
            runtime,
            handler,
            memory,
            timeout,
            architecture,
            log_format,
            log_group,
            environment,
        } = self;
        let mut put = |key: &str, value: String| facts.insert(format!("{prefix}{key}"), value);
        put("code", format!("sha256 {code_sha256}"));
        put("role", role.clone());
        put("runtime", runtime.clone());
        put("handler", handler.clone());
        put("memory", format!("{memory} MB"));
        put("timeout", format!("{timeout} s"));
        put("architecture", architecture.clone());
        put("log format", log_format.clone());
        put("log group", log_group.clone());
        // Names only: a value set by hand may be a secret.
        if !environment.is_empty() {
            put("environment", environment.keys().cloned().collect::<Vec<_>>().join(", "));
        }
    }
}

impl Method {
    fn facts(&self, facts: &mut Facts, prefix: &str) {
        let Method {
            authorization,
            api_key_required,
            parameters,
            parameters_validated,
            responses,
            integration,
        } = self;
        facts.insert(
            prefix.to_owned(),
            format!("authorization {authorization}, API key required {api_key_required}"),
        );
        for (key, required) in parameters {
            facts.insert(
                format!("{prefix} {key}"),
                if *required { "required" } else { "optional" }.into(),
            );
        }
        facts.insert(format!("{prefix} parameters validated"), parameters_validated.to_string());
        facts.insert(
            format!("{prefix} responses"),
            responses.iter().cloned().collect::<Vec<_>>().join(", "),
        );
        let Some(Integration {
            kind,
            uri,
            timeout,
            passthrough,
            content_handling,
            templates,
            responses,
        }) = integration
        else {
            facts.insert(format!("{prefix} integration"), "none".into());
            return;
        };
        facts.insert(format!("{prefix} integration"), format!("{kind} {uri}"));
        facts.insert(format!("{prefix} timeout"), format!("{timeout} ms"));
        facts.insert(format!("{prefix} passthrough"), passthrough.clone());
        facts.insert(
            format!("{prefix} content handling"),
            content_handling.clone().unwrap_or("none".into()),
        );
        for (content_type, template) in templates {
            facts.insert(format!("{prefix} template {content_type}"), template.clone());
        }
        for (status, IntegrationResponse { selection_pattern, content_handling, templates }) in
            responses
        {
            let pattern = selection_pattern.clone().unwrap_or("default".into());
            let handling = content_handling.clone().unwrap_or("none".into());
            facts.insert(
                format!("{prefix} response {status}"),
                format!("{pattern}, content handling {handling}"),
            );
            for (content_type, template) in templates {
                facts.insert(
                    format!("{prefix} response {status} template {content_type}"),
                    template.clone(),
                );
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Policy { put_objects, send_messages, keys, logs, account, other } = self;
        for arn in put_objects {
            writeln!(
                f,
                "s3:PutObject on {arn} in account {}",
                account.as_deref().unwrap_or("any")
            )?;
        }
        for arn in send_messages {
            writeln!(f, "sqs:SendMessage on {arn}")?;
        }
        for arn in keys {
            writeln!(f, "kms:GenerateDataKey, kms:Decrypt on {arn}")?;
        }
        for arn in logs {
            writeln!(f, "logs:CreateLogStream, logs:PutLogEvents on {arn}")?;
        }
        for statement in other {
            writeln!(f, "not ours: {statement}")?;
        }
        Ok(())
    }
}

fn tag_facts(facts: &mut Facts, tags: &Tags) {
    for (key, value) in tags {
        facts.insert(format!("tag {key}"), value.clone());
    }
}

fn pretty(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .ok()
        .and_then(|value| serde_json::to_string_pretty(&value).ok())
        .unwrap_or_else(|| json.to_owned())
}

/// JSON with sorted keys and no spaces: equal documents are equal texts.
pub fn canonical(value: &serde_json::Value) -> String {
    fn sorted(value: &serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let ordered: BTreeMap<_, _> = map.iter().collect();
                ordered.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
            }
            serde_json::Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
