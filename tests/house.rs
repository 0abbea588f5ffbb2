//! The rules of the house that can be grepped.

use std::{fs, path::Path, process::Command};

/// What each part of `src/` may import from the crate: only what lies below it.
const LAYERS: [(&str, &[&str]); 12] = [
    ("text", &[]),
    ("threads", &[]),
    ("error", &[]),
    ("private", &[]),
    ("secrets", &[]),
    ("command", &["text", "private", "secrets", "threads"]),
    ("api", &["text", "secrets", "error", "threads"]),
    ("background", &["text", "secrets", "command"]),
    ("session", &["text", "error", "private", "api"]),
    ("tools", &["text", "secrets", "api", "background", "command"]),
    ("config", &["text", "secrets", "error", "api", "cli", "command"]),
    ("agent", &["text", "error", "api", "background", "session", "tools"]),
];

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

/// The parts of the crate that a file names: what follows `crate::`, alone or in a list.
fn imports(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        let Some(list) = after.strip_prefix('{') else {
            names.push(first_word(after));
            continue;
        };
        let list = list.split("};").next().unwrap_or_default();
        let mut depth = 0;
        let outer = list.chars().filter(|c| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        names.extend(outer.collect::<String>().split(',').map(first_word));
    }
    names
}

fn first_word(text: &str) -> String {
    let word = text.trim_start().chars();
    word.take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_only_go_down() {
    const ROOMS: [&str; 14] = [
        "threads",
        "agent",
        "api",
        "background",
        "cli",
        "command",
        "config",
        "error",
        "private",
        "secrets",
        "session",
        "text",
        "tools",
        "ui",
    ];
    for (file, text) in sources() {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        for import in imports(&text).iter().filter(|name| ROOMS.contains(&name.as_str())) {
            assert!(
                import == room || allowed.contains(&import.as_str()),
                "src/{file} imports crate::{import}, which does not lie below it"
            );
        }
    }
}

#[test]
fn crates_stay_in_their_rooms() {
    let rules = [("ureq::", "api/"), ("wait_timeout::", "command/"), ("landlock::", "command/")];
    for (file, text) in sources() {
        for (name, room) in rules {
            assert!(!text.contains(name) || file.starts_with(room), "src/{file} uses {name}");
        }
    }
}

#[test]
fn only_the_front_ends_print() {
    for (file, text) in sources() {
        let prints = ["println!", "eprintln!", "print!(", "io::stdout()", "io::stderr()"];
        let found = prints.iter().find(|print| text.contains(*print));
        let is_test = file == "api/test_recorded.rs";
        let may_print = file.starts_with("ui/") || file == "main.rs" || is_test;
        assert!(found.is_none() || may_print, "src/{file} prints with {found:?}");
    }
}

#[test]
fn there_is_no_unsafe_code_and_no_global_state() {
    for (file, text) in sources() {
        let text = text.replace("#![forbid(unsafe_code)]", "");
        for word in ["unsafe ", "unsafe{", "static mut", "thread_local!", "OnceLock", "LazyLock"] {
            assert!(!text.contains(word), "src/{file} has `{word}`");
        }
    }
}

#[test]
fn there_is_no_async_runtime() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--prefix", "none", "--edges", "normal"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("ureq "), "the tree is empty");
    for runtime in ["tokio ", "async-std ", "smol ", "futures ", "hyper ", "async-io "] {
        assert!(!tree.contains(runtime), "the tree holds {runtime}");
    }
}
