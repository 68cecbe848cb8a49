//! Cases as text files: a template, what it is rendered for, and what must come out, or the whole
//! frame of its error.
//!
//! A file holds cases of one origin. A case starts with `=== id`, its parts with `--- name`:
//! `template`, `body`, `vars`, `path`, `query`, `header`, `stage_variables`, `context` (objects as
//! JSON), `overrides` (with API Gateway's own maps for them), `compare` (`json` or
//! `whitespace-normalized` instead of to the character), and one of `expected`, `error` and `lints`
//! (what is remarked on the template, stage variables included). `(json)` behind a part's name: its
//! text is a JSON string, because a file of lines can't show it. `limits`, where a file's first
//! line sets them: `gateway` or `engine`. With `UPDATE_CASES=1` what came out is written into the
//! files.

use std::{fmt::Write as _, path::PathBuf};

use serde_json::Value;
use vtl::{Limits, Request, Template, lint, lint_stage_variables};

use super::{pairs, render, same};

struct Case {
    id: String,
    /// In order: name, and text.
    parts: Vec<(String, String)>,
}

struct File {
    path: PathBuf,
    limits: Limits,
    first: String,
    cases: Vec<Case>,
}

impl Case {
    fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn request(&self) -> Request {
        let object = |name: &str| {
            self.part(name)
                .map(|text| serde_json::from_str::<Value>(text).expect("JSON"))
                .unwrap_or_default()
        };
        let request = Request {
            body: self.part("body").map(str::to_owned),
            path: pairs(&object("path")),
            query: pairs(&object("query")),
            header: pairs(&object("header")),
            stage_variables: pairs(&object("stage_variables")),
            context: pairs(&object("context")),
            variables: pairs(&object("vars")),
        };
        if self.part("overrides").is_some() { request.with_overrides() } else { request }
    }
}

fn read(path: PathBuf) -> File {
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (first, rest) = text.split_once('\n').expect("a first line");
    let limits = match first {
        "limits: gateway" => Limits::GATEWAY,
        "limits: engine" => Limits::ENGINE,
        other => panic!("{}: the first line says the limits, not {other:?}", path.display()),
    };
    let mut cases: Vec<Case> = Vec::new();
    for line in rest.split_inclusive('\n') {
        if let Some(id) = line.strip_prefix("=== ") {
            cases.push(Case { id: id.trim_end().to_owned(), parts: Vec::new() });
        } else if let Some(name) = line.strip_prefix("--- ") {
            cases
                .last_mut()
                .expect("a case")
                .parts
                .push((name.trim_end().to_owned(), String::new()));
        } else {
            cases
                .last_mut()
                .and_then(|case| case.parts.last_mut())
                .expect("a part")
                .1
                .push_str(line);
        }
    }
    for (name, text) in cases.iter_mut().flat_map(|case| &mut case.parts) {
        if let Some(plain) = name.strip_suffix(" (json)") {
            *text = serde_json::from_str(text).expect("a JSON string");
            *name = plain.to_owned();
        } else {
            // The line break before the next part isn't the text's.
            text.pop();
        }
    }
    File { path, limits, first: first.to_owned(), cases }
}

fn written(file: &File) -> String {
    let mut out = format!("{}\n", file.first);
    for case in &file.cases {
        let _ = writeln!(out, "=== {}", case.id);
        for (name, text) in &case.parts {
            let marks =
                text.split('\n').any(|line| line.starts_with("--- ") || line.starts_with("=== "));
            let shown = text.chars().all(|c| {
                c == '\n'
                    || !(c.is_control()
                        || matches!(c, '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'))
            });
            if shown && !marks && !text.ends_with([' ', '\n']) && !text.contains(" \n") {
                let _ = writeln!(out, "--- {name}\n{text}");
            } else {
                let _ = writeln!(out, "--- {name} (json)\n{}", Value::from(text.as_str()));
            }
        }
    }
    out
}

/// One remark a line.
fn lints(template: &str, request: &Request) -> String {
    let template = Template::parse(template).expect("it parsed before");
    let set: Vec<&str> = request.stage_variables.iter().map(|(name, _)| name.as_str()).collect();
    let all = lint(&template).into_iter().chain(lint_stage_variables(&template, &set));
    let shown = all.map(|lint| {
        format!(
            "{}:{} {}: {} -> {}",
            lint.place.line, lint.place.column, lint.reference, lint.message, lint.help
        )
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_case_in_a_text_file_renders_as_it_says() {
    let folder = format!("{}/tests/cases", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    let bless = std::env::var_os("UPDATE_CASES").is_some();
    let (mut wrong, mut seen) = (String::new(), Vec::new());
    for path in paths {
        let mut file = read(path);
        let name = file.path.file_name().expect("a name").to_string_lossy().into_owned();
        for case in &mut file.cases {
            let template = case.part("template").expect("a template").to_owned();
            let (wanted_kind, wanted) = case.parts.last().expect("a part").clone();
            let (kind, got) = match render(&template, &case.request(), &file.limits) {
                Ok(_) if wanted_kind == "lints" => ("lints", lints(&template, &case.request())),
                Ok(rendered) => ("expected", rendered.text),
                Err(error) => ("error", error.frame("template.vtl")),
            };
            let compare = Value::from(case.part("compare").unwrap_or("exact"));
            let good = kind == wanted_kind
                && (if kind == "expected" { same(&compare, &wanted, &got) } else { wanted == got });
            if !good && bless {
                *case.parts.last_mut().expect("a part") = (kind.to_owned(), got);
            } else if !good {
                let _ = writeln!(
                    wrong,
                    "{name}: {}\n  template {template:?}\n  {wanted_kind} {wanted:?}\n  {kind} {got:?}",
                    case.id
                );
            }
        }
        seen.push((name, file.cases.len()));
        if bless {
            std::fs::write(&file.path, written(&file)).expect("the file can be written");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let expected = [
        ("aws_recorded.txt", 234),
        ("beliefs.txt", BELIEFS),
        ("engine_core.txt", 320),
        ("engine_gateway.txt", 120),
        ("errors.txt", ERRORS),
        ("lints.txt", LINTS),
        ("regex.txt", 41),
        ("written.txt", 615),
    ];
    assert_eq!(seen, expected.map(|(name, count)| (name.to_owned(), count)));
}

/// Renders that other projects believe in, but for those that AWS or its documents contradict.
const BELIEFS: usize = 27;

/// Mistakes that people make in mapping templates, each with the frame it gets.
const ERRORS: usize = 29;

/// Templates that render and probably don't do what was meant.
const LINTS: usize = 13;
