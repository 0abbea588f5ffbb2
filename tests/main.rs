//! The program through its front door: the real binary, a scripted API, real shells and signals.

// In a chroot with nothing but the static binary and a busybox.
mod bare;
// What the static binary is made of.
mod binary;
// What the model learns of a command.
mod commands;
// The rules of the house that can be grepped.
mod house;
// Many tasks and much output.
mod load;
// Nothing outlives the program.
mod processes;
// The README's commands, and what it shows.
mod readme;
mod support;
