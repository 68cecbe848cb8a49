//! `routeto plan`: what deploy would do.

use super::Context;
use crate::{cli, error::Result, report::json};

pub async fn run(context: &Context, args: cli::PlanArgs) -> Result<u8> {
    let stack = context.load(&args.stack)?;
    let stages = context.stages(&stack, &args.stages)?;
    let aws = context.connect(&stack).await?;
    let artifact = context.artifact(&stack, &args.zip).await?;
    let whole = args.stages.stages.is_empty();
    let planned = context.plan(&aws, &stack, &stages, whole, &artifact).await?;
    if context.report.json {
        context.report.result(&json::plan(&stack.name, &aws.region, &planned.plan).to_string());
    } else {
        context.report.result(&context.report.plan(&planned.plan));
    }
    Ok(if args.exit_code && !planned.plan.is_empty() { 2 } else { 0 })
}
