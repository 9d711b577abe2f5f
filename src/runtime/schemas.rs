//! Schemas that are learnt from a registry server while the groups run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postroom_core::{Class, Dependency, Ended, Failure};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::codec::{Codec, DecodeError, SchemaRef};
use crate::ports::{SchemaAnswer, SchemaSource};

/// Asks a registry for schemas that the codec lacks, each once. What it does not know is waited for, then taken for
/// unknown for a while without asking again.
pub(crate) struct Schemas {
    codec: Codec,
    source: Arc<dyn SchemaSource>,
    grace: Duration,
    /// One question at a time: records with the same new schema come together.
    answers: Mutex<Answers>,
}

/// What the registry said.
#[derive(Default)]
struct Answers {
    missing: HashMap<SchemaRef, Missing>,
    /// What can never be read, and why, with when that was said.
    hopeless: HashMap<SchemaRef, (Instant, Failure)>,
    /// When it was found to be away the last time, and why.
    away: Option<(Instant, String)>,
}

#[derive(Clone, Copy)]
struct Missing {
    since: Instant,
    asked: Instant,
}

impl Schemas {
    pub(crate) fn new(codec: Codec, source: Arc<dyn SchemaSource>, grace: Duration) -> Self {
        Self { codec, source, grace, answers: Mutex::default() }
    }

    /// Learns a schema: after `Ok` the codec knows it.
    ///
    /// # Errors
    /// An outage of the registry, a retry within the grace, or the end: nobody knows it.
    pub(crate) async fn learn(&self, name: SchemaRef) -> Result<(), Failure> {
        let began = Instant::now();
        let mut answers = self.answers.lock().await;
        let Answers { missing, hopeless, away } = &mut *answers;
        if self.codec.knows(name) {
            return Ok(());
        }
        // Whoever waited for a question that found nobody does not ask the same, with a time-out each.
        if let Some((at, why)) = away
            && *at > began
        {
            return Err(gone(why));
        }
        let now = Instant::now();
        let known = missing.get(&name).copied();
        if let Some(known) = known
            // It was asked for after the grace, too.
            && known.asked.duration_since(known.since) >= self.grace
            && now.duration_since(known.asked) < ASK_AGAIN
        {
            return Err(Failure::from(DecodeError::NeedsSchema(name)));
        }
        if let Some((at, failure)) = hopeless.get(&name)
            && now.duration_since(*at) < ASK_AGAIN
        {
            return Err(failure.clone());
        }
        let mut never = |failure: Failure| {
            hopeless.retain(|_, (at, _)| now.duration_since(*at) < ASK_AGAIN);
            hopeless.insert(name, (now, failure.clone()));
            failure
        };
        match self.source.schema(name).await {
            Ok(SchemaAnswer::Found { text, guid: other }) => {
                missing.remove(&name);
                let (id, guid) = match name {
                    SchemaRef::Id(id) => (Some(id), None),
                    SchemaRef::Guid(guid) => (None, Some(guid)),
                };
                let added = self.codec.add_schema(id, guid, &text);
                added.map_err(|error| never(unusable(name, &error.to_string())))?;
                // Its other name saves a question. One that is taken is not needed for this record.
                if let Some(other) = other.filter(|_| guid.is_none()) {
                    self.codec.add_schema(None, Some(other), &text).unwrap_or_default();
                }
                Ok(())
            }
            Ok(SchemaAnswer::Foreign(why)) => Err(never(Failure::from(DecodeError::Poison {
                detail: crate::codec::Detail::WrongFormat,
                message: why,
            }))),
            Ok(SchemaAnswer::Unusable(why)) => Err(never(unusable(name, &why))),
            Ok(SchemaAnswer::Unknown) => {
                let since = known.map_or(now, |known| known.since);
                missing.retain(|_, one| now.duration_since(one.asked) < FORGET);
                missing.insert(name, Missing { since, asked: now });
                if now.duration_since(since) >= self.grace {
                    return Err(Failure::from(DecodeError::NeedsSchema(name)));
                }
                let class = Class::Transient { retry_after: Some(self.grace / 4), ended: Ended::ByError };
                Err(Failure::new(
                    class,
                    "schema_not_there_yet",
                    format!("the registry has no schema with {name} yet"),
                ))
            }
            Err(found) => {
                let why = found.to_string();
                *away = Some((Instant::now(), why.clone()));
                Err(gone(&why))
            }
        }
    }
}

/// The registry does not answer.
fn gone(why: &str) -> Failure {
    Failure::new(Class::Outage(Dependency(REGISTRY.into())), "registry_away", why)
}

/// A schema that cannot be put together or that the codec refuses: no record of it can ever be read.
fn unusable(name: SchemaRef, why: &str) -> Failure {
    let poison = DecodeError::Poison {
        detail: crate::codec::Detail::UnknownSchema,
        message: format!("the schema with {name} cannot be used: {why}"),
    };
    Failure::from(poison)
}

/// The registry's name among the dependencies.
pub(crate) const REGISTRY: &str = "registry";

/// How long an unknown name is not asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// How long it is remembered.
const FORGET: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use postroom_core::Reason;

    use super::*;
    use crate::codec::Limits;
    use crate::ports::{RegistryAway, SchemaFuture};

    const GUID: [u8; 16] = [7; 16];

    /// Answers what it is told to.
    struct Scripted {
        asked: AtomicUsize,
        answer: std::sync::Mutex<Result<SchemaAnswer, RegistryAway>>,
    }

    impl SchemaSource for Scripted {
        fn schema(&self, _: SchemaRef) -> SchemaFuture<'_> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let answer = self.answer.lock().unwrap().clone();
            Box::pin(async move { answer })
        }
    }

    fn found(text: Option<&str>) -> SchemaAnswer {
        text.map_or(SchemaAnswer::Unknown, |text| SchemaAnswer::Found {
            text: text.to_owned(),
            guid: Some(GUID),
        })
    }

    fn schemas(answer: Result<Option<&str>, &str>) -> (Schemas, Arc<Scripted>) {
        let answer = answer.map(found).map_err(|why| RegistryAway(why.to_owned()));
        let source = Arc::new(Scripted { asked: AtomicUsize::new(0), answer: std::sync::Mutex::new(answer) });
        let codec = Codec::without_schemas(Limits::default());
        (Schemas::new(codec, Arc::<Scripted>::clone(&source), Duration::from_secs(30)), source)
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_is_asked_for_once_and_known_for_ever() {
        let (schemas, source) = schemas(Ok(Some(r#"{"type": "long"}"#)));

        for _ in 0..3 {
            schemas.learn(SchemaRef::Id(7)).await.unwrap();
        }

        assert!(schemas.codec.knows(SchemaRef::Id(7)));
        assert!(schemas.codec.knows(SchemaRef::Guid(GUID)), "its other name is known too");
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_is_away_is_an_outage_however_long() {
        let (schemas, _) = schemas(Err("refused"));

        for _ in 0..3 {
            let failure = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();
            assert_eq!(failure.class, Class::Outage(Dependency("registry".into())));
            tokio::time::advance(Duration::from_secs(600)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_id_is_waited_for_and_then_a_dead_letter_without_further_questions() {
        let (schemas, source) = schemas(Ok(None));

        let early = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();
        tokio::time::advance(Duration::from_secs(31)).await;
        let late = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();
        let again = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();

        assert!(matches!(early.class, Class::Transient { .. }), "{early:?}");
        assert_eq!(late.class, Class::Dead(Reason::UnknownSchema));
        assert_eq!(again.class, Class::Dead(Reason::UnknownSchema));
        assert_eq!(source.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_that_comes_late_is_learnt() {
        let (schemas, source) = schemas(Ok(None));
        schemas.learn(SchemaRef::Id(7)).await.unwrap_err();

        *source.answer.lock().unwrap() = Ok(found(Some(r#"{"type": "long"}"#)));

        schemas.learn(SchemaRef::Id(7)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_that_cannot_be_used_is_a_dead_letter_that_says_why() {
        let recursive =
            r#"{"type": "record", "name": "Tree", "fields": [{"name": "child", "type": ["null", "Tree"]}]}"#;
        let (schemas, _) = schemas(Ok(Some(recursive)));

        let failure = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();

        assert_eq!(failure.class, Class::Dead(Reason::UnknownSchema));
        assert!(failure.to_string().contains("recursive"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_that_cannot_be_put_together_is_a_dead_letter_and_not_asked_for_with_each_record() {
        let (schemas, source) = schemas(Ok(None));
        *source.answer.lock().unwrap() = Ok(SchemaAnswer::Unusable("its references go round".to_owned()));

        let failures = [schemas.learn(SchemaRef::Id(7)).await, schemas.learn(SchemaRef::Id(7)).await];
        let asked = source.asked.load(Ordering::SeqCst);
        tokio::time::advance(ASK_AGAIN).await;
        *source.answer.lock().unwrap() = Ok(found(Some(r#"{"type": "long"}"#)));
        let mended = schemas.learn(SchemaRef::Id(7)).await;

        for failure in failures {
            let failure = failure.unwrap_err();
            assert_eq!(failure.class, Class::Dead(Reason::UnknownSchema));
            assert!(
                failure.to_string().contains("id 7 cannot be used: its references go round"),
                "{failure}"
            );
        }
        assert_eq!((asked, mended), (1, Ok(())));
    }

    /// Answers nobody, after ten seconds.
    struct Silent(AtomicUsize);

    impl SchemaSource for Silent {
        fn schema(&self, _name: SchemaRef) -> SchemaFuture<'_> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err(RegistryAway("no answer".to_owned()))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_question_without_an_answer_does_not_ask_it_again() {
        let source = Arc::new(Silent(AtomicUsize::new(0)));
        let codec = Codec::without_schemas(Limits::default());
        let schemas = Schemas::new(codec, Arc::<Silent>::clone(&source), Duration::from_secs(30));
        let began = Instant::now();

        let learn = |id| schemas.learn(SchemaRef::Id(id));
        let failures = futures_util::future::join_all((0..100).map(learn)).await;
        let took = began.elapsed();
        learn(7).await.unwrap_err();

        let outage = Class::Outage(Dependency(REGISTRY.into()));
        assert!(
            failures.iter().all(|failure| failure.as_ref().is_err_and(|failure| failure.class == outage))
        );
        assert_eq!(took, Duration::from_secs(10));
        assert_eq!(source.0.load(Ordering::SeqCst), 2, "later ones ask anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_of_another_language_is_a_dead_letter_of_a_wrong_format() {
        let (schemas, source) = schemas(Ok(None));
        *source.answer.lock().unwrap() = Ok(SchemaAnswer::Foreign("it is PROTOBUF".to_owned()));

        let failure = schemas.learn(SchemaRef::Id(7)).await.unwrap_err();

        assert_eq!(failure.class, Class::Dead(Reason::Undecodable));
        assert!(failure.to_string().contains("PROTOBUF"), "{failure}");
    }
}
