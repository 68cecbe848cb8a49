//! Requests as webhook providers make them, byte for byte, and hostile ones that no library would
//! send.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{} has no JSON ({e}): {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn agent() -> &'static ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .max_redirects(0)
            // The emulator closes idle connections after five seconds, which may be while a request
            // is being sent.
            .max_idle_connections(0)
            .build()
            .into()
    })
}

fn answer(response: ureq::http::Response<ureq::Body>) -> Result<Answer, String> {
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
        .collect();
    let body = response
        .into_body()
        .with_config()
        .limit(64 << 20)
        .read_to_vec()
        .map_err(|e| e.to_string())?;
    Ok(Answer { status, headers, body })
}

pub fn get(url: &str) -> Result<Answer, String> {
    get_with(url, &[])
}

pub fn get_with(url: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    let request = headers
        .iter()
        .fold(agent().get(url), |request, (name, value)| request.header(*name, *value));
    request.call().map_err(|e| e.to_string()).and_then(answer)
}

/// POSTs exactly these bytes. Panics where the connection fails: an answer of any status is what a
/// test looks at.
pub fn post(url: &str, content_type: &str, body: &[u8]) -> Answer {
    post_with(url, &[("content-type", content_type)], body)
}

/// POSTs exactly these bytes with exactly these headers (and Host, Content-Length, User-Agent and
/// Accept).
pub fn post_with(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let request = headers
        .iter()
        .fold(agent().post(url), |request, (name, value)| request.header(*name, *value));
    request
        .send(body)
        .map_err(|e| e.to_string())
        .and_then(answer)
        .unwrap_or_else(|problem| panic!("POST {url}: {problem}"))
}

/// `?name=value&…`, every byte but the unreserved ones percent-encoded.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(byte.into())
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    pairs.iter().enumerate().fold(String::new(), |out, (i, (name, value))| {
        format!("{out}{}{}={}", if i == 0 { '?' } else { '&' }, encode(name), encode(value))
    })
}

/// A request written by hand onto a TCP connection: what is sent is what is in here, valid HTTP or
/// not.
#[derive(Clone, Debug)]
pub struct Raw {
    pub method: String,
    /// As it stands in the request line, query string included.
    pub target: String,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Raw {
    /// A POST to this URL with nothing else in it.
    pub fn post(url: &str) -> Self {
        let rest = url.strip_prefix("http://").expect("the emulator has no TLS");
        let (host, path) = rest.split_once('/').expect("a URL with a path");
        let headers = vec![(b"Host".to_vec(), host.as_bytes().to_vec())];
        Raw { method: "POST".into(), target: format!("/{path}"), headers, body: Vec::new() }
    }

    /// Text behind the path, as it is.
    #[must_use]
    pub fn query(mut self, raw: &str) -> Self {
        self.target.push_str(raw);
        self
    }

    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// `None` where the server closes the connection without an answer.
    pub fn send(&self) -> Option<Answer> {
        let host = self
            .headers
            .iter()
            .find(|(n, _)| n == b"Host")
            .map(|(_, v)| String::from_utf8_lossy(v).into_owned())?;
        let mut stream = TcpStream::connect(&host).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(40))).ok()?;
        let mut request = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            request.extend_from_slice(name);
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(
            format!("Content-Length: {}\r\nConnection: close\r\n\r\n", self.body.len()).as_bytes(),
        );
        request.extend_from_slice(&self.body);
        stream.write_all(&request).ok()?;
        let mut bytes = Vec::new();
        // a server that refuses a request early may reset the connection behind its answer
        let _ = stream.read_to_end(&mut bytes);
        parse(&bytes)
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v.contains("chunked"));
    let body = if chunked { dechunk(rest) } else { rest.to_vec() };
    Some(Answer { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|s| usize::from_str_radix(s.split(';').next()?.trim(), 16).ok());
        let Some(size @ 1..) = size else { break };
        let data = &rest[end + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        rest = data.get(size + 2..).unwrap_or_default();
    }
    body
}
