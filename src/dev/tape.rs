//! The head of a request as it came over the connection: hyper keeps header names in lower case,
//! templates see them as they were sent.
//!
//! Only a help: where what was seen doesn't agree with what hyper read (pipelined requests,
//! HTTP/2), hyper's own names count.

use super::Patience;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A larger head is not looked at: it gets no answer of a template's.
const LONGEST: usize = 64 * 1024;

/// How an HTTP/2 connection begins. Source: RFC 9113, section 3.4. As long as what came can be it,
/// hyper waits for the rest, and for ever.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that remembers the head of the request that it carries.
pub struct Taped {
    stream: TcpStream,
    tape: Tape,
    /// How much of the preface has come, and for how long the rest is waited for; none once it is
    /// known what is spoken.
    opening: Option<(usize, Patience)>,
}

#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    head: Vec<u8>,
    done: bool,
}

impl Tape {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, bytes: &[u8]) {
        let mut seen = self.seen();
        if seen.done || bytes.is_empty() {
            return;
        }
        let from = seen.head.len().saturating_sub(3);
        seen.head.extend_from_slice(bytes);
        if let Some(end) = memchr::memmem::find(&seen.head[from..], b"\r\n\r\n") {
            seen.head.truncate(from + end + 2);
            seen.done = true;
        } else if seen.head.len() > LONGEST {
            seen.head.clear();
            seen.done = true;
        }
    }

    /// To be called when a request was read to its end: the next bytes are the next one's.
    pub fn rewind(&self) {
        let mut seen = self.seen();
        seen.head.clear();
        seen.done = false;
    }

    /// The headers with their names as sent, in order, if they are those that hyper read.
    pub fn headers(&self, read: &http::HeaderMap) -> Option<Vec<(String, String)>> {
        let seen = self.seen();
        if !seen.done {
            return None;
        }
        let mut headers = Vec::with_capacity(read.len());
        for line in seen.head.split(|byte| *byte == b'\n').skip(1) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if !read
                .get_all(http::HeaderName::from_bytes(name).ok()?)
                .iter()
                .any(|known| known.as_bytes() == value)
            {
                return None;
            }
            headers.push((String::from_utf8_lossy(name).into_owned(), text(value)));
        }
        (headers.len() == read.len()).then_some(headers)
    }
}

/// A header's value as text: UTF-8, else latin-1, which every byte sequence is.
pub fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
    }
}

impl Taped {
    /// A connection that doesn't say within `patience` what it speaks is broken off.
    pub fn new(stream: TcpStream, tape: Tape, patience: Duration) -> Self {
        Self { stream, tape, opening: Some((0, super::patience(patience))) }
    }
}

impl AsyncRead for Taped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = &buffer.filled()[before..];
        self.tape.record(read);
        if let Some((seen, patience)) = &mut self.opening {
            let rest = &PREFACE[*seen..];
            *seen += read.len();
            if read.len() >= rest.len() || !rest.starts_with(read) {
                self.opening = None;
            } else if polled.is_pending() && patience.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Taped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue};

    fn read(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
            })
            .collect()
    }

    #[test]
    fn names_keep_their_case_and_order_however_the_bytes_come() {
        let tape = Tape::default();
        for chunk in [
            &b"POST /a HTTP/1.1\r\nX-GitHub-"[..],
            b"Event: push\r\nhost:h\r",
            b"\n",
            b"\r\nX-Body: none\r\n\r\n",
        ] {
            tape.record(chunk);
        }
        let expected =
            [("X-GitHub-Event".to_owned(), "push".to_owned()), ("host".to_owned(), "h".to_owned())];
        assert_eq!(
            tape.headers(&read(&[("x-github-event", "push"), ("host", "h")])).expect("a head"),
            expected
        );
        assert_eq!(tape.headers(&read(&[("x-github-event", "push")])), None);
        tape.rewind();
        assert_eq!(tape.headers(&read(&[])), None);
    }

    #[test]
    fn a_value_that_is_no_utf_8_is_latin_1() {
        assert_eq!((text("é".as_bytes()), text(b"\xe9")), ("é".to_owned(), "é".to_owned()));
    }
}
