use super::*;

const KNOWN: &str = "first-Token_0123";

fn masked(known: &[&str], query: &str, text: &str) -> String {
    let secrets = Secrets::new(known.iter().copied());
    Mask::new(&secrets, query).text(text.to_owned())
}

#[test]
fn a_token_that_holds_another_leaves_nothing_of_it() {
    let known = ["first-Token", "first-Token_and-more", "first-Token"];
    let text = "?token=first-Token_and-more&other=first-Token, short; üfirst-Tokenü";
    assert_eq!(masked(&known, "token=short", text), "?token=…&other=…, short; ü…ü");
    assert_eq!(masked(&known, "", "nothing"), "nothing");
    // Overlapping ones are masked as one.
    assert_eq!(masked(&["abcdefgh", "efghijkl"], "", "-abcdefghijkl-"), "-…-");
}

#[test]
fn a_token_that_is_sent_many_times_is_looked_for_once_and_of_many_the_last_ones() {
    let known = Secrets::default();
    let finders = |query: &str| {
        let Secrets { literal, plain, named, .. } = Mask::new(&known, query).sent;
        literal.len() + plain.len() + named.len()
    };
    for value in ["other-Token_0123", "short"] {
        let once = format!("token={value}");
        assert_eq!(finders(&[once.as_str(); 500].join("&")), finders(&once), "{value}");
    }
    let tokens: Vec<String> = (1000..1500).map(|number| format!("other-Token_{number}")).collect();
    let query = |tokens: &[String]| {
        tokens.iter().map(|token| format!("token={token}")).collect::<Vec<_>>().join("&")
    };
    assert_eq!(finders(&query(&tokens)), finders(&query(&tokens[484..])));
    let last: Vec<_> = tokens[484..].iter().map(String::as_str).collect();
    assert_eq!(masked(&[], &query(&tokens), &last.join(" ")), ["…"; 16].join(" "));
}

#[test]
fn a_token_is_masked_however_it_is_spelled() {
    // A token as sent; the texts that hold it, between `<` and `>`.
    let cases: &[(&str, &[&str])] = &[
        (
            "p%41ss/w%6Frd",
            &[
                "pAss/word",
                "p%41ss/w%6Frd",
                "p%2541ss%252fword",
                "pAss\\/word",
                "pAss\\\\\\/word",
                "pAss%2Fword",
            ],
        ),
        (
            "say%20%22hi%22+it's",
            &[
                "say \"hi\" it's",
                "say \\\"hi\\\" it\\'s",
                "say \\\\\\\"hi\\\\\\\" it's",
                "say+%22hi%22+it%27s",
                "say%20%22hi%22+it's",
            ],
        ),
        (
            "geheim-%C3%A9%F0%9F%98%80",
            &[
                "geheim-é😀",
                "geheim-\\u00E9\\uD83D\\uDE00",
                "geheim-\\u00e9\\ud83d\\ude00",
                "geheim-\\\\u00E9\\\\uD83D\\\\uDE00",
                "geheim-%C3%A9%f0%9f%98%80",
            ],
        ),
        (
            "back%5Cslash%0Aand%09tab",
            &[
                "back\\slash\nand\ttab",
                "back\\\\slash\\nand\\ttab",
                "back\\\\\\\\slash\\\\nand\\\\ttab",
                "back%5Cslash%0Aand%09tab",
            ],
        ),
        (
            "%FFraw%FEbytes%FD",
            &[
                "%FFraw%FEbytes%FD",
                "\u{fffd}raw\u{fffd}bytes\u{fffd}",
                "\\uFFFDraw\\uFFFDbytes\\uFFFD",
                "%EF%BF%BDraw%EF%BF%BDbytes%EF%BF%BD",
            ],
        ),
        ("%5C%5C%5C%5C%5C%5C%5C%5C", &["\\\\\\\\\\\\\\\\", "%5C%5C%5C%5C%5C%5C%5C%5C"]),
        (
            "first-Token_0123",
            &["first-Token_0123", "%66irst-Token%5f0123", "\\u0066irst-Token_0123"],
        ),
    ];
    for (sent, texts) in cases {
        for text in *texts {
            let query = format!("a=1&token={sent}&b");
            assert_eq!(masked(&[KNOWN], &query, &format!("<{text}>")), "<…>", "{sent} in {text}");
            assert_eq!(
                masked(&[KNOWN], "a=%2F", &format!("<{text}>")) == "<…>",
                *sent == KNOWN,
                "{text}"
            );
        }
    }
    assert_eq!(
        masked(&[], "t%6Fken=other-token&token=the-last-one", "other-token, the-last-one"),
        "…, …"
    );
}

#[test]
fn in_base64_it_is_masked_wherever_it_begins() {
    for before in ["", "a", "ab", "abc", "{token="] {
        for after in ["", ",", "}}", "\n\n\n"] {
            let text = BASE64_STANDARD.encode(format!("{before}gehe/im+wort{after}"));
            let found = masked(&[], "token=gehe/im%2Bwort", &text);
            assert!(found.contains(MASKED) && found.len() <= text.len() - 10, "{text}: {found}");
            let spelled = text.replace('/', "\\/").replace('+', "%2B");
            assert!(masked(&[], "token=gehe/im%2Bwort", &spelled).contains(MASKED), "{spelled}");
        }
    }
}

#[test]
fn a_short_one_is_masked_where_it_stands_as_the_token_and_nowhere_else() {
    let cases = [
        ("x", r#"{"token":"x","app":"x"}"#, r#"{"token":"…","app":"x"}"#),
        (
            "x",
            "{\n \"token\" : \"x\"\n, \"xtoken\": \"x\"}",
            "{\n \"token\" : \"…\"\n, \"xtoken\": \"x\"}",
        ),
        ("a%2Fb", r#"{"token":"a\/b"} {"token":"a/b"}"#, r#"{"token":"…"} {"token":"…"}"#),
        (
            "a%2Fb",
            "http://here/dev/input?token=a%2Fb&c=a%2Fb",
            "http://here/dev/input?token=…&c=a%2Fb",
        ),
        ("%C3%A9", r#"{"token":"\u00E9"}"#, r#"{"token":"…"}"#),
        ("wrong", "{app=wrong, token=wrong} token=wrongly", "{app=wrong, token=…} token=wrongly"),
    ];
    for (sent, text, shown) in cases {
        assert_eq!(masked(&[], &format!("token={sent}"), text), shown, "{sent}");
    }
    assert_eq!(
        masked(&[], "token=&token=%20", "{\"token\":\" \"} token="),
        "{\"token\":\" \"} token="
    );
}

#[test]
fn texts_of_any_length_and_any_mess_are_gone_through_once() {
    let text =
        |at: usize| format!("{}\\u0066irst-Token_0123{}", "x".repeat(at), "\\".repeat(3 * WINDOW));
    for at in [0, WINDOW - 700, WINDOW - 352, WINDOW - 10, WINDOW - 3, WINDOW, 2 * WINDOW - 5] {
        let found = masked(&[KNOWN], "", &text(at));
        assert!(found.starts_with(&format!("{}…\\", "x".repeat(at))), "{at}");
    }
    // Half a character, half an escape, and no panic.
    for text in [
        "é%A",
        "%",
        "\\",
        "\\u",
        "\\u00",
        "\\ud83d",
        "\\ud83d\\u0041",
        "%25",
        "%2525%",
        "\u{e9}bcdefgh %A9bcdefgh",
    ] {
        masked(&[KNOWN], "token=%A9bcdefgh", text);
    }
    assert_eq!(masked(&[], "token=%A9bcdefgh", "ébcdefgh % "), "… % ");
}
