//! Schemas: the codec of every command, and `postroom schemas`.

mod codec;

pub(crate) use codec::{Reading, codec, server, writing};
