//! `kafka.instance_id`.

use std::fmt;

use figment::value::Value;

use crate::config::part::{Leaf, Refusal};

/// The name of a static member, with `{hostname}` for the name of the host, which in Kubernetes is that of the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    /// Says whether the name of the host stands in it.
    pub fn names_host(&self) -> bool {
        self.0.contains(HOSTNAME)
    }

    /// Returns the name on a host. What Kafka does not allow in it becomes a dash.
    pub fn on(&self, host: &str) -> String {
        let allowed = |char: char| if is_allowed(char) { char } else { '-' };
        self.0.replace(HOSTNAME, &host.chars().map(allowed).collect::<String>())
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Leaf for InstanceId {
    const KIND: &'static str = "a name, with `{hostname}` for that of the host";

    fn parse(value: &Value) -> Result<Self, Refusal> {
        let text = String::parse(value)?;
        let bare = text.replace(HOSTNAME, "h");
        let fix = "use letters, digits, dots, dashes, underscores and {hostname}";
        if let Some(odd) = bare.chars().find(|char| !is_allowed(*char)) {
            return Err(Refusal::new(format!("{odd:?} cannot stand in a member's name"), fix));
        }
        if bare.len() > LONGEST {
            return Err(Refusal::new(format!("has more than {LONGEST} characters"), "use a shorter name"));
        }
        Ok(Self(text))
    }

    fn text(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn is_allowed(char: char) -> bool {
    char.is_ascii_alphanumeric() || "._-".contains(char)
}

const HOSTNAME: &str = "{hostname}";

/// Kafka takes 249 characters; the host's name and the effect's need room.
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_hosts_name_takes_its_place_in_the_letters_that_kafka_allows() {
        let instance = InstanceId::parse(&Value::from("blog.{hostname}")).unwrap();

        assert!(instance.names_host());
        assert_eq!(instance.on("postroom-0"), "blog.postroom-0");
        assert_eq!(instance.on("a host"), "blog.a-host");
    }

    #[test]
    fn another_placeholder_is_refused() {
        let refusal = InstanceId::parse(&Value::from("{pod}")).unwrap_err();

        assert!(refusal.why.contains('{') && refusal.fix.contains("{hostname}"), "{refusal:?}");
    }
}
