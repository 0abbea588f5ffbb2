//! The program through its front door: the real binary, a scripted API, real shells and signals.

mod support;
