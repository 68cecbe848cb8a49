//! All of the command that talks to AWS: clients, adapters per service, waiting and pacing. Makes
//! no decisions about what ought to be.

pub mod apigateway;
pub mod call;
pub mod execute;
pub mod http;
pub mod iam;
pub mod lambda;
pub mod lent;
pub mod lock;
pub mod logs;
pub mod observe;
pub mod pace;
pub mod s3;
pub mod sqs;
pub mod throttle;
pub mod wait;

use crate::{
    error::{Error, Failure, Result},
    observed::Account,
};
use aws_config::{
    BehaviorVersion, Region, default_provider::region::DefaultRegionChain,
    profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use call::{CallError, called};
use pace::Pace;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use throttle::{PATIENCE, Throttle};
use wait::real;

fn check_endpoint(place: &str, url: &str) -> Result<()> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_some_and(|rest| !rest.is_empty()) && url.parse::<::http::Uri>().is_ok() {
        return Ok(());
    }
    Err(Error::Usage(
        Failure::new(place, format!("`{url}` is no URL")).now("begin it with http:// or https://"),
    ))
}

/// A profile that neither file has would only be missed at the first call, as missing credentials.
async fn profile_exists(name: &str) -> Result<()> {
    // Files that can't be read are the SDK's to complain of.
    let Ok(profiles) = aws_config::profile::load(
        &Default::default(),
        &Default::default(),
        &Default::default(),
        None,
    )
    .await
    else {
        return Ok(());
    };
    if profiles.get_profile(name).is_some() {
        return Ok(());
    }
    let mut known: Vec<&str> = profiles.profiles().collect();
    known.sort_unstable();
    let now = match known.as_slice() {
        [] => "`aws configure` makes one; or give --profile and AWS_PROFILE another name, or none"
            .to_owned(),
        known => format!("those there are: {}", known.join(", ")),
    };
    Err(Error::Usage(
        Failure::new(
            "profile",
            format!("there is no profile `{name}` in AWS's config and credentials files"),
        )
        .now(now),
    ))
}

/// Which account, region and endpoint a command works with: the global options.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// From `--region` or the stack file; the environment and the profile decide otherwise.
    pub region: Option<String>,
    pub profile: Option<String>,
    pub endpoint_url: Option<String>,
}

/// The clients, made once a command.
#[derive(Clone)]
pub struct Aws {
    pub region: String,
    pub s3: aws_sdk_s3::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub iam: aws_sdk_iam::Client,
    pub lambda: aws_sdk_lambda::Client,
    pub apigateway: aws_sdk_apigateway::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// For the lock alone, whether or not it is surely held.
    signing: aws_sdk_cloudwatchlogs::Client,
    sts: aws_sdk_sts::Client,
    /// Knows the lock that is held.
    guard: lock::Guard,
    /// Another endpoint than AWS's own, where one is set.
    pub endpoint_url: Option<String>,
    /// Whoever gives credentials, where the environment names one.
    pub credentials: Option<aws_sdk_s3::config::SharedCredentialsProvider>,
    pub pace: Arc<Pace>,
    /// Where the reasons for waits go that belong to no change: while it is looked what stands.
    pub tell: Arc<dyn Fn(String) + Send + Sync>,
    throttle: Throttle,
    /// Milliseconds by which this machine's clock is behind AWS's, as STS's answer told.
    behind: Arc<AtomicI64>,
}

/// Compares this machine's clock with the `Date` of an answer.
#[derive(Debug)]
struct Clock(Arc<AtomicI64>);

impl Intercept for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| httpdate::parse_http_date(date).ok());
        if let Some(date) = date {
            self.0.store(millis(date) - millis(SystemTime::now()), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Since the epoch.
pub fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// How long a call may take, and all its tries together, where sending it takes so long.
fn timeouts(sending: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        // A test's emulator takes its time, and no clock of ours hurries it.
        .operation_attempt_timeout(
            real(Duration::from_secs(30) + sending).max(Duration::from_secs(5)),
        )
        // Waiting for AWS to throttle no more comes on top.
        .operation_timeout(
            real(Duration::from_secs(90) + 2 * sending).max(Duration::from_secs(20))
                + real(PATIENCE),
        )
        .build()
}

impl Aws {
    /// # Errors
    /// When no region is to be found.
    pub async fn connect(connection: &Connection) -> Result<Aws> {
        if let Some(name) = connection
            .profile
            .clone()
            .or_else(|| std::env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty()))
        {
            profile_exists(&name).await?;
        }
        let retry = RetryConfig::standard()
            .with_max_attempts(4)
            .with_initial_backoff(real(Duration::from_secs(1)));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .retry_config(retry)
            .timeout_config(timeouts(Duration::ZERO));
        if let Some(region) = &connection.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &connection.profile {
            // A role that the profile names is assumed through STS, which needs a region: the
            // command's, else the profile's.
            let region = match &connection.region {
                Some(region) => Some(Region::new(region.clone())),
                None => DefaultRegionChain::builder().profile_name(profile).build().region().await,
            };
            let config = ProviderConfig::without_region().with_region(region);
            // Asked for by name, it comes before keys in the environment, as with the AWS CLI: they
            // may be another account's.
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&config)
                .profile_name(profile)
                .build();
            loader = loader.profile_name(profile).credentials_provider(provider);
        }
        // Before the SDK looks at them: what is no URL makes it panic.
        // `vars` itself would panic at any variable that isn't UTF-8.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        for (name, url) in std::env::vars_os()
            .filter_map(text)
            .filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"))
        {
            if url.is_empty() {
                let failure = Failure::new(
                    name,
                    "it is set to nothing, which no SDK of AWS's takes for unset",
                );
                return Err(Error::Usage(failure.now("unset it, or set it to a URL")));
            }
            check_endpoint(&name, &url)?;
        }
        if let Some(url) = &connection.endpoint_url {
            check_endpoint("--endpoint-url", url)?;
            loader = loader.endpoint_url(url);
        }
        Aws::load(loader).await
    }

    async fn load(loader: aws_config::ConfigLoader) -> Result<Aws> {
        let config = loader.load().await;
        let Some(region) = config
            .region()
            .map(|region| region.as_ref().to_owned())
            .filter(|region| !region.is_empty())
        else {
            return Err(Error::Usage(
                Failure::new("region", "no AWS region is set")
                    .now("write `region:` into the stack file, give --region, or set AWS_REGION"),
            ));
        };
        if !crate::spec::is_region(&region) {
            return Err(Error::Usage(
                Failure::new("region", format!("`{region}` is no region's name"))
                    .now("write it as AWS does, `us-east-1` say: in the stack file, with --region, or in AWS_REGION"),
            ));
        }
        let endpoint_url = config.endpoint_url().map(str::to_owned);
        if let Some(url) = &endpoint_url {
            check_endpoint("endpoint", url)?;
            call::remember_endpoint(url);
        }
        let guard = lock::Guard::default();
        let pace = Arc::new(Pace::aws());
        let throttle = Throttle::new(Arc::clone(&pace));
        /// What every client has: a service's SDK has a builder of its own.
        macro_rules! builder {
            ($sdk:ident) => {
                $sdk::config::Builder::from(&config)
                    .interceptor(throttle.clone())
                    .retry_classifier(throttle.clone())
            };
        }
        // Other endpoints than AWS's have no host name per bucket.
        let s3 = builder!(aws_sdk_s3)
            .force_path_style(endpoint_url.is_some())
            .request_checksum_calculation(
                aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired,
            )
            .interceptor(guard.clone())
            .build();
        let sqs = builder!(aws_sdk_sqs).interceptor(guard.clone()).build();
        let iam = builder!(aws_sdk_iam).interceptor(guard.clone()).build();
        let lambda = builder!(aws_sdk_lambda).interceptor(guard.clone()).build();
        let apigateway = builder!(aws_sdk_apigateway).interceptor(guard.clone()).build();
        let logs = builder!(aws_sdk_cloudwatchlogs).interceptor(guard.clone()).build();
        let signing = builder!(aws_sdk_cloudwatchlogs).build();
        let behind = Arc::default();
        let sts = builder!(aws_sdk_sts).interceptor(Clock(Arc::clone(&behind))).build();
        Ok(Aws {
            region,
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            iam: aws_sdk_iam::Client::from_conf(iam),
            lambda: aws_sdk_lambda::Client::from_conf(lambda),
            apigateway: aws_sdk_apigateway::Client::from_conf(apigateway),
            logs: aws_sdk_cloudwatchlogs::Client::from_conf(logs),
            signing: aws_sdk_cloudwatchlogs::Client::from_conf(signing),
            sts: aws_sdk_sts::Client::from_conf(sts),
            guard,
            endpoint_url,
            credentials: config.credentials_provider(),
            pace,
            tell: Arc::new(|_| ()),
            throttle,
            behind,
        })
    }

    /// The S3 and SQS of a `routeto dev` on this machine, which take any credentials.
    pub async fn local(endpoint_url: &str, region: &str) -> Result<Aws> {
        let credentials =
            aws_sdk_s3::config::Credentials::new("routeto", "routeto", None, None, "routeto dev");
        let loader =
            aws_config::defaults(BehaviorVersion::latest()).credentials_provider(credentials);
        // The SDK's own client would go through HTTP_PROXY, which can't reach this machine.
        let loader = loader.http_client(aws_smithy_http_client::Builder::new().build_http());
        Aws::load(loader.region(Region::new(region.to_owned())).endpoint_url(endpoint_url)).await
    }

    /// From now on the reasons for waits that belong to no change go there.
    pub fn tell(&mut self, tell: Arc<dyn Fn(String) + Send + Sync>) {
        self.throttle.tell(Arc::clone(&tell));
        self.tell = tell;
    }

    /// Seconds since the epoch by AWS's clock, once the account is known: this machine's may be
    /// off. To a second or so.
    pub fn seconds(&self) -> u64 {
        let behind = self.behind.load(Ordering::Relaxed);
        // What an answer takes to come isn't a clock's fault.
        let behind = if behind.abs() < 5_000 { 0 } else { behind };
        u64::try_from((millis(SystemTime::now()) + behind) / 1000).unwrap_or(0)
    }

    /// Whose credentials these are.
    pub async fn account(&self) -> Result<Account, CallError> {
        let identity =
            called("sts:GetCallerIdentity", self.sts.get_caller_identity().send()).await?;
        let caller = identity.arn().unwrap_or_default().to_owned();
        Ok(Account {
            id: identity.account().unwrap_or_default().to_owned(),
            region: self.region.clone(),
            partition: caller
                .split(':')
                .nth(1)
                .filter(|partition| !partition.is_empty())
                .unwrap_or("aws")
                .to_owned(),
            caller,
        })
    }
}

#[cfg(test)]
mod adapter_tests;
