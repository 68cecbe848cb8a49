//! Requests to a stage's own URLs, for the probe that ends a deploy and for samples, and to a
//! running `routeto dev`. They go through the proxy that the environment names, as the SDK's calls
//! do.

use super::wait::real;
use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo},
};
use rustls::{ClientConfig, crypto::aws_lc_rs};
use std::{fmt, net::IpAddr, sync::Arc, time::Duration};
use tokio::net::TcpStream;

/// Bytes of an answer that are read at most: ours are short.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long an answer may take; the gateway's own limit is 29 s.
const PATIENCE: Duration = Duration::from_secs(30);

type Direct = HttpsConnector<HttpConnector>;

pub struct Http {
    tls: Arc<ClientConfig>,
    direct: Client<Direct, Full<Bytes>>,
    proxies: Matcher,
}

/// A proxy that plain HTTP can't go through. Trying again doesn't help.
#[derive(Debug)]
pub struct WrongProxy;

impl std::error::Error for WrongProxy {}

impl fmt::Display for WrongProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an http:// URL is only sent through an http:// proxy: change HTTP_PROXY, or name the URL's host in NO_PROXY")
    }
}

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
    /// With `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` as the SDK reads them.
    ///
    /// # Errors
    /// When the system's trust roots can't be read.
    pub fn new() -> Result<Http> {
        Http::through(Matcher::from_env())
    }

    fn through(proxies: Matcher) -> Result<Http> {
        // Named, since the function's library brings a second one (ring) into the same program.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_native_roots()
            .context("the system's certificates can't be read")?
            .with_no_client_auth();
        let direct = Client::builder(TokioExecutor::new()).build(connector(&tls));
        Ok(Http { tls: Arc::new(tls), direct, proxies })
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
    pub async fn get(&self, url: &str, headers: &[(&str, &str)], longest: usize) -> Result<Answer> {
        let mut request = Request::builder().method(Method::GET).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default())?, longest).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, longest: usize) -> Result<Answer> {
        let exchange = async {
            let response = self.exchange(request).await?;
            let status = response.status().as_u16();
            let retry_after = response
                .headers()
                .get(header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok()?.parse().ok());
            let error_type = response
                .headers()
                .get("x-amzn-errortype")
                .and_then(|value| Some(value.to_str().ok()?.to_owned()));
            let body = Limited::new(response.into_body(), longest)
                .collect()
                .await
                .map_err(|error| anyhow!(error))?;
            Ok(Answer {
                status,
                retry_after: retry_after.map(Duration::from_secs),
                error_type,
                body: body.to_bytes().to_vec(),
            })
        };
        // As for calls: a test's emulator takes its time.
        tokio::time::timeout(real(PATIENCE).max(Duration::from_secs(5)), exchange)
            .await
            .context("no answer in 30 s")?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let uri = request.uri();
        let Some(proxy) = self.proxies.intercept(uri).filter(|_| !is_this_machine(uri)) else {
            return Ok(self.direct.request(request).await?);
        };
        let answer = match uri.scheme_str() {
            Some("https") => self.tunnel(&proxy, request).await,
            _ => forward(&proxy, request).await,
        };
        answer.with_context(|| format!("through the proxy {}", proxy.uri()))
    }

    /// HTTPS through a proxy, which may be HTTPS itself. A probe is a handful of requests: each may
    /// have a connection of its own.
    async fn tunnel(
        &self,
        proxy: &Intercept,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector(&self.tls));
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let connector = HttpsConnector::from((tunnel, Arc::clone(&self.tls)));
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
        Ok(client.request(request).await?)
    }
}

fn connector(tls: &ClientConfig) -> Direct {
    HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1().build()
}

/// No proxy reaches this machine's own ports, so none is asked, whatever `NO_PROXY` says.
fn is_this_machine(uri: &Uri) -> bool {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Plain HTTP through a proxy: it gets the whole URL. Source: RFC 9112, section 3.2.2,
/// absolute-form.
///
/// To a proxy of another kind (`https://`, `socks5://`) it would be clear text at the wrong port, and no
/// answer would come.
async fn forward(
    proxy: &Intercept,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    if proxy.uri().scheme_str() != Some("http") {
        return Err(WrongProxy.into());
    }
    let host = proxy.uri().host().context("it has no host")?;
    let stream =
        TcpStream::connect((host.trim_matches(['[', ']']), proxy.uri().port_u16().unwrap_or(80)))
            .await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer's body.
    tokio::spawn(connection);
    let target = request.uri().authority().context("the URL has no host")?.as_str().parse()?;
    request.headers_mut().insert(header::HOST, target);
    if let Some(auth) = proxy.basic_auth() {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, auth.clone());
    }
    Ok(sender.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    /// Takes one connection, answers it, and tells what it was asked.
    async fn server(answer: &'static str) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = vec![];
            while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut asked).await.expect("it sends its head") == 0 {
                    break;
                }
            }
            stream.write_all(answer.as_bytes()).await.expect("it hears the answer");
            String::from_utf8_lossy(&asked).into_owned()
        });
        (address, served)
    }

    /// What the server was asked. Where it wasn't asked, the test ends instead of waiting forever.
    async fn heard(asked: JoinHandle<String>) -> String {
        let heard = tokio::time::timeout(Duration::from_secs(10), asked).await;
        heard.expect("the server was asked").expect("it doesn't panic")
    }

    const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine";

    #[tokio::test]
    async fn https_goes_through_the_proxy_by_connect_with_the_proxys_credentials() {
        let (address, asked) = server("HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
        let proxies = Matcher::builder().https(format!("http://me:secret@{address}")).build();
        let url = "https://abc123.execute-api.us-east-1.amazonaws.com/prod/input";
        let error = Http::through(proxies)
            .expect("it builds")
            .post(url, &[], b"{}")
            .await
            .expect_err("a proxy that refuses");
        let asked = heard(asked).await;
        let mut lines = asked.lines();
        assert_eq!(
            lines.next(),
            Some("CONNECT abc123.execute-api.us-east-1.amazonaws.com:443 HTTP/1.1")
        );
        assert!(lines.any(|line| line == "Proxy-Authorization: Basic bWU6c2VjcmV0"), "{asked}");
        let error = format!("{error:#}");
        assert!(error.contains(&format!("through the proxy http://{address}/")), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn http_goes_to_the_proxy_with_the_whole_url() {
        let (address, asked) = server(FINE).await;
        let proxies = Matcher::builder().all(format!("http://{address}")).build();
        let http = Http::through(proxies).expect("it builds");
        let answer = http
            .post("http://emulator.test:4566/prod/input", &[("x-routeto-probe", "1")], b"{}")
            .await;
        assert_eq!(answer.expect("an answer").body, b"fine");
        let asked = heard(asked).await;
        let asked = asked.to_ascii_lowercase();
        assert!(
            asked.starts_with("post http://emulator.test:4566/prod/input http/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("\r\nhost: emulator.test:4566\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn http_is_not_sent_to_a_proxy_of_another_kind() {
        for scheme in ["https", "socks5"] {
            // Were it asked, it would answer.
            let (address, asked) = server(FINE).await;
            let proxies = Matcher::builder().all(format!("{scheme}://{address}")).build();
            let http = Http::through(proxies).expect("it builds");
            let error = http
                .post("http://emulator.test:4566/x", &[], b"{}")
                .await
                .expect_err("the wrong kind");
            assert!(error.downcast_ref::<WrongProxy>().is_some(), "{error:#}");
            assert!(
                format!("{error:#}").contains("only sent through an http:// proxy"),
                "{error:#}"
            );
            asked.abort();
        }
    }

    #[tokio::test]
    async fn this_machine_is_reached_without_the_proxy() {
        let (address, asked) = server(FINE).await;
        let (proxy, _refuses) =
            server("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
        let http = Http::through(Matcher::builder().all(format!("http://{proxy}")).build())
            .expect("it builds");
        assert_eq!(
            http.get(&format!("http://{address}/x"), &[], 100).await.expect("an answer").status,
            200
        );
        assert!(heard(asked).await.starts_with("GET /x "));
        let all = [
            "http://localhost:3000/",
            "http://x.localhost/",
            "http://127.8.0.1/",
            "http://[::1]:3000/",
            "https://LOCALHOST/",
        ];
        for url in all {
            assert!(is_this_machine(&Uri::from_static(url)), "{url}");
        }
        for url in ["http://[::2]/", "http://10.0.0.1/", "http://localhost.example.com/"] {
            assert!(!is_this_machine(&Uri::from_static(url)), "{url}");
        }
    }

    #[test]
    fn what_no_proxy_names_is_reached_without_it() {
        let proxies = Matcher::builder().all("http://192.0.2.1:9").no("amazonaws.com").build();
        let through = |url: &'static str| proxies.intercept(&Uri::from_static(url)).is_some();
        assert!(!through("https://abc.execute-api.us-east-1.amazonaws.com/x"));
        assert!(through("https://abc.execute-api.cn-north-1.amazonaws.com.cn/x"));
    }
}
