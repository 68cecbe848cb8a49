//! Who may talk to the inspector and to the local S3 and SQS: see the parent module's doc. Refuses
//! with a status and plain words; changes nothing.

use super::{ROOT, door, failure};
use crate::observed::Secret;
use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use routeto_function::token::{self, Verdict};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// No form and no simple request of another site can carry it.
pub const OURS: &str = "x-routeto-inspector";
/// How another command shows the key: `routeto tail`, `routeto test`.
pub const KEY: &str = "x-routeto-key";

const NO_KEY: &str = "the inspector needs its key: open the address that `routeto dev` printed when it started \
                      (it is in .routeto/dev.json, too)";

/// Names beside `localhost` that a Host header may have: those of `--allow-host`.
///
/// A website can point a name of its own at this machine (DNS rebinding), and its scripts then read
/// what is served here. An address that is written out can't be pointed anywhere, so every address
/// is let in.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<[String]>);

impl Names {
    pub fn new(names: &[String]) -> Names {
        Names(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// `127.0.0.1`, `[::1]`, `localhost` or one of the names, with a port or without.
    fn allow(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else { return false };
        is_address(name) || name.eq_ignore_ascii_case("localhost") || self.has(name)
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

/// What opens the inspector.
#[derive(Clone)]
pub struct Entry {
    /// The address that dev listens on, which may be one of this machine's others.
    pub bound: IpAddr,
    pub port: u16,
    pub names: Names,
    /// Of this run; the printed URL has it.
    pub key: Secret,
}

impl Entry {
    /// Compares in constant time.
    pub fn is_key(&self, given: &[u8]) -> bool {
        token::check(given, self.key.0.as_bytes(), 0) == Verdict::Right
    }

    /// Cookies don't know ports: another `dev` of this machine has one of its own.
    fn cookie(&self) -> String {
        format!("routeto-{}", self.port)
    }

    /// Given once, it opens the page for as long as the browser runs.
    pub fn set_cookie(&self) -> Option<HeaderValue> {
        let (name, key) = (self.cookie(), &self.key.0);
        HeaderValue::try_from(format!("{name}={key}; Path={ROOT}; HttpOnly; SameSite=Strict")).ok()
    }

    fn has_key(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie();
        let cookies =
            headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let in_cookie = pairs.any(|(known, key)| known == name && self.is_key(key.as_bytes()));
        in_cookie || headers.get(KEY).is_some_and(|key| self.is_key(key.as_bytes()))
    }
}

pub(super) async fn guard(entry: Arc<Entry>, request: Request, next: Next) -> Response {
    let peer =
        request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    // Within the nest the path lacks its root.
    let path = request.uri().path();
    let path = path.strip_prefix(ROOT).unwrap_or(path);
    let page = matches!(path, "" | "/");
    if let Err((status, what)) =
        check(&entry, request.method(), request.headers(), host(&request), peer, page)
    {
        return failure(status, what);
    }
    // What the way in is made of holds nothing of anybody.
    let open = matches!(path, "/door.js" | "/page.css" | "/api/key");
    if open || entry.has_key(request.headers()) {
        return next.run(request).await;
    }
    if page { door() } else { failure(StatusCode::FORBIDDEN, NO_KEY) }
}

fn check(
    entry: &Entry,
    method: &Method,
    headers: &HeaderMap,
    host: Option<&str>,
    peer: Option<IpAddr>,
    page: bool,
) -> Result<(), (StatusCode, &'static str)> {
    let own = |ip: IpAddr| ip.to_canonical().is_loopback() || ip == entry.bound;
    if !peer.is_some_and(own) {
        return Err((StatusCode::FORBIDDEN, "the inspector answers only this machine"));
    }
    let Some(host) = host.filter(|host| entry.names.allow(host) && !names_several(headers)) else {
        let what =
            "the inspector answers to an address, localhost, and the names that --allow-host gives";
        return Err((StatusCode::MISDIRECTED_REQUEST, what));
    };
    if headers.keys().any(|name| {
        name == header::FORWARDED
            || name.as_str().starts_with("x-forwarded-")
            || name == header::VIA
    }) {
        return Err((
            StatusCode::FORBIDDEN,
            "this came through a proxy; the inspector answers only this machine",
        ));
    }
    let origin_is_ours =
        |origin: &str| origin == format!("http://{host}") || origin == format!("https://{host}");
    // A link from elsewhere may open the page itself; nothing but the page asks for the rest. Older
    // browsers don't say where a request is from.
    let site = text(headers, "sec-fetch-site").unwrap_or("same-origin");
    let opens_page = page && text(headers, "sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    if site != "same-origin" && !(method == Method::GET && (site == "none" || opens_page)) {
        return Err((StatusCode::FORBIDDEN, "this came from another site"));
    }
    if headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(origin_is_ours))
    {
        return Err((StatusCode::FORBIDDEN, "this came from another site"));
    }
    if method != Method::GET
        && method != Method::HEAD
        && (!headers.contains_key(header::ORIGIN) || !headers.contains_key(OURS))
    {
        return Err((StatusCode::FORBIDDEN, "this takes the page's own requests only"));
    }
    Ok(())
}

/// What every answer of the local S3 and SQS has: a record that a browser opens runs nothing and is
/// read by no page.
const SHUT: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, "sandbox"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Keeps web pages out of a server that asks for no credentials: no browser's request of another
/// origin or site, and no name of a site that was pointed to this machine. Clients of S3 and SQS
/// name an address, `localhost`, or a bucket before it, and no origin.
pub fn no_websites(router: axum::Router, names: Names) -> axum::Router {
    let check = move |request: Request, next: Next| {
        let refused = website(&names, &request);
        async move {
            let mut response = match refused {
                Some((status, what)) => failure(status, what),
                None => next.run(request).await,
            };
            for (name, value) in SHUT {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    };
    router.layer(axum::middleware::from_fn(check))
}

/// Why a request is not a client's of S3 or SQS.
fn website(names: &Names, request: &Request) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    let of_bucket = |host: &str| {
        name_of(host).is_some_and(|name| name.to_ascii_lowercase().ends_with(".localhost"))
    };
    let here = host(request).is_some_and(|host| names.allow(host) || of_bucket(host))
        && !names_several(headers);
    if !here || headers.contains_key(header::ORIGIN) {
        let what = "the local S3 and SQS answer no web page, and only to an address, localhost, and the names that --allow-host gives";
        return Some((StatusCode::MISDIRECTED_REQUEST, what));
    }
    // Links, images and GETs carry no Origin; browsers say with this where they come from. `none`
    // is what a person types.
    let site = text(headers, "sec-fetch-site");
    let what = "this came from a website; the local S3 and SQS answer no web page";
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
        .then_some((StatusCode::FORBIDDEN, what))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// HTTP/2 has its host in the URI. `None` where there is none, or where URI and header differ.
fn host(request: &Request) -> Option<&str> {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    match (authority, text(request.headers(), header::HOST.as_str())) {
        (Some(authority), Some(header)) if !authority.eq_ignore_ascii_case(header) => None,
        (authority, header) => authority.or(header),
    }
}

fn names_several(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().nth(1).is_some()
}

/// The name of a Host header; `None` where it is no name, or its port no port.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    ((is_name || is_address(name)) && port.is_none_or(is_port)).then_some(name)
}

/// An IPv6 address is in brackets.
fn is_address(name: &str) -> bool {
    match name.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn on_an_address_of_this_machine_that_was_asked_for_it_answers_this_machine_too() {
        let bound = entry("192.0.2.2");
        let at = |host: &str, peer: &str| {
            check(&bound, &Method::GET, &headers(&[]), Some(host), peer.parse().ok(), true)
                .map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(
            (at("192.0.2.2:3000", "192.0.2.2"), at("192.0.2.2:3000", "192.0.2.7")),
            (Ok(()), Err(403))
        );
        // An address that is written out is no name that a website could point to this machine.
        assert_eq!(
            (at("192.0.2.3:3000", "192.0.2.2"), at("here.example:3000", "192.0.2.2")),
            (Ok(()), Err(421))
        );
        let all = |peer: &str| {
            let any = entry("0.0.0.0");
            check(&any, &Method::GET, &headers(&[]), Some("0.0.0.0:3000"), peer.parse().ok(), true)
                .map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(all("192.0.2.7"), Err(403));
    }

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const HERE: Option<IpAddr> = Some(LOOPBACK);

    fn entry(bound: &str) -> Entry {
        let bound = bound.parse().expect("an address");
        Entry {
            bound,
            port: 3000,
            names: Names::default(),
            key: Secret("the-key-of-this-run-12".into()),
        }
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    fn status(method: Method, host: &str, list: &[(&'static str, &'static str)]) -> u16 {
        check(&entry("127.0.0.1"), &method, &headers(list), Some(host), HERE, false)
            .map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn addresses_localhost_and_allowed_names_are_a_host_and_nothing_else() {
        let names = Names::new(&["Hooks.Test".to_owned()]);
        let good = [
            "127.0.0.1",
            "127.0.0.1:3000",
            "localhost",
            "LocalHost:80",
            "[::1]",
            "[::1]:3000",
            "[::2]:3000",
            "0.0.0.0:3000",
        ];
        for host in
            good.into_iter().chain(["127.0.0.2", "192.0.2.7:1", "hooks.test", "HOOKS.test:3000"])
        {
            assert!(names.allow(host), "{host}");
        }
        let others = [
            "",
            ":3000",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:3000",
            "127.0.0.1:",
            "127.0.0.1:abc",
            "127.0.0.1:+80",
            "127.0.0.1:65536",
            "127.0.0.1:80@example.com",
            "example.com:127.0.0.1",
            "user@localhost",
            "user@hooks.test",
            "hooks.test:80@evil.example",
            "a.hooks.test",
            "::1",
            "[::1].example.com",
            "[127.0.0.1]",
            "[::1]:",
            "localhost.",
            "2130706433",
            "127.1",
        ];
        for other in others {
            assert!(!names.allow(other), "{other}");
        }
        assert!(!Names::default().allow("hooks.test"));
    }

    #[test]
    fn the_key_opens_as_a_cookie_of_this_port_or_as_a_header() {
        let entry = entry("127.0.0.1");
        let key = "the-key-of-this-run-12";
        assert_eq!(
            entry.set_cookie().expect("a header"),
            "routeto-3000=the-key-of-this-run-12; Path=/_routeto; HttpOnly; SameSite=Strict"
        );
        for (name, value, opens) in [
            ("cookie", "routeto-3000=the-key-of-this-run-12", true),
            ("cookie", "a=b; routeto-3000=old;routeto-3000=the-key-of-this-run-12; c", true),
            ("cookie", "routeto-3001=the-key-of-this-run-12", false),
            ("cookie", "routeto-3000=the-key-of-this-run-1", false),
            ("cookie", "routeto-3000=", false),
            (KEY, key, true),
            (KEY, "", false),
            (KEY, "the-key-of-this-run-13", false),
            ("authorization", key, false),
        ] {
            assert_eq!(entry.has_key(&headers(&[(name, value)])), opens, "{name}: {value}");
        }
    }

    #[test]
    fn the_local_s3_and_sqs_are_shut_to_websites_and_open_to_clients() {
        let names = Names::new(&["store.test".to_owned()]);
        let ask = |host: &'static str, list: &[(&'static str, &'static str)]| {
            let mut request = Request::new(axum::body::Body::empty());
            *request.headers_mut() = headers(list);
            request.headers_mut().append(header::HOST, HeaderValue::from_static(host));
            website(&names, &request).map_or(200, |(status, _)| status.as_u16())
        };
        for host in [
            "127.0.0.1:3001",
            "[::1]:3001",
            "192.0.2.2:3001",
            "localhost",
            "hooks-dev.localhost:3001",
            "store.test:3001",
        ] {
            assert_eq!(ask(host, &[]), 200, "{host}");
        }
        for host in [
            "evil.example:3001",
            "127.0.0.1:3140@evil",
            "127.0.0.1:",
            "127.0.0.1:abc",
            "x@y.localhost",
            "a.localhost:",
            ".localhost.",
        ] {
            assert_eq!(ask(host, &[]), 421, "{host}");
        }
        let site = |site: &'static str| ask("127.0.0.1:3001", &[("sec-fetch-site", site)]);
        assert_eq!(
            ["cross-site", "same-site", "same-origin", "none"].map(site),
            [403, 403, 200, 200]
        );
        assert_eq!(ask("127.0.0.1:3001", &[("origin", "null")]), 421);
        assert_eq!(ask("127.0.0.1:3001", &[("host", "evil.example")]), 421);
    }

    #[test]
    fn a_website_that_rebinds_its_name_gets_nothing() {
        assert_eq!(
            status(Method::GET, "evil.example:3000", &[("sec-fetch-site", "same-origin")]),
            421
        );
        assert_eq!(
            check(&entry("127.0.0.1"), &Method::GET, &headers(&[]), None, HERE, true)
                .map_err(|(status, _)| status.as_u16()),
            Err(421)
        );
        let mut two = headers(&[("host", "localhost:3000")]);
        two.append("host", HeaderValue::from_static("evil.example"));
        assert_eq!(
            check(&entry("127.0.0.1"), &Method::GET, &two, Some("localhost:3000"), HERE, true)
                .map_err(|(status, _)| status.as_u16()),
            Err(421)
        );
    }

    #[test]
    fn another_machine_a_proxy_and_a_peer_that_is_not_known_get_nothing() {
        let far = "192.0.2.7".parse().ok();
        for peer in [far, None] {
            assert_eq!(
                check(
                    &entry("127.0.0.1"),
                    &Method::GET,
                    &headers(&[]),
                    Some("localhost"),
                    peer,
                    true
                )
                .map_err(|(status, _)| status.as_u16()),
                Err(403)
            );
        }
        let mapped = "::ffff:127.0.0.1".parse().ok();
        assert_eq!(
            check(
                &entry("127.0.0.1"),
                &Method::GET,
                &headers(&[]),
                Some("localhost"),
                mapped,
                true
            )
            .map_err(|(status, _)| status.as_u16()),
            Ok(())
        );
        for proxied in [
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "a.ngrok.app"),
            ("forwarded", "for=192.0.2.7"),
            ("via", "1.1 x"),
        ] {
            assert_eq!(status(Method::GET, "localhost:3000", &[proxied]), 403, "{proxied:?}");
        }
    }

    #[test]
    fn a_post_needs_the_pages_origin_and_its_header() {
        let origin = ("origin", "http://localhost:3000");
        let ours = (OURS, "1");
        assert_eq!(
            status(
                Method::POST,
                "localhost:3000",
                &[origin, ours, ("sec-fetch-site", "same-origin")]
            ),
            200
        );
        assert_eq!(status(Method::POST, "localhost:3000", &[origin]), 403);
        assert_eq!(status(Method::POST, "localhost:3000", &[ours]), 403);
        for other in [
            "http://localhost:3001",
            "http://127.0.0.1:3000",
            "https://evil.example",
            "null",
            "http://localhost:3000.evil.example",
        ] {
            assert_eq!(
                status(Method::POST, "localhost:3000", &[("origin", other), ours]),
                403,
                "{other}"
            );
            assert_eq!(status(Method::GET, "localhost:3000", &[("origin", other)]), 403, "{other}");
        }
        assert_eq!(
            status(
                Method::POST,
                "localhost:3000",
                &[origin, ours, ("sec-fetch-site", "same-site")]
            ),
            403
        );
        assert_eq!(status(Method::DELETE, "localhost:3000", &[]), 403);
    }

    #[test]
    fn another_site_may_link_to_the_page_and_to_nothing_else() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let say = |page| {
            check(&entry("127.0.0.1"), &Method::GET, &headers(&link), Some("localhost"), HERE, page)
                .map_err(|(status, _)| status.as_u16())
        };
        assert_eq!((say(true), say(false)), (Ok(()), Err(403)));
        let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(
            check(
                &entry("127.0.0.1"),
                &Method::GET,
                &headers(&embedded),
                Some("localhost"),
                HERE,
                true
            )
            .map_err(|(status, _)| status.as_u16()),
            Err(403)
        );
        assert_eq!(status(Method::GET, "localhost", &[("sec-fetch-site", "none")]), 200);
    }
}
