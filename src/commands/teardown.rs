//! `routeto teardown`: the plan to nothing.

use super::Context;
use crate::{
    apply::{Applied, apply},
    aws::{Aws, execute::AwsExecutor, observe},
    cli,
    desired::{self, name},
    error::{Error, Failure, Result},
    observed::{Account, Observed},
    plan::{Options, Plan, plan},
    report::json,
    resource::{Id, Kind, LogGroup, Resource, Resources},
    spec::Stack,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

pub async fn run(context: &Context, args: cli::Teardown) -> Result<()> {
    let start = Instant::now();
    let stack = context.load_quietly(&args.stack)?.stack;
    let stages = context.stages(&stack, &args.stages)?;
    let aws = context.connect(&stack).await?;
    let whole = args.stages.stages.is_empty();
    let look = Look { stack: &stack, stages: &stages, whole, options: Options { delete_data: args.delete_data } };
    let (account, first) = look.plan(&aws).await?;
    if first.is_empty() {
        finish(context, &stack, &account, &first, &Applied::default(), start);
        return Ok(());
    }
    if !args.yes && !confirm(context, &stack, &first, args.delete_data).await? {
        return Ok(());
    }
    let outcome = async {
        let group = LogGroup { name: name::history(&stack.name), tags: desired::tags(&stack), retention: None };
        context.take_lock(&aws, &group, &account, args.break_lock).await?;
        let (account, plan) = look.plan(&aws).await?;
        let executor = AwsExecutor { aws: &aws, account: &account, stack: &stack.name, zip: &[], tokens: &BTreeMap::new() };
        let applied = apply(&plan, &executor, &*context.progress).await;
        Ok::<_, Error>((plan, applied))
    }
    .await;
    context.release().await;
    let (plan, applied) = outcome?;
    if !applied.failed.is_empty() {
        return Err(Error::Failed(applied.failed.into_iter().map(|(_, failure)| failure).collect()));
    }
    finish(context, &stack, &account, &plan, &applied, start);
    Ok(())
}

struct Look<'a> {
    stack: &'a Stack,
    stages: &'a BTreeSet<String>,
    whole: bool,
    options: Options,
}

impl Look<'_> {
    async fn plan(&self, aws: &Aws) -> Result<(Account, Plan)> {
        let look = observe::Look { stack: self.stack, stages: self.stages.clone(), whole: self.whole };
        let (account, mut observed) = observe::observe(aws, &look).await?;
        observe::all_contents(aws, &mut observed).await?;
        // What isn't ours is nobody's business here, and neither is whether the user's own buckets exist.
        observed.foreign.clear();
        observed.existing.clear();
        let desired = self.desired(&observed);
        let plan = plan(&desired, &observed, self.options).map_err(Error::Failed)?;
        Ok((account, plan))
    }

    /// Nothing; where other stages go on, what all stages share.
    fn desired(&self, observed: &Observed) -> Resources {
        let others = observed.stages.keys().any(|stage| !observed.resources.contains_key(&Id::new(Kind::Stage, stage)));
        if !others {
            return Resources::new();
        }
        let history = name::history(&self.stack.name);
        observed
            .resources
            .iter()
            .filter(|(id, resource)| matches!(resource, Resource::Api(_)) || (id.kind == Kind::LogGroup && id.name == history))
            .map(|(id, resource)| (id.clone(), resource.clone()))
            .collect()
    }
}

/// Whether to go on. Where nobody sits at a terminal nobody is asked: a CI job that says teardown means it.
async fn confirm(context: &Context, stack: &Stack, plan: &Plan, delete_data: bool) -> Result<bool> {
    if !context.report.somebody_types() {
        return Ok(true);
    }
    if !context.report.terminal {
        let failure = Failure::new("teardown", "stderr is no terminal, so the question whether to go on would be shown to nobody");
        return Err(Error::Usage(failure.now("give --yes")));
    }
    context.report.note(context.report.plan(plan).trim_end());
    let data = if delete_data { ", with everything stored in its buckets and queues" } else { "" };
    let (report, question) = (context.report, format!("Remove this of stack {}{data}?", stack.name));
    // Waiting for the answer must not keep Ctrl-C waiting.
    let answer = tokio::task::spawn_blocking(move || report.ask(&question)).await;
    let yes = answer.is_ok_and(|answer| answer);
    if !yes {
        context.report.note("nothing was changed");
    }
    Ok(yes)
}

fn finish(context: &Context, stack: &Stack, account: &Account, plan: &Plan, applied: &Applied, start: Instant) {
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
    if plan.is_empty() {
        lines.push(format!("nothing of stack {} stands in {}", stack.name, account.region));
    } else {
        lines.push(format!("{} resources of stack {} are gone ({seconds:.1} s)", applied.done.len() - applied.kept.len(), stack.name));
    }
    let late = applied.kept.iter().map(|(key, why)| (key.id.clone(), why.clone()));
    let kept: Vec<_> = plan.kept.iter().map(|kept| (kept.id.clone(), kept.why.clone())).chain(late).collect();
    for (id, why) in &kept {
        lines.push(format!("kept: {id}, {why}"));
    }
    let (buckets, queues) = desired::made(stack, account, |_| true);
    let data: Vec<&Id> = kept.iter().map(|(id, _)| id).filter(|id| crate::report::plan::holds_data(id.kind)).collect();
    let named = |id: &Id| if id.kind == Kind::Bucket { buckets.contains(&id.name) } else { queues.contains(&id.name) };
    if data.iter().any(|id| named(id)) {
        lines.push("to remove what is kept, with all that it holds: the same command with --delete-data".into());
    }
    // The history that remembers them is gone as well.
    for id in data.into_iter().filter(|id| !named(id)) {
        let command = match id.kind {
            Kind::Bucket => format!("aws s3 rb --force s3://{}", id.name),
            _ => format!("aws sqs delete-queue --queue-url {}", desired::queue_url(account, &id.name)),
        };
        lines.push(format!("{id} is not in the stack file any more; to remove it with all that it holds: {command}"));
    }
    context.report.result(&lines.join("\n"));
}
