//! The texts of mails: templates that are built in and may be replaced.

use std::collections::BTreeSet;
use std::fmt;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use serde::Serialize;

use super::Reason;

/// A template that is built in.
macro_rules! built_in {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("templates/", $name)))),+] };
}

const BUILT_IN: [(&str, &str); 11] = built_in![
    "comment.html",
    "comment.subject.txt",
    "comment.txt",
    "layout.html",
    "layout.txt",
    "post.html",
    "post.subject.txt",
    "post.txt",
    "welcome.html",
    "welcome.subject.txt",
    "welcome.txt",
];

/// What templates may name.
#[derive(Clone, Debug, Serialize)]
pub(super) struct View {
    pub(super) author: Option<String>,
    pub(super) author_name: String,
    pub(super) blog: String,
    /// Safe HTML of the text; nothing where there is no text.
    pub(super) html: Value,
    pub(super) link: Option<String>,
    pub(super) locale: String,
    pub(super) name: Option<String>,
    pub(super) occurred_at: String,
    pub(super) reason: &'static str,
    pub(super) recipient: String,
    pub(super) slug: Option<String>,
    pub(super) text: Option<String>,
    pub(super) title: Option<String>,
    pub(super) unsubscribe: Option<String>,
}

const VARIABLES: [&str; 14] = [
    "author",
    "author_name",
    "blog",
    "html",
    "link",
    "locale",
    "name",
    "occurred_at",
    "reason",
    "recipient",
    "slug",
    "text",
    "title",
    "unsubscribe",
];

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateProblem {
    /// The template.
    pub name: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, in a sentence.
    pub why: String,
}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.name, self.why),
            None => write!(f, "{}: {}", self.name, self.why),
        }
    }
}

/// The templates of all mails.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// Takes the templates that are built in, those of `replaced` (names and sources) before them. Names that begin with
    /// an underscore are parts that others may include.
    ///
    /// # Errors
    /// Everything that is wrong with them: syntax, variables that mean nothing, names that replace nothing.
    pub fn new(replaced: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<TemplateProblem>> {
        let mut templates = Self { environment: environment() };
        let mut problems = Vec::new();
        for (name, source) in BUILT_IN {
            templates.add(name.to_owned(), source.to_owned(), &mut problems);
        }
        for (name, source) in replaced {
            if name.starts_with('_') || BUILT_IN.iter().any(|(known, _)| *known == name) {
                templates.add(name, source, &mut problems);
            } else {
                let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                let why = format!("replaces nothing; the templates are {}", names.join(", "));
                problems.push(TemplateProblem { name, line: None, why });
            }
        }
        if problems.is_empty() {
            templates.try_all(&mut problems);
        }
        if problems.is_empty() { Ok(templates) } else { Err(problems) }
    }

    /// Writes a mail.
    ///
    /// # Errors
    /// A template fails on these values.
    pub(super) fn render(&self, reason: Reason, view: &View) -> Result<Rendered, TemplateProblem> {
        let part = |end: &str| {
            let name = format!("{}.{end}", reason.word());
            let made = self.environment.get_template(&name).and_then(|template| template.render(Serde(view)));
            made.map_err(|error| problem(&name, &error))
        };
        Ok(Rendered { subject: part("subject.txt")?, text: part("txt")?, html: part("html")? })
    }

    fn add(&mut self, name: String, source: String, problems: &mut Vec<TemplateProblem>) {
        let unknown = match self.environment.add_template_owned(name.clone(), source.clone()) {
            Ok(()) => self.unknown_variables(&name),
            Err(error) => return problems.push(problem(&name, &error)),
        };
        for variable in unknown {
            let line = source.lines().position(|line| line.contains(&variable));
            let line = line.map(|before| before.saturating_add(1));
            let why = format!("{variable} is no variable; there are {}", VARIABLES.join(", "));
            problems.push(TemplateProblem { name: name.clone(), line, why });
        }
    }

    fn unknown_variables(&self, name: &str) -> BTreeSet<String> {
        let globals: BTreeSet<_> = self.environment.globals().map(|(name, _)| name.to_owned()).collect();
        let Ok(template) = self.environment.get_template(name) else { return BTreeSet::new() };
        let named = template.undeclared_variables(false).into_iter();
        let built_in = ["self", "super", "loop", "caller"];
        named
            .filter(|name| {
                !VARIABLES.contains(&name.as_str())
                    && !globals.contains(name)
                    && !built_in.contains(&name.as_str())
            })
            .collect()
    }

    /// Writes a mail of each kind, with everything that may be known and with as little as possible.
    fn try_all(&self, problems: &mut Vec<TemplateProblem>) {
        for reason in Reason::ALL {
            for view in [full(reason), bare(reason)] {
                if let Err(problem) = self.render(reason, &view)
                    && !problems.contains(&problem)
                {
                    problems.push(problem);
                }
            }
        }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    environment
}

fn problem(name: &str, error: &minijinja::Error) -> TemplateProblem {
    let why = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    TemplateProblem { name: error.name().unwrap_or(name).to_owned(), line: error.line(), why }
}

fn full(reason: Reason) -> View {
    let some = |text: &str| Some(text.to_owned());
    View {
        author: some("bo"),
        author_name: "Bo".to_owned(),
        html: Value::from_safe_string("<p>Text</p>".to_owned()),
        link: some("https://blog.example/hello"),
        name: some("Ana"),
        slug: some("hello"),
        text: some("Text"),
        title: some("Hello"),
        unsubscribe: some("https://blog.example/unsubscribe"),
        ..bare(reason)
    }
}

fn bare(reason: Reason) -> View {
    View {
        author: None,
        author_name: "Somebody".to_owned(),
        blog: "blog".to_owned(),
        html: Value::from(()),
        link: None,
        locale: "en".to_owned(),
        name: None,
        occurred_at: "2026-01-01T00:00:00Z".to_owned(),
        reason: reason.word(),
        recipient: "ana".to_owned(),
        slug: None,
        text: None,
        title: None,
        unsubscribe: None,
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn problems(name: &str, source: &str) -> Vec<String> {
        let replaced = [(name.to_owned(), source.to_owned())];
        Templates::new(replaced).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_templates_that_are_built_in_can_be_used() {
        assert!(Templates::new([]).is_ok());
    }

    #[test]
    fn a_mistake_is_named_with_its_file_and_line() {
        assert!(
            problems("post.txt", "Hello\n{{ titel }}")[0].starts_with("post.txt:2: titel is no variable")
        );
        assert!(problems("post.html", "a\nb\n{% if title %}")[0].starts_with("post.html:3: syntax error"));
        assert!(problems("posts.txt", "x")[0].starts_with("posts.txt: replaces nothing"));
        assert!(problems("welcome.txt", "{% include '_gone.txt' %}")[0].starts_with("welcome.txt:1: "));
    }

    #[test]
    fn a_replaced_template_is_used_and_may_include_parts() {
        let replaced = [("post.txt", "{% include '_head.txt' %}{{ title }}"), ("_head.txt", "New: ")];
        let templates =
            Templates::new(replaced.map(|(name, source)| (name.to_owned(), source.to_owned()))).unwrap();

        let written = templates.render(Reason::Post, &full(Reason::Post)).unwrap();

        assert_eq!(written.text, "New: Hello");
    }

    #[test]
    fn html_is_escaped_and_a_text_is_no_template() {
        let view = View { title: Some("<b>{{ 7 * 7 }}</b>".to_owned()), ..full(Reason::Post) };

        let written = Templates::new([]).unwrap().render(Reason::Post, &view).unwrap();

        assert!(written.html.contains("&lt;b&gt;{{ 7 * 7 }}&lt;&#x2f;b&gt;"), "{}", written.html);
        assert!(written.text.contains("<b>{{ 7 * 7 }}</b>"), "{}", written.text);
    }
}
