//! The account's own S3 and SQS for the function's library, with the credentials that the user has.

use super::Aws;
use crate::error::Failure;
use aws_sdk_s3::config::ProvideCredentials;
use routeto_function::{Settings, Sinks};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::Mutex;

/// Temporary credentials are renewed this long before they end.
const AHEAD: Duration = Duration::from_secs(120);

pub struct Lent {
    aws: Aws,
    kept: Mutex<Option<(Arc<Sinks>, Option<SystemTime>)>>,
}

impl Lent {
    pub fn new(aws: Aws) -> Self {
        Self { aws, kept: Mutex::default() }
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
        let failed = |what: String| Failure::new("credentials", what).now("log in, or set AWS_PROFILE");
        let provider = self.aws.credentials.as_ref().ok_or_else(|| failed("there are none".into()))?;
        let credentials = provider.provide_credentials().await.map_err(|error| failed(error.to_string()))?;
        let until = credentials.expiry();
        let settings = Settings {
            region: self.aws.region.clone(),
            credentials,
            s3_endpoint: self.aws.endpoint_url.clone(),
            sqs_endpoint: self.aws.endpoint_url.clone(),
        };
        let http = settings.http_client(|name| std::env::var(name).ok());
        let sinks = Arc::new(Sinks::new(&settings, http));
        *kept = Some((sinks.clone(), until));
        Ok(sinks)
    }
}
