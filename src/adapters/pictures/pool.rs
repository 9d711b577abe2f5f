//! The parent's side: a few children, each with a thread that talks to it, started when first needed.

use std::fmt;
use std::io::{self, BufReader, BufWriter, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::render::Flaw;
use super::wire::{GREETING, answered, ask};
use crate::ports::{PictureError, PictureFuture, Pictures, ThumbnailSpec, Thumbnails};

/// How workers are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The program: `postroom`, whose subcommand `picture-worker` is the worker.
    pub program: PathBuf,
    /// How many may run at once.
    pub workers: usize,
    /// How much address space each may have, in bytes, its program included.
    pub memory: u64,
    /// How long a picture may take, the start of a worker included.
    pub timeout: Duration,
}

/// Workers that make thumbnails.
#[derive(Debug)]
pub struct PicturePool {
    settings: WorkerSettings,
    idle: Mutex<Vec<Worker>>,
    permits: Semaphore,
}

impl PicturePool {
    /// Makes a pool without workers: each is started when it is needed, and stays.
    pub fn new(settings: WorkerSettings) -> Self {
        let permits = Semaphore::new(settings.workers.clamp(1, Semaphore::MAX_PERMITS));
        Self { settings, idle: Mutex::default(), permits }
    }

    /// Returns the process ids of the workers that wait for a picture.
    pub fn idle_workers(&self) -> Vec<u32> {
        self.idle().iter().filter_map(Worker::pid).collect()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a worker that lives, or starts one.
    fn worker(&self) -> Result<Worker, PictureError> {
        while let Some(worker) = { self.idle().pop() } {
            if worker.lives() {
                return Ok(worker);
            }
        }
        Worker::start(&self.settings).map_err(|error| PictureError::Away(error.to_string()))
    }
}

impl Pictures for PicturePool {
    fn thumbnails<'a>(&'a self, picture: Vec<u8>, spec: &'a ThumbnailSpec) -> PictureFuture<'a, Thumbnails> {
        Box::pin(async move {
            let closed = |_| PictureError::Away("the pool is closed".to_owned());
            let _permit = self.permits.acquire().await.map_err(closed)?;
            let worker = self.worker()?;
            let limit = self.settings.timeout;
            // Whoever is late, or no longer waited for, is dropped here, and killed thereby.
            let answer = tokio::time::timeout(limit, worker.ask(picture, spec.clone())).await;
            let made = answer.map_err(|_elapsed| PictureError::TimedOut(limit))??;
            self.idle().push(worker);
            made.map_err(|Flaw { flaw, message }| PictureError::Bad { flaw, message })
        })
    }
}

/// One picture for a worker, with the way back.
struct Job {
    picture: Vec<u8>,
    spec: ThumbnailSpec,
    reply: oneshot::Sender<Result<Made, PictureError>>,
}

type Made = Result<Thumbnails, Flaw>;

/// A child and the thread that talks to it. Dropping it kills the child.
struct Worker {
    jobs: Sender<Job>,
    child: Arc<Mutex<Option<Child>>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread, which starts the child: the child goes when that thread goes.
    fn start(settings: &WorkerSettings) -> io::Result<Self> {
        let (jobs, asked) = channel();
        let child = Arc::new(Mutex::new(None));
        let (settings, shared) = (settings.clone(), Arc::clone(&child));
        std::thread::Builder::new()
            .name("pictures".to_owned())
            .spawn(move || talk(&settings, &asked, &shared))?;
        Ok(Self { jobs, child })
    }

    async fn ask(&self, picture: Vec<u8>, spec: ThumbnailSpec) -> Result<Made, PictureError> {
        let (reply, answer) = oneshot::channel();
        let gone = || PictureError::Died("its thread is gone".to_owned());
        self.jobs.send(Job { picture, spec, reply }).map_err(|_job| gone())?;
        answer.await.map_err(|_closed| gone())?
    }

    fn lives(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn pid(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // It may have ended; its thread waits for it either way.
            child.kill().unwrap_or_default();
        }
    }
}

/// Runs a child until its worker is dropped or it dies.
fn talk(settings: &WorkerSettings, asked: &Receiver<Job>, shared: &Mutex<Option<Child>>) {
    let mut pipes = None;
    while let Ok(Job { picture, spec, reply }) = asked.recv() {
        let started = match pipes.take() {
            Some(pipes) => Ok(pipes),
            None => start(settings, shared),
        };
        let answer = started.map_err(PictureError::Away).and_then(|mut own| {
            let made = own.exchange(&picture, &spec);
            if made.is_ok() {
                pipes = Some(own);
            }
            made.map_err(|error| PictureError::Died(last_words(shared, &error)))
        });
        let failed = answer.is_err();
        // Whoever asked may have stopped waiting.
        drop(reply.send(answer));
        if failed {
            break;
        }
    }
    drop(pipes);
    end(shared);
}

/// Starts a child and hears that it is ready.
fn start(settings: &WorkerSettings, shared: &Mutex<Option<Child>>) -> Result<Pipes, String> {
    let mut command = Command::new(&settings.program);
    command
        .arg0("postroom")
        .args(["picture-worker", "--memory"])
        .arg(settings.memory.to_string())
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == LIBRARIES))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", settings.program.display()))?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    let (to, from) = pipes.ok_or("it has no pipes")?;
    let (to, mut from) = (BufWriter::new(to), BufReader::new(from));
    let mut greeting = [0; GREETING.len()];
    match from.read_exact(&mut greeting) {
        Ok(()) if greeting == *GREETING => Ok(Pipes { to, from }),
        Ok(()) => Err(format!("{} is no picture worker", settings.program.display())),
        Err(error) => Err(format!("{}: {}", settings.program.display(), last_words(shared, &error))),
    }
}

struct Pipes {
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Pipes {
    fn exchange(&mut self, picture: &[u8], spec: &ThumbnailSpec) -> io::Result<Made> {
        ask(&mut self.to, picture, spec)?;
        answered(&mut self.from)
    }
}

/// Says how a child ended that no longer talks.
fn last_words(shared: &Mutex<Option<Child>>, error: &io::Error) -> String {
    end(shared).map_or_else(|| error.to_string(), |status| format!("{status}; {error}"))
}

/// Kills the child and waits for its end; `None` where there is none, or it ended before.
fn end(shared: &Mutex<Option<Child>>) -> Option<String> {
    let mut child = shared.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    // Where it has closed its pipes it is about to end by itself, and how it does is worth knowing.
    child.kill().unwrap_or_default();
    child.wait().ok().map(|status| status.to_string())
}

/// The one variable that a program may need to start at all.
const LIBRARIES: &str = "LD_LIBRARY_PATH";
