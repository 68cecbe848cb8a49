//! Log groups of the functions, and the group that holds a stack's history.

use super::{
    Aws,
    call::{CallError, called},
    observe::Seen,
    wait::{LONG, Tell, pause, while_busy},
};
use crate::{
    observed::Account,
    resource::{Kind, LogGroup, Retention, STACK_TAG, Tags},
};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use std::{collections::BTreeMap, future::Future, time::Duration};

/// The log stream that holds one line a deploy.
pub const HISTORY: &str = "deploys";

fn arn(account: &Account, group: &str) -> String {
    format!("arn:{}:logs:{}:{}:log-group:{group}", account.partition, account.region, account.id)
}

/// Names and retentions of the groups whose name begins so.
pub async fn list(aws: &Aws, prefix: &str) -> Result<Vec<(String, Retention)>, CallError> {
    let mut groups = vec![];
    let mut next: Option<String> = None;
    loop {
        let request =
            aws.logs.describe_log_groups().log_group_name_prefix(prefix).set_next_token(next);
        let page = called("logs:DescribeLogGroups", request.send()).await?;
        groups.extend(
            page.log_groups().iter().filter_map(|group| {
                Some((group.log_group_name()?.to_owned(), retention_of(group)))
            }),
        );
        next = page.next_token;
        if next.is_none() {
            return Ok(groups);
        }
    }
}

/// Source: DescribeLogGroups, `retentionPolicyName`: "When it is returned, retentionInDays shows
/// the retention period from that policy instead of the retention period set on the log group."
fn retention_of(group: &aws_sdk_cloudwatchlogs::types::LogGroup) -> Retention {
    match (
        group.retention_policy_name(),
        group.retention_in_days().and_then(|days| u32::try_from(days).ok()),
    ) {
        (Some(policy), _) => Retention::Account(policy.to_owned()),
        (None, Some(days)) => Retention::Days(days),
        (None, None) => Retention::Forever,
    }
}

/// Whose a group is.
pub async fn observe(
    aws: &Aws,
    account: &Account,
    stack: &str,
    name: &str,
    retention: Retention,
) -> Result<Seen<LogGroup>, CallError> {
    let tags: Tags = match called(
        "logs:ListTagsForResource",
        aws.logs.list_tags_for_resource().resource_arn(arn(account, name)).send(),
    )
    .await
    {
        Ok(output) => output.tags.unwrap_or_default().into_iter().collect(),
        Err(error) if error.not_found() => return Ok(Seen::Absent),
        Err(error) => return Err(error),
    };
    Ok(match tags.get(STACK_TAG) {
        Some(tag) if tag == stack => {
            Seen::Ours(LogGroup { name: name.to_owned(), tags, retention })
        }
        Some(other) => Seen::Foreign(format!("it belongs to the stack {other}")),
        None => Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}")),
    })
}

/// Creates the group with its tags, and without its retention; one that is there already (a lost
/// reply) is ours only by its tag.
pub async fn create(
    aws: &Aws,
    account: &Account,
    stack: &str,
    group: &LogGroup,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    if create_new(aws, group, tell).await? {
        return Ok(());
    }
    match observe(aws, account, stack, &group.name, Retention::Forever).await? {
        Seen::Foreign(whose) => Err(CallError::foreign(
            "logs:CreateLogGroup",
            "ResourceAlreadyExistsException",
            Kind::LogGroup,
            &whose,
        )),
        _ => Ok(()),
    }
}

/// Creates the group with its tags; false where it is there already.
pub async fn create_new(aws: &Aws, group: &LogGroup, tell: Tell<'_>) -> Result<bool, CallError> {
    let answer = while_changing("logs:CreateLogGroup", tell, || {
        let request = aws
            .logs
            .create_log_group()
            .log_group_name(&group.name)
            .set_tags(Some(group.tags.clone().into_iter().collect()));
        called("logs:CreateLogGroup", request.send())
    })
    .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.is(&["ResourceAlreadyExistsException"]) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Repeats a call while CloudWatch Logs is at something else with the group. Source:
/// OperationAbortedException, "Multiple concurrent requests to update the same resource were in
/// conflict", which all changes of a group may answer.
async fn while_changing<T, F>(
    call: &'static str,
    tell: Tell<'_>,
    attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let busy = |error: &CallError| {
        error.is(&["OperationAbortedException"]).then(|| "another change of the log group".into())
    };
    while_busy(call, LONG, tell, busy, attempt).await
}

async fn put_retention(aws: &Aws, group: &LogGroup, tell: Tell<'_>) -> Result<(), CallError> {
    let name = &group.name;
    match group.retention {
        Retention::Days(days) => {
            let days = i32::try_from(days).unwrap_or(i32::MAX);
            let put = || {
                let request =
                    aws.logs.put_retention_policy().log_group_name(name).retention_in_days(days);
                called("logs:PutRetentionPolicy", request.send())
            };
            while_changing("logs:PutRetentionPolicy", tell, put).await.map(drop)
        }
        Retention::Forever | Retention::Account(_) => {
            let delete = || {
                called(
                    "logs:DeleteRetentionPolicy",
                    aws.logs.delete_retention_policy().log_group_name(name).send(),
                )
            };
            while_changing("logs:DeleteRetentionPolicy", tell, delete).await.map(drop)
        }
    }
}

pub async fn update(
    aws: &Aws,
    account: &Account,
    group: &LogGroup,
    retention: bool,
    tags: bool,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    if retention {
        put_retention(aws, group, tell).await?;
    }
    if tags {
        let tag = || {
            let request = aws.logs.tag_resource().resource_arn(arn(account, &group.name));
            called(
                "logs:TagResource",
                request.set_tags(Some(group.tags.clone().into_iter().collect())).send(),
            )
        };
        while_changing("logs:TagResource", tell, tag).await?;
    }
    Ok(())
}

pub async fn delete(aws: &Aws, name: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let delete =
        || called("logs:DeleteLogGroup", aws.logs.delete_log_group().log_group_name(name).send());
    match while_changing("logs:DeleteLogGroup", tell, delete).await {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Adds one line to the stack's history. `now` is milliseconds since the epoch.
pub async fn remember(aws: &Aws, group: &str, line: &str, now: i64) -> Result<(), CallError> {
    let put = || {
        let event = InputLogEvent::builder()
            .timestamp(now)
            .message(line)
            .build()
            .expect("time and message are set");
        called(
            "logs:PutLogEvents",
            aws.logs
                .put_log_events()
                .log_group_name(group)
                .log_stream_name(HISTORY)
                .log_events(event)
                .send(),
        )
    };
    match put().await {
        Ok(_) => return Ok(()),
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error),
    }
    // The first line of a stack.
    match called(
        "logs:CreateLogStream",
        aws.logs.create_log_stream().log_group_name(group).log_stream_name(HISTORY).send(),
    )
    .await
    {
        Ok(_) => {}
        Err(error) if error.is(&["ResourceAlreadyExistsException"]) => {}
        Err(error) => return Err(error),
    }
    put().await.map(drop)
}

/// The newest lines of the stack's history with their times (milliseconds since the epoch), oldest
/// first; none for a stack that never was.
pub async fn history(aws: &Aws, group: &str, lines: i32) -> Result<Vec<(i64, String)>, CallError> {
    newest(aws, group, HISTORY, lines).await
}

/// Empty pages in a row that are followed.
const PAGES: usize = 10;

/// The newest lines of a stream with their times, oldest first; none where there is no such stream.
/// "Partially full or empty pages don't necessarily mean that pagination is finished"
/// (GetLogEvents, API reference): an empty one is followed; one that isn't has the newest.
pub async fn newest(
    aws: &Aws,
    group: &str,
    stream: &str,
    lines: i32,
) -> Result<Vec<(i64, String)>, CallError> {
    let mut token = None;
    for _ in 0..PAGES {
        let request = aws
            .logs
            .get_log_events()
            .log_group_name(group)
            .log_stream_name(stream)
            .limit(lines)
            .start_from_head(false);
        let page =
            match called("logs:GetLogEvents", request.set_next_token(token.clone()).send()).await {
                Ok(page) => page,
                Err(error) if error.not_found() => break,
                Err(error) => return Err(error),
            };
        let events = page.events.unwrap_or_default();
        if !events.is_empty()
            || page.next_backward_token.is_none()
            || page.next_backward_token == token
        {
            return Ok(events
                .into_iter()
                .filter_map(|event| Some((event.timestamp?, event.message?)))
                .collect());
        }
        token = page.next_backward_token;
    }
    Ok(vec![])
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Milliseconds since the epoch.
    pub time: i64,
    pub message: String,
}

/// CloudWatch shows a line some seconds after it was written, and not in order; one that comes
/// later than this after a newer one is missed.
const LATE: i64 = 60_000;
/// FilterLogEvents takes 5 to 10 calls a second for an account.
const EVERY: Duration = Duration::from_secs(1);

/// A group's lines from a moment on, each once.
pub struct Follow {
    group: String,
    /// Milliseconds since the epoch.
    since: i64,
    newest: i64,
    /// Ids of what was told, with their times: calls overlap.
    told: BTreeMap<String, i64>,
}

impl Follow {
    pub fn new(group: String, since: i64) -> Self {
        Self { group, since, newest: since, told: BTreeMap::new() }
    }

    pub fn group(&self) -> &str {
        &self.group
    }

    /// To be waited for between two calls.
    pub async fn pause() {
        pause(EVERY).await;
    }

    /// What is new, in the order of the lines' times.
    ///
    /// # Errors
    /// The call's, and that there is no such group: the function was never deployed.
    pub async fn next(&mut self, aws: &Aws) -> Result<Vec<Logged>, CallError> {
        let start = (self.newest - LATE).max(self.since);
        let mut new = vec![];
        let mut next: Option<String> = None;
        loop {
            let request = aws
                .logs
                .filter_log_events()
                .log_group_name(&self.group)
                .start_time(start)
                .set_next_token(next);
            let page = called("logs:FilterLogEvents", request.send()).await?;
            for event in page.events.unwrap_or_default() {
                let (Some(id), Some(time), Some(message)) =
                    (event.event_id, event.timestamp, event.message)
                else {
                    continue;
                };
                self.newest = self.newest.max(time);
                if self.told.insert(id, time).is_none() {
                    new.push(Logged { time, message });
                }
            }
            next = page.next_token;
            if next.is_none() {
                break;
            }
        }
        let oldest = self.newest - LATE;
        self.told.retain(|_, time| *time >= oldest);
        new.sort_by_key(|line| line.time);
        Ok(new)
    }
}
