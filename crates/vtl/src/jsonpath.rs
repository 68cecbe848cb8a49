//! JSONPath as Jayway's library (2.0) compiles and evaluates it.
//!
//! Its oddities are kept: a filter's result is a list, a missing property behind a filter makes the
//! whole path empty, a multiple selection may only stand at the end.

use std::{cmp::Ordering, rc::Rc};

use super::{
    number::BigDecimal,
    regex::Regex,
    text,
    value::{ListKind, Map, Value, View},
};

/// Characters a path may have.
const MAX_PATH: usize = 10_000;

/// Why a path has no value.
#[derive(Debug)]
pub(crate) enum PathError {
    /// Nothing is there.
    NotFound,
    /// The path can't be compiled, or can't be applied to this document.
    Invalid(String),
    /// It took too long.
    Budget,
}

#[derive(Debug)]
enum Token {
    Root,
    Scan,
    Wildcard,
    Properties(Vec<String>),
    Indexes(Vec<i32>),
    /// `[@.length-1]`
    FromEnd(i32),
    SliceFrom(i32),
    SliceTo(i32),
    Slice(i32, i32),
    /// `None`: a `[?]` for which no filter is given.
    Filter(Option<Filter>),
}

impl Token {
    fn is_definite(&self) -> bool {
        match self {
            Token::Root | Token::Properties(_) | Token::FromEnd(_) => true,
            Token::Indexes(indexes) => indexes.len() == 1,
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct JsonPath {
    tokens: Vec<Token>,
    /// Whether everything from a token on is definite.
    definite_from: Vec<bool>,
    /// Starts with `$`, not `@`.
    from_root: bool,
}

#[derive(Debug)]
enum Filter {
    One(Criteria),
    And(Vec<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    GreaterEqual,
    LessEqual,
    NotEqual,
    Less,
    Greater,
    Matches,
}

#[derive(Debug)]
enum Operand {
    Path(JsonPath),
    Text(String),
    Pattern(Box<Regex>, String),
}

#[derive(Debug)]
enum Criteria {
    Exists(JsonPath, bool),
    Compare(Operand, Operator, Operand),
}

type Compiled<T> = Result<T, PathError>;

fn invalid<T>(message: impl Into<String>) -> Compiled<T> {
    Err(PathError::Invalid(message.into()))
}

/// Java's `charAt`, which raises beyond the end.
fn at(chars: &[char], index: usize) -> Compiled<char> {
    chars.get(index).copied().ok_or_else(|| PathError::Invalid("the path ends too early".into()))
}

fn collect(chars: &[char]) -> String {
    chars.iter().collect()
}

impl JsonPath {
    pub fn compile(path: &str) -> Compiled<Self> {
        Self::compile_nested(path, 0)
    }

    fn compile_nested(path: &str, depth: usize) -> Compiled<Self> {
        if depth > 20 {
            return invalid("filters are nested too deeply");
        }
        if path.len() > MAX_PATH {
            return invalid(format!("the path is longer than {MAX_PATH} bytes"));
        }
        let path = text::trim(path);
        if path.ends_with("..") {
            return invalid("a path can't end with `..`");
        }
        let first =
            path.chars().next().ok_or_else(|| PathError::Invalid("the path is empty".into()))?;
        let from_root = first != '@';
        let path = match first {
            '$' => path.to_owned(),
            '@' => format!("${}", &path[1..]),
            _ => format!("$.{path}"),
        };
        let chars: Vec<char> = path.chars().collect();
        if chars.len() > 1 && chars[1] != '.' && chars[1] != '[' {
            return invalid(format!("`{path}` is not a path: behind `$` comes `.` or `[`"));
        }
        let mut tokens = Vec::new();
        let mut i = 0;
        let mut fragment: Vec<char>;
        while i < chars.len() {
            match chars[i] {
                ' ' => return invalid("a path takes no blanks"),
                '$' => {
                    fragment = vec!['$'];
                    i += 1;
                }
                '[' => {
                    let length = until_closed(&chars, i);
                    fragment = chars[i..i + length].to_vec();
                    i += length;
                }
                '.' => {
                    i += 1;
                    if at(&chars, i)? == '.' {
                        fragment = vec!['.', '.'];
                        i += 1;
                    } else {
                        let length = plain_length(&chars, i);
                        if length == 0 {
                            // A dot before a bracket means nothing.
                            continue;
                        }
                        fragment = if length == 1 && chars[i] == '*' {
                            "[*]".chars().collect()
                        } else {
                            quoted(&chars[i..i + length])
                        };
                        i += length;
                    }
                }
                '*' => {
                    fragment = "[*]".chars().collect();
                    i += 1;
                }
                _ => {
                    let length = plain_length(&chars, i);
                    fragment = quoted(&chars[i..i + length]);
                    i += length;
                }
            }
            let token = analyze(&fragment, depth)?;
            if tokens.is_empty() && !matches!(token, Token::Root) {
                return invalid("a path starts with `$`");
            }
            tokens.push(token);
        }
        let mut definite_from = vec![true; tokens.len()];
        let mut definite = true;
        for (index, token) in tokens.iter().enumerate().rev() {
            definite &= token.is_definite();
            definite_from[index] = definite;
        }
        Ok(JsonPath { tokens, definite_from, from_root })
    }

    pub fn is_definite(&self) -> bool {
        self.definite_from.first().copied().unwrap_or(true)
    }

    /// The value at the path; for a path that isn't definite, a list.
    pub fn read<'a>(
        &self,
        document: &Value<'a>,
        root: &Value<'a>,
        budget: &mut u64,
    ) -> Compiled<Value<'a>> {
        let mut reading = Reading { path: self, root, results: Vec::new(), budget };
        reading.evaluate(0, document)?;
        let mut results = reading.results;
        if !self.is_definite() {
            return Ok(Value::list(ListKind::JsonArray, results));
        }
        if results.is_empty() {
            return Err(PathError::NotFound);
        }
        Ok(results.swap_remove(0))
    }
}

fn quoted(name: &[char]) -> Vec<char> {
    let mut fragment = vec!['[', '\''];
    fragment.extend_from_slice(name);
    fragment.extend(['\'', ']']);
    fragment
}

/// Characters up to a dot, a bracket or a blank.
fn plain_length(chars: &[char], from: usize) -> usize {
    chars[from..].iter().take_while(|c| !matches!(c, '.' | '[' | ' ')).count()
}

fn until_closed(chars: &[char], from: usize) -> usize {
    let mut nested = 0i64;
    let mut length = 1;
    for c in &chars[from + 1..] {
        length += 1;
        match c {
            ']' if nested == 0 => break,
            '[' => nested += 1,
            ']' => nested -= 1,
            _ => {}
        }
    }
    length
}

/// `[?]` or `[?,?]`: filters that would have to be passed in.
fn is_open_filter(fragment: &[char]) -> bool {
    let text = collect(fragment);
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        return false;
    };
    inner.trim_start().starts_with('?')
        && inner.chars().all(|c| c.is_ascii_whitespace() || matches!(c, '?' | ',' | '*'))
}

fn analyze(fragment: &[char], depth: usize) -> Compiled<Token> {
    match collect(fragment).as_str() {
        "$" => return Ok(Token::Root),
        ".." => return Ok(Token::Scan),
        "[*]" => return Ok(Token::Wildcard),
        _ => {}
    }
    if is_open_filter(fragment) {
        return Ok(Token::Filter(None));
    }
    for (i, c) in fragment.iter().enumerate() {
        match c {
            '?' => return filter(fragment, i, depth),
            '\'' => return properties(fragment, i),
            c if c.is_ascii_digit() || matches!(c, ':' | '-' | '@') => return indexes(fragment, i),
            _ => {}
        }
    }
    invalid(format!("`{}` is not a part of a path", collect(fragment)))
}

fn properties(fragment: &[char], from: usize) -> Compiled<Token> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut open = false;
    let mut i = from;
    loop {
        match at(fragment, i)? {
            ']' => return Ok(Token::Properties(names)),
            '\'' => {
                if open {
                    names.push(std::mem::take(&mut name));
                }
                open = !open;
            }
            c => {
                if open {
                    name.push(c);
                }
            }
        }
        i += 1;
    }
}

fn int(digits: &str) -> Compiled<i32> {
    digits.parse().map_err(|_| PathError::Invalid(format!("`{digits}` is not an index")))
}

fn indexes(fragment: &[char], from: usize) -> Compiled<Token> {
    let mut i = from;
    let mut buffer = String::new();
    let mut numbers: Vec<i32> = Vec::new();
    let (mut slice_to, mut slice_from, mut between, mut several) = (false, false, false, false);
    let from_end = fragment[i] == '@';
    if from_end {
        i += 2;
        while at(fragment, i)? != '-' {
            let c = at(fragment, i)?;
            if !matches!(c, ' ' | '(' | ')') {
                buffer.push(c);
            }
            i += 1;
        }
        if buffer != "size" && buffer != "length" {
            return invalid(format!(
                "`@.{buffer}` is not known; only `@.length` and `@.size()` are"
            ));
        }
        buffer.clear();
        while at(fragment, i)? != ')' {
            let c = at(fragment, i)?;
            if c != ' ' {
                buffer.push(c);
            }
            i += 1;
        }
    } else {
        loop {
            let c = at(fragment, i)?;
            match c {
                ' ' => {}
                ':' => {
                    let tail = buffer.is_empty();
                    if !tail {
                        numbers.push(int(&buffer)?);
                        buffer.clear();
                    }
                    i += 1;
                    while matches!(at(fragment, i)?, '0'..='9' | ' ' | '-') {
                        if fragment[i] != ' ' {
                            buffer.push(fragment[i]);
                        }
                        i += 1;
                    }
                    if tail {
                        slice_to = true;
                        numbers.push(int(&buffer)?);
                    } else if buffer.is_empty() {
                        slice_from = true;
                    } else {
                        between = true;
                        numbers.push(int(&buffer)?);
                    }
                    buffer.clear();
                }
                ',' => {
                    numbers.push(int(&buffer)?);
                    buffer.clear();
                    several = true;
                }
                '0'..='9' | '-' => buffer.push(c),
                _ => break,
            }
            if at(fragment, i)? == ']' {
                break;
            }
            i += 1;
        }
    }
    if !buffer.is_empty() {
        numbers.push(int(&buffer)?);
    }
    let number = |n: usize| {
        numbers.get(n).copied().ok_or_else(|| PathError::Invalid("an index is missing".into()))
    };
    if numbers.len() == 1 && !slice_to && !slice_from && !from_end {
        return Ok(Token::Indexes(numbers));
    }
    if several {
        return Ok(Token::Indexes(numbers));
    }
    if slice_from {
        return Ok(Token::SliceFrom(number(0)?));
    }
    if slice_to {
        return Ok(Token::SliceTo(number(0)?));
    }
    if between {
        return Ok(Token::Slice(number(0)?, number(1)?));
    }
    if from_end {
        return Ok(Token::FromEnd(number(0)?));
    }
    invalid("brackets without an index")
}

fn filter(fragment: &[char], from: usize, depth: usize) -> Compiled<Token> {
    let mut start = from;
    while at(fragment, start)? != '[' {
        start = start
            .checked_sub(1)
            .ok_or_else(|| PathError::Invalid("a filter without its bracket".into()))?;
    }
    let (mut round, mut square, mut quoted) = (0i64, 0i64, false);
    let mut previous = ' ';
    let mut i = start;
    let end = loop {
        let c = at(fragment, i)?;
        let mut end = None;
        match c {
            '(' if !quoted => round += 1,
            ')' if !quoted => round -= 1,
            '[' if !quoted => square += 1,
            ']' if !quoted => {
                square -= 1;
                if round == 0 {
                    end = Some(i + 1);
                }
            }
            '\'' if previous != '\\' => quoted = !quoted,
            _ => {}
        }
        previous = c;
        i += 1;
        if let Some(end) = end {
            break end;
        }
    };
    if round != 0 || square != 0 {
        return invalid("the brackets of a filter don't match");
    }
    Ok(Token::Filter(Some(parse_filter(&collect(&fragment[start..end]), depth)?)))
}

fn parse_filter(filter: &str, depth: usize) -> Compiled<Filter> {
    let strip = |text: &str, open: &str, close: &str| -> Compiled<String> {
        let inner = text.strip_prefix(open).and_then(|inner| inner.strip_suffix(close));
        inner.map(|inner| text::trim(inner).to_owned()).ok_or_else(|| {
            PathError::Invalid(format!("a filter is written `[?(…)]`, found `{filter}`"))
        })
    };
    let inner = strip(text::trim(filter), "[", "]")?;
    let inner = strip(&inner, "?", "")?;
    let inner = strip(&inner, "(", ")")?;
    let mut operators = Vec::new();
    let mut criteria = Vec::new();
    for part in split_operators(&inner) {
        match text::trim(part) {
            operator @ ("&&" | "||") => operators.push(operator),
            part => criteria.push(parse_criteria(&clean(part)?, depth)?),
        }
    }
    let missing = || PathError::Invalid(format!("a condition is missing in `{filter}`"));
    let mut root = Filter::One(criteria.pop().ok_or_else(missing)?);
    while let Some(operator) = operators.pop() {
        let next = criteria.pop().ok_or_else(missing)?;
        root = if operator == "&&" {
            conjoin(root, next)
        } else {
            Filter::Or(Box::new(root), Box::new(Filter::One(next)))
        };
    }
    if criteria.is_empty() {
        Ok(root)
    } else {
        invalid(format!("an operator is missing in `{filter}`"))
    }
}

/// Jayway's `and`: behind an `or` it binds to the right side.
fn conjoin(root: Filter, next: Criteria) -> Filter {
    match root {
        Filter::Or(left, right) => {
            Filter::Or(left, Box::new(Filter::And(vec![*right, Filter::One(next)])))
        }
        Filter::And(mut all) => {
            all.push(Filter::One(next));
            Filter::And(all)
        }
        one => Filter::And(vec![one, Filter::One(next)]),
    }
}

/// Splits before and behind `&&` and `||`.
fn split_operators(text: &str) -> Vec<&str> {
    let mut cuts = vec![0];
    for i in 0..text.len().saturating_sub(1) {
        if matches!(&text.as_bytes()[i..i + 2], b"&&" | b"||") {
            cuts.push(i);
            cuts.push(i + 2);
        }
    }
    cuts.push(text.len());
    cuts.sort_unstable();
    cuts.dedup();
    let parts: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
    if parts.is_empty() { vec![text] } else { parts }
}

fn clean(criteria: &str) -> Compiled<String> {
    let chars: Vec<char> = criteria.chars().collect();
    let mut begin = 0;
    while matches!(at(&chars, begin)?, '[' | '?' | '(' | ' ') {
        begin += 1;
    }
    let mut end = chars.len();
    while end > 0 && matches!(chars[end - 1], ')' | ' ') {
        end -= 1;
    }
    if end < begin {
        return invalid("a condition is empty");
    }
    Ok(collect(&chars[begin..end]))
}

fn parse_criteria(criteria: &str, depth: usize) -> Compiled<Criteria> {
    const OPERATORS: [(&str, Operator); 7] = [
        ("==", Operator::Equal),
        (">=", Operator::GreaterEqual),
        ("<=", Operator::LessEqual),
        ("!=", Operator::NotEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
        ("=~", Operator::Matches),
    ];
    let found = OPERATORS.iter().find_map(|(sign, operator)| {
        criteria.find(sign).map(|index| (index, sign.len(), *operator))
    });
    match found {
        Some((index, length, operator)) => {
            let left = text::trim(&criteria[..index]);
            let right = text::trim(&criteria[index + length..]);
            if left.starts_with('!') && is_path(left) {
                return Ok(Criteria::Compare(
                    operand(&left[1..], depth)?,
                    operator,
                    operand(right, depth)?,
                ));
            }
            if right.starts_with('!') && is_path(right) {
                return invalid(
                    "`!` can only stand before a path on its own, as in `[?(!@.name)]`",
                );
            }
            Ok(Criteria::Compare(operand(left, depth)?, operator, operand(right, depth)?))
        }
        None => {
            let left = text::trim(criteria);
            if !is_path(left) {
                return invalid(format!("`{left}` is not a condition"));
            }
            let path = left.strip_prefix('!');
            let exists = path.is_none();
            Ok(Criteria::Exists(definite(path.unwrap_or(left), depth)?, exists))
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('$') || text.starts_with('@') || text.starts_with("!@")
}

fn definite(path: &str, depth: usize) -> Compiled<JsonPath> {
    let compiled = JsonPath::compile_nested(path, depth + 1)?;
    if compiled.is_definite() {
        Ok(compiled)
    } else {
        invalid(format!("the path in a filter must be definite, `{path}` is not"))
    }
}

fn operand(text: &str, depth: usize) -> Compiled<Operand> {
    if is_path(text) {
        return Ok(Operand::Path(definite(text, depth)?));
    }
    if text.starts_with('\'') && text.ends_with('\'') {
        // A single quote is both its own start and end, which Java's substring refuses.
        if text.len() < 2 {
            return invalid("a quote is never closed");
        }
        return Ok(Operand::Text(text[1..text.len() - 1].to_owned()));
    }
    if text.starts_with('/') && (text.ends_with('/') || text.ends_with("/i")) {
        let last = text.rfind('/').unwrap_or(0);
        let pattern = text
            .get(1..last)
            .ok_or_else(|| PathError::Invalid("a pattern is never closed".into()))?;
        let regex = Regex::new(pattern, text.ends_with('i'))
            .map_err(|error| PathError::Invalid(error.message))?;
        return Ok(Operand::Pattern(Box::new(regex), pattern.to_owned()));
    }
    Ok(Operand::Text(text.to_owned()))
}

struct Reading<'p, 'v, 'a> {
    path: &'p JsonPath,
    root: &'v Value<'a>,
    results: Vec<Value<'a>>,
    budget: &'v mut u64,
}

enum Side<'p, 'a> {
    Value(Value<'a>),
    Pattern(&'p Regex, &'p str),
}

/// The two sides can't be compared.
enum Uncomparable {
    Kinds,
    NotANumber,
}

impl<'a> Reading<'_, '_, 'a> {
    fn is_leaf(&self, token: usize) -> bool {
        token + 1 == self.path.tokens.len()
    }

    fn spend(&mut self) -> Compiled<()> {
        *self.budget = self.budget.checked_sub(1).ok_or(PathError::Budget)?;
        Ok(())
    }

    /// A value found for a token: a result, or what the next token works on.
    fn found(&mut self, token: usize, value: &Value<'a>) -> Compiled<()> {
        if self.is_leaf(token) {
            self.results.push(value.clone());
            Ok(())
        } else {
            self.evaluate(token + 1, value)
        }
    }

    fn evaluate(&mut self, token: usize, model: &Value<'a>) -> Compiled<()> {
        self.spend()?;
        match &self.path.tokens[token] {
            Token::Root => self.found(token, model),
            Token::Scan => {
                if self.is_leaf(token) {
                    return invalid("a path can't end with `..`");
                }
                self.walk(token + 1, model)
            }
            Token::Wildcard => self.wildcard(token, model),
            Token::Properties(names) => match model {
                Value::Map(map) => self.properties(token, map, names),
                _ => Err(PathError::NotFound),
            },
            Token::Filter(filter) => match model {
                Value::Map(_) => {
                    if self.accepts(filter.as_ref(), model)? {
                        self.found(token, model)?;
                    }
                    Ok(())
                }
                Value::List(list) => {
                    let mut index = 0;
                    loop {
                        let Some(item) = list.items.borrow().get(index).cloned() else {
                            return Ok(());
                        };
                        if self.accepts(filter.as_ref(), &item)? {
                            self.found(token, &item)?;
                        }
                        index += 1;
                    }
                }
                _ => invalid("a filter can only be applied to lists and objects"),
            },
            _ => self.array(token, model),
        }
    }

    fn wildcard(&mut self, token: usize, model: &Value<'a>) -> Compiled<()> {
        match model {
            Value::Map(map) => {
                for value in map.view(View::Values) {
                    self.spend()?;
                    self.found(token, &value)?;
                }
                Ok(())
            }
            Value::List(list) => {
                let items = list.items.borrow().clone();
                for item in items {
                    self.spend()?;
                    match self.found(token, &item) {
                        Err(PathError::NotFound) => {}
                        other => other?,
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn properties(&mut self, token: usize, map: &Rc<Map<'a>>, names: &[String]) -> Compiled<()> {
        if let [name] = names {
            return match map.get_text(name) {
                Some(value) => self.found(token, &value),
                None if self.is_leaf(token) => Err(PathError::NotFound),
                None => {
                    let upstream_definite = token == 0 || self.path.definite_from[token - 1];
                    if upstream_definite { Err(PathError::NotFound) } else { Ok(()) }
                }
            };
        }
        if !self.is_leaf(token) {
            return invalid("several properties can only be selected at the end of a path");
        }
        let merged = Map::default();
        for name in names {
            if let Some(value) = map.get_text(name) {
                merged.put(Value::text(name.as_str()), value);
            }
        }
        self.results.push(Value::Map(Rc::new(merged)));
        Ok(())
    }

    fn index(&mut self, token: usize, items: &[Value<'a>], index: i64) -> Compiled<()> {
        self.spend()?;
        let item = usize::try_from(index)
            .ok()
            .and_then(|index| items.get(index))
            .ok_or(PathError::NotFound)?;
        self.found(token, item)
    }

    fn array(&mut self, token: usize, model: &Value<'a>) -> Compiled<()> {
        let items = match model {
            Value::Null => return Err(PathError::NotFound),
            Value::List(list) => list.items.borrow().clone(),
            _ => return invalid("an index can only be applied to a list"),
        };
        let length = items.len() as i64;
        let (from, to) = match &self.path.tokens[token] {
            Token::Indexes(indexes) => {
                for index in indexes {
                    self.index(token, &items, i64::from(*index))?;
                }
                return Ok(());
            }
            Token::FromEnd(by) => return self.index(token, &items, length + i64::from(*by)),
            Token::SliceFrom(from) => {
                let from = i64::from(*from);
                ((if from < 0 { length + from } else { from }).max(0), length)
            }
            Token::SliceTo(to) => {
                let to = i64::from(*to);
                (0, (if to < 0 { length + to } else { to }).min(length))
            }
            Token::Slice(from, to) => (i64::from(*from), i64::from(*to).min(length)),
            _ => (0, 0),
        };
        if length == 0 {
            return Ok(());
        }
        for index in from..to {
            self.index(token, &items, index)?;
        }
        Ok(())
    }

    /// `..`: every list and object below, this one first.
    fn walk(&mut self, token: usize, model: &Value<'a>) -> Compiled<()> {
        self.spend()?;
        match model {
            Value::List(list) => {
                let items = list.items.borrow().clone();
                if self.scan_matches(token, model)? {
                    if self.is_leaf(token) {
                        self.evaluate(token, model)?;
                    } else {
                        for item in &items {
                            self.evaluate(token + 1, item)?;
                        }
                    }
                }
                for item in &items {
                    self.walk(token, item)?;
                }
                Ok(())
            }
            Value::Map(map) => {
                if self.scan_matches(token, model)? {
                    self.evaluate(token, model)?;
                }
                for value in map.view(View::Values) {
                    self.walk(token, &value)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn scan_matches(&mut self, token: usize, model: &Value<'a>) -> Compiled<bool> {
        Ok(match &self.path.tokens[token] {
            Token::Properties(names) => match model {
                Value::Map(map) => names.iter().all(|name| map.contains_text(name)),
                _ => false,
            },
            Token::Wildcard => true,
            Token::Filter(filter) => self.accepts(filter.as_ref(), model)?,
            Token::Root | Token::Scan => false,
            _ => matches!(model, Value::List(_)),
        })
    }

    fn accepts(&mut self, filter: Option<&Filter>, model: &Value<'a>) -> Compiled<bool> {
        self.spend()?;
        match filter {
            None => invalid("`[?]` without a filter"),
            Some(filter) => self.applies(filter, model),
        }
    }

    fn applies(&mut self, filter: &Filter, model: &Value<'a>) -> Compiled<bool> {
        match filter {
            Filter::One(criteria) => self.holds(criteria, model),
            // The condition added last was written first; Jayway asks the others before it.
            Filter::And(all) => {
                for one in all {
                    if !self.applies(one, model)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Or(left, right) => {
                Ok(self.applies(left, model)? || self.applies(right, model)?)
            }
        }
    }

    fn read(&mut self, path: &JsonPath, model: &Value<'a>) -> Compiled<Value<'a>> {
        let document = if path.from_root { self.root } else { model };
        path.read(document, self.root, self.budget)
    }

    fn holds(&mut self, criteria: &Criteria, model: &Value<'a>) -> Compiled<bool> {
        match criteria {
            Criteria::Exists(path, exists) => {
                // Whether it starts with `$` or `@`, it is read from the item.
                match path.read(model, self.root, self.budget) {
                    Ok(value) => Ok(value.is_null() != *exists),
                    Err(PathError::NotFound) => Ok(!exists),
                    Err(error) => Err(error),
                }
            }
            Criteria::Compare(left, operator, right) => {
                let left = match self.side(left, model) {
                    Err(PathError::NotFound) => return Ok(false),
                    other => other?,
                };
                let right = match self.side(right, model) {
                    Err(PathError::NotFound) => return Ok(false),
                    other => other?,
                };
                compare_sides(*operator, &left, &right, self.budget)
            }
        }
    }

    fn side<'p>(&mut self, operand: &'p Operand, model: &Value<'a>) -> Compiled<Side<'p, 'a>> {
        Ok(match operand {
            Operand::Path(path) => Side::Value(self.read(path, model)?),
            Operand::Text(text) => Side::Value(Value::text(text.as_str())),
            Operand::Pattern(regex, source) => Side::Pattern(regex, source),
        })
    }
}

fn compare_sides<'a>(
    operator: Operator,
    left: &Side<'_, 'a>,
    right: &Side<'_, 'a>,
    budget: &mut u64,
) -> Compiled<bool> {
    if operator == Operator::Matches {
        let (pattern, target) = match (left, right) {
            (Side::Pattern(pattern, _), Side::Value(target))
            | (Side::Value(target), Side::Pattern(pattern, _)) => (*pattern, plain(target)),
            (Side::Pattern(pattern, _), Side::Pattern(_, source)) => {
                (*pattern, Some((*source).to_owned()))
            }
            _ => return invalid("`=~` needs a pattern between slashes"),
        };
        return match target {
            Some(target) => pattern.matches(&target, budget).map_err(|error| {
                if error.limit { PathError::Budget } else { PathError::Invalid(error.message) }
            }),
            None => Ok(false),
        };
    }
    let (Side::Value(left), Side::Value(right)) = (left, right) else { return Ok(false) };
    if !matches!(operator, Operator::Equal | Operator::NotEqual)
        && left.is_null() != right.is_null()
    {
        return Ok(false);
    }
    // Jayway puts what the path is compared with first.
    let ordering = match safe_compare(right, left) {
        Ok(ordering) => ordering,
        Err(Uncomparable::Kinds) => return Ok(false),
        Err(Uncomparable::NotANumber) => {
            return invalid("a text that isn't a number is compared with a number");
        }
    };
    Ok(match operator {
        Operator::Equal => ordering == Ordering::Equal,
        Operator::NotEqual => ordering != Ordering::Equal,
        Operator::Greater => ordering == Ordering::Less,
        Operator::GreaterEqual => ordering != Ordering::Greater,
        Operator::Less => ordering == Ordering::Greater,
        Operator::LessEqual => ordering != Ordering::Less,
        Operator::Matches => false,
    })
}

/// The text of a simple value.
fn plain(value: &Value) -> Option<String> {
    let mut out = String::new();
    match value {
        Value::Null => return None,
        other => super::value::print(other, &mut out, 0, &mut super::value::NoBlocks).ok()?,
    }
    Some(out)
}

fn is_nullish(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => **text == *"null",
        _ => false,
    }
}

fn decimal(value: &Value) -> Option<BigDecimal> {
    let mut text = String::new();
    super::value::print(value, &mut text, 0, &mut super::value::NoBlocks).ok()?;
    BigDecimal::parse(&text)
}

fn safe_compare<'a>(left: &Value<'a>, right: &Value<'a>) -> Result<Ordering, Uncomparable> {
    match (is_nullish(left), is_nullish(right)) {
        (true, true) => return Ok(Ordering::Equal),
        (true, false) => return Ok(Ordering::Less),
        (false, true) => return Ok(Ordering::Greater),
        (false, false) => {}
    }
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => Ok(text::compare(&a.replace("\\'", "'"), b).cmp(&0)),
        (Value::Text(_), b) if b.number().is_some() => compare_numbers(left, right),
        (Value::Text(a), Value::Bool(b)) => Ok(a.eq_ignore_ascii_case("true").cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (a, b) if a.number().is_some() && b.number().is_some() => compare_numbers(left, right),
        // The very same list or object.
        (Value::List(a), Value::List(b)) if Rc::ptr_eq(a, b) => Ok(Ordering::Equal),
        (Value::Map(a), Value::Map(b)) if Rc::ptr_eq(a, b) => Ok(Ordering::Equal),
        _ => Err(Uncomparable::Kinds),
    }
}

fn compare_numbers(left: &Value, right: &Value) -> Result<Ordering, Uncomparable> {
    match (decimal(left), decimal(right)) {
        (Some(a), Some(b)) => Ok(a.compare(&b)),
        _ => Err(Uncomparable::NotANumber),
    }
}
