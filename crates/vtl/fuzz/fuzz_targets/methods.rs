//! Any texts are arguments of the methods that read patterns: regular expressions, replacements, formats, indexes.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vtl_fuzz::{LIMITS, request, vtl::Template};

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    [
        "$a.replaceAll($b,$c)",
        "$a.replaceFirst($b,$c)",
        "$a.matches($b) $a.split($b).size() $a.split($b, 3).size()",
        "$a.format($b, $n, $f, $a, $list)",
        "$a.substring($n) $a.substring(1,$n) $a.indexOf($b) $a.indexOf($b,$n) $a.lastIndexOf($b) $a.lastIndexOf($b,$n) $a.charAt($n) $a.compareTo($b) $a.hashCode() $a.toUpperCase() $a.trim() $a.concat($b).length()",
    ]
    .iter()
    .map(|template| Template::parse(template).expect("it parses"))
    .collect()
});

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\n');
    let mut sent = request("{}");
    for name in ["a", "b", "c"] {
        sent.variables.push((name.into(), parts.next().unwrap_or("").into()));
    }
    for template in TEMPLATES.iter() {
        let _ = template.render(&sent, &LIMITS);
    }
});
