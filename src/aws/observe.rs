//! What stands in AWS, read in two waves of parallel calls: first what needs neither the account
//! nor the API's id, then the rest. Only what nobody wants any more takes a third. What of the
//! second needs the account and the API's id alone doesn't wait for the end of the first,
//! where nobody has the lock.

use super::{Aws, apigateway, call::CallError, iam, lambda, lock, logs, s3, sqs};
use crate::{
    desired::{self, name},
    error::{Failure, Result},
    observed::{
        Account, BucketState, Double, Existing, FunctionState, Observed, QueueState, RoleState,
        StageState,
    },
    plan::{destination_id, destinations_of},
    previous::Previous,
    resource::*,
    spec::Stack,
};
use aws_sdk_apigateway::types::RestApi;
use futures_util::{
    StreamExt, TryStreamExt,
    future::{try_join, try_join_all},
    stream,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};
use tokio::{sync::oneshot, task::JoinSet};

/// Versions of a function whose policy is read. The one in use is among the newest, unless so many
/// deploys since gave wrong answers and went back: only a deploy that is proven prunes.
const NEWEST: usize = 50;

/// A resource of a name of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<T> {
    Absent,
    Ours(T),
    /// Empty and without any tag: what a deploy leaves that dies between making a bucket and
    /// tagging it, or somebody's new bucket.
    Untagged(T),
    /// It doesn't carry our tag: whose it seems to be.
    Foreign(String),
}

/// What to look at.
#[derive(Clone)]
pub struct Look<'a> {
    pub stack: &'a Stack,
    /// The stages of the file that the command is about.
    pub stages: BTreeSet<String>,
    /// Look for what left the file, too: stages, and what the observed stages still name.
    pub whole: bool,
    /// Look into the buckets, too.
    pub contents: bool,
}

/// The first wave's answer, and what the second one needs of it.
#[derive(Clone, Debug, PartialEq)]
struct First {
    api: Option<RestApi>,
    doubles: Vec<Double>,
    /// Name and retention.
    log_groups: Vec<(String, Retention)>,
    roles: BTreeMap<String, Seen<(Role, RoleState)>>,
    functions: BTreeMap<String, Seen<(Function, FunctionState)>>,
    history: History,
}

/// What the history's lines tell.
#[derive(Clone, Debug, Default, PartialEq)]
struct History {
    /// Buckets and queues that earlier deploys kept, and what a teardown was about to take away.
    kept: BTreeSet<Id>,
    /// Deployment, version and digest ([`Stage::digest`]) with which a stage was last known to
    /// give right answers.
    proven: BTreeMap<String, [String; 3]>,
}

/// Lines of the history that are looked through for what was kept. Each whole deploy's line names
/// it anew; those of one stage and rollbacks don't, and there may be many in a row. One call all
/// the same: GetLogEvents answers with as many as 10,000, or 1 MB.
const HISTORY: i32 = 1000;

/// The account, and all that stands of the stack in it.
///
/// # Errors
/// The first call that failed, with what to do.
pub async fn observe(aws: &Aws, look: &Look<'_>) -> Result<(Account, Observed)> {
    let api = apigateway::find_all(aws, &look.stack.name);
    let (account, first) =
        try_join(aws.account(), first(aws, look, api)).await.map_err(|error| about(look, error))?;
    let observed = second(aws, look, &account, first, (&Heads::new(), false), Begin::new())
        .await
        .map_err(|error| about(look, error))?;
    Ok((account, observed))
}

fn about(look: &Look<'_>, error: CallError) -> Failure {
    error.about(format!("looking at stack {}", look.stack.name))
}

/// The first wave of a look by whoever may want to change something: with the lock as it was then.
pub struct Begun<'a> {
    look: Look<'a>,
    pub account: Account,
    pub lock: lock::Seen,
    first: First,
    /// Of the buckets in question: their names are known as soon as the account is.
    heads: Heads,
    /// What of the second wave needs less than the whole first one.
    ahead: Mutex<Begin>,
}

/// The part of the second wave that waits for the account, the API and the lock's look, not for the
/// slowest call of the first: IAM may take its time.
struct Ahead {
    api: Option<apigateway::Found>,
    buckets: SeenBuckets,
    queues: SeenQueues,
    existing: BTreeMap<Id, Existing>,
}

impl Ahead {
    /// `heads` are what was asked of the buckets already, and whether to wait for that before
    /// anything else is asked of them.
    async fn read(
        aws: &Aws,
        look: &Look<'_>,
        account: &Account,
        api: Option<&RestApi>,
        heads: (&Heads, bool),
    ) -> Result<Self, CallError> {
        let (buckets, queues) =
            desired::made(look.stack, account, |stage| look.stages.contains(stage));
        let existing = desired::existing(&in_scope(look), account);
        let api = async {
            match api {
                Some(api) => apigateway::observe(aws, api).await.map(Some),
                None => Ok(None),
            }
        };
        let (api, buckets, queues, existing) = futures_util::try_join!(
            api,
            self::buckets(aws, look, account, &buckets, heads, Refused::Fails),
            self::queues(aws, account, &look.stack.name, &queues, Refused::Fails),
            self::existing(aws, account, &existing),
        )?;
        Ok(Self { api, buckets, queues, existing })
    }

    /// Reads it whether or not anybody waits for it; it ends with the answer's owner.
    fn begin(aws: &Aws, look: &Look<'_>, account: &Account, api: RestApi, heads: &Heads) -> Begin {
        let (aws, account, heads) = (aws.clone(), account.clone(), heads.clone());
        let (stack, stages, whole, contents) =
            (look.stack.clone(), look.stages.clone(), look.whole, look.contents);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let look = Look { stack: &stack, stages, whole, contents };
            Self::read(&aws, &look, &account, Some(&api), (&heads, false)).await
        });
        task
    }
}

/// Of one task or none.
type Begin = JoinSet<Result<Ahead, CallError>>;

type Heads = BTreeMap<String, s3::Early>;

impl<'a> Begun<'a> {
    /// # Errors
    /// The first call that failed, with what to do.
    pub async fn new(aws: &Aws, look: Look<'a>) -> Result<Self> {
        let group = name::history(&look.stack.name);
        let account = async {
            let account = aws.account().await?;
            let (buckets, _) =
                desired::made(look.stack, &account, |stage| look.stages.contains(stage));
            let heads: Heads =
                buckets.into_iter().map(|name| (name.clone(), s3::early(aws, name))).collect();
            Ok((account, heads))
        };
        let (found, api) = oneshot::channel();
        let api_found = async {
            let all = apigateway::find_all(aws, &look.stack.name).await?;
            // Nobody waits for it any more where another call failed.
            let _ = found.send(all.0.clone());
            Ok(all)
        };
        let account_and_lock = async {
            // Nothing of the second wave before the lock was seen: that it was free by then is what
            // lets a deploy trust what it saw. Only the buckets' heads come earlier;
            // they aren't believed against their tags.
            let ((account, heads), lock) = try_join(account, lock::look(aws, &group)).await?;
            let api = api.await.ok().flatten().filter(|_| lock.is_free() && lock.is_recent());
            let ahead =
                api.map(|api| Ahead::begin(aws, &look, &account, api, &heads)).unwrap_or_default();
            Ok((account, heads, lock, ahead))
        };
        let waves = try_join(account_and_lock, first(aws, &look, api_found)).await;
        let ((account, heads, lock, ahead), first) = waves.map_err(|error| about(&look, error))?;
        Ok(Self { look, account, lock, first, heads, ahead: Mutex::new(ahead) })
    }

    /// The API's description says of which document it is, so that this much is known before the
    /// second wave.
    pub fn api_description(&self) -> Option<&str> {
        self.first.api.as_ref()?.description()
    }

    /// Nothing that a deploy makes stands but, it may be, data that an earlier one left.
    pub fn saw_nothing(&self) -> bool {
        let First { api, doubles, log_groups, roles, functions, history } = &self.first;
        let absent = roles.values().all(|role| *role == Seen::Absent)
            && functions.values().all(|function| *function == Seen::Absent);
        self.lock.is_new()
            && api.is_none()
            && doubles.is_empty()
            && log_groups.is_empty()
            && absent
            && *history == History::default()
    }

    /// Something of ours stands that a teardown takes away.
    pub fn stands(&self) -> bool {
        let ours = |role: &Seen<_>| matches!(role, Seen::Ours(_));
        self.first.api.is_some() || self.first.roles.values().any(ours)
    }

    /// Deployment and version with which the history last saw a deploy of this stage come to its
    /// end.
    pub fn last_deployed(&self, stage: &str) -> Option<(&str, &str)> {
        let [deployment, version, _] = self.first.history.proven.get(stage)?;
        Some((deployment, version))
    }

    /// The history says that this stage gave right answers as it is.
    pub fn is_proven(&self, stage: &Stage, state: &StageState) -> bool {
        let version = state.version.clone().unwrap_or_default();
        self.first.history.proven.get(&stage.name)
            == Some(&[state.deployment.clone(), version, stage.digest()])
    }

    /// The code of the functions that stand; `None` where one doesn't, or isn't ours.
    pub fn codes(&self) -> Option<BTreeSet<&str>> {
        self.first
            .functions
            .values()
            .map(|seen| match seen {
                Seen::Ours((function, _)) => Some(function.config.code_sha256.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The second wave. What was begun of it is used once; whoever asks again gets a new one, but
    /// for the buckets' heads.
    ///
    /// # Errors
    /// The first call that failed, with what to do.
    pub async fn rest(&self, aws: &Aws) -> Result<Observed> {
        // A stack that never was has no buckets either: one call tells, where looking at one takes
        // seven.
        let heads = (&self.heads, self.saw_nothing());
        let begun = std::mem::take(&mut *self.ahead.lock().unwrap_or_else(PoisonError::into_inner));
        let ahead = if self.lock.is_recent() { begun } else { Begin::new() };
        second(aws, &self.look, &self.account, self.first.clone(), heads, ahead)
            .await
            .map_err(|error| about(&self.look, error).into())
    }

    /// The first wave once more: whether it finds what it found. The lock's own group may have come
    /// meanwhile.
    ///
    /// # Errors
    /// The first call that failed, with what to do.
    pub async fn still(&self, aws: &Aws) -> Result<bool> {
        let api = apigateway::find_all(aws, &self.look.stack.name);
        let mut found =
            first(aws, &self.look, api).await.map_err(|error| about(&self.look, error))?;
        if !self
            .first
            .log_groups
            .iter()
            .any(|(group, _)| *group == name::history(&self.look.stack.name))
        {
            found.log_groups.retain(|(group, _)| *group != name::history(&self.look.stack.name));
        }
        Ok(found == self.first)
    }

    /// Both waves once more: at once, as far as the first one finds what it found.
    ///
    /// # Errors
    /// The first call that failed, with what to do.
    pub async fn again(&self, aws: &Aws) -> Result<Observed> {
        let Begun { look, account, first: known, .. } = self;
        let heads = (&Heads::new(), false);
        let api = apigateway::find_all(aws, &look.stack.name);
        let (found, observed) = futures_util::join!(
            first(aws, look, api),
            second(aws, look, account, known.clone(), heads, Begin::new())
        );
        let found = found.map_err(|error| about(look, error))?;
        let observed = if found == *known {
            observed
        } else {
            second(aws, look, account, found, heads, Begin::new()).await
        };
        observed.map_err(|error| about(look, error).into())
    }
}

type FoundApis = (Option<RestApi>, Vec<Double>);

async fn first(
    aws: &Aws,
    look: &Look<'_>,
    api: impl Future<Output = Result<FoundApis, CallError>>,
) -> Result<First, CallError> {
    let stack = &look.stack.name;
    let stages: Vec<&str> = look.stages.iter().map(String::as_str).collect();
    let (of_functions, of_stack) = (name::log_group(stack, ""), name::history(stack));
    let ((api, doubles), groups, group, roles, functions, history) = futures_util::try_join!(
        api,
        logs::list(aws, &of_functions),
        logs::list(aws, &of_stack),
        roles(aws, stack, &stages),
        functions(aws, stack, &stages),
        history(aws, &of_stack),
    )?;
    let group = group.into_iter().filter(|(group, _)| *group == of_stack);
    let log_groups = groups.into_iter().chain(group).collect();
    Ok(First { api, doubles, log_groups, roles, functions, history })
}

/// Whether the stage is what a deploy made of it that never came to its end: it moved from the very
/// state in which the command before is known to have left it, and that isn't the state in which it
/// is. Where the history doesn't tell, it is nobody's.
///
/// # Errors
/// The call's.
pub async fn was_cut_off(
    aws: &Aws,
    stack: &str,
    stage: &Stage,
    state: &StageState,
) -> Result<bool, CallError> {
    let lines = lines(aws, &name::history(stack)).await?;
    let Some(last) = lines.iter().rev().find_map(|line| line["serving"].get(&stage.name)) else {
        return Ok(false);
    };
    let text = |name: &str| last[name].as_str().unwrap_or_default();
    let left = (text("deployment_id"), text("function_version"));
    let here = (state.deployment.as_str(), state.version.as_deref().unwrap_or_default());
    // A deploy that changes nothing but variables stays with deployment and version; a rollback's
    // line doesn't tell those.
    let moved = left != here || !["", &stage.digest()].contains(&text("stage"));
    Ok(moved
        && Previous::read(&state.variables)
            .is_some_and(|previous| left == (&previous.deployment, &previous.version)))
}

async fn lines(aws: &Aws, group: &str) -> Result<Vec<serde_json::Value>, CallError> {
    let lines = logs::history(aws, group, HISTORY).await?;
    Ok(lines.iter().filter_map(|(_, line)| serde_json::from_str(line).ok()).collect())
}

async fn history(aws: &Aws, group: &str) -> Result<History, CallError> {
    let lines = lines(aws, group).await?;
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let kept = lines
        .iter()
        .flat_map(|line| list(&line["changes"]["kept"]))
        .filter_map(|kept| named_id(&kept["resource"]));
    let going =
        lines.iter().flat_map(|line| list(&line["going"])).filter_map(|going| named_id(&going));
    let mut proven = BTreeMap::new();
    for line in lines.iter().filter(|line| line["what"] == "deployed") {
        for (stage, serving) in line["serving"].as_object().into_iter().flatten() {
            let text = |name: &str| serving[name].as_str().unwrap_or_default().to_owned();
            proven.insert(stage.clone(), ["deployment_id", "function_version", "stage"].map(text));
        }
    }
    Ok(History { kept: kept.chain(going).collect(), proven })
}

fn named_id(name: &serde_json::Value) -> Option<Id> {
    let (kind, name) = name.as_str()?.split_once(' ')?;
    match kind {
        "bucket" => Some(Id::new(Kind::Bucket, name)),
        "queue" => Some(Id::new(Kind::Queue, name)),
        "stage" => Some(Id::new(Kind::Stage, name)),
        _ => None,
    }
}

async fn roles(
    aws: &Aws,
    stack: &str,
    stages: &[&str],
) -> Result<BTreeMap<String, Seen<(Role, RoleState)>>, CallError> {
    let names = stages.iter().map(|stage| name::role(stack, stage, &aws.region));
    try_join_all(
        names.map(|name| async move { Ok((name.clone(), iam::observe(aws, stack, &name).await?)) }),
    )
    .await
    .map(|all| all.into_iter().collect())
}

async fn functions(
    aws: &Aws,
    stack: &str,
    stages: &[&str],
) -> Result<BTreeMap<String, Seen<(Function, FunctionState)>>, CallError> {
    let names = stages.iter().map(|stage| name::function(stack, stage));
    try_join_all(
        names.map(
            |name| async move { Ok((name.clone(), lambda::observe(aws, stack, &name).await?)) },
        ),
    )
    .await
    .map(|all| all.into_iter().collect())
}

/// `ahead` is what of it is on its way already; `heads` as in [`Ahead::read`].
async fn second(
    aws: &Aws,
    look: &Look<'_>,
    account: &Account,
    first: First,
    heads: (&Heads, bool),
    mut ahead: Begin,
) -> Result<Observed, CallError> {
    let stack = &look.stack.name;
    let mut observed = Observed::default();
    let ahead = async {
        match ahead.join_next().await {
            Some(Ok(read)) => read,
            _ => Ahead::read(aws, look, account, first.api.as_ref(), heads).await,
        }
    };
    let (
        groups,
        permissions,
        Ahead { api, buckets: found_buckets, queues: found_queues, existing },
    ) = futures_util::try_join!(
        log_groups(aws, account, stack, &first.log_groups),
        all_permissions(aws, &first.functions),
        ahead
    )?;
    observed.existing = existing;
    place_all(&mut observed, first.roles, Kind::Role, insert_role);
    for (name, seen) in first.functions {
        place(
            &mut observed,
            Id::new(Kind::Function, &name),
            seen,
            |observed, (function, mut state)| {
                for version in &mut state.versions {
                    version.permissions = permissions
                        .get(&(name.clone(), version.number))
                        .cloned()
                        .unwrap_or_default();
                }
                observed.functions.insert(name.clone(), state);
                insert(observed, Resource::Function(function));
            },
        );
    }
    // What earlier deploys kept is named by neither a stage nor a role any more. Where all stages
    // of the file go, and there is no other, the history goes with them, and all that only it
    // names.
    let all = look.contents && look.stages.len() == look.stack.stages.len();
    let others =
        api.iter().flat_map(|found| &found.stages).any(|stage| !look.stages.contains(&stage.name));
    let kept = if look.whole || (all && !others) { first.history.kept } else { BTreeSet::new() };
    // A teardown that didn't end may have left a stage's role or function without anything else
    // that tells of the stage.
    let known = |id: &Id| look.stack.stages.iter().any(|known| known.name == id.name);
    let mut other_stages: BTreeSet<String> = kept
        .iter()
        .filter(|id| id.kind == Kind::Stage && !known(id))
        .map(|id| id.name.clone())
        .collect();
    for (name, seen) in groups {
        let stage = name.strip_prefix(&name::log_group(stack, "")).map(str::to_owned);
        let ours = stage.as_ref().is_none_or(|stage| look.stages.contains(stage));
        if ours {
            place(&mut observed, Id::new(Kind::LogGroup, &name), seen, |observed, group| {
                insert(observed, Resource::LogGroup(group))
            });
        } else if let (Seen::Ours(group), Some(stage)) = (seen, stage)
            && look.whole
            && !look.stack.stages.iter().any(|known| known.name == stage)
        {
            insert(&mut observed, Resource::LogGroup(group));
            other_stages.insert(stage);
        }
    }
    // A deploy takes the lock before it makes anything: where there is no history of this stack, no
    // crash of ours left that bucket.
    let history = Id::new(Kind::LogGroup, name::history(stack));
    let found_buckets = match observed.resources.contains_key(&history) {
        true => found_buckets.into_iter().map(adopted).collect(),
        false => found_buckets,
    };
    place_buckets(&mut observed, found_buckets);
    place_queues(&mut observed, found_queues);
    let mut in_use = BTreeSet::new();
    if let Some(mut found) = api {
        found.state.doubles = first.doubles;
        stages(&mut observed, look, found, &mut other_stages, &mut in_use);
    }
    let kept = kept.into_iter().filter(|id| id.kind != Kind::Stage).collect();
    third(aws, look, account, &mut observed, other_stages, in_use, kept).await?;
    Ok(observed)
}

/// The stack with only the stages that the command is about.
fn in_scope(look: &Look<'_>) -> Stack {
    let mut stack = look.stack.clone();
    stack.stages.retain(|stage| look.stages.contains(&stage.name));
    stack
}

/// The API's stages: those in question as resources, the others as what still uses buckets and
/// queues.
fn stages(
    observed: &mut Observed,
    look: &Look<'_>,
    found: apigateway::Found,
    other_stages: &mut BTreeSet<String>,
    in_use: &mut BTreeSet<Id>,
) {
    let apigateway::Found { api, mut state, stages } = found;
    let stack = &look.stack.name;
    for stage in stages {
        let ours = stage.tags.get(STACK_TAG).map(String::as_str) == Some(stack);
        let known = look.stack.stages.iter().any(|known| known.name == stage.name);
        let wanted = look.stages.contains(&stage.name) || (look.whole && !known);
        let id = Id::new(Kind::Stage, &stage.name);
        if !ours {
            if look.stages.contains(&stage.name) {
                observed.foreign.insert(id, format!("it lacks the tag {STACK_TAG}={stack}"));
            }
            state.foreign_stages.push(stage.name.clone());
            in_use.extend(destinations_of(&stage.state.variables));
            continue;
        }
        if !wanted {
            in_use.extend(destinations_of(&stage.state.variables));
            observed.stages.insert(stage.name.clone(), stage.state);
            continue;
        }
        if !known {
            other_stages.insert(stage.name.clone());
        }
        let digest = state
            .deployments
            .iter()
            .find(|deployment| deployment.id == stage.state.deployment)
            .and_then(|deployment| deployment.digest.clone())
            .unwrap_or_default();
        let function_name =
            stage.state.variables.get(variable::FUNCTION_NAME).cloned().unwrap_or_default();
        let function = observed.functions.get(&function_name).and_then(|state| {
            let number = stage.state.version.as_deref()?;
            state
                .versions
                .iter()
                .find(|version| version.number.to_string() == number)
                .map(|version| version.config.clone())
        });
        let (destinations, variables) = split(&stage.state.variables);
        insert(
            observed,
            Resource::Stage(Stage {
                name: stage.name.clone(),
                tags: stage.tags,
                api_digest: digest,
                function,
                function_name,
                destinations,
                variables,
                throttle: stage.throttle,
            }),
        );
        observed.stages.insert(stage.name, stage.state);
    }
    insert(observed, Resource::Api(api));
    observed.api = Some(state);
}

/// Destinations and free variables.
fn split(
    variables: &BTreeMap<String, String>,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    variables
        .iter()
        .filter(|(key, _)| {
            !variable::RESERVED.contains(&key.as_str())
                && !key.starts_with(variable::PREVIOUS_PREFIX)
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .partition(|(key, _)| key.starts_with(variable::DESTINATION_PREFIX))
}

/// Buckets and queues that a role may use.
fn policy_ids(policy: &Policy) -> BTreeSet<Id> {
    let buckets = policy.put_objects.iter().filter_map(|arn| {
        arn.split(":::").nth(1)?.split('/').next().map(|name| Id::new(Kind::Bucket, name))
    });
    let queues = policy
        .send_messages
        .iter()
        .filter_map(|arn| arn.rsplit(':').next().map(|name| Id::new(Kind::Queue, name)));
    buckets.chain(queues).collect()
}

/// What it means that the caller may not see whose a bucket or queue is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// The file names it as one to make: a permission is missing.
    Fails,
    /// It isn't in the file any more, and may be the user's own.
    Hides,
}

/// The bucket with all its tags, and whether it is known to be empty.
type SeenBuckets = Vec<(String, Seen<(Bucket, Tags, BucketState, Option<bool>)>)>;
type SeenQueues = Vec<(String, Seen<(Queue, QueueState, u64)>)>;

async fn buckets(
    aws: &Aws,
    look: &Look<'_>,
    account: &Account,
    names: &BTreeSet<String>,
    (heads, first): (&Heads, bool),
    refused: Refused,
) -> Result<SeenBuckets, CallError> {
    try_join_all(names.iter().map(|name| async move {
        let head = heads.get(name).cloned();
        if let (Some(head), true) = (&head, first)
            && head.clone().await == Some(s3::Head::Absent)
        {
            return Ok((name.clone(), Seen::Absent));
        }
        // Whoever may not look into it, or whose it isn't, is told elsewhere.
        let empty = async { if look.contents { s3::is_empty(aws, name).await.ok() } else { None } };
        let (seen, empty) =
            futures_util::join!(s3::observe(aws, account, &look.stack.name, name, head), empty);
        let hides = |error: &CallError| {
            refused == Refused::Hides && error.refused() && s3::WHOSE.contains(&error.call)
        };
        let seen = match seen {
            Err(error) if hides(&error) => Seen::Foreign(s3::UNREAD.into()),
            seen => seen?,
        };
        let seen = match seen {
            Seen::Absent => Seen::Absent,
            Seen::Ours((bucket, tags, state)) => Seen::Ours((bucket, tags, state, empty)),
            Seen::Untagged((bucket, tags, state)) => Seen::Untagged((bucket, tags, state, empty)),
            Seen::Foreign(whose) => Seen::Foreign(whose),
        };
        Ok((name.clone(), seen))
    }))
    .await
}

async fn queues(
    aws: &Aws,
    account: &Account,
    stack: &str,
    names: &BTreeSet<String>,
    refused: Refused,
) -> Result<SeenQueues, CallError> {
    try_join_all(names.iter().map(|name| async move {
        let seen = match sqs::observe(aws, account, stack, name).await {
            Err(error) if refused == Refused::Hides && error.refused() => {
                Seen::Foreign(sqs::UNREAD.into())
            }
            seen => seen?,
        };
        Ok((name.clone(), seen))
    }))
    .await
}

async fn existing(
    aws: &Aws,
    account: &Account,
    ids: &BTreeSet<Id>,
) -> Result<BTreeMap<Id, Existing>, CallError> {
    let found = try_join_all(ids.iter().map(|id| async move {
        let existing = match id.kind {
            Kind::Bucket => s3::existing(aws, account, &id.name).await?,
            _ => sqs::existing(aws, account, &id.name).await?,
        };
        Ok((id.clone(), existing))
    }))
    .await?;
    Ok(found.into_iter().collect())
}

async fn log_groups(
    aws: &Aws,
    account: &Account,
    stack: &str,
    groups: &[(String, Retention)],
) -> Result<Vec<(String, Seen<LogGroup>)>, CallError> {
    try_join_all(groups.iter().map(|(name, retention)| async move {
        Ok((name.clone(), logs::observe(aws, account, stack, name, retention.clone()).await?))
    }))
    .await
}

type Permissions = BTreeMap<(String, u64), BTreeMap<String, String>>;

/// The policies of the newest versions: the one in use is among them, and asking for it by name
/// would take another wave.
async fn all_permissions(
    aws: &Aws,
    functions: &BTreeMap<String, Seen<(Function, FunctionState)>>,
) -> Result<Permissions, CallError> {
    let versions = functions.iter().flat_map(|(name, seen)| {
        let versions = match seen {
            Seen::Ours((_, state)) => state.versions.as_slice(),
            _ => &[],
        };
        versions.iter().rev().take(NEWEST).map(move |version| (name.clone(), version.number))
    });
    let calls = versions.map(|(name, number)| async move {
        let permissions = lambda::permissions(aws, &name, number).await?;
        Ok(((name, number), permissions))
    });
    // Lambda answers 15 of these a second (its quota for the control plane, all calls together).
    stream::iter(calls).buffer_unordered(8).try_collect().await
}

fn insert(observed: &mut Observed, resource: Resource) {
    observed.resources.insert(resource.id(), resource);
}

fn insert_role(observed: &mut Observed, (role, state): (Role, RoleState)) {
    observed.roles.insert(role.name.clone(), state);
    insert(observed, Resource::Role(role));
}

fn place<T>(observed: &mut Observed, id: Id, seen: Seen<T>, put: impl FnOnce(&mut Observed, T)) {
    match seen {
        Seen::Absent => {}
        Seen::Ours(value) => put(observed, value),
        Seen::Untagged(_) => {
            observed.foreign.insert(id, format!("it lacks the tag {STACK_TAG}"));
        }
        Seen::Foreign(whose) => {
            observed.foreign.insert(id, whose);
        }
    }
}

fn place_all<T>(
    observed: &mut Observed,
    all: BTreeMap<String, Seen<T>>,
    kind: Kind,
    put: impl Fn(&mut Observed, T),
) {
    for (name, seen) in all {
        place(observed, Id::new(kind, name), seen, &put);
    }
}

fn place_buckets(observed: &mut Observed, buckets: SeenBuckets) {
    for (name, seen) in buckets {
        let id = Id::new(Kind::Bucket, name);
        if matches!(seen, Seen::Absent) {
            observed.absent.insert(id.clone());
        }
        place(observed, id.clone(), seen, |observed, (bucket, tags, state, empty)| {
            observed.buckets.insert(bucket.name.clone(), state);
            observed.contents.extend(empty.map(|empty| (id.clone(), u64::from(!empty))));
            observed.all_tags.insert(id, tags);
            insert(observed, Resource::Bucket(bucket));
        });
    }
}

fn place_queues(observed: &mut Observed, queues: SeenQueues) {
    for (name, seen) in queues {
        let id = Id::new(Kind::Queue, name);
        if matches!(seen, Seen::Absent) {
            observed.absent.insert(id.clone());
        }
        place(observed, id.clone(), seen, |observed, (queue, state, messages)| {
            observed.queues.insert(queue.name.clone(), state);
            observed.contents.insert(id, messages);
            insert(observed, Resource::Queue(queue));
        });
    }
}

/// What left the file: stages that aren't in it, and buckets and queues that the observed stages
/// and roles still name.
async fn third(
    aws: &Aws,
    look: &Look<'_>,
    account: &Account,
    observed: &mut Observed,
    other_stages: BTreeSet<String>,
    mut in_use: BTreeSet<Id>,
    kept: BTreeSet<Id>,
) -> Result<(), CallError> {
    let stack = &look.stack.name;
    if !other_stages.is_empty() {
        let names: Vec<&str> = other_stages.iter().map(String::as_str).collect();
        let (roles, functions) =
            try_join(roles(aws, stack, &names), functions(aws, stack, &names)).await?;
        place_all(observed, roles, Kind::Role, insert_role);
        place_all(observed, functions, Kind::Function, |observed, (function, state)| {
            observed.functions.insert(function.name.clone(), state);
            insert(observed, Resource::Function(function));
        });
        forget_others(&mut observed.foreign, stack, &other_stages, &aws.region);
    }
    // What any stage of the file names stays, whatever the command is about. What the file says
    // exists already is never ours to remove, and is not asked for more than deploying needs of
    // it.
    in_use.extend(desired::existing(look.stack, account));
    let (buckets, queues) = desired::made(look.stack, account, |_| true);
    in_use.extend(buckets.into_iter().map(|name| Id::new(Kind::Bucket, name)));
    in_use.extend(queues.into_iter().map(|name| Id::new(Kind::Queue, name)));
    let mut candidates = kept;
    for resource in observed.resources.values() {
        match resource {
            Resource::Stage(stage) => candidates
                .extend(stage.destinations.values().filter_map(|value| destination_id(value))),
            Resource::Role(role) => candidates.extend(role.policy.iter().flat_map(policy_ids)),
            Resource::Queue(queue) => candidates.extend(
                queue.redrive.iter().map(|dead| Id::new(Kind::Queue, &dead.dead_letter_queue)),
            ),
            _ => {}
        }
    }
    // What a stage could go back to, too: whether it is still there.
    let before = observed
        .resources
        .keys()
        .filter(|id| id.kind == Kind::Stage)
        .filter_map(|id| observed.stages.get(&id.name));
    let before = before.filter_map(|state| Previous::read(&state.variables)?.values);
    candidates.extend(before.flat_map(|values| {
        destinations_of(
            &values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        )
    }));
    candidates.retain(|id| !in_use.contains(id) && !observed.resources.contains_key(id));
    let names = |kind: Kind, from: &BTreeSet<Id>| -> BTreeSet<String> {
        from.iter().filter(|id| id.kind == kind).map(|id| id.name.clone()).collect()
    };
    let (old_buckets, old_queues) = try_join(
        self::buckets(
            aws,
            look,
            account,
            &names(Kind::Bucket, &candidates),
            (&Heads::new(), false),
            Refused::Hides,
        ),
        self::queues(aws, account, stack, &names(Kind::Queue, &candidates), Refused::Hides),
    )
    .await?;
    // Buckets and queues of others' that a role may use (`allow`, `existing`) are not ours and not
    // in the way.
    let dead: BTreeSet<String> = old_queues
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Ours((queue, ..)) => {
                queue.redrive.as_ref().map(|redrive| redrive.dead_letter_queue.clone())
            }
            _ => None,
        })
        .filter(|name| !in_use.contains(&Id::new(Kind::Queue, name)))
        .collect();
    let dead = self::queues(aws, account, stack, &dead, Refused::Hides).await?;
    place_buckets(observed, not_foreign(old_buckets));
    place_queues(observed, not_foreign(old_queues));
    place_queues(observed, not_foreign(dead));
    contents(aws, look, account, observed).await
}

/// A function or role of a stage that left the file, and that hasn't our tag, is in nobody's way.
/// Things of another kind may have its name.
fn forget_others(
    foreign: &mut BTreeMap<Id, String>,
    stack: &str,
    stages: &BTreeSet<String>,
    region: &str,
) {
    for stage in stages {
        foreign.remove(&Id::new(Kind::Function, name::function(stack, stage)));
        foreign.remove(&Id::new(Kind::Role, name::role(stack, stage, region)));
    }
}

fn adopted<T>((name, seen): (String, Seen<T>)) -> (String, Seen<T>) {
    match seen {
        Seen::Untagged(value) => (name, Seen::Ours(value)),
        seen => (name, seen),
    }
}

/// Whose a bucket or queue is can't be told, since the caller may not look.
pub fn is_hidden(why: &str) -> bool {
    [s3::HIDDEN, s3::UNREAD, sqs::UNREAD].contains(&why)
}

/// Only what carries our tag, or is gone: a role may use other people's buckets, new ones without
/// any tag among them. That one may not be looked at is for a teardown to tell.
fn not_foreign<T>(all: Vec<(String, Seen<T>)>) -> Vec<(String, Seen<T>)> {
    let ours = |seen: &Seen<T>| match seen {
        Seen::Ours(_) | Seen::Absent => true,
        Seen::Foreign(why) => is_hidden(why),
        Seen::Untagged(_) => false,
    };
    all.into_iter().filter(|(_, seen)| ours(seen)).collect()
}

/// Whether the buckets that the file doesn't name any more hold anything: that decides whether they
/// may go.
async fn contents(
    aws: &Aws,
    look: &Look<'_>,
    account: &Account,
    observed: &mut Observed,
) -> Result<(), CallError> {
    let (wanted, _) = desired::made(look.stack, account, |stage| look.stages.contains(stage));
    let old: Vec<Id> = observed
        .resources
        .keys()
        .filter(|id| id.kind == Kind::Bucket && !wanted.contains(&id.name))
        .cloned()
        .collect();
    fill(aws, observed, old).await
}

/// Looks into every bucket that was found: for a teardown.
pub async fn all_contents(aws: &Aws, observed: &mut Observed) -> Result<()> {
    let all: Vec<Id> =
        observed.resources.keys().filter(|id| id.kind == Kind::Bucket).cloned().collect();
    fill(aws, observed, all).await.map_err(|error| Failure::from(error).into())
}

async fn fill(aws: &Aws, observed: &mut Observed, buckets: Vec<Id>) -> Result<(), CallError> {
    let empty = try_join_all(
        buckets.into_iter().filter(|id| !observed.contents.contains_key(id)).map(|id| async move {
            let empty = match s3::is_empty(aws, &id.name).await {
                // It went meanwhile: nothing is lost with it.
                Err(error) if error.not_found() => true,
                empty => empty?,
            };
            Ok::<_, CallError>((id, empty))
        }),
    )
    .await?;
    observed.contents.extend(empty.into_iter().map(|(id, empty)| (id, u64::from(!empty))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_function_and_role_of_a_gone_stage_are_forgotten_not_what_else_has_their_names() {
        let id = |kind| Id::new(kind, "hooks-old");
        let role = Id::new(Kind::Role, "hooks-old-eu-west-1");
        let kinds = [Kind::Bucket, Kind::Queue, Kind::Function];
        let mut foreign: BTreeMap<Id, String> =
            kinds.map(|kind| (id(kind), "another's".to_owned())).into();
        foreign.insert(role, "another's".into());
        forget_others(&mut foreign, "hooks", &["old".to_owned()].into(), "eu-west-1");
        assert_eq!(foreign.into_keys().collect::<Vec<_>>(), [id(Kind::Bucket), id(Kind::Queue)]);
    }
}
