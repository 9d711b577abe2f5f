//! Thumbnails, made in a child process: pictures come from strangers, and decoders have bugs.
//!
//! The child is this program again, with a hidden subcommand. It limits itself, reads requests from its standard
//! input and answers on its standard output; it has no environment, no files and no children. A picture that takes it down
//! takes nothing else.

mod child;
mod kind;
mod png;
mod pool;
mod render;
mod wire;

pub use child::serve;
pub use pool::{PicturePool, WorkerSettings};
