//! Talking to the Messages API: what goes out, what comes back, and the way there.

pub mod client;
mod delta;
mod escaped;
pub mod fold;
pub mod message;
pub mod probe;
pub mod recording;
pub mod reply;
pub mod retry;
pub mod sse;
pub mod transport;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod wire;
