//! Every call, every fault: whatever becomes of one call of a command, the same command again ends
//! where a clean run ends.
//!
//! An ordinary run takes a seeded part of the table. `ROUTETO_FAULTS_MINUTES=30` takes as much of
//! the whole as fits, keeps what came of each cell under `target/faults`, where the next such run
//! goes on, and writes docs/faults.md. `ROUTETO_FAULTS_PART=1/2` takes every second call of it.
//! `ROUTETO_FAULTS_ONLY="First CutAfter"` takes the cells alone whose words these are.

use crate::support::proxy::Caller;
use crate::support::world::{World, differences};
use crate::support::{
    Emulator, Output, Proxy, Routeto, Signal, Stack, What, Which, root, stack, target,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Stacks that one process works on at a time.
const WORKERS: usize = 4;

/// routeto's clock goes this much faster than the world's.
const SPEED: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Command {
    First,
    Change,
    NoChange,
    SetToken,
    Teardown,
}

const COMMANDS: [Command; 5] =
    [Command::First, Command::Change, Command::NoChange, Command::SetToken, Command::Teardown];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Kind {
    Answer500,
    Answer503,
    Throttled,
    CutBefore,
    CutAfter,
    Silence,
    Slow,
    Kill,
    KillAfter,
    Refused,
    Interrupt,
    Terminate,
}

const KINDS: [(Kind, &str); 12] = [
    (Kind::Answer500, "500 after it was done"),
    (Kind::Answer503, "503"),
    (Kind::Throttled, "429"),
    (Kind::CutBefore, "reset before"),
    (Kind::CutAfter, "reset after"),
    (Kind::Silence, "no answer"),
    (Kind::Slow, "slow answer"),
    (Kind::Kill, "kill -9 before"),
    (Kind::KillAfter, "kill -9 after"),
    (Kind::Refused, "403"),
    (Kind::Interrupt, "Ctrl-C"),
    (Kind::Terminate, "SIGTERM"),
];

impl Kind {
    fn is_signal(self) -> bool {
        matches!(self, Kind::Kill | Kind::KillAfter | Kind::Interrupt | Kind::Terminate)
    }

    fn what(self, caller: &Caller) -> What {
        match self {
            Kind::Answer500 => {
                What::AnswerAfter { status: 500, code: "InternalFailure", message: "fault" }
            }
            Kind::Answer503 => {
                What::Answer { status: 503, code: "ServiceUnavailable", message: "fault" }
            }
            Kind::Throttled => {
                What::Answer { status: 429, code: "TooManyRequestsException", message: "fault" }
            }
            // nothing tries that again: the command fails
            Kind::Refused => What::Answer { status: 403, code: "AccessDenied", message: "fault" },
            Kind::CutBefore => What::CutBefore,
            Kind::CutAfter => What::CutAfter,
            Kind::Silence => What::Silence,
            Kind::Slow => What::Delay(Duration::from_millis(1500)),
            Kind::Kill => What::Signal(caller.clone(), Signal::KILL),
            Kind::KillAfter => What::SignalAfter(caller.clone(), Signal::KILL),
            Kind::Interrupt => What::Signal(caller.clone(), Signal::INT),
            Kind::Terminate => What::SignalAfter(caller.clone(), Signal::TERM),
        }
    }

    /// Exit codes that the struck command may end with.
    fn codes(self) -> &'static [i32] {
        match self {
            Kind::Kill | Kind::KillAfter => &[137],
            Kind::Interrupt | Kind::Terminate => &[130],
            Kind::Refused => &[0, 1],
            // all else passes
            _ => &[0],
        }
    }
}

/// `stacks/routeto.yaml` under names of a test's own.
fn yaml() -> String {
    let text = std::fs::read_to_string(root().join("stacks/routeto.yaml")).unwrap();
    text.replace("webhooks", "NAME")
        .replace("sendgrid-events", "NAME-events")
        .replace("inbound-mail", "NAME-mail")
}

/// Another prefix and expiry, content type, memory, and number of receives; a queue goes with its
/// route, and another comes.
fn changed() -> String {
    let changed = yaml()
        .replace("/callbacks/events:", "/callbacks/more:")
        .replace("NAME-events", "NAME-more")
        .replace("prefix: SendGrid/", "prefix: Other/")
        .replace("expire_after: 400", "expire_after: 300")
        .replace("after: 5", "after: 4")
        .replace("accept: [multipart/form-data]", "accept: [multipart/form-data, text/plain]")
        .replace("\nroutes:\n", "\nfunction: { memory: 256 }\n\nroutes:\n");
    assert!(
        ["/more:", "-more-", "Other/", "300", "after: 4", "text/plain", "memory: 256"]
            .iter()
            .all(|word| changed.contains(word))
    );
    changed
}

struct Scene {
    proxy: Proxy,
    stack: Stack,
}

impl Scene {
    fn new() -> Self {
        let proxy = Proxy::start(Emulator::shared());
        let stack = Stack::through(&proxy, &yaml());
        Scene { proxy, stack }
    }

    /// The command line; the file is made what the command is about.
    fn command(&self, command: Command) -> Routeto {
        if command == Command::Change {
            self.stack.rewrite(&changed());
        }
        let routeto = match command {
            Command::First | Command::Change | Command::NoChange => {
                self.stack.routeto("deploy", "")
            }
            Command::SetToken => {
                let token = "another-Token_0123456789.~";
                self.stack
                    .routeto("set-token", "--stage prod --now --token-stdin")
                    .stdin(token)
                    .secret(token)
            }
            Command::Teardown => self.stack.routeto("teardown", "--yes"),
        };
        // the probe's requests are calls, too
        routeto
            .env("ROUTETO_TEST_CLOCK", SPEED.to_string())
            .env("ROUTETO_INVOKE_URL", self.proxy.invoke_url())
    }

    /// All that stands, without what differs between two clean runs.
    fn world(&self) -> World {
        let text = self.stack.world().0.to_string().replace(&self.stack.name, "NAME");
        World(serde_json::from_str(&without_ids(&text)).unwrap())
    }
}

/// The API's id is in the functions' policies: `routeto-<id>`, `:<id>/prod/POST/*`.
fn without_ids(text: &str) -> String {
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find("\"routeto-").map(|at| at + from + "\"routeto-".len()) {
        let end = at + out[at..].find('"').unwrap_or(0);
        let id = out[at..end].to_owned();
        from = at;
        // lifecycle rules begin so, too, and have no id in them
        if id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            out = out.replace(&id, "API");
        }
    }
    out
}

/// What a clean run makes of it: how many calls, and what stands then.
struct Clean {
    /// Those that may change something, and the others.
    calls: BTreeMap<(Command, bool), usize>,
    worlds: BTreeMap<Command, World>,
}

fn clean() -> Clean {
    let scene = Scene::new();
    let (mut calls, mut worlds) = (BTreeMap::new(), BTreeMap::new());
    for command in COMMANDS {
        scene.proxy.clear();
        scene.command(command).check();
        for writes in [true, false] {
            calls.insert(
                (command, writes),
                scene.proxy.calls().iter().filter(|call| call.mutating == writes).count(),
            );
        }
        worlds.insert(command, scene.world());
    }
    assert_eq!(worlds[&Command::Teardown].names(), [] as [String; 0]);
    Clean { calls, worlds }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Cell {
    command: Command,
    kind: Kind,
    /// Whether it strikes a call that may change something, and which of those, or of the others,
    /// from 1.
    writes: bool,
    call: usize,
}

/// What came of a cell.
#[derive(Serialize, Deserialize)]
struct Outcome {
    cell: Cell,
    /// The operation that was struck; none where the command had fewer calls this time.
    operation: Option<String>,
    /// Exit code of the struck command.
    status: i32,
    /// From the signal to the end.
    ended: Option<Duration>,
    problems: Vec<String>,
    /// Which build of routeto it was, and of this test.
    #[serde(default)]
    build: String,
}

/// A command with its fault, then again without.
fn run(scene: &Scene, clean: &Clean, cell: Cell) -> Outcome {
    let caller = Caller::default();
    scene.proxy.clear();
    let which = if cell.writes { Which::Mutation(cell.call) } else { Which::Read(cell.call) };
    scene.proxy.fault(which, cell.kind.what(&caller));
    let running = scene.command(cell.command).spawn();
    caller.is(running.id());
    let output = running.wait();
    let ended = caller.signalled().map(|at| at.elapsed());
    scene.proxy.heal();
    // a sign of the lock needn't be answered when a command ends: then its process is gone before
    // the signal
    let missed = cell.kind.is_signal() && ended.is_none();
    let operation =
        scene.proxy.calls().iter().find(|call| call.faulty && !missed).map(|call| call.name());
    let mut problems = vec![];
    if operation.is_some() && !cell.kind.codes().contains(&output.status)
        || operation.is_none() && output.status != 0
    {
        problems.push(format!("the struck command ended with {}: {}", output.status, end(&output)));
    }
    // a refused change is no success; the lock is given back and the history written as well as may
    // be
    let writes = operation
        .as_deref()
        .is_some_and(|operation| cell.writes && !operation.starts_with("logs:"));
    if cell.kind == Kind::Refused && writes && output.status == 0 {
        problems.push(format!("the struck command ended with 0: {}", end(&output)));
    }
    if output.stderr.contains("panicked") {
        problems.push(format!("it panicked: {}", end(&output)));
    }
    // who has nothing to do takes no lock, and leaves one as it is that a dead holder left
    let wrong = || {
        let took_lock =
            scene.proxy.mutations().iter().any(|name| name.starts_with("logs:CreateLog"));
        let lines = differences(&scene.world(), &clean.worlds[&cell.command]);
        lines
            .into_iter()
            .filter(|line| took_lock || !line.contains("/routeto/NAME.lock:"))
            .collect::<Vec<_>>()
    };
    // the lock that it couldn't give back is told, and no failure
    let still_locked =
        cell.kind == Kind::Refused && operation.as_deref() == Some("logs:CreateLogStream");
    let mut right = false;
    if output.status == 0 && operation.is_some() && !still_locked {
        let wrong = wrong();
        right = wrong.is_empty();
        problems.extend(wrong.into_iter().map(|line| format!("after exit 0: {line}")));
    }
    scene.proxy.clear();
    let again = scene.command(cell.command).output();
    if again.status != 0 {
        problems.push(format!(
            "the same command again ended with {}: {}",
            again.status,
            end(&again)
        ));
    }
    if !right || !scene.proxy.mutations().is_empty() {
        problems.extend(wrong());
    }
    Outcome { cell, operation, status: output.status, ended, problems, build: build().to_owned() }
}

/// The beginning of the SHA-256 of the program under test and of what it is measured with: a cell
/// that passed by another measure is none.
fn build() -> &'static str {
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| {
        let program = fs::read(env!("CARGO_BIN_EXE_routeto")).unwrap();
        let measure: [&[u8]; 3] = [
            include_bytes!("faults.rs"),
            include_bytes!("../support/proxy.rs"),
            include_bytes!("../support/boto.py"),
        ];
        let digest = measure
            .into_iter()
            .fold(Sha256::new_with_prefix(program), Sha256::chain_update)
            .finalize();
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    })
}

fn end(output: &Output) -> String {
    let lines: Vec<&str> = output.stderr.lines().rev().take(6).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Sebastiano Vigna's splitmix64: a seed gives the same part of the table everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, (self.next() % (at as u64 + 1)) as usize);
        }
    }
}

/// Each command's cells, in a random order in which every kind has its turn; all writes before the
/// reads, or both mixed.
fn table(clean: &Clean, seed: u64, writes_first: bool) -> BTreeMap<Command, Vec<Cell>> {
    let mut random = Random(seed);
    let mut cells = |command: Command, some: &[bool]| -> Vec<Cell> {
        let mut by_kind: Vec<Vec<Cell>> = KINDS
            .iter()
            .map(|(kind, _)| {
                let calls = some.iter().flat_map(|writes| {
                    (1..=clean.calls[&(command, *writes)]).map(|call| (*writes, call))
                });
                let mut cells: Vec<Cell> = calls
                    .map(|(writes, call)| Cell { command, kind: *kind, writes, call })
                    .collect();
                random.shuffle(&mut cells);
                cells
            })
            .collect();
        random.shuffle(&mut by_kind);
        let longest = by_kind.iter().map(Vec::len).max().unwrap_or(0);
        (0..longest)
            .flat_map(|n| {
                by_kind.iter().filter_map(move |cells| cells.get(n).copied()).collect::<Vec<_>>()
            })
            .collect()
    };
    COMMANDS
        .into_iter()
        .map(|command| match writes_first {
            true => (command, [cells(command, &[true]), cells(command, &[false])].concat()),
            false => (command, cells(command, &[true, false])),
        })
        .collect()
}

/// Stacks side by side, each going through the commands one after the other, a cell each, until
/// `chains` are done or the time is over.
fn run_all(
    clean: &Clean,
    table: &BTreeMap<Command, Vec<Cell>>,
    workers: usize,
    chains: &[usize],
    until: Option<Instant>,
    kept: Option<&Path>,
) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![]);
    let keep = |outcome: &Outcome| {
        if let Some(path) = kept {
            // one write: another process may be at it, too
            let line = serde_json::to_string(outcome).unwrap() + "\n";
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(chain) = chains.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if until.is_some_and(|until| Instant::now() > until) {
                        return;
                    }
                    let scene = Scene::new();
                    let last = COMMANDS.into_iter().rfind(|command| table[command].len() > *chain);
                    for command in COMMANDS {
                        let Some(cell) = table[&command].get(*chain) else {
                            // what no cell needs any more is left out
                            if command == Command::Teardown
                                || last.is_some_and(|last| command < last)
                                    && command <= Command::Change
                            {
                                scene.command(command).check();
                            }
                            continue;
                        };
                        let outcome = run(&scene, clean, *cell);
                        let failed = !outcome.problems.is_empty();
                        if failed {
                            eprintln!(
                                "{:?} {:?} {:?}",
                                outcome.cell, outcome.operation, outcome.problems
                            );
                        }
                        keep(&outcome);
                        let mut outcomes = outcomes.lock().unwrap();
                        outcomes.push(outcome);
                        if outcomes.len().is_multiple_of(50) {
                            eprintln!("{} cells", outcomes.len());
                        }
                        drop(outcomes);
                        if failed {
                            // what comes next would only be this again
                            scene.command(Command::Teardown).output();
                            break;
                        }
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// What earlier runs kept; a cell's last outcome counts, and one that struck nothing, or failed, is
/// taken again.
fn kept(path: &Path) -> Vec<Outcome> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let outcomes = text.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()))
    });
    let by_cell: BTreeMap<Cell, Outcome> =
        outcomes.map(|outcome: Outcome| (outcome.cell, outcome)).collect();
    by_cell.into_values().collect()
}

/// `1/2`: the first of two; every process of a run has another.
fn part() -> (usize, usize) {
    let text = std::env::var("ROUTETO_FAULTS_PART").unwrap_or_else(|_| "1/1".into());
    let (part, of) = text.split_once('/').expect("ROUTETO_FAULTS_PART is like 1/2");
    (part.parse().unwrap(), of.parse().unwrap())
}

#[test]
fn whatever_becomes_of_one_call_the_same_command_again_ends_as_a_clean_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let clean = clean();
    let seed = number("ROUTETO_FAULTS_SEED").unwrap_or(1);
    let whole = number("ROUTETO_FAULTS_MINUTES");
    let mut table = table(&clean, seed, whole.is_some());
    let only = std::env::var("ROUTETO_FAULTS_ONLY").ok();
    if let Some(only) = &only {
        let wanted =
            |cell: &Cell| only.split_whitespace().all(|word| format!("{cell:?}").contains(word));
        table.values_mut().for_each(|cells| cells.retain(wanted));
    }
    let outcomes = match whole {
        _ if only.is_some() => {
            let longest = table.values().map(Vec::len).max().unwrap_or(0);
            run_all(&clean, &table, WORKERS, &(0..longest).collect::<Vec<_>>(), None, None)
        }
        Some(minutes) => {
            let path = target().join("faults").join(format!("seed-{seed}.jsonl"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let done =
                |outcome: &Outcome| outcome.operation.is_some() && outcome.problems.is_empty();
            let done: BTreeMap<Cell, bool> = kept(&path)
                .iter()
                .filter(|outcome| done(outcome))
                .map(|outcome| (outcome.cell, outcome.build == build()))
                .collect();
            let (part, of) = part();
            let mut left = table.clone();
            for cells in left.values_mut() {
                // by the call's number: two processes' tables needn't be in one order, as the one
                // may have seen a poll more
                cells.retain(|cell| cell.call % of == part - 1 && done.get(cell) != Some(&true));
                // those that only another build did, after those that none did
                cells.sort_by_key(|cell| done.contains_key(cell));
            }
            let longest = left.values().map(Vec::len).max().unwrap_or(0);
            let until = Instant::now() + Duration::from_secs(minutes * 60);
            run_all(
                &clean,
                &left,
                WORKERS,
                &(0..longest).collect::<Vec<_>>(),
                Some(until),
                Some(&path),
            );
            kept(&path)
        }
        None => run_all(&clean, &table, WORKERS, &(0..12).collect::<Vec<_>>(), None, None),
    };
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.problems.is_empty())
        .map(|outcome| {
            format!("{:?} at {:?}: {:#?}", outcome.cell, outcome.operation, outcome.problems)
        })
        .collect();
    let text = report(&clean, &table, &outcomes, seed);
    println!("{text}");
    if whole.is_some() && only.is_none() {
        fs::write(root().join("docs/faults.md"), &text).unwrap();
    }
    assert!(
        failed.is_empty(),
        "{} of {} cells, seed {seed}:\n{}",
        failed.len(),
        outcomes.len(),
        failed.join("\n")
    );
    // a second, and what a busy machine needs to run two processes at once
    let slow: Vec<String> = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.cell.kind, Kind::Interrupt | Kind::Terminate))
        .filter(|outcome| outcome.ended.is_some_and(|ended| ended > Duration::from_secs(3)))
        .map(|outcome| format!("{:?}: {:?}", outcome.cell, outcome.ended))
        .collect();
    assert_eq!(slow, [] as [String; 0]);
    if whole.is_none() && only.is_none() {
        // parallel calls don't come in one order: a cell may be of a call more than there are this
        // time
        let struck = outcomes.iter().filter(|outcome| outcome.operation.is_some()).count();
        assert!(
            outcomes.len() == 60 && struck >= 57,
            "{struck} of {} cells struck a call",
            outcomes.len()
        );
    }
}

/// The table as Markdown: calls that were struck of those there are, by command and fault.
fn report(
    clean: &Clean,
    table: &BTreeMap<Command, Vec<Cell>>,
    outcomes: &[Outcome],
    seed: u64,
) -> String {
    let date = std::process::Command::new("date").args(["-u", "+%Y-%m-%d"]).output().unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    let struck: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.operation.is_some()).collect();
    let converged = struck.iter().filter(|outcome| outcome.problems.is_empty()).count();
    let all: usize = table.values().map(Vec::len).sum();
    let builds =
        match struck.iter().map(|outcome| outcome.build.as_str()).collect::<BTreeSet<_>>().len() {
            0 | 1 => String::new(),
            builds => {
                let last = struck.iter().filter(|outcome| outcome.build == build()).count();
                format!("; {last} of them by the last of {builds} builds of routeto")
            }
        };
    let stacks = WORKERS * part().1;
    let mut text = format!(
        "# Every call, every fault\n\n\
         `stacks/routeto.yaml` (two stages, three routes), deployed, changed, deployed again, given a token and torn down through a proxy that does something\n\
         to one call of one of these commands; then the same command again. The state must be a clean run's: all resources, names, tags, versions,\n\
         policies; after a teardown nothing.\n\n\
         Run on {}, seed {seed}, {stacks} stacks side by side: {} of {all} cells, each call of each command times each fault; {converged} of {} converged{builds}.\n\
         `tests/e2e/faults.rs` runs 60 of them each time. `ROUTETO_FAULTS_MINUTES=30 cargo test --test e2e whatever_becomes` goes on with the table, with\n\
         what was never run first, then with what only another build of routeto did, and writes this file.\n\n\
         A cell: calls struck of those that the clean run has, first those that may change something, then those that read.\n\n",
        date.trim(),
        struck.len(),
        struck.len()
    );
    let _ = writeln!(
        text,
        "| fault | first deploy | change | no change | set-token | teardown |\n|---|---|---|---|---|---|"
    );
    for (kind, name) in KINDS {
        let _ = write!(text, "| {name} |");
        for command in COMMANDS {
            let here: Vec<_> = struck
                .iter()
                .filter(|outcome| (outcome.cell.command, outcome.cell.kind) == (command, kind))
                .collect();
            let ran = |writes: bool| {
                let of = clean.calls[&(command, writes)];
                // parallel calls don't come in one order: now and then there is one more of a kind
                // than in the clean run
                format!(
                    "{}/{of}",
                    here.iter().filter(|outcome| outcome.cell.writes == writes).count()
                )
            };
            let bad = here.iter().filter(|outcome| !outcome.problems.is_empty()).count();
            let bad = if bad > 0 { format!(", **{bad} not converged**") } else { String::new() };
            let _ = write!(text, " {} · {}{bad} |", ran(true), ran(false));
        }
        text.push('\n');
    }
    let signals = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.cell.kind, Kind::Interrupt | Kind::Terminate));
    let mut times: Vec<Duration> = signals.filter_map(|outcome| outcome.ended).collect();
    times.sort();
    if let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) {
        let _ = writeln!(
            text,
            "\nFrom Ctrl-C or SIGTERM to the end: median {:.2} s, longest {:.2} s, on a busy machine, with {stacks} stacks at work.",
            median.as_secs_f64(),
            longest.as_secs_f64()
        );
    }
    let mut operations: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in &struck {
        *operations.entry(outcome.operation.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let _ = writeln!(
        text,
        "\nBy operation: {}.",
        operations
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let went = |status: i32| struck.iter().filter(|outcome| outcome.status == status).count();
    let _ = writeln!(
        text,
        "\nThe struck command ended with 0 in {}, with 1 in {}, with 130 in {}, killed in {} cells.",
        went(0),
        went(1),
        went(130),
        went(137)
    );
    text
}

#[test]
fn two_worlds_are_compared_by_everything_but_ids() {
    let text = r#"{"Sid":"routeto-abcdef1234","source":"arn:x:abcdef1234/prod/POST/*","rule":"routeto-expire-all"}"#;
    assert_eq!(
        without_ids(text),
        r#"{"Sid":"routeto-API","source":"arn:x:API/prod/POST/*","rule":"routeto-expire-all"}"#
    );
    assert_eq!(stack::token("prod").len(), "prod-Token_0123456789.~".len());
    let _: Value = serde_json::from_str(text).unwrap();
}
