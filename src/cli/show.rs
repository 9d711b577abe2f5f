//! `postroom show`: the story of one event, from the topics, the groups' positions, the dead letters, the store and
//! the journal of the process that runs.

use std::collections::BTreeSet;
use std::fmt::Write;

use postroom_core::{Offset, Partition, Topic, TopicPartition};

use crate::adapters::store::AnyStore;
use crate::cli::args::{Global, Output, ShowArgs};
use crate::cli::effects::groups;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fetch::get;
use crate::cli::progress::bar;
use crate::cli::running::Running;
use crate::cli::schemas::Reading;
use crate::cli::serving::runtime;
use crate::cli::settings::{is_default, loaded_for_cluster, start_log};
use crate::cli::terminal::{Style, Terminal};
use crate::config::{Config, Loaded};
use crate::console::{
    Caused, Mark, Material, Standing, Story, caused, from_now, marked, masked, masked_fields, rfc3339,
    standing, tell,
};
use crate::dead_letters::{self, Collection};
use crate::event::{BlogEvent, RawRecord};
use crate::kafka::{Admin, Connection, ReadTo, read_at, scan_on};
use crate::runtime::{Group, connection, describe};
use crate::telemetry::{RecordPlace, Status};

pub(crate) fn run(global: &Global, arguments: &ShowArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut loaded = loaded_for_cluster(global, terminal)?;
    let _log = start_log(&loaded, None, terminal)?;
    let groups = groups(&mut loaded.config, &[])?;
    let connection = connection(&loaded.config);
    let reading = Reading::new(&loaded.config)?;
    let found = find(&connection, &reading, &groups, arguments)?;
    let Some((record, others)) = found.split_first() else { return Err(missing(arguments)) };
    reading.prepare_now(record)?;
    let peer = Peer::of(&loaded);
    let story = runtime()?.block_on(story(&loaded.config, &connection, &reading, &groups, record, &peer))?;
    match arguments.output {
        Output::Json => terminal.json(&story)?,
        Output::Text => {
            let now = jiff::Timestamp::now().as_millisecond();
            terminal.text(&text(&story, now, terminal))?;
            for other in others {
                terminal.say(&format!("the same id once more: postroom show {}", place_of(other)));
            }
            if let Some(command) = story.groups.iter().find_map(|group| group.command.as_ref()) {
                terminal.say(&format!("next: {command}"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Finds the records of an event: at a place, or by its id in the topics, to the end of the first that has it.
fn find(
    connection: &Connection,
    reading: &Reading,
    groups: &[Group],
    arguments: &ShowArgs,
) -> Result<Vec<RawRecord>, Failure> {
    if let Some(place) = RecordPlace::parse(&arguments.event) {
        let partition = TopicPartition::new(Topic::new(&place.topic), Partition(place.partition));
        if let Some(record) = read_at(connection, &partition, Offset(place.offset))? {
            return Ok(vec![record]);
        }
    }
    let topics: Vec<String> = match arguments.topic.as_slice() {
        [] => topics(groups),
        named => named.to_vec(),
    };
    let since = arguments.since.map(|span| {
        let ago = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        jiff::Timestamp::now().as_millisecond().saturating_sub(ago)
    });
    let mut read_to = match since {
        // The demo's broker cannot look times up.
        Some(time) if !is_demo(connection) => ReadTo::since(connection, &topics, time)?,
        Some(_) | None => ReadTo::default(),
    };
    let bar = bar(read_to.left(connection, &topics)?, "records");
    let mut found = Vec::new();
    for topic in topics {
        let mut failure = None;
        scan_on(connection, &[topic], &mut read_to, &mut |record| {
            bar.inc(1);
            let is_late = since.is_none_or(|since| record.timestamp().is_none_or(|time| time >= since));
            match is_event(reading, record, &arguments.event) {
                Ok(true) if is_late && found.len() < MOST_COPIES => found.push(record.detached()),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        })?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !found.is_empty() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

fn is_demo(connection: &Connection) -> bool {
    Running::find().is_some_and(|demo| demo.brokers == connection.brokers)
}

/// The topics that the effects read, and those of all events of a blog.
fn topics(groups: &[Group]) -> Vec<String> {
    let events = BlogEvent::TYPES.iter().map(|event| event.topic);
    let topics: BTreeSet<_> = groups.iter().flat_map(Group::topics).chain(events).collect();
    topics.into_iter().map(str::to_owned).collect()
}

/// Says whether a record carries the id. One that is no valid id is still found by its bytes.
fn is_event(reading: &Reading, record: &RawRecord, id: &str) -> Result<bool, Failure> {
    if let Some(header) = record.header("ce_id").or_else(|| record.header("id")) {
        return Ok(header == id.as_bytes());
    }
    reading.prepare_now(record)?;
    Ok(reading.codec().event_id_of(record).is_some_and(|found| found.as_str() == id))
}

fn missing(arguments: &ShowArgs) -> Failure {
    let where_to = if arguments.topic.is_empty() {
        "name further topics with --topic"
    } else {
        "leave out --topic to look through all that the effects read"
    };
    let since = if arguments.since.is_some() { ", or look further back than --since" } else { "" };
    Failure::new(Exit::NotFound, format!("there is no event {:?}", arguments.event))
        .fix(format!("{where_to}{since}; Kafka may have removed it already"))
}

async fn story(
    config: &Config,
    connection: &Connection,
    reading: &Reading,
    groups: &[Group],
    record: &RawRecord,
    peer: &Peer,
) -> Result<Story, Failure> {
    let place = place_of(record);
    let described = describe(reading.codec(), record);
    let told = peer.story(&place, described.id.as_deref());
    let letters = letters(connection, config).await?;
    let marks = marks(connection, config, groups, &place, &peer.status()).await?;
    let caused = match (&told, &described.id) {
        (Some(told), _) => told.caused.clone(),
        (None, Some(id)) => of_store(config, id).await?,
        (None, None) => Vec::new(),
    };
    let material = Material {
        place: Some(place),
        described,
        passed_over: told.as_ref().map_or(0, |told| told.journal_passed_over),
        deeds: told.map(|told| told.deeds).unwrap_or_default(),
        marks,
        letters: Some(&letters),
        caused,
    };
    let mut story = tell(material, jiff::Timestamp::now().as_millisecond());
    match reading.codec().to_json(record) {
        Ok(Some(readable)) => {
            story.schema = Some(readable.schema.to_string());
            story.fields = Some(masked_fields(readable.fields));
        }
        Ok(None) => story.unreadable = Some("it is a tombstone: its value is null".to_owned()),
        Err(error) => story.unreadable = Some(masked(&reading.why(&error))),
    }
    Ok(story)
}

async fn letters(connection: &Connection, config: &Config) -> Result<Collection, Failure> {
    let topics = dead_letters::topics(connection, &config.topics.dead_letter.to_string()).await?;
    Ok(dead_letters::collect(connection, &topics).await?)
}

/// Where each group that reads the topic stands: as a running process says, else by the group's commit.
async fn marks(
    connection: &Connection,
    config: &Config,
    groups: &[Group],
    place: &RecordPlace,
    status: &Status,
) -> Result<Vec<Mark>, Failure> {
    let admin = Admin::connect(connection)?;
    let mut marks = Vec::new();
    for group in groups {
        let name = group.full_name(&config.kafka.group_prefix);
        if !group.topics().contains(&place.topic.as_str()) && place.topic != crate::kafka::retry_topic(&name)
        {
            continue;
        }
        let told = status.groups.iter().filter(|one| one.group == name).flat_map(|one| &one.partitions);
        let told = told.filter(|one| one.topic == place.topic && one.partition == place.partition);
        let position = match told.filter_map(|one| one.position).next() {
            Some(position) => Some(position),
            None => {
                let positions = admin.group_positions(&name, std::slice::from_ref(&place.topic)).await?;
                let own = positions.into_iter().find(|one| one.partition.partition.0 == place.partition);
                own.map(|one| one.committed.map_or(one.log.start, |committed| committed.next).0)
            }
        };
        marks.push(Mark { group: name, handler: group.name().to_owned(), position });
    }
    Ok(marks)
}

/// Reads what an event caused from the store, where there is one.
async fn of_store(config: &Config, id: &str) -> Result<Vec<Caused>, Failure> {
    if !AnyStore::may_be_there(&config.store.url) {
        return Ok(Vec::new());
    }
    let store = AnyStore::open(config).await?;
    Ok(caused(&store, id).await?)
}

/// The process that runs, if one does, asked for what only it knows.
struct Peer {
    address: String,
    token: Option<crate::config::Secret>,
}

impl Peer {
    fn of(loaded: &Loaded) -> Self {
        let demo = || Running::find().filter(|_| is_default(loaded, "http.listen"))?.http;
        let address = demo().unwrap_or_else(|| loaded.config.http.listen.0.to_string());
        Self { address, token: loaded.config.admin.token.clone() }
    }

    /// What it knows of an event. Without it the story has no times; that is no failure.
    fn story(&self, place: &RecordPlace, id: Option<&str>) -> Option<Story> {
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let hint = id.map_or_else(String::new, |id| format!("?id={}", encoded(id)));
        let path =
            format!("/api/events/{}/{}/{}{hint}", encoded(&place.topic), place.partition, place.offset);
        serde_json::from_str(&get(&self.address, &path, self.token.as_ref()).ok()?).ok()
    }

    fn status(&self) -> Status {
        let page = get(&self.address, "/api/status", self.token.as_ref()).ok();
        page.and_then(|page| serde_json::from_str(&page).ok()).unwrap_or_default()
    }
}

fn place_of(record: &RawRecord) -> RecordPlace {
    RecordPlace {
        topic: record.partition().topic.as_str().to_owned(),
        partition: record.partition().partition.0,
        offset: record.offset().0,
    }
}

/// Writes a story for a person. What came from outside cannot steer the terminal.
fn text(story: &Story, now: i64, terminal: &Terminal) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        writeln!(text, "{name:<12}{}", marked(value).replace('\n', " ")).unwrap_or_default();
    };
    line("event", story.event_type.as_deref().unwrap_or("unknown"));
    for (name, value) in
        [("id", &story.id), ("subject", &story.subject), ("key", &story.key), ("schema", &story.schema)]
    {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let Some(place) = &story.place {
        line("record", &place.to_string());
    }
    if let Some(time) = story.occurred_at {
        line("happened", &rfc3339(time));
    }
    if let Some(why) = &story.unreadable {
        line("not decoded", why);
    }
    text.push_str(&groups_text(story, now, terminal));
    text.push_str(&caused_text(story, now));
    text.push_str(&deeds_text(story));
    if let Some(fields) = &story.fields {
        let fields = serde_json::to_string_pretty(fields).unwrap_or_default();
        text.push_str(&format!("\nfields\n{}\n", marked(&fields)));
    }
    text
}

fn groups_text(story: &Story, now: i64, terminal: &Terminal) -> String {
    let mut text = String::new();
    if !story.groups.is_empty() {
        text.push_str("\nwhat each group did\n");
    }
    for group in &story.groups {
        let style = match group.state {
            Standing::DeadLetter => Style::Bad,
            Standing::Finished => Style::Good,
            Standing::Retry | Standing::Waiting | Standing::Deferred => Style::Warning,
            Standing::Skipped | Standing::Unknown => Style::Faint,
        };
        let sign = terminal.styled(style, standing(group.state).1);
        let when = group.at.map_or_else(String::new, |at| format!(", {}", from_now(now, at)));
        text.push_str(&format!("  {sign} {:<12}{}{when}\n", group.handler, marked(&group.words)));
        let attempts = group.attempts.filter(|attempts| *attempts > 1);
        let more = [
            attempts.map(|attempts| format!("{attempts} attempts")),
            group.message.clone(),
            group.next.as_ref().map(|next| format!("next: {next}")),
            group.command.clone(),
        ];
        for more in more.into_iter().flatten() {
            text.push_str(&format!("    {:<12}{}\n", "", marked(&more).replace('\n', " ")));
        }
    }
    text
}

fn caused_text(story: &Story, now: i64) -> String {
    let mut text = String::new();
    if !story.caused.is_empty() {
        text.push_str("\nwhat it caused\n");
    }
    for one in &story.caused {
        let attempts = if one.attempts > 1 { format!(", {} attempts", one.attempts) } else { String::new() };
        let next = one.next_at.map_or_else(String::new, |next| format!(", again {}", from_now(now, next)));
        let reply = one.reply.as_ref().map_or_else(String::new, |reply| format!(": {}", masked(reply)));
        let line = format!("{} for {}: {}{attempts}{next}{reply}", one.what, masked(&one.name), one.state);
        text.push_str(&format!("  {}\n", marked(&line).replace('\n', " ")));
        if let Some(command) = &one.command {
            text.push_str(&format!("    {}\n", marked(command)));
        }
        for tried in one.tries.iter().filter(|_| one.tries.len() > 1) {
            let reply = tried.reply.as_deref().map_or_else(|| "no answer (yet)".to_owned(), masked);
            let line = format!("attempt {} {}: {reply}", tried.attempt, rfc3339(tried.began_at));
            text.push_str(&format!("    {}\n", marked(&line).replace('\n', " ")));
        }
    }
    text
}

fn deeds_text(story: &Story) -> String {
    let mut text = String::new();
    if !story.deeds.is_empty() {
        text.push_str("\nas it went\n");
    }
    for deed in &story.deeds {
        let message = deed.message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
        let attempt = if deed.attempt > 1 { format!(" (attempt {})", deed.attempt) } else { String::new() };
        let line = format!("{} {} {}{attempt}{message}", rfc3339(deed.at), deed.group, deed.end.word());
        text.push_str(&format!("  {}\n", marked(&line).replace('\n', " ")));
    }
    text
}

/// How many records of one id are told of.
const MOST_COPIES: usize = 20;
