//! Puts the function's source into the routeto binary: a list of (path, bytes), a manifest that
//! needs no workspace, and a lock of its own.
//!
//! Reads files of this package only and writes to `OUT_DIR` only. In a checkout the source is
//! `function/`; in a published package, which cargo doesn't let hold another package's directory,
//! it is `embedded/`, whose links cargo packed as files.

use std::{
    env, fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let embedded = root.join("embedded");
    let (manifest, workspace, src) = if root.join("function/Cargo.toml").is_file() {
        (root.join("function/Cargo.toml"), root.join("Cargo.toml"), root.join("function/src"))
    } else {
        (embedded.join("manifest.toml"), embedded.join("workspace.toml"), embedded.join("src"))
    };
    let lock = embedded.join("function.lock");
    for path in [&manifest, &workspace, &src, &lock] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let (standalone, config) = standalone(&read(&manifest), &read(&workspace));
    let generated =
        [("Cargo.toml", standalone), (".cargo/config.toml", config)].map(|(name, text)| {
            let path = out.join(name.replace('/', "-"));
            fs::write(&path, text).expect("OUT_DIR can be written");
            (name.to_owned(), path)
        });

    let mut files: Vec<(String, PathBuf)> = generated.into();
    files.push(("Cargo.lock".to_owned(), lock));
    walk(&src, "src", &mut files);
    files.sort();
    let mut list = String::from("&[\n");
    for (name, path) in files {
        list += &format!(
            "    ({name:?}, include_bytes!({:?})),\n",
            path.to_str().expect("a path in UTF-8")
        );
    }
    fs::write(out.join("function_source.rs"), list + "]\n").expect("OUT_DIR can be written");
}

fn read(path: &Path) -> Table {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn walk(directory: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a file name in UTF-8");
        if name.starts_with('.') {
            continue;
        }
        let name_in_crate = format!("{prefix}/{name}");
        if path.is_dir() {
            walk(&path, &name_in_crate, files)
        } else {
            files.push((name_in_crate, path))
        }
    }
}

/// The function's manifest without its workspace, and the cargo configuration that keeps its
/// profile as it is.
///
/// What the bootstrap doesn't need (tests, benches, lints) stays behind, so that the lock needn't
/// carry it either.
fn standalone(manifest: &Table, workspace: &Table) -> (String, String) {
    let shared = workspace
        .get("workspace")
        .and_then(Value::as_table)
        .expect("the root manifest has a workspace");
    let mut out = Table::new();
    for key in ["package", "lib", "bin", "features", "dependencies", "build-dependencies", "target"]
    {
        if let Some(value) = manifest.get(key) {
            out.insert(key.to_owned(), value.clone());
        }
    }
    inherit(&mut out, "package", shared.get("package"));
    inherit(&mut out, "dependencies", shared.get("dependencies"));
    inherit(&mut out, "build-dependencies", shared.get("dependencies"));
    for platform in out
        .get_mut("target")
        .and_then(Value::as_table_mut)
        .into_iter()
        .flatten()
        .map(|(_, platform)| platform)
    {
        let platform = platform.as_table_mut().expect("target.<platform> is a table");
        platform.remove("dev-dependencies");
        inherit(platform, "dependencies", shared.get("dependencies"));
    }
    if let Some(package) = out.get_mut("package").and_then(Value::as_table_mut) {
        package.remove("readme");
    }

    let profile = workspace
        .get("profile")
        .and_then(|profiles| profiles.get("function"))
        .and_then(Value::as_table);
    let mut profile = profile.expect("the root manifest has [profile.function]").clone();
    // What `release` leaves unsaid is said here, or a [profile.release] in a user's own
    // configuration would change the binary.
    for (key, value) in [
        ("debug", Value::Boolean(false)),
        ("debug-assertions", Value::Boolean(false)),
        ("incremental", Value::Boolean(false)),
        ("overflow-checks", Value::Boolean(false)),
        ("rpath", Value::Boolean(false)),
    ] {
        profile.entry(key).or_insert(value);
    }
    let mut profiles = Table::new();
    profiles.insert("function".to_owned(), Value::Table(profile));
    let mut config = Table::new();
    config.insert("profile".to_owned(), Value::Table(profiles.clone()));
    out.insert("profile".to_owned(), Value::Table(profiles));
    let mut own_workspace = Table::new();
    own_workspace.insert(
        "resolver".to_owned(),
        shared.get("resolver").cloned().unwrap_or_else(|| "3".into()),
    );
    out.insert("workspace".to_owned(), Value::Table(own_workspace));
    (out.to_string(), config.to_string())
}

/// Replaces `key.workspace = true` in a table of `out` by what the workspace says; a dependency may
/// add features to the workspace's.
fn inherit(out: &mut Table, table: &str, shared: Option<&Value>) {
    let Some(entries) = out.get_mut(table).and_then(Value::as_table_mut) else { return };
    for (key, value) in entries.iter_mut() {
        let Some(own) =
            value.as_table().filter(|own| own.get("workspace") == Some(&Value::Boolean(true)))
        else {
            continue;
        };
        let common = shared
            .and_then(|shared| shared.get(key))
            .unwrap_or_else(|| panic!("{table}.{key} isn't in the workspace"));
        if own.len() == 1 {
            *value = common.clone();
            continue;
        }
        let mut merged = match common {
            Value::Table(table) => table.clone(),
            version => Table::from_iter([("version".to_owned(), version.clone())]),
        };
        for (name, own) in own.iter().filter(|(name, _)| *name != "workspace") {
            match (merged.get_mut(name), own) {
                (Some(Value::Array(common)), Value::Array(own)) => {
                    common.extend(own.iter().cloned())
                }
                _ => drop(merged.insert(name.clone(), own.clone())),
            }
        }
        *value = Value::Table(merged);
    }
}
