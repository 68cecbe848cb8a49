//! boto3 against the store, unchanged but for its endpoint.

use crate::{
    place::Place,
    support::{emulator, http, root},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A Python with boto3's clients in it.
pub struct Boto(RefCell<(Child, ChildStdin, BufReader<ChildStdout>)>);

impl Boto {
    pub fn new(endpoint: &str) -> Self {
        emulator::install().unwrap();
        let mut command = Command::new(emulator::python());
        command.arg(root().join("tests/support/boto.py")).args([endpoint, "us-east-1"]);
        command
            .env_clear()
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self(RefCell::new((child, stdin, stdout)))
    }

    pub fn try_call(
        &self,
        service: &str,
        operation: &str,
        arguments: Value,
    ) -> Result<Value, (String, String)> {
        let (_, stdin, stdout) = &mut *self.0.borrow_mut();
        let request = json!({"service": service, "operation": operation, "arguments": arguments});
        writeln!(stdin, "{request}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error}: {line:?} to {request}"));
        match answer["error"].as_str() {
            None => Ok(answer["ok"].take()),
            Some(code) => {
                Err((code.to_owned(), answer["message"].as_str().unwrap_or_default().to_owned()))
            }
        }
    }

    pub fn call(&self, service: &str, operation: &str, arguments: Value) -> Value {
        let shown = arguments.to_string();
        self.try_call(service, operation, arguments).unwrap_or_else(|error| {
            panic!(
                "{service} {operation} {}: {error:?}",
                shown.chars().take(300).collect::<String>()
            )
        })
    }

    pub fn code(&self, service: &str, operation: &str, arguments: Value) -> String {
        match self.try_call(service, operation, arguments) {
            Ok(answer) => panic!("{service} {operation} answered {answer}"),
            Err((code, _)) => code,
        }
    }
}

impl Drop for Boto {
    fn drop(&mut self) {
        let _ = self.0.borrow_mut().0.kill();
        let _ = self.0.borrow_mut().0.wait();
    }
}

pub fn blob(bytes: &[u8]) -> Value {
    json!({"base64": STANDARD.encode(bytes)})
}

/// Keys and common prefixes of a page.
fn listed(answer: &Value) -> (Vec<&str>, Vec<&str>) {
    let all = |list: &str, field: &str| {
        answer[list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item[field].as_str().unwrap())
            .collect()
    };
    (all("Contents", "Key"), all("CommonPrefixes", "Prefix"))
}

fn put(boto: &Boto, key: &str, body: &[u8]) {
    boto.call("s3", "put_object", json!({"Bucket": "records", "Key": key, "Body": blob(body)}));
}

fn body(boto: &Boto, key: &str) -> Vec<u8> {
    let got = boto.call("s3", "get_object", json!({"Bucket": "records", "Key": key}));
    STANDARD.decode(got["Body"]["base64"].as_str().unwrap()).unwrap()
}

fn with_bucket() -> (Place, Boto) {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    let boto = Boto::new(&place.endpoint);
    (place, boto)
}

#[test]
fn an_unsigned_request_makes_no_html_of_a_record() {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    let boto = Boto::new(&place.endpoint);
    let html = b"<script>document.title = 'ran'</script>";
    boto.call(
        "s3",
        "put_object",
        json!({"Bucket": "records", "Key": "k", "Body": blob(html), "ContentType": "text/plain"}),
    );
    let signed = boto.call(
        "s3",
        "get_object",
        json!({"Bucket": "records", "Key": "k", "ResponseContentType": "text/html"}),
    );
    assert_eq!((&signed["ContentType"], &signed["Body"]), (&json!("text/html"), &blob(html)));
    let get = |url: &str| http::get(url).unwrap();
    let parameters = json!({"Bucket": "records", "Key": "k", "ResponseContentType": "text/html"});
    let presigned = boto.call(
        "s3",
        "generate_presigned_url",
        json!({"ClientMethod": "get_object", "Params": parameters}),
    );
    let answer = get(presigned.as_str().unwrap());
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.body.as_slice()),
        (200, Some("text/html"), &html[..])
    );

    // A browser's isn't honoured: no signature is verified, so a link's may be made up.
    for (name, value) in
        [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate"), ("Sec-Fetch-Dest", "document")]
    {
        let answer = http::get_with(presigned.as_str().unwrap(), &[(name, value)]).unwrap();
        assert_eq!(
            (answer.status, answer.text().contains("<Code>InvalidRequest</Code>")),
            (400, true),
            "{name}"
        );
    }

    let url = format!("{}/records/k", place.endpoint);
    let words = "Request specific response headers cannot be used for anonymous GET requests.";
    for query in [
        "response-content-type=text/html",
        "response%2Dcontent%2Dtype=text/html",
        "response-content-disposition=attachment",
        "response-content-encoding=gzip",
        "response-content-language=en",
        "response-cache-control=no-store",
        "response-expires=Thu%2C%2001%20Dec%202044%2016%3A00%3A00%20GMT",
        "response-content-type=text/html&X-Amz-Signature=",
        "response-content-type=text/html&X-Amz-Signature=1",
    ] {
        let answer = get(&format!("{url}?{query}"));
        let text = answer.text();
        assert_eq!(
            (answer.status, text.contains("<Code>InvalidRequest</Code>"), text.contains(words)),
            (400, true, true),
            "{query}: {text}"
        );
    }
    // All that is answered is shut in, an error and a refusal, too.
    for (url, status, host) in
        [(&url, 200, "127.0.0.1"), (&place.endpoint, 200, "[::1]:1"), (&url, 421, "evil.example")]
    {
        let answer = http::get_with(url, &[("host", host)]).unwrap();
        let shut =
            ["content-security-policy", "x-content-type-options", "cross-origin-resource-policy"]
                .map(|name| answer.header(name));
        assert_eq!(
            (answer.status, shut),
            (status, [Some("sandbox"), Some("nosniff"), Some("same-origin")]),
            "{url}"
        );
    }
}

#[test]
fn an_object_comes_back_with_its_bytes_and_all_that_was_said_of_it() {
    let place = Place::new();
    let boto = Boto::new(&place.endpoint);
    boto.call("s3", "create_bucket", json!({"Bucket": "records"}));
    let bytes: Vec<u8> = (0..=255).collect();
    let key = "a/ü b+c%20.bin";
    let said = json!({
        "Bucket": "records", "Key": key, "Body": blob(&bytes), "ContentType": "image/png", "CacheControl": "no-cache", "ContentLanguage": "de",
        "ContentDisposition": "inline", "ContentEncoding": "x-none", "Metadata": {"sender": "someone", "empty": ""},
    });
    let put = boto.call("s3", "put_object", said);
    assert_eq!(put["ETag"], "\"e2c865db4162bed963bfaa9ef6ac18f0\"");
    let place = place.again();
    let boto = Boto::new(&place.endpoint);
    let place_of = json!({"Bucket": "records", "Key": key});
    let mut got = boto.call("s3", "get_object", place_of.clone());
    let mut head = boto.call("s3", "head_object", place_of);
    assert_eq!(got["Body"].take(), blob(&bytes));
    for said in [&mut got, &mut head] {
        said["LastModified"].take();
    }
    got.as_object_mut().unwrap().remove("Body");
    // boto3 asks for a checksum of its own, and checked it
    assert_eq!(
        got.as_object_mut().unwrap().remove("ChecksumCRC32"),
        Some(json!("KQWOTA=="))
            .filter(|_| put["ChecksumCRC32"] == "KQWOTA==")
            .or_else(|| put.get("ChecksumCRC32").cloned())
    );
    let expected = json!({
        "AcceptRanges": "bytes", "LastModified": null, "ContentLength": 256, "ETag": put["ETag"], "CacheControl": "no-cache",
        "ContentDisposition": "inline", "ContentEncoding": "x-none", "ContentLanguage": "de", "ContentType": "image/png",
        "Metadata": {"sender": "someone", "empty": ""},
    });
    assert_eq!(got, expected);
    assert_eq!(head, expected);
}

#[test]
fn a_range_is_the_bytes_that_it_asks_for() {
    let (_place, boto) = with_bucket();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    put(&boto, "k", &bytes);
    assert_eq!(body(&boto, "k"), bytes);
    let range = |range: &str| {
        boto.try_call("s3", "get_object", json!({"Bucket": "records", "Key": "k", "Range": range}))
    };
    let part = |asked: &str, start: usize, end: usize| {
        let got = range(asked).unwrap();
        assert_eq!(
            (&got["Body"], &got["ContentRange"]),
            (&blob(&bytes[start..end]), &json!(format!("bytes {start}-{}/1000000", end - 1)))
        );
    };
    part("bytes=0-0", 0, 1);
    part("bytes=999990-", 999_990, 1_000_000);
    part("bytes=-7", 999_993, 1_000_000);
    part("bytes=10-2000000", 10, 1_000_000);
    assert_eq!(range("bytes=1000000-").unwrap_err().0, "InvalidRange");
}

#[test]
fn a_key_is_written_once_where_that_is_asked_for() {
    let (_place, boto) = with_bucket();
    let once = |body: &str| {
        boto.try_call("s3", "put_object", json!({"Bucket": "records", "Key": "k", "Body": blob(body.as_bytes()), "IfNoneMatch": "*"}))
    };
    let first = once("1").unwrap();
    assert_eq!(once("2").unwrap_err().0, "PreconditionFailed");
    assert_eq!(body(&boto, "k"), b"1");
    let matching = |etag: &Value, body: &str| {
        boto.try_call("s3", "put_object", json!({"Bucket": "records", "Key": "k", "Body": blob(body.as_bytes()), "IfMatch": etag}))
    };
    let second = matching(&first["ETag"], "3").unwrap();
    assert_eq!(matching(&first["ETag"], "4").unwrap_err().0, "PreconditionFailed");
    assert_eq!(body(&boto, "k"), b"3");
    let get = |condition: &str, etag: &Value| {
        boto.try_call("s3", "get_object", json!({"Bucket": "records", "Key": "k", condition: etag}))
    };
    assert_eq!(get("IfMatch", &first["ETag"]).unwrap_err().0, "PreconditionFailed");
    assert_eq!(get("IfNoneMatch", &second["ETag"]).unwrap_err().0, "304");
    assert_eq!(get("IfMatch", &second["ETag"]).unwrap()["Body"], blob(b"3"));
}

#[test]
fn of_many_who_write_one_key_at_once_one_is_first() {
    let (place, _) = with_bucket();
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let url = format!("{}/records/one", place.endpoint);
                scope.spawn(move || {
                    let agent: ureq::Agent =
                        ureq::Agent::config_builder().http_status_as_error(false).build().into();
                    agent
                        .put(&url)
                        .header("if-none-match", "*")
                        .send(n.to_string())
                        .unwrap()
                        .status()
                        .as_u16()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(
        (
            answers.iter().filter(|s| **s == 200).count(),
            answers.iter().filter(|s| **s == 412).count()
        ),
        (1, 15),
        "{answers:?}"
    );
}

#[test]
fn keys_of_any_characters_are_kept_apart_and_stay_in_their_bucket() {
    let (place, boto) = with_bucket();
    let long = "é".repeat(512);
    let mut keys = vec![
        "a",
        "A",
        "a/",
        "a//b",
        "../escaped",
        "../../../../tmp/escaped",
        "./a",
        "a/../b",
        "~",
        "%2e%2e",
        "a%2Fb",
        "a+b",
        "a b",
        " ",
        "é",
        "e\u{301}",
        "🦀",
        "*?<>|:\"\\",
        "con",
        "a\nb\tc",
        "&amp;",
        "x".repeat(1024).leak(),
        &long,
        "objects",
        "bucket.json",
        ".hidden",
        "a.",
        "z#?&=",
    ];
    for key in &keys {
        put(&boto, key, key.as_bytes());
    }
    for key in &keys {
        assert_eq!(body(&boto, key), key.as_bytes(), "{key}");
    }
    keys.sort_unstable();
    // XML can't hold some of them: boto3 asks for encoding-type=url by itself
    assert_eq!(listed(&boto.call("s3", "list_objects_v2", json!({"Bucket": "records"}))).0, keys);
    assert_eq!(listed(&boto.call("s3", "list_objects", json!({"Bucket": "records"}))).0, keys);
    let mut outside: Vec<String> = std::fs::read_dir(place.directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    outside.sort();
    assert_eq!(outside, ["s3", "sqs", "tmp"]);
    assert_eq!(
        boto.code("s3", "put_object", json!({"Bucket": "records", "Key": "k".repeat(1025)})),
        "KeyTooLongError"
    );
    let objects: Vec<Value> = keys.iter().map(|key| json!({ "Key": key })).collect();
    let deleted = boto.call(
        "s3",
        "delete_objects",
        json!({"Bucket": "records", "Delete": {"Objects": objects}}),
    );
    assert_eq!(deleted["Deleted"].as_array().unwrap().len(), keys.len());
    boto.call("s3", "delete_bucket", json!({"Bucket": "records"}));
}

#[test]
fn a_listing_goes_page_by_page_in_utf_8_order_with_common_prefixes() {
    let (_place, boto) = with_bucket();
    let keys = ["a", "b/1", "b/2", "b/c/3", "c", "d/1", "é", "ｆ", "🦀"];
    for key in keys.iter().rev() {
        put(&boto, key, b"");
    }
    let all = |operation: &str, mut arguments: Value, token: &str, next: &str| {
        let mut pages = Vec::new();
        loop {
            let page = boto.call("s3", operation, arguments.clone());
            let (keys, prefixes) = listed(&page);
            pages.push(keys.into_iter().chain(prefixes).map(str::to_owned).collect::<Vec<_>>());
            if page["IsTruncated"] == false {
                return pages;
            }
            let last = pages.last().unwrap().last().unwrap();
            arguments[token] = page.get(next).cloned().unwrap_or_else(|| json!(last));
        }
    };
    let v2 =
        |arguments| all("list_objects_v2", arguments, "ContinuationToken", "NextContinuationToken");
    let v1 = |arguments| all("list_objects", arguments, "Marker", "NextMarker");
    assert_eq!(
        v2(json!({"Bucket": "records", "MaxKeys": 4})),
        [&keys[..4], &keys[4..8], &keys[8..]]
    );
    assert_eq!(
        v1(json!({"Bucket": "records", "MaxKeys": 4})),
        [&keys[..4], &keys[4..8], &keys[8..]]
    );
    let rolled = [vec!["a", "b/"], vec!["c", "d/"], vec!["é", "ｆ"], vec!["🦀"]];
    assert_eq!(v2(json!({"Bucket": "records", "Delimiter": "/", "MaxKeys": 2})), rolled);
    assert_eq!(v1(json!({"Bucket": "records", "Delimiter": "/", "MaxKeys": 2})), rolled);
    assert_eq!(
        v2(json!({"Bucket": "records", "Delimiter": "/", "Prefix": "b/", "MaxKeys": 1})),
        [["b/1"], ["b/2"], ["b/c/"]]
    );
    assert_eq!(v2(json!({"Bucket": "records", "StartAfter": "c"})), [&keys[5..]]);
    assert_eq!(v2(json!({"Bucket": "records", "Prefix": "nothing"})), [[""; 0]]);
    assert_eq!(
        boto.code(
            "s3",
            "list_objects_v2",
            json!({"Bucket": "records", "ContinuationToken": "not one"})
        ),
        "InvalidArgument"
    );
}

#[test]
fn a_body_that_is_not_what_its_sums_say_is_refused() {
    let (place, boto) = with_bucket();
    let sums = [
        ("ContentMD5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("ContentMD5", "nonsense", "InvalidDigest"),
        ("ChecksumCRC32", "AAAAAA==", "BadDigest"),
        ("ChecksumSHA256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "BadDigest"),
    ];
    for (name, sum, code) in sums {
        assert_eq!(
            boto.code(
                "s3",
                "put_object",
                json!({"Bucket": "records", "Key": "k", "Body": blob(b"1"), name: sum})
            ),
            code,
            "{name}"
        );
    }
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}/records/k", place.endpoint);
    let wrong = agent.put(&url).header("x-amz-content-sha256", &"0".repeat(64)).send("1").unwrap();
    assert_eq!(wrong.status().as_u16(), 400);
    let right = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
    assert_eq!(
        agent.put(&url).header("x-amz-content-sha256", right).send("1").unwrap().status().as_u16(),
        200
    );
    let chunked = |body: &str| {
        let put = agent
            .put(&url)
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("content-encoding", "aws-chunked");
        put.header("x-amz-decoded-content-length", "5")
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .send(body)
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(chunked("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), 200);
    assert_eq!(body(&boto, "k"), b"hello");
    assert_eq!(chunked("5\r\nother\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"), 400);
    assert_eq!(chunked("4\r\nhell\r\n0\r\n\r\n"), 400);
    assert_eq!(chunked("5\r\nhel"), 400);
    assert_eq!(body(&boto, "k"), b"hello");
    assert_eq!(
        std::fs::read_dir(place.directory.path().join("tmp")).unwrap().count(),
        0,
        "what was refused is gone"
    );
}

#[test]
fn an_object_in_parts_is_there_once_it_is_complete() {
    let (_place, boto) = with_bucket();
    let begin = boto.call(
        "s3",
        "create_multipart_upload",
        json!({"Bucket": "records", "Key": "big", "ContentType": "video/mp4", "Metadata": {"a": "b"}}),
    );
    let id = &begin["UploadId"];
    let (first, last) = (vec![1u8; 5 * 1024 * 1024], vec![2u8; 10]);
    let upload = |number: u32, body: &[u8]| {
        let part = json!({"Bucket": "records", "Key": "big", "UploadId": id, "PartNumber": number, "Body": blob(body)});
        json!({"PartNumber": number, "ETag": boto.call("s3", "upload_part", part)["ETag"]})
    };
    upload(1, b"an earlier attempt");
    let parts = [upload(1, &first), upload(3, &last)];
    let complete = |parts: &[Value]| {
        boto.try_call(
            "s3",
            "complete_multipart_upload",
            json!({"Bucket": "records", "Key": "big", "UploadId": id, "MultipartUpload": {"Parts": parts}}),
        )
    };
    let listed_parts =
        boto.call("s3", "list_parts", json!({"Bucket": "records", "Key": "big", "UploadId": id}));
    let sizes: Vec<_> = listed_parts["Parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["Size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [5 * 1024 * 1024, 10]);
    assert_eq!(
        boto.call("s3", "list_multipart_uploads", json!({"Bucket": "records"}))["Uploads"][0]["UploadId"],
        *id
    );
    let error = |parts: &[Value]| complete(parts).unwrap_err().0;
    assert_eq!(error(&[parts[1].clone(), parts[0].clone()]), "InvalidPartOrder");
    assert_eq!(error(&[json!({"PartNumber": 2, "ETag": "\"0\""})]), "InvalidPart");
    assert_eq!(error(&[json!({"PartNumber": 1, "ETag": "\"0\""})]), "InvalidPart");
    assert_eq!(boto.code("s3", "head_object", json!({"Bucket": "records", "Key": "big"})), "404");
    let done = complete(&parts).unwrap();
    assert!(done["ETag"].as_str().unwrap().ends_with("-2\""), "{done}");
    assert_eq!(body(&boto, "big"), [first, last].concat());
    let head = boto.call("s3", "head_object", json!({"Bucket": "records", "Key": "big"}));
    assert_eq!(
        (&head["ContentType"], &head["Metadata"], &head["ETag"]),
        (&json!("video/mp4"), &json!({"a": "b"}), &done["ETag"])
    );
    assert_eq!(error(&parts), "NoSuchUpload");
    let id = boto.call(
        "s3",
        "create_multipart_upload",
        json!({"Bucket": "records", "Key": "other"}),
    )["UploadId"]
        .clone();
    boto.call(
        "s3",
        "abort_multipart_upload",
        json!({"Bucket": "records", "Key": "other", "UploadId": id}),
    );
    assert_eq!(
        boto.code(
            "s3",
            "abort_multipart_upload",
            json!({"Bucket": "records", "Key": "other", "UploadId": "../../x"})
        ),
        "NoSuchUpload"
    );
    boto.call(
        "s3",
        "copy_object",
        json!({"Bucket": "records", "Key": "copy", "CopySource": "records/big"}),
    );
    let copy = boto.call("s3", "head_object", json!({"Bucket": "records", "Key": "copy"}));
    assert_eq!(
        (&copy["ContentLength"], &copy["ContentType"]),
        (&json!(5 * 1024 * 1024 + 10), &json!("video/mp4"))
    );
}

#[test]
fn buckets_are_made_once_and_removed_when_empty() {
    let (_place, boto) = with_bucket();
    assert_eq!(
        boto.code("s3", "create_bucket", json!({"Bucket": "records"})),
        "BucketAlreadyOwnedByYou"
    );
    boto.call("s3", "create_bucket", json!({"Bucket": "other.one"}));
    let buckets = boto.call("s3", "list_buckets", json!({}));
    let names: Vec<_> = buckets["Buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket["Name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["other.one", "records"]);
    boto.call("s3", "head_bucket", json!({"Bucket": "records"}));
    assert_eq!(
        boto.call("s3", "get_bucket_location", json!({"Bucket": "records"}))["LocationConstraint"],
        Value::Null
    );
    assert_eq!(boto.code("s3", "head_bucket", json!({"Bucket": "nowhere"})), "404");
    put(&boto, "k", b"");
    assert_eq!(boto.code("s3", "delete_bucket", json!({"Bucket": "records"})), "BucketNotEmpty");
    boto.call("s3", "delete_object", json!({"Bucket": "records", "Key": "k"}));
    boto.call("s3", "delete_object", json!({"Bucket": "records", "Key": "k"}));
    assert_eq!(
        boto.code("s3", "get_object", json!({"Bucket": "records", "Key": "k"})),
        "NoSuchKey"
    );
    boto.call("s3", "delete_bucket", json!({"Bucket": "records"}));
    for operation in ["list_objects_v2", "list_objects", "delete_bucket"] {
        assert_eq!(
            boto.code("s3", operation, json!({"Bucket": "records"})),
            "NoSuchBucket",
            "{operation}"
        );
    }
    assert_eq!(
        boto.code("s3", "put_object", json!({"Bucket": "records", "Key": "k"})),
        "NoSuchBucket"
    );
}
