//! Stack files and what is said of them: each case of `tests/spec/*.txt` is a file, its
//! surroundings and the whole of the answer.
//!
//! A case is `=== a sentence`, then lines `@env NAME=value`, `@region NAME`, `@template path text…`
//! (`\n` for a line break), then the stack file, then `>>>` and what comes out. `UPDATE_CASES=1
//! cargo test --test spec` writes the answers anew: read the diff.

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
        let read = |path: &Path| {
            self.files.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        spec::load(
            &Source { path: Path::new(path), bytes },
            &World { env: &env, read: &read, region: self.region.as_deref() },
        )
    }

    fn answer(&self, bytes: &[u8]) -> String {
        let (head, diagnostics) = match self.load("stacks/a.yaml", bytes) {
            Ok(loaded) => ("good".to_owned(), loaded.warnings),
            Err(diagnostics) => ("bad".to_owned(), diagnostics),
        };
        let parts: Vec<String> =
            std::iter::once(head).chain(diagnostics.iter().map(Diagnostic::to_string)).collect();
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
    let (input, expected) = rest.split_once("\n>>>\n").unwrap_or((rest, ""));
    let (mut around, mut head, mut stack) = (Around::default(), String::new(), String::new());
    for line in input.split_inclusive('\n') {
        let Some(directive) = line.strip_prefix('@') else {
            stack.push_str(line);
            continue;
        };
        head.push_str(line);
        let directive = directive.trim_end();
        if let Some((name, value)) = directive.strip_prefix("env ").and_then(|d| d.split_once('='))
        {
            around.env.insert(name.into(), value.into());
        } else if let Some((path, content)) =
            directive.strip_prefix("template ").and_then(|d| d.split_once(' '))
        {
            around
                .files
                .insert(Path::new("stacks").join(path), content.replace("\\n", "\n").into_bytes());
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
    let mut files: Vec<PathBuf> = fs::read_dir("tests/spec")
        .expect("tests/spec")
        .map(|entry| entry.expect("an entry").path())
        .collect();
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
            updated += &format!("=== {}\n{}{}>>>\n{answer}\n", case.title, case.head, case.stack);
            if answer != case.expected {
                wrong.push(format!(
                    "{}: {}\n--- expected\n{}--- answered\n{answer}",
                    file.display(),
                    case.title,
                    case.expected
                ));
            }
        }
        if update {
            fs::write(&file, updated.trim_end().to_owned() + "\n")
                .expect("the case file can be written");
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count} cases were found");
}

fn shipped(name: &str) -> (String, Loaded) {
    let text = fs::read_to_string(Path::new("stacks").join(name)).expect("the stack is there");
    let around = Around::default();
    let loaded =
        around.load(name, text.as_bytes()).unwrap_or_else(|all| panic!("{name}: {}", all[0]));
    (text, loaded)
}

#[test]
fn the_stacks_that_come_with_routeto_are_valid_without_a_variable_or_a_warning() {
    for (name, routes, stages) in [
        (
            "routeto.yaml",
            &["/callbacks/events", "/callbacks/inbound", "/input"][..],
            &["dev", "prod"][..],
        ),
        ("sendgrid-s3.yaml", &["/input"], &["prod"]),
        ("sendgrid-sqs.yaml", &["/callbacks/events", "/callbacks/inbound"], &["dev", "prod"]),
    ] {
        let (_, Loaded { stack, warnings }) = shipped(name);
        assert_eq!(warnings, [], "{name}");
        assert_eq!(stack.routes.keys().collect::<Vec<_>>(), routes, "{name}");
        assert_eq!(
            stack.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(),
            stages,
            "{name}"
        );
        has_room_for_bursts(&stack, name);
    }
}

/// GitHub never sends a webhook again that was throttled, and posts a burst for each push or
/// workflow.
fn has_room_for_bursts(stack: &spec::Stack, name: &str) {
    for stage in &stack.stages {
        let (rate, burst) = if stage.name == "dev" { (50.0, 100) } else { (500.0, 1000) };
        assert_eq!(
            stage.throttle,
            Some(spec::Throttle { rate, burst }),
            "{name}, stage {}",
            stage.name
        );
    }
}

#[test]
fn the_stack_files_in_the_docs_are_valid() {
    for page in ["README.md", "docs/stack-file.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page))
            .expect("it can be read");
        let (_, rest) = text.split_once("```yaml\n").expect("it has a stack file");
        let (yaml, _) = rest.split_once("```").expect("and its end");
        let Loaded { stack, warnings } =
            Around::default().load(page, yaml.as_bytes()).expect("it is valid");
        assert_eq!(warnings, [], "{page}");
        has_room_for_bursts(&stack, page);
    }
}

/// The docs' links to other pages of the repository lead somewhere.
#[test]
fn the_links_in_the_docs_lead_to_pages_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs =
        fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("a file").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let (mut links, mut broken) = (0, vec![]);
    for page in pages.chain(["README.md", "ARCHITECTURE.md"].map(|name| root.join(name))) {
        let text = fs::read_to_string(&page).expect("a page can be read");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if target.is_empty() || target.contains("://") {
                continue;
            }
            links += 1;
            if !page.with_file_name(target).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(links > 15, "{links} links were found");
    assert_eq!(broken, [] as [String; 0]);
}

#[test]
fn what_was_read_is_what_the_file_says() {
    let text = "\
stack: hooks-${env.WHO}
region: eu-west-1
function: { memory: 256, architecture: arm64, log_retention: 7 }
routes:
  /Events/in.v1:
    token: none
    accept: [Text/Plain]
    s3: { bucket: \"b-${env.WHO}-${account}-${region}-${stage}\", prefix: in/, format: ndjson, allow: [acme/x, other], expire_after: 9 }
    templates: { image/PNG: t.vtl }
  /q:
    sqs: { queue: \"q-${stage}\", format: body, dead_letter: { queue: \"d-${stage}\", after: 3 } }
binary: [IMAGE/png]
stages:
  prod: { throttle: { rate: 0.5, burst: 2 }, variables: { team: \"${stage}-x\" } }
  dev:
tags: { owner: \"${env.WHO}\" }
";
    let mut around = Around::default();
    around.env.insert("WHO".into(), "ann".into());
    around.files.insert("t.vtl".into(), b"$validToken".to_vec());
    let stack = around.load("a.yaml", text.as_bytes()).expect("a valid stack").stack;
    let set = |types: &[&str]| {
        types
            .iter()
            .map(|media_type| (*media_type).to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let route = |path: &str, variable: &str, destination, token, accept: &[&str]| spec::Route {
        path: path.into(),
        variable: variable.into(),
        destination,
        token,
        accept: set(accept),
        templates: BTreeMap::new(),
    };
    let mut events = route(
        "/Events/in.v1",
        "destination_Events_in_v1",
        spec::Destination::S3(spec::S3Destination {
            bucket: spec::Pattern("b-ann-${account}-${region}-${stage}".into()),
            existing: false,
            prefix: spec::Pattern("in/".into()),
            format: spec::S3Format::Ndjson,
            allow: vec![spec::Pattern("acme/x".into()), spec::Pattern("other".into())],
            expire_after: Some(9),
        }),
        spec::TokenRule::None,
        &["text/plain", "image/png"],
    );
    events.templates.insert(
        "image/png".into(),
        spec::Template { file: "t.vtl".into(), text: "$validToken".into() },
    );
    let queue = route(
        "/q",
        "destination_q",
        spec::Destination::Sqs(spec::SqsDestination {
            queue: spec::Pattern("q-${stage}".into()),
            existing: false,
            dead_letter: Some(spec::DeadLetter {
                queue: spec::Pattern("d-${stage}".into()),
                after: 3,
            }),
            format: spec::SqsFormat::Body,
        }),
        spec::TokenRule::Query,
        &["application/json"],
    );
    let queue_url = |queue: &str| format!("https://sqs/{queue}");
    assert_eq!(
        events.variable_value(queue_url, "prod", "123456789012", "eu-west-1"),
        "s3://b-ann-123456789012-eu-west-1-prod/in/?format=ndjson&allow=acme/x&allow=other&token=none"
    );
    assert_eq!(queue.variable_value(queue_url, "prod", "1", "r"), "https://sqs/q-prod?format=body");
    let expected = spec::Stack {
        name: "hooks-ann".into(),
        region: Some("eu-west-1".into()),
        function: spec::FunctionSettings {
            memory: 256,
            timeout: 10,
            architecture: spec::Architecture::Arm64,
            log_retention: 7,
        },
        routes: [events, queue].into_iter().map(|route| (route.path.clone(), route)).collect(),
        binary: set(&["image/png"]),
        stages: vec![
            spec::Stage {
                name: "prod".into(),
                throttle: Some(spec::Throttle { rate: 0.5, burst: 2 }),
                variables: [("team".to_owned(), spec::Pattern("${stage}-x".into()))].into(),
            },
            spec::Stage { name: "dev".into(), throttle: None, variables: BTreeMap::new() },
        ],
        tags: [("owner".to_owned(), "ann".to_owned())].into(),
        file: "a.yaml".into(),
        lines: [("/Events/in.v1".to_owned(), 5), ("/q".to_owned(), 10)].into(),
    };
    assert_eq!(stack, expected);
    assert_eq!(stack.place(&stack.routes["/q"]), "a.yaml:10 (route /q)");
}

#[test]
fn an_unknown_stage_or_route_of_the_command_line_gets_a_suggestion() {
    let (_, Loaded { stack, .. }) = shipped("routeto.yaml");
    let names = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        stack
            .select_stages(&wanted)
            .map(|stages| stages.into_iter().map(|stage| stage.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&[]), Ok(vec!["dev".to_owned(), "prod".to_owned()]));
    assert_eq!(names(&["prod", "dev", "prod"]), Ok(vec!["dev".to_owned(), "prod".to_owned()]));
    assert_eq!(
        names(&["dev", "prd"]),
        Err("stack `webhooks` has no stage `prd`; did you mean `prod`?".into())
    );
    assert_eq!(
        names(&["live"]),
        Err("stack `webhooks` has no stage `live`; known here: `dev` and `prod`".into())
    );
    assert_eq!(
        names(&["dev,prod"]),
        Err("stack `webhooks` has no stage `dev,prod`; give --stage once for each of them".into())
    );
    assert_eq!(stack.route("/input").map(|route| route.path.as_str()), Ok("/input"));
    assert_eq!(
        stack.route("input").map(|_| ()),
        Err("stack `webhooks` has no route `input`; did you mean `/input`?".into())
    );
}

#[test]
fn a_file_that_is_no_text_or_too_large_gets_one_error() {
    let around = Around::default();
    let one = |bytes: &[u8]| {
        let all = around.load("a.yaml", bytes).expect_err("an error");
        assert_eq!(all.len(), 1);
        all[0].to_string()
    };
    assert_eq!(
        one(b"stack: a\nb: \xff"),
        "error: the stack file is not UTF-8: the first byte that is not is byte 13, in line 2\n  --> a.yaml\n  = help: save it as UTF-8 text"
    );
    assert_eq!(
        one(b""),
        "error: the stack file is empty\n  --> a.yaml\n  = help: a stack file begins with `stack: NAME`; docs/stack-file.md has a whole one"
    );
    assert_eq!(
        one(&vec![b'a'; spec::MAX_BYTES + 1]),
        "error: the stack file is larger than 1024 KiB\n  --> a.yaml\n  = help: this is not a stack file; name the right one"
    );
}

#[test]
fn a_template_that_is_no_text_or_too_large_gets_an_error_where_it_is_named() {
    let text = "stack: aa\nroutes: { /a: { sqs: { queue: q }, templates: { application/json: t.vtl } } }\nstages: { prod: }";
    let with = |bytes: Vec<u8>| {
        let mut around = Around::default();
        around.files.insert("t.vtl".into(), bytes);
        let all = around.load("a.yaml", text.as_bytes()).expect_err("an error");
        let places: Vec<_> = all
            .iter()
            .map(|d| (d.place.map(|place| (place.line, place.column)), d.message.as_str()))
            .collect();
        format!("{places:?}")
    };
    assert_eq!(
        with(b"validToken \xc3(".to_vec()),
        r#"[(Some((2, 67)), "the mapping template `t.vtl` is not UTF-8: byte 12 is not")]"#
    );
    assert_eq!(
        with(b"validToken".repeat(40_000)),
        r#"[(Some((2, 67)), "the mapping template `t.vtl` has 400000 bytes; API Gateway takes 300 KB")]"#
    );
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark_change_nothing() {
    let (text, loaded) = shipped("routeto.yaml");
    let around = Around::default();
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(around.load("routeto.yaml", windows.as_bytes()), Ok(loaded));
    let wrong = windows.replace("after: 5", "aftr: 5");
    let all = around.load("routeto.yaml", wrong.as_bytes()).expect_err("an error");
    let line = text.lines().position(|line| line.contains("after: 5")).expect("the line") + 1;
    assert!(all.iter().all(|d| d.place.is_some_and(|place| place.line == line)), "{all:?}");
    assert_eq!(
        all[0].source_line.as_deref(),
        Some("      dead_letter: { queue: inbound-mail-dead-${stage}, aftr: 5 }")
    );
}

#[test]
fn hostile_files_are_refused_at_once() {
    let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for i in 1..20 {
        laughs += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
    }
    let long = "x".repeat(1000);
    let copies = format!("a: &a {long}\nb: [{}]", vec!["*a"; 100_000].join(", "));
    let deep_blocks: String = (0..1_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    for (what, text) in [
        ("aliases of aliases", laughs),
        ("many aliases of a long text", copies),
        ("deep flow lists", "[".repeat(10_000)),
        ("deep flow mappings", "{a: ".repeat(10_000)),
        ("deep block lists", "- ".repeat(10_000)),
        ("deep blocks", deep_blocks),
        ("complex keys", "? ".repeat(10_000)),
        ("many keys", (0..100_000).map(|i| format!("k{i}: v\n")).collect()),
        ("many unknown keys", (0..2_000).map(|i| format!("k{i}: v\n")).collect()),
        (
            "many bad routes",
            format!(
                "stack: aa\nroutes: {{ {} }}",
                (0..1_000)
                    .map(|i| format!("r{i}: {{ s3: {{ bucket: B }} }}, "))
                    .collect::<String>()
            ),
        ),
        ("many anchors", "a: &a b\n".repeat(100_000)),
        ("many placeholders", format!("stack: {}", "${".repeat(100_000))),
    ] {
        let started = Instant::now();
        let all = Around::default().load("a.yaml", text.as_bytes()).expect_err(what);
        assert!(!all.is_empty(), "{what}");
        // Milliseconds in a release build; this one is not optimised and runs beside others.
        // Without limits the first would never end.
        assert!(started.elapsed() < Duration::from_secs(60), "{what}: {:?}", started.elapsed());
    }
}

/// Numbers that only look random (xorshift), the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn no_change_to_a_file_makes_it_panic_or_point_outside_of_it() {
    const PIECES: [&str; 30] = [
        "${stage}", "${", "}", "{", "[", "]", "\n", "\r", "  ", "\t", ": ", "- ", "? ", "&a ",
        "*a", "!!str ", "'", "\"", "#", "|\n", ">", "---\n", "~", "0x", "é", "\u{0}", "\u{feff}",
        "\u{e000}", "${env.X}", "/",
    ];
    let rounds = std::env::var("MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let (text, _) = shipped("routeto.yaml");
    let whole: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    let chars: Vec<char> = whole.chars().collect();
    let mut around = Around::default();
    around.env.insert("X".into(), "SeCrEt!".into());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut good = 0;
    for round in 0..rounds {
        let mut changed = chars.clone();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(changed.len());
            let end = (at + numbers.below(12)).min(changed.len());
            let piece: Vec<char> = PIECES[numbers.below(PIECES.len())].chars().collect();
            match numbers.below(3) {
                0 => drop(changed.drain(at..end)),
                1 => drop(changed.splice(at..at, piece)),
                _ => drop(changed.splice(at..end, piece)),
            }
        }
        let changed: String = changed.into_iter().collect();
        match around.load("a.yaml", changed.as_bytes()) {
            Ok(_) => good += 1,
            Err(all) => {
                assert!(!all.is_empty(), "round {round}");
                for diagnostic in &all {
                    let shown = diagnostic.to_string();
                    assert!(!shown.contains("SeCrEt"), "round {round}: {shown}");
                    let inside = diagnostic
                        .place
                        .is_none_or(|place| place.column >= 1 && diagnostic.source_line.is_some());
                    assert!(inside, "round {round}: {shown}\n{changed}");
                }
            }
        }
    }
    assert!(good > 0 && good < rounds, "{good} of {rounds}");
}
