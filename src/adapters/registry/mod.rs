//! Where writer schemas come from: those built in, a folder, or a registry server.

mod directory;
mod references;
mod server;

pub use directory::{RegistryError, codec, load_folder};
pub use server::{Compatibility, Credentials, RegistryServer, RegistrySettings, ServerError};
