//! Lambda's Runtime API: takes one event after the other and gives back what came of it.
//!
//! A loop of our own over hyper, which the SDK brings anyway, and not the `lambda_runtime` crate:
//! that one makes a tree or a second copy of the event before it is ours, starts later and is
//! larger (docs/performance.md). One connection, kept; one event at a time, as Lambda has it. Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

use {
    bytes::Bytes,
    http_body_util::{BodyExt, Full},
    hyper::{
        Request, Response,
        body::Incoming,
        client::conn::http1::{SendRequest, handshake},
        header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap},
    },
    hyper_util::rt::TokioIo,
    routeto_function::{FunctionError, Invocation},
    std::time::{Duration, UNIX_EPOCH},
    tokio::net::TcpStream,
};

/// Why the loop can't go on. The process ends, and Lambda starts another.
pub type Fatal = Box<dyn std::error::Error + Send + Sync>;

pub struct Runtime {
    /// `host:port`.
    api: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Runtime {
    pub fn new(api: String) -> Self {
        Self { api, connection: None }
    }

    /// Waits for the next event. A sandbox may be frozen here for hours, so there is no limit to
    /// it.
    pub async fn next(&mut self) -> Result<(Vec<u8>, Invocation), Fatal> {
        let response = self.send("GET", "invocation/next", Bytes::new(), None).await?;
        if !response.status().is_success() {
            return Err(format!("the Runtime API answered {} to /next", response.status()).into());
        }
        let invocation = invocation(response.headers())?;
        let length = response
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        // as large as it will get, at once: 6 MB by doubling would be 12
        let mut event = Vec::with_capacity(length);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                event.extend_from_slice(&data);
            }
        }
        Ok((event, invocation))
    }

    pub async fn answer(&mut self, id: &str, answer: Vec<u8>) -> Result<(), Fatal> {
        self.post(&format!("invocation/{id}/response"), answer.into(), None).await
    }

    pub async fn fail(&mut self, id: &str, error: &FunctionError) -> Result<(), Fatal> {
        self.post(
            &format!("invocation/{id}/error"),
            serde_json::to_vec(error)?.into(),
            Some(error.error_type),
        )
        .await
    }

    pub async fn fail_init(&mut self, error: &FunctionError) -> Result<(), Fatal> {
        self.post("init/error", serde_json::to_vec(error)?.into(), Some(error.error_type)).await
    }

    async fn post(
        &mut self,
        path: &str,
        body: Bytes,
        error_type: Option<&str>,
    ) -> Result<(), Fatal> {
        let response = self.send("POST", path, body, error_type).await?;
        let status = response.status();
        // to its end, or the connection can't take another request
        response.into_body().collect().await?;
        // 4xx: Lambda gave the invocation up, for its time was over. 5xx: "container error, the
        // runtime should exit promptly".
        if status.is_server_error() {
            Err(format!("the Runtime API answered {status} to /{path}").into())
        } else {
            Ok(())
        }
    }

    /// Sends a request on the kept connection, or on a new one where that was closed in the
    /// meantime: before the request, or beside it, where nobody can tell whether it was read.
    /// Asking twice takes no event twice, and a second answer to one gets a 4xx, which `post` lets
    /// pass.
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
        error_type: Option<&str>,
    ) -> Result<Response<Incoming>, Fatal> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/2018-06-01/runtime/{path}"))
            .header(HOST, &self.api)
            .header(CONTENT_TYPE, "application/json");
        if let Some(error_type) = error_type {
            request = request.header("lambda-runtime-function-error-type", error_type);
        }
        let request = request.body(Full::new(body))?;
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
            && let Ok(response) = kept.send_request(request.clone()).await
        {
            self.connection = Some(kept);
            return Ok(response);
        }
        let mut connection = self.connect().await?;
        let response = connection.send_request(request).await?;
        self.connection = Some(connection);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Fatal> {
        let stream = TcpStream::connect(&self.api).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // its error is the sender's error too
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

fn invocation(headers: &HeaderMap) -> Result<Invocation, Fatal> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| format!("the Runtime API sent no {name}"))
    };
    Ok(Invocation {
        id: header("lambda-runtime-aws-request-id")?.into(),
        deadline: UNIX_EPOCH
            + Duration::from_millis(header("lambda-runtime-deadline-ms")?.parse()?),
    })
}
