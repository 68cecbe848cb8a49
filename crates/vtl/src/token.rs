//! The tokens of the template language and the states of the lexer that makes them.
//!
//! Kinds, states and their names are those of the grammar of Apache Velocity 1.7, so that a
//! difference can be looked up there.

/// What a token is. The order matters: of two kinds that match the same length, the earlier one
/// wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Eof,
    IndexLeft,
    IndexRight,
    LeftBracket,
    RightBracket,
    Comma,
    DoubleDot,
    Colon,
    LeftBrace,
    RightBrace,
    LeftParen,
    /// Closes a directive; takes the blanks behind it up to and including a line break.
    RightParen,
    /// Closes the arguments of a method.
    MethodRightParen,
    EscapeDirective,
    /// `#set(` with the blanks before it.
    Set,
    LineCommentStart,
    DoubleEscape,
    Escape,
    Text,
    LineCommentEnd,
    FormalComment,
    BlockComment,
    Textblock,
    Blank,
    StringLiteral,
    True,
    False,
    Newline,
    Minus,
    Plus,
    Multiply,
    Divide,
    Modulus,
    And,
    Or,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    Not,
    Assign,
    End,
    If,
    ElseIf,
    Else,
    Integer,
    Float,
    Word,
    BracketedWord,
    Identifier,
    Dot,
    ReferenceLeftBrace,
    ReferenceRightBrace,
    EmptyIndex,
    /// No token can start here.
    Invalid,
    /// The template ended where more was needed.
    Unfinished,
}

/// The state the lexer is in; which tokens exist depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Default,
    /// Behind `#`, before it is known which directive this is.
    PreDirective,
    Directive,
    /// Behind `$`.
    Reference,
    /// Behind `$name.`.
    ReferenceModifier,
    /// In the arguments of a method.
    MethodArguments,
    /// In `[…]` of a reference.
    Index,
    LineComment,
    BlockComment,
    FormalComment,
    Textblock,
}

/// A token. Offsets count bytes of the template.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub kind: Kind,
    /// Where the token's image starts. A token may carry text of what came before it: `#$x` is one
    /// identifier.
    pub start: u32,
    pub end: u32,
    /// The range of what the lexer passed over right before this token (`$` or `#` that turned out
    /// to be text); empty if nothing.
    pub special: (u32, u32),
}
