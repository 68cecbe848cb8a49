//! Any text is a JSONPath over any body: the first line is the path.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vtl_fuzz::{LIMITS, request, vtl::Template};

static TEMPLATE: LazyLock<Template> =
    LazyLock::new(|| Template::parse("$input.json($p) #foreach($x in $input.path($p))$x#end").expect("it parses"));

fuzz_target!(|text: &str| {
    let (path, body) = text.split_once('\n').unwrap_or((text, r#"{"a":[{"id":1,"n":"x"},{"id":2.5,"n":null}],"b":{"c":[[1,2],[3]]}}"#));
    let mut sent = request(body);
    sent.variables.push(("p".into(), path.into()));
    let _ = TEMPLATE.render(&sent, &LIMITS);
});
