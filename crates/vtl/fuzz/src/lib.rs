//! What the fuzz targets share: limits, and a request with something of everything.

pub use vtl;

use vtl::{Data, Limits, Request};

/// Small, so that a slow input is a finding and not a budget.
pub const LIMITS: Limits = Limits { foreach: Some(1000), output: 256 * 1024, steps: 50_000, as_gateway: true };

/// A request with something of everything.
pub fn request(body: &str) -> Request {
    let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), Data::from(*value))).collect::<Vec<_>>();
    Request {
        body: Some(body.to_owned()),
        path: text(&[("id", "42")]),
        query: text(&[("q", "hello \"world\"")]),
        header: text(&[("X-H", "h'v\\")]),
        stage_variables: text(&[("env", "prod")]),
        context: text(&[("stage", "dev")]),
        variables: vec![
            ("s".into(), "hello é☃😀".into()),
            ("n".into(), 3.into()),
            ("f".into(), Data::Double(2.5)),
            ("list".into(), Data::List(vec!["a".into(), 2.into(), Data::Null, Data::List(vec![true.into()])])),
            ("m".into(), Data::Map(vec![("k".into(), "v".into()), ("list".into(), Data::List(vec![1.into()]))])),
        ],
    }
    .with_overrides()
}
