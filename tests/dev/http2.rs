//! HTTP/2 without TLS, many requests on one connection.

use crate::harness::{JSON, Place};
use crate::support::block_on;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Version};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

#[test]
fn two_hundred_posts_over_http_2_are_two_hundred_records() {
    let place = Place::new(
        "stack: two\nroutes:\n  /input:\n    s3: { bucket: 'two-${stage}', format: envelope }\nstages:\n  prod: {}\n",
    );
    let dev = place.dev();
    let url = dev.url_with("prod", "/input", &[]);
    block_on(async {
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let posts = (0..200).map(|n| {
            let body = Full::new(Bytes::from(format!("{{\"n\":{n}}}")));
            let request = Request::post(&url)
                .version(Version::HTTP_2)
                .header("content-type", JSON)
                .body(body)
                .unwrap();
            let answer = client.request(request);
            async move {
                let answer = answer.await.unwrap();
                assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
                answer.into_body().collect().await.unwrap();
            }
        });
        futures_util::future::join_all(posts).await;
    });
    assert_eq!(dev.keys("two-prod").unwrap().len(), 200);
    // what a template sees as the caller's headers has the host, which HTTP/2 sends in the
    // request's own line
    let key = dev.keys("two-prod").unwrap().remove(0);
    let record =
        crate::support::http::get(&format!("{}/two-prod/{key}", dev.endpoint())).unwrap().json();
    let host = dev.base().strip_prefix("http://").unwrap();
    assert_eq!(record["http-headers"]["Host"], host, "{record}");
    dev.event("version", |event| event["event"] == "request" && event["status"] == 200);
}
