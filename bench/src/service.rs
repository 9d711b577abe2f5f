//! A Postroom service around one group, until the last event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postroom::Group;
use postroom::config::{Config, Sources, load};
use postroom::runtime::{Broker, Service};
use postroom::telemetry::{Board, BuildInfo, Metrics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::Work;
use crate::failure::Failure;
use crate::measure::{Measured, Meter};

/// Runs the group with everything that a service has (store, metrics, dead letters), until the meter is full.
pub(crate) fn serve(work: &Work, group: Group, meter: &Arc<Meter>) -> Result<Measured, Failure> {
    let folder = tempfile::tempdir()?;
    let config = configuration(work, folder.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let measured = runtime.block_on(async {
        forget(work, &format!("postroom.{}", group.name())).await?;
        let mut service = Service::start(&config, vec![group], metrics()?, Broker::Cluster)
            .await
            .map_err(|error| Failure::Postroom(error.to_string()))?;
        let mut look = tokio::time::interval(Duration::from_millis(5));
        let full = async {
            while !meter.is_full() {
                look.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, full).await.is_err() {
            return Err(Failure::Postroom(format!("not all events came: {:?}", service.status())));
        }
        let measured = meter.measured();
        service.drain(DRAIN);
        service.ended(DRAIN).await;
        measured
    });
    runtime.shutdown_background();
    measured
}

/// Removes what an earlier round left of the group, so that it starts at the first record.
async fn forget(work: &Work, group: &str) -> Result<(), Failure> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &work.kafka).create()?;
    for result in admin.delete_groups(&[group], &AdminOptions::new()).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((_, code)) => return Err(KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

fn configuration(work: &Work, folder: &Path) -> Result<Config, Failure> {
    let set = |key: &str, value: String| (format!("POSTROOM_{key}"), value);
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let environment = vec![
        set("KAFKA__BROKERS", work.kafka.clone()),
        set("KAFKA__GROUP_PREFIX", "postroom.".to_owned()),
        set("KAFKA__LIBRDKAFKA__QUEUED_MAX_MESSAGES_KBYTES", work.queue_kib.to_string()),
        set("KAFKA__LIBRDKAFKA__FETCH_QUEUE_BACKOFF_MS", "5".to_owned()),
        set("REGISTRY__DIRECTORY", schemas.display().to_string()),
        set("STORE__URL", format!("sqlite:{}", folder.join("bench.db").display())),
    ];
    let loaded = load(&Sources { environment, ..Sources::default() });
    loaded.map(|loaded| loaded.config).map_err(|problems| Failure::Postroom(problems.to_string()))
}

fn metrics() -> Result<Metrics, Failure> {
    let word = || env!("CARGO_PKG_VERSION").to_owned();
    let build = BuildInfo { version: word(), revision: word(), rustc: word(), librdkafka: word() };
    let board = Arc::new(Board::new("bench"));
    Metrics::new(&build, board).map_err(|error| Failure::Postroom(error.to_string()))
}

/// How long all events may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long leaving the group may take.
const DRAIN: Duration = Duration::from_secs(5);
