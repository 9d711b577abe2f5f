//! The event of the benchmark: 13 fields, some 300 bytes.

use postroom::event::{EventRecord, EventType};
use serde::{Deserialize, Serialize};

/// Somebody looked at a page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PageViewed {
    pub(crate) event_id: String,
    pub(crate) occurred_at: i64,
    pub(crate) post_id: String,
    pub(crate) visitor: String,
    pub(crate) path: String,
    pub(crate) referrer: Option<String>,
    pub(crate) user_agent: String,
    pub(crate) country: String,
    pub(crate) status: i32,
    pub(crate) bytes: i64,
    pub(crate) seconds: f64,
    pub(crate) first_visit: bool,
    pub(crate) campaign: Option<String>,
}

impl EventRecord for PageViewed {
    const TYPE: EventType =
        EventType { name: "page.viewed", record: "bench.PageViewed", topic: TOPIC, schema: SCHEMA };

    fn event_id(&self) -> Option<&str> {
        Some(&self.event_id)
    }

    fn key(&self) -> Option<&str> {
        Some(&self.post_id)
    }

    fn time(&self) -> Option<i64> {
        Some(self.occurred_at)
    }
}

/// Makes the `number`th event. The same number makes the same event.
pub(crate) fn event(number: u64) -> PageViewed {
    let mut random = fastrand::Rng::with_seed(number);
    let post = random.u32(0..KEYS);
    PageViewed {
        event_id: format!("{:032x}", random.u128(..)),
        occurred_at: 1_700_000_000_000 + i64::from(random.u32(..)),
        post_id: format!("post-{post:06}"),
        visitor: format!("{:016x}", random.u64(..)),
        path: format!("/blog/2024/{post:06}/a-title-of-the-usual-length-in-this-blog"),
        referrer: random.bool().then(|| format!("https://search.example/results?q={:016x}", random.u64(..))),
        user_agent: AGENT.to_owned(),
        country: "NZ".to_owned(),
        status: 200,
        bytes: i64::from(random.u32(1_000..90_000)),
        seconds: f64::from(random.u32(1..4_000)) / 1_000.0,
        first_visit: random.bool(),
        campaign: (random.u8(0..4) == 0).then(|| "newsletter".to_owned()),
    }
}

/// What an event adds to the checksum: fields from both ends, so that all in between was decoded.
pub(crate) fn sum(event: &PageViewed) -> u64 {
    let campaign = event.campaign.as_ref().map_or(0, String::len);
    u64::try_from(event.bytes).unwrap_or_default()
        + u64::try_from(event.event_id.len() + event.path.len() + campaign).unwrap_or_default()
}

/// The topic.
pub(crate) const TOPIC: &str = "bench.pages";
/// The id under which the schema is registered.
pub(crate) const SCHEMA_ID: u32 = 900_001;
/// The schema.
pub(crate) const SCHEMA: &str = include_str!("../schemas/page.viewed/v1.avsc");

const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36";
const KEYS: u32 = 100_000;
