//! The reference page of all settings, made from the declarations.

use std::fmt::Write as _;

use crate::config::part::Part;
use crate::config::sections::Config;

/// Returns `docs/config.md`.
pub fn reference() -> String {
    let mut described = Vec::new();
    Config::default().describe("", "", &mut described);
    described.sort_by_key(|setting| table(&setting.path).0.to_owned());
    let mut page = String::from(HEAD);
    let mut section = String::new();
    for setting in described {
        let (name, key) = table(&setting.path);
        if section != name {
            name.clone_into(&mut section);
            writeln!(page, "\n## `[{name}]`\n\n| key | meaning | value | default |\n|---|---|---|---|")
                .unwrap_or_default();
        }
        let default = setting.default.trim_matches('"');
        writeln!(page, "| `{key}` |{} | {} | `{default}` |", setting.doc, setting.kind).unwrap_or_default();
    }
    page
}

fn table(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

const HEAD: &str = "# Configuration

<!-- Made from src/config/sections.rs by `postroom config reference`; a test fails when this file is stale. -->

Layers, each above the one before:

1. defaults;
2. the file: `postroom.toml` in the working directory, or what `--config` or `POSTROOM_CONFIG` names;
3. the environment: `POSTROOM_` and the path in capitals with two underscores between levels, such as `POSTROOM_KAFKA__BROKERS` or `POSTROOM_EFFECTS__NOTIFY__MAX_ATTEMPTS`;
4. flags: `--set kafka.brokers=…` for every setting but secrets, and short ones for the frequent.

`postroom config show --origin` prints every setting with its value and where it comes from. `postroom check` says everything that is wrong at once, a line each: place, setting, why, what to do. A key that is not a setting is an error.

Secrets are never displayed. Each has a twin with `_file` at its end (`POSTROOM_ADMIN__TOKEN_FILE`), which names a file that holds the value.

Spans of time are written with units (`200ms`, `30s`, `1h30m`, `7d`), sizes too (`64MiB`). There is no interpolation of variables inside the file.
";
