//! What a template is rendered for: the request, and the limits of the render.

use num_bigint::BigInt;

/// A value given to a template from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Big(BigInt),
    /// Unscaled value and scale: the number is unscaled × 10^−scale.
    Decimal(BigInt, i32),
    Text(String),
    List(Vec<Data>),
    /// In order; a key occurs once.
    Map(Vec<(String, Data)>),
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Data::Text(text.to_owned())
    }
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        Data::Text(text)
    }
}

impl From<i32> for Data {
    fn from(number: i32) -> Self {
        Data::Int(number)
    }
}

impl From<bool> for Data {
    fn from(value: bool) -> Self {
        Data::Bool(value)
    }
}

/// Pairs of name and value, in order.
pub type Pairs = Vec<(String, Data)>;

/// What `$input`, `$stageVariables` and `$context` show a template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The body as text: base64 where API Gateway took it for binary. `None` and empty both show
    /// as `{}`.
    pub body: Option<String>,
    pub path: Pairs,
    /// URL-decoded.
    pub query: Pairs,
    /// Names as they were sent: templates see their case.
    pub header: Pairs,
    pub stage_variables: Pairs,
    /// `$context`.
    pub context: Pairs,
    /// Further variables; in API Gateway there are none.
    pub variables: Pairs,
}

impl Request {
    pub fn new() -> Self {
        Self::default()
    }

    /// `$input.body` as a template sees it.
    pub fn body_text(&self) -> &str {
        match self.body.as_deref() {
            None | Some("") => "{}",
            Some(body) => body,
        }
    }

    /// Adds what API Gateway always has in `$context` for a template to assign overrides to.
    pub fn with_overrides(mut self) -> Self {
        let empty = |names: &[&str]| {
            Data::Map(
                names.iter().map(|name| ((*name).to_owned(), Data::Map(Vec::new()))).collect(),
            )
        };
        for (name, value) in [
            ("requestOverride", empty(&["header", "path", "querystring"])),
            ("responseOverride", empty(&["header"])),
        ] {
            if !self.context.iter().any(|(known, _)| known == name) {
                self.context.push((name.to_owned(), value));
            }
        }
        self
    }
}

/// How far a render may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Iterations of one `#foreach`. `None`: as many as there are, as the engine itself.
    pub foreach: Option<u32>,
    /// Bytes of output.
    pub output: usize,
    /// Nodes evaluated and elements handled.
    pub steps: u64,
    /// What is known of API Gateway and the bare engine does otherwise: `$util.base64Encode` and
    /// the like take any value as its text, and `$input`, `$util` and the maps in `$context`
    /// print as empty texts.
    pub as_gateway: bool,
}

impl Limits {
    /// API Gateway's. Source: its quotas ("Maximum number of iterations in a #foreach … #end loop":
    /// 1000; payload size: 10 MB).
    pub const GATEWAY: Limits = Limits {
        foreach: Some(1000),
        output: 10 * 1024 * 1024,
        steps: 20_000_000,
        as_gateway: true,
    };

    /// The bare engine's: no stop for `#foreach`.
    pub const ENGINE: Limits =
        Limits { foreach: None, output: 10 * 1024 * 1024, steps: 20_000_000, as_gateway: false };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::GATEWAY
    }
}
