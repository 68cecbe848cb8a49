//! The objects that `--output json` prints: versioned, and kept.

use crate::{
    apply::Applied,
    diagnostic::{Diagnostic, Place, Severity},
    error::{Error, Failure},
    plan::{Plan, Step, Verb},
};
use serde_json::{Map, Value, json};

/// The shape's version; it rises when a key is taken away or changes its meaning.
pub const VERSION: u32 = 1;

/// `{"created":[…],"updated":[…],"replaced":[…],"deleted":[…],"unchanged":[…],"kept":[…]}`, names
/// as `kind name`. With `applied`, only what was done.
pub fn changes(plan: &Plan, applied: Option<&Applied>) -> Value {
    let mut lists: Map<String, Value> = Map::new();
    for (verb, word) in [
        (Verb::Create, "created"),
        (Verb::Update, "updated"),
        (Verb::Replace, "replaced"),
        (Verb::Delete, "deleted"),
    ] {
        let mut names: Vec<String> = plan
            .with(verb)
            .filter(|change| change.key.step == Step::Main)
            .filter(|change| {
                applied.is_none_or(|applied| {
                    applied.done.contains(&change.key) && !applied.kept.contains_key(&change.key)
                })
            })
            .map(|change| change.key.id.to_string())
            .collect();
        names.sort();
        lists.insert(word.into(), json!(names));
    }
    lists.insert(
        "unchanged".into(),
        json!(plan.unchanged.iter().map(ToString::to_string).collect::<Vec<_>>()),
    );
    let late = applied
        .iter()
        .flat_map(|applied| &applied.kept)
        .map(|(key, why)| json!({"resource": key.id.to_string(), "why": why}));
    let kept = plan
        .kept
        .iter()
        .map(|kept| json!({"resource": kept.id.to_string(), "why": kept.why}))
        .chain(late);
    lists.insert("kept".into(), kept.collect());
    Value::Object(lists)
}

/// A problem in a file: `{"severity":"error"|"warning","file","line","column","message","help"}`.
/// Line and column count from 1 and are null where the file as a whole is meant; so is help where
/// there is none.
pub fn diagnostic(diagnostic: &Diagnostic) -> Value {
    // The line itself and the caret's width are for people.
    let Diagnostic { severity, file, place, source_line: _, width: _, message, help } = diagnostic;
    let severity = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let (line, column) = place.map(|Place { line, column }| (line, column)).unzip();
    json!({"severity": severity, "file": file.display().to_string(), "line": line, "column": column, "message": message, "help": help})
}

/// Why a command ended without doing its work: `{"version":1,"error":{"exit_code","text",…}}`.
/// `text` is what a person reads; the same in parts is `failures`, `[{"place","what","help"}]`, or
/// for a file of the user's `diagnostics`, as [`diagnostic`] has them.
pub fn error(error: &Error) -> Value {
    let mut object = json!({"exit_code": error.exit_code(), "text": error.to_string()});
    match error {
        Error::Stack(diagnostics) => {
            object["diagnostics"] = diagnostics.iter().map(diagnostic).collect()
        }
        Error::Usage(failure) | Error::Interrupted(failure) => {
            object["failures"] = json!([self::failure(failure)])
        }
        Error::Failed(failures) => object["failures"] = failures.iter().map(failure).collect(),
    }
    json!({"version": VERSION, "error": object})
}

fn failure(failure: &Failure) -> Value {
    let Failure { place, what, now } = failure;
    json!({"place": place, "what": what, "help": now})
}

/// What a plan takes away that is in service: `[{"route":"/input","stages":["prod"]}]`; `route` is
/// null where the whole stage goes.
pub fn lost(plan: &Plan) -> Value {
    plan.lost.iter().map(|lost| json!({"route": lost.route, "stages": lost.stages})).collect()
}

/// What was set by hand and opens doors or endangers records: `[{"resource":"role
/// hooks-prod-eu-west-1","what","hint"}]`.
pub fn risks(plan: &Plan) -> Value {
    plan.risks
        .iter()
        .map(|risk| json!({"resource": risk.id.to_string(), "what": risk.what, "hint": risk.hint}))
        .collect()
}

/// A plan: `{"version":1,"stack","region","changes":{…},"differences":{"<resource>":[{"attribute","
/// observed","desired"}]},"lost":[…],"risks":[…]}`.
pub fn plan(stack: &str, region: &str, plan: &Plan) -> Value {
    let mut differences: Map<String, Value> = Map::new();
    for change in &plan.changes {
        if !change.differences.is_empty() {
            let list = change.differences.iter().map(
                |difference| json!({"attribute": difference.attribute, "observed": difference.observed, "desired": difference.desired}),
            );
            let of = differences.entry(change.key.id.to_string()).or_insert_with(|| json!([]));
            if let Value::Array(of) = of {
                of.extend(list);
            }
        }
    }
    json!({
        "version": VERSION, "stack": stack, "region": region, "changes": changes(plan, None), "differences": differences,
        "lost": lost(plan), "risks": risks(plan),
    })
}
