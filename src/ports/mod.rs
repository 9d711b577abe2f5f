//! One small trait a file for the outside world; no implementation.

mod change;
mod edge;
mod endpoints;
mod mailer;
mod objects;
mod outbox;
mod store;

pub use change::{
    Arrival, Change, CommentChange, CommentFact, Origin, Param, PersonChange, PersonContent, PersonFact,
    PostChange, PostContent, PostFact, RequestEnding, SubscriptionChange, ThreadComment, ThreadPost, Welcome,
};
pub use edge::{CommittedPosition, Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange};
pub use endpoints::{Endpoint, Endpoints};
pub use mailer::{Mail, MailError, MailFuture, MailReply, Mailer};
pub use objects::{ObjectError, ObjectFuture, Objects};
pub use outbox::{DueRow, Ledger, Outbox, OutboxBacklog, Request, Reservation};
pub use store::{
    Applied, Claim, Epoch, Expansion, FanOut, Guard, Rest, Store, StoreError, StoreFuture, StoreId, Unit,
};
