//! The lock that keeps two deploys of a stack apart: a log stream of `/routeto/<stack>`, made atomically by CloudWatch Logs. Its holder
//! signs it and gives signs of life; one that gives none is taken over. No state of routeto's own stands anywhere else.

use super::{
    Aws,
    call::{CallError, called},
    logs,
    wait::{Tell, pause},
};
use crate::{
    error::{Failure, Result},
    resource::LogGroup,
};
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use serde_json::{Value, json};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How the lock streams' names begin; a number follows, one higher for whoever takes over a lock that was left behind.
const PREFIX: &str = "lock-";

/// A holder gives a sign of life this often.
const SIGN: Duration = Duration::from_secs(5);

/// A lock without a new sign for this long, as seen by whoever wants it (no two machines' clocks are compared), was left behind.
const LEASE: Duration = Duration::from_secs(25);

/// How long another deploy that is alive is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lock that is held; released by [`Lock::release`].
pub struct Lock {
    aws: Aws,
    group: String,
    stream: String,
}

/// Who holds a lock, as far as its signs tell.
#[derive(Clone, Debug, Default, PartialEq)]
struct Holder {
    stream: String,
    /// Milliseconds since the epoch.
    created: i64,
    /// The newest sign: caller, host, process and when.
    sign: Option<String>,
}

/// Takes the stack's lock; waits for a holder that is alive, and takes over from one that isn't. `now` is milliseconds since the epoch.
///
/// # Errors
/// When another deploy holds it and goes on: who, and since when.
pub async fn take(aws: &Aws, group: &LogGroup, now: i64, break_it: bool, tell: Tell<'_>) -> Result<Lock> {
    let place = format!("lock of {}", group.name);
    let start = Instant::now();
    let mut seen: Option<(Holder, Instant)> = None;
    loop {
        let streams = match streams(aws, &group.name).await {
            Ok(streams) => streams,
            Err(error) if error.not_found() => {
                logs::create(aws, group).await.map_err(|error| error.about(&place))?;
                vec![]
            }
            Err(error) => return Err(error.about(&place).into()),
        };
        let newest = streams.iter().max_by_key(|(name, _)| number(name));
        if let (Some((stream, created)), false) = (newest, break_it) {
            let holder = Holder { stream: stream.clone(), created: *created, sign: sign_of(aws, &group.name, stream).await };
            // A lost sign is told by what we see ourselves: the same stream with the same newest sign, for the whole lease.
            let since = match &seen {
                Some((known, since)) if *known == holder => *since,
                _ => Instant::now(),
            };
            let alive = !holder.died_here() && since.elapsed() < LEASE;
            if alive {
                if start.elapsed() > PATIENCE {
                    return Err(held_by(&holder, now, &place).into());
                }
                tell(format!("another deploy of this stack is running{}; waiting for it", holder.words()));
                seen = Some((holder, since));
                pause(Duration::from_secs(1)).await;
                continue;
            }
        }
        let stream = format!("{PREFIX}{}", newest.map_or(0, |(name, _)| number(name)) + 1);
        let request = aws.logs.create_log_stream().log_group_name(&group.name).log_stream_name(&stream);
        match called("logs:CreateLogStream", request.send()).await {
            Ok(_) => {}
            // Somebody was quicker: look again.
            Err(error) if error.is(&["ResourceAlreadyExistsException"]) => continue,
            Err(error) => return Err(error.about(&place).into()),
        }
        for (old, _) in &streams {
            delete(aws, &group.name, old).await.map_err(|error| error.about(&place))?;
        }
        return Ok(Lock { aws: aws.clone(), group: group.name.clone(), stream });
    }
}

fn number(stream: &str) -> u64 {
    stream.strip_prefix(PREFIX).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// This machine since it was booted, and the process namespace: only there a process's number says who it is.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

impl Holder {
    fn value(&self) -> Value {
        self.sign.as_deref().and_then(|sign| serde_json::from_str(sign).ok()).unwrap_or_default()
    }

    /// The holder was a process of this very machine, and is no more.
    fn died_here(&self) -> bool {
        let value = self.value();
        let (Some(theirs), Some(process)) = (value["machine"].as_str(), value["process"].as_u64()) else { return false };
        machine().is_some_and(|ours| ours == theirs) && !std::path::Path::new(&format!("/proc/{process}")).exists()
    }

    /// ` by <caller> on <host>`, as far as it is known.
    fn words(&self) -> String {
        let value = self.value();
        let by = value["who"].as_str().map_or(String::new(), |who| format!(" by {who}"));
        let on = value["host"].as_str().map_or(String::new(), |host| format!(" on {host}"));
        format!("{by}{on}")
    }
}

fn held_by(holder: &Holder, now: i64, place: &str) -> Failure {
    let seconds = (now - holder.created).max(0) / 1000;
    Failure::new(place, format!("another deploy of this stack has been running for {seconds} s{}", holder.words()))
        .now("wait until it ends and run the same command again; if you know that it is dead, with --break-lock")
}

/// Names and times of creation.
async fn streams(aws: &Aws, group: &str) -> Result<Vec<(String, i64)>, CallError> {
    let request = aws.logs.describe_log_streams().log_group_name(group).log_stream_name_prefix(PREFIX);
    let page = called("logs:DescribeLogStreams", request.send()).await?;
    Ok(page
        .log_streams()
        .iter()
        .filter_map(|stream| Some((stream.log_stream_name()?.to_owned(), stream.creation_time().unwrap_or(0))))
        .collect())
}

/// The newest sign of a lock; nothing to fail for.
async fn sign_of(aws: &Aws, group: &str, stream: &str) -> Option<String> {
    let request = aws.logs.get_log_events().log_group_name(group).log_stream_name(stream).limit(1).start_from_head(false);
    called("logs:GetLogEvents", request.send()).await.ok()?.events?.pop()?.message
}

async fn delete(aws: &Aws, group: &str, stream: &str) -> Result<(), CallError> {
    match called("logs:DeleteLogStream", aws.logs.delete_log_stream().log_group_name(group).log_stream_name(stream).send()).await {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

impl Lock {
    /// Signs the lock; false where it is gone: somebody took it. Any other sign that can't be written is no reason to stop: the next may.
    fn sign(&self, who: &str, now: i64) -> impl Future<Output = bool> + use<> {
        let (aws, group, stream) = (self.aws.clone(), self.group.clone(), self.stream.clone());
        let host = std::env::var("HOSTNAME").ok().filter(|host| !host.is_empty());
        let sign = json!({"who": who, "host": host, "machine": machine(), "process": std::process::id(), "at": now}).to_string();
        async move {
            if let Ok(event) = InputLogEvent::builder().timestamp(now).message(sign).build() {
                let request = aws.logs.put_log_events().log_group_name(group).log_stream_name(stream).log_events(event);
                let signed = called("logs:PutLogEvents", request.send()).await;
                return !signed.is_err_and(|error| error.not_found());
            }
            true
        }
    }

    /// Signs the lock now and again until it is dropped, or until it is gone: then `lost` is told. `clock` gives milliseconds since the
    /// epoch.
    pub fn keep(&self, who: String, clock: fn() -> i64, lost: Arc<Notify>) -> impl Future<Output = ()> + use<> {
        let lock = Lock { aws: self.aws.clone(), group: self.group.clone(), stream: self.stream.clone() };
        async move {
            while lock.sign(&who, clock()).await {
                pause(SIGN).await;
            }
            lost.notify_one();
        }
    }

    /// Gives the lock back. A teardown has deleted it with its group: that is fine.
    pub async fn release(self) -> Result<()> {
        delete(&self.aws, &self.group, &self.stream).await.map_err(|error| Failure::from(error).into())
    }
}
