//! `routeto status`: what stands where, and what was changed by hand.

use super::{Context, invoke_url, moment, moment_of, now, set_token::TOKEN_SET};
use crate::{
    aws::{Aws, apigateway, lock, logs, observe},
    cli,
    desired::{self, Inputs, name},
    error::{Error, Result},
    observed::{Account, Observed},
    plan::{Options, Plan, plan},
    previous::Previous,
    report::{Style, plan::holds_data},
    resource::{Id, Kind, Resource, Resources},
    rollback,
    spec::Stack,
    token,
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Lines of the history that are shown.
const HISTORY: i32 = 10;

pub async fn run(context: &Context, args: cli::Status) -> Result<()> {
    let stack = context.load_quietly(&args.stack)?.stack;
    let stages = context.stages(&stack, &args.stages)?;
    let aws = context.connect(&stack).await?;
    let look = observe::Look {
        stack: &stack,
        stages: stages.clone(),
        whole: args.stages.stages.is_empty(),
        contents: false,
    };
    let group = name::history(&stack.name);
    let history = async {
        Ok(logs::history(&aws, &group, HISTORY).await.map_err(|error| error.about("history"))?)
    };
    // Who may not look at it learns all the rest.
    let lock = async { Ok(lock::held(&aws, &group, now()).await.unwrap_or_default()) };
    let ((account, observed), history, lock) =
        futures_util::try_join!(observe::observe(&aws, &look), history, lock)?;
    let served = served(&aws, &observed, &stages).await;
    let mut scope = stack.clone();
    scope.stages.retain(|stage| stages.contains(&stage.name));
    // Status builds nothing: the code that is there counts as wanted.
    let mut desired = desired::desired(
        &scope,
        &Inputs { account: &account, code_sha256: "", existing: &observed.existing },
    );
    take_code(&mut desired, &observed);
    // What is in the way of a deploy is told after what stands: that is when one looks.
    let options = Options { places: desired::named(&scope, &account), ..Options::default() };
    let (drift, in_the_way) = match plan(&desired, &observed, options) {
        Ok(drift) => (Some(drift), vec![]),
        Err(failures) => (None, failures),
    };
    if context.report.json {
        let mut all = Map::new();
        for stage in stack.in_order(&stages) {
            all.insert(
                stage.clone(),
                stage_json(&stack, &observed, &account, stage, &served, aws.seconds()),
            );
        }
        let changes = drift.as_ref().map_or(Value::Null, |drift| {
            crate::report::json::plan(&stack.name, &aws.region, drift)
        });
        let history: Vec<Value> = history
            .iter()
            .filter_map(|(time, line)| {
                let mut line: Map<String, Value> = serde_json::from_str(line).ok()?;
                line.insert("time".into(), json!(moment(*time)));
                Some(Value::Object(line))
            })
            .collect();
        let object = json!({
            "version": 1, "stack": stack.name, "region": aws.region, "account": account.id,
            "deployed": observed.api.is_some(), "stages": all, "drift": changes["differences"], "changes": changes["changes"],
            "risks": changes["risks"],
            "lock": lock, "history": history,
        });
        context.report.result(&object.to_string());
    } else {
        let shown = Shown {
            stack: &stack,
            arg: &args.stack,
            observed: &observed,
            account: &account,
            served: &served,
            now: aws.seconds(),
        };
        context.report.result(&text(
            context,
            &shown,
            &stages,
            drift.as_ref(),
            &history,
            lock.as_deref(),
        ));
    }
    if in_the_way.is_empty() { Ok(()) } else { Err(Error::Failed(in_the_way)) }
}

/// Paths of the routes that a stage serves.
type Served = BTreeMap<String, BTreeSet<String>>;

/// What each stage serves. That is its deployment's content: the API's, unless the API was written
/// since, or the stage went back; then the stage is asked for it. A stage that can't tell is left
/// out.
async fn served(aws: &Aws, observed: &Observed, stages: &BTreeSet<String>) -> Served {
    let api = observed.resources.values().find_map(|resource| match resource {
        Resource::Api(api) => Some(api),
        _ => None,
    });
    let (Some(api), Some(state)) = (api, &observed.api) else { return Served::new() };
    let digest = &api.digest();
    let all = join_all(stages.iter().map(|name| async move {
        let Some(Resource::Stage(stage)) = observed.resources.get(&Id::new(Kind::Stage, name))
        else {
            return None;
        };
        let paths = if stage.api_digest == *digest {
            api.methods
                .iter()
                .filter(|(_, verbs)| verbs.contains_key("POST"))
                .map(|(path, _)| path.clone())
                .collect()
        } else {
            apigateway::served(aws, &state.id, name).await.ok()?.into_keys().collect()
        };
        Some((name.clone(), paths))
    }));
    all.await.into_iter().flatten().collect()
}

/// Each function is wanted with the code that its stage calls.
fn take_code(desired: &mut Resources, observed: &Observed) {
    let codes: Vec<(String, String)> = observed
        .resources
        .values()
        .filter_map(|resource| match resource {
            Resource::Function(function) => {
                Some((function.name.clone(), function.config.code_sha256.clone()))
            }
            _ => None,
        })
        .collect();
    for (name, code) in codes {
        let serving = observed.resources.values().find_map(|resource| match resource {
            Resource::Stage(stage) if stage.function_name == name => {
                stage.function.as_ref().map(|config| config.code_sha256.clone())
            }
            _ => None,
        });
        let code = serving.unwrap_or(code);
        for resource in desired.values_mut() {
            match resource {
                Resource::Function(function) if function.name == name => {
                    function.config.code_sha256.clone_from(&code)
                }
                Resource::Stage(stage) if stage.function_name == name => {
                    if let Some(config) = &mut stage.function {
                        config.code_sha256.clone_from(&code);
                    }
                }
                _ => {}
            }
        }
    }
}

fn stage_json(
    stack: &Stack,
    observed: &Observed,
    account: &Account,
    stage: &str,
    served: &Served,
    now: u64,
) -> Value {
    let (Some(api), Some(state)) = (&observed.api, observed.stages.get(stage)) else {
        return json!({"deployed": false});
    };
    let url = invoke_url(account, &api.id, stage);
    let routes: Map<String, Value> =
        stack.routes.keys().map(|path| (path.clone(), json!(format!("{url}{path}")))).collect();
    let ends = token::ends(&state.valid_token, now);
    let ends: Vec<String> = ends.into_iter().filter_map(moment_of).collect();
    json!({
        "deployed": true, "url": url, "routes": routes, "serves": served.get(stage), "function_version": state.version, "deployment_id": state.deployment,
        "before": Previous::read(&state.variables).map(|before| json!({"function_version": before.version, "deployment_id": before.deployment, "wrong": before.wrong})),
        "has_token": !token::is_shut(&state.valid_token), "old_token_until": ends.last(), "old_tokens_until": ends,
    })
}

/// What the text is about.
struct Shown<'a> {
    stack: &'a Stack,
    arg: &'a cli::StackArg,
    observed: &'a Observed,
    account: &'a Account,
    served: &'a Served,
    /// By AWS's clock, which ends tokens.
    now: u64,
}

fn text(
    context: &Context,
    shown: &Shown<'_>,
    stages: &BTreeSet<String>,
    drift: Option<&Plan>,
    history: &[(i64, String)],
    lock: Option<&str>,
) -> String {
    let report = &context.report;
    let Shown { stack, arg, observed, account, served, now } = *shown;
    let mut past = vec![];
    past.extend(lock.map(|holder| format!("the stack's lock is held: {holder}")));
    if !history.is_empty() {
        past.push(report.paint(Style::Bold, "history"));
        past.extend(history.iter().rev().filter_map(|(time, line)| history_line(*time, line)));
    }
    let Some(api) = &observed.api else {
        let mut lines = vec![format!(
            "stack {} isn't deployed in account {}, {}",
            stack.name, account.id, account.region
        )];
        lines.extend(observed.resources.keys().map(|id| format!("left of it: {id}")));
        if observed.resources.keys().any(|id| !holds_data(id.kind)) {
            let [deploy, teardown] = ["deploy", "teardown"].map(|verb| arg.command(verb));
            lines.push(format!("left by an interrupted command: `{deploy}` continues from there, `{teardown}` removes it"));
        }
        lines.extend(past);
        return lines.join("\n");
    };
    let mut lines = vec![format!(
        "stack {} in account {}, {}, API {}",
        stack.name, account.id, account.region, api.id
    )];
    for stage in stack.in_order(stages) {
        lines.push(report.paint(Style::Bold, stage));
        let Some(state) = observed.stages.get(stage) else {
            lines.push("  not deployed".into());
            continue;
        };
        let url = invoke_url(account, &api.id, stage);
        let destinations = match observed.resources.get(&Id::new(Kind::Stage, stage)) {
            Some(Resource::Stage(stage)) => stage.destinations.clone(),
            _ => Default::default(),
        };
        let serves = served.get(stage);
        for route in stack.routes.values() {
            let destination = destinations
                .get(&route.variable)
                .map(|value| value.split('?').next().unwrap_or(value));
            let destination = match destination {
                Some(destination) if serves.is_none_or(|paths| paths.contains(&route.path)) => {
                    destination
                }
                _ => "not deployed",
            };
            lines.push(format!("  {url}{} → {destination}", route.path));
        }
        for path in serves.into_iter().flatten().filter(|path| !stack.routes.contains_key(*path)) {
            lines.push(format!("  {url}{path} (not in the stack file)"));
        }
        let token = if token::is_shut(&state.valid_token) {
            format!("none yet: {} --stage {stage}", arg.command("set-token"))
        } else {
            let ends: Vec<String> =
                token::ends(&state.valid_token, now).into_iter().filter_map(moment_of).collect();
            match ends.as_slice() {
                [] => "set".to_owned(),
                [until] => format!("set (an older one works until {until})"),
                ends => format!("set (older ones work until {})", ends.join(", ")),
            }
        };
        lines.push(format!(
            "  function version {}, deployment {}, token {token}",
            state.version.as_deref().unwrap_or("?"),
            state.deployment
        ));
        if let Some(before) = Previous::read(&state.variables) {
            let values: Vec<String> =
                before.values.into_iter().flatten().map(|(name, _)| name).collect();
            let way = match rollback::plan(observed, &stack.name, stage, false) {
                Err(_) if before.wrong => "it gave wrong answers, so the stage came back from it, and no rollback goes there".to_owned(),
                Err(failures) => {
                    let why = failures.first().map_or("", |failure| failure.what.trim_start_matches("it can't go back: "));
                    format!("a rollback can't go there: {why}")
                }
                Ok(_) if values.is_empty() => "a rollback goes there".to_owned(),
                Ok(_) => format!("a rollback goes there, with its {}", values.join(", ")),
            };
            lines.push(format!(
                "  before: function version {}, deployment {} ({way})",
                before.version, before.deployment
            ));
        }
    }
    match drift {
        None => {}
        Some(drift) if drift.is_empty() => {
            lines.push("everything is as the stack file says".into());
            lines.extend(drift.kept.iter().map(|kept| format!("kept: {}, {}", kept.id, kept.why)));
            let mut risks = String::new();
            report.risks(&mut risks, drift);
            lines.extend(risks.lines().map(str::to_owned));
        }
        Some(drift) => {
            lines.push(format!(
                "differs from the stack file; `{}` puts it right:",
                arg.command("deploy")
            ));
            lines.push(report.plan(stack, drift).trim_end().to_owned());
        }
    }
    lines.extend(past);
    lines.join("\n")
}

/// When, what, to which stages, by whom, from which commit; what a stage served then; the code's
/// and the API's digests; until when the tokens before a new one work.
fn history_line(time: i64, line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    let who = value["who"].as_str()?.rsplit(':').next()?.to_owned();
    let short = |text: &str| text.get(..10).unwrap_or(text).to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let named =
        list(&value["stages"]).into_iter().filter_map(|stage| stage.as_str().map(str::to_owned));
    // What a teardown of the whole stack was about to take away.
    let going = list(&value["going"])
        .into_iter()
        .filter_map(|id| id.as_str()?.strip_prefix("stage ").map(str::to_owned));
    let stages: Vec<String> = named
        .chain(going)
        .map(|stage| {
            let serving = |what: &str| {
                value["serving"][&stage][what].as_str().filter(|text| !text.is_empty())
            };
            match (serving("function_version"), serving("deployment_id")) {
                (Some(version), Some(deployment)) => {
                    format!("{stage} (version {version}, deployment {deployment})")
                }
                _ => stage,
            }
        })
        .collect();
    let mut more = vec![];
    more.extend(value["commit"].as_str().map(|commit| format!("commit {}", short(commit))));
    more.extend(value["code"].as_str().map(|code| format!("code {}", short(code))));
    more.extend(
        value["api"]
            .as_str()
            .map(|api| format!("API {}", short(api.trim_start_matches("sha256:")))),
    );
    if value["what"] == TOKEN_SET {
        more.push(match value["old_token_until"].as_str() {
            Some(until) => format!("old tokens work until {until}"),
            None => "no older one works".to_owned(),
        });
    }
    let more = more.iter().map(|part| format!(", {part}")).collect::<String>();
    let stages = if stages.is_empty() { String::new() } else { format!(" {}", stages.join(", ")) };
    Some(format!("  {} {}{stages} by {who}{more}", moment(time), value["what"].as_str()?))
}
