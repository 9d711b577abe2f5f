#![expect(clippy::unwrap_used, reason = "tests")]
use postroom::adapters::store::{PostgresSettings, PostgresStore};
use postroom::ports::Param;
use postroom::testkit::search_contract;
use postroom::testkit::store_contract::{self, Bench};

struct OnPostgres(PostgresSettings);

impl OnPostgres {
    fn new(name: &str) -> Self {
        Self(PostgresSettings {
            schema: format!("{name}_{}", fastrand::u32(..)),
            connections: 4,
            ..PostgresSettings::default()
        })
    }
}

impl Bench for OnPostgres {
    type Store = PostgresStore;
    async fn open(&self) -> PostgresStore {
        PostgresStore::connect("postgres://postroom@127.0.0.1:25433/postgres", self.0.clone()).await.unwrap()
    }
    async fn rows(&self, store: &PostgresStore, sql: &str) -> Vec<Vec<Param>> {
        store.query(sql, Vec::new()).await.unwrap()
    }
}

#[tokio::test]
async fn pg_outbox() {
    store_contract::outbox::everything(&OnPostgres::new("outbox")).await;
}
#[tokio::test]
async fn pg_search() {
    search_contract::everything(&OnPostgres::new("search")).await;
}
#[tokio::test]
async fn pg_store() {
    store_contract::everything(&OnPostgres::new("store")).await;
}
