//! `meanwhile demo`: a recorded session in a scratch folder. The model's words come from the recording;
//! the program, the commands and the files are real.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use uuid::Uuid;

use super::headless;
use super::interrupt::Interrupts;
use super::terminal::{Terminal, has_color};
use crate::agent::{Agent, Event};
use crate::api::message::Block;
use crate::api::recording::Replay;
use crate::cli::args::{ColorWhen, OnEnd};
use crate::config::environment::temp_folder;
use crate::error::{Error, Result};

const RECORDING: &str = include_str!("demo.jsonl");

/// The pause between two events of the stream. Each brings a few words, so this is about as fast as a model writes.
const PACE: Duration = Duration::from_millis(80);

const PROMPT: &str =
    "The tests are slow. Start them, and while they run, make greet.sh say what the README promises.";

const FILES: [(&str, &str); 3] = [
    ("README.md", "# greet\n\n`sh greet.sh NAME` prints `Hello, NAME!`\n"),
    ("greet.sh", "echo \"Helo, $1\"\n"),
    (
        "test.sh",
        "greeting=$(sh greet.sh world)\n\
         [ \"$1\" = --quick ] || sleep 3 # the slow part\n\
         if [ \"$greeting\" = 'Hello, world!' ]; then echo '1 passed, 0 failed'; else\n\
         \x20 echo \"FAILED: expected 'Hello, world!', got '$greeting'\"; exit 1\n\
         fi\n",
    ),
];

/// Replays the recording with the agent that `make_agent` builds for the scratch folder.
pub fn run(
    color: ColorWhen,
    make_agent: impl FnOnce(PathBuf, Replay, &Interrupts) -> Result<Agent>,
) -> Result<()> {
    let folder = temp_folder().join(format!("meanwhile-demo-{}", Uuid::new_v4().simple()));
    let play = || {
        prepare(&folder)?;
        let replay = Replay::parse("demo", RECORDING, Some(PACE))?;
        let mut agent = make_agent(folder.clone(), replay, &Interrupts::listen(None)?)?;
        let mut terminal = Terminal::new(io::stdout(), has_color(color, &io::stdout()));
        terminal.line("(a recorded session: the model's words are replayed, the rest is real)");
        terminal.prompt(&format!("meanwhile > {PROMPT}\n"));
        let mut watch = |event: Event| terminal.show(event);
        headless::run_to_end(&mut agent, vec![Block::text(PROMPT)], OnEnd::Wait, &mut watch)
    };
    let played = play();
    let _ = fs::remove_dir_all(&folder);
    played.map(drop)
}

fn prepare(folder: &Path) -> Result<()> {
    let failed = |err| Error::File { doing: "prepare the scratch folder", path: folder.to_owned(), err };
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, content) in FILES {
        fs::write(folder.join(name), content).map_err(failed)?;
    }
    Ok(())
}
