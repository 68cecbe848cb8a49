//! The function's own sinks on this store: its real SDK code runs, signing included, but nothing
//! goes over a socket.

use super::{Store, http::Endpoint};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use routeto_function::{
    Credentials,
    sink::{Settings, Sinks},
};
use std::{fmt, sync::Arc};

/// No request goes there: only its path and its headers are looked at.
const ENDPOINT: &str = "http://store.routeto.invalid";

/// Sinks whose every request ends in this store.
pub fn sinks(store: &Arc<Store>, region: &str) -> Sinks {
    let settings = Settings {
        region: region.to_owned(),
        credentials: Credentials::new("local", "local", None, None, "routeto dev"),
        s3_endpoint: Some(ENDPOINT.into()),
        sqs_endpoint: Some(ENDPOINT.into()),
    };
    let connector = SharedHttpConnector::new(InProcess(Endpoint::new(store.clone())));
    Sinks::new(&settings, http_client_fn(move |_, _| connector.clone()))
}

struct InProcess(Endpoint);

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let endpoint = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request =
                request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (parts, body) = request.into_parts();
            // A record's body is in memory, in one piece, and isn't copied here.
            let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
            let response = endpoint.direct(http::Request::from_parts(parts, body)).await;
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
