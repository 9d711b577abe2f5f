//! How a section reads itself from the layers, shows itself and documents itself.

use figment::value::{Num, Value};

use crate::config::load::Reader;

/// A section or a single setting.
pub(crate) trait Part: Sized {
    /// Reads the part at `path`; what is not set, or cannot be used, stays at `default`.
    fn read(reader: &mut Reader<'_>, path: &str, default: Self) -> Self;
    /// Lists every setting with its value as text, secrets redacted.
    fn show(&self, path: &str, out: &mut Vec<(String, String)>);
    /// Lists every setting with its documentation.
    fn describe(&self, path: &str, doc: &'static str, out: &mut Vec<Described>);
}

/// One setting as the reference describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) default: String,
    pub(crate) doc: &'static str,
}

/// A single setting.
pub(crate) trait Leaf: Sized {
    /// What may be written, for a person.
    const KIND: &'static str;
    /// Whether a `…_file` twin of the key names a file that holds the value.
    const SECRET: bool = false;
    /// Reads a value. Text comes from the file as well as from the environment, so all kinds can be read from text.
    fn parse(value: &Value) -> Result<Self, Refusal>;
    /// Returns the value as it would be written; secrets redacted.
    fn text(&self) -> String;
}

/// Why a value cannot be used. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) why: String,
    pub(crate) fix: String,
}

impl Refusal {
    pub(crate) fn new(why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { why: why.into(), fix: fix.into() }
    }
}

impl<L: Leaf> Part for L {
    fn read(reader: &mut Reader<'_>, path: &str, default: Self) -> Self {
        reader.leaf(path).unwrap_or(default)
    }

    fn show(&self, path: &str, out: &mut Vec<(String, String)>) {
        out.push((path.to_owned(), self.text()));
    }

    fn describe(&self, path: &str, doc: &'static str, out: &mut Vec<Described>) {
        out.push(Described { path: path.to_owned(), kind: L::KIND, default: self.text(), doc });
    }
}

impl<L: Leaf> Leaf for Option<L> {
    const KIND: &'static str = L::KIND;
    const SECRET: bool = L::SECRET;

    fn parse(value: &Value) -> Result<Self, Refusal> {
        L::parse(value).map(Some)
    }

    fn text(&self) -> String {
        self.as_ref().map_or_else(|| "not set".to_owned(), Leaf::text)
    }
}

/// Declares a section: the struct, its defaults, how it is read, shown and documented, from one text.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident { $( $(#[doc = $fdoc:literal])+ $field:ident : $ty:ty = $default:expr ),* $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[doc = $fdoc])+ pub $field: $ty, )* }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl crate::config::part::Part for $name {
            fn read(reader: &mut crate::config::load::Reader<'_>, path: &str, default: Self) -> Self {
                let Self { $($field,)* } = default;
                Self { $( $field: crate::config::part::Part::read(
                    reader, &crate::config::part::join(path, stringify!($field)), $field,
                ), )* }
            }

            fn show(&self, path: &str, out: &mut Vec<(String, String)>) {
                $( crate::config::part::Part::show(
                    &self.$field, &crate::config::part::join(path, stringify!($field)), out,
                ); )*
            }

            fn describe(
                &self,
                path: &str,
                _doc: &'static str,
                out: &mut Vec<crate::config::part::Described>,
            ) {
                $( crate::config::part::Part::describe(
                    &self.$field,
                    &crate::config::part::join(path, stringify!($field)),
                    concat!($($fdoc),+),
                    out,
                ); )*
            }
        }
    };
}

pub(crate) use section;

/// Joins two levels of a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns a scalar as text, else says what it is.
pub(crate) fn scalar(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, char) => Ok(char.to_string()),
        Value::Bool(_, flag) => Ok(flag.to_string()),
        Value::Num(_, num) => Ok(number(*num)),
        Value::Empty(..) => Err("nothing"),
        Value::Dict(..) => Err("a table"),
        Value::Array(..) => Err("a list"),
    }
}

/// Finds the word of a closed list, or names the nearest.
pub(crate) fn word<'a>(value: &Value, words: &[&'a str]) -> Result<&'a str, Refusal> {
    let listed = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let text =
        scalar(value).map_err(|kind| Refusal::new(format!("is {kind}"), format!("write one of {listed}")))?;
    if let Some(found) = words.iter().find(|word| word.eq_ignore_ascii_case(text.trim())) {
        return Ok(found);
    }
    Err(Refusal::new(format!("{text:?} is not known"), format!("write one of {listed}")))
}

fn number(num: Num) -> String {
    if let Some(unsigned) = num.to_u128() {
        return unsigned.to_string();
    }
    num.to_i128().map_or_else(
        || num.to_f64().map_or_else(String::new, |float| float.to_string()),
        |signed| signed.to_string(),
    )
}
