#!/usr/bin/env python3
"""Makes rendered.jsonl anew: the events that the mapping templates render of hostile requests.

    cases.py cases  > in.jsonl         the requests, for a renderer that takes {"id","template","body","params","stage_variables","context"} a line
    RENDERER < in.jsonl > out.jsonl    and prints {"id","expected"} a line: Apache Velocity 1.7 set up as API Gateway behaves
    cases.py join in.jsonl out.jsonl > rendered.jsonl
"""
import base64, json, pathlib, sys

TEMPLATES = pathlib.Path(__file__).resolve().parents[3] / "mapping-templates"
RIGHT = "right-token-0123456789"
# sha256 of RIGHT and, as recipe one has it, the token itself
HASHED = "sha256:a78e48780414055376661667594cf02f91d6a522cd1b2cea4bf99022fb1e9dc2"

VALUES = [
    '"', '""', "'", "''", "\\", "\\\\", '\\"', "\\'", "`", "/", "</script>",
    # forged keys: compact, as the recipe's template spaces them, with the key escaped, with the string or an object left open, with a comment
    '","validToken":"', 'x","validToken":"x', 'x","token":"' + RIGHT, 'x",\n"validToken": "x',
    'x",\n"validToken": "x",\n"body": {},\n"z": "', 'x",\n"token": "' + RIGHT, RIGHT + '",\n"token": "x',
    'x",\n"validToken": "x",\n"body": "x"\n}', 'x","validToken":"x","body":{}}', 'x","valid\\u0054oken":"x', 'x","validToken":"x","z":["', 'x","validToken":"x","z":{"a":"',
    'x","validToken":"x","z":"\\', 'x","destination":"s3://other-bucket?token=none', 'x","destination":"s3://other-bucket?token=none","z":"',
    'x","queue_url":"https://sqs.us-east-1.amazonaws.com/999999999999/other', 'x","validToken":null,"z":"', 'x","headers":{"x-routeto-probe":"1"},"z":"',
    'x"}', 'x"} ', 'x"}{"token":"x","validToken":"x', '",\n"app": "SendGrid', '",\n"body": {}',
    "${stageVariables.validToken}", "$stageVariables.validToken", "$!{x}", "#set($x=1)", "#foreach($i in [1..9])x#end", "##", "#*", "#end", "$", "$util.escapeJavaScript('x')",
    "\n", "\r\n", "\t", "\0", "a\0b", "\x01\x08\x0b\x0c\x1f\x7f", "\u0080\u009f", "\u2028\u2029", "\ufeff", "\ufffd", "\ufffe\uffff", "\ud800", "a\udc00b", "\U0001f600", "\xe9\xff", "\u202e",
    "../", "..", "../../other", "a/../b", "/etc/passwd", "a/b", "a//b", "./a", "%2e%2e%2f", "..%2f", "other-bucket", "other-bucket/x", "own-bucket/../other-bucket", "own-bucket/SendGrid/..",
    "own-bucket//", "s3://own-bucket", "own-bucket?x", "own-bucket#x", "own-bucket ", " own-bucket", "OWN-BUCKET", "allowed-bucket", "allowed-bucket/teamB", "allowed-bucket/teamAB",
    "allowed-bucket/teamA/../teamB", "*", "own-bucket/*", "null", "true", "0", "[]", "{}", "sha256:", HASHED, "sha256:" + "0" * 64, ",", "," + RIGHT, RIGHT + ",", RIGHT + " ", RIGHT.upper(), RIGHT[:-1], RIGHT + "0", RIGHT + "\0",
    "x" * 65,
]
LONG = ['"' * 1000, "\\" * 999, "A" * 8192, '","a":"' * 1000, "\u00e9" * 1300]
BODY = '{"message": "success", "n": 1.50, "quote": "\\"\\u0022\'\\\\", "anchor": "\\",\\n\\"validToken\\": \\"x"}'
BINARY = base64.b64encode(bytes(range(256))).decode()
CONTEXT = {"requestTimeEpoch": 1700000000000, "stage": "prod", "resourcePath": "/input", "identity": {"sourceIp": "192.0.2.1"}, "extendedRequestId": "c2FtcGxl"}


def prelude(name):
    return "#set($destination = $stageVariables.d)\n" + (TEMPLATES / name).read_text()


def cases():
    out = []

    def case(template, where, value, query, header=None, body=BODY, stage=None):
        header = {"Content-Type": "application/json", "Host": "api.example", **(header or {})}
        stage = {"validToken": HASHED, "d": "s3://own-bucket/SendGrid/?allow=allowed-bucket/teamA", **(stage or {})}
        out.append({"id": f"{template} {where} {value[:40]!r} #{len(out)}", "template": prelude(template), "profile": "aws", "body": body,
                    "params": {"path": {}, "querystring": query, "header": header}, "stage_variables": stage, "context": CONTEXT,
                    "about": {"template": template, "where": where, "token": query.get("token", ""), "app": query.get("app", ""), "bucket": query.get("bucket", ""),
                              "header": header, "value": value, "body": body}})

    good = {"token": RIGHT, "app": "SendGrid", "bucket": "own-bucket"}
    plain = {"validToken": RIGHT}
    for value in VALUES + LONG:
        for where in ("token", "app") if value in LONG else ("token", "app", "bucket"):
            case("json.vtl", where, value, {**good, where: value})
            case("recipes/routeto-s3.vtl", where, value, {**good, where: value}, stage=plain)
            if where != "token":
                case("recipes/routeto-s3.vtl", where, value, {**good, "token": "wrong", where: value}, stage=plain)
        if value in LONG:
            continue
        case("binary.vtl", "all", value, {"token": value, "app": value, "bucket": value, value: value}, {value: value, "X-Hostile": value}, body=BINARY)
        case("json.vtl", "header", value, {**good, "q": value, value: value}, {value: "v", "X-Hostile": value, "Content-Type": value})
        case("recipes/sqs-json.vtl", "body", value, {}, body=json.dumps({"text": value, value: [value]}), stage={"appropriate_queue_url": "http://127.0.0.1/1/q"})
        case("recipes/sqs-multipart.vtl", "body", value, {}, {"X-Hostile": value}, body=value.encode("utf-8", "replace").decode() or "x", stage={"appropriate_queue_url": "http://127.0.0.1/1/q"})
    for body in [BINARY, base64.b64encode(b"").decode(), base64.b64encode("é{}".encode("latin-1")).decode()]:
        case("binary.vtl", "body", body, good, {"Content-Type": "image/png"}, body=body)
    # bodies for recipe one that try to look like the template's own text, or that only a lenient reader takes for JSON
    for body in ['"\\",\\n\\"validToken\\": \\"x"', '",\n"validToken": "x",\n"body": ', "NaN", "[NaN,Infinity]", "a=b", "{a:1,}", "\"\\ud800\"", "", "[" * 200 + "]" * 200, "1e400", "{\"a\":1,\"a\":2}", "\u2028", "'x'"]:
        case("recipes/routeto-s3.vtl", "body", body, good, body=body, stage=plain)
        case("recipes/sqs-json.vtl", "body", body, {}, body=body, stage={"appropriate_queue_url": "http://127.0.0.1/1/q"})
        case("json.vtl", "body", body, good, body=body)
    return out


if sys.argv[1] == "cases":
    for c in cases():
        print(json.dumps(c))
else:
    asked = [json.loads(line) for line in open(sys.argv[2])]
    answers = {a["id"]: a for a in map(json.loads, open(sys.argv[3]))}
    for c in asked:
        a = answers[c["id"]]
        about = {k: v for k, v in c["about"].items() if k in ("template", "where") or (k == c["about"]["where"] and k != "body")}
        if c["about"]["token"] == "wrong":
            about["token"] = "wrong"
        if a.get("expected") is None:
            print("not rendered:", c["id"], a.get("error"), a.get("message"), file=sys.stderr)
            continue
        if c["about"]["where"] in ("header", "all"):
            about["value"] = c["about"]["value"]
        if c["about"]["where"] == "body":
            about["body"] = c["about"]["body"]
        print(json.dumps({**about, "event": a["expected"]}))
