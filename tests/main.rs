//! The program through its front door: the real binary, a scripted API, real shells and signals.

// What needs consent, and who gives it.
mod approval;
// The turn: requests, tools, results and errors.
mod agent_loop;
// What was sent is what is sent again.
mod append_only;
// In a chroot with nothing but the static binary and a busybox.
mod bare;
// What the static binary is made of.
mod binary;
// What the program may cost on any machine.
mod budgets;
// Cache markers.
mod caching;
// What the model learns of a command.
mod commands;
// Variables, flags and `.env`.
mod config;
// What the file tools answer, and what becomes of the file.
mod files;
mod full_context;
// Pictures that the model reads and the user attaches.
mod pictures;
// The server's own tools for the web.
mod web;
// One task for a script.
mod gateways;
mod headless;
// The rules of the house that can be grepped.
mod house;
// Interrupts, signals and the end of input.
mod leaving;
// Many tasks and much output.
mod load;
// What lies in the workspace, and what does not.
mod paths;
// Links that are swapped while the file tools work.
mod races;
// Nothing outlives the program.
mod processes;
// The README's commands, and what it shows.
mod readme;
// Recordings, and the demonstration that is one.
mod recording;
// Responses of the real API.
mod recorded;
// What is tried again, and what an interruption leaves.
mod retry;
// Why a reply stopped, and what follows.
mod stop_reasons;
// What commands and the file tools are kept from.
mod security;
// What opens a server: headers, fields, files and commands with the key.
mod access;
// The key, and where it must not turn up.
mod credentials;
// What is kept of a session, and how it goes on.
mod sessions;
// A history that fills the context window.
mod compaction;
// Every request keeps the rules, whatever happens.
// What a container may lack, and the duties of PID 1.
mod container;
// Every way in which a run ends.
mod ending;
// What `doctor` finds, and what it does not send.
mod doctor;
// What the program says of itself, to people and to shells.
mod shell_help;
// What a task of `-p` is made of, and how much is said.
mod input;
// The lines of `--output-format stream-json`.
mod stream;
// Answers that fit a schema.
mod structured;
// Text that would like to rule the terminal.
mod hostile_text;
// Servers that lie, in HTTP and in events.
mod lying_events;
mod lying_server;
// Servers that are not who they say they are.
mod support;
mod tls;
// What the server says about a model.
mod models;
// The prompt on a real terminal.
mod terminal;
// What the model thinks: where it is shown.
mod thinking;
// How hard the model is to work.
mod effort;
mod valid_requests;
// What the tools that run commands answer, and what is wrong with a call.
mod tools;
