//! Any text is a body: the short way of `$input.json('$')` prints what the long way prints.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vtl_fuzz::{LIMITS, request, vtl::Template};

static SHORT: LazyLock<Template> = LazyLock::new(|| Template::parse("$input.json('$')").expect("it parses"));
static LONG: LazyLock<Template> = LazyLock::new(|| Template::parse("#set($d = $input.path('$'))$input.json('$')").expect("it parses"));
static ALL: LazyLock<Template> = LazyLock::new(|| {
    Template::parse("$input.path('$') $input.path('$.a') $util.parseJson($input.body) $util.escapeJavaScript($input.body) $util.urlDecode($util.urlEncode($input.body)) $util.base64Decode($util.base64Encode($input.body)) $util.urlDecode($input.body) #foreach($x in $input.path('$'))$x;#end").expect("it parses")
});

fuzz_target!(|body: &str| {
    let sent = request(body);
    let short = SHORT.render(&sent, &LIMITS);
    let long = LONG.render(&sent, &LIMITS);
    match (&short, &long) {
        (Ok(short), Ok(long)) => {
            assert_eq!(short.text, long.text);
        }
        (Err(_), Err(_)) => {}
        _ => {
            // Only a limit may stop one and not the other.
            let limit =
                |result: &Result<_, vtl_fuzz::vtl::Error>| matches!(result, Err(error) if error.kind == vtl_fuzz::vtl::ErrorKind::Limit);
            assert!(limit(&short) || limit(&long), "{short:?} {long:?}");
        }
    }
    let _ = ALL.render(&sent, &LIMITS);
});
