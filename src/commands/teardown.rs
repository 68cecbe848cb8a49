//! `routeto teardown`: the plan to nothing.

use super::{Context, deploy::commit};
use crate::{
    apply::{Applied, apply},
    aws::{
        Aws,
        execute::AwsExecutor,
        observe::{self, Begun},
    },
    cli,
    desired::{self, name},
    error::{Error, Failure, Result},
    observed::{Account, Observed},
    plan::{Kept, Options, Plan, Step, destinations_of, plan},
    report::json,
    resource::{Id, Kind, Resource, Resources},
    spec::Stack,
};
use futures_util::FutureExt;
use serde_json::json;
use std::{collections::BTreeMap, time::Instant};

pub async fn run(context: &Context, args: cli::Teardown) -> Result<()> {
    let start = Instant::now();
    let stack = context.load_quietly(&args.stack)?.stack;
    let stages = context.stages(&stack, &args.stages)?;
    let asks = !args.yes && !args.dry_run;
    if asks && !can_ask(context) {
        return Err(unconfirmed(&args));
    }
    let aws = context.connect(&stack).await?;
    let named = stack
        .stages
        .iter()
        .map(|stage| Id::new(Kind::Role, name::role(&stack.name, &stage.name, &aws.region)))
        .collect();
    let look = Look {
        stack: &stack,
        options: Options { delete_data: args.delete_data, named, ..Options::default() },
    };
    let whole = args.stages.stages.is_empty();
    let what = match whole {
        true => format!("stack {}", stack.name),
        false => {
            let named: Vec<String> =
                stack.in_order(&stages).into_iter().map(|stage| format!("stage {stage}")).collect();
            format!("{} of stack {}", named.join(", "), stack.name)
        }
    };
    let begun = Begun::new(
        &aws,
        observe::Look { stack: &stack, stages: stages.clone(), whole, contents: true },
    )
    .await?;
    // Where there is something to delete and nothing to ask, the lock is taken while the second
    // wave is on its way.
    let first = if begun.stands() && begun.lock.is_free() && args.yes && !args.dry_run {
        None
    } else {
        let first = look.plan(&aws, &begun.account, begun.rest(&aws).await?).await?;
        if args.dry_run && (context.report.json || !first.is_empty()) {
            preview(context, &stack, &begun.account, &first);
            return Ok(());
        }
        if first.is_empty() {
            finish(context, &stack, &what, &begun.account, &first, &Applied::default(), start);
            return Ok(());
        }
        if asks && !confirm(context, &stack, &first, args.delete_data).await? {
            return Ok(());
        }
        Some(first)
    };
    let account = begun.account.clone();
    let work = async {
        // As in a deploy: the lock's number tells whether another one came in between.
        let (taken, still, rest) = futures_util::join!(
            context.take_lock(&aws, &stack, &account, "teardown", args.break_lock, Some(&begun.lock)),
            begun.still(&aws),
            async { if first.is_some() { None } else { Some(begun.rest(&aws).await) } },
        );
        // A lock that was taken by making its group has to be taken away with it, so it has to be seen.
        let undisturbed = taken? && still? && begun.lock.is_free();
        let plan = match (undisturbed, first, rest) {
            (true, Some(first), _) => first,
            (true, None, Some(rest)) => look.plan(&aws, &begun.account, rest?).await?,
            _ => look.plan(&aws, &begun.account, begun.again(&aws).await?).await?,
        };
        let executor =
            AwsExecutor { aws: &aws, account: &account, stack: &stack.name, zip: &[], tokens: &BTreeMap::new(), lock: context.held() };
        let applied = apply(&plan, &executor, &*context.progress).boxed_local().await;
        // Where the whole stack goes its history goes with it, or says what was about to go.
        let group = Id::new(Kind::LogGroup, name::history(&stack.name));
        if !plan.is_empty() && !plan.changes.iter().any(|change| change.key.id == group) {
            let line = json!({
                "what": if applied.failed.is_empty() { "torn down" } else { "failed" }, "who": account.caller, "commit": commit(),
                "stages": stack.in_order(&stages), "changes": json::changes(&plan, Some(&applied)), "routeto": env!("CARGO_PKG_VERSION"),
            });
            futures_util::join!(context.remember(&aws, &stack.name, &line), context.release());
        }
        Ok::<_, Error>((plan, applied))
    }
    .boxed_local();
    let (plan, applied) = context.under_lock(work).await?;
    if !applied.failed.is_empty() {
        return Err(Error::Failed(
            applied.failed.into_iter().map(|(_, failure)| failure).collect(),
        ));
    }
    finish(context, &stack, &what, &account, &plan, &applied, start);
    Ok(())
}

struct Look<'a> {
    stack: &'a Stack,
    options: Options,
}

impl Look<'_> {
    async fn plan(&self, aws: &Aws, account: &Account, mut observed: Observed) -> Result<Plan> {
        observe::all_contents(aws, &mut observed).await?;
        // What isn't ours is nobody's business here, and neither is whether the user's own buckets
        // exist.
        let foreign = std::mem::take(&mut observed.foreign);
        observed.existing.clear();
        // But a bucket of the file's that a stage stores in is, by all signs, ours and only hidden:
        // to leave it silently would be no teardown.
        let hidden: Vec<(Id, String)> = foreign
            .into_iter()
            .filter(|(id, why)| {
                matches!(id.kind, Kind::Bucket | Kind::Queue) && observe::is_hidden(why)
            })
            .collect();
        let (made, _) = desired::made(self.stack, account, |_| true);
        let stored_in = |id: &&Id| {
            let of_file = id.kind == Kind::Bucket && made.contains(&id.name);
            of_file
                && observed
                    .stages
                    .values()
                    .any(|stage| destinations_of(&stage.variables).contains(*id))
        };
        let failures: Vec<Failure> = hidden
            .iter()
            .map(|(id, _)| id)
            .filter(stored_in)
            .map(|id| {
                let what = "the stack stores in it, and HeadBucket answers 403: whether it is the stack's to remove can't be told";
                let now = "allow s3:ListBucket on it to whoever tears down (docs/permissions.md), then run the same command; \
                           if the name is another account's by now, put another into the stack file";
                Failure::new(id.to_string(), what).now(now)
            })
            .collect();
        if !failures.is_empty() {
            return Err(Error::Failed(failures));
        }
        let mut plan = plan(&self.desired(&observed), &observed, self.options.clone())
            .map_err(Error::Failed)?;
        plan.kept.extend(hidden.into_iter().map(|(id, why)| Kept { id, why }));
        Ok(plan)
    }

    /// Nothing; where other stages go on, what all stages share.
    fn desired(&self, observed: &Observed) -> Resources {
        let others = observed
            .stages
            .keys()
            .any(|stage| !observed.resources.contains_key(&Id::new(Kind::Stage, stage)));
        if !others {
            return Resources::new();
        }
        let history = name::history(&self.stack.name);
        observed
            .resources
            .iter()
            .filter(|(id, resource)| {
                matches!(resource, Resource::Api(_))
                    || (id.kind == Kind::LogGroup && id.name == history)
            })
            .map(|(id, resource)| (id.clone(), resource.clone()))
            .collect()
    }
}

/// Whether a person is there to be asked. A job in CI, a script, or a pipe has nobody to say no.
fn can_ask(context: &Context) -> bool {
    context.report.stdin_terminal() && context.report.terminal
}

/// Nothing is deleted because nothing could be asked, with the two command lines that would do.
fn unconfirmed(args: &cli::Teardown) -> Error {
    let mut options: String =
        args.stages.stages.iter().map(|stage| format!(" --stage {stage}")).collect();
    if args.delete_data {
        options.push_str(" --delete-data");
    }
    let command = args.stack.command("teardown");
    let what =
        "nothing was deleted: it asks first, and stdin or stderr isn't a terminal (or CI is set)";
    Error::Usage(
        Failure::new("teardown", what)
            .now(format!("`{command}{options} --yes` deletes without asking; `{command}{options} --dry-run` lists what that would be")),
    )
}

/// `--dry-run`: the plan that would be asked about.
fn preview(context: &Context, stack: &Stack, account: &Account, plan: &Plan) {
    if context.report.json {
        return context.report.result(&json::plan(&stack.name, &account.region, plan).to_string());
    }
    context.report.result(context.report.plan(stack, plan).trim_end());
    context.report.note("dry run: nothing was changed");
}

/// Whether to go on.
async fn confirm(context: &Context, stack: &Stack, plan: &Plan, delete_data: bool) -> Result<bool> {
    // The list is part of the question: `-q` leaves it in, too.
    let list = context.report.plan(stack, plan);
    let data = if delete_data { ", with everything stored in its buckets and queues" } else { "" };
    let (report, question) =
        (context.report, format!("{list}Delete this of stack {}{data}?", stack.name));
    // Waiting for the answer must not keep Ctrl-C waiting.
    let answer = tokio::task::spawn_blocking(move || report.ask(&question)).await;
    let yes = answer.is_ok_and(|answer| answer);
    if !yes {
        context.report.note("nothing was changed");
    }
    Ok(yes)
}

fn finish(
    context: &Context,
    stack: &Stack,
    what: &str,
    account: &Account,
    plan: &Plan,
    applied: &Applied,
    start: Instant,
) {
    let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if context.report.json {
        let changes = json::changes(plan, Some(applied));
        context.report.result(
            &json!({"version": json::VERSION, "stack": stack.name, "region": account.region, "changes": changes, "seconds": seconds})
                .to_string(),
        );
        return;
    }
    let mut lines = vec![];
    let gone =
        applied.done.iter().filter(|key| key.step == Step::Main).count() - applied.kept.len();
    if plan.is_empty() {
        lines.push(format!("nothing of {what} stands in {}", account.region));
    } else {
        lines.push(format!("{} resources of stack {} are gone ({seconds:.1} s)", gone, stack.name));
    }
    let late = applied.kept.iter().map(|(key, why)| (key.id.clone(), why.clone()));
    let kept: Vec<_> =
        plan.kept.iter().map(|kept| (kept.id.clone(), kept.why.clone())).chain(late).collect();
    for (id, why) in &kept {
        lines.push(format!("kept: {id}, {why}"));
    }
    let (buckets, queues) = desired::made(stack, account, |_| true);
    let data: Vec<&Id> = kept
        .iter()
        .filter(|(id, why)| crate::report::plan::holds_data(id.kind) && !observe::is_hidden(why))
        .map(|(id, _)| id)
        .collect();
    let named = |id: &Id| {
        if id.kind == Kind::Bucket { buckets.contains(&id.name) } else { queues.contains(&id.name) }
    };
    if data.iter().any(|id| named(id)) {
        lines.push(
            "to remove what is kept, with all that it holds: the same command with --delete-data"
                .into(),
        );
    }
    // The history that remembers them is gone as well.
    for id in data.into_iter().filter(|id| !named(id)) {
        let command = match id.kind {
            Kind::Bucket => format!("aws s3 rb --force s3://{}", id.name),
            _ => format!(
                "aws sqs delete-queue --queue-url {}",
                desired::queue_url(account, &id.name)
            ),
        };
        lines.push(format!(
            "{id} is not in the stack file any more; to remove it with all that it holds: {command}"
        ));
    }
    context.report.result(&lines.join("\n"));
}
