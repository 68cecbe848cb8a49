//! The planner's tests: what is observed is derived from what is desired, then one thing is changed.

use super::*;
use crate::{
    desired::{Inputs, desired},
    observed::{Account, ApiState, Deployment, FunctionState, StageState},
    spec::{self, Source, Stack, World},
};
use std::{fmt::Write, path::Path};

const YAML: &str = "
stack: hooks
routes:
  /input:
    s3: { bucket: 'hooks-${stage}', prefix: in/, expire_after: 400 }
  /mail:
    accept: [multipart/form-data]
    sqs: { queue: 'mail-${stage}', dead_letter: { queue: 'dead-${stage}', after: 5 } }
stages:
  dev: { throttle: { rate: 5, burst: 10 } }
  prod: { variables: { team: payments } }
tags: { owner: platform }
";

fn stack(yaml: &str) -> Stack {
    let source = Source { path: Path::new("hooks.yaml"), bytes: yaml.as_bytes() };
    let world = World { env: &|_| None, read: &|_| Err(std::io::Error::other("no files here")), region: Some("us-east-1") };
    spec::load(&source, &world).expect("a good stack").stack
}

fn account() -> Account {
    Account { id: "123456789012".into(), region: "us-east-1".into(), partition: "aws".into(), caller: "arn:aws:iam::1:user/me".into() }
}

fn wanted(yaml: &str) -> Resources {
    desired(&stack(yaml), &Inputs { account: &account(), code_sha256: "code1=", existing: &BTreeMap::new() })
}

/// AWS as a clean run leaves it.
fn converged(desired: &Resources) -> Observed {
    let mut observed = Observed { resources: desired.clone(), ..Observed::default() };
    let Some(digest) = desired.values().find_map(|resource| match resource {
        Resource::Api(api) => Some(api.digest()),
        _ => None,
    }) else {
        return observed;
    };
    observed.api = Some(ApiState {
        id: "api1".into(),
        deployments: vec![Deployment { id: "d1".into(), digest: Some(digest), created: 1 }],
        ..ApiState::default()
    });
    for resource in desired.values() {
        if let Resource::Stage(stage) = resource {
            let source = source_arn("aws", "us-east-1", "123456789012", "api1", &stage.name);
            let version = Version {
                number: 1,
                config: stage.function.clone().expect("a desired stage has a function"),
                permissions: BTreeMap::from([(statement_id("api1"), source)]),
                active: true,
            };
            observed.functions.insert(stage.function_name.clone(), FunctionState { versions: vec![version] });
            observed
                .stages
                .insert(stage.name.clone(), StageState { deployment: "d1".into(), version: Some("1".into()), ..StageState::default() });
        }
    }
    observed
}

fn planned(desired: &Resources, observed: &Observed) -> Plan {
    plan(desired, observed, Options::default()).expect("no obstacles")
}

/// A line per change: what waits for what.
fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    let name = |key: &Key| if key.step == Step::Main { key.id.to_string() } else { format!("{:?} of {}", key.step, key.id) };
    for change in &plan.changes {
        let action = format!("{:?}", change.action);
        let action = action.split([' ', '(', '{']).next().unwrap_or_default();
        let after: Vec<String> = change.after.iter().map(name).collect();
        writeln!(
            text,
            "{action} {}{}",
            name(&change.key),
            if after.is_empty() { String::new() } else { format!(" < {}", after.join(", ")) }
        )
        .expect("text");
        for difference in &change.differences {
            if change.verb() != Some(Verb::Create) && change.verb() != Some(Verb::Delete) {
                writeln!(text, "  {}", difference.attribute).expect("text");
            }
        }
    }
    for kept in &plan.kept {
        writeln!(text, "kept {}: {}", kept.id, kept.why).expect("text");
    }
    text
}

#[test]
fn converged_means_an_empty_plan() {
    let desired = wanted(YAML);
    let plan = planned(&desired, &converged(&desired));
    assert_eq!(shown(&plan), "");
    assert_eq!(plan.unchanged.len(), desired.len());
}

#[test]
fn planning_twice_changes_nothing() {
    let (desired, observed) = (wanted(YAML), Observed::default());
    assert_eq!(planned(&desired, &observed), planned(&desired, &observed));
}

#[test]
fn everything_is_created_with_only_true_dependencies() {
    let yaml = YAML.replace("  prod: { variables: { team: payments } }\n", "");
    assert_eq!(
        shown(&planned(&wanted(&yaml), &Observed::default())),
        "\
CreateBucket bucket hooks-dev
CreateQueue queue dead-dev
CreateQueue queue mail-dev < queue dead-dev
CreateLogGroup log group /aws/lambda/hooks-dev
CreateLogGroup log group /routeto/hooks
CreateFunction function hooks-dev < log group /aws/lambda/hooks-dev, role hooks-dev-us-east-1
CreateApi api hooks
CreateDeployment Deployment of api hooks < api hooks
Permit Permission of function hooks-dev < function hooks-dev, api hooks
CreateRole role hooks-dev-us-east-1
AwaitVersion Ready of function hooks-dev < function hooks-dev
CreateStage stage dev < bucket hooks-dev, queue dead-dev, queue mail-dev, role hooks-dev-us-east-1, Ready of function hooks-dev, \
Permission of function hooks-dev, Deployment of api hooks
"
    );
}

/// Changes one thing of what is observed; what the plan does then.
fn drift(change: impl FnOnce(&mut Observed)) -> String {
    let desired = wanted(YAML);
    let mut observed = converged(&desired);
    change(&mut observed);
    shown(&planned(&desired, &observed))
}

fn resource<'a>(observed: &'a mut Observed, kind: Kind, name: &str) -> &'a mut Resource {
    observed.resources.get_mut(&Id::new(kind, name)).expect("it is there")
}

#[test]
fn drift_by_hand_is_put_right_where_it_is_and_nowhere_else() {
    let said = drift(|observed| {
        let Resource::Bucket(bucket) = resource(observed, Kind::Bucket, "hooks-prod") else { unreachable!() };
        bucket.public_access_blocked = false;
    });
    assert_eq!(said, "UpdateBucket bucket hooks-prod\n  public access blocked\n");

    let said = drift(|observed| {
        let Resource::Queue(queue) = resource(observed, Kind::Queue, "mail-dev") else { unreachable!() };
        queue.redrive = None;
    });
    assert_eq!(said, "UpdateQueue queue mail-dev\n  dead letters\n");

    let said = drift(|observed| {
        let Resource::Stage(stage) = resource(observed, Kind::Stage, "dev") else { unreachable!() };
        stage.throttle = Some((500.0, 1000));
    });
    assert_eq!(said, "UpdateStage stage dev\n  throttle\n");

    let said = drift(|observed| {
        let Resource::Function(function) = resource(observed, Kind::Function, "hooks-dev") else { unreachable!() };
        function.config.memory = 512;
    });
    assert_eq!(said, "UpdateFunction function hooks-dev\n  memory\n", "$LATEST goes back; the version in use is right, none is published");

    let said = drift(|observed| {
        let Resource::Role(role) = resource(observed, Kind::Role, "hooks-prod-us-east-1") else { unreachable!() };
        role.policy.as_mut().expect("it has one").put_objects.insert("arn:aws:s3:::another/*".into());
    });
    assert_eq!(said, "UpdateRole role hooks-prod-us-east-1\n  policy\n");
}

#[test]
fn a_lost_permission_is_granted_again() {
    let said = drift(|observed| {
        let state = observed.functions.get_mut("hooks-prod").expect("it is there");
        state.versions[0].permissions.clear();
    });
    assert_eq!(said, "Permit Permission of function hooks-prod\n  permission for API Gateway\n");
}

#[test]
fn tags_and_variables_that_are_not_ours_are_left_alone() {
    let said = drift(|observed| {
        let Resource::Bucket(bucket) = resource(observed, Kind::Bucket, "hooks-prod") else { unreachable!() };
        bucket.tags.insert("cost-centre".into(), "42".into());
        let Resource::Stage(stage) = resource(observed, Kind::Stage, "prod") else { unreachable!() };
        stage.variables.insert("mine".into(), "by hand".into());
    });
    assert_eq!(said, "");
}

#[test]
fn changed_code_is_published_and_both_stages_move_after_their_permission() {
    let old = wanted(YAML);
    let new = desired(&stack(YAML), &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() });
    assert_eq!(
        shown(&planned(&new, &converged(&old))),
        "\
UpdateFunction function hooks-dev
  code
UpdateFunction function hooks-prod
  code
Permit Permission of function hooks-dev < function hooks-dev
AwaitVersion Ready of function hooks-dev < function hooks-dev
UpdateStage stage dev < Ready of function hooks-dev, Permission of function hooks-dev
  function code
Permit Permission of function hooks-prod < function hooks-prod
AwaitVersion Ready of function hooks-prod < function hooks-prod
UpdateStage stage prod < Ready of function hooks-prod, Permission of function hooks-prod
  function code
"
    );
}

#[test]
fn a_deploy_of_one_stage_names_nothing_of_the_other() {
    let desired_all = wanted(YAML);
    let mut dev = stack(&YAML.replace("rate: 5", "rate: 6").replace("accept: [multipart/form-data]", "accept: [text/plain]"));
    dev.stages.retain(|stage| stage.name == "dev");
    let desired_dev = desired(&dev, &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() });
    let mut observed = converged(&desired_all);
    observed.resources.retain(|id, _| desired_dev.contains_key(id));
    let plan = planned(&desired_dev, &observed);
    assert!(!plan.is_empty());
    assert!(!shown(&plan).contains("prod"), "{}", shown(&plan));
}

#[test]
fn a_moved_destination_widens_the_role_first_and_trims_it_last() {
    let old = wanted(YAML);
    let new = wanted(&YAML.replace("prefix: in/", "prefix: other/").replace("  prod: { variables: { team: payments } }\n", ""));
    let mut observed = converged(&old);
    observed.resources.retain(|id, _| new.contains_key(id));
    assert_eq!(
        shown(&planned(&new, &observed)),
        "\
UpdateBucket bucket hooks-dev
  expire after, in/
  expire after, other/
UpdateRole role hooks-dev-us-east-1
  policy
UpdateRole Trim of role hooks-dev-us-east-1 < stage dev
UpdateStage stage dev < bucket hooks-dev, role hooks-dev-us-east-1
  variable destination_input
"
    );
}

#[test]
fn a_deployment_of_the_same_api_is_used_again() {
    let old = wanted(YAML);
    let new = wanted(&YAML.replace("multipart/form-data", "text/plain"));
    let mut observed = converged(&old);
    let digest = |resources: &Resources| match &resources[&Id::new(Kind::Api, "hooks")] {
        Resource::Api(api) => api.digest(),
        _ => unreachable!(),
    };
    observed
        .api
        .as_mut()
        .expect("it is there")
        .deployments
        .insert(0, Deployment { id: "d2".into(), digest: Some(digest(&new)), created: 2 });
    assert_eq!(shown(&planned(&new, &observed)).lines().filter(|line| line.contains("Deployment")).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_teardown_shuts_the_stages_first_and_deletes_what_names_the_rest_last() {
    let yaml = YAML.replace("  prod: { variables: { team: payments } }\n", "");
    let mut observed = converged(&wanted(&yaml));
    observed.contents.insert(Id::new(Kind::Bucket, "hooks-dev"), 1);
    assert_eq!(
        shown(&planned(&Resources::new(), &observed)),
        "\
DeleteQueue queue dead-dev < api hooks, stage dev
DeleteQueue queue mail-dev < api hooks, stage dev
DeleteLogGroup log group /aws/lambda/hooks-dev < role hooks-dev-us-east-1, function hooks-dev, api hooks, stage dev
DeleteLogGroup log group /routeto/hooks < role hooks-dev-us-east-1, function hooks-dev, api hooks, stage dev
DeleteRole role hooks-dev-us-east-1 < queue dead-dev, queue mail-dev, function hooks-dev, api hooks, stage dev
DeleteFunction function hooks-dev < api hooks, stage dev
DeleteApi api hooks
DeletedWithApi stage dev < api hooks
kept bucket hooks-dev: it holds objects
"
    );
    let all = plan(&Resources::new(), &observed, Options { delete_data: true }).expect("no obstacles");
    assert!(all.kept.is_empty());
    assert!(shown(&all).contains("DeleteBucket bucket hooks-dev < api hooks, stage dev"));
}

#[test]
fn a_route_that_left_the_file_takes_its_queue_with_it_once_the_stage_has_moved() {
    let old = wanted(YAML);
    let yaml = YAML.replace(
        "  /mail:\n    accept: [multipart/form-data]\n    sqs: { queue: 'mail-${stage}', dead_letter: { queue: 'dead-${stage}', after: 5 } }\n",
        "",
    );
    let new = wanted(&yaml);
    let said = shown(&planned(&new, &converged(&old)));
    assert!(said.contains("DeleteQueue queue mail-prod < stage dev, stage prod"), "{said}");
    assert!(said.contains("UpdateStage stage prod"), "{said}");
}

#[test]
fn an_api_with_somebody_elses_stage_is_kept() {
    let mut observed = converged(&wanted(YAML));
    observed.api.as_mut().expect("it is there").foreign_stages = vec!["blue".into()];
    let said = shown(&planned(&Resources::new(), &observed));
    assert!(said.contains("kept api hooks: it has stages that routeto didn't make: blue"), "{said}");
    assert!(said.contains("DeleteStage stage dev"), "{said}");
}

#[test]
fn a_resource_of_our_name_that_isnt_ours_stops_everything() {
    let mut observed = Observed::default();
    observed.foreign.insert(Id::new(Kind::Queue, "mail-dev"), "it lacks the tag routeto:stack=hooks".into());
    let failures = plan(&wanted(YAML), &observed, Options::default()).expect_err("an obstacle");
    assert_eq!(failures.len(), 1);
    assert_eq!(
        failures[0].to_string(),
        "queue mail-dev: a queue of this name is there already and isn't this stack's (it lacks the tag routeto:stack=hooks)\n  \
         = help: choose another name, or remove or tag that one by hand; routeto never touches what doesn't carry its tag"
    );
}

/// A world in which every action has its effect: what apply would leave behind.
fn after(plan: &Plan, desired: &Resources, observed: &Observed) -> Observed {
    let mut next = observed.clone();
    for change in &plan.changes {
        let id = &change.key.id;
        if change.verb() == Some(Verb::Delete) {
            next.resources.remove(id);
        } else if let Some(resource) = desired.get(id) {
            next.resources.insert(id.clone(), resource.clone());
        }
    }
    let clean = converged(desired);
    next.api = clean.api;
    next.functions = clean.functions;
    next.stages = clean.stages;
    next
}

#[test]
fn applied_means_an_empty_plan() {
    let old = wanted(YAML);
    for new in [
        wanted(YAML),
        wanted(&YAML.replace("prefix: in/", "prefix: other/")),
        wanted(&YAML.replace("after: 5", "after: 6").replace("owner: platform", "owner: other")),
        wanted(&YAML.replace("hooks-${stage}", "elsewhere-${stage}")),
    ] {
        for observed in [Observed::default(), converged(&old)] {
            let plan = planned(&new, &observed);
            let again = planned(&new, &after(&plan, &new, &observed));
            assert_eq!(shown(&again), "");
        }
    }
}
