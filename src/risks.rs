//! What was set by hand, that routeto leaves alone, and that opens doors or endangers records:
//! told, since it may be meant. `docs/drift.md` has the table of what is told and what is put
//! right. Pure.

use crate::{
    observed::{
        BucketState, Expiry, FunctionState, MethodSetting, Observed, Opening, QueueState,
        RoleState, StageState,
    },
    resource::{Bucket, Id, Resource, Resources, Stage},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Lower than this is no account's limit: 13 regions give an account 2,500 requests a second and
/// 1,250 at one time, the others more. Source: Amazon API Gateway quotas.
const LOWEST: (f64, i32) = (2_500.0, 1_250);

/// Seconds. Storing a message elsewhere and deleting it takes a consumer longer than less.
const VISIBLE_AGAIN: u32 = 5;

/// One setting, for a person: `role hooks-prod-eu-west-1`, `has the policy … attached: …`,
/// `Detach it if that isn't meant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    pub id: Id,
    /// What it is, and why it matters.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}. {}.", self.id, self.what, self.hint)
    }
}

/// Of what is there and stays: what goes with this plan, and what isn't there yet, has no risks.
pub fn of(desired: &Resources, observed: &Observed) -> Vec<Risk> {
    let mut risks = vec![];
    for (id, resource) in desired.iter().filter(|(id, _)| observed.resources.contains_key(id)) {
        let mut tell =
            |(what, hint): (String, String)| risks.push(Risk { id: id.clone(), what, hint });
        match resource {
            Resource::Role(_) => {
                of_state(&observed.roles, id, role).into_iter().for_each(&mut tell)
            }
            Resource::Function(_) => {
                of_state(&observed.functions, id, function).into_iter().for_each(&mut tell)
            }
            Resource::Queue(_) => {
                of_state(&observed.queues, id, queue).into_iter().for_each(&mut tell)
            }
            Resource::Stage(wanted) => of_state(&observed.stages, id, |state| stage(wanted, state))
                .into_iter()
                .for_each(&mut tell),
            Resource::Bucket(wanted) => {
                let stored = stored_in(desired, &wanted.name);
                of_state(&observed.buckets, id, |state| bucket(wanted, &stored, state))
                    .into_iter()
                    .for_each(&mut tell);
            }
            Resource::LogGroup(_) | Resource::Api(_) => {}
        }
    }
    risks
}

type Told = Vec<(String, String)>;

fn of_state<T>(states: &BTreeMap<String, T>, id: &Id, told: impl Fn(&T) -> Told) -> Told {
    states.get(&id.name).map(told).unwrap_or_default()
}

fn role(RoleState { inline, attached, unread }: &RoleState) -> Told {
    let mut told = vec![];
    for name in attached {
        let may = match name.as_str() {
            "AdministratorAccess" | "PowerUserAccess" => {
                "the function may do anything in the account".to_owned()
            }
            _ => "the function may do what that allows, beyond storing webhooks".to_owned(),
        };
        told.push((
            format!("has the policy {name} attached: {may}"),
            "Detach it if that isn't meant".into(),
        ));
    }
    for name in inline {
        let what = format!(
            "has the inline policy {name:?}: the function may do what that allows, \
             beyond storing webhooks"
        );
        told.push((what, "Delete it if that isn't meant".into()));
    }
    if *unread {
        let what = "may have more policies: these credentials may not list them".to_owned();
        let hint = "Allow iam:ListRolePolicies and iam:ListAttachedRolePolicies \
                    (docs/permissions.md)";
        told.push((what, hint.to_owned()));
    }
    told
}

fn function(state: &FunctionState) -> Told {
    // Whoever may call it makes up the event, and what it says of token and destination.
    let mut told = opened(&state.openings, "records can be made up without a token");
    // Source: Lambda developer guide, "Configuring reserved concurrency": 0 throttles every
    // request.
    if state.reserved_concurrency == Some(0) {
        let what = "has a reserved concurrency of 0: it never runs, so every webhook is answered 503 \
                    and none is stored";
        let hint = "Raise or remove its reserved concurrency to store webhooks";
        told.push((what.into(), hint.into()));
    }
    told
}

fn queue(QueueState { openings, delay, visibility_timeout }: &QueueState) -> Told {
    let mut told = opened(openings, "messages are open to more than this account");
    if *delay > 0 {
        let what = format!(
            "holds each message back for {delay} s (DelaySeconds): workers get webhooks that \
             much later"
        );
        told.push((what, "Set it to 0 if that isn't meant".into()));
    }
    if *visibility_timeout < VISIBLE_AGAIN {
        let what = format!(
            "hides a received message for {visibility_timeout} s only (VisibilityTimeout): a worker \
             that takes longer shares it with others, and it may end as a dead letter though it \
             was handled"
        );
        told.push((
            what,
            "Set it to more than a worker needs for a message (30 is SQS's default)".into(),
        ));
    }
    told
}

fn stage(wanted: &Stage, state: &StageState) -> Told {
    let mut told = vec![];
    for setting in &state.settings {
        let of = setting.method.as_deref().unwrap_or("every route");
        // What is set for every route is the stack file's, and is put right.
        if setting.method.is_some()
            && let Some(what) = limit(wanted.throttle, setting)
        {
            told.push((
                format!("limits {of} to {what}"),
                "Remove the method's own throttle if that isn't meant".into(),
            ));
        }
        if setting.data_trace {
            let what = format!(
                "logs whole requests of {of} (data tracing): bodies and tokens stand in API \
                 Gateway's log"
            );
            told.push((
                what,
                "Turn data tracing off and delete that log, unless that is meant".into(),
            ));
        }
        if setting.cached && state.has_cache {
            let what = format!(
                "answers {of} from a cache: a webhook that is answered from there isn't stored"
            );
            told.push((what, "Turn the cache off".into()));
        }
    }
    if let Some((deployment, percent)) = state.canary.as_ref().filter(|(_, percent)| *percent > 0.0)
    {
        let what = format!(
            "sends {percent} % of its requests to the canary deployment {deployment}, which \
             routeto doesn't set or probe"
        );
        told.push((what, "Delete or promote the canary if that isn't meant".into()));
    }
    told
}

/// A method's own throttle where it is lower than the stage's; without one, than any account's.
fn limit(wanted: Option<(f64, i32)>, setting: &MethodSetting) -> Option<String> {
    let (rate, burst) = wanted.unwrap_or(LOWEST);
    let lower = |value: f64, than: f64| (0.0..than).contains(&value);
    if !lower(setting.rate, rate) && !lower(f64::from(setting.burst), f64::from(burst)) {
        return None;
    }
    let says = match wanted {
        Some((rate, burst)) => format!("{rate} a second, burst {burst}"),
        None => "no limit".to_owned(),
    };
    let rest =
        if setting.rate == 0.0 || setting.burst == 0 { "every webhook" } else { "what is beyond" };
    let MethodSetting { rate, burst, .. } = setting;
    Some(format!(
        "{rate} requests a second, burst {burst}; the stack file says {says}: {rest} is answered \
         503 and isn't stored"
    ))
}

fn bucket(wanted: &Bucket, stored: &BTreeSet<String>, state: &BucketState) -> Told {
    let mut told = opened(&state.openings, "records are open to more than this account");
    for Expiry { rule, prefix, days } in &state.expiries {
        let meets = |other: &&String| {
            other.starts_with(prefix.as_str()) || prefix.starts_with(other.as_str())
        };
        // What it deletes too early, and when the file says that goes.
        let early = stored.iter().filter(meets).find_map(|records| {
            let says = wanted.expire_after.get(records).copied();
            let earlier = says.is_none_or(|says| days.is_none_or(|days| days < says));
            earlier.then_some((records, says))
        });
        let Some((records, says)) = early else { continue };
        let when = match days {
            Some(1) => "after a day".to_owned(),
            Some(days) => format!("after {days} days"),
            None => "at a date".to_owned(),
        };
        let below = if prefix.len() > records.len() { prefix } else { records };
        let below = if below.is_empty() { String::new() } else { format!(" below {below:?}") };
        let says = says.map_or("keeps them".to_owned(), |days| format!("says {days} days"));
        let what = format!(
            "has the lifecycle rule {rule:?}, which deletes records{below} {when}; the stack \
             file {says}"
        );
        told.push((what, "Remove or lengthen the rule if that isn't meant".into()));
    }
    told
}

/// The prefixes below which stages store records in this bucket.
fn stored_in(desired: &Resources, bucket: &str) -> BTreeSet<String> {
    let stages = desired.values().filter_map(|resource| match resource {
        Resource::Stage(stage) => Some(stage),
        _ => None,
    });
    let places = stages.flat_map(|stage| stage.destinations.values()).filter_map(|destination| {
        let place = destination.split('?').next()?.strip_prefix("s3://")?;
        Some(place.split_once('/').unwrap_or((place, "")))
    });
    places.filter(|(name, _)| *name == bucket).map(|(_, prefix)| prefix.to_owned()).collect()
}

fn opened(openings: &[Opening], why: &str) -> Told {
    openings
        .iter()
        .map(|Opening { sid, whom, actions }| {
            let statement = if sid.is_empty() {
                "a statement".to_owned()
            } else {
                format!("the statement {sid:?}")
            };
            let mut shown: Vec<&str> = actions.iter().take(3).map(String::as_str).collect();
            if actions.len() > shown.len() {
                shown.push("…");
            }
            let what = format!(
                "has {statement} in its policy that allows {whom} {}: {why}",
                shown.join(", ")
            );
            (what, "Remove the statement if that isn't meant".into())
        })
        .collect()
}

#[cfg(test)]
#[path = "risks_tests.rs"]
mod tests;
