//! `meanwhile sessions`: one line for each session.

use crate::session::store::Summary;
use crate::text::{duration, first, one_line, visible};

/// Returns a table of age, id, turns, folder and first words.
pub fn table(sessions: &[Summary]) -> String {
    if sessions.is_empty() {
        return "No sessions.\n".into();
    }
    let lines = sessions.iter().map(|session| {
        let age = format!("{} ago", duration(session.age));
        let id = first(&session.id, 8);
        let turns = match session.turns {
            1 => "1 turn".to_owned(),
            n => format!("{n} turns"),
        };
        let folder = one_line(&session.folder, 200);
        let line = format!("{age:>16}  {id}  {turns:>9}  {folder}  {}", session.first_words);
        format!("{}\n", visible(&line))
    });
    lines.collect()
}
