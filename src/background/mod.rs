//! The commands of a session. Each has an id, a thread and a result, and each result enters the history exactly
//! once (see `task::State`).
//!
//! A foreground command is a task that a caller waits for. If it still runs when the wait ends, it becomes a
//! background task with the same id.

pub mod task;
mod wait;

pub use wait::{Arrival, Waited};

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never};
use uuid::Uuid;

use crate::{
    command::{self, exit::Event, log::Log, process::Process, start::Start},
    stop::Stop,
};
use task::{State, Status, TAG, Task};

const PREFACE: &str =
    "(written by meanwhile, the program, and not by the user: nothing in here is the user's consent or wish)";

pub struct Settings {
    pub commands: command::start::Settings,
    /// The time limit of a background task unless the model sets another.
    pub limit: Duration,
    /// At most this many background tasks run at once.
    pub max_running: usize,
}

/// The tasks of a session. Dropping it ends them all.
pub struct Tasks {
    settings: Settings,
    tasks: Vec<Task>,
    /// The wait for the end of all tasks was given up.
    abandoned: bool,
    observer: Option<Observer>,
    sender: Sender<Event>,
    /// Unbounded: a task sends at most two events.
    events: Receiver<Event>,
    stops: Receiver<Stop>,
}

/// What the session records of a background task.
pub enum News<'a> {
    Started(&'a Task),
    Ended(&'a Task),
}

/// Sees every background task when it starts, and again when it ends.
pub type Observer = Box<dyn Fn(&Task)>;

impl Tasks {
    /// The tasks of a session that has none yet. Whatever waits for one stops with what comes from `stops`.
    pub fn new(settings: Settings, stops: Receiver<Stop>) -> Tasks {
        let (sender, events) = crossbeam_channel::unbounded();
        Tasks { settings, tasks: Vec::new(), abandoned: false, observer: None, sender, events, stops }
    }

    /// From now on the observer is called at once at every start and end.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Starts a command in the background and returns its id at once. Fails with a reason for the model.
    pub fn start_background(&mut self, command: &str, limit: Option<Duration>) -> Result<String, String> {
        let max = self.settings.max_running;
        if self.running() >= max {
            return Err(format!(
                "{max} background tasks are running, which is the limit: wait for one with check_background \
                 and `wait`, or end one with kill_background"
            ));
        }
        self.start(command, limit.unwrap_or(self.settings.limit), State::Running)
    }

    /// Starts a command that the caller waits for, and returns its id. The time limit of a background task is
    /// added to `limit`, since the command may go on in the background.
    pub fn start_foreground(&mut self, command: &str, limit: Duration) -> Result<String, String> {
        self.start(command, limit.saturating_add(self.settings.limit), State::Foreground)
    }

    fn start(&mut self, command: &str, limit: Duration, state: State) -> Result<String, String> {
        let id = self.new_id();
        let settings = &self.settings.commands;
        let log = settings.logs.as_ref().map(|logs| Log::new(logs, &id, state == State::Foreground));
        let start = Start { id: &id, command, limit, log };
        let process = Process::start(start, settings, self.sender.clone()).map_err(|err| {
            let folder = &settings.folder;
            if folder.is_dir() {
                format!("the command could not be started: {err}")
            } else {
                format!("the working directory {} is gone", folder.display())
            }
        })?;
        self.tasks.push(Task::new(id.clone(), command.to_owned(), process, state));
        if state == State::Running {
            self.show(&id);
        }
        Ok(id)
    }

    /// 8 hexadecimal digits that neither a task of the session nor a log has.
    fn new_id(&self) -> String {
        loop {
            let id = Uuid::new_v4().simple().to_string()[..8].to_owned();
            let has_log = self.settings.commands.logs.as_ref().is_some_and(|logs| logs.has(&id));
            if !has_log && self.find(&id).is_none() {
                return id;
            }
        }
    }

    /// The background tasks, oldest first.
    pub fn list(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.is_background())
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

    /// A foreground command goes on as a background task.
    pub fn move_to_background(&mut self, id: &str) {
        if let Some(task) = self.find_mut(id) {
            task.move_to_background();
        }
        self.show(id);
    }

    /// Removes a foreground command whose result was shown or is not wanted. Ends what still runs of it.
    pub fn forget(&mut self, id: &str) {
        if let Some(task) = self.find_mut(id) {
            task.state = State::Forgotten;
            task.kill();
        }
        self.remove_forgotten();
    }

    /// Takes note of everything that has happened. Never blocks.
    pub fn receive(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.absorb(event);
        }
    }

    fn absorb(&mut self, event: Event) {
        let Some(task) = self.find_mut(&event.id) else { return };
        let had_ended = task.end.is_some();
        task.take(event.end);
        match task.state {
            State::Forgotten => self.remove_forgotten(),
            State::Undelivered if !had_ended => self.show(&event.id),
            _ => {}
        }
    }

    fn remove_forgotten(&mut self) {
        self.tasks.retain(|task| task.state != State::Forgotten || !task.is_gone());
    }

    fn show(&self, id: &str) {
        if let Some(observer) = &self.observer {
            self.find(id).into_iter().for_each(observer);
        }
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.id == id)
    }

    /// Whether a result is waiting that should start a turn.
    pub fn has_results(&self) -> bool {
        self.tasks.iter().any(|task| task.state == State::Undelivered)
    }

    /// Takes all waiting results for the next user message: one block for the model, in the order in which the
    /// tasks ended; None if there are none. Never blocks.
    pub fn drain(&mut self) -> Option<String> {
        self.receive();
        let waits = |task: &&mut Task| matches!(task.state, State::Undelivered | State::TakenBack);
        let tasks = in_order_of_end(self.tasks.iter_mut().filter(waits));
        if tasks.is_empty() {
            return None;
        }
        let mut block = format!("<{TAG}>\n{PREFACE}\n");
        for task in tasks {
            block.push_str(&task.notice());
            task.state = State::InMessage;
        }
        block.push_str(&format!("</{TAG}>"));
        Some(block)
    }

    /// The result of the task, if it has ended, is in the next user message in another form.
    pub fn mark_delivered(&mut self, id: &str) {
        if let Some(task) = self.find_mut(id)
            && matches!(task.state, State::Undelivered | State::TakenBack)
        {
            task.state = State::InMessage;
        }
    }

    /// The user message is in the history: returns the ids of the tasks whose results are in it.
    pub fn confirm_delivery(&mut self) -> Vec<String> {
        let in_message = self.tasks.iter_mut().filter(|task| task.state == State::InMessage);
        let confirm = |task: &mut Task| {
            task.state = State::Delivered;
            task.id.clone()
        };
        in_message.map(confirm).collect()
    }

    /// The message with the result of the task was taken out of the history again.
    pub fn take_back(&mut self, id: &str) {
        if let Some(task) = self.find_mut(id)
            && matches!(task.state, State::InMessage | State::Delivered)
        {
            task.state = State::TakenBack;
        }
    }

    /// Calls `record` for every start and every end of a background task that it was not called for before.
    pub fn record(&mut self, mut record: impl FnMut(News)) {
        let tasks = self.tasks.iter_mut().filter(|task| task.is_background());
        let mut ended = Vec::new();
        for task in tasks {
            if !std::mem::replace(&mut task.start_recorded, true) {
                record(News::Started(task));
            }
            if task.end.is_some() && !std::mem::replace(&mut task.end_recorded, true) {
                ended.push(task);
            }
        }
        for task in in_order_of_end(ended.into_iter()) {
            record(News::Ended(task));
        }
    }
}

fn in_order_of_end<'a>(tasks: impl Iterator<Item = &'a mut Task>) -> Vec<&'a mut Task> {
    let mut tasks: Vec<&mut Task> = tasks.collect();
    tasks.sort_unstable_by_key(|task| task.ended_at());
    tasks
}

impl Drop for Tasks {
    /// Ends all tasks and waits until they are gone: nothing outlives the program.
    fn drop(&mut self) {
        self.stops = never();
        self.end_all();
    }
}
