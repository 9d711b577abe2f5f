//! Threads of their own for handlers that may compute or block: whatever they do to them, groups are driven, health
//! is answered and signals are heard.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A thread for each processor; when it is dropped, nobody waits for what still runs.
pub(crate) struct HandlerThreads {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl HandlerThreads {
    /// Starts them.
    ///
    /// # Errors
    /// The system gives no threads.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("handler").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Returns where to spawn.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for HandlerThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
