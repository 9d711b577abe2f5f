use deadpool_postgres::Transaction;

use super::error::Trouble;
use crate::ports::{MailSource, Origin};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) post: Option<&'a str>,
    pub(super) comment: Option<&'a str>,
    pub(super) author: Option<&'a str>,
}

pub(super) async fn sources(
    _: &Transaction<'_>,
    _: &[(&MailSource, &Origin, About<'_>)],
) -> Result<(), Trouble> {
    Ok(())
}

pub(super) async fn leave(_: &Transaction<'_>, _: &[[String; 4]]) -> Result<(), Trouble> {
    Ok(())
}
