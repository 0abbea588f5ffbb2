//! How hard the model works and how it thinks, as far as the user asks for it.

use serde_json::{Value, json};

use super::Agent;
use crate::cli::args::{Effort, Thinking, ThinkingOptions};

/// The smallest budget that the API takes, in tokens
/// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>).
const LEAST_BUDGET: u32 = 1024;

/// What is left for the answer besides a budget, in tokens.
const ANSWER: u32 = 8192;

/// What is asked of the model's thinking. Without a wish, nothing is.
#[derive(Default)]
pub struct Wish(pub ThinkingOptions);

impl Wish {
    /// How long a reply must be able to be, in tokens: a budget, and then an answer.
    pub fn least_output(&self) -> u32 {
        match self.0.thinking {
            Some(Thinking::Budget(budget)) => budget.saturating_add(ANSWER),
            _ => 0,
        }
    }

    /// The field `effort` of `output_config`.
    pub fn effort(&self) -> Option<&'static str> {
        self.0.effort.map(Effort::name)
    }

    /// The field `thinking` of a request for a reply of up to `max_tokens`, which must be more than a budget.
    pub fn thinking(&self, max_tokens: u32) -> Option<Value> {
        match self.0.thinking? {
            Thinking::On => Some(json!({"type": "adaptive"})),
            Thinking::Off => Some(json!({"type": "disabled"})),
            Thinking::Budget(budget) => {
                let fits = budget < max_tokens;
                let budget = if fits { budget } else { max_tokens.saturating_sub(LEAST_BUDGET) };
                (budget >= LEAST_BUDGET).then(|| json!({"type": "enabled", "budget_tokens": budget}))
            }
        }
    }
}

impl Agent {
    /// How hard the model is asked to work; None: as it does by itself.
    pub fn effort(&self) -> Option<Effort> {
        self.wish.0.effort
    }

    /// Asks for this effort from now on. Fails with a sentence if that does not go with what else is asked for.
    pub fn set_effort(&mut self, effort: Option<Effort>) -> Result<(), String> {
        let asked = ThinkingOptions { effort, ..self.wish.0 };
        asked.check(&self.limits)?;
        self.wish.0 = asked;
        Ok(())
    }
}
