//! A session: the system prompt, the transcript, and the file that keeps it.

pub mod changes;
pub mod compaction;
pub mod export;
mod measure;
pub mod pictures;
pub mod prompt;
pub mod records;
pub mod repair;
pub mod store;
#[cfg(test)]
mod tests;
pub mod transcript;
