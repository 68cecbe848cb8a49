//! The one endpoint: which service a request is for, and what is taken off it before s3s reads it.
//! Keeps nothing.
//!
//! Any credentials are good here, so no signature can be checked: s3s would ask for the secret.
//! What a signature also says of the body (its SHA-256, its chunks) is read here, so that a body
//! that was cut off or changed on its way is refused all the same.

use super::{Store, s3, sqs};
use crate::dev::{PIECE_PATIENCE, Patience, patience};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    response::Response,
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, SizeHint};
use s3s::service::{S3Service, S3ServiceBuilder};
use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

/// What SQS takes is 1 MiB; in JSON each of its bytes can become six.
const MAX_SQS_REQUEST: usize = 8 * 1024 * 1024;
/// A chunk's size and its signature are far less.
const MAX_LINE: usize = 1024;
const MAX_TRAILERS: usize = 16 * 1024;
/// A form POST holds its file in memory.
const MAX_FORM_FILE: u64 = 16 * 1024 * 1024;

/// The query parameters of a presigned URL. Source: the S3 API reference, "Authenticating Requests:
/// Using Query Parameters".
const SIGNATURE: [&str; 10] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
    "AWSAccessKeyId",
    "Signature",
    "Expires",
];

/// The SHA-256 that a body was signed with.
#[derive(Clone, Copy)]
pub struct PayloadHash(pub [u8; 32]);

/// The request was signed, with whatever credentials, and comes from no browser.
#[derive(Clone, Copy)]
pub struct Signed;

/// The headers that came behind a chunked body, once it is read.
#[derive(Clone, Default)]
pub struct Trailers(Arc<Mutex<Vec<(String, String)>>>);

impl Trailers {
    pub fn take(&self) -> Vec<(String, String)> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Clone)]
pub struct Endpoint {
    store: Arc<Store>,
    s3: S3Service,
}

impl Endpoint {
    pub fn new(store: Arc<Store>) -> Self {
        let mut config = s3s::config::S3Config::default();
        config.post_object_max_file_size = MAX_FORM_FILE;
        let mut s3 = S3ServiceBuilder::new(s3::Service(store.clone()));
        s3.set_config(Arc::new(s3s::config::StaticConfigProvider::new(Arc::new(config))));
        Self { store, s3: s3.build() }
    }

    pub fn router(self) -> Router {
        Router::new().fallback(serve).with_state(self)
    }

    /// A request that never was on a wire.
    pub async fn direct(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let (mut parts, body) = request.into_parts();
        if let Some(operation) = sqs_operation(&parts.headers) {
            let asked = sqs::Asked {
                operation: operation.to_owned(),
                host: "sqs".into(),
                region: region(&parts.headers),
            };
            return sqs::answer(&self.store, &asked, &body).await;
        }
        parts.headers.remove(header::AUTHORIZATION);
        let answer = self.s3.call(http::Request::from_parts(parts, s3s::Body::from(body))).await;
        let Ok(answer) = answer else { return failed(Bytes::new()) };
        let (parts, body) = answer.into_parts();
        match BodyExt::collect(body).await {
            Ok(body) => http::Response::from_parts(parts, body.to_bytes()),
            Err(_) => failed(Bytes::new()),
        }
    }
}

fn failed<B>(body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

/// With its port. HTTP/2 has it in the URI.
fn host(parts: &http::request::Parts) -> Option<&str> {
    let header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| parts.uri.authority().map(|authority| authority.as_str()))
}

/// The JavaScript, Ruby and Java SDKs put the bucket before the endpoint's name unless they are told not to: `http://hooks-dev.localhost:3001/key`.
fn bucket_into_path(parts: &mut http::request::Parts) {
    let name = host(parts).map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    let Some(bucket) =
        name.and_then(|name| name.strip_suffix(".localhost")).filter(|bucket| !bucket.is_empty())
    else {
        return;
    };
    let rest = parts.uri.path_and_query().map_or("/", |rest| rest.as_str());
    if let Ok(uri) = format!("/{bucket}{rest}").parse() {
        parts.uri = uri;
    }
}

/// A body that breaks off where its sender keeps silent for too long.
struct Patient {
    body: Body,
    patience: Option<Patience>,
}

impl HttpBody for Patient {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.patience = None;
            return polled;
        }
        let waiting = self.patience.get_or_insert_with(|| patience(PIECE_PATIENCE));
        waiting.as_mut().poll(context).map(|_| {
            Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn serve(State(endpoint): State<Endpoint>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = Body::new(Patient { body, patience: None });
    if let Some(operation) = sqs_operation(&parts.headers) {
        let host = host(&parts).unwrap_or("localhost").to_owned();
        let asked =
            sqs::Asked { operation: operation.to_owned(), host, region: region(&parts.headers) };
        return match Limited::new(body, MAX_SQS_REQUEST).collect().await {
            Ok(body) => {
                sqs::answer(&endpoint.store, &asked, &body.to_bytes()).await.map(Body::from)
            }
            Err(error) => {
                sqs::unread(error.downcast_ref::<LengthLimitError>().is_some()).map(Body::from)
            }
        };
    }
    if is_query_protocol(&parts.method, &parts.headers) {
        return sqs::query_protocol().map(Body::from);
    }
    bucket_into_path(&mut parts);
    unsign(&mut parts);
    let body = match chunked(&mut parts) {
        None => body,
        Some((length, trailers)) => {
            Body::from_stream(decoded(body, Chunked::new(length, trailers)))
        }
    };
    let broken = Arc::new(AtomicBool::new(false));
    let noting = broken.clone();
    let body = body.map_err(move |error| {
        noting.store(true, Ordering::Relaxed);
        error
    });
    match endpoint
        .s3
        .call(http::Request::from_parts(parts, s3s::Body::http_body_unsync(body)))
        .await
    {
        // s3s takes a body that breaks off for a fault of ours.
        Ok(answer) if answer.status().is_server_error() && broken.load(Ordering::Relaxed) => {
            incomplete()
        }
        Ok(answer) => answer.map(Body::new),
        Err(_) => failed(Body::empty()),
    }
}

fn incomplete() -> Response {
    let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>IncompleteBody</Code><Message>The body ended early, or is not what its headers say.</Message></Error>";
    let mut response = Response::new(Body::from(xml));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// `SendMessage`, where the request is for SQS.
fn sqs_operation(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-amz-target")?.to_str().ok()?.strip_prefix("AmazonSQS.")
}

/// SQS as it was spoken until 2023: `Action=SendMessage&…`.
fn is_query_protocol(method: &Method, headers: &HeaderMap) -> bool {
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    method == Method::POST && form
}

/// The region that a request was signed for: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn region(headers: &HeaderMap) -> String {
    let named = || {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let region = authorization.split_once("Credential=")?.1.split('/').nth(2)?;
        let is_one = !region.is_empty()
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        is_one.then(|| region.to_owned())
    };
    named().unwrap_or_else(|| "us-east-1".into())
}

/// By a header, or as a presigned URL of version 4 or 2.
fn is_signed(parts: &http::request::Parts) -> bool {
    let authorization =
        parts.headers.get(header::AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    let query = parts.uri.query().unwrap_or_default();
    let given = |name: &str| {
        query.split('&').any(|pair| {
            pair.split_once('=').is_some_and(|(known, value)| known == name && !value.is_empty())
        })
    };
    let by_header = [&b"AWS4-HMAC-SHA256 "[..], b"AWS4-ECDSA-P256-SHA256 ", b"AWS "]
        .iter()
        .any(|scheme| authorization.starts_with(scheme));
    by_header
        || (given("X-Amz-Signature") && given("X-Amz-Credential"))
        || (given("Signature") && given("AWSAccessKeyId"))
}

/// Every browser says of its requests where they come from. Source: W3C, "Fetch Metadata Request
/// Headers".
fn is_from_a_browser(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

/// Takes the signature off, but for what it says of the body.
fn unsign(parts: &mut http::request::Parts) {
    // A signature isn't verified, so a link's may be made up.
    if is_signed(parts) && !is_from_a_browser(&parts.headers) {
        parts.extensions.insert(Signed);
    }
    parts.headers.remove(header::AUTHORIZATION);
    if let Some(query) = parts.uri.query()
        && SIGNATURE.iter().any(|name| query.contains(name))
    {
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| !SIGNATURE.contains(&pair.split('=').next().unwrap_or_default()))
            .collect();
        let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
        if let Ok(uri) = format!("{}{query}", parts.uri.path()).parse::<Uri>() {
            parts.uri = uri;
        }
    }
    let hash = parts.headers.get("x-amz-content-sha256").and_then(|value| unhex(value.as_bytes()));
    if let Some(hash) = hash {
        parts.extensions.insert(PayloadHash(hash));
    }
}

fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// The decoded length of a body in `aws-chunked`, where it is one; the headers then are those of
/// the body inside.
fn chunked(parts: &mut http::request::Parts) -> Option<(Option<u64>, Trailers)> {
    let headers = &mut parts.headers;
    let streaming = headers
        .get("x-amz-content-sha256")
        .is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"));
    let codings = headers
        .get(header::CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let is_coded = |coding: &&str| coding.trim().eq_ignore_ascii_case("aws-chunked");
    if !streaming && !codings.split(',').any(|coding| is_coded(&coding)) {
        return None;
    }
    let others: Vec<&str> = codings
        .split(',')
        .filter(|coding| !is_coded(coding))
        .map(str::trim)
        .filter(|c| !c.is_empty())
        .collect();
    headers.remove(header::CONTENT_ENCODING);
    if let Ok(value) = HeaderValue::from_str(&others.join(", "))
        && !others.is_empty()
    {
        headers.insert(header::CONTENT_ENCODING, value);
    }
    const DECODED: HeaderName = HeaderName::from_static("x-amz-decoded-content-length");
    headers.remove(header::CONTENT_LENGTH);
    let length = headers.remove(DECODED);
    let number = length.as_ref().and_then(|value| value.to_str().ok()?.parse().ok());
    if let (Some(length), Some(_)) = (length, number) {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    let trailers = Trailers::default();
    parts.extensions.insert(trailers.clone());
    Some((number, trailers))
}

/// A body that is not `aws-chunked`, though it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunks(&'static str);

impl fmt::Display for BadChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the aws-chunked body is broken: {}", self.0)
    }
}

impl Error for BadChunks {}

type StreamError = Box<dyn Error + Send + Sync>;

fn decoded(
    body: Body,
    chunked: Chunked,
) -> impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    let pieces = stream::try_unfold(
        (body.into_data_stream(), Some(chunked)),
        |(mut body, chunked)| async move {
            let Some(mut chunked) = chunked else { return Ok(None) };
            match body.next().await {
                Some(piece) => {
                    let data = chunked.push(piece?)?;
                    Ok(Some((data, (body, Some(chunked)))))
                }
                None => {
                    chunked.finish()?;
                    Ok::<_, StreamError>(Some((Vec::new(), (body, None))))
                }
            }
        },
    );
    pieces.flat_map(|data| match data {
        Ok(data) => stream::iter(data.into_iter().map(Ok).collect::<Vec<_>>()),
        Err(error) => stream::iter(vec![Err(error)]),
    })
}

/// Reads `<hex size>[;chunk-signature=…]CRLF<data>CRLF…0…CRLF[<trailer>CRLF…]CRLF`.
/// Source: the S3 API reference, "Transferring Payload in Multiple Chunks".
pub struct Chunked {
    buffer: BytesMut,
    at: At,
    length: u64,
    expected: Option<u64>,
    trailers: Trailers,
}

enum At {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Chunked {
    pub fn new(expected: Option<u64>, trailers: Trailers) -> Self {
        Self { buffer: BytesMut::new(), at: At::Size, length: 0, expected, trailers }
    }

    /// The data in this piece.
    pub fn push(&mut self, piece: Bytes) -> Result<Vec<Bytes>, BadChunks> {
        self.buffer.extend_from_slice(&piece);
        let mut data = Vec::new();
        loop {
            match self.at {
                At::Size => {
                    let Some(line) = self.line(MAX_LINE)? else { break };
                    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                    let digits =
                        std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
                    let size =
                        digits.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
                    match size.ok_or(BadChunks("a chunk has no size"))? {
                        0 => self.at = At::Trailers,
                        size => self.at = At::Data(size),
                    }
                }
                At::Data(left) => {
                    if self.buffer.is_empty() {
                        break;
                    }
                    let size = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    data.push(self.buffer.split_to(size).freeze());
                    self.length += size as u64;
                    self.at = if left == size as u64 {
                        At::DataEnd
                    } else {
                        At::Data(left - size as u64)
                    };
                }
                At::DataEnd => match self.buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        self.buffer.advance(2);
                        self.at = At::Size;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(BadChunks("a chunk is longer than its size")),
                },
                At::Trailers => {
                    if self.buffer.len() > MAX_TRAILERS {
                        return Err(BadChunks("its trailers are too long"));
                    }
                    break;
                }
            }
        }
        Ok(data)
    }

    fn line(&mut self, limit: usize) -> Result<Option<Bytes>, BadChunks> {
        match memchr::memchr(b'\n', &self.buffer) {
            Some(end) if end < limit => {
                let line = self.buffer.split_to(end + 1).freeze();
                Ok(Some(line.slice(..line.len() - if line.ends_with(b"\r\n") { 2 } else { 1 })))
            }
            None if self.buffer.len() < limit => Ok(None),
            _ => Err(BadChunks("a chunk's first line is too long")),
        }
    }

    /// There is nothing more: was it all?
    pub fn finish(self) -> Result<(), BadChunks> {
        if !matches!(self.at, At::Trailers) {
            return Err(BadChunks("its last chunk is missing"));
        }
        if self.expected.is_some_and(|expected| expected != self.length) {
            return Err(BadChunks("it has another length than x-amz-decoded-content-length says"));
        }
        let mut trailers = self.trailers.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(&self.buffer).lines() {
            if let Some((name, value)) = line.split_once(':') {
                trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(
        body: &str,
        piece: usize,
        expected: Option<u64>,
    ) -> Result<(String, Vec<(String, String)>), BadChunks> {
        let trailers = Trailers::default();
        let mut chunked = Chunked::new(expected, trailers.clone());
        let mut data = Vec::new();
        for bytes in body.as_bytes().chunks(piece) {
            data.extend(chunked.push(Bytes::copy_from_slice(bytes))?);
        }
        chunked.finish()?;
        Ok((String::from_utf8(data.concat()).expect("the test's data are text"), trailers.take()))
    }

    #[test]
    fn a_chunked_body_is_the_same_in_whatever_pieces_it_comes() {
        let signed = "5;chunk-signature=aa\r\nhello\r\n1;chunk-signature=bb\r\n!\r\n0;chunk-signature=cc\r\n\r\n";
        let trailing = "6\r\nhello!\r\n0\r\nx-amz-checksum-crc32:abcd==\r\nX-Other: 1\r\n\r\n";
        for piece in 1..trailing.len() + 1 {
            assert_eq!(decode(signed, piece, Some(6)), Ok(("hello!".into(), vec![])));
            let trailers = vec![
                ("x-amz-checksum-crc32".into(), "abcd==".into()),
                ("x-other".into(), "1".into()),
            ];
            assert_eq!(decode(trailing, piece, None), Ok(("hello!".into(), trailers)));
        }
    }

    #[test]
    fn a_chunked_body_that_is_cut_off_or_lies_is_refused() {
        let whole = "5\r\nhello\r\n0\r\n\r\n";
        for end in 0.."5\r\nhello\r\n0\r\n".len() {
            assert!(decode(&whole[..end], 3, None).is_err(), "{:?}", &whole[..end]);
        }
        assert_eq!(
            decode(whole, 4, Some(6)),
            Err(BadChunks("it has another length than x-amz-decoded-content-length says"))
        );
        assert_eq!(
            decode("4\r\nhello\r\n0\r\n\r\n", 4, None),
            Err(BadChunks("a chunk is longer than its size"))
        );
        assert_eq!(decode("zz\r\n", 4, None), Err(BadChunks("a chunk has no size")));
        assert_eq!(decode("fffffffffffffffff\r\n", 4, None), Err(BadChunks("a chunk has no size")));
        assert_eq!(
            decode(&"1".repeat(5000), 100, None),
            Err(BadChunks("a chunk's first line is too long"))
        );
    }
}
