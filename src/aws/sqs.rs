//! Queues: what they are and how they become what they ought to be.

use super::{
    Aws,
    call::{CallError, called},
    observe::Seen,
    s3::found,
    wait::{LONG, Tell, while_busy},
};
use crate::{
    desired::queue_url,
    observed::{Account, Existing, QueueState},
    policy,
    resource::{Kind, Queue, Redrive, STACK_TAG, Tags},
};
use aws_sdk_sqs::types::QueueAttributeName as Name;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Why a queue whose tags mustn't be read can't be told to be ours.
pub const UNREAD: &str = "sqs:GetQueueAttributes and sqs:ListQueueTags on it are not allowed, so whose it is isn't known";

/// Seconds for which SQS hides a received message where nothing else was set.
const VISIBILITY: u32 = 30;

/// A queue as it stands, what it has beside what we set, and about how many messages it holds.
pub async fn observe(
    aws: &Aws,
    account: &Account,
    stack: &str,
    name: &str,
) -> Result<Seen<(Queue, QueueState, u64)>, CallError> {
    let url = queue_url(account, name);
    let (attributes, tags) = futures_util::join!(
        attributes(aws, &url),
        called("sqs:ListQueueTags", aws.sqs.list_queue_tags().queue_url(&url).send())
    );
    let Some(attributes) = attributes? else { return Ok(Seen::Absent) };
    let tags: Tags = match tags {
        Ok(output) => output.tags.unwrap_or_default().into_iter().collect(),
        Err(error) if error.not_found() => return Ok(Seen::Absent),
        Err(error) => return Err(error),
    };
    match tags.get(STACK_TAG) {
        Some(tag) if tag == stack => {}
        Some(other) => return Ok(Seen::Foreign(format!("it belongs to the stack {other}"))),
        None => return Ok(Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}"))),
    }
    let number =
        |name: Name| attributes.get(&name).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    let messages = held(&attributes);
    let queue = Queue {
        name: name.to_owned(),
        tags,
        encryption: encryption_of(&attributes),
        retention: number(Name::MessageRetentionPeriod),
        maximum_message_size: number(Name::MaximumMessageSize),
        redrive: attributes.get(&Name::RedrivePolicy).and_then(|text| redrive_of(text)),
    };
    let policy = attributes.get(&Name::Policy).map(String::as_str).unwrap_or_default();
    let state = QueueState {
        openings: policy::openings(policy, &account.id),
        delay: number(Name::DelaySeconds),
        visibility_timeout: attributes
            .get(&Name::VisibilityTimeout)
            .and_then(|value| value.parse().ok())
            .unwrap_or(VISIBILITY),
    };
    Ok(Seen::Ours((queue, state, messages)))
}

/// About how many messages it holds: waiting, with a consumer, and delayed. Source: SQS API,
/// GetQueueAttributes; it may be a minute late.
fn held(attributes: &HashMap<Name, String>) -> u64 {
    let names = [
        Name::ApproximateNumberOfMessages,
        Name::ApproximateNumberOfMessagesNotVisible,
        Name::ApproximateNumberOfMessagesDelayed,
    ];
    names.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum()
}

async fn attributes(aws: &Aws, url: &str) -> Result<Option<HashMap<Name, String>>, CallError> {
    match called(
        "sqs:GetQueueAttributes",
        aws.sqs.get_queue_attributes().queue_url(url).attribute_names(Name::All).send(),
    )
    .await
    {
        Ok(output) => Ok(Some(output.attributes.unwrap_or_default())),
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn encryption_of(attributes: &HashMap<Name, String>) -> String {
    match attributes.get(&Name::KmsMasterKeyId) {
        Some(key) if !key.is_empty() => key.clone(),
        _ if attributes.get(&Name::SqsManagedSseEnabled).is_some_and(|on| on == "true") => {
            "SSE-SQS".into()
        }
        _ => "none".into(),
    }
}

fn redrive_of(text: &str) -> Option<Redrive> {
    let value: Value = serde_json::from_str(text).ok()?;
    let dead_letter_queue = value["deadLetterTargetArn"].as_str()?.rsplit(':').next()?.to_owned();
    // The console writes a number, some tools a string.
    let count = &value["maxReceiveCount"];
    let after = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    Some(Redrive { dead_letter_queue, after: u32::try_from(after).ok()? })
}

/// A queue that the user says exists: its key.
pub async fn existing(aws: &Aws, account: &Account, name: &str) -> Result<Existing, CallError> {
    match attributes(aws, &queue_url(account, name)).await {
        Ok(None) => Ok(Existing::Missing),
        Ok(Some(attributes)) => {
            let encryption = encryption_of(&attributes);
            Ok(found(
                account,
                Some(encryption.as_str()).filter(|key| !["SSE-SQS", "none"].contains(key)),
            ))
        }
        Err(error) if error.refused() => Ok(Existing::Unusable {
            why: "this account's credentials may not look at the queue".into(),
            now: "allow sqs:GetQueueAttributes on it".into(),
        }),
        Err(error) => Err(error),
    }
}

fn settings(account: &Account, queue: &Queue) -> HashMap<Name, String> {
    let mut settings = HashMap::from([
        (Name::SqsManagedSseEnabled, "true".to_owned()),
        (Name::MessageRetentionPeriod, queue.retention.to_string()),
        (Name::MaximumMessageSize, queue.maximum_message_size.to_string()),
    ]);
    if let Some(Redrive { dead_letter_queue, after }) = &queue.redrive {
        let arn = format!(
            "arn:{}:sqs:{}:{}:{dead_letter_queue}",
            account.partition, account.region, account.id
        );
        settings.insert(
            Name::RedrivePolicy,
            json!({"deadLetterTargetArn": arn, "maxReceiveCount": after}).to_string(),
        );
    }
    settings
}

/// Creates the queue with its attributes and tags in one call.
pub async fn create(
    aws: &Aws,
    account: &Account,
    queue: &Queue,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    if create_call(aws, account, queue, tell).await? {
        return Ok(());
    }
    // Made in the meantime with other attributes: ours if the tag says so.
    let stack = queue.tags.get(STACK_TAG).map(String::as_str).unwrap_or_default();
    match observe(aws, account, stack, &queue.name).await? {
        Seen::Foreign(whose) => {
            Err(CallError::foreign("sqs:CreateQueue", "QueueNameExists", Kind::Queue, &whose))
        }
        _ => update(aws, account, queue, true, true).await,
    }
}

/// Makes sure that a queue of ours is there and stays, then sets what differs.
pub async fn confirm(
    aws: &Aws,
    account: &Account,
    queue: &Queue,
    attributes: bool,
    tags: bool,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    create_call(aws, account, queue, tell).await?;
    update(aws, account, queue, attributes, tags).await
}

/// False where there is one with other attributes; one with just these is answered as if it were
/// made.
async fn create_call(
    aws: &Aws,
    account: &Account,
    queue: &Queue,
    tell: Tell<'_>,
) -> Result<bool, CallError> {
    let busy = |error: &CallError| {
        error
            .is(&["QueueDeletedRecently", "AWS.SimpleQueueService.QueueDeletedRecently"])
            .then(|| "SQS keeps the name of a deleted queue for 60 s".into())
    };
    let answer = while_busy("sqs:CreateQueue", LONG, tell, busy, || {
        let request = aws
            .sqs
            .create_queue()
            .queue_name(&queue.name)
            .set_attributes(Some(settings(account, queue)))
            .set_tags(Some(queue.tags.clone().into_iter().collect()));
        called("sqs:CreateQueue", request.send())
    })
    .await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.is(&["QueueAlreadyExists", "QueueNameExists"]) => Ok(false),
        Err(error) => Err(error),
    }
}

pub async fn update(
    aws: &Aws,
    account: &Account,
    queue: &Queue,
    attributes: bool,
    tags: bool,
) -> Result<(), CallError> {
    let url = queue_url(account, &queue.name);
    if attributes {
        let mut settings = settings(account, queue);
        // An empty value takes the redrive policy away.
        settings.entry(Name::RedrivePolicy).or_default();
        // "You can use one type of server-side encryption (SSE) at one time" (SetQueueAttributes):
        // a key that was set by hand goes in the same call.
        let seen = self::attributes(aws, &url).await?.unwrap_or_default();
        if seen.get(&Name::KmsMasterKeyId).is_some_and(|key| !key.is_empty()) {
            settings.insert(Name::KmsMasterKeyId, String::new());
        }
        let request = aws.sqs.set_queue_attributes().queue_url(&url).set_attributes(Some(settings));
        called("sqs:SetQueueAttributes", request.send()).await?;
    }
    if tags {
        let request = aws
            .sqs
            .tag_queue()
            .queue_url(&url)
            .set_tags(Some(queue.tags.clone().into_iter().collect()));
        called("sqs:TagQueue", request.send()).await?;
    }
    Ok(())
}

/// Deletes the queue; without `purge` one that holds messages is kept, and the answer is about how
/// many. Looked at anew: since the plan was made a message may have come that was answered 200, and
/// SQS would delete it as well. The counts "may not achieve consistency until at least 1 minute
/// after the producers stop" (GetQueueAttributes, API reference); a long poll asks every server
/// that may have a message, and with a visibility timeout of none it stays to be received.
pub async fn delete(
    aws: &Aws,
    account: &Account,
    name: &str,
    purge: bool,
) -> Result<u64, CallError> {
    let url = queue_url(account, name);
    if !purge {
        let Some(attributes) = attributes(aws, &url).await? else { return Ok(0) };
        let held = held(&attributes);
        if held > 0 {
            return Ok(held);
        }
        let poll = aws
            .sqs
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(1)
            .wait_time_seconds(1)
            .visibility_timeout(0);
        match called("sqs:ReceiveMessage", poll.send()).await {
            Ok(received) if !received.messages().is_empty() => return Ok(1),
            Ok(_) => {}
            Err(error) if error.not_found() => return Ok(0),
            Err(error) => return Err(error),
        }
    }
    match called("sqs:DeleteQueue", aws.sqs.delete_queue().queue_url(url).send()).await {
        Ok(_) => Ok(0),
        Err(error) if error.not_found() => Ok(0),
        Err(error) => Err(error),
    }
}
