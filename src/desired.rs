//! Stack + artifact + account → the resources that ought to be. Pure.

use crate::{
    observed::{Account, Existing},
    policy,
    resource::*,
    spec::{self, Architecture, Destination, Stack, TokenRule},
};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds: the 7 days that a consumer may be away.
const QUEUE_RETENTION: u32 = 7 * 24 * 3600;
/// Seconds: longer than the queue's, since a message keeps its age when it moves. 14 days is SQS's
/// most.
const DEAD_LETTER_RETENTION: u32 = 14 * 24 * 3600;
/// Bytes: SQS's most. Source: CreateQueue, attribute MaximumMessageSize.
const MAXIMUM_MESSAGE_SIZE: u32 = 1_048_576;
/// Milliseconds: API Gateway's most without a raised quota.
const INTEGRATION_TIMEOUT: i32 = 29_000;
/// The one integration response: everything that the function doesn't raise with its own status is
/// our fault, and the provider must retry.
const FAILURE: &str = "503";

const JSON: &str = "application/json";
const JSON_TEMPLATE: &str = include_str!("../mapping-templates/json.vtl");
pub const BINARY_TEMPLATE: &str = include_str!("../mapping-templates/binary.vtl");
const RESPONSE_TEMPLATE: &str = include_str!("../mapping-templates/response.vtl");

/// Names that follow from the stack's: every ARN is known before anything exists.
pub mod name {
    /// Of the function of a stage.
    pub fn function(stack: &str, stage: &str) -> String {
        format!("{stack}-{stage}")
    }

    pub fn role(stack: &str, stage: &str, region: &str) -> String {
        format!("{stack}-{stage}-{region}")
    }

    /// Of the function's log group.
    pub fn log_group(stack: &str, stage: &str) -> String {
        format!("/aws/lambda/{stack}-{stage}")
    }

    /// Of the log group that holds the history of deploys and the lock.
    pub fn history(stack: &str) -> String {
        format!("/routeto/{stack}")
    }
}

/// What `desired` has to know beside the stack.
pub struct Inputs<'a> {
    pub account: &'a Account,
    /// Base64 of the zip's SHA-256.
    pub code_sha256: &'a str,
    pub existing: &'a BTreeMap<Id, Existing>,
}

/// All resources of a stack, every stage of the file included.
pub fn desired(stack: &Stack, inputs: &Inputs<'_>) -> Resources {
    let tags = tags(stack);
    let mut resources = Resources::new();
    let mut add = |resource: Resource| {
        resources.insert(resource.id(), resource);
    };
    add(Resource::LogGroup(LogGroup {
        name: name::history(&stack.name),
        tags: tags.clone(),
        retention: Retention::Forever,
    }));
    add(Resource::Api(api(stack, inputs.account, &tags)));
    for stage in &stack.stages {
        let at = At { stack, stage, account: inputs.account };
        for bucket in at.buckets(&tags) {
            add(Resource::Bucket(bucket));
        }
        for queue in at.queues(&tags) {
            add(Resource::Queue(queue));
        }
        add(Resource::LogGroup(LogGroup {
            name: name::log_group(&stack.name, &stage.name),
            tags: tags.clone(),
            retention: Retention::Days(stack.function.log_retention),
        }));
        add(Resource::Role(Role {
            name: name::role(&stack.name, &stage.name, &inputs.account.region),
            tags: tags.clone(),
            trust: policy::trust(),
            policy: Some(at.policy(inputs.existing)),
        }));
        let config = at.function_config(inputs.code_sha256);
        let function_name = name::function(&stack.name, &stage.name);
        add(Resource::Function(Function {
            name: function_name.clone(),
            tags: tags.clone(),
            config: config.clone(),
        }));
        add(Resource::Stage(Stage {
            name: stage.name.clone(),
            tags: tags.clone(),
            api_digest: api(stack, inputs.account, &tags).digest(),
            function: Some(config),
            function_name,
            destinations: stack
                .routes
                .values()
                .map(|route| (route.variable.clone(), at.destination(route)))
                .collect(),
            variables: stage
                .variables
                .iter()
                .map(|(key, value)| (key.clone(), at.resolve(value)))
                .collect(),
            throttle: stage.throttle.map(|throttle| (throttle.rate, throttle.burst as i32)),
        }));
    }
    resources
}

/// The user's tags and ours.
pub fn tags(stack: &Stack) -> Tags {
    let mut tags = stack.tags.clone();
    tags.insert(STACK_TAG.into(), stack.name.clone());
    tags
}

/// How the stack file names a bucket or queue, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// routeto makes it.
    Made,
    /// `existing: true`.
    Existing,
    /// A route's `allow` lists it.
    Allowed,
}

/// A bucket or queue that the stack file names: how, and the place of the route that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub how: Use,
    pub place: String,
}

/// Every bucket and queue that the stack's stages name. Of several routes that name one, the first
/// with the strongest use.
pub fn named(stack: &Stack, account: &Account) -> BTreeMap<Id, Named> {
    let mut all: BTreeMap<Id, Named> = BTreeMap::new();
    for stage in &stack.stages {
        let at = At { stack, stage, account };
        for route in stack.routes.values() {
            for (id, how) in at.names(route) {
                if all.get(&id).is_none_or(|known| how < known.how) {
                    all.insert(id, Named { how, place: stack.place(route) });
                }
            }
        }
    }
    all
}

/// The buckets and queues that the stack uses and doesn't make, for all its stages: `existing:
/// true`, and what `allow` lists.
pub fn existing(stack: &Stack, account: &Account) -> BTreeSet<Id> {
    named(stack, account)
        .into_iter()
        .filter(|(_, named)| named.how != Use::Made)
        .map(|(id, _)| id)
        .collect()
}

/// The API, which is the same for every stage: what differs is in the stage's variables.
pub fn api(stack: &Stack, account: &Account, tags: &Tags) -> Api {
    let Account { id, region, partition, .. } = account;
    let uri = format!(
        "arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/arn:{partition}:lambda:{region}:{id}:function:\
         ${{stageVariables.{}}}:${{stageVariables.{}}}/invocations",
        variable::FUNCTION_NAME,
        variable::FUNCTION_VERSION
    );
    let methods = stack
        .routes
        .values()
        .map(|route| {
            (
                route.path.clone(),
                BTreeMap::from([("POST".to_owned(), method(route, &stack.binary, &uri))]),
            )
        })
        .collect();
    Api {
        name: stack.name.clone(),
        tags: tags.clone(),
        description: format!("made by routeto from the stack {}", stack.name),
        binary_media_types: binary_media_types(stack),
        methods,
        gateway_responses: ["THROTTLED", "QUOTA_EXCEEDED"]
            .map(|kind| (kind.to_owned(), try_again_later()))
            .into(),
    }
}

/// A type is binary for the whole API where its bytes must reach the template as base64: every
/// accepted type but JSON, and but those with a custom template that the stack file doesn't list in
/// `binary:`.
pub fn binary_media_types(stack: &Stack) -> BTreeSet<String> {
    stack
        .routes
        .values()
        .flat_map(|route| route.accept.iter().map(move |media| (route, media)))
        .filter(|(route, media)| is_binary(route, media, &stack.binary))
        .map(|(_, media)| media.clone())
        .collect()
}

pub fn is_binary(route: &spec::Route, media: &str, binary: &BTreeSet<String>) -> bool {
    binary.contains(media) || (media != JSON && !route.templates.contains_key(media))
}

fn method(route: &spec::Route, binary: &BTreeSet<String>, uri: &str) -> Method {
    let prelude = prelude(route);
    let templates = route
        .accept
        .iter()
        .map(|media| {
            let body = match route.templates.get(media) {
                Some(template) => template.text.as_str(),
                None if is_binary(route, media, binary) => BINARY_TEMPLATE,
                None => JSON_TEMPLATE,
            };
            (media.clone(), format!("{prelude}{body}"))
        })
        .collect();
    let token = match route.token {
        TokenRule::Query => BTreeMap::from([("method.request.querystring.token".to_owned(), true)]),
        TokenRule::None => BTreeMap::new(),
    };
    Method {
        authorization: "NONE".into(),
        api_key_required: false,
        parameters_validated: !token.is_empty(),
        parameters: token,
        responses: [FAILURE.to_owned()].into(),
        integration: Some(Integration {
            kind: "AWS".into(),
            uri: uri.to_owned(),
            timeout: INTEGRATION_TIMEOUT,
            passthrough: "NEVER".into(),
            content_handling: Some("CONVERT_TO_TEXT".into()),
            templates,
            responses: BTreeMap::from([(
                FAILURE.to_owned(),
                IntegrationResponse {
                    selection_pattern: None,
                    content_handling: Some("CONVERT_TO_TEXT".into()),
                    templates: BTreeMap::from([(JSON.to_owned(), RESPONSE_TEMPLATE.to_owned())]),
                },
            )]),
        }),
    }
}

/// A mapping template of routeto's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// For JSON, as text.
    Json,
    /// For every byte.
    Binary,
}

/// Which of the built-in templates a method's is, behind the generated line; `None` for a user's
/// own, or another version's.
pub fn built_in(template: &str) -> Option<BuiltIn> {
    let (line, body) = template.split_once('\n')?;
    match body {
        _ if !line.starts_with(PRELUDE) => None,
        JSON_TEMPLATE => Some(BuiltIn::Json),
        BINARY_TEMPLATE => Some(BuiltIn::Binary),
        _ => None,
    }
}

const PRELUDE: &str = "#set($destination = ";

/// The generated line before every template: one file serves many routes. `#set` eats its line
/// break.
pub fn prelude(route: &spec::Route) -> String {
    format!("{PRELUDE}$stageVariables.{})\n", route.variable)
}

/// Inbound Parse drops mail on 4xx, so throttling is told as 503.
fn try_again_later() -> GatewayResponse {
    GatewayResponse {
        status: FAILURE.into(),
        parameters: BTreeMap::from([(
            "gatewayresponse.header.Retry-After".to_owned(),
            "'5'".to_owned(),
        )]),
        templates: BTreeMap::from([(
            JSON.to_owned(),
            r#"{"result":"fail","reason":"too many requests, try again later"}"#.to_owned(),
        )]),
    }
}

/// A stack at one of its stages.
struct At<'a> {
    stack: &'a Stack,
    stage: &'a spec::Stage,
    account: &'a Account,
}

impl At<'_> {
    fn resolve(&self, pattern: &spec::Pattern) -> String {
        pattern.resolve(&self.stage.name, &self.account.id, &self.account.region)
    }

    /// The bucket that an entry of `allow` (`bucket[/path]`) is in.
    fn allowed_bucket(&self, entry: &spec::Pattern) -> Id {
        let place = self.resolve(entry);
        Id::new(Kind::Bucket, place.split('/').next().unwrap_or_default())
    }

    /// The buckets and queues that a route names.
    fn names(&self, route: &spec::Route) -> Vec<(Id, Use)> {
        let how = |existing| if existing { Use::Existing } else { Use::Made };
        match &route.destination {
            Destination::S3(s3) => {
                let own = (Id::new(Kind::Bucket, self.resolve(&s3.bucket)), how(s3.existing));
                let allowed =
                    s3.allow.iter().map(|entry| (self.allowed_bucket(entry), Use::Allowed));
                std::iter::once(own).chain(allowed).collect()
            }
            Destination::Sqs(sqs) => {
                let queue = |name| Id::new(Kind::Queue, self.resolve(name));
                let own = (queue(&sqs.queue), how(sqs.existing));
                let dead = sqs.dead_letter.iter().map(|dead| (queue(&dead.queue), Use::Made));
                std::iter::once(own).chain(dead).collect()
            }
        }
    }

    fn buckets(&self, tags: &Tags) -> Vec<Bucket> {
        let mut buckets: BTreeMap<String, Bucket> = BTreeMap::new();
        for route in self.stack.routes.values() {
            let Destination::S3(s3) = &route.destination else { continue };
            if s3.existing {
                continue;
            }
            let name = self.resolve(&s3.bucket);
            let bucket = buckets.entry(name.clone()).or_insert_with(|| Bucket {
                name,
                tags: tags.clone(),
                public_access_blocked: true,
                owner_enforced: true,
                encryption: "AES256".into(),
                tls_only: true,
                expire_after: BTreeMap::new(),
            });
            if let Some(days) = s3.expire_after {
                bucket.expire_after.insert(self.resolve(&s3.prefix), days);
            }
        }
        buckets.into_values().collect()
    }

    fn queues(&self, tags: &Tags) -> Vec<Queue> {
        let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
        let queue = |name: String, retention, redrive| Queue {
            name,
            tags: tags.clone(),
            encryption: "SSE-SQS".into(),
            retention,
            maximum_message_size: MAXIMUM_MESSAGE_SIZE,
            redrive,
        };
        for route in self.stack.routes.values() {
            let Destination::Sqs(sqs) = &route.destination else { continue };
            if sqs.existing {
                continue;
            }
            let redrive = sqs.dead_letter.as_ref().map(|dead| {
                let name = self.resolve(&dead.queue);
                queues.insert(name.clone(), queue(name.clone(), DEAD_LETTER_RETENTION, None));
                Redrive { dead_letter_queue: name, after: dead.after }
            });
            let name = self.resolve(&sqs.queue);
            let entry =
                queues.entry(name.clone()).or_insert_with(|| queue(name, QUEUE_RETENTION, None));
            entry.redrive = redrive.or(entry.redrive.take());
        }
        queues.into_values().collect()
    }

    fn function_config(&self, code_sha256: &str) -> FunctionConfig {
        let Account { id, region, partition, .. } = self.account;
        let settings = &self.stack.function;
        FunctionConfig {
            code_sha256: code_sha256.to_owned(),
            role: format!(
                "arn:{partition}:iam::{id}:role/{}",
                name::role(&self.stack.name, &self.stage.name, region)
            ),
            runtime: "provided.al2023".into(),
            handler: "bootstrap".into(),
            memory: settings.memory as i32,
            timeout: settings.timeout as i32,
            architecture: match settings.architecture {
                Architecture::X86_64 => "x86_64".into(),
                Architecture::Arm64 => "arm64".into(),
            },
            log_format: "JSON".into(),
            log_group: name::log_group(&self.stack.name, &self.stage.name),
            environment: BTreeMap::new(),
        }
    }

    /// Just this stage's destinations, just its queues, just its log group.
    fn policy(&self, existing: &BTreeMap<Id, Existing>) -> Policy {
        let Account { id, region, partition, .. } = self.account;
        let mut policy = Policy { account: None, ..Policy::default() };
        let key = |id: &Id| match existing.get(id) {
            Some(Existing::Found { key }) => key.clone(),
            _ => None,
        };
        for route in self.stack.routes.values() {
            policy.keys.extend(self.names(route).iter().filter_map(|(id, _)| key(id)));
            match &route.destination {
                Destination::S3(s3) => {
                    let bucket = self.resolve(&s3.bucket);
                    policy.put_objects.insert(format!(
                        "arn:{partition}:s3:::{bucket}/{}*",
                        self.resolve(&s3.prefix)
                    ));
                    for allowed in &s3.allow {
                        policy.put_objects.insert(format!(
                            "arn:{partition}:s3:::{}/*",
                            self.resolve(allowed).trim_end_matches('/')
                        ));
                    }
                    policy.account = Some(id.clone());
                }
                Destination::Sqs(sqs) => {
                    let queue = self.resolve(&sqs.queue);
                    policy
                        .send_messages
                        .insert(format!("arn:{partition}:sqs:{region}:{id}:{queue}"));
                }
            }
        }
        let log_group = name::log_group(&self.stack.name, &self.stage.name);
        policy.logs.insert(format!("arn:{partition}:logs:{region}:{id}:log-group:{log_group}:*"));
        policy
    }

    /// All that the function must know of a route on this stage, in the alphabet of stage
    /// variables.
    fn destination(&self, route: &spec::Route) -> String {
        let Account { id, region, .. } = self.account;
        route.variable_value(|queue| queue_url(self.account, queue), &self.stage.name, id, region)
    }
}

/// Buckets and queues that the stages which `wanted` names have of their own: those that are made,
/// not existing ones.
pub fn made(
    stack: &Stack,
    account: &Account,
    wanted: impl Fn(&str) -> bool,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut buckets, mut queues) = (BTreeSet::new(), BTreeSet::new());
    for stage in stack.stages.iter().filter(|stage| wanted(&stage.name)) {
        let resolve =
            |pattern: &spec::Pattern| pattern.resolve(&stage.name, &account.id, &account.region);
        for route in stack.routes.values() {
            match &route.destination {
                Destination::S3(s3) if !s3.existing => {
                    buckets.insert(resolve(&s3.bucket));
                }
                Destination::Sqs(sqs) if !sqs.existing => {
                    queues.insert(resolve(&sqs.queue));
                    queues.extend(sqs.dead_letter.as_ref().map(|dead| resolve(&dead.queue)));
                }
                _ => {}
            }
        }
    }
    (buckets, queues)
}

/// A queue's URL, known before the queue exists. Source: SQS developer guide, "Queue and message
/// identifiers".
pub fn queue_url(account: &Account, queue: &str) -> String {
    format!("https://sqs.{}.{}/{}/{queue}", account.region, account.dns_suffix(), account.id)
}
