//! What can only be said of the stack as a whole: names on every stage, limits, and what two places
//! say against each other.

use super::{
    Pattern, S3Format, TokenRule,
    draft::{
        DestinationDraft, RouteDraft, S3Draft, Spanned, SqsDraft, StackDraft, StageDraft,
        TemplateDraft,
    },
    load::JSON,
    names::{self, Problem, Rule},
    reader::Reader,
    suggest::{listed, nearest},
    text::Text,
    yaml::Span,
};
use crate::diagnostic::Diagnostic;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn stack(reader: &mut Reader<'_>, draft: &StackDraft) {
    let region =
        reader.world.region.or(draft.region.as_deref()).unwrap_or(names::LONGEST_REGION).to_owned();
    let mut checker = Checker { reader, draft, region: &region, told: BTreeSet::new() };
    checker.route_limits();
    checker.role_names();
    checker.stage_variables();
    checker.destination_names();
    checker.destination_values();
    checker.sharing();
    checker.dead_letters();
    checker.allow_lists();
    checker.role_policies();
    checker.content_types();
    checker.templates();
}

struct Checker<'c, 'a> {
    reader: &'c mut Reader<'a>,
    draft: &'c StackDraft,
    region: &'c str,
    /// What was told of a place already: a third stage that shares a queue is not another mistake.
    told: BTreeSet<(&'static str, Span)>,
}

/// What one destination asks of a bucket or queue that another may use too.
struct Needs {
    existing: bool,
    /// For how long objects are kept whose keys begin so.
    prefix: String,
    expire_after: Option<u32>,
    dead_letter: Option<(Option<String>, Option<u32>)>,
}

impl Needs {
    /// An expiry is a rule for a prefix, so two of them get along where neither prefix holds the
    /// other's objects.
    fn contradicts(&self, other: &Needs) -> bool {
        let overlap =
            self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        self.existing != other.existing
            || self.dead_letter != other.dead_letter
            || (overlap && self.expire_after != other.expire_after)
    }
}

impl RouteDraft {
    fn s3(&self) -> Option<&S3Draft> {
        match &self.destination {
            Some(DestinationDraft::S3(s3)) => Some(s3),
            _ => None,
        }
    }

    /// The bucket or the queue.
    fn target(&self) -> Option<(&'static str, &Text)> {
        match self.destination.as_ref()? {
            DestinationDraft::S3(s3) => Some(("bucket", s3.bucket.as_ref()?)),
            DestinationDraft::Sqs(sqs) => Some(("queue", sqs.queue.as_ref()?)),
        }
    }

    fn dead_letter(&self) -> Option<&Text> {
        match self.destination.as_ref()? {
            DestinationDraft::S3(_) => None,
            DestinationDraft::Sqs(sqs) => sqs.dead_letter.as_ref()?.queue.as_ref(),
        }
    }
}

impl<'c> Checker<'c, '_> {
    fn on(&self, stage: &StageDraft, text: &Text) -> String {
        text.pattern.resolve(&stage.name.value, names::ANY_ACCOUNT, self.region)
    }

    /// Every stage with every route.
    fn each(&self) -> impl Iterator<Item = (&'c StageDraft, &'c RouteDraft)> + use<'c> {
        let draft = self.draft;
        draft
            .stages
            .iter()
            .flat_map(move |stage| draft.routes.iter().map(move |route| (stage, route)))
    }

    fn route_limits(&mut self) {
        let routes = &self.draft.routes;
        let resources = names::api_resources(routes.iter().map(|route| route.path.value.as_str()));
        if resources > names::API_RESOURCES {
            let message = format!(
                "the routes' paths have {resources} parts in all, the root counted; an API has at most {} resources",
                names::API_RESOURCES
            );
            self.reader.error(
                self.draft.routes_at,
                message,
                "shorten the paths, or split the stack in two",
            );
        }
        let mut first: BTreeMap<&str, &RouteDraft> = BTreeMap::new();
        for route in routes.iter().filter(|route| names::path(&route.path.value).is_ok()) {
            if let Some(other) = first.insert(&route.variable, route) {
                let message = format!(
                    "routes `{}` and `{}` would share the stage variable `{}`",
                    super::shown(&other.path.value),
                    super::shown(&route.path.value),
                    super::shown(&route.variable)
                );
                self.reader.error(
                    route.path.span,
                    message,
                    "it is made of the path's letters and digits; change one of the two paths",
                );
            }
        }
    }

    fn role_names(&mut self) {
        let Some(name) = &self.draft.name else { return };
        for stage in &self.draft.stages {
            let length = name.value.len() + stage.name.value.len() + self.region.len() + 2;
            if length > names::ROLE_NAME {
                let message = format!(
                    "the role of stage `{}`, `<stack>-{0}-<region>`, would have a name of {length} characters; IAM takes {}",
                    stage.name.value,
                    names::ROLE_NAME
                );
                self.reader.error(
                    name.span,
                    message,
                    format!("make the stack's name shorter by {}", length - names::ROLE_NAME),
                );
                return;
            }
        }
    }

    fn stage_variables(&mut self) {
        for stage in &self.draft.stages {
            let count =
                names::OWN_VARIABLES.len() + self.draft.routes.len() + stage.variables.len();
            if count > names::STAGE_VARIABLES && !stage.variables.is_empty() {
                let message = format!(
                    "stage `{}` would have {count} variables, with {} of routeto's own and one per route; API Gateway takes {}",
                    stage.name.value,
                    names::OWN_VARIABLES.len(),
                    names::STAGE_VARIABLES
                );
                self.reader.error(
                    stage.name.span,
                    message,
                    "take variables away, or split the stack in two",
                );
            }
            for (_, value) in &stage.variables {
                if let Err(problem) = names::variable_value(&self.on(stage, value)) {
                    self.reader.broken_rule(value, "variable value", "", problem);
                }
            }
        }
    }

    /// A rule must hold on every stage; the first stage where it doesn't is told. A file without a
    /// good stage has its names checked too.
    fn holds(&mut self, text: &Text, what: &str, rule: Rule) {
        let stand_in = StageDraft::stand_in();
        let stages = if self.draft.stages.is_empty() {
            std::slice::from_ref(&stand_in)
        } else {
            &self.draft.stages
        };
        for stage in stages {
            if let Err(problem) = rule(&self.on(stage, text)) {
                let tell = text.names_stage() && !self.draft.stages.is_empty();
                let on_stage = if tell {
                    format!(" (on stage `{}`)", stage.name.value)
                } else {
                    String::new()
                };
                self.reader.broken_rule(text, what, &on_stage, problem);
                return;
            }
        }
    }

    fn destination_names(&mut self) {
        for route in &self.draft.routes {
            match &route.destination {
                Some(DestinationDraft::S3(s3)) => {
                    s3.bucket.iter().for_each(|bucket| self.holds(bucket, "bucket", names::bucket));
                    s3.prefix.iter().for_each(|prefix| self.holds(prefix, "prefix", names::prefix));
                    s3.allow.iter().for_each(|entry| self.holds(entry, "bucket", names::allowed));
                }
                Some(DestinationDraft::Sqs(sqs)) => {
                    sqs.queue.iter().for_each(|queue| self.holds(queue, "queue", names::queue));
                    route
                        .dead_letter()
                        .into_iter()
                        .for_each(|queue| self.holds(queue, "queue", names::queue));
                }
                None => {}
            }
        }
    }

    /// A bucket's prefix and what `allow` lists must fit the route's stage variable; a queue's URL
    /// always does.
    fn destination_values(&mut self) {
        for (stage, draft) in self.each() {
            let (Some(route), Some(s3)) = (draft.finish(), draft.s3()) else { continue };
            let (stage, account, region) = (&stage.name.value, names::ANY_ACCOUNT, self.region);
            let length =
                route.variable_value(str::to_owned, stage, account, region).chars().count();
            if length > names::VARIABLE_VALUE {
                let problem = Problem {
                    what: format!(
                        "and what stands beside it make {length} characters on stage `{stage}`; its stage variable takes 512"
                    ),
                    help: "shorten `prefix`, or what `allow` lists".into(),
                };
                s3.bucket.iter().for_each(|bucket| {
                    self.reader.broken_rule(bucket, "bucket", "", problem.clone())
                });
            }
        }
    }

    /// A stage must stand alone, and two routes may not ask different things of one bucket or
    /// queue.
    fn sharing(&mut self) {
        let mut users: BTreeMap<(&str, String), Vec<(&StageDraft, &RouteDraft)>> = BTreeMap::new();
        for (stage, route) in self.each() {
            let Some((kind, text)) = route.target() else { continue };
            let others = users.entry((kind, self.on(stage, text))).or_default();
            if let Some((other, _)) =
                others.iter().find(|(other, _)| other.name.value != stage.name.value)
            {
                self.shared_by_stages(kind, text, route, other, stage);
            }
            let needs = self.needs(stage, route);
            let contradicts = |(stage, other): &&(&StageDraft, &RouteDraft)| {
                let theirs = self.needs(stage, other);
                other.path.value != route.path.value
                    && needs
                        .as_ref()
                        .zip(theirs.as_ref())
                        .is_some_and(|(one, two)| one.contradicts(two))
            };
            if let Some((_, other)) = others.iter().find(contradicts) {
                self.contradiction(kind, text, route, other);
            }
            others.push((stage, route));
        }
    }

    /// What a dev token can reach must not be what prod keeps: so neither a queue nor a bucket of
    /// ours may serve two stages. A bucket that is the user's own (`existing: true`) may: its
    /// owner decided so, and prefixes keep the stages apart. A queue has no prefixes.
    fn shared_by_stages(
        &mut self,
        kind: &str,
        text: &Text,
        route: &RouteDraft,
        one: &StageDraft,
        two: &StageDraft,
    ) {
        if route.s3().is_some_and(|s3| s3.existing != Some(false))
            || !self.told.insert(("shared", text.span))
        {
            return;
        }
        let help = match kind {
            "bucket" => {
                "put `${stage}` into its name; a bucket of your own may serve both with `existing: true`"
            }
            _ => "put `${stage}` into its name",
        };
        let message = format!(
            "{kind} `{}` is used by stages `{}` and `{}`",
            super::shown(&text.written),
            one.name.value,
            two.name.value
        );
        self.reader.error(text.span, message, help);
    }

    fn needs(&self, stage: &StageDraft, route: &RouteDraft) -> Option<Needs> {
        Some(match route.destination.as_ref()? {
            // What can't be read contradicts nothing: its own error is told.
            DestinationDraft::S3(S3Draft { readable: false, .. })
            | DestinationDraft::Sqs(SqsDraft { readable: false, .. }) => {
                return None;
            }
            DestinationDraft::S3(s3) => Needs {
                existing: s3.existing?,
                prefix: s3
                    .prefix
                    .as_ref()
                    .map_or_else(String::new, |prefix| self.on(stage, prefix)),
                expire_after: s3.expire_after,
                dead_letter: None,
            },
            DestinationDraft::Sqs(sqs) => Needs {
                existing: sqs.existing?,
                prefix: String::new(),
                expire_after: None,
                dead_letter: sqs.dead_letter.as_ref().map(|dead| {
                    (dead.queue.as_ref().map(|queue| self.on(stage, queue)), dead.after)
                }),
            },
        })
    }

    fn contradiction(&mut self, kind: &str, text: &Text, route: &RouteDraft, other: &RouteDraft) {
        let help = match kind {
            "bucket" => {
                "write the same `existing` and `expire_after` on both; where only the expiry is to differ, give each a `prefix` of its own"
            }
            _ => "write the same `existing` and `dead_letter` on both, or give each its own queue",
        };
        let message = format!(
            "routes `{}` and `{}` have conflicting settings for {kind} `{}`",
            other.path.value,
            route.path.value,
            super::shown(&text.written)
        );
        self.reader.error(text.span, message, help);
    }

    fn dead_letters(&mut self) {
        let mut queues: BTreeMap<String, &RouteDraft> = BTreeMap::new();
        for (stage, route) in self.each() {
            if let Some(("queue", text)) = route.target() {
                queues.entry(self.on(stage, text)).or_insert(route);
            }
        }
        let mut stages: BTreeMap<String, &StageDraft> = BTreeMap::new();
        for (stage, route) in self.each() {
            let Some(text) = route.dead_letter() else { continue };
            let name = self.on(stage, text);
            let written = super::shown(&text.written);
            if let Some(other) = queues.get(&name) {
                let message = format!(
                    "the dead-letter queue `{written}` is also the queue of route `{}`",
                    other.path.value
                );
                self.reader.error(text.span, message, "give the dead letters a queue of their own");
            }
            let first = stages.entry(name).or_insert(stage);
            if first.name.value != stage.name.value && self.told.insert(("shared", text.span)) {
                let message = format!(
                    "the dead-letter queue `{written}` is used by stages `{}` and `{}`",
                    first.name.value, stage.name.value
                );
                self.reader.error(text.span, message, "put `${stage}` into its name");
            }
        }
    }

    /// `allow` may not reach what another stage's bucket of ours keeps: a dev token could then
    /// write into prod.
    fn allow_lists(&mut self) {
        let mut owners: BTreeMap<String, &StageDraft> = BTreeMap::new();
        for (stage, route) in self.each() {
            if let Some(bucket) =
                route.s3().filter(|s3| s3.existing == Some(false)).and_then(|s3| s3.bucket.as_ref())
            {
                owners.entry(self.on(stage, bucket)).or_insert(stage);
            }
        }
        for (stage, route) in self.each() {
            for entry in route.s3().map(|s3| s3.allow.as_slice()).unwrap_or_default() {
                let resolved = self.on(stage, entry);
                let bucket = resolved.split('/').next().unwrap_or_default();
                let owner = owners.get(bucket).filter(|owner| owner.name.value != stage.name.value);
                if let Some(owner) = owner.filter(|_| self.told.insert(("allowed", entry.span))) {
                    let message = format!(
                        "on stage `{}` this allows `?bucket=` to name the bucket of stage `{}`",
                        stage.name.value, owner.name.value
                    );
                    self.reader.error(
                        entry.span,
                        message,
                        "put `${stage}` into it, or take it out",
                    );
                }
            }
        }
    }

    fn role_policies(&mut self) {
        for stage in &self.draft.stages {
            let length = self.role_policy(stage);
            if length > names::ROLE_POLICY {
                let message = format!(
                    "the policy of stage `{}`'s role would have up to {length} characters; IAM takes {}",
                    stage.name.value,
                    names::ROLE_POLICY
                );
                let help = "let routes share buckets, shorten names, prefixes and `allow`, or split the stack in two";
                self.reader.error(self.draft.routes_at, message, help);
                return;
            }
        }
    }

    /// An upper bound for the characters of the role's inline policy: everything around the ARNs,
    /// and each ARN once, in the partition with the longest name, with quotes and comma; for a
    /// destination that isn't ours the ARN of its KMS key besides.
    fn role_policy(&self, stage: &StageDraft) -> usize {
        const AROUND: usize = 1_200;
        const KEY: usize = 100;
        let (stage_name, account, region) = (&stage.name.value, names::ANY_ACCOUNT, self.region);
        let on = |pattern: &Pattern| pattern.resolve(stage_name, account, region);
        let mut arns = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for destination in self.draft.routes.iter().filter_map(|route| route.destination.as_ref()) {
            match destination {
                DestinationDraft::S3(s3) => {
                    let prefix =
                        s3.prefix.as_ref().map(|prefix| on(&prefix.pattern)).unwrap_or_default();
                    for bucket in s3.bucket.iter().map(|bucket| on(&bucket.pattern)) {
                        arns.insert(format!("arn:aws-us-gov:s3:::{bucket}/{prefix}*"));
                        keys.extend(s3.existing.unwrap_or(false).then_some(bucket));
                    }
                    for entry in s3.allow.iter().map(|entry| on(&entry.pattern)) {
                        arns.insert(format!("arn:aws-us-gov:s3:::{entry}/*"));
                        keys.insert(entry.split('/').next().unwrap_or_default().to_owned());
                    }
                }
                DestinationDraft::Sqs(sqs) => {
                    for queue in sqs.queue.iter().map(|queue| on(&queue.pattern)) {
                        arns.insert(format!("arn:aws-us-gov:sqs:{region}:{account}:{queue}"));
                        keys.extend(sqs.existing.unwrap_or(false).then_some(queue));
                    }
                }
            }
        }
        AROUND + arns.iter().map(|arn| arn.chars().count() + 3).sum::<usize>() + keys.len() * KEY
    }

    fn is_binary(&self, media_type: &str) -> bool {
        self.draft.binary.iter().any(|listed| listed.value == media_type)
    }

    /// `binaryMediaTypes` holds for the whole API, so each type must be one thing on all routes.
    fn content_types(&mut self) {
        let accepted: BTreeSet<&str> =
            self.draft.routes.iter().flat_map(RouteDraft::accepted).collect();
        for entry in &self.draft.binary {
            if entry.value == JSON {
                self.reader.error(
                    entry.span,
                    "`application/json` can't be in `binary`",
                    "the function answers in it too, and its answers would then count as binary and fail; take it out",
                );
            } else if !accepted.contains(entry.value.as_str()) {
                self.unaccepted(entry, &accepted);
            }
        }
        for (route, template) in self.custom_templates() {
            let media_type = template.media_type.value.as_str();
            let built_in = |other: &&RouteDraft| {
                other.accepted().contains(media_type)
                    && !other.templates.iter().any(|t| t.media_type.value == media_type)
            };
            let Some(other) = self.draft.routes.iter().find(built_in) else { continue };
            if media_type != JSON && !self.is_binary(media_type) {
                let message = format!(
                    "`{media_type}` is text on route `{}`, by its own template, and binary on route `{}`; an API can have it one way only",
                    super::shown(&route.path.value),
                    super::shown(&other.path.value)
                );
                let help = format!(
                    "give both routes a template, or neither; or list `{media_type}` in `binary` if the template takes `$input.body` as base64"
                );
                self.reader.error(template.media_type.span, message, help);
            }
        }
        self.ndjson();
    }

    /// A slip of the finger would leave a type text that was meant to be binary: an error. What
    /// resembles no accepted type does no harm.
    fn unaccepted(&mut self, entry: &Spanned<String>, accepted: &BTreeSet<&str>) {
        let message = format!("no route accepts `{}`", entry.value);
        match nearest(
            &entry.value,
            accepted.iter().copied().filter(|media_type| *media_type != JSON),
        ) {
            Some(known) => {
                self.reader.error(entry.span, message, format!("did you mean `{known}`?"))
            }
            None => self.reader.warning(
                entry.span,
                message,
                "take it out, or add it to a route's `accept`",
            ),
        }
    }

    fn ndjson(&mut self) {
        for route in &self.draft.routes {
            let Some(format) =
                route.s3().map(|s3| &s3.format).filter(|format| format.value == S3Format::Ndjson)
            else {
                continue;
            };
            let others: Vec<&str> = route
                .accepted()
                .into_iter()
                .filter(|media_type| !media_type.ends_with("json"))
                .collect();
            if !others.is_empty() {
                self.reader.warning(
                    format.span,
                    "`ndjson` takes JSON arrays alone: anything else that this route accepts is answered 400",
                    format!("take `raw` or `envelope`, or don't accept {}", listed(&others)),
                );
            }
        }
    }

    fn custom_templates(&self) -> Vec<(&'c RouteDraft, &'c TemplateDraft)> {
        self.draft
            .routes
            .iter()
            .flat_map(|route| route.templates.iter().map(move |template| (route, template)))
            .collect()
    }

    fn templates(&mut self) {
        for (route, draft) in self.custom_templates() {
            let Some(template) = &draft.template else { continue };
            if let Err(error) = vtl::Template::parse(&template.text) {
                self.reader.template(Diagnostic::of_template(
                    &route.path.value,
                    template.file.clone(),
                    &error,
                ));
            }
            let text = without_comments(&template.text);
            if route.token == TokenRule::Query && !text.contains("validToken") {
                self.reader.error(
                    draft.file_span,
                    format!("this template never mentions `validToken`, so route `{}` would ask nobody for a token", route.path.value),
                    "add `\"token\": …` and `\"validToken\": \"$stageVariables.validToken\"` to it, or say `token: none` on the route",
                );
            }
            if draft.media_type.value != JSON {
                self.bytes_of(draft.file_span, &draft.media_type.value, &text);
            }
        }
    }

    /// What a custom template for a type that isn't JSON does to the bytes.
    fn bytes_of(&mut self, span: Span, media_type: &str, template: &str) {
        let encodes = template.contains("base64Encode($input.body)");
        if self.is_binary(media_type) {
            if encodes {
                self.reader.warning(
                    span,
                    format!("`$input.body` is base64 already, since `binary` lists `{media_type}`; this template encodes it twice"),
                    "write `$input.body` without `$util.base64Encode`",
                );
            }
            return;
        }
        if ["$input.body", "$input.json", "$input.path", "$!input.", "${input."]
            .iter()
            .any(|body| template.contains(body))
        {
            self.reader.warning(
                span,
                format!("with a template of its own, `{media_type}` is read as text: bytes that are not UTF-8 are lost before the template runs"),
                format!(
                    "leave the template out (routeto's own keeps every byte), or list `{media_type}` in `binary` and write `$input.body`, which is base64 then"
                ),
            );
        }
    }
}

/// The template without `## …` and `#* … *#`, so that a word in a comment counts for nothing.
fn without_comments(template: &str) -> String {
    let mut kept = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('#') {
        let (before, comment) = rest.split_at(start);
        kept.push_str(before);
        rest = if comment.starts_with("##") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if comment.starts_with("#*") {
            comment.find("*#").map_or("", |end| &comment[end + 2..])
        } else {
            kept.push('#');
            &comment[1..]
        };
    }
    kept.push_str(rest);
    kept
}
