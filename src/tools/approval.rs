//! Decides whether a call may be run: by rules that were set in advance, or by asking the user.
//!
//! Only lines that the user types at the terminal are answers; what a task prints or a file says never gets here.

use crossbeam_channel::Receiver;

use super::change::Change;
use super::rules::{Rule, allow_command, denies_command, names_file, rule_for_folder, rules_like};
use super::{Answer, Outcome, Tasks};
use crate::{background::Arrival, stop::Stop};

/// What a tool is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub tool: &'static str,
    pub what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    Command(&'a str),
    Change(&'a Change),
    /// The path of a file. Nobody is asked for consent to read it.
    Read(&'a str),
}

/// Shows the user an act and the rules that `always` would set. Returns the lines that are typed then.
pub type Asker = Box<dyn FnMut(&Act, &[Rule]) -> Receiver<String>>;

#[derive(Default)]
pub struct Approval {
    pub deny: Vec<Rule>,
    pub allow: Vec<Rule>,
    /// Whether an act needs consent if no rule decides on it.
    pub asks: bool,
    /// None if nobody is there to be asked.
    pub asker: Option<Asker>,
}

impl Approval {
    /// Returns whether the user was asked and consented. Fails with the outcome of a call that may not be run.
    pub fn check(&mut self, act: &Act, tasks: &mut Tasks) -> Result<bool, Outcome> {
        if let Some(rule) = denied(&self.deny, act) {
            let rule = rule.text();
            let text = format!("refused: the user has denied it in advance (--deny '{rule}'). Do without it");
            return Err(refused("denied by a rule", text));
        }
        if !self.asks || matches!(act.what, What::Read(_)) || allowed(&self.allow, act) {
            return Ok(false);
        }
        let always = match act.what {
            What::Command(command) => rules_like(command),
            What::Change(change) => vec![rule_for_folder(act.tool, &change.path)],
            What::Read(_) => Vec::new(),
        };
        let Some(asker) = &mut self.asker else {
            let text = "refused: it needs the user's consent (--ask), and nobody is there to give it. Do without it, \
                or say what you would have done";
            return Err(refused("nobody was there to be asked", text.into()));
        };
        let answers = asker(act, &always);
        let answer = wait_for_answer(&answers, !always.is_empty(), tasks).map_err(Outcome::not_run)?;
        let no = "the user said no";
        match answer.as_str() {
            "y" | "yes" | "Y" => {}
            // Yes, and no more questions about acts that these rules allow.
            "a" | "always" => self.allow.extend(always),
            "n" | "no" | "N" => return Err(refused(no, "refused by the user".into())),
            reason => return Err(refused(no, format!("refused by the user, who says: {reason}"))),
        }
        Ok(true)
    }
}

fn refused(why: &'static str, text: String) -> Outcome {
    Outcome { refused: Some(why), ..Answer::error(text).into() }
}

/// Waits for a line that means something as an answer, and returns it trimmed. Tasks go on meanwhile.
fn wait_for_answer(answers: &Receiver<String>, has_rules: bool, tasks: &mut Tasks) -> Result<String, Stop> {
    loop {
        match tasks.wait(answers, None) {
            Arrival::Message(line) => match line.trim() {
                "" => {}
                "a" | "always" if !has_rules => {}
                answer => return Ok(answer.to_owned()),
            },
            Arrival::Closed => return Ok("no".into()),
            Arrival::Stopped(stop) => return Err(stop),
            Arrival::Task | Arrival::TimedOut => {}
        }
    }
}

fn denied<'a>(rules: &'a [Rule], act: &Act) -> Option<&'a Rule> {
    match act.what {
        What::Command(command) => denies_command(rules, act.tool, command),
        What::Change(Change { path, .. }) => names_file(rules, act.tool, path),
        What::Read(path) => names_file(rules, act.tool, path),
    }
}

fn allowed(rules: &[Rule], act: &Act) -> bool {
    match act.what {
        What::Command(command) => allow_command(rules, act.tool, command),
        What::Change(Change { path, .. }) => names_file(rules, act.tool, path).is_some(),
        What::Read(_) => true,
    }
}
