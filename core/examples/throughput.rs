//! Measures records per second through the processor, with handlers that do nothing.
//!
//! `cargo run --release -p postroom-core --example throughput`

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement")]

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Instant;

use postroom_core::{
    FetchEpoch, Generation, Input, KeyHash, Moment, Offset, Ordering, Output, Partition, Processor, Record,
    RunId, RunResult, Settings, Topic, TopicPartition,
};

fn main() {
    for (ordering, batch) in
        [(Ordering::Partition, 1), (Ordering::Partition, 500), (Ordering::Key, 1), (Ordering::Unordered, 1)]
    {
        let rate = measure(ordering, NonZeroUsize::new(batch).unwrap_or(NonZeroUsize::MIN));
        println!("{ordering:?} × {batch}: {rate:.0} records/s");
    }
}

fn measure(ordering: Ordering, batch: NonZeroUsize) -> f64 {
    let mut processor = Processor::new(Settings { ordering, batch, ..Settings::default() });
    for number in 0..PARTITIONS {
        let partition = TopicPartition::new(Topic::new("blog.comments"), Partition(number));
        let generation = Generation(u64::from(number.unsigned_abs()) + 1);
        let input = Input::Assigned { partition, generation, start: Some(Offset(0)), finished: Vec::new() };
        processor.handle(Moment::START, input);
    }
    let begun = Instant::now();
    let mut runs: VecDeque<RunId> = VecDeque::new();
    for round in 0..RECORDS / FETCH {
        let now = Moment::after_start(begun.elapsed());
        let turn = i64::from(PARTITIONS);
        let generation = Generation((round % turn).unsigned_abs() + 1);
        let first = round / turn * FETCH;
        let records = (first..first + FETCH).map(record).collect();
        processor.handle(now, Input::Records { generation, epoch: FetchEpoch::default(), records });
        loop {
            while let Some(output) = processor.poll_output() {
                if let Output::Dispatch(run) = output {
                    runs.push_back(run.id);
                }
            }
            let Some(run) = runs.pop_front() else { break };
            processor.handle(now, Input::Completed { run, result: RunResult::Done });
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    f64::from(i32::try_from(RECORDS).unwrap_or(i32::MAX)) / seconds
}

fn record(offset: i64) -> Record<u64> {
    let key = KeyHash(offset.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Record { offset: Offset(offset), key: Some(key), bytes: 200, payload: offset.unsigned_abs() }
}

const PARTITIONS: i32 = 12;
const FETCH: i64 = 500;
const RECORDS: i64 = 6_000_000;
