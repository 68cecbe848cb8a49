//! Values that were made to break a template, a JSON document, a key or a token.

/// Bytes, as a caller would have them after percent-decoding.
pub fn values() -> Vec<Vec<u8>> {
    let texts: &[&str] = &[
        "\"",
        "'",
        "\\",
        "\\\"",
        "\\\\\"",
        "\\'",
        "\",\"validToken\":\"",
        "\",\"validToken\":\"x\",\"token\":\"x",
        "x\",\n\"validToken\": \"x\",\n\"body\": {\"forged\":1}}",
        "\",\"destination\":\"s3://VICTIM",
        "\",\"bucket\":\"VICTIM\",\"x\":\"",
        "\",\"queue_url\":\"http://127.0.0.1/000000000000/VICTIM",
        "\"},\"destination\":\"s3://VICTIM?token=none\",\"z\":{\"a\":\"",
        "${stageVariables.validToken}",
        "$stageVariables.validToken",
        "$!{stageVariables.validToken}",
        "${}",
        "$",
        "#set($destination=\"s3://VICTIM\")",
        "#set($validToken = 'x')",
        "#if(true)x#end",
        "#foreach($i in [1..100000])x#end",
        "#{end}",
        "##",
        "#*",
        "*#",
        "$util.escapeJavaScript('x')",
        "$input.json('$')",
        "$context.responseOverride.status",
        "#set($context.responseOverride.status=200)",
        "\n",
        "\r\n",
        "a\nb",
        "\0",
        "a\0b",
        "\u{1}\u{7f}\u{80}",
        "\u{2028}\u{2029}",
        "\u{feff}",
        "\u{ffff}\u{fffe}",
        "\\ud800",
        "\u{1f600}\u{e9}",
        "../",
        "../../VICTIM/x",
        "..%2f..%2fVICTIM",
        "/VICTIM",
        "VICTIM",
        "VICTIM/../x",
        "s3://VICTIM",
        "SendGrid/../../VICTIM",
        "&token=x",
        "?token=x",
        "#",
        "%",
        "%00",
        "%25%32%32",
        "+",
        " ",
        "",
        ",",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "sha256:",
        "null",
        "true",
        "{}",
        "[]",
        "</script><script>alert(1)</script>",
        "'; DROP TABLE students; --",
        "${jndi:ldap://127.0.0.1/a}",
        "{{7*7}}",
        "%n%n%n%s",
    ];
    let mut values: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    values.extend([
        b"\xed\xa0\x80".to_vec(), // a lone surrogate in what would be UTF-8
        b"\xed\xb0\x80x".to_vec(),
        b"\xff".to_vec(),
        b"\xc3".to_vec(),
        b"\xc0\xaf\xc0\xae".to_vec(), // overlong
        b"\"".repeat(2700),           // 8 KB once it is encoded
        b"\\".repeat(2700),
        b"x".repeat(8192),
        b"$".repeat(2700),
    ]);
    values
}

/// Every byte percent-encoded.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}
