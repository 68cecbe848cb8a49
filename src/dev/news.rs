//! What a running `dev` of another process records, as it comes: its stream of server-sent events,
//! read. Prints nothing.

use super::{
    exchange::Exchange,
    inspector::{KEY, ROOT},
};
use crate::{error::Failure, observed::Secret};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, body::Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use std::{collections::VecDeque, time::Duration};
use tokio::time::timeout;

/// A `dev` of this machine that doesn't answer within this is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// It says at least this often that it is still there; twice as long as it promises.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of one event and of one exchange; bodies are in it as base64.
const LONGEST: usize = 64 * 1024 * 1024;

pub struct News {
    url: String,
    /// Of the inspector.
    key: Secret,
    client: Client<HttpConnector, Empty<Bytes>>,
    stream: Incoming,
    read: BytesMut,
    /// Exchanges that were told and not fetched yet.
    told: VecDeque<u64>,
}

#[derive(Deserialize)]
struct Told {
    id: u64,
    stored: Option<String>,
}

impl News {
    /// Listens to the `dev` at this URL; `None` where nobody answers, or somebody else.
    pub async fn of(url: &str, key: &Secret) -> Option<News> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response =
            timeout(PATIENCE, get(&client, key, format!("{url}{ROOT}/events"))).await.ok()?.ok()?;
        let is_stream = response
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !response.status().is_success() || !is_stream {
            return None;
        }
        Some(News {
            url: url.to_owned(),
            key: key.clone(),
            client,
            stream: response.into_body(),
            read: BytesMut::new(),
            told: VecDeque::new(),
        })
    }

    /// The next exchange that stored a record; `None` once `dev` has ended.
    ///
    /// # Errors
    /// The stream breaks off, or is none of `dev`'s.
    pub async fn next(&mut self) -> Result<Option<Exchange>, Failure> {
        loop {
            if let Some(id) = self.told.pop_front() {
                match self.fetch(id).await? {
                    Some(exchange) => return Ok(Some(exchange)),
                    // The journal keeps the last thousand: who reads slowly misses some.
                    None => continue,
                }
            }
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event = self.read.split_to(end + 2);
                self.hear(&event)?;
                continue;
            }
            if self.read.len() > LONGEST {
                return Err(self.failed("an event without an end".into()));
            }
            match timeout(SILENCE, self.stream.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.read.extend_from_slice(data);
                    }
                }
                // It ended; how is the same to us.
                Ok(None | Some(Err(_))) => return Ok(None),
                Err(_) => {
                    return Err(self.failed(format!("nothing more for {} s", SILENCE.as_secs())));
                }
            }
        }
    }

    fn hear(&mut self, event: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(event);
        if !text.lines().any(|line| line == "event: requests") {
            return Ok(());
        }
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let list: Vec<Told> =
                serde_json::from_str(data).map_err(|error| self.failed(error.to_string()))?;
            self.told
                .extend(list.into_iter().filter(|told| told.stored.is_some()).map(|told| told.id));
        }
        Ok(())
    }

    async fn fetch(&self, id: u64) -> Result<Option<Exchange>, Failure> {
        let failed = |what: String| self.failed(format!("request {id}: {what}"));
        let response =
            get(&self.client, &self.key, format!("{}{ROOT}/api/requests/{id}", self.url))
                .await
                .map_err(&failed)?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let body = Limited::new(response.into_body(), LONGEST)
            .collect()
            .await
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes())
            .map(Some)
            .map_err(|error| failed(error.to_string()))
    }

    fn failed(&self, what: String) -> Failure {
        Failure::new(self.url.clone(), what)
            .now("see whether that `routeto dev` is of this version and still runs")
    }
}

async fn get(
    client: &Client<HttpConnector, Empty<Bytes>>,
    key: &Secret,
    url: String,
) -> Result<Response<Incoming>, String> {
    let request = Request::get(url)
        .header(KEY, &key.0)
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    client.request(request).await.map_err(|error| error.to_string())
}
