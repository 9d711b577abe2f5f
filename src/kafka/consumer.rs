//! The poll thread of one group.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use postroom_core::Input;
use postroom_dequeue::Dequeue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;

use crate::kafka::client::Reach;
use crate::kafka::commands::Commits;
use crate::kafka::committer::Flushed;
use crate::kafka::context::{EdgeContext, EdgeCounters};
use crate::kafka::errors::{self, Verdict};
use crate::kafka::fetched::Fetched;
use crate::kafka::start;
use crate::ports::{EdgeError, EdgeEvent};

/// Polls until it is told to close or cannot go on; ends with `Stopped`.
pub(crate) fn run(consumer: BaseConsumer<EdgeContext>) {
    let context = Arc::clone(consumer.context());
    let result = match Dequeue::new(consumer, Arc::clone(&context.forward), ROUND) {
        Some(queue) => poll_and_close(queue, &context),
        None => Err(EdgeError::Client("the client gave no queue".to_owned())),
    };
    context.emit(EdgeEvent::Stopped(result));
}

fn poll_and_close(mut queue: Dequeue<EdgeContext>, context: &Arc<EdgeContext>) -> Result<(), EdgeError> {
    let started = context.committer.start(Arc::downgrade(queue.consumer()));
    let result = started
        .map_err(|error| EdgeError::Client(format!("no thread to commit on: {error}")))
        .and_then(|()| begin(queue.consumer(), context))
        .and_then(|()| poll_until_closed(&mut queue, context));
    let closed = close(queue, context, result.is_err());
    result.and(closed)
}

fn begin(consumer: &BaseConsumer<EdgeContext>, context: &EdgeContext) -> Result<(), EdgeError> {
    start::check(consumer, || {
        let commands = context.commands(Duration::ZERO);
        context.execute(consumer, commands, Commits::InBackground);
        context.state().closing.is_none() && !context.events.is_closed()
    })
    .or_else(|error| if context.state().closing.is_some() { Ok(()) } else { Err(error) })?;
    let topics: Vec<&str> = context.config.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| errors::of_request(&error))
}

fn poll_until_closed(queue: &mut Dequeue<EdgeContext>, context: &EdgeContext) -> Result<(), EdgeError> {
    let consumer = &Arc::clone(queue.consumer());
    let mut fetched = Fetched::new();
    let mut errors = Vec::new();
    let mut more = false;
    loop {
        let commands = context.commands(Duration::ZERO);
        context.execute(consumer, commands, Commits::InBackground);
        if let Some(error) = context.state().fatal.take() {
            return Err(error);
        }
        if context.state().closing.is_some() || context.events.is_closed() {
            return Ok(());
        }
        wait_for_the_driver(consumer, context);
        serve(queue, context, &mut fetched)?;
        if context.is_behind() {
            // Nothing more is taken; the group hears that we are well.
            queue.touch();
        } else if !more {
            // Directly after commands and events: what comes from here on ends the wait.
            let patience = if context.seek_pending(consumer) { SHORT_POLL } else { LONG_POLL };
            queue.wait(patience, |message| fetched.take_or(context, message, &mut errors));
        }
        if !context.is_behind() {
            more = queue.take(|message| fetched.take_or(context, message, &mut errors)) == ROUND;
        }
        EdgeCounters::add(&context.counters.polls);
        if more {
            fetched.flush_old(context);
        } else {
            fetched.flush(context);
        }
        for failed in errors.drain(..) {
            fetched.flush(context);
            react(consumer, context, &failed.error, failed.partition.as_ref())?;
            if let (Some((topic, partition)), Some(offset)) = (&failed.partition, failed.offset)
                && matches!(errors::of_poll(&failed.error), Verdict::Wait)
            {
                // So that what is expected is up to date.
                context.changed();
                fetched.flush(context);
                context.read_again(topic, *partition, offset);
            }
        }
        context.go_on_stalled(queue, &mut fetched)?;
        answer_verified(context);
    }
}

/// Serves rebalances and what the client says of itself. No record comes this way.
fn serve(
    queue: &Dequeue<EdgeContext>,
    context: &EdgeContext,
    fetched: &mut Fetched,
) -> Result<(), EdgeError> {
    let consumer = queue.consumer();
    while queue.has_events() {
        // What was copied goes before what the event may change.
        fetched.flush(context);
        match consumer.poll(Duration::ZERO) {
            Some(Ok(record)) => {
                let (partition, offset) = (record.partition(), record.offset());
                return Err(EdgeError::Client(format!(
                    "record {offset} of {} [{partition}] came beside its queue",
                    record.topic()
                )));
            }
            Some(Err(error)) => react(consumer, context, &error, None)?,
            // A rebalance, or a message of the client.
            None => {}
        }
    }
    Ok(())
}

fn react(
    consumer: &BaseConsumer<EdgeContext>,
    context: &EdgeContext,
    error: &KafkaError,
    partition: Option<&(Box<str>, i32)>,
) -> Result<(), EdgeError> {
    match errors::of_poll(error) {
        Verdict::Wait => {
            if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
                context.log.reached(Reach::None);
            }
            if let Some(suppressed) = context.log.may_log() {
                tracing::warn!(group = context.config.group, %error, suppressed, "kafka is not well: polling goes on");
            }
            Ok(())
        }
        Verdict::Rejoin => {
            EdgeCounters::add(&context.counters.polls_exceeded);
            tracing::warn!(
                group = context.config.group,
                "the poll interval was exceeded: joining the group again"
            );
            Ok(())
        }
        Verdict::Stall => {
            context.stalled(partition);
            Ok(())
        }
        Verdict::Stop(EdgeError::Client(reason)) => {
            let detail = consumer.client().fatal_error().map_or(reason, |(_, text)| text);
            Err(EdgeError::Client(detail))
        }
        Verdict::Stop(EdgeError::NotAuthorised(why)) => Err(context.refused(why)),
        Verdict::Stop(error) => Err(error),
    }
}

/// Holds records back while the driver is behind, for a second at most: events are to be served, and the group is to hear of us.
/// Commands are served meanwhile.
fn wait_for_the_driver(consumer: &BaseConsumer<EdgeContext>, context: &EdgeContext) {
    let begun = Instant::now();
    while context.is_behind() {
        let commands = context.commands(SHORT_POLL);
        context.execute(consumer, commands, Commits::InBackground);
        let stop = context.state().closing.is_some();
        if stop || begun.elapsed() >= Duration::from_secs(1) || context.events.is_closed() {
            return;
        }
    }
}

/// Answers doubts about assignments that have outlived a poll and a heartbeat.
fn answer_verified(context: &EdgeContext) {
    let mut state = context.state();
    if state.verifying.is_empty() {
        return;
    }
    let now = Instant::now();
    let (due, later) = state.verifying.drain(..).partition(|(_, at)| *at <= now);
    state.verifying = later;
    let due: Vec<_> = due;
    for (generation, _) in due {
        if state.assignment.of_generation(generation).is_some() {
            context.tell(Input::Verified { generation });
        }
    }
}

/// Leaves the group. The client can hang for ever while it is dropped, so that is done by a thread of its
/// own, which is left behind at the deadline.
fn close(queue: Dequeue<EdgeContext>, context: &Arc<EdgeContext>, failed: bool) -> Result<(), EdgeError> {
    let deadline = match context.state().closing {
        Some(deadline) => context.instant(deadline),
        None => Instant::now() + CLOSE_PATIENCE,
    };
    let (done, closed) = mpsc::channel();
    let of_closer = Arc::clone(context);
    let closer = thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
        if !failed {
            let last = of_closer.commands(Duration::ZERO);
            of_closer.execute(queue.consumer(), last, Commits::InBackground);
            let begun = Instant::now();
            let patience = deadline.saturating_duration_since(begun) / 2;
            if of_closer.committer.flush(begun + patience) == Flushed::Unanswered {
                tracing::warn!(
                    group = of_closer.config.group,
                    "the last commits were not answered: what they cover is processed again"
                );
            }
        }
        of_closer.committer.end();
        of_closer.state().closed = true;
        leave(queue, &of_closer);
        if done.send(()).is_err() {
            tracing::debug!("the client closed after its deadline");
        }
    });
    if let Err(error) = closer {
        return Err(EdgeError::Client(format!("no thread to close on: {error}")));
    }
    let patience = deadline.saturating_duration_since(Instant::now());
    closed.recv_timeout(patience).map_err(|_| EdgeError::CloseTimedOut)
}

/// Drops the queue and with it the client, which takes leave of the group. A commit that hangs holds the client: it is waited for.
fn leave(queue: Dequeue<EdgeContext>, context: &EdgeContext) {
    while Arc::strong_count(queue.consumer()) > 1 {
        if context.log.is_away() {
            // Without a broker there is nobody to take leave of.
            return;
        }
        drop(queue.consumer().poll(LONG_POLL));
    }
    // Not closed before: the client closes itself when it is dropped, and complains where that was done already.
    drop(queue);
}

/// How many records are taken before the commands are looked at.
const ROUND: usize = 512;
const LONG_POLL: Duration = Duration::from_millis(50);
const SHORT_POLL: Duration = Duration::from_millis(5);
/// How long a close without a deadline may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
