//! What a session holds: the system prompt and the transcript.

pub mod compaction;
pub mod export;
pub mod prompt;
mod repair;
pub mod store;
pub mod transcript;
