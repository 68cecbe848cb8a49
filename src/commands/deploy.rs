//! `routeto deploy`: build, plan, apply, probe.

use super::{
    Context, Planned, can_invoke, invoke_url,
    probe::{self, Inflates, Probed, Unproven},
    rollback,
};
use crate::{
    apply::{Applied, go_on},
    aws::{
        Aws,
        execute::AwsExecutor,
        lambda,
        observe::{self, Begun},
    },
    cli, desired,
    error::{Error, Failure, Result},
    observed::{Secret, StageState},
    openapi,
    package::Artifact,
    plan::{Action, Change, Key, Late, Step, Verb},
    previous::Previous,
    report::{Style, json},
    resource::{Id, Kind, Resource, Stage},
    spec::{Stack, TokenRule},
    token,
};
use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

pub async fn run(context: &Context, args: cli::Deploy) -> Result<()> {
    let start = Instant::now();
    let stack = context.load(&args.stack)?;
    let stages = context.stages(&stack, &args.stages)?;
    let tokens = Tokens::from_environment(&stages)?;
    let aws = context.connect(&stack).await?;
    let whole = args.stages.stages.is_empty();
    let look = observe::Look { stack: &stack, stages: stages.clone(), whole, contents: false };
    // Looking at AWS needs no zip: both at once.
    let (artifact, mut begun) = futures_util::try_join!(
        context.artifact(&stack, &args.zip),
        Begun::new(&aws, look.clone())
    )?;
    if begun.lock.is_stale() {
        begun = Begun::new(&aws, look).await?;
    }
    let work = Work { context, stack: &stack, stages: &stages, aws: &aws, artifact: &artifact };
    let first = if work.has_something_to_do(&begun) {
        None
    } else {
        let planned = async {
            Context::planned(
                &stack,
                &stages,
                &artifact,
                begun.account.clone(),
                begun.rest(&aws).await?,
            )
        };
        match planned.await {
            Ok(first) => Some(first),
            // What is in the way, or went meanwhile, may be another command's half-made work, which
            // began after our first wave: it is waited for.
            Err(error) => {
                match begun.lock.has_changed(&aws, &desired::name::history(&stack.name)).await {
                    Ok(true) => None,
                    _ => return Err(error),
                }
            }
        }
    };
    let done = match first {
        Some(first) if first.plan.is_empty() => {
            first.plan.risks.iter().for_each(|risk| context.report.warning(&risk.to_string()));
            let (tokens, given, back) = Default::default();
            let mut done =
                Deployed { planned: first, applied: Applied::default(), tokens, given, back };
            work.prove_what_stands(&begun, &mut done, &args).await?;
            done
        }
        first => {
            context.under_lock(work.under_lock(&begun, first, &args, tokens).boxed_local()).await?
        }
    };
    report(context, &stack, &stages, &aws, &done, &args, start)?;
    for stage in stack
        .in_order(&stages)
        .into_iter()
        .filter(|stage| needs_token(&stack) && may_be_unknown(&begun, &done, stage))
    {
        let command = format!("{} --stage {stage}", args.stack.command("set-token"));
        context
            .report
            .note(&format!("stage {stage} has a token from an interrupted deploy; if you don't have it, make another: {command}"));
    }
    Ok(())
}

/// Whoever made the stage was killed, it may be before its token was shown: it never moved since,
/// and no deploy of it is known to have ended.
fn may_be_unknown(begun: &Begun<'_>, done: &Deployed, stage: &str) -> bool {
    let Some(state) = done.planned.observed.stages.get(stage) else { return false };
    let serves = (state.deployment.as_str(), state.version.as_deref().unwrap_or_default());
    let given = std::env::var(variable(stage)).or_else(|_| std::env::var("ROUTETO_TOKEN"));
    !token::is_shut(&state.valid_token)
        && begun.last_deployed(stage) != Some(serves)
        && Previous::read(&state.variables).is_none()
        && !given.is_ok_and(|token| token::opens(&state.valid_token, &token))
}

struct Work<'a> {
    context: &'a Context,
    stack: &'a Stack,
    stages: &'a BTreeSet<String>,
    aws: &'a Aws,
    artifact: &'a Artifact,
}

struct Deployed {
    planned: Planned,
    applied: Applied,
    /// Tokens of the stages that were made, in clear.
    tokens: BTreeMap<String, Secret>,
    /// The variables of the environment that some of those are from.
    given: BTreeMap<String, String>,
    /// Deployment and version of stages that were rolled back.
    back: BTreeMap<String, (String, String)>,
}

impl Work<'_> {
    /// What the first wave tells already: the API is of another document, or a function of other
    /// code. Then the lock can be taken while the second wave is on its way; everything else,
    /// and a stack that never was, has to be seen first.
    fn has_something_to_do(&self, begun: &Begun<'_>) -> bool {
        let Some(codes) = begun.codes() else { return false };
        let api = desired::api(self.stack, &begun.account, &desired::tags(self.stack));
        let written = begun
            .api_description()
            .is_some_and(|description| description == openapi::description(&api));
        begun.lock.is_free()
            && begun.api_description().is_some()
            && (!written || codes.iter().any(|code| *code != self.artifact.code_sha256))
    }

    async fn under_lock(
        &self,
        begun: &Begun<'_>,
        first: Option<Planned>,
        args: &cli::Deploy,
        tokens: Tokens,
    ) -> Result<Deployed> {
        let Work { context, stack, stages, aws, artifact, .. } = *self;
        // Another deploy may have ended between our look and the lock: the lock's number tells. If
        // none has, what was seen still is so, but for the first wave, which another
        // deploy's end may have met; where it saw nothing at all, there is nothing to end.
        let (taken, still, rest) = futures_util::join!(
            context.take_lock(
                aws,
                stack,
                &begun.account,
                "deploy",
                args.break_lock,
                Some(&begun.lock)
            ),
            async { if begun.saw_nothing() { Ok(true) } else { begun.still(aws).await } },
            async { if first.is_some() { None } else { Some(begun.rest(aws).await) } },
        );
        let undisturbed = taken? && still?;
        let planned =
            |observed| Context::planned(stack, stages, artifact, begun.account.clone(), observed);
        let planned = match (undisturbed, first, rest) {
            (true, Some(first), _) if begun.lock.is_free() => first,
            // The lock was taken by making its group.
            (true, Some(Planned { mut observed, .. }), _) => {
                let group = Resource::LogGroup(context.lock_group(stack));
                observed.resources.entry(group.id()).or_insert(group);
                planned(observed)?
            }
            (true, None, Some(rest)) => planned(rest?)?,
            _ => planned(begun.again(aws).await?)?,
        };
        let new: BTreeSet<String> = planned
            .plan
            .with(Verb::Create)
            .filter(|change| change.key.id.kind == Kind::Stage)
            .map(|change| change.key.id.name.clone())
            .collect();
        let shows = context.report.shows_tokens(args.show_token);
        let (clear, given) = tokens.of(&new, shows)?;
        if shows {
            // Whoever gave one has it.
            let shown =
                clear.iter().filter(|(stage, _)| args.show_token || !given.contains_key(*stage));
            *context.unshown() =
                shown.map(|(stage, token)| (stage.clone(), token.clone())).collect();
        }
        let valid: BTreeMap<String, Secret> =
            clear.iter().map(|(stage, token)| (stage.clone(), token::first(token))).collect();
        let account = planned.account.clone();
        let executor = AwsExecutor {
            aws,
            account: &account,
            stack: &stack.name,
            zip: &artifact.zip,
            tokens: &valid,
            lock: context.held(),
        };
        if !context.report.json {
            context.report.note(context.report.summary(&planned.plan).trim_end());
        }
        // While it can still be stopped.
        planned.plan.lost.iter().for_each(|lost| context.report.warning(&lost.to_string()));
        planned.plan.risks.iter().for_each(|risk| context.report.warning(&risk.to_string()));
        let applied =
            go_on(Applied::default(), part(&planned, false), &executor, &*context.progress)
                .boxed_local()
                .await;
        let tokens: BTreeMap<String, Secret> = clear
            .into_iter()
            .filter(|(stage, _)| {
                applied.done.iter().any(|key| key.id == Id::new(Kind::Stage, stage))
            })
            .collect();
        // One of a stage that failed may be set all the same: making it takes two calls.
        let tried = |stage: &String| {
            applied.failed.iter().any(|(key, _)| key.id == Id::new(Kind::Stage, stage))
        };
        context.unshown().retain(|stage, _| tokens.contains_key(stage) || tried(stage));
        let mut done = Deployed { planned, applied, tokens, given, back: BTreeMap::new() };
        // What the former state needs goes only when the new one is known to work.
        let proven = match failures(&done.applied) {
            Ok(()) => self.prove(begun, &mut done, stages, args).await,
            Err(error) => Err(error),
        };
        let outcome = match proven {
            Ok(()) => {
                done.applied = go_on(
                    std::mem::take(&mut done.applied),
                    part(&done.planned, true),
                    &executor,
                    &*context.progress,
                )
                .await;
                failures(&done.applied)
            }
            Err(error) => Err(error),
        };
        // What follows is nobody else's concern, so the lock goes back meanwhile.
        futures_util::join!(
            self.remember(&done, if outcome.is_ok() { "deployed" } else { "failed" }),
            context.release()
        );
        // A token that was made is shown all the same: the next run won't make it again.
        outcome.inspect_err(|_| {
            context.show_tokens();
        })?;
        // the report has them
        context.unshown().clear();
        Ok(done)
    }

    fn desired_stage<'a>(&self, done: &'a Deployed, name: &str) -> Option<&'a Stage> {
        match done.planned.desired.get(&Id::new(Kind::Stage, name)) {
            Some(Resource::Stage(stage)) => Some(stage),
            _ => None,
        }
    }

    /// One line in the stack's history. A history that can't be written doesn't undo a deploy.
    async fn remember(&self, done: &Deployed, outcome: &str) {
        let serving: Map<String, Value> = self
            .stages
            .iter()
            .map(|stage| {
                let (deployment, version) = serving(done, stage);
                let digest = self.desired_stage(done, stage).filter(|_| !done.back.contains_key(stage)).map(Stage::digest);
                (stage.clone(), json!({"deployment_id": deployment, "function_version": version, "stage": digest}))
            })
            .collect();
        let api = done.planned.desired.values().find_map(|resource| match resource {
            Resource::Api(api) => Some(api.digest()),
            _ => None,
        });
        let line = json!({
            "what": outcome, "who": done.planned.account.caller, "commit": commit(),
            "stages": self.stack.in_order(self.stages),
            "code": self.artifact.code_sha256, "api": api, "serving": serving,
            "changes": json::changes(&done.planned.plan, Some(&done.applied)), "routeto": env!("CARGO_PKG_VERSION"),
        });
        self.context.remember(self.aws, &self.stack.name, &line).await;
    }

    /// There is nothing to do; but a deploy that was cut off after it moved a stage, or that heard
    /// nothing of it, has proven nothing.
    async fn prove_what_stands(
        &self,
        begun: &Begun<'_>,
        done: &mut Deployed,
        args: &cli::Deploy,
    ) -> Result<()> {
        let proven = |name: &&String| {
            let state = done.planned.observed.stages.get(*name);
            self.desired_stage(done, name)
                .zip(state)
                .is_some_and(|(stage, state)| begun.is_proven(stage, state))
        };
        let unproven: BTreeSet<String> =
            self.stages.iter().filter(|name| !proven(name)).cloned().collect();
        if unproven.is_empty() || !can_invoke(self.aws) {
            return Ok(());
        }
        // The lock is taken only where a stage goes back, and then once for all of them.
        self.context.under_lock(self.prove(begun, done, &unproven, args).boxed_local()).await?;
        self.remember(done, "deployed").await;
        Ok(())
    }

    /// Waits for versions that no deploy is known to have waited for: one that was cut off made its
    /// stage before. Where Lambda can't make one ready, it alone says why.
    async fn ready(
        &self,
        begun: &Begun<'_>,
        done: &Deployed,
        stages: &BTreeSet<String>,
    ) -> Result<()> {
        let versions = stages.iter().filter_map(|name| {
            let function = &self.desired_stage(done, name)?.function_name;
            let (_, version) = serving(done, name);
            let awaited = done
                .applied
                .done
                .contains(&Key { id: Id::new(Kind::Function, function), step: Step::Ready });
            let known = begun.last_deployed(name).is_some_and(|(_, last)| last == version);
            (!awaited && !known).then_some((function, version))
        });
        let progress = self.context.progress.clone();
        let tell = &move |reason: String| progress.step(&reason);
        let all = versions.map(|(function, version)| async move {
            let ready = lambda::active(self.aws, function, &version, tell).await;
            ready.map_err(|error| error.about(Id::new(Kind::Function, function)))
        });
        futures_util::future::try_join_all(all).await?;
        self.context.progress.step_done();
        Ok(())
    }

    /// Probes what was deployed; a stage that moved and gives wrong answers goes back.
    async fn prove(
        &self,
        begun: &Begun<'_>,
        done: &mut Deployed,
        stages: &BTreeSet<String>,
        args: &cli::Deploy,
    ) -> Result<()> {
        let Work { context, stack, aws, .. } = *self;
        if !can_invoke(aws) {
            context
                .report
                .note("not probed: this endpoint isn't AWS's; set ROUTETO_INVOKE_URL to where its stages answer ({api}, {stage})");
            return Ok(());
        }
        let Some(api) = api_id(done) else { return Ok(()) };
        self.ready(begun, done, stages).await?;
        let observed = &done.planned.observed;
        let inflates = probe::inflates(
            aws.endpoint_url.is_some(),
            observed.api.as_ref().map(|api| &api.carried),
        );
        if let Inflates::Larger(bytes) = inflates {
            context.report.note(&format!(
                "API Gateway inflates no gzip'd body below {bytes} bytes: that is this API's \
                 minimum compression size. Such a JSON body is stored damaged; remove the setting, \
                 or set it to 0"
            ));
        }
        context.progress.step("probing every route");
        let progress = context.progress.clone();
        let tell = move |reason: String| progress.step(&format!("probing: {reason}"));
        let probed =
            futures_util::future::join_all(stack.in_order(stages).into_iter().map(|name| {
                let (url, token, tell) =
                    (invoke_url(&done.planned.account, &api, name), done.tokens.get(name), &tell);
                // Whose requests a web ACL lets through is the user's affair.
                let web_acl = observed.stages.get(name).is_some_and(|state| state.web_acl);
                let closed = observed
                    .api
                    .as_ref()
                    .and_then(|api| probe::may_keep_out(&api.carried, web_acl));
                async move {
                    (name, probe::stage(stack, name, &url, token, closed, inflates, tell).await)
                }
            }))
            .await;
        context.progress.step_done();
        let mut failures = vec![];
        for (name, outcome) in probed {
            let unproven = match outcome {
                Ok(Probed { reached: true, coded }) => {
                    coded.iter().for_each(|words| context.report.warning(words));
                    continue;
                }
                Ok(Probed { reached: false, .. }) => {
                    context.report.note(&format!("stage {name} is not probed: the API's own settings (its resource policy, its web ACL, or the disabled default endpoint) keep this machine out"));
                    continue;
                }
                Err(unproven) => unproven,
            };
            let wrong = unproven.iter().any(|unproven| unproven.wrong);
            // What to do about wrong answers is said once, with what became of the stage.
            failures.extend(unproven.into_iter().map(|Unproven { failure, .. }| {
                if wrong { Failure { now: None, ..failure } } else { failure }
            }));
            if wrong {
                failures.push(self.go_back(begun, done, name, args).await);
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(Error::Failed(failures)) }
    }

    /// The stage as it is, where a deploy made that of it which was cut off: nobody is known to
    /// have wanted it to stay so. Once the lock is held it is certain that none has come to its
    /// end meanwhile, even where the history doesn't show its line yet.
    async fn cut_off<'a>(
        &self,
        begun: &Begun<'_>,
        done: &'a Deployed,
        name: &str,
    ) -> Option<&'a StageState> {
        if self.context.held().is_some_and(|lock| !lock.nobody_ended_since(&begun.lock)) {
            return None;
        }
        let state = done.planned.observed.stages.get(name)?;
        let stage = self.desired_stage(done, name)?;
        // A history that can't be read tells nothing.
        observe::was_cut_off(self.aws, &self.stack.name, stage, state)
            .await
            .unwrap_or(false)
            .then_some(state)
    }

    /// Rolls a stage back whose new state gives wrong answers; says what became of it.
    async fn go_back(
        &self,
        begun: &Begun<'_>,
        done: &mut Deployed,
        stage: &str,
        args: &cli::Deploy,
    ) -> Failure {
        let id = Id::new(Kind::Stage, stage);
        let moved =
            |change: &&Change| change.key.id == id && done.applied.done.contains(&change.key);
        let seen = match done.planned.plan.changes.iter().find(moved).map(|change| &change.action) {
            Some(Action::UpdateStage { moves: true, .. }) => None,
            Some(Action::CreateStage { .. }) => {
                return Failure::new(
                    id.to_string(),
                    "it is new, so there is nothing to go back to: it stays as it is",
                )
                .now("look at the function's log, then deploy again");
            }
            _ => {
                match self.cut_off(begun, done, stage).await {
                    Some(state) => Some(state),
                    None => {
                        return Failure::new(id.to_string(), "this deploy didn't move it, so it stays as it is").now(format!(
                        "look at the function's log; to go back to what it was: {} --stage {stage}",
                        args.stack.command("rollback")
                    ));
                    }
                }
            }
        };
        if args.no_rollback {
            return Failure::new(id.to_string(), "it stays as it is, as --no-rollback says")
                .now(format!("to go back: {} --stage {stage}", args.stack.command("rollback")));
        }
        self.context.progress.step(&format!("rolling stage {stage} back"));
        let Work { context, aws, stack, .. } = *self;
        let back = async {
            // Where there was nothing else to do, nobody has taken it yet.
            if context.held().is_none() {
                context
                    .take_lock(aws, stack, &done.planned.account, "deploy", args.break_lock, None)
                    .await?;
                if self.cut_off(begun, done, stage).await.is_none() {
                    return Err(Failure::new(
                        id.to_string(),
                        "another command came to its end with it meanwhile",
                    )
                    .into());
                }
            }
            rollback::go_back(context, aws, stack, stage, rollback::Why::Wrong, seen).await
        };
        let back = back.await;
        context.progress.step_done();
        match back {
            Ok((_, back)) => {
                done.back.insert(stage.to_owned(), back.to.clone());
                let (deployment, version) = back.to;
                Failure::new(
                    id.to_string(),
                    format!(
                        "its new state gave wrong answers, so it was rolled back to deployment {deployment}, function version {version}"
                    ),
                )
                .now("look at the function's log, correct what was deployed, and deploy again")
            }
            Err(error) => {
                let why: Vec<String> = match error {
                    Error::Failed(failures) => failures
                        .into_iter()
                        .map(|failure| format!("{}: {}", failure.place, failure.what))
                        .collect(),
                    other => vec![other.to_string()],
                };
                let what = format!(
                    "its new state gives wrong answers, and it couldn't be rolled back: {}",
                    why.join("; ")
                );
                Failure::new(id.to_string(), what).now(format!(
                    "deploy what was deployed before, or: {} --stage {stage}",
                    args.stack.command("rollback")
                ))
            }
        }
    }
}

/// The changes that take away what the former state needs, or the others.
fn part(planned: &Planned, away: bool) -> Vec<&Change> {
    planned.plan.changes.iter().filter(|change| change.takes_away() == away).collect()
}

fn failures(applied: &Applied) -> Result<()> {
    if applied.failed.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(applied.failed.iter().map(|(_, failure)| failure.clone()).collect()))
}

/// Tokens that the environment gives to new stages.
pub struct Tokens {
    pub by_stage: BTreeMap<String, Secret>,
    /// `ROUTETO_TOKEN`, for the one stage that is new.
    pub any: Option<Secret>,
}

impl Tokens {
    pub fn from_environment(stages: &BTreeSet<String>) -> Result<Tokens> {
        let read = |name: &str| -> Result<Option<Secret>> {
            let Some(value) = std::env::var(name).ok().filter(|value| !value.is_empty()) else {
                return Ok(None);
            };
            token::check(&value).map_err(|what| {
                Error::Usage(
                    Failure::new(name, what)
                        .now("set another, or leave it out to get a random one"),
                )
            })?;
            Ok(Some(Secret(value)))
        };
        let mut by_stage = BTreeMap::new();
        for stage in stages {
            if let Some(token) = read(&variable(stage))? {
                by_stage.insert(stage.clone(), token);
            }
        }
        Ok(Tokens { by_stage, any: read("ROUTETO_TOKEN")? })
    }

    /// The tokens of the stages that are made, and the variables that some are from; a stage
    /// without one stays shut until set-token.
    fn of(
        mut self,
        new: &BTreeSet<String>,
        shown: bool,
    ) -> Result<(BTreeMap<String, Secret>, BTreeMap<String, String>)> {
        let (mut tokens, mut given) = (BTreeMap::new(), BTreeMap::new());
        for stage in new {
            let own = self.by_stage.remove(stage).map(|token| (token, variable(stage)));
            let any = if new.len() == 1 {
                self.any.take().map(|token| (token, "ROUTETO_TOKEN".to_owned()))
            } else {
                None
            };
            let token = match own.or(any) {
                Some((token, name)) => {
                    given.insert(stage.clone(), name);
                    Some(token)
                }
                // Where nobody would see it, a random token would only lock everybody out.
                None if shown => Some(token::random().map_err(|what| Failure::new("token", what))?),
                None => None,
            };
            tokens.extend(token.map(|token| (stage.clone(), token)));
        }
        Ok((tokens, given))
    }
}

/// `ROUTETO_TOKEN_PROD` for the stage prod.
pub fn variable(stage: &str) -> String {
    format!("ROUTETO_TOKEN_{}", stage.to_ascii_uppercase().replace('-', "_"))
}

/// The commit that is deployed, as CI systems or git tell it.
pub(super) fn commit() -> Option<String> {
    let from_ci =
        ["GITHUB_SHA", "CI_COMMIT_SHA", "BITBUCKET_COMMIT", "CIRCLE_SHA1", "BUILDKITE_COMMIT"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
    from_ci.or_else(|| {
        let output = std::process::Command::new("git")
            .args(["rev-parse", "HEAD"])
            .stderr(std::process::Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    })
}

fn api_id(done: &Deployed) -> Option<String> {
    if let Some(api) = &done.planned.observed.api {
        return Some(api.id.clone());
    }
    let key = done
        .planned
        .plan
        .with(Verb::Create)
        .find(|change| change.key.id.kind == Kind::Api)?
        .key
        .clone();
    done.applied.outputs.get(&Late::From(key))
}

/// Deployment and version that a stage has now.
fn serving(done: &Deployed, stage: &str) -> (String, String) {
    if let Some(back) = done.back.get(stage) {
        return back.clone();
    }
    let id = Id::new(Kind::Stage, stage);
    for change in &done.planned.plan.changes {
        if let (
            true,
            Action::CreateStage { deployment, version, .. }
            | Action::UpdateStage { deployment, version, .. },
        ) = (change.key.id == id && done.applied.done.contains(&change.key), &change.action)
        {
            let get = |late| done.applied.outputs.get(late).unwrap_or_default();
            return (get(deployment), get(version));
        }
    }
    let state = done.planned.observed.stages.get(stage);
    state
        .map(|state| (state.deployment.clone(), state.version.clone().unwrap_or_default()))
        .unwrap_or_default()
}

fn report(
    context: &Context,
    stack: &Stack,
    stages: &BTreeSet<String>,
    aws: &Aws,
    done: &Deployed,
    args: &cli::Deploy,
    start: Instant,
) -> Result<()> {
    let Some(api) = api_id(done) else {
        return Err(Failure::new("api", "it has no id").now("run the same command again").into());
    };
    let account = &done.planned.account;
    let shut = |stage: &str| match done.planned.observed.stages.get(stage) {
        Some(state) => token::is_shut(&state.valid_token),
        None => !done.tokens.contains_key(stage),
    };
    let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if context.report.json {
        let mut all = Map::new();
        for stage in stack.in_order(stages) {
            let url = invoke_url(account, &api, stage);
            let (deployment, version) = serving(done, stage);
            let routes: Map<String, Value> = stack
                .routes
                .keys()
                .map(|path| (path.clone(), json!(format!("{url}{path}"))))
                .collect();
            let mut entry = json!({"url": url, "routes": routes, "function_version": version, "deployment_id": deployment});
            if let (true, Some(token)) = (args.show_token, done.tokens.get(stage)) {
                entry["token"] = json!(token.0);
            }
            all.insert(stage.clone(), entry);
        }
        let object = json!({
            "version": json::VERSION, "stack": stack.name, "region": aws.region,
            "changes": json::changes(&done.planned.plan, Some(&done.applied)), "stages": all, "seconds": seconds,
            "risks": json::risks(&done.planned.plan),
        });
        context.report.result(&object.to_string());
    } else {
        text(context, stack, stages, done, args, &api, seconds);
    }
    for (stage, state) in stack
        .in_order(stages)
        .into_iter()
        .filter_map(|stage| Some((stage, done.planned.observed.stages.get(stage)?)))
    {
        let given = std::env::var(variable(stage)).ok().filter(|token| !token.is_empty());
        if given.is_some_and(|token| {
            !token::is_shut(&state.valid_token) && !token::opens(&state.valid_token, &token)
        }) {
            let name = variable(stage);
            let command = format!("{} --stage {stage}", args.stack.command("set-token"));
            context.report.warning(&format!(
                "{name} is none of stage {stage}'s tokens, and a deploy changes none: printf %s \"${name}\" | {command} --token-stdin"
            ));
        }
    }
    for stage in
        stack.in_order(stages).into_iter().filter(|stage| shut(stage) && needs_token(stack))
    {
        let command = format!("{} --stage {stage}", args.stack.command("set-token"));
        let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let given = [variable(stage), "ROUTETO_TOKEN".to_owned()].into_iter().find(is_set);
        let now = match given {
            // It would have been taken, had the stage been new, and the only new one.
            Some(name) => format!("printf %s \"${name}\" | {command} --token-stdin"),
            None => format!("{command} --show-token"),
        };
        context.report.warning(&format!(
            "stage {stage} has no token yet and answers 401 to everybody: {now}"
        ));
    }
    Ok(())
}

fn needs_token(stack: &Stack) -> bool {
    stack.routes.values().any(|route| route.token == TokenRule::Query)
}

fn text(
    context: &Context,
    stack: &Stack,
    stages: &BTreeSet<String>,
    done: &Deployed,
    args: &cli::Deploy,
    api: &str,
    seconds: f64,
) {
    let report = &context.report;
    let mut lines = vec![];
    if done.planned.plan.is_empty() {
        lines.push(report.summary(&done.planned.plan).trim_end().to_owned());
    } else {
        lines.push(
            report
                .paint(Style::Bold, &format!("stack {} is deployed ({seconds:.1} s)", stack.name)),
        );
    }
    for kept in &done.planned.plan.kept {
        lines.push(format!("kept: {}, {}", kept.id, kept.why));
    }
    for (key, why) in &done.applied.kept {
        lines.push(format!("kept: {}, {why}", key.id));
    }
    for stage in stack.in_order(stages) {
        let url = invoke_url(&done.planned.account, api, stage);
        let given = done.given.get(stage).filter(|_| done.tokens.contains_key(stage));
        let shown = args.show_token || report.shows_tokens(false) && given.is_none();
        let token = done.tokens.get(stage).filter(|_| shown);
        lines.push(report.paint(Style::Bold, stage));
        lines.extend(route_lines(stack, &url, token));
        match (given, token) {
            (Some(name), _) => {
                lines.push(format!("  (the token is the one in {name}; only its hash is kept)"))
            }
            (None, Some(_)) => {
                lines.push("  (the token is shown this once; only its hash is kept)".into())
            }
            (None, None) => {}
        }
    }
    report.result(&lines.join("\n"));
}

/// `POST <url>/input?token=…`, a line per route.
pub fn route_lines(stack: &Stack, url: &str, token: Option<&Secret>) -> Vec<String> {
    stack.routes.values().map(|route| url_line(url, &route.path, route.token, token)).collect()
}

pub fn url_line(url: &str, path: &str, rule: TokenRule, token: Option<&Secret>) -> String {
    let query = match (rule, token) {
        (TokenRule::None, _) => String::new(),
        (TokenRule::Query, Some(token)) => format!("?token={}", token.0),
        (TokenRule::Query, None) => "?token=…".into(),
    };
    format!("  {url}{path}{query}")
}
