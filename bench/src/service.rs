//! A Postroom process around one group, until the last event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postroom::{Group, Postroom};

use crate::Work;
use crate::failure::Failure;
use crate::measure::{Measured, Meter};

/// Runs the group in the way a user does, from a configuration, until the meter is full.
pub(crate) fn serve(work: &Work, group: Group, meter: &Arc<Meter>) -> Result<Measured, Failure> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, configuration(work, folder.path()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let failed = |error: postroom::Error| Failure::Postroom(error.to_string());
    let postroom = Postroom::from_file(&file).map_err(failed)?.with(group);

    runtime.block_on(async {
        let mut full = tokio::time::interval(Duration::from_millis(5));
        let wait = async {
            while !meter.is_full() {
                full.tick().await;
            }
        };
        tokio::select! {
            ended = postroom.run() => ended.map_err(failed),
            () = wait => Ok(()),
        }
    })?;
    let measured = meter.measured();
    runtime.shutdown_background();
    measured
}

fn configuration(work: &Work, folder: &Path) -> String {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    format!(
        r#"
[kafka]
brokers = "{}"

[kafka.librdkafka]
"queued.max.messages.kbytes" = "{}"
"fetch.queue.backoff.ms" = "5"

[registry]
directory = "{}"

[store]
url = "sqlite:{}"

[http]
enabled = false

[log]
level = "warn"
"#,
        work.kafka,
        work.queue_kib,
        schemas.display(),
        folder.join("bench.db").display()
    )
}
