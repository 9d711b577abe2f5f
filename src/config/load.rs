//! Reads the layers, one above the other, and says where each value comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::config::check::check;
use crate::config::file::{SECRET_LIMIT, read_capped, read_file};
use crate::config::lines::lines;
use crate::config::part::{Leaf, Part, Refusal, join};
use crate::config::problem::{Problem, Problems};
use crate::config::sections::Config;
use crate::config::{librdkafka, store};

/// What the configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, where one is named; else `postroom.toml` in the working directory, if it is there.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub environment: Vec<(String, String)>,
    /// Settings given as flags.
    pub flags: Vec<Flag>,
    /// The names of the effects that exist.
    pub effects: Vec<String>,
    /// Whether files that hold secrets are left alone: they lie where the settings are meant for.
    pub leave_secrets: bool,
}

/// A setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// How it was written, such as `--listen`.
    pub name: String,
    /// Which setting it sets, such as `http.listen`.
    pub setting: String,
    /// To what.
    pub value: String,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting with its value and where it comes from, in the order of the sections. Secrets are redacted.
    pub settings: Vec<Setting>,
    /// What should be looked at, but does not stop the program.
    pub warnings: Vec<Problem>,
}

/// One setting, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path, such as `kafka.brokers`.
    pub path: String,
    /// Its value as it would be written; secrets redacted.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was not set.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where it was found.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Reads, layers and checks the configuration.
///
/// # Errors
/// Returns everything that is wrong with it, one line each.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let (path, text) = read_file(sources.file.as_deref(), &mut problems);
    let figment = Figment::new()
        .merge(Layer {
            name: ENVIRONMENT,
            values: store::of_the_environment(&sources.environment).into_iter().collect(),
        })
        .merge(parse_file(&path, &text, &mut problems))
        .merge(Layer { name: ENVIRONMENT, values: environment(&sources.environment) })
        .merge(Layer {
            name: FLAGS,
            values: sources.flags.iter().map(|flag| (flag.setting.clone(), flag.value.clone())).collect(),
        });
    let mut reader = Reader {
        figment: &figment,
        places: Places {
            file: path,
            lines: lines(&text),
            environment: &sources.environment,
            flags: &sources.flags,
        },
        effects: &sources.effects,
        leave_secrets: sources.leave_secrets,
        accepted: BTreeSet::new(),
        open: Vec::new(),
        problems,
        warnings: Vec::new(),
    };
    refuse_secrets_in_flags(&mut reader, sources);
    let config = Config::read(&mut reader, "", Config::default());
    reader.refuse_unknown();
    if reader.problems.is_empty() {
        check(&config, &mut reader);
    }
    let mut shown = Vec::new();
    config.show("", &mut shown);
    let settings = shown
        .into_iter()
        .map(|(path, value)| Setting { origin: reader.origin(&path), path, value })
        .collect();
    if reader.problems.is_empty() {
        Ok(Loaded { config, settings, warnings: reader.warnings })
    } else {
        Err(Problems(reader.problems))
    }
}

/// What the sections read themselves from, and where they report what is wrong.
pub(crate) struct Reader<'a> {
    figment: &'a Figment,
    places: Places<'a>,
    effects: &'a [String],
    leave_secrets: bool,
    accepted: BTreeSet<String>,
    open: Vec<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn effects(&self) -> &[String] {
        self.effects
    }

    /// Says whether the settings are meant for another machine, whose files are not here.
    pub(crate) fn is_for_elsewhere(&self) -> bool {
        self.leave_secrets
    }

    pub(crate) fn value(&self, path: &str) -> Option<Value> {
        self.figment.find_value(path).ok()
    }

    /// Reads one setting; `None` where it is not set or cannot be used, which is then reported.
    pub(crate) fn leaf<L: Leaf>(&mut self, path: &str) -> Option<L> {
        self.accepted.insert(path.to_owned());
        if L::SECRET && self.layer_of_itself(path) == Some(FLAGS) {
            let fix = format!("put it in a file and set {path}_file");
            self.refuse(path, format!("is a secret, {IN_THE_LIST}"), fix);
            return None;
        }
        let direct = self.value(path);
        if L::SECRET
            && let Some(from_file) = self.secret_file(path, direct.is_some())
        {
            let value = from_file?;
            return self.parsed::<L>(&format!("{path}_file"), &value);
        }
        let value = direct?;
        self.parsed::<L>(path, &value)
    }

    /// Takes every key below `path`.
    pub(crate) fn accept_all_below(&mut self, path: &str) {
        self.open.push(path.to_owned());
    }

    pub(crate) fn refuse(&mut self, path: &str, why: impl Into<String>, fix: impl Into<String>) {
        let problem = self.problem(path, why.into(), fix.into());
        self.problems.push(problem);
    }

    pub(crate) fn warn(&mut self, path: &str, why: impl Into<String>, fix: impl Into<String>) {
        let problem = self.problem(path, why.into(), fix.into());
        self.warnings.push(problem);
    }

    fn parsed<L: Leaf>(&mut self, path: &str, value: &Value) -> Option<L> {
        match L::parse(value) {
            Ok(leaf) => Some(leaf),
            Err(Refusal { why, fix }) => {
                self.refuse(path, why, fix);
                None
            }
        }
    }

    /// Reads the file that the twin key names. Outer `None`: no such key, or the key itself is set in a higher layer.
    fn secret_file(&mut self, path: &str, direct: bool) -> Option<Option<Value>> {
        let twin = format!("{path}_file");
        self.accepted.insert(twin.clone());
        let name = self.value(&twin)?;
        if direct && self.rank(path) > self.rank(&twin) {
            return None;
        }
        if direct && self.rank(path) == self.rank(&twin) {
            self.refuse(path, format!("{twin} is set as well"), "keep one of the two");
            return Some(None);
        }
        if self.leave_secrets {
            return Some(Some(Value::from("left alone")));
        }
        let file = name.as_str().map(PathBuf::from).unwrap_or_default();
        match read_capped(&file, SECRET_LIMIT) {
            Ok(text) => {
                self.warn_if_others_can_read(&twin, &file);
                let text = text.trim_end_matches(['\r', '\n']).to_owned();
                Some(Some(Value::String(Tag::Default, text)))
            }
            Err(why) => {
                self.refuse(
                    &twin,
                    format!("{} cannot be read: {why}", file.display()),
                    "name a file that holds the secret",
                );
                Some(None)
            }
        }
    }

    fn warn_if_others_can_read(&mut self, path: &str, file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        let others = std::fs::metadata(file).is_ok_and(|data| data.permissions().mode() & 0o004 != 0);
        if others {
            let fix = format!("run chmod 600 {}", file.display());
            self.warn(path, "everybody on this machine can read the file", fix);
        }
    }

    fn problem(&self, path: &str, why: String, fix: String) -> Problem {
        let origin = self.origin(path);
        let place = if origin == Origin::Default { String::new() } else { origin.to_string() };
        Problem { setting: path.to_owned(), place, why, fix }
    }

    fn layer(&self, path: &str) -> Option<String> {
        let raw = self.figment.find_metadata(path).map(|data| data.name.to_string());
        // Of a secret that stands in a file, the origin is the key that names the file.
        raw.or_else(|| self.figment.find_metadata(&format!("{path}_file")).map(|data| data.name.to_string()))
    }

    fn layer_of_itself(&self, path: &str) -> Option<&str> {
        self.figment.find_metadata(path).map(|data| data.name.as_ref())
    }

    fn rank(&self, path: &str) -> u8 {
        match self.layer_of_itself(path) {
            Some(FLAGS) => 3,
            Some(ENVIRONMENT) => 2,
            Some(_) => 1,
            None => 0,
        }
    }

    fn origin(&self, path: &str) -> Origin {
        match self.layer(path).as_deref() {
            None => self.places.property(path).unwrap_or(Origin::Default),
            Some(FLAGS) => self.places.flag(path),
            Some(ENVIRONMENT) => self.places.variable(path),
            Some(_) => self.places.line(path),
        }
    }

    fn refuse_unknown(&mut self) {
        let mut found = Vec::new();
        if let Ok(Value::Dict(_, dict)) = self.figment.find_value("") {
            keys("", &dict, &mut found);
        }
        for path in found {
            let open = self.open.iter().any(|prefix| is_below(&path, prefix));
            let partly = self.accepted.iter().any(|known| is_below(&path, known));
            if open || self.accepted.contains(&path) || partly {
                continue;
            }
            let fix = self.nearest(&path).map_or_else(
                || "remove it; `postroom config show` lists every setting".to_owned(),
                |near| format!("did you mean {near}?"),
            );
            self.refuse(&path, "is not a setting", fix);
        }
    }

    fn nearest(&self, path: &str) -> Option<String> {
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let scored =
            self.accepted.iter().filter(|known| !known.ends_with("_file") || path.ends_with("_file")).map(
                |known| {
                    let whole = strsim::normalized_damerau_levenshtein(path, known);
                    let same_key = if last(path) == last(known) { 0.85 } else { 0.0 };
                    (whole.max(same_key), known)
                },
            );
        let best = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
        (best.0 > 0.75).then(|| best.1.clone())
    }
}

/// Where keys were written.
struct Places<'a> {
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    environment: &'a [(String, String)],
    flags: &'a [Flag],
}

impl Places<'_> {
    fn line(&self, path: &str) -> Origin {
        let mut known = Some(path);
        let mut line = self.lines.get(&format!("{path}_file")).copied();
        while let (None, Some(part)) = (line, known) {
            line = self.lines.get(part).copied();
            known = part.rsplit_once('.').map(|(parent, _)| parent);
        }
        Origin::File { path: self.file.clone(), line }
    }

    fn variable(&self, path: &str) -> Origin {
        let name = variable_name(path);
        let twin = format!("{name}_FILE");
        let exact = self.environment.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name));
        let given = path == "store.url" && !exact;
        Origin::Environment(if exact {
            name
        } else if given {
            store::DATABASE_URL.to_owned()
        } else {
            twin
        })
    }

    fn flag(&self, path: &str) -> Origin {
        let flag = self.flags.iter().rev().find(|flag| flag.setting == path);
        Origin::Flag(flag.map_or_else(|| "flag".to_owned(), |flag| flag.name.clone()))
    }

    /// Properties of librdkafka have dots in their names, which figment takes for levels.
    fn property(&self, path: &str) -> Option<Origin> {
        let name = path.strip_prefix("kafka.librdkafka.")?;
        let variable = variable_name(
            &format!("kafka.librdkafka.{}", name.replace('.', "_")).replace("librdkafka_", "librdkafka."),
        );
        if self.environment.iter().any(|(known, _)| known.eq_ignore_ascii_case(&variable)) {
            return Some(Origin::Environment(variable));
        }
        self.lines.contains_key(path).then(|| self.line(path))
    }
}

/// Values by path, as a layer.
struct Layer {
    name: &'static str,
    values: Vec<(String, String)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut root = Dict::new();
        for (path, value) in &self.values {
            insert(&mut root, path, value);
        }
        Ok(Map::from([(Profile::Default, root)]))
    }
}

fn insert(dict: &mut Dict, path: &str, text: &str) {
    let Some((head, rest)) = path.split_once('.') else {
        dict.insert(path.to_owned(), Value::String(Tag::Default, text.to_owned()));
        return;
    };
    let below = dict.entry(head.to_owned()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
    if let Value::Dict(_, below) = below {
        insert(below, rest, text);
    }
}

/// Takes the variables that name settings. One without two underscores is not ours: Kubernetes, for one, sets
/// `POSTROOM_SERVICE_HOST` for a service named postroom.
fn environment(variables: &[(String, String)]) -> Vec<(String, String)> {
    variables
        .iter()
        .filter_map(|(name, value)| {
            let rest = name.strip_prefix(PREFIX)?;
            rest.contains("__").then(|| (rest.to_ascii_lowercase().replace("__", "."), value.clone()))
        })
        .collect()
}

fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase())
}

/// Parses the file by itself, so that its error names its line and the other layers are still checked.
fn parse_file(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Figment {
    let figment = Figment::from(Toml::string(text));
    let Err(error) = figment.find_value("") else { return figment };
    for error in error {
        let said = error.kind.to_string();
        let line = said.lines().next().and_then(line_of);
        let why =
            said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("cannot be read").trim().to_owned();
        let place =
            line.map_or_else(|| path.display().to_string(), |line| format!("{}:{line}", path.display()));
        problems.push(Problem {
            setting: String::new(),
            place,
            why: format!("is not TOML: {why}"),
            fix: "correct that line".to_owned(),
        });
    }
    Figment::new()
}

fn line_of(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("line ")?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// Refuses flags whose value holds a password without being one; [`Reader::leaf`] does so of those that are.
fn refuse_secrets_in_flags(reader: &mut Reader<'_>, sources: &Sources) {
    for Flag { setting, value, .. } in &sources.flags {
        let property = setting.strip_prefix("kafka.librdkafka.");
        let fix = if setting == "store.url" && store::holds_a_password(value) {
            "take the password out and set store.password_file, or set the whole in "
        } else if property.is_some_and(librdkafka::is_secret) {
            "write it in the file, or set "
        } else {
            continue;
        };
        let fix = format!("{fix}{}", variable_name(setting));
        reader.refuse(setting, format!("holds a secret, {IN_THE_LIST}"), fix);
    }
}

fn keys(path: &str, dict: &Dict, out: &mut Vec<String>) {
    for (key, value) in dict {
        let path = join(path, key);
        match value {
            Value::Dict(_, below) if !below.is_empty() => keys(&path, below, out),
            Value::Dict(..) => {}
            Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Empty(..)
            | Value::Array(..) => {
                out.push(path);
            }
        }
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

const PREFIX: &str = "POSTROOM_";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";
const IN_THE_LIST: &str = "which everybody could see in the list of processes";
