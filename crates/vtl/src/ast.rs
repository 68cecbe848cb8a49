//! The tree that the parser makes and the evaluator walks.
//!
//! Texts are ranges of the template's text pool: the template itself and, behind it, the text of
//! every string that is itself a template. Parts are entries of the tree's tables, so that a
//! template has a dozen allocations instead of thousands.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Index};

use num_bigint::BigInt;

/// A parsed template.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    pub pool: String,
    /// Bytes of the pool that are the template itself.
    pub source: usize,
    pub body: Block,
    pub names: Vec<Cow<'static, str>>,
    pub strings: Vec<Interpolated>,
    /// Where the text of each string that is a template starts in the pool, and the range it was
    /// written at.
    pub regions: Vec<Region>,
    /// Directives of which nobody has said what API Gateway does with them, by the first place of
    /// each.
    pub unverified: Vec<Span>,
    /// Words behind a `#` that are no directive, or stand where theirs can't be one: printed as
    /// text.
    pub words: Vec<Span>,
    /// Whether `#define` occurs at all.
    pub defines: bool,
    /// Whether anything in the template may change a list or map.
    pub changes_values: bool,
    nodes: Vec<Node>,
    expressions: Vec<Expr>,
    steps: Vec<Step>,
    befores: Vec<Before>,
    links: Vec<Link>,
    chains: Vec<Chain>,
    branches: Vec<Branch>,
    sets: Vec<Set>,
    loops: Vec<Foreach>,
    loads: Vec<Load>,
    numbers: Vec<BigInt>,
}

/// One entry of the tree's table of `T`.
pub(crate) struct One<T>(u32, PhantomData<fn() -> T>);

/// Neighbours in the tree's table of `T`.
pub(crate) struct Many<T> {
    start: u32,
    end: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for One<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for One<T> {}

impl<T> fmt::Debug for One<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Clone for Many<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Many<T> {}

impl<T> fmt::Debug for Many<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.start..self.end).fmt(f)
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Many { start: 0, end: 0, of: PhantomData }
    }
}

impl<T> Many<T> {
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// What the tree keeps a table of.
pub(crate) trait Kept: Sized {
    fn table(tree: &Tree) -> &Vec<Self>;
    fn table_mut(tree: &mut Tree) -> &mut Vec<Self>;
}

macro_rules! tables {
    ($($kept:ty: $table:ident),* $(,)?) => {
        $(impl Kept for $kept {
            fn table(tree: &Tree) -> &Vec<Self> {
                &tree.$table
            }

            fn table_mut(tree: &mut Tree) -> &mut Vec<Self> {
                &mut tree.$table
            }
        })*
    };
}

tables! {
    Node: nodes,
    Expr: expressions,
    Step: steps,
    Before: befores,
    Link: links,
    Chain: chains,
    Branch: branches,
    Set: sets,
    Foreach: loops,
    Load: loads,
    BigInt: numbers,
}

impl Tree {
    pub fn keep<T: Kept>(&mut self, item: T) -> One<T> {
        let table = T::table_mut(self);
        table.push(item);
        One(table.len() as u32 - 1, PhantomData)
    }

    /// Keeps what a stack holds from `from` on, and takes it off the stack.
    pub fn keep_from<T: Kept + Copy>(&mut self, stack: &mut Vec<T>, from: usize) -> Many<T> {
        let table = T::table_mut(self);
        let start = table.len() as u32;
        table.extend_from_slice(&stack[from..]);
        stack.truncate(from);
        Many { start, end: table.len() as u32, of: PhantomData }
    }

    /// Every reference, wherever it stands; in no order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let expressions =
            self.expressions.iter().chain(self.branches.iter().map(|branch| &branch.condition));
        let expressions = expressions
            .chain(self.sets.iter().map(|set| &set.right))
            .chain(self.chains.iter().map(|chain| &chain.first));
        let read =
            expressions.chain(self.links.iter().map(|link| &link.right)).filter_map(|expression| {
                match expression {
                    Expr::Reference(reference) => Some(reference),
                    _ => None,
                }
            });
        let printed = self.nodes.iter().filter_map(|node| match node {
            Node::Reference(reference) => Some(reference),
            _ => None,
        });
        printed.chain(read)
    }

    /// What `#set` assigns to; in no order.
    pub fn assigned(&self) -> impl Iterator<Item = &Reference> {
        self.sets.iter().map(|set| &set.left)
    }

    pub fn loops(&self) -> &[Foreach] {
        &self.loops
    }

    /// Where the texts that follow an `#else` start, if they start with text.
    pub fn texts_behind_else(&self) -> impl Iterator<Item = Span> {
        self.nodes.iter().filter_map(|node| match node {
            Node::If { otherwise: Some(body), .. } => match self[*body].first() {
                Some(Node::Text(span)) => Some(*span),
                _ => None,
            },
            _ => None,
        })
    }

    /// Room for a template of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.nodes.reserve(bytes / 32);
        self.expressions.reserve(bytes / 64);
        self.steps.reserve(bytes / 32);
    }
}

impl<T: Kept> Index<One<T>> for Tree {
    type Output = T;

    fn index(&self, one: One<T>) -> &T {
        &T::table(self)[one.0 as usize]
    }
}

impl<T: Kept> Index<Many<T>> for Tree {
    type Output = [T];

    fn index(&self, many: Many<T>) -> &[T] {
        &T::table(self)[many.start as usize..many.end as usize]
    }
}

/// A part of the pool that isn't the template itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    pub start: u32,
    pub written: Span,
    /// The text stands in the template exactly as it does in the pool, one byte behind the start
    /// of `written`.
    pub exact: bool,
}

/// A range of bytes of the template's text pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: u32, end: u32) -> Self {
        Span { start, end }
    }

    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    pub fn of(self, pool: &str) -> &str {
        pool.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// The index of a variable's name in the template's table of names.
pub(crate) type Slot = u32;

/// Slots that every template has.
pub(crate) const INPUT: Slot = 0;
pub(crate) const UTIL: Slot = 1;
pub(crate) const CONTEXT: Slot = 2;
pub(crate) const STAGE_VARIABLES: Slot = 3;
pub(crate) const FOREACH: Slot = 4;
pub(crate) const VELOCITY_COUNT: Slot = 5;
pub(crate) const VELOCITY_HAS_NEXT: Slot = 6;
pub(crate) const FIXED_NAMES: [&str; 7] =
    ["input", "util", "context", "stageVariables", "foreach", "velocityCount", "velocityHasNext"];

pub(crate) type Block = Many<Node>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Node {
    /// Printed as it stands.
    Text(Span),
    Reference(Reference),
    Set(One<Set>),
    If {
        branches: Many<Branch>,
        otherwise: Option<Block>,
    },
    Foreach(One<Foreach>),
    Define {
        slot: Slot,
        body: Block,
    },
    /// `#stop`, with the expression of its message.
    Stop(Option<One<Expr>>),
    Break,
    /// `#break(…)`, with the scope it is to leave.
    BreakOf(One<Expr>, Span),
    /// `#include` or `#parse`: there are no other files in API Gateway.
    Load(One<Load>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Set {
    pub left: Reference,
    /// What is assigned where the left side is a plain variable: its text without the first
    /// character.
    pub slot: Slot,
    pub right: Expr,
}

/// `#if(…)…` or `#elseif(…)…`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    pub condition: Expr,
    pub body: Block,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreach {
    pub element: Slot,
    /// Everything between the parentheses, then the block: Velocity takes the third as what to
    /// loop over and the fourth as the body.
    pub arguments: Many<Expr>,
    pub body: Block,
    pub span: Span,
    /// Which `#foreach` this is, so that `#break` can leave an outer one.
    pub id: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub include: bool,
    pub arguments: Many<Expr>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReferenceKind {
    Normal,
    Quiet,
    Formal,
    /// An identifier without a `$`, where the lexer takes one for a reference. Prints as it stands,
    /// has no value.
    Runt,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    pub kind: ReferenceKind,
    /// `$\!x` has no value in an expression.
    pub computable: bool,
    pub slot: Slot,
    pub steps: Many<Step>,
    /// The reference as it is written, without what is printed before it.
    pub literal: Span,
    /// What stands before it, if anything does.
    pub before: Option<One<Before>>,
}

/// Backslashes and text that the lexer takes for a part of a reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// An odd number of backslashes.
    pub escaped: bool,
    /// How many backslashes are printed before the value.
    pub backslashes: u32,
    /// Text (`#` of `#$x`), printed before the value.
    pub prefix: Span,
    /// The reference as Velocity writes it again, where that isn't as it was written.
    pub literal: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub kind: StepKind,
    pub span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StepKind {
    Property(Span),
    Method(Span, Many<Expr>),
    Index(One<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    Greater,
    LessEqual,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Operator {
    /// Whether an operation of this kind has a truth value of its own; arithmetic in a condition is
    /// always false.
    pub fn is_condition(self) -> bool {
        !matches!(
            self,
            Operator::Add
                | Operator::Subtract
                | Operator::Multiply
                | Operator::Divide
                | Operator::Modulo
        )
    }
}

/// Operations of the same precedence, worked off from left to right. Flat, so that a long sum
/// doesn't nest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub first: Expr,
    pub first_literal: Span,
    pub rest: Many<Link>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub operator: Operator,
    pub right: Expr,
    /// What `+` prints for a right side that is null.
    pub literal: Span,
    /// What `+` prints for the whole up to here, if that is null: by an oddity of Velocity's
    /// parser only its last operand, blanks included.
    pub tail: Span,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Expr {
    Text(Span),
    /// A string that is a template: index in the template's table of strings.
    Interpolated(u32),
    Int(i32),
    Long(i64),
    Big(One<BigInt>),
    Double(f64),
    Bool(bool),
    Reference(Reference),
    Array(Many<Expr>),
    /// Keys, each with its value behind it.
    Map(Many<Expr>),
    Range(One<Expr>, One<Expr>),
    Chain(One<Chain>),
    Not(One<Expr>),
    Group(One<Expr>),
    /// A bare word between a directive's parentheses.
    Word,
}

/// A string that is a template of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interpolated {
    pub body: Block,
    /// Velocity puts a blank behind the text before parsing it and takes the last character of the
    /// result away again, unless it holds `##`.
    pub trimmed: bool,
}
