//! The roles of the functions.

use super::{
    Aws,
    call::{CallError, called},
    observe::Seen,
    wait::{LONG, Tell, Try, Waited, until, while_busy},
};
use crate::{
    observed::RoleState,
    policy,
    resource::{Role, STACK_TAG, Tags, canonical},
};
use aws_sdk_iam::types::Tag;
use std::{
    collections::BTreeSet,
    future::Future,
    time::{Duration, Instant},
};

const DESCRIPTION: &str = "of a routeto function";

/// Seconds since it was made for which a role may be seen without its tags, and for which they are
/// looked for again.
const YOUNG: i64 = 300;
const TAGS_COME: Duration = Duration::from_secs(20);

/// How long a role that was just made may be unknown. Source: IAM User Guide, "Changes that I make
/// are not always immediately visible": it says no time; Terraform's provider retries for two
/// minutes.
const KNOWN: Duration = Duration::from_secs(120);
const UNKNOWN: &str = "IAM doesn't know the role everywhere yet";

/// The role as it stands. IAM is eventually consistent: one that was just made may show no tag yet,
/// and is looked at again.
pub async fn observe(
    aws: &Aws,
    stack: &str,
    name: &str,
) -> Result<Seen<(Role, RoleState)>, CallError> {
    let looked = until(TAGS_COME, &*aws.tell, || async {
        let (seen, untagged) = look(aws, stack, name).await?;
        Ok(if untagged {
            Try::Again(format!("the role {name} was just made and shows no tags yet"))
        } else {
            Try::Done(seen)
        })
    })
    .await;
    match looked {
        Ok(seen) => Ok(seen),
        Err(Waited::Failed(error)) => Err(error),
        Err(Waited::TooLong { .. }) => {
            Ok(Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}")))
        }
    }
}

/// The role, and whether it is a young one without any tag.
async fn look(
    aws: &Aws,
    stack: &str,
    name: &str,
) -> Result<(Seen<(Role, RoleState)>, bool), CallError> {
    let (role, inline, others, attached) = futures_util::join!(
        called("iam:GetRole", aws.iam.get_role().role_name(name).send()),
        called(
            "iam:GetRolePolicy",
            aws.iam.get_role_policy().role_name(name).policy_name(policy::INLINE).send()
        ),
        inline_names(aws, name),
        attached_names(aws, name),
    );
    let role = match role {
        Ok(output) => output.role,
        Err(error) if error.not_found() => return Ok((Seen::Absent, false)),
        Err(error) => return Err(error),
    };
    let Some(role) = role else { return Ok((Seen::Absent, false)) };
    let tags: Tags =
        role.tags().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
    match tags.get(STACK_TAG) {
        Some(tag) if tag == stack => {}
        Some(other) => {
            return Ok((Seen::Foreign(format!("it belongs to the stack {other}")), false));
        }
        None => {
            // Whose it is shows in the description as well, which comes with the role itself:
            // somebody else's role isn't waited for.
            let age = i64::try_from(aws.seconds()).unwrap_or(0) - role.create_date().secs();
            let untagged =
                tags.is_empty() && role.description() == Some(DESCRIPTION) && age.abs() < YOUNG;
            return Ok((Seen::Foreign(format!("it lacks the tag {STACK_TAG}={stack}")), untagged));
        }
    }
    let inline = match inline {
        Ok(output) => Some(policy::parse(&decoded(output.policy_document()))),
        Err(error) if error.not_found() => None,
        Err(error) => return Err(error),
    };
    let trust = decoded(role.assume_role_policy_document().unwrap_or_default());
    let trust = serde_json::from_str(&trust).map(|value| canonical(&value)).unwrap_or(trust);
    let state = state(others, attached)?;
    let role =
        Role { name: name.to_owned(), tags, trust, policy: Some(inline.unwrap_or_default()) };
    Ok((Seen::Ours((role, state)), false))
}

/// A deploy doesn't need to see the role's other policies, so it doesn't fail where it may not.
fn state(
    inline: Result<BTreeSet<String>, CallError>,
    attached: Result<BTreeSet<String>, CallError>,
) -> Result<RoleState, CallError> {
    let unread = [&inline, &attached]
        .into_iter()
        .any(|answer| answer.as_ref().is_err_and(CallError::refused));
    let names = |answer: Result<BTreeSet<String>, CallError>| match answer {
        // The role went meanwhile.
        Err(error) if error.refused() || error.not_found() => Ok(BTreeSet::new()),
        answer => answer,
    };
    let mut inline = names(inline)?;
    inline.remove(policy::INLINE);
    Ok(RoleState { inline, attached: names(attached)?, unread })
}

/// Names of all inline policies. IAM may answer with a part of a list, however short it is.
async fn inline_names(aws: &Aws, role: &str) -> Result<BTreeSet<String>, CallError> {
    let mut names = BTreeSet::new();
    let mut marker: Option<String> = None;
    loop {
        let request = aws.iam.list_role_policies().role_name(role).set_marker(marker);
        let page = called("iam:ListRolePolicies", request.send()).await?;
        names.extend(page.policy_names().iter().cloned());
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            return Ok(names);
        }
    }
}

/// Names of all managed policies that are attached.
async fn attached_names(aws: &Aws, role: &str) -> Result<BTreeSet<String>, CallError> {
    let mut names = BTreeSet::new();
    let mut marker: Option<String> = None;
    loop {
        let request = aws.iam.list_attached_role_policies().role_name(role).set_marker(marker);
        let page = called("iam:ListAttachedRolePolicies", request.send()).await?;
        names.extend(
            page.attached_policies()
                .iter()
                .filter_map(|policy| policy.policy_name().map(str::to_owned)),
        );
        marker = page.marker.filter(|_| page.is_truncated);
        if marker.is_none() {
            return Ok(names);
        }
    }
}

/// IAM hands policies out URL-encoded (RFC 3986); some back ends don't.
fn decoded(text: &str) -> String {
    if text.trim_start().starts_with('{') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn tag_list(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| {
            Tag::builder().key(key).value(value).build().expect("key and value are set")
        })
        .collect()
}

/// Creates the role with its tags, and without its policy.
pub async fn create(aws: &Aws, role: &Role, tell: Tell<'_>) -> Result<(), CallError> {
    let request = aws
        .iam
        .create_role()
        .role_name(&role.name)
        .assume_role_policy_document(&role.trust)
        .description(DESCRIPTION)
        .set_tags(Some(tag_list(&role.tags)));
    match called("iam:CreateRole", request.send()).await {
        Ok(_) => Ok(()),
        // A reply that was lost, or another deploy: ours if the tag says so.
        Err(error) if error.is(&["EntityAlreadyExists", "EntityAlreadyExistsException"]) => {
            let stack = role.tags.get(STACK_TAG).map(String::as_str).unwrap_or_default();
            let looked = until(KNOWN, tell, || async {
                let seen = observe(aws, stack, &role.name).await?;
                Ok(if seen == Seen::Absent { Try::Again(UNKNOWN.into()) } else { Try::Done(seen) })
            });
            match looked.await {
                Ok(Seen::Ours(_)) => update(aws, role, true, false, true, tell).await,
                Err(Waited::Failed(other)) => Err(other),
                // Another's, or still unknown: the role is there, as IAM said.
                _ => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Repeats a call while IAM is at something else with the role.
async fn while_changing<T, F>(
    call: &'static str,
    tell: Tell<'_>,
    attempt: impl FnMut() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let busy = |error: &CallError| {
        let codes = [
            "ConcurrentModification",
            "ConcurrentModificationException",
            "EntityTemporarilyUnmodifiable",
        ];
        error.is(&codes).then(|| "IAM is changing the role".into())
    };
    while_busy(call, LONG, tell, busy, attempt).await
}

/// As [`while_changing`], for what is written to a role that there is: one that was just made may
/// be unknown to some of IAM for a while.
async fn once_known<T, F>(
    call: &'static str,
    tell: Tell<'_>,
    attempt: impl Fn() -> F,
) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let unknown = |error: &CallError| error.not_found().then(|| UNKNOWN.into());
    while_busy(call, KNOWN, tell, unknown, || while_changing(call, tell, &attempt)).await
}

async fn put_policy(aws: &Aws, role: &Role, tell: Tell<'_>) -> Result<(), CallError> {
    let Some(inline) = &role.policy else { return Ok(()) };
    let text = policy::document(inline);
    once_known("iam:PutRolePolicy", tell, || {
        let request = aws
            .iam
            .put_role_policy()
            .role_name(&role.name)
            .policy_name(policy::INLINE)
            .policy_document(&text);
        called("iam:PutRolePolicy", request.send())
    })
    .await
    .map(drop)
}

pub async fn update(
    aws: &Aws,
    role: &Role,
    trust: bool,
    policy: bool,
    tags: bool,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    if trust {
        once_known("iam:UpdateAssumeRolePolicy", tell, || {
            let request = aws
                .iam
                .update_assume_role_policy()
                .role_name(&role.name)
                .policy_document(&role.trust);
            called("iam:UpdateAssumeRolePolicy", request.send())
        })
        .await?;
    }
    if tags {
        once_known("iam:TagRole", tell, || {
            let request =
                aws.iam.tag_role().role_name(&role.name).set_tags(Some(tag_list(&role.tags)));
            called("iam:TagRole", request.send())
        })
        .await?;
    }
    if policy {
        put_policy(aws, role, tell).await?;
    }
    Ok(())
}

/// Deletes the role with all that hangs on it: inline policies and attachments by hand would hold
/// it, so they are looked for then. Where a stack goes its lock may have gone already, and a role
/// of this name that is another one by then is another deploy's.
pub async fn delete(aws: &Aws, name: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let without = |policy: String| async move {
        let call = || {
            called(
                "iam:DeleteRolePolicy",
                aws.iam.delete_role_policy().role_name(name).policy_name(&policy).send(),
            )
        };
        tolerant(while_changing("iam:DeleteRolePolicy", tell, call).await.map(drop))
    };
    let identity = || async {
        match called("iam:GetRole", aws.iam.get_role().role_name(name).send()).await {
            Ok(output) => Ok(output.role.map(|role| role.role_id)),
            Err(error) if error.not_found() => Ok(None),
            Err(error) => Err(error),
        }
    };
    let begun = Instant::now();
    let (meant, ()) = futures_util::try_join!(identity(), without(policy::INLINE.to_owned()))?;
    // It took longer than a call does: by then there may be another.
    if begun.elapsed() > Duration::from_secs(5) && identity().await? != meant {
        return Ok(());
    }
    match called("iam:DeleteRole", aws.iam.delete_role().role_name(name).send()).await {
        Err(error)
            if error.is(&[
                "DeleteConflict",
                "DeleteConflictException",
                "ConcurrentModification",
            ]) => {}
        other => return tolerant(other.map(drop)),
    }
    if identity().await? != meant {
        return Ok(());
    }
    let (inline, attached) = futures_util::join!(
        called("iam:ListRolePolicies", aws.iam.list_role_policies().role_name(name).send()),
        called(
            "iam:ListAttachedRolePolicies",
            aws.iam.list_attached_role_policies().role_name(name).send()
        ),
    );
    let (inline, attached) = match (inline, attached) {
        (Ok(inline), Ok(attached)) => (inline, attached),
        (Err(error), _) | (_, Err(error)) if error.not_found() => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    for policy in inline.policy_names() {
        without(policy.clone()).await?;
    }
    for arn in attached.attached_policies().iter().filter_map(|policy| policy.policy_arn()) {
        tolerant(
            called(
                "iam:DetachRolePolicy",
                aws.iam.detach_role_policy().role_name(name).policy_arn(arn).send(),
            )
            .await
            .map(drop),
        )?;
    }
    let busy = |error: &CallError| {
        error
            .is(&["DeleteConflict", "ConcurrentModification"])
            .then(|| "IAM is changing the role".into())
    };
    let deleted = while_busy("iam:DeleteRole", LONG, tell, busy, || {
        called("iam:DeleteRole", aws.iam.delete_role().role_name(name).send())
    })
    .await;
    tolerant(deleted.map(drop))
}

fn tolerant(answer: Result<(), CallError>) -> Result<(), CallError> {
    match answer {
        Err(error) if error.not_found() => Ok(()),
        other => other,
    }
}
