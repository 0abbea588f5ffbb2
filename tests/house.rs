//! The rules of the house that can be grepped. `src/main.rs` draws the rooms; this checks that the drawing is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// More code than this in a file, or in a function, is harder to read than two (lines without tests, comments
/// and blank lines).
const LONGEST_FILE: usize = 320;
const LONGEST_FUNCTION: usize = 60;

/// Every file of `src/`, by its path below it.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                files.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    assert!(files.len() > 50, "the sources are found: {:?}", files.keys());
    files
}

/// The lines of a file that are code: without comments, blank lines, and the tests at its end.
fn code(text: &str) -> Vec<&str> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).collect()
}

/// `api/message.rs` is `api::message`, and `api/mod.rs` is `api`.
fn module(file: &str) -> String {
    let path = file.trim_end_matches(".rs").replace('/', "::");
    path.strip_suffix("::mod").unwrap_or(&path).to_owned()
}

/// The room that a module lies in: the first part of its name.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// The paths that a file names from the root of the crate, as in `use crate::{a::{b, c}, d}` and `crate::a::f()`.
fn named(text: &str, module: &str) -> Vec<String> {
    let code = code(text).join("\n");
    let mut paths = Vec::new();
    for (at, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let rest = &code[at + word.len()..];
        // `super::super::x` is found once more at its second word.
        let base = if word == "crate::" {
            String::new()
        } else if code[..at].ends_with("super::") || rest.starts_with("super::") {
            continue;
        } else {
            module.rsplit_once("::").map(|(parent, _)| format!("{parent}::")).unwrap_or_default()
        };
        expand(&base, rest, &mut paths);
    }
    paths
}

/// Reads one use tree, up to its end, and returns what follows it.
fn expand<'a>(base: &str, tree: &'a str, paths: &mut Vec<String>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut rest) = tree.strip_prefix('{') {
        loop {
            rest = expand(base, rest, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                Some(next) => return next.trim_start().trim_start_matches('}'),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(tree.len());
    let path = format!("{base}{}", &tree[..end]);
    match tree[end..].strip_prefix("::") {
        Some(rest) => expand(&format!("{path}::"), rest, paths),
        None => {
            paths.push(path);
            let rest = tree[end..].trim_start();
            rest.strip_prefix("as ")
                .map_or(rest, |name| name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'))
        }
    }
}

/// Which modules each module imports, but for its own parts.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources();
    let modules: BTreeSet<String> = sources.keys().map(|file| module(file)).collect();
    let holder = |path: &str| {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]);
        ends.map(|end| &path[..end]).filter(|name| modules.contains(*name)).last().map(str::to_owned)
    };
    let mut graph = BTreeMap::new();
    for (file, text) in &sources {
        let own = module(file);
        let others = named(text, &own).iter().filter_map(|path| holder(path)).collect::<BTreeSet<String>>();
        let is_part = |other: &String| {
            *other == own || other.starts_with(&format!("{own}::")) || own.starts_with(&format!("{other}::"))
        };
        graph.insert(own.clone(), others.into_iter().filter(|other| !is_part(other)).collect());
    }
    graph
}

/// The rows of the drawing in `main.rs`, the highest first; each with the rooms that stand in it.
fn drawing() -> Vec<Vec<String>> {
    let sources = sources();
    let head = sources["main.rs"].split("```").nth(1).expect("main.rs begins with a drawing of the house");
    let rows = head.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|row| !row.is_empty());
    let rooms =
        |row: &str| row.split("  ").next().unwrap_or_default().split(", ").map(str::to_owned).collect();
    rows.map(rooms).collect()
}

#[test]
fn the_drawing_of_the_house_has_every_room_once() {
    let drawn: Vec<String> = drawing().concat();
    let unique: BTreeSet<String> = drawn.iter().cloned().collect();
    assert_eq!(drawn.len(), unique.len(), "a room stands twice in {drawn:?}");
    let rooms: BTreeSet<String> = sources().keys().map(|file| room(&module(file)).to_owned()).collect();
    assert_eq!(unique, rooms, "the drawing in main.rs (left) and src/ (right)");
}

#[test]
fn imports_only_go_down() {
    let drawing = drawing();
    let row = |module: &str| drawing.iter().position(|row| row.iter().any(|name| name == room(module)));
    for (module, others) in imports() {
        for other in others.iter().filter(|other| room(other) != room(&module)) {
            assert!(row(&module) < row(other), "{module} imports {other}, which does not lie below it");
        }
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = imports();
    assert!(graph["agent"].contains("session::transcript"), "imports are found: {graph:?}");
    for start in graph.keys() {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = graph[start].iter().collect();
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(&graph[module]);
            }
        }
        assert!(!reached.contains(start), "{start} is in a circle with some of {reached:?}");
    }
}

#[test]
fn no_tool_imports_another() {
    let sources = sources();
    let tools = sources.iter().filter(|(_, text)| text.contains(": Tool = Tool {"));
    let tools: BTreeSet<String> =
        tools.map(|(file, _)| module(file)).filter(|name| name != "tools").collect();
    assert!(tools.contains("tools::bash"), "the tools are found: {tools:?}");
    for (module, others) in imports().iter().filter(|(module, _)| tools.contains(*module)) {
        let other = others.intersection(&tools).next();
        assert!(other.is_none(), "{module} imports {other:?}");
    }
}

#[test]
fn files_and_functions_are_short() {
    for (file, text) in sources() {
        let code = code(&text);
        assert!(code.len() <= LONGEST_FILE, "src/{file} has {} lines of code", code.len());
        let mut open: Option<(usize, &str)> = None;
        for (at, line) in code.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let is_head =
                line.trim_start().starts_with("fn ") || line.contains(" fn ") && line.ends_with(['{', '(']);
            if is_head && open.is_none() {
                open = Some((at, indent));
            }
            if let Some((start, from)) = open
                && line.strip_prefix(from).is_some_and(|end| end == "}")
            {
                let lines = at - start + 1;
                assert!(lines <= LONGEST_FUNCTION, "src/{file}: {lines} lines: {}", code[start].trim());
                open = None;
            }
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
        let may_print = file.starts_with("ui/") || file == "main.rs" || file == "setup.rs" || is_test;
        assert!(found.is_none() || may_print, "src/{file} prints with {found:?}");
    }
}

#[test]
fn there_is_no_unsafe_code_and_no_global_state() {
    for (file, text) in sources() {
        let text = text.replace("#![forbid(unsafe_code)]", "");
        for word in ["unsafe ", "unsafe{", "thread_local!", "OnceLock", "LazyLock"] {
            assert!(!text.contains(word), "src/{file} has `{word}`");
        }
        let state = code(&text)
            .into_iter()
            .find(|line| line.split(" static ").count() > 1 || line.starts_with("static "));
        assert_eq!(state, None, "src/{file} has a static; a constant is a `const`");
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
#[test]
fn a_condition_is_an_if() {
    for (file, text) in sources() {
        let arm = code(&text).into_iter().find(|line| {
            let line = line.trim_start();
            line.starts_with("true =>") || line.starts_with("false =>")
        });
        assert_eq!(arm, None, "src/{file} matches on a bool");
    }
}

/// A type with more is two types; only the configuration is a list of all that can be set.
const MOST_FIELDS: usize = 12;

#[test]
fn types_have_few_fields() {
    for (file, text) in sources() {
        let code = code(&text);
        let heads = code.iter().enumerate().filter(|(_, line)| {
            let line = line.trim_start().trim_start_matches("pub ");
            line.starts_with("struct ") && line.ends_with('{')
        });
        for (at, head) in heads {
            let end = format!("{}}}", &head[..head.len() - head.trim_start().len()]);
            let fields = code[at + 1..].iter().take_while(|line| **line != end);
            let fields = fields.filter(|line| line.contains(": ")).count();
            let is_list = head.contains("struct Config ");
            assert!(fields <= MOST_FIELDS || is_list, "src/{file}: {} has {fields} fields", head.trim());
        }
    }
}
