//! The client of the Messages API (<https://docs.anthropic.com/en/api/messages>).

pub mod client;
pub mod connection;
pub mod credential;
pub mod fold;
pub mod headers;
pub mod message;
pub mod models;
pub mod picture;
pub mod probe;
pub mod receive;
pub mod recording;
mod rejection;
pub mod reply;
pub mod request;
mod response;
pub mod retry;
pub mod schema;
mod sse;
mod surrogates;
pub mod transport;
pub mod web;
mod whole;

#[cfg(test)]
mod test_damage;
#[cfg(test)]
mod test_recorded;
#[cfg(test)]
mod test_rejection;
#[cfg(test)]
mod test_schema;
#[cfg(test)]
mod test_wire;
