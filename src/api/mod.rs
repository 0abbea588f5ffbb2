//! Talking to the Messages API: what goes out, what comes back, and the way there.

pub mod client;
pub mod message;
pub mod reply;
pub mod sse;
pub mod transport;
