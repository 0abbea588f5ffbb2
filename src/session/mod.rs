//! What a session holds: the system prompt and the transcript.

pub mod prompt;
pub mod transcript;
