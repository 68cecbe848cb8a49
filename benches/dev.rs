//! `routeto dev` under load: the real binary, POSTs of 2 KB that end in its own S3. Start, latency
//! at one connection, throughput at 32, memory.
//!
//! `cargo bench --bench dev`; with `-- 100000`, as many requests at 32 connections. Client and
//! server share the machine's processors. For five minutes after many files were removed (this
//! bench's own, at its end) ext4 makes new ones slowly: docs/performance.md.
//!
//! `ROUTETO_BENCH_BESIDE="name=http://host/path?query …"`: the same requests to these servers before it, for a comparison in one run; see
//! `benches/dev_others/run.sh`. `ROUTETO_BENCH_SQS=1` has routeto's records go to its SQS.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const S3: &str =
    "stack: bench\nroutes:\n  /input:\n    s3: { bucket: bench }\nstages:\n  prod: {}\n";
const SQS: &str =
    "stack: bench\nroutes:\n  /input:\n    sqs: { queue: bench }\nstages:\n  prod: {}\n";
const CONNECTIONS: usize = 32;
/// Memory is looked at this often.
const PORTION: usize = 20_000;
const STARTS: usize = 11;
/// Others get this long at 32 connections, and half of it at one: what they do in an hour is no
/// more telling.
const OTHERS: Duration = Duration::from_secs(10);

fn main() {
    let requests =
        std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(20_000_usize);
    let body = format!(
        "[{{\"email\":\"someone@example.com\",\"event\":\"delivered\",\"price\":1.50,\"text\":\"{}\"}}]",
        "x".repeat(1965)
    );
    println!("POSTs of {} bytes", body.len());

    for other in std::env::var("ROUTETO_BENCH_BESIDE").unwrap_or_default().split_whitespace() {
        let (name, url) = other.split_once('=').expect("name=url");
        let target = Target::new(url, &body);
        println!("\n{name}");
        target.posts(Until::Count(20));
        Report::of(1, || target.posts(Until::Time(Instant::now() + OTHERS / 2))).print();
        Report::of(CONNECTIONS, || target.posts(Until::Time(Instant::now() + OTHERS))).print();
    }

    println!("\nrouteto dev");
    let directory = tempfile::tempdir().unwrap();
    let stack = if std::env::var_os("ROUTETO_BENCH_SQS").is_some() { SQS } else { S3 };
    std::fs::write(directory.path().join("stack.yaml"), stack).unwrap();
    let mut dev = Dev::start(directory.path());
    dev.kill();
    let first = dev.took;
    println!(
        "start until it answers: {first:.0?} in an empty directory, {}",
        starts(directory.path())
    );
    let mut dev = Dev::start(directory.path());
    let target = Target::new(&dev.url, &body);
    println!("memory after the start: {} MB", dev.memory());
    target.posts(Until::Count(500));
    Report::of(1, || target.posts(Until::Count(3000))).print();
    let mut done = 3500;
    while done < requests {
        let portion = PORTION.min(requests - done + CONNECTIONS);
        let before = dev.processor();
        Report::of(CONNECTIONS, || target.posts(Until::Count(portion / CONNECTIONS))).print();
        done += portion;
        let each = (dev.processor() - before) / portion as f64 * 1e6;
        println!(
            "after {done} requests: memory {} MB; the server's processor time {each:.0} µs a request",
            dev.memory()
        );
    }
    dev.kill();
    println!("start until it answers, with all these records: {}", starts(directory.path()));
}

/// How long it takes from the process's start to its first answer, in a directory that it knows.
fn starts(directory: &Path) -> String {
    let mut took: Vec<Duration> = (0..STARTS)
        .map(|_| {
            let mut dev = Dev::start(directory);
            dev.kill();
            dev.took
        })
        .collect();
    took.sort();
    format!("then median {:.0?}, longest {:.0?} of {STARTS}", took[STARTS / 2], took[STARTS - 1])
}

struct Dev {
    child: Child,
    took: Duration,
    url: String,
}

impl Dev {
    fn start(directory: &Path) -> Dev {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
        command.current_dir(directory).args([
            "dev",
            "stack.yaml",
            "--port",
            "0",
            "--output",
            "json",
            "--show-token",
        ]);
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let (base, token) =
            (ready["url"].as_str().unwrap(), ready["stages"]["prod"]["token"].as_str().unwrap());
        let nowhere = Target::new(&format!("{base}/prod/nowhere"), "");
        assert!(nowhere.post(&mut nowhere.connect()).starts_with("HTTP/1.1 403"));
        Dev { child, took: started.elapsed(), url: format!("{base}/prod/input?token={token}") }
    }

    /// Megabytes in use now and at most, as Linux counts them.
    fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let of = |name: &str| {
            let kilobytes = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|line| line.split_whitespace().next()?.parse().ok());
            kilobytes
                .map_or_else(|| "?".into(), |kilobytes: f64| format!("{:.1}", kilobytes * 1.024e-3))
        };
        format!("{} (at most {})", of("VmRSS:"), of("VmHWM:"))
    }

    /// Seconds of processor time so far: what another program takes from the machine doesn't count.
    fn processor(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The name in brackets may hold spaces. In hundredths of a second on every Linux of today.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[derive(Clone, Copy)]
enum Until {
    Count(usize),
    Time(Instant),
}

/// What callers at so many connections saw.
struct Report {
    connections: usize,
    took: Duration,
    good: Vec<Duration>,
    bad: usize,
}

impl Report {
    fn of(connections: usize, posts: impl Fn() -> Vec<(bool, Duration)> + Sync) -> Report {
        let begun = Instant::now();
        let all: Vec<(bool, Duration)> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..connections).map(|_| scope.spawn(&posts)).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        });
        let mut good: Vec<Duration> = all.iter().filter(|post| post.0).map(|post| post.1).collect();
        good.sort();
        Report { connections, took: begun.elapsed(), bad: all.len() - good.len(), good }
    }

    fn print(&self) {
        let Report { connections, took, good, bad } = self;
        let plural = if *connections == 1 { "" } else { "s" };
        print!("{connections} connection{plural}: {} POSTs answered 200", good.len());
        if !good.is_empty() {
            let rate = good.len() as f64 / took.as_secs_f64();
            print!(
                ", {rate:.0} a second, median {:.2?}, p99 {:.2?}",
                good[good.len() / 2],
                good[good.len() * 99 / 100]
            );
        }
        println!("{}", if *bad == 0 { String::new() } else { format!(", {bad} not") });
    }
}

struct Target {
    address: String,
    request: String,
}

impl Target {
    fn new(url: &str, body: &str) -> Target {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Target { address: address.to_owned(), request }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// POSTs one after the other on one connection: whether each was answered 200, and after how
    /// long.
    fn posts(&self, until: Until) -> Vec<(bool, Duration)> {
        let mut stream = self.connect();
        let mut seen = Vec::new();
        while match until {
            Until::Count(count) => seen.len() < count,
            Until::Time(end) => Instant::now() < end,
        } {
            let sent = Instant::now();
            let answer = self.post(&mut stream);
            seen.push((answer.starts_with("HTTP/1.1 200"), sent.elapsed()));
            if !seen.last().unwrap().0 && seen.len() == 1 {
                println!("not 200: {}", answer.chars().take(300).collect::<String>());
            }
        }
        seen
    }

    /// The whole answer; a connection that the server ended is made anew.
    fn post(&self, stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let mut buffer = [0; 8192];
        stream.write_all(self.request.as_bytes()).unwrap();
        while !whole(&answer) {
            let read = stream.read(&mut buffer).unwrap_or(0);
            answer.extend_from_slice(&buffer[..read]);
            if read == 0 {
                *stream = self.connect();
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Whether an answer is there to its end, as its own head tells.
fn whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length:")) {
        Some(length) => answer.len() >= end + 4 + length.trim().parse::<usize>().unwrap(),
        None => head.contains("transfer-encoding: chunked") && answer.ends_with(b"0\r\n\r\n"),
    }
}
