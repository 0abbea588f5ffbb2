//! What a session holds: the system prompt and the transcript.

pub mod compaction;
pub mod export;
pub mod prompt;
pub mod records;
mod repair;
pub mod store;
#[cfg(test)]
mod tests;
pub mod transcript;
