//! `read_file`, `write_file` and `edit_file`: their answers, and the files afterwards.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{Test, copy_program};
use crate::tools::{LONGEST_RESULT, answer, call, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The names in the workspace, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn read_file_answers_with_the_text() {
    let read = |text: &str| call(Test::new().file("f", text), "read_file", json!({"path": "f"}));
    assert_eq!(read("one\n  two\n\nthree\n"), "one\n  two\n\nthree");
    assert_eq!(read(""), "(empty)");
    assert_eq!(read("é\t€"), "é\t€");
}

#[test]
fn read_file_cuts_to_lines_and_counts_the_rest() {
    let lines = |input: Value| call(Test::new().file("f", "1\n2\n3\n4\n"), "read_file", input);
    assert_eq!(lines(json!({"path": "f", "limit": 2})), "1\n2\n... (2 more)");
    assert_eq!(lines(json!({"path": "f", "offset": 2, "limit": 1})), "2\n... (2 more)");
    assert_eq!(lines(json!({"path": "f", "offset": 3})), "3\n4");
    assert_eq!(lines(json!({"path": "f", "offset": 3, "limit": 2})), "3\n4");
    assert_eq!(lines(json!({"path": "f", "offset": 9})), "Error: f has 4 lines; there is no line 9");
}

#[test]
fn read_file_answers_with_no_more_than_the_limit() {
    let text = call(Test::new().file("f", "0123456789\n".repeat(20_000)), "read_file", json!({"path": "f"}));
    let (shown, more) = text.rsplit_once("\n... (").unwrap();
    let more: usize = more.strip_suffix(" more)").unwrap().parse().unwrap();
    assert_eq!(shown.lines().count() + more, 20_000);
    assert!((45_000..=LONGEST_RESULT).contains(&text.chars().count()));

    let line = call(Test::new().file("f", "é".repeat(60_000)), "read_file", json!({"path": "f"}));
    assert!((45_000..=LONGEST_RESULT).contains(&line.chars().count()));
    assert!(line.contains(" more"), "it does not say that it was cut");
}

#[test]
fn read_file_refuses_what_is_no_text() {
    let error = call(Test::new().file("f", b"a\0b"), "read_file", json!({"path": "f"}));
    assert!(error.starts_with("Error: f is a binary file (3 bytes)"), "{error}");
    let error = call(Test::new(), "read_file", json!({"path": "f"}));
    assert!(error.starts_with("Error: failed to read f: No such file"), "{error}");
}

#[test]
fn write_file_counts_bytes_and_makes_parent_folders() {
    let input = json!({"path": "a/b/c.txt", "content": "é\n"});
    let finished = run(Test::new(), [("write_file", input)]);
    assert_eq!(answer(&finished, 0), "Wrote 3 bytes");
    assert_eq!(finished.dir.read("a/b/c.txt"), "é\n");
}

#[test]
fn write_file_replaces_the_file_as_a_whole_and_leaves_nothing_beside_it() {
    let test = Test::new().file("run.sh", "old and much longer");
    let path = test.workspace().join("run.sh");
    set_mode(&path, 0o4751);
    fs::hard_link(&path, test.workspace().join("other")).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let finished = run(test, [("write_file", json!({"path": "run.sh", "content": "new"}))]);
    assert_eq!(answer(&finished, 0), "Wrote 3 bytes");
    assert_eq!(finished.dir.read("run.sh"), "new");
    assert_eq!(mode(&path), 0o4751);
    assert_eq!(names(&finished.dir.workspace()), ["other", "run.sh"]);
    // A reader of the old file still has all of it: the new one came by a rename.
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(finished.dir.read("other"), "old and much longer");
}

#[test]
fn write_file_that_fails_changes_nothing() {
    let test = Test::new().file("folder/kept", "kept").file("file", "kept");
    let finished = run(
        test,
        [
            ("write_file", json!({"path": "folder", "content": "new"})),
            ("write_file", json!({"path": "file/below", "content": "new"})),
        ],
    );
    assert_eq!(answer(&finished, 0), "Error: folder is a directory: list it with bash and ls");
    assert!(answer(&finished, 1).starts_with("Error: "));
    assert_eq!(names(&finished.dir.workspace()), ["file", "folder"]);
    assert_eq!(names(&finished.dir.workspace().join("folder")), ["kept"]);
    assert_eq!(finished.dir.read("file"), "kept");
}

#[test]
fn write_file_takes_no_file_away_from_its_owner() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: it takes root to be somebody else");
        return;
    }
    let test = Test::new()
        .file("theirs", "old")
        .arg("--no-session")
        .print("go")
        .reply(Reply::tool("write_file", json!({"path": "theirs", "content": "new"})))
        .reply(Reply::text("done"));
    let workspace = test.workspace();
    set_mode(workspace.parent().unwrap(), 0o755);
    set_mode(&workspace, 0o777);
    set_mode(&workspace.join("theirs"), 0o666);
    // The folder of the build may be closed to others.
    let program = workspace.parent().unwrap().join("program");
    copy_program(env!("CARGO_BIN_EXE_meanwhile"), &program);
    let direct = test.command();
    let variables = direct.get_envs();
    let mut command = Command::new(program);
    command
        .args(direct.get_args())
        .env_clear()
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(&workspace)
        .stdin(Stdio::null())
        .uid(12345);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (text, is_error) = test.server().requests()[1].tool_result(0);
    assert!(is_error && text.contains("it belongs to another user"), "{text}");
    assert_eq!(names(&workspace), ["theirs"]);
    let theirs = workspace.join("theirs");
    assert_eq!(fs::metadata(&theirs).unwrap().uid(), 0);
    assert_eq!(fs::read_to_string(theirs).unwrap(), "old");
}

#[test]
fn write_file_follows_a_link_and_keeps_it() {
    let test = Test::new().file("real", "old");
    let link = test.workspace().join("link");
    symlink("real", &link).unwrap();
    let finished = run(test, [("write_file", json!({"path": "link", "content": "new"}))]);
    assert_eq!(answer(&finished, 0), "Wrote 3 bytes");
    assert_eq!(finished.dir.read("real"), "new");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("real"));
}

/// Edits a file with this content. Returns the answer and the new content.
#[track_caller]
fn edit(content: impl AsRef<[u8]>, old: &str, new: &str, all: bool) -> (String, Vec<u8>) {
    let input = json!({"path": "f", "old_text": old, "new_text": new, "replace_all": all});
    let finished = run(Test::new().file("f", content), [("edit_file", input)]);
    let content = fs::read(finished.dir.workspace().join("f")).unwrap();
    assert_eq!(names(&finished.dir.workspace()), ["f"]);
    (answer(&finished, 0), content)
}

#[track_caller]
fn check_edit(content: &str, old: &str, new: &str, all: bool, told: &str, expected: &str) {
    let (text, content) = edit(content, old, new, all);
    assert_eq!((text.as_str(), String::from_utf8(content).unwrap().as_str()), (told, expected));
}

#[test]
fn edit_file_replaces_the_first_match_and_says_where_and_what_it_left() {
    check_edit("a\nb\nc\n", "b", "B", false, "Edited f at line 2", "a\nB\nc\n");
    let left = "Edited f at line 2; 2 other matches were left";
    check_edit("a\nb b\nb\n", "b", "B", false, left, "a\nB b\nb\n");
    check_edit("a $1 \\1\n", "a", "$0", false, "Edited f at line 1", "$0 $1 \\1\n");
    check_edit("a\nb\nc", "a\nb\n", "", false, "Edited f at line 1", "c");
}

#[test]
fn edit_file_replaces_every_match_when_asked() {
    let told = "Edited f: 3 matches replaced, the first at line 2";
    check_edit("a\nb b\nb\n", "b", "B", true, told, "a\nB B\nB\n");
    check_edit("a\nb\n", "b", "B", true, "Edited f at line 2", "a\nB\n");
}

#[test]
fn edit_file_names_the_nearest_line_when_only_white_space_differs() {
    let content = "fn a() {\n\treturn 1;\n}\n";
    check_edit(content, "no such", "x", false, "Error: Text not found in f", content);
    let told = "Error: Text not found in f; line 2 differs only in white space: \"\\treturn 1;\"";
    check_edit(content, "    return  1;", "x", false, told, content);
    check_edit(content, "    return 1;\n}", "x", false, told, content);
}

#[test]
fn edit_file_keeps_line_ends_and_byte_order_mark() {
    let told = "Edited f at line 2";
    check_edit("a\r\nb\r\nc\r\n", "b\nc", "x\ny", false, told, "a\r\nx\r\ny\r\n");
    check_edit("a\r\nb\r\n", "b", "x\ny", false, told, "a\r\nx\r\ny\r\n");
    check_edit("\u{feff}a\nb\n", "b", "x", false, told, "\u{feff}a\nx\n");
    check_edit("\u{feff}a\n", "a", "x", false, "Edited f at line 1", "\u{feff}x\n");
}

#[test]
fn edit_file_keeps_the_mode() {
    let test = Test::new().file("run.sh", "echo a\n");
    let path = test.workspace().join("run.sh");
    set_mode(&path, 0o751);
    let input = json!({"path": "run.sh", "old_text": "a", "new_text": "b"});
    let finished = run(test, [("edit_file", input)]);
    assert_eq!(answer(&finished, 0), "Edited run.sh at line 1");
    assert_eq!(mode(&path), 0o751);
}

#[test]
fn edit_file_refuses_what_is_not_utf8_and_never_changes_it() {
    for content in [&b"caf\xe9 au lait\n"[..], b"\xff\xfea\0b\0"] {
        let (told, after) = edit(content, "a", "b", false);
        assert_eq!(told, "Error: f is not UTF-8 text, and was not changed: edit it with bash");
        assert_eq!(after, content);
    }
}

#[test]
fn edit_file_refuses_an_edit_that_says_nothing() {
    let told = "Error: old_text is empty: use write_file to write a whole file";
    check_edit("a\n", "", "x", false, told, "a\n");
    let told = "Error: old_text and new_text are the same: there is nothing to change";
    check_edit("a\n", "a", "a", false, told, "a\n");
}
