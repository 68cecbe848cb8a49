//! What a program asks of the machine it runs on: the processor, and the newest glibc.
//!
//! Reads bytes; runs nothing.

use super::{Glibc, NEWEST_GLIBC};
use crate::error::Failure;
use crate::spec::Architecture;
use object::{
    Endianness, SymbolIndex,
    elf::{self, FileHeader64},
    read::elf::{FileHeader as _, SectionHeader as _},
};
use std::collections::BTreeMap;

/// AWS's word for it.
pub fn machine_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    }
}

/// What a program needs of glibc: each version, with some of the symbols that ask for it.
#[derive(Debug, PartialEq, Eq)]
struct Needs {
    machine: elf::Machine,
    versions: BTreeMap<Glibc, Vec<String>>,
}

/// The newest glibc that `program` needs, or why Lambda can't run it. `place` names the program in
/// an error.
pub fn check(
    program: &[u8],
    architecture: Architecture,
    place: &str,
) -> Result<Option<Glibc>, Failure> {
    let Some(needs) = needs(program) else {
        let what = if program.starts_with(b"#!") {
            "it is a script, not a 64-bit ELF program"
        } else {
            "it is not a whole 64-bit ELF program"
        };
        return Err(Failure::new(place, what)
            .now("build it for Linux; `routeto package` shows how one is made"));
    };
    let (wanted, name) = match architecture {
        Architecture::X86_64 => (elf::EM_X86_64, "x86_64"),
        Architecture::Arm64 => (elf::EM_AARCH64, "arm64"),
    };
    if needs.machine != wanted {
        let is = match needs.machine {
            elf::EM_X86_64 => "x86_64".to_owned(),
            elf::EM_AARCH64 => "arm64".to_owned(),
            other => format!("machine {}", other.0),
        };
        return Err(Failure::new(
            place,
            format!("it is built for {is}, the stack's architecture is {name}"),
        )
        .now(format!("build it for {name}, or set `function.architecture` in the stack file")));
    }
    let newest = needs.versions.last_key_value();
    if let Some((version, symbols)) = newest
        && *version > NEWEST_GLIBC
    {
        let by = if symbols.is_empty() {
            String::new()
        } else {
            format!(" (for {})", symbols.join(", "))
        };
        let target = match architecture {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        };
        return Err(Failure::new(place, format!("it needs glibc {version}{by}, Lambda's provided.al2023 has {NEWEST_GLIBC}")).now(format!(
            "build on an older distribution (Amazon Linux 2023, Debian 11, Ubuntu 20.04), or give a zip that was built there or for {target}-unknown-linux-musl: --function-zip FILE"
        )));
    }
    Ok(newest.map(|(version, _)| *version))
}

/// `None` where the bytes aren't a whole 64-bit ELF program.
fn needs(program: &[u8]) -> Option<Needs> {
    let header = FileHeader64::<Endianness>::parse(program).ok()?;
    let endian = header.endian().ok()?;
    if !matches!(header.e_type(endian), elf::ET_EXEC | elf::ET_DYN) {
        return None;
    }
    let mut versions = BTreeMap::new();
    let sections = header.sections(endian, program).ok()?;
    // A section that lies beyond the end shows a file cut short, whatever the section is for.
    for section in sections.iter() {
        section.data(endian, program).ok()?;
    }
    if let Some((mut libraries, strings)) = sections.gnu_verneed(endian, program).ok()? {
        let strings = sections.strings(endian, program, strings).ok()?;
        let mut by_index = BTreeMap::new();
        while let Some((_, mut needed)) = libraries.next().ok()? {
            while let Some(needed) = needed.next().ok()? {
                let Some(version) = glibc(needed.name(endian, strings).ok()?) else { continue };
                // The loader goes on without a version that is asked for weakly.
                if needed.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                    continue;
                }
                by_index.insert(needed.vna_other(endian).index().0, version);
                versions.entry(version).or_insert_with(Vec::new);
            }
        }
        name_symbols(&mut versions, &by_index, &sections, endian, program)?;
    }
    Some(Needs { machine: header.e_machine(endian), versions })
}

/// Adds to each version up to three symbols that need it.
fn name_symbols(
    versions: &mut BTreeMap<Glibc, Vec<String>>,
    by_index: &BTreeMap<u16, Glibc>,
    sections: &object::read::elf::SectionTable<'_, FileHeader64<Endianness>>,
    endian: Endianness,
    program: &[u8],
) -> Option<()> {
    let Some(table) = sections.versions(endian, program).ok()? else { return Some(()) };
    let symbols = sections.symbols(endian, program, elf::SHT_DYNSYM).ok()?;
    for (index, symbol) in symbols.enumerate() {
        let index: SymbolIndex = index;
        let Some(version) = by_index.get(&table.version_index(endian, index).index().0) else {
            continue;
        };
        let named = versions.entry(*version).or_default();
        if named.len() < 3 {
            named.push(
                String::from_utf8_lossy(symbols.symbol_name(endian, symbol).ok()?).into_owned(),
            );
        }
    }
    Some(())
}

/// `GLIBC_2.34` or `GLIBC_2.2.5` as a version; `None` for other libraries' and for GLIBC_PRIVATE.
fn glibc(name: &[u8]) -> Option<Glibc> {
    let version = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    // A marker without symbols, which came with glibc 2.36: packed relative relocations.
    if version == "ABI_DT_RELR" {
        return Some(Glibc { major: 2, minor: 36 });
    }
    let mut parts = version.split('.').map(str::parse);
    Some(Glibc { major: parts.next()?.ok()?, minor: parts.next()?.ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub mod tests {
    use super::*;

    /// A hand-made program: header and sections with nothing to run. `needed` are (version, weak,
    /// symbol).
    pub fn program(machine: u16, needed: &[(&str, bool, &str)]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut symbols = vec![0; 24];
        let mut versym = vec![0, 0];
        let mut verneed = Vec::new();
        let file = string("libc.so.6");
        for half in [1, needed.len() as u16] {
            verneed.extend(half.to_le_bytes());
        }
        for word in [file, 16, 0] {
            verneed.extend(word.to_le_bytes());
        }
        for (i, (version, weak, symbol)) in needed.iter().enumerate() {
            let last = i + 1 == needed.len();
            verneed.extend(0u32.to_le_bytes());
            verneed.extend(if *weak { 2u16 } else { 0 }.to_le_bytes());
            verneed.extend((i as u16 + 2).to_le_bytes());
            verneed.extend(string(version).to_le_bytes());
            verneed.extend(if last { 0u32 } else { 16 }.to_le_bytes());
            symbols.extend(string(symbol).to_le_bytes());
            symbols.extend([0x12, 0, 0, 0]);
            symbols.extend([0; 16]);
            versym.extend((i as u16 + 2).to_le_bytes());
        }
        let needs_glibc = !needed.is_empty();
        // (type, link, info, entry size, bytes)
        let sections: Vec<(u32, u32, u32, u64, Vec<u8>)> = if needs_glibc {
            vec![
                (3, 0, 0, 0, strings),
                (11, 1, 1, 24, symbols),
                (0x6fff_ffff, 2, 0, 2, versym),
                (0x6fff_fffe, 1, 1, 0, verneed),
            ]
        } else {
            vec![(3, 0, 0, 0, vec![0])]
        };
        let mut bodies = Vec::new();
        let mut headers = vec![0; 64];
        for (kind, link, info, entry, body) in &sections {
            headers.extend(0u32.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            for word in [0u64, 0, 64 + bodies.len() as u64, body.len() as u64] {
                headers.extend(word.to_le_bytes());
            }
            headers.extend(link.to_le_bytes());
            headers.extend(info.to_le_bytes());
            headers.extend(8u64.to_le_bytes());
            headers.extend(entry.to_le_bytes());
            bodies.extend(body);
            bodies.resize(bodies.len().next_multiple_of(8), 0);
        }
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        out.extend(3u16.to_le_bytes());
        out.extend(machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        for word in [0u64, 0, 64 + bodies.len() as u64] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 0, 64, sections.len() as u16 + 1, 1] {
            out.extend(half.to_le_bytes());
        }
        out.extend(bodies);
        out.extend(headers);
        out
    }

    const X86: u16 = 62;
    const ARM: u16 = 183;

    fn error(program: &[u8], architecture: Architecture) -> String {
        check(program, architecture, "bootstrap").unwrap_err().to_string()
    }

    #[test]
    fn a_program_for_the_right_machine_and_an_old_glibc_is_taken_with_the_version_it_needs() {
        let bytes = program(
            X86,
            &[
                ("GLIBC_2.2.5", false, "read"),
                ("GLIBC_2.34", false, "pthread_create"),
                ("GCC_3.0", false, "_Unwind"),
            ],
        );
        assert_eq!(check(&bytes, Architecture::X86_64, "bootstrap"), Ok(Some(NEWEST_GLIBC)));
        assert_eq!(
            check(&program(ARM, &[("GLIBC_2.17", false, "read")]), Architecture::Arm64, "")
                .unwrap()
                .unwrap()
                .minor,
            17
        );
    }

    #[test]
    fn a_static_program_needs_no_glibc() {
        assert_eq!(check(&program(ARM, &[]), Architecture::Arm64, "bootstrap"), Ok(None));
    }

    #[test]
    fn a_newer_glibc_is_refused_with_the_symbols_that_want_it() {
        let bytes = program(
            X86,
            &[
                ("GLIBC_2.38", false, "__isoc23_strtol"),
                ("GLIBC_2.38", false, "strlcpy"),
                ("GLIBC_2.4", false, "read"),
            ],
        );
        assert_eq!(
            error(&bytes, Architecture::X86_64),
            "bootstrap: it needs glibc 2.38 (for __isoc23_strtol, strlcpy), Lambda's provided.al2023 has 2.34\n  = help: build on an older \
             distribution (Amazon Linux 2023, Debian 11, Ubuntu 20.04), or give a zip that was built there or for x86_64-unknown-linux-musl: \
             --function-zip FILE"
        );
    }

    #[test]
    fn packed_relocations_count_as_the_glibc_that_brought_them() {
        let text =
            error(&program(ARM, &[("GLIBC_ABI_DT_RELR", false, "marker")]), Architecture::Arm64);
        assert!(text.starts_with("bootstrap: it needs glibc 2.36"), "{text}");
    }

    #[test]
    fn a_newer_glibc_that_is_only_asked_for_weakly_is_no_need() {
        let bytes =
            program(X86, &[("GLIBC_2.39", true, "pidfd_spawnp"), ("GLIBC_2.28", false, "read")]);
        assert_eq!(
            check(&bytes, Architecture::X86_64, "").unwrap().unwrap(),
            Glibc { major: 2, minor: 28 }
        );
    }

    #[test]
    fn another_machine_is_told_by_its_name() {
        assert_eq!(
            error(&program(X86, &[]), Architecture::Arm64),
            "bootstrap: it is built for x86_64, the stack's architecture is arm64\n  = help: build it for arm64, or set `function.architecture` in the stack file"
        );
        assert!(
            error(&program(243, &[]), Architecture::X86_64)
                .starts_with("bootstrap: it is built for machine 243,")
        );
    }

    #[test]
    fn what_is_no_program_is_told_and_never_panics() {
        let whole = program(X86, &[("GLIBC_2.38", false, "strlcpy"), ("GLIBC_2.4", false, "read")]);
        for end in 0..whole.len() {
            assert!(
                check(&whole[..end], Architecture::X86_64, "bootstrap").is_err(),
                "cut at {end}"
            );
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = check(&broken, Architecture::X86_64, "bootstrap");
        }
        assert!(
            error(b"#!/bin/sh\n", Architecture::X86_64)
                .starts_with("bootstrap: it is a script, not a 64-bit ELF program\n")
        );
        assert!(
            error(b"", Architecture::X86_64)
                .starts_with("bootstrap: it is not a whole 64-bit ELF program\n")
        );
    }
}
