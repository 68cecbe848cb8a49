//! The plan that puts a stage back to what it was before its last move: one update of the stage, or
//! every reason why that can't be. Pure.

use crate::{
    error::Failure,
    observed::{Existing, Observed, StageState},
    plan::{
        Action, Change, Difference, Key, Late, Plan, StagePatch, Step, before, destination_id,
        is_permitted, remember,
    },
    policy,
    previous::Previous,
    resource::{Id, Kind, Resource, Role, variable},
};
use std::collections::BTreeSet;

/// Where a rollback goes from and to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Deployment and function version.
    pub from: (String, String),
    pub to: (String, String),
    /// The stage's variables that go back with them.
    pub variables: Vec<Difference>,
}

/// One change, the stage's, which waits until the version can be called; and where it leads.
/// `wrong`: what the stage leaves gave wrong answers.
///
/// # Errors
/// Every reason why the former state wouldn't work, or isn't known.
pub fn plan(
    observed: &Observed,
    stack: &str,
    stage: &str,
    wrong: bool,
) -> Result<(Plan, Back), Vec<Failure>> {
    let id = Id::new(Kind::Stage, stage);
    let one = |what: String, now: &str| vec![Failure::new(id.to_string(), what).now(now)];
    if let Some(whose) = observed.foreign.get(&id) {
        return Err(vec![Failure::foreign(id.to_string(), whose)]);
    }
    let (Some(api), Some(state)) = (&observed.api, observed.stages.get(stage)) else {
        return Err(one(format!("stack {stack} has no such stage yet"), "deploy it first"));
    };
    let Some(previous) = Previous::read(&state.variables) else {
        return Err(one(
            "there is nothing to go back to: it never moved since it was made".into(),
            "change the stack file and deploy",
        ));
    };
    if previous.wrong {
        let (deployment, version) = (&previous.deployment, &previous.version);
        let what = format!(
            "it came back by itself from what it was before (deployment {deployment}, function version {version}): that gave wrong answers"
        );
        return Err(one(
            what,
            "deploy what it shall serve; routeto status lists what was deployed, and from which commit",
        ));
    }
    let Some(values) = &previous.values else {
        let what = "what its variables were before isn't known: they didn't fit into the stage's 100, or were edited by hand";
        return Err(one(
            what.into(),
            "deploy the commit that was deployed before (routeto status lists them)",
        ));
    };
    let mut missing = vec![];
    if !api.deployments.iter().any(|deployment| deployment.id == previous.deployment) {
        missing.push(format!("the API's deployment {} is gone", previous.deployment));
    }
    let function = state.variables.get(variable::FUNCTION_NAME).cloned().unwrap_or_default();
    let versions = observed
        .functions
        .get(&function)
        .map(|state| state.versions.as_slice())
        .unwrap_or_default();
    match versions.iter().find(|version| version.number.to_string() == previous.version) {
        None => {
            missing.push(format!("version {} of the function {function} is gone", previous.version))
        }
        Some(version) => {
            if !is_permitted(version, &api.id, stage) {
                missing.push(format!(
                    "API Gateway may not call version {} of the function {function}",
                    previous.version
                ));
            }
            let role = version.config.role.rsplit('/').next().unwrap_or_default();
            let role = match observed.resources.get(&Id::new(Kind::Role, role)) {
                Some(Resource::Role(role)) => Some(role),
                _ => None,
            };
            let destinations =
                values.iter().filter(|(name, _)| name.starts_with(variable::DESTINATION_PREFIX));
            let reasons: BTreeSet<String> = destinations
                .filter_map(|(_, value)| value.as_deref())
                .filter_map(|value| unusable(observed, role, value))
                .collect();
            missing.extend(reasons);
        }
    }
    if !missing.is_empty() {
        let now = "deploy the commit that was deployed before (routeto status lists them)";
        return Err(missing
            .into_iter()
            .map(|what| Failure::new(id.to_string(), format!("it can't go back: {what}")).now(now))
            .collect());
    }
    let mut patch = StagePatch::default();
    for (name, value) in values {
        match value {
            Some(value) => {
                patch.variables.insert(name.clone(), value.clone());
            }
            None if state.variables.contains_key(name) => {
                patch.remove_variables.insert(name.clone());
            }
            None => {}
        }
    }
    let back = Back {
        from: (state.deployment.clone(), state.version.clone().unwrap_or_default()),
        to: (previous.deployment.clone(), previous.version.clone()),
        variables: variables(state, &patch),
    };
    let differences = differences(&back);
    let now = Previous { wrong, ..before(state, &patch) };
    remember(&mut patch, state, &now);
    let action = Action::UpdateStage {
        api: api.id.clone(),
        deployment: Late::Known(back.to.0.clone()),
        version: Late::Known(back.to.1.clone()),
        moves: true,
        patch,
        tags: None,
    };
    let mut changes = vec![];
    if back.from.1 != back.to.1 {
        let key = Key { id: Id::new(Kind::Function, &function), step: Step::Ready };
        let action = Action::AwaitVersion { function, version: Late::Known(back.to.1.clone()) };
        changes.push(Change { key, action, differences: vec![], after: BTreeSet::new() });
    }
    let after = changes.iter().map(|change| change.key.clone()).collect();
    changes.push(Change { key: Key { id, step: Step::Main }, action, differences, after });
    Ok((Plan { changes, ..Plan::default() }, back))
}

/// Why the function couldn't write to a destination; `None` where it can.
fn unusable(observed: &Observed, role: Option<&Role>, value: &str) -> Option<String> {
    let Some(id) = destination_id(value) else {
        return Some(format!("the destination {value} is none that routeto knows"));
    };
    let gone = observed.absent.contains(&id)
        || matches!(observed.existing.get(&id), Some(Existing::Missing));
    if gone {
        return Some(format!("{id} is gone"));
    }
    let allowed = role.and_then(|role| policy::covering(role.policy.as_ref()?, value)).is_some();
    (!allowed).then(|| {
        format!(
            "the function's role may no longer write to {}",
            value.split('?').next().unwrap_or(value)
        )
    })
}

fn differences(back: &Back) -> Vec<Difference> {
    let Back { from, to, variables } = back;
    let fixed = [
        difference("deployment".into(), Some(from.0.clone()), Some(to.0.clone())),
        difference("function version".into(), Some(from.1.clone()), Some(to.1.clone())),
    ];
    fixed.into_iter().flatten().chain(variables.iter().cloned()).collect()
}

fn variables(state: &StageState, patch: &StagePatch) -> Vec<Difference> {
    let names = patch.variables.keys().chain(&patch.remove_variables);
    names
        .filter_map(|name| {
            difference(
                format!("variable {name}"),
                state.variables.get(name).cloned(),
                patch.variables.get(name).cloned(),
            )
        })
        .collect()
}

fn difference(
    attribute: String,
    observed: Option<String>,
    desired: Option<String>,
) -> Option<Difference> {
    (observed != desired).then_some(Difference { attribute, observed, desired })
}
