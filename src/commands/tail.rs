//! `routeto tail`: one line per record, as they arrive, until Ctrl-C.
//!
//! Nothing is taken from anybody: SQS can't show a message without hiding it from its workers and
//! counting toward its dead-letter queue, and a bucket would have to be listed again and again. So
//! what a stage in AWS stored is read from its function's log, which has a line for each; what
//! `dev` stored, from its journal.

use super::{Context, moment};
use crate::{
    aws::logs::{Follow, Logged},
    cli::{self, From},
    desired::name,
    dev::{
        exchange::{Exchange, Stored},
        news::News,
        running::{self, Running},
    },
    error::{Error, Failure, Result},
    spec::Stack,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path};

/// A record that arrived.
#[derive(Debug, PartialEq, Eq)]
struct Arrived {
    /// RFC 3339, UTC.
    time: String,
    stage: String,
    route: String,
    /// `s3://bucket/key`, or the queue's name.
    place: String,
    bytes: u64,
    /// Of the invocation, which is in the key or the envelope.
    id: String,
}

/// What is asked for.
struct Wanted {
    stages: BTreeSet<String>,
    route: Option<String>,
}

impl Wanted {
    fn has(&self, arrived: &Arrived) -> bool {
        self.stages.contains(&arrived.stage)
            && self.route.as_ref().is_none_or(|route| *route == arrived.route)
    }
}

/// Answers 130: nothing but a signal, or the end of what it listens to, ends it.
pub async fn run(context: &Context, args: cli::Tail) -> Result<u8> {
    let stack = context.load_or_running_example(&args.stack)?.stack;
    let stages = context.stages(&stack, &args.stages)?;
    if let Some(route) = &args.route {
        stack.route(route).map_err(|what| Error::Usage(Failure::new("--route", what)))?;
    }
    let wanted = Wanted { stages, route: args.route };
    tokio::select! {
        outcome = tail(context, &stack, &wanted, args.from) => outcome,
        _ = crate::interrupted() => Ok(130),
    }
}

async fn tail(context: &Context, stack: &Stack, wanted: &Wanted, from: Option<From>) -> Result<u8> {
    let running = match from {
        Some(From::Aws) => None,
        // An endpoint that was asked for is not dev's journal.
        None if context.global.endpoint_url.is_some() => None,
        Some(From::Dev) | None => Running::read(Path::new(running::DIRECTORY))?
            .filter(|running| running.stack == stack.name),
    };
    let news = match &running {
        Some(running) => News::of(&running.url, &running.key).await,
        None => None,
    };
    match (news, running) {
        (Some(news), Some(running)) => dev(context, wanted, news, &running.url).await,
        (None, Some(running)) if running::is_held(Path::new(running::DIRECTORY)) => {
            Err(running.silent("--from aws tells what arrives in AWS").into())
        }
        _ if from == Some(From::Dev) => {
            let what = format!("no `routeto dev` of stack `{}` runs in this directory", stack.name);
            Err(Failure::new("--from dev", what)
                .now("start one here, or leave --from out to see what arrives in AWS")
                .into())
        }
        _ => {
            if from.is_none() && context.global.endpoint_url.is_none() {
                context.report.note("no `routeto dev` of this stack runs in this directory: this is what arrives in AWS");
            }
            aws(context, stack, wanted).await
        }
    }
}

async fn dev(context: &Context, wanted: &Wanted, mut news: News, url: &str) -> Result<u8> {
    context.report.note(&format!("what `routeto dev` at {url} stores; Ctrl-C ends it"));
    while let Some(exchange) = news.next().await? {
        let Some(arrived) = of_exchange(&exchange) else { continue };
        if wanted.has(&arrived) && !print(context, &arrived) {
            return Ok(0);
        }
    }
    context.report.note("that `routeto dev` has ended");
    Ok(0)
}

fn of_exchange(exchange: &Exchange) -> Option<Arrived> {
    let (place, bytes) = match exchange.record.as_ref()? {
        Stored::S3 { bucket, key, bytes } => (format!("s3://{bucket}/{key}"), *bytes),
        Stored::Sqs { queue, bytes, .. } => (queue.clone(), *bytes),
    };
    Some(Arrived {
        time: rfc3339(i64::try_from(exchange.time).ok()?),
        stage: exchange.stage.clone(),
        route: exchange.route.clone()?,
        place,
        bytes,
        id: exchange.function.as_ref().map(|function| function.id.clone()).unwrap_or_default(),
    })
}

async fn aws(context: &Context, stack: &Stack, wanted: &Wanted) -> Result<u8> {
    let aws = context.connect(stack).await?;
    let mut follows: Vec<(String, Follow)> = wanted
        .stages
        .iter()
        .map(|stage| {
            (stage.clone(), Follow::new(name::log_group(&stack.name, stage), super::now()))
        })
        .collect();
    let groups: Vec<&str> = follows.iter().map(|(_, follow)| follow.group()).collect();
    context.report.note(&format!(
        "what the functions log in {}, some seconds after it was stored; Ctrl-C ends it",
        groups.join(", ")
    ));
    loop {
        for (stage, follow) in &mut follows {
            let new = match follow.next(&aws).await {
                Err(error) if error.not_found() => {
                    let what = format!(
                        "there is no log group {}: stage {stage} isn't deployed",
                        follow.group()
                    );
                    return Err(Failure::new("tail", what)
                        .now("deploy it first, or start `routeto dev` and see what arrives there")
                        .into());
                }
                new => new?,
            };
            for logged in new {
                let Some(arrived) = of_log(stage, &logged) else { continue };
                if wanted.has(&arrived) && !print(context, &arrived) {
                    return Ok(0);
                }
            }
        }
        Follow::pause().await;
    }
}

/// A record's line in the function's log; `None` for all other lines.
fn of_log(stage: &str, logged: &Logged) -> Option<Arrived> {
    let line: Value = serde_json::from_str(&logged.message).ok()?;
    if line["message"] != "stored" {
        return None;
    }
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let stored = text("stored");
    let place = if stored.starts_with("s3://") {
        stored
    } else {
        stored.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let bytes = line["bytes"].as_u64().unwrap_or_default();
    Some(Arrived {
        time: rfc3339(logged.time),
        stage: stage.to_owned(),
        route: text("path"),
        place,
        bytes,
        id: text("requestId"),
    })
}

/// False when nobody reads any more.
fn print(context: &Context, arrived: &Arrived) -> bool {
    let Arrived { time, stage, route, place, bytes, id } = arrived;
    if context.report.json {
        let line = json!({"time": time, "stage": stage, "route": route, "place": place, "bytes": bytes, "id": id});
        return context.report.line(&line.to_string());
    }
    context.report.line(&format!("{time}  {stage}  {route}  {place}  {bytes} bytes"))
}

/// `2026-11-22T04:20:45.120Z`: always three digits, so that lines stand under one another.
fn rfc3339(millis: i64) -> String {
    format!("{}.{:03}Z", moment(millis).trim_end_matches('Z'), millis.rem_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(message: &str) -> Logged {
        Logged { time: 1_700_000_000_123, message: message.to_owned() }
    }

    #[test]
    fn a_line_of_the_functions_log_is_a_record_where_it_says_so() {
        let object = r#"{"timestamp":"x","level":"INFO","requestId":"a-b","message":"stored","status":200,"path":"/input","sourceIp":"1.2.3.4","stored":"s3://hooks/SendGrid/input_1_a-b","bytes":12}"#;
        let arrived = Arrived {
            time: "2023-11-14T22:13:20.123Z".into(),
            stage: "prod".into(),
            route: "/input".into(),
            place: "s3://hooks/SendGrid/input_1_a-b".into(),
            bytes: 12,
            id: "a-b".into(),
        };
        assert_eq!(of_log("prod", &logged(object)), Some(arrived));
        let message = object.replace(
            "s3://hooks/SendGrid/input_1_a-b",
            "https://sqs.us-east-1.amazonaws.com/123456789012/events-prod",
        );
        assert_eq!(
            of_log("prod", &logged(&message)).map(|arrived| arrived.place),
            Some("events-prod".into())
        );
        for other in [
            "START RequestId: x",
            "{}",
            "{\"message\":\"wrong token\"}",
            "[]",
            "{\"message\":\"probe\"}",
            "",
        ] {
            assert_eq!(of_log("prod", &logged(other)), None, "{other}");
        }
    }
}
