//! Where writer schemas come from: those built in, a folder, or a registry server.

mod directory;
mod references;
mod server;
mod subjects;

pub use directory::{RegistryError, codec, load_folder};
pub use server::{
    Credentials, Reference, Registered, RegistryMeter, RegistryServer, RegistrySettings, ServerError,
};
pub use subjects::{Compatibility, Registering};
