//! `postroom topics`: what the effects need, compared with what is there.

use crate::cli::args::{Global, TopicsCommand};
use crate::cli::effects::groups;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_cluster, start_log};
use crate::cli::terminal::Terminal;
use crate::config::Config;
use crate::event::{BlogEvent, EventRecord, MailRequested, WebhookRequested};
use crate::kafka::{Admin, DesiredTopic, Plan, TopicDefaults, desired_topics};
use crate::runtime::{Group, connection, dead_letter_route};

pub(crate) fn run(
    global: &Global,
    command: &TopicsCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut loaded = loaded_for_cluster(global, terminal)?;
    let _log = start_log(&loaded, None, terminal)?;
    let groups = groups(&mut loaded.config, &[])?;
    let desired = desired(&loaded.config, &groups);
    let admin = Admin::connect(&connection(&loaded.config))?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let plan = admin.plan(&desired).await?;
        terminal.text(&text(&plan))?;
        match command {
            TopicsCommand::Apply => {
                admin.apply(&plan).await?;
                terminal.line(&format!("{} steps done", plan.steps.len()))?;
                if plan.conflicts.is_empty() {
                    terminal.say("next: postroom run");
                }
            }
            TopicsCommand::Plan { detailed_exitcode } => {
                if !plan.is_empty() {
                    terminal.say("next: postroom topics apply");
                }
                if !plan.is_empty() && *detailed_exitcode {
                    return Ok(Exit::Pending);
                }
            }
        }
        // Somebody must decide: scripts should notice.
        Ok(if plan.conflicts.is_empty() { Exit::Ok } else { Exit::No })
    })
}

fn text(plan: &Plan) -> String {
    let text = plan.to_string();
    if text.ends_with('\n') { text } else { format!("{text}\n") }
}

/// The topics that these groups need.
pub(crate) fn desired(config: &Config, groups: &[Group]) -> Vec<DesiredTopic> {
    let topics = &config.topics;
    let whole = |count: std::num::NonZeroU32| i32::try_from(count.get()).unwrap_or(i32::MAX);
    let defaults = TopicDefaults {
        partitions: whole(topics.partitions),
        replication: topics.replication.map(whole),
        retention: topics.retention,
        dead_letter_retention: topics.dead_letter_retention,
        max_record_bytes: topics.max_record_bytes.0,
    };
    let routes: Vec<_> = groups
        .iter()
        .map(|group| {
            let sources = group.topics().into_iter().map(str::to_owned).collect();
            (dead_letter_route(config, group), sources)
        })
        .collect();
    // Whoever publishes needs all of them, whether an effect reads them here or not.
    // The relay publishes what waits in the store, also for effects that run elsewhere.
    let requests = [MailRequested::TYPE, WebhookRequested::TYPE];
    let events: Vec<_> = BlogEvent::TYPES.iter().chain(&requests).map(|event| event.topic).collect();
    desired_topics(&events, &routes, &defaults)
}
