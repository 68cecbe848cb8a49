//! `routeto package`: the function's zip.

use super::Context;
use crate::{cli, error::Result};

pub async fn run(context: &Context, args: cli::Package) -> Result<()> {
    let stack = context.load_quietly(&args.stack)?.stack;
    let artifact = context.artifact(&stack, &args.zip).await?;
    let package = match &args.out {
        Some(out) => artifact.write(out)?,
        None => artifact.report(),
    };
    if context.report.json {
        let mut value = serde_json::to_value(&package).unwrap_or_default();
        value["version"] = 1.into();
        context.report.result(&value.to_string());
    } else {
        context.report.result(&format!(
            "{}\n  {} bytes, bootstrap {} bytes for {}, glibc {}\n  CodeSha256 {}",
            package.path.display(),
            package.zip_bytes,
            package.bootstrap_bytes,
            package.architecture,
            package.glibc.as_deref().unwrap_or("not needed"),
            package.code_sha256
        ));
    }
    Ok(())
}
