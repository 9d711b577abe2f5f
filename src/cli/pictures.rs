//! `postroom picture-worker`: the child that makes thumbnails. Nobody types this.

use crate::adapters::pictures::serve;
use crate::cli::args::PictureWorkerArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

pub(crate) fn run(arguments: &PictureWorkerArgs) -> Result<Exit, Failure> {
    serve(arguments.memory)
        .map(|()| Exit::Ok)
        .map_err(|error| Failure::new(Exit::Io, format!("the picture worker ended: {error}")))
}
