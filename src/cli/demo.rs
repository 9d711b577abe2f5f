//! `postroom demo`: a broker, a blog, all effects, in one process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapters::mail_sink::MailSink;
use crate::cli::args::{DemoArgs, Global, Output};
use crate::cli::backlog::Backlog;
use crate::cli::effects::{groups, open};
use crate::cli::exhibits::{MadeThumbs, SinkMails};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::feed::Feed;
use crate::cli::gallery;
use crate::cli::mail;
use crate::cli::progress::bar;
use crate::cli::publish::{Counts, Publisher};
use crate::cli::report::Report;
use crate::cli::running::Running;
use crate::cli::sample::SampleRecord;
use crate::cli::serving::{Serving, drain, runtime, verdict};
use crate::cli::settings::{is_default, loaded_with};
use crate::cli::terminal::{Style, Terminal};
use crate::cli::topics::desired;
use crate::config::{Config, Flag, Loaded, Origin, Place};
use crate::event::BlogEvent;
use crate::kafka::Embedded;
use crate::ports::Objects;
use crate::runtime::shutdown::Signals;
use crate::runtime::{Broker, Group, Service};
use crate::telemetry::{GroupState, Status};

pub(crate) fn run(global: &Global, arguments: &DemoArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let embedded = Embedded::start()?;
    let folder = ScratchStore::new()?;
    let mails = MailSink::listen(mail::now)?;
    let sink = mails.sink();
    let mut loaded = configured(global, arguments, embedded.address(), &sink, &folder, terminal)?;
    let groups = groups(&mut loaded.config, &arguments.effects)?;
    create_topics(&embedded, &loaded.config, &groups)?;
    let feed = match &arguments.from {
        Some(path) => Feed::file(path)?,
        None => Feed::sample(arguments.seed, arguments.events, jiff::Timestamp::now().as_millisecond()),
    };
    for bad in &feed.bad_lines {
        terminal.say(&format!("{} {bad}", terminal.err_styled(Style::Warning, "left out:")));
    }
    let serving = Serving::start(&loaded, terminal)?;
    let demo = Demo {
        arguments,
        loaded: &loaded,
        serving: &serving,
        sink: &sink,
        backlog: Backlog::of(&groups, &loaded.config.kafka.group_prefix),
        pictures: opened(
            loaded.config.objects.source.as_ref().filter(|_| arguments.from.is_none()),
            &loaded,
        )?,
        thumbs: opened(loaded.config.objects.target(), &loaded)?,
    };
    let runtime = runtime()?;
    runtime.spawn(mails.serve());
    let exit = runtime.block_on(demo.play(groups, &feed, terminal));
    // Clients first, the broker last: the library aborts otherwise.
    serving.console.close();
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(embedded);
    exit
}

fn opened(place: Option<&Place>, loaded: &Loaded) -> Result<Option<Arc<dyn Objects>>, Failure> {
    place.map(|place| open(place, &loaded.config)).transpose()
}

struct Demo<'a> {
    arguments: &'a DemoArgs,
    loaded: &'a Loaded,
    serving: &'a Serving,
    sink: &'a Arc<MailSink>,
    backlog: Backlog,
    /// Where the sample's pictures go.
    pictures: Option<Arc<dyn Objects>>,
    /// Where the thumbnails are.
    thumbs: Option<Arc<dyn Objects>>,
}

impl Demo<'_> {
    async fn play(&self, groups: Vec<Group>, feed: &Feed, terminal: &mut Terminal) -> Result<Exit, Failure> {
        let config = &self.loaded.config;
        let mut signals = Signals::listen()?;
        let began = Instant::now();
        let mut service = self.serving.groups(config, groups, Broker::Embedded).await?;
        self.exhibit(&service);
        let announced = self.running().announce()?;
        self.greet(terminal);
        let mut publisher = Publisher::new(service.producer().clone(), service.codec().clone());
        let played = tokio::select! {
            played = self.feed(&service, &mut publisher, feed) => played?,
            _signal = signals.next() => Played::Interrupted,
        };
        let report = Report::collect(&service, publisher.counts(), feed, began.elapsed()).await?;
        match self.arguments.output {
            Output::Json => terminal.json(&report.json())?,
            Output::Text => terminal.text(&report.text(terminal))?,
        }
        if played == Played::TooLong {
            terminal.say(&format!("not idle after {} s: work is left", self.arguments.deadline));
        }
        if matches!(played, Played::Whole | Played::TooLong) && !self.arguments.until_idle {
            self.stay(&mut service, &mut signals, terminal).await?;
        }
        drop(announced);
        let drained = drain(&mut service, &self.serving.metrics, signals, config.shutdown.deadline).await?;
        let left = played == Played::TooLong && self.arguments.until_idle;
        Ok(if left { Exit::Unfinished } else { drained })
    }

    /// Shows mails and thumbnails on the page.
    fn exhibit(&self, service: &Service) {
        let console = &self.serving.console;
        console.show_mails(Arc::new(SinkMails(Arc::clone(self.sink))));
        if let Some(objects) = self.thumbs.clone() {
            console.show_thumbs(Arc::new(MadeThumbs { store: service.store().clone(), objects }));
        }
    }

    /// Publishes everything, never further ahead than the broker keeps, and waits until all is finished.
    async fn feed(
        &self,
        service: &Service,
        publisher: &mut Publisher,
        feed: &Feed,
    ) -> Result<Played, Failure> {
        let bar = bar(u64::try_from(feed.records.len()).unwrap_or_default(), "effects");
        let deadline = Instant::now() + Duration::from_secs(self.arguments.deadline);
        let mut room = 0;
        for record in &feed.records {
            while room == 0 {
                publisher.settle().await?;
                let status = service.status();
                room = self.backlog.room(publisher.counts(), &status);
                bar.set_position(self.done(publisher.counts(), &status));
                if room == 0 {
                    if let Some(ended) = self.ended(deadline, &status) {
                        return Ok(ended);
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
            self.put_picture(record).await?;
            publisher.publish(record).await?;
            room -= 1;
        }
        publisher.settle().await?;
        loop {
            let status = service.status();
            bar.set_position(self.done(publisher.counts(), &status));
            if self.backlog.behind(publisher.counts(), &status) == 0 && is_settled(service).await? {
                bar.finish_and_clear();
                return Ok(Played::Whole);
            }
            if let Some(ended) = self.ended(deadline, &status) {
                return Ok(ended);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Puts the picture of an upload where the effect looks for it, as a blog's software would before it tells.
    async fn put_picture(&self, record: &SampleRecord) -> Result<(), Failure> {
        let (Some(objects), SampleRecord::Event(BlogEvent::ImageUploaded(upload))) = (&self.pictures, record)
        else {
            return Ok(());
        };
        let Some(picture) = gallery::find(&upload.sha256) else { return Ok(()) };
        let written = objects.write(&upload.object_key, picture.bytes.clone(), &upload.media_type).await;
        written.map_err(|error| Failure::new(Exit::CannotCreate, error.to_string()))
    }

    fn done(&self, published: &Counts, status: &Status) -> u64 {
        published.total().saturating_sub(self.backlog.behind(published, status))
    }

    /// Says why the groups need not be waited for any longer.
    fn ended(&self, deadline: Instant, status: &Status) -> Option<Played> {
        if status.groups.iter().any(|group| group.state == GroupState::Stopped) {
            return Some(Played::Interrupted);
        }
        (Instant::now() >= deadline).then_some(Played::TooLong)
    }

    async fn stay(
        &self,
        service: &mut Service,
        signals: &mut Signals,
        terminal: &Terminal,
    ) -> Result<(), Failure> {
        terminal.say("the demo stays up; Ctrl-C ends it");
        tokio::select! {
            endings = service.ended(self.loaded.config.shutdown.deadline) => verdict(endings).map(|_exit| ()),
            _signal = signals.next() => Ok(()),
        }
    }

    fn running(&self) -> Running {
        Running {
            pid: std::process::id(),
            brokers: self.loaded.config.kafka.brokers.to_string(),
            http: self.serving.http.as_ref().map(|http| http.address().to_string()),
            store: self.loaded.config.store.url.without_password(),
            schema: Some(self.loaded.config.store.schema.clone()),
            webhooks: webhooks(self.loaded),
        }
    }

    fn greet(&self, terminal: &Terminal) {
        let running = self.running();
        terminal.say(&format!("broker   {}", running.brokers));
        if let Some(http) = &running.http {
            terminal.say(&format!("page     http://{http}/"));
        }
        terminal.say(&format!("store    {}", running.store));
        if self.loaded.config.store.url.has_password() {
            let how =
                "other commands need its password too: set store.password_file or POSTROOM_STORE__PASSWORD";
            terminal.say(&format!("         {how}"));
        }
        terminal.say(&format!("mail     smtp://{}", self.sink.address()));
    }
}

/// What is set under `[webhooks]`, as a flag would say it.
fn webhooks(loaded: &Loaded) -> Vec<(String, String)> {
    let set = loaded.settings.iter().filter(|setting| setting.origin != Origin::Default);
    let ours = set.filter(|setting| setting.path.starts_with("webhooks."));
    ours.map(|setting| (setting.path.clone(), setting.value.trim_matches('"').to_owned())).collect()
}

/// How the playing went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Played {
    Interrupted,
    TooLong,
    Whole,
}

/// Says whether announcements have reached everybody, and nothing that is due waits to be carried out.
async fn is_settled(service: &Service) -> Result<bool, Failure> {
    let summary = service.store().summary(0).await?;
    Ok(summary.fan_outs_open == 0 && summary.requests_under_way == 0)
}

/// The configuration of a demo: the embedded broker, a store that goes with it, a port that is free.
fn configured(
    global: &Global,
    arguments: &DemoArgs,
    brokers: &str,
    sink: &MailSink,
    folder: &ScratchStore,
    terminal: &Terminal,
) -> Result<Loaded, Failure> {
    let of_demo =
        |setting: &str, value: String| Flag { name: "demo".to_owned(), setting: setting.to_owned(), value };
    let mut flags = vec![of_demo("kafka.brokers", brokers.to_owned())];
    flags.extend(mail_to(sink).map(|(setting, value)| of_demo(setting, value)));
    let before = loaded_with(global, flags.clone(), terminal)?;
    // A store that a file or the environment names belongs to somebody's real groups: a demo must not fence them.
    if !is_from_flag(&before, "store.url") {
        flags.push(of_demo("store.url", format!("sqlite:{}", folder.path().display())));
    }
    // The sample's pictures must not land in a folder of real ones; a file's events speak of real ones.
    if arguments.from.is_none() {
        let own = before.config.objects.source.as_ref().filter(|_| is_from_flag(&before, "objects.source"));
        let source = own.map_or_else(|| folder.objects().display().to_string(), ToString::to_string);
        if !is_from_flag(&before, "objects.target") {
            flags.push(of_demo("objects.target", source.clone()));
        }
        flags.push(of_demo("objects.source", source));
    }
    if is_default(&before, "log.level") {
        // Dead letters are told as errors; here they are part of the show, and the summary has them.
        flags.push(of_demo("log.level", "off".to_owned()));
    }
    if arguments.from.is_none() && is_default(&before, "mail.max_age") {
        // The sample tells of days; mails about its last hours are enough to look at.
        flags.push(of_demo("mail.max_age", "4h".to_owned()));
    }
    match arguments.port {
        Some(port) => flags.push(of_demo("http.listen", format!("127.0.0.1:{port}"))),
        None if is_default(&before, "http.listen") && is_taken(&before.config) => {
            flags.push(of_demo("http.listen", "127.0.0.1:0".to_owned()));
        }
        None => {}
    }
    let mut loaded = loaded_with(global, flags, terminal)?;
    // What a file says of the real relay is not for this one.
    loaded.config.mail.username = None;
    loaded.config.mail.password = None;
    // Its records name the schemas that are built in, whose ids mean something else in a registry.
    loaded.config.registry.url = None;
    Ok(loaded)
}

/// The settings with which mails go to the sink, whatever a file says: a demo writes to nobody.
fn mail_to(sink: &MailSink) -> impl Iterator<Item = (&'static str, String)> {
    let settings = [
        ("mail.relay", sink.address().to_string()),
        ("mail.security", "plaintext".to_owned()),
        ("mail.from", "The demo <blog@blog.example>".to_owned()),
        ("mail.link", "https://blog.example/{slug}".to_owned()),
        ("mail.unsubscribe", "https://blog.example/unsubscribe/{recipient}?from={reason}".to_owned()),
    ];
    settings.into_iter()
}

fn is_from_flag(loaded: &Loaded, path: &str) -> bool {
    loaded.settings.iter().any(|setting| setting.path == path && matches!(setting.origin, Origin::Flag(_)))
}

fn is_taken(config: &Config) -> bool {
    std::net::TcpListener::bind(config.http.listen.0).is_err()
}

/// Makes the topics that `topics apply` would make on a real cluster.
fn create_topics(embedded: &Embedded, config: &Config, groups: &[Group]) -> Result<(), Failure> {
    for topic in desired(config, groups) {
        embedded.create_topic(&topic.name, topic.partitions)?;
    }
    Ok(())
}

/// A folder for the store and the objects of a demo, which goes when the demo goes.
struct ScratchStore(PathBuf);

impl ScratchStore {
    fn new() -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("postroom-demo-{}", std::process::id()));
        let scratch = Self(folder);
        std::fs::create_dir_all(scratch.objects()).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("{} cannot be made: {error}", scratch.0.display()))
        })?;
        Ok(scratch)
    }

    fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    fn path(&self) -> PathBuf {
        self.0.join("postroom.db")
    }
}

impl Drop for ScratchStore {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// How often the groups are looked at while they work.
const LOOK: Duration = Duration::from_millis(50);
