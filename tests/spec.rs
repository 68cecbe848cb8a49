//! Stack files and what is said of them: each case of `tests/spec/*.txt` is a file, its surroundings and the whole of the answer.
//!
//! A case is `=== a sentence`, then lines `@env NAME=value`, `@region NAME`, `@template path text…` (`\n` for a line break), then the
//! stack file, then `---` and what comes out. `UPDATE_CASES=1 cargo test --test spec` writes the answers anew: read the diff.

use routeto::{
    diagnostic::Diagnostic,
    spec::{self, Loaded, Source, World},
};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Default)]
struct Around {
    env: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    region: Option<String>,
}

impl Around {
    fn load(&self, path: &str, bytes: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
        let env = |name: &str| self.env.get(name).cloned();
        let read = |path: &Path| self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        spec::load(&Source { path: Path::new(path), bytes }, &World { env: &env, read: &read, region: self.region.as_deref() })
    }

    fn answer(&self, bytes: &[u8]) -> String {
        let (head, diagnostics) = match self.load("stacks/a.yaml", bytes) {
            Ok(loaded) => ("good".to_owned(), loaded.warnings),
            Err(diagnostics) => ("bad".to_owned(), diagnostics),
        };
        let parts: Vec<String> = std::iter::once(head).chain(diagnostics.iter().map(Diagnostic::to_string)).collect();
        parts.join("\n\n") + "\n"
    }
}

struct Case {
    title: String,
    head: String,
    around: Around,
    stack: String,
    expected: String,
}

fn cases(text: &str) -> Vec<Case> {
    text.split("=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (title, rest) = text.split_once('\n').expect("a title");
    let (input, expected) = rest.split_once("\n---\n").unwrap_or((rest, ""));
    let (mut around, mut head, mut stack) = (Around::default(), String::new(), String::new());
    for line in input.split_inclusive('\n') {
        let Some(directive) = line.strip_prefix('@') else {
            stack.push_str(line);
            continue;
        };
        head.push_str(line);
        let directive = directive.trim_end();
        if let Some((name, value)) = directive.strip_prefix("env ").and_then(|d| d.split_once('=')) {
            around.env.insert(name.into(), value.into());
        } else if let Some((path, content)) = directive.strip_prefix("template ").and_then(|d| d.split_once(' ')) {
            around.files.insert(Path::new("stacks").join(path), content.replace("\\n", "\n").into_bytes());
        } else if let Some(region) = directive.strip_prefix("region ") {
            around.region = Some(region.into());
        } else {
            panic!("{title}: {directive}");
        }
    }
    Case {
        title: title.to_owned(),
        head,
        around,
        stack: stack.trim_end().to_owned() + "\n",
        expected: expected.trim_end().to_owned() + "\n",
    }
}

fn case_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/spec").expect("tests/spec").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn every_case_gets_the_whole_of_its_answer() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let (mut count, mut wrong) = (0, Vec::new());
    for file in case_files() {
        let mut updated = String::new();
        for case in cases(&fs::read_to_string(&file).expect("a case file")) {
            count += 1;
            let answer = case.around.answer(case.stack.as_bytes());
            updated += &format!("=== {}\n{}{}---\n{answer}\n", case.title, case.head, case.stack);
            if answer != case.expected {
                wrong.push(format!("{}: {}\n--- expected\n{}--- answered\n{answer}", file.display(), case.title, case.expected));
            }
        }
        if update {
            fs::write(&file, updated.trim_end().to_owned() + "\n").expect("the case file can be written");
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count} cases were found");
}
