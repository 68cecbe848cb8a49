//! One change of a plan → its calls.

use super::{
    Aws, apigateway,
    call::CallError,
    iam, lambda,
    lock::{Group, Lock},
    logs, millis, s3, sqs,
    wait::{Tell, settle},
};
use crate::{
    apply::{Executor, Outcome, Outputs},
    error::Failure,
    observed::{Account, Secret},
    plan::{Action, Change, Late, dead_letters, messages, source_arn},
};
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use serde_json::json;
use std::{
    collections::BTreeMap,
    future::{Future, ready},
    pin::Pin,
    time::SystemTime,
};

/// What carrying out needs beside the plan.
pub struct AwsExecutor<'a> {
    pub aws: &'a Aws,
    pub account: &'a Account,
    pub stack: &'a str,
    pub zip: &'a [u8],
    /// `validToken` of stages that are made, by stage.
    pub tokens: &'a BTreeMap<String, Secret>,
    /// Whoever changes something holds it.
    pub lock: Option<Lock>,
}

impl Executor for AwsExecutor<'_> {
    fn execute<'a>(
        &'a self,
        change: &'a Change,
        outputs: Outputs,
        tell: Tell<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(lock) = &self.lock
                && !lock.is_ours(&self.account.caller, millis(SystemTime::now())).await
            {
                // Who waits for this hears that the lock is lost, and drops it.
                return std::future::pending().await;
            }
            self.carry_out(change, &outputs, tell).await
        })
    }
}

impl AwsExecutor<'_> {
    /// What is polled at the end of a deep stack is the one call that is made, not room for all
    /// that there are.
    fn carry_out<'a>(
        &'a self,
        change: &'a Change,
        outputs: &'a Outputs,
        tell: Tell<'a>,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let AwsExecutor { aws, account, stack, zip, tokens, .. } = *self;
        let name = &change.key.id.name;
        let late = |late: &Late| {
            outputs.get(late).ok_or_else(|| {
                Failure::new(
                    change.key.id.to_string(),
                    "an earlier change didn't bring what this one needs",
                )
                .now("run the same command again")
            })
        };
        let about = |error: CallError| error.about(&change.key.id);
        let brought = |value: String| Outcome::Brought(value);
        let done = |_: ()| Outcome::Done;
        match &change.action {
            Action::CreateBucket(bucket) => s3::create(aws, account, bucket, tell).map_ok(done).map_err(about).boxed(),
            Action::UpdateBucket { bucket, parts, all_tags } => {
                s3::update(aws, account, bucket, parts.iter().copied(), all_tags, tell).map_ok(done).map_err(about).boxed()
            }
            Action::DeleteBucket { purge } => s3::delete(aws, name, *purge, tell)
                .map_ok(|deleted| match deleted {
                    s3::Deleted::Gone => Outcome::Done,
                    s3::Deleted::Kept => Outcome::Kept("it holds objects".into()),
                })
                .map_err(about)
                .boxed(),
            Action::CreateQueue(queue) => sqs::create(aws, account, queue, tell).map_ok(done).map_err(about).boxed(),
            Action::UpdateQueue { queue, attributes, tags } => {
                sqs::update(aws, account, queue, *attributes, *tags).map_ok(done).map_err(about).boxed()
            }
            Action::ConfirmQueue { queue, attributes, tags } => {
                sqs::confirm(aws, account, queue, *attributes, *tags, tell).map_ok(done).map_err(about).boxed()
            }
            Action::DeleteQueue { sources, .. } if sources.iter().any(|id| outputs.has_kept(id)) => {
                let kept = sources.iter().filter(|id| outputs.has_kept(id)).map(dead_letters).next();
                ready(Ok(Outcome::Kept(kept.unwrap_or_default()))).boxed()
            }
            Action::DeleteQueue { purge, .. } => sqs::delete(aws, account, name, *purge)
                .map_ok(|held| match held {
                    0 => Outcome::Done,
                    held => Outcome::Kept(messages(held)),
                })
                .map_err(about)
                .boxed(),
            Action::CreateLogGroup(group) => logs::create(aws, account, stack, group, tell).map_ok(done).map_err(about).boxed(),
            Action::UpdateLogGroup { group, retention, tags } => {
                logs::update(aws, account, group, *retention, *tags, tell).map_ok(done).map_err(about).boxed()
            }
            Action::DeleteLogGroup => async move {
                let with_it = self.lock.as_ref().filter(|lock| lock.group() == name);
                with_it.inspect(|lock| lock.with_group(Group::Goes));
                let deleted = logs::delete(aws, name, tell).await;
                with_it.inspect(|lock| lock.with_group(if deleted.is_ok() { Group::Gone } else { Group::Stays }));
                deleted.map(done).map_err(about)
            }
            .boxed(),
            Action::CreateRole(role) => iam::create(aws, role, tell).map_ok(done).map_err(about).boxed(),
            Action::UpdateRole { role, trust, policy, tags } => {
                iam::update(aws, role, *trust, *policy, *tags, tell).map_ok(done).map_err(about).boxed()
            }
            Action::DeleteRole => iam::delete(aws, name, tell).map_ok(done).map_err(about).boxed(),
            Action::CreateFunction(function) => lambda::create(aws, function, zip, tell).map_ok(brought).map_err(about).boxed(),
            Action::UpdateFunction { function, code, config, environment, tags, publish } => {
                let what = lambda::Update { code: *code, config: *config, environment: *environment, tags: *tags, publish: *publish };
                let version = lambda::update(aws, Some(account), function, zip, what, tell);
                version.map_ok(|version| version.map_or(Outcome::Done, Outcome::Brought)).map_err(about).boxed()
            }
            Action::DeleteFunction => lambda::delete(aws, name, tell).map_ok(done).map_err(about).boxed(),
            Action::CreateApi(api) => apigateway::create(aws, api, stack, tell).map_ok(brought).map_err(about).boxed(),
            Action::WriteApi { api, id, carried, document, tags } => async move {
                if *tags {
                    apigateway::tag(aws, account, id, &api.tags, tell).await.map_err(about)?;
                }
                if *document {
                    apigateway::write(aws, api, id, carried, tell).await.map_err(about)?;
                }
                Ok(Outcome::Done)
            }
            .boxed(),
            Action::DeleteApi { id } => apigateway::delete(aws, id, tell).map_ok(done).map_err(about).boxed(),
            Action::CreateDeployment { api, digest, known } => {
                async move { apigateway::deploy(aws, &late(api)?, digest, known, tell).await.map(brought).map_err(about) }.boxed()
            }
            Action::AwaitVersion { function, version } => {
                async move { lambda::active(aws, function, &late(version)?, tell).await.map(done).map_err(about) }.boxed()
            }
            Action::Permit { function, version, api, stage } => async move {
                let api = late(api)?;
                let source = source_arn(&account.partition, &account.region, &account.id, &api, stage);
                lambda::permit(aws, function, &late(version)?, &api, &source, tell).await.map(done).map_err(about)
            }
            .boxed(),
            Action::CreateStage { stage, api, deployment, version } => async move {
                let token = tokens.get(&stage.name).cloned().unwrap_or_else(|| Secret(crate::resource::NO_TOKEN.into()));
                let (api, deployment, version) = (late(api)?, late(deployment)?, late(version)?);
                apigateway::create_stage(aws, &api, stage, &deployment, &version, &token, tell).await.map(done).map_err(about)
            }
            .boxed(),
            Action::UpdateStage { api, deployment, version, moves, patch, tags } => async move {
                let (deployment, version) = (late(deployment)?, late(version)?);
                let to = apigateway::Move { to: moves.then_some((deployment.as_str(), version.as_str())), patch };
                if let Some(tags) = tags {
                    apigateway::tag(aws, account, &format!("{api}/stages/{name}"), tags, tell).await.map_err(about)?;
                }
                apigateway::move_stage(aws, api, name, to, tell).await.map(done).map_err(about)
            }
            .boxed(),
            Action::PruneVersions { versions } => lambda::prune(aws, name, versions, tell).map_ok(done).map_err(about).boxed(),
            Action::PruneDeployments { api, deployments } => {
                apigateway::prune(aws, api, deployments, tell).map_ok(done).map_err(about).boxed()
            }
            Action::DeleteStage { api } => apigateway::delete_stage(aws, api, name, tell).map_ok(done).map_err(about).boxed(),
            Action::DeletedWithApi => ready(Ok(Outcome::Done)).boxed(),
            Action::Wait { seconds, .. } => settle(*seconds).map(|()| Ok(Outcome::Done)).boxed(),
            Action::Journal { going } => async move {
                let line = json!({"what": "tearing down", "who": account.caller, "going": going, "routeto": env!("CARGO_PKG_VERSION")});
                logs::remember(aws, name, &line.to_string(), millis(SystemTime::now())).await.map(done).map_err(about)
            }
            .boxed(),
        }
    }
}
