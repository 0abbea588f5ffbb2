//! The commands of a session: each has an id, a thread and a result, and each result is delivered once.
//!
//! A foreground command is a task that somebody waits for; what is left of it when the wait ends
//! becomes a background task under the same id.

mod delivery;
pub mod task;
mod wait;

pub use wait::{Arrival, Waited};

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, never};
use uuid::Uuid;

use crate::command::{
    children::Children,
    exit::{Change, Event},
    log::{Log, Logs},
    process::{Killer, Process},
    sandbox::Sandbox,
    start::Start,
};
use crate::{secrets::Secrets, stop::Stop};
use task::{Held, Status, Task};

/// What every command of a session has in common.
pub struct Settings {
    pub folder: PathBuf,
    /// Variables that no command may see.
    pub hidden: Vec<String>,
    /// The time limit of a background task that names none.
    pub limit: Duration,
    /// At most this many background tasks run at once.
    pub max_running: usize,
    /// The limit of open files of every command; None when there is none.
    pub open_files: Option<u64>,
    /// None if there is no folder for logs.
    pub logs: Option<Arc<Logs>>,
    pub children: Arc<Children>,
    pub sandbox: Sandbox,
    /// Texts that stand in no output and in no log.
    pub secrets: Secrets,
}

/// The tasks of a session. Dropping it ends them all.
pub struct Tasks {
    settings: Settings,
    tasks: Vec<Task>,
    /// Ids of finished background tasks in order of completion whose results were not delivered.
    undelivered: Vec<String>,
    /// Ids of those whose results are in the next user message.
    delivered: Vec<String>,
    /// Ids of those whose results the model has refused to read; they wait for the next time that it is told something.
    refused: Vec<String>,
    journal: Vec<Entry>,
    /// Nobody waits any more for what is being ended.
    abandoned: bool,
    /// Who wants to hear of every start and end at once.
    observer: Option<Observer>,
    sender: Sender<Event>,
    /// Unbounded: a task sends at most two events.
    events: Receiver<Event>,
    stops: Receiver<Stop>,
}

/// What a session that is continued later has to know.
pub enum Entry {
    Started { id: String, command: String },
    Ended { id: String },
}

/// What an observer hears of a background task.
pub enum News {
    Started {
        id: String,
        command: String,
        started: Instant,
        /// None when it has ended already.
        killer: Option<Killer>,
    },
    /// `completed (exit 0, 42 s)`
    Ended { id: String, how: String },
}

pub type Observer = Box<dyn Fn(News)>;

impl Tasks {
    /// The tasks of a session that has none yet. Whatever waits for one stops with what comes from `stops`.
    pub fn new(settings: Settings, stops: Receiver<Stop>) -> Tasks {
        let (sender, events) = crossbeam_channel::unbounded();
        Tasks {
            settings,
            tasks: Vec::new(),
            undelivered: Vec::new(),
            delivered: Vec::new(),
            refused: Vec::new(),
            journal: Vec::new(),
            abandoned: false,
            observer: None,
            sender,
            events,
            stops,
        }
    }

    /// From now on the observer hears of every start and end.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Starts a command in the background and returns its id at once; a reason for the model when it can't.
    pub fn start_background(&mut self, command: &str, limit: Option<Duration>) -> Result<String, String> {
        let max = self.settings.max_running;
        if self.running() >= max {
            return Err(format!(
                "{max} background tasks are running, and no more may: wait for one with check_background \
                 and `wait`, or end one with kill_background"
            ));
        }
        self.start(command, limit.unwrap_or(self.settings.limit), true)
    }

    /// Starts a command that the caller waits for. What is left of it after `limit` may go on in the
    /// background, for as long as a background task may run.
    pub fn start_foreground(&mut self, command: &str, limit: Duration) -> Result<String, String> {
        self.start(command, limit.saturating_add(self.settings.limit), false)
    }

    fn start(&mut self, command: &str, limit: Duration, in_background: bool) -> Result<String, String> {
        let id = self.new_id();
        let log = self.settings.logs.as_ref().map(|logs| Log::new(logs, &id, !in_background));
        let start = Start {
            id: &id,
            command,
            folder: &self.settings.folder,
            hidden: &self.settings.hidden,
            open_files: self.settings.open_files,
            limit,
            log,
            children: &self.settings.children,
            sandbox: &self.settings.sandbox,
            secrets: &self.settings.secrets,
        };
        let process = Process::start(start, self.sender.clone()).map_err(|err| {
            let folder = &self.settings.folder;
            match folder.is_dir() {
                true => format!("the command could not be started: {err}"),
                false => format!("the working directory {} is gone", folder.display()),
            }
        })?;
        if in_background {
            self.journal.push(Entry::Started { id: id.clone(), command: command.to_owned() });
        }
        self.tasks.push(Task {
            id: id.clone(),
            command: command.to_owned(),
            in_background,
            forgotten: false,
            held: Held::Process(process),
            shell_end: None,
            end: None,
        });
        if in_background {
            self.tell_start(&id);
        }
        Ok(id)
    }

    /// 8 hexadecimal digits that no task of the session and no log has.
    fn new_id(&self) -> String {
        loop {
            let id = Uuid::new_v4().simple().to_string()[..8].to_owned();
            let has_log = self.settings.logs.as_ref().is_some_and(|logs| logs.has(&id));
            if !has_log && self.find(&id).is_none() {
                return id;
            }
        }
    }

    /// The background tasks, oldest first.
    pub fn list(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.in_background)
    }

    /// The task with this id, in the background or not.
    pub fn find(&self, id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.id == id)
    }

    /// How many background tasks are running.
    pub fn running(&self) -> usize {
        let running = |task: &&Task| task.status() == Status::Running;
        self.list().filter(running).count()
    }

    /// What is left of a foreground command goes on as a background task.
    pub fn move_to_background(&mut self, id: &str) {
        let Some(task) = self.find_mut(id) else {
            return;
        };
        task.in_background = true;
        let (id, command) = (task.id.clone(), task.command.clone());
        if let Held::Process(process) = &task.held {
            process.keep_log();
        }
        self.tell_start(&id);
        self.journal.push(Entry::Started { id, command });
    }

    fn tell_start(&self, id: &str) {
        let (Some(observer), Some(task)) = (&self.observer, self.find(id)) else {
            return;
        };
        observer(News::Started {
            id: task.id.clone(),
            command: task.command.clone(),
            started: Instant::now() - task.age(),
            killer: task.killer(),
        });
    }

    /// Removes a foreground command: its result was shown, or nobody wants it. What still runs is ended.
    pub fn forget(&mut self, id: &str) {
        if let Some(Held::Process(process)) = self.find(id).map(|task| &task.held) {
            process.kill();
        }
        self.find_mut(id).into_iter().for_each(|task| task.forgotten = true);
        self.tasks.retain(|task| !task.forgotten || task.is_held());
    }

    /// Takes note of everything that has happened. Never blocks.
    pub fn receive(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.absorb(event);
        }
    }

    fn absorb(&mut self, event: Event) {
        let Some(task) = self.find_mut(&event.id) else {
            return;
        };
        let had_ended = task.end.is_some();
        match event.change {
            // Started in the background, it has ended with its shell; what lives on is said with the result.
            Change::ShellEnded(end) if task.in_background => task.end = Some(end),
            Change::ShellEnded(end) => task.shell_end = Some(end),
            Change::Gone(_) if task.forgotten => {
                return self.tasks.retain(|task| task.id != event.id);
            }
            Change::Gone(end) => task.gone(end),
        }
        if task.in_background && task.end.is_some() && !had_ended {
            let how = task.how_it_ended();
            if let (Some(observer), Some(how)) = (&self.observer, how) {
                let id = event.id.clone();
                observer(News::Ended { id, how });
            }
            self.journal.push(Entry::Ended { id: event.id.clone() });
            self.undelivered.push(event.id);
        }
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.id == id)
    }
}

impl Drop for Tasks {
    /// Ends everything and waits until it is gone: nothing outlives the program.
    fn drop(&mut self) {
        self.stops = never();
        self.end_all();
    }
}
