//! The REST API, its deployments and its stages.

use super::{
    Aws,
    call::{CallError, called},
    wait::{LONG, Tell, Try, Waited, until, while_busy},
};
use crate::{
    observed::{
        Account, ApiState, Carried, Deployment, Double, MethodSetting, Secret, ServedRoute,
        StageState,
    },
    openapi,
    plan::{StagePatch, ThrottlePatch},
    resource::{
        Api, GatewayResponse, Integration, IntegrationResponse, Method, STACK_TAG, Stage, Tags,
        is_the_accounts, variable,
    },
};
use aws_sdk_apigateway::{
    config::retry::RetryConfig,
    operation::update_stage::UpdateStageOutput,
    primitives::Blob,
    types::{
        self, EndpointConfiguration, EndpointType, GatewayResponseType, Op, PatchOperation,
        PutMode, RestApi, UnauthorizedCacheControlHeaderStrategy,
    },
};
use futures_util::future::try_join_all;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// How long a REST API that was just made may not be listed yet.
const NOT_LISTED: Duration = Duration::from_secs(10);

/// Rate and burst of an account in most regions; 13 have 2,500 and 1,250. For a caller that may not
/// ask. Source: Amazon API Gateway quotas, "API Gateway account-level quotas, per Region".
const ACCOUNT_THROTTLE: (f64, i32) = (10_000.0, 5_000);

/// How the description of a deployment of ours begins; the API's digest follows.
const DESCRIPTION: &str = "routeto ";

/// One mutation at a time per API: these are waited out.
fn busy(error: &CallError) -> Option<String> {
    let message = error.message.to_ascii_lowercase();
    let another = message.contains("concurrent modification")
        || message.contains("another deployment is in progress")
        || message.contains("already an update in progress")
        || message.contains("please try again");
    let conflict = error.is(&["ConflictException", "BadRequestException"]) && another;
    conflict.then(|| "another change of the API is under way".into())
}

/// Our API: by name and tag; of two the one that has stages, else the older one.
pub async fn find(aws: &Aws, stack: &str) -> Result<Option<RestApi>, CallError> {
    find_all(aws, stack).await.map(|(api, _)| api)
}

/// Our API's id, and what it has by hand.
pub async fn locate(aws: &Aws, stack: &str) -> Result<Option<(String, Carried)>, CallError> {
    let found = find(aws, stack).await?;
    Ok(found.and_then(|api| Some((api.id()?.to_owned(), carried(&api)))))
}

/// Our API, and the others of its name and tag: a lost reply or a kill may have left some.
pub async fn find_all(aws: &Aws, stack: &str) -> Result<(Option<RestApi>, Vec<Double>), CallError> {
    let mut found: Vec<RestApi> = vec![];
    let mut position: Option<String> = None;
    loop {
        aws.pace.turn("GetRestApis", &*aws.tell).await;
        let page = called(
            "apigateway:GetRestApis",
            aws.apigateway.get_rest_apis().limit(500).set_position(position).send(),
        )
        .await?;
        found.extend(page.items.unwrap_or_default().into_iter().filter(|api| {
            api.name() == Some(stack)
                && api.tags().and_then(|tags| tags.get(STACK_TAG)).map(String::as_str)
                    == Some(stack)
        }));
        position = page.position;
        if position.is_none() {
            break;
        }
    }
    if found.len() < 2 {
        return Ok((found.pop(), vec![]));
    }
    let serves = found.iter().map(|api| async {
        stages(aws, api.id().unwrap_or_default()).await.map(|stages| !stages.is_empty())
    });
    let serves = futures_util::future::try_join_all(serves).await?;
    let mut found: Vec<(bool, RestApi)> = serves.into_iter().zip(found).collect();
    found.sort_by_key(|(serves, api)| {
        (!serves, api.created_date().map(|date| date.secs()), api.id().map(str::to_owned))
    });
    let mut found = found.into_iter();
    let first = found.next().map(|(_, api)| api);
    Ok((
        first,
        found
            .map(|(has_stages, api)| Double { id: api.id.unwrap_or_default(), has_stages })
            .collect(),
    ))
}

/// What stands of an API: its methods, deployments and stages.
pub struct Found {
    pub api: Api,
    pub state: ApiState,
    /// Name, tags, and the rest.
    pub stages: Vec<FoundStage>,
}

pub struct FoundStage {
    pub name: String,
    /// A canary's deployment.
    pub canary: Option<String>,
    /// Variables that a canary has of its own.
    pub overrides: BTreeMap<String, String>,
    pub tags: Tags,
    /// Rate and burst; none where they limit nothing.
    pub throttle: Option<(f64, i32)>,
    pub state: StageState,
}

impl FoundStage {
    /// Functions and versions that it calls, by its variables.
    fn called(&self) -> BTreeSet<(String, String)> {
        let value = |name: &str, overridden: bool| {
            let own = self.overrides.get(name).filter(|_| overridden);
            own.or_else(|| self.state.variables.get(name)).cloned()
        };
        let call = |overridden| {
            Some((
                value(variable::FUNCTION_NAME, overridden)?,
                value(variable::FUNCTION_VERSION, overridden)?,
            ))
        };
        [false, true].into_iter().filter_map(call).collect()
    }
}

/// Reads all of it at once.
pub async fn observe(aws: &Aws, api: &RestApi) -> Result<Found, CallError> {
    let id = api.id().unwrap_or_default();
    let (content, deployments, stages, account) = futures_util::join!(
        content(aws, api),
        deployments(aws, id),
        stages(aws, id),
        account_throttle(aws)
    );
    let (content, deployments, mut stages, account) = (content?, deployments?, stages?, account?);
    for stage in &mut stages {
        stage.throttle = stage.throttle.filter(|throttle| !is_the_accounts(*throttle, account));
    }
    let state = ApiState {
        id: id.to_owned(),
        description: api.description().unwrap_or_default().to_owned(),
        created: api.created_date().map_or(0, |date| date.secs()),
        carried: carried(api),
        account_throttle: Some(account),
        deployments,
        foreign_stages: vec![],
        called: stages.iter().flat_map(FoundStage::called).collect(),
        in_use: stages
            .iter()
            .flat_map(|stage| stage.canary.iter().chain([&stage.state.deployment]))
            .cloned()
            .collect(),
        doubles: vec![],
    };
    Ok(Found { api: content, state, stages })
}

/// What the API has by hand.
pub fn carried(api: &RestApi) -> Carried {
    let endpoint = api.endpoint_configuration();
    let vpc_endpoint_ids =
        endpoint.map(EndpointConfiguration::vpc_endpoint_ids).unwrap_or_default();
    Carried {
        // GetRestApi hands the policy out with its quotes escaped.
        policy: api
            .policy()
            .filter(|policy| !policy.is_empty())
            .map(|policy| policy.replace("\\\"", "\"").replace("\\/", "/")),
        minimum_compression_size: api.minimum_compression_size(),
        // HEADER is the default.
        api_key_source: api
            .api_key_source()
            .map(|source| source.as_str().to_owned())
            .filter(|source| source != "HEADER"),
        disable_execute_api_endpoint: api.disable_execute_api_endpoint(),
        ip_address_type: endpoint
            .and_then(|endpoint| endpoint.ip_address_type())
            .map(|kind| kind.as_str().to_owned())
            .filter(|kind| kind != "ipv4"),
        vpc_endpoint_ids: vpc_endpoint_ids.iter().cloned().collect(),
        security_policy: api.security_policy().map(|policy| policy.as_str().to_owned()),
        endpoint_access_mode: api.endpoint_access_mode().map(|mode| mode.as_str().to_owned()),
    }
}

async fn content(aws: &Aws, api: &RestApi) -> Result<Api, CallError> {
    let id = api.id().unwrap_or_default();
    let (methods, validators, gateway_responses) =
        futures_util::join!(methods(aws, id), validators(aws, id), gateway_responses(aws, id));
    let (raw, validators) = (methods?, validators?);
    let mut methods: BTreeMap<String, BTreeMap<String, Method>> = BTreeMap::new();
    for (path, verb, method) in raw {
        methods.entry(path).or_default().insert(verb, method_of(&method, &validators));
    }
    Ok(Api {
        name: api.name().unwrap_or_default().to_owned(),
        tags: api.tags().cloned().unwrap_or_default().into_iter().collect(),
        description: openapi::plain(api.description().unwrap_or_default()).to_owned(),
        binary_media_types: api
            .binary_media_types()
            .iter()
            .map(|media| media.replace("~1", "/"))
            .collect(),
        methods,
        gateway_responses: gateway_responses?,
    })
}

type RawMethod = aws_sdk_apigateway::types::Method;

async fn methods(aws: &Aws, id: &str) -> Result<Vec<(String, String, RawMethod)>, CallError> {
    let mut methods = vec![];
    let mut position: Option<String> = None;
    loop {
        aws.pace.turn("GetResources", &*aws.tell).await;
        let request = aws
            .apigateway
            .get_resources()
            .rest_api_id(id)
            .embed("methods")
            .limit(500)
            .set_position(position);
        let page = called("apigateway:GetResources", request.send()).await?;
        for resource in page.items.unwrap_or_default() {
            let path = resource.path.unwrap_or_default();
            for (verb, method) in resource.resource_methods.unwrap_or_default() {
                methods.push((path.clone(), verb, method));
            }
        }
        position = page.position;
        if position.is_none() {
            return Ok(methods);
        }
    }
}

/// Ids of the validators that check the parameters and nothing else.
async fn validators(aws: &Aws, id: &str) -> Result<BTreeSet<String>, CallError> {
    aws.pace.turn("GetRequestValidators", &*aws.tell).await;
    let page = called(
        "apigateway:GetRequestValidators",
        aws.apigateway.get_request_validators().rest_api_id(id).limit(500).send(),
    )
    .await?;
    Ok(page
        .items()
        .iter()
        .filter(|validator| {
            validator.validate_request_parameters() && !validator.validate_request_body()
        })
        .filter_map(|validator| validator.id().map(str::to_owned))
        .collect())
}

async fn gateway_responses(
    aws: &Aws,
    id: &str,
) -> Result<BTreeMap<String, GatewayResponse>, CallError> {
    aws.pace.turn("GetGatewayResponses", &*aws.tell).await;
    let page = called(
        "apigateway:GetGatewayResponses",
        aws.apigateway.get_gateway_responses().rest_api_id(id).limit(500).send(),
    )
    .await?;
    Ok(page
        .items()
        .iter()
        .filter(|response| !response.default_response())
        .filter_map(|response| {
            let kind = response.response_type()?.as_str().to_owned();
            Some((
                kind,
                GatewayResponse {
                    status: response.status_code().unwrap_or_default().to_owned(),
                    parameters: sorted(response.response_parameters()),
                    templates: sorted(response.response_templates()),
                },
            ))
        })
        .collect())
}

fn sorted(map: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
    map.map(|map| map.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
        .unwrap_or_default()
}

fn method_of(method: &RawMethod, validators: &BTreeSet<String>) -> Method {
    Method {
        authorization: method.authorization_type().unwrap_or("NONE").to_owned(),
        api_key_required: method.api_key_required().unwrap_or(false),
        parameters: method
            .request_parameters()
            .map(|parameters| {
                parameters.iter().map(|(key, required)| (key.clone(), *required)).collect()
            })
            .unwrap_or_default(),
        parameters_validated: method
            .request_validator_id()
            .is_some_and(|id| validators.contains(id)),
        responses: method
            .method_responses()
            .map(|responses| responses.keys().cloned().collect())
            .unwrap_or_default(),
        integration: method.method_integration().map(|integration| Integration {
            kind: integration.r#type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
            uri: integration.uri().unwrap_or_default().to_owned(),
            timeout: integration.timeout_in_millis(),
            passthrough: integration.passthrough_behavior().unwrap_or_default().to_owned(),
            content_handling: integration
                .content_handling()
                .map(|handling| handling.as_str().to_owned()),
            templates: sorted(integration.request_templates()),
            responses: integration
                .integration_responses()
                .map(|responses| {
                    responses
                        .iter()
                        .map(|(status, response)| {
                            (
                                status.clone(),
                                IntegrationResponse {
                                    // Absent, empty and "default" all mean the default response.
                                    selection_pattern: response
                                        .selection_pattern()
                                        .filter(|pattern| {
                                            !pattern.is_empty() && *pattern != "default"
                                        })
                                        .map(str::to_owned),
                                    content_handling: response
                                        .content_handling()
                                        .map(|handling| handling.as_str().to_owned()),
                                    templates: sorted(response.response_templates()),
                                },
                            )
                        })
                        .collect()
                })
                .unwrap_or_default(),
        }),
    }
}

async fn deployments(aws: &Aws, id: &str) -> Result<Vec<Deployment>, CallError> {
    let mut deployments = vec![];
    let mut position: Option<String> = None;
    loop {
        aws.pace.turn("GetDeployments", &*aws.tell).await;
        let request =
            aws.apigateway.get_deployments().rest_api_id(id).limit(500).set_position(position);
        let page = called("apigateway:GetDeployments", request.send()).await?;
        deployments.extend(page.items.unwrap_or_default().into_iter().map(|deployment| {
            Deployment {
                digest: deployment
                    .description()
                    .and_then(|text| text.strip_prefix(DESCRIPTION))
                    .map(str::to_owned),
                created: deployment.created_date().map_or(0, |date| date.secs()),
                id: deployment.id.unwrap_or_default(),
            }
        }));
        position = page.position;
        if position.is_none() {
            deployments.sort_by_key(|deployment| {
                std::cmp::Reverse((deployment.created, deployment.id.clone()))
            });
            return Ok(deployments);
        }
    }
}

/// Rate and burst of the account in this region: AWS shows them as a stage's own where anything
/// else is set for its methods.
async fn account_throttle(aws: &Aws) -> Result<(f64, i32), CallError> {
    aws.pace.turn("GetAccount", &*aws.tell).await;
    match called("apigateway:GetAccount", aws.apigateway.get_account().send()).await {
        Ok(account) => {
            let limits = account.throttle_settings();
            let limits = limits.map(|limits| (limits.rate_limit(), limits.burst_limit()));
            Ok(limits.filter(|(rate, burst)| *rate > 0.0 && *burst > 0).unwrap_or(ACCOUNT_THROTTLE))
        }
        Err(error) if error.refused() => Ok(ACCOUNT_THROTTLE),
        Err(error) => Err(error),
    }
}

/// Whether `/*/*` sets anything beside the throttle: what differs from the values with which AWS
/// fills up an entry. Source: the answers in the API reference of GetStage and UpdateStage.
fn sets_more(settings: &types::MethodSetting) -> bool {
    use UnauthorizedCacheControlHeaderStrategy::SucceedWithResponseHeader;
    let strategy = settings.unauthorized_cache_control_header_strategy();
    settings.metrics_enabled()
        || settings.data_trace_enabled()
        || !matches!(settings.logging_level(), None | Some("" | "OFF"))
        || settings.caching_enabled()
        || settings.cache_ttl_in_seconds() != 300
        || settings.cache_data_encrypted()
        || !settings.require_authorization_for_cache_control()
        || strategy.is_some_and(|strategy| *strategy != SucceedWithResponseHeader)
}

async fn stages(aws: &Aws, id: &str) -> Result<Vec<FoundStage>, CallError> {
    aws.pace.turn("GetStages", &*aws.tell).await;
    let page =
        called("apigateway:GetStages", aws.apigateway.get_stages().rest_api_id(id).send()).await?;
    Ok(page
        .item
        .unwrap_or_default()
        .into_iter()
        .map(|stage| {
            let mut variables: BTreeMap<String, String> =
                stage.variables.unwrap_or_default().into_iter().collect();
            let settings = stage.method_settings.unwrap_or_default();
            let for_all = settings.get("*/*");
            let throttle = |settings: &types::MethodSetting| {
                (settings.throttling_rate_limit(), settings.throttling_burst_limit())
            };
            let throttle = for_all.map(throttle);
            let canary = stage.canary_settings.as_ref();
            let canary = canary
                .and_then(|canary| Some((canary.deployment_id.clone()?, canary.percent_traffic)));
            FoundStage {
                name: stage.stage_name.unwrap_or_default(),
                tags: stage.tags.unwrap_or_default().into_iter().collect(),
                canary: canary.as_ref().map(|(deployment, _)| deployment.clone()),
                overrides: stage
                    .canary_settings
                    .and_then(|canary| canary.stage_variable_overrides)
                    .unwrap_or_default()
                    .into_iter()
                    .collect(),
                throttle,
                state: StageState {
                    web_acl: stage.web_acl_arn.is_some(),
                    other_settings: for_all.is_some_and(sets_more),
                    deployment: stage.deployment_id.unwrap_or_default(),
                    version: variables.get(variable::FUNCTION_VERSION).cloned(),
                    valid_token: Secret(
                        variables.remove(variable::VALID_TOKEN).unwrap_or_default(),
                    ),
                    variables,
                    settings: settings_of(&settings),
                    has_cache: stage.cache_cluster_enabled,
                    canary,
                },
            }
        })
        .collect())
}

/// All routes' first, then by method.
fn settings_of(settings: &HashMap<String, types::MethodSetting>) -> Vec<MethodSetting> {
    let mut all: Vec<MethodSetting> =
        settings.iter().map(|(key, setting)| setting_of(key, setting)).collect();
    all.sort_by(|a, b| a.method.cmp(&b.method));
    all
}

/// Source: Stage, methodSettings: the keys are "{resource_path}/{http_method}", and `*/*` for all
/// methods. The path comes without its first slash, and with `~1` for the others.
fn setting_of(key: &str, setting: &types::MethodSetting) -> MethodSetting {
    let key = key.replace("~1", "/");
    let method =
        key.trim_start_matches('/').rsplit_once('/').filter(|method| *method != ("*", "*"));
    MethodSetting {
        method: method.map(|(path, verb)| format!("{verb} /{path}")),
        rate: setting.throttling_rate_limit(),
        burst: setting.throttling_burst_limit(),
        data_trace: setting.data_trace_enabled(),
        cached: setting.caching_enabled(),
    }
}

/// A stage's `validToken`, and what decides whether to touch it and how it can be reached.
pub struct FoundToken {
    pub valid_token: Secret,
    /// The other variables.
    pub variables: BTreeMap<String, String>,
    pub tags: Tags,
    pub web_acl: bool,
}

/// One stage; `None` where there is none of this name.
pub async fn find_stage(aws: &Aws, id: &str, stage: &str) -> Result<Option<FoundToken>, CallError> {
    aws.pace.turn("GetStage", &*aws.tell).await;
    match called(
        "apigateway:GetStage",
        aws.apigateway.get_stage().rest_api_id(id).stage_name(stage).send(),
    )
    .await
    {
        Ok(found) => {
            let mut variables: BTreeMap<String, String> =
                found.variables.clone().unwrap_or_default().into_iter().collect();
            Ok(Some(FoundToken {
                web_acl: found.web_acl_arn().is_some(),
                valid_token: Secret(variables.remove(variable::VALID_TOKEN).unwrap_or_default()),
                variables,
                tags: found.tags.unwrap_or_default().into_iter().collect(),
            }))
        }
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The routes that a stage serves, by path: those of its deployment, whatever became of the API
/// since. Source: GetExport, "Exports a deployed version of a RestApi in a specified format".
pub async fn served(
    aws: &Aws,
    id: &str,
    stage: &str,
) -> Result<BTreeMap<String, ServedRoute>, CallError> {
    const CALL: &str = "apigateway:GetExport";
    aws.pace.turn("GetExport", &*aws.tell).await;
    let request = aws
        .apigateway
        .get_export()
        .rest_api_id(id)
        .stage_name(stage)
        .export_type("swagger")
        .parameters("extensions", "apigateway")
        .accepts("application/json");
    let export = called(CALL, request.send()).await?.body.unwrap_or_else(|| Blob::new([]));
    match serde_json::from_slice(export.as_ref()) {
        Ok(export) => Ok(openapi::served(&export)),
        Err(error) => {
            let message = format!("the export is no JSON: {error}");
            Err(CallError { call: CALL, code: None, status: Some(200), message })
        }
    }
}

/// Creates the API with its tags and writes its content; answers its id.
pub async fn create(
    aws: &Aws,
    api: &Api,
    stack: &str,
    tell: Tell<'_>,
) -> Result<String, CallError> {
    // The SDK's own retry is off: a reply lost after the API was made would make a second one. We
    // look first, then try again.
    let answer = while_busy("apigateway:CreateRestApi", LONG, tell, busy, || async {
        aws.pace.turn("CreateRestApi", tell).await;
        match create_call(aws, api).await {
            Ok(id) => Ok(id),
            Err(error)
                if error.code.is_some() && error.status.is_none_or(|status| status < 500) =>
            {
                Err(error)
            }
            Err(_) => match listed(aws, stack, tell).await? {
                Some(id) => Ok(id),
                None => {
                    aws.pace.turn("CreateRestApi", tell).await;
                    create_call(aws, api).await
                }
            },
        }
    })
    .await?;
    write(aws, api, &answer, &Carried::default(), tell).await?;
    Ok(answer)
}

/// The API that a call without an answer may have made. A new one isn't listed at once: looked for
/// again and again, for a while.
async fn listed(aws: &Aws, stack: &str, tell: Tell<'_>) -> Result<Option<String>, CallError> {
    let looked = until(NOT_LISTED, tell, || async {
        Ok(match find(aws, stack).await? {
            Some(found) => Try::Done(found.id.unwrap_or_default()),
            None => {
                Try::Again("CreateRestApi got no answer; looking whether it was carried out".into())
            }
        })
    })
    .await;
    match looked {
        Ok(id) => Ok(Some(id)),
        Err(Waited::TooLong { .. }) => Ok(None),
        Err(Waited::Failed(error)) => Err(error),
    }
}

async fn create_call(aws: &Aws, api: &Api) -> Result<String, CallError> {
    let request = aws
        .apigateway
        .create_rest_api()
        .name(&api.name)
        .description(&api.description)
        .endpoint_configuration(
            EndpointConfiguration::builder().types(EndpointType::Regional).build(),
        )
        .set_tags(Some(api.tags.clone().into_iter().collect()))
        .customize()
        .config_override(
            aws_sdk_apigateway::config::Builder::new().retry_config(RetryConfig::disabled()),
        );
    called("apigateway:CreateRestApi", request.send()).await.map(|api| api.id.unwrap_or_default())
}

/// Overwrites the API's content with one document, then puts singly what the document did not
/// bring.
pub async fn write(
    aws: &Aws,
    api: &Api,
    id: &str,
    carried: &Carried,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let document = openapi::document(api, carried).to_string();
    let written = while_busy("apigateway:PutRestApi", LONG, tell, busy, || async {
        aws.pace.turn("PutRestApi", tell).await;
        let request = aws
            .apigateway
            .put_rest_api()
            .rest_api_id(id)
            .mode(PutMode::Overwrite)
            .fail_on_warnings(true)
            .body(Blob::new(document.as_bytes()));
        called("apigateway:PutRestApi", request.send()).await
    })
    .await?;
    let now = self::carried(
        &RestApi::builder()
            .set_policy(written.policy)
            .set_minimum_compression_size(written.minimum_compression_size)
            .set_api_key_source(written.api_key_source)
            .disable_execute_api_endpoint(written.disable_execute_api_endpoint)
            .set_endpoint_configuration(written.endpoint_configuration)
            .set_security_policy(written.security_policy)
            .set_endpoint_access_mode(written.endpoint_access_mode)
            .build(),
    );
    // First what was the user's: a run that ends in between must not leave the API without it.
    restore(aws, id, carried, &now, tell).await?;
    complete(aws, api, id, tell).await
}

/// Looks again, puts what is missing and deletes what is too much: some back ends don't take
/// gateway responses or the response's content handling from the document.
async fn complete(aws: &Aws, api: &Api, id: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let (responses, resources) = futures_util::try_join!(gateway_responses(aws, id), async {
        aws.pace.turn("GetResources", tell).await;
        called(
            "apigateway:GetResources",
            aws.apigateway.get_resources().rest_api_id(id).embed("methods").limit(500).send(),
        )
        .await
    })?;
    let missing = api
        .gateway_responses
        .iter()
        .filter(|(kind, response)| responses.get(*kind) != Some(response));
    let missing =
        missing.map(|(kind, response)| put_gateway_response(aws, id, kind, response, tell));
    // One that was set by hand may outlive the overwrite.
    let foreign = responses.keys().filter(|kind| !api.gateway_responses.contains_key(*kind));
    let foreign = foreign.map(|kind| delete_gateway_response(aws, id, kind, tell));
    let mut unhandled = vec![];
    for resource in resources.items() {
        let Some(verbs) = resource.path().and_then(|path| api.methods.get(path)) else { continue };
        for (verb, wanted) in verbs {
            let wanted = wanted.integration.iter().flat_map(|integration| &integration.responses);
            let seen = resource
                .resource_methods()
                .and_then(|methods| methods.get(verb))
                .and_then(|method| method.method_integration());
            for (status, wanted) in wanted {
                let seen = seen
                    .and_then(|integration| integration.integration_responses())
                    .and_then(|responses| responses.get(status));
                let handling = seen
                    .and_then(|response| response.content_handling())
                    .map(|handling| handling.as_str());
                if let (Some(wanted), false) =
                    (&wanted.content_handling, handling == wanted.content_handling.as_deref())
                {
                    unhandled.push(set_response_handling(
                        aws,
                        id,
                        resource.id().unwrap_or_default(),
                        verb,
                        status,
                        wanted,
                        tell,
                    ));
                }
            }
        }
    }
    // A back end that knows no order of changes takes them all at once; API Gateway itself has
    // nothing to be done here.
    futures_util::try_join!(try_join_all(missing), try_join_all(foreign), try_join_all(unhandled))
        .map(drop)
}

async fn delete_gateway_response(
    aws: &Aws,
    id: &str,
    kind: &str,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let answer = while_busy("apigateway:DeleteGatewayResponse", LONG, tell, busy, || async {
        aws.pace.turn("DeleteGatewayResponse", tell).await;
        let request = aws
            .apigateway
            .delete_gateway_response()
            .rest_api_id(id)
            .response_type(GatewayResponseType::from(kind));
        called("apigateway:DeleteGatewayResponse", request.send()).await
    })
    .await;
    gone(answer.map(drop))
}

async fn put_gateway_response(
    aws: &Aws,
    id: &str,
    kind: &str,
    response: &GatewayResponse,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    while_busy("apigateway:PutGatewayResponse", LONG, tell, busy, || async {
        aws.pace.turn("PutGatewayResponse", tell).await;
        let request = aws
            .apigateway
            .put_gateway_response()
            .rest_api_id(id)
            .response_type(GatewayResponseType::from(kind))
            .status_code(&response.status)
            .set_response_parameters(Some(response.parameters.clone().into_iter().collect()))
            .set_response_templates(Some(response.templates.clone().into_iter().collect()));
        called("apigateway:PutGatewayResponse", request.send()).await
    })
    .await
    .map(drop)
}

async fn set_response_handling(
    aws: &Aws,
    id: &str,
    resource: &str,
    verb: &str,
    status: &str,
    handling: &str,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    while_busy("apigateway:UpdateIntegrationResponse", LONG, tell, busy, || async {
        aws.pace.turn("UpdateIntegrationResponse", tell).await;
        let request = aws
            .apigateway
            .update_integration_response()
            .rest_api_id(id)
            .resource_id(resource)
            .http_method(verb)
            .status_code(status)
            .patch_operations(patch(Op::Replace, "/contentHandling", handling));
        called("apigateway:UpdateIntegrationResponse", request.send()).await
    })
    .await
    .map(drop)
}

/// Puts back what overwriting dropped and the document didn't bring.
async fn restore(
    aws: &Aws,
    id: &str,
    before: &Carried,
    now: &Carried,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let mut patches = vec![];
    if let (Some(policy), true) = (&before.policy, before.policy != now.policy) {
        patches.push(patch(Op::Replace, "/policy", policy));
    }
    if let (Some(size), true) = (
        before.minimum_compression_size,
        before.minimum_compression_size != now.minimum_compression_size,
    ) {
        patches.push(patch(Op::Replace, "/minimumCompressionSize", &size.to_string()));
    }
    if let (Some(source), true) =
        (&before.api_key_source, before.api_key_source != now.api_key_source)
    {
        patches.push(patch(Op::Replace, "/apiKeySource", source));
    }
    if before.disable_execute_api_endpoint && !now.disable_execute_api_endpoint {
        patches.push(patch(Op::Replace, "/disableExecuteApiEndpoint", "true"));
    }
    // Source of the paths and operations: API Gateway API reference, "Patch operations", RestApi.
    for (path, before, now) in [
        ("/endpointConfiguration/ipAddressType", &before.ip_address_type, &now.ip_address_type),
        ("/securityPolicy", &before.security_policy, &now.security_policy),
        ("/endpointAccessMode", &before.endpoint_access_mode, &now.endpoint_access_mode),
    ] {
        if let (Some(value), true) = (before, before != now) {
            patches.push(patch(Op::Replace, path, value));
        }
    }
    let lost = before.vpc_endpoint_ids.difference(&now.vpc_endpoint_ids);
    patches.extend(lost.map(|id| patch(Op::Add, "/endpointConfiguration/vpcEndpointIds", id)));
    if patches.is_empty() {
        return Ok(());
    }
    while_busy("apigateway:UpdateRestApi", LONG, tell, busy, || async {
        aws.pace.turn("UpdateRestApi", tell).await;
        let request = aws
            .apigateway
            .update_rest_api()
            .rest_api_id(id)
            .set_patch_operations(Some(patches.clone()));
        called("apigateway:UpdateRestApi", request.send()).await
    })
    .await
    .map(drop)
}

fn patch(op: Op, path: &str, value: &str) -> PatchOperation {
    let builder = PatchOperation::builder().op(op.clone()).path(path);
    if op == Op::Remove { builder.build() } else { builder.value(value).build() }
}

fn arn(account: &Account, path: &str) -> String {
    format!("arn:{}:apigateway:{}::/restapis/{path}", account.partition, account.region)
}

/// Tags of the API (`path` is its id) or of a stage (`<id>/stages/<name>`).
pub async fn tag(
    aws: &Aws,
    account: &Account,
    path: &str,
    tags: &Tags,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    while_busy("apigateway:TagResource", LONG, tell, busy, || async {
        aws.pace.turn("TagResource", tell).await;
        let request = aws
            .apigateway
            .tag_resource()
            .resource_arn(arn(account, path))
            .set_tags(Some(tags.clone().into_iter().collect()));
        called("apigateway:TagResource", request.send()).await
    })
    .await
    .map(drop)
}

/// Takes a snapshot of the API; answers its id, which is none of those `known` before. Never with a
/// stage's name: that would wipe the stage's settings on some back ends.
pub async fn deploy(
    aws: &Aws,
    id: &str,
    digest: &str,
    known: &BTreeSet<String>,
    tell: Tell<'_>,
) -> Result<String, CallError> {
    let new = |deployment: &Deployment| {
        deployment.digest.as_deref() == Some(digest) && !known.contains(&deployment.id)
    };
    let call = || {
        let request = aws
            .apigateway
            .create_deployment()
            .rest_api_id(id)
            .description(format!("{DESCRIPTION}{digest}"))
            .customize()
            .config_override(
                aws_sdk_apigateway::config::Builder::new().retry_config(RetryConfig::disabled()),
            );
        called("apigateway:CreateDeployment", request.send())
    };
    while_busy("apigateway:CreateDeployment", LONG, tell, busy, || async {
        aws.pace.turn("CreateDeployment", tell).await;
        match call().await {
            Ok(output) => Ok(output.id.unwrap_or_default()),
            Err(error)
                if error.code.is_some() && error.status.is_none_or(|status| status < 500) =>
            {
                Err(error)
            }
            // No answer: look first, then try again.
            Err(_) => match deployments(aws, id).await?.into_iter().find(new) {
                Some(deployment) => Ok(deployment.id),
                None => {
                    aws.pace.turn("CreateDeployment", tell).await;
                    call().await.map(|output| output.id.unwrap_or_default())
                }
            },
        }
    })
    .await
}

/// A stage's variables as they ought to be.
fn variables(stage: &Stage, version: &str, valid_token: &Secret) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> = stage
        .destinations
        .iter()
        .chain(&stage.variables)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    variables.insert(variable::VALID_TOKEN.into(), valid_token.0.clone());
    variables.insert(variable::FUNCTION_NAME.into(), stage.function_name.clone());
    variables.insert(variable::FUNCTION_VERSION.into(), version.to_owned());
    variables
}

/// Creates the stage; its throttle takes a second call.
pub async fn create_stage(
    aws: &Aws,
    id: &str,
    stage: &Stage,
    deployment: &str,
    version: &str,
    valid_token: &Secret,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let created = while_busy("apigateway:CreateStage", LONG, tell, busy, || async {
        aws.pace.turn("CreateStage", tell).await;
        let request = aws
            .apigateway
            .create_stage()
            .rest_api_id(id)
            .stage_name(&stage.name)
            .deployment_id(deployment)
            .set_variables(Some(variables(stage, version, valid_token).into_iter().collect()))
            .set_tags(Some(stage.tags.clone().into_iter().collect()));
        called("apigateway:CreateStage", request.send()).await
    })
    .await;
    match created {
        Ok(_) => {}
        // The reply to an earlier try was lost: ours if the tag says so, and then it is made what
        // it ought to be.
        Err(error) if error.is(&["ConflictException"]) => {
            match stages(aws, id).await?.into_iter().find(|found| found.name == stage.name) {
                Some(found) if found.tags.get(STACK_TAG) == stage.tags.get(STACK_TAG) => {
                    let mut patches = vec![patch(Op::Replace, "/deploymentId", deployment)];
                    let have = |name: &str| match name {
                        variable::VALID_TOKEN => Some(&found.state.valid_token.0),
                        _ => found.state.variables.get(name),
                    };
                    let wanted = variables(stage, version, valid_token);
                    let missing = wanted.iter().filter(|(name, value)| have(name) != Some(value));
                    patches.extend(missing.map(|(name, value)| {
                        patch(Op::Replace, &format!("/variables/{name}"), value)
                    }));
                    update_stage(aws, id, &stage.name, patches, tell).await?;
                }
                _ => return Err(error),
            }
        }
        Err(error) => return Err(error),
    }
    match stage.throttle {
        Some((rate, burst)) => {
            let patches = throttle_patch(ThrottlePatch::Set(rate, burst));
            update_stage(aws, id, &stage.name, patches, tell).await.map(drop)
        }
        None => Ok(()),
    }
}

/// What a stage sets for all its methods.
const ALL_METHODS: &str = "/*/*";

fn throttle_patch(throttle: ThrottlePatch) -> Vec<PatchOperation> {
    let set = |rate: f64, burst: i32| {
        vec![
            patch(Op::Replace, "/*/*/throttling/rateLimit", &rate.to_string()),
            patch(Op::Replace, "/*/*/throttling/burstLimit", &burst.to_string()),
        ]
    };
    match throttle {
        ThrottlePatch::Set(rate, burst) => set(rate, burst),
        // AWS has no `remove` for one setting of an entry. -1 is none, as Terraform sets it where a
        // configuration has no throttle (`aws_api_gateway_method_settings`).
        ThrottlePatch::Unlimited => set(-1.0, -1),
        ThrottlePatch::Remove => vec![patch(Op::Remove, ALL_METHODS, "")],
    }
}

/// `/*/*` is gone already. Only the message tells: "Cannot remove method setting */* because there
/// is no method setting for this method".
fn nothing_to_remove(error: &CallError) -> bool {
    error.is(&["BadRequestException"])
        && error.message.contains("no method setting for this method")
}

/// What one update of a stage sets.
pub struct Move<'a> {
    /// Deployment and function version, where it gets others.
    pub to: Option<(&'a str, &'a str)>,
    pub patch: &'a StagePatch,
}

/// Moves the stage in one call: code, API and destinations change at one moment.
pub async fn move_stage(
    aws: &Aws,
    id: &str,
    stage: &str,
    to: Move<'_>,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let mut patches = vec![];
    let mut set = |name: &str, value: &str| {
        patches.push(patch(Op::Replace, &format!("/variables/{name}"), value))
    };
    if let Some((_, version)) = to.to {
        set(variable::FUNCTION_VERSION, version);
    }
    for (name, value) in &to.patch.variables {
        set(name, value);
    }
    for name in &to.patch.remove_variables {
        patches.push(patch(Op::Remove, &format!("/variables/{name}"), ""));
    }
    if let Some((deployment, _)) = to.to {
        patches.push(patch(Op::Replace, "/deploymentId", deployment));
    }
    if let Some(throttle) = to.patch.throttle {
        patches.extend(throttle_patch(throttle));
    }
    if patches.is_empty() {
        return Ok(());
    }
    let removes = to.patch.throttle == Some(ThrottlePatch::Remove);
    match update_stage(aws, id, stage, patches.clone(), tell).await {
        // Refused as a whole: the rest of it is still to be done.
        Err(error) if removes && nothing_to_remove(&error) => {}
        Err(error) => return Err(error),
        Ok(answer) => {
            // LocalStack 4.9 does nothing else in such a call, and answers 200.
            let variables = answer.variables();
            let version =
                variables.and_then(|all| Some(all.get(variable::FUNCTION_VERSION)?.as_str()));
            let serves = (answer.deployment_id(), version);
            let wanted = to.to.map(|(deployment, version)| (Some(deployment), Some(version)));
            let done = wanted.is_none_or(|wanted| serves == wanted);
            if done || !removes {
                return Ok(());
            }
        }
    }
    patches.retain(|patch| patch.path() != Some(ALL_METHODS));
    if patches.is_empty() {
        return Ok(());
    }
    update_stage(aws, id, stage, patches, tell).await.map(drop)
}

/// Sets `validToken` and nothing else, in one call.
pub async fn set_valid_token(
    aws: &Aws,
    id: &str,
    stage: &str,
    value: &Secret,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let path = format!("/variables/{}", variable::VALID_TOKEN);
    update_stage(aws, id, stage, vec![patch(Op::Replace, &path, &value.0)], tell).await.map(drop)
}

async fn update_stage(
    aws: &Aws,
    id: &str,
    stage: &str,
    patches: Vec<PatchOperation>,
    tell: Tell<'_>,
) -> Result<UpdateStageOutput, CallError> {
    while_busy("apigateway:UpdateStage", LONG, tell, busy, || async {
        aws.pace.turn("UpdateStage", tell).await;
        let request = aws
            .apigateway
            .update_stage()
            .rest_api_id(id)
            .stage_name(stage)
            .set_patch_operations(Some(patches.clone()));
        called("apigateway:UpdateStage", request.send()).await
    })
    .await
}

/// Deletes old deployments, one after the other. One that somebody's stage took in the meantime
/// stays.
pub async fn prune(
    aws: &Aws,
    id: &str,
    deployments: &[String],
    tell: Tell<'_>,
) -> Result<(), CallError> {
    for deployment in deployments {
        let answer = while_busy("apigateway:DeleteDeployment", LONG, tell, busy, || async {
            aws.pace.turn("DeleteDeployment", tell).await;
            let request =
                aws.apigateway.delete_deployment().rest_api_id(id).deployment_id(deployment);
            called("apigateway:DeleteDeployment", request.send()).await
        })
        .await;
        match gone(answer.map(drop)) {
            // Source: DeleteDeployment, "Active stages pointing to this deployment must be moved or
            // deleted".
            Err(error)
                if error.is(&["BadRequestException"])
                    && error.message.contains("Active stages") => {}
            other => other?,
        }
    }
    Ok(())
}

pub async fn delete_stage(
    aws: &Aws,
    id: &str,
    stage: &str,
    tell: Tell<'_>,
) -> Result<(), CallError> {
    let answer = while_busy("apigateway:DeleteStage", LONG, tell, busy, || async {
        aws.pace.turn("DeleteStage", tell).await;
        called(
            "apigateway:DeleteStage",
            aws.apigateway.delete_stage().rest_api_id(id).stage_name(stage).send(),
        )
        .await
    })
    .await;
    gone(answer.map(drop))
}

pub async fn delete(aws: &Aws, id: &str, tell: Tell<'_>) -> Result<(), CallError> {
    let answer = while_busy("apigateway:DeleteRestApi", LONG, tell, busy, || async {
        aws.pace.turn("DeleteRestApi", tell).await;
        called("apigateway:DeleteRestApi", aws.apigateway.delete_rest_api().rest_api_id(id).send())
            .await
    })
    .await;
    gone(answer.map(drop))
}

fn gone(answer: Result<(), CallError>) -> Result<(), CallError> {
    match answer {
        Err(error) if error.not_found() => Ok(()),
        other => other,
    }
}
