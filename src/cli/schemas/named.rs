//! A schema that somebody names: a file, a version of an event, or a version of a registered subject.

use std::path::Path;

use crate::adapters::registry::RegistryServer;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::schemas::catalogue::{Catalogue, Kind, Version};

/// What was found under a name.
pub(crate) struct Named {
    /// What to call it.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Finds an event's version by `EVENT` or `EVENT@VERSION`; `None` where it is no event at hand.
pub(crate) fn at_hand<'c>(
    catalogue: &'c Catalogue,
    name: &str,
) -> Result<Option<(&'c Kind, &'c Version)>, Failure> {
    let (event, wanted) = name.split_once('@').map_or((name, None), |(event, wanted)| (event, Some(wanted)));
    let Some(kind) = catalogue.kind(event) else { return Ok(None) };
    let found = match wanted {
        None | Some("latest") => kind.newest(),
        Some(wanted) => kind.versions.iter().find(|one| one.number.to_string() == wanted),
    };
    match found {
        Some(version) => Ok(Some((kind, version))),
        None => {
            let known: Vec<_> = kind.versions.iter().map(|one| one.number.to_string()).collect();
            let what = format!("{event} has no version {}", wanted.unwrap_or_default());
            Err(Failure::new(Exit::NotFound, what).fix(format!("it has {}", known.join(", "))))
        }
    }
}

/// Finds a schema wherever it is.
pub(crate) async fn find(
    catalogue: &Catalogue,
    server: Option<&RegistryServer>,
    name: &str,
) -> Result<Named, Failure> {
    let path = Path::new(name);
    if path.is_file() {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(Exit::NotFound, format!("{name} cannot be read: {error}")))?;
        return Ok(Named { name: name.to_owned(), text });
    }
    if let Some((kind, version)) = at_hand(catalogue, name)? {
        return Ok(Named { name: format!("{}@{}", kind.event, version.number), text: version.text.clone() });
    }
    let (subject, version) = name.rsplit_once('@').unwrap_or((name, "latest"));
    let Some(server) = server else {
        return Err(Failure::new(Exit::NotFound, format!("there is no file and no event {name}"))
            .fix("`postroom schemas show` lists the events; for a subject set registry.url"));
    };
    match server.version(subject, version).await? {
        Some(found) => {
            Ok(Named { name: format!("{subject}@{version} (id {})", found.id), text: found.schema })
        }
        None => Err(Failure::new(
            Exit::NotFound,
            format!("there is no file, no event and no subject {name}"),
        )
        .fix("`postroom schemas show` lists the events, `postroom schemas show --registered` the subjects")),
    }
}
