//! What must be done to get from observed to desired: a pure function, and its result plain data.
//!
//! Every decision is made here; [`crate::apply`] only carries out. Planning reads nothing and asks
//! nobody.

use crate::{
    desired::{Named, Use},
    error::Failure,
    observed::{Carried, Deployment, Existing, Observed, StageState, Version},
    openapi, policy,
    previous::Previous,
    resource::*,
    risks::{self, Risk},
    spec::destination_variable,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The changes, each with what it has to wait for, and what stays as it is.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub unchanged: BTreeSet<Id>,
    /// What would go and doesn't: buckets with objects, queues with messages, an API with stages
    /// that aren't ours.
    pub kept: Vec<Kept>,
    /// What a person should know beside the changes.
    pub notes: Vec<String>,
    /// What stages in service won't answer any more.
    pub lost: Vec<Lost>,
    /// What was set by hand, that this plan leaves alone, and that opens doors or endangers
    /// records.
    pub risks: Vec<Risk>,
}

/// A route, or all of a stage, that is in service and that the plan takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its path; the name of its stage variable, where the API that the stage serves isn't the
    /// present one. `None`: the whole stage.
    pub route: Option<String>,
    pub stages: Vec<String>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = self.stages.join(", ");
        let many = if self.stages.len() == 1 { "" } else { "s" };
        // Source: API Gateway answers 403 "Missing Authentication Token" to a path without a
        // method, "Forbidden" without a stage.
        match &self.route {
            Some(route) => {
                let of = if route.starts_with('/') { "" } else { "the route of stage variable " };
                write!(
                    f,
                    "{of}{route} goes: providers that post to it get 403 (stage{many} {stages})"
                )
            }
            None => write!(f, "stage {stages} goes: providers that post to it get 403"),
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Kept {
    pub id: Id,
    pub why: String,
}

#[derive(Debug, PartialEq)]
pub struct Change {
    pub key: Key,
    pub action: Action,
    pub differences: Vec<Difference>,
    /// Done before this one starts; one of them failing skips this one.
    pub after: BTreeSet<Key>,
}

/// A change's name: the resource, and which of the steps that touch it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub id: Id,
    pub step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Creates, updates or deletes the resource itself.
    Main,
    /// What a role or a log group gets once it is made, its policy or its retention: the stage
    /// waits for that, the function doesn't.
    Rest,
    /// Waits until the function version that the stage gets is active.
    Ready,
    /// Lets API Gateway call that version.
    Permission,
    /// Takes a snapshot of the API for the stages.
    Deployment,
    /// Waits until what a role's policy gained holds everywhere: a stage in service moves only
    /// then.
    Settle,
    /// Takes out of the role's policy what no stage uses any more.
    Trim,
    /// Waits for the messages that are still on their way to queues that go.
    Drain,
    /// Deletes old versions of the function, old deployments of the API.
    Prune,
    /// Writes down what a teardown takes away.
    Journal,
}

/// One attribute that differs; `None` where one side doesn't have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub attribute: String,
    pub observed: Option<String>,
    pub desired: Option<String>,
}

/// What a change does to its resource, for people and for the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Create,
    Update,
    Replace,
    Delete,
}

/// A value that an earlier change brings, or that is known already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Late {
    Known(String),
    /// Comes from the change with this key.
    From(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BucketPart {
    Tags,
    PublicAccess,
    Ownership,
    Encryption,
    Policy,
    Lifecycle,
}

/// A call, or a few that belong together, with all that it needs.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // a plan has some dozens of them
pub enum Action {
    CreateBucket(Bucket),
    UpdateBucket {
        bucket: Bucket,
        parts: BTreeSet<BucketPart>,
        all_tags: Tags,
    },
    /// With `purge`, every object and version goes first.
    DeleteBucket {
        purge: bool,
    },
    CreateQueue(Queue),
    UpdateQueue {
        queue: Queue,
        attributes: bool,
        tags: bool,
    },
    /// Makes sure of a queue that may be about to go: created once more, which changes nothing
    /// where it stays; then what differs.
    ConfirmQueue {
        queue: Queue,
        attributes: bool,
        tags: bool,
    },
    DeleteQueue {
        /// With all its messages; without, one that holds any is kept.
        purge: bool,
        /// The queues that go before it, since their dead letters come here. It is kept where one
        /// of them is.
        sources: BTreeSet<Id>,
    },
    CreateLogGroup(LogGroup),
    UpdateLogGroup {
        group: LogGroup,
        retention: bool,
        tags: bool,
    },
    DeleteLogGroup,
    /// Without its policy, which has a step of its own.
    CreateRole(Role),
    UpdateRole {
        role: Role,
        trust: bool,
        policy: bool,
        tags: bool,
    },
    DeleteRole,
    /// Publishes its first version.
    CreateFunction(Function),
    UpdateFunction {
        function: Function,
        code: bool,
        config: bool,
        environment: bool,
        tags: bool,
        publish: bool,
    },
    DeleteFunction,
    CreateApi(Api),
    WriteApi {
        api: Api,
        id: String,
        carried: Carried,
        document: bool,
        tags: bool,
    },
    DeleteApi {
        id: String,
    },
    CreateDeployment {
        api: Late,
        digest: String,
        /// Deployments of this digest that are there already.
        known: BTreeSet<String>,
    },
    AwaitVersion {
        function: String,
        version: Late,
    },
    Permit {
        function: String,
        version: Late,
        api: Late,
        stage: String,
    },
    CreateStage {
        stage: Stage,
        api: Late,
        deployment: Late,
        version: Late,
    },
    UpdateStage {
        api: String,
        deployment: Late,
        version: Late,
        /// Deployment, version or variables are others than before.
        moves: bool,
        patch: StagePatch,
        /// All of them, where one differs.
        tags: Option<Tags>,
    },
    DeleteStage {
        api: String,
    },
    /// By number.
    PruneVersions {
        versions: Vec<u64>,
    },
    /// By id.
    PruneDeployments {
        api: String,
        deployments: Vec<String>,
    },
    /// Goes with the API: no call.
    DeletedWithApi,
    /// Nothing but time: AWS doesn't say when it is over.
    Wait {
        seconds: u32,
        /// `until IAM …`
        why: String,
    },
    /// A line in the history with what goes, as `kind name`: a later run finds in it what nothing
    /// else names any more.
    Journal {
        going: Vec<String>,
    },
}

/// What a stage's one update sets beside deployment and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StagePatch {
    pub variables: BTreeMap<String, String>,
    pub remove_variables: BTreeSet<String>,
    pub throttle: Option<ThrottlePatch>,
}

/// What a stage's update does to the throttle of `/*/*`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThrottlePatch {
    /// Rate and burst.
    Set(f64, i32),
    /// No limit of its own. The other settings of `/*/*` stay: they were set by hand.
    Unlimited,
    /// Nothing but the throttle is set: `/*/*` goes.
    Remove,
}

impl Change {
    /// `None` for steps that are part of another resource's change.
    pub fn verb(&self) -> Option<Verb> {
        match &self.action {
            Action::CreateBucket(_)
            | Action::CreateQueue(_)
            | Action::CreateLogGroup(_)
            | Action::CreateRole(_)
            | Action::CreateFunction(_)
            | Action::CreateApi(_)
            | Action::CreateStage { .. } => Some(Verb::Create),
            Action::UpdateBucket { .. }
            | Action::UpdateQueue { .. }
            | Action::UpdateFunction { .. }
            | Action::WriteApi { .. }
            | Action::UpdateStage { .. } => Some(Verb::Update),
            Action::ConfirmQueue { attributes, tags, .. } => {
                (*attributes || *tags).then_some(Verb::Update)
            }
            Action::UpdateRole { .. } | Action::UpdateLogGroup { .. } => {
                (self.key.step == Step::Main).then_some(Verb::Update)
            }
            Action::DeleteBucket { .. }
            | Action::DeleteQueue { .. }
            | Action::DeleteLogGroup
            | Action::DeleteRole
            | Action::DeleteFunction
            | Action::DeleteApi { .. }
            | Action::DeleteStage { .. }
            | Action::DeletedWithApi => Some(Verb::Delete),
            Action::CreateDeployment { .. }
            | Action::AwaitVersion { .. }
            | Action::Permit { .. }
            | Action::PruneVersions { .. }
            | Action::PruneDeployments { .. }
            | Action::Wait { .. }
            | Action::Journal { .. } => None,
        }
    }

    /// It takes away what a stage's former state needs, so a deploy does it when the new state is
    /// known to work.
    pub fn takes_away(&self) -> bool {
        matches!(self.key.step, Step::Trim | Step::Drain | Step::Prune)
            || self.verb() == Some(Verb::Delete)
    }
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many versions and deployments are pruned.
    pub fn pruned(&self) -> usize {
        let count = |change: &Change| match &change.action {
            Action::PruneVersions { versions } => versions.len(),
            Action::PruneDeployments { deployments, .. } => deployments.len(),
            _ => 0,
        };
        self.changes.iter().map(count).sum()
    }

    /// The resources that a verb is done to.
    pub fn with(&self, verb: Verb) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.verb() == Some(verb))
    }
}

/// Versions of a stage's function, and deployments of the API, that stay to go back to.
pub const KEPT: usize = 5;

/// Characters of a role's inline policies together. Source: IAM and STS quotas.
const ROLE_POLICY: usize = 10_240;

/// Seconds until a change of a role's policy holds everywhere. IAM is eventually consistent and
/// promises no time; a few seconds are usual. Source: IAM User Guide, troubleshoot_general,
/// "Changes that I make are not always immediately visible".
const IAM_SETTLES: u32 = 10;

/// Seconds in which a message may still come to a queue after its senders were stopped: an
/// invocation that began before (25 s at most), API Gateway and IAM until they know, and SQS's own
/// counts and attributes. Source: SQS API reference, DeleteQueue and SetQueueAttributes (60 s),
/// GetQueueAttributes ("at least 1 minute after the producers stop sending messages").
const QUEUE_DRAINS: u32 = 60;

/// How deletions are done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Buckets with objects and queues with messages go too.
    pub delete_data: bool,
    /// What the stack file names: a later run finds it by its name.
    pub named: BTreeSet<Id>,
    /// How and where the stack file names buckets and queues.
    pub places: BTreeMap<Id, Named>,
}

/// The changes from observed to desired.
///
/// # Errors
/// A failure for every resource of a name of ours that isn't ours, and for every existing bucket or
/// queue that can't be used: then nothing is planned.
pub fn plan(
    desired: &Resources,
    observed: &Observed,
    options: Options,
) -> Result<Plan, Vec<Failure>> {
    let obstacles = obstacles(desired, observed, &options.places);
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let desired = &*own_throttles(desired, observed);
    let mut planner = Planner { desired, observed, options, plan: Plan::default() };
    planner.run();
    Ok(planner.plan)
}

/// The resources without the throttles that limit nothing, as they are observed. A new stage gets
/// what the file says: before there is an API, the account's limits aren't known.
fn own_throttles<'a>(desired: &'a Resources, observed: &Observed) -> Cow<'a, Resources> {
    let mut desired = Cow::Borrowed(desired);
    let account = observed.api.as_ref().and_then(|api| api.account_throttle);
    let Some(account) = account else { return desired };
    let limits_nothing = |resource: &Resource| match resource {
        Resource::Stage(Stage { throttle: Some(throttle), .. }) => {
            observed.resources.contains_key(&resource.id()) && is_the_accounts(*throttle, account)
        }
        _ => false,
    };
    if desired.values().any(limits_nothing) {
        for resource in desired.to_mut().values_mut().filter(|resource| limits_nothing(resource)) {
            if let Resource::Stage(stage) = resource {
                stage.throttle = None;
            }
        }
    }
    desired
}

fn obstacles(
    desired: &Resources,
    observed: &Observed,
    places: &BTreeMap<Id, Named>,
) -> Vec<Failure> {
    // A mistake in the stack file is told with the route's place in it.
    let at = |id: &Id, what: &str| match places.get(id) {
        Some(named) => Failure::new(&named.place, format!("{id}: {what}")),
        None => Failure::new(id.to_string(), what),
    };
    let mut failures = Vec::new();
    for (id, whose) in &observed.foreign {
        if desired.contains_key(id) {
            let or = match id.kind {
                Kind::Bucket | Kind::Queue => {
                    "say `existing: true` to use that one as it is, or remove or tag it by hand"
                }
                _ => "or remove or tag that one by hand",
            };
            failures.push(
                at(
                    id,
                    &format!(
                        "a {} of this name is there already and isn't this stack's ({whose})",
                        id.kind
                    ),
                )
                .now(format!(
                    "choose another name, {or}; routeto never touches what doesn't carry its tag"
                )),
            );
        }
    }
    for (id, existing) in &observed.existing {
        let allowed = places.get(id).is_some_and(|named| named.how == Use::Allowed);
        match existing {
            Existing::Found { .. } => {}
            Existing::Missing if allowed => failures.push(
                at(id, &format!("the route's `allow` names it, but there is no such {}", id.kind))
                    .now("correct its name in `allow`, or create it first"),
            ),
            Existing::Missing => failures.push(
                at(
                    id,
                    &format!("the route says `existing: true`, but there is no such {}", id.kind),
                )
                .now("correct its name, or leave `existing` out and routeto makes it"),
            ),
            Existing::Unusable { why, now } => failures.push(at(id, why).now(now)),
        }
    }
    failures
}

/// The attributes in which two resources differ. Tags and free variables that only AWS has are the
/// user's and don't count.
pub fn differences(observed: Option<&Resource>, desired: Option<&Resource>) -> Vec<Difference> {
    let mut before = observed.map(Resource::facts).unwrap_or_default();
    let mut after = desired.map(Resource::facts).unwrap_or_default();
    if let (Some(Resource::LogGroup(group)), Some(_)) = (observed, desired)
        && let Retention::Account(_) = group.retention
    {
        before.remove("retention");
        after.remove("retention");
    }
    if desired.is_some() {
        let theirs = |key: &String| {
            key.starts_with("tag ") || (key.starts_with("variable ") && !is_destination_fact(key))
        };
        before.retain(|key, _| after.contains_key(key) || !theirs(key));
    }
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| Difference {
            attribute: key.clone(),
            observed: before.get(key).cloned(),
            desired: after.get(key).cloned(),
        })
        .collect()
}

fn is_destination_fact(key: &str) -> bool {
    key.strip_prefix("variable ").is_some_and(|name| name.starts_with(variable::DESTINATION_PREFIX))
}

struct Planner<'a> {
    desired: &'a Resources,
    observed: &'a Observed,
    options: Options,
    plan: Plan,
}

/// Whether a policy allows a destination or a key that it didn't allow before.
fn gains(before: &Policy, after: &Policy) -> bool {
    let parts = |policy: &Policy| {
        [policy.put_objects.clone(), policy.send_messages.clone(), policy.keys.clone()]
    };
    parts(before).iter().zip(parts(after)).any(|(before, after)| !after.is_subset(before))
}

/// Why a queue is kept.
pub fn messages(held: u64) -> String {
    if held == 1 {
        "it holds a message".to_owned()
    } else {
        format!("it holds about {held} messages")
    }
}

/// Why a queue is kept whose source is.
pub fn dead_letters(source: &Id) -> String {
    format!("{source} is kept, and its dead letters come here")
}

/// The queues whose dead letters come to this one, from one to the next.
fn sources(of: &[(Id, Resource)], id: &Id) -> BTreeSet<Id> {
    let (mut all, mut next) = (BTreeSet::new(), vec![id.clone()]);
    while let Some(fed) = next.pop() {
        for (source, resource) in of {
            let Resource::Queue(queue) = resource else { continue };
            let feeds = fed.kind == Kind::Queue
                && queue
                    .redrive
                    .as_ref()
                    .is_some_and(|redrive| redrive.dead_letter_queue == fed.name);
            if feeds && all.insert(source.clone()) {
                next.push(source.clone());
            }
        }
    }
    all
}

fn main_of(id: &Id) -> Key {
    Key { id: id.clone(), step: Step::Main }
}

fn role_of(config: &FunctionConfig) -> Id {
    Id::new(Kind::Role, config.role.rsplit('/').next().unwrap_or_default())
}

fn step_of(id: &Id, step: Step) -> Key {
    Key { id: id.clone(), step }
}

impl Planner<'_> {
    fn run(&mut self) {
        for (id, resource) in self.desired {
            match resource {
                Resource::Bucket(bucket) => self.bucket(id, bucket),
                Resource::Queue(queue) => self.queue(id, queue),
                Resource::LogGroup(group) => self.log_group(id, group),
                Resource::Function(function) => self.function(id, function),
                Resource::Api(api) => self.api(id, api),
                // A role's policy depends on whether its stage moves: with the stage.
                Resource::Role(_) => {}
                Resource::Stage(stage) => self.stage(id, stage),
            }
        }
        self.deletions();
        self.plan.lost = self.lost();
        self.plan.risks = risks::of(self.desired, self.observed);
        // To look whether something is there changes nothing, and neither does to wait.
        let looks = |change: &&Change| {
            let looks = matches!(
                change.action,
                Action::AwaitVersion { .. } | Action::ConfirmQueue { .. } | Action::Wait { .. }
            );
            looks && change.differences.is_empty()
        };
        let changed: BTreeSet<&Id> = self
            .plan
            .changes
            .iter()
            .filter(|change| !looks(change))
            .map(|change| &change.key.id)
            .collect();
        self.plan.unchanged = self
            .desired
            .keys()
            .filter(|id| self.observed.resources.contains_key(id) && !changed.contains(id))
            .cloned()
            .collect();
        // Old versions alone are no reason to change anything: a deploy with nothing to do makes no
        // mutating call.
        if !self.plan.is_empty() {
            self.prune();
        }
    }

    /// Versions and deployments beyond the newest [`KEPT`], those that come in this run counted;
    /// never one that a stage uses or can go back to.
    fn prune(&mut self) {
        let stages: Vec<Stage> = self
            .desired
            .values()
            .filter_map(|resource| match resource {
                Resource::Stage(stage) => Some(stage.clone()),
                _ => None,
            })
            .collect();
        if stages.is_empty() {
            return;
        }
        let moved: Vec<Key> = self
            .plan
            .changes
            .iter()
            .map(|change| change.key.clone())
            .filter(|key| key.id.kind == Kind::Stage)
            .collect();
        let targets = |late: &dyn Fn(&Action) -> Option<Late>,
                       id: Option<&Id>|
         -> BTreeSet<String> {
            let changes =
                self.plan.changes.iter().filter(|change| id.is_none_or(|id| change.key.id == *id));
            let known = |late| match late {
                Late::Known(value) => Some(value),
                Late::From(_) => None,
            };
            changes.filter_map(|change| late(&change.action).and_then(known)).collect()
        };
        let mut pruned = vec![];
        for stage in &stages {
            let id = Id::new(Kind::Stage, &stage.name);
            let version = |action: &Action| match action {
                Action::CreateStage { version, .. } | Action::UpdateStage { version, .. } => {
                    Some(version.clone())
                }
                _ => None,
            };
            let mut in_use = targets(&version, Some(&id));
            if let Some(state) = self.observed.stages.get(&stage.name) {
                in_use.extend(state.version.clone());
                in_use.extend(Previous::read(&state.variables).map(|previous| previous.version));
            }
            let theirs = self
                .observed
                .api
                .iter()
                .flat_map(|api| &api.called)
                .filter(|(name, _)| *name == stage.function_name);
            in_use.extend(theirs.map(|(_, version)| version.clone()));
            let function = Id::new(Kind::Function, &stage.function_name);
            let publishes = self.plan.changes.iter().any(|change| match change.action {
                Action::CreateFunction(_) => change.key.id == function,
                Action::UpdateFunction { publish, .. } => publish && change.key.id == function,
                _ => false,
            });
            let all = self
                .observed
                .functions
                .get(&stage.function_name)
                .map(|state| state.versions.as_slice())
                .unwrap_or_default();
            let numbers =
                all.iter().rev().map(|version| version.number).skip(KEPT - usize::from(publishes));
            let mut versions: Vec<u64> =
                numbers.filter(|number| !in_use.contains(&number.to_string())).collect();
            versions.sort_unstable();
            if !versions.is_empty() {
                let list = versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
                pruned.push((
                    step_of(&function, Step::Prune),
                    "old versions",
                    list,
                    Action::PruneVersions { versions },
                ));
            }
        }
        if let Some(api) = &self.observed.api {
            let deployment = |action: &Action| match action {
                Action::CreateStage { deployment, .. } | Action::UpdateStage { deployment, .. } => {
                    Some(deployment.clone())
                }
                _ => None,
            };
            let mut in_use = targets(&deployment, None);
            in_use.extend(api.in_use.iter().cloned());
            for state in self.observed.stages.values() {
                in_use.insert(state.deployment.clone());
                in_use.extend(Previous::read(&state.variables).map(|previous| previous.deployment));
            }
            let comes = self.plan.changes.iter().any(|change| change.key.step == Step::Deployment);
            // One that isn't ours was made by hand, and isn't ours to delete.
            let ours = api.deployments.iter().filter(|deployment| deployment.digest.is_some());
            let old = ours.skip(KEPT - usize::from(comes)).map(|deployment| deployment.id.clone());
            let deployments: Vec<String> = old.filter(|id| !in_use.contains(id)).collect();
            if !deployments.is_empty() {
                let list = deployments.join(", ");
                let action = Action::PruneDeployments { api: api.id.clone(), deployments };
                pruned.push((
                    step_of(&self.api_id(), Step::Prune),
                    "old deployments",
                    list,
                    action,
                ));
            }
        }
        for (key, what, list, action) in pruned {
            let gone = Difference { attribute: what.into(), observed: Some(list), desired: None };
            self.push(key, action, vec![gone], moved.clone());
        }
    }

    fn seen(&self, id: &Id) -> Option<&Resource> {
        self.observed.resources.get(id)
    }

    fn diff(&self, id: &Id) -> Vec<Difference> {
        differences(self.seen(id), self.desired.get(id))
    }

    fn push(
        &mut self,
        key: Key,
        action: Action,
        differences: Vec<Difference>,
        after: impl IntoIterator<Item = Key>,
    ) {
        self.plan.changes.push(Change {
            key,
            action,
            differences,
            after: after.into_iter().collect(),
        });
    }

    /// Only what is really planned can be waited for.
    fn planned(&self, keys: impl IntoIterator<Item = Key>) -> Vec<Key> {
        keys.into_iter()
            .filter(|key| self.plan.changes.iter().any(|change| change.key == *key))
            .collect()
    }

    fn bucket(&mut self, id: &Id, bucket: &Bucket) {
        let differences = self.diff(id);
        let Some(Resource::Bucket(seen)) = self.seen(id) else {
            return self.push(main_of(id), Action::CreateBucket(bucket.clone()), differences, []);
        };
        let mut parts = BTreeSet::new();
        for difference in &differences {
            parts.insert(match difference.attribute.as_str() {
                "public access blocked" => BucketPart::PublicAccess,
                "owner enforced" => BucketPart::Ownership,
                "encryption" => BucketPart::Encryption,
                "TLS only" => BucketPart::Policy,
                key if key.starts_with("tag ") => BucketPart::Tags,
                _ => BucketPart::Lifecycle,
            });
        }
        debug_assert_eq!(parts.is_empty(), differences.is_empty());
        if !parts.is_empty() {
            let mut all_tags =
                self.observed.all_tags.get(id).cloned().unwrap_or_else(|| seen.tags.clone());
            all_tags.extend(bucket.tags.clone());
            self.push(
                main_of(id),
                Action::UpdateBucket { bucket: bucket.clone(), parts, all_tags },
                differences,
                [],
            );
        }
    }

    fn queue(&mut self, id: &Id, queue: &Queue) {
        let differences = self.diff(id);
        let dead_letter = queue
            .redrive
            .as_ref()
            .map(|redrive| main_of(&Id::new(Kind::Queue, &redrive.dead_letter_queue)));
        // Queues are planned in the order of their names; a dead-letter queue that comes later in
        // it is waited for all the same.
        let after = dead_letter
            .filter(|key| !self.observed.resources.contains_key(&key.id) || !self.is_used(&key.id));
        if self.seen(id).is_none() {
            return self.push(main_of(id), Action::CreateQueue(queue.clone()), differences, after);
        }
        let tags = differences.iter().any(|difference| difference.attribute.starts_with("tag "));
        let attributes =
            differences.iter().any(|difference| !difference.attribute.starts_with("tag "));
        if !self.is_used(id) {
            return self.push(
                main_of(id),
                Action::ConfirmQueue { queue: queue.clone(), attributes, tags },
                differences,
                after,
            );
        }
        if tags || attributes {
            self.push(
                main_of(id),
                Action::UpdateQueue { queue: queue.clone(), attributes, tags },
                differences,
                after,
            );
        }
    }

    /// A stage sends to this queue, or a queue that one sends to gives up on messages to it. One
    /// that nobody uses may have been deleted a moment ago: for 60 s it may still answer (SQS,
    /// DeleteQueue: "requests you send involving that queue during the 60 seconds might
    /// succeed").
    fn is_used(&self, id: &Id) -> bool {
        let sent_to: BTreeSet<Id> = self
            .observed
            .stages
            .values()
            .flat_map(|state| destinations_of(&state.variables))
            .collect();
        let gives_up = |queue: &Id| match self.seen(queue) {
            Some(Resource::Queue(queue)) => {
                queue.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_queue == id.name)
            }
            _ => false,
        };
        sent_to.contains(id) || sent_to.iter().any(gives_up)
    }

    fn log_group(&mut self, id: &Id, group: &LogGroup) {
        let differences = self.diff(id);
        if self.seen(id).is_none() {
            self.push(main_of(id), Action::CreateLogGroup(group.clone()), differences, []);
            if group.retention != Retention::Forever {
                let action =
                    Action::UpdateLogGroup { group: group.clone(), retention: true, tags: false };
                self.push(step_of(id, Step::Rest), action, vec![], [main_of(id)]);
            }
            return;
        }
        let tags = differences.iter().any(|difference| difference.attribute.starts_with("tag "));
        let retention = differences.iter().any(|difference| difference.attribute == "retention");
        if tags || retention {
            self.push(
                main_of(id),
                Action::UpdateLogGroup { group: group.clone(), retention, tags },
                differences,
                [],
            );
        }
    }

    /// The function's `$LATEST`. Which version its stage gets is [`Self::version`]'s.
    fn function(&mut self, id: &Id, function: &Function) {
        let differences = self.diff(id);
        // The log group's name is what a later run finds a function by whose stage never came.
        let after =
            [role_of(&function.config), Id::new(Kind::LogGroup, &function.config.log_group)];
        let after = after.map(|id| main_of(&id));
        let Some(Resource::Function(seen)) = self.seen(id) else {
            return self.push(
                main_of(id),
                Action::CreateFunction(function.clone()),
                differences,
                after,
            );
        };
        let (have, want) = (&seen.config, &function.config);
        let code = have.code_sha256 != want.code_sha256 || have.architecture != want.architecture;
        let settings = |config: &FunctionConfig| FunctionConfig {
            code_sha256: String::new(),
            architecture: String::new(),
            ..config.clone()
        };
        let config = settings(have) != settings(want);
        let tags = differences.iter().any(|difference| difference.attribute.starts_with("tag "));
        let publish = self.usable_version(&id.name, want, None).is_none();
        if code || config || tags || publish {
            let environment = have.environment != want.environment;
            let action = Action::UpdateFunction {
                function: function.clone(),
                code,
                config,
                environment,
                tags,
                publish,
            };
            let mut differences = differences;
            if publish && !code && !config {
                differences.push(Difference {
                    attribute: "version".into(),
                    observed: None,
                    desired: Some("published".into()),
                });
            }
            self.push(main_of(id), action, differences, after);
        }
    }

    /// The published version that has just this configuration: the one in use if it does, else the
    /// newest.
    fn usable_version(
        &self,
        function: &str,
        config: &FunctionConfig,
        in_use: Option<&str>,
    ) -> Option<&Version> {
        let versions = &self.observed.functions.get(function)?.versions;
        let mut fitting = versions.iter().filter(|version| version.config == *config);
        let newest = fitting.next_back();
        in_use
            .and_then(|number| {
                versions.iter().find(|version| {
                    version.number.to_string() == number && version.config == *config
                })
            })
            .or(newest)
    }

    fn api(&mut self, id: &Id, api: &Api) {
        let mut differences = self.diff(id);
        let Some(state) = &self.observed.api else {
            return self.push(main_of(id), Action::CreateApi(api.clone()), differences, []);
        };
        let is_tag = |difference: &Difference| difference.attribute.starts_with("tag ");
        let (tags, mut document) =
            (differences.iter().any(is_tag), !differences.iter().all(is_tag));
        // Alike, but not known to be: a look would go on taking it for another document's. Where no
        // stage is wanted the API only stays what it is.
        let (seen, wanted) = (openapi::digest(&state.description), api.digest());
        if !document
            && seen != Some(&wanted)
            && self.desired.keys().any(|id| id.kind == Kind::Stage)
        {
            let seen = seen.map(str::to_owned);
            differences.push(Difference {
                attribute: "written document".into(),
                observed: seen,
                desired: Some(wanted),
            });
            document = true;
        }
        if tags || document {
            let action = Action::WriteApi {
                api: api.clone(),
                id: state.id.clone(),
                carried: state.carried.clone(),
                document,
                tags,
            };
            self.push(main_of(id), action, differences, []);
        }
    }

    fn api_id(&self) -> Id {
        self.desired
            .keys()
            .find(|id| id.kind == Kind::Api)
            .cloned()
            .expect("a stack with a stage has an API")
    }

    fn stage(&mut self, id: &Id, stage: &Stage) {
        let differences = self.diff(id);
        let api_id = self.api_id();
        let state = self.observed.stages.get(&stage.name);
        let api = match &self.observed.api {
            Some(api) => Late::Known(api.id.clone()),
            None => Late::From(main_of(&api_id)),
        };
        let (version, permitted) =
            self.version(stage, state.and_then(|state| state.version.as_deref()));
        let deployment =
            self.deployment(&api_id, &api, stage, state.map(|state| state.deployment.as_str()));

        let known_version = |version: &Late| match version {
            Late::Known(number) => Some(number.clone()),
            Late::From(_) => None,
        };
        let seen = match self.seen(id) {
            Some(Resource::Stage(seen)) => Some(seen.clone()),
            _ => None,
        };
        let other_settings = state.is_some_and(|state| state.other_settings);
        let patch = seen.as_ref().map(|seen| stage_patch(seen, stage, other_settings));
        let mut patch = patch.unwrap_or_default();
        let moves = match (&seen, state) {
            (Some(_), Some(state)) => {
                known_version(&version) != state.version
                    || known_version(&deployment).as_deref() != Some(&state.deployment)
                    || !patch.variables.is_empty()
                    || !patch.remove_variables.is_empty()
            }
            _ => true,
        };
        let changes = moves || !differences.is_empty();
        let previous = match (state, moves) {
            (Some(state), true) => Some(before(state, &patch)),
            (Some(state), false) => Previous::read(&state.variables),
            (None, _) => None,
        };
        let function_id = Id::new(Kind::Function, &stage.function_name);
        // Of an API that this deploy makes nobody knows the URL yet: its stage needn't wait until
        // the function may be called, only the end of the deploy does. Any other stage may
        // get events as soon as it is there.
        let mut before = match api {
            Late::From(_) => vec![main_of(&function_id)],
            Late::Known(_) => {
                vec![step_of(&function_id, Step::Permission), step_of(&function_id, Step::Ready)]
            }
        };
        if !permitted {
            let action = Action::Permit {
                function: stage.function_name.clone(),
                version: version.clone(),
                api: api.clone(),
                stage: stage.name.clone(),
            };
            let after = self.planned([main_of(&function_id), main_of(&api_id)]);
            let mut missing = vec![];
            if !changes {
                missing.push(Difference {
                    attribute: "permission for API Gateway".into(),
                    observed: None,
                    desired: Some("granted".into()),
                });
            }
            self.push(step_of(&function_id, Step::Permission), action, missing, after);
        }
        // The URL of a new stage isn't known to anyone yet.
        let in_service = seen.is_some() && moves;
        self.role(stage, changes.then(|| main_of(id)), in_service, previous.as_ref());
        if !changes {
            return;
        }
        // The one in use was waited for; another may have been published by a deploy that was cut
        // off, or that Lambda said no to.
        if !matches!(&version, Late::Known(number) if Some(number) == state.and_then(|state| state.version.as_ref()))
        {
            let action = Action::AwaitVersion {
                function: stage.function_name.clone(),
                version: version.clone(),
            };
            let after = self.planned([main_of(&function_id)]);
            self.push(step_of(&function_id, Step::Ready), action, vec![], after);
        }
        if let Late::From(key) = &deployment {
            before.push(key.clone());
        }
        if let Some(config) = &stage.function {
            let of_function = [role_of(config), Id::new(Kind::LogGroup, &config.log_group)];
            before.extend(
                of_function.iter().flat_map(|id| {
                    [main_of(id), step_of(id, Step::Rest), step_of(id, Step::Settle)]
                }),
            );
        }
        // Every bucket and queue of this stage stands before the stage sends anything there, and
        // what a queue gives up on has a place.
        let destinations: BTreeSet<Id> =
            stage.destinations.values().filter_map(|value| destination_id(value)).collect();
        let dead_letters = destinations.iter().filter_map(|id| match self.desired.get(id) {
            Some(Resource::Queue(queue)) => queue
                .redrive
                .as_ref()
                .map(|redrive| Id::new(Kind::Queue, &redrive.dead_letter_queue)),
            _ => None,
        });
        before.extend(destinations.iter().cloned().chain(dead_letters).map(|id| main_of(&id)));
        let before = self.planned(before);
        match (seen, state, &api) {
            (Some(_), Some(state), Late::Known(api)) => {
                if let (true, Some(previous)) = (moves, &previous) {
                    remember(&mut patch, state, previous);
                }
                let tags =
                    differences.iter().any(|difference| difference.attribute.starts_with("tag "));
                let tagged = tags.then(|| stage.tags.clone());
                let action = Action::UpdateStage {
                    api: api.clone(),
                    deployment,
                    version,
                    moves,
                    patch,
                    tags: tagged,
                };
                self.push(main_of(id), action, differences, before);
            }
            _ => self.push(
                main_of(id),
                Action::CreateStage { stage: stage.clone(), api, deployment, version },
                differences,
                before,
            ),
        }
    }

    /// The version that the stage is to call, and whether API Gateway may.
    fn version(&self, stage: &Stage, in_use: Option<&str>) -> (Late, bool) {
        let function = Id::new(Kind::Function, &stage.function_name);
        let config = stage.function.as_ref().expect("a desired stage has a function");
        match self.usable_version(&stage.function_name, config, in_use) {
            Some(version) => {
                let permitted = self
                    .observed
                    .api
                    .as_ref()
                    .is_some_and(|api| is_permitted(version, &api.id, &stage.name));
                (Late::Known(version.number.to_string()), permitted)
            }
            None => (Late::From(main_of(&function)), false),
        }
    }

    /// The deployment that serves the desired API: the stage's own if it does, else the newest that
    /// does, else a new one. A new one, too, where the API is written: it wasn't what it ought
    /// to be, and may have been something else already when a deployment was made of it.
    fn deployment(&mut self, api_id: &Id, api: &Late, stage: &Stage, in_use: Option<&str>) -> Late {
        let deployments = self.observed.api.iter().flat_map(|state| &state.deployments);
        let fitting: Vec<&Deployment> = deployments
            .filter(|deployment| deployment.digest.as_deref() == Some(&stage.api_digest))
            .collect();
        let written =
            |change: &Change| matches!(change.action, Action::WriteApi { document: true, .. });
        if !self.plan.changes.iter().any(written) {
            let own = fitting.iter().find(|deployment| Some(deployment.id.as_str()) == in_use);
            if let Some(deployment) = own.or(fitting.first()) {
                return Late::Known(deployment.id.clone());
            }
        }
        let known = fitting.iter().map(|deployment| deployment.id.clone()).collect();
        let key = step_of(api_id, Step::Deployment);
        if self.planned([key.clone()]).is_empty() {
            let action = Action::CreateDeployment {
                api: api.clone(),
                digest: stage.api_digest.clone(),
                known,
            };
            let after = self.planned([main_of(api_id)]);
            self.push(key.clone(), action, vec![], after);
        }
        Late::From(key)
    }

    /// While a stage moves its role may do what the old and the new one need; what is no longer
    /// used is taken out last. What the stage was before stays allowed, so that one call brings
    /// it back. A stage `in_service` moves when IAM has had time to know of what was added.
    fn role(
        &mut self,
        stage: &Stage,
        moving: Option<Key>,
        in_service: bool,
        previous: Option<&Previous>,
    ) {
        let Some(config) = &stage.function else { return };
        let id = role_of(config);
        let Some(Resource::Role(role)) = self.desired.get(&id) else { return };
        let Some(Resource::Role(seen)) = self.seen(&id) else {
            self.push(main_of(&id), Action::CreateRole(role.clone()), self.diff(&id), []);
            let action =
                Action::UpdateRole { role: role.clone(), trust: false, policy: true, tags: false };
            self.push(step_of(&id, Step::Rest), action, vec![], [main_of(&id)]);
            if in_service {
                self.settle(&id, [step_of(&id, Step::Rest)]);
            }
            return;
        };
        // A deploy that was cut off may have granted it a moment ago: what counts is what the stage
        // is known to have used.
        let used = seen.policy.as_ref().map(|policy| self.used(stage, policy)).unwrap_or_default();
        let gains = in_service && role.policy.as_ref().is_some_and(|wanted| gains(&used, wanted));
        let mut role = role.clone();
        if let (Some(wanted), Some(seen)) = (&role.policy, &seen.policy) {
            let kept = self
                .retained(previous, seen)
                .fold(wanted.clone(), |policy, part| policy.union(&part));
            if policy::document(&kept).len() <= ROLE_POLICY {
                role.policy = Some(kept);
            }
        }
        let role = &role;
        let differences = differences(self.seen(&id), Some(&Resource::Role(role.clone())));
        if differences.is_empty() {
            if gains {
                self.settle(&id, []);
            }
            return;
        }
        let tags = differences.iter().any(|difference| difference.attribute.starts_with("tag "));
        let trust = differences.iter().any(|difference| difference.attribute == "trust policy");
        let policy = differences.iter().any(|difference| difference.attribute == "policy");
        let wanted = role.policy.clone().unwrap_or_default();
        let union =
            seen.policy.as_ref().map(|seen| wanted.union(seen)).unwrap_or_else(|| wanted.clone());
        let trims = union != wanted && moving.is_some();
        let before = Role { policy: Some(if trims { union } else { wanted }), ..role.clone() };
        let widens = policy && (!trims || before.policy != seen.policy);
        if tags || trust || widens {
            self.push(
                main_of(&id),
                Action::UpdateRole { role: before, trust, policy: widens, tags },
                differences.clone(),
                [],
            );
        }
        if gains {
            let granted = self.planned([main_of(&id)]);
            self.settle(&id, granted);
        }
        if let (true, Some(moving)) = (trims, moving) {
            let action =
                Action::UpdateRole { role: role.clone(), trust: false, policy: true, tags: false };
            let differences = if tags || trust || widens { vec![] } else { differences };
            self.push(step_of(&id, Step::Trim), action, differences, [moving]);
        }
    }

    /// Time for IAM after a change of a role's policy.
    fn settle(&mut self, role: &Id, granted: impl IntoIterator<Item = Key>) {
        let why = format!("until IAM has applied {role}'s new permissions");
        self.push(
            step_of(role, Step::Settle),
            Action::Wait { seconds: IAM_SETTLES, why },
            vec![],
            granted,
        );
    }

    /// What a role's policy allows of what its stage sends to now, or did before its last move; all
    /// its keys.
    fn used(&self, stage: &Stage, policy: &Policy) -> Policy {
        let now = match self.seen(&Id::new(Kind::Stage, &stage.name)) {
            Some(Resource::Stage(seen)) => seen.destinations.values().cloned().collect(),
            _ => vec![],
        };
        let state = self.observed.stages.get(&stage.name);
        let before =
            state.and_then(|state| Previous::read(&state.variables)?.values).unwrap_or_default();
        let parts = now
            .into_iter()
            .chain(before.into_values().flatten())
            .filter_map(|value| policy::covering(policy, &value));
        parts.fold(Policy { keys: policy.keys.clone(), ..Policy::default() }, |all, part| {
            all.union(&part)
        })
    }

    /// What the role's policy must go on allowing for the destinations that the stage had before; a
    /// bucket or queue that is gone, or goes with this plan, is nothing to go back to.
    fn retained<'a>(
        &'a self,
        previous: Option<&'a Previous>,
        seen: &'a Policy,
    ) -> impl Iterator<Item = Policy> + 'a {
        let values = previous.and_then(|previous| previous.values.as_ref()).into_iter().flatten();
        values
            .filter(|(name, _)| name.starts_with(variable::DESTINATION_PREFIX))
            .filter_map(|(_, value)| value.as_deref())
            .filter(|value| {
                destination_id(value).is_some_and(|id| {
                    let goes = self.observed.resources.contains_key(&id)
                        && !self.desired.contains_key(&id)
                        && self.is_empty(&id);
                    !self.observed.absent.contains(&id) && !goes
                })
            })
            .filter_map(move |value| policy::covering(seen, value))
    }

    /// Nothing keeps a bucket or queue that isn't wanted any more.
    fn is_empty(&self, id: &Id) -> bool {
        self.options.delete_data || self.observed.contents.get(id).copied().unwrap_or(0) == 0
    }

    /// A queue whose dead letters come to this one, and that is kept.
    fn kept_source(&self, gone: &[(Id, Resource)], id: &Id) -> Option<Id> {
        sources(gone, id).into_iter().find(|source| !self.is_empty(source))
    }

    /// The wait between the end of whatever sends to the queues that go and the look whether they
    /// are empty; `shut`: what stops serving. None where nothing could have sent there lately,
    /// or where the messages are to go as well.
    fn drain(&mut self, gone: &[(Id, Resource)], shut: Vec<Key>) -> Option<Key> {
        let going =
            gone.iter().map(|(id, _)| id).filter(|id| id.kind == Kind::Queue && self.is_empty(id));
        let going: Vec<&Id> = going.filter(|id| self.kept_source(gone, id).is_none()).collect();
        let first = going.first().filter(|_| {
            !self.options.delete_data && going.iter().any(|id| self.may_be_sent_to(id))
        })?;
        let key = step_of(first, Step::Drain);
        let names: Vec<String> = going.iter().map(ToString::to_string).collect();
        let why = format!("for messages that are still on their way to {}", names.join(", "));
        // Roles lose the right to send, and queues give up on messages to others.
        let stops = |change: &&Change| match &change.action {
            Action::UpdateRole { policy, .. } => *policy,
            Action::UpdateQueue { attributes, .. } | Action::ConfirmQueue { attributes, .. } => {
                *attributes
            }
            _ => false,
        };
        let stops: Vec<Key> =
            self.plan.changes.iter().filter(stops).map(|change| change.key.clone()).collect();
        self.push(
            key.clone(),
            Action::Wait { seconds: QUEUE_DRAINS, why },
            vec![],
            stops.into_iter().chain(shut),
        );
        Some(key)
    }

    /// A stage sends to this queue or did before its last move, a role may, or another queue gives
    /// up on messages to it. What a stage was before that didn't fit into its variables may
    /// have sent anywhere.
    fn may_be_sent_to(&self, id: &Id) -> bool {
        let sends = |state: &StageState| {
            let before = Previous::read(&state.variables).map(|previous| previous.values);
            let unknown = matches!(before, Some(None));
            let before = before
                .flatten()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            unknown
                || destinations_of(&state.variables).contains(id)
                || destinations_of(&before).contains(id)
        };
        let may = |resource: &Resource| match resource {
            Resource::Role(role) => {
                let arns = role.policy.iter().flat_map(|policy| &policy.send_messages);
                arns.into_iter().any(|arn| arn.rsplit(':').next() == Some(&id.name))
            }
            Resource::Queue(queue) => {
                queue.redrive.as_ref().is_some_and(|redrive| redrive.dead_letter_queue == id.name)
            }
            _ => false,
        };
        self.observed.stages.values().any(sends) || self.observed.resources.values().any(may)
    }

    /// What stages in service answer now and won't after this plan, a line for a person each. A
    /// teardown is asked for by name.
    fn lost(&self) -> Vec<Lost> {
        let is_stage = |id: &Id| id.kind == Kind::Stage;
        if !self.desired.keys().any(is_stage) {
            return vec![];
        }
        let api = |resources: &Resources| {
            resources.values().find_map(|resource| match resource {
                Resource::Api(api) => Some(api.clone()),
                _ => None,
            })
        };
        let (Some(seen), Some(wanted)) = (api(&self.observed.resources), api(self.desired)) else {
            return vec![];
        };
        let present = seen.digest();
        let mut routes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut whole = vec![];
        for stage in self.observed.resources.values() {
            let Resource::Stage(stage) = stage else { continue };
            let id = Id::new(Kind::Stage, &stage.name);
            let Some(Resource::Stage(next)) = self.desired.get(&id) else {
                whole.push(stage.name.clone());
                continue;
            };
            let moves = |change: &Change| {
                change.key.id == id
                    && matches!(change.action, Action::UpdateStage { moves: true, .. })
            };
            if !self.plan.changes.iter().any(moves) {
                continue;
            }
            for variable in stage.destinations.keys() {
                // The paths are the API's; a stage that serves an older one has only the names of
                // its variables left to tell.
                let path = seen.methods.keys().find(|path| destination_variable(path) == *variable);
                let stays = match path {
                    Some(path) if stage.api_digest == present => wanted.methods.contains_key(path),
                    _ => next.destinations.contains_key(variable),
                };
                if !stays {
                    routes
                        .entry(path.unwrap_or(variable).clone())
                        .or_default()
                        .push(stage.name.clone());
                }
            }
        }
        let routes = routes.into_iter().map(|(route, stages)| Lost { route: Some(route), stages });
        let whole = whole.into_iter().map(|stage| Lost { route: None, stages: vec![stage] });
        routes.chain(whole).collect()
    }

    /// What carries our tag and isn't wanted any more.
    fn deletions(&mut self) {
        let gone: Vec<(Id, Resource)> = self
            .observed
            .resources
            .iter()
            .filter(|(id, _)| !self.desired.contains_key(id))
            .map(|(id, resource)| (id.clone(), resource.clone()))
            .collect();
        let deletes_api = gone.iter().any(|(id, _)| id.kind == Kind::Api);
        let api = self.observed.api.as_ref().map(|api| api.id.clone()).unwrap_or_default();
        let foreign_stages =
            self.observed.api.as_ref().map(|api| api.foreign_stages.clone()).unwrap_or_default();
        // Whatever serves requests is moved or shut before anything is taken from under it.
        let stages: Vec<Key> = self
            .plan
            .changes
            .iter()
            .map(|change| change.key.clone())
            .filter(|key| key.id.kind == Kind::Stage)
            .collect();
        let shut: Vec<Key> = gone
            .iter()
            .filter(|(id, _)| matches!(id.kind, Kind::Stage | Kind::Api))
            .map(|(id, _)| main_of(id))
            .collect();
        let keys = |kinds: &[Kind]| -> Vec<Key> {
            gone.iter()
                .filter(|(id, _)| kinds.contains(&id.kind))
                .map(|(id, _)| main_of(id))
                .collect()
        };
        // The role's policy is what a later run finds the names of buckets and queues in, and the
        // log group the name of the stage: so they go last, in this order.
        let data = keys(&[Kind::Bucket, Kind::Queue]);
        let functions = keys(&[Kind::Function]);
        let drain =
            self.drain(&gone, stages.iter().chain(&shut).chain(&functions).cloned().collect());
        let roles = keys(&[Kind::Role]);
        // Where all goes, the history says so first and goes last, and nothing has to wait for its
        // names to be kept.
        let history = gone.iter().find(|(id, _)| {
            self.desired.is_empty() && id.kind == Kind::LogGroup && id.name.starts_with("/routeto/")
        });
        let history = history.map(|(id, _)| id.clone());
        let journal = history.as_ref().map(|id| step_of(id, Step::Journal));
        if let Some(key) = &journal {
            let going = self.going(&gone);
            self.push(key.clone(), Action::Journal { going }, vec![], []);
        }
        for (id, resource) in &gone {
            let differences = differences(Some(resource), None);
            let served = stages.iter().chain(&shut).cloned();
            match id.kind {
                Kind::Api if !foreign_stages.is_empty() => {
                    self.plan.kept.push(Kept {
                        id: id.clone(),
                        why: format!(
                            "it has stages that routeto didn't make: {}",
                            foreign_stages.join(", ")
                        ),
                    });
                }
                Kind::Api => {
                    self.push(main_of(id), Action::DeleteApi { id: api.clone() }, differences, [])
                }
                Kind::Stage if deletes_api && foreign_stages.is_empty() => {
                    let with = gone
                        .iter()
                        .filter(|(id, _)| id.kind == Kind::Api)
                        .map(|(id, _)| main_of(id))
                        .collect::<Vec<_>>();
                    self.push(main_of(id), Action::DeletedWithApi, differences, with);
                }
                Kind::Stage => self.push(
                    main_of(id),
                    Action::DeleteStage { api: api.clone() },
                    differences,
                    [],
                ),
                Kind::Bucket | Kind::Queue => {
                    if !self.is_empty(id) {
                        let held = self.observed.contents.get(id).copied().unwrap_or(0);
                        let why = if id.kind == Kind::Bucket {
                            "it holds objects".to_owned()
                        } else {
                            messages(held)
                        };
                        self.plan.kept.push(Kept { id: id.clone(), why });
                    } else if let Some(source) = self.kept_source(&gone, id) {
                        self.plan.kept.push(Kept { id: id.clone(), why: dead_letters(&source) });
                    } else if id.kind == Kind::Bucket {
                        self.push(
                            main_of(id),
                            Action::DeleteBucket { purge: self.options.delete_data },
                            differences,
                            served,
                        );
                    } else {
                        // Two that are each other's go in any order.
                        let sources = sources(&gone, id)
                            .into_iter()
                            .filter(|source| !sources(&gone, source).contains(id));
                        let sources: BTreeSet<Id> = sources.collect();
                        let after: Vec<Key> = sources
                            .iter()
                            .map(main_of)
                            .chain(drain.clone())
                            .chain(served)
                            .collect();
                        let action =
                            Action::DeleteQueue { purge: self.options.delete_data, sources };
                        self.push(main_of(id), action, differences, after);
                    }
                }
                Kind::Function => {
                    self.push(main_of(id), Action::DeleteFunction, differences, served)
                }
                Kind::Role => {
                    let after = match &journal {
                        // A run that goes on from here must know that a queue was sent to a moment
                        // ago: the role's policy tells.
                        Some(journal) if drain.is_some() => served
                            .chain([journal.clone()])
                            .chain(data.iter().cloned())
                            .collect::<Vec<_>>(),
                        Some(journal) => served.chain([journal.clone()]).collect(),
                        None => {
                            data.iter().cloned().chain(served).chain(functions.clone()).collect()
                        }
                    };
                    self.push(main_of(id), Action::DeleteRole, differences, after);
                }
                Kind::LogGroup if history.as_ref() == Some(id) => {
                    // A role has no content, and where the file names its stage any later run finds
                    // it.
                    let last = gone.iter().filter(|(other, _)| {
                        other != id
                            && !(other.kind == Kind::Role && self.options.named.contains(other))
                    });
                    let after =
                        last.map(|(id, _)| main_of(id)).chain(journal.clone()).collect::<Vec<_>>();
                    self.push(main_of(id), Action::DeleteLogGroup, differences, after);
                }
                Kind::LogGroup if journal.is_some() => {
                    self.push(
                        main_of(id),
                        Action::DeleteLogGroup,
                        differences,
                        served.chain(journal.clone()).collect::<Vec<_>>(),
                    );
                }
                Kind::LogGroup => {
                    let after =
                        roles.iter().chain(&functions).chain(&shut).cloned().collect::<Vec<_>>();
                    self.push(main_of(id), Action::DeleteLogGroup, differences, after);
                }
            }
        }
        self.doubles();
        // A key that was kept is waited for by nobody.
        let all: BTreeSet<Key> =
            self.plan.changes.iter().map(|change| change.key.clone()).collect();
        for change in &mut self.plan.changes {
            change.after.retain(|key| all.contains(key));
        }
    }
}

impl Planner<'_> {
    /// Buckets, queues and stages that go, as `kind name`.
    fn going(&self, gone: &[(Id, Resource)]) -> Vec<String> {
        let stage = |id: &Id| match id.kind {
            Kind::Bucket | Kind::Queue | Kind::Stage => Some(id.to_string()),
            // A stage's log group has its name, whether or not the stage itself still stands.
            Kind::LogGroup => {
                let function = id.name.strip_prefix("/aws/lambda/")?;
                let stack = self
                    .observed
                    .resources
                    .keys()
                    .find_map(|id| id.name.strip_prefix("/routeto/"))?;
                Some(
                    Id::new(Kind::Stage, function.strip_prefix(stack)?.strip_prefix('-')?)
                        .to_string(),
                )
            }
            _ => None,
        };
        gone.iter()
            .filter_map(|(id, _)| stage(id))
            .collect::<BTreeSet<String>>()
            .into_iter()
            .collect()
    }

    /// APIs of our name and tag beside the one in use: a reply that was lost, or a kill, left them.
    /// One that serves goes with the stack only.
    fn doubles(&mut self) {
        let Some(api) = &self.observed.api else { return };
        let goes = !self.desired.keys().any(|id| id.kind == Kind::Api);
        let name = self
            .observed
            .resources
            .keys()
            .find(|id| id.kind == Kind::Api)
            .map(|id| id.name.clone())
            .unwrap_or_default();
        for double in api.doubles.clone() {
            let id = Id::new(Kind::Api, format!("{name} ({})", double.id));
            if double.has_stages && !goes {
                let what = format!(
                    "{id} has this stack's name and tag, too, and stages: a teardown removes it"
                );
                self.plan.notes.push(what);
            } else {
                self.push(main_of(&id), Action::DeleteApi { id: double.id }, vec![], []);
            }
        }
    }
}

/// Buckets and queues that a stage's variables send to.
pub fn destinations_of(variables: &BTreeMap<String, String>) -> BTreeSet<Id> {
    let destinations =
        variables.iter().filter(|(name, _)| name.starts_with(variable::DESTINATION_PREFIX));
    destinations.filter_map(|(_, value)| destination_id(value)).collect()
}

/// The bucket or queue that a destination names.
pub fn destination_id(value: &str) -> Option<Id> {
    let base = value.split('?').next()?;
    match base.strip_prefix("s3://") {
        Some(rest) => Some(Id::new(Kind::Bucket, rest.split('/').next()?)),
        None => base
            .starts_with("http")
            .then(|| Id::new(Kind::Queue, base.rsplit('/').next().unwrap_or_default())),
    }
}

/// API Gateway may call this version from the stage.
pub fn is_permitted(version: &Version, api: &str, stage: &str) -> bool {
    version
        .permissions
        .get(&statement_id(api))
        .is_some_and(|source| source_fits(source, api, stage))
}

/// What a stage is, as far as the patch changes it.
pub fn before(state: &StageState, patch: &StagePatch) -> Previous {
    let names = patch
        .variables
        .keys()
        .chain(&patch.remove_variables)
        .filter(|name| *name != variable::FUNCTION_NAME);
    Previous {
        deployment: state.deployment.clone(),
        version: state.version.clone().unwrap_or("0".into()),
        values: Some(
            names.map(|name| (name.clone(), state.variables.get(name).cloned())).collect(),
        ),
        wrong: false,
    }
}

/// Lets the patch keep what the stage was.
pub fn remember(patch: &mut StagePatch, state: &StageState, previous: &Previous) {
    let ours =
        |name: &String| *name == variable::PREVIOUS || name.starts_with(variable::PREVIOUS_PREFIX);
    let stays: BTreeSet<&String> = state
        .variables
        .keys()
        .filter(|name| !ours(name) && !patch.remove_variables.contains(*name))
        .collect();
    let comes = patch.variables.keys().filter(|name| !stays.contains(name)).count();
    // `validToken`, which isn't among them, and `previous` itself.
    let room = variable::LIMIT.saturating_sub(stays.len() + comes + 2);
    let kept = previous.write(room);
    patch.remove_variables.extend(
        state.variables.keys().filter(|name| ours(name) && !kept.contains_key(*name)).cloned(),
    );
    patch.variables.extend(kept);
}

/// The id of the one statement in a version's policy: stable, so that a deploy doesn't fill the
/// policy up.
pub fn statement_id(api: &str) -> String {
    format!("routeto-{api}")
}

/// Source ARN of the one permission: every route of one stage, POST only.
pub fn source_arn(partition: &str, region: &str, account: &str, api: &str, stage: &str) -> String {
    format!("arn:{partition}:execute-api:{region}:{account}:{api}/{stage}/POST/*")
}

fn source_fits(source: &str, api: &str, stage: &str) -> bool {
    source.ends_with(&format!(":{api}/{stage}/POST/*"))
}

/// What the stage's update sets beside deployment and version.
fn stage_patch(seen: &Stage, wanted: &Stage, other_settings: bool) -> StagePatch {
    let mut patch = StagePatch::default();
    if seen.function_name != wanted.function_name {
        patch.variables.insert(variable::FUNCTION_NAME.into(), wanted.function_name.clone());
    }
    let have: BTreeMap<_, _> = seen.destinations.iter().chain(&seen.variables).collect();
    for (key, value) in wanted.destinations.iter().chain(&wanted.variables) {
        if have.get(key) != Some(&value) {
            patch.variables.insert(key.clone(), value.clone());
        }
    }
    // Only destinations: a free variable that the file doesn't name may be somebody's own.
    patch.remove_variables = seen
        .destinations
        .keys()
        .filter(|key| !wanted.destinations.contains_key(*key))
        .cloned()
        .collect();
    if seen.throttle != wanted.throttle {
        patch.throttle = Some(match wanted.throttle {
            Some((rate, burst)) => ThrottlePatch::Set(rate, burst),
            None if other_settings => ThrottlePatch::Unlimited,
            None => ThrottlePatch::Remove,
        });
    }
    patch
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
