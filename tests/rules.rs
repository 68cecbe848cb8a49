//! The rules that the source keeps so that it stays easy to reason about: who may talk to AWS, read
//! files, print, sleep. ARCHITECTURE.md says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the program itself: no comment, and nothing below `#[cfg(test)]`.
struct Line {
    file: String,
    number: usize,
    text: String,
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a directory of this repository can be read").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn lines() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    files(&root.join("src"), &mut sources);
    files(&root.join("function/src"), &mut sources);
    files(&root.join("crates/vtl/src"), &mut sources);
    let mut lines = Vec::new();
    for path in sources.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let file = path.strip_prefix(root).expect("it was found there").display().to_string();
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(path).expect("a source file is UTF-8");
        for (number, line) in text.lines().enumerate() {
            // other attributes may stand between it and the module
            let mut next =
                text.lines().skip(number + 1).filter(|next| !next.trim_start().starts_with("#["));
            if line.trim() == "#[cfg(test)]"
                && next.next().is_some_and(|item| item.contains("mod "))
            {
                break;
            }
            if !line.trim_start().starts_with("//") {
                lines.push(Line { file: file.clone(), number: number + 1, text: line.to_owned() });
            }
        }
    }
    assert!(lines.len() > 100, "the sources were found");
    lines
}

/// Every line that has one of the words, in a file that the rule is for.
fn breaches(words: &[&str], holds_for: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = lines();
    let broken = lines
        .iter()
        .filter(|line| holds_for(&line.file) && words.iter().any(|word| line.text.contains(word)));
    broken.map(|line| format!("{}:{}: {}", line.file, line.number, line.text.trim())).collect()
}

fn is_in(file: &str, modules: &[&str]) -> bool {
    modules.iter().any(|module| {
        file == format!("src/{module}.rs") || file.starts_with(&format!("src/{module}/"))
    })
}

#[test]
fn only_the_aws_module_the_function_and_devs_store_know_the_sdk() {
    let knows = |file: &str| file.starts_with("function/") || is_in(file, &["aws", "dev/store"]);
    assert_eq!(breaches(&["aws_sdk_", "aws_config::"], |file| !knows(file)), [] as [String; 0]);
}

#[test]
fn the_pure_modules_do_no_input_no_output_and_nothing_async() {
    const PURE: [&str; 14] = [
        "coding",
        "spec",
        "resource",
        "observed",
        "desired",
        "openapi",
        "partition",
        "policy",
        "plan",
        "previous",
        "render",
        "risks",
        "rollback",
        "dev/gateway",
    ];
    let words = [
        "std::fs",
        "std::env",
        "std::net::Tcp",
        "std::net::Udp",
        "std::process",
        "std::io::std",
        "fs::read",
        "fs::write",
        "env::var",
        "tokio",
        "async ",
        ".await",
        "aws_sdk",
        "aws_config",
        "aws_smithy",
        "reqwest",
        "hyper",
    ];
    assert_eq!(
        breaches(&words, |file| is_in(file, &PURE) || file.starts_with("crates/")),
        [] as [String; 0]
    );
}

/// What a crate of the workspace is built from, itself included.
fn dependencies(name: &str) -> BTreeSet<String> {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"))
        .expect("the lock can be read");
    let lock: toml::Table = lock.parse().expect("the lock is TOML");
    let packages = lock["package"].as_array().expect("the lock lists packages");
    let of = |name: &str| {
        let named = packages.iter().filter(|package| package["name"].as_str() == Some(name));
        let listed = named.filter_map(|package| package.get("dependencies")?.as_array()).flatten();
        listed
            .filter_map(|text| text.as_str()?.split(' ').next().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let (mut found, mut next) = (BTreeSet::new(), vec![name.to_owned()]);
    while let Some(name) = next.pop() {
        if found.insert(name.clone()) {
            next.extend(of(&name));
        }
    }
    found
}

#[test]
fn the_leaf_crates_are_built_without_an_aws_sdk() {
    assert!(dependencies("routeto").contains("aws-sdk-s3"), "the lock was read");
    let sdks: Vec<String> =
        dependencies("vtl").into_iter().filter(|name| name.starts_with("aws-")).collect();
    assert_eq!(sdks, [] as [String; 0]);
}

#[test]
fn only_the_report_and_the_library_root_print() {
    let words = ["print!(", "println!(", "eprint!(", "eprintln!(", "stdout()", "stderr()"];
    let prints = |file: &str| {
        file.starts_with("function/")
            || file == "src/lib.rs"
            || file == "src/report.rs"
            || file.starts_with("src/report")
    };
    assert_eq!(breaches(&words, |file| !prints(file)), [] as [String; 0]);
}

#[test]
fn only_wait_and_pace_sleep() {
    let words = ["sleep(", "sleep_until(", "time::interval(", " interval("];
    assert_eq!(
        breaches(&words, |file| !file.starts_with("function/")
            && !is_in(file, &["aws/wait", "aws/pace"])),
        [] as [String; 0]
    );
}

#[test]
fn nothing_unwraps() {
    assert_eq!(breaches(&[".unwrap()", "todo!(", "unimplemented!("], |_| true), [] as [String; 0]);
}
