//! A value of the file in which placeholders may stand.
//!
//! `${env.NAME}` is filled in at once, from a function that the caller gives; what it gave is never
//! shown. The others wait for a stage.

use super::{Pattern, yaml::Span};

/// A placeholder as the file may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder<'a> {
    Stage,
    Account,
    Region,
    Env(&'a str),
    Unknown(&'a str),
    /// `${` without its `}`.
    Open,
}

/// A piece of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    /// With the text as written, `${stage}`.
    Placeholder(Placeholder<'a>, &'a str),
}

/// Takes a value apart.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if start > 0 {
            pieces.push(Piece::Literal(&rest[..start]));
        }
        let Some(end) = rest[start..].find('}') else {
            pieces.push(Piece::Placeholder(Placeholder::Open, &rest[start..]));
            return pieces;
        };
        let written = &rest[start..=start + end];
        pieces.push(Piece::Placeholder(placeholder(&written[2..written.len() - 1]), written));
        rest = &rest[start + end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    pieces
}

fn placeholder(name: &str) -> Placeholder<'_> {
    match name {
        "stage" => Placeholder::Stage,
        "account" => Placeholder::Account,
        "region" => Placeholder::Region,
        _ => match name.strip_prefix("env.") {
            Some(variable) if is_variable(variable) => Placeholder::Env(variable),
            _ => Placeholder::Unknown(name),
        },
    }
}

/// A placeholder written as other tools write theirs, with its name: `$stage`, `$(stage)`,
/// `{stage}`, `{{ stage }}`, `<stage>`. No name that AWS takes has such characters, so nothing is
/// lost.
pub(super) fn miswritten(text: &str) -> Option<(&str, &str)> {
    let name_end = |from: &str| {
        from.find(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c))).unwrap_or(from.len())
    };
    let enclosed = |open: &str, close: &str| {
        let start = text.find(open)?;
        let inside = &text[start + open.len()..];
        let end = inside.find(close)?;
        let name = inside[..end].trim();
        (!name.is_empty() && name_end(name) == name.len())
            .then(|| (&text[start..start + open.len() + end + close.len()], name))
    };
    let plain = || {
        let start = text.find('$')?;
        let name = &text[start + 1..];
        let name = &name[..name_end(name)];
        let name = name.trim_end_matches('.');
        (!name.is_empty()).then(|| (&text[start..start + 1 + name.len()], name))
    };
    let marks = [("$(", ")"), ("{{", "}}"), ("{", "}"), ("<", ">")];
    marks.iter().find_map(|(open, close)| enclosed(open, close)).or_else(plain)
}

/// Whether an environment variable can have this name. Source: POSIX.1-2017, section 8.1.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A value whose placeholders are all known.
#[derive(Clone, Debug)]
pub(super) struct Text {
    /// As the file has it: this is what may be shown.
    pub written: String,
    /// With the environment filled in: this is what is used.
    pub pattern: Pattern,
    pub span: Span,
}

impl Text {
    pub fn uses_env(&self) -> bool {
        self.written.contains("${env.")
    }

    pub fn names_stage(&self) -> bool {
        self.written.contains("${stage}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_of_other_tools_are_seen_for_what_they_are() {
        for (written, expected) in [
            ("hooks-$stage", Some(("$stage", "stage"))),
            ("hooks-$stage-x", Some(("$stage", "stage"))),
            ("$(stage)-x", Some(("$(stage)", "stage"))),
            ("x-{stage}", Some(("{stage}", "stage"))),
            ("x-{{ stage }}-y", Some(("{{ stage }}", "stage"))),
            ("x-<stage>", Some(("<stage>", "stage"))),
            ("$env.TEAM.", Some(("$env.TEAM", "env.TEAM"))),
            ("price-$", None),
            ("a-{b c}", None),
            ("plain/text.vtl", None),
        ] {
            assert_eq!(miswritten(written), expected, "{written}");
        }
    }
}
