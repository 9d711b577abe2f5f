//! Thumbnails of uploaded pictures, under names that come from the picture: a repeat writes the same files again.

use std::sync::Arc;

use futures_util::future::try_join_all;
use sha2::{Digest, Sha256};

use crate::event::{Envelope, ImageUploaded};
use crate::handler::{Context, Error, Handler};
use crate::ports::{
    Change, ObjectError, Objects, PictureError, Pictures, Thumbnail as Made, ThumbnailFile, ThumbnailSpec,
    Thumbnails, ThumbnailsMade,
};

/// Makes thumbnails of uploaded pictures and keeps the table `thumbnails`.
pub struct Thumbnail {
    /// Where pictures lie.
    pub source: Arc<dyn Objects>,
    /// Where thumbnails go.
    pub target: Arc<dyn Objects>,
    /// Who makes them.
    pub pictures: Arc<dyn Pictures>,
    /// Which are made.
    pub spec: ThumbnailSpec,
    /// The largest picture that is read, in bytes.
    pub max_bytes: u64,
    /// What the keys of thumbnails begin with, without a slash at its end.
    pub prefix: String,
}

impl Handler for Thumbnail {
    type Event = ImageUploaded;

    async fn handle(&self, envelope: &Envelope<ImageUploaded>, context: &mut Context) -> Result<(), Error> {
        let event = &envelope.event;
        let picture = context.request(OBJECTS, self.read(event)).await?;
        let made = context.request(PICTURES, self.pictures.thumbnails(picture, &self.spec)).await;
        let made = made.map_err(of_picture)?;
        let files = context.request(OBJECTS, self.write(&event.sha256, &made)).await?;
        let Thumbnails { media_type, width, height, placeholder, .. } = made;
        context.change(Change::Thumbnails(ThumbnailsMade {
            event: envelope.id.clone(),
            object_key: event.object_key.clone(),
            sha256: event.sha256.clone(),
            post: event.post_id.clone(),
            media_type,
            width,
            height,
            placeholder,
            time: event.occurred_at,
            files,
        }));
        Ok(())
    }
}

impl Thumbnail {
    /// Reads the picture that the event speaks of, and no other.
    async fn read(&self, event: &ImageUploaded) -> Result<Vec<u8>, Error> {
        let ImageUploaded { object_key: key, size, sha256, .. } = event;
        let (size, limit) = (u64::try_from(*size).unwrap_or_default(), self.max_bytes);
        if size > limit {
            return Err(of_object(ObjectError::TooLarge { key: key.clone(), size, limit }));
        }
        let picture = self.source.read(key, limit).await.map_err(of_object)?;
        let found = u64::try_from(picture.len()).unwrap_or(u64::MAX);
        if found != size {
            let why =
                format!("the object {key} has {found} bytes and the event says {size}: is it still written?");
            return Err(Error::retry(why));
        }
        if hex(&Sha256::digest(&picture)) != *sha256 {
            return Err(Error::retry(format!(
                "the object {key} is not the one of the event: its SHA-256 differs"
            )));
        }
        Ok(picture)
    }

    /// Writes all of them at once: as long as the slowest takes.
    async fn write(&self, sha256: &str, made: &Thumbnails) -> Result<Vec<ThumbnailFile>, Error> {
        let folder = sha256.get(..2).unwrap_or_default();
        let written = made.sizes.iter().map(|made| async move {
            let Made { wanted, width, height, encoding, bytes } = made;
            let name = format!("{}/{folder}/{sha256}-{wanted}.{}", self.prefix, encoding.extension());
            let media_type = encoding.media_type();
            self.target.write(&name, bytes.clone(), media_type).await.map_err(of_object)?;
            Ok(ThumbnailFile { name, media_type: media_type.to_owned(), width: *width, height: *height })
        });
        try_join_all(written).await
    }
}

/// What an error of the object store means for the event.
fn of_object(error: ObjectError) -> Error {
    let message = error.to_string();
    match error {
        ObjectError::BadKey { .. } => Error::invalid(message),
        ObjectError::TooLarge { .. } => Error::dead(message),
        // The upload may be slower than its event.
        ObjectError::NotFound(_) | ObjectError::Failed { .. } => Error::retry(message),
        ObjectError::Away(_) => Error::outage(OBJECTS, message),
    }
}

fn of_picture(error: PictureError) -> Error {
    let message = error.to_string();
    match error {
        PictureError::Bad { .. } => Error::invalid(message),
        PictureError::Died(_) | PictureError::TimedOut(_) => Error::retry(message),
        PictureError::Away(_) => Error::outage(PICTURES, message),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name under which an outage of the object store is known.
pub(crate) const OBJECTS: &str = "objects";

/// The name under which it is known that no picture worker starts.
pub(crate) const PICTURES: &str = "pictures";
