//! Content codings, as API Gateway takes them off a body before anything else. Pure. Source: API
//! Gateway developer guide, "Payload compression for REST APIs". Where nothing is documented or
//! measured, a request is refused (415) rather than stored damaged; RFC 9110 (section 8.4.1) and
//! RFC 1952 (section 2.2: several gzip members are one body) say what is valid.

use flate2::{Compression, Decompress, FlushDecompress, Status, bufread, bufread::MultiGzDecoder};
use std::{borrow::Cow, fmt, io::Read};
use vtl::gateway::GatewayResponse;

/// Bytes of a body, as sent and inflated. Source: API Gateway quotas, "Payload size".
pub const LARGEST_BODY: usize = 10 * 1024 * 1024;

/// Characters that a message repeats of the codings. Longer ones are not quoted at all: the mask
/// finds a token only while it is whole.
const LONGEST_NAME: usize = 40;

/// Why a body isn't inflated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A coding that API Gateway doesn't know, or several: as sent, where they are short.
    Unknown(Option<String>),
    /// The body isn't in this coding.
    NotInIt(&'static str),
    /// More than [`LARGEST_BODY`], inflated.
    TooLarge,
}

impl Refused {
    pub fn answer(&self) -> GatewayResponse {
        match self {
            Refused::Unknown(_) | Refused::NotInIt(_) => GatewayResponse::UnsupportedMediaType,
            Refused::TooLarge => GatewayResponse::RequestTooLarge,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Unknown(Some(named)) => {
                write!(
                    f,
                    "API Gateway takes no `Content-Encoding: {named}`; it knows gzip, deflate and identity"
                )
            }
            Refused::Unknown(None) => {
                let what = format!("Content-Encoding of more than {LONGEST_NAME} characters");
                write!(f, "API Gateway takes no such {what}; it knows gzip, deflate and identity")
            }
            Refused::NotInIt(coding) => {
                write!(f, "the body isn't {coding}, as its Content-Encoding says")
            }
            Refused::TooLarge => write!(f, "the body is over 10 MB once it is inflated"),
        }
    }
}

/// The body as a sender with `Content-Encoding: gzip` has it.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // Reading from memory can't fail.
    let _ = bufread::GzEncoder::new(body, Compression::default()).read_to_end(&mut out);
    out
}

/// Whether a body in a coding becomes more than so many bytes. Inflates no further than that.
pub fn inflates_over(bytes: usize, headers: &[(String, String)], body: &[u8]) -> bool {
    matches!(inflate_up_to(bytes, headers, body), Err(Refused::TooLarge))
}

/// The body as templates get it.
///
/// # Errors
/// The gateway's own answer, and why.
pub fn inflate<'b>(headers: &[(String, String)], body: &'b [u8]) -> Result<Cow<'b, [u8]>, Refused> {
    inflate_up_to(LARGEST_BODY, headers, body)
}

fn inflate_up_to<'b>(
    most: usize,
    headers: &[(String, String)],
    body: &'b [u8],
) -> Result<Cow<'b, [u8]>, Refused> {
    let named = named(headers);
    match named[..] {
        [] => Ok(Cow::Borrowed(body)),
        _ if is_identity(&named) => Ok(Cow::Borrowed(body)),
        [coding] if coding.eq_ignore_ascii_case("gzip") => gunzip(body, most).map(Cow::Owned),
        [coding] if coding.eq_ignore_ascii_case("deflate") => undeflate(body, most).map(Cow::Owned),
        _ => Err(Refused::Unknown(quoted(headers))),
    }
}

/// The headers' values, unchanged.
fn quoted(headers: &[(String, String)]) -> Option<String> {
    let values: Vec<&str> = values(headers).collect();
    let all = values.join(", ");
    (all.chars().count() <= LONGEST_NAME).then_some(all)
}

fn values(headers: &[(String, String)]) -> impl Iterator<Item = &str> {
    let of_this_name =
        headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-encoding"));
    of_this_name.map(|(_, value)| value.as_str())
}

/// The codings of all headers of this name, in order. An empty header names none.
fn named(headers: &[(String, String)]) -> Vec<&str> {
    values(headers)
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|coding| !coding.is_empty())
        .collect()
}

fn is_identity(named: &[&str]) -> bool {
    matches!(named, [coding] if coding.eq_ignore_ascii_case("identity"))
}

fn gunzip(body: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
    let mut out = Vec::new();
    // One byte more than may be, and no further: a small body can become any size.
    match MultiGzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > most => Err(Refused::TooLarge),
        Ok(_) => Ok(out),
        Err(_) => Err(Refused::NotInIt("gzip")),
    }
}

/// By hand, since flate2's reader takes a stream that is cut off for one that ended.
fn undeflate(body: &[u8], most: usize) -> Result<Vec<u8>, Refused> {
    let broken = Err(Refused::NotInIt("deflate"));
    let mut stream = Decompress::new(true);
    let mut out = Vec::with_capacity((body.len() * 4).clamp(4096.min(most + 1), most + 1));
    loop {
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let Some(rest) = body.get(read..) else { return broken };
        let had = out.len();
        match stream.decompress_vec(rest, &mut out, FlushDecompress::None) {
            _ if out.len() > most => return Err(Refused::TooLarge),
            Ok(Status::StreamEnd) if stream.total_in() == body.len() as u64 => return Ok(out),
            Ok(Status::Ok | Status::BufError) if out.len() == out.capacity() => {
                out.reserve_exact(out.len().min(most + 1 - out.len()));
            }
            // It goes on as long as there is something to read or to write.
            Ok(Status::Ok) if stream.total_in() > read as u64 || out.len() > had => {}
            _ => return broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::{DeflateEncoder, ZlibEncoder};
    use std::io::Write;

    const JSON: &[u8] = b"[{\"event\":\"open\",\"text\":\"\xc3\xbc\"}]";

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![], Compression::best());
        encoder.write_all(body).and_then(|()| encoder.finish()).expect("a vector takes all")
    }

    fn raw_deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(vec![], Compression::best());
        encoder.write_all(body).and_then(|()| encoder.finish()).expect("a vector takes all")
    }

    fn headers(codings: &[&str]) -> Vec<(String, String)> {
        let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        headers.extend(
            codings.iter().map(|coding| ("content-Encoding".to_owned(), (*coding).to_owned())),
        );
        headers
    }

    fn taken(codings: &[&str], body: &[u8]) -> Result<Vec<u8>, u16> {
        inflate(&headers(codings), body)
            .map(Cow::into_owned)
            .map_err(|refused| refused.answer().status())
    }

    #[test]
    fn gzip_and_deflate_are_inflated_and_identity_is_let_through() {
        for codings in [&[][..], &["identity"], &["Identity "], &[""], &[" "], &[","]] {
            assert_eq!(taken(codings, JSON), Ok(JSON.to_vec()), "{codings:?}");
        }
        for coding in ["gzip", "GZIP", " gzip ", "gzip,"] {
            assert_eq!(taken(&[coding], &gzip(JSON)), Ok(JSON.to_vec()), "{coding}");
        }
        for coding in ["deflate", "Deflate"] {
            assert_eq!(taken(&[coding], &zlib(JSON)), Ok(JSON.to_vec()), "{coding}");
        }
        assert_eq!(
            taken(&["gzip"], &[gzip(b"[1,"), gzip(b"2]")].concat()),
            Ok(b"[1,2]".to_vec()),
            "two members"
        );
        assert_eq!(taken(&["gzip"], &gzip(b"")), Ok(vec![]));
        assert_eq!(taken(&["deflate"], &zlib(b"")), Ok(vec![]));
        // Larger than any first guess of the size.
        let long = b"0123456789".repeat(500_000);
        assert_eq!(taken(&["gzip"], &gzip(&long)).map(|body| body == long), Ok(true));
        assert_eq!(taken(&["deflate"], &zlib(&long)).map(|body| body == long), Ok(true));
    }

    #[test]
    fn a_body_is_inflated_no_further_than_is_needed_to_know_that_it_is_large() {
        let long = b"0123456789".repeat(10_000);
        for (coding, body) in [("gzip", gzip(&long)), ("deflate", zlib(&long))] {
            for (bytes, expected) in
                [(10, true), (long.len() - 1, true), (long.len(), false), (long.len() + 1, false)]
            {
                assert_eq!(
                    inflates_over(bytes, &headers(&[coding]), &body),
                    expected,
                    "{coding} {bytes}"
                );
            }
            // It ends wrongly, but behind what is looked at.
            assert!(inflates_over(100, &headers(&[coding]), &body[..body.len() - 1]), "{coding}");
        }
        for codings in [&[][..], &["identity"], &["br"], &["gzip"]] {
            assert!(!inflates_over(10, &headers(codings), &long), "{codings:?}");
        }
    }

    #[test]
    fn any_other_coding_and_a_body_that_is_not_in_its_coding_is_refused() {
        let twice = gzip(&gzip(JSON));
        for codings in [
            &["br"][..],
            &["zstd"],
            &["compress"],
            &["x-gzip"],
            &["gzip;q=1"],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["identity, gzip"],
            &["utf-8"],
            &["*"],
        ] {
            assert_eq!(taken(codings, &twice), Err(415), "{codings:?}");
            assert_eq!(taken(codings, &gzip(JSON)), Err(415), "{codings:?}");
        }
        let (whole, wrapped) = (gzip(JSON), zlib(JSON));
        let mut flipped = whole.clone();
        let checksum = flipped.len() - 8;
        flipped[checksum] ^= 1;
        for (what, body) in [
            ("plain", JSON),
            ("empty", b""),
            ("zlib", &wrapped),
            ("a wrong checksum", &flipped),
            ("something behind it", &[&whole[..], b"x"].concat()),
            ("zeros behind it", &[&whole[..], &[0; 512]].concat()),
            ("half a second member", &[&whole[..], &whole[..12]].concat()),
        ] {
            assert_eq!(taken(&["gzip"], body), Err(415), "{what}");
        }
        let mut flipped = wrapped.clone();
        *flipped.last_mut().expect("a checksum") ^= 1;
        for (what, body) in [
            ("plain", JSON),
            ("empty", b""),
            ("gzip", &whole),
            ("raw deflate", &raw_deflate(JSON)),
            ("a wrong checksum", &flipped),
            ("something behind it", &[&wrapped[..], b"x"].concat()),
        ] {
            assert_eq!(taken(&["deflate"], body), Err(415), "{what}");
        }
        for length in 0..whole.len() {
            assert_eq!(taken(&["gzip"], &whole[..length]), Err(415), "cut off after {length}");
        }
        for length in 0..wrapped.len() {
            assert_eq!(taken(&["deflate"], &wrapped[..length]), Err(415), "cut off after {length}");
        }
    }

    #[test]
    fn what_becomes_larger_than_a_body_may_be_is_refused_without_being_inflated_whole() {
        let zeros = vec![0; 4 * LARGEST_BODY];
        let (whole, wrapped) = (gzip(&zeros), zlib(&zeros));
        assert!(whole.len() < 64 * 1024 && wrapped.len() < 64 * 1024);
        assert_eq!(taken(&["gzip"], &whole), Err(413));
        assert_eq!(taken(&["deflate"], &wrapped), Err(413));
        for most in [LARGEST_BODY, LARGEST_BODY - 1] {
            assert_eq!(taken(&["gzip"], &gzip(&zeros[..most])).map(|body| body.len()), Ok(most));
            assert_eq!(taken(&["deflate"], &zlib(&zeros[..most])).map(|body| body.len()), Ok(most));
        }
        assert_eq!(taken(&["gzip"], &gzip(&zeros[..=LARGEST_BODY])), Err(413));
        assert_eq!(taken(&["deflate"], &zlib(&zeros[..=LARGEST_BODY])), Err(413));
        // What ends wrongly is too large all the same: nothing reads as far.
        assert_eq!(taken(&["gzip"], &whole[..whole.len() - 20]), Err(413));
    }
}
