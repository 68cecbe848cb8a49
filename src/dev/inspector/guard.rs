//! Who may talk to the inspector: see the parent module's doc. Refuses with a status and plain words; changes nothing.

use super::{ROOT, failure};
use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use std::net::{IpAddr, SocketAddr};

/// No form and no simple request of another site can carry it.
pub const OURS: &str = "x-routeto-inspector";

/// `bound`: the address that dev listens on, which may be one of this machine's others.
pub(super) async fn guard(bound: IpAddr, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    // Within the nest the path lacks its root.
    let page = matches!(request.uri().path().strip_prefix(ROOT).unwrap_or(request.uri().path()), "" | "/");
    match check(bound, request.method(), request.headers(), host(&request), peer, page) {
        Ok(()) => next.run(request).await,
        Err((status, what)) => failure(status, what),
    }
}

fn check(
    bound: IpAddr,
    method: &Method,
    headers: &HeaderMap,
    host: Option<&str>,
    peer: Option<IpAddr>,
    page: bool,
) -> Result<(), (StatusCode, &'static str)> {
    let own = |ip: IpAddr| ip.to_canonical().is_loopback() || ip == bound;
    if !peer.is_some_and(own) {
        return Err((StatusCode::FORBIDDEN, "the inspector answers only this machine"));
    }
    let several = headers.get_all(header::HOST).iter().nth(1).is_some();
    // An address that is written out is no name that a website could point to this machine.
    let literal = |host: &str| split(host).0.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip == bound);
    let Some(host) = host.filter(|host| (is_local(host) || literal(host)) && !several) else {
        return Err((StatusCode::MISDIRECTED_REQUEST, "the inspector answers only at 127.0.0.1, [::1] and localhost"));
    };
    if headers.keys().any(|name| name == header::FORWARDED || name.as_str().starts_with("x-forwarded-") || name == header::VIA) {
        return Err((StatusCode::FORBIDDEN, "this came through a proxy; the inspector answers only this machine"));
    }
    let origin_is_ours = |origin: &str| origin == format!("http://{host}") || origin == format!("https://{host}");
    // A link from elsewhere may open the page itself; nothing but the page asks for the rest. Older browsers don't say where a request is from.
    let site = text(headers, "sec-fetch-site").unwrap_or("same-origin");
    let opens_page = page && text(headers, "sec-fetch-mode").is_none_or(|mode| mode == "navigate");
    if site != "same-origin" && !(method == Method::GET && (site == "none" || opens_page)) {
        return Err((StatusCode::FORBIDDEN, "this came from another site"));
    }
    if headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(origin_is_ours)) {
        return Err((StatusCode::FORBIDDEN, "this came from another site"));
    }
    if method != Method::GET && method != Method::HEAD && (!headers.contains_key(header::ORIGIN) || !headers.contains_key(OURS)) {
        return Err((StatusCode::FORBIDDEN, "this takes the page's own requests only"));
    }
    Ok(())
}

/// Keeps web pages out of a server that asks for no credentials: no browser's request of another origin, and no name of a site that was made to point
/// to this machine. Clients of S3 and SQS name an address or `localhost`, and no origin. On an address that other machines reach, names are let in.
pub fn no_websites(router: axum::Router, bound: IpAddr) -> axum::Router {
    let check = move |request: Request, next: Next| async move {
        let here = |host: &str| {
            let name = split(host).0.trim_matches(['[', ']']).to_ascii_lowercase();
            name.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
        };
        if request.headers().contains_key(header::ORIGIN) || (bound.is_loopback() && !host(&request).is_some_and(here)) {
            return failure(
                StatusCode::MISDIRECTED_REQUEST,
                "the local S3 and SQS answer no web page, and only at 127.0.0.1, [::1] and localhost",
            );
        }
        next.run(request).await
    };
    router.layer(axum::middleware::from_fn(check))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// HTTP/2 has its host in the URI.
fn host(request: &Request) -> Option<&str> {
    request.uri().authority().map(|authority| authority.as_str()).or_else(|| text(request.headers(), header::HOST.as_str()))
}

/// Name and port.
fn split(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

/// `127.0.0.1`, `[::1]` or `localhost`, with any port or none.
fn is_local(host: &str) -> bool {
    let (name, port) = split(host);
    let port_is_one = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    port_is_one && (name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn on_an_address_of_this_machine_that_was_asked_for_it_answers_this_machine_too() {
        let bound: IpAddr = "192.0.2.2".parse().expect("an address");
        let at = |host: &str, peer: &str| {
            check(bound, &Method::GET, &headers(&[]), Some(host), peer.parse().ok(), true).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!((at("192.0.2.2:3000", "192.0.2.2"), at("192.0.2.2:3000", "192.0.2.7")), (Ok(()), Err(403)));
        assert_eq!((at("192.0.2.3:3000", "192.0.2.2"), at("here.example:3000", "192.0.2.2")), (Err(421), Err(421)));
        let all = |peer: &str| {
            let any = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
            check(any, &Method::GET, &headers(&[]), Some("0.0.0.0:3000"), peer.parse().ok(), true).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(all("192.0.2.7"), Err(403));
    }

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const HERE: Option<IpAddr> = Some(LOOPBACK);

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    fn status(method: Method, host: &str, list: &[(&'static str, &'static str)]) -> u16 {
        check(LOOPBACK, &method, &headers(list), Some(host), HERE, false).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn only_this_machines_own_names_are_a_host() {
        for local in ["127.0.0.1", "127.0.0.1:3000", "localhost", "LocalHost:80", "[::1]", "[::1]:3000"] {
            assert!(is_local(local), "{local}");
        }
        let others = [
            "",
            ":3000",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com:3000",
            "127.0.0.1:",
            "127.0.0.1:80@example.com",
            "example.com:127.0.0.1",
            "user@localhost",
            "::1",
            "[::1].example.com",
            "[::2]:3000",
            "0.0.0.0:3000",
            "127.0.0.2",
            "localhost.",
        ];
        for other in others {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_website_that_rebinds_its_name_gets_nothing() {
        assert_eq!(status(Method::GET, "evil.example:3000", &[("sec-fetch-site", "same-origin")]), 421);
        assert_eq!(check(LOOPBACK, &Method::GET, &headers(&[]), None, HERE, true).map_err(|(status, _)| status.as_u16()), Err(421));
        let mut two = headers(&[("host", "localhost:3000")]);
        two.append("host", HeaderValue::from_static("evil.example"));
        assert_eq!(
            check(LOOPBACK, &Method::GET, &two, Some("localhost:3000"), HERE, true).map_err(|(status, _)| status.as_u16()),
            Err(421)
        );
    }

    #[test]
    fn another_machine_a_proxy_and_a_peer_that_is_not_known_get_nothing() {
        let far = "192.0.2.7".parse().ok();
        for peer in [far, None] {
            assert_eq!(
                check(LOOPBACK, &Method::GET, &headers(&[]), Some("localhost"), peer, true).map_err(|(status, _)| status.as_u16()),
                Err(403)
            );
        }
        let mapped = "::ffff:127.0.0.1".parse().ok();
        assert_eq!(
            check(LOOPBACK, &Method::GET, &headers(&[]), Some("localhost"), mapped, true).map_err(|(status, _)| status.as_u16()),
            Ok(())
        );
        for proxied in
            [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-host", "a.ngrok.app"), ("forwarded", "for=192.0.2.7"), ("via", "1.1 x")]
        {
            assert_eq!(status(Method::GET, "localhost:3000", &[proxied]), 403, "{proxied:?}");
        }
    }

    #[test]
    fn a_post_needs_the_pages_origin_and_its_header() {
        let origin = ("origin", "http://localhost:3000");
        let ours = (OURS, "1");
        assert_eq!(status(Method::POST, "localhost:3000", &[origin, ours, ("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(status(Method::POST, "localhost:3000", &[origin]), 403);
        assert_eq!(status(Method::POST, "localhost:3000", &[ours]), 403);
        for other in
            ["http://localhost:3001", "http://127.0.0.1:3000", "https://evil.example", "null", "http://localhost:3000.evil.example"]
        {
            assert_eq!(status(Method::POST, "localhost:3000", &[("origin", other), ours]), 403, "{other}");
            assert_eq!(status(Method::GET, "localhost:3000", &[("origin", other)]), 403, "{other}");
        }
        assert_eq!(status(Method::POST, "localhost:3000", &[origin, ours, ("sec-fetch-site", "same-site")]), 403);
        assert_eq!(status(Method::DELETE, "localhost:3000", &[]), 403);
    }

    #[test]
    fn another_site_may_link_to_the_page_and_to_nothing_else() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        let say =
            |page| check(LOOPBACK, &Method::GET, &headers(&link), Some("localhost"), HERE, page).map_err(|(status, _)| status.as_u16());
        assert_eq!((say(true), say(false)), (Ok(()), Err(403)));
        let embedded = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(
            check(LOOPBACK, &Method::GET, &headers(&embedded), Some("localhost"), HERE, true).map_err(|(status, _)| status.as_u16()),
            Err(403)
        );
        assert_eq!(status(Method::GET, "localhost", &[("sec-fetch-site", "none")]), 200);
    }
}
