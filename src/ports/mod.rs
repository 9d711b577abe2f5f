//! One small trait a file for the outside world; no implementation.

mod edge;
mod store;

pub use edge::{CommittedPosition, Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange};
pub use store::{Applied, Change, Claim, Epoch, Guard, Param, Store, StoreError, StoreFuture, StoreId, Unit};
