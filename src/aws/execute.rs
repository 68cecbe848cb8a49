//! One change of a plan → its calls.

use super::{Aws, apigateway, iam, lambda, lock::Lock, logs, millis, s3, sqs, wait::Tell};
use crate::{
    apply::{Executor, Outcome, Outputs},
    error::Failure,
    observed::{Account, Secret},
    plan::{Action, Change, Late, messages, source_arn},
};
use serde_json::json;
use std::{collections::BTreeMap, future::Future, pin::Pin, time::SystemTime};

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
    async fn carry_out(&self, change: &Change, outputs: &Outputs, tell: Tell<'_>) -> Result<Outcome, Failure> {
        let AwsExecutor { aws, account, stack, zip, tokens, .. } = *self;
        let name = &change.key.id.name;
        let late = |late: &Late| {
            outputs.get(late).ok_or_else(|| {
                Failure::new(change.key.id.to_string(), "an earlier change didn't bring what this one needs")
                    .now("run the same command again")
            })
        };
        let brought = |value: String| Outcome::Brought(value);
        let done = |_: ()| Outcome::Done;
        let result = match &change.action {
            Action::CreateBucket(bucket) => s3::create(aws, account, bucket, tell).await.map(done),
            Action::UpdateBucket { bucket, parts, all_tags } => {
                s3::update(aws, account, bucket, parts.iter().copied(), all_tags, tell).await.map(done)
            }
            Action::DeleteBucket { purge } => s3::delete(aws, name, *purge, tell).await.map(|deleted| match deleted {
                s3::Deleted::Gone => Outcome::Done,
                s3::Deleted::Kept => Outcome::Kept("it holds objects".into()),
            }),
            Action::CreateQueue(queue) => sqs::create(aws, account, queue, tell).await.map(done),
            Action::UpdateQueue { queue, attributes, tags } => sqs::update(aws, account, queue, *attributes, *tags).await.map(done),
            Action::ConfirmQueue { queue, attributes, tags } => sqs::confirm(aws, account, queue, *attributes, *tags, tell).await.map(done),
            Action::DeleteQueue { purge } => sqs::delete(aws, account, name, *purge).await.map(|held| match held {
                0 => Outcome::Done,
                held => Outcome::Kept(messages(held)),
            }),
            Action::CreateLogGroup(group) => logs::create(aws, account, stack, group, tell).await.map(done),
            Action::UpdateLogGroup { group, retention, tags } => logs::update(aws, account, group, *retention, *tags).await.map(done),
            Action::DeleteLogGroup => {
                let with_it = self.lock.as_ref().filter(|lock| lock.group() == name);
                with_it.inspect(|lock| lock.goes_with_its_group(true));
                let deleted = logs::delete(aws, name).await;
                with_it.filter(|_| deleted.is_err()).inspect(|lock| lock.goes_with_its_group(false));
                deleted.map(done)
            }
            Action::CreateRole(role) => iam::create(aws, role, tell).await.map(done),
            Action::UpdateRole { role, trust, policy, tags } => iam::update(aws, role, *trust, *policy, *tags, tell).await.map(done),
            Action::DeleteRole => iam::delete(aws, name, tell).await.map(done),
            Action::CreateFunction(function) => lambda::create(aws, function, zip, tell).await.map(brought),
            Action::UpdateFunction { function, code, config, environment, tags, publish } => {
                let what = lambda::Update { code: *code, config: *config, environment: *environment, tags: *tags, publish: *publish };
                let version = lambda::update(aws, Some(account), function, zip, what, tell).await;
                version.map(|version| version.map_or(Outcome::Done, Outcome::Brought))
            }
            Action::DeleteFunction => lambda::delete(aws, name, tell).await.map(done),
            Action::CreateApi(api) => apigateway::create(aws, api, stack, tell).await.map(brought),
            Action::WriteApi { api, id, carried, document, tags } => {
                let write = async {
                    if *tags {
                        apigateway::tag(aws, account, id, &api.tags, tell).await?;
                    }
                    if *document { apigateway::write(aws, api, id, carried, tell).await } else { Ok(()) }
                };
                write.await.map(done)
            }
            Action::DeleteApi { id } => apigateway::delete(aws, id, tell).await.map(done),
            Action::CreateDeployment { api, digest, known } => apigateway::deploy(aws, &late(api)?, digest, known, tell).await.map(brought),
            Action::AwaitVersion { function, version } => lambda::active(aws, function, &late(version)?, tell).await.map(done),
            Action::Permit { function, version, api, stage } => {
                let api = late(api)?;
                let source = source_arn(&account.partition, &account.region, &account.id, &api, stage);
                lambda::permit(aws, function, &late(version)?, &api, &source).await.map(done)
            }
            Action::CreateStage { stage, api, deployment, version } => {
                let token = tokens.get(&stage.name).cloned().unwrap_or_else(|| Secret(crate::resource::NO_TOKEN.into()));
                let (api, deployment, version) = (late(api)?, late(deployment)?, late(version)?);
                apigateway::create_stage(aws, &api, stage, &deployment, &version, &token, tell).await.map(done)
            }
            Action::UpdateStage { api, deployment, version, moves, patch, tags } => {
                let (deployment, version) = (late(deployment)?, late(version)?);
                let to = apigateway::Move { to: moves.then_some((deployment.as_str(), version.as_str())), patch };
                let update = async {
                    if let Some(tags) = tags {
                        apigateway::tag(aws, account, &format!("{api}/stages/{name}"), tags, tell).await?;
                    }
                    apigateway::move_stage(aws, api, name, to, tell).await
                };
                update.await.map(done)
            }
            Action::PruneVersions { versions } => lambda::prune(aws, name, versions, tell).await.map(done),
            Action::PruneDeployments { api, deployments } => apigateway::prune(aws, api, deployments, tell).await.map(done),
            Action::DeleteStage { api } => apigateway::delete_stage(aws, api, name, tell).await.map(done),
            Action::DeletedWithApi => Ok(Outcome::Done),
            Action::Journal { going } => {
                let line = json!({"what": "tearing down", "who": account.caller, "going": going, "routeto": env!("CARGO_PKG_VERSION")});
                logs::remember(aws, name, &line.to_string(), millis(SystemTime::now())).await.map(done)
            }
        };
        result.map_err(|error| error.about(&change.key.id))
    }
}
