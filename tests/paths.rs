//! The file tools reach every file in the workspace, however its path is written, and no other file.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Test;
use crate::support::finished::Finished;
use crate::support::reply::Reply;
use crate::support::stream::Block;

/// A workspace with a file, a folder, and links that lead in and out of it; beside it is a secret.
fn workspace() -> Test {
    let test = Test::new().file("inside", "inside").file("folder/file", "in folder");
    let (home, workspace) = (test.home(), test.workspace());
    fs::write(home.join("secret"), "a secret").unwrap();
    let links = [
        ("to-inside", workspace.join("inside")),
        ("to-folder", "folder".into()),
        ("to-secret", home.join("secret")),
        ("to-home", "../home".into()),
        ("to-nothing", home.join("not-there")),
        ("to-zero", "/dev/zero".into()),
        ("to-link-out", "folder/../to-home".into()),
        ("in-circles", "in-circles".into()),
    ];
    for (name, target) in links {
        symlink(target, workspace.join(name)).unwrap();
    }
    test
}

/// One task with these calls, all in one message.
#[track_caller]
fn run(test: Test, calls: Vec<Block>) -> Finished {
    let test = test.reply(Reply::message(calls));
    test.reply(Reply::text("done")).print("go").run().code(0)
}

fn read(path: &str) -> Block {
    Block::tool("read_file", json!({"path": path}))
}

fn write(path: &str) -> Block {
    Block::tool("write_file", json!({"path": path, "content": "written"}))
}

fn edit(path: &str) -> Block {
    let input: Value = json!({"path": path, "old_text": "a", "new_text": "b"});
    Block::tool("edit_file", input)
}

/// Checks that every file tool refuses this path.
#[track_caller]
fn check_escapes(path: impl Fn(&Test) -> String) {
    let test = workspace();
    let path = path(&test);
    let before = tree(&test);
    let finished = run(test, vec![read(&path), write(&path), edit(&path)]);
    let expected = (format!("Error: Path escapes workspace: {path}"), true);
    for n in 0..3 {
        assert_eq!(finished.request(1).tool_result(n), expected);
    }
    assert_eq!(tree(&finished.again()), before);
}

/// The whole folder of the test as text: names, links and contents.
fn tree(test: &Test) -> String {
    let list = "cd .. && find home workspace -path home/state -prune -o -print | sort && cat home/secret";
    let output = Command::new("sh").args(["-c", list]).current_dir(test.workspace()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that this path leads to a file in the workspace.
#[track_caller]
fn check_reaches(path: impl Fn(&Test) -> String, expected: &str) {
    let test = workspace();
    let path = path(&test);
    let finished = run(test, vec![read(&path), write(&path), read(&path)]);
    let results = [0, 1, 2].map(|n| finished.request(1).tool_result(n));
    let expected = [expected, "Wrote 7 bytes", "written"].map(|text| (text.to_owned(), false));
    assert_eq!(results, expected, "{path}");
}

/// Checks that every file tool refuses this path with an error that begins so, and does not block.
#[track_caller]
fn check_refused(path: &str, expected: &str) {
    let test = workspace();
    for (program, name, kind) in [
        ("mkfifo", "fifo", &[][..]),
        // A terminal that would become the program's own, and zeros without end; it takes root.
        ("mknod", "tty", &["c", "5", "0"]),
        ("mknod", "zero", &["c", "1", "5"]),
    ] {
        let mut make = Command::new(program);
        let made = make.arg(test.workspace().join(name)).args(kind).output();
        assert!(made.is_ok_and(|made| made.status.success() || !kind.is_empty()));
    }
    let _socket = UnixListener::bind(test.workspace().join("socket")).unwrap();
    let finished = run(test, vec![read(path), write(path), edit(path)]);
    for n in 0..3 {
        let (text, is_error) = finished.request(1).tool_result(n);
        assert!(is_error && text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_path_that_leads_out_is_refused() {
    check_escapes(|_| "../home/secret".to_owned());
    check_escapes(|_| "folder/../../home/secret".to_owned());
    check_escapes(|_| "not-there/../../home/secret".to_owned());
    check_escapes(|_| "..".to_owned());
    check_escapes(|test| test.home().join("secret").display().to_string());
    check_escapes(|_| "/etc/hostname".to_owned());
    check_escapes(|_| "/".to_owned());
    // A folder whose name only begins like the workspace's.
    check_escapes(|test| format!("{}-other/file", test.workspace().display()));
}

#[test]
fn a_link_that_leads_out_is_refused() {
    check_escapes(|_| "to-secret".to_owned());
    check_escapes(|_| "to-home/secret".to_owned());
    check_escapes(|_| "to-home/new".to_owned());
    check_escapes(|_| "to-nothing".to_owned());
    check_escapes(|_| "to-link-out/secret".to_owned());
    check_escapes(|_| "to-folder/../../home/secret".to_owned());
}

#[test]
fn the_links_of_proc_are_no_way_out() {
    check_escapes(|_| "/proc/self/root/etc/hostname".to_owned());
    check_escapes(|test| format!("/proc/self/root{}", test.home().join("secret").display()));
    check_escapes(|_| "/proc/self/cwd/../home/secret".to_owned());
    check_escapes(|_| "/proc/self/environ".to_owned());
}

#[test]
fn devices_outside_are_refused_and_not_read() {
    check_escapes(|_| "/dev/zero".to_owned());
    check_escapes(|_| "to-zero".to_owned());
    check_escapes(|_| "/dev/stdin".to_owned());
}

#[test]
fn a_path_that_stays_inside_is_followed() {
    check_reaches(|_| "inside".to_owned(), "inside");
    check_reaches(|_| "./folder/.././inside".to_owned(), "inside");
    check_reaches(|_| "../workspace/inside".to_owned(), "inside");
    check_reaches(|test| test.workspace().join("inside").display().to_string(), "inside");
    check_reaches(|_| "to-inside".to_owned(), "inside");
    check_reaches(|_| "to-folder/file".to_owned(), "in folder");
    check_reaches(|_| "to-home/../workspace/inside".to_owned(), "inside");
}

#[test]
fn other_files_than_regular_ones_are_refused_and_block_nothing() {
    check_refused("folder", "Error: folder is a directory");
    check_refused(".", "Error: . is a directory");
    check_refused("new/", "Error: new/ is a directory");
    check_refused("", "Error: ");
    check_refused("fifo", "Error: fifo is not a regular file");
    check_refused("socket", "Error: socket is not a regular file");
    if rustix::process::getuid().is_root() {
        check_refused("tty", "Error: tty is not a regular file");
        check_refused("zero", "Error: zero is not a regular file");
    }
    check_refused("in-circles", "Error: in-circles has too many symbolic links");
    check_refused("inside/below", "Error: ");
    check_refused("a\0b", "Error: ");
    check_refused(&"x".repeat(300), "Error: ");
}

#[test]
fn a_workspace_that_is_itself_reached_by_a_link_is_the_folder_it_leads_to() {
    let test = workspace();
    let link = test.home().join("link");
    symlink(test.workspace(), &link).unwrap();
    let path = link.join("inside").display().to_string();
    let finished = run(test, vec![read(&path)]);
    assert_eq!(finished.request(1).tool_result(0), ("inside".to_owned(), false));
}
