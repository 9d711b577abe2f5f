//! `postroom search`: what is found in the store.

use crate::adapters::store::AnyStore;
use crate::cli::args::{Global, Output, SearchArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::running::Running;
use crate::cli::serving::runtime;
use crate::cli::settings::{is_default, loaded, loaded_with};
use crate::cli::terminal::{Style, Terminal};
use crate::config::Config;
use crate::console::search::Answer;
use crate::event::time;
use crate::ports::{DocumentKind, Search, SearchHit, SearchPage, SearchRequest, Snippet};

pub(crate) fn run(global: &Global, arguments: &SearchArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let mut loaded = loaded(global, terminal)?;
    if is_default(&loaded, "store.url")
        && let Some(demo) = Running::find()
    {
        loaded = loaded_with(global, demo.of_store(), terminal)?;
    }
    let page = runtime()?.block_on(find(&loaded.config, &request(arguments)))?;
    match arguments.output {
        Output::Json => terminal.json(&Answer::of(&page))?,
        Output::Text => {
            for hit in &page.hits {
                terminal.text(&text(hit, terminal))?;
            }
            terminal.say(&terminal.err_styled(Style::Faint, &summary(&page, arguments)));
        }
    }
    Ok(if page.total == 0 { Exit::No } else { Exit::Ok })
}

async fn find(config: &Config, request: &SearchRequest) -> Result<SearchPage, Failure> {
    let url = &config.store.url;
    if !AnyStore::may_be_there(url) {
        return Err(Failure::new(Exit::NotFound, format!("there is no store at {url}"))
            .fix("name it with -c FILE or --set store.url=sqlite:PATH, or start `postroom demo`"));
    }
    Ok(AnyStore::open(config).await?.search(request).await?)
}

fn request(arguments: &SearchArgs) -> SearchRequest {
    SearchRequest {
        text: arguments.words.join(" "),
        author: arguments.author.clone(),
        tag: arguments.tag.clone(),
        kind: arguments.kind,
        after: arguments.after,
        before: arguments.before,
        limit: arguments.count,
        offset: arguments.offset,
    }
}

/// Three lines and an empty one: what it is, where it was found, who wrote it when.
fn text(hit: &SearchHit, terminal: &Terminal) -> String {
    let mut text = match hit.kind {
        DocumentKind::Post if hit.title.text.is_empty() => printable(hit.slug.as_deref().unwrap_or(&hit.id)),
        DocumentKind::Comment if hit.title.text.is_empty() => String::new(),
        DocumentKind::Post | DocumentKind::Comment => marked(&hit.title, terminal),
    };
    if hit.kind == DocumentKind::Comment {
        let post = printable(hit.post_title.as_deref().unwrap_or(&hit.post));
        let of = if text.is_empty() { format!("comment on {post}") } else { format!(" (comment on {post})") };
        text.push_str(&terminal.styled(Style::Faint, &of));
    }
    if !hit.snippet.text.is_empty() {
        text.push_str(&format!("\n  {}", marked(&hit.snippet, terminal)));
    }
    let day: String = time::write(hit.time).chars().take(10).collect();
    let mut facts = vec![printable(&hit.author), day, printable(&hit.id)];
    if !hit.tags.is_empty() {
        facts.push(printable(&hit.tags.join(", ")));
    }
    if hit.score >= 0.01 {
        facts.push(format!("score {:.2}", hit.score));
    }
    text.push_str(&format!("\n  {}\n\n", terminal.styled(Style::Faint, &facts.join("  "))));
    text
}

fn marked(snippet: &Snippet, terminal: &Terminal) -> String {
    let show = |(text, is_mark): (&str, bool)| {
        let text = printable(text);
        if is_mark { terminal.styled(Style::Strong, &text) } else { text }
    };
    snippet.pieces().into_iter().map(show).collect()
}

/// What others wrote may not steer the terminal, nor turn the direction of what follows.
fn printable(text: &str) -> String {
    let steers = |char: &char| {
        char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if steers(&char) { '\u{fffd}' } else { char }).collect()
}

fn summary(page: &SearchPage, arguments: &SearchArgs) -> String {
    let more = if page.is_whole { "" } else { " or more, of which the latest were looked at" };
    let shown = u64::try_from(page.hits.len()).unwrap_or(u64::MAX);
    match page.total {
        0 => "nothing found".to_owned(),
        1 => "1 found".to_owned(),
        total if shown == total => format!("{total} found{more}"),
        total => format!("{total} found{more}, {shown} shown from {}", u64::from(arguments.offset) + 1),
    }
}
