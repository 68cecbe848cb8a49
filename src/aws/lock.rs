//! The lock that keeps two deploys of a stack apart: a log stream of `/routeto/<stack>`, made atomically by CloudWatch Logs, with its
//! age as its lease. No state of routeto's own stands anywhere else.

use super::{
    Aws,
    call::{CallError, called},
    logs,
};
use crate::{
    error::{Failure, Result},
    resource::LogGroup,
};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use std::{future::Future, time::Duration};

/// How the lock streams' names begin; a number follows, one higher for whoever takes over a lock that is too old.
const PREFIX: &str = "lock-";

/// A lock older than this was left behind: no deploy holds it that long without renewing it. A role that can't be assumed is waited
/// for 5 minutes.
const LEASE: Duration = Duration::from_secs(10 * 60);

/// A lock that is held; released by [`Lock::release`].
pub struct Lock {
    aws: Aws,
    group: String,
    stream: String,
}

struct Stream {
    name: String,
    /// Milliseconds since the epoch.
    created: i64,
}

/// Takes the stack's lock. `now` is milliseconds since the epoch.
///
/// # Errors
/// When another deploy holds it: who, and since when.
pub async fn take(aws: &Aws, group: &LogGroup, now: i64, break_it: bool) -> Result<Lock> {
    let place = format!("lock of {}", group.name);
    for _ in 0..5 {
        let streams = match streams(aws, &group.name).await {
            Ok(streams) => streams,
            Err(error) if error.not_found() => {
                logs::create(aws, group).await.map_err(|error| error.about(&place))?;
                vec![]
            }
            Err(error) => return Err(error.about(&place).into()),
        };
        let stale = |stream: &Stream| break_it || now - stream.created > LEASE.as_millis() as i64;
        if let Some(held) = streams.iter().find(|stream| !stale(stream)) {
            return Err(held_by(aws, &group.name, held, now, &place).await.into());
        }
        let number = streams.iter().filter_map(|stream| stream.name.rsplit('-').next()?.parse::<u64>().ok()).max().unwrap_or(0) + 1;
        let stream = format!("{PREFIX}{number}");
        let request = aws.logs.create_log_stream().log_group_name(&group.name).log_stream_name(&stream);
        match called("logs:CreateLogStream", request.send()).await {
            Ok(_) => {}
            // Somebody was quicker: look again.
            Err(error) if error.is(&["ResourceAlreadyExistsException"]) => continue,
            Err(error) => return Err(error.about(&place).into()),
        }
        for old in &streams {
            delete(aws, &group.name, &old.name).await.map_err(|error| error.about(&place))?;
        }
        return Ok(Lock { aws: aws.clone(), group: group.name.clone(), stream });
    }
    Err(Failure::new(place, "others take the lock again and again").now("run the same command again in a minute").into())
}

async fn held_by(aws: &Aws, group: &str, stream: &Stream, now: i64, place: &str) -> Failure {
    let seconds = (now - stream.created).max(0) / 1000;
    let request = aws.logs.get_log_events().log_group_name(group).log_stream_name(&stream.name).limit(1);
    // Who it is would be good to know, and is nothing to fail for.
    let owner = called("logs:GetLogEvents", request.send()).await.ok().and_then(|page| page.events?.pop()?.message);
    let by = owner.map_or(String::new(), |owner| format!(" by {owner}"));
    Failure::new(place, format!("another deploy of this stack{by} has been running for {seconds} s"))
        .now("wait until it ends; if it was killed, its lock is free 10 minutes after it was taken, or at once with --break-lock")
}

async fn streams(aws: &Aws, group: &str) -> Result<Vec<Stream>, CallError> {
    let request = aws.logs.describe_log_streams().log_group_name(group).log_stream_name_prefix(PREFIX);
    let page = called("logs:DescribeLogStreams", request.send()).await?;
    Ok(page
        .log_streams()
        .iter()
        .filter_map(|stream| Some(Stream { name: stream.log_stream_name()?.to_owned(), created: stream.creation_time().unwrap_or(0) }))
        .collect())
}

async fn delete(aws: &Aws, group: &str, stream: &str) -> Result<(), CallError> {
    match called("logs:DeleteLogStream", aws.logs.delete_log_stream().log_group_name(group).log_stream_name(stream).send()).await {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

impl Lock {
    /// Writes into the lock who holds it: for whoever finds it taken, so it may fail and need not be waited for.
    pub fn sign(&self, owner: String, now: i64) -> impl Future<Output = ()> + use<> {
        let (aws, group, stream) = (self.aws.clone(), self.group.clone(), self.stream.clone());
        async move {
            if let Ok(event) = InputLogEvent::builder().timestamp(now).message(owner).build() {
                let request = aws.logs.put_log_events().log_group_name(group).log_stream_name(stream).log_events(event);
                let _ = called("logs:PutLogEvents", request.send()).await;
            }
        }
    }

    /// Gives the lock back. A teardown has deleted it with its group: that is fine.
    pub async fn release(self) -> Result<()> {
        delete(&self.aws, &self.group, &self.stream).await.map_err(|error| Failure::from(error).into())
    }
}
