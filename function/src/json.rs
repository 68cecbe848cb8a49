//! JSON at the byte: texts that are handed on exactly as they are, and strings that need not be
//! valid Unicode. Never reads a number.

use {
    serde::{
        Deserialize,
        de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
    },
    serde_json::value::RawValue,
    std::{borrow::Cow, fmt},
};

/// A JSON string's content. A lone surrogate (`"\uD800"`, which no Rust string can hold and a
/// caller can send) is three bytes of generalised UTF-8.
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Bytes<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;

        impl<'de> Visitor<'de> for Content {
            type Value = Bytes<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes<'de>, E> {
                Ok(Bytes(Cow::Owned(bytes.to_vec())))
            }

            // serde_json reads an array where bytes are asked for; here only a string will do
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Bytes<'de>, A::Error> {
                Err(A::Error::custom("a string was expected"))
            }
        }

        deserializer.deserialize_bytes(Content)
    }
}

/// The content of a JSON string, nothing for null, and the text itself of whatever else a template
/// printed there.
#[must_use]
pub fn text(raw: &str) -> Cow<'_, [u8]> {
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        // nothing is escaped: no need to look at each byte, of which a body has millions, once more
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner.as_bytes()),
        Some(_) => serde_json::from_str::<Bytes>(raw)
            .map_or(Cow::Borrowed(raw.as_bytes()), |Bytes(content)| content),
        None if raw == "null" => Cow::Borrowed(b""),
        None => Cow::Borrowed(raw.as_bytes()),
    }
}

/// Text of bytes: what is no Unicode becomes U+FFFD, one for a lone surrogate.
#[must_use]
pub fn lossy(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        match chunk.invalid() {
            [] | [0x80..=0xbf] => {}
            _ => out.push(char::REPLACEMENT_CHARACTER),
        }
    }
    out
}

/// The keys and values of an object of strings, in order. Anything else is no pairs.
#[must_use]
pub fn strings(raw: &str) -> Vec<(String, String)> {
    struct Pairs(Vec<(String, String)>);

    impl<'de> Deserialize<'de> for Pairs {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Object;

            impl<'de> Visitor<'de> for Object {
                type Value = Pairs;

                fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                    let mut pairs = Vec::new();
                    while let Some(Bytes(key)) = map.next_key()? {
                        let value = map.next_value::<&RawValue>()?.get();
                        pairs.push((lossy(&key), lossy(&text(value))));
                    }
                    Ok(Pairs(pairs))
                }
            }

            deserializer.deserialize_map(Object)
        }
    }

    serde_json::from_str::<Pairs>(raw).map_or_else(|_| Vec::new(), |Pairs(pairs)| pairs)
}

/// Whether the text is one JSON value. Its depth and the size of its numbers don't matter.
#[must_use]
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Writes a JSON string. U+FFFE and U+FFFF are escaped: SQS takes no message with them.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes())
            }
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Why a body can't become lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLines {
    /// Neither UTF-8 nor JSON.
    NotJson,
    /// A string, a number, a boolean or null.
    Scalar,
}

/// Turns a JSON array into one line for each element, in place; each ends with a newline. An object
/// is one event, so it becomes one line: some providers post an event alone when there is only one.
/// An empty array is no line at all.
///
/// An element keeps its exact text; only newlines within it, which valid JSON has between tokens
/// alone, go, each with the spaces and tabs behind it that were the next line's indentation. The
/// result is never longer than the array was, so no second copy is needed.
///
/// # Errors
/// The body is left as it was.
pub fn make_lines(body: &mut Vec<u8>) -> Result<(), NotLines> {
    if !std::str::from_utf8(body).is_ok_and(is_json) {
        return Err(NotLines::NotJson);
    }
    let array = match body.trim_ascii_start().first() {
        Some(b'[') => true,
        Some(b'{') => false,
        _ => return Err(NotLines::Scalar),
    };
    // depth counts open brackets; an element's own text is what lies at `inside` or deeper, or a
    // scalar there
    let inside = usize::from(array);
    let (mut write, mut depth, mut in_string, mut indent) = (0, 0, false, false);
    let mut read = 0;
    while read < body.len() {
        let byte = body[read];
        read += 1;
        if in_string {
            body[write] = byte;
            write += 1;
            match byte {
                // valid JSON: something follows, and the string ends
                b'\\' => {
                    body[write] = body[read];
                    write += 1;
                    read += 1;
                }
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        let keep = match byte {
            b'\n' | b'\r' => {
                indent = true;
                None
            }
            // between elements, or before the first and behind the last
            b' ' | b'\t' => (!indent && depth > inside).then_some(byte),
            b'[' | b'{' => {
                depth += 1;
                (depth > inside).then_some(byte)
            }
            b']' | b'}' => {
                depth -= 1;
                (depth >= inside).then_some(byte)
            }
            b',' if array && depth == 1 => Some(b'\n'),
            b'"' => {
                in_string = true;
                Some(byte)
            }
            _ => Some(byte),
        };
        if !matches!(byte, b'\n' | b'\r' | b' ' | b'\t') {
            indent = false;
        }
        if let Some(byte) = keep {
            body[write] = byte;
            write += 1;
        }
    }
    body.truncate(write);
    if write > 0 {
        body.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Result<String, NotLines> {
        let mut body = text.as_bytes().to_vec();
        make_lines(&mut body).map(|()| String::from_utf8(body).unwrap())
    }

    #[test]
    fn an_array_becomes_its_elements_texts_a_line_each() {
        for (array, expected) in [
            ("[]", ""),
            (" [ ] \n", ""),
            ("[1]", "1\n"),
            (
                "[1.50,1e5, -0.0 ,12345678901234567890123]",
                "1.50\n1e5\n-0.0\n12345678901234567890123\n",
            ),
            (r#"[{"a":1},{"a":2}]"#, "{\"a\":1}\n{\"a\":2}\n"),
            (
                "\n[\n  {\n    \"a\": 1.50,\n\t\"b\": [ 1, 2 ]\r\n  },\n  [\n  ]\n]\n",
                "{\"a\": 1.50,\"b\": [ 1, 2 ]}\n[]\n",
            ),
            (
                r#"["a\nb , ] \" \\", "[,]", {"k\"]":"}"}]"#,
                "\"a\\nb , ] \\\" \\\\\"\n\"[,]\"\n{\"k\\\"]\":\"}\"}\n",
            ),
            (r#"[ "\\" , "\\\\" ]"#, "\"\\\\\"\n\"\\\\\\\\\"\n"),
            ("[[1,2],[3],[]]", "[1,2]\n[3]\n[]\n"),
            (
                "[null,true,\"\u{2028}é\u{1f600}\",\"\\ud800\"]",
                "null\ntrue\n\"\u{2028}é\u{1f600}\"\n\"\\ud800\"\n",
            ),
            ("{\"a\":\n [1,\n  2]}", "{\"a\":[1,2]}\n"),
            ("  {}\r\n", "{}\n"),
            (r#"{"a":{"b":[{}]}}"#, "{\"a\":{\"b\":[{}]}}\n"),
        ] {
            assert_eq!(lines(array).as_deref(), Ok(expected), "{array}");
        }
    }

    #[test]
    fn what_is_no_array_and_no_object_is_left_as_it_was() {
        for (text, error) in [
            ("", NotLines::NotJson),
            ("a=b", NotLines::NotJson),
            ("[1,]", NotLines::NotJson),
            ("[1] [2]", NotLines::NotJson),
            ("[\"a\nb\"]", NotLines::NotJson),
            ("[NaN]", NotLines::NotJson),
            ("\u{feff}[]", NotLines::NotJson),
            ("1", NotLines::Scalar),
            (" \"[1]\"", NotLines::Scalar),
            ("null", NotLines::Scalar),
        ] {
            assert_eq!(lines(text), Err(error), "{text}");
        }
        let mut latin1 = b"[\"\xe9\"]".to_vec();
        assert_eq!(make_lines(&mut latin1), Err(NotLines::NotJson));
        assert_eq!(latin1, b"[\"\xe9\"]");
    }

    #[test]
    fn a_deep_array_does_not_exhaust_the_stack() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(lines(&deep), Ok(format!("{}{}\n", "[".repeat(499_999), "]".repeat(499_999))));
    }

    #[test]
    fn strings_need_not_be_unicode() {
        assert_eq!(&*text(r#""a\u0022\/\n""#), b"a\"/\n");
        assert_eq!(&*text(r#""\ud83d\ude00""#), "\u{1f600}".as_bytes());
        assert_eq!(lossy(&text(r#""a\uD800b\udc00""#)), "a\u{fffd}b\u{fffd}");
        assert_eq!(lossy(&text(r#""\uD800\uD800x""#)), "\u{fffd}\u{fffd}x");
        assert_eq!(&*text("null"), b"");
        assert_eq!(&*text("12.50"), b"12.50");
        assert_eq!(
            strings(r#"{"a":"1","\ud800":"\udfff","a":"2","n":null,"l":[1, 2]}"#),
            [("a", "1"), ("\u{fffd}", "\u{fffd}"), ("a", "2"), ("n", ""), ("l", "[1, 2]")]
                .map(|(k, v)| (k.into(), v.into()))
        );
        assert_eq!(strings("[1]"), []);
    }

    #[test]
    fn a_written_string_is_read_back() {
        let all: String = ('\0'..='\u{ff}')
            .chain(['\u{2028}', '\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{1f600}', '\u{10ffff}'])
            .collect();
        let mut out = Vec::new();
        write_string(&mut out, &all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(['\u{fffe}', '\u{ffff}', '\n', '\0']), "{text}");
    }
}
