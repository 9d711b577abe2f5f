//! The arguments of `export`.

use std::num::NonZeroU32;

use clap::{Args, Subcommand, ValueEnum};

/// The commands below `export`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Rules for Prometheus; each alert names its page of the manual
    Alerts {
        /// As a PrometheusRule object of the Prometheus operator
        #[arg(long)]
        kubernetes: bool,
    },
    /// A docker-compose.yml with Kafka, a registry, Postgres, a mail sink, Prometheus and Grafana
    Compose {
        /// Print the settings of its Postroom instead
        #[arg(long)]
        settings: bool,
    },
    /// The dashboard, as Grafana imports it
    Dashboard,
    /// Manifests for Kubernetes: a StatefulSet and what belongs to it
    #[command(
        after_help = "Examples:\n  postroom export k8s -c postroom.toml | kubectl apply -f -\n  postroom export k8s --part network-policy"
    )]
    K8s(K8sArgs),
    /// A ScaledObject for KEDA, with the reason beside each value
    #[command(
        after_help = "Examples:\n  postroom export keda -c postroom.toml --rate 200\n  postroom export keda -c postroom.toml --from localhost:9464     the rate that this instance measured\n  postroom export keda -c postroom.toml --trigger prometheus"
    )]
    Keda(KedaArgs),
}

/// Arguments of `export k8s`.
#[derive(Args, Debug)]
pub(crate) struct K8sArgs {
    /// Which part
    #[arg(long, value_enum, default_value_t, value_name = "PART")]
    pub(crate) part: K8sPart,
    /// The image
    #[arg(long, value_name = "IMAGE", default_value = concat!("postroom:", env!("CARGO_PKG_VERSION")))]
    pub(crate) image: String,
    /// How many members
    #[arg(long, value_name = "COUNT", default_value = "3")]
    pub(crate) replicas: NonZeroU32,
}

/// A part of the manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum K8sPart {
    /// Who may talk to Postroom.
    NetworkPolicy,
    /// What runs.
    #[default]
    Postroom,
    /// Where the Prometheus operator scrapes.
    ServiceMonitor,
}

/// Arguments of `export keda`.
#[derive(Args, Debug)]
pub(crate) struct KedaArgs {
    /// What to scale by
    #[arg(long, value_enum, default_value_t, value_name = "TRIGGER")]
    pub(crate) trigger: KedaTrigger,
    /// Scale by these effects alone, separated by commas [default: all that the configuration enables]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) effects: Vec<String>,
    /// Records a second that one replica sustains
    #[arg(long, value_name = "COUNT", conflicts_with = "from")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Take rates and partition counts from what a running instance measured
    #[arg(long, value_name = "URL")]
    pub(crate) from: Option<String>,
    /// The namespace that Postroom runs in
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Partitions of the busiest topic [default: topics.partitions]
    #[arg(long, value_name = "COUNT")]
    pub(crate) partitions: Option<NonZeroU32>,
}

/// What KEDA scales by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KedaTrigger {
    /// The committed offsets.
    #[default]
    Kafka,
    /// What `/api/scale` says.
    MetricsApi,
    /// The age of the oldest unfinished record, from Prometheus: the better one where that is there.
    Prometheus,
}
