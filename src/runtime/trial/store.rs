//! A store that goes away when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postroom_core::{Attempt, Offset, TopicPartition};

use crate::adapters::store::SqliteStore;
use crate::ports::{
    Applied, Change, Claim, Endpoint, Endpoints, Guard, IfUnknown, Ledger, Reservation, Store, StoreError,
    StoreFuture, StoreId, Unit,
};

#[derive(Clone)]
pub(super) struct Flaky {
    pub(super) inner: SqliteStore,
    away: Arc<AtomicBool>,
    /// Lets every claim and unit take longer than a handler may.
    pub(super) slow: Arc<AtomicBool>,
    /// How many units it was asked to apply.
    pub(super) units: Arc<AtomicUsize>,
    /// How often it was asked while it was away.
    pub(super) refused: Arc<AtomicUsize>,
}

impl Flaky {
    pub(super) fn new(inner: SqliteStore) -> Self {
        Self {
            inner,
            away: Arc::default(),
            slow: Arc::default(),
            units: Arc::default(),
            refused: Arc::default(),
        }
    }

    /// The table is made under a claim of its own.
    pub(super) async fn with_table(inner: SqliteStore) -> Self {
        let table = "CREATE TABLE written (word TEXT NOT NULL CHECK (word <> 'unwritable'), id TEXT)";
        let mut claim = inner.claim("set-up", &super::likes()).await.unwrap();
        let changes = vec![Change::Statement { sql: table.to_owned(), params: Vec::new() }];
        let unit = Unit { guard: Guard::Once { id: "table".to_owned() }, changes };
        assert_eq!(inner.apply(&mut claim, unit).await, Ok(Applied::Committed));
        Self::new(inner)
    }

    pub(super) fn away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn there(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::Away("it was told to".to_owned()));
        }
        Ok(())
    }
}

impl Store for Flaky {
    fn id(&self) -> &StoreId {
        self.inner.id()
    }

    fn claim<'a>(&'a self, group: &'a str, partition: &'a TopicPartition) -> StoreFuture<'a, Claim> {
        Box::pin(async move {
            self.there()?;
            if self.slow.load(Ordering::SeqCst) {
                tokio::time::sleep(2 * super::DEADLINE).await;
            }
            self.inner.claim(group, partition).await
        })
    }

    fn apply<'a>(&'a self, claim: &'a mut Claim, unit: Unit) -> StoreFuture<'a, Applied> {
        Box::pin(async move {
            self.units.fetch_add(1, Ordering::SeqCst);
            self.there()?;
            if self.slow.load(Ordering::SeqCst) {
                tokio::time::sleep(2 * super::DEADLINE).await;
            }
            self.inner.apply(claim, unit).await
        })
    }

    fn count_attempt<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        offset: Offset,
        attempt: Attempt,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.there()?;
            self.inner.count_attempt(group, partition, offset, attempt).await
        })
    }

    fn forget_attempts<'a>(
        &'a self,
        group: &'a str,
        partition: &'a TopicPartition,
        below: Offset,
    ) -> StoreFuture<'a, ()> {
        self.inner.forget_attempts(group, partition, below)
    }
}

impl Ledger for Flaky {
    fn reserve_with<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        lease: Duration,
        if_unknown: IfUnknown,
    ) -> StoreFuture<'a, Reservation> {
        self.inner.reserve_with(id, owner, now, lease, if_unknown)
    }

    fn defer<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        not_before: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        self.inner.defer(id, owner, now, not_before, reply)
    }

    fn attempt_failed<'a>(
        &'a self,
        id: &'a str,
        owner: &'a str,
        now: i64,
        reply: &'a str,
    ) -> StoreFuture<'a, ()> {
        self.inner.attempt_failed(id, owner, now, reply)
    }

    fn done<'a>(&'a self, id: &'a str, now: i64, reply: &'a str) -> StoreFuture<'a, ()> {
        self.inner.done(id, now, reply)
    }

    fn died<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        self.inner.died(id, now, why)
    }
}

impl Endpoints for Flaky {
    fn endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        self.inner.endpoint(id)
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        self.inner.endpoints()
    }

    fn disabled_endpoints(&self) -> StoreFuture<'_, u64> {
        self.inner.disabled_endpoints()
    }

    fn put_endpoint(&self, endpoint: Endpoint) -> StoreFuture<'_, ()> {
        self.inner.put_endpoint(endpoint)
    }

    fn remove_endpoint<'a>(&'a self, id: &'a str) -> StoreFuture<'a, bool> {
        self.inner.remove_endpoint(id)
    }

    fn disable_endpoint<'a>(&'a self, id: &'a str, now: i64, why: &'a str) -> StoreFuture<'a, ()> {
        self.inner.disable_endpoint(id, now, why)
    }

    fn endpoint_failed<'a>(&'a self, id: &'a str, now: i64, pause: Duration) -> StoreFuture<'a, i64> {
        self.inner.endpoint_failed(id, now, pause)
    }

    fn endpoint_answered<'a>(&'a self, id: &'a str) -> StoreFuture<'a, ()> {
        self.inner.endpoint_answered(id)
    }
}
