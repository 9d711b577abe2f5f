//! Objects as files below one folder, such as Django's media root.
//!
//! A path is walked a folder at a time, each opened below the one before, and no link is followed: whatever a key
//! says and whoever puts links into the folder, nothing outside is read or written.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fsync, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::key::{UNFINISHED, parts};
use crate::ports::{ObjectError, ObjectFuture, Objects};

/// Objects as files below one folder. Handles are cheap to clone.
#[derive(Clone, Debug)]
pub struct Folder {
    root: Arc<Path>,
}

impl Folder {
    /// Takes the folder; it is not looked at before the first read or write.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into().into() }
    }

    fn root(&self) -> Result<OwnedFd, ObjectError> {
        open(&*self.root, FOLDER, Mode::empty())
            .map_err(|error| ObjectError::Away(format!("{}: {error}", self.root.display())))
    }

    fn read_now(&self, key: &str, limit: u64) -> Result<Vec<u8>, ObjectError> {
        let folders = parts(key)?;
        let Some((name, folders)) = folders.split_last() else { return Err(not_found(key)) };
        let mut at = self.root()?;
        for folder in folders {
            at = openat(&at, *folder, FOLDER | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|error| reading(key, &at, folder, error))?;
        }
        // A pipe must not be waited for: what is no regular file is refused below.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&at, *name, flags, Mode::empty())
            .map_err(|error| reading(key, &at, name, error))
            .map(File::from)?;
        let failed = |why: String| ObjectError::Failed { key: key.to_owned(), why };
        let about = file.metadata().map_err(|error| failed(error.to_string()))?;
        if !about.is_file() {
            return Err(failed("it is no regular file".to_owned()));
        }
        let size = about.len();
        let too_large = |size| ObjectError::TooLarge { key: key.to_owned(), size, limit };
        if size > limit {
            return Err(too_large(size));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| failed(error.to_string()))?;
        let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if read > limit { Err(too_large(read)) } else { Ok(bytes) }
    }

    fn write_now(&self, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let folders = parts(key)?;
        let Some((name, folders)) = folders.split_last() else { return Err(not_found(key)) };
        let mut at = self.root()?;
        for folder in folders {
            at = entered(&at, folder).map_err(|error| writing(key, &at, folder, error))?;
        }
        // Members on several hosts may share the folder, with the same process ids.
        let unfinished = format!("{UNFINISHED}{:016x}", fastrand::u64(..));
        write(&at, &unfinished, name, bytes).map_err(|error| {
            // It may not be there: what is wrong is told already.
            unlinkat(&at, unfinished.as_str(), AtFlags::empty()).unwrap_or_default();
            writing(key, &at, name, error)
        })
    }
}

impl Objects for Folder {
    fn read<'a>(&'a self, key: &'a str, limit: u64) -> ObjectFuture<'a, Vec<u8>> {
        let (folder, key) = (self.clone(), key.to_owned());
        Box::pin(apart(move || folder.read_now(&key, limit)))
    }

    fn write<'a>(&'a self, key: &'a str, bytes: Vec<u8>, _media_type: &'a str) -> ObjectFuture<'a, ()> {
        let (folder, key) = (self.clone(), key.to_owned());
        Box::pin(apart(move || folder.write_now(&key, &bytes)))
    }
}

/// Runs what waits for a disk on a thread that may wait.
async fn apart<V: Send + 'static>(
    run: impl FnOnce() -> Result<V, ObjectError> + Send + 'static,
) -> Result<V, ObjectError> {
    let ended = |error: tokio::task::JoinError| Err(ObjectError::Away(error.to_string()));
    tokio::task::spawn_blocking(run).await.unwrap_or_else(ended)
}

/// Opens a folder below another, made where it is missing.
fn entered(at: &OwnedFd, folder: &str) -> Result<OwnedFd, Errno> {
    match openat(at, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match mkdirat(at, folder, Mode::from_raw_mode(0o755)) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => openat(at, folder, FOLDER | OFlags::NOFOLLOW, Mode::empty()),
        Err(error) => Err(error),
    }
}

/// Writes the whole file beside its place, then moves it there. A crash leaves the old one, or the new one whole.
fn write(at: &OwnedFd, unfinished: &str, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = openat(at, unfinished, flags, Mode::from_raw_mode(0o644)).map(File::from)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| of_io(&error))?;
    renameat(at, unfinished, at, name)?;
    fsync(at)
}

fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn not_found(key: &str) -> ObjectError {
    ObjectError::NotFound(key.to_owned())
}

/// Says what an error means while `part` of a key was read.
fn reading(key: &str, at: &OwnedFd, part: &str, error: Errno) -> ObjectError {
    match error {
        Errno::LOOP | Errno::NOTDIR if is_link(at, part) => link(key),
        Errno::NOENT | Errno::NOTDIR => not_found(key),
        error => ObjectError::Failed { key: key.to_owned(), why: error.to_string() },
    }
}

/// Says what an error means while `part` of a key was written: mostly that nothing can be written.
fn writing(key: &str, at: &OwnedFd, part: &str, error: Errno) -> ObjectError {
    match error {
        Errno::LOOP | Errno::NOTDIR if is_link(at, part) => link(key),
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::EXIST | Errno::NAMETOOLONG => {
            ObjectError::Failed { key: key.to_owned(), why: error.to_string() }
        }
        error => ObjectError::Away(format!("{key} cannot be written: {error}")),
    }
}

fn link(key: &str) -> ObjectError {
    ObjectError::BadKey { key: key.to_owned(), why: "one of its parts is a symbolic link".to_owned() }
}

fn is_link(at: &OwnedFd, part: &str) -> bool {
    statat(at, part, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::Symlink)
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("root"));
        fs::create_dir(dir.path().join("root")).unwrap();
        (dir, folder)
    }

    #[tokio::test]
    async fn what_is_written_is_read_again_and_replaced_whole() {
        let (dir, folder) = folder();

        folder.write("thumbs/ab/x.jpg", b"first, and longer".to_vec(), "image/png").await.unwrap();
        folder.write("thumbs/ab/x.jpg", b"second".to_vec(), "image/png").await.unwrap();

        assert_eq!(folder.read("thumbs/ab/x.jpg", 6).await.unwrap(), b"second");
        let names: Vec<_> = fs::read_dir(dir.path().join("root/thumbs/ab")).unwrap().collect();
        assert_eq!(names.len(), 1, "an unfinished file was left");
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_is_refused_before_it_is_read() {
        let (_dir, folder) = folder();
        folder.write("a", vec![0; 100], "image/png").await.unwrap();

        let error = folder.read("a", 99).await.unwrap_err();

        assert_eq!(error, ObjectError::TooLarge { key: "a".to_owned(), size: 100, limit: 99 });
    }

    #[tokio::test]
    async fn links_are_not_followed_neither_to_files_nor_through_folders() {
        let (dir, folder) = folder();
        fs::write(dir.path().join("secret"), "s").unwrap();
        let root = dir.path().join("root");
        symlink("../secret", root.join("file")).unwrap();
        symlink(dir.path(), root.join("up")).unwrap();

        for key in ["file", "up/secret"] {
            let read = folder.read(key, 10).await.unwrap_err();
            assert!(matches!(read, ObjectError::BadKey { .. }), "{key}: {read}");
        }
        let written = folder.write("up/new", vec![1], "image/png").await.unwrap_err();
        assert!(matches!(written, ObjectError::BadKey { .. }), "{written}");
        // A link in the place of a file is replaced, not written through.
        folder.write("file", b"mine".to_vec(), "image/png").await.unwrap();
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"s");
        assert!(!dir.path().join("new").exists());
    }

    #[tokio::test]
    async fn what_is_missing_is_told_from_a_store_that_is_away() {
        let (dir, folder) = folder();
        fs::write(dir.path().join("root/file"), "x").unwrap();

        for key in ["none", "none/a", "file/a"] {
            assert_eq!(folder.read(key, 10).await, Err(ObjectError::NotFound(key.to_owned())));
        }
        let away = Folder::new(dir.path().join("not-mounted"));
        assert!(matches!(away.read("a", 10).await, Err(ObjectError::Away(_))));
        assert!(matches!(away.write("a", vec![], "image/png").await, Err(ObjectError::Away(_))));
    }

    #[tokio::test]
    async fn a_folder_or_a_pipe_is_no_object_and_is_not_waited_for() {
        let (dir, folder) = folder();
        fs::create_dir(dir.path().join("root/folder")).unwrap();
        let pipe = dir.path().join("root/pipe");
        let flags = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, flags, 0).unwrap();

        for key in ["folder", "pipe"] {
            let error = folder.read(key, 10).await.unwrap_err();
            assert!(matches!(error, ObjectError::Failed { .. }), "{key}: {error}");
        }
    }
}
