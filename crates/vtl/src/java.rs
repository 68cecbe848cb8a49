//! The methods and properties that Java's objects have for a template, as of Java 17, and those of
//! `$input` and `$util`.
//!
//! Chooses among methods of the same name as Velocity's introspection does: by the classes of the
//! arguments, without converting texts to numbers. A method that doesn't exist is no error: it has
//! no value. Not here: what returns streams, threads, locales or readers.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use num_bigint::BigInt;

use super::{
    eval::{Eval, Flow, from_pairs},
    format, jsonpath,
    number::{BigDecimal, Number},
    regex::{Regex, RegexError, Subject},
    request::Data,
    text,
    value::{
        List, ListKind, Map, PrintBlock, Scope, Text, Value, View, check_key, equals, hash_code,
        print_json, push_unicode,
    },
};

/// What a method threw.
pub(crate) enum Thrown {
    Java {
        class: &'static str,
        message: String,
    },
    /// Reflection refused the call: the method was found, but not for this object or these
    /// arguments.
    Refused(&'static str),
    /// The body isn't JSON.
    Body(String),
    /// A limit, or what happened inside.
    Fatal(Flow),
}

impl From<Flow> for Thrown {
    fn from(flow: Flow) -> Self {
        Thrown::Fatal(flow)
    }
}

pub(crate) fn java(class: &'static str, message: impl Into<String>) -> Thrown {
    Thrown::Java { class, message: message.into() }
}

fn null() -> Thrown {
    java("NullPointerException", "an argument is null")
}

fn bounds(index: i64, length: usize) -> Thrown {
    java("IndexOutOfBoundsException", format!("index {index} is out of bounds for length {length}"))
}

fn string_bounds(index: i64, length: usize) -> Thrown {
    java(
        "StringIndexOutOfBoundsException",
        format!("index {index} is out of bounds for length {length}"),
    )
}

fn unsupported() -> Thrown {
    java("UnsupportedOperationException", "this list can't be changed")
}

/// `Ok(None)`: there is no such method for these arguments.
pub(crate) type Called<'a> = Result<Option<Value<'a>>, Thrown>;

fn some<'a>(value: impl Into<Value<'a>>) -> Called<'a> {
    Ok(Some(value.into()))
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i32> for Value<'_> {
    fn from(value: i32) -> Self {
        Value::Int(value)
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Value::Int(i32::try_from(value).unwrap_or(i32::MAX))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Value::text(value)
    }
}

/// A void method's value.
fn nothing<'a>() -> Called<'a> {
    Ok(Some(Value::empty()))
}

fn is_text(value: &Value) -> bool {
    matches!(value, Value::Text(_) | Value::Null)
}

/// A text where Java asks for one: null passes for it and then fails.
fn text_of<'v>(value: &'v Value) -> Result<&'v str, Thrown> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(null()),
    }
}

thread_local! {
    /// Compiled patterns, which cost far more to make than to use.
    static PATTERNS: RefCell<HashMap<String, Rc<Regex>>> = RefCell::new(HashMap::new());
}

const MAX_PATTERNS: usize = 128;

fn pattern(source: &str) -> Result<Rc<Regex>, Thrown> {
    if let Some(known) = PATTERNS.with_borrow(|patterns| patterns.get(source).cloned()) {
        return Ok(known);
    }
    let regex = Rc::new(Regex::new(source, false).map_err(regex_thrown)?);
    PATTERNS.with_borrow_mut(|patterns| {
        if patterns.len() >= MAX_PATTERNS {
            patterns.clear();
        }
        patterns.insert(source.to_owned(), regex.clone());
    });
    Ok(regex)
}

fn regex_thrown(error: RegexError) -> Thrown {
    if error.limit {
        let error = super::error::Error::limit(error.message);
        return Thrown::Fatal(Flow::Raised(Box::new(super::parser::Raised {
            error,
            span: Default::default(),
        })));
    }
    java("PatternSyntaxException", error.message)
}

fn too_deep() -> Thrown {
    java("StackOverflowError", "a value is nested too deeply, or in itself")
}

impl<'a> Eval<'a> {
    /// `$object.name`: a getter, a map's key, or a test.
    pub(crate) fn property(&mut self, object: &Value<'a>, name: &str) -> Result<Value<'a>, Thrown> {
        let mut chars = name.chars();
        let first = chars.next().unwrap_or(' ');
        let rest = chars.as_str();
        let is = |getter: &str| {
            let mut chars = getter.chars();
            let initial = chars.next().unwrap_or(' ');
            initial.eq_ignore_ascii_case(&first) && chars.as_str() == rest
        };
        if is("Class") {
            return Ok(Value::Class(object.class()));
        }
        Ok(match object {
            Value::Map(map) => map.get_text(name).unwrap_or(Value::Null),
            Value::Input if is("Body") => Value::Text(Text::Borrowed(self.request.body_text())),
            Value::Text(text) if is("Empty") => Value::Bool(text.is_empty()),
            Value::Text(text) if is("Blank") => Value::Bool(text.chars().all(java_whitespace)),
            Value::Text(text) if is("Bytes") => bytes(text),
            Value::List(list) if is("Empty") && !list.kind.is_array() => {
                Value::Bool(list.items.borrow().is_empty())
            }
            Value::View(_, map) if is("Empty") => Value::Bool(map.len() == 0),
            Value::Entry(entry) if is("Key") => entry.0.clone(),
            Value::Entry(entry) if is("Value") => entry.1.clone(),
            Value::Double(number) if is("NaN") => Value::Bool(number.is_nan()),
            Value::Double(number) if is("Infinite") => Value::Bool(number.is_infinite()),
            Value::Float(number) if is("NaN") => Value::Bool(number.is_nan()),
            Value::Float(number) if is("Infinite") => Value::Bool(number.is_infinite()),
            Value::Big(number) if is("LowestSetBit") => {
                number.trailing_zeros().map_or(Value::Int(-1), |bits| Value::Int(bits as i32))
            }
            Value::Scope(scope) => scope_property(scope, name, &is),
            Value::Class(class) if is("Name") || is("TypeName") || is("CanonicalName") => {
                Value::Text(Text::Borrowed(class))
            }
            Value::Class(class) if is("SimpleName") => {
                Value::Text(Text::Borrowed(simple_name(class)))
            }
            _ => Value::Null,
        })
    }

    /// `$object.name(arguments)`.
    pub(crate) fn call(
        &mut self,
        object: &Value<'a>,
        name: &str,
        arguments: &mut [Value<'a>],
    ) -> Called<'a> {
        let found = match object {
            Value::Input => self.input(name, arguments)?,
            Value::Util => self.util(name, arguments)?,
            Value::Map(map) => self.map(map, name, arguments)?,
            Value::Text(text) => self.string(text, name, arguments)?,
            Value::List(list) => self.list(list, name, arguments)?,
            Value::View(view, map) => self.view(*view, map, name, arguments)?,
            Value::Scope(scope) => self.scope(scope, name, arguments)?,
            Value::Entry(entry) => match (name, &*arguments) {
                ("getKey", []) => Some(entry.0.clone()),
                ("getValue", []) => Some(entry.1.clone()),
                _ => None,
            },
            Value::Iterator(steps) => match (name, &*arguments) {
                ("hasNext", []) => Some(Value::Bool(steps.borrow().has_next())),
                ("next", []) => {
                    if !steps.borrow().has_next() {
                        return Err(java("NoSuchElementException", "there is no next element"));
                    }
                    let next = steps.borrow_mut().next();
                    match next {
                        Ok(value) => Some(value.unwrap_or(Value::Null)),
                        Err(_) => {
                            return Err(java(
                                "ConcurrentModificationException",
                                "the list was changed",
                            ));
                        }
                    }
                }
                _ => None,
            },
            Value::Bool(value) => boolean(*value, name, arguments)?,
            Value::Char(unit) => character(*unit, name, arguments)?,
            Value::Class(class) => self.class(class, name, arguments)?,
            _ => self.number(object, name, arguments)?,
        };
        if found.is_some() {
            return Ok(found);
        }
        // What every object has.
        match (name, &*arguments) {
            ("toString", []) => Ok(Some(self.java_text(object)?.map_or(Value::Null, Value::Text))),
            ("hashCode", []) => some(hash_code(object, 0).map_err(|_| too_deep())?),
            ("equals", [other]) => some(equals(object, other, 0).map_err(|_| too_deep())?),
            ("getClass", []) => Ok(Some(Value::Class(object.class()))),
            ("notify" | "notifyAll", []) | ("wait", _) => {
                Err(java("IllegalMonitorStateException", "current thread is not owner"))
            }
            // Velocity takes a method without parameters for any arguments, if it finds no better
            // one; Java then refuses.
            (_, [_, ..]) if has_plain_method(object, name) => {
                Err(Thrown::Refused("wrong number of arguments"))
            }
            _ => Ok(None),
        }
    }

    /// A method of a class object: its own, or one of the class it stands for, which must be
    /// static.
    fn class(
        &mut self,
        class: &'static str,
        name: &str,
        arguments: &mut [Value<'a>],
    ) -> Called<'a> {
        match (name, &*arguments) {
            ("getName" | "getTypeName" | "getCanonicalName", []) => {
                return Ok(Some(Value::Text(Text::Borrowed(class))));
            }
            ("getSimpleName", []) => {
                return Ok(Some(Value::Text(Text::Borrowed(simple_name(class)))));
            }
            ("toString" | "hashCode" | "getClass", []) | ("equals", [_]) => return Ok(None),
            _ => {}
        }
        let object = match class {
            "java.lang.String" => Value::empty(),
            "java.lang.Integer" => Value::Int(0),
            "java.lang.Long" => Value::Long(0),
            "java.lang.Float" => Value::Float(0.0),
            "java.lang.Double" => Value::Double(0.0),
            "java.lang.Boolean" => Value::Bool(false),
            "java.lang.Character" => Value::Char(0),
            "java.math.BigInteger" => Value::Big(Rc::new(BigInt::ZERO)),
            "java.math.BigDecimal" => Value::Decimal(Rc::new(BigDecimal::from_int(BigInt::ZERO))),
            "java.util.ArrayList" => Value::list(ListKind::ArrayList, Vec::new()),
            "net.minidev.json.JSONArray" => Value::list(ListKind::JsonArray, Vec::new()),
            "java.util.ArrayList$SubList" => Value::list(ListKind::SubList, Vec::new()),
            "java.util.LinkedHashMap" => Value::Map(Rc::new(Map::default())),
            "java.util.LinkedHashMap$LinkedKeySet" => {
                Value::View(View::Keys, Rc::new(Map::default()))
            }
            "java.util.LinkedHashMap$LinkedValues" => {
                Value::View(View::Values, Rc::new(Map::default()))
            }
            "java.util.LinkedHashMap$LinkedEntrySet" => {
                Value::View(View::Entries, Rc::new(Map::default()))
            }
            "java.util.LinkedHashMap$Entry" => Value::Entry(Rc::new((Value::Null, Value::Null))),
            "org.apache.velocity.runtime.directive.ForeachScope" => Value::Scope(Rc::new(Scope {
                owner: 0,
                index: Default::default(),
                has_next: Default::default(),
                parent: None,
                replaced: None,
                storage: Rc::new(Map::default()),
            })),
            "Render$Input" => Value::Input,
            "Render$Util" => Value::Util,
            _ => return Ok(None),
        };
        let is_static = match class {
            "java.lang.String" => matches!(name, "format" | "join" | "valueOf" | "copyValueOf"),
            "java.lang.Integer"
            | "java.lang.Long"
            | "java.lang.Double"
            | "java.lang.Boolean"
            | "java.lang.Character" => {
                !matches!(name, "compareTo" | "equals") && !has_plain_method(&object, name)
            }
            _ => false,
        };
        match self.call(&object, name, arguments) {
            Ok(None) => Ok(None),
            found if is_static => found,
            Err(fatal @ Thrown::Fatal(_)) => Err(fatal),
            _ => Err(Thrown::Refused("object is not an instance of declaring class")),
        }
    }

    // ---- $input and $util ----

    fn input(&mut self, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
        match (name, arguments) {
            ("params", [key]) if is_text(key) => {
                let Value::Text(key) = key else { return Ok(Some(Value::empty())) };
                let request = self.request;
                for pairs in [&request.path, &request.query, &request.header] {
                    match pairs.iter().rev().find(|(known, _)| **known == **key) {
                        None | Some((_, Data::Null)) => {}
                        Some((_, data)) => return Ok(Some(super::eval::from_data(data))),
                    }
                }
                Ok(Some(Value::empty()))
            }
            ("params", []) => {
                // The same map each time: what a template puts into it stays.
                if let Some(params) = &self.params {
                    return Ok(Some(params.clone()));
                }
                let request = self.request;
                let map = Map::with_capacity(3);
                for (key, pairs) in [
                    ("path", &request.path),
                    ("querystring", &request.query),
                    ("header", &request.header),
                ] {
                    self.make(pairs.len() * 64)?;
                    map.put(
                        Value::Text(Text::Borrowed(key)),
                        Value::Map(Rc::new(from_pairs(pairs))),
                    );
                }
                let params = Value::Map(Rc::new(map));
                self.params = Some(params.clone());
                Ok(Some(params))
            }
            ("path", [path]) if is_text(path) => Ok(Some(self.read_path(path)?)),
            ("json", [path]) if is_text(path) => {
                let value = self.read_path(path)?;
                if value.is_null() {
                    return Ok(Some(Value::Text(Text::Borrowed("\"\""))));
                }
                let mut out = String::new();
                print_json(&value, false, &mut out, 0, self)
                    .map_err(|stopped| self.stopped(stopped))?;
                self.make(out.len())?;
                some(out)
            }
            ("getBody", []) => Ok(Some(Value::Text(Text::Borrowed(self.request.body_text())))),
            ("toString", []) => Ok(Some(Value::Text(Text::Borrowed("$input")))),
            _ => Ok(None),
        }
    }

    /// The part of the body at a JSONPath, null if nothing is there.
    fn read_path(&mut self, path: &Value<'a>) -> Result<Value<'a>, Thrown> {
        let document = self.document()?;
        if matches!(path, Value::Text(path) if **path == *"$") {
            return Ok(document);
        }
        if !matches!(document, Value::Map(_) | Value::List(_)) {
            return Ok(Value::Null);
        }
        let path = text_of(path)?;
        // The commonest path by far needs no compiler.
        if let Value::Map(map) = &document
            && let Some(name) = path.strip_prefix("$.")
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        {
            return Ok(map.get_text(name).unwrap_or(Value::Null));
        }
        let failed = |error| match error {
            jsonpath::PathError::Invalid(message) => java("InvalidPathException", message),
            _ => java("PathNotFoundException", "nothing is there"),
        };
        let compiled = jsonpath::JsonPath::compile(path).map_err(failed)?;
        match compiled.read(&document, &document, self.steps_left()) {
            Ok(value) => Ok(value),
            Err(jsonpath::PathError::NotFound) => Ok(Value::Null),
            Err(jsonpath::PathError::Budget) => {
                self.spend_steps(u64::MAX)?;
                Ok(Value::Null)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn util(&mut self, name: &str, arguments: &mut [Value<'a>]) -> Called<'a> {
        let [argument] = arguments else { return Ok(None) };
        if !matches!(
            name,
            "escapeJavaScript"
                | "parseJson"
                | "urlEncode"
                | "urlDecode"
                | "base64Encode"
                | "base64Decode"
        ) {
            return Ok(None);
        }
        if !is_text(argument) {
            if !self.limits.as_gateway || name == "parseJson" {
                return Ok(None);
            }
            *argument = Value::Text(self.printed(argument)?);
        }
        let Value::Text(argument) = argument else {
            return if name == "escapeJavaScript" { Ok(Some(Value::Null)) } else { Err(null()) };
        };
        self.make(argument.len())?;
        let out = match name {
            "escapeJavaScript" => match escape_javascript(argument) {
                Some(escaped) => escaped,
                None => return Ok(Some(Value::Text(argument.clone()))),
            },
            "parseJson" => {
                return match super::json::parse(argument) {
                    Ok(value) => Ok(Some(value)),
                    Err(error) if error.limit => {
                        Err(regex_thrown(RegexError { message: error.message, limit: true }))
                    }
                    Err(error) => Err(java(
                        "ParseException",
                        format!("{} at byte {}", error.message, error.at),
                    )),
                };
            }
            "urlEncode" => url_encode(argument),
            "urlDecode" => url_decode(argument)?,
            "base64Encode" => base64_encode(text::leave(argument.to_string()).as_bytes()),
            _ => match base64_decode(argument) {
                Some(bytes) => text::decode(&bytes),
                None => return Err(java("IllegalArgumentException", "the text is not base64")),
            },
        };
        self.make(out.len())?;
        some(out)
    }

    // ---- maps ----

    fn map(&mut self, map: &Rc<Map<'a>>, name: &str, arguments: &mut [Value<'a>]) -> Called<'a> {
        let old = |old: Option<Value<'a>>| Ok(Some(old.unwrap_or(Value::Null)));
        if matches!(
            name,
            "get" | "put" | "containsKey" | "getOrDefault" | "putIfAbsent" | "replace" | "remove"
        ) && let Some(key) = arguments.first()
        {
            check_key(key).map_err(|_| too_deep())?;
            self.null_keys |= key.is_null();
        }
        match (name, arguments) {
            ("get", [key]) => old(match key {
                Value::Text(key) => map.get_text(key),
                key => map.get(key),
            }),
            ("put", [key, value]) => {
                self.make(64)?;
                old(map.put(key.clone(), value.clone()))
            }
            ("containsKey", [key]) => some(map.contains(key)),
            ("containsValue", [value]) => {
                self.spend_steps(map.len() as u64)?;
                let values = map.view(View::Values);
                some(contains(&values, value)?)
            }
            ("keySet", []) => Ok(Some(Value::View(View::Keys, map.clone()))),
            ("values", []) => Ok(Some(Value::View(View::Values, map.clone()))),
            ("entrySet", []) => Ok(Some(Value::View(View::Entries, map.clone()))),
            ("size", []) => some(map.len()),
            ("isEmpty", []) => some(map.len() == 0),
            ("getOrDefault", [key, default]) => {
                Ok(Some(map.get(key).unwrap_or_else(|| default.clone())))
            }
            ("putIfAbsent", [key, value]) => match map.get(key) {
                Some(known) if !known.is_null() => Ok(Some(known)),
                _ => old(map.put(key.clone(), value.clone())),
            },
            ("replace", [key, value]) => {
                old(if map.contains(key) { map.put(key.clone(), value.clone()) } else { None })
            }
            ("replace", [key, from, to]) => {
                let same = match map.get(key) {
                    Some(known) => equals(&known, from, 0).map_err(|_| too_deep())?,
                    None => false,
                };
                if same {
                    map.put(key.clone(), to.clone());
                }
                some(same)
            }
            ("remove", [key]) => {
                self.spend_steps(map.len() as u64)?;
                old(map.remove(key))
            }
            ("remove", [key, value]) => {
                let same = match map.get(key) {
                    Some(known) => equals(&known, value, 0).map_err(|_| too_deep())?,
                    None => false,
                };
                if same {
                    map.remove(key);
                }
                some(same)
            }
            ("clear", []) => {
                map.clear();
                nothing()
            }
            ("putAll", [Value::Map(other)]) => {
                let entries = other.inner.borrow().entries.clone();
                self.make(entries.len() * 64)?;
                for (key, value) in entries {
                    map.put(key, value);
                }
                nothing()
            }
            ("putAll", [Value::Scope(other)]) => {
                let entries = other.storage.inner.borrow().entries.clone();
                for (key, value) in entries {
                    map.put(key, value);
                }
                nothing()
            }
            ("putAll", [Value::Null]) => Err(null()),
            ("clone", []) => {
                let copy = Map::with_capacity(map.len());
                for (key, value) in map.inner.borrow().entries.iter() {
                    copy.put(key.clone(), value.clone());
                }
                Ok(Some(Value::Map(Rc::new(copy))))
            }
            ("replaceAll" | "forEach", [Value::Null]) => Err(null()),
            _ => Ok(None),
        }
    }

    fn scope(
        &mut self,
        scope: &Rc<Scope<'a>>,
        name: &str,
        arguments: &mut [Value<'a>],
    ) -> Called<'a> {
        match (name, &*arguments) {
            ("hasNext" | "getHasNext", []) => return some(scope.has_next.get()),
            ("getIndex", []) => return some(scope.index.get()),
            ("getCount", []) => return some(scope.index.get() + 1),
            ("isFirst" | "getFirst", []) => return some(scope.index.get() < 1),
            ("isLast" | "getLast", []) => return some(!scope.has_next.get()),
            ("getParent", []) => {
                return Ok(Some(scope.parent.clone().map_or(Value::Null, Value::Scope)));
            }
            ("getTopmost", []) => return Ok(Some(Value::Scope(topmost(scope)))),
            ("getReplaced", []) => return Ok(Some(replaced(scope))),
            ("get", [Value::Text(key)]) => return Ok(Some(scope_get(scope, key))),
            _ => {}
        }
        let storage = scope.storage.clone();
        self.map(&storage, name, arguments)
    }

    fn view(
        &mut self,
        view: View,
        map: &Rc<Map<'a>>,
        name: &str,
        arguments: &[Value<'a>],
    ) -> Called<'a> {
        self.spend_steps(1)?;
        match (name, arguments) {
            ("size", []) => some(map.len()),
            ("isEmpty", []) => some(map.len() == 0),
            ("contains", [key]) if view == View::Keys => some(map.contains(key)),
            ("contains", [item]) => {
                self.spend_steps(map.len() as u64)?;
                some(contains(&map.view(view), item)?)
            }
            ("containsAll", [other]) => {
                let Some(others) = self.elements(other) else { return Ok(None) };
                let own = map.view(view);
                self.spend_steps((own.len() * others.len()) as u64)?;
                for other in &others {
                    if !contains(&own, other)? {
                        return some(false);
                    }
                }
                some(true)
            }
            ("remove", [key]) if view == View::Keys => some(map.remove(key).is_some()),
            ("remove", [item]) => {
                self.spend_steps(map.len() as u64)?;
                let key = match position(&map.view(view), item)? {
                    Some(at) => map.view_at(View::Keys, at),
                    None => None,
                };
                some(key.is_some_and(|key| map.remove(&key).is_some()))
            }
            ("removeAll" | "retainAll", [other]) => {
                if other.is_null() {
                    return Err(null());
                }
                let Some(others) = self.elements(other) else { return Ok(None) };
                self.spend_steps((map.len() * others.len().max(1)) as u64)?;
                let mut gone = Vec::new();
                for (at, item) in map.view(view).iter().enumerate() {
                    if contains(&others, item)? != (name == "retainAll") {
                        gone.extend(map.view_at(View::Keys, at));
                    }
                }
                gone.iter().for_each(|key| drop(map.remove(key)));
                some(!gone.is_empty())
            }
            ("iterator", []) => {
                let steps = self.iterator(&Value::View(view, map.clone()));
                Ok(steps.map(Value::Iterator))
            }
            ("toArray", [Value::Null]) => Err(null()),
            ("toArray", _) => Ok(Some(Value::list(ListKind::Objects, map.view(view)))),
            ("clear", []) => {
                map.clear();
                nothing()
            }
            ("add", [_]) => Err(unsupported()),
            ("addAll", [other]) => match self.elements(other) {
                Some(others) if others.is_empty() => some(false),
                Some(_) => Err(unsupported()),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }

    // ---- lists ----

    /// The elements of a collection, `None` if it is none.
    fn elements(&mut self, value: &Value<'a>) -> Option<Vec<Value<'a>>> {
        match value {
            Value::List(list) if !list.kind.is_array() => Some(list.items.borrow().clone()),
            Value::View(view, map) => Some(map.view(*view)),
            _ => None,
        }
    }

    fn list(&mut self, list: &Rc<List<'a>>, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
        let array = list.kind.is_array();
        if list.kind == ListKind::Stream {
            return Ok(match (name, arguments) {
                ("count", []) => Some(Value::Long(list.items.borrow().len() as i64)),
                _ => None,
            });
        }
        if array
            && matches!(
                (name, arguments),
                ("toString" | "hashCode" | "getClass", []) | ("equals", [_])
            )
        {
            return Ok(None);
        }
        let fixed = array || list.kind == ListKind::Fixed;
        let length = list.items.borrow().len();
        let changed = |list: &List| list.changes.set(list.changes.get().wrapping_add(1));
        match (name, arguments) {
            ("get", [Value::Int(index)]) => {
                let item = usize::try_from(*index)
                    .ok()
                    .and_then(|index| list.items.borrow().get(index).cloned());
                item.map(Some).ok_or_else(|| {
                    if array {
                        java(
                            "ArrayIndexOutOfBoundsException",
                            format!("index {index} is out of bounds for length {length}"),
                        )
                    } else {
                        bounds(i64::from(*index), length)
                    }
                })
            }
            ("size", []) => some(length),
            ("isEmpty", []) => some(length == 0),
            ("add" | "addAll" | "remove" | "removeAll" | "retainAll" | "clear", _) if fixed => {
                self.change_fixed(list, name, arguments)
            }
            ("add", [item]) => {
                self.make(size_of::<Value>())?;
                list.items.borrow_mut().push(item.clone());
                changed(list);
                some(true)
            }
            ("add", [Value::Int(index), item]) => {
                let Some(at) = usize::try_from(*index).ok().filter(|at| *at <= length) else {
                    return Err(bounds(i64::from(*index), length));
                };
                self.spend_steps(length as u64)?;
                list.items.borrow_mut().insert(at, item.clone());
                changed(list);
                nothing()
            }
            ("addAll", [other]) => {
                if other.is_null() {
                    return Err(null());
                }
                let Some(items) = self.elements(other) else { return Ok(None) };
                self.make(items.len() * size_of::<Value>())?;
                let any = !items.is_empty();
                list.items.borrow_mut().extend(items);
                changed(list);
                some(any)
            }
            ("addAll", [Value::Int(index), other]) => {
                let Some(items) = self.elements(other) else { return Ok(None) };
                let Some(at) = usize::try_from(*index).ok().filter(|at| *at <= length) else {
                    return Err(bounds(i64::from(*index), length));
                };
                self.make(items.len() * size_of::<Value>())?;
                let any = !items.is_empty();
                list.items.borrow_mut().splice(at..at, items);
                changed(list);
                some(any)
            }
            ("set", [Value::Int(index), item]) => {
                if list.kind == ListKind::Fixed {
                    return Err(unsupported());
                }
                let Some(at) = usize::try_from(*index).ok().filter(|at| *at < length) else {
                    return Err(bounds(i64::from(*index), length));
                };
                let fits = match list.kind {
                    ListKind::Strings => is_text(item),
                    ListKind::Chars => matches!(item, Value::Char(_)),
                    ListKind::Bytes => false,
                    _ => true,
                };
                if !fits {
                    return Err(java(
                        "IllegalArgumentException",
                        "the array holds values of another class",
                    ));
                }
                Ok(Some(std::mem::replace(&mut list.items.borrow_mut()[at], item.clone())))
            }
            ("remove", [Value::Int(index)]) => {
                let Some(at) = usize::try_from(*index).ok().filter(|at| *at < length) else {
                    return Err(bounds(i64::from(*index), length));
                };
                self.spend_steps(length as u64)?;
                let old = list.items.borrow_mut().remove(at);
                changed(list);
                Ok(Some(old))
            }
            ("remove", [item]) => {
                self.spend_steps(length as u64)?;
                let items = list.items.borrow().clone();
                match position(&items, item)? {
                    Some(at) => {
                        list.items.borrow_mut().remove(at);
                        changed(list);
                        some(true)
                    }
                    None => some(false),
                }
            }
            ("removeAll" | "retainAll", [other]) => {
                let Some(others) = self.elements(other) else { return Ok(None) };
                self.spend_steps((length * others.len().max(1)) as u64)?;
                let mut kept = Vec::new();
                for item in list.items.borrow().iter() {
                    if contains(&others, item)? == (name == "retainAll") {
                        kept.push(item.clone());
                    }
                }
                let any = kept.len() != length;
                if any {
                    *list.items.borrow_mut() = kept;
                    changed(list);
                }
                some(any)
            }
            ("clear", []) => {
                let items = std::mem::take(&mut *list.items.borrow_mut());
                drop(List::new(ListKind::ArrayList, items));
                changed(list);
                nothing()
            }
            ("contains", [item]) => {
                self.spend_steps(length as u64)?;
                some(contains(&list.items.borrow().clone(), item)?)
            }
            ("containsAll", [other]) => {
                if other.is_null() {
                    return Err(null());
                }
                let Some(others) = self.elements(other) else { return Ok(None) };
                let own = list.items.borrow().clone();
                self.spend_steps((own.len() * others.len()) as u64)?;
                for other in &others {
                    if !contains(&own, other)? {
                        return some(false);
                    }
                }
                some(true)
            }
            ("indexOf", [item]) => {
                self.spend_steps(length as u64)?;
                Ok(Some(
                    position(&list.items.borrow().clone(), item)?
                        .map_or(Value::Int(-1), Value::from),
                ))
            }
            ("lastIndexOf", [item]) => {
                self.spend_steps(length as u64)?;
                let items = list.items.borrow().clone();
                for (at, known) in items.iter().enumerate().rev() {
                    if equals(item, known, 0).map_err(|_| too_deep())? {
                        return some(at);
                    }
                }
                some(-1)
            }
            ("subList", [Value::Int(from), Value::Int(to)]) => {
                let (from, to) = (i64::from(*from), i64::from(*to));
                if from < 0 || to > length as i64 {
                    return Err(bounds(if from < 0 { from } else { to }, length));
                }
                if from > to {
                    return Err(java(
                        "IllegalArgumentException",
                        format!("fromIndex({from}) > toIndex({to})"),
                    ));
                }
                let items = list.items.borrow()[from as usize..to as usize].to_vec();
                self.make(items.len() * size_of::<Value>())?;
                Ok(Some(Value::list(ListKind::SubList, items)))
            }
            ("iterator", []) => {
                let steps = self.iterator(&Value::List(list.clone()));
                Ok(steps.map(Value::Iterator))
            }
            ("toArray", [Value::List(into)])
                if into.kind == ListKind::Strings && !list.items.borrow().iter().all(is_text) =>
            {
                Err(java("ArrayStoreException", "the array holds texts only"))
            }
            // Of the methods with one argument Java takes the one that makes the array.
            ("toArray", [Value::Null]) => Err(null()),
            ("toArray", _) => {
                self.make(length * size_of::<Value>())?;
                Ok(Some(Value::list(ListKind::Objects, list.items.borrow().clone())))
            }
            ("clone", []) if matches!(list.kind, ListKind::ArrayList | ListKind::JsonArray) => {
                self.make(length * size_of::<Value>())?;
                Ok(Some(Value::list(list.kind, list.items.borrow().clone())))
            }
            ("merge", [other]) if list.kind == ListKind::JsonArray => match other {
                Value::Null => nothing(),
                Value::List(others) if others.kind == ListKind::JsonArray => {
                    let items = others.items.borrow().clone();
                    self.make(items.len() * size_of::<Value>())?;
                    list.items.borrow_mut().extend(items);
                    changed(list);
                    nothing()
                }
                _ => Err(java("ClassCastException", "only a list from JSON can be merged")),
            },
            ("toJSONString", []) if list.kind == ListKind::JsonArray => {
                Ok(Some(Value::Text(self.printed(&Value::List(list.clone()))?)))
            }
            ("replaceAll" | "removeIf" | "forEach", [Value::Null]) if !array => Err(null()),
            ("trimToSize", []) | ("ensureCapacity", [Value::Int(_)])
                if matches!(list.kind, ListKind::ArrayList | ListKind::JsonArray) =>
            {
                changed(list);
                nothing()
            }
            _ => Ok(None),
        }
    }

    /// Java's arrays and unchangeable lists refuse to change, where that would make a difference.
    fn change_fixed(
        &mut self,
        list: &Rc<List<'a>>,
        name: &str,
        arguments: &[Value<'a>],
    ) -> Called<'a> {
        let items = list.items.borrow().clone();
        let known = match (name, arguments) {
            ("add", [_]) | ("add", [Value::Int(_), _]) => true,
            ("addAll", [other]) | ("addAll", [Value::Int(_), other]) => {
                let Some(others) = self.elements(other) else { return Ok(None) };
                if others.is_empty() && list.kind != ListKind::Fixed {
                    return some(false);
                }
                true
            }
            ("remove", [Value::Int(_)]) => true,
            ("remove", [item]) => {
                if list.kind != ListKind::Fixed && !contains(&items, item)? {
                    return some(false);
                }
                true
            }
            ("removeAll" | "retainAll", [other]) => {
                let Some(others) = self.elements(other) else { return Ok(None) };
                let mut any = false;
                for item in &items {
                    any |= contains(&others, item)? != (name == "retainAll");
                }
                if list.kind != ListKind::Fixed && !any {
                    return some(false);
                }
                true
            }
            ("clear", []) => {
                if list.kind != ListKind::Fixed && items.is_empty() {
                    return nothing();
                }
                true
            }
            _ => false,
        };
        if known { Err(unsupported()) } else { Ok(None) }
    }

    // ---- texts ----

    fn string(&mut self, own: &Text<'a>, name: &str, arguments: &mut [Value<'a>]) -> Called<'a> {
        let s: &str = own;
        match (name, &mut *arguments) {
            ("length", []) => some(text::length(s)),
            ("isEmpty", []) => some(s.is_empty()),
            ("isBlank", []) => some(s.chars().all(java_whitespace)),
            ("toString" | "intern" | "strip" | "stripLeading" | "stripTrailing" | "trim", []) => {
                let part = match name {
                    "trim" => text::trim(s),
                    "strip" => s.trim_matches(java_whitespace),
                    "stripLeading" => s.trim_start_matches(java_whitespace),
                    "stripTrailing" => s.trim_end_matches(java_whitespace),
                    _ => s,
                };
                Ok(Some(self.part(own, part)))
            }
            ("toUpperCase", []) => self.made(upper(s)),
            ("toLowerCase", []) => self.made(lower(s)),
            ("concat", [other]) if is_text(other) => {
                let other = text_of(other)?;
                self.make(s.len() + other.len())?;
                let mut out = s.to_owned();
                text::push_text(&mut out, other);
                some(out)
            }
            ("charAt", [Value::Int(index)]) => {
                let unit = usize::try_from(*index).ok().and_then(|index| text::unit_at(s, index));
                unit.map(|unit| Some(Value::Char(unit)))
                    .ok_or_else(|| string_bounds(i64::from(*index), text::length(s)))
            }
            ("codePointAt", [Value::Int(index)]) => {
                let at = usize::try_from(*index)
                    .ok()
                    .filter(|at| *at < text::length(s))
                    .ok_or_else(|| string_bounds(i64::from(*index), text::length(s)))?;
                let high = text::unit_at(s, at).unwrap_or(0);
                let low = text::unit_at(s, at + 1).unwrap_or(0);
                let pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
                some(if pair {
                    0x10000 + ((i32::from(high) - 0xD800) << 10) + (i32::from(low) - 0xDC00)
                } else {
                    i32::from(high)
                })
            }
            ("substring", [Value::Int(from)]) => self.substring(own, i64::from(*from), None),
            ("substring" | "subSequence", [Value::Int(from), Value::Int(to)]) => {
                self.substring(own, i64::from(*from), Some(i64::from(*to)))
            }
            ("startsWith", [prefix]) if is_text(prefix) => some(s.starts_with(text_of(prefix)?)),
            ("startsWith", [prefix, Value::Int(from)]) if is_text(prefix) => {
                let prefix = text_of(prefix)?;
                let length = text::length(s);
                Ok(Some(match usize::try_from(*from).ok().filter(|from| *from <= length) {
                    Some(from) => Value::Bool(text::slice(s, from, length).starts_with(prefix)),
                    None => Value::Bool(false),
                }))
            }
            ("endsWith", [suffix]) if is_text(suffix) => some(s.ends_with(text_of(suffix)?)),
            ("contains", [other]) if is_text(other) => {
                some(memchr::memmem::find(s.as_bytes(), text_of(other)?.as_bytes()).is_some())
            }
            ("equalsIgnoreCase", [other]) if is_text(other) => {
                let Value::Text(other) = other else { return some(false) };
                some(equal_ignoring_case(s, other))
            }
            ("contentEquals", [other]) if is_text(other) => some(s == text_of(other)?),
            ("compareTo", [other]) => match other {
                Value::Text(other) => some(text::compare(s, other)),
                Value::Null => Err(null()),
                _ => Err(java("ClassCastException", "a text is compared with something else")),
            },
            ("compareToIgnoreCase", [other]) if is_text(other) => {
                let fold = |text: &str| {
                    text::from_units(&text::units(text).map(fold_unit).collect::<Vec<_>>())
                };
                some(text::compare(&fold(s), &fold(text_of(other)?)))
            }
            ("indexOf" | "lastIndexOf", [what]) => {
                self.index_of(s, what, None, name == "lastIndexOf")
            }
            ("indexOf" | "lastIndexOf", [what, Value::Int(from)]) => {
                let from = i64::from(*from);
                self.index_of(s, what, Some(from), name == "lastIndexOf")
            }
            ("replace", [Value::Char(from), Value::Char(to)]) => {
                let units: Vec<u16> =
                    text::units(s).map(|unit| if unit == *from { *to } else { unit }).collect();
                self.made(text::from_units(&units))
            }
            ("replace", [from, to]) if is_text(from) && is_text(to) => {
                let (from, to) = (text_of(from)?, text_of(to)?);
                self.replaced(s, from, to)
            }
            ("matches", [regex]) if is_text(regex) => {
                let regex = pattern(text_of(regex)?)?;
                some(regex.matches(s, self.steps_left()).map_err(regex_thrown)?)
            }
            ("replaceAll" | "replaceFirst", [regex, to]) if is_text(regex) && is_text(to) => {
                let regex = pattern(text_of(regex)?)?;
                let to = text_of(to)?;
                let subject = regex.subject(s);
                let most = if name == "replaceAll" { usize::MAX } else { 1 };
                let found =
                    regex.find_all(&subject, most, self.steps_left()).map_err(regex_thrown)?;
                self.spend_steps(found.len() as u64)?;
                if found.is_empty() {
                    return Ok(Some(Value::Text(own.clone())));
                }
                let mut out = String::with_capacity(s.len());
                let mut copied = 0;
                for groups in &found {
                    let (start, end) = groups[0].unwrap_or((0, 0));
                    subject.push(copied, start, &mut out);
                    append_replacement(&subject, &regex, groups, to, &mut out)?;
                    copied = end;
                    if out.len() > 2 * self.limits.output {
                        self.make(out.len())?;
                    }
                }
                subject.push(copied, subject.len(), &mut out);
                self.made(out)
            }
            ("split", [regex]) if is_text(regex) => {
                let regex = pattern(text_of(regex)?)?;
                self.split(own, &regex, 0)
            }
            ("split", [regex, Value::Int(limit)]) if is_text(regex) => {
                let regex = pattern(text_of(regex)?)?;
                self.split(own, &regex, *limit)
            }
            ("stripIndent", []) => self.made(strip_indent(s)),
            ("indent", [Value::Int(by)]) => {
                self.make(
                    s.len().saturating_add(
                        (s.matches(['\n', '\r']).count() + 1)
                            .saturating_mul(by.unsigned_abs() as usize),
                    ),
                )?;
                self.made(indent(s, *by))
            }
            ("translateEscapes", []) => self.made(translate_escapes(s)?),
            ("codePointBefore", [Value::Int(index)]) => {
                let length = text::length(s);
                let at = usize::try_from(*index)
                    .ok()
                    .filter(|at| (1..=length).contains(at))
                    .ok_or_else(|| string_bounds(i64::from(*index), length))?;
                let low = text::unit_at(s, at - 1).unwrap_or(0);
                let high = at.checked_sub(2).and_then(|at| text::unit_at(s, at)).unwrap_or(0);
                let pair = (0xD800..0xDC00).contains(&high) && (0xDC00..0xE000).contains(&low);
                some(if pair {
                    0x10000 + ((i32::from(high) - 0xD800) << 10) + (i32::from(low) - 0xDC00)
                } else {
                    i32::from(low)
                })
            }
            ("repeat", [Value::Int(count)]) => {
                let count = usize::try_from(*count)
                    .map_err(|_| java("IllegalArgumentException", "count is negative"))?;
                self.make(s.len().saturating_mul(count))?;
                some(s.repeat(count))
            }
            ("getBytes", []) => {
                self.make(s.len() * size_of::<Value>())?;
                Ok(Some(bytes(s)))
            }
            ("toCharArray", []) => {
                self.make(s.len() * size_of::<Value>())?;
                Ok(Some(Value::list(ListKind::Chars, text::units(s).map(Value::Char).collect())))
            }
            ("codePointCount", [Value::Int(from), Value::Int(to)]) => {
                let length = text::length(s) as i64;
                let (from, to) = (i64::from(*from), i64::from(*to));
                if from < 0 || from > to || to > length {
                    return Err(bounds(to, length as usize));
                }
                some(text::slice(s, from as usize, to as usize).chars().count())
            }
            ("regionMatches", [Value::Int(at), other, Value::Int(from), Value::Int(length)])
                if is_text(other) =>
            {
                some(region_matches(
                    s,
                    i64::from(*at),
                    text_of(other)?,
                    i64::from(*from),
                    i64::from(*length),
                    false,
                ))
            }
            (
                "regionMatches",
                [Value::Bool(ignore), Value::Int(at), other, Value::Int(from), Value::Int(length)],
            ) if is_text(other) => some(region_matches(
                s,
                i64::from(*at),
                text_of(other)?,
                i64::from(*from),
                i64::from(*length),
                *ignore,
            )),
            ("format", [pattern, rest @ ..]) if is_text(pattern) => {
                let pattern = text_of(pattern)?.to_owned();
                let rest = spread(rest);
                let out = format::format(self, &pattern, &rest)?;
                self.made(out)
            }
            ("formatted", rest) => {
                let rest = spread(rest);
                let out = format::format(self, s, &rest)?;
                self.made(out)
            }
            ("join", [separator, rest @ ..]) if is_text(separator) => {
                let separator = text_of(separator)?.to_owned();
                let items = match rest {
                    [Value::List(list)]
                        if !list.kind.is_array() || list.kind == ListKind::Strings =>
                    {
                        list.items.borrow().clone()
                    }
                    [Value::View(view, map)] => map.view(*view),
                    rest if rest.iter().all(is_text) => rest.to_vec(),
                    _ => return Ok(None),
                };
                let mut out = String::new();
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push_str(&separator);
                    }
                    match item {
                        Value::Text(item) => text::push_text(&mut out, item),
                        Value::Null => out.push_str("null"),
                        _ => return Err(java("ClassCastException", "only texts can be joined")),
                    }
                    self.spend_steps(1)?;
                }
                self.made(out)
            }
            ("valueOf" | "copyValueOf", [Value::List(list)]) if list.kind == ListKind::Chars => {
                let units: Vec<u16> = list
                    .items
                    .borrow()
                    .iter()
                    .map(|item| if let Value::Char(unit) = item { *unit } else { 0 })
                    .collect();
                self.made(text::from_units(&units))
            }
            ("valueOf" | "copyValueOf", []) => Ok(Some(Value::empty())),
            ("valueOf", [Value::Null]) => Err(null()),
            ("valueOf", [other]) => Ok(Some(Value::Text(self.printed(other)?))),
            ("chars" | "codePoints", []) => {
                self.make(s.len() * size_of::<Value>())?;
                let items = if name == "chars" {
                    text::units(s).map(|unit| Value::Int(i32::from(unit))).collect()
                } else {
                    s.chars().map(|c| Value::Int(c as u32 as i32)).collect()
                };
                Ok(Some(Value::list(ListKind::Stream, items)))
            }
            _ => Ok(None),
        }
    }

    fn made(&mut self, out: String) -> Called<'a> {
        self.make(out.len())?;
        some(out)
    }

    /// A part of a text: of the same text, if that lasts.
    fn part(&self, own: &Text<'a>, part: &str) -> Value<'a> {
        if part.len() == own.len() {
            return Value::Text(own.clone());
        }
        match own {
            Text::Borrowed(own) => {
                let start = part.as_ptr().addr().saturating_sub(own.as_ptr().addr());
                Value::Text(Text::Borrowed(if part.is_empty() {
                    ""
                } else {
                    &own[start..start + part.len()]
                }))
            }
            Text::Shared(_) => Value::text(part),
        }
    }

    fn substring(&mut self, own: &Text<'a>, from: i64, to: Option<i64>) -> Called<'a> {
        let length = text::length(own) as i64;
        let to = to.unwrap_or(length);
        if from < 0 || to > length || from > to {
            return Err(java(
                "StringIndexOutOfBoundsException",
                format!("begin {from}, end {to}, length {length}"),
            ));
        }
        if own.is_ascii() {
            return Ok(Some(self.part(own, &own[from as usize..to as usize])));
        }
        self.make(own.len())?;
        some(text::slice(own, from as usize, to as usize))
    }

    fn index_of(&mut self, s: &str, what: &Value, from: Option<i64>, last: bool) -> Called<'a> {
        let what = match what {
            Value::Text(what) => what.to_string(),
            Value::Int(code) => {
                let mut out = String::new();
                match u32::try_from(*code) {
                    Ok(unit) if unit < 0x10000 => text::push_unit(&mut out, unit as u16),
                    Ok(code) => match char::from_u32(code) {
                        Some(c) => out.push(c),
                        None => return some(-1),
                    },
                    Err(_) => return some(-1),
                }
                out
            }
            Value::Null => return Err(null()),
            _ => return Ok(None),
        };
        let length = text::length(s) as i64;
        let width = text::length(&what) as i64;
        if last {
            let from = from.unwrap_or(length).min(length - width);
            if from < 0 {
                return some(-1);
            }
            let end = text::byte_of_index(s, (from + width) as usize);
            let found = memchr::memmem::rfind(&s.as_bytes()[..end], what.as_bytes());
            return Ok(Some(
                found.map_or(Value::Int(-1), |at| Value::from(text::index_of_byte(s, at))),
            ));
        }
        let from = from.unwrap_or(0).clamp(0, length);
        let start = text::byte_of_index(s, from as usize);
        let found = memchr::memmem::find(&s.as_bytes()[start..], what.as_bytes());
        Ok(Some(found.map_or(Value::Int(-1), |at| Value::from(text::index_of_byte(s, start + at)))))
    }

    fn replaced(&mut self, s: &str, from: &str, to: &str) -> Called<'a> {
        let count = memchr::memmem::find_iter(s.as_bytes(), from.as_bytes()).count()
            + usize::from(from.is_empty());
        self.make(s.len() + count.saturating_mul(to.len()))?;
        self.made(s.replace(from, to))
    }

    fn split(&mut self, own: &Text<'a>, regex: &Regex, limit: i32) -> Called<'a> {
        let most = usize::try_from(limit).unwrap_or(0);
        let subject = regex.subject(own);
        let found =
            regex.find_all(&subject, usize::MAX, self.steps_left()).map_err(regex_thrown)?;
        self.make((found.len() + 1) * size_of::<Value>())?;
        let part = |eval: &Self, from: usize, to: usize| match &subject {
            Subject::Bytes(text) => eval.part(own, &text[from..to]),
            Subject::Units(units) => Value::text(text::from_units(&units[from..to])),
        };
        let mut parts: Vec<Value<'a>> = Vec::new();
        let mut copied = 0;
        for groups in &found {
            let (start, end) = groups[0].unwrap_or((0, 0));
            if most > 0 && parts.len() == most - 1 {
                break;
            }
            // A match of nothing at the very start makes no part.
            if end == 0 {
                continue;
            }
            parts.push(part(self, copied, start));
            copied = end;
        }
        if copied == 0 && parts.is_empty() {
            return Ok(Some(Value::list(ListKind::Strings, vec![Value::Text(own.clone())])));
        }
        parts.push(part(self, copied, subject.len()));
        if limit == 0 {
            while matches!(parts.last(), Some(Value::Text(last)) if last.is_empty()) {
                parts.pop();
            }
        }
        Ok(Some(Value::list(ListKind::Strings, parts)))
    }

    // ---- numbers ----

    fn number(&mut self, object: &Value<'a>, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
        let Some(number) = object.number() else { return Ok(None) };
        match (name, arguments) {
            ("intValue", []) => return some(number.to_int()),
            ("longValue", []) => return Ok(Some(Value::Long(number.to_long()))),
            ("doubleValue", []) => return Ok(Some(Value::Double(number.to_double()))),
            ("floatValue", []) => return Ok(Some(Value::Float(number.to_float()))),
            ("shortValue", []) => return some(i32::from(number.to_int() as i16)),
            ("byteValue", []) => return some(i32::from(number.to_int() as i8)),
            ("compareTo", [other]) => {
                if other.is_null() {
                    return Err(null());
                }
                let Some(other_number) = other.number().filter(|_| other.class() == object.class())
                else {
                    return Err(java(
                        "ClassCastException",
                        "numbers of different classes are compared",
                    ));
                };
                let ordering = match (&number, &other_number) {
                    (Number::Double(a), Number::Double(b)) => java_double_order(*a, *b),
                    (Number::Float(a), Number::Float(b)) => {
                        java_double_order(f64::from(*a), f64::from(*b))
                    }
                    _ => super::number::compare(&number, &other_number)
                        .unwrap_or(std::cmp::Ordering::Equal),
                };
                return some(ordering as i32);
            }
            _ => {}
        }
        match number {
            Number::Int(_) => Ok(integer(name, arguments)?),
            Number::Long(_) => Ok(long(name, arguments)?),
            Number::Double(n) => match (name, arguments) {
                ("isNaN", []) => some(n.is_nan()),
                ("isInfinite", []) => some(n.is_infinite()),
                _ => Ok(double(name, arguments)?),
            },
            Number::Float(n) => Ok(match (name, arguments) {
                ("isNaN", []) => Some(Value::Bool(n.is_nan())),
                ("isInfinite", []) => Some(Value::Bool(n.is_infinite())),
                _ => None,
            }),
            Number::Big(n) => self.big(&n, name, arguments),
            Number::Decimal(n) => self.decimal(&n, name, arguments),
        }
    }

    fn big(&mut self, n: &BigInt, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
        let made = |n: BigInt| Ok(Some(Value::Big(Rc::new(n))));
        let operator = match name {
            "add" => Some(super::ast::Operator::Add),
            "subtract" => Some(super::ast::Operator::Subtract),
            "multiply" => Some(super::ast::Operator::Multiply),
            _ => None,
        };
        match (name, arguments) {
            ("toString", [Value::Int(base)]) => some(n.to_str_radix(radix(*base))),
            ("abs", []) => made(BigInt::from(n.magnitude().clone())),
            ("negate", []) => made(-n),
            ("signum", []) => some(n.sign() as i32 - num_bigint::Sign::NoSign as i32),
            ("bitLength", []) => some(n.bits() as usize),
            (_, [Value::Null]) if operator.is_some() => Err(null()),
            ("bitCount", []) => {
                // Of a negative number those bits that differ from its sign.
                let bits =
                    if n.sign() == num_bigint::Sign::Minus { -n.clone() - 1i32 } else { n.clone() };
                some(
                    bits.magnitude()
                        .iter_u64_digits()
                        .map(|digit| digit.count_ones() as usize)
                        .sum::<usize>(),
                )
            }
            ("getLowestSetBit", []) => some(n.trailing_zeros().map_or(-1, |bits| bits as i32)),
            ("shiftLeft" | "shiftRight", [Value::Int(by)]) => {
                let left = (name == "shiftLeft") == (*by >= 0);
                let by = by.unsigned_abs();
                if left && by > 200_000 {
                    return Err(regex_thrown(RegexError {
                        message: "a number gets too many digits".into(),
                        limit: true,
                    }));
                }
                made(if left { n << by } else { n >> by })
            }
            ("pow", [Value::Int(power)]) => match u32::try_from(*power) {
                Ok(power) if n.bits().saturating_mul(u64::from(power)) <= 200_000 => {
                    made(n.pow(power))
                }
                Ok(_) => Err(regex_thrown(RegexError {
                    message: "a number gets too many digits".into(),
                    limit: true,
                })),
                Err(_) => Err(java("ArithmeticException", "Negative exponent")),
            },
            ("not", []) => made(-n.clone() - 1i32),
            ("sqrt", []) if n.sign() == num_bigint::Sign::Minus => {
                Err(java("ArithmeticException", "Negative BigInteger"))
            }
            ("sqrt", []) => made(n.sqrt()),
            ("intValueExact" | "longValueExact" | "shortValueExact" | "byteValueExact", []) => {
                let value = i64::try_from(n).ok();
                let fits = |bits: u32| {
                    value.filter(|value| {
                        value.checked_shr(bits - 1).is_none_or(|high| high == 0 || high == -1)
                    })
                };
                let found = match name {
                    "longValueExact" => value.map(Value::Long),
                    "intValueExact" => fits(32).map(|value| Value::Int(value as i32)),
                    "shortValueExact" => fits(16).map(|value| Value::Int(value as i32)),
                    _ => fits(8).map(|value| Value::Int(value as i32)),
                };
                found
                    .map(Some)
                    .ok_or_else(|| java("ArithmeticException", "BigInteger out of range"))
            }
            ("divide" | "remainder" | "mod" | "gcd" | "min" | "max", [Value::Null]) => Err(null()),
            ("divide" | "remainder" | "mod", [Value::Big(other)])
                if other.sign() == num_bigint::Sign::NoSign =>
            {
                Err(java("ArithmeticException", "BigInteger divide by zero"))
            }
            ("divide", [Value::Big(other)]) => made(n / &**other),
            ("remainder", [Value::Big(other)]) => made(n % &**other),
            ("mod", [Value::Big(other)]) if other.sign() == num_bigint::Sign::Minus => {
                Err(java("ArithmeticException", "BigInteger: modulus not positive"))
            }
            ("mod", [Value::Big(other)]) => {
                let rest = n % &**other;
                made(if rest.sign() == num_bigint::Sign::Minus { rest + &**other } else { rest })
            }
            ("min", [Value::Big(other)]) => made(n.min(other).clone()),
            ("max", [Value::Big(other)]) => made(n.max(other).clone()),
            ("testBit", [Value::Int(bit)]) => match u64::try_from(*bit) {
                Ok(bit) => some(n.bit(bit)),
                Err(_) => Err(java("ArithmeticException", "Negative bit address")),
            },
            (_, [Value::Big(other)]) if operator.is_some() => {
                let result = super::number::calculate(
                    operator.unwrap_or(super::ast::Operator::Add),
                    &Number::Big(n.clone()),
                    &Number::Big((**other).clone()),
                );
                match result {
                    Ok(number) => Ok(Some(number.into())),
                    Err(_) => Err(regex_thrown(RegexError {
                        message: "a number gets too many digits".into(),
                        limit: true,
                    })),
                }
            }
            _ => Ok(None),
        }
    }

    fn decimal(&mut self, n: &BigDecimal, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
        let operator = match name {
            "add" => Some(super::ast::Operator::Add),
            "subtract" => Some(super::ast::Operator::Subtract),
            "multiply" => Some(super::ast::Operator::Multiply),
            _ => None,
        };
        match (name, arguments) {
            (_, [Value::Null]) if operator.is_some() => Err(null()),
            (_, [Value::Decimal(other)]) if operator.is_some() => {
                let operator = operator.unwrap_or(super::ast::Operator::Add);
                match super::number::calculate(
                    operator,
                    &Number::Decimal(n.clone()),
                    &Number::Decimal((**other).clone()),
                ) {
                    Ok(number) => Ok(Some(number.into())),
                    Err(_) => Err(regex_thrown(RegexError {
                        message: "a number gets too many digits".into(),
                        limit: true,
                    })),
                }
            }
            ("toPlainString", []) if n.scale >= 0 => {
                let digits = n.unscaled.magnitude().to_string();
                let scale = n.scale as usize;
                self.make(scale)?;
                let padded =
                    format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
                let (whole, fraction) = padded.split_at(padded.len() - scale);
                let sign = if n.unscaled.sign() == num_bigint::Sign::Minus { "-" } else { "" };
                some(if fraction.is_empty() {
                    format!("{sign}{whole}")
                } else {
                    format!("{sign}{whole}.{fraction}")
                })
            }
            ("abs", []) => Ok(Some(Value::Decimal(Rc::new(BigDecimal {
                unscaled: BigInt::from(n.unscaled.magnitude().clone()),
                scale: n.scale,
            })))),
            ("negate", []) => Ok(Some(Value::Decimal(Rc::new(BigDecimal {
                unscaled: -n.unscaled.clone(),
                scale: n.scale,
            })))),
            ("plus", []) => Ok(Some(Value::Decimal(Rc::new(n.clone())))),
            ("scale", []) => some(n.scale),
            ("signum", []) => some(n.unscaled.sign() as i32 - num_bigint::Sign::NoSign as i32),
            ("precision", []) => some(n.unscaled.magnitude().to_string().len()),
            ("unscaledValue", []) => Ok(Some(Value::Big(Rc::new(n.unscaled.clone())))),
            ("toBigInteger", []) => Ok(n.to_int().map(|n| Value::Big(Rc::new(n)))),
            _ => Ok(None),
        }
    }
}

// ---- pieces ----

fn simple_name(class: &'static str) -> &'static str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}

fn topmost<'a>(scope: &Rc<Scope<'a>>) -> Rc<Scope<'a>> {
    let mut top = scope;
    while let Some(parent) = &top.parent {
        top = parent;
    }
    top.clone()
}

fn replaced<'a>(scope: &Rc<Scope<'a>>) -> Value<'a> {
    topmost(scope).replaced.clone().unwrap_or(Value::Null)
}

fn scope_get<'a>(scope: &Rc<Scope<'a>>, key: &str) -> Value<'a> {
    let mut at = Some(scope);
    while let Some(scope) = at {
        if let Some(value) = scope.storage.get_text(key) {
            return value;
        }
        at = scope.parent.as_ref();
    }
    Value::Null
}

fn scope_property<'a>(scope: &Rc<Scope<'a>>, name: &str, is: &dyn Fn(&str) -> bool) -> Value<'a> {
    if is("Index") {
        Value::Int(scope.index.get())
    } else if is("Count") {
        Value::Int(scope.index.get() + 1)
    } else if is("HasNext") {
        Value::Bool(scope.has_next.get())
    } else if is("First") {
        Value::Bool(scope.index.get() < 1)
    } else if is("Last") {
        Value::Bool(!scope.has_next.get())
    } else if is("Parent") {
        scope.parent.clone().map_or(Value::Null, Value::Scope)
    } else if is("Topmost") {
        Value::Scope(topmost(scope))
    } else if is("Replaced") {
        replaced(scope)
    } else {
        scope_get(scope, name)
    }
}

fn position<'a>(items: &[Value<'a>], item: &Value<'a>) -> Result<Option<usize>, Thrown> {
    for (at, known) in items.iter().enumerate() {
        if equals(item, known, 0).map_err(|_| too_deep())? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn contains<'a>(items: &[Value<'a>], item: &Value<'a>) -> Result<bool, Thrown> {
    Ok(position(items, item)?.is_some())
}

fn bytes<'a>(text: &str) -> Value<'a> {
    let items = text::leave(text.to_owned())
        .bytes()
        .map(|byte| Value::Int(i32::from(byte as i8)))
        .collect();
    Value::list(ListKind::Bytes, items)
}

/// A single array given where any number of values may be: its elements.
fn spread<'a>(rest: &[Value<'a>]) -> Vec<Value<'a>> {
    match rest {
        [Value::List(list)] if matches!(list.kind, ListKind::Strings | ListKind::Objects) => {
            list.items.borrow().clone()
        }
        rest => rest.to_vec(),
    }
}

/// Java's `Character.isWhitespace`.
fn java_whitespace(c: char) -> bool {
    matches!(c, '\t'..='\r' | '\u{1c}'..='\u{1f}')
        || (c.is_whitespace() && !matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{85}'))
}

/// Java's `String.lines`.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\n', '\r']) {
        lines.push(&rest[..at]);
        rest = rest[at..].strip_prefix("\r\n").unwrap_or(&rest[at + 1..]);
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Java's `String.indent`.
fn indent(text: &str, by: i32) -> String {
    let mut out = String::new();
    for line in lines(text) {
        let most = if by < 0 { by.unsigned_abs() as usize } else { 0 };
        let blanks: usize =
            line.chars().take_while(|c| java_whitespace(*c)).take(most).map(char::len_utf8).sum();
        out.extend(std::iter::repeat_n(' ', by.max(0) as usize));
        out.push_str(&line[blanks..]);
        out.push('\n');
    }
    out
}

/// Java's `String.stripIndent`.
fn strip_indent(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let ends = text.ends_with(['\n', '\r']);
    let lines = lines(text);
    let blank = |line: &str| line.chars().all(java_whitespace);
    let leading = |line: &str| line.chars().take_while(|c| java_whitespace(*c)).count();
    let counted =
        lines.iter().enumerate().filter(|(at, line)| !blank(line) || at + 1 == lines.len());
    let least = if ends { 0 } else { counted.map(|(_, line)| leading(line)).min().unwrap_or(0) };
    let stripped: Vec<String> = lines
        .iter()
        .map(|line| {
            if blank(line) {
                String::new()
            } else {
                line.chars()
                    .skip(least)
                    .collect::<String>()
                    .trim_end_matches(java_whitespace)
                    .to_owned()
            }
        })
        .collect();
    format!("{}{}", stripped.join("\n"), if ends { "\n" } else { "" })
}

/// Java's `String.translateEscapes`.
fn translate_escapes(text: &str) -> Result<String, Thrown> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let wrong = || java("IllegalArgumentException", "Invalid escape sequence");
        match chars.next().ok_or_else(wrong)? {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            's' => out.push(' '),
            't' => out.push('\t'),
            c @ ('\'' | '"' | '\\') => out.push(c),
            c @ '0'..='7' => {
                let mut code = c as u32 - '0' as u32;
                for _ in 0..if c <= '3' { 2 } else { 1 } {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    chars.next();
                }
                out.push(char::from_u32(code).unwrap_or('?'));
            }
            '\n' => {}
            '\r' => {
                chars.next_if_eq(&'\n');
            }
            _ => return Err(wrong()),
        }
    }
    Ok(out)
}

fn upper(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_uppercase() } else { text.to_uppercase() }
}

fn lower(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() }
}

/// One unit as Java compares it without case: upper, then lower.
fn fold_unit(unit: u16) -> u16 {
    let Some(c) = char::from_u32(u32::from(unit)) else { return unit };
    let single = |mut iterator: Box<dyn Iterator<Item = char>>, fallback: char| match (
        iterator.next(),
        iterator.next(),
    ) {
        (Some(c), None) => c,
        _ => fallback,
    };
    let upper = single(Box::new(c.to_uppercase()), c);
    let lower = single(Box::new(upper.to_lowercase()), upper);
    u16::try_from(lower as u32).unwrap_or(unit)
}

fn equal_ignoring_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    let (mut a, mut b) = (text::units(a), text::units(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(x), Some(y)) if x == y || fold_unit(x) == fold_unit(y) => {}
            _ => return false,
        }
    }
}

fn region_matches(
    s: &str,
    at: i64,
    other: &str,
    from: i64,
    length: i64,
    ignore_case: bool,
) -> bool {
    let (own_length, other_length) = (text::length(s) as i64, text::length(other) as i64);
    if from < 0 || at < 0 || at > own_length - length || from > other_length - length {
        return false;
    }
    if length <= 0 {
        return true;
    }
    let a = text::slice(s, at as usize, (at + length) as usize);
    let b = text::slice(other, from as usize, (from + length) as usize);
    if ignore_case { equal_ignoring_case(&a, &b) } else { a == b }
}

/// Java's `Matcher.appendReplacement`.
fn append_replacement(
    subject: &Subject,
    regex: &Regex,
    groups: &[Option<(usize, usize)>],
    to: &str,
    out: &mut String,
) -> Result<(), Thrown> {
    let illegal = |message: &str| java("IllegalArgumentException", message);
    let mut chars = to.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c) => out.push(c),
                None => return Err(illegal("character to be escaped is missing")),
            },
            '$' => {
                let group = match chars.peek() {
                    None => return Err(illegal("Illegal group reference: group index is missing")),
                    Some('{') => {
                        chars.next();
                        let mut name = String::new();
                        while let Some(c) = chars.next_if(char::is_ascii_alphanumeric) {
                            name.push(c);
                        }
                        if name.is_empty()
                            || chars.next() != Some('}')
                            || name.starts_with(|c: char| c.is_ascii_digit())
                        {
                            return Err(illegal("a group's name stands in `${…}`"));
                        }
                        regex
                            .named_group(&name)
                            .ok_or_else(|| illegal("No group with that name"))?
                    }
                    Some(c) => {
                        let Some(first) = c.to_digit(10) else {
                            return Err(illegal("Illegal group reference"));
                        };
                        chars.next();
                        let mut group = first as usize;
                        if group >= groups.len() {
                            return Err(java(
                                "IndexOutOfBoundsException",
                                format!("No group {group}"),
                            ));
                        }
                        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                            let longer = group * 10 + digit as usize;
                            if longer >= groups.len() {
                                break;
                            }
                            group = longer;
                            chars.next();
                        }
                        group
                    }
                };
                if let Some((start, end)) = groups.get(group).copied().flatten() {
                    subject.push(start, end, out);
                }
            }
            c => out.push(c),
        }
    }
    Ok(())
}

fn java_double_order(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).filter(|ordering| ordering.is_ne()).unwrap_or_else(|| {
        let bits =
            |n: f64| (if n.is_nan() { 0x7ff8_0000_0000_0000u64 } else { n.to_bits() }) as i64;
        bits(a).cmp(&bits(b))
    })
}

/// Whether an object of this class has a method of this name without parameters.
fn has_plain_method(object: &Value, name: &str) -> bool {
    if matches!(name, "toString" | "hashCode" | "getClass" | "notify" | "notifyAll") {
        return true;
    }
    let number = |name| {
        matches!(
            name,
            "byteValue"
                | "describeConstable"
                | "doubleValue"
                | "floatValue"
                | "intValue"
                | "longValue"
                | "shortValue"
        )
    };
    let collection = |name| {
        matches!(
            name,
            "clear"
                | "isEmpty"
                | "iterator"
                | "of"
                | "parallelStream"
                | "size"
                | "spliterator"
                | "stream"
                | "toArray"
        )
    };
    match object {
        Value::Text(_) => matches!(
            name,
            "chars"
                | "codePoints"
                | "describeConstable"
                | "getBytes"
                | "intern"
                | "isBlank"
                | "isEmpty"
                | "length"
                | "lines"
                | "strip"
                | "stripIndent"
                | "stripLeading"
                | "stripTrailing"
                | "toCharArray"
                | "toLowerCase"
                | "toUpperCase"
                | "translateEscapes"
                | "trim"
        ),
        Value::Int(_) | Value::Long(_) => number(name),
        Value::Float(_) | Value::Double(_) => {
            number(name) || matches!(name, "isNaN" | "isInfinite")
        }
        Value::Bool(_) => matches!(name, "booleanValue" | "describeConstable"),
        Value::Char(_) => matches!(name, "charValue" | "describeConstable"),
        Value::Big(_) => {
            (number(name) && name != "describeConstable")
                || matches!(
                    name,
                    "abs"
                        | "bitCount"
                        | "bitLength"
                        | "byteValueExact"
                        | "getLowestSetBit"
                        | "intValueExact"
                        | "longValueExact"
                        | "negate"
                        | "nextProbablePrime"
                        | "not"
                        | "shortValueExact"
                        | "signum"
                        | "sqrt"
                        | "sqrtAndRemainder"
                        | "toByteArray"
                )
        }
        Value::Decimal(_) => {
            (number(name) && name != "describeConstable")
                || matches!(
                    name,
                    "abs"
                        | "byteValueExact"
                        | "intValueExact"
                        | "longValueExact"
                        | "negate"
                        | "plus"
                        | "precision"
                        | "scale"
                        | "shortValueExact"
                        | "signum"
                        | "stripTrailingZeros"
                        | "toBigInteger"
                        | "toBigIntegerExact"
                        | "toEngineeringString"
                        | "toPlainString"
                        | "ulp"
                        | "unscaledValue"
                )
        }
        Value::List(list) => match list.kind {
            ListKind::ArrayList => {
                collection(name) || matches!(name, "clone" | "listIterator" | "trimToSize")
            }
            ListKind::JsonArray => {
                collection(name)
                    || matches!(name, "clone" | "listIterator" | "trimToSize" | "toJSONString")
            }
            ListKind::Strings | ListKind::Objects | ListKind::Bytes | ListKind::Chars => {
                collection(name) || matches!(name, "listIterator")
            }
            _ => collection(name) || matches!(name, "listIterator"),
        },
        Value::Map(_) => matches!(
            name,
            "clear" | "clone" | "entrySet" | "isEmpty" | "keySet" | "of" | "size" | "values"
        ),
        Value::View(View::Values, _) => collection(name) && name != "of",
        Value::View(..) => collection(name),
        Value::Entry(_) => {
            matches!(name, "comparingByKey" | "comparingByValue" | "getKey" | "getValue")
        }
        Value::Iterator(_) => matches!(name, "hasNext" | "next" | "remove"),
        Value::Scope(_) => matches!(
            name,
            "clear"
                | "entrySet"
                | "getCount"
                | "getFirst"
                | "getHasNext"
                | "getIndex"
                | "getInfo"
                | "getLast"
                | "getParent"
                | "getReplaced"
                | "getTopmost"
                | "hasNext"
                | "isEmpty"
                | "isFirst"
                | "isLast"
                | "keySet"
                | "of"
                | "size"
                | "values"
        ),
        Value::Input => matches!(name, "getBody" | "params"),
        Value::Class(_) => matches!(
            name,
            "getName"
                | "getSimpleName"
                | "getTypeName"
                | "getCanonicalName"
                | "getSuperclass"
                | "getPackage"
                | "getPackageName"
                | "getInterfaces"
                | "getModifiers"
                | "getMethods"
                | "getFields"
                | "getClasses"
                | "getConstructors"
                | "isArray"
                | "isEnum"
                | "isInterface"
                | "isPrimitive"
                | "isRecord"
                | "newInstance"
                | "descriptorString"
                | "toGenericString"
        ),
        _ => false,
    }
}

/// The comparison that Java's bridge method takes any object for.
fn uncomparable(other: &Value) -> Thrown {
    if other.is_null() {
        null()
    } else {
        java("ClassCastException", "values of different classes are compared")
    }
}

fn boolean<'a>(value: bool, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    Ok(Some(match (name, arguments) {
        ("booleanValue", []) => Value::Bool(value),
        ("compareTo", [Value::Bool(other)]) => Value::Int(value.cmp(other) as i32),
        ("compareTo", [other]) => return Err(uncomparable(other)),
        ("getBoolean", [Value::Text(_) | Value::Null]) => Value::Bool(false),
        ("parseBoolean" | "valueOf", [Value::Text(text)]) => {
            Value::Bool(text.eq_ignore_ascii_case("true"))
        }
        ("valueOf", [Value::Bool(other)]) => Value::Bool(*other),
        ("logicalAnd", [Value::Bool(a), Value::Bool(b)]) => Value::Bool(*a && *b),
        ("logicalOr", [Value::Bool(a), Value::Bool(b)]) => Value::Bool(*a || *b),
        ("logicalXor", [Value::Bool(a), Value::Bool(b)]) => Value::Bool(a != b),
        ("compare", [Value::Bool(a), Value::Bool(b)]) => Value::Int(a.cmp(b) as i32),
        ("toString", [Value::Bool(other)]) => {
            Value::Text(Text::Borrowed(if *other { "true" } else { "false" }))
        }
        ("hashCode", [Value::Bool(other)]) => Value::Int(if *other { 1231 } else { 1237 }),
        _ => return Ok(None),
    }))
}

fn character<'a>(unit: u16, name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let char_of = |unit: u16| char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}');
    let one = |mut chars: Vec<char>, fallback: u16| {
        if chars.len() == 1 { chars.pop().map_or(fallback, |c| c as u32 as u16) } else { fallback }
    };
    Ok(Some(match (name, arguments) {
        ("charValue", []) => Value::Char(unit),
        ("compareTo", [Value::Char(other)]) => Value::Int(i32::from(unit) - i32::from(*other)),
        ("compareTo", [other]) => return Err(uncomparable(other)),
        (_, [Value::Int(code)]) if name.starts_with("is") && name != "isSurrogate" => {
            let c = u32::try_from(*code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            Value::Bool(match name {
                "isDigit" => c.is_ascii_digit(),
                "isLetter" | "isAlphabetic" => c.is_alphabetic(),
                "isLetterOrDigit" => c.is_alphanumeric(),
                "isUpperCase" => c.is_uppercase(),
                "isLowerCase" => c.is_lowercase(),
                "isWhitespace" => java_whitespace(c),
                _ => return Ok(None),
            })
        }
        ("isDigit", [Value::Char(c)]) => Value::Bool(char_of(*c).is_ascii_digit()),
        ("isLetter" | "isAlphabetic", [Value::Char(c)]) => Value::Bool(char_of(*c).is_alphabetic()),
        ("isLetterOrDigit", [Value::Char(c)]) => Value::Bool(char_of(*c).is_alphanumeric()),
        ("isUpperCase", [Value::Char(c)]) => Value::Bool(char_of(*c).is_uppercase()),
        ("isLowerCase", [Value::Char(c)]) => Value::Bool(char_of(*c).is_lowercase()),
        ("isWhitespace", [Value::Char(c)]) => Value::Bool(java_whitespace(char_of(*c))),
        ("toUpperCase", [Value::Char(c)]) => {
            Value::Char(one(char_of(*c).to_uppercase().collect(), *c))
        }
        ("toLowerCase", [Value::Char(c)]) => {
            Value::Char(one(char_of(*c).to_lowercase().collect(), *c))
        }
        ("getNumericValue", [Value::Char(c)]) => {
            Value::Int(char_of(*c).to_digit(36).map_or(-1, |digit| digit as i32))
        }
        ("valueOf", [Value::Char(c)]) => Value::Char(*c),
        ("toString", [Value::Char(c)]) => {
            let mut out = String::new();
            text::push_unit(&mut out, *c);
            Value::text(out)
        }
        _ => return Ok(None),
    }))
}

/// Java's `Integer.parseInt` and `Long.parseLong`.
fn parse_whole(text: &str, radix: i32) -> Result<i64, Thrown> {
    let failed = || java("NumberFormatException", format!("`{text}` is not a whole number"));
    if !(2..=36).contains(&radix) || text.is_empty() {
        return Err(failed());
    }
    i64::from_str_radix(text, radix as u32).map_err(|_| failed())
}

fn parse_int(text: &str, radix: i32) -> Result<i32, Thrown> {
    let value = parse_whole(text, radix)?;
    i32::try_from(value)
        .map_err(|_| java("NumberFormatException", format!("`{text}` is too large for an int")))
}

/// A whole number in another base, with its sign.
fn in_base(value: i64, radix: u32) -> String {
    let mut digits = Vec::new();
    let mut rest = value.unsigned_abs();
    loop {
        digits.push(char::from_digit((rest % u64::from(radix)) as u32, radix).unwrap_or('0'));
        rest /= u64::from(radix);
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        digits.push('-');
    }
    digits.iter().rev().collect()
}

fn radix(base: i32) -> u32 {
    if (2..=36).contains(&base) { base as u32 } else { 10 }
}

fn integer<'a>(name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let order = |a: &i32, b: &i32| some(a.cmp(b) as i32);
    match (name, arguments) {
        ("parseInt" | "valueOf" | "decode", [text]) if is_text(text) => match text {
            Value::Text(text) => some(parse_int(text, 10)?),
            _ => Err(java("NumberFormatException", "null is not a number")),
        },
        ("parseInt" | "valueOf", [text, Value::Int(base)]) if is_text(text) => {
            some(parse_int(text_of(text)?, *base)?)
        }
        ("valueOf", [Value::Int(n)]) => some(*n),
        ("toString", [Value::Int(n)]) => some(n.to_string()),
        ("toString", [Value::Int(n), Value::Int(base)]) => {
            some(in_base(i64::from(*n), radix(*base)))
        }
        ("toHexString", [Value::Int(n)]) => some(format!("{n:x}")),
        ("toOctalString", [Value::Int(n)]) => some(format!("{n:o}")),
        ("toBinaryString", [Value::Int(n)]) => some(format!("{n:b}")),
        ("compare", [Value::Int(a), Value::Int(b)]) => order(a, b),
        ("max", [Value::Int(a), Value::Int(b)]) => some(*a.max(b)),
        ("min", [Value::Int(a), Value::Int(b)]) => some(*a.min(b)),
        ("sum", [Value::Int(a), Value::Int(b)]) => some(a.wrapping_add(*b)),
        ("signum", [Value::Int(n)]) => some(n.signum()),
        ("bitCount", [Value::Int(n)]) => some(n.count_ones() as i32),
        ("reverse", [Value::Int(n)]) => some(n.reverse_bits()),
        ("reverseBytes", [Value::Int(n)]) => some(n.swap_bytes()),
        ("highestOneBit", [Value::Int(n)]) => {
            some(if *n == 0 { 0 } else { (0x8000_0000u32 >> n.leading_zeros()) as i32 })
        }
        ("lowestOneBit", [Value::Int(n)]) => some(n & n.wrapping_neg()),
        ("numberOfLeadingZeros", [Value::Int(n)]) => some(n.leading_zeros() as i32),
        ("numberOfTrailingZeros", [Value::Int(n)]) => some(n.trailing_zeros() as i32),
        ("toUnsignedString", [Value::Int(n)]) => some((*n as u32).to_string()),
        ("toUnsignedLong", [Value::Int(n)]) => Ok(Some(Value::Long(i64::from(*n as u32)))),
        ("rotateLeft", [Value::Int(n), Value::Int(by)]) => some(n.rotate_left((by & 31) as u32)),
        ("rotateRight", [Value::Int(n), Value::Int(by)]) => some(n.rotate_right((by & 31) as u32)),
        ("hashCode", [Value::Int(n)]) => some(*n),
        _ => Ok(None),
    }
}

fn long<'a>(name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let of = |value: &Value| match value {
        Value::Int(n) => Some(i64::from(*n)),
        Value::Long(n) => Some(*n),
        _ => None,
    };
    let made = |n: i64| Ok(Some(Value::Long(n)));
    match (name, arguments) {
        ("parseLong" | "valueOf", [Value::Text(text)]) => made(parse_whole(text, 10)?),
        ("valueOf", [n]) => of(n).map_or(Ok(None), made),
        ("hashCode", [n]) => {
            of(n).map_or(Ok(None), |n| some(hash_code(&Value::Long(n), 0).unwrap_or(0)))
        }
        ("toString", [n]) => of(n).map_or(Ok(None), |n| some(n.to_string())),
        ("toHexString", [n]) => of(n).map_or(Ok(None), |n| some(format!("{n:x}"))),
        ("toOctalString", [n]) => of(n).map_or(Ok(None), |n| some(format!("{n:o}"))),
        ("toBinaryString", [n]) => of(n).map_or(Ok(None), |n| some(format!("{n:b}"))),
        ("bitCount", [n]) => of(n).map_or(Ok(None), |n| some(n.count_ones() as i32)),
        ("reverse", [n]) => of(n).map_or(Ok(None), |n| made(n.reverse_bits())),
        ("reverseBytes", [n]) => of(n).map_or(Ok(None), |n| made(n.swap_bytes())),
        ("highestOneBit", [n]) => of(n).map_or(Ok(None), |n| {
            made(if n == 0 { 0 } else { ((1u64 << 63) >> n.leading_zeros()) as i64 })
        }),
        ("lowestOneBit", [n]) => of(n).map_or(Ok(None), |n| made(n & n.wrapping_neg())),
        ("numberOfLeadingZeros", [n]) => of(n).map_or(Ok(None), |n| some(n.leading_zeros() as i32)),
        ("numberOfTrailingZeros", [n]) => {
            of(n).map_or(Ok(None), |n| some(n.trailing_zeros() as i32))
        }
        ("toUnsignedString", [n]) => of(n).map_or(Ok(None), |n| some((n as u64).to_string())),
        ("signum", [n]) => of(n).map_or(Ok(None), |n| some(n.signum() as i32)),
        ("max", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a.max(b))),
        ("min", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a.min(b))),
        ("sum", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a.wrapping_add(b))),
        ("compare", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| some(a.cmp(&b) as i32)),
        _ => Ok(None),
    }
}

fn double<'a>(name: &str, arguments: &[Value<'a>]) -> Called<'a> {
    let of = |value: &Value| match value {
        Value::Int(_) | Value::Long(_) | Value::Float(_) | Value::Double(_) => {
            value.number().map(|n| n.to_double())
        }
        _ => None,
    };
    let made = |n: f64| Ok(Some(Value::Double(n)));
    match (name, arguments) {
        ("parseDouble" | "valueOf", [Value::Text(text)]) => match text::trim(text).parse() {
            Ok(n) if !text.contains(['i', 'I']) => made(n),
            _ => Err(java("NumberFormatException", format!("`{}` is not a number", &**text))),
        },
        ("valueOf", [n]) => of(n).map_or(Ok(None), made),
        ("toString", [n]) => of(n).map_or(Ok(None), |n| {
            let mut out = String::new();
            super::number::push_double(n, &mut out);
            some(out)
        }),
        ("hashCode", [n]) => {
            of(n).map_or(Ok(None), |n| some(hash_code(&Value::Double(n), 0).unwrap_or(0)))
        }
        ("toHexString", [n]) => of(n).map_or(Ok(None), |n| {
            some(match n {
                n if n.is_nan() => "NaN".to_owned(),
                n => {
                    let sign = if n.is_sign_negative() { "-" } else { "" };
                    let digits = if n.is_infinite() {
                        "Infinity".to_owned()
                    } else {
                        super::number::hexadecimal(n.abs(), None)
                    };
                    format!("{sign}{digits}")
                }
            })
        }),
        ("doubleToLongBits" | "doubleToRawLongBits", [n]) => of(n).map_or(Ok(None), |n| {
            Ok(Some(Value::Long(if n.is_nan() {
                0x7ff8_0000_0000_0000
            } else {
                n.to_bits() as i64
            })))
        }),
        ("isNaN", [n]) => of(n).map_or(Ok(None), |n| some(n.is_nan())),
        ("isInfinite", [n]) => of(n).map_or(Ok(None), |n| some(n.is_infinite())),
        ("isFinite", [n]) => of(n).map_or(Ok(None), |n| some(n.is_finite())),
        ("max", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a.max(b))),
        ("min", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a.min(b))),
        ("sum", [a, b]) => of(a).zip(of(b)).map_or(Ok(None), |(a, b)| made(a + b)),
        ("compare", [a, b]) => {
            of(a).zip(of(b)).map_or(Ok(None), |(a, b)| some(java_double_order(a, b) as i32))
        }
        _ => Ok(None),
    }
}

/// `$util.escapeJavaScript`: commons-lang's `escapeJavaScript`. `None` if nothing has to be
/// escaped.
pub fn escape_javascript(text: &str) -> Option<String> {
    let plain =
        |byte: u8| (0x20..0x80).contains(&byte) && !matches!(byte, b'"' | b'\'' | b'\\' | b'/');
    let bytes = text.as_bytes();
    let mut from = bytes.iter().position(|byte| !plain(*byte))?;
    let mut out = String::with_capacity(text.len() + text.len() / 4 + 8);
    out.push_str(&text[..from]);
    while from < bytes.len() {
        let byte = bytes[from];
        match byte {
            b'"' => out.push_str("\\\""),
            b'\'' => out.push_str("\\'"),
            b'\\' => out.push_str("\\\\"),
            b'/' => out.push_str("\\/"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            8 => out.push_str("\\b"),
            12 => out.push_str("\\f"),
            0..0x20 => push_unicode(u16::from(byte), &mut out),
            0x80.. => {
                let Some(c) = text[from..].chars().next() else { break };
                let mut buffer = [0u8; 4];
                for unit in text::units(c.encode_utf8(&mut buffer)) {
                    push_unicode(unit, &mut out);
                }
                from += c.len_utf8();
                continue;
            }
            _ => {
                let run = bytes[from..]
                    .iter()
                    .position(|byte| !plain(*byte))
                    .unwrap_or(bytes.len() - from);
                out.push_str(&text[from..from + run]);
                from += run;
                continue;
            }
        }
        from += 1;
    }
    Some(out)
}

/// `$util.urlEncode`: Java's `URLEncoder.encode` with UTF-8.
pub fn url_encode(text: &str) -> String {
    let text = text::leave(text.to_owned());
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                out.push(byte as char)
            }
            b' ' => out.push('+'),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
        }
    }
    out
}

/// Java's `URLDecoder.decode` with UTF-8.
fn url_decode(text: &str) -> Result<String, Thrown> {
    let bad = || java("IllegalArgumentException", "`%` without two hexadecimal digits");
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => {
                out.push(' ');
                at += 1;
            }
            b'%' => {
                let mut decoded = Vec::new();
                while at < bytes.len() && bytes[at] == b'%' {
                    let digits = text.get(at + 1..at + 3).ok_or_else(bad)?;
                    let signed = digits.starts_with(['+', '-']);
                    let byte = i32::from_str_radix(digits, 16).map_err(|_| bad())?;
                    if signed && byte < 0 {
                        return Err(bad());
                    }
                    decoded.push(byte as u8);
                    at += 3;
                }
                out.push_str(&text::decode(&decoded));
            }
            _ => {
                let run = memchr::memchr2(b'+', b'%', &bytes[at..]).unwrap_or(bytes.len() - at);
                out.push_str(&text[at..at + run]);
                at += run;
            }
        }
    }
    Ok(out)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = u32::from(chunk[0]) << 16
            | u32::from(chunk.get(1).copied().unwrap_or(0)) << 8
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for place in 0..4 {
            out.push(if place <= chunk.len() {
                BASE64[(word >> (18 - 6 * place)) as usize & 63]
            } else {
                b'='
            });
        }
    }
    String::from_utf8(out).expect("base64 is ASCII")
}

/// Java's basic decoder: no line breaks; padding may be missing. `None` if it isn't base64.
pub(crate) fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    let body = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
    let padding = &bytes[body..];
    let fits = match body % 4 {
        0 => padding.is_empty(),
        2 => padding.is_empty() || padding == b"==",
        3 => padding.is_empty() || padding == b"=",
        _ => false,
    };
    if !fits {
        return None;
    }
    let mut out = Vec::with_capacity(body / 4 * 3 + 3);
    let mut word = 0u32;
    let mut bits = 0;
    for byte in &bytes[..body] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    Some(out)
}

/// What a list or map in a format's arguments prints, with what it takes to print it.
pub(crate) fn text_of_value<'a>(eval: &mut Eval<'a>, value: &Value<'a>) -> Result<String, Thrown> {
    let mut out = String::new();
    eval.print(value, &mut out)?;
    PrintBlock::spend(eval, 1, out.len()).map_err(|stopped| eval.stopped(stopped))?;
    Ok(out)
}
