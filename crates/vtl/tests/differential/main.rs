//! The mapping template engine against Apache Velocity 1.7 itself, on random templates.
//!
//! `VTL_DIFFERENTIAL_COUNT` templates (20,000 if it isn't set) from the one `VTL_DIFFERENTIAL_SEED`
//! (1 if it isn't set) are rendered by both. Every difference must be mended or stand in
//! `differences.md` with its reason.

mod generator;

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use serde_json::Value;
use vtl::{Limits, render_batch};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// The JVM's identity hashes are different each time: `[Ljava.lang.String;@1b2c3d`, and what
/// `hashCode()` says of such objects.
fn without_identities(template: &str, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        out.push_str(&rest[..at + 1]);
        rest = rest[at + 1..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out.push_str(rest);
    if template.contains("hashCode") || template.contains("toString().length()") {
        // as a double, too: 4.88970385E8
        out.retain(|c| !c.is_ascii_digit() && !"-.E".contains(c));
    }
    out
}

/// What `$foreach.keySet()` and `$foreach.values()` are in Java, and an iterator over them.
fn without_views(text: &str) -> String {
    let text = text
        .replace("AbstractMap$1", "LinkedHashMap$LinkedKeySet")
        .replace("AbstractMap$2", "LinkedHashMap$LinkedValues");
    text.replace("java.lang.Byte", "java.lang.Integer")
        .replace("java.lang.Short", "java.lang.Integer")
}

/// The reason why two answers may differ, as `differences.md` lists it.
fn listed(template: &str, theirs: &Value, ours: &Value) -> bool {
    let class = |answer: &Value| answer["error"].as_str().unwrap_or("").to_owned();
    // The JVM's stack against this engine's limits; json-smart's access to the oracle's own class.
    // A part of a list is a copy here.
    template.contains("subList(")
        || class(theirs) == "StackOverflowError"
        || class(theirs) == "IllegalAccessError"
        || class(ours) == "LimitExceeded"
}

#[test]
#[ignore = "needs Java and Debian's velocity; .ci/run installs them"]
fn random_templates_render_as_velocity_renders_them() {
    let count = setting("VTL_DIFFERENTIAL_COUNT", 20_000);
    let seed = setting("VTL_DIFFERENTIAL_SEED", 1);
    let first = setting("VTL_DIFFERENTIAL_FIRST", 0);
    let engine = format!("{}/tests/oracle/run.sh", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(&engine)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the engine starts");
    let mut input = child.stdin.take().expect("its input is a pipe");
    let writer = std::thread::spawn(move || {
        for n in first..first + count {
            writeln!(input, "{}", generator::line(n, &generator::case(seed, n)))
                .expect("the engine reads on");
        }
    });
    let mut answers = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
    let (mut differences, mut shown, mut rendered, mut failed, mut classes) =
        (0, String::new(), 0, 0, 0);
    for n in first..first + count {
        let case = generator::case(seed, n);
        let theirs = answers.next().expect("an answer to every case").expect("an answer in UTF-8");
        let theirs: Value = serde_json::from_str(&theirs).expect("the answer is JSON");
        let ours: Value =
            serde_json::from_str(&render_batch(&generator::line(n, &case), &Limits::ENGINE))
                .expect("our answer is JSON");
        let same = match (theirs["expected"].as_str(), ours["expected"].as_str()) {
            (Some(theirs), Some(ours)) => {
                rendered += 1;
                theirs == ours
                    || without_views(&without_identities(&case.template, theirs))
                        == without_views(&without_identities(&case.template, ours))
            }
            (None, None) => {
                failed += 1;
                classes += u32::from(
                    theirs["error"] != ours["error"] && !listed(&case.template, &theirs, &ours),
                );
                true
            }
            _ => false,
        };
        if !same && !listed(&case.template, &theirs, &ours) {
            differences += 1;
            if differences <= 20 {
                shown.push_str(&format!(
                    "\ncase {n}: {:?} with body {:?}\n  velocity {theirs}\n  ours     {ours}\n",
                    case.template, case.body
                ));
            }
        }
    }
    writer.join().expect("all cases were written");
    child.wait().expect("the engine ends");
    assert_eq!(differences, 0, "{differences} of {count} differ:{shown}");
    assert_eq!(classes, 0, "errors of another class");
    // Both kinds must be there in numbers, or the generator is of no use.
    assert!(rendered > count / 2 && failed > count / 10, "{rendered} rendered, {failed} failed");
}
