//! Stands where the ledger and the endpoints have not landed yet.

use std::time::Duration;

use super::PostgresStore;
use crate::ports::{Endpoint, Endpoints, Ledger, Reservation, StoreError, StoreFuture};

impl Ledger for PostgresStore {
    fn reserve<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: i64,
        _: Duration,
    ) -> StoreFuture<'a, Reservation> {
        missing()
    }

    fn defer<'a>(&'a self, _: &'a str, _: i64, _: i64, _: &'a str) -> StoreFuture<'a, ()> {
        missing()
    }

    fn attempt_failed<'a>(&'a self, _: &'a str, _: i64, _: &'a str) -> StoreFuture<'a, ()> {
        missing()
    }
}

impl Endpoints for PostgresStore {
    fn endpoint<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<Endpoint>> {
        missing()
    }

    fn endpoints(&self) -> StoreFuture<'_, Vec<Endpoint>> {
        missing()
    }

    fn put_endpoint(&self, _: Endpoint) -> StoreFuture<'_, ()> {
        missing()
    }

    fn remove_endpoint<'a>(&'a self, _: &'a str) -> StoreFuture<'a, bool> {
        missing()
    }

    fn disable_endpoint<'a>(&'a self, _: &'a str, _: i64, _: &'a str) -> StoreFuture<'a, ()> {
        missing()
    }
}

fn missing<'a, V: 'a>() -> StoreFuture<'a, V> {
    Box::pin(async { Err(StoreError::Refused("not in this build".to_owned())) })
}
