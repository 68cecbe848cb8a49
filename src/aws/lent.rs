//! The account's own S3 and SQS for the function's library, with the credentials that the user has.

use super::Aws;
use crate::error::Failure;
use aws_sdk_s3::config::{ProvideCredentials, SharedHttpClient};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::{
    client::http::{HttpConnectorSettings, SharedHttpConnector, http_client_fn},
    shared::IntoShared,
};
use routeto_function::{Settings, Sinks};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// Temporary credentials are renewed this long before they end.
const AHEAD: Duration = Duration::from_secs(120);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// As the SDK makes its own, with the system's certificates and `HTTPS_PROXY` and the like: the
/// function's, which runs in Lambda, knows neither.
fn client(proxies: ProxyConfig) -> SharedHttpClient {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT_TIMEOUT).build();
    let connector: SharedHttpConnector = Connector::builder()
        .connector_settings(settings)
        .proxy_config(proxies)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build()
        .into_shared();
    http_client_fn(move |_, _| connector.clone())
}

pub struct Lent {
    aws: Aws,
    proxies: ProxyConfig,
    kept: Mutex<Option<(Arc<Sinks>, Option<SystemTime>)>>,
}

impl Lent {
    pub fn new(aws: Aws) -> Self {
        Self::through(aws, ProxyConfig::from_env())
    }

    fn through(aws: Aws, proxies: ProxyConfig) -> Self {
        Self { aws, proxies, kept: Mutex::default() }
    }

    /// # Errors
    /// There are no credentials.
    pub async fn sinks(&self) -> Result<Arc<Sinks>, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some((sinks, until)) = &*kept
            && until.is_none_or(|until| SystemTime::now() + AHEAD < until)
        {
            return Ok(sinks.clone());
        }
        let failed =
            |what: String| Failure::new("credentials", what).now("log in, or set AWS_PROFILE");
        let provider =
            self.aws.credentials.as_ref().ok_or_else(|| failed("there are none".into()))?;
        let credentials =
            provider.provide_credentials().await.map_err(|error| failed(error.to_string()))?;
        let until = credentials.expiry();
        let settings = Settings {
            region: self.aws.region.clone(),
            credentials,
            s3_endpoint: self.aws.endpoint_url.clone(),
            sqs_endpoint: self.aws.endpoint_url.clone(),
        };
        let sinks = Arc::new(Sinks::new(&settings, client(self.proxies.clone())));
        *kept = Some((sinks.clone(), until));
        Ok(sinks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::Uri};
    use routeto_function::record::Record;

    /// The SDK's own calls go there, too.
    #[tokio::test]
    async fn records_go_through_the_proxy() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let proxy = format!("http://{}", listener.local_addr().expect("an address"));
        let asked: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        let answer = move |uri: Uri| async move {
            heard.lock().expect("not poisoned").push(uri.to_string());
            [("etag", "\"e\"")]
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let aws = Aws::local("http://emulator.test:4566", "us-east-1").await.expect("clients");
        let lent = Lent::through(aws, ProxyConfig::http(proxy).expect("a proxy"));
        let sinks = lent.sinks().await.expect("credentials");
        let (bucket, key, content_type) = ("hooks".into(), "in/1".into(), "text/plain".into());
        let record = Record::Object { bucket, key, content_type, body: "x".into() };
        let stored = sinks.store(&record, SystemTime::now() + Duration::from_secs(20)).await;
        assert_eq!(stored.map(|stored| stored.place), Ok("s3://hooks/in/1".into()));
        let asked = asked.lock().expect("not poisoned").clone();
        assert!(
            asked.iter().all(|url| url.starts_with("http://emulator.test:4566/hooks/in/1"))
                && asked.len() == 1,
            "{asked:?}"
        );
    }
}
