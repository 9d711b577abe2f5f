//! The Grafana dashboard, made from a table of panels.

use serde_json::{Value, json};

/// A row of panels with a title.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

/// One panel.
struct Panel {
    title: &'static str,
    /// What it says, and what is bad.
    about: &'static str,
    kind: Kind,
    /// Grafana's name of the unit.
    unit: &'static str,
    /// An expression and the legend of its series.
    series: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lines over time.
    Lines,
    /// Lines that add up.
    Stack,
    /// The present value, large.
    Now,
    /// The present values, a line each.
    Table,
    /// How a histogram's buckets fill.
    Heat,
}

/// Returns the dashboard as Grafana imports it.
pub(crate) fn dashboard() -> Value {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in ROWS {
        panels.push(json!({
            "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "id": panels.len() + 1, "gridPos": { "x": 0, "y": top, "w": 24, "h": 1 },
        }));
        top += 1;
        let (mut left, mut height) = (0, 0);
        for panel in row.panels {
            let (wide, high) = size(panel.kind);
            if left + wide > WIDTH {
                top += height;
                (left, height) = (0, 0);
            }
            let place = json!({ "x": left, "y": top, "w": wide, "h": high });
            panels.push(drawn(panel, panels.len() + 1, &place));
            left += wide;
            height = height.max(high);
        }
        top += height;
    }
    json!({
        "uid": "postroom", "title": "Postroom", "tags": ["postroom", "kafka"], "schemaVersion": 39, "version": 1,
        "editable": true, "graphTooltip": 1, "refresh": "10s", "timezone": "",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": variables() },
        "annotations": { "list": [
            annotation("Rebalances", "changes(postroom_rebalances_total{job=~\"$job\",group=~\"$group\",kind=\"revoke\"}[1m]) > 0", "orange"),
            annotation("Versions", "count by (version) (postroom_build_info{job=~\"$job\"}) unless count by (version) (postroom_build_info{job=~\"$job\"} offset 1m)", "blue"),
        ] },
        "links": [],
        "panels": panels,
    })
}

fn drawn(panel: &Panel, id: usize, place: &Value) -> Value {
    let targets: Vec<_> = panel
        .series
        .iter()
        .zip('A'..='Z')
        .map(|((expression, legend), name)| {
            let at_once = matches!(panel.kind, Kind::Now | Kind::Table);
            json!({
                "refId": name.to_string(), "expr": expression, "legendFormat": legend, "datasource": source(),
                "instant": at_once, "range": !at_once,
                "format": match panel.kind { Kind::Table => "table", Kind::Heat => "heatmap", Kind::Lines | Kind::Stack | Kind::Now => "time_series" },
            })
        })
        .collect();
    let custom = match panel.kind {
        Kind::Stack => json!({ "fillOpacity": 30, "stacking": { "mode": "normal" } }),
        Kind::Lines => json!({ "fillOpacity": 5, "lineWidth": 1 }),
        Kind::Now | Kind::Table | Kind::Heat => json!({}),
    };
    json!({
        "id": id, "title": panel.title, "description": panel.about, "gridPos": place, "datasource": source(),
        "type": match panel.kind {
            Kind::Lines | Kind::Stack => "timeseries",
            Kind::Now => "stat",
            Kind::Table => "table",
            Kind::Heat => "heatmap",
        },
        "targets": targets,
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0, "custom": custom }, "overrides": [] },
        "options": match panel.kind {
            Kind::Now => json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "graphMode": "area" }),
            Kind::Heat => json!({ "calculate": false, "yAxis": { "unit": panel.unit } }),
            Kind::Lines | Kind::Stack => json!({ "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" } }),
            Kind::Table => json!({ "showHeader": true }),
        },
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn variables() -> Vec<Value> {
    let choice = |name: &str, label: &str, query: &str| {
        json!({
            "type": "query", "name": name, "label": label, "datasource": source(), "refresh": 2, "sort": 1,
            "query": { "query": query, "refId": name }, "definition": query,
            "multi": true, "includeAll": true, "allValue": ".*", "current": { "text": "All", "value": "$__all" },
        })
    };
    vec![
        json!({ "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus" }),
        choice("job", "Job", "label_values(postroom_build_info, job)"),
        choice("group", "Group", "label_values(postroom_messages_received_total{job=~\"$job\"}, group)"),
        choice(
            "topic",
            "Topic",
            "label_values(postroom_messages_received_total{job=~\"$job\",group=~\"$group\"}, topic)",
        ),
        choice(
            "handler",
            "Handler",
            "label_values(postroom_messages_total{job=~\"$job\",group=~\"$group\"}, handler)",
        ),
    ]
}

fn annotation(name: &str, expression: &str, colour: &str) -> Value {
    json!({
        "name": name, "enable": true, "iconColor": colour, "datasource": source(), "expr": expression, "step": "60s",
        "titleFormat": name, "textFormat": "{{group}}{{version}}",
    })
}

/// Grafana's grid has so many columns.
const WIDTH: u32 = 24;

const fn size(kind: Kind) -> (u32, u32) {
    match kind {
        Kind::Now => (4, 4),
        Kind::Lines | Kind::Stack | Kind::Heat => (8, 8),
        Kind::Table => (12, 8),
    }
}

/// Selects by the variables.
macro_rules! of {
    ($metric:literal) => {
        concat!($metric, "{job=~\"$job\",group=~\"$group\"}")
    };
    ($metric:literal, topic) => {
        concat!($metric, "{job=~\"$job\",group=~\"$group\",topic=~\"$topic\"}")
    };
    ($metric:literal, handler) => {
        concat!($metric, "{job=~\"$job\",group=~\"$group\",topic=~\"$topic\",handler=~\"$handler\"}")
    };
}

/// A quantile of a histogram, by some labels.
macro_rules! quantile {
    ($quantile:literal, $by:literal, $metric:literal) => {
        concat!(
            "histogram_quantile(",
            $quantile,
            ", sum by (le, ",
            $by,
            ") (rate(",
            $metric,
            "_bucket{job=~\"$job\",group=~\"$group\"}[$__rate_interval])))"
        )
    };
}

/// A rate, summed by some labels.
macro_rules! rate {
    ($by:literal, $($selector:tt)+) => {
        concat!("sum by (", $by, ") (rate(", of!($($selector)+), "[$__rate_interval]))")
    };
}

macro_rules! panel {
    ($kind:ident $title:literal, $about:literal, $unit:literal, $($expression:expr => $legend:literal),+ $(,)?) => {
        Panel { title: $title, about: $about, kind: Kind::$kind, unit: $unit, series: &[$(($expression, $legend)),+] }
    };
}

const ROWS: &[Row] = &[
    Row {
        title: "Now",
        panels: &[
            panel!(Now "Oldest unfinished event", "How long the event that waits longest has waited. Above five minutes somebody is paged.", "s",
                concat!("max(", of!("postroom_consumer_lag_seconds", topic), ")") => ""),
            panel!(Now "In", "Messages taken from Kafka a second.", "ops", concat!("sum(rate(", of!("postroom_messages_received_total", topic), "[$__rate_interval]))") => ""),
            panel!(Now "Out", "Messages finished a second.", "ops", concat!("sum(rate(", of!("postroom_messages_total", handler), "[$__rate_interval]))") => ""),
            panel!(Now "Dead letters in 24 h", "Messages set aside. `postroom dlq groups` shows them by cause.", "short",
                concat!("sum(increase(", of!("postroom_dead_letters_total", handler), "[24h]))") => ""),
            panel!(Now "Members", "Processes that are scraped.", "short", "count(postroom_build_info{job=~\"$job\"})" => ""),
            panel!(Now "Mails and webhooks waiting", "Rows of the outbox that are not closed.", "short", "max(postroom_outbox_pending_rows{job=~\"$job\"})" => ""),
            panel!(Table "Groups", "How far behind each group is on each topic.", "s",
                concat!("max by (group, topic) (", of!("postroom_consumer_lag_seconds", topic), ")") => ""),
            panel!(Table "Versions", "What runs where.", "short", "postroom_build_info{job=~\"$job\"}" => ""),
        ],
    },
    Row {
        title: "Lag",
        panels: &[
            panel!(Lines "Behind, by topic", "Age of the oldest unfinished record.", "s",
                concat!("max by (group, topic) (", of!("postroom_consumer_lag_seconds", topic), ")") => "{{group}} {{topic}}"),
            panel!(Lines "Behind, the 25 worst partitions", "One partition far above the others: a hot key, or a record that keeps failing.", "s",
                concat!("topk(25, ", of!("postroom_consumer_lag_seconds", topic), ")") => "{{group}} {{topic}}/{{partition}}"),
            panel!(Lines "Behind, as a share of the topic's retention", "At 1 Kafka removes events that were not read. Above 0.5 somebody is paged.", "percentunit",
                concat!("max by (group, topic) (", of!("postroom_consumer_lag_seconds", topic), ") / max by (group, topic) (", of!("postroom_topic_retention_seconds", topic), ")") => "{{group}} {{topic}}"),
            panel!(Lines "Unfinished messages", "End of the log less the next offset to commit.", "short",
                concat!("sum by (group, topic) (", of!("postroom_consumer_lag_messages", topic), ")") => "{{group}} {{topic}}"),
            panel!(Lines "Time to catch up", "Lag by how fast it shrinks; nothing where it does not shrink.", "s",
                concat!("sum by (group, topic) (", of!("postroom_consumer_lag_messages", topic), ") / (-sum by (group, topic) (deriv(", of!("postroom_consumer_lag_messages", topic), "[5m])) > 0)") => "{{group}} {{topic}}"),
            panel!(Lines "Positions", "How fast the log grows, and how fast the next offset to commit and Kafka's commit follow.", "ops",
                concat!("sum by (group, topic) (rate(", of!("postroom_consumer_log_end_offset", topic), "[$__rate_interval]))") => "{{group}} {{topic}} end",
                concat!("sum by (group, topic) (rate(", of!("postroom_consumer_position_offset", topic), "[$__rate_interval]))") => "{{group}} {{topic}} position",
                concat!("sum by (group, topic) (rate(", of!("postroom_consumer_committed_offset", topic), "[$__rate_interval]))") => "{{group}} {{topic}} committed"),
            panel!(Lines "Heads that do not move", "How long a partition's oldest record has kept its position still.", "s",
                concat!("topk(10, ", of!("postroom_partition_blocked_seconds", topic), " > 5)") => "{{group}} {{topic}}/{{partition}}"),
        ],
    },
    Row {
        title: "Throughput",
        panels: &[
            panel!(Stack "Finished, by handler", "Messages a second.", "ops", rate!("handler", "postroom_messages_total", handler) => "{{handler}}"),
            panel!(Stack "Finished, by event type", "Messages a second.", "ops", rate!("event_type", "postroom_messages_total", handler) => "{{event_type}}"),
            panel!(Stack "Finished, by outcome", "Messages a second. `skipped` is what a group does not want.", "ops", rate!("outcome", "postroom_messages_total", handler) => "{{outcome}}"),
            panel!(Lines "Bytes in", "Keys, values and headers.", "Bps", rate!("topic", "postroom_message_bytes_total", topic) => "{{topic}}"),
            panel!(Lines "Since the last message", "How long ago a message was last finished: on a quiet topic that is long, and well.", "s",
                concat!("time() - (max by (group, topic) (", of!("postroom_last_processed_timestamp_seconds", topic), ") > 0)") => "{{group}} {{topic}}"),
            panel!(Lines "In flight", "Messages received and unfinished.", "short", concat!("sum by (group) (", of!("postroom_messages_in_flight", topic), ")") => "{{group}}"),
        ],
    },
    Row {
        title: "Latency",
        panels: &[
            panel!(Lines "One attempt", "Half of the attempts, and all but one in a hundred, take less.", "s",
                quantile!("0.5", "handler", "postroom_message_processing_seconds") => "{{handler}} p50",
                quantile!("0.99", "handler", "postroom_message_processing_seconds") => "{{handler}} p99"),
            panel!(Lines "From event to effect", "From the record's timestamp to its effect.", "s",
                quantile!("0.5", "handler", "postroom_message_end_to_end_seconds") => "{{handler}} p50",
                quantile!("0.95", "handler", "postroom_message_end_to_end_seconds") => "{{handler}} p95",
                quantile!("0.99", "handler", "postroom_message_end_to_end_seconds") => "{{handler}} p99"),
            panel!(Heat "From event to effect", "The same, as a picture of all messages.", "s",
                "sum by (le) (rate(postroom_message_end_to_end_seconds_bucket{job=~\"$job\",group=~\"$group\"}[$__rate_interval]))" => "{{le}}"),
        ],
    },
    Row {
        title: "Retries and dead letters",
        panels: &[
            panel!(Stack "Retries", "Failed attempts that are repeated, by reason.", "ops", rate!("handler, reason", "postroom_retries_total", handler) => "{{handler}} {{reason}}"),
            panel!(Lines "Waiting for a retry", "With what waits behind them.", "short", concat!("sum by (handler) (", of!("postroom_retry_pending_messages"), ")") => "{{handler}}"),
            panel!(Lines "Finished at the first attempt", "Share of attempts that were not repeated.", "percentunit",
                concat!("1 - ", rate!("handler", "postroom_retries_total", handler), " / (", rate!("handler", "postroom_messages_total", handler), " > 0)") => "{{handler}}"),
            panel!(Stack "Dead letters", "Messages set aside, by reason.", "ops", rate!("group, reason", "postroom_dead_letters_total", handler) => "{{group}} {{reason}}"),
            panel!(Stack "Records that cannot be read", "By what is wrong with them.", "ops", rate!("topic, detail", "postroom_decode_failures_total", topic) => "{{topic}} {{detail}}"),
            panel!(Stack "Records that Kafka removed unread", "Retention was faster than the group (on_gap = continue).", "ops", rate!("group, topic", "postroom_messages_removed_total", topic) => "{{group}} {{topic}}"),
            panel!(Lines "Open dead letters", "Neither replayed nor discarded, by topic.", "short",
                concat!("max by (group, dlq_topic) (", of!("postroom_dead_letter_topic_messages"), ")") => "{{dlq_topic}}"),
            panel!(Lines "Oldest open letter, as a share of its topic's retention", "At 1 Kafka removes it. Above 0.8 somebody is paged.", "percentunit",
                concat!("(time() - min by (group, dlq_topic) (", of!("postroom_dead_letter_oldest_timestamp_seconds"), " > 0)) / max by (group, dlq_topic) (", of!("postroom_dead_letter_retention_seconds"), ")") => "{{dlq_topic}}"),
            panel!(Stack "Replays", "Dead letters that came again, by how they ended.", "ops", rate!("group, outcome", "postroom_dead_letter_replays_total") => "{{group}} {{outcome}}"),
            panel!(Lines "Dead letters that were refused", "The dead-letter topic does not take them: the partition waits.", "ops", rate!("group, topic", "postroom_dead_letter_failures_total", topic) => "{{group}} {{topic}}"),
        ],
    },
    Row {
        title: "Effects",
        panels: &[
            panel!(Stack "Requests", "To dependencies, by how they ended.", "ops", rate!("effect, outcome", "postroom_effect_requests_total") => "{{effect}} {{outcome}}"),
            panel!(Lines "How long they take", "All but one in twenty take less.", "s", quantile!("0.95", "effect", "postroom_effect_duration_seconds") => "{{effect}} p95"),
            panel!(Lines "Circuits that are not closed", "1: the dependency is away, or being tried again. Nothing is dead-lettered meanwhile.", "short",
                "max by (effect, state) (postroom_effect_circuit_state{job=~\"$job\",group=~\"$group\",state!=\"closed\"})" => "{{effect}} {{state}}"),
            panel!(Lines "Outbox", "Mails and deliveries that are not closed.", "short", "max(postroom_outbox_pending_rows{job=~\"$job\"})" => "pending",
                "max(postroom_outbox_deferred_rows{job=~\"$job\"})" => "put off"),
            panel!(Lines "Webhook endpoints that are disabled", "Nothing is sent to them until somebody enables them.", "short", "max(postroom_webhook_endpoints_disabled{job=~\"$job\"})" => "disabled"),
            panel!(Lines "Due and not sent off", "Age of the oldest row that is due.", "s", "time() - (max(postroom_outbox_oldest_timestamp_seconds{job=~\"$job\"}) > 0)" => "oldest"),
            panel!(Stack "Schema registry", "Questions and what became of them; schemas that are known are not asked for.", "ops", "sum by (outcome) (rate(postroom_schema_registry_requests_total{job=~\"$job\"}[$__rate_interval]))" => "{{outcome}}"),
            panel!(Lines "Repeats that were caught", "Messages whose effects were there already.", "ops", rate!("handler", "postroom_duplicates_skipped_total") => "{{handler}}"),
        ],
    },
    Row {
        title: "Group",
        panels: &[
            panel!(Lines "Partitions held", "By member; beside them what the topic has.", "short",
                concat!("sum by (group, instance) (", of!("postroom_assigned_partitions", topic), ")") => "{{group}} {{instance}}",
                concat!("sum by (group) (max by (group, topic) (", of!("postroom_topic_partitions", topic), "))") => "{{group}} all"),
            panel!(Lines "Rebalances", "Partitions that came, went, and were lost.", "short", concat!("sum by (group, kind) (increase(", of!("postroom_rebalances_total"), "[$__rate_interval]))") => "{{group}} {{kind}}"),
            panel!(Lines "How long rebalances take", "All but one in twenty keep the poll thread for less.", "s", quantile!("0.95", "group, kind", "postroom_rebalance_duration_seconds") => "{{group}} {{kind}}"),
            panel!(Lines "Distance to the poll limit", "At 1 a member is put out of its group.", "percentunit",
                concat!("(time() - (", of!("postroom_last_poll_timestamp_seconds"), " > 0)) / on (job, instance, group) ", of!("postroom_poll_interval_limit_seconds")) => "{{group}} {{instance}}"),
            panel!(Lines "Commits", "By the broker's answer.", "ops", rate!("group, outcome", "postroom_offset_commits_total") => "{{group}} {{outcome}}"),
            panel!(Lines "How long commits take", "All but one in twenty take less.", "s", quantile!("0.95", "group", "postroom_offset_commit_duration_seconds") => "{{group}}"),
            panel!(Lines "Paused partitions", "Not fetched, by cause.", "short", concat!("sum by (group, cause) (", of!("postroom_partition_paused", topic), ")") => "{{group}} {{cause}}"),
            panel!(Lines "Commit metadata that was not used", "Foreign or damaged: some finished records may be done again.", "short", concat!("sum by (group, cause) (increase(", of!("postroom_commit_metadata_ignored_total"), "[$__rate_interval]))") => "{{group}} {{cause}}"),
        ],
    },
    Row {
        title: "Process",
        panels: &[
            panel!(Lines "Processor", "Cores used.", "short", "rate(process_cpu_seconds_total{job=~\"$job\"}[$__rate_interval])" => "{{instance}}"),
            panel!(Lines "Memory", "Resident, and of it messages that are held.", "bytes",
                "process_resident_memory_bytes{job=~\"$job\"}" => "{{instance}} resident",
                concat!("sum by (instance) (", of!("postroom_message_buffer_bytes", topic), ")") => "{{instance}} messages"),
            panel!(Lines "File handles", "Open, and allowed.", "short", "process_open_fds{job=~\"$job\"}" => "{{instance}} open", "process_max_fds{job=~\"$job\"}" => "{{instance}} allowed"),
            panel!(Lines "Log lines", "By level, those that were left out as repeats included.", "ops", "sum by (level) (rate(postroom_log_events_total{job=~\"$job\"}[$__rate_interval]))" => "{{level}}"),
            panel!(Lines "Drains", "How long shutdowns took, on average.", "s", "rate(postroom_shutdown_drain_seconds_sum{job=~\"$job\"}[1h]) / (rate(postroom_shutdown_drain_seconds_count{job=~\"$job\"}[1h]) > 0)" => "{{instance}}"),
        ],
    },
];
