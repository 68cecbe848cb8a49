//! Walks the tree: tree + request → text.
//!
//! Follows the nodes of Velocity 1.7 one by one, with API Gateway's setting that every reference
//! without a value is an empty text. Knows the language; what methods do is in `java`.

use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    rc::Rc,
};

use super::{
    ast::{
        self, Before, Block, Chain, Expr, Foreach, Link, Load, Node, Operator, Reference,
        ReferenceKind, Set, Slot, Span, Step, StepKind, Tree,
    },
    error::{Error, ErrorKind},
    java::Thrown,
    number::{self, MathError},
    parser::Raised,
    request::{Data, Limits, Pairs, Request},
    text,
    value::{
        Defined, ListKind, Map, PrintBlock, Scope, Steps, Stopped, Text, Value, View, equals, print,
    },
};

/// Blocks and arguments evaluated inside each other.
const MAX_DEPTH: u32 = 300;

/// Bytes that all texts and lists made in a render may take together.
const MAX_MADE: u64 = 256 * 1024 * 1024;

/// Elements of `[a..b]`.
const MAX_RANGE: i64 = 1_000_000;

/// How often a block made by `#define` may be nested in itself.
const MAX_DEFINE: u32 = 2;

/// Why a part of the template ended early.
pub(crate) enum Flow {
    Raised(Box<Raised>),
    Stop(Target),
}

/// What a `#stop` or `#break` ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    All,
    Nearest,
    Loop(u32),
}

pub(crate) type Run<T> = Result<T, Flow>;

/// A reference that was printed, with what it printed and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub span: Span,
    pub value: String,
}

pub(crate) struct Eval<'a> {
    pub tree: &'a Tree,
    pub request: &'a Request,
    pub limits: Limits,
    vars: Vec<Option<Value<'a>>>,
    /// `$context` and `$stageVariables` are made when they are first needed as a whole.
    waiting: [bool; 2],
    /// Loop variables that stand for a null element: what is assigned to them isn't seen.
    null_loops: Vec<(Slot, bool)>,
    steps: u64,
    made: u64,
    depth: u32,
    /// The body as JSON, once it was read; kept only if the template changes no value.
    document: Option<Value<'a>>,
    /// What `$input.params()` returns.
    pub params: Option<Value<'a>>,
    /// Whether a map may have a null key, which json-smart can't print.
    pub null_keys: bool,
    /// What stopped a print from inside.
    pending: Option<Flow>,
    pub seen: Option<Vec<Seen>>,
}

pub(crate) fn from_data(data: &Data) -> Value<'_> {
    match data {
        Data::Null => Value::Null,
        Data::Bool(value) => Value::Bool(*value),
        Data::Int(number) => Value::Int(*number),
        Data::Long(number) => Value::Long(*number),
        Data::Float(number) => Value::Float(*number),
        Data::Double(number) => Value::Double(*number),
        Data::Big(number) => Value::Big(Rc::new(number.clone())),
        Data::Decimal(unscaled, scale) => Value::Decimal(Rc::new(number::BigDecimal {
            unscaled: unscaled.clone(),
            scale: *scale,
        })),
        Data::Text(text) => Value::Text(Text::Borrowed(text)),
        Data::List(items) => {
            Value::list(ListKind::JsonArray, items.iter().map(from_data).collect())
        }
        Data::Map(entries) => Value::Map(Rc::new(from_pairs(entries))),
    }
}

pub(crate) fn from_pairs(pairs: &Pairs) -> Map<'_> {
    let map = Map::with_capacity(pairs.len());
    for (key, value) in pairs {
        map.put(Value::Text(Text::Borrowed(key)), from_data(value));
    }
    map
}

/// `$context` of API Gateway: the maps in it print as empty texts.
fn context_map(pairs: &Pairs, depth: usize) -> Map<'_> {
    let mut map = Map::with_capacity(pairs.len());
    for (key, value) in pairs {
        let value = match value {
            Data::Map(inner) => Value::Map(Rc::new(context_map(inner, depth + 1))),
            other => from_data(other),
        };
        map.put(Value::Text(Text::Borrowed(key)), value);
    }
    map.silent = depth > 0;
    map
}

fn pair<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a Data> {
    pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
}

impl<'a> Eval<'a> {
    pub fn new(tree: &'a Tree, request: &'a Request, limits: Limits) -> Self {
        let mut vars: Vec<Option<Value<'a>>> = vec![None; tree.names.len()];
        vars[ast::INPUT as usize] = Some(Value::Input);
        vars[ast::UTIL as usize] = Some(Value::Util);
        let mut eval = Eval {
            tree,
            request,
            limits,
            vars,
            waiting: [true; 2],
            null_loops: Vec::new(),
            steps: limits.steps,
            made: MAX_MADE,
            depth: 0,
            document: None,
            params: None,
            null_keys: false,
            pending: None,
            seen: None,
        };
        for (name, value) in &request.variables {
            if let Some(slot) = tree.names.iter().position(|known| **known == **name)
                && slot > ast::STAGE_VARIABLES as usize
            {
                eval.vars[slot] = Some(from_data(value));
            }
        }
        eval
    }

    pub fn run(&mut self, out: &mut String) -> Run<()> {
        match self.block(self.tree.body, out) {
            Err(Flow::Stop(Target::All | Target::Nearest)) => Ok(()),
            other => other,
        }
    }

    /// `$context` after the render, if it was looked at or assigned as a whole.
    pub fn context(&self) -> Option<&Value<'a>> {
        self.vars[ast::CONTEXT as usize].as_ref()
    }

    // ---- limits and errors ----

    pub fn raised(
        &self,
        kind: ErrorKind,
        class: &'static str,
        message: impl Into<String>,
        span: Span,
    ) -> Flow {
        Flow::Raised(Box::new(Raised { error: Error::new(kind, class, message), span }))
    }

    fn limit(&self, message: impl Into<String>, span: Span) -> Flow {
        Flow::Raised(Box::new(Raised { error: Error::limit(message), span }))
    }

    fn too_many_steps(&self, span: Span) -> Flow {
        self.limit(format!("the render was given up after {} steps", self.limits.steps), span)
    }

    #[inline]
    fn step(&mut self) -> Run<()> {
        match self.steps.checked_sub(1) {
            Some(rest) => {
                self.steps = rest;
                Ok(())
            }
            None => Err(self.too_many_steps(Span::default())),
        }
    }

    pub fn spend_steps(&mut self, steps: u64) -> Result<(), Thrown> {
        match self.steps.checked_sub(steps) {
            Some(rest) => {
                self.steps = rest;
                Ok(())
            }
            None => Err(Thrown::Fatal(self.too_many_steps(Span::default()))),
        }
    }

    pub fn steps_left(&mut self) -> &mut u64 {
        &mut self.steps
    }

    /// Counts bytes of a text or list about to be made.
    pub fn make(&mut self, bytes: usize) -> Result<(), Thrown> {
        if bytes > 2 * self.limits.output {
            return Err(Thrown::Fatal(self.limit(
                format!(
                    "a value of {bytes} bytes is larger than anything API Gateway lets through"
                ),
                Span::default(),
            )));
        }
        match self.made.checked_sub(bytes as u64) {
            Some(rest) => {
                self.made = rest;
                Ok(())
            }
            None => Err(Thrown::Fatal(
                self.limit("the render makes too many or too large values", Span::default()),
            )),
        }
    }

    fn enter(&mut self, span: Span) -> Run<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.limit(
                format!("blocks and arguments are evaluated more than {MAX_DEPTH} deep"),
                span,
            ));
        }
        Ok(())
    }

    fn check_output(&self, out: &str) -> Run<()> {
        if out.len() > self.limits.output {
            return Err(self.limit(
                format!(
                    "the output is larger than {} bytes, the most that API Gateway passes on",
                    self.limits.output
                ),
                Span::default(),
            ));
        }
        Ok(())
    }

    /// An exception that a method threw, as Velocity passes it on.
    fn thrown(&self, thrown: Thrown, outer: &'static str, what: &str, span: Span) -> Flow {
        match thrown {
            Thrown::Fatal(Flow::Raised(mut raised)) => {
                if raised.span == Span::default() {
                    raised.span = span;
                }
                Flow::Raised(raised)
            }
            Thrown::Fatal(stop) => stop,
            Thrown::Java { class, message } => self.raised(
                ErrorKind::Render,
                outer,
                format!("{what} fails: {message} ({class})"),
                span,
            ),
            Thrown::Refused(message) => {
                // Only a call by name wraps what reflection itself raises.
                let class = if what == "the index" || what == "the assignment" {
                    "IllegalArgumentException"
                } else {
                    outer
                };
                self.raised(
                    ErrorKind::Render,
                    class,
                    format!("{what} fails: {message} (IllegalArgumentException)"),
                    span,
                )
            }
            Thrown::Body(message) => {
                self.raised(ErrorKind::Body, outer, format!("{what} fails: {message}"), span)
            }
        }
    }

    /// Adds a reference and its value to an error that has none.
    fn explain_error(&self, flow: Flow, reference: &Reference, value: &Value<'a>) -> Flow {
        match flow {
            Flow::Raised(mut raised) => {
                if raised.error.variables.is_empty() && !matches!(value, Value::Input | Value::Util)
                {
                    let name = reference.literal.of(&self.tree.pool);
                    let root = self.tree.names.get(reference.slot as usize).map_or("", |name| name);
                    let mut shown = String::new();
                    let printed = print(value, &mut shown, 0, &mut super::value::NoBlocks).is_ok();
                    if printed {
                        let class = value.class().rsplit('.').next().unwrap_or("");
                        let short: String = shown.chars().take(200).collect();
                        let dots = if short.len() < shown.len() { "…" } else { "" };
                        let name = if reference.steps.is_empty() {
                            name.to_owned()
                        } else {
                            format!("${root}…")
                        };
                        raised.error.variables.push((name, format!("{short}{dots} ({class})")));
                    }
                }
                Flow::Raised(raised)
            }
            stop => stop,
        }
    }

    // ---- variables ----

    fn prepare(&mut self, slot: Slot) {
        let (index, pairs) = match slot {
            ast::CONTEXT => (0, &self.request.context),
            ast::STAGE_VARIABLES => (1, &self.request.stage_variables),
            _ => return,
        };
        if std::mem::take(&mut self.waiting[index]) {
            let map = if index == 0 && self.limits.as_gateway {
                context_map(pairs, 0)
            } else {
                from_pairs(pairs)
            };
            self.vars[slot as usize] = Some(Value::Map(Rc::new(map)));
        }
    }

    fn get(&mut self, slot: Slot) -> Option<Value<'a>> {
        if slot == ast::CONTEXT || slot == ast::STAGE_VARIABLES {
            self.prepare(slot);
        }
        if self.null_loops.iter().any(|(held, active)| *held == slot && *active) {
            return None;
        }
        self.vars[slot as usize].clone().filter(|value| !value.is_null())
    }

    fn put(&mut self, slot: Slot, value: Value<'a>) {
        if slot == ast::CONTEXT || slot == ast::STAGE_VARIABLES {
            self.prepare(slot);
        }
        if value.is_null() {
            for (held, active) in &mut self.null_loops {
                *active |= *held == slot;
            }
        }
        self.vars[slot as usize] = Some(value);
    }

    fn remove(&mut self, slot: Slot) {
        if slot == ast::CONTEXT || slot == ast::STAGE_VARIABLES {
            self.prepare(slot);
        }
        for (held, active) in &mut self.null_loops {
            *active &= *held != slot;
        }
        self.vars[slot as usize] = None;
    }

    /// The body as JSON. Each call gets its own copy, unless nothing in the template could tell the
    /// difference.
    pub fn document(&mut self) -> Result<Value<'a>, Thrown> {
        if let Some(document) = &self.document {
            return Ok(document.clone());
        }
        let body = self.request.body_text();
        self.make(body.len())?;
        let document = super::json::parse(&Text::Borrowed(body)).map_err(|error| {
            if error.limit {
                return Thrown::Fatal(
                    self.limit(
                        format!("the body can't be read: {}", error.message),
                        Span::default(),
                    ),
                );
            }
            Thrown::Body(format!("the body is not JSON: {} at byte {}", error.message, error.at))
        })?;
        if !self.tree.changes_values {
            self.document = Some(document.clone());
        }
        Ok(document)
    }

    // ---- nodes ----

    fn block(&mut self, block: Block, out: &mut String) -> Run<()> {
        self.enter(Span::default())?;
        let tree = self.tree;
        for node in &tree[block] {
            self.step()?;
            match node {
                Node::Text(span) => out.push_str(span.of(&tree.pool)),
                Node::Reference(reference) => self.print_reference(reference, out)?,
                Node::Set(set) => self.set(&tree[*set])?,
                Node::If { branches, otherwise } => {
                    let mut chosen = *otherwise;
                    for branch in &tree[*branches] {
                        if self.is_true(&branch.condition)? {
                            chosen = Some(branch.body);
                            break;
                        }
                    }
                    if let Some(body) = chosen {
                        self.block(body, out)?;
                    }
                }
                Node::Foreach(foreach) => self.foreach(&tree[*foreach], out)?,
                Node::Define { slot, body } => self.put(
                    *slot,
                    Value::Block(Rc::new(Defined { body: *body, depth: Cell::new(0) })),
                ),
                Node::Stop(message) => {
                    if let Some(message) = message {
                        self.value(&tree[*message])?;
                    }
                    return Err(Flow::Stop(Target::All));
                }
                Node::Break => return Err(Flow::Stop(Target::Nearest)),
                Node::BreakOf(scope, span) => {
                    return Err(match self.value(&tree[*scope])? {
                        Value::Scope(scope) => Flow::Stop(Target::Loop(scope.owner)),
                        _ => self.raised(
                            ErrorKind::Render,
                            "VelocityException",
                            "#break can only leave a loop, such as `#break($foreach)`",
                            *span,
                        ),
                    });
                }
                Node::Load(load) => self.load(&tree[*load], out)?,
            }
        }
        self.depth -= 1;
        self.check_output(out)
    }

    fn load(&mut self, load: &'a Load, out: &mut String) -> Run<()> {
        let missing = |eval: &Self, name: &str| {
            let word = if load.include { "#include" } else { "#parse" };
            let error = Error::new(
                ErrorKind::Render,
                "ResourceNotFoundException",
                format!("{word} finds no `{name}`"),
            )
            .help("there are no other files in API Gateway; put the text into this template");
            let _ = eval;
            Flow::Raised(Box::new(Raised { error, span: load.span }))
        };
        if !load.include {
            let Some(argument) = self.tree[load.arguments].first() else {
                return Err(self.raised(
                    ErrorKind::Render,
                    "VelocityException",
                    "#parse without an argument",
                    load.span,
                ));
            };
            let value = self.value(argument)?;
            let name = self.printed(&value)?;
            return Err(missing(self, &name));
        }
        for (index, argument) in self.tree[load.arguments].iter().enumerate() {
            if !matches!(argument, Expr::Text(_) | Expr::Interpolated(_) | Expr::Reference(_)) {
                return Err(self.raised(
                    ErrorKind::Render,
                    "VelocityException",
                    "#include takes the name of a file",
                    load.span,
                ));
            }
            let value = self.value(argument)?;
            if value.is_null() {
                out.push_str(&format!(
                    "<!-- include error : error with arg {index} please see log. see error log -->"
                ));
                continue;
            }
            let name = self.printed(&value)?;
            return Err(missing(self, &name));
        }
        Ok(())
    }

    fn print_reference(&mut self, reference: &'a Reference, out: &mut String) -> Run<()> {
        if reference.kind == ReferenceKind::Runt {
            out.push_str(&self.tree.names[reference.slot as usize]);
            return Ok(());
        }
        let before = reference.before.map(|before| &self.tree[before]);
        if self.seen.is_none() && before.is_none() && self.print_directly(reference, out)? {
            return Ok(());
        }
        let value = self.execute(reference)?;
        if let Some(Before { escaped: true, backslashes, literal, .. }) = before {
            out.extend(std::iter::repeat_n('\\', *backslashes as usize));
            if value.is_null() {
                out.push('\\');
            }
            out.push_str(literal.unwrap_or(reference.literal).of(&self.tree.pool));
            return Ok(());
        }
        let start = out.len();
        if let Value::Block(block) = &value {
            if !self.render_defined(block, out)? {
                // Nested too often: printed as it is written.
                if let Some(before) = before {
                    out.extend(std::iter::repeat_n('\\', 2 * before.backslashes as usize));
                    out.push_str(before.prefix.of(&self.tree.pool));
                }
                if reference.kind != ReferenceKind::Quiet {
                    out.push_str(reference.literal.of(&self.tree.pool));
                }
            }
        } else {
            if let Some(before) = before {
                out.extend(std::iter::repeat_n('\\', before.backslashes as usize));
                out.push_str(before.prefix.of(&self.tree.pool));
            }
            self.print(&value, out).map_err(|flow| self.at(flow, reference.literal))?;
        }
        self.check_output(out)?;
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { span: reference.literal, value: out[start..].to_owned() });
        }
        Ok(())
    }

    /// Prints what needs no value to be made. `false` if nothing was printed.
    fn print_directly(&mut self, reference: &'a Reference, out: &mut String) -> Run<bool> {
        if reference.slot != ast::INPUT {
            return Ok(false);
        }
        let [Step { kind: StepKind::Method(name, arguments), span }] = &self.tree[reference.steps]
        else {
            return Ok(false);
        };
        let [Expr::Text(path)] = &self.tree[*arguments] else { return Ok(false) };
        if self.document.is_some()
            || name.of(&self.tree.pool) != "json"
            || path.of(&self.tree.pool) != "$"
            || !matches!(self.vars[ast::INPUT as usize], Some(Value::Input))
            || self.null_loops.iter().any(|(slot, _)| *slot == ast::INPUT)
        {
            return Ok(false);
        }
        let body = self.request.body_text();
        self.make(body.len())
            .map_err(|thrown| self.thrown(thrown, "MethodInvocationException", "json", *span))?;
        if super::json::rewrite(body, out) {
            self.check_output(out)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn at(&self, flow: Flow, span: Span) -> Flow {
        match flow {
            Flow::Raised(mut raised) => {
                if raised.span == Span::default() {
                    raised.span = span;
                }
                Flow::Raised(raised)
            }
            stop => stop,
        }
    }

    /// `Ok(false)` if it is nested in itself too often.
    fn render_defined(&mut self, block: &Rc<Defined>, out: &mut String) -> Run<bool> {
        let depth = block.depth.get() + 1;
        if depth > MAX_DEFINE {
            return Ok(false);
        }
        block.depth.set(depth);
        let before = self.depth;
        match self.block(block.body, out) {
            Ok(()) => {}
            Err(Flow::Stop(Target::Nearest)) => self.depth = before,
            Err(other) => return Err(other),
        }
        block.depth.set(depth - 1);
        Ok(true)
    }

    /// Java's `toString`, appended.
    pub fn print(&mut self, value: &Value<'a>, out: &mut String) -> Run<()> {
        if let Value::Text(value) = value {
            text::push_text(out, value);
            return Ok(());
        }
        if self.limits.as_gateway && matches!(value, Value::Input | Value::Util) {
            return Ok(());
        }
        print(value, out, 0, self).map_err(|stopped| self.stopped(stopped))
    }

    pub fn stopped(&mut self, stopped: Stopped) -> Flow {
        match stopped {
            Stopped::TooDeep => self.raised(
                ErrorKind::Render,
                "StackOverflowError",
                "a value is nested too deeply, or in itself",
                Span::default(),
            ),
            Stopped::NullKey => self.raised(
                ErrorKind::Render,
                "NullPointerException",
                "a map with a null key can't be written as JSON",
                Span::default(),
            ),
            Stopped::Inside => match self.pending.take() {
                Some(flow) => flow,
                None => self.limit("the render was given up", Span::default()),
            },
        }
    }

    pub fn printed(&mut self, value: &Value<'a>) -> Run<Text<'a>> {
        if let Value::Text(text) = value {
            return Ok(text.clone());
        }
        let mut out = String::new();
        self.print(value, &mut out)?;
        Ok(Text::Shared(out.into()))
    }

    /// Java's `toString`, which is null for a block made by `#define` that is nested in itself too
    /// often.
    pub fn java_text(&mut self, value: &Value<'a>) -> Run<Option<Text<'a>>> {
        if let Value::Block(block) = value {
            let block = block.clone();
            let mut out = String::new();
            return Ok(if self.render_defined(&block, &mut out)? {
                Some(Text::Shared(out.into()))
            } else {
                None
            });
        }
        Ok(Some(self.printed(value)?))
    }

    // ---- references ----

    fn execute(&mut self, reference: &'a Reference) -> Run<Value<'a>> {
        if reference.kind == ReferenceKind::Runt {
            return Ok(Value::Null);
        }
        self.step()?;
        let mut steps = &self.tree[reference.steps];
        let mut value = match self.shortcut(reference) {
            Some(found) => {
                steps = &steps[1..];
                match found {
                    Some(value) => value,
                    None => return Ok(Value::empty()),
                }
            }
            None => match self.get(reference.slot) {
                Some(value) => value,
                None => return Ok(Value::empty()),
            },
        };
        for step in steps {
            let next = match self.follow(&value, step) {
                Ok(next) => next,
                Err(flow) => return Err(self.explain_error(flow, reference, &value)),
            };
            if next.is_null() {
                return Ok(Value::empty());
            }
            value = next;
        }
        Ok(value)
    }

    /// `$stageVariables.name` and `$context.name` without making the whole map first.
    fn shortcut(&mut self, reference: &'a Reference) -> Option<Option<Value<'a>>> {
        let pairs = match reference.slot {
            ast::CONTEXT if self.waiting[0] => &self.request.context,
            ast::STAGE_VARIABLES if self.waiting[1] => &self.request.stage_variables,
            _ => return None,
        };
        let Some(Step { kind: StepKind::Property(name), .. }) = self.tree[reference.steps].first()
        else {
            return None;
        };
        match pair(pairs, name.of(&self.tree.pool))? {
            // What can be changed must be the same each time.
            Data::List(_) | Data::Map(_) => None,
            Data::Null => Some(None),
            simple => Some(Some(from_data(simple))),
        }
    }

    fn follow(&mut self, value: &Value<'a>, step: &'a Step) -> Run<Value<'a>> {
        match &step.kind {
            StepKind::Property(name) => {
                let name = name.of(&self.tree.pool);
                self.property(value, name).map_err(|thrown| {
                    self.thrown(thrown, "MethodInvocationException", name, step.span)
                })
            }
            StepKind::Method(name, arguments) => {
                let name = name.of(&self.tree.pool);
                let found = match &self.tree[*arguments] {
                    [] => self.call(value, name, &mut []),
                    [one] => {
                        let mut one = [self.argument(one)?];
                        self.call(value, name, &mut one)
                    }
                    arguments => {
                        let mut values = Vec::with_capacity(arguments.len());
                        for argument in arguments {
                            values.push(self.argument(argument)?);
                        }
                        self.call(value, name, &mut values)
                    }
                };
                match found {
                    Ok(found) => Ok(found.unwrap_or(Value::Null)),
                    Err(thrown) => {
                        Err(self.thrown(thrown, "MethodInvocationException", name, step.span))
                    }
                }
            }
            StepKind::Index(index) => {
                let index = self.argument(&self.tree[*index])?;
                let index = self.counted_back(index, value, step.span)?;
                let found = self.call(value, "get", &mut [index]);
                match found {
                    Ok(found) => Ok(found.unwrap_or(Value::Null)),
                    Err(thrown) => {
                        Err(self.thrown(thrown, "VelocityException", "the index", step.span))
                    }
                }
            }
        }
    }

    fn argument(&mut self, argument: &'a Expr) -> Run<Value<'a>> {
        self.enter(Span::default())?;
        let value = self.value(argument)?;
        self.depth -= 1;
        Ok(value)
    }

    /// `-1` is the last element.
    fn counted_back(&mut self, index: Value<'a>, object: &Value<'a>, span: Span) -> Run<Value<'a>> {
        match index {
            Value::Int(number) if number < 0 => match self.call(object, "size", &mut []) {
                Ok(Some(Value::Int(size))) => Ok(Value::Int(size.wrapping_add(number))),
                _ => Err(self.raised(
                    ErrorKind::Render,
                    "VelocityException",
                    format!("a negative index needs a list, this is a {}", object.class()),
                    span,
                )),
            },
            other => Ok(other),
        }
    }

    fn set(&mut self, set: &'a Set) -> Run<()> {
        let value = self.value(&set.right)?;
        if value.is_null() {
            return Ok(());
        }
        if set.left.steps.is_empty() {
            self.put(set.slot, value);
            return Ok(());
        }
        let Some(mut object) = self.get(set.left.slot) else { return Ok(()) };
        let (last, path) =
            self.tree[set.left.steps].split_last().expect("not empty, looked at right above");
        for step in path {
            object = self.follow(&object, step)?;
            if object.is_null() {
                return Ok(());
            }
        }
        match &last.kind {
            StepKind::Property(name) | StepKind::Method(name, _) => {
                let name = Value::Text(Text::Borrowed(name.of(&self.tree.pool)));
                match &object {
                    Value::Map(map) => {
                        map.put(name, value);
                    }
                    Value::Scope(scope) => {
                        scope.storage.put(name, value);
                    }
                    _ => {}
                }
                Ok(())
            }
            StepKind::Index(index) => {
                let index = self.argument(&self.tree[*index])?;
                let index = self.counted_back(index, &object, last.span)?;
                let mut arguments = [index, value];
                let failed = |eval: &Self, thrown| {
                    eval.thrown(thrown, "MethodInvocationException", "the assignment", last.span)
                };
                match self.call(&object, "set", &mut arguments) {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => {}
                    Err(thrown) => return Err(failed(self, thrown)),
                }
                match self.call(&object, "put", &mut arguments) {
                    Ok(_) => Ok(()),
                    Err(thrown) => Err(failed(self, thrown)),
                }
            }
        }
    }

    // ---- loops ----

    fn foreach(&mut self, foreach: &'a Foreach, out: &mut String) -> Run<()> {
        // Velocity takes the third child as the list and the fourth as the body; the block comes
        // last.
        let count = foreach.arguments.len();
        let list = match count {
            0 | 1 => {
                return Err(self.raised(
                    ErrorKind::Render,
                    "ArrayIndexOutOfBoundsException",
                    "#foreach has no list to loop over; write `#foreach($item in $list)`",
                    foreach.span,
                ));
            }
            2 => return Ok(()),
            _ => self.value(&self.tree[foreach.arguments][2])?,
        };
        let Some(steps) = self.iterator(&list) else { return Ok(()) };
        let saved = [foreach.element, ast::VELOCITY_COUNT, ast::VELOCITY_HAS_NEXT]
            .map(|slot| (slot, self.get(slot)));
        let outer = self.get(ast::FOREACH);
        let (parent, replaced) = match outer {
            Some(Value::Scope(parent)) => (Some(parent), None),
            other => (None, other),
        };
        let scope = Rc::new(Scope {
            owner: foreach.id,
            index: Cell::new(-1),
            has_next: Cell::new(false),
            parent,
            replaced,
            storage: Rc::new(Map::default()),
        });
        self.put(ast::FOREACH, Value::Scope(scope.clone()));
        let mut held: Option<bool> = None;
        let mut number = 0i32;
        let depth = self.depth;
        let mut result = Ok(());
        loop {
            if !steps.borrow().has_next() {
                break;
            }
            number += 1;
            if let Some(most) = self.limits.foreach
                && number as u32 > most
            {
                let error = Error::limit(format!(
                    "#foreach goes through more than {most} elements; API Gateway stops there"
                ))
                .help(
                    "let the function go through the list; pass it on with `$input.json('$.list')`",
                );
                return Err(Flow::Raised(Box::new(Raised { error, span: foreach.span })));
            }
            self.step()?;
            self.put(ast::VELOCITY_COUNT, Value::Int(number));
            let next = steps.borrow_mut().next();
            let value = match next {
                Ok(value) => value.unwrap_or(Value::Null),
                Err(_) => {
                    return Err(self.raised(
                        ErrorKind::Render,
                        "ConcurrentModificationException",
                        "the list or map is changed inside the #foreach that goes through it",
                        foreach.span,
                    ));
                }
            };
            let more = steps.borrow().has_next();
            self.put(ast::VELOCITY_HAS_NEXT, Value::Bool(more));
            let is_null = value.is_null();
            self.put(foreach.element, value);
            scope.index.set(scope.index.get() + 1);
            scope.has_next.set(more);
            if is_null {
                self.null_loops.push((foreach.element, held.unwrap_or(true)));
            }
            let ended = if count == 3 {
                self.block(foreach.body, out)
            } else {
                self.print_argument(&self.tree[foreach.arguments][3], out)
            };
            if is_null {
                held = self.null_loops.pop().map(|(_, active)| active);
            }
            match ended {
                Ok(()) => {}
                Err(Flow::Stop(target)) => {
                    self.depth = depth;
                    if target != Target::Nearest && target != Target::Loop(foreach.id) {
                        result = Err(Flow::Stop(target));
                    }
                    break;
                }
                Err(raised) => return Err(raised),
            }
        }
        for (slot, value) in saved {
            match value {
                Some(value) => self.put(slot, value),
                None => self.remove(slot),
            }
        }
        if let Some(Value::Scope(scope)) = self.get(ast::FOREACH) {
            match (&scope.parent, &scope.replaced) {
                (Some(parent), _) => self.put(ast::FOREACH, Value::Scope(parent.clone())),
                (None, Some(replaced)) => self.put(ast::FOREACH, replaced.clone()),
                (None, None) => self.remove(ast::FOREACH),
            }
        }
        result
    }

    /// An argument of `#foreach` that stands where the body should.
    fn print_argument(&mut self, argument: &'a Expr, out: &mut String) -> Run<()> {
        self.enter(Span::default())?;
        match argument {
            Expr::Reference(reference) => self.print_reference(reference, out)?,
            Expr::Array(items) | Expr::Map(items) => {
                for item in &self.tree[*items] {
                    self.print_argument(item, out)?;
                }
            }
            Expr::Range(from, to) => {
                self.print_argument(&self.tree[*from], out)?;
                self.print_argument(&self.tree[*to], out)?;
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(())
    }

    /// What `#foreach` steps through, `None` if it goes through nothing.
    pub fn iterator(&mut self, value: &Value<'a>) -> Option<Rc<RefCell<Steps<'a>>>> {
        let steps = match value {
            Value::List(list) => {
                Steps::List { list: list.clone(), at: 0, changes: list.changes.get() }
            }
            Value::Map(map) => Steps::over_map(View::Values, map.clone()),
            Value::Scope(scope) => Steps::over_map(View::Values, scope.storage.clone()),
            Value::View(view, map) => Steps::over_map(*view, map.clone()),
            Value::Iterator(steps) => return Some(steps.clone()),
            _ => return None,
        };
        Some(Rc::new(RefCell::new(steps)))
    }

    // ---- expressions ----

    fn value(&mut self, expression: &'a Expr) -> Run<Value<'a>> {
        Ok(match expression {
            Expr::Text(span) => Value::Text(Text::Borrowed(span.of(&self.tree.pool))),
            Expr::Int(number) => Value::Int(*number),
            Expr::Long(number) => Value::Long(*number),
            Expr::Double(number) => Value::Double(*number),
            Expr::Big(number) => Value::Big(Rc::new(self.tree[*number].clone())),
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Reference(reference) => {
                if !reference.computable {
                    return Ok(Value::Null);
                }
                let value = self.execute(reference)?;
                if self.seen.is_some() {
                    self.remember(reference, &value)?;
                }
                value
            }
            Expr::Interpolated(index) => self.interpolate(*index)?,
            Expr::Array(items) => {
                self.enter(Span::default())?;
                let mut values = Vec::with_capacity(items.len());
                for item in &self.tree[*items] {
                    self.step()?;
                    values.push(self.value(item)?);
                }
                self.depth -= 1;
                self.spend_made(values.len())?;
                Value::list(ListKind::ArrayList, values)
            }
            Expr::Map(entries) => {
                self.enter(Span::default())?;
                let map = Map::default();
                for entry in self.tree[*entries].chunks_exact(2) {
                    self.step()?;
                    let key = self.value(&entry[0])?;
                    let value = self.value(&entry[1])?;
                    self.check_key(&key)?;
                    self.null_keys |= key.is_null();
                    map.put(key, value);
                }
                self.depth -= 1;
                self.spend_made(entries.len())?;
                Value::Map(Rc::new(map))
            }
            Expr::Range(from, to) => self.range(&self.tree[*from], &self.tree[*to])?,
            Expr::Chain(chain) => self.chain(&self.tree[*chain])?,
            Expr::Not(inner) => Value::Bool(!self.is_true(&self.tree[*inner])?),
            Expr::Group(inner) => {
                self.enter(Span::default())?;
                let value = self.value(&self.tree[*inner])?;
                self.depth -= 1;
                value
            }
            Expr::Word => Value::Null,
        })
    }

    fn remember(&mut self, reference: &'a Reference, value: &Value<'a>) -> Run<()> {
        let mut shown = String::new();
        if !matches!(value, Value::Block(_)) {
            self.print(value, &mut shown)?;
        }
        if let Some(seen) = &mut self.seen {
            seen.push(Seen { span: reference.literal, value: shown });
        }
        Ok(())
    }

    /// A key that contains itself has no hash code in Java.
    fn check_key(&self, key: &Value<'a>) -> Run<()> {
        super::value::check_key(key).map_err(|_| {
            self.raised(
                ErrorKind::Render,
                "StackOverflowError",
                "a key is nested too deeply, or in itself",
                Span::default(),
            )
        })
    }

    fn spend_made(&mut self, values: usize) -> Run<()> {
        let bytes = values * size_of::<Value>();
        self.make(bytes).map_err(|thrown| self.thrown(thrown, "", "", Span::default()))
    }

    fn interpolate(&mut self, index: u32) -> Run<Value<'a>> {
        let tree = self.tree;
        let string = &tree.strings[index as usize];
        let mut out = String::new();
        self.block(string.body, &mut out)?;
        if string.trimmed {
            text::pop_unit(&mut out);
        }
        self.make(out.len()).map_err(|thrown| self.thrown(thrown, "", "", Span::default()))?;
        Ok(Value::text(out))
    }

    fn range(&mut self, from: &'a Expr, to: &'a Expr) -> Run<Value<'a>> {
        let from = self.value(from)?;
        let to = self.value(to)?;
        let (Some(from), Some(to)) = (from.number(), to.number()) else { return Ok(Value::Null) };
        let (from, to) = (i64::from(from.to_int()), i64::from(to.to_int()));
        let count = (from - to).abs() + 1;
        if count > MAX_RANGE {
            return Err(self.limit(format!("a range of {count} numbers"), Span::default()));
        }
        self.spend_made(count as usize)?;
        self.spend_steps(count as u64)
            .map_err(|thrown| self.thrown(thrown, "", "", Span::default()))?;
        let items = if from >= to {
            (0..count).map(|by| Value::Int((from - by) as i32)).collect()
        } else {
            (0..count).map(|by| Value::Int((from + by) as i32)).collect()
        };
        Ok(Value::list(ListKind::ArrayList, items))
    }

    /// Whether a condition holds. Only references, booleans and comparisons can; a bare text or
    /// number never does.
    fn is_true(&mut self, expression: &'a Expr) -> Run<bool> {
        match expression {
            Expr::Reference(reference) => match self.execute(reference)? {
                Value::Null => Ok(false),
                Value::Bool(value) => Ok(value),
                value => {
                    if self.seen.is_some() {
                        self.remember(reference, &value)?;
                    }
                    self.has_text(&value)
                }
            },
            Expr::Bool(value) => Ok(*value),
            Expr::Not(inner) => Ok(!self.is_true(&self.tree[*inner])?),
            Expr::Group(inner) => {
                self.enter(Span::default())?;
                let value = self.is_true(&self.tree[*inner])?;
                self.depth -= 1;
                Ok(value)
            }
            Expr::Chain(chain) => {
                let chain = &self.tree[*chain];
                let is_condition = self.links(chain)[0].operator.is_condition();
                Ok(is_condition && matches!(self.chain(chain)?, Value::Bool(true)))
            }
            _ => Ok(false),
        }
    }

    /// Velocity asks a value for its text to see whether it is true, which matters for blocks made
    /// by `#define`.
    fn has_text(&mut self, value: &Value<'a>) -> Run<bool> {
        if !self.tree.defines && !self.null_keys {
            return Ok(true);
        }
        let text = match value {
            Value::Block(block) => {
                let block = block.clone();
                self.render_defined(&block, &mut String::new())
            }
            Value::List(_) | Value::Map(_) | Value::View(..) | Value::Entry(_) => {
                self.print(value, &mut String::new()).map(|()| true)
            }
            _ => Ok(true),
        };
        // Velocity wraps what is thrown here, but for Java's errors.
        text.map_err(|flow| match flow {
            Flow::Raised(mut raised) if raised.error.class.ends_with("Exception") => {
                raised.error.class = "VelocityException".into();
                Flow::Raised(raised)
            }
            other => other,
        })
    }

    fn links(&self, chain: &Chain) -> &'a [Link] {
        &self.tree[chain.rest]
    }

    fn chain(&mut self, chain: &'a Chain) -> Run<Value<'a>> {
        let rest = self.links(chain);
        match rest[0].operator {
            Operator::Or => {
                let mut value = self.is_true(&chain.first)?;
                for link in rest {
                    if value {
                        break;
                    }
                    value = self.is_true(&link.right)?;
                }
                return Ok(Value::Bool(value));
            }
            Operator::And => {
                let mut value = self.is_true(&chain.first)?;
                for link in rest {
                    if !value {
                        break;
                    }
                    value = self.is_true(&link.right)?;
                }
                return Ok(Value::Bool(value));
            }
            _ => {}
        }
        let mut left = self.value(&chain.first)?;
        let mut left_literal = chain.first_literal;
        for link in rest {
            self.step()?;
            let right = self.value(&link.right)?;
            left = self.operate(link.operator, left, right, left_literal, link.literal)?;
            left_literal = link.tail;
        }
        Ok(left)
    }

    fn operate(
        &mut self,
        operator: Operator,
        left: Value<'a>,
        right: Value<'a>,
        left_literal: Span,
        right_literal: Span,
    ) -> Run<Value<'a>> {
        match operator {
            Operator::Equal => return Ok(Value::Bool(self.same(&left, &right, left_literal)?)),
            Operator::NotEqual => {
                return Ok(Value::Bool(!self.same(&left, &right, left_literal)?));
            }
            _ => {}
        }
        if operator == Operator::Add
            && (matches!(left, Value::Text(_)) || matches!(right, Value::Text(_)))
        {
            let mut out = String::new();
            for (side, literal) in [(&left, left_literal), (&right, right_literal)] {
                match side {
                    Value::Null => text::push_text(&mut out, literal.of(&self.tree.pool)),
                    side => match self.java_text(side)? {
                        Some(text) => text::push_text(&mut out, &text),
                        None => {
                            return Err(self.raised(
                                ErrorKind::Render,
                                "NullPointerException",
                                "a block made by #define is added to inside of itself",
                                left_literal,
                            ));
                        }
                    },
                }
            }
            self.make(out.len()).map_err(|thrown| self.thrown(thrown, "", "", left_literal))?;
            return Ok(Value::text(out));
        }
        let (Some(a), Some(b)) = (left.number(), right.number()) else {
            return Ok(if operator.is_condition() { Value::Bool(false) } else { Value::Null });
        };
        let span = Span::new(left_literal.start, right_literal.end.max(left_literal.start));
        if operator.is_condition() {
            let ordering = number::compare(&a, &b).map_err(|error| self.math(error, span))?;
            return Ok(Value::Bool(match operator {
                Operator::Less => ordering == Ordering::Less,
                Operator::Greater => ordering == Ordering::Greater,
                Operator::LessEqual => ordering != Ordering::Greater,
                _ => ordering != Ordering::Less,
            }));
        }
        if matches!(operator, Operator::Divide | Operator::Modulo) && b.is_zero() {
            return Ok(Value::Null);
        }
        number::calculate(operator, &a, &b).map(Value::from).map_err(|error| self.math(error, span))
    }

    fn math(&self, error: MathError, span: Span) -> Flow {
        match error {
            MathError::Java(class) => self.raised(
                ErrorKind::Render,
                class,
                format!("the calculation has no result ({class})"),
                span,
            ),
            MathError::TooBig => self.limit("a number gets too many digits", span),
        }
    }

    /// `==`: numbers by value, equals of the same class by `equals`, everything else by its text.
    fn same(&mut self, left: &Value<'a>, right: &Value<'a>, span: Span) -> Run<bool> {
        if let (Some(a), Some(b)) = (left.number(), right.number()) {
            return Ok(
                number::compare(&a, &b).map_err(|error| self.math(error, span))? == Ordering::Equal
            );
        }
        match (left.is_null(), right.is_null()) {
            (true, true) => return Ok(true),
            // The other side's text is null, too, if it is a block nested in itself too often.
            (true, false) => return Ok(self.java_text(right)?.is_none()),
            (false, true) => return Ok(self.java_text(left)?.is_none()),
            (false, false) => {}
        }
        if same_class(left, right) {
            return equals(left, right, 0).map_err(|_| {
                self.raised(
                    ErrorKind::Render,
                    "StackOverflowError",
                    "a value is nested too deeply, or in itself",
                    span,
                )
            });
        }
        let left = self.java_text(left)?;
        let right = self.java_text(right)?;
        Ok(match (left, right) {
            (Some(left), Some(right)) => *left == *right,
            (left, right) => left.is_none() && right.is_none(),
        })
    }
}

/// Whether one side's class is the other's, or above it.
fn same_class(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(a), Value::List(b)) => {
            let plain = |kind| matches!(kind, ListKind::ArrayList | ListKind::JsonArray);
            a.kind == b.kind || (plain(a.kind) && plain(b.kind))
        }
        (Value::Entry(_), Value::Entry(_)) => true,
        _ => left.class() == right.class(),
    }
}

impl<'a> PrintBlock<'a> for Eval<'a> {
    fn print_block(&mut self, block: &Rc<Defined>, out: &mut String) -> Result<bool, Stopped> {
        let block = block.clone();
        self.render_defined(&block, out).map_err(|flow| {
            self.pending = Some(flow);
            Stopped::Inside
        })
    }

    fn spend(&mut self, steps: u64, bytes: usize) -> Result<(), Stopped> {
        if bytes > 2 * self.limits.output {
            self.pending = Some(self.limit(
                "a value's text is larger than anything API Gateway lets through",
                Span::default(),
            ));
            return Err(Stopped::Inside);
        }
        match self.steps.checked_sub(steps) {
            Some(rest) => {
                self.steps = rest;
                Ok(())
            }
            None => {
                self.pending = Some(self.too_many_steps(Span::default()));
                Err(Stopped::Inside)
            }
        }
    }
}
