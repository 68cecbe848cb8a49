//! The planner's tests: what is observed is derived from what is desired, then one thing is
//! changed.

use super::*;
use crate::{
    desired::{Inputs, desired},
    observed::{Account, ApiState, Deployment, Double, FunctionState, StageState},
    rollback,
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
    let world = World {
        env: &|_| None,
        read: &|_| Err(std::io::Error::other("no files here")),
        region: Some("us-east-1"),
    };
    spec::load(&source, &world).expect("a good stack").stack
}

fn account() -> Account {
    Account {
        id: "123456789012".into(),
        region: "us-east-1".into(),
        partition: "aws".into(),
        caller: "arn:aws:iam::1:user/me".into(),
    }
}

fn wanted(yaml: &str) -> Resources {
    desired(
        &stack(yaml),
        &Inputs { account: &account(), code_sha256: "code1=", existing: &BTreeMap::new() },
    )
}

/// AWS as a clean run leaves it.
fn converged(desired: &Resources) -> Observed {
    let mut observed = Observed { resources: desired.clone(), ..Observed::default() };
    let Some((digest, description)) = desired.values().find_map(|resource| match resource {
        Resource::Api(api) => Some((api.digest(), openapi::description(api))),
        _ => None,
    }) else {
        return observed;
    };
    observed.api = Some(ApiState {
        id: "api1".into(),
        description,
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
            };
            observed.functions.insert(
                stage.function_name.clone(),
                FunctionState { versions: vec![version], ..FunctionState::default() },
            );
            let mut variables: BTreeMap<String, String> =
                stage.destinations.clone().into_iter().chain(stage.variables.clone()).collect();
            variables.insert(variable::FUNCTION_NAME.into(), stage.function_name.clone());
            variables.insert(variable::FUNCTION_VERSION.into(), "1".into());
            observed.stages.insert(
                stage.name.clone(),
                StageState {
                    variables,
                    deployment: "d1".into(),
                    version: Some("1".into()),
                    ..StageState::default()
                },
            );
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
    let name = |key: &Key| {
        if key.step == Step::Main {
            key.id.to_string()
        } else {
            format!("{:?} of {}", key.step, key.id)
        }
    };
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
fn an_api_that_does_not_tell_its_document_is_written_where_a_stage_is_wanted_and_only_there() {
    let desired = wanted(YAML);
    let mut observed = converged(&desired);
    observed.api.as_mut().expect("converged").description = "by hand".into();
    let text = shown(&planned(&desired, &observed));
    assert!(text.starts_with("WriteApi api hooks\n  written document\n"), "{text}");
    // a teardown of one stage of several
    let shared: Resources = desired.into_iter().filter(|(id, _)| id.kind == Kind::Api).collect();
    observed.resources.clone_from(&shared);
    assert_eq!(shown(&planned(&shared, &observed)), "");
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
UpdateLogGroup Rest of log group /aws/lambda/hooks-dev < log group /aws/lambda/hooks-dev
CreateLogGroup log group /routeto/hooks
CreateFunction function hooks-dev < log group /aws/lambda/hooks-dev, role hooks-dev-us-east-1
CreateApi api hooks
CreateDeployment Deployment of api hooks < api hooks
Permit Permission of function hooks-dev < function hooks-dev, api hooks
CreateRole role hooks-dev-us-east-1
UpdateRole Rest of role hooks-dev-us-east-1 < role hooks-dev-us-east-1
AwaitVersion Ready of function hooks-dev < function hooks-dev
CreateStage stage dev < bucket hooks-dev, queue dead-dev, queue mail-dev, log group /aws/lambda/hooks-dev, Rest of log group /aws/lambda/hooks-dev, \
role hooks-dev-us-east-1, Rest of role hooks-dev-us-east-1, function hooks-dev, Deployment of api hooks
"
    );
}

#[test]
fn a_new_stage_of_an_api_that_is_there_waits_until_its_function_may_be_called() {
    let before = wanted(&YAML.replace("  prod: { variables: { team: payments } }\n", ""));
    let said = shown(&planned(&wanted(YAML), &converged(&before)));
    let stage = said
        .lines()
        .find(|line| line.starts_with("CreateStage stage prod < "))
        .unwrap_or_else(|| panic!("{said}"));
    for awaited in [
        "Ready of function hooks-prod",
        "Permission of function hooks-prod",
        "Rest of role hooks-prod-us-east-1",
    ] {
        assert!(stage.contains(awaited), "{said}");
    }
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
        let Resource::Bucket(bucket) = resource(observed, Kind::Bucket, "hooks-prod") else {
            unreachable!()
        };
        bucket.public_access_blocked = false;
    });
    assert_eq!(said, "UpdateBucket bucket hooks-prod\n  public access blocked\n");

    let said = drift(|observed| {
        let Resource::Queue(queue) = resource(observed, Kind::Queue, "mail-dev") else {
            unreachable!()
        };
        queue.redrive = None;
    });
    // nothing gives up on messages to the other any more: it may have been deleted by hand just now
    assert_eq!(
        said,
        "ConfirmQueue queue dead-dev\nUpdateQueue queue mail-dev < queue dead-dev\n  dead letters\n"
    );

    let said = drift(|observed| {
        let Resource::Stage(stage) = resource(observed, Kind::Stage, "dev") else { unreachable!() };
        stage.throttle = Some((500.0, 1000));
    });
    assert_eq!(said, "UpdateStage stage dev\n  throttle\n");

    let said = drift(|observed| {
        let Resource::Function(function) = resource(observed, Kind::Function, "hooks-dev") else {
            unreachable!()
        };
        function.config.memory = 512;
    });
    assert_eq!(
        said, "UpdateFunction function hooks-dev\n  memory\n",
        "$LATEST goes back; the version in use is right, none is published"
    );

    let said = drift(|observed| {
        let Resource::Role(role) = resource(observed, Kind::Role, "hooks-prod-us-east-1") else {
            unreachable!()
        };
        role.policy
            .as_mut()
            .expect("it has one")
            .put_objects
            .insert("arn:aws:s3:::another/*".into());
    });
    assert_eq!(said, "UpdateRole role hooks-prod-us-east-1\n  policy\n");
}

#[test]
fn a_queue_that_no_stage_uses_is_made_sure_of_before_one_does() {
    let said = drift(|observed| {
        observed.stages.remove("dev");
        observed.resources.remove(&Id::new(Kind::Stage, "dev"));
    });
    assert!(
        said.starts_with(
            "ConfirmQueue queue dead-dev\nConfirmQueue queue mail-dev < queue dead-dev\n"
        ),
        "{said}"
    );
    let stage = said
        .lines()
        .find(|line| line.starts_with("CreateStage stage dev < "))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(stage.contains("queue dead-dev, queue mail-dev"), "{said}");
    assert!(!said.contains("-prod"), "{said}");
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
        let Resource::Bucket(bucket) = resource(observed, Kind::Bucket, "hooks-prod") else {
            unreachable!()
        };
        bucket.tags.insert("cost-centre".into(), "42".into());
        let Resource::Stage(stage) = resource(observed, Kind::Stage, "prod") else {
            unreachable!()
        };
        stage.variables.insert("mine".into(), "by hand".into());
    });
    assert_eq!(said, "");
}

#[test]
fn changed_code_is_published_and_both_stages_move_after_their_permission() {
    let old = wanted(YAML);
    let new = desired(
        &stack(YAML),
        &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() },
    );
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
    let mut dev = stack(
        &YAML
            .replace("rate: 5", "rate: 6")
            .replace("accept: [multipart/form-data]", "accept: [text/plain]"),
    );
    dev.stages.retain(|stage| stage.name == "dev");
    let desired_dev = desired(
        &dev,
        &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() },
    );
    let mut observed = converged(&desired_all);
    observed.resources.retain(|id, _| desired_dev.contains_key(id));
    let plan = planned(&desired_dev, &observed);
    assert!(!plan.is_empty());
    assert!(!shown(&plan).contains("prod"), "{}", shown(&plan));
}

#[test]
fn a_moved_destination_widens_the_role_first_and_what_it_was_before_stays_allowed() {
    let old = wanted(YAML);
    let new = wanted(
        &YAML
            .replace("prefix: in/", "prefix: other/")
            .replace("  prod: { variables: { team: payments } }\n", ""),
    );
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
Wait Settle of role hooks-dev-us-east-1 < role hooks-dev-us-east-1
UpdateStage stage dev < bucket hooks-dev, role hooks-dev-us-east-1, Settle of role hooks-dev-us-east-1
  variable destination_input
"
    );
}

/// How long a plan waits for nothing but time, and what waits for that.
fn waits(plan: &Plan, step: Step) -> Vec<(u32, Vec<String>)> {
    let wait = |change: &Change| match change.action {
        Action::Wait { seconds, .. } if change.key.step == step => Some(seconds),
        _ => None,
    };
    let waiting = |key: &Key| -> Vec<String> {
        plan.changes
            .iter()
            .filter(|change| change.after.contains(key))
            .map(|change| change.key.id.to_string())
            .collect()
    };
    plan.changes.iter().filter_map(|change| Some((wait(change)?, waiting(&change.key)))).collect()
}

#[test]
fn a_stage_in_service_waits_for_iam_where_its_role_gained_something_and_nowhere_else() {
    let old = wanted(YAML);
    let settles =
        |desired: &Resources, observed: &Observed| waits(&planned(desired, observed), Step::Settle);
    let prod = || vec![(10, vec!["stage prod".to_owned()])];

    let both = settles(&wanted(&YAML.replace("prefix: in/", "prefix: other/")), &converged(&old));
    assert_eq!(both, [(10, vec!["stage dev".to_owned()]), (10, vec!["stage prod".to_owned()])]);
    let queue = wanted(&YAML.replace("queue: 'mail-${stage}'", "queue: 'post-${stage}'"));
    assert_eq!(settles(&queue, &converged(&old)).len(), 2);
    // a key alone
    let mut keyed = wanted(&YAML.replace("rate: 5", "rate: 6"));
    role_policy(&mut keyed, "prod").keys.insert("arn:aws:kms:us-east-1:123456789012:key/k".into());
    assert_eq!(settles(&keyed, &converged(&old)), [] as [(u32, Vec<String>); 0], "nothing moves");
    let mut moved_too = wanted(&YAML.replace("team: payments", "team: other"));
    role_policy(&mut moved_too, "prod")
        .keys
        .insert("arn:aws:kms:us-east-1:123456789012:key/k".into());
    assert_eq!(settles(&moved_too, &converged(&old)), prod());
    // a role that somebody deleted, and a stage that moves
    let mut without = converged(&old);
    without.resources.remove(&Id::new(Kind::Role, "hooks-prod-us-east-1"));
    assert_eq!(settles(&wanted(&YAML.replace("team: payments", "team: other")), &without), prod());

    // granted by a deploy that was cut off, it may be a moment ago
    let mut granted = converged(&old);
    role_policy(&mut granted.resources, "prod")
        .put_objects
        .insert("arn:aws:s3:::hooks-prod/other/*".into());
    let yaml = YAML.replace("prefix: in/", "prefix: other/");
    let cut_off = planned(&wanted(&yaml), &granted);
    assert_eq!(waits(&cut_off, Step::Settle).len(), 2, "{}", shown(&cut_off));
    // back to what it was before, which stayed allowed
    let there = moved(&converged(&old), &wanted(&yaml), "prod");
    let back = planned(&old, &there);
    assert!(
        shown(&back).contains("UpdateStage stage prod < bucket hooks-prod\n"),
        "{}",
        shown(&back)
    );

    // nothing was added: other code, another variable, a destination less, a new stage, a new stack
    let code = desired(
        &stack(YAML),
        &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() },
    );
    let fewer = YAML.split("  /mail:").next().unwrap_or_default().to_owned()
        + "stages:"
        + YAML.split("stages:").nth(1).unwrap_or_default();
    let one = wanted(&YAML.replace("  prod: { variables: { team: payments } }\n", ""));
    for (desired, observed) in [
        (&code, converged(&old)),
        (&wanted(&YAML.replace("team: payments", "team: other")), converged(&old)),
        (&wanted(&fewer), converged(&old)),
        (&old, converged(&one)),
        (&old, Observed::default()),
    ] {
        let plan = planned(desired, &observed);
        assert_eq!(
            (waits(&plan, Step::Settle), plan.is_empty()),
            (vec![], false),
            "{}",
            shown(&plan)
        );
    }
}

fn role_policy<'a>(resources: &'a mut Resources, stage: &str) -> &'a mut Policy {
    match resources.get_mut(&Id::new(Kind::Role, format!("hooks-{stage}-us-east-1"))) {
        Some(Resource::Role(role)) => role.policy.as_mut().expect("it has one"),
        other => panic!("{other:?}"),
    }
}

/// The stage's update applied to what is observed; the role as the plan leaves it.
fn moved(observed: &Observed, desired: &Resources, stage: &str) -> Observed {
    let plan = planned(desired, observed);
    let mut next = after(&plan, desired, observed);
    for change in &plan.changes {
        match &change.action {
            Action::UpdateStage { deployment, version, patch, .. }
                if change.key.id.name == stage =>
            {
                let state = next.stages.get_mut(stage).expect("it is there");
                state.variables = observed.stages[stage].variables.clone();
                state.variables.extend(patch.variables.clone());
                state.variables.retain(|name, _| !patch.remove_variables.contains(name));
                let known = |late: &Late| match late {
                    Late::Known(value) => value.clone(),
                    Late::From(_) => "new".into(),
                };
                (state.deployment, state.version) = (known(deployment), Some(known(version)));
            }
            Action::UpdateRole { role, .. } => {
                next.resources.insert(change.key.id.clone(), Resource::Role(role.clone()));
            }
            _ => {}
        }
    }
    next
}

#[test]
fn the_second_move_takes_out_what_was_before_the_first() {
    let yaml = |prefix: &str| YAML.replace("prefix: in/", &format!("prefix: {prefix}/"));
    let (one, two, three) = (wanted(YAML), wanted(&yaml("two")), wanted(&yaml("three")));
    let mut second = moved(&converged(&one), &two, "dev");
    let allowed = |observed: &mut Observed| {
        role_policy(&mut observed.resources, "dev").put_objects.iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        allowed(&mut second),
        ["arn:aws:s3:::hooks-dev/in/*", "arn:aws:s3:::hooks-dev/two/*"]
    );
    let mut third = moved(&second, &three, "dev");
    assert_eq!(
        allowed(&mut third),
        ["arn:aws:s3:::hooks-dev/three/*", "arn:aws:s3:::hooks-dev/two/*"]
    );
    let lines = shown(&planned(&three, &second));
    assert!(lines.contains("UpdateRole Trim of role hooks-dev-us-east-1 < stage dev\n"), "{lines}");
}

#[test]
fn a_queue_that_is_gone_or_goes_is_nothing_to_go_back_to_and_is_not_allowed_any_more() {
    let other = YAML.replace("mail-${stage}", "post-${stage}");
    for held in [0, 1] {
        let mut observed = converged(&wanted(YAML));
        observed.contents.insert(Id::new(Kind::Queue, "mail-dev"), held);
        let mut next = moved(&observed, &wanted(&other), "dev");
        let sends = role_policy(&mut next.resources, "dev").send_messages.len();
        assert_eq!(
            sends,
            1 + usize::try_from(held).expect("small"),
            "a queue that holds messages stays, and what may be sent to it"
        );
        assert_eq!(rollback::plan(&next, "hooks", "dev", false).is_ok(), held == 1);
    }
}

#[test]
fn a_rollback_is_one_update_of_the_stage_and_a_second_one_returns() {
    let new = wanted(
        &YAML.replace("prefix: in/", "prefix: other/").replace("team: payments", "team: refunds"),
    );
    let mut observed = moved(&converged(&wanted(YAML)), &new, "prod");
    observed.api.as_mut().expect("it is there").deployments.push(Deployment {
        id: "d1".into(),
        digest: None,
        created: 0,
    });
    let before = observed.stages["prod"].clone();
    let (plan, back) = rollback::plan(&observed, "hooks", "prod", false).expect("it can go back");
    assert_eq!(back.to, ("d1".to_owned(), "1".to_owned()));
    let [change] = &plan.changes[..] else { panic!("{plan:?}") };
    let Action::UpdateStage { patch, moves: true, tags: None, .. } = &change.action else {
        panic!("{change:?}")
    };
    assert_eq!(patch.variables["destination_input"], "s3://hooks-prod/in/");
    assert_eq!(patch.variables["team"], "payments");
    let go = |observed: &mut Observed, plan: &Plan| {
        let [Change { action: Action::UpdateStage { patch, .. }, .. }] = &plan.changes[..] else {
            panic!("{plan:?}")
        };
        let state = observed.stages.get_mut("prod").expect("it is there");
        state.variables.extend(patch.variables.clone());
        state.variables.retain(|name, _| !patch.remove_variables.contains(name));
    };
    go(&mut observed, &plan);
    assert_ne!(observed.stages["prod"], before);
    let (plan, _) = rollback::plan(&observed, "hooks", "prod", false).expect("it can return");
    go(&mut observed, &plan);
    assert_eq!(observed.stages["prod"], before);
}

#[test]
fn nobody_goes_back_to_what_a_deploy_left_for_its_wrong_answers() {
    let new = wanted(&YAML.replace("prefix: in/", "prefix: other/"));
    let mut observed = moved(&converged(&wanted(YAML)), &new, "prod");
    observed.api.as_mut().expect("it is there").deployments.push(Deployment {
        id: "d1".into(),
        digest: None,
        created: 0,
    });
    let (plan, _) = rollback::plan(&observed, "hooks", "prod", true).expect("it can go back");
    let [Change { action: Action::UpdateStage { patch, .. }, .. }] = &plan.changes[..] else {
        panic!("{plan:?}")
    };
    let state = observed.stages.get_mut("prod").expect("it is there");
    state.variables.extend(patch.variables.clone());
    let failures = rollback::plan(&observed, "hooks", "prod", false).expect_err("it was wrong");
    assert!(
        failures[0].what.contains("it came back by itself from what it was before"),
        "{failures:?}"
    );
}

#[test]
fn a_rollback_that_would_not_work_says_every_reason() {
    let said = |change: &dyn Fn(&mut Observed)| {
        let new = wanted(&YAML.replace("prefix: in/", "prefix: other/"));
        let mut observed = moved(&converged(&wanted(YAML)), &new, "prod");
        change(&mut observed);
        let failures = rollback::plan(&observed, "hooks", "prod", false).err().unwrap_or_default();
        failures.into_iter().map(|failure| failure.what).collect::<Vec<_>>()
    };
    assert_eq!(said(&|_| ()), [] as [&str; 0]);
    assert_eq!(
        said(&|observed| {
            observed.stages.get_mut("prod").expect("it is there").variables.remove("previous");
        }),
        ["there is nothing to go back to: it never moved since it was made"]
    );
    assert_eq!(
        said(&|observed| {
            observed.api.as_mut().expect("it is there").deployments.clear();
            observed.functions.get_mut("hooks-prod").expect("it is there").versions[0]
                .permissions
                .clear();
            role_policy(&mut observed.resources, "prod").put_objects.clear();
        }),
        [
            "it can't go back: the API's deployment d1 is gone",
            "it can't go back: API Gateway may not call version 1 of the function hooks-prod",
            "it can't go back: the function's role may no longer write to s3://hooks-prod/in/"
        ]
    );
    assert_eq!(
        said(&|observed| {
            observed.functions.get_mut("hooks-prod").expect("it is there").versions.clear();
        }),
        ["it can't go back: version 1 of the function hooks-prod is gone"]
    );
    assert_eq!(
        said(&|observed| {
            observed.absent.insert(Id::new(Kind::Bucket, "hooks-prod"));
        }),
        ["it can't go back: bucket hooks-prod is gone"]
    );
}

/// Versions 1 to `count` of both functions, deployments d1 to d`count`; the newest in use.
fn aged(count: u64) -> Observed {
    let mut observed = converged(&wanted(YAML));
    let newest = observed.api.as_ref().expect("it is there").deployments[0].clone();
    let deployments = (1..=count).rev().map(|n| Deployment {
        id: format!("d{n}"),
        digest: newest.digest.clone(),
        created: n as i64,
    });
    observed.api.as_mut().expect("it is there").deployments = deployments.collect();
    for state in observed.functions.values_mut() {
        let version = state.versions[0].clone();
        state.versions = (1..=count).map(|number| Version { number, ..version.clone() }).collect();
    }
    for state in observed.stages.values_mut() {
        state.deployment = format!("d{count}");
        state.version = Some(count.to_string());
        state.variables.insert("previous".into(), format!("d{}:{}", count - 1, count - 1));
    }
    observed
}

fn pruned(plan: &Plan) -> Vec<String> {
    let changes = plan.changes.iter().filter(|change| change.key.step == Step::Prune);
    let list = |change: &Change| change.differences[0].observed.clone().unwrap_or_default();
    changes.map(|change| format!("{}: {}", change.key.id, list(change))).collect()
}

#[test]
fn a_deploy_prunes_all_but_the_newest_five_once_the_stages_have_moved() {
    let code = |code| {
        desired(
            &stack(YAML),
            &Inputs { account: &account(), code_sha256: code, existing: &BTreeMap::new() },
        )
    };
    let plan = planned(&code("code2="), &aged(7));
    assert_eq!(
        pruned(&plan),
        ["function hooks-dev: 1, 2, 3", "function hooks-prod: 1, 2, 3", "api hooks: d2, d1"]
    );
    let stages = [main_of(&Id::new(Kind::Stage, "dev")), main_of(&Id::new(Kind::Stage, "prod"))];
    for change in plan.changes.iter().filter(|change| change.key.step == Step::Prune) {
        assert_eq!(change.after, stages.clone().into());
        assert!(change.takes_away());
    }
    assert_eq!(
        pruned(&planned(&code("code2="), &aged(4))),
        [] as [&str; 0],
        "four, and the new one"
    );
}

#[test]
fn what_a_stage_uses_or_can_go_back_to_is_never_pruned() {
    let code = desired(
        &stack(YAML),
        &Inputs { account: &account(), code_sha256: "code2=", existing: &BTreeMap::new() },
    );
    let mut observed = aged(9);
    let prod = observed.stages.get_mut("prod").expect("it is there");
    (prod.deployment, prod.version) = ("d1".into(), Some("2".into()));
    prod.variables.insert("previous".into(), "d3:4:0".into());
    observed.api.as_mut().expect("it is there").in_use = ["d2".into()].into();
    let plan = planned(&code, &observed);
    assert_eq!(
        pruned(&plan),
        ["function hooks-dev: 1, 2, 3, 4, 5", "function hooks-prod: 1, 3, 5", "api hooks: d4"]
    );
    // a canary, or somebody's own stage
    observed.api.as_mut().expect("it is there").called = [("hooks-dev".into(), "3".into())].into();
    assert_eq!(pruned(&planned(&code, &observed))[0], "function hooks-dev: 1, 2, 4, 5");
}

#[test]
fn a_stage_waits_for_its_own_buckets_and_queues_only() {
    let mut observed = converged(&wanted(YAML));
    for bucket in ["hooks-dev", "hooks-prod"] {
        observed.resources.remove(&Id::new(Kind::Bucket, bucket));
    }
    observed.resources.remove(&Id::new(Kind::Queue, "dead-dev"));
    let said =
        shown(&planned(&wanted(&YAML.replace("multipart/form-data", "text/plain")), &observed));
    let waits = |stage: &str| {
        said.lines()
            .find(|line| line.starts_with(&format!("UpdateStage stage {stage}")))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        waits("dev").contains("bucket hooks-dev, queue dead-dev") && !waits("dev").contains("prod"),
        "{said}"
    );
    assert!(
        waits("prod").contains("bucket hooks-prod") && !waits("prod").contains("dev"),
        "{said}"
    );
}

#[test]
fn a_deploy_with_nothing_else_to_do_prunes_nothing_and_a_teardown_needs_not() {
    assert_eq!(shown(&planned(&wanted(YAML), &aged(9))), "");
    assert_eq!(pruned(&planned(&Resources::new(), &aged(9))), [] as [&str; 0]);
}

#[test]
fn of_two_apis_the_idle_one_goes_and_one_that_serves_only_with_the_stack() {
    let mut observed = converged(&wanted(YAML));
    let double = |id: &str, has_stages| Double { id: id.into(), has_stages };
    observed.api.as_mut().expect("it is there").doubles =
        vec![double("idle", false), double("busy", true)];
    let plan = planned(&wanted(YAML), &observed);
    assert_eq!(shown(&plan), "DeleteApi api hooks (idle)\n");
    assert_eq!(
        plan.notes,
        ["api hooks (busy) has this stack's name and tag, too, and stages: a teardown removes it"]
    );
    let gone = shown(&planned(&Resources::new(), &observed));
    assert!(
        gone.contains("DeleteApi api hooks (busy)\n")
            && gone.contains("DeleteApi api hooks (idle)\n"),
        "{gone}"
    );
}

#[test]
fn a_deployment_of_the_same_api_is_used_again_unless_the_api_itself_has_to_be_written() {
    let old = wanted(YAML);
    let new = wanted(&YAML.replace("multipart/form-data", "text/plain"));
    let digest = |resources: &Resources| match &resources[&Id::new(Kind::Api, "hooks")] {
        Resource::Api(api) => api.digest(),
        _ => unreachable!(),
    };
    let deployments = vec![
        Deployment { id: "d2".into(), digest: Some(digest(&new)), created: 2 },
        Deployment { id: "d1".into(), digest: Some(digest(&old)), created: 1 },
    ];
    let said = |mut observed: Observed| {
        observed.api.as_mut().expect("it is there").deployments.clone_from(&deployments);
        let plan = planned(&new, &observed);
        let known = plan.changes.iter().find_map(|change| match &change.action {
            Action::CreateDeployment { known, .. } => Some(known.clone()),
            _ => None,
        });
        let moves = plan
            .changes
            .iter()
            .filter(|change| matches!(change.action, Action::UpdateStage { moves: true, .. }))
            .count();
        (known, moves)
    };
    // a deploy that was cut off after it took the snapshot
    let mut cut_off = converged(&new);
    for resource in cut_off.resources.values_mut() {
        if let Resource::Stage(stage) = resource {
            stage.api_digest = digest(&old);
        }
    }
    assert_eq!(said(cut_off), (None, 2));
    // somebody wrote another API since: d2 may be of that one
    assert_eq!(said(converged(&old)), (Some(BTreeSet::from(["d2".into()])), 2));
}

#[test]
fn a_teardown_shuts_the_stages_first_and_deletes_what_holds_the_names_last() {
    let yaml = YAML.replace("  prod: { variables: { team: payments } }\n", "");
    let mut observed = converged(&wanted(&yaml));
    observed.contents.insert(Id::new(Kind::Bucket, "hooks-dev"), 1);
    assert_eq!(
        shown(&planned(&Resources::new(), &observed)),
        "\
Wait Drain of queue dead-dev < function hooks-dev, api hooks, stage dev
Journal Journal of log group /routeto/hooks
DeleteQueue queue dead-dev < Drain of queue dead-dev, queue mail-dev, api hooks, stage dev
DeleteQueue queue mail-dev < Drain of queue dead-dev, api hooks, stage dev
DeleteLogGroup log group /aws/lambda/hooks-dev < Journal of log group /routeto/hooks, api hooks, stage dev
DeleteLogGroup log group /routeto/hooks < queue dead-dev, queue mail-dev, log group /aws/lambda/hooks-dev, Journal of log group /routeto/hooks, role hooks-dev-us-east-1, function hooks-dev, api hooks, stage dev
DeleteRole role hooks-dev-us-east-1 < queue dead-dev, queue mail-dev, Journal of log group /routeto/hooks, api hooks, stage dev
DeleteFunction function hooks-dev < api hooks, stage dev
DeleteApi api hooks
DeletedWithApi stage dev < api hooks
kept bucket hooks-dev: it holds objects
"
    );
    // its dead letters have nowhere else to go
    observed.contents.insert(Id::new(Kind::Queue, "mail-dev"), 2);
    let said = shown(&planned(&Resources::new(), &observed));
    assert!(!said.contains("DeleteQueue") && !said.contains("Drain"), "{said}");
    for kept in [
        "queue mail-dev: it holds about 2 messages",
        "queue dead-dev: queue mail-dev is kept, and its dead letters come here",
    ] {
        assert!(said.contains(&format!("kept {kept}\n")), "{said}");
    }
    let all =
        plan(&Resources::new(), &observed, Options { delete_data: true, ..Options::default() })
            .expect("no obstacles");
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
    // the stage doesn't send there any more, and its role may not; what was on its way then has
    // time to come
    let after = "Trim of role hooks-dev-us-east-1, Trim of role hooks-prod-us-east-1, stage dev, stage prod";
    assert!(said.contains(&format!("Wait Drain of queue dead-dev < {after}\n")), "{said}");
    assert!(said.contains("DeleteQueue queue mail-prod < Drain of queue dead-dev, "), "{said}");
    assert!(said.contains("UpdateStage stage prod"), "{said}");
}

#[test]
fn a_queue_is_deleted_a_minute_after_whatever_may_send_there_was_stopped() {
    let old = wanted(YAML);
    let queues = |plan: &Plan| {
        let waits = waits(plan, Step::Drain);
        let of = |waiting: &[String]| {
            waiting.iter().filter(|id| id.starts_with("queue ")).cloned().collect::<Vec<_>>()
        };
        waits
            .iter()
            .map(|(seconds, waiting)| format!("{seconds} s: {}", of(waiting).join(", ")))
            .collect::<Vec<_>>()
    };
    let all = ["60 s: queue dead-dev, queue dead-prod, queue mail-dev, queue mail-prod"];
    // what is to go with its messages needs no look
    let teardown = |delete_data| Options { delete_data, ..Options::default() };
    let gone =
        |data| plan(&Resources::new(), &converged(&old), teardown(data)).expect("no obstacles");
    assert_eq!(
        (queues(&gone(false)), queues(&gone(true))),
        (all.map(str::to_owned).to_vec(), vec![])
    );
    let drain = gone(false)
        .changes
        .into_iter()
        .find(|change| change.key.step == Step::Drain)
        .expect("it waits");
    assert!(drain.takes_away(), "only after the probe");
    for stopped in ["function hooks-dev", "function hooks-prod", "api hooks", "stage prod"] {
        assert!(
            drain.after.iter().any(|key| key.id.to_string() == stopped),
            "{stopped}: {drain:?}"
        );
    }

    // only the dead letters go: SQS takes a minute to know that the queue gives up on none
    let without = YAML.replace(", dead_letter: { queue: 'dead-${stage}', after: 5 }", "");
    let dead = planned(&wanted(&without), &converged(&old));
    assert_eq!(queues(&dead), ["60 s: queue dead-dev, queue dead-prod"]);
    let drain =
        dead.changes.iter().find(|change| change.key.step == Step::Drain).expect("it waits");
    assert!(drain.after.iter().any(|key| key.id.to_string() == "queue mail-prod"), "{drain:?}");

    // a deploy that was cut off after the stages' move: what they were before tells
    let yaml = YAML.replace("queue: 'mail-${stage}'", "queue: 'post-${stage}'");
    let new = wanted(&yaml);
    let mut cut_off = moved(&converged(&old), &new, "dev");
    for (id, queue) in &old {
        if id.kind == Kind::Queue {
            cut_off.resources.entry(id.clone()).or_insert_with(|| queue.clone());
        }
    }
    assert_eq!(queues(&planned(&new, &cut_off)), ["60 s: queue mail-dev, queue mail-prod"]);
    // one that an earlier deploy kept, and that nothing names any more
    let mut kept = converged(&new);
    let id = Id::new(Kind::Queue, "mail-dev");
    let mut queue = old[&id].clone();
    if let Resource::Queue(queue) = &mut queue {
        queue.redrive = None;
    }
    kept.resources.insert(id, queue);
    let plan = planned(&new, &kept);
    assert_eq!(
        (queues(&plan), shown(&plan).contains("DeleteQueue queue mail-dev")),
        (vec![], true)
    );
}

#[test]
fn a_route_in_service_that_goes_is_told_and_so_is_a_whole_stage() {
    let old = wanted(YAML);
    let lost = |desired: &Resources, observed: &Observed| {
        planned(desired, observed).lost.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let renamed = YAML.replace("  /input:", "  /events:");
    let said = "/input goes: providers that post to it get 403 (stages dev, prod)";
    assert_eq!(lost(&wanted(&renamed), &converged(&old)), [said]);
    // same variable, another path
    let dotted = wanted(&YAML.replace("  /input:", "  /in/put:"));
    let said = "/in/put goes: providers that post to it get 403 (stages dev, prod)";
    assert_eq!(
        lost(&wanted(&YAML.replace("  /input:", "  /in.put:")), &converged(&dotted)),
        [said]
    );

    // a deploy of one stage, then the other's, which serves an older API by then
    let only = |yaml: &str, stage: &str| {
        let mut file = stack(yaml);
        file.stages.retain(|known| known.name == stage);
        desired(
            &file,
            &Inputs { account: &account(), code_sha256: "code1=", existing: &BTreeMap::new() },
        )
    };
    let mut one = converged(&old);
    one.resources.remove(&Id::new(Kind::Stage, "prod"));
    assert_eq!(
        lost(&only(&renamed, "dev"), &one),
        ["/input goes: providers that post to it get 403 (stage dev)"]
    );
    let mut behind = converged(&old);
    behind.resources.extend(wanted(&renamed).into_iter().filter(|(id, _)| id.kind == Kind::Api));
    behind.resources.remove(&Id::new(Kind::Stage, "dev"));
    assert_eq!(
        lost(&only(&renamed, "prod"), &behind),
        [
            "the route of stage variable destination_input goes: providers that post to it get 403 (stage prod)"
        ]
    );

    let fewer = wanted(&YAML.replace("  prod: { variables: { team: payments } }\n", ""));
    assert_eq!(
        lost(&fewer, &converged(&old)),
        ["stage prod goes: providers that post to it get 403"]
    );
    // one more route, other settings, a teardown: nothing that isn't known
    let more = YAML.replace(
        "  /mail:",
        "  /more:\n    s3: { bucket: 'hooks-${stage}', prefix: more/ }\n  /mail:",
    );
    assert_eq!(lost(&wanted(&more), &converged(&old)), [] as [String; 0]);
    assert_eq!(
        lost(&wanted(&YAML.replace("prefix: in/", "prefix: other/")), &converged(&old)),
        [] as [String; 0]
    );
    assert_eq!(lost(&Resources::new(), &converged(&old)), [] as [String; 0]);
}

#[test]
fn an_allowed_bucket_is_looked_at_like_an_existing_one_and_its_key_is_granted() {
    let yaml = YAML.replace(
        "prefix: in/, expire_after: 400",
        "allow: [acme-archive/teamA, 'hooks-${stage}/more']",
    );
    let id = Id::new(Kind::Bucket, "acme-archive");
    assert_eq!(
        crate::desired::existing(&stack(&yaml), &account()),
        [id.clone()].into(),
        "not what the stack makes itself"
    );
    let key = "arn:aws:kms:us-east-1:123456789012:key/k".to_owned();
    let existing = BTreeMap::from([(id.clone(), Existing::Found { key: Some(key.clone()) })]);
    let mut resources = desired(
        &stack(&yaml),
        &Inputs { account: &account(), code_sha256: "code1=", existing: &existing },
    );
    assert_eq!(role_policy(&mut resources, "prod").keys, [key].into());

    let places = crate::desired::named(&stack(&yaml), &account());
    let said = |existing: Existing| {
        let observed =
            Observed { existing: BTreeMap::from([(id.clone(), existing)]), ..Observed::default() };
        let failures =
            plan(&resources, &observed, Options { places: places.clone(), ..Options::default() })
                .err()
                .unwrap_or_default();
        failures.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(said(Existing::Found { key: None }), [] as [String; 0]);
    assert_eq!(
        said(Existing::Missing),
        [
            "hooks.yaml:4 (route /input): bucket acme-archive: the route's `allow` names it, but there is no such bucket\n  \
          = help: correct its name in `allow`, or create it first"
        ]
    );
    assert_eq!(
        said(Existing::Unusable {
            why: "the bucket is not in us-east-1".into(),
            now: "name another".into()
        }),
        [
            "hooks.yaml:4 (route /input): bucket acme-archive: the bucket is not in us-east-1\n  = help: name another"
        ]
    );
}

#[test]
fn an_api_with_somebody_elses_stage_is_kept() {
    let mut observed = converged(&wanted(YAML));
    observed.api.as_mut().expect("it is there").foreign_stages = vec!["blue".into()];
    let said = shown(&planned(&Resources::new(), &observed));
    assert!(
        said.contains("kept api hooks: it has stages that routeto didn't make: blue"),
        "{said}"
    );
    assert!(said.contains("DeleteStage stage dev"), "{said}");
}

#[test]
fn a_resource_of_our_name_that_isnt_ours_stops_everything() {
    let mut observed = Observed::default();
    observed
        .foreign
        .insert(Id::new(Kind::Queue, "mail-dev"), "it lacks the tag routeto:stack=hooks".into());
    let failures = plan(&wanted(YAML), &observed, Options::default()).expect_err("an obstacle");
    assert_eq!(failures.len(), 1);
    assert_eq!(
        failures[0].to_string(),
        "queue mail-dev: a queue of this name is there already and isn't this stack's (it lacks the tag routeto:stack=hooks)\n  \
         = help: choose another name, say `existing: true` to use that one as it is, or remove or tag it by hand; \
         routeto never touches what doesn't carry its tag"
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

/// The history says what goes before anything does, and goes last: then names need not be kept by
/// the order of the deletions.
#[test]
fn a_teardown_of_all_is_written_down_first_and_its_history_goes_last() {
    let observed = converged(&wanted(YAML));
    let named: BTreeSet<Id> =
        observed.resources.keys().filter(|id| id.kind == Kind::Role).cloned().collect();
    let plan = plan(
        &Resources::new(),
        &observed,
        Options { delete_data: true, named, ..Options::default() },
    )
    .expect("no obstacles");
    let journal =
        plan.changes.iter().find(|change| change.key.step == Step::Journal).expect("a journal");
    let Action::Journal { going } = &journal.action else { panic!("{journal:?}") };
    let holds: BTreeSet<String> = observed
        .resources
        .keys()
        .filter(|id| matches!(id.kind, Kind::Bucket | Kind::Queue | Kind::Stage))
        .map(ToString::to_string)
        .collect();
    assert_eq!(going.iter().cloned().collect::<BTreeSet<_>>(), holds);
    for change in &plan.changes {
        let waits = match change.key.id.kind {
            Kind::Role => true,
            Kind::LogGroup => change.key.step == Step::Main,
            _ => false,
        };
        assert!(!waits || change.after.contains(&journal.key), "{change:?}");
    }
    let history = plan
        .changes
        .iter()
        .find(|change| change.key.id == journal.key.id && change.key.step == Step::Main)
        .expect("the group");
    let before = plan
        .changes
        .iter()
        .filter(|change| change.key != history.key && change.key.id.kind != Kind::Role);
    assert!(before.map(|change| &change.key).all(|key| history.after.contains(key)), "{history:?}");
    // roles of the file's stages are found by their names
    assert!(history.after.iter().all(|key| key.id.kind != Kind::Role), "{history:?}");
}

/// What the plan does to the throttle of `dev`, where the file has this one for it.
fn throttle_planned(file: &str, observed: &Observed) -> Vec<Option<ThrottlePatch>> {
    let desired = wanted(&YAML.replace("{ throttle: { rate: 5, burst: 10 } }", file));
    let patch = |change: &Change| match &change.action {
        Action::UpdateStage { patch, .. } => Some(patch.throttle),
        _ => None,
    };
    planned(&desired, observed).changes.iter().filter_map(patch).collect()
}

#[test]
fn a_throttle_that_leaves_the_file_takes_no_other_setting_with_it() {
    for (other_settings, patch) in
        [(true, ThrottlePatch::Unlimited), (false, ThrottlePatch::Remove)]
    {
        let mut observed = converged(&wanted(YAML));
        observed.stages.get_mut("dev").expect("a stage").other_settings = other_settings;
        assert_eq!(throttle_planned("{}", &observed), [Some(patch)]);
        assert_eq!(throttle_planned("{ throttle: { rate: 5, burst: 10 } }", &observed), []);
    }
}

#[test]
fn a_throttle_that_is_no_lower_than_the_accounts_is_none() {
    let (most, small, raised) = ((10_000.0, 5_000), (2_500.0, 1_250), (20_000.0, 10_000));
    for (account, rate, burst, sets) in [
        (Some(most), 10_000.0, 5_000, false),
        (Some(small), 2_500.0, 1_250, false),
        (Some(small), 10_000.0, 5_000, false),
        (Some(small), 2_499.0, 1_250, true),
        (Some(small), 2_500.0, 1_249, true),
        (Some(most), 2_500.0, 1_250, true),
        (Some(raised), 10_000.0, 5_000, true),
        (None, 10_000.0, 5_000, true),
    ] {
        let mut observed =
            converged(&wanted(&YAML.replace("{ throttle: { rate: 5, burst: 10 } }", "{}")));
        observed.api.as_mut().expect("an API").account_throttle = account;
        let planned = throttle_planned(
            &format!("{{ throttle: {{ rate: {rate}, burst: {burst} }} }}"),
            &observed,
        );
        let wanted: Vec<_> =
            sets.then_some(Some(ThrottlePatch::Set(rate, burst))).into_iter().collect();
        assert_eq!(planned, wanted, "{rate}, {burst} where the account has {account:?}");
    }
}

#[test]
fn a_stage_that_is_made_after_a_cut_off_deploy_gets_the_files_throttle_as_a_first_one_does() {
    let yaml = YAML.replace(
        "{ throttle: { rate: 5, burst: 10 } }",
        "{ throttle: { rate: 500, burst: 1000 } }",
    );
    let wanted = wanted(&yaml);
    let mut observed = converged(&wanted);
    observed.api.as_mut().expect("an API").account_throttle = Some((500.0, 1000));
    observed.resources.retain(|id, _| id.kind != Kind::Stage);
    observed.stages.clear();
    let plan = plan(&wanted, &observed, Options::default()).expect("a plan");
    let made: Vec<_> = plan
        .changes
        .iter()
        .filter_map(|change| match &change.action {
            Action::CreateStage { stage, .. } => Some(stage.throttle),
            _ => None,
        })
        .collect();
    assert!(made.contains(&Some((500.0, 1000))), "{made:?}");
}
