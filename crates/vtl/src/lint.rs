//! What is likely to go wrong with a template that renders: values that a caller controls and that
//! can break the JSON around them, and places where bytes are changed. Looks at the tree and the
//! text only; renders nothing.

use super::{
    Place, Template,
    ast::{self, Block, Expr, Many, Node, Reference, Span, StepKind, Tree},
    main_offset, place,
};

/// A remark on a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    pub kind: LintKind,
    pub place: Place,
    /// The reference as it is written.
    pub reference: String,
    pub message: String,
    /// The safe form, to paste.
    pub help: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintKind {
    /// What a caller sends stands unescaped inside a JSON string: a quote in it breaks the event,
    /// or forges a field of it.
    Unescaped,
    /// `escapeJavaScript` writes `'` as `\'`, which isn't JSON.
    Apostrophe,
    /// The body is read and written again: numbers change (`1.50` becomes `1.5`), blanks go.
    Rewritten,
    /// Nobody has recorded what API Gateway does with it; here it does what Velocity does.
    Unknown,
    /// A name that nothing has: it prints nothing.
    Nameless,
    /// What looks like a directive and isn't one: printed as text, or without any effect.
    Ineffective,
}

/// Parts of `$context` that a caller chooses.
const CALLERS_CONTEXT: [&str; 5] = ["requestId", "path", "domainName", "domainPrefix", "protocol"];

/// What API Gateway's documents name of `$util`. Source: API Gateway Developer Guide, "$util
/// variables".
const UTIL: [&str; 6] =
    ["escapeJavaScript", "parseJson", "urlEncode", "urlDecode", "base64Encode", "base64Decode"];

/// What `$context` has for a mapping template. Source: API Gateway Developer Guide, "Variables for
/// data transformations"; and a recording of the keys that are there.
const CONTEXT: [&str; 24] = [
    "accountId",
    "apiId",
    "authorizer",
    "awsEndpointRequestId",
    "deploymentId",
    "domainName",
    "domainPrefix",
    "error",
    "extendedRequestId",
    "httpMethod",
    "identity",
    "isCanaryRequest",
    "path",
    "protocol",
    "requestId",
    "requestOverride",
    "requestTime",
    "requestTimeEpoch",
    "resourceId",
    "resourcePath",
    "responseOverride",
    "stage",
    "wafResponseCode",
    "webaclArn",
];

/// What `$context.identity` has. Source: as above.
const IDENTITY: [&str; 17] = [
    "accessKey",
    "accountId",
    "apiKey",
    "apiKeyId",
    "caller",
    "clientCert",
    "cognitoAuthenticationProvider",
    "cognitoAuthenticationType",
    "cognitoIdentityId",
    "cognitoIdentityPoolId",
    "principalOrgId",
    "sourceIp",
    "user",
    "userAgent",
    "userArn",
    "vpcId",
    "vpceId",
];

/// What a template assigns to under `$context`.
const REQUEST_OVERRIDE: [&str; 3] = ["header", "path", "querystring"];
const RESPONSE_OVERRIDE: [&str; 2] = ["header", "status"];

/// Directives, for those who miswrite one.
const DIRECTIVES: [&str; 8] = ["set", "if", "elseif", "else", "end", "foreach", "define", "stop"];

/// Looks a template over. In order of place; what is unknown of API Gateway is told once each.
pub fn lint(template: &Template) -> Vec<Lint> {
    let mut linter = Linter {
        template,
        tree: &template.tree,
        in_string: false,
        escaped: false,
        tainted: vec![None; template.tree.names.len()],
        lints: Vec::new(),
    };
    linter.block(template.tree.body);
    linter.names();
    linter.directives();
    template.tree.unverified.iter().for_each(|span| linter.unverified(*span));
    linter.lints.sort_by_key(|lint| (lint.place, lint.message.clone()));
    linter.lints.dedup();
    linter.lints
}

/// The stage variables that a template reads and nobody sets, each once.
pub fn lint_stage_variables(template: &Template, known: &[&str]) -> Vec<Lint> {
    let mut lints = Vec::new();
    for (span, name) in keys(&template.tree, ast::STAGE_VARIABLES, None, false) {
        if known.contains(&name)
            || lints.iter().any(|lint: &Lint| lint.reference == format!("$stageVariables.{name}"))
        {
            continue;
        }
        lints.push(Lint {
            kind: LintKind::Nameless,
            place: place(template.source(), main_offset(&template.tree.regions, span.start).0),
            reference: format!("$stageVariables.{name}"),
            message: format!(
                "no stage sets the variable {name}; $stageVariables.{name} prints nothing"
            ),
            help: did_you_mean("$stageVariables.", name, known),
        });
    }
    lints
}

/// The keys that a template reads of a variable (or of a map in it) by `$variable.key`, in order of
/// place, but for those that it assigns.
///
/// For what is looked at by API Gateway alone, such as overrides, those that it assigns.
fn keys<'t>(
    tree: &'t Tree,
    slot: ast::Slot,
    parent: Option<&str>,
    overrides: bool,
) -> Vec<(Span, &'t str)> {
    let key = |reference: &Reference| {
        if reference.slot != slot {
            return None;
        }
        let mut steps = tree[reference.steps].iter();
        if let Some(parent) = parent {
            match steps.next()?.kind {
                StepKind::Property(name) if name.of(&tree.pool) == parent => {}
                _ => return None,
            }
        }
        match steps.next()?.kind {
            StepKind::Property(name) => Some((reference.literal, name.of(&tree.pool))),
            _ => None,
        }
    };
    let assigned: Vec<(Span, &str)> = tree.assigned().filter_map(key).collect();
    let read = tree
        .references()
        .filter_map(key)
        .filter(|(_, name)| !assigned.iter().any(|(_, known)| known == name));
    let mut keys: Vec<(Span, &str)> = if overrides { assigned.clone() } else { read.collect() };
    keys.sort_by_key(|(span, _)| span.start);
    keys
}

fn did_you_mean(before: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean {before}{near}?"),
        None => format!(
            "there are {}",
            known.iter().map(|name| format!("{before}{name}")).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// The known word that was most likely meant: at most a third of its letters differ.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Longer ones are nobody's slip of the finger, and would take long to compare.
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_lowercase();
    let near = known.iter().map(|known| (distance(&word, &known.to_lowercase()), *known));
    let near =
        near.filter(|(distance, known)| *distance <= (known.len().max(word.len()) / 3).max(1));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many bytes have to be put in, taken out, changed or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

/// What is known of a value that a caller had a hand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taint {
    /// As it came.
    Raw,
    /// Escaped for JavaScript, not yet for JSON.
    JavaScript,
    /// `$input.params()` as a whole. Its own keys are `path`, `querystring` and `header`, whatever
    /// the caller sends; what is below them is the caller's.
    Params,
}

struct Linter<'t> {
    template: &'t Template,
    tree: &'t Tree,
    /// Whether the text printed so far ends inside a JSON string.
    in_string: bool,
    /// Whether it ends behind a backslash.
    escaped: bool,
    /// By variable.
    tainted: Vec<Option<Taint>>,
    lints: Vec<Lint>,
}

impl<'t> Linter<'t> {
    fn text(&self, span: Span) -> &'t str {
        span.of(&self.tree.pool)
    }

    fn print(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                _ => {}
            }
        }
    }

    fn block(&mut self, block: Block) {
        let tree = self.tree;
        for node in &tree[block] {
            match node {
                Node::Text(span) => self.print(self.text(*span)),
                Node::Reference(reference) => {
                    self.expressions(reference);
                    if !reference.before.is_some_and(|before| tree[before].escaped) {
                        self.printed(reference);
                    }
                }
                Node::Set(set) => {
                    let set = &tree[*set];
                    self.expression(&set.right);
                    if set.left.steps.is_empty() {
                        self.tainted[set.slot as usize] = self.taint(&set.right);
                    }
                }
                Node::If { branches, otherwise } => {
                    // Each branch starts where the text before it ended.
                    let before = (self.in_string, self.escaped);
                    let mut after = before;
                    for branch in &tree[*branches] {
                        self.expression(&branch.condition);
                        (self.in_string, self.escaped) = before;
                        self.block(branch.body);
                        after = (self.in_string, self.escaped);
                    }
                    if let Some(body) = otherwise {
                        (self.in_string, self.escaped) = before;
                        self.block(*body);
                        after = (self.in_string, self.escaped);
                    }
                    (self.in_string, self.escaped) = after;
                }
                Node::Foreach(foreach) => {
                    let foreach = &tree[*foreach];
                    if let Some(list) = tree[foreach.arguments].get(2) {
                        self.expression(list);
                        // A loop over a map goes through its values.
                        let taint = self
                            .taint(list)
                            .map(|taint| if taint == Taint::Params { Taint::Raw } else { taint });
                        self.tainted[foreach.element as usize] = taint;
                    }
                    self.block(foreach.body);
                }
                Node::Define { body, .. } => {
                    let before = (self.in_string, self.escaped);
                    self.block(*body);
                    (self.in_string, self.escaped) = before;
                }
                Node::Stop(_) | Node::Break | Node::BreakOf(..) | Node::Load(_) => {}
            }
        }
    }

    fn taint(&self, expression: &Expr) -> Option<Taint> {
        match expression {
            Expr::Reference(reference) => self.taint_of(reference),
            Expr::Group(inner) => self.taint(&self.tree[*inner]),
            Expr::Chain(chain) => {
                let chain = &self.tree[*chain];
                let links = self.tree[chain.rest]
                    .iter()
                    .filter(|link| !link.operator.is_condition())
                    .map(|link| &link.right);
                std::iter::once(&chain.first).chain(links).find_map(|side| self.taint(side))
            }
            Expr::Array(items) | Expr::Map(items) => {
                self.tree[*items].iter().find_map(|item| self.taint(item))
            }
            Expr::Interpolated(index) => self.tree[self.tree.strings[*index as usize].body]
                .iter()
                .find_map(|node| match node {
                    Node::Reference(reference) => self.taint_of(reference),
                    _ => None,
                }),
            _ => None,
        }
    }

    fn taint_of(&self, reference: &Reference) -> Option<Taint> {
        let mut steps = self.tree[reference.steps].iter();
        let mut taint = match reference.slot {
            ast::INPUT => {
                let first = steps.next()?;
                match &first.kind {
                    StepKind::Method(name, arguments)
                        if self.text(*name) == "params" && self.tree[*arguments].is_empty() =>
                    {
                        Some(Taint::Params)
                    }
                    // JSON as a whole is safe where JSON is expected; inside a string it isn't.
                    StepKind::Property(name) if self.text(*name) == "body" => Some(Taint::Raw),
                    StepKind::Method(name, _)
                        if matches!(self.text(*name), "path" | "params" | "json" | "getBody") =>
                    {
                        Some(Taint::Raw)
                    }
                    _ => None,
                }
            }
            ast::UTIL => {
                let StepKind::Method(name, arguments) = &steps.next()?.kind else { return None };
                let inner = self.tree[*arguments].iter().find_map(|argument| self.taint(argument));
                match self.text(*name) {
                    "escapeJavaScript" => inner.map(|_| Taint::JavaScript),
                    "base64Encode" | "urlEncode" => None,
                    _ => inner,
                }
            }
            ast::CONTEXT => match &steps.next()?.kind {
                StepKind::Property(name) if CALLERS_CONTEXT.contains(&self.text(*name)) => {
                    Some(Taint::Raw)
                }
                StepKind::Property(name) if self.text(*name) == "identity" => match &steps
                    .next()?
                    .kind
                {
                    StepKind::Property(name) if self.text(*name) == "userAgent" => Some(Taint::Raw),
                    _ => None,
                },
                _ => None,
            },
            slot => self.tainted.get(slot as usize).copied().flatten(),
        };
        for step in steps {
            if taint == Some(Taint::Params) {
                taint = match &step.kind {
                    StepKind::Method(name, _)
                        if matches!(
                            self.text(*name),
                            "keySet" | "size" | "isEmpty" | "containsKey"
                        ) =>
                    {
                        None
                    }
                    _ => Some(Taint::Raw),
                };
                continue;
            }
            if let StepKind::Method(name, arguments) = &step.kind {
                match self.text(*name) {
                    "replaceAll" | "replace"
                        if taint == Some(Taint::JavaScript)
                            && self.unescapes_apostrophe(*arguments) =>
                    {
                        return None;
                    }
                    "length" | "size" | "hashCode" | "isEmpty" | "contains" | "startsWith"
                    | "endsWith" | "equals" | "matches" | "indexOf" => {
                        taint = None;
                    }
                    _ => {}
                }
            }
        }
        taint
    }

    /// `.replaceAll("\\'","'")`
    fn unescapes_apostrophe(&self, arguments: Many<Expr>) -> bool {
        matches!(self.tree[arguments], [Expr::Text(from), Expr::Text(to)] if self.text(from).contains('\'') && self.text(to) == "'")
    }

    fn printed(&mut self, reference: &Reference) {
        match self.taint_of(reference) {
            Some(taint) if self.in_string => self.remark(
                reference,
                match taint {
                    Taint::Raw | Taint::Params => LintKind::Unescaped,
                    Taint::JavaScript => LintKind::Apostrophe,
                },
            ),
            _ if self.rewrites(reference) => self.remark(reference, LintKind::Rewritten),
            _ => {}
        }
    }

    /// `$input.json(…)`, or a list or object of `$input.path(…)`, in its own right.
    fn rewrites(&self, reference: &Reference) -> bool {
        reference.slot == ast::INPUT
            && matches!(&self.tree[reference.steps], [step] if matches!(&step.kind, StepKind::Method(name, _) if self.text(*name) == "json"))
    }

    fn unverified(&mut self, span: Span) {
        let directive = self.text(span).trim().to_owned();
        self.remember(
            LintKind::Unknown,
            span,
            &directive,
            format!("what API Gateway does with {directive} isn't known; here it does what Velocity 1.7 does"),
            format!("try it on a deployed stage before relying on it, or do without {directive}"),
        );
    }

    /// Told once each.
    fn remember(&mut self, kind: LintKind, span: Span, what: &str, message: String, help: String) {
        if self.lints.iter().any(|lint| lint.kind == kind && lint.reference == what) {
            return;
        }
        let at = main_offset(&self.template.tree.regions, span.start).0;
        let place = place(self.template.source(), at);
        self.lints.push(Lint { kind, place, reference: what.to_owned(), message, help });
    }

    /// Names that API Gateway doesn't have.
    fn names(&mut self) {
        let tree = self.tree;
        let mut references: Vec<&Reference> =
            tree.references().filter(|reference| reference.slot == ast::UTIL).collect();
        references.sort_by_key(|reference| reference.literal.start);
        references.into_iter().for_each(|reference| self.function(reference));
        for (parent, known) in [
            (None, &CONTEXT[..]),
            (Some("identity"), &IDENTITY[..]),
            (Some("requestOverride"), &REQUEST_OVERRIDE[..]),
            (Some("responseOverride"), &RESPONSE_OVERRIDE[..]),
        ] {
            let before = parent
                .map_or_else(|| "$context.".to_owned(), |parent| format!("$context.{parent}."));
            let overrides = parent.is_some_and(|parent| parent.ends_with("Override"));
            let effect = if overrides { "nothing is overridden" } else { "it prints nothing" };
            for (span, name) in keys(tree, ast::CONTEXT, parent, overrides)
                .into_iter()
                .filter(|(_, name)| !known.contains(name))
            {
                let message =
                    format!("API Gateway's documents don't name {before}{name}; {effect}");
                self.remember(
                    LintKind::Nameless,
                    span,
                    &format!("{before}{name}"),
                    message,
                    did_you_mean(&before, name, known),
                );
            }
        }
    }

    /// `$util.toJson(…)` and the like: AppSync has them, API Gateway's documents don't name them.
    fn function(&mut self, reference: &Reference) {
        let Some(StepKind::Method(name, _) | StepKind::Property(name)) =
            self.tree[reference.steps].first().map(|step| &step.kind)
        else {
            return;
        };
        let name = self.text(*name).to_owned();
        if UTIL.contains(&name.as_str()) {
            return;
        }
        let help = match nearest(&name, &UTIL) {
            Some(near) => format!("did you mean $util.{near}?"),
            None => format!(
                "API Gateway has {}; AppSync's functions aren't there",
                UTIL.map(|name| format!("$util.{name}")).join(", ")
            ),
        };
        let message =
            format!("API Gateway's documents don't name $util.{name}; here it prints nothing");
        self.remember(
            LintKind::Unknown,
            reference.literal,
            &format!("$util.{name}"),
            message,
            help,
        );
    }

    /// What was meant as a directive and renders silently as something else.
    fn directives(&mut self) {
        let tree = self.tree;
        for span in &tree.words {
            let written = self.text(*span);
            let name = written.trim_start_matches(['#', '{']).trim_end_matches('}');
            let behind = tree.pool.get(span.end as usize..).unwrap_or("").trim_start();
            let (message, help) = match name {
                "set" => (
                    format!("{written} without parentheses is printed as text and assigns nothing"),
                    "write `#set($name = …)`".to_owned(),
                ),
                "evaluate" | "return" => (
                    format!("API Gateway has no #{name}: it is printed as text"),
                    format!("take {written} out"),
                ),
                "elsif" | "elif" => (
                    format!("{written} is no directive: it is printed as text"),
                    "did you mean #elseif?".to_owned(),
                ),
                "endif" | "endfor" => (
                    format!("{written} is no directive: it is printed as text"),
                    "did you mean #end?".to_owned(),
                ),
                "for" => (
                    format!("{written} is no directive: it is printed as text"),
                    "did you mean #foreach?".to_owned(),
                ),
                _ => match nearest(name, &DIRECTIVES) {
                    // `#top` is text, `#foreahc(…)` is not.
                    Some(near)
                        if near.eq_ignore_ascii_case(name)
                            || (near.len() > 3 && behind.starts_with('(')) =>
                    {
                        (
                            format!("{written} is no directive: it is printed as text"),
                            format!("did you mean #{near}?"),
                        )
                    }
                    _ => continue,
                },
            };
            self.remember(LintKind::Ineffective, *span, written, message, help);
        }
        for foreach in tree.loops() {
            if let [element, list] = &tree[foreach.arguments] {
                let shown = |expression: &Expr| match expression {
                    Expr::Reference(reference) => self.text(reference.literal),
                    _ => "…",
                };
                let help = format!("write `#foreach({} in {})`", shown(element), shown(list));
                let end = match list {
                    Expr::Reference(reference) => reference.literal.end + 1,
                    _ => foreach.span.start + "#foreach".len() as u32,
                };
                let head = self.text(Span::new(foreach.span.start, end)).to_owned();
                self.remember(
                    LintKind::Ineffective,
                    foreach.span,
                    &head,
                    "this #foreach loops over nothing: `in` is missing".to_owned(),
                    help,
                );
            }
        }
        for span in tree.texts_behind_else() {
            let text = self.text(span);
            if text.starts_with([' ', '\t'])
                && text
                    .trim_start()
                    .strip_prefix("if")
                    .is_some_and(|rest| rest.trim_start().starts_with('('))
            {
                let start = span.start + (text.len() - text.trim_start().len()) as u32;
                let message =
                    "#else takes no condition: what follows is printed as text".to_owned();
                self.remember(
                    LintKind::Ineffective,
                    Span::new(start, start + 2),
                    "if",
                    message,
                    "write `#elseif(…)`".to_owned(),
                );
            }
        }
    }

    /// Looks into the arguments of a reference's methods.
    fn expressions(&mut self, reference: &Reference) {
        let tree = self.tree;
        for step in &tree[reference.steps] {
            match &step.kind {
                StepKind::Method(_, arguments) => {
                    tree[*arguments].iter().for_each(|argument| self.expression(argument))
                }
                StepKind::Index(index) => self.expression(&tree[*index]),
                StepKind::Property(_) => {}
            }
        }
    }

    /// Where a rewritten body is kept in a variable.
    fn expression(&mut self, expression: &Expr) {
        let tree = self.tree;
        match expression {
            Expr::Reference(reference) => {
                self.expressions(reference);
                if self.rewrites(reference) {
                    self.remark(reference, LintKind::Rewritten);
                }
            }
            Expr::Group(inner) | Expr::Not(inner) => self.expression(&tree[*inner]),
            Expr::Array(items) | Expr::Map(items) => {
                tree[*items].iter().for_each(|item| self.expression(item))
            }
            Expr::Chain(chain) => {
                let chain = &tree[*chain];
                self.expression(&chain.first);
                tree[chain.rest].iter().for_each(|link| self.expression(&link.right));
            }
            _ => {}
        }
    }

    fn remark(&mut self, reference: &Reference, kind: LintKind) {
        let written = self.text(reference.literal).to_owned();
        let bare = written.replace("$!", "$").replace("${", "$").trim_end_matches('}').to_owned();
        let (message, help) = match kind {
            LintKind::Unescaped => (
                format!(
                    "{written} is what the caller sends, unescaped inside a JSON string: a quote in it breaks the event or forges a field of it"
                ),
                format!("$util.escapeJavaScript({bare}).replaceAll(\"\\\\'\",\"'\")"),
            ),
            LintKind::Apostrophe => (
                format!("{written} writes an apostrophe as \\', which isn't JSON"),
                format!("{bare}.replaceAll(\"\\\\'\",\"'\")"),
            ),
            LintKind::Rewritten => (
                format!(
                    "{written} reads the body and writes it again: 1.50 becomes 1.5, 1e5 becomes 100000.0, blanks and doubled keys go"
                ),
                "\"$util.base64Encode($input.body)\"".to_owned(),
            ),
            LintKind::Unknown | LintKind::Nameless | LintKind::Ineffective => return,
        };
        let at = main_offset(&self.template.tree.regions, reference.literal.start).0;
        self.lints.push(Lint {
            kind,
            place: place(self.template.source(), at),
            reference: written,
            message,
            help,
        });
    }
}
