//! Log groups of the functions, and the group that holds a stack's history.

use super::{
    Aws,
    call::{CallError, called},
    observe::Seen,
    wait::{LONG, while_busy},
};
use crate::{
    observed::Account,
    resource::{LogGroup, STACK_TAG, Tags},
};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;

/// The log stream that holds one line a deploy.
const HISTORY: &str = "deploys";

fn arn(account: &Account, group: &str) -> String {
    format!("arn:{}:logs:{}:{}:log-group:{group}", account.partition, account.region, account.id)
}

/// Names and retentions of the groups whose name begins so.
pub async fn list(aws: &Aws, prefix: &str) -> Result<Vec<(String, Option<u32>)>, CallError> {
    let mut groups = vec![];
    let mut next: Option<String> = None;
    loop {
        let request = aws.logs.describe_log_groups().log_group_name_prefix(prefix).set_next_token(next);
        let page = called("logs:DescribeLogGroups", request.send()).await?;
        groups.extend(page.log_groups().iter().filter_map(|group| {
            Some((group.log_group_name()?.to_owned(), group.retention_in_days().and_then(|days| u32::try_from(days).ok())))
        }));
        next = page.next_token;
        if next.is_none() {
            return Ok(groups);
        }
    }
}

/// Whose a group is.
pub async fn observe(aws: &Aws, account: &Account, stack: &str, name: &str, retention: Option<u32>) -> Result<Seen<LogGroup>, CallError> {
    let tags: Tags =
        match called("logs:ListTagsForResource", aws.logs.list_tags_for_resource().resource_arn(arn(account, name)).send()).await {
            Ok(output) => output.tags.unwrap_or_default().into_iter().collect(),
            Err(error) if error.not_found() => return Ok(Seen::Absent),
            Err(error) => return Err(error),
        };
    Ok(match tags.get(STACK_TAG) {
        Some(tag) if tag == stack => Seen::Ours(LogGroup { name: name.to_owned(), tags, retention }),
        Some(other) => Seen::Foreign(format!("it belongs to the stack {other}")),
        None => Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}")),
    })
}

/// Creates the group with its tags; one that is there already (a lost reply) is ours only by its tag, which the next look checks.
pub async fn create(aws: &Aws, group: &LogGroup) -> Result<(), CallError> {
    let busy = |error: &CallError| error.is(&["OperationAbortedException"]).then(|| "another change of the log group".into());
    let answer = while_busy("logs:CreateLogGroup", LONG, &|_| (), busy, || {
        let request = aws.logs.create_log_group().log_group_name(&group.name).set_tags(Some(group.tags.clone().into_iter().collect()));
        called("logs:CreateLogGroup", request.send())
    })
    .await;
    match answer {
        Ok(_) => {}
        Err(error) if error.is(&["ResourceAlreadyExistsException"]) => {}
        Err(error) => return Err(error),
    }
    if group.retention.is_some() { put_retention(aws, group).await } else { Ok(()) }
}

async fn put_retention(aws: &Aws, group: &LogGroup) -> Result<(), CallError> {
    match group.retention.and_then(|days| i32::try_from(days).ok()) {
        Some(days) => {
            let request = aws.logs.put_retention_policy().log_group_name(&group.name).retention_in_days(days);
            called("logs:PutRetentionPolicy", request.send()).await.map(drop)
        }
        None => {
            let request = aws.logs.delete_retention_policy().log_group_name(&group.name);
            called("logs:DeleteRetentionPolicy", request.send()).await.map(drop)
        }
    }
}

pub async fn update(aws: &Aws, account: &Account, group: &LogGroup, retention: bool, tags: bool) -> Result<(), CallError> {
    if retention {
        put_retention(aws, group).await?;
    }
    if tags {
        let tags = group.tags.clone().into_iter().collect();
        let request = aws.logs.tag_resource().resource_arn(arn(account, &group.name)).set_tags(Some(tags));
        called("logs:TagResource", request.send()).await?;
    }
    Ok(())
}

pub async fn delete(aws: &Aws, name: &str) -> Result<(), CallError> {
    match called("logs:DeleteLogGroup", aws.logs.delete_log_group().log_group_name(name).send()).await {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds one line to the stack's history. `now` is milliseconds since the epoch.
pub async fn remember(aws: &Aws, group: &str, line: &str, now: i64) -> Result<(), CallError> {
    let put = || {
        let event = InputLogEvent::builder().timestamp(now).message(line).build().expect("time and message are set");
        called("logs:PutLogEvents", aws.logs.put_log_events().log_group_name(group).log_stream_name(HISTORY).log_events(event).send())
    };
    match put().await {
        Ok(_) => return Ok(()),
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error),
    }
    // The first line of a stack.
    match called("logs:CreateLogStream", aws.logs.create_log_stream().log_group_name(group).log_stream_name(HISTORY).send()).await {
        Ok(_) => {}
        Err(error) if error.is(&["ResourceAlreadyExistsException"]) => {}
        Err(error) => return Err(error),
    }
    put().await.map(drop)
}

/// The newest lines of the stack's history with their times (milliseconds since the epoch), oldest first; none for a stack that never was.
pub async fn history(aws: &Aws, group: &str, lines: i32) -> Result<Vec<(i64, String)>, CallError> {
    let request = aws.logs.get_log_events().log_group_name(group).log_stream_name(HISTORY).limit(lines).start_from_head(false);
    match called("logs:GetLogEvents", request.send()).await {
        Ok(page) => Ok(page.events.unwrap_or_default().into_iter().filter_map(|event| Some((event.timestamp?, event.message?))).collect()),
        Err(error) if error.not_found() => Ok(vec![]),
        Err(error) => Err(error),
    }
}
