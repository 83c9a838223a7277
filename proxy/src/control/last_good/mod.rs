//! The last-good file (`--last-good-file`): what a control plane last said and was accepted, kept for a start without one.
//!
//! ```text
//! store --changed, one second later--> writer task --off the control thread--> temporary file, fsync, rename
//! start, no control plane --> read, checked for age, node and integrity --> discovery::last_good feeds it as updates
//! ```
//!
//! Nothing that holds a secret is written: no secret resource, and no resource with a sensitive field. The file is the reader's own
//! (mode 0600), and what is read from it is validated like anything from a server. Driven by
//! [`discovery`](super::discovery).

mod counts;
mod file;
#[cfg(test)]
mod tests;
mod writer;

pub use counts::{Counts, Source};
pub use file::{Entry, FileError, Group, Limits, Node, Saved, read};
pub use writer::Writer;
