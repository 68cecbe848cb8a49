//! What is likely to go wrong with a template that renders: values that a caller controls and that can break the JSON around them, and places
//! where bytes are changed. Looks at the tree and the text only; renders nothing.

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
    /// What a caller sends stands unescaped inside a JSON string: a quote in it breaks the event, or forges a field of it.
    Unescaped,
    /// `escapeJavaScript` writes `'` as `\'`, which isn't JSON.
    Apostrophe,
    /// The body is read and written again: numbers change (`1.50` becomes `1.5`), blanks go.
    Rewritten,
    /// Nobody has recorded what API Gateway does with it; here it does what Velocity does.
    Unknown,
}

/// Parts of `$context` that a caller chooses.
const CALLERS_CONTEXT: [&str; 5] = ["requestId", "path", "domainName", "domainPrefix", "protocol"];

/// What API Gateway's documents name of `$util`. Source: API Gateway Developer Guide, "$util variables".
const UTIL: [&str; 6] = ["escapeJavaScript", "parseJson", "urlEncode", "urlDecode", "base64Encode", "base64Decode"];

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
    template.tree.unverified.iter().for_each(|span| linter.unverified(*span));
    linter.lints.sort_by_key(|lint| (lint.place, lint.message.clone()));
    linter.lints.dedup();
    linter.lints
}

/// What is known of a value that a caller had a hand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taint {
    /// As it came.
    Raw,
    /// Escaped for JavaScript, not yet for JSON.
    JavaScript,
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
                        self.tainted[foreach.element as usize] = self.taint(list);
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
                let links = self.tree[chain.rest].iter().filter(|link| !link.operator.is_condition()).map(|link| &link.right);
                std::iter::once(&chain.first).chain(links).find_map(|side| self.taint(side))
            }
            Expr::Array(items) | Expr::Map(items) => self.tree[*items].iter().find_map(|item| self.taint(item)),
            Expr::Interpolated(index) => self.tree[self.tree.strings[*index as usize].body].iter().find_map(|node| match node {
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
                    // JSON as a whole is safe where JSON is expected; inside a string it isn't.
                    StepKind::Property(name) if self.text(*name) == "body" => Some(Taint::Raw),
                    StepKind::Method(name, _) if matches!(self.text(*name), "path" | "params" | "json" | "getBody") => Some(Taint::Raw),
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
                StepKind::Property(name) if CALLERS_CONTEXT.contains(&self.text(*name)) => Some(Taint::Raw),
                StepKind::Property(name) if self.text(*name) == "identity" => match &steps.next()?.kind {
                    StepKind::Property(name) if self.text(*name) == "userAgent" => Some(Taint::Raw),
                    _ => None,
                },
                _ => None,
            },
            slot => self.tainted.get(slot as usize).copied().flatten(),
        };
        for step in steps {
            if let StepKind::Method(name, arguments) = &step.kind {
                match self.text(*name) {
                    "replaceAll" | "replace" if taint == Some(Taint::JavaScript) && self.unescapes_apostrophe(*arguments) => return None,
                    "length" | "size" | "hashCode" | "isEmpty" | "contains" | "startsWith" | "endsWith" | "equals" | "matches"
                    | "indexOf" => {
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
                    Taint::Raw => LintKind::Unescaped,
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
        self.unknown(
            span,
            &directive,
            format!("what API Gateway does with {directive} isn't known; here it does what Velocity 1.7 does"),
            format!("try it on a deployed stage before relying on it, or do without {directive}"),
        );
    }

    fn unknown(&mut self, span: Span, what: &str, message: String, help: String) {
        if self.lints.iter().any(|lint| lint.kind == LintKind::Unknown && lint.reference == what) {
            return;
        }
        let at = main_offset(&self.template.tree.regions, span.start).0;
        let place = place(self.template.source(), at);
        self.lints.push(Lint { kind: LintKind::Unknown, place, reference: what.to_owned(), message, help });
    }

    /// `$util.toJson(…)` and the like: AppSync has them, API Gateway's documents don't name them.
    fn functions(&mut self, reference: &Reference) {
        if reference.slot != ast::UTIL {
            return;
        }
        let Some(StepKind::Method(name, _) | StepKind::Property(name)) = self.tree[reference.steps].first().map(|step| &step.kind) else {
            return;
        };
        let name = self.text(*name).to_owned();
        if UTIL.contains(&name.as_str()) {
            return;
        }
        let near = UTIL.into_iter().find(|known| known.eq_ignore_ascii_case(&name));
        let help = match near {
            Some(near) => format!("did you mean $util.{near}?"),
            None => format!("API Gateway has {}; AppSync's functions aren't there", UTIL.map(|name| format!("$util.{name}")).join(", ")),
        };
        let message = format!("API Gateway's documents don't name $util.{name}; here it prints nothing");
        self.unknown(reference.literal, &format!("$util.{name}"), message, help);
    }

    /// Looks into the arguments of a reference's methods.
    fn expressions(&mut self, reference: &Reference) {
        self.functions(reference);
        let tree = self.tree;
        for step in &tree[reference.steps] {
            match &step.kind {
                StepKind::Method(_, arguments) => tree[*arguments].iter().for_each(|argument| self.expression(argument)),
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
            Expr::Array(items) | Expr::Map(items) => tree[*items].iter().for_each(|item| self.expression(item)),
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
            LintKind::Apostrophe => {
                (format!("{written} writes an apostrophe as \\', which isn't JSON"), format!("{bare}.replaceAll(\"\\\\'\",\"'\")"))
            }
            LintKind::Rewritten => (
                format!("{written} reads the body and writes it again: 1.50 becomes 1.5, 1e5 becomes 100000.0, blanks and doubled keys go"),
                "\"$util.base64Encode($input.body)\"".to_owned(),
            ),
            LintKind::Unknown => return,
        };
        let at = main_offset(&self.template.tree.regions, reference.literal.start).0;
        self.lints.push(Lint { kind, place: place(self.template.source(), at), reference: written, message, help });
    }
}
