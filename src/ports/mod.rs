//! One small trait a file for the outside world; no implementation.

mod cache;
mod change;
mod edge;
mod endpoints;
mod mailer;
mod objects;
mod outbox;
mod pictures;
mod schemas;
mod search;
mod store;
mod web;

pub use cache::{Cache, CacheError, CacheFuture, Stale};
pub use change::{
    Arrival, Change, CommentChange, CommentFact, LONGEST_ID, MailSource, Origin, Param, PersonChange,
    PersonContent, PersonFact, PostChange, PostContent, PostFact, RequestEnding, SubscriptionChange,
    ThreadComment, ThreadPost, ThreadText, ThumbnailFile, ThumbnailsMade, WebhookEvent, Welcome,
};
pub use edge::{CommittedPosition, Edge, EdgeError, EdgeEvent, EdgeFuture, LogRange};
pub use endpoints::{Endpoint, Endpoints};
pub use mailer::{Mail, MailError, MailFuture, MailReply, Mailer};
pub use objects::{ObjectError, ObjectFuture, Objects};
pub use outbox::{DueRow, IfUnknown, Ledger, Outbox, OutboxBacklog, Request, Reservation};
pub use pictures::{
    Encoding, PictureError, PictureFlaw, PictureFuture, Pictures, Thumbnail, ThumbnailSpec, Thumbnails,
};
pub use schemas::{RegistryAway, SchemaAnswer, SchemaFuture, SchemaSource};
pub use search::{
    DocumentBody, DocumentChange, DocumentContent, DocumentFact, DocumentKind, LARGEST_PAGE, LONGEST_REQUEST,
    Search, SearchHit, SearchPage, SearchRequest, Snippet,
};
pub use store::{
    Applied, Claim, Epoch, Expansion, FanOut, Guard, Rest, Store, StoreError, StoreFuture, StoreId, Unit,
};
pub use web::{Wanted, Web, WebError, WebFuture, WebMethod, WebRequest, WebResponse};
