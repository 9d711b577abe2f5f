//! `postroom webhooks`: the endpoints that are told of events.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::adapters::store::{AnyStore, WaitingDeliveries};
use crate::cli::args::{
    Global, Output, WebhooksAddArgs, WebhooksCommand, WebhooksRotateArgs, WebhooksTestArgs,
};
use crate::cli::effects::web_client;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::serving::runtime;
use crate::cli::settings::{loaded_for_store, start_log};
use crate::cli::terminal::{Terminal, table};
use crate::config::Config;
use crate::console::from_now;
use crate::effects::webhooks::{check_secret, request};
use crate::event::{BlogEvent, time};
use crate::ports::{Endpoint, Endpoints, Web, WebError};

pub(crate) fn run(
    global: &Global,
    command: &WebhooksCommand,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let loaded = loaded_for_store(global, terminal)?;
    let _log = start_log(&loaded, None, terminal)?;
    let config = &loaded.config;
    let url = &config.store.url;
    if !AnyStore::may_be_there(url) {
        let made = matches!(command, WebhooksCommand::Add(_));
        if !made {
            return Err(Failure::new(Exit::NotFound, format!("there is no store at {url}"))
                .fix("name it with -c FILE or --set store.url=sqlite:PATH, or start `postroom demo`"));
        }
        terminal.say(&format!("there is no store at {url} yet: it is made"));
    }
    runtime()?.block_on(async {
        let store = AnyStore::open(config).await?;
        match command {
            WebhooksCommand::Add(arguments) => add(&store, config, arguments, terminal).await,
            WebhooksCommand::Enable(arguments) => {
                let endpoint = named(&store, &arguments.id).await?;
                store.put_endpoint(Endpoint { disabled: None, failing_since: None, ..endpoint }).await?;
                terminal.line(&format!("{} is enabled", arguments.id))?;
                Ok(Exit::Ok)
            }
            WebhooksCommand::Ls(arguments) => list(&store, arguments.output, terminal).await,
            WebhooksCommand::Rm(arguments) => {
                if !store.remove_endpoint(&arguments.id).await? {
                    return Err(missing(&arguments.id));
                }
                terminal.line(&format!("{} is removed", arguments.id))?;
                Ok(Exit::Ok)
            }
            WebhooksCommand::Rotate(arguments) => rotate(&store, arguments, terminal).await,
            WebhooksCommand::Test(arguments) => ping(&store, config, arguments, terminal).await,
        }
    })
}

async fn add(
    store: &AnyStore,
    config: &Config,
    arguments: &WebhooksAddArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    check_types(&arguments.types)?;
    match web_client(config)?.check(&arguments.url).await {
        Ok(()) => {}
        Err(error @ WebError::Connect(_)) => terminal.say(&format!("warning: {error}")),
        Err(error) => return Err(refused(&error)),
    }
    let id = match &arguments.id {
        Some(id) => id.clone(),
        None => host(&arguments.url),
    };
    check_id(&id)?;
    if store.endpoint(&id).await?.is_some() {
        return Err(Failure::new(Exit::CannotCreate, format!("there is an endpoint {id:?} already"))
            .fix("choose another name with --id, or remove that one first"));
    }
    let (secret, fresh) = secret(arguments.secret_file.as_deref())?;
    let endpoint = Endpoint {
        id: id.clone(),
        url: arguments.url.clone(),
        secrets: vec![secret.clone()],
        types: arguments.types.clone(),
        created_at: now(),
        disabled: None,
        failing_since: None,
    };
    store.put_endpoint(endpoint).await?;
    match arguments.output {
        Output::Json => terminal.json(&json!({ "id": id, "secret": fresh.then_some(&secret) }))?,
        Output::Text => {
            terminal.line(&format!("id      {id}"))?;
            say_secret(&secret, fresh, terminal)?;
        }
    }
    terminal.say(&format!("next: postroom webhooks test {id}"));
    Ok(Exit::Ok)
}

async fn list(store: &AnyStore, output: Output, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let endpoints = store.endpoints().await?;
    let waiting = store.waiting_deliveries().await?;
    let of = |endpoint: &Endpoint| waiting.iter().find(|one| one.endpoint == endpoint.id);
    if output == Output::Json {
        let all: Vec<_> = endpoints.iter().map(|endpoint| endpoint_json(endpoint, of(endpoint))).collect();
        terminal.json(&all)?;
        return Ok(Exit::Ok);
    }
    if endpoints.is_empty() {
        terminal.say("no endpoints; next: postroom webhooks add URL");
        return Ok(Exit::Ok);
    }
    let now = now();
    let rows: Vec<_> = endpoints.iter().map(|endpoint| endpoint_row(endpoint, of(endpoint), now)).collect();
    terminal.text(&table(&["id", "state", "waiting", "types", "secrets", "url"], &rows))?;
    Ok(Exit::Ok)
}

async fn rotate(
    store: &AnyStore,
    arguments: &WebhooksRotateArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let mut endpoint = named(store, &arguments.id).await?;
    if arguments.finish {
        endpoint.secrets.truncate(1);
        store.put_endpoint(endpoint).await?;
        terminal.line(&format!("{} is signed for with its newest secret alone", arguments.id))?;
        return Ok(Exit::Ok);
    }
    let (secret, fresh) = secret(arguments.secret_file.as_deref())?;
    endpoint.secrets.insert(0, secret.clone());
    endpoint.secrets.truncate(2);
    store.put_endpoint(endpoint).await?;
    say_secret(&secret, fresh, terminal)?;
    terminal.say(&format!(
        "next: when the receiver knows it, postroom webhooks rotate {} --finish",
        arguments.id
    ));
    Ok(Exit::Ok)
}

async fn ping(
    store: &AnyStore,
    config: &Config,
    arguments: &WebhooksTestArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let endpoint = named(store, &arguments.id).await?;
    let client = web_client(config)?;
    let now = now();
    let id = format!("ping-{:016x}", fastrand::u64(..));
    let body = json!({ "type": "ping", "timestamp": time::write(now), "data": {} }).to_string();
    let request = request(&endpoint, &id, now, &body)
        .map_err(|bad| Failure::new(Exit::Data, format!("{}: {bad}", endpoint.id)))?;
    let began = Instant::now();
    let sent = client.send(request).await;
    let took = began.elapsed();
    let response = match sent {
        Ok(response) => response,
        Err(error @ (WebError::BadUrl(_) | WebError::Blocked { .. })) => return Err(refused(&error)),
        Err(error) => return Err(Failure::new(Exit::Unavailable, format!("{}: {error}", endpoint.id))),
    };
    let delivered = (200..=299).contains(&response.status);
    match arguments.output {
        Output::Json => terminal.json(&json!({
            "id": endpoint.id, "webhook_id": id, "status": response.status, "seconds": took.as_secs_f64(),
            "delivered": delivered,
        }))?,
        Output::Text => {
            terminal.line(&format!("{} answered {} in {}", endpoint.id, response.status, rounded(took)))?
        }
    }
    Ok(if delivered { Exit::Ok } else { Exit::No })
}

/// How many deliveries wait, since when, and when the first of them is tried again.
fn waiting_words(waiting: &WaitingDeliveries, now: i64) -> String {
    let WaitingDeliveries { waiting, since, next_at, .. } = waiting;
    let next = next_at.map_or_else(|| "on its way".to_owned(), |at| format!("next {}", from_now(now, at)));
    format!("{waiting}, first {}, {next}", from_now(now, *since))
}

fn endpoint_row(endpoint: &Endpoint, waiting: Option<&WaitingDeliveries>, now: i64) -> Vec<String> {
    let state = match &endpoint.disabled {
        None => match endpoint.failing_since {
            None => "active".to_owned(),
            Some(since) => format!("failing since {}", time::write(since)),
        },
        Some((since, why)) => format!("disabled {}: {why}", time::write(*since)),
    };
    let types = if endpoint.types.is_empty() { "all".to_owned() } else { endpoint.types.join(",") };
    let waiting = waiting.map_or_else(|| "–".to_owned(), |waiting| waiting_words(waiting, now));
    vec![endpoint.id.clone(), state, waiting, types, endpoint.secrets.len().to_string(), endpoint.url.clone()]
}

fn endpoint_json(endpoint: &Endpoint, waiting: Option<&WaitingDeliveries>) -> Value {
    let disabled = endpoint.disabled.as_ref();
    json!({
        "id": endpoint.id,
        "url": endpoint.url,
        "types": endpoint.types,
        "secrets": endpoint.secrets.len(),
        "created_at": time::write(endpoint.created_at),
        "disabled_at": disabled.map(|(since, _)| time::write(*since)),
        "disabled_why": disabled.map(|(_, why)| why),
        "waiting": waiting.map_or(0, |waiting| waiting.waiting),
        "waiting_since": waiting.map(|waiting| time::write(waiting.since)),
        "next_attempt_at": waiting.and_then(|waiting| waiting.next_at).map(time::write),
        "last_reply": waiting.and_then(|waiting| waiting.reply.as_deref()),
        "failing_since": endpoint.failing_since.map(time::write),
    })
}

async fn named(store: &AnyStore, id: &str) -> Result<Endpoint, Failure> {
    store.endpoint(id).await?.ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no endpoint {id:?}"))
        .fix("`postroom webhooks ls` lists them")
}

/// Says what is wrong with an address.
fn refused(error: &WebError) -> Failure {
    let failure = Failure::new(Exit::Data, error.to_string());
    match error {
        WebError::Blocked { .. } => failure.fix(
            "use a host of the public internet, or name this one or its network in webhooks.allow_private",
        ),
        WebError::BadUrl(_)
        | WebError::Connect(_)
        | WebError::Tls(_)
        | WebError::Timeout(_)
        | WebError::Broken(_)
        | WebError::TooLarge(_) => {
            failure.fix("use an https address on port 443, or see [webhooks] in the configuration")
        }
    }
}

fn check_types(types: &[String]) -> Result<(), Failure> {
    let known: Vec<_> = BlogEvent::TYPES.iter().map(|kind| kind.name).collect();
    match types.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(odd) => Err(Failure::new(Exit::Usage, format!("there is no event type {odd:?}"))
            .fix(format!("choose from {}", known.join(", ")))),
    }
}

/// Ids are keys of records and words of commands.
fn check_id(id: &str) -> Result<(), Failure> {
    let odd = |char: char| !char.is_ascii_alphanumeric() && !"-._".contains(char);
    if id.is_empty() || id.len() > 64 || id.contains(odd) {
        return Err(Failure::new(Exit::Usage, format!("{id:?} cannot be an endpoint's name"))
            .fix("set --id to at most 64 letters, digits, dots and dashes"));
    }
    Ok(())
}

fn host(url: &str) -> String {
    url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// Reads a secret, or makes one; says whether it was made.
fn secret(file: Option<&Path>) -> Result<(String, bool), Failure> {
    let Some(path) = file else {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| {
            Failure::new(Exit::Internal, format!("the system gives no random bytes: {error}"))
        })?;
        return Ok((format!("whsec_{}", crate::codec::base64::encode(&bytes)), true));
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::NotFound, format!("{} cannot be read: {error}", path.display()))
    })?;
    let secret = text.trim().to_owned();
    check_secret(&secret).map_err(|bad| {
        Failure::new(Exit::Data, format!("{}: {bad}", path.display()))
            .fix("leave --secret-file out: a good one is made and printed")
    })?;
    Ok((secret, false))
}

fn say_secret(secret: &str, fresh: bool, terminal: &mut Terminal) -> Result<(), Failure> {
    if fresh {
        terminal.line(&format!("secret  {secret}"))?;
        terminal.say("the secret is not shown again: give it to the receiver now");
    }
    Ok(())
}

fn rounded(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
