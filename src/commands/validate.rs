//! `routeto validate`: the stack file and its templates, offline.

use super::Context;
use crate::{cli, error::Result, report::json::diagnostic, spec::Loaded};
use serde_json::{Value, json};

/// Of the object that `--output json` prints. 1 had the warnings as text.
const VERSION: u32 = 2;

pub fn run(context: &Context, args: cli::Validate) -> Result<()> {
    let Loaded { stack, warnings } = context.load_quietly(&args.stack)?;
    context.report.diagnostics(&warnings);
    if context.report.json {
        let warnings: Vec<Value> = warnings.iter().map(diagnostic).collect();
        let stages: Vec<&str> = stack.stages.iter().map(|stage| stage.name.as_str()).collect();
        let routes: Vec<&String> = stack.routes.keys().collect();
        context.report.result(
            &json!({"version": VERSION, "stack": stack.name, "stages": stages, "routes": routes, "warnings": warnings}).to_string(),
        );
    } else {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        context.report.result(&format!(
            "{}: stack {} with {} and {}{}",
            args.stack.path().display(),
            stack.name,
            count(stack.routes.len(), "route"),
            count(stack.stages.len(), "stage"),
            if warnings.is_empty() {
                ", no problems found".into()
            } else {
                format!(", {}", count(warnings.len(), "warning"))
            }
        ));
    }
    Ok(())
}
