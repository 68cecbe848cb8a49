//! What `dev` takes of the machine's memory, whatever comes at one time. Bounds in bytes: nothing
//! here is timed.

use crate::harness::{Dev, JSON, Place};
use crate::support::query;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

const YAML: &str = r#"
stack: memory
routes:
  /raw:
    s3: { bucket: "memory-${stage}" }
stages:
  prod: {}
"#;

/// Bytes. Each round alone takes three to ten times as much where nothing is bounded.
const BOUND: u64 = 300 << 20;

/// Sends so many at one time; how often each status came.
fn at_once(dev: &Dev, many: usize, coding: &str, body: &[u8]) -> BTreeMap<String, usize> {
    let address = dev.base().strip_prefix("http://").unwrap();
    let target = format!("/prod/raw{}", query(&[("token", &dev.token("prod"))]));
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Encoding: {coding}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let send = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let mut statuses = BTreeMap::new();
    thread::scope(|scope| {
        let sent: Vec<_> = (0..many).map(|_| scope.spawn(send)).collect();
        for sent in sent {
            *statuses.entry(sent.join().unwrap()).or_default() += 1;
        }
    });
    statuses
}

/// Linux tells the most that a process ever had.
#[cfg(target_os = "linux")]
#[test]
fn many_large_bodies_at_one_time_take_no_more_than_a_few() {
    let place = Place::new(YAML);
    let dev = place.dev();
    let text = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8)).into_bytes();
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    encoder.write_all(&vec![b' '; 40 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    for (status, many, coding, body) in [
        ("200", 24, "identity", text(4_400_000)),
        ("413", 50, "identity", text(10_000_000)),
        ("413", 50, "gzip", bomb),
    ] {
        let statuses = at_once(&dev, many, coding, &body);
        // On a busy machine some wait for too long; each is answered.
        assert!(
            statuses.keys().all(|said| [status, "503"].contains(&said.as_str())),
            "{coding} {}: {statuses:?}",
            body.len()
        );
        assert!(
            statuses.get(status).is_some_and(|some| *some > 0),
            "{coding} {}: {statuses:?}",
            body.len()
        );
        let peak = dev.peak_memory();
        assert!(peak < BOUND, "{coding} {}: {} MB, {statuses:?}", body.len(), peak >> 20);
    }
}
