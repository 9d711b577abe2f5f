//! Object stores. A folder for now; S3 follows behind the same port.

mod folder;
mod key;

pub use folder::Folder;
