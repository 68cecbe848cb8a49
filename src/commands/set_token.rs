//! `routeto set-token`: a new token for a stage; the old one goes on for a while.

use super::{
    Context, can_invoke,
    deploy::url_line,
    invoke_url, moment_of, now,
    probe::{self, Showing},
};
use crate::{
    aws::{
        Aws,
        apigateway::{self, FoundToken},
        lock,
        wait::Tell,
    },
    cli,
    error::{Error, Failure, Result},
    observed::{Account, Carried, Secret, ServedRoute},
    resource::STACK_TAG,
    spec::{Stack, TokenRule},
    token,
};
use futures_util::{FutureExt, future::try_join3};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, io::Read};

/// What the history says of one.
pub const TOKEN_SET: &str = "token set";

/// Bytes read from stdin at most: a token has 256.
const LONGEST_INPUT: u64 = 4096;

pub async fn run(context: &Context, args: cli::SetToken) -> Result<()> {
    if let Some(failure) = token_in_place_of_a_file(&args.stack) {
        return Err(Error::Usage(failure));
    }
    let stack = context.load_quietly(&args.stack)?.stack;
    stack
        .select_stages(std::slice::from_ref(&args.stage))
        .map_err(|what| Error::Usage(Failure::new("--stage", what)))?;
    let shown = context.report.shows_tokens(args.show_token);
    let token = if args.token_stdin {
        from_stdin(&format!(
            "{} --stage {} --token-stdin",
            args.stack.command("set-token"),
            args.stage
        ))
        .await?
    } else if shown {
        token::random().map_err(|what| Failure::new("token", what))?
    } else {
        // Nobody would ever see it, and the old one would end with the overlap.
        return Err(Error::Usage(
            Failure::new(
                "set-token",
                "stdout isn't a terminal (or CI is set), so the new token would be lost",
            )
            .now("give --show-token, or the token itself with --token-stdin"),
        ));
    };
    let aws = context.connect(&stack).await?;
    let work = Work {
        context,
        stack: &stack,
        aws: &aws,
        args: &args,
        token: &token,
        show: shown && !args.token_stdin,
    };
    let group = context.lock_group(&stack).name;
    let calls =
        try_join3(aws.account(), apigateway::locate(&aws, &stack.name), lock::look(&aws, &group));
    let (account, api, seen) = calls.await.map_err(|error| error.about(work.place()))?;
    let found = work.find(api).await?;
    match &found {
        // Nothing is written where the token couldn't be.
        Some(found) => drop(work.rotated(found)?),
        // Whoever has the lock may be making the stage.
        None if seen.is_held() => {}
        None => return Err(work.undeployed()),
    }
    let set = context.under_lock(work.set(&account, &seen, found).boxed_local()).await?;
    work.report(&account, &set, shown);
    Ok(())
}

struct Work<'a> {
    context: &'a Context,
    stack: &'a Stack,
    aws: &'a Aws,
    args: &'a cli::SetToken,
    token: &'a Secret,
    /// It was made here, and is to be shown.
    show: bool,
}

/// The stage as it was found.
struct Found {
    /// The API's id.
    api: String,
    carried: Carried,
    stage: FoundToken,
}

/// What was set.
struct Set {
    found: Found,
    valid: Secret,
    /// Seconds since the epoch, by AWS's clock.
    at: u64,
    /// What the stage serves; `None` where that couldn't be told.
    routes: Option<Routes>,
}

type Routes = BTreeMap<String, ServedRoute>;

impl Work<'_> {
    fn place(&self) -> String {
        format!("stage {}", self.args.stage)
    }

    fn undeployed(&self) -> Error {
        let Work { stack, aws, args, .. } = self;
        Failure::new(
            self.place(),
            format!("stack {} has no such stage in {} yet", stack.name, aws.region),
        )
        .now(format!("deploy it first: {}", args.stack.command("deploy")))
        .into()
    }

    async fn find(&self, api: Option<(String, Carried)>) -> Result<Option<Found>> {
        let Some((api, carried)) = api else { return Ok(None) };
        let stage = apigateway::find_stage(self.aws, &api, &self.args.stage);
        let Some(stage) = stage.await.map_err(|error| error.about(self.place()))? else {
            return Ok(None);
        };
        if stage.tags.get(STACK_TAG) != Some(&self.stack.name) {
            return Err(Failure::foreign(
                self.place(),
                &format!("it lacks the tag {STACK_TAG}={}", self.stack.name),
            )
            .into());
        }
        Ok(Some(Found { api, carried, stage }))
    }

    /// What the stage serves. A back end that can't tell, or may not, keeps no token from being
    /// set.
    async fn routes(&self, found: Option<&Found>) -> Option<Routes> {
        apigateway::served(self.aws, &found?.api, &self.args.stage).await.ok()
    }

    /// The stage's `validToken` with the new token, and when that is.
    fn rotated(&self, found: &Found) -> Result<(Secret, u64)> {
        let args = self.args;
        // The gateway's clock ends the old one.
        let at = self.aws.seconds();
        let until = (!args.now).then(|| at + args.overlap.as_secs());
        let valid = &found.stage.valid_token;
        token::rotate(valid, self.token, at, until).map(|valid| (valid, at)).map_err(
            |token::Full| {
                let ends: Vec<String> =
                    token::ends(valid, at).into_iter().filter_map(moment_of).collect();
                let until = match ends.as_slice() {
                    [] => String::new(),
                    ends => format!("; the old ones work until {}", ends.join(", ")),
                };
                let wait =
                    ends.first().map_or(String::new(), |first| format!("wait until {first}, or "));
                let most = token::MOST;
                let what =
                    format!("it has {most} tokens that work, as many as a stage holds{until}");
                Failure::new(self.place(), what)
                    .now(format!("{wait}end all the old ones with --now"))
                    .into()
            },
        )
    }

    /// Takes the lock, reads again what another command may have changed, and sets the token.
    async fn set(&self, account: &Account, seen: &lock::Seen, first: Option<Found>) -> Result<Set> {
        let Work { context, stack, aws, args, token, .. } = *self;
        let (undisturbed, routes) = futures_util::join!(
            context.take_lock(aws, stack, account, "set-token", args.break_lock, Some(seen)),
            self.routes(first.as_ref()),
        );
        let (found, routes) = match (undisturbed?, first) {
            // The lock's number tells that no other command had it since.
            (true, Some(found)) => (found, routes),
            _ => {
                let api = apigateway::locate(aws, &stack.name)
                    .await
                    .map_err(|error| error.about(self.place()))?;
                let found = self.find(api).await?.ok_or_else(|| self.undeployed())?;
                let routes = self.routes(Some(&found)).await;
                (found, routes)
            }
        };
        let (valid, at) = self.rotated(&found)?;
        if let Some(lock) = context.held()
            && !lock.is_ours(&account.caller, now()).await
        {
            // Who waits for this hears that the lock is lost, and drops it.
            return std::future::pending().await;
        }
        if self.show {
            // Nobody could make it again: it is shown whatever becomes of the rest.
            context.unshown().insert(args.stage.clone(), token.clone());
        }
        let progress = context.progress.clone();
        let tell = move |reason: String| progress.step(&reason);
        let set = apigateway::set_valid_token(aws, &found.api, &args.stage, &valid, &tell).await;
        if let Err(error) = set {
            if error.may_have_arrived() {
                context.report.warning("nothing was heard of whether the token was set: it may be");
                context.show_tokens();
            }
            return Err(error.about(self.place()).into());
        }
        let until = token::old_until(&valid, at).and_then(moment_of);
        let line = json!({
            "what": TOKEN_SET, "who": account.caller, "stages": [args.stage], "old_token_until": until,
            "routeto": env!("CARGO_PKG_VERSION"),
        });
        let set = Set { found, valid, at, routes };
        // Other commands need not wait until the token is live.
        let (_, (), live) = futures_util::join!(
            context.remember(aws, &stack.name, &line),
            context.release(),
            self.until_live(account, &set, &tell)
        );
        live.inspect_err(|_| {
            context.show_tokens();
        })?;
        context.unshown().clear();
        Ok(set)
    }

    async fn until_live(&self, account: &Account, set: &Set, tell: Tell<'_>) -> Result<()> {
        let Work { context, stack, aws, args, token, .. } = *self;
        if !can_invoke(aws) {
            let text = "not waited for: this endpoint isn't AWS's; set ROUTETO_INVOKE_URL to where its stages answer ({api}, {stage})";
            context.report.note(text);
            return Ok(());
        }
        let Set { found, routes, .. } = set;
        let showing = match routes {
            Some(routes) => Showing::of_served(routes),
            None => Showing::of_stack(stack, &found.stage.variables),
        };
        context.progress.step("waiting until the new token is live");
        let url = invoke_url(account, &found.api, &args.stage);
        let closed = probe::may_keep_out(&found.carried, found.stage.web_acl);
        let live = match showing {
            Some(showing) => showing.live(&url, token, closed, tell).await,
            None => None,
        };
        context.progress.step_done();
        match live {
            Some(live) => Ok(live?),
            None => {
                context.report.note(
                    "not waited for: no route can show it from here; it is live within a minute",
                );
                Ok(())
            }
        }
    }

    fn report(&self, account: &Account, set: &Set, shown: bool) {
        let Work { context, stack, args, token, .. } = *self;
        let Set { found, valid, at, routes } = set;
        let url = invoke_url(account, &found.api, &args.stage);
        // Not always what was asked for: there may have been no other token.
        let ends = token::ends(valid, *at);
        let served = self.served(routes.as_ref(), &found.stage.variables);
        if context.report.json {
            let routes: Map<String, Value> = served
                .iter()
                .map(|(path, _)| (path.clone(), json!(format!("{url}{path}"))))
                .collect();
            let all: Vec<_> = ends.iter().copied().filter_map(moment_of).collect();
            let mut object = json!({
                "version": 1, "stack": stack.name, "stage": args.stage, "url": url, "routes": routes,
                "old_token_until": all.last(), "old_tokens_until": all,
            });
            if args.show_token {
                object["token"] = json!(token.0);
            }
            context.report.result(&object.to_string());
            return;
        }
        let before = &found.stage.valid_token;
        let known = token::opens(before, &token.0);
        let mut lines = vec![match known {
            true => format!("stage {} has this token already; now it is its newest", args.stage),
            false => format!("stage {} has a new token", args.stage),
        }];
        lines.extend(
            served
                .into_iter()
                .map(|(path, rule)| url_line(&url, &path, rule, shown.then_some(token))),
        );
        let missing = stack
            .routes
            .keys()
            .filter(|path| routes.as_ref().is_some_and(|routes| !routes.contains_key(*path)));
        lines.extend(missing.map(|path| {
            format!(
                "  {path} is in the stack file, but this stage doesn't serve it: {}",
                args.stack.command("status")
            )
        }));
        let last = |text: &str, ends: u64| {
            format!(
                "{text} for {}: put the new one into the provider's URL by then",
                words(ends.saturating_sub(*at))
            )
        };
        match ends.as_slice() {
            _ if token::is_shut(before) => {}
            [] if known && !args.now => {}
            [] => lines.push("the old token no longer works".into()),
            [end] => lines.push(last("the old token goes on working", *end)),
            [first, .., end] => lines.push(format!(
                "{} old tokens go on working, the first of them for {}, the last for {}: put the new one into the provider's URL before \
                 the one that it has ends",
                ends.len(),
                words(first.saturating_sub(*at)),
                words(end.saturating_sub(*at))
            )),
        }
        context.report.result(&lines.join("\n"));
    }

    /// Paths that the stage serves, as far as is known, and whether they ask for a token.
    fn served(
        &self,
        routes: Option<&Routes>,
        variables: &BTreeMap<String, String>,
    ) -> Vec<(String, TokenRule)> {
        let rule = |asks| if asks { TokenRule::Query } else { TokenRule::None };
        match routes {
            Some(routes) => routes
                .iter()
                .map(|(path, route)| (path.clone(), rule(route.asks_for_token)))
                .collect(),
            None => {
                let of_stack = self
                    .stack
                    .routes
                    .values()
                    .filter(|route| variables.contains_key(&route.variable));
                of_stack.map(|route| (route.path.clone(), route.token)).collect()
            }
        }
    }
}

/// Somebody who gives the token as an argument names, by that, a stack file that isn't there. No
/// message may repeat it.
fn token_in_place_of_a_file(arg: &cli::StackArg) -> Option<Failure> {
    let text = arg.path().to_str()?;
    let is_path = text.contains(['/', '.']) || super::stack_path(arg.path()).exists();
    (!is_path && token::check(text).is_ok()).then(|| {
        Failure::new("set-token", "there is no stack file of the name that was given; it isn't shown, since it could be a token")
            .now(token::GIVE_ON_STDIN)
    })
}

fn words(seconds: u64) -> String {
    match seconds {
        s if s % 86_400 == 0 && s > 86_400 => format!("{} days", s / 86_400),
        s if s % 3600 == 0 || s > 7200 => format!("{} h", s / 3600),
        s if s % 60 == 0 || s > 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// The token that `--token-stdin` reads; `command` is how to give it.
pub async fn from_stdin(command: &str) -> Result<Secret> {
    let wrong = |what: String| {
        Error::Usage(
            Failure::new("--token-stdin", what).now(format!("printf %s \"$TOKEN\" | {command}")),
        )
    };
    let read = || {
        let mut text = String::new();
        std::io::stdin().take(LONGEST_INPUT).read_to_string(&mut text).map(|_| text)
    };
    // Whoever types it may think better of it: a signal is heard meanwhile.
    let read = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.into()));
    let text = read.map_err(|error| wrong(format!("stdin can't be read as text: {error}")))?;
    // One line break at the end is an editor's or echo's.
    let text = text
        .strip_suffix('\n')
        .map(|text| text.strip_suffix('\r').unwrap_or(text))
        .unwrap_or(&text);
    token::check(text).map_err(wrong)?;
    Ok(Secret(text.to_owned()))
}
