//! `postroom check`: the configuration and the schemas, without a network.

use crate::adapters::store::AnyStore;
use crate::cli::args::{CheckArgs, Global};
use crate::cli::effects::left_out;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::mail;
use crate::cli::schemas::{codec, server};
use crate::cli::settings::loaded;
use crate::cli::terminal::{Style, Terminal};
use crate::runtime::connection;

pub(crate) fn run(global: &Global, arguments: &CheckArgs, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let loaded = loaded(global, terminal)?;
    codec(&loaded.config)?;
    server(&loaded.config)?;
    connection(&loaded.config).check()?;
    AnyStore::check(&loaded.config)?;
    mail::check(&loaded.config)?;
    let registry = &loaded.config.registry;
    let schemas = match (&registry.directory, &registry.url) {
        (_, Some(url)) => format!("those of the registry at {url} (not asked: this command uses no network)"),
        (None, None) => "those built in".to_owned(),
        (Some(directory), None) => format!("those built in, and those of {}", directory.display()),
    };
    let enabled = loaded.config.effects.iter().filter(|(_, effect)| effect.enabled);
    let left_out = left_out(&loaded.config)?;
    let effects: Vec<_> = enabled
        .map(|(name, _)| name)
        .filter(|name| !left_out.iter().any(|(other, _)| other == name))
        .collect();
    let set =
        loaded.settings.iter().filter(|setting| setting.origin != crate::config::Origin::Default).count();
    terminal.line(&format!("settings  {} ({set} set, the others are defaults)", loaded.settings.len()))?;
    terminal.line(&format!(
        "effects   {}",
        if effects.is_empty() { "none is enabled".to_owned() } else { effects.join(", ") }
    ))?;
    for (name, why) in &left_out {
        terminal.line(&format!("left out  {name}: {why}"))?;
    }
    terminal.line(&format!("schemas   {schemas}"))?;
    terminal.line(&format!("store     {}", loaded.config.store.url))?;
    if effects.is_empty() {
        return Err(Failure::new(Exit::Configuration, "no effect is enabled, so there is nothing to run")
            .fix("set effects.NAME.enabled = true for one of them"));
    }
    let warnings = loaded.warnings.len();
    if warnings > 0 && arguments.strict {
        terminal.say(&format!("--strict: {warnings} warning(s) count as a failure"));
        return Ok(Exit::No);
    }
    terminal.line(&terminal.styled(Style::Good, "the configuration can be used"))?;
    terminal.say("next: postroom topics plan");
    Ok(Exit::Ok)
}
