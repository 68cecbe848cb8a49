//! What no client means to send: nothing of it may end the server or be answered with nothing.

use crate::{boto::Boto, place::Place};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// The status of the answer to these bytes; 0 where the connection was closed without one.
fn raw(place: &Place, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(place.endpoint.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A small generator: the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }
}

#[test]
fn whatever_is_sent_the_store_answers_and_goes_on() {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    place.store.create_queue("events", BTreeMap::new()).unwrap();
    let mut dice = Dice(0x5eed);
    let methods = ["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH", "OPTIONS", "BREW"];
    let paths = [
        "/",
        "/records",
        "/records/",
        "/records/k",
        "/records/../../etc/passwd",
        "/records/%00",
        "/records/%ff%fe",
        "/RECORDS/k",
        "//",
        "/records//",
        "/%",
        "/records/%zz",
        "/x",
        "/records?uploads",
        "/records/k?uploadId=../../x&partNumber=1",
        "/records/k?partNumber=99999999999&uploadId=x",
        "/records?list-type=2&max-keys=-1",
        "/records?list-type=2&max-keys=nonsense",
        "/records?delete",
        "/records?location",
        "/records/k?X-Amz-Signature=1&X-Amz-Date=%ff",
        "/records?list-type=2&continuation-token=%ff",
        "/records/k?uploads",
        "/records?acl",
        "/records?versioning",
        "/records/k?tagging",
        "/?x=%",
        "/records/k?response-content-type=%0d%0aset-cookie:x",
    ];
    let headers: [&[u8]; 30] = [
        b"authorization: nonsense",
        b"authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=, Signature=",
        b"x-amz-target: AmazonSQS.SendMessage",
        b"x-amz-target: AmazonSQS.",
        b"x-amz-target: AmazonSQS.ReceiveMessage",
        b"x-amz-target: \xff",
        b"content-type: \xff\xfe",
        b"content-type: application/x-www-form-urlencoded",
        b"content-type: multipart/form-data",
        b"content-type: multipart/form-data; boundary=\xff",
        b"content-type: multipart/form-data; boundary=x",
        b"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        b"x-amz-content-sha256: zz",
        b"content-encoding: aws-chunked,gzip",
        b"x-amz-decoded-content-length: 99999999999999999999",
        b"x-amz-decoded-content-length: -1",
        b"range: bytes=5-1",
        b"range: bytes=99999999999999999999-",
        b"range: nonsense",
        b"if-match: \"",
        b"if-none-match: *, \"a\"",
        b"if-modified-since: yesterday",
        b"x-amz-meta-a: \xc3\xa9\x80",
        b"x-amz-copy-source: /../../x",
        b"x-amz-copy-source: records/%",
        b"expires: never",
        b"content-md5: \xff",
        b"x-amz-checksum-crc32: =",
        b"x-amz-trailer: x-amz-checksum-crc32, x-amz-checksum-crc32",
        b"host: \xff",
    ];
    let bodies: [&[u8]; 12] = [
        b"", b"{}", b"{\"QueueUrl\":\"/events\"}", b"{\"QueueUrl\":\"/events\",\"MessageBody\":1}", b"[", b"\xff\xfe", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n",
        b"{\"QueueUrl\":\"/events\",\"MaxNumberOfMessages\":99999999999999999999}", b"<Delete><Object></Delete>", b"<Delete><Object><Key>a</Key></Object></Delete>",
        b"--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n../x\r\n--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n1\r\n--x--\r\n",
    ];
    let mut seen = BTreeMap::new();
    for case in 0..3000 {
        let mut request = format!(
            "{} {} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n",
            dice.pick(&methods),
            dice.pick(&paths)
        )
        .into_bytes();
        for _ in 0..dice.roll(4) {
            request.extend_from_slice(dice.pick(&headers));
            request.extend_from_slice(b"\r\n");
        }
        let body = dice.pick(&bodies);
        // now and then the body is shorter than it says
        let length = body.len() + usize::from(dice.roll(10) == 0);
        request.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        request.extend_from_slice(body);
        let status = raw(&place, &request);
        assert!(
            status < 500 || status == 501,
            "case {case} was answered {status}:\n{}",
            String::from_utf8_lossy(&request)
        );
        *seen.entry(status).or_insert(0) += 1;
    }
    assert!(
        seen.contains_key(&200) && seen.contains_key(&400) && seen.contains_key(&404),
        "{seen:?}"
    );
    // a DELETE of the bucket was among it
    place.store.create_bucket("records").unwrap();
    let boto = Boto::new(&place.endpoint);
    boto.call("s3", "put_object", json!({"Bucket": "records", "Key": "after"}));
    let mut entries: Vec<String> = std::fs::read_dir(place.directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    entries.sort();
    assert_eq!(entries, ["s3", "sqs", "tmp"]);
    assert_eq!(std::fs::read_dir(place.directory.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn who_still_speaks_the_query_protocol_is_told_what_to_do() {
    let place = Place::new();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent
        .post(&place.endpoint)
        .header("content-type", "application/x-www-form-urlencoded")
        .send("Action=ListQueues")
        .unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    let text = answer.body_mut().read_to_string().unwrap();
    assert!(text.contains("take an AWS SDK or CLI from November 2023 or later"), "{text}");
}

#[test]
fn a_disk_without_room_is_an_error_and_nothing_more() {
    let place = Place::new();
    place.store.create_bucket("records").unwrap();
    let boto = Boto::new(&place.endpoint);
    // as a file system does that takes no more
    std::fs::remove_dir(place.directory.path().join("tmp")).unwrap();
    assert_eq!(
        boto.code(
            "s3",
            "put_object",
            json!({"Bucket": "records", "Key": "k", "Body": {"base64": "MQ=="}})
        ),
        "InternalError"
    );
    std::fs::create_dir(place.directory.path().join("tmp")).unwrap();
    boto.call(
        "s3",
        "put_object",
        json!({"Bucket": "records", "Key": "k", "Body": {"base64": "MQ=="}}),
    );
}
