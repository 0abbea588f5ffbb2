//! The background tasks as the user sees them: a table, an announcement when one ends, and a way to end one.

use std::time::Instant;

use crate::background::task::Task;
use crate::command::exit::End;
use crate::command::process::Killer;
use crate::text::{duration, one_line};

/// How many characters of a command are shown.
const SHOWN: usize = 60;

#[derive(Default)]
pub struct Roster {
    rows: Vec<Row>,
}

/// A task as it was when it started or when it ended, for another thread.
pub struct Row {
    id: String,
    command: String,
    started: Instant,
    killer: Option<Killer>,
    /// None while it runs.
    end: Option<End>,
}

impl Row {
    pub fn new(task: &Task) -> Row {
        Row {
            id: task.id.clone(),
            command: one_line(&task.command, SHOWN),
            started: Instant::now() - task.age(),
            killer: task.killer(),
            end: task.end().cloned(),
        }
    }

    /// `52a1c0de  exit code 1 after 3.0 s: make`
    fn line(&self) -> String {
        let Row { id, command, .. } = self;
        match &self.end {
            None => format!("{id}  running for {}: {command}", duration(self.started.elapsed())),
            Some(end) => format!("{id}  {end}: {command}"),
        }
    }
}

impl Roster {
    /// Takes a task that has started or ended. Returns an announcement if it has ended.
    pub fn take(&mut self, row: Row) -> Option<String> {
        let announcement = row.end.is_some().then(|| row.line());
        match self.rows.iter_mut().find(|known| known.id == row.id) {
            Some(known) => *known = row,
            None => self.rows.push(row),
        }
        announcement
    }

    fn running(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.end.is_none())
    }

    /// The prompt, with the number of running tasks.
    pub fn prompt(&self) -> String {
        match self.running().count() {
            0 => "meanwhile > ".into(),
            n => format!("meanwhile [{n} running] > "),
        }
    }

    /// What `/tasks` prints.
    pub fn table(&self) -> String {
        if self.rows.is_empty() {
            return "No background tasks.".into();
        }
        self.rows.iter().map(Row::line).collect::<Vec<_>>().join("\n")
    }

    /// Names the tasks that end when the user leaves now; None if none run.
    pub fn farewell(&self) -> Option<String> {
        let lines: Vec<_> = self.running().map(|row| format!("{}  {}", row.id, row.command)).collect();
        let what = match lines.len() {
            0 => return None,
            1 => "This task is still running and is ended now:",
            _ => "These tasks are still running and are ended now:",
        };
        Some(format!("{what}\n{}", lines.join("\n")))
    }

    /// Ends the task whose id begins with `id`. Returns an answer for the user.
    pub fn kill(&self, id: &str) -> String {
        let mut found = self.rows.iter().filter(|row| !id.is_empty() && row.id.starts_with(id));
        let (Some(row), other) = (found.next(), found.next()) else {
            return format!("No task `{id}`; `/tasks` lists them.");
        };
        if other.is_some() {
            return format!("More than one task begins with `{id}`.");
        }
        if let Some(end) = &row.end {
            return format!("{} has ended already: {end}", row.id);
        }
        row.killer.iter().for_each(Killer::kill);
        format!("Ending {}.", row.id)
    }
}
