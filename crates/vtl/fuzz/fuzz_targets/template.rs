//! Any text is a template: it parses or is refused, renders or fails, within its limits; what it prints twice is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vtl_fuzz::{LIMITS, request, vtl::Template};

fuzz_target!(|source: &str| {
    if let Ok(template) = Template::parse(source) {
        let sent = request(r#"{"a":1.50,"list":[{"id":1},{"id":2}],"s":"x\"y"}"#);
        let first = template.render(&sent, &LIMITS);
        let second = template.explain(&sent, &LIMITS);
        if let (Ok(first), Ok(second)) = (first, second) {
            let identities = source.contains("hashCode") || first.text.contains('@');
            assert!(identities || first.text == second.text, "explaining changes the text: {:?} {:?}", first.text, second.text);
        }
    } else if let Err(error) = Template::parse(source) {
        let _ = error.frame("fuzz.vtl");
    }
});
