//! A plan as text: a line per resource, its differences below it, templates and policies as text
//! diffs.

use super::{Report, Style};
use crate::{
    plan::{Action, Change, Difference, Plan, Step, Verb},
    resource::Kind,
    spec::Stack,
};
use similar::{ChangeTag, TextDiff};
use std::fmt::Write;

impl Report {
    /// The plan, as a person reads it; stages in the stack file's order.
    pub fn plan(&self, stack: &Stack, plan: &Plan) -> String {
        let mut text = String::new();
        let mut changes: Vec<&Change> =
            plan.changes.iter().filter(|change| is_shown(change)).collect();
        changes.sort_by_cached_key(|change| {
            (change.key.id.kind, stack.order_key(&change.key.id.name), change.key.step)
        });
        for change in changes {
            let (sign, style) = sign(change);
            let _ = writeln!(
                text,
                "{} {}",
                self.paint(style, sign),
                self.paint(Style::Bold, &change.key.id.to_string())
            );
            // What a new resource consists of is what the stack file says; what differs is what a
            // person has to see.
            if self.verbose || change.verb() == Some(Verb::Update) || change.verb().is_none() {
                for difference in &change.differences {
                    match whole_method(difference, &change.differences) {
                        Some(count) if !self.verbose => {
                            self.whole_method(&mut text, difference, count)
                        }
                        _ if self.verbose || !of_whole_method(difference, &change.differences) => {
                            self.difference(&mut text, difference)
                        }
                        _ => {}
                    }
                }
            }
        }
        for kept in &plan.kept {
            let _ = writeln!(
                text,
                "{} {}: kept, {}",
                self.paint(Style::Changed, "="),
                kept.id,
                kept.why
            );
        }
        if self.verbose {
            for id in &plan.unchanged {
                let _ = writeln!(text, "  {}", self.paint(Style::Dim, &format!("{id}: unchanged")));
            }
        }
        for lost in &plan.lost {
            let _ = writeln!(text, "{}", self.paint(Style::Changed, &format!("warning: {lost}")));
        }
        self.risks(&mut text, plan);
        for note in &plan.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text.push_str(&self.summary(plan));
        text
    }

    /// A line for each thing set by hand that opens doors or endangers records.
    pub fn risks(&self, text: &mut String, plan: &Plan) {
        for risk in &plan.risks {
            let _ = writeln!(text, "{}", self.paint(Style::Changed, &format!("warning: {risk}")));
        }
    }

    /// `3 to create, 1 to update, 5 unchanged`, or that there is nothing to do.
    pub fn summary(&self, plan: &Plan) -> String {
        if plan.is_empty() {
            return format!(
                "nothing to do: {} resources are as the stack file says\n",
                plan.unchanged.len()
            );
        }
        let counts = [
            (Verb::Create, "create"),
            (Verb::Update, "update"),
            (Verb::Replace, "replace"),
            (Verb::Delete, "delete"),
        ];
        let mut parts: Vec<String> = counts
            .iter()
            .map(|(verb, word)| (plan.with(*verb).count(), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} to {word}"))
            .collect();
        if plan.pruned() > 0 {
            parts.push(format!("{} old versions and deployments to prune", plan.pruned()));
        }
        if parts.is_empty() {
            parts.push("a permission to grant".into());
        }
        if !plan.kept.is_empty() {
            parts.push(format!("{} kept", plan.kept.len()));
        }
        parts.push(format!("{} unchanged", plan.unchanged.len()));
        format!("{}\n", parts.join(", "))
    }

    /// What an attribute is and what it becomes, as lines of a plan.
    pub fn difference(&self, text: &mut String, difference: &Difference) {
        let Difference { attribute, observed, desired } = difference;
        match (observed, desired) {
            (Some(before), Some(after)) if before.contains('\n') || after.contains('\n') => {
                let _ = writeln!(text, "    {attribute}:");
                self.text_diff(text, before, after);
            }
            (Some(before), Some(after)) => {
                let _ = writeln!(
                    text,
                    "    {attribute}: {} → {}",
                    self.paint(Style::Bad, before),
                    self.paint(Style::Good, after)
                );
            }
            (Some(before), None) => self.one_sided(text, "-", Style::Bad, attribute, before),
            (None, Some(after)) => self.one_sided(text, "+", Style::Good, attribute, after),
            (None, None) => {}
        }
    }

    /// A method that comes or goes with all that belongs to it.
    fn whole_method(
        &self,
        text: &mut String,
        Difference { attribute, observed, .. }: &Difference,
        count: usize,
    ) {
        let (sign, style) = if observed.is_some() { ("-", Style::Bad) } else { ("+", Style::Good) };
        let _ = writeln!(
            text,
            "  {} {}: {count} settings (-v shows)",
            self.paint(style, sign),
            self.paint(style, attribute)
        );
    }

    fn one_sided(&self, text: &mut String, sign: &str, style: Style, attribute: &str, value: &str) {
        if value.contains('\n') && !self.verbose {
            // a text that comes or goes as a whole has nothing to compare
            let count = value.lines().count();
            let _ = writeln!(
                text,
                "  {} {attribute}: {count} line{} (-v shows)",
                self.paint(style, sign),
                if count == 1 { "" } else { "s" }
            );
        } else if value.contains('\n') {
            let _ = writeln!(text, "  {} {attribute}:", self.paint(style, sign));
            for line in value.lines() {
                let _ = writeln!(text, "      {}", self.paint(style, &format!("{sign}{line}")));
            }
        } else {
            let _ = writeln!(
                text,
                "  {} {attribute}: {}",
                self.paint(style, sign),
                self.paint(style, value)
            );
        }
    }

    fn text_diff(&self, text: &mut String, before: &str, after: &str) {
        let diff = TextDiff::from_lines(before, after);
        for group in diff.grouped_ops(1) {
            for op in group {
                for change in diff.iter_changes(&op) {
                    let (sign, style) = match change.tag() {
                        ChangeTag::Delete => ("-", Style::Bad),
                        ChangeTag::Insert => ("+", Style::Good),
                        ChangeTag::Equal => (" ", Style::Dim),
                    };
                    let line = change.value().trim_end_matches('\n');
                    let _ = writeln!(text, "      {}", self.paint(style, &format!("{sign}{line}")));
                }
            }
        }
    }
}

/// How many differences are those of this method, where the difference is the method itself, `POST
/// /input`, which one side has and the other has not.
fn whole_method(difference: &Difference, all: &[Difference]) -> Option<usize> {
    let (verb, path) = difference.attribute.split_once(' ')?;
    let is_method = verb.bytes().all(|byte| byte.is_ascii_uppercase())
        && path.starts_with('/')
        && !path.contains(' ');
    (is_method && difference.observed.is_some() != difference.desired.is_some()).then(|| {
        all.iter().filter(|other| belongs(&other.attribute, &difference.attribute)).count()
    })
}

/// Whether it is one of the settings of a method that comes or goes as a whole.
fn of_whole_method(difference: &Difference, all: &[Difference]) -> bool {
    all.iter().any(|other| {
        belongs(&difference.attribute, &other.attribute) && whole_method(other, all).is_some()
    })
}

/// `POST /input` and `POST /input timeout` belong to `POST /input`; `POST /input-2` does not.
fn belongs(attribute: &str, method: &str) -> bool {
    attribute.strip_prefix(method).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// Steps that only serve another resource's change stay out of sight.
fn is_shown(change: &Change) -> bool {
    match change.action {
        Action::CreateDeployment { .. }
        | Action::AwaitVersion { .. }
        | Action::Journal { .. }
        | Action::Wait { .. } => false,
        Action::Permit { .. } | Action::ConfirmQueue { .. } => !change.differences.is_empty(),
        _ => !matches!(change.key.step, Step::Trim | Step::Rest) || !change.differences.is_empty(),
    }
}

fn sign(change: &Change) -> (&'static str, Style) {
    match change.verb() {
        Some(Verb::Create) => ("+", Style::Good),
        Some(Verb::Delete) => ("-", Style::Bad),
        Some(Verb::Replace) => ("±", Style::Changed),
        Some(Verb::Update) | None => ("~", Style::Changed),
    }
}

/// The kinds that a person thinks of as data.
pub fn holds_data(kind: Kind) -> bool {
    matches!(kind, Kind::Bucket | Kind::Queue)
}
