//! Walks a plan: whatever has nothing left to wait for is carried out, all of it at once; a failure
//! skips only what waits for it.
//!
//! Makes no decisions: what is done stands in the plan, how it is done is the executor's.

use crate::{
    error::Failure,
    plan::{Change, Key, Late, Plan},
    resource::Id,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

/// Carries out one change.
pub trait Executor: Sync {
    /// Does it, and answers the value that later changes need (an id, a version), if there is one.
    fn execute<'a>(
        &'a self,
        change: &'a Change,
        outputs: Outputs,
        tell: &'a (dyn Fn(String) + Send + Sync),
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Done, and this is the value that later changes need.
    Brought(String),
    /// It stays after all, and why: a bucket in which something was stored in the meantime.
    Kept(String),
}

/// What earlier changes brought: values, and what stays after all.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    values: BTreeMap<Key, String>,
    /// What was to go and stays.
    kept: BTreeSet<Id>,
}

impl Outputs {
    /// A value that the plan knew, or that an earlier change brought.
    pub fn get(&self, late: &Late) -> Option<String> {
        match late {
            Late::Known(value) => Some(value.clone()),
            Late::From(key) => self.values.get(key).cloned(),
        }
    }

    /// It was to go before this change, and stays.
    pub fn has_kept(&self, id: &Id) -> bool {
        self.kept.contains(id)
    }
}

/// Is told how it goes.
pub trait Watch: Sync {
    fn started(&self, change: &Change);
    /// A wait that a person notices, and its reason.
    fn waiting(&self, change: &Change, reason: &str);
    fn finished(&self, change: &Change, outcome: &Outcome, took: Duration);
    fn failed(&self, change: &Change, failure: &Failure);
    fn skipped(&self, change: &Change);
}

/// How a plan went.
#[derive(Debug, Default)]
pub struct Applied {
    pub done: BTreeSet<Key>,
    /// What was to go and stays, and why.
    pub kept: BTreeMap<Key, String>,
    /// Root causes only.
    pub failed: Vec<(Key, Failure)>,
    pub skipped: BTreeSet<Key>,
    pub outputs: Outputs,
}

/// Carries out the whole plan.
pub async fn apply(plan: &Plan, executor: &dyn Executor, watch: &dyn Watch) -> Applied {
    go_on(Applied::default(), plan.changes.iter().collect(), executor, watch).await
}

/// Carries out these changes of a plan, the others of which went as `applied` says.
pub async fn go_on(
    mut applied: Applied,
    changes: Vec<&Change>,
    executor: &dyn Executor,
    watch: &dyn Watch,
) -> Applied {
    let mut waiting = changes;
    let mut running = FuturesUnordered::new();
    loop {
        let (ready, rest): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|change| change.after.iter().all(|key| applied.done.contains(key)));
        waiting = rest;
        for change in ready {
            watch.started(change);
            let outputs = applied.outputs.clone();
            running.push(async move {
                let start = Instant::now();
                let tell = |reason: String| watch.waiting(change, &reason);
                (change, executor.execute(change, outputs, &tell).await, start.elapsed())
            });
        }
        let Some((change, outcome, took)) = running.next().await else { break };
        match outcome {
            Ok(outcome) => {
                watch.finished(change, &outcome, took);
                applied.done.insert(change.key.clone());
                match outcome {
                    Outcome::Done => {}
                    Outcome::Brought(value) => {
                        applied.outputs.values.insert(change.key.clone(), value);
                    }
                    Outcome::Kept(why) => {
                        applied.outputs.kept.insert(change.key.id.clone());
                        applied.kept.insert(change.key.clone(), why);
                    }
                }
            }
            Err(failure) => {
                watch.failed(change, &failure);
                applied.failed.push((change.key.clone(), failure));
            }
        }
    }
    for change in waiting {
        watch.skipped(change);
        applied.skipped.insert(change.key.clone());
    }
    applied
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Action, Step},
        resource::Kind,
    };
    use std::sync::Mutex;

    struct Fake {
        order: Mutex<Vec<String>>,
        fails: &'static str,
    }

    impl Executor for Fake {
        fn execute<'a>(
            &'a self,
            change: &'a Change,
            outputs: Outputs,
            _tell: &'a (dyn Fn(String) + Send + Sync),
        ) -> Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>> {
            Box::pin(async move {
                let name = change.key.id.name.clone();
                let got = change
                    .after
                    .iter()
                    .next()
                    .and_then(|key| outputs.get(&Late::From(key.clone())));
                self.order.lock().expect("not poisoned").push(format!("{name} got {got:?}"));
                if name == self.fails {
                    Err(Failure::new(name, "no"))
                } else {
                    Ok(Outcome::Brought(format!("from {name}")))
                }
            })
        }
    }

    struct Silent;

    impl Watch for Silent {
        fn started(&self, _: &Change) {}
        fn waiting(&self, _: &Change, _: &str) {}
        fn finished(&self, _: &Change, _: &Outcome, _: Duration) {}
        fn failed(&self, _: &Change, _: &Failure) {}
        fn skipped(&self, _: &Change) {}
    }

    fn key(name: &str) -> Key {
        Key { id: Id::new(Kind::Queue, name), step: Step::Main }
    }

    fn plan() -> Plan {
        let change = |name: &str, after: &[&str]| Change {
            key: key(name),
            action: Action::DeleteQueue { purge: false, sources: BTreeSet::new() },
            differences: vec![],
            after: after.iter().map(|name| key(name)).collect(),
        };
        Plan {
            changes: vec![
                change("c", &["b"]),
                change("b", &["a"]),
                change("a", &[]),
                change("x", &[]),
            ],
            ..Plan::default()
        }
    }

    #[tokio::test]
    async fn what_is_waited_for_comes_first_and_hands_its_value_on() {
        let fake = Fake { order: Mutex::default(), fails: "" };
        let applied = apply(&plan(), &fake, &Silent).await;
        assert!(applied.failed.is_empty() && applied.skipped.is_empty());
        assert_eq!(
            *fake.order.lock().expect("not poisoned"),
            ["a got None", "x got None", "b got Some(\"from a\")", "c got Some(\"from b\")"]
        );
    }

    #[tokio::test]
    async fn a_failure_skips_only_what_waits_for_it() {
        let fake = Fake { order: Mutex::default(), fails: "b" };
        let applied = apply(&plan(), &fake, &Silent).await;
        assert_eq!(applied.failed, [(key("b"), Failure::new("b", "no"))]);
        assert_eq!(applied.skipped, [key("c")].into());
        assert_eq!(applied.done, [key("a"), key("x")].into());
    }
}
