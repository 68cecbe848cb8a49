//! Buckets: what they are and how they become what they ought to be.

use super::{
    Aws,
    call::{CallError, called},
    observe::Seen,
    wait::{LONG, Tell, while_busy},
};
use crate::{
    observed::{Account, BucketState, Existing, Expiry},
    plan::BucketPart,
    policy,
    resource::{Bucket, Kind, STACK_TAG, Tags, hex},
};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration, Delete,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectIdentifier,
    ObjectOwnership, OwnershipControls, OwnershipControlsRule, PublicAccessBlockConfiguration,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, Tag, Tagging,
};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, time::Duration};

/// How our lifecycle rules' ids begin.
const RULE_PREFIX: &str = "routeto-";

/// Why a bucket that mustn't be looked at can't be told to be ours.
pub const HIDDEN: &str = "it belongs to another account, or s3:ListBucket on it is not allowed";

/// Why a bucket whose tags mustn't be read can't be told to be ours.
pub const UNREAD: &str = "s3:GetBucketTagging on it is not allowed, so whose it is isn't known";

/// The calls that tell whose a bucket is.
pub const WHOSE: [&str; 2] = ["s3:GetBucketTagging", "s3:ListBucketVersions"];

/// What a bucket's name tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    Absent,
    /// There is one, and it may be looked at.
    There,
    /// It can't be ours: why.
    Foreign(String),
}

/// Whether there is such a bucket; with an `account`, one of it.
pub async fn head(aws: &Aws, name: &str, account: Option<&Account>) -> Result<Head, CallError> {
    let owner = account.map(|account| account.id.clone());
    match called(
        "s3:ListBucket",
        aws.s3.head_bucket().bucket(name).set_expected_bucket_owner(owner).send(),
    )
    .await
    {
        Ok(head) => Ok(match head.bucket_region().filter(|region| *region != aws.region) {
            Some(region) => Head::Foreign(format!("it is in {region}, not in {}", aws.region)),
            None => Head::There,
        }),
        Err(error) if error.not_found() => Ok(Head::Absent),
        // Our own bucket with a missing permission answers 403 as well: only its tags could tell.
        Err(error) if error.status == Some(403) => Ok(Head::Foreign(HIDDEN.into())),
        Err(error) if matches!(error.status, Some(301 | 400)) => {
            Ok(Head::Foreign("it is in another region".into()))
        }
        Err(error) => Err(error),
    }
}

/// What is known of a bucket's name, or will be soon; `None` where the call failed.
pub type Early = Shared<BoxFuture<'static, Option<Head>>>;

/// Asks for the bucket at once, whoever's it is, and whenever the answer is wanted.
pub fn early(aws: &Aws, name: String) -> Early {
    let aws = aws.clone();
    let asked = tokio::spawn(async move { head(&aws, &name, None).await.ok() });
    async { asked.await.ok().flatten() }.boxed().shared()
}

/// A bucket as it stands, its tags (all of them) and what it has beside what we set. What was asked
/// of it already isn't asked again.
pub async fn observe(
    aws: &Aws,
    account: &Account,
    stack: &str,
    name: &str,
    early: Option<Early>,
) -> Result<Seen<(Bucket, Tags, BucketState)>, CallError> {
    let head = async {
        let known = match early {
            Some(early) => early.await,
            None => None,
        };
        match known {
            Some(known) => Ok(known),
            None => self::head(aws, name, Some(account)).await,
        }
    };
    let s3 = &aws.s3;
    let (head, tags, access, ownership, encryption, bucket_policy, lifecycle) = futures_util::join!(
        head,
        called(
            "s3:GetBucketTagging",
            s3.get_bucket_tagging().bucket(name).expected_bucket_owner(&account.id).send()
        ),
        called(
            "s3:GetBucketPublicAccessBlock",
            s3.get_public_access_block().bucket(name).expected_bucket_owner(&account.id).send()
        ),
        called(
            "s3:GetBucketOwnershipControls",
            s3.get_bucket_ownership_controls()
                .bucket(name)
                .expected_bucket_owner(&account.id)
                .send()
        ),
        called(
            "s3:GetEncryptionConfiguration",
            s3.get_bucket_encryption().bucket(name).expected_bucket_owner(&account.id).send()
        ),
        called(
            "s3:GetBucketPolicy",
            s3.get_bucket_policy().bucket(name).expected_bucket_owner(&account.id).send()
        ),
        called(
            "s3:GetLifecycleConfiguration",
            s3.get_bucket_lifecycle_configuration()
                .bucket(name)
                .expected_bucket_owner(&account.id)
                .send()
        ),
    );
    // It came or went meanwhile, or was another account's all the time.
    let head = match (head?, &tags) {
        (Head::There, Err(error)) if error.is(&["NoSuchBucket"]) || error.status == Some(403) => {
            None
        }
        (Head::Absent, Ok(_)) => None,
        (head, _) => Some(head),
    };
    let head = match head {
        Some(head) => head,
        None => self::head(aws, name, Some(account)).await?,
    };
    match head {
        Head::There => {}
        Head::Absent => return Ok(Seen::Absent),
        Head::Foreign(whose) => return Ok(Seen::Foreign(whose)),
    }
    let tags = absent(tags, &["NoSuchTagSet", "NoSuchTagSetError"])?.map(|output| {
        output
            .tag_set()
            .iter()
            .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
            .collect::<Tags>()
    });
    let tags = tags.unwrap_or_default();
    let tagged = tags.get(STACK_TAG).map(String::as_str) == Some(stack);
    if !tagged {
        // What a crash leaves where tags come in a second call: empty and without any tag.
        let left = match tags.is_empty() {
            false => false,
            true => match is_empty(aws, name).await {
                // It was just deleted, and only some of S3 knew.
                Err(error) if error.not_found() => return Ok(Seen::Absent),
                empty => empty?,
            },
        };
        if !left {
            let whose = match tags.get(STACK_TAG) {
                Some(other) => format!("it belongs to the stack {other}"),
                None => format!("it lacks the tag {STACK_TAG}={stack}"),
            };
            return Ok(Seen::Foreign(whose));
        }
    }
    let access = absent(access, &["NoSuchPublicAccessBlockConfiguration"])?
        .and_then(|output| output.public_access_block_configuration);
    let ownership = absent(ownership, &["OwnershipControlsNotFoundError"])?
        .and_then(|output| output.ownership_controls);
    let encryption = absent(encryption, &["ServerSideEncryptionConfigurationNotFoundError"])?
        .and_then(|output| output.server_side_encryption_configuration);
    let bucket_policy = absent(bucket_policy, &["NoSuchBucketPolicy"])?
        .and_then(|output| output.policy)
        .unwrap_or_default();
    let lifecycle = absent(lifecycle, &["NoSuchLifecycleConfiguration"])?
        .map(|output| output.rules.unwrap_or_default())
        .unwrap_or_default();
    let bucket = Bucket {
        name: name.to_owned(),
        tags: tags.clone(),
        public_access_blocked: access.is_some_and(|access| {
            [
                access.block_public_acls(),
                access.ignore_public_acls(),
                access.block_public_policy(),
                access.restrict_public_buckets(),
            ]
            .iter()
            .all(|on| *on == Some(true))
        }),
        owner_enforced: ownership.is_some_and(|controls| {
            controls
                .rules()
                .iter()
                .any(|rule| *rule.object_ownership() == ObjectOwnership::BucketOwnerEnforced)
        }),
        encryption: encryption_of(encryption.as_ref()),
        tls_only: policy::has_tls_statement(&bucket_policy, &account.partition, name),
        expire_after: expiry_of(&lifecycle),
    };
    let state = BucketState {
        openings: policy::openings(&bucket_policy, &account.id),
        expiries: expiries(&lifecycle),
    };
    Ok(if tagged {
        Seen::Ours((bucket, tags, state))
    } else {
        Seen::Untagged((bucket, tags, state))
    })
}

fn absent<T>(answer: Result<T, CallError>, codes: &[&str]) -> Result<Option<T>, CallError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(codes) || error.not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn encryption_of(configuration: Option<&ServerSideEncryptionConfiguration>) -> String {
    let rule = configuration
        .and_then(|configuration| configuration.rules().first())
        .and_then(|rule| rule.apply_server_side_encryption_by_default());
    match rule {
        None => "none".into(),
        Some(default) => match default.kms_master_key_id() {
            Some(key) => format!("{} {key}", default.sse_algorithm().as_str()),
            None => default.sse_algorithm().as_str().to_owned(),
        },
    }
}

fn expiry_of(rules: &[LifecycleRule]) -> BTreeMap<String, u32> {
    rules
        .iter()
        .filter(|rule| {
            rule.id().is_some_and(|id| id.starts_with(RULE_PREFIX))
                && *rule.status() == ExpirationStatus::Enabled
        })
        .filter_map(|rule| {
            let prefix =
                rule.filter().and_then(|filter| filter.prefix()).unwrap_or_default().to_owned();
            let days = rule.expiration().and_then(|expiration| expiration.days())?;
            Some((prefix, u32::try_from(days).ok()?))
        })
        .collect()
}

/// What the rules that aren't ours delete. A rule for objects with a tag is left out: records have
/// none.
fn expiries(rules: &[LifecycleRule]) -> Vec<Expiry> {
    let theirs = |rule: &&LifecycleRule| !rule.id().is_some_and(|id| id.starts_with(RULE_PREFIX));
    let enabled =
        rules.iter().filter(|rule| *rule.status() == ExpirationStatus::Enabled).filter(theirs);
    enabled
        .filter_map(|rule| {
            let filter = rule.filter();
            let all = filter.and_then(|filter| filter.and());
            if filter.is_some_and(|filter| filter.tag().is_some())
                || all.is_some_and(|all| !all.tags().is_empty())
            {
                return None;
            }
            // Rules of before 2016 have their prefix outside of a filter.
            #[allow(deprecated)]
            let old = rule.prefix();
            let prefix = filter
                .and_then(|filter| filter.prefix())
                .or_else(|| all?.prefix())
                .or(old)
                .unwrap_or_default();
            let expiration = rule.expiration()?;
            let days = expiration.days().and_then(|days| u32::try_from(days).ok());
            (days.is_some() || expiration.date().is_some()).then(|| Expiry {
                rule: rule.id().unwrap_or_default().to_owned(),
                prefix: prefix.to_owned(),
                days,
            })
        })
        .collect()
}

/// No object, no version, no delete marker.
pub async fn is_empty(aws: &Aws, name: &str) -> Result<bool, CallError> {
    let page = called(
        "s3:ListBucketVersions",
        aws.s3.list_object_versions().bucket(name).max_keys(1).send(),
    )
    .await?;
    Ok(page.versions().is_empty() && page.delete_markers().is_empty())
}

/// The first key that begins with `prefix`, comes after `after` and ends with `ending`.
pub async fn find(
    aws: &Aws,
    bucket: &str,
    prefix: &str,
    after: &str,
    ending: &str,
) -> Result<Option<String>, CallError> {
    let mut next = None;
    loop {
        let request = aws
            .s3
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .start_after(after)
            .set_continuation_token(next);
        let page = called("s3:ListBucket", request.send()).await?;
        if let Some(key) = page
            .contents()
            .iter()
            .filter_map(|object| object.key())
            .find(|key| key.ends_with(ending))
        {
            return Ok(Some(key.to_owned()));
        }
        next = page.next_continuation_token;
        if next.is_none() {
            return Ok(None);
        }
    }
}

/// An object's bytes: all of them in memory, so for small ones only.
pub async fn get(aws: &Aws, bucket: &str, key: &str) -> Result<Vec<u8>, CallError> {
    const CALL: &str = "s3:GetObject";
    let object = called(CALL, aws.s3.get_object().bucket(bucket).key(key).send()).await?;
    let body = object.body.collect().await;
    let cut = |error| CallError {
        call: CALL,
        code: None,
        status: None,
        message: format!("the object's bytes end early: {error}"),
    };
    body.map(|bytes| bytes.to_vec()).map_err(cut)
}

/// A bucket that the user says exists, or that `allow` lists: its region, its owner, its key. It is
/// the user's own, so two permissions have to be enough: s3:ListBucket (HeadBucket) and
/// s3:GetEncryptionConfiguration.
pub async fn existing(aws: &Aws, account: &Account, name: &str) -> Result<Existing, CallError> {
    let (head, encryption) = futures_util::join!(
        called(
            "s3:ListBucket",
            aws.s3.head_bucket().bucket(name).expected_bucket_owner(&account.id).send()
        ),
        called(
            "s3:GetEncryptionConfiguration",
            aws.s3.get_bucket_encryption().bucket(name).expected_bucket_owner(&account.id).send()
        ),
    );
    let head = match head {
        Ok(head) => head,
        Err(error) if error.not_found() => return Ok(Existing::Missing),
        Err(error) if error.status == Some(403) => {
            return Ok(Existing::Unusable {
                why: "the bucket belongs to another account, or this one's credentials may not look at it".into(),
                now: "name a bucket of this account, or allow s3:ListBucket on it".into(),
            });
        }
        Err(error) if matches!(error.status, Some(301 | 400)) => {
            return Ok(Existing::Unusable {
                why: format!("the bucket is not in {}", aws.region),
                now: "name a bucket of this region, or deploy to the bucket's".into(),
            });
        }
        Err(error) => return Err(error),
    };
    if let Some(region) = head.bucket_region().filter(|region| *region != aws.region) {
        return Ok(Existing::Unusable {
            why: format!("the bucket is in {region}, the stack in {}", aws.region),
            now: format!("name a bucket of this region, or deploy with --region {region}"),
        });
    }
    let encryption = match absent(encryption, &["ServerSideEncryptionConfigurationNotFoundError"]) {
        Ok(encryption) => encryption.and_then(|output| output.server_side_encryption_configuration),
        // Without its key the role would lose the right to use it, and every record would be
        // refused.
        Err(error) if error.refused() => {
            return Ok(Existing::Unusable {
                why: "these credentials may not read its encryption, so its KMS key isn't known"
                    .into(),
                now: "allow s3:GetEncryptionConfiguration on it (docs/permissions.md)".into(),
            });
        }
        Err(error) => return Err(error),
    };
    let encryption = encryption_of(encryption.as_ref());
    Ok(found(
        account,
        ["aws:kms ", "aws:kms:dsse "]
            .iter()
            .find_map(|algorithm| encryption.strip_prefix(algorithm)),
    ))
}

/// What the user says exists does, and is encrypted with this key (an ARN, an id or an alias: S3
/// and SQS take all three), if with one.
pub fn found(account: &Account, key: Option<&str>) -> Existing {
    let key = match key {
        None => None,
        // AWS's own keys need no grant.
        Some(key) if key.contains("alias/aws/") => None,
        // Source: AWS KMS Developer Guide, "Using aliases to control access": as a statement's
        // resource an alias doesn't stand for its key.
        Some(alias) if alias.contains("alias/") => {
            return Existing::Unusable {
                why: format!(
                    "its key is named by an alias ({alias}), and no role can be allowed a key by its alias"
                ),
                now: "name the key by its ARN in the encryption of the bucket or queue".into(),
            };
        }
        Some(arn) if arn.starts_with("arn:") => Some(arn.to_owned()),
        Some(id) => Some(format!(
            "arn:{}:kms:{}:{}:key/{id}",
            account.partition, account.region, account.id
        )),
    };
    Existing::Found { key }
}

/// Creates the bucket with its tags, then sets the rest, all at once.
pub async fn create(
    aws: &Aws,
    account: &Account,
    bucket: &Bucket,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    /// What became of the call.
    enum Made {
        Tagged,
        Plain,
        /// It was there already: what it has is not known.
        Before,
    }
    let attempt =
        async |with_tags| match while_busy("s3:CreateBucket", LONG, tell, just_deleted, || {
            create_call(aws, bucket, with_tags)
        })
        .await
        {
            Ok(()) => Ok(if with_tags { Made::Tagged } else { Made::Plain }),
            Err(error) if error.is(&["BucketAlreadyOwnedByYou"]) => Ok(Made::Before),
            Err(error) => Err(error),
        };
    let made = match attempt(true).await {
        // Back ends older than tags in CreateBucket: a second call brings them.
        Err(error)
            if error.is(&[
                "MalformedXML",
                "InvalidLocationConstraint",
                "IllegalLocationConstraintException",
            ]) =>
        {
            attempt(false).await?
        }
        made => made?,
    };
    if let Made::Before = made {
        let stack = bucket.tags.get(STACK_TAG).map(String::as_str).unwrap_or_default();
        if let Seen::Foreign(whose) = observe(aws, account, stack, &bucket.name, None).await? {
            return Err(CallError::foreign(
                "s3:CreateBucket",
                "BucketAlreadyOwnedByYou",
                Kind::Bucket,
                &whose,
            ));
        }
    }
    use BucketPart::*;
    let mut parts = vec![PublicAccess, Ownership];
    // A new bucket is encrypted with AES256 by default (S3 User Guide, "Setting default server-side
    // encryption behavior"). Saying so again may undo what else S3 sets there: since 2026 new
    // buckets refuse SSE-C.
    if let Made::Before = made {
        parts.push(Encryption);
    }
    if !bucket.expire_after.is_empty() {
        parts.push(Lifecycle);
    }
    // A new bucket has no policy that would have to be kept.
    let policy = async {
        match made {
            Made::Before => update(aws, account, bucket, [Policy], &bucket.tags, tell).await,
            Made::Tagged | Made::Plain => {
                busy_bucket(tell, || put_policy(aws, account, &bucket.name, None)).await
            }
        }
    };
    // Until it has its tags, it is ours by being empty and having none.
    let tags = async {
        match made {
            Made::Tagged => Ok(()),
            Made::Plain | Made::Before => {
                busy_bucket(tell, || put_tags(aws, &bucket.name, &bucket.tags)).await
            }
        }
    };
    futures_util::try_join!(update(aws, account, bucket, parts, &bucket.tags, tell), policy, tags)
        .map(drop)
}

/// A name just deleted is free again only after minutes, up to an hour.
fn just_deleted(error: &CallError) -> Option<String> {
    error.is(&["OperationAborted"]).then(|| "S3 is still deleting a bucket of this name".into())
}

async fn create_call(aws: &Aws, bucket: &Bucket, with_tags: bool) -> Result<(), CallError> {
    let mut configuration = CreateBucketConfiguration::builder();
    // us-east-1 takes no location constraint.
    if aws.region != "us-east-1" {
        configuration =
            configuration.location_constraint(BucketLocationConstraint::from(aws.region.as_str()));
    }
    if with_tags {
        configuration = configuration.set_tags(Some(tag_set(&bucket.tags)));
    }
    let plain = aws.region == "us-east-1" && !with_tags;
    let request = aws
        .s3
        .create_bucket()
        .bucket(&bucket.name)
        .set_create_bucket_configuration((!plain).then(|| configuration.build()))
        .object_ownership(ObjectOwnership::BucketOwnerEnforced);
    called("s3:CreateBucket", request.send()).await.map(drop)
}

fn tag_set(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| {
            Tag::builder().key(key).value(value).build().expect("key and value are set")
        })
        .collect()
}

async fn put_tags(aws: &Aws, name: &str, tags: &Tags) -> Result<(), CallError> {
    let tagging =
        Tagging::builder().set_tag_set(Some(tag_set(tags))).build().expect("the tag set is set");
    called("s3:PutBucketTagging", aws.s3.put_bucket_tagging().bucket(name).tagging(tagging).send())
        .await
        .map(drop)
}

/// Sets the parts that differ. They don't depend on each other, but S3 answers OperationAborted to
/// two writes of one bucket's configuration at a moment: those are tried again.
pub async fn update(
    aws: &Aws,
    account: &Account,
    bucket: &Bucket,
    parts: impl IntoIterator<Item = BucketPart>,
    all_tags: &Tags,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let writes = parts
        .into_iter()
        .map(|part| busy_bucket(tell, move || write(aws, account, bucket, part, all_tags)));
    futures_util::future::try_join_all(writes).await.map(drop)
}

/// A bucket that was just made may be unknown to some of S3 for a moment.
async fn busy_bucket<F: Future<Output = Result<(), CallError>>>(
    tell: Tell<'_>,
    write: impl FnMut() -> F,
) -> Result<(), CallError> {
    let busy = |error: &CallError| {
        let unknown = || {
            error.is(&["NoSuchBucket"]).then(|| "S3 doesn't know the bucket everywhere yet".into())
        };
        let changing = error
            .is(&["OperationAborted", "ConflictException"])
            .then(|| "another change of the bucket".into());
        changing.or_else(unknown)
    };
    while_busy("s3:PutBucketPolicy", Duration::from_secs(30), tell, busy, write).await
}

async fn put_policy(
    aws: &Aws,
    account: &Account,
    name: &str,
    have: Option<&str>,
) -> Result<(), CallError> {
    let text = policy::with_tls_statement(have, &account.partition, name);
    called("s3:PutBucketPolicy", aws.s3.put_bucket_policy().bucket(name).policy(text).send())
        .await
        .map(drop)
}

async fn write(
    aws: &Aws,
    account: &Account,
    bucket: &Bucket,
    part: BucketPart,
    all_tags: &Tags,
) -> Result<(), CallError> {
    let s3 = &aws.s3;
    let name = &bucket.name;
    match part {
        BucketPart::Tags => put_tags(aws, name, all_tags).await,
        BucketPart::PublicAccess => {
            let block = PublicAccessBlockConfiguration::builder()
                .block_public_acls(true)
                .ignore_public_acls(true)
                .block_public_policy(true)
                .restrict_public_buckets(true)
                .build();
            let request =
                s3.put_public_access_block().bucket(name).public_access_block_configuration(block);
            called("s3:PutBucketPublicAccessBlock", request.send()).await.map(drop)
        }
        BucketPart::Ownership => {
            let rule = OwnershipControlsRule::builder()
                .object_ownership(ObjectOwnership::BucketOwnerEnforced)
                .build();
            let controls = OwnershipControls::builder()
                .rules(rule.expect("ownership is set"))
                .build()
                .expect("a rule is set");
            let request =
                s3.put_bucket_ownership_controls().bucket(name).ownership_controls(controls);
            called("s3:PutBucketOwnershipControls", request.send()).await.map(drop)
        }
        BucketPart::Encryption => {
            let default = ServerSideEncryptionByDefault::builder()
                .sse_algorithm(ServerSideEncryption::Aes256)
                .build();
            // As S3's own default says: what a crash leaves without this call reads the same.
            let rule = ServerSideEncryptionRule::builder()
                .apply_server_side_encryption_by_default(default.expect("the algorithm is set"))
                .bucket_key_enabled(false)
                .build();
            let configuration = ServerSideEncryptionConfiguration::builder()
                .rules(rule)
                .build()
                .expect("a rule is set");
            let request = s3
                .put_bucket_encryption()
                .bucket(name)
                .server_side_encryption_configuration(configuration);
            called("s3:PutEncryptionConfiguration", request.send()).await.map(drop)
        }
        BucketPart::Policy => {
            let answer =
                called("s3:GetBucketPolicy", s3.get_bucket_policy().bucket(name).send()).await;
            let have = absent(answer, &["NoSuchBucketPolicy"])?.and_then(|output| output.policy);
            put_policy(aws, account, name, have.as_deref()).await
        }
        BucketPart::Lifecycle => put_lifecycle(aws, bucket).await,
    }
}

/// Our rules as they ought to be, the user's own as they are.
async fn put_lifecycle(aws: &Aws, bucket: &Bucket) -> Result<(), CallError> {
    let request = aws.s3.get_bucket_lifecycle_configuration().bucket(&bucket.name);
    let have = absent(
        called("s3:GetLifecycleConfiguration", request.send()).await,
        &["NoSuchLifecycleConfiguration"],
    )?;
    // What isn't sent back with the rules is reset. Source: PutBucketLifecycleConfiguration,
    // TransitionDefaultMinimumObjectSize.
    let smallest =
        have.as_ref().and_then(|output| output.transition_default_minimum_object_size.clone());
    let mut rules: Vec<LifecycleRule> = have.and_then(|output| output.rules).unwrap_or_default();
    rules.retain(|rule| !rule.id().is_some_and(|id| id.starts_with(RULE_PREFIX)));
    for (prefix, days) in &bucket.expire_after {
        let days = i32::try_from(*days).unwrap_or(i32::MAX);
        let rule = LifecycleRule::builder()
            .id(rule_id(prefix))
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .expiration(LifecycleExpiration::builder().days(days).build())
            .build();
        rules.push(rule.expect("the status is set"));
    }
    if rules.is_empty() {
        let request = aws.s3.delete_bucket_lifecycle().bucket(&bucket.name);
        return called("s3:PutLifecycleConfiguration", request.send()).await.map(drop);
    }
    let configuration = BucketLifecycleConfiguration::builder()
        .set_rules(Some(rules))
        .build()
        .expect("the rules are set");
    let request = aws
        .s3
        .put_bucket_lifecycle_configuration()
        .bucket(&bucket.name)
        .set_transition_default_minimum_object_size(smallest)
        .lifecycle_configuration(configuration);
    called("s3:PutLifecycleConfiguration", request.send()).await.map(drop)
}

/// Characters. Source: S3, LifecycleRule, ID.
const RULE_ID: usize = 255;

/// The id of the rule that expires what begins so. The whole bucket's is called `all`, and a prefix
/// of that name must not share its id.
fn rule_id(prefix: &str) -> String {
    let plain = format!("{RULE_PREFIX}expire-{}", if prefix.is_empty() { "all" } else { prefix });
    if plain.chars().count() <= RULE_ID && prefix != "all" {
        return plain;
    }
    format!("{RULE_PREFIX}expire-sha256-{}", hex(&Sha256::digest(prefix.as_bytes())))
}

/// What became of a bucket that was to go.
#[derive(Debug, PartialEq, Eq)]
pub enum Deleted {
    Gone,
    /// Something was stored in the meantime, and data are not deleted unless asked.
    Kept,
}

/// Deletes the bucket; with `purge` every object and version first.
pub async fn delete(
    aws: &Aws,
    name: &str,
    purge: bool,
    tell: Tell<'_>,
) -> Result<Deleted, CallError> {
    // Events that were on their way may still be stored while we empty it: look again a few times.
    for _ in 0..5 {
        if purge {
            self::purge(aws, name, tell).await?;
        }
        let busy = |error: &CallError| {
            error.is(&["OperationAborted"]).then(|| "another change of the bucket".into())
        };
        let deleted = while_busy("s3:DeleteBucket", LONG, tell, busy, || {
            called("s3:DeleteBucket", aws.s3.delete_bucket().bucket(name).send())
        });
        match deleted.await {
            Ok(_) => return Ok(Deleted::Gone),
            Err(error) if error.not_found() => return Ok(Deleted::Gone),
            Err(error) if error.is(&["BucketNotEmpty"]) && !purge => return Ok(Deleted::Kept),
            Err(error) if error.is(&["BucketNotEmpty"]) => {}
            Err(error) => return Err(error),
        }
    }
    Err(CallError {
        call: "s3:DeleteBucket",
        code: Some("BucketNotEmpty".into()),
        status: Some(409),
        message: "objects keep coming while it is emptied".into(),
    })
}

async fn purge(aws: &Aws, name: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let mut deleted = 0_usize;
    loop {
        let page = match called(
            "s3:ListBucketVersions",
            aws.s3.list_object_versions().bucket(name).send(),
        )
        .await
        {
            Ok(page) => page,
            Err(error) if error.not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
        let markers =
            page.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
        let objects: Vec<ObjectIdentifier> = versions
            .chain(markers)
            .filter_map(|(key, version)| {
                ObjectIdentifier::builder()
                    .key(key?)
                    .set_version_id(version.map(str::to_owned))
                    .build()
                    .ok()
            })
            .collect();
        if objects.is_empty() {
            return Ok(());
        }
        deleted += objects.len();
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .expect("objects are set");
        let answer =
            called("s3:DeleteObject", aws.s3.delete_objects().bucket(name).delete(delete).send())
                .await?;
        if let Some(error) = answer.errors().first() {
            return Err(CallError {
                call: "s3:DeleteObject",
                code: error.code().map(str::to_owned),
                status: None,
                message: format!(
                    "{}: {}",
                    error.key().unwrap_or_default(),
                    error.message().unwrap_or_default()
                ),
            });
        }
        tell(format!("{deleted} objects deleted"));
    }
}
