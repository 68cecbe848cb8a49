//! `routeto rollback`: a stage goes back to what it was before its last move.

use super::{Context, deploy::commit, invoke_url};
use crate::{
    apply::apply,
    aws::{Aws, execute::AwsExecutor, observe},
    cli,
    error::{Error, Failure, Result},
    observed::{Account, Observed, StageState},
    plan::Key,
    report::json,
    resource::{Id, Kind},
    rollback::{Back, plan},
    spec::Stack,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// After one that wasn't seen to end: what was to happen may have happened.
const LOOK_FIRST: &str = "see with `routeto status` what the stage serves before you roll back once more: that would bring back what it had";

pub async fn run(context: &Context, args: cli::Rollback) -> Result<()> {
    let start = Instant::now();
    let stack = context.load_quietly(&args.stack)?.stack;
    stack
        .select_stages(std::slice::from_ref(&args.stage))
        .map_err(|what| Error::Usage(Failure::new("--stage", what)))?;
    let aws = context.connect(&stack).await?;
    let (account, observed) = look(&aws, &stack, &args.stage).await?;
    plan(&observed, &stack.name, &args.stage, false).map_err(Error::Failed)?;
    let seen = observed.stages.get(&args.stage);
    context.not_simply_again(LOOK_FIRST);
    let work = async {
        context.take_lock(&aws, &stack, &account, "rollback", args.break_lock, None).await?;
        // Another command may have moved the stage between our look and the lock, or brought it
        // back already.
        go_back(context, &aws, &stack, &args.stage, Why::Asked, seen).await
    };
    let (observed, back) = context.under_lock(work).await?;
    let api = observed.api.map(|api| api.id).unwrap_or_default();
    let url = invoke_url(&account, &api, &args.stage);
    let Back { from, to, variables } = back;
    if context.report.json {
        let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let place = |(deployment, version): (String, String)| json!({"deployment_id": deployment, "function_version": version});
        let object = json!({
            "version": json::VERSION, "stack": stack.name, "region": aws.region, "stage": args.stage, "url": url,
            "from": place(from), "to": place(to), "seconds": seconds,
        });
        context.report.result(&object.to_string());
    } else {
        let mut text = format!(
            "stage {} is back at deployment {}, function version {} (was {}, {})\n",
            args.stage, to.0, to.1, from.0, from.1
        );
        variables.iter().for_each(|difference| context.report.difference(&mut text, difference));
        text.push_str(&format!("  {url}\nthe same command once more returns; routeto deploy goes on to what the stack file says"));
        context.report.result(&text);
    }
    Ok(())
}

async fn look(aws: &Aws, stack: &Stack, stage: &str) -> Result<(Account, Observed)> {
    let look = observe::Look {
        stack,
        stages: BTreeSet::from([stage.to_owned()]),
        whole: false,
        contents: false,
    };
    observe::observe(aws, &look).await
}

/// Why a stage goes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody said so.
    Asked,
    /// It gives wrong answers.
    Wrong,
}

/// Looks, plans, and moves the stage in one call; a line in the history follows. The lock is the
/// caller's. Nothing is changed where the stage isn't as it was `seen` before the lock was taken:
/// one step back after another command's would be a step forward.
pub(super) async fn go_back(
    context: &Context,
    aws: &Aws,
    stack: &Stack,
    stage: &str,
    why: Why,
    seen: Option<&StageState>,
) -> Result<(Observed, Back)> {
    let (account, observed) = look(aws, stack, stage).await?;
    // A token that was set meanwhile is no move.
    let place = |state: &StageState| {
        (state.deployment.clone(), state.version.clone(), state.variables.clone())
    };
    if let (Some(seen), Some(found)) = (seen, observed.stages.get(stage))
        && place(seen) != place(found)
    {
        let what = format!(
            "another command changed it meanwhile (it serves deployment {}, function version {}), so nothing was rolled back",
            found.deployment,
            found.version.as_deref().unwrap_or("?")
        );
        return Err(Failure::new(Id::new(Kind::Stage, stage).to_string(), what)
            .now(LOOK_FIRST)
            .into());
    }
    let (plan, back) =
        plan(&observed, &stack.name, stage, why == Why::Wrong).map_err(Error::Failed)?;
    let executor = AwsExecutor {
        aws,
        account: &account,
        stack: &stack.name,
        zip: &[],
        tokens: &BTreeMap::new(),
        lock: context.held(),
    };
    let applied = apply(&plan, &executor, &*context.progress).await;
    let outcome = if applied.failed.is_empty() { "rolled back" } else { "failed" };
    let line = json!({
        "what": outcome, "who": account.caller, "commit": commit(), "stages": [stage],
        "serving": {stage: {"deployment_id": back.to.0, "function_version": back.to.1}}, "routeto": env!("CARGO_PKG_VERSION"),
    });
    context.remember(aws, &stack.name, &line).await;
    if !applied.failed.is_empty() {
        // A call's own hint may be to run the same command again.
        let first = |(key, failure): (Key, Failure)| {
            if key.id.kind == Kind::Stage { failure.now(LOOK_FIRST) } else { failure }
        };
        return Err(Error::Failed(applied.failed.into_iter().map(first).collect()));
    }
    Ok((observed, back))
}
