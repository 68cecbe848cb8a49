//! The values that a template handles: Java's, as far as API Gateway lets a template see them.
//!
//! Lists and maps are shared and can be changed, as in Java. Knows how values print, compare and
//! hash; knows no methods.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt::Write as _,
    hash::{Hash, Hasher},
    rc::Rc,
};

use num_bigint::BigInt;

use super::{
    ast::Block,
    number::{self, BigDecimal, Number},
    text,
};

/// Values nested deeper than this don't print, compare or hash: Java's stack ends somewhere there
/// too.
pub(crate) const MAX_NESTING: usize = 500;

/// Text: a part of the template or request, or made by the render.
#[derive(Clone, Debug)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Char(u16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Big(Rc<BigInt>),
    Decimal(Rc<BigDecimal>),
    Text(Text<'a>),
    List(Rc<List<'a>>),
    Map(Rc<Map<'a>>),
    /// A live view of a map: its keys, values or entries.
    View(View, Rc<Map<'a>>),
    /// One entry of a map, as it was when it was taken.
    Entry(Rc<(Value<'a>, Value<'a>)>),
    Iterator(Rc<RefCell<Steps<'a>>>),
    /// What `#define` makes.
    Block(Rc<Defined>),
    /// `$foreach`.
    Scope(Rc<Scope<'a>>),
    Class(&'static str),
    Input,
    Util,
}

/// Which list it is in Java: it decides how it prints and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Made by the template.
    ArrayList,
    /// Made by the JSON parser; prints as JSON.
    JsonArray,
    /// A part of another list.
    SubList,
    /// A Java array of strings.
    Strings,
    /// A Java array of objects.
    Objects,
    Bytes,
    Chars,
    /// A list that can't be changed.
    Fixed,
    /// What `chars()` returns; it can only be counted.
    Stream,
}

impl ListKind {
    pub fn is_array(self) -> bool {
        matches!(
            self,
            ListKind::Strings
                | ListKind::Objects
                | ListKind::Bytes
                | ListKind::Chars
                | ListKind::Stream
        )
    }

    pub fn class(self) -> &'static str {
        match self {
            ListKind::ArrayList => "java.util.ArrayList",
            ListKind::JsonArray => "net.minidev.json.JSONArray",
            ListKind::SubList => "java.util.ArrayList$SubList",
            ListKind::Strings => "[Ljava.lang.String;",
            ListKind::Objects => "[Ljava.lang.Object;",
            ListKind::Bytes => "[B",
            ListKind::Chars => "[C",
            ListKind::Stream => "java.util.stream.IntPipeline$Head",
            ListKind::Fixed => "java.util.ImmutableCollections$ListN",
        }
    }
}

#[derive(Debug)]
pub(crate) struct List<'a> {
    pub kind: ListKind,
    pub items: RefCell<Vec<Value<'a>>>,
    /// How often its length was changed: a loop over it notices.
    pub changes: Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Keys,
    Values,
    Entries,
}

/// A map that keeps the order in which keys were put.
#[derive(Debug, Default)]
pub(crate) struct Map<'a> {
    pub inner: RefCell<MapInner<'a>>,
    pub changes: Cell<u32>,
    /// Prints as an empty text, as the maps inside API Gateway's `$context` do.
    pub silent: bool,
}

#[derive(Debug, Default)]
pub(crate) struct MapInner<'a> {
    pub entries: Vec<(Value<'a>, Value<'a>)>,
    /// Positions by key, kept once there are many. `None` again after a removal.
    index: Option<HashMap<Key<'a>, usize>>,
    /// A key is a list or map: looked up one by one.
    linear: bool,
}

/// A map's key, hashed and compared as Java does.
#[derive(Debug)]
struct Key<'a>(Value<'a>);

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Value::Text(text) => text.as_bytes().hash(state),
            other => hash_code(other, 0).unwrap_or(0).hash(state), /* never a list or map, see
                                                                    * `is_simple` */
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        equals(&self.0, &other.0, 0).unwrap_or(false)
    }
}

impl Eq for Key<'_> {}

/// Something that a loop steps through.
#[derive(Debug)]
pub(crate) enum Steps<'a> {
    List { list: Rc<List<'a>>, at: usize, changes: u32 },
    Map { view: View, map: Rc<Map<'a>>, at: usize, more: bool, changes: u32 },
}

#[derive(Debug)]
pub(crate) struct Defined {
    pub body: Block,
    /// How many renders of it are under way.
    pub depth: Cell<u32>,
}

#[derive(Debug)]
pub(crate) struct Scope<'a> {
    /// Which `#foreach` it belongs to.
    pub owner: u32,
    pub index: Cell<i32>,
    pub has_next: Cell<bool>,
    pub parent: Option<Rc<Scope<'a>>>,
    pub replaced: Option<Value<'a>>,
    pub storage: Rc<Map<'a>>,
}

/// Nested too deeply to be walked.
#[derive(Debug)]
pub(crate) struct TooDeep;

impl Drop for List<'_> {
    fn drop(&mut self) {
        dismantle(self.items.get_mut().drain(..));
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        inner.index = None;
        dismantle(inner.entries.drain(..).flat_map(|(key, value)| [key, value]));
    }
}

/// Takes nested values apart in a loop, so that a deep one doesn't overflow the stack.
fn dismantle<'a>(values: impl Iterator<Item = Value<'a>>) {
    let mut rest: Vec<Value<'a>> = Vec::new();
    for value in values {
        if matches!(value, Value::List(_) | Value::Map(_) | Value::View(..) | Value::Entry(_)) {
            rest.push(value);
        }
    }
    while let Some(value) = rest.pop() {
        match value {
            Value::List(list) => {
                if let Ok(mut list) = Rc::try_unwrap(list) {
                    rest.append(list.items.get_mut());
                }
            }
            Value::Map(map) | Value::View(_, map) => {
                if let Ok(mut map) = Rc::try_unwrap(map) {
                    let inner = map.inner.get_mut();
                    inner.index = None;
                    rest.extend(
                        std::mem::take(&mut inner.entries)
                            .into_iter()
                            .flat_map(|(key, value)| [key, value]),
                    );
                }
            }
            Value::Entry(entry) => {
                if let Ok((key, value)) = Rc::try_unwrap(entry) {
                    rest.push(key);
                    rest.push(value);
                }
            }
            _ => {}
        }
    }
}

impl<'a> List<'a> {
    pub fn new(kind: ListKind, items: Vec<Value<'a>>) -> Self {
        List { kind, items: RefCell::new(items), changes: Cell::new(0) }
    }
}

impl<'a> MapInner<'a> {
    const FEW: usize = 12;

    fn position(&self, key: &Value<'a>) -> Option<usize> {
        if let Some(index) = &self.index
            && is_simple(key)
        {
            return index.get(&Key(key.clone())).copied();
        }
        self.entries.iter().position(|(known, _)| same_key(known, key))
    }

    fn position_of_text(&self, key: &str) -> Option<usize> {
        if self.index.is_some() {
            // The key isn't kept: it is borrowed only for the look-up.
            return self
                .index
                .as_ref()
                .and_then(|index| index.get(&Key(Value::Text(Text::Shared(key.into())))).copied());
        }
        self.entries
            .iter()
            .position(|(known, _)| matches!(known, Value::Text(text) if **text == *key))
    }
}

/// Whether a key can be hashed: it isn't nested in itself.
pub(crate) fn check_key(key: &Value) -> Result<(), TooDeep> {
    if is_simple(key) { Ok(()) } else { hash_code(key, 0).map(|_| ()) }
}

/// Whether comparing it can't lead into another value.
fn is_simple(value: &Value) -> bool {
    !matches!(
        value,
        Value::List(_) | Value::Map(_) | Value::View(..) | Value::Entry(_) | Value::Scope(_)
    )
}

fn same_key<'a>(left: &Value<'a>, right: &Value<'a>) -> bool {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => **a == **b,
        _ => equals(left, right, 0).unwrap_or(false),
    }
}

impl<'a> Map<'a> {
    pub fn with_capacity(capacity: usize) -> Self {
        Map {
            inner: RefCell::new(MapInner {
                entries: Vec::with_capacity(capacity),
                index: None,
                linear: false,
            }),
            changes: Cell::new(0),
            silent: false,
        }
    }

    pub fn len(&self) -> usize {
        self.inner.borrow().entries.len()
    }

    pub fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        let inner = self.inner.borrow();
        inner.position(key).map(|at| inner.entries[at].1.clone())
    }

    pub fn get_text(&self, key: &str) -> Option<Value<'a>> {
        let inner = self.inner.borrow();
        inner.position_of_text(key).map(|at| inner.entries[at].1.clone())
    }

    pub fn contains_text(&self, key: &str) -> bool {
        self.inner.borrow().position_of_text(key).is_some()
    }

    pub fn contains(&self, key: &Value<'a>) -> bool {
        self.inner.borrow().position(key).is_some()
    }

    /// The value that was there before.
    // Only keys that can't change are hashed, see `is_simple`.
    #[allow(clippy::mutable_key_type)]
    pub fn put(&self, key: Value<'a>, value: Value<'a>) -> Option<Value<'a>> {
        // Keys can hold this very map: they are compared before it is borrowed for the change.
        let position = self.inner.borrow().position(&key);
        let mut inner = self.inner.borrow_mut();
        if let Some(at) = position {
            return Some(std::mem::replace(&mut inner.entries[at].1, value));
        }
        let at = inner.entries.len();
        if !is_simple(&key) {
            inner.index = None;
            inner.linear = true;
        } else if at >= MapInner::FEW && !inner.linear {
            if inner.index.is_none() {
                let index = inner
                    .entries
                    .iter()
                    .enumerate()
                    .map(|(at, (key, _))| (Key(key.clone()), at))
                    .collect();
                inner.index = Some(index);
            }
            if let Some(index) = &mut inner.index {
                index.insert(Key(key.clone()), at);
            }
        }
        inner.entries.push((key, value));
        self.changes.set(self.changes.get().wrapping_add(1));
        None
    }

    pub fn remove(&self, key: &Value<'a>) -> Option<Value<'a>> {
        let at = self.inner.borrow().position(key)?;
        let mut inner = self.inner.borrow_mut();
        inner.index = None;
        self.changes.set(self.changes.get().wrapping_add(1));
        Some(inner.entries.remove(at).1)
    }

    pub fn clear(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.index = None;
        let entries = std::mem::take(&mut inner.entries);
        drop(inner);
        self.changes.set(self.changes.get().wrapping_add(1));
        dismantle(entries.into_iter().flat_map(|(key, value)| [key, value]));
    }

    /// The n-th key, value or entry.
    pub fn view_at(&self, view: View, at: usize) -> Option<Value<'a>> {
        let inner = self.inner.borrow();
        let (key, value) = inner.entries.get(at)?;
        Some(match view {
            View::Keys => key.clone(),
            View::Values => value.clone(),
            View::Entries => Value::Entry(Rc::new((key.clone(), value.clone()))),
        })
    }

    pub fn view(&self, view: View) -> Vec<Value<'a>> {
        (0..self.len()).filter_map(|at| self.view_at(view, at)).collect()
    }
}

/// A loop's list was changed under it.
pub(crate) struct Changed;

impl<'a> Steps<'a> {
    pub fn over_map(view: View, map: Rc<Map<'a>>) -> Self {
        let (more, changes) = (map.len() > 0, map.changes.get());
        Steps::Map { view, map, at: 0, more, changes }
    }

    /// The name of the iterator's class in Java.
    fn class(&self) -> &'static str {
        match self {
            Steps::List { list, .. } => match list.kind {
                ListKind::SubList => "java.util.ArrayList$SubList$1",
                ListKind::Fixed => "java.util.ImmutableCollections$ListItr",
                kind if kind.is_array() => "java.util.AbstractList$Itr",
                _ => "java.util.ArrayList$Itr",
            },
            Steps::Map { view: View::Keys, .. } => "java.util.LinkedHashMap$LinkedKeyIterator",
            Steps::Map { view: View::Values, .. } => "java.util.LinkedHashMap$LinkedValueIterator",
            Steps::Map { view: View::Entries, .. } => "java.util.LinkedHashMap$LinkedEntryIterator",
        }
    }

    pub fn has_next(&self) -> bool {
        match self {
            Steps::List { list, at, .. } => *at != list.items.borrow().len(),
            Steps::Map { more, .. } => *more,
        }
    }

    /// `None` behind the end.
    pub fn next(&mut self) -> Result<Option<Value<'a>>, Changed> {
        match self {
            Steps::List { list, at, changes } => {
                if list.changes.get() != *changes {
                    return Err(Changed);
                }
                let item = list.items.borrow().get(*at).cloned();
                *at += 1;
                Ok(item)
            }
            Steps::Map { view, map, at, more, changes } => {
                if map.changes.get() != *changes {
                    return Err(Changed);
                }
                let item = map.view_at(*view, *at);
                *at += 1;
                *more = *at < map.len();
                Ok(item)
            }
        }
    }
}

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Value::Text(Text::Shared(text.into()))
    }

    /// What a reference without a value is.
    pub const fn empty() -> Self {
        Value::Text(Text::Borrowed(""))
    }

    pub fn list(kind: ListKind, items: Vec<Value<'a>>) -> Self {
        Value::List(Rc::new(List::new(kind, items)))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn number(&self) -> Option<Number> {
        Some(match self {
            Value::Int(n) => Number::Int(*n),
            Value::Long(n) => Number::Long(*n),
            Value::Float(n) => Number::Float(*n),
            Value::Double(n) => Number::Double(*n),
            Value::Big(n) => Number::Big((**n).clone()),
            Value::Decimal(n) => Number::Decimal((**n).clone()),
            _ => return None,
        })
    }

    /// The name of its class in Java.
    pub fn class(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "java.lang.Boolean",
            Value::Char(_) => "java.lang.Character",
            Value::Int(_) => "java.lang.Integer",
            Value::Long(_) => "java.lang.Long",
            Value::Float(_) => "java.lang.Float",
            Value::Double(_) => "java.lang.Double",
            Value::Big(_) => "java.math.BigInteger",
            Value::Decimal(_) => "java.math.BigDecimal",
            Value::Text(_) => "java.lang.String",
            Value::List(list) => list.kind.class(),
            Value::Map(_) => "java.util.LinkedHashMap",
            Value::View(View::Keys, _) => "java.util.LinkedHashMap$LinkedKeySet",
            Value::View(View::Values, _) => "java.util.LinkedHashMap$LinkedValues",
            Value::View(View::Entries, _) => "java.util.LinkedHashMap$LinkedEntrySet",
            Value::Entry(_) => "java.util.LinkedHashMap$Entry",
            Value::Iterator(steps) => steps.borrow().class(),
            Value::Block(_) => "org.apache.velocity.runtime.directive.Block$Reference",
            Value::Scope(_) => "org.apache.velocity.runtime.directive.ForeachScope",
            Value::Class(_) => "java.lang.Class",
            Value::Input => "Render$Input",
            Value::Util => "Render$Util",
        }
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(n) => Value::Int(n),
            Number::Long(n) => Value::Long(n),
            Number::Float(n) => Value::Float(n),
            Number::Double(n) => Value::Double(n),
            Number::Big(n) => Value::Big(Rc::new(n)),
            Number::Decimal(n) => Value::Decimal(Rc::new(n)),
        }
    }
}

/// Prints an int without the detour through the formatting machinery.
pub(crate) fn push_int(out: &mut String, number: i64) {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.push_str(std::str::from_utf8(&buffer[at..]).unwrap_or(""));
}

/// What prints blocks made by `#define`, which only the evaluator can.
pub(crate) trait PrintBlock<'a> {
    /// `Ok(false)` if the block is nested in itself too often to be printed.
    fn print_block(&mut self, block: &Rc<Defined>, out: &mut String) -> Result<bool, Stopped>;
    /// Counts work against the budget, in steps.
    fn spend(&mut self, steps: u64, bytes: usize) -> Result<(), Stopped>;
}

/// Why printing ended early.
#[derive(Debug)]
pub(crate) enum Stopped {
    TooDeep,
    /// JSON has no name for it.
    NullKey,
    /// The evaluator knows why.
    Inside,
}

/// For values that can't hold a block.
pub(crate) struct NoBlocks;

impl<'a> PrintBlock<'a> for NoBlocks {
    fn print_block(&mut self, _: &Rc<Defined>, _: &mut String) -> Result<bool, Stopped> {
        Ok(false)
    }

    fn spend(&mut self, _: u64, _: usize) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Java's `toString`.
pub(crate) fn print<'a>(
    value: &Value<'a>,
    out: &mut String,
    depth: usize,
    blocks: &mut impl PrintBlock<'a>,
) -> Result<(), Stopped> {
    if depth > MAX_NESTING {
        return Err(Stopped::TooDeep);
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Char(unit) => text::push_unit(out, *unit),
        Value::Int(number) => push_int(out, i64::from(*number)),
        Value::Long(number) => push_int(out, *number),
        Value::Float(number) => number::push_float(*number, out),
        Value::Double(number) => number::push_double(*number, out),
        Value::Big(number) => write!(out, "{number}").unwrap_or(()),
        Value::Decimal(number) => write!(out, "{number}").unwrap_or(()),
        Value::Text(value) => text::push_text(out, value),
        Value::List(list) => match list.kind {
            ListKind::JsonArray => return print_json(value, true, out, depth, blocks),
            kind if kind.is_array() => {
                // Java prints the identity hash, which is different each time.
                write!(out, "{}@{:x}", kind.class(), identity(Rc::as_ptr(list).cast()))
                    .unwrap_or(());
            }
            _ => {
                blocks.spend(list.items.borrow().len() as u64, out.len())?;
                out.push('[');
                let mut at = 0;
                loop {
                    let Some(item) = list.items.borrow().get(at).cloned() else { break };
                    if at > 0 {
                        out.push_str(", ");
                    }
                    match &item {
                        Value::List(inner) if Rc::ptr_eq(inner, list) => {
                            out.push_str("(this Collection)")
                        }
                        _ => print(&item, out, depth + 1, blocks)?,
                    }
                    at += 1;
                }
                out.push(']');
            }
        },
        Value::Map(map) => print_map(map, out, depth, blocks)?,
        Value::View(view, map) => {
            blocks.spend(map.len() as u64, out.len())?;
            out.push('[');
            let mut at = 0;
            while let Some(item) = map.view_at(*view, at) {
                if at > 0 {
                    out.push_str(", ");
                }
                print(&item, out, depth + 1, blocks)?;
                at += 1;
            }
            out.push(']');
        }
        Value::Entry(entry) => {
            print(&entry.0, out, depth + 1, blocks)?;
            out.push('=');
            print(&entry.1, out, depth + 1, blocks)?;
        }
        Value::Iterator(steps) => {
            let class = steps.borrow().class();
            write!(out, "{class}@{:x}", identity(Rc::as_ptr(steps).cast())).unwrap_or(());
        }
        Value::Block(block) => {
            if !blocks.print_block(block, out)? {
                out.push_str("null");
            }
        }
        Value::Scope(scope) => print_map(&scope.storage, out, depth, blocks)?,
        Value::Class(name) => write!(out, "class {name}").unwrap_or(()),
        Value::Input => out.push_str("$input"),
        Value::Util => write!(out, "Render$Util@{:x}", 0x1b2c_3d4e).unwrap_or(()),
    }
    Ok(())
}

fn print_map<'a>(
    map: &Rc<Map<'a>>,
    out: &mut String,
    depth: usize,
    blocks: &mut impl PrintBlock<'a>,
) -> Result<(), Stopped> {
    if map.silent {
        return Ok(());
    }
    blocks.spend(map.len() as u64, out.len())?;
    out.push('{');
    let mut at = 0;
    loop {
        let Some((key, value)) = map.inner.borrow().entries.get(at).cloned() else { break };
        if at > 0 {
            out.push_str(", ");
        }
        for (side, behind) in [(key, "="), (value, "")] {
            match &side {
                Value::Map(inner) if Rc::ptr_eq(inner, map) => out.push_str("(this Map)"),
                _ => print(&side, out, depth + 1, blocks)?,
            }
            out.push_str(behind);
        }
        at += 1;
    }
    out.push('}');
    Ok(())
}

fn identity(pointer: *const ()) -> u32 {
    (pointer.addr() >> 3) as u32
}

/// A value as json-smart writes it. With `web`, a slash is written `\/`.
pub(crate) fn print_json<'a>(
    value: &Value<'a>,
    web: bool,
    out: &mut String,
    depth: usize,
    blocks: &mut impl PrintBlock<'a>,
) -> Result<(), Stopped> {
    if depth > MAX_NESTING {
        return Err(Stopped::TooDeep);
    }
    match value {
        Value::Text(text) => push_json_string(text, web, out),
        Value::Double(number) if number.is_infinite() => out.push_str("null"),
        Value::Float(number) if number.is_infinite() => out.push_str("null"),
        Value::List(list) => {
            let list = list.clone();
            blocks.spend(list.items.borrow().len() as u64, out.len())?;
            out.push('[');
            let mut at = 0;
            loop {
                let Some(item) = list.items.borrow().get(at).cloned() else { break };
                if at > 0 {
                    out.push(',');
                }
                print_json(&item, web, out, depth + 1, blocks)?;
                at += 1;
            }
            out.push(']');
        }
        Value::View(view, map) => {
            out.push('[');
            let mut at = 0;
            while let Some(item) = map.view_at(*view, at) {
                if at > 0 {
                    out.push(',');
                }
                print_json(&item, web, out, depth + 1, blocks)?;
                at += 1;
            }
            out.push(']');
        }
        Value::Map(_) | Value::Scope(_) => {
            let map = match value {
                Value::Map(map) => map,
                Value::Scope(scope) => &scope.storage,
                _ => return Ok(()),
            };
            blocks.spend(map.len() as u64, out.len())?;
            out.push('{');
            let mut at = 0;
            loop {
                let Some((key, item)) = map.inner.borrow().entries.get(at).cloned() else { break };
                if at > 0 {
                    out.push(',');
                }
                match &key {
                    Value::Text(key) => push_json_string(key, web, out),
                    Value::Null => return Err(Stopped::NullKey),
                    other => {
                        let mut key = String::new();
                        print(other, &mut key, depth + 1, blocks)?;
                        push_json_string(&key, web, out);
                    }
                }
                out.push(':');
                print_json(&item, web, out, depth + 1, blocks)?;
                at += 1;
            }
            out.push('}');
        }
        Value::Entry(entry) => {
            // json-smart writes an object's getters.
            out.push_str("{\"key\":");
            print_json(&entry.0, web, out, depth + 1, blocks)?;
            out.push_str(",\"value\":");
            print_json(&entry.1, web, out, depth + 1, blocks)?;
            out.push('}');
        }
        Value::Char(_)
        | Value::Iterator(_)
        | Value::Block(_)
        | Value::Class(_)
        | Value::Input
        | Value::Util => out.push_str("{}"),
        other => print(other, out, depth, blocks)?,
    }
    Ok(())
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A quoted JSON string, escaped as json-smart does.
pub(crate) fn push_json_string(value: &str, web: bool, out: &mut String) {
    out.push('"');
    let bytes = value.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let plain = byte >= 0x20
            && byte != b'"'
            && byte != b'\\'
            && (!web || byte != b'/')
            && byte != 0x7f
            && byte != 0xc2
            && byte != 0xe2;
        if plain {
            at += 1;
            continue;
        }
        let Some(c) = value[at..].chars().next() else { break };
        let code = c as u32;
        let escaped = code < 0x20
            || c == '"'
            || c == '\\'
            || (web && c == '/')
            || (0x7f..=0x9f).contains(&code)
            || (0x2000..=0x20ff).contains(&code);
        if escaped {
            out.push_str(&value[copied..at]);
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '/' => out.push_str("\\/"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ => push_unicode(code as u16, out),
            }
            copied = at + c.len_utf8();
        }
        at += c.len_utf8();
    }
    out.push_str(&value[copied..]);
    out.push('"');
}

/// `\uXXXX` with upper-case digits.
pub(crate) fn push_unicode(unit: u16, out: &mut String) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[usize::from(unit >> shift) & 15] as char);
    }
}

/// Java's `equals`.
pub(crate) fn equals<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    depth: usize,
) -> Result<bool, TooDeep> {
    if depth > MAX_NESTING {
        return Err(TooDeep);
    }
    Ok(match (left, right) {
        (Value::Null, Value::Null) | (Value::Input, Value::Input) | (Value::Util, Value::Util) => {
            true
        }
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Char(a), Value::Char(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Long(a), Value::Long(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Double(a), Value::Double(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Big(a), Value::Big(b)) => a == b,
        (Value::Decimal(a), Value::Decimal(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => **a == **b,
        (Value::Class(a), Value::Class(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if Rc::ptr_eq(a, b) {
                return Ok(true);
            }
            if a.kind.is_array() || b.kind.is_array() {
                return Ok(false);
            }
            let (a, b) = (a.items.borrow(), b.items.borrow());
            if a.len() != b.len() {
                return Ok(false);
            }
            for (x, y) in a.iter().zip(b.iter()) {
                if !equals(x, y, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(_) | Value::Scope(_), Value::Map(_) | Value::Scope(_)) => {
            let (Some(a), Some(b)) = (map_of(left), map_of(right)) else { return Ok(false) };
            if Rc::ptr_eq(&a, &b) {
                return Ok(true);
            }
            maps_equal(&a, &b, depth)?
        }
        (Value::View(View::Keys, a), Value::View(View::Keys, b)) => {
            a.len() == b.len() && a.view(View::Keys).iter().all(|key| contains_key(b, key))
        }
        (Value::View(View::Entries, a), Value::View(View::Entries, b)) => maps_equal(a, b, depth)?,
        (Value::View(View::Values, a), Value::View(View::Values, b)) => Rc::ptr_eq(a, b),
        (Value::Entry(a), Value::Entry(b)) => {
            equals(&a.0, &b.0, depth + 1)? && equals(&a.1, &b.1, depth + 1)?
        }
        (Value::Iterator(a), Value::Iterator(b)) => Rc::ptr_eq(a, b),
        (Value::Block(a), Value::Block(b)) => Rc::ptr_eq(a, b),
        _ => false,
    })
}

fn map_of<'a>(value: &Value<'a>) -> Option<Rc<Map<'a>>> {
    match value {
        Value::Map(map) => Some(map.clone()),
        Value::Scope(scope) => Some(scope.storage.clone()),
        _ => None,
    }
}

fn contains_key<'a>(map: &Map<'a>, key: &Value<'a>) -> bool {
    map.inner.borrow().entries.iter().any(|(known, _)| same_key(known, key))
}

fn maps_equal<'a>(a: &Map<'a>, b: &Map<'a>, depth: usize) -> Result<bool, TooDeep> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let (a, b) = (a.inner.borrow(), b.inner.borrow());
    for (at, (key, value)) in a.entries.iter().enumerate() {
        // Usually both are in the same order.
        let found = match b.entries.get(at) {
            Some((same, other)) if same_key(same, key) => Some(other),
            _ => b.entries.iter().find(|(known, _)| same_key(known, key)).map(|(_, other)| other),
        };
        match found {
            Some(other) if equals(value, other, depth + 1)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Java's `hashCode`.
pub(crate) fn hash_code(value: &Value, depth: usize) -> Result<i32, TooDeep> {
    if depth > MAX_NESTING {
        return Err(TooDeep);
    }
    let of_long = |n: i64| (n ^ ((n as u64) >> 32) as i64) as i32;
    Ok(match value {
        Value::Null => 0,
        Value::Bool(value) => {
            if *value {
                1231
            } else {
                1237
            }
        }
        Value::Char(unit) => i32::from(*unit),
        Value::Int(n) => *n,
        Value::Long(n) => of_long(*n),
        Value::Float(n) => (if n.is_nan() { 0x7fc0_0000 } else { n.to_bits() }) as i32,
        Value::Double(n) => {
            of_long((if n.is_nan() { 0x7ff8_0000_0000_0000 } else { n.to_bits() }) as i64)
        }
        Value::Big(n) => big_hash(n),
        Value::Decimal(n) => big_decimal_hash(n),
        Value::Text(text) => text::hash(text),
        Value::List(list) if list.kind.is_array() => identity(Rc::as_ptr(list).cast()) as i32,
        Value::List(list) => {
            let mut hash = 1i32;
            for item in list.items.borrow().iter() {
                hash = hash.wrapping_mul(31).wrapping_add(hash_code(item, depth + 1)?);
            }
            hash
        }
        Value::Map(map) | Value::View(View::Entries, map) => map_hash(map, depth)?,
        Value::Scope(scope) => map_hash(&scope.storage, depth)?,
        Value::View(View::Keys, map) => {
            let mut hash = 0i32;
            for key in map.view(View::Keys) {
                hash = hash.wrapping_add(hash_code(&key, depth + 1)?);
            }
            hash
        }
        Value::Entry(entry) => hash_code(&entry.0, depth + 1)? ^ hash_code(&entry.1, depth + 1)?,
        Value::View(View::Values, map) => identity(Rc::as_ptr(map).cast()) as i32,
        Value::Iterator(steps) => identity(Rc::as_ptr(steps).cast()) as i32,
        Value::Block(block) => identity(Rc::as_ptr(block).cast()) as i32,
        Value::Class(name) => text::hash(name),
        Value::Input => 1,
        Value::Util => 2,
    })
}

fn map_hash(map: &Map, depth: usize) -> Result<i32, TooDeep> {
    let mut hash = 0i32;
    for (key, value) in map.inner.borrow().entries.iter() {
        hash = hash.wrapping_add(hash_code(key, depth + 1)? ^ hash_code(value, depth + 1)?);
    }
    Ok(hash)
}

fn big_hash(number: &BigInt) -> i32 {
    let hash = number
        .magnitude()
        .to_u32_digits()
        .iter()
        .rev()
        .fold(0i32, |hash, digit| hash.wrapping_mul(31).wrapping_add(*digit as i32));
    if number.sign() == num_bigint::Sign::Minus { hash.wrapping_neg() } else { hash }
}

fn big_decimal_hash(number: &BigDecimal) -> i32 {
    match i64::try_from(&number.unscaled) {
        Ok(value) if value != i64::MIN => {
            let magnitude = value.unsigned_abs();
            let hash =
                (((magnitude >> 32) as i32).wrapping_mul(31)).wrapping_add(magnitude as u32 as i32);
            (if value < 0 { hash.wrapping_neg() } else { hash })
                .wrapping_mul(31)
                .wrapping_add(number.scale)
        }
        _ => big_hash(&number.unscaled).wrapping_mul(31).wrapping_add(number.scale),
    }
}
