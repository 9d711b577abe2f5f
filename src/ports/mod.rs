//! One small trait a file for the outside world; no implementation.

mod change;
mod edge;
mod store;

pub use change::{
    Arrival, Change, CommentChange, CommentFact, Origin, Param, PersonChange, PersonContent, PersonFact,
    PostChange, PostContent, PostFact, SubscriptionChange, ThreadComment, ThreadPost, Welcome,
};
pub use edge::{CommittedPosition, Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange};
pub use store::{
    Applied, Claim, Epoch, Expansion, FanOut, Guard, Rest, Store, StoreError, StoreFuture, StoreId, Unit,
};
