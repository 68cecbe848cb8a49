//! The tree that the parser makes and the evaluator walks.
//!
//! Texts are ranges of the template's text pool: the template itself and, behind it, the text of every string that is itself a template.

use num_bigint::BigInt;

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

/// Something with the place it was written at.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub node: T,
    pub span: Span,
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
pub(crate) const FIXED_NAMES: [&str; 7] = ["input", "util", "context", "stageVariables", "foreach", "velocityCount", "velocityHasNext"];

pub(crate) type Block = Vec<Node>;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Printed as it stands.
    Text(Span),
    /// A backslash sequence whose printed form isn't a part of the template.
    Made(Box<str>),
    Reference(Box<Reference>),
    Set(Box<Set>),
    If(Box<If>),
    Foreach(Box<Foreach>),
    Define(Box<Define>),
    /// `#stop`, with the expression of its message.
    Stop(Option<Box<Expr>>),
    /// `#break`, with the scope it is to leave.
    Break(Option<Box<Spanned<Expr>>>),
    /// `#include` or `#parse`: there are no other files in API Gateway.
    Load(Box<Load>),
}

#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub left: Reference,
    /// What is assigned where the left side is a plain variable: its text without the first character.
    pub slot: Slot,
    pub right: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct If {
    pub branches: Vec<(Expr, Block)>,
    pub otherwise: Option<Block>,
}

#[derive(Clone, Debug)]
pub(crate) struct Foreach {
    pub element: Slot,
    /// Everything between the parentheses, then the block: Velocity takes the third as what to loop over and the fourth as the body.
    pub arguments: Vec<Expr>,
    pub body: Block,
    pub span: Span,
    /// Which `#foreach` this is, so that `#break` can leave an outer one.
    pub id: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Define {
    pub slot: Slot,
    pub body: Block,
}

#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub include: bool,
    pub arguments: Vec<Expr>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReferenceKind {
    Normal,
    Quiet,
    Formal,
    /// An identifier without a `$`, where the lexer takes one for a reference. Prints as it stands, has no value.
    Runt,
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub kind: ReferenceKind,
    pub slot: Slot,
    pub steps: Box<[Step]>,
    /// An odd number of backslashes stood before it.
    pub escaped: bool,
    /// How many backslashes are printed before the value.
    pub backslashes: u32,
    /// Text that the lexer took for a part of the reference (`#` of `#$x`), printed before the value.
    pub prefix: Span,
    /// `$\!x` has no value in an expression.
    pub computable: bool,
    /// The reference as it is written, without what is printed before it.
    pub literal: Span,
    /// The same where it isn't a part of the template.
    pub made_literal: Option<Box<str>>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub kind: StepKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Property(Span),
    Method(Span, Box<[Expr]>),
    Index(Expr),
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
    /// Whether an operation of this kind has a truth value of its own; arithmetic in a condition is always false.
    pub fn is_condition(self) -> bool {
        !matches!(self, Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo)
    }
}

/// Operations of the same precedence, worked off from left to right. Flat, so that a long sum doesn't nest.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub first: Expr,
    pub first_literal: Span,
    pub rest: Vec<Link>,
}

#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub operator: Operator,
    pub right: Expr,
    /// What `+` prints for a right side that is null.
    pub literal: Span,
    /// What `+` prints for the whole up to here, if that is null: by an oddity of Velocity's parser only its last operand, blanks included.
    pub tail: Span,
}

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Text(Span),
    MadeText(Box<str>),
    /// A string that is a template: index in the template's table of strings.
    Interpolated(u32),
    Int(i32),
    Long(i64),
    Big(Box<BigInt>),
    Double(f64),
    Bool(bool),
    Reference(Box<Reference>),
    Array(Box<[Expr]>),
    Map(Vec<(Expr, Expr)>),
    Range(Box<(Expr, Expr)>),
    Chain(Box<Chain>),
    Not(Box<Expr>),
    Group(Box<Expr>),
    /// A bare word between a directive's parentheses.
    Word,
}

/// A string that is a template of its own.
#[derive(Clone, Debug)]
pub(crate) struct Interpolated {
    pub body: Block,
    /// Velocity puts a blank behind the text before parsing it and takes the last character of the result away again, unless it holds `##`.
    pub trimmed: bool,
}
