use postroom_core::*;
#[test]
fn ten_records_are_dispatched_and_committed() {
    let mut p: Processor<i64> = Processor::new(Settings {
        ordering: Ordering::Partition,
        batch: 4.try_into().unwrap(),
        ..Settings::default()
    });
    let tp = TopicPartition::new(Topic::new("t"), Partition(0));
    let g = Generation(1);
    let mut now = Moment::START;
    p.handle(now, Input::Assigned { partition: tp, generation: g, start: Some(Offset(0)), finished: vec![] });
    let records = (0..10).map(|n| Record { offset: Offset(n), key: None, bytes: 1, payload: n }).collect();
    p.handle(now, Input::Records { generation: g, epoch: FetchEpoch::default(), records });
    let mut seen = vec![];
    let mut committed = None;
    loop {
        while let Some(o) = p.poll_output() {
            match o {
                Output::Dispatch(run) => {
                    seen.extend(run.records.iter().map(|r| r.1));
                    p.handle(now, Input::Completed { run: run.id, result: RunResult::Done });
                }
                Output::Commit { next, .. } => committed = Some(next),
                _ => {}
            }
        }
        match p.next_deadline() {
            Some(at) => {
                now = at;
                p.handle(now, Input::Tick)
            }
            None => break,
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_eq!(committed, Some(Offset(10)));
}
