//! `routeto set-token`: a new token for a stage; the old one goes on for a while.

use super::{Context, can_invoke, deploy::route_lines, invoke_url, moment_of, probe};
use crate::{
    aws::{apigateway, call::WAITED_TOO_LONG},
    cli,
    error::{Error, Failure, Result},
    observed::Secret,
    resource::STACK_TAG,
    token,
};
use serde_json::json;
use std::io::Read;

/// Bytes read from stdin at most: a token has 256.
const LONGEST_INPUT: u64 = 4096;

pub async fn run(context: &Context, args: cli::SetToken) -> Result<()> {
    if let Some(failure) = token_in_place_of_a_file(&args.stack) {
        return Err(Error::Usage(failure));
    }
    let stack = context.load_quietly(&args.stack)?.stack;
    stack.select_stages(std::slice::from_ref(&args.stage)).map_err(|what| Error::Usage(Failure::new("--stage", what)))?;
    let shown = context.report.shows_tokens(args.show_token);
    let token = if args.token_stdin {
        from_stdin(&format!("{} --stage {} --token-stdin", args.stack.command("set-token"), args.stage)).await?
    } else if shown {
        token::random().map_err(|what| Failure::new("token", what))?
    } else {
        // Nobody would ever see it, and the old one would end with the overlap.
        return Err(Error::Usage(
            Failure::new(
                "set-token",
                "nobody sits at a terminal here (stdout is none, or CI is set), so a random token would be shown to nobody",
            )
            .now("give --show-token, or the token itself with --token-stdin"),
        ));
    };
    let aws = context.connect(&stack).await?;
    let place = format!("stage {}", args.stage);
    let (account, api) =
        futures_util::future::try_join(aws.account(), apigateway::find(&aws, &stack.name)).await.map_err(|error| error.about(&place))?;
    let undeployed = || {
        Failure::new(&place, format!("stack {} has no such stage in {} yet", stack.name, aws.region))
            .now(format!("deploy it first: {}", args.stack.command("deploy")))
    };
    let carried = api.as_ref().map(apigateway::carried).unwrap_or_default();
    let api = api.and_then(|api| api.id).ok_or_else(undeployed)?;
    let found = apigateway::find_stage(&aws, &api, &args.stage).await.map_err(|error| error.about(&place))?.ok_or_else(undeployed)?;
    if found.tags.get(STACK_TAG) != Some(&stack.name) {
        return Err(Failure::foreign(&place, &format!("it lacks the tag {STACK_TAG}={}", stack.name)).into());
    }
    let (closed, found) = (probe::may_keep_out(&carried, found.web_acl), found.valid_token);
    // The gateway's clock ends the old one.
    let seconds = aws.seconds();
    let until = (!args.now && !args.overlap.is_zero()).then(|| seconds + args.overlap.as_secs());
    let (shut, known) = (token::is_shut(&found), token::opens(&found, &token.0));
    let valid = token::rotate(&found, &token, seconds, until);
    // Not always what was asked for: where there was no other token, none goes on.
    let ends = token::old_until(&valid, seconds);
    let progress = context.progress.clone();
    let tell = move |reason: String| progress.step(&reason);
    context.begin();
    if shown && !args.token_stdin {
        // Nobody could make it again: it is shown whatever becomes of the rest.
        context.unshown().insert(args.stage.clone(), token.clone());
    }
    // Where nothing was heard of it, it may be set all the same.
    let set = apigateway::set_valid_token(&aws, &api, &args.stage, &valid, &tell).await;
    set.inspect_err(|error| {
        // An answer that was cut off, or that is no answer of AWS's, has no code.
        if (error.code.is_none() || error.status.is_none_or(|status| status >= 500)) && !error.is(&[WAITED_TOO_LONG]) {
            context.report.warning("nothing was heard of whether the token was set: it may be");
            context.show_tokens();
        }
    })
    .map_err(|error| error.about(&place))?;
    let url = invoke_url(&account, &api, &args.stage);
    if can_invoke(&aws) {
        context.progress.step("waiting until the new token is live");
        let live = probe::live(&stack, &url, &token, closed, &tell).await;
        context.progress.step_done();
        match live {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                context.show_tokens();
                return Err(failure.into());
            }
            None => context.report.note("not waited for: no route can show it from here; it is live within a minute"),
        }
    } else {
        context
            .report
            .note("not waited for: this endpoint isn't AWS's; set ROUTETO_INVOKE_URL to where its stages answer ({api}, {stage})");
    }
    context.unshown().clear();
    if context.report.json {
        let mut object =
            json!({"version": 1, "stack": stack.name, "stage": args.stage, "url": url, "old_token_until": ends.and_then(moment_of)});
        if args.show_token {
            object["token"] = json!(token.0);
        }
        context.report.result(&object.to_string());
        return Ok(());
    }
    let mut lines = vec![match known {
        true => format!("stage {} has this token already; now it is its newest", args.stage),
        false => format!("stage {} has a new token", args.stage),
    }];
    lines.extend(route_lines(&stack, &url, shown.then_some(&token)));
    match ends {
        _ if shut => {}
        None if known && !args.now => {}
        None => lines.push("the old token is shut".into()),
        Some(ends) => lines.push(format!(
            "the old token goes on working for {}: put the new one into the provider's URL by then",
            words(ends.saturating_sub(seconds))
        )),
    }
    context.report.result(&lines.join("\n"));
    Ok(())
}

/// Somebody who gives the token as an argument names, by that, a stack file that isn't there. No message may repeat it.
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
    let wrong = |what: String| Error::Usage(Failure::new("--token-stdin", what).now(format!("printf %s \"$TOKEN\" | {command}")));
    let read = || {
        let mut text = String::new();
        std::io::stdin().take(LONGEST_INPUT).read_to_string(&mut text).map(|_| text)
    };
    // Whoever types it may think better of it: a signal is heard meanwhile.
    let read = tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(error.into()));
    let text = read.map_err(|error| wrong(format!("stdin can't be read as text: {error}")))?;
    // One line break at the end is an editor's or echo's.
    let text = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
    token::check(text).map_err(wrong)?;
    Ok(Secret(text.to_owned()))
}
