//! How a plan's carrying out is shown: on a terminal a line per resource with its state and time,
//! elsewhere plain lines, or JSON lines.

use super::{Report, Style, tell};
use crate::{
    apply::{Outcome, Watch},
    error::Failure,
    plan::{Action, Change, Key, Step, Verb},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

pub struct Progress {
    report: Report,
    multi: MultiProgress,
    bars: Mutex<BTreeMap<Key, ProgressBar>>,
    /// The step in hand that is no change of the plan: building, looking, probing.
    stage: Mutex<Option<ProgressBar>>,
}

impl Progress {
    pub fn new(report: Report) -> Self {
        let multi = MultiProgress::new();
        if !report.terminal || report.json || report.quiet {
            multi.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self { report, multi, bars: Mutex::default(), stage: Mutex::default() }
    }

    fn bars(&self) -> MutexGuard<'_, BTreeMap<Key, ProgressBar>> {
        self.bars.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Not on a terminal that can't move its cursor (`TERM=dumb`) either: indicatif draws nothing
    /// there, not even lines.
    fn interactive(&self) -> bool {
        self.report.terminal && !self.report.json && !self.report.quiet && !self.multi.is_hidden()
    }

    fn spinner(&self, text: String) -> ProgressBar {
        let style = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed:>4}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.multi.add(ProgressBar::new_spinner().with_style(style).with_message(text));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// Says what is being done beside the plan: "building the function".
    pub fn step(&self, text: &str) {
        let mut stage = self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = stage.take() {
            bar.finish_and_clear();
        }
        if self.report.quiet {
            return;
        }
        if self.interactive() {
            *stage = Some(self.spinner(text.to_owned()));
        } else if self.report.json {
            self.line(&json!({"event": "step", "text": text}).to_string());
        } else {
            self.line(text);
        }
    }

    /// A step that is counted: shown on a terminal only, where it doesn't become a hundred lines.
    pub fn counted(&self, text: &str, done: usize, total: usize, name: &str) {
        let stage = self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = &*stage {
            bar.set_message(format!("{text}: {done} of about {total} crates, {name}"));
        }
    }

    /// Takes everything that moves off the terminal, so that what is printed next stays.
    pub fn clear(&self) {
        self.step_done();
        for (_, bar) in std::mem::take(&mut *self.bars()) {
            bar.finish_and_clear();
        }
        let _ = self.multi.clear();
        self.multi.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }

    /// Ends the step in hand.
    pub fn step_done(&self) {
        if let Some(bar) = self.stage.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
        {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.interactive() {
            // Above the bars; never through them.
            let _ = self.multi.println(text);
        } else {
            tell(text);
        }
    }

    fn event(&self, kind: &str, change: &Change, more: serde_json::Value) {
        let mut event =
            json!({"event": kind, "resource": change.key.id.to_string(), "doing": doing(change).0});
        if let (Some(event), serde_json::Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        if !self.report.quiet {
            self.line(&event.to_string());
        }
    }

    fn end(&self, change: &Change, mark: String, text: &str) {
        if let Some(bar) = self.bars().remove(&change.key) {
            bar.finish_and_clear();
        }
        if !self.report.quiet {
            self.line(&format!("{mark} {text}"));
        }
    }
}

/// What a change is doing and has done, for people.
fn doing(change: &Change) -> (&'static str, &'static str) {
    match (&change.action, change.verb()) {
        (Action::Permit { .. }, _) => ("permitting", "permitted"),
        (Action::AwaitVersion { .. }, _) => ("waiting for", "ready"),
        (Action::CreateDeployment { .. }, _) => ("deploying", "deployed"),
        (Action::Journal { .. }, _) => ("writing down", "written"),
        (Action::Wait { .. }, _) => ("waiting for", "waited for"),
        (Action::ConfirmQueue { .. }, None) => ("making sure of", "there"),
        (_, Some(Verb::Create)) => ("creating", "created"),
        (_, Some(Verb::Replace)) => ("replacing", "replaced"),
        (_, Some(Verb::Delete)) => ("deleting", "deleted"),
        (Action::PruneVersions { .. } | Action::PruneDeployments { .. }, _) => {
            ("pruning", "pruned")
        }
        _ if change.key.step == Step::Trim => ("trimming", "trimmed"),
        _ if change.key.step == Step::Rest => ("completing", "completed"),
        _ => ("updating", "updated"),
    }
}

impl Watch for Progress {
    fn started(&self, change: &Change) {
        if let Action::Wait { seconds, why } = &change.action {
            let text = format!("waiting {seconds} s {why}");
            if self.interactive() {
                self.bars().insert(change.key.clone(), self.spinner(text));
            } else if self.report.json {
                self.event("waiting", change, json!({"reason": text}));
            } else if !self.report.quiet {
                self.line(&format!("  {text}"));
            }
            return;
        }
        let text = format!("{} {}", doing(change).0, change.key.id);
        if self.interactive() {
            let bar = self.spinner(text);
            self.bars().insert(change.key.clone(), bar);
        } else if self.report.json {
            self.event("started", change, json!({}));
        }
    }

    fn waiting(&self, change: &Change, reason: &str) {
        let text = format!("{} {}: {reason}", doing(change).0, change.key.id);
        if self.interactive() {
            if let Some(bar) = self.bars().get(&change.key) {
                bar.set_message(text);
            }
        } else if self.report.json {
            self.event("waiting", change, json!({"reason": reason}));
        } else if !self.report.quiet {
            self.line(&format!("  {text}"));
        }
    }

    fn finished(&self, change: &Change, outcome: &Outcome, took: Duration) {
        let seconds = took.as_secs_f64();
        if self.report.json {
            return self.event(
                "finished",
                change,
                json!({"seconds": (seconds * 1000.0).round() / 1000.0}),
            );
        }
        // Waiting for a version is a step of the stage's: only its wait is worth a line. That a
        // teardown is written down is none, nor what a role or a log group gets that was
        // just made.
        let silent = matches!(
            change.action,
            Action::AwaitVersion { .. } | Action::Journal { .. } | Action::Wait { .. }
        );
        if silent || change.key.step == Step::Rest {
            if let Some(bar) = self.bars().remove(&change.key) {
                bar.finish_and_clear();
            }
            return;
        }
        let (mark, done) = match outcome {
            Outcome::Kept(_) => (self.report.paint(Style::Changed, "="), "kept"),
            _ => (self.report.paint(Style::Good, "✓"), doing(change).1),
        };
        self.end(change, mark, &format!("{done:<9} {} ({seconds:.1} s)", change.key.id));
    }

    fn failed(&self, change: &Change, _failure: &Failure) {
        if self.report.json {
            return self.event("failed", change, json!({}));
        }
        self.end(
            change,
            self.report.paint(Style::Bad, "✗"),
            &format!("{:<9} {}", "failed", change.key.id),
        );
    }

    fn skipped(&self, change: &Change) {
        if self.report.json {
            return self.event("skipped", change, json!({}));
        }
        if change.verb().is_some() {
            self.end(
                change,
                self.report.paint(Style::Dim, "-"),
                &format!("{:<9} {}", "skipped", change.key.id),
            );
        }
    }
}
