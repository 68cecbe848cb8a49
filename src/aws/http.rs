//! Requests to a stage's own URLs, for the probe that ends a deploy and for samples, and to a running `routeto dev`.

use super::wait::real;
use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::time::Duration;

/// Bytes of an answer that are read at most: ours are short.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long an answer may take; the gateway's own limit is 29 s.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// API Gateway's name for a refusal of its own: `x-amzn-ErrorType`.
    pub error_type: Option<String>,
    pub body: Vec<u8>,
}

impl Http {
    /// # Errors
    /// When the system's trust roots can't be read.
    pub fn new() -> Result<Http> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            // Named, since the function's library brings a second one (ring) into the same program.
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .context("the system's certificates can't be read")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Http(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// One POST; answered within 30 seconds or not at all.
    pub async fn post(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut request = Request::builder().method(Method::POST).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(Bytes::copy_from_slice(body)))?, LONGEST_ANSWER).await
    }

    /// One GET, with at most so many bytes of an answer.
    pub async fn get(&self, url: &str, longest: usize) -> Result<Answer> {
        self.send(Request::builder().method(Method::GET).uri(url).body(Full::default())?, longest).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, longest: usize) -> Result<Answer> {
        let exchange = async {
            let response = self.0.request(request).await?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let error_type = response.headers().get("x-amzn-errortype").and_then(|value| Some(value.to_str().ok()?.to_owned()));
            let body = Limited::new(response.into_body(), longest).collect().await.map_err(|error| anyhow!(error))?;
            Ok(Answer { status, retry_after: retry_after.map(Duration::from_secs), error_type, body: body.to_bytes().to_vec() })
        };
        // As for calls: a test's emulator takes its time.
        tokio::time::timeout(real(PATIENCE).max(Duration::from_secs(5)), exchange).await.context("no answer in 30 s")?
    }
}
