//! The child: limits itself, then does one picture after the other until nobody asks any more.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};

use super::render::{Flaw, render};
use super::wire::{GREETING, answer, asked};
use crate::ports::{PictureFlaw, Thumbnails};

/// Reads pictures from standard input and answers on standard output, within `memory` bytes of address space.
///
/// # Errors
/// The limits cannot be set, or the parent is gone.
pub fn serve(memory: u64) -> io::Result<()> {
    let mut status = File::open("/proc/self/status").ok();
    limit(memory)?;
    // What a decoder says before it panics goes nowhere: the answer says it.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    to.write_all(GREETING)?;
    to.flush()?;
    while let Some((picture, spec)) = asked(&mut from)? {
        let made = catch_unwind(AssertUnwindSafe(|| render(&picture, &spec, memory)));
        let made = made.unwrap_or_else(|panic| Err(failed(panic.as_ref())));
        drop(picture);
        answer(
            &mut to,
            &made.map(|made| Thumbnails { peak_memory: status.as_mut().and_then(peak_memory), ..made }),
        )?;
    }
    Ok(())
}

/// Says what a decoder said when it gave up.
fn failed(panic: &(dyn Any + Send)) -> Flaw {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
    let said: String = said.chars().take(SAID).collect();
    Flaw::new(PictureFlaw::Broken, format!("the decoder failed on it: {said}"))
}

/// Leaves itself memory, processor time, and what is open: no file or connection is opened, no file grows, no process and
/// no core dump is made.
fn limit(memory: u64) -> io::Result<()> {
    for (resource, most) in [
        (Resource::As, memory),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, 0),
        (Resource::Nproc, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // A parent that is killed takes its children along, even one that is stopped.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Pictures are in no hurry. That it cannot be nicer is no reason to fail.
    nice(NICER).map(drop).unwrap_or_default();
    Ok(())
}

/// Returns the most memory that was resident so far, in bytes.
fn peak_memory(status: &mut File) -> Option<u64> {
    status.rewind().ok()?;
    let mut text = String::new();
    status.read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1_024)
}

const NICER: i32 = 5;

/// How much of a decoder's complaint is repeated, in characters.
const SAID: usize = 200;
