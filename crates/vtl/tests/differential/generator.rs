//! Random templates and requests, made from the grammar: well-formed ones, damaged ones, and heaps
//! of tokens.
//!
//! The same seed makes the same cases. Prints nothing, reads nothing.

/// A small generator of random numbers (xorshift64*), so that cases don't depend on a library's
/// version.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03 | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// The variables that every case has, as JSON.
pub const VARIABLES: &str = r#"{"s":"hello","name":"World","n":3,"f":2.5,"t":true,"fa":false,"nul":null,"empty":"","zero":0,"list":["a","b","c"],"nums":[1,2,3],"el":[],"m":{"k":"v","a":{"b":"deep"},"list":[1,{"x":"y"}],"num":7,"nul":null,"size":"sz"},"objs":[{"id":1,"v":"one"},{"id":2,"v":"two"}],"q":"say \"hi\"","sq":"it's","nl":"l1\nl2","csv":"a,b,,c,","uni":"Grüße ☃ 日本 😀","big":12345678901,"huge":123456789012345678901234567890,"neg":-5,"dec":1.234567890123456789012,"mixed":[1,null,"x",[2],{"y":null}],"sp":"  pad  ","num":"42"}"#;

const NAMES: [&str; 36] = [
    "s",
    "name",
    "n",
    "f",
    "t",
    "fa",
    "nul",
    "empty",
    "zero",
    "list",
    "nums",
    "el",
    "m",
    "objs",
    "q",
    "sq",
    "nl",
    "csv",
    "uni",
    "big",
    "huge",
    "neg",
    "dec",
    "mixed",
    "sp",
    "num",
    "undef",
    "x",
    "y",
    "z",
    "input",
    "util",
    "context",
    "stageVariables",
    "foreach",
    "velocityCount",
];

const METHODS: [&str; 98] = [
    "length()",
    "isEmpty()",
    "size()",
    "trim()",
    "toUpperCase()",
    "toLowerCase()",
    "substring(1)",
    "substring(1,3)",
    "substring(0,2)",
    "indexOf(\"l\")",
    "indexOf('o', 2)",
    "lastIndexOf('l')",
    "contains('a')",
    "contains($n)",
    "startsWith('h')",
    "endsWith(\"o\")",
    "equals('hello')",
    "equals($s)",
    "equalsIgnoreCase('HELLO')",
    "compareTo('help')",
    "compareTo($n)",
    "hashCode()",
    "charAt(0)",
    "charAt(9)",
    "concat('!')",
    "concat($s)",
    "replace('l','L')",
    "replaceAll('[aeiou]','*')",
    "replaceAll(\"(.)l\",'$1-')",
    "replaceFirst('l','')",
    "replaceAll('(?<=[a-z]{0,1})[A-Z]','_')",
    "replaceAll('(?<=(l|ll)a*?)o','0')",
    "replaceAll('\\R{2}?','/')",
    "replaceAll('\\b','|')",
    "replaceAll('(?<c>[a-y])\\k<c>','<${c}>')",
    "replaceAll('(?iu)[ü-ý]|\\p{Lu}','#')",
    "replaceAll('[\\w&&[^\\d]]+','w')",
    "replaceAll('(?m)^|$','^')",
    "replaceFirst('(a|b)?(,)','$2$1')",
    "split('(?<=,)')",
    "split('(?=[a-z])',3)",
    "matches('(?s).*\\p{L}++.*')",
    "replaceAll('\\s+','_')",
    "matches('h.*')",
    "matches('.*')",
    "split(',')",
    "split(',', 2)",
    "split(',', -1)",
    "split(',').size()",
    "split(',')[0]",
    "split('').size()",
    "get(0)",
    "get(5)",
    "get('k')",
    "get($n)",
    "add('new')",
    "add(0,'first')",
    "addAll($nums)",
    "remove(0)",
    "remove('a')",
    "set(0,'S')",
    "set(9,'S')",
    "contains(1)",
    "indexOf(2)",
    "keySet()",
    "values()",
    "entrySet()",
    "put('k','w')",
    "put('new',1)",
    "putAll($m)",
    "containsKey('k')",
    "containsValue(7)",
    "keySet().size()",
    "values().size()",
    "intValue()",
    "doubleValue()",
    "longValue()",
    "toString()",
    "toString().length()",
    "getClass().getName()",
    "class.name",
    "compareTo(3)",
    "isBlank()",
    "strip()",
    "repeat(2)",
    "format('%s-%d', $s, $n)",
    "format('%05d|%-5s|', $n, $s)",
    "subList(0,2)",
    "iterator().next()",
    "clear()",
    "foo()",
    "foo.bar",
    "getOrDefault('zz','dflt')",
    "putIfAbsent('k2', $s)",
    "toArray().size()",
    "isEmpty",
    "empty",
    "bytes.size()",
];

const INPUT: [&str; 30] = [
    "$input.body",
    "$input.json('$')",
    "$input.path('$')",
    "$input.path('$.a')",
    "$input.json('$.a')",
    "$input.path('$.list')",
    "$input.json('$.list')",
    "$input.path('$.list[0]')",
    "$input.json('$..id')",
    "$input.path('$.list[*].id')",
    "$input.path(\"$.list[?(@.id>1)]\")",
    "$input.json('$.missing')",
    "$input.path('$.missing')",
    "$input.params('id')",
    "$input.params('q')",
    "$input.params('X-H')",
    "$input.params('none')",
    "$input.params()",
    "$input.params().path.id",
    "$input.params().querystring",
    "$input.params().header.get('X-H')",
    "$util.escapeJavaScript($input.body)",
    "$util.escapeJavaScript($q)",
    "$util.urlEncode($uni)",
    "$util.urlDecode('a%20b+c')",
    "$util.base64Encode($uni)",
    "$util.base64Decode('aGk=')",
    "$util.parseJson($input.body)",
    "$util.parseJson('{a:1}').a",
    "$context.identity.sourceIp",
];

const BODIES: [&str; 26] = [
    r#"{"a":1,"b":"x","list":[{"id":1,"n":"p"},{"id":2}],"o":{"k":null,"e":{}}}"#,
    r#"{"a":1.50,"big":12345678901234567890,"exp":1e5,"neg":-0.0,"uni":"☃ é 日本 €","esc":"a\"b\\c\/d\n\t"}"#,
    "",
    "{}",
    "[]",
    "[1,2,3]",
    "a=b",
    "a{b",
    "null",
    "true",
    "\"text\"",
    "42",
    "-1.5e3",
    "{a:1,b:two,'c':'three'}",
    "[1,,2,]",
    "{\"a\":}",
    "{a",
    "[a",
    "{\"list\":[[1,[2,{\"id\":7}]],{\"id\":{\"id\":8}}]}",
    "{\"a\":\"\\u00e9\\ud83d\\ude00\"}",
    "  {\"a\" : [ 1 , 2 ] } trailing",
    "{\"a\":1,\"a\":2}",
    "{\"a\":007,\"b\":1.,\"c\":.5,\"d\":-,\"e\":1e}",
    "{\"list\":[{\"id\":1,\"p\":8.95},{\"id\":3,\"p\":\"22\"},{\"id\":\"3\"}]}",
    "[NaN, nul, truee, 1x]",
    "{\"a\":\"x\ty\\q\"}",
];

const PATHS: [&str; 44] = [
    "$",
    "$.a",
    "$.list",
    "$.list[0]",
    "$.list[-1]",
    "$.list[0,1]",
    "$.list[0:1]",
    "$.list[:1]",
    "$.list[1:]",
    "$.list[-1:]",
    "$.list[*]",
    "$.list[*].id",
    "$..id",
    "$..*",
    "$.*",
    "$['a']",
    "$['a','b']",
    "$.list[?(@.id)]",
    "$.list[?(@.id == 1)]",
    "$.list[?(@.id > 1)]",
    "$.list[?(@.id >= 1 && @.n == 'p')]",
    "$.list[?(@.n =~ /p.*/i)]",
    "$.list[?(!@.n)]",
    "$.list[?(@.id < 2 || @.id == 3)].id",
    "$.list[(@.length-1)]",
    "$.list.length()",
    "$.o.k",
    "$.o.e",
    "$.o.k.z",
    "a",
    "list[0].id",
    "@.a",
    "$.",
    "$..",
    "$.list[",
    "$.list[]",
    "$.list[a]",
    "$x",
    "$.a b",
    "$.list[9]",
    "$..list[0]",
    "$.list[?(@.p > 5)].p",
    "$..[?(@.id)]",
    "$.list[*]..id",
];

const PIECES: [&str; 104] = [
    "$",
    "$!",
    "${",
    "$!{",
    "}",
    "#",
    "##",
    "#*",
    "*#",
    "#**",
    "#[[",
    "]]#",
    "#set",
    "#set(",
    "#{set}(",
    "#if",
    "#if(",
    "#elseif(",
    "#else",
    "#{else}",
    "#end",
    "#{end}",
    "#foreach(",
    "#define(",
    "#stop",
    "#break",
    "#macro(m1)",
    "#literal()",
    "#evaluate(",
    "#foo",
    "#foo(",
    "#@foo(",
    "(",
    ")",
    "[",
    "]",
    "{",
    ",",
    ":",
    ".",
    "..",
    "\"",
    "'",
    "\"\"",
    "''",
    "=",
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "&&",
    "||",
    "!",
    "+",
    "-",
    "*",
    "/",
    "%",
    "and",
    "or",
    "not",
    "eq",
    "gt",
    "true",
    "false",
    "null",
    "in",
    "s",
    "n",
    "list",
    "$s",
    "$n",
    "$list",
    "$m",
    "${s}",
    "$!{s}",
    "$!undef",
    "$undef",
    "$m.k",
    "$list[0]",
    ".size()",
    ".k",
    "1",
    "2",
    "3.5",
    "-1",
    "1..3",
    "[1..3]",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\\",
    "\\\\",
    "\\$s",
    "\\#if",
    "x",
    "text ",
    "é☃",
    "_",
    "@",
];

pub struct Case {
    pub template: String,
    pub body: Option<&'static str>,
}

/// The n-th case of a seed.
pub fn case(seed: u64, n: u64) -> Case {
    let mut random = Random::new(seed ^ n.wrapping_mul(0xA24B_AED4_963E_E407));
    for _ in 0..4 {
        random.next();
    }
    let mut maker = Maker { random, depth: 0 };
    let template = match maker.random.below(10) {
        0..=4 => maker.block(4),
        5 => maker.heap(),
        6 | 7 => maker.damaged(),
        8 => maker.calls(),
        _ => maker.documents(),
    };
    let body = if maker.random.one_in(6) { None } else { Some(maker.random.pick(&BODIES)) };
    Case { template, body }
}

/// The case as one line for an engine.
pub fn line(id: u64, case: &Case) -> String {
    let mut out = format!("{{\"id\":{id},\"profile\":\"aws\",\"template\":");
    quote(&case.template, &mut out);
    if let Some(body) = case.body {
        out.push_str(",\"body\":");
        quote(body, &mut out);
    }
    out.push_str(r#","params":{"path":{"id":"42"},"querystring":{"q":"hello world","id":"no"},"header":{"X-H":"h\"v","Accept":"*/*"}}"#);
    out.push_str(r#","stage_variables":{"env":"prod"},"context":{"stage":"dev","identity":{"sourceIp":"1.2.3.4"},"requestOverride":{"header":{}},"responseOverride":{"header":{}}}"#);
    out.push_str(",\"vars\":");
    out.push_str(VARIABLES);
    out.push('}');
    out
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Maker {
    random: Random,
    depth: usize,
}

impl Maker {
    fn name(&mut self) -> &'static str {
        self.random.pick(&NAMES)
    }

    fn blank(&mut self) -> &'static str {
        self.random.pick(&["", "", "", " ", "  ", "\t", "\n", " \n", "\r\n"])
    }

    fn space(&mut self) -> &'static str {
        self.random.pick(&["", " ", " ", "  "])
    }

    fn text(&mut self) -> &'static str {
        self.random.pick(&[
            "text",
            " ",
            "\n",
            " \n",
            "x\n",
            "{\"a\": ",
            "}",
            ", ",
            "é☃😀",
            "$ ",
            "# ",
            "$5",
            "#1",
            "\\",
            "\\\\",
            "(",
            ")",
            ".",
            "a.b",
            "-",
            "!",
            "\"",
            "'",
            "[0]",
            ".size()",
            "\t",
            "\r\n",
            "$.",
            "$[",
            "http://x/",
            "&&",
            "##c\n",
            "#*c*#",
            "#[[ $s #if ]]#",
            "\\$s",
            "\\\\$s",
            "\\#if",
            "\\\\#if",
            "\\#foo",
            "#foo",
            "#end2",
            "@",
            "{}",
            "$!",
            "$-",
        ])
    }

    fn block(&mut self, most: usize) -> String {
        let mut out = String::new();
        let count = 1 + self.random.below(most);
        for _ in 0..count {
            let statement = self.statement();
            out.push_str(&statement);
        }
        out
    }

    fn statement(&mut self) -> String {
        self.depth += 1;
        let shallow = self.depth < 5;
        let made = match self.random.below(if shallow { 24 } else { 11 }) {
            0..=3 => self.text().to_owned(),
            4..=8 => self.reference(),
            9 => self.random.pick(&INPUT).to_owned(),
            10 => {
                let reference = self.reference();
                format!("{}{reference}", self.random.pick(&["\\", "\\\\", "#", "$", "!", "\\\\\\"]))
            }
            11..=15 => self.set(),
            16..=18 => self.condition(),
            19..=21 => self.each(),
            22 => {
                let (name, block, blank) =
                    (self.random.pick(&["x", "y", "d", "!q", "{z}"]), self.block(3), self.blank());
                format!("#define(${name}){blank}{block}#end{}$x$d", self.blank())
            }
            _ => self
                .random
                .pick(&[
                    "#stop",
                    "#break",
                    "#stop()",
                    "#break($foreach)",
                    "#macro(m1 $a)x#end",
                    "#foo($s)",
                    "#foo($s)\n",
                    "#@foo($s)b#end",
                    "#literal()$s#end",
                    "#stop\n",
                    "#evaluate('$s')",
                    "#return",
                ])
                .to_owned(),
        };
        self.depth -= 1;
        made
    }

    fn set(&mut self) -> String {
        let target = match self.random.below(12) {
            0 => "$m.new".to_owned(),
            1 => "$list[0]".to_owned(),
            2 => "$m['k']".to_owned(),
            3 => "${x}".to_owned(),
            4 => "$!x".to_owned(),
            5 => "$context.requestOverride.header.foo".to_owned(),
            6 => "$m.a.b".to_owned(),
            7 => "$objs[1].v".to_owned(),
            _ => format!("${}", self.random.pick(&["x", "y", "z", "x", "y", "s", "n", "list"])),
        };
        let (a, b, c) = (self.space(), self.space(), self.space());
        let value = self.expression();
        let behind = self.random.pick(&["", "", "\n", " \n", " ", "x"]);
        let before = self.random.pick(&["", "", "", " ", "  ", "\n  "]);
        format!("{before}#set({a}{target}{b}={c}{value}){behind}")
    }

    fn condition(&mut self) -> String {
        let (condition, body) = (self.expression(), self.block(3));
        let mut out = format!("#if({condition}){}{body}", self.blank());
        while self.random.one_in(4) {
            let (condition, body) = (self.expression(), self.block(2));
            out.push_str(&format!("#elseif({condition}){}{body}", self.blank()));
        }
        if self.random.one_in(2) {
            let body = self.block(2);
            out.push_str(&format!(
                "{}{}{body}",
                self.random.pick(&["#else", "#{else}"]),
                self.blank()
            ));
        }
        out.push_str(self.random.pick(&["#end", "#end", "#{end}"]));
        out.push_str(self.blank());
        out
    }

    fn each(&mut self) -> String {
        let list = match self.random.below(8) {
            0 => "$list".to_owned(),
            1 => "$nums".to_owned(),
            2 => format!("[{}..{}]", self.random.below(4), self.random.below(5)),
            3 => "$m".to_owned(),
            4 => "$objs".to_owned(),
            5 => "$mixed".to_owned(),
            6 => "$m.keySet()".to_owned(),
            _ => self.value(),
        };
        let variable = self.random.pick(&["x", "y", "i", "e", "s"]);
        let body = self.block(3);
        let extra = self.random.pick(&[
            "",
            "",
            "$foreach.index",
            "$foreach.hasNext",
            "$velocityCount",
            "#if($foreach.hasNext),#end",
            "$foreach.count/$foreach.first/$foreach.last",
            "$foreach.parent.index",
            "#if($foreach.index>0)#break#end",
        ]);
        format!(
            "#foreach(${variable} in {list}){}{body}${variable}{extra}#end{}",
            self.blank(),
            self.blank()
        )
    }

    fn expression(&mut self) -> String {
        self.depth += 1;
        let made = match self.random.below(if self.depth < 5 { 12 } else { 5 }) {
            0..=4 => self.value(),
            5..=8 => {
                let (a, b) = (self.expression(), self.expression());
                let operator = self.random.pick(&[
                    "+", "-", "*", "/", "%", "==", "!=", "<", ">", "<=", ">=", "&&", "||", "eq",
                    "gt", "and", "or", "+", "+",
                ]);
                format!("{a} {operator} {b}")
            }
            9 => {
                let inner = self.expression();
                format!("({inner})")
            }
            10 => {
                let inner = self.expression();
                format!("!{inner}")
            }
            _ => self.value(),
        };
        self.depth -= 1;
        made
    }

    fn value(&mut self) -> String {
        self.depth += 1;
        let made = match self.random.below(if self.depth < 6 { 18 } else { 8 }) {
            0..=3 => self.reference(),
            4 => self.random.below(100).to_string(),
            5 => self
                .random
                .pick(&[
                    "0",
                    "1",
                    "-1",
                    "2147483647",
                    "2147483648",
                    "-2147483648",
                    "9223372036854775807",
                    "99999999999999999999",
                    "1.5",
                    "0.1",
                    "1e3",
                    ".5",
                    "3.",
                    "-2.25",
                    "1.0E10",
                    "123456.789",
                    "7",
                ])
                .to_owned(),
            6 => self
                .random
                .pick(&[
                    "true",
                    "false",
                    "\"\"",
                    "''",
                    "'it''s'",
                    "\"say \"\"x\"\"\"",
                    "\"\\u0041\"",
                    "'a,b'",
                    "\"42\"",
                    "'3'",
                ])
                .to_owned(),
            7 => self.random.pick(&INPUT).to_owned(),
            8 | 9 => {
                let inner = self.block(2).replace('"', "\"\"");
                format!("\"{inner}\"")
            }
            10 => format!("'{}'", self.text().replace('\'', "''")),
            11 => {
                let (a, b) = (self.value(), self.value());
                format!("[{a},{}{b}]", self.space())
            }
            12 => self
                .random
                .pick(&[
                    "[]",
                    "{}",
                    "[1..3]",
                    "[3..1]",
                    "[$n..5]",
                    "[1..$undef]",
                    "['a','b']",
                    "{'a':1,'b':{'c':[1]}}",
                    "{ 'k' : $s }",
                    "[ 1 , 2 ]",
                    "[[1,2],[3]]",
                ])
                .to_owned(),
            13 => {
                let (key, value) = (self.value(), self.value());
                format!("{{{key}:{value}}}")
            }
            14 => format!("$input.path('{}')", self.random.pick(&PATHS)),
            15 => format!("$input.json(\"{}\")", self.random.pick(&PATHS)),
            _ => self.reference(),
        };
        self.depth -= 1;
        made
    }

    fn reference(&mut self) -> String {
        let name = self.name();
        let mut path = String::new();
        while self.random.one_in(2) {
            match self.random.below(6) {
                0 => path.push_str(self.random.pick(&[
                    ".k", ".a", ".b", ".size", ".list", ".id", ".v", ".nul", ".x", ".index",
                    ".body", ".class", ".env", ".stage", ".Body",
                ])),
                1 => path.push_str(self.random.pick(&[
                    "[0]", "[1]", "[-1]", "[9]", "['k']", "[\"a\"]", "[$n]", "[$zero]", "[ 0 ]",
                    "[true]",
                ])),
                _ => {
                    path.push('.');
                    path.push_str(self.random.pick(&METHODS));
                }
            }
        }
        match self.random.below(8) {
            0 => format!("${{{name}{path}}}"),
            1 => format!("$!{name}{path}"),
            2 => format!("$!{{{name}{path}}}"),
            _ => format!("${name}{path}"),
        }
    }

    /// Methods in a row, each with its value between bars.
    fn calls(&mut self) -> String {
        let mut out = String::new();
        for _ in 0..1 + self.random.below(4) {
            let name = self.random.pick(&[
                "s", "csv", "uni", "n", "f", "big", "huge", "dec", "t", "list", "nums", "m",
                "mixed", "q", "sp", "num", "empty",
            ]);
            let (method, wild) = (self.random.pick(&METHODS), self.random.one_in(3));
            let argument = self.value();
            if wild {
                let bare = method.split('(').next().unwrap_or("");
                out.push_str(&format!("|${name}.{bare}({argument})|${name}"));
            } else {
                out.push_str(&format!("|${name}.{method}|${name}"));
            }
        }
        out
    }

    /// Reads the body in several ways.
    fn documents(&mut self) -> String {
        let mut out = String::new();
        for _ in 0..1 + self.random.below(3) {
            let path = self.random.pick(&PATHS);
            out.push_str(&match self.random.below(4) {
                0 => format!("$input.json('{path}')|"),
                1 => format!("$input.path('{path}')|"),
                2 => format!("#foreach($e in $input.path('{path}'))$e;#end|"),
                _ => format!("#set($d = $input.path('{path}'))$d.size() $d.id $d.keySet() $d[0]|"),
            });
        }
        out
    }

    /// Tokens without any order.
    fn heap(&mut self) -> String {
        (0..1 + self.random.below(14)).map(|_| self.random.pick(&PIECES)).collect()
    }

    /// A well-formed template with a few characters taken away, doubled or put in.
    fn damaged(&mut self) -> String {
        let mut chars: Vec<char> = self.block(4).chars().collect();
        for _ in 0..1 + self.random.below(3) {
            if chars.is_empty() {
                break;
            }
            let at = self.random.below(chars.len());
            match self.random.below(4) {
                0 => {
                    chars.remove(at);
                }
                1 => chars.insert(at, chars[at]),
                2 => {
                    let piece = self.random.pick(&PIECES);
                    chars.splice(at..at, piece.chars());
                }
                _ => chars.truncate(at),
            }
        }
        chars.into_iter().collect()
    }
}
