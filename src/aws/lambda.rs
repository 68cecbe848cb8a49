//! Functions, their versions and who may call them.

use super::{
    Aws,
    call::{CallError, FAILED, called},
    observe::Seen,
    timeouts,
    wait::{LONG, Tell, Try, speed, until, while_busy},
};
use crate::{
    observed::{Account, FunctionState, Version},
    plan::statement_id,
    policy,
    resource::{Function, FunctionConfig, STACK_TAG, Tags},
};
use aws_sdk_lambda::{
    config::Builder,
    primitives::Blob,
    types::{
        Architecture, Environment, FunctionCode, FunctionConfiguration, LastUpdateStatus,
        LogFormat, LoggingConfig, Runtime, State,
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The function's `$LATEST` and its tags; its versions.
pub async fn observe(
    aws: &Aws,
    stack: &str,
    name: &str,
) -> Result<Seen<(Function, FunctionState)>, CallError> {
    let (function, versions, own_policy) = futures_util::join!(
        called("lambda:GetFunction", aws.lambda.get_function().function_name(name).send()),
        versions(aws, name),
        policy_of(aws, name, None),
    );
    let function = match function {
        Ok(output) => output,
        Err(error) if error.not_found() => return Ok(Seen::Absent),
        Err(error) => return Err(error),
    };
    let tags: Tags = function.tags.unwrap_or_default().into_iter().collect();
    match tags.get(STACK_TAG) {
        Some(tag) if tag == stack => {}
        Some(other) => return Ok(Seen::Foreign(format!("it belongs to the stack {other}"))),
        None => return Ok(Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}"))),
    }
    let Some(configuration) = function.configuration else { return Ok(Seen::Absent) };
    let config = config_of(&configuration);
    let account =
        configuration.function_arn().and_then(|arn| arn.split(':').nth(4)).unwrap_or_default();
    let openings = policy::openings(&own_policy?, account);
    let reserved_concurrency =
        function.concurrency.and_then(|concurrency| concurrency.reserved_concurrent_executions);
    let state = FunctionState { versions: versions?, reserved_concurrency, openings };
    Ok(Seen::Ours((Function { name: name.to_owned(), tags, config }, state)))
}

async fn versions(aws: &Aws, name: &str) -> Result<Vec<Version>, CallError> {
    let mut versions = vec![];
    let mut marker: Option<String> = None;
    loop {
        let request = aws.lambda.list_versions_by_function().function_name(name).set_marker(marker);
        let page = match called("lambda:ListVersionsByFunction", request.send()).await {
            Ok(page) => page,
            Err(error) if error.not_found() => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        versions.extend(page.versions().iter().filter_map(|configuration| {
            Some(Version {
                number: configuration.version()?.parse().ok()?,
                config: config_of(configuration),
                permissions: BTreeMap::new(),
            })
        }));
        marker = page.next_marker;
        if marker.is_none() {
            versions.sort_by_key(|version| version.number);
            return Ok(versions);
        }
    }
}

fn config_of(configuration: &FunctionConfiguration) -> FunctionConfig {
    let logging = configuration.logging_config();
    FunctionConfig {
        code_sha256: configuration.code_sha256().unwrap_or_default().to_owned(),
        role: configuration.role().unwrap_or_default().to_owned(),
        runtime: configuration
            .runtime()
            .map(|runtime| runtime.as_str().to_owned())
            .unwrap_or_default(),
        handler: configuration.handler().unwrap_or_default().to_owned(),
        memory: configuration.memory_size().unwrap_or(0),
        timeout: configuration.timeout().unwrap_or(0),
        // Functions older than the choice are x86_64.
        architecture: configuration
            .architectures()
            .first()
            .map_or("x86_64", |architecture| architecture.as_str())
            .to_owned(),
        log_format: logging
            .and_then(|logging| logging.log_format())
            .map_or("Text", |format| format.as_str())
            .to_owned(),
        log_group: logging.and_then(|logging| logging.log_group()).map_or_else(
            || format!("/aws/lambda/{}", configuration.function_name().unwrap_or_default()),
            str::to_owned,
        ),
        environment: configuration
            .environment()
            .and_then(|environment| environment.variables())
            .map(|variables| {
                variables.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
            })
            .unwrap_or_default(),
    }
}

/// The policy of a version, or of the function itself; empty where there is none.
async fn policy_of(aws: &Aws, name: &str, version: Option<u64>) -> Result<String, CallError> {
    let qualifier = version.map(|version| version.to_string());
    let request = aws.lambda.get_policy().function_name(name).set_qualifier(qualifier);
    match called("lambda:GetPolicy", request.send()).await {
        Ok(output) => Ok(output.policy.unwrap_or_default()),
        Err(error) if error.not_found() => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Source ARNs that API Gateway may call a version from, by statement id.
pub async fn permissions(
    aws: &Aws,
    name: &str,
    version: u64,
) -> Result<BTreeMap<String, String>, CallError> {
    let text = policy_of(aws, name, Some(version)).await?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let statements = value["Statement"].as_array().cloned().unwrap_or_default();
    Ok(statements
        .iter()
        .filter(|statement| {
            statement["Effect"] == "Allow"
                && statement["Action"] == "lambda:InvokeFunction"
                && statement["Principal"]["Service"] == "apigateway.amazonaws.com"
        })
        .filter_map(|statement| {
            let condition = statement["Condition"].as_object()?;
            // Lambda writes the condition itself: ArnLike today, StringLike in its developer
            // guide's examples.
            let operators = ["ArnLike", "ArnEquals", "StringLike", "StringEquals"];
            let compares =
                |operator: &str| operators.iter().any(|known| operator.eq_ignore_ascii_case(known));
            let keys = condition.iter().filter(|(operator, _)| compares(operator));
            let keys = keys.filter_map(|(_, keys)| keys.as_object()).flatten();
            let source = keys
                .into_iter()
                .find(|(key, _)| key.eq_ignore_ascii_case("aws:SourceArn"))?
                .1
                .as_str()?;
            Some((statement["Sid"].as_str()?.to_owned(), source.to_owned()))
        })
        .collect())
}

fn logging(config: &FunctionConfig) -> LoggingConfig {
    LoggingConfig::builder()
        .log_format(LogFormat::from(config.log_format.as_str()))
        .log_group(&config.log_group)
        .build()
}

/// A role just made can't be assumed for some seconds; Lambda says so only in words.
/// Source: CreateFunction, InvalidParameterValueException "The role defined for the function cannot
/// be assumed by Lambda."
fn role_not_ready(error: &CallError) -> Option<String> {
    let about_role = error.message.contains("cannot be assumed")
        || error.message.contains("does not have permissions");
    (error.is(&["InvalidParameterValueException"]) && about_role)
        .then(|| "the new role can't be assumed by Lambda yet".into())
}

/// Seconds for which Lambda may not know yet what it just made.
const UNKNOWN: Duration = Duration::from_secs(60);

/// A call that follows the making of a function or a version at once may meet a part of Lambda that
/// hasn't heard of it: "Function not found". Source: reports of deploying tools' users
/// (AddPermission after CreateFunction); Lambda's own documentation is silent about it.
fn unknown_yet(error: &CallError) -> Option<String> {
    error
        .not_found()
        .then(|| "Lambda doesn't know its new function or version everywhere yet".into())
}

/// Another operation on the function is under way: wait, call, try again.
fn in_progress(error: &CallError) -> Option<String> {
    // "The statement id … provided already exists" has a `state` in it, too.
    if error.message.contains("already exist") {
        return None;
    }
    let creating = error.message.contains("state")
        || error.message.contains("in progress")
        || error.message.contains("update");
    (error.is(&["ResourceConflictException"]) && creating)
        .then(|| "Lambda is still busy with the function".into())
}

/// The time that a call may take which carries a zip: longer than another's, on a slow line.
fn sending(zip: &[u8]) -> Builder {
    /// Bytes a second, of base64.
    const SLOWEST: u64 = 50_000;
    let seconds =
        (u64::try_from(zip.len()).unwrap_or(u64::MAX).saturating_mul(4) / 3 / SLOWEST).min(600);
    Builder::new().timeout_config(timeouts(Duration::from_secs(seconds)))
}

/// Creates the function and publishes its first version, whose number it answers.
pub async fn create(
    aws: &Aws,
    function: &Function,
    zip: &[u8],
    tell: Tell<'_>,
) -> Result<String, CallError> {
    let config = &function.config;
    let answer = while_busy("lambda:CreateFunction", LONG, tell, role_not_ready, || {
        let request = aws
            .lambda
            .create_function()
            .function_name(&function.name)
            .description("keeps webhooks; made by routeto")
            .role(&config.role)
            .runtime(Runtime::from(config.runtime.as_str()))
            .handler(&config.handler)
            .memory_size(config.memory)
            .timeout(config.timeout)
            .architectures(Architecture::from(config.architecture.as_str()))
            .logging_config(logging(config))
            .code(FunctionCode::builder().zip_file(Blob::new(zip)).build())
            .set_tags(Some(function.tags.clone().into_iter().collect()))
            .publish(true);
        called("lambda:CreateFunction", request.customize().config_override(sending(zip)).send())
    })
    .await;
    match answer {
        Ok(output) => Ok(output.version.unwrap_or_default()),
        // The reply to an earlier try was lost, or another deploy made it: ours if the tag says so.
        Err(error) if error.is(&["ResourceConflictException"]) => {
            let stack = function.tags.get(STACK_TAG).map(String::as_str).unwrap_or_default();
            match observe(aws, stack, &function.name).await? {
                Seen::Ours((seen, state)) => {
                    if let Some(version) =
                        state.versions.iter().rev().find(|version| version.config == *config)
                    {
                        return Ok(version.number.to_string());
                    }
                    let code = seen.config.code_sha256 != config.code_sha256
                        || seen.config.architecture != config.architecture;
                    let what = Update {
                        code,
                        config: seen.config != *config,
                        environment: seen.config.environment != config.environment,
                        tags: false,
                        publish: true,
                    };
                    Ok(update(aws, None, function, zip, what, tell).await?.unwrap_or_default())
                }
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// What to update of a function.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub code: bool,
    pub config: bool,
    /// Send the environment as well: an empty one leaves its mark on a function that never had
    /// one.
    pub environment: bool,
    pub tags: bool,
    pub publish: bool,
}

/// Updates code, then configuration, each waited for, then publishes; answers the version, if one
/// was published.
pub async fn update(
    aws: &Aws,
    account: Option<&Account>,
    function: &Function,
    zip: &[u8],
    what: Update,
    tell: Tell<'_>,
) -> Result<Option<String>, CallError> {
    let config = &function.config;
    let name = &function.name;
    if let (true, Some(account)) = (what.tags, account) {
        let arn = format!(
            "arn:{}:lambda:{}:{}:function:{name}",
            account.partition, account.region, account.id
        );
        let request = aws
            .lambda
            .tag_resource()
            .resource(arn)
            .set_tags(Some(function.tags.clone().into_iter().collect()));
        called("lambda:TagResource", request.send()).await?;
    }
    if what.code {
        while_busy("lambda:UpdateFunctionCode", LONG, tell, in_progress, || {
            let request = aws
                .lambda
                .update_function_code()
                .function_name(name)
                .zip_file(Blob::new(zip))
                .architectures(Architecture::from(config.architecture.as_str()));
            called(
                "lambda:UpdateFunctionCode",
                request.customize().config_override(sending(zip)).send(),
            )
        })
        .await?;
        updated(aws, name, tell).await?;
    }
    if what.config {
        let busy = |error: &CallError| in_progress(error).or_else(|| role_not_ready(error));
        while_busy("lambda:UpdateFunctionConfiguration", LONG, tell, busy, || {
            let request = aws
                .lambda
                .update_function_configuration()
                .function_name(name)
                .role(&config.role)
                .runtime(Runtime::from(config.runtime.as_str()))
                .handler(&config.handler)
                .memory_size(config.memory)
                .timeout(config.timeout)
                .set_environment(what.environment.then(|| {
                    Environment::builder()
                        .set_variables(Some(config.environment.clone().into_iter().collect()))
                        .build()
                }))
                .logging_config(logging(config));
            called("lambda:UpdateFunctionConfiguration", request.send())
        })
        .await?;
        updated(aws, name, tell).await?;
    }
    if !what.publish {
        return Ok(None);
    }
    // Sent again it publishes nothing twice: where nothing changed since the last version, Lambda
    // answers that one.
    let output = while_busy("lambda:PublishVersion", LONG, tell, in_progress, || {
        let request =
            aws.lambda.publish_version().function_name(name).code_sha256(&config.code_sha256);
        called("lambda:PublishVersion", request.send())
    })
    .await?;
    Ok(output.version)
}

/// Waits until the last update has been carried out.
async fn updated(aws: &Aws, name: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let call = "lambda:GetFunctionConfiguration";
    until(LONG, tell, || async {
        let seen = called(call, aws.lambda.get_function_configuration().function_name(name).send())
            .await?;
        Ok(match seen.last_update_status() {
            Some(LastUpdateStatus::InProgress) => {
                Try::Again("Lambda is carrying out the update".into())
            }
            Some(LastUpdateStatus::Failed) => {
                return Err(failed(call, seen.last_update_status_reason()));
            }
            _ => Try::Done(()),
        })
    })
    .await
    .map_err(|waited| waited.of(call))
}

/// Waits until a version can be called. Its state has to be asked for: a list of versions doesn't
/// tell it (Lambda, ListFunctions: "a subset of the FunctionConfiguration fields").
pub async fn active(aws: &Aws, name: &str, version: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let call = "lambda:GetFunctionConfiguration";
    let begun = Instant::now();
    until(LONG, tell, || async {
        let seen = match called(
            call,
            aws.lambda.get_function_configuration().function_name(name).qualifier(version).send(),
        )
        .await
        {
            Ok(seen) => seen,
            Err(error) => match unknown_yet(&error).filter(|_| begun.elapsed() * speed() < UNKNOWN)
            {
                Some(reason) => return Ok(Try::Again(reason)),
                None => return Err(error),
            },
        };
        Ok(match seen.state() {
            None | Some(State::Active | State::Inactive) => Try::Done(()),
            Some(State::Failed) => return Err(failed(call, seen.state_reason())),
            Some(state) => Try::Again(format!("version {version} is {}", state.as_str())),
        })
    })
    .await
    .map_err(|waited| waited.of(call))
}

fn failed(call: &'static str, reason: Option<&str>) -> CallError {
    CallError {
        call,
        code: Some(FAILED.into()),
        status: None,
        message: format!(
            "Lambda couldn't make the function ready: {}",
            reason.unwrap_or("it gives no reason")
        ),
    }
}

/// Lets API Gateway call a version from one stage; a statement of the same id that says something
/// else is replaced.
pub async fn permit(
    aws: &Aws,
    function: &str,
    version: &str,
    api: &str,
    source: &str,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let sid = statement_id(api);
    let call = "lambda:AddPermission";
    let busy = |error: &CallError| unknown_yet(error).or_else(|| in_progress(error));
    let add = || {
        while_busy(call, UNKNOWN, tell, busy, || {
            let request = aws
                .lambda
                .add_permission()
                .function_name(function)
                .qualifier(version)
                .statement_id(&sid)
                .action("lambda:InvokeFunction")
                .principal("apigateway.amazonaws.com")
                .source_arn(source);
            called(call, request.send())
        })
    };
    match add().await {
        Ok(_) => return Ok(()),
        Err(error) if error.is(&["ResourceConflictException"]) => {}
        Err(error) => return Err(error),
    }
    let number = version.parse().unwrap_or(0);
    if permissions(aws, function, number).await?.get(&sid).map(String::as_str) == Some(source) {
        return Ok(());
    }
    let remove = aws
        .lambda
        .remove_permission()
        .function_name(function)
        .qualifier(version)
        .statement_id(&sid);
    match called("lambda:RemovePermission", remove.send()).await {
        Ok(_) => {}
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error),
    }
    add().await.map(drop)
}

/// Deletes old versions, each with its policy.
pub async fn prune(
    aws: &Aws,
    name: &str,
    versions: &[u64],
    tell: Tell<'_>,
) -> Result<(), CallError> {
    for version in versions {
        let answer = while_busy("lambda:DeleteFunction", LONG, tell, in_progress, || {
            let request =
                aws.lambda.delete_function().function_name(name).qualifier(version.to_string());
            called("lambda:DeleteFunction", request.send())
        })
        .await;
        match answer {
            Ok(_) => {}
            Err(error) if error.not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub async fn delete(aws: &Aws, name: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let answer = while_busy("lambda:DeleteFunction", LONG, tell, in_progress, || {
        called("lambda:DeleteFunction", aws.lambda.delete_function().function_name(name).send())
    })
    .await;
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
