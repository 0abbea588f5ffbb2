//! How hard the model works and how it thinks: what the user asks for, as far as the model is known to have it.
//!
//! Only one thing is asked for by itself: if somebody sees it, a model that thinks anyway is asked to say what it thinks
//! (<https://platform.claude.com/docs/en/build-with-claude/thinking>). Its description does not say whether it thinks
//! unasked. One that can't stop does, and so does one that has thought before.

use serde_json::{Value, json};

use super::room::Learned;
use super::{Agent, Event, Watch};
use crate::api::models::Description;
use crate::api::request::Asked;
use crate::cli::args::{Effort, Limits, Thinking, ThinkingOptions};
use crate::error::Rejection;

/// The smallest budget that the API takes, in tokens
/// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).
const LEAST_BUDGET: u32 = 1024;

/// What is left for the answer besides a budget, in tokens.
const ANSWER: u32 = 8192;

/// What the user wants of the model's thinking.
#[derive(Default)]
pub(super) struct Wish {
    options: ThinkingOptions,
    /// Somebody sees what the model thinks.
    is_seen: bool,
    /// The server has accepted a request that asks to tell what the model thinks.
    is_accepted: bool,
    /// It has refused one for no reason that is known, and no request without that since.
    is_doubted: bool,
    /// The model was seen to think.
    has_thought: bool,
    /// The user knows what the model does not have.
    was_told: bool,
}

impl Wish {
    pub fn new(options: ThinkingOptions) -> Wish {
        Wish { options, ..Wish::default() }
    }

    /// What is known of the limits of a model from the start: a reply must have room for a budget and an answer.
    pub fn learned(&self, limits: &Limits) -> Learned {
        let raised = match (self.options.thinking, limits.max_output_tokens) {
            (Some(Thinking::Budget(budget)), None) => budget.saturating_add(ANSWER),
            _ => 0,
        };
        Learned { raised, ..Learned::default() }
    }

    /// What to ask for in a request for a reply of up to `max_tokens`, and what the user wants that the model does not
    /// have.
    fn asked(&self, model: Option<&Description>, max_tokens: u32) -> (Asked, Vec<String>) {
        let supports = |path: &[&str]| model.and_then(|model| model.supports(path));
        let has_type = |kind| supports(&["thinking", "types", kind]);
        let mut missing = Vec::new();
        let mut effort = self.options.effort.map(Effort::name);
        if let Some(name) = effort
            && (supports(&["effort"]) == Some(false) || supports(&["effort", name]) == Some(false))
        {
            missing.push(format!("effort `{name}`"));
            effort = None;
        }
        let is_told = self.is_seen && !self.is_doubted && has_type("adaptive") == Some(true);
        let mut adaptive = json!({"type": "adaptive"});
        if is_told {
            adaptive["display"] = "summarized".into();
        }
        let thinks = self.has_thought || has_type("disabled") == Some(false);
        let (thinking, kind) = match self.options.thinking {
            None => ((is_told && thinks).then_some(adaptive), ""),
            Some(Thinking::On) => (Some(adaptive), "adaptive"),
            Some(Thinking::Off) => (Some(json!({"type": "disabled"})), "disabled"),
            Some(Thinking::Budget(budget)) => (enabled(budget, max_tokens), "enabled"),
        };
        if has_type(kind) == Some(false) {
            missing.push(format!("thinking of type `{kind}`"));
            return (Asked { effort, thinking: None }, missing);
        }
        (Asked { effort, thinking }, missing)
    }
}

/// Thinking with a budget, which leaves as much of `max_tokens` as the least budget has for the answer. None if there
/// is no room for it.
fn enabled(budget: u32, max_tokens: u32) -> Option<Value> {
    let budget = budget.min(max_tokens.saturating_sub(LEAST_BUDGET));
    (budget >= LEAST_BUDGET).then(|| json!({"type": "enabled", "budget_tokens": budget}))
}

impl Agent {
    /// Asks the model from now on to tell what it thinks, if it can: somebody sees it.
    pub fn show_thinking(&mut self) {
        self.wish.is_seen = true;
    }

    /// How hard the model is asked to work; None: as it does by itself.
    pub fn effort(&self) -> Option<Effort> {
        self.wish.options.effort
    }

    /// Asks for this effort from now on. Fails with a sentence if the model is known not to have it, or if it does not
    /// go with what else is asked for.
    pub fn set_effort(&mut self, effort: Option<Effort>) -> Result<(), String> {
        let options = ThinkingOptions { effort, ..self.wish.options };
        options.check(&self.limits)?;
        let wish = Wish::new(ThinkingOptions { effort, thinking: None });
        if let Some(missing) = wish.asked(self.client.description(), 0).1.first() {
            return Err(format!("{} does not have {missing}", self.client.model()));
        }
        (self.wish.options, self.wish.was_told) = (options, false);
        Ok(())
    }

    /// Forgets what was learned of the model before.
    pub(super) fn meet_model(&mut self) {
        let options = self.wish.options;
        self.wish = Wish { is_seen: self.wish.is_seen, ..Wish::new(options) };
        self.learned = self.wish.learned(&self.limits);
    }

    /// Notes that the server has accepted the last request.
    pub(super) fn note_accepted(&mut self) {
        self.wish.is_accepted |= asks_to_tell(self.client.asked());
    }

    /// Decides after a rejection what the next request asks of the model's thinking. Returns whether it asks for less: a
    /// server may not know what was asked for by itself, and the description of the model may have come meanwhile.
    pub(super) fn ask_for_less(
        &mut self,
        rejection: Option<Rejection>,
        max_tokens: u32,
        watch: &mut Watch,
    ) -> bool {
        let may_be_unknown =
            rejection.is_none() && !self.wish.is_accepted && asks_to_tell(self.client.asked());
        // What is refused without that too is refused for another reason.
        self.wish.is_doubted = may_be_unknown || rejection.is_some() && self.wish.is_doubted;
        self.ask_for_thinking(max_tokens, watch) || may_be_unknown
    }

    /// Notes that the model thinks.
    pub(super) fn see_thinking(&mut self) {
        self.wish.has_thought = true;
    }

    /// Decides what the next request asks of the model's thinking. Returns whether it leaves out what was
    /// asked for before.
    pub(super) fn ask_for_thinking(&mut self, max_tokens: u32, watch: &mut Watch) -> bool {
        let (asked, missing) = self.wish.asked(self.client.description(), max_tokens);
        if !missing.is_empty() && !std::mem::replace(&mut self.wish.was_told, true) {
            let model = self.client.model();
            watch(Event::Notice(&format!("{model} does not have {}: not asked for", missing.join(" and "))));
        }
        let fields = |asked: &Asked| [asked.effort.is_some(), asked.thinking.is_some()];
        let now = fields(&asked);
        let before = fields(&self.client.ask(asked));
        before.into_iter().zip(now).any(|(before, now)| before && !now)
    }
}

/// Whether the model is asked to tell what it thinks, which nobody but this program asks for.
fn asks_to_tell(asked: &Asked) -> bool {
    asked.thinking.as_ref().is_some_and(|thinking| thinking.get("display").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description in which a model has these efforts and these types of thinking, and no others.
    fn model(efforts: &[&str], types: &[&str]) -> Description {
        let supported = |names: &[&str], all: &[&str]| {
            let each = all.iter().map(|name| (name.to_string(), json!({"supported": names.contains(name)})));
            Value::Object(each.collect())
        };
        let mut effort = supported(efforts, &Effort::NAMES);
        effort["supported"] = (!efforts.is_empty()).into();
        let types = supported(types, &["adaptive", "disabled", "enabled"]);
        let capabilities = json!({"effort": effort, "thinking": {"supported": true, "types": types}});
        Description::parse(&json!({"type": "model", "capabilities": capabilities}).to_string()).unwrap()
    }

    const SEEN: Wish = Wish {
        options: ThinkingOptions { effort: None, thinking: None },
        is_seen: true,
        is_accepted: false,
        is_doubted: false,
        has_thought: false,
        was_told: false,
    };

    fn wish(thinking: Option<Thinking>) -> Wish {
        Wish { options: ThinkingOptions { effort: None, thinking }, ..SEEN }
    }

    #[track_caller]
    fn check(wish: Wish, model: Option<&Description>, expected: Value) {
        let (asked, missing) = wish.asked(model, 32_000);
        assert_eq!((asked.thinking.unwrap_or_default(), missing), (expected, Vec::<String>::new()));
    }

    #[test]
    fn a_model_is_asked_to_tell_what_it_thinks_only_where_it_thinks_anyway() {
        let summarized = json!({"type": "adaptive", "display": "summarized"});
        let (always, can_stop) = (model(&[], &["adaptive"]), model(&[], &["adaptive", "disabled"]));
        let old = model(&[], &["disabled", "enabled"]);
        check(SEEN, None, Value::Null);
        check(SEEN, Some(&Description::default()), Value::Null);
        check(SEEN, Some(&always), summarized.clone());
        check(Wish { is_seen: false, ..SEEN }, Some(&always), Value::Null);
        check(SEEN, Some(&can_stop), Value::Null);
        check(Wish { has_thought: true, ..SEEN }, Some(&can_stop), summarized.clone());
        check(Wish { has_thought: true, ..SEEN }, Some(&old), Value::Null);
        check(Wish { has_thought: true, ..SEEN }, None, Value::Null);

        check(wish(Some(Thinking::On)), Some(&can_stop), summarized);
        check(wish(Some(Thinking::On)), None, json!({"type": "adaptive"}));
        check(
            Wish { has_thought: true, ..wish(Some(Thinking::Off)) },
            Some(&can_stop),
            json!({"type": "disabled"}),
        );
        check(
            wish(Some(Thinking::Budget(2000))),
            Some(&old),
            json!({"type": "enabled", "budget_tokens": 2000}),
        );
    }

    #[test]
    fn what_a_model_does_not_have_is_named_and_not_asked_for() {
        let (new, old) = (model(&["low", "high"], &["adaptive"]), model(&[], &["disabled", "enabled"]));
        for (effort, thinking, model, expected) in [
            (Some(Effort::Max), None, &new, &["effort `max`"][..]),
            (Some(Effort::Low), None, &new, &[]),
            (Some(Effort::Low), Some(Thinking::On), &old, &["effort `low`", "thinking of type `adaptive`"]),
            (None, Some(Thinking::Off), &new, &["thinking of type `disabled`"]),
            (None, Some(Thinking::Budget(2000)), &new, &["thinking of type `enabled`"]),
        ] {
            let wish = Wish { is_seen: false, ..Wish::new(ThinkingOptions { effort, thinking }) };
            let (asked, missing) = wish.asked(Some(model), 32_000);
            assert_eq!(missing, expected);
            let left = expected.is_empty().then_some(effort.map(Effort::name)).flatten();
            assert_eq!(asked, Asked { effort: left, thinking: None });
        }
    }

    #[test]
    fn a_budget_leaves_room_for_the_answer() {
        for (budget, max_tokens, expected) in
            [(2000, 4000, Some(2000)), (4000, 4002, Some(2978)), (4000, 2048, Some(1024)), (4000, 2047, None)]
        {
            let thinking = enabled(budget, max_tokens);
            let budget = thinking.map(|thinking| thinking["budget_tokens"].as_u64().unwrap());
            assert_eq!(budget, expected);
        }
    }
}
