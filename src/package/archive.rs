//! The zip that Lambda takes: written so that the same program always gives the same bytes, read so
//! that a wrong one is told before AWS is.
//!
//! Knows zips; what is inside the program is `elf`'s.

use crate::error::Failure;
use std::{
    fs::File,
    io::{Cursor, Read, Write},
    path::Path,
};
use zip::{
    CompressionMethod, DateTime, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions,
};

/// Bytes of a zip that is uploaded directly. Source: Lambda quotas, "Deployment package (.zip file
/// archive) size".
pub const LARGEST_ZIP: u64 = 50 * 1024 * 1024;

/// Bytes of all that a zip holds. Source: Lambda quotas, same line.
pub const LARGEST_CONTENT: u64 = 250 * 1024 * 1024;

/// Above 9 it is zopfli's deflate, with as many iterations as there are above 9. Of a bootstrap of
/// 4.31 MB: 9 made 2,321,171 bytes in half a second, 10 made 2,283,070 in 9, 24 made 2,276,750 in
/// 22 (two busy cores).
pub const LEVEL: i64 = 10;

/// `bootstrap` alone, mode 0755, at the oldest time that a zip can tell, compressed by zopfli.
pub fn write(bootstrap: &[u8]) -> Vec<u8> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o755);
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(bootstrap.len() / 2)));
    zip.start_file("bootstrap", options).expect("one entry with a plain name");
    zip.write_all(bootstrap).expect("memory takes it");
    zip.finish().expect("memory takes it").into_inner()
}

/// Whether Lambda takes a zip of this size in the call itself.
pub fn check_size(place: &str, bytes: u64) -> Result<(), Failure> {
    if bytes <= LARGEST_ZIP {
        return Ok(());
    }
    let what = format!("the zip has {bytes} bytes, Lambda takes at most {LARGEST_ZIP}");
    Err(Failure::new(place, what).now(
        "strip the program (`strip = true` in its profile) and leave other files out of the zip",
    ))
}

/// The bytes of a zip that the user names.
pub fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let place = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        Failure::new(&place, format!("--function-zip can't be read: {error}"))
            .now("give the path of a zip, or leave --function-zip out to build one")
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Failure::new(&place, "--function-zip is not a file")
            .now("give the path of a zip, or leave --function-zip out to build one"));
    }
    check_size(&place, metadata.len())?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // One byte more than is taken shows a file that grew meanwhile.
    file.take(LARGEST_ZIP + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    check_size(&place, bytes.len() as u64)?;
    Ok(bytes)
}

/// The program in a zip that was built elsewhere. `place` names the zip in an error.
pub fn read(zip: &[u8], place: &str) -> Result<Vec<u8>, Failure> {
    let again = "make it again: chmod 755 bootstrap && zip function.zip bootstrap";
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(|error| {
        Failure::new(place, format!("it is not a zip that can be read: {}", words(&error)))
            .now(again)
    })?;
    let elsewhere = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| name.ends_with("/bootstrap"))
        .map(|name| name.into_owned());
    let entry = match archive.by_name("bootstrap") {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => {
            let what = match elsewhere {
                Some(name) => {
                    format!("it has `{name}`, but Lambda looks for `bootstrap` at the top")
                }
                None => "it has no `bootstrap`".to_owned(),
            };
            return Err(Failure::new(place, what).now("zip the program as `bootstrap`, without a directory: zip -j function.zip bootstrap"));
        }
        Err(error) => {
            return Err(Failure::new(
                place,
                format!("its `bootstrap` can't be read: {}", words(&error)),
            )
            .now(again));
        }
    };
    if !entry.is_file() {
        return Err(Failure::new(place, "its `bootstrap` is not a plain file").now(again));
    }
    let mode = entry.unix_mode().unwrap_or(0) & 0o777;
    if mode & 0o555 != 0o555 {
        let what = format!(
            "its `bootstrap` has mode {mode:04o}, everybody must be able to read and run it (0755)"
        );
        return Err(Failure::new(place, what).now(again));
    }
    let mut bootstrap = Vec::new();
    entry.take(LARGEST_CONTENT + 1).read_to_end(&mut bootstrap).map_err(|error| {
        Failure::new(place, format!("its `bootstrap` can't be read: {error}")).now(again)
    })?;
    if bootstrap.len() as u64 > LARGEST_CONTENT {
        return Err(Failure::new(
            place,
            "its `bootstrap` has more than the 250 MB that Lambda takes",
        )
        .now("strip the program"));
    }
    Ok(bootstrap)
}

fn words(error: &ZipError) -> String {
    match error {
        ZipError::InvalidArchive(what) => what.to_string(),
        ZipError::UnsupportedArchive(what) => (*what).to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zip_with(name: &str, mode: u32, bytes: &[u8]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(mode)).unwrap();
        zip.write_all(bytes).unwrap();
        zip.finish().unwrap().into_inner()
    }

    fn error(zip: &[u8]) -> String {
        read(zip, "f.zip").unwrap_err().to_string()
    }

    const AGAIN: &str =
        "\n  = help: make it again: chmod 755 bootstrap && zip function.zip bootstrap";

    #[test]
    fn what_is_written_has_one_executable_bootstrap_of_1980_and_the_same_bytes_each_time() {
        let program = b"abcabcabc".repeat(1000);
        let zip = write(&program);
        assert_eq!(zip, write(&program));
        assert_eq!(read(&zip, "f.zip").unwrap(), program);
        let mut archive = ZipArchive::new(Cursor::new(&zip)).unwrap();
        assert_eq!(archive.len(), 1);
        let entry = archive.by_index(0).unwrap();
        assert_eq!(entry.name().unwrap(), "bootstrap");
        assert_eq!(entry.unix_mode(), Some(0o100755));
        assert_eq!(entry.compression(), CompressionMethod::Deflated);
        assert_eq!(
            entry.last_modified().map(|time| time.to_string()),
            Some("1980-01-01 00:00:00".to_owned())
        );
    }

    #[test]
    fn a_zip_without_bootstrap_says_where_it_should_be() {
        let help = "\n  = help: zip the program as `bootstrap`, without a directory: zip -j function.zip bootstrap";
        assert_eq!(
            error(&zip_with("main", 0o755, b"")),
            format!("f.zip: it has no `bootstrap`{help}")
        );
        assert_eq!(
            error(&zip_with("target/bootstrap", 0o755, b"")),
            format!(
                "f.zip: it has `target/bootstrap`, but Lambda looks for `bootstrap` at the top{help}"
            )
        );
    }

    #[test]
    fn a_bootstrap_that_not_everybody_can_run_is_refused_with_its_mode() {
        for (mode, told) in [(0o644, "0644"), (0o700, "0700")] {
            assert_eq!(
                error(&zip_with("bootstrap", mode, b"")),
                format!(
                    "f.zip: its `bootstrap` has mode {told}, everybody must be able to read and run it (0755){AGAIN}"
                )
            );
        }
    }

    #[test]
    fn what_is_no_zip_is_told_and_a_broken_one_never_panics() {
        assert_eq!(
            error(b"PK nothing"),
            format!("f.zip: it is not a zip that can be read: Could not find EOCD{AGAIN}")
        );
        let whole = write(b"program");
        for end in 0..whole.len() {
            assert!(read(&whole[..end], "f.zip").is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = read(&broken, "f.zip");
        }
    }

    #[test]
    fn a_zip_over_lambdas_limit_is_refused_before_it_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(LARGEST_ZIP + 1).unwrap();
        let text = read_file(file.path()).unwrap_err().to_string();
        assert!(
            text.contains(": the zip has 52428801 bytes, Lambda takes at most 52428800\n"),
            "{text}"
        );
    }

    #[test]
    fn a_path_that_is_no_file_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        let help = "\n  = help: give the path of a zip, or leave --function-zip out to build one";
        let missing = scratch.path().join("none.zip");
        assert_eq!(
            read_file(&missing).unwrap_err().to_string(),
            format!(
                "{}: --function-zip can't be read: No such file or directory (os error 2){help}",
                missing.display()
            )
        );
        assert_eq!(
            read_file(scratch.path()).unwrap_err().to_string(),
            format!("{}: --function-zip is not a file{help}", scratch.path().display())
        );
    }
}
