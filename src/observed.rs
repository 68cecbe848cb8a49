//! What observing AWS brought home: the resources in their normalised form, and beside them what
//! only AWS knows (ids, versions, contents).
//!
//! Plain data. Secrets in it ([`Secret`]) don't print.

use crate::{
    partition,
    resource::{FunctionConfig, Id, Resources, Tags},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The account and region that a command works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov`, …: see [`partition`].
    pub partition: String,
    /// Who is asking: the caller's ARN.
    pub caller: String,
}

impl Account {
    /// Domain that the service endpoints end with.
    pub fn dns_suffix(&self) -> &'static str {
        partition::dns_suffix(&self.partition)
    }
}

/// A value that never shows in debug output, a plan or an error.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Resources that carry our tag.
    pub resources: Resources,
    /// Resources that have a name of ours and not our tag, and whose they seem to be.
    pub foreign: BTreeMap<Id, String>,
    pub api: Option<ApiState>,
    pub stages: BTreeMap<String, StageState>,
    /// By function name.
    pub functions: BTreeMap<String, FunctionState>,
    /// By the role's name.
    pub roles: BTreeMap<String, RoleState>,
    /// By the bucket's name.
    pub buckets: BTreeMap<String, BucketState>,
    /// By the queue's name.
    pub queues: BTreeMap<String, QueueState>,
    /// How many objects or messages a bucket or queue that is to go still holds; buckets are only
    /// told from empty.
    pub contents: BTreeMap<Id, u64>,
    /// Existing buckets and queues that the stack file names.
    pub existing: BTreeMap<Id, Existing>,
    /// Buckets and queues that were looked for, since the file, a stage or a role names them, and
    /// that aren't there.
    pub absent: BTreeSet<Id>,
    /// Tags as they stand, those that aren't ours included, for services that replace all of them
    /// at once.
    pub all_tags: BTreeMap<Id, Tags>,
}

/// A bucket or queue that the user already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// KMS key ARN, where it is encrypted with a key of the customer's.
    Found {
        key: Option<String>,
    },
    Missing,
    /// It can't be used: why, and what to do.
    Unusable {
        why: String,
        now: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiState {
    pub id: String,
    /// As it stands, with the digest of the document that was written
    /// ([`crate::openapi::description`]).
    pub description: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub carried: Carried,
    /// Rate and burst that the account has in this region, for all its APIs together.
    pub account_throttle: Option<(f64, i32)>,
    /// Newest first.
    pub deployments: Vec<Deployment>,
    /// Stages without our tag.
    pub foreign_stages: Vec<String>,
    /// Deployments that a stage of whoever serves, a canary's included: those can't be deleted.
    pub in_use: BTreeSet<String>,
    /// Functions and versions that any stage calls, a canary and those of whoever included.
    pub called: BTreeSet<(String, String)>,
    /// Other APIs with our name and tag.
    pub doubles: Vec<Double>,
}

/// An API that a lost reply or a kill left beside the stack's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Double {
    pub id: String,
    /// Something serves requests from it.
    pub has_stages: bool,
}

/// Settings of the API that overwriting would drop and that routeto doesn't set: carried over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Resource policy.
    pub policy: Option<String>,
    /// Bytes.
    pub minimum_compression_size: Option<i32>,
    pub api_key_source: Option<String>,
    pub disable_execute_api_endpoint: bool,
    /// `dualstack`; `None` is `ipv4`, the default.
    pub ip_address_type: Option<String>,
    /// Of a private API.
    pub vpc_endpoint_ids: BTreeSet<String>,
    /// Of TLS.
    pub security_policy: Option<String>,
    /// `BASIC` or `STRICT`.
    pub endpoint_access_mode: Option<String>,
}

/// A route as a stage's deployment has it. The API and the stack file may have another by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedRoute {
    /// API Gateway asks for `?token=`.
    pub asks_for_token: bool,
    /// Mapping templates by media type.
    pub templates: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub id: String,
    /// From the description; `None` where it isn't one of ours.
    pub digest: Option<String>,
    /// Seconds since the epoch.
    pub created: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageState {
    pub deployment: String,
    pub version: Option<String>,
    pub valid_token: Secret,
    /// Every variable but `validToken`.
    pub variables: BTreeMap<String, String>,
    /// AWS WAF decides whose requests come through.
    pub web_acl: bool,
    /// Something beside the throttle is set for all methods: logging, metrics, caching.
    pub other_settings: bool,
    pub settings: Vec<MethodSetting>,
    /// Answers come from a cache where a method's setting says so.
    pub has_cache: bool,
    /// A canary's deployment, and how many percent of the requests it gets.
    pub canary: Option<(String, f64)>,
}

/// What a stage sets for a method, or for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodSetting {
    /// `POST /input`; `None`: for every method that has none of its own.
    pub method: Option<String>,
    /// Requests a second; negative where there is no limit.
    pub rate: f64,
    /// Negative where there is no limit.
    pub burst: i32,
    /// Whole requests and answers are logged.
    pub data_trace: bool,
    pub cached: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionState {
    /// Ascending by number.
    pub versions: Vec<Version>,
    /// How many of its invocations run at one time, where that is reserved.
    pub reserved_concurrency: Option<i32>,
    /// Of the function's own policy, not of its versions'.
    pub openings: Vec<Opening>,
}

/// The policies of a role beside the inline one that routeto writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleState {
    /// Names of inline policies.
    pub inline: BTreeSet<String>,
    /// Names of managed policies.
    pub attached: BTreeSet<String>,
    /// The caller may not list them.
    pub unread: bool,
}

/// What a bucket has beside what routeto sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketState {
    pub openings: Vec<Opening>,
    /// Of lifecycle rules that aren't routeto's.
    pub expiries: Vec<Expiry>,
}

/// A lifecycle rule that deletes objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The rule's id.
    pub rule: String,
    pub prefix: String,
    /// Days after an object is made; `None` where a date is set.
    pub days: Option<u32>,
}

/// What a queue has beside what routeto sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueState {
    pub openings: Vec<Opening>,
    /// Seconds for which a new message is held back.
    pub delay: u32,
    /// Seconds for which a received message is hidden from other consumers.
    pub visibility_timeout: u32,
}

/// A statement of a resource's policy that lets in who isn't of this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The statement's id; empty where it has none.
    pub sid: String,
    /// `anyone`, `account 210987654321`
    pub whom: String,
    /// As the statement writes them: `s3:GetObject`.
    pub actions: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub number: u64,
    pub config: FunctionConfig,
    /// Source ARNs that API Gateway may call it from, by statement id.
    pub permissions: BTreeMap<String, String>,
}
