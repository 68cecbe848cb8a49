//! `routeto dev` under load: the real binary, POSTs of 2 KB that end in its own S3. Start, latency at one connection, throughput at 32, memory.
//!
//! `cargo bench --bench dev`; with `-- 100000`, as many requests at 32 connections. Client and server share the machine's processors.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const STACK: &str = "stack: bench\nroutes:\n  /input:\n    s3: { bucket: bench }\nstages:\n  prod: {}\n";
const CONNECTIONS: usize = 32;

fn main() {
    let requests = std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(20_000_usize);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("stack.yaml"), STACK).unwrap();
    let started = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_routeto"));
    command.current_dir(directory.path()).args(["dev", "stack.yaml", "--port", "0", "--output", "json", "--show-token"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    println!("start: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let address = ready["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let token = ready["stages"]["prod"]["token"].as_str().unwrap();
    let body = format!("[{{\"email\":\"someone@example.com\",\"event\":\"delivered\",\"price\":1.50,\"text\":\"{}\"}}]", "x".repeat(1965));
    let request = format!(
        "POST /prod/input?token={token} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    println!("memory after the start: {} MB", memory(child.id()));

    posts(address, &request, 500);
    let mut alone = posts(address, &request, 2000);
    alone.sort();
    println!("1 connection, 2000 POSTs of {} bytes: median {:?}, p99 {:?}", body.len(), alone[1000], alone[1980]);

    let begun = Instant::now();
    let mut all: Vec<Duration> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| posts(address, &request, requests / CONNECTIONS))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let rate = all.len() as f64 / begun.elapsed().as_secs_f64();
    all.sort();
    println!(
        "{CONNECTIONS} connections, {} POSTs: {rate:.0} a second, median {:?}, p99 {:?}",
        all.len(),
        all[all.len() / 2],
        all[all.len() * 99 / 100]
    );
    println!("memory after {} requests: {} MB", 2500 + all.len(), memory(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// As many POSTs one after the other on one connection; each must be answered 200.
fn posts(address: &str, request: &str, count: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 8192];
    (0..count)
        .map(|_| {
            let sent = Instant::now();
            stream.write_all(request.as_bytes()).unwrap();
            let mut read = 0;
            loop {
                read += stream.read(&mut buffer[read..]).unwrap();
                let text = std::str::from_utf8(&buffer[..read]).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    assert!(head.starts_with("HTTP/1.1 200"), "{text}");
                    return sent.elapsed();
                }
            }
        })
        .collect()
}

/// Megabytes in use, as Linux counts them.
fn memory(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.map_or_else(|| "?".into(), |kilobytes| format!("{:.0}", kilobytes / 1e3))
}
