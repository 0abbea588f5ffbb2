//! Nothing that a command starts outlives the command's end or the program's, however either comes about.
//!
//! Everything that the program starts carries the mark of its test; what is left is found by it.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::gate::Gate;
use crate::support::random::Random;
use crate::support::reply::Reply;
use crate::support::session::Session;
use crate::support::stream::Block;
use crate::support::tagged::{Mark, VARIABLE};
use crate::support::{Test, wait_until};

/// Two seconds between TERM and KILL, and time for a machine under load.
const GRACE: Duration = Duration::from_secs(2 + 4);

/// A command with every kind of child that is hard to end, and the file `up` once they are started:
/// in a session of its own, forked twice, without the mark in its environment, deaf to TERM, forking in
/// a loop, stopped.
fn unruly(mark: &Mark) -> String {
    let sleep = mark.sleep();
    format!(
        "setsid {sleep} &
        (setsid sh -c '{sleep} & exit' &)
        env -i {sleep} &
        sh -c 'trap \"\" TERM INT HUP; while :; do {sleep}; done' &
        sh -c 'trap \"\" TERM; while :; do setsid sh -c \"{sleep}\" & sleep 0.05; done' &
        sh -c 'kill -STOP $$' &
        echo up >> up
        {sleep}"
    )
}

fn marked(mark: &Mark) -> Test {
    Test::new().env(VARIABLE, mark.text()).allow_violations().allow_unused()
}

/// Starts one task with `-p`; the command runs in the background, and again in the foreground.
fn start_unruly(mark: &Mark) -> Session {
    let command = unruly(mark);
    let mut session = marked(mark)
        .reply(Reply::message(vec![
            Block::tool("background_run", json!({"command": command})),
            Block::tool("bash", json!({"command": command})),
        ]))
        .print("go")
        .spawn();
    session.close_stdin();
    session
}

#[track_caller]
fn wait_for_file(session: &Session, name: &str, lines: usize) {
    let path = session.dir().workspace().join(name);
    wait_until(name, || std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() >= lines));
}

#[track_caller]
fn assert_none_left(mark: &Mark, after: &str) {
    if let Err(left) = mark.wait_for_end(GRACE) {
        panic!("{after}: {} processes survive: {left:#?}", left.len());
    }
}

#[test]
fn nothing_survives_the_program_whatever_ends_it() {
    let signals = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
    let rounds = signals.map(|signal| {
        thread::spawn(move || {
            let mark = Mark::new();
            let session = start_unruly(&mark);
            wait_for_file(&session, "up", 2);
            session.signal(signal);
            let finished = session.wait();
            let ended = (finished.code, finished.signal);
            let expected = match signal {
                Signal::KILL => (None, Some(9)),
                signal => (Some(128 + signal.as_raw()), None),
            };
            assert_eq!(ended, expected, "{signal:?}");
            assert_none_left(&mark, &format!("{signal:?}"));
        })
    });
    for round in rounds {
        round.join().unwrap();
    }
}

/// `MEANWHILE_ROUNDS` sets how often; 10 unless set.
#[test]
fn nothing_survives_a_signal_at_any_moment() {
    const AT_ONCE: usize = 10;
    let rounds = std::env::var("MEANWHILE_ROUNDS");
    let rounds = rounds.map_or(10, |text| text.parse().expect("a number of rounds"));
    let signals = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
    let mut random = Random::new(1);
    let moments = (0..rounds).map(|_| Duration::from_micros(random.below(400_000)));
    let mut left = signals.into_iter().cycle().zip(moments);
    loop {
        let batch: Vec<_> = left
            .by_ref()
            .take(AT_ONCE)
            .map(|(signal, moment)| thread::spawn(move || signal_after(moment, signal)))
            .collect();
        if batch.is_empty() {
            return;
        }
        for round in batch {
            round.join().unwrap();
        }
    }
}

fn signal_after(moment: Duration, signal: Signal) {
    let mark = Mark::new();
    let session = start_unruly(&mark);
    // Not to let something happen, but so that anything may be happening.
    thread::sleep(moment);
    session.signal(signal);
    session.wait();
    assert_none_left(&mark, &format!("{signal:?} after {moment:?}"));
}

#[test]
fn a_second_signal_does_not_cut_the_cleaning_up_short() {
    let mark = Mark::new();
    let session = start_unruly(&mark);
    wait_for_file(&session, "up", 2);
    session.signal(Signal::TERM);
    session.signal(Signal::INT);
    session.signal(Signal::TERM);
    session.wait();
    assert_none_left(&mark, "three signals");
}

#[test]
fn leaving_the_prompt_ends_what_runs() {
    let mark = Mark::new();
    let mut session = marked(&mark)
        .reply(Reply::tool("background_run", json!({"command": unruly(&mark)})))
        .reply(Reply::text("started"))
        .spawn();
    session.send_line("go");
    session.expect("started");
    wait_for_file(&session, "up", 1);
    session.close_stdin();
    session.wait().code(0);
    assert_none_left(&mark, "end of input");
}

#[test]
fn a_terminal_that_hangs_up_ends_what_runs() {
    let mark = Mark::new();
    let mut session = marked(&mark).reply(Reply::tool("bash", json!({"command": unruly(&mark)}))).spawn_pty();
    session.send_line("go");
    wait_for_file(&session, "up", 1);
    session.signal(Signal::HUP);
    session.wait();
    assert_none_left(&mark, "hangup");
}

#[test]
fn a_time_limit_ends_the_whole_tree() {
    let mark = Mark::new();
    let finished = marked(&mark)
        .reply(Reply::tool(
            "background_run",
            json!({"command": format!("echo begun; {}", unruly(&mark)), "timeout": 1}),
        ))
        .reply(Reply::text("waiting"))
        .reply(Reply::with({
            // The program still lives: its task has to be gone nevertheless.
            let sleep = mark.sleep();
            move |_| Reply::text(&format!("left: {}", running(&sleep)))
        }))
        .print("go")
        .run()
        .code(0);
    let notice = finished.request(2).last_text();
    assert!(notice.contains("] timeout: Error: Timeout (1s)") && notice.contains("begun"), "{notice}");
    assert_none_left(&mark, "the end of the program");
}

/// How many processes run exactly this.
fn running(command: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).replace('\0', " ").trim() == command)
        .count()
}

#[test]
fn kill_background_ends_the_whole_tree() {
    let mark = Mark::new();
    let (started, gone) = (Gate::new(), Gate::new());
    let mut session = marked(&mark)
        .reply(Reply::tool("background_run", json!({"command": format!("echo begun; {}", unruly(&mark))})))
        .reply(
            Reply::with(|request| Reply::tool("kill_background", json!({"task_id": task_id(request)})))
                .gate(&started),
        )
        .reply(Reply::text("done").gate(&gone))
        .print("go")
        .spawn();
    session.close_stdin();
    wait_for_file(&session, "up", 1);
    started.open();
    let requests = session.server().wait_for_requests(3);
    // The result says that it is gone, so it is: nothing to wait for here.
    assert_eq!(running(&mark.sleep()), 0);
    let (result, is_error) = requests[2].tool_result(0);
    assert!(result.starts_with("[killed] ") && result.contains("begun") && !is_error, "{result}");
    gone.open();
    assert_eq!(session.wait().code(0).requests.len(), 3, "no notice follows");
    assert_none_left(&mark, "kill_background");
}

/// The id in the first tool result of the last message.
pub fn task_id(request: &crate::support::request::Request) -> String {
    let (text, _) = request.tool_result(0);
    let id = text.split("ask ").nth(1).map(|rest| rest.chars().take(8));
    id.unwrap_or_else(|| panic!("no task id in {text:?}")).collect()
}

#[test]
fn a_chain_of_forks_is_caught() {
    let mark = Mark::new();
    let started = Gate::new();
    let mut session = marked(&mark)
        // Each link lives only until it has started the next one.
        .file("link.sh", ": > up\nsh ./link.sh &\n")
        .reply(Reply::tool("background_run", json!({"command": "trap '' TERM; sh ./link.sh"})))
        .reply(
            Reply::with(|request| Reply::tool("kill_background", json!({"task_id": task_id(request)})))
                .gate(&started),
        )
        .reply(Reply::with({
            let mark = mark.text().to_owned();
            move |_| Reply::text(&mark)
        }))
        .print("go")
        .spawn();
    session.close_stdin();
    wait_until("up", || session.dir().workspace().join("up").exists());
    started.open();
    session.wait().code(0);
    assert_none_left(&mark, "kill_background");
}

#[test]
fn term_to_a_supervisor_ends_its_tree() {
    let mark = Mark::new();
    let command = format!("(setsid {0} &)\nkill $PPID\n{0}", mark.sleep());
    let finished = marked(&mark)
        .reply(Reply::tool("bash", json!({"command": command})))
        .reply(Reply::with({
            let sleep = mark.sleep();
            move |_| Reply::text(&format!("left: {}", running(&sleep)))
        }))
        .print("go")
        .run()
        .code(0)
        .stdout("left: 0\n");
    let (result, _) = finished.request(1).tool_result(0);
    assert!(result.contains("ended by signal 15, SIGTERM"), "{result}");
}

#[test]
fn a_command_that_kills_its_own_group_kills_nobody_else() {
    let mark = Mark::new();
    let finished = marked(&mark)
        .reply(Reply::tool("bash", json!({"command": "echo before; kill -9 0"})))
        .reply(Reply::text("alive"))
        .print("go")
        .run()
        .code(0)
        .stdout("alive\n");
    let (result, is_error) = finished.request(1).tool_result(0);
    assert_eq!((result.as_str(), is_error), ("before\n(ended by signal 9, SIGKILL)", false));
    assert_none_left(&mark, "the end of the program");
}

#[track_caller]
fn check_lost_supervisor(tool: &str, notice_in: usize) {
    let mark = Mark::new();
    let command = format!("echo before; kill -9 $PPID; {}", mark.sleep());
    let finished = marked(&mark)
        .reply(Reply::tool(tool, json!({"command": command})))
        .reply(Reply::text("done"))
        .reply(Reply::text("done"))
        .print("go")
        .run()
        .code(0)
        .stdout("done\n");
    let request = finished.request(notice_in);
    let text = match notice_in {
        1 => request.tool_result(0).0,
        _ => request.last_text(),
    };
    assert!(text.contains("its supervisor was killed") && text.contains("before"), "{text}");
}

#[test]
fn a_supervisor_that_is_killed_does_not_hang_the_program() {
    check_lost_supervisor("bash", 1);
    check_lost_supervisor("background_run", 2);
}

#[test]
fn a_command_that_kills_its_supervisor_does_not_survive_the_program() {
    let commands = [
        "kill -9 $PPID; SLEEP",
        "setsid SLEEP & kill -9 $PPID; SLEEP",
        // Its shell has ended before.
        "supervisor=$PPID; (sleep 0.3; kill -9 $supervisor; SLEEP) & echo up",
    ];
    let rounds = commands.map(|command| {
        thread::spawn(move || {
            let mark = Mark::new();
            let command = command.replace("SLEEP", &mark.sleep());
            marked(&mark)
                .reply(Reply::tool("bash", json!({"command": command})))
                .reply(Reply::text("done"))
                .reply(Reply::text("done"))
                .print("go")
                .run()
                .code(0);
            assert_none_left(&mark, &command);
        })
    });
    // All of them are to be told, not only the first.
    let failed = rounds.map(|round| round.join().is_err());
    assert_eq!(failed, [false; 3], "which of {commands:#?} failed");
}

#[test]
fn a_command_that_stops_its_supervisor_does_not_survive_the_program() {
    let mark = Mark::new();
    let command = format!("kill -STOP $PPID; echo stopped > up; {}", mark.sleep());
    let mut session =
        marked(&mark).reply(Reply::tool("bash", json!({"command": command}))).print("go").spawn();
    session.close_stdin();
    wait_for_file(&session, "up", 1);
    session.signal(Signal::TERM);
    session.wait().code(143);
    assert_none_left(&mark, "the end of the program");
}

#[test]
fn sigterm_is_not_lost_while_a_task_is_being_killed() {
    let mark = Mark::new();
    let started = Gate::new();
    // A shell that waits with `wait` hears a signal at once.
    let command =
        format!("trap 'echo told > told' TERM; echo up > up; while :; do {} & wait; done", mark.sleep());
    let mut session = marked(&mark)
        .reply(Reply::tool("background_run", json!({"command": command})))
        .reply(
            Reply::with(|request| Reply::tool("kill_background", json!({"task_id": task_id(request)})))
                .gate(&started),
        )
        .reply(Reply::text("went on"))
        .print("go")
        .spawn();
    session.close_stdin();
    wait_for_file(&session, "up", 1);
    started.open();
    // The shell has been told to end and does not: the program waits out the grace.
    wait_for_file(&session, "told", 1);
    session.signal(Signal::TERM);
    let finished = session.wait();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(143), ""), "code and stdout");
    assert_none_left(&mark, "the end of the program");
}

/// Becomes the program, with a child that writes down what it reads.
const BECOME: &str =
    "exec 3<&0; sh -c 'read -r line <&3; echo \"$line\" >kept' & exec \"$@\" </dev/null 3<&-";

#[test]
fn what_was_there_before_the_program_is_not_ended_with_it() {
    // Its supervisor is killed, so that orphans are looked for at the end.
    let kill = json!({"command": "kill -9 $PPID; sleep 60"});
    let test = Test::new().print("go").reply(Reply::tool("bash", kill)).reply(Reply::text("done"));
    let program = test.command();
    let variables = program.get_envs();
    let (input, mut answer) = std::io::pipe().unwrap();
    let status = Command::new("/bin/sh")
        .args(["-c", BECOME, "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(test.workspace())
        .stdin(input)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    answer.write_all(b"alive\n").unwrap();
    let kept = test.workspace().join("kept");
    wait_until("the child of before goes on", || {
        fs::read_to_string(&kept).is_ok_and(|text| text == "alive\n")
    });
}
