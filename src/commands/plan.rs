//! `routeto plan`: what deploy would do.

use super::Context;
use crate::{aws::observe, cli, error::Result, report::json};

pub async fn run(context: &Context, args: cli::PlanArgs) -> Result<u8> {
    let stack = context.load(&args.stack)?;
    let stages = context.stages(&stack, &args.stages)?;
    let aws = context.connect(&stack).await?;
    let look = observe::Look {
        stack: &stack,
        stages: stages.clone(),
        whole: args.stages.stages.is_empty(),
        contents: false,
    };
    // Looking at AWS needs no zip: both at once, and what is refused is told before a long build
    // ends.
    let looking = async { observe::observe(&aws, &look).await };
    let (artifact, (account, observed)) =
        futures_util::try_join!(context.artifact(&stack, &args.zip), looking)?;
    let planned = Context::planned(&stack, &stages, &artifact, account, observed)?;
    if context.report.json {
        context.report.result(&json::plan(&stack.name, &aws.region, &planned.plan).to_string());
    } else {
        context.report.result(&context.report.plan(&stack, &planned.plan));
    }
    Ok(if args.exit_code && !planned.plan.is_empty() { 2 } else { 0 })
}
