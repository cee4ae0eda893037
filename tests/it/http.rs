//! The HTTP side with a real store and no actors: what is accepted, refused and shown.

mod access;
mod app;
mod documents;
mod generations;
mod hostile;
mod logs;
mod wire;
