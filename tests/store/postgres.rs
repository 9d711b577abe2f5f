//! What only PostgreSQL can do wrong.

use postroom::testkit::{search_contract, store_contract};

use crate::server::OnPostgres;

#[tokio::test]
async fn store_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::everything(&bench).await;
}

#[tokio::test]
async fn outbox_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::outbox::everything(&bench).await;
}

#[tokio::test]
async fn search_keeps_the_contract_over_several_handles() {
    let Some(bench) = OnPostgres::new() else { return };
    search_contract::everything(&bench).await;
}

#[tokio::test]
async fn everything_is_kept_over_a_restart() {
    let Some(bench) = OnPostgres::new() else { return };
    store_contract::restart_keeps_everything(&bench).await;
}
