//! One small trait a file for the outside world; no implementation.

mod change;
mod edge;
mod endpoints;
mod objects;
mod outbox;
mod pictures;
mod store;

pub use change::{
    Arrival, Change, CommentChange, CommentFact, Origin, Param, PersonChange, PersonContent, PersonFact,
    PostChange, PostContent, PostFact, RequestEnding, SubscriptionChange, ThreadComment, ThreadPost,
    ThumbnailFile, ThumbnailsMade, Welcome,
};
pub use edge::{CommittedPosition, Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange};
pub use endpoints::{Endpoint, Endpoints};
pub use objects::{ObjectError, ObjectFuture, Objects};
pub use outbox::{DueRow, Ledger, Outbox, OutboxBacklog, Request, Reservation};
pub use pictures::{
    Encoding, PictureError, PictureFlaw, PictureFuture, Pictures, Thumbnail, ThumbnailSpec, Thumbnails,
};
pub use store::{
    Applied, Claim, Epoch, Expansion, FanOut, Guard, Rest, Store, StoreError, StoreFuture, StoreId, Unit,
};
