//! The background tasks as the user sees them: a table, an announcement for each end, a way to end one.

use std::time::Instant;

use crate::{
    background::News,
    command::process::Killer,
    text::{duration, one_line},
};

/// How much of a command is shown.
const SHOWN: usize = 60;

#[derive(Default)]
pub struct Roster {
    rows: Vec<Row>,
    /// What is still to be announced.
    ended: Vec<String>,
}

struct Row {
    id: String,
    command: String,
    started: Instant,
    killer: Option<Killer>,
    /// How it ended, once it has.
    end: Option<String>,
}

impl Roster {
    /// Takes note; returns what is to be announced.
    pub fn take(&mut self, news: News) -> Option<String> {
        match news {
            News::Started { id, command, started, killer } => {
                self.rows.push(Row { id, command, started, killer, end: None });
                None
            }
            News::Ended { id, how } => {
                let row = self.rows.iter_mut().find(|row| row.id == id)?;
                let text = format!("{id} {how}: {}", one_line(&row.command, SHOWN));
                row.end = Some(how);
                Some(text)
            }
        }
    }

    /// Takes note where nothing can be announced at once.
    pub fn take_for_later(&mut self, news: News) {
        let announced = self.take(news);
        self.ended.extend(announced);
    }

    /// What was not announced yet.
    pub fn ended(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ended)
    }

    fn running(&self) -> usize {
        self.rows.iter().filter(|row| row.end.is_none()).count()
    }

    /// What stands before the line that is typed.
    pub fn prompt(&self) -> String {
        match self.running() {
            0 => "meanwhile > ".into(),
            n => format!("meanwhile [{n} running] > "),
        }
    }

    /// What `/tasks` prints.
    pub fn table(&self) -> String {
        let lines = self.rows.iter().map(|row| {
            let command = one_line(&row.command, SHOWN);
            match &row.end {
                None => format!("{}  running for {}: {command}", row.id, duration(row.started.elapsed())),
                Some(how) => format!("{}  {how}: {command}", row.id),
            }
        });
        match &*lines.collect::<Vec<_>>().join("\n") {
            "" => "No background tasks.".into(),
            table => table.into(),
        }
    }

    /// What becomes of the tasks when the user leaves now; nothing when none runs.
    pub fn farewell(&self) -> Option<String> {
        let running = self.rows.iter().filter(|row| row.end.is_none());
        let lines: Vec<String> =
            running.map(|row| format!("{}  {}", row.id, one_line(&row.command, SHOWN))).collect();
        let what = match lines.len() {
            0 => return None,
            1 => "This task is still running, and is ended now:",
            _ => "These tasks are still running, and are ended now:",
        };
        Some(format!("{what}\n{}", lines.join("\n")))
    }

    /// Ends the task whose id begins so; returns what is to be said.
    pub fn kill(&self, id: &str) -> String {
        let mut found = self.rows.iter().filter(|row| !id.is_empty() && row.id.starts_with(id));
        match (found.next(), found.next()) {
            (None, _) => format!("No task `{id}`; `/tasks` lists them."),
            (Some(_), Some(_)) => format!("More than one task begins with `{id}`."),
            (Some(Row { end: Some(how), id, .. }), None) => format!("{id} has ended already: {how}"),
            (Some(row), None) => {
                if let Some(killer) = &row.killer {
                    killer.kill();
                }
                format!("{} is being ended.", row.id)
            }
        }
    }
}
