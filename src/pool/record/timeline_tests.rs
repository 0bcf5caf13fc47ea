//! Tests of what a recorder merges, and of the file.

use super::*;
use crate::pool::record::task::TaskKind;
use crate::pool::record::trace_event::Ending;
use crate::worker::call::TaskId;

fn task(name: &'static str, start_ns: u64, elapsed_ns: u64) -> Slice {
    let id = TaskId { index: 1, generation: 0 };
    Slice::new(name, TaskKind::Single, id, start_ns, elapsed_ns, Ending::Returned)
}

/// Records `tasks` of worker 0 from time 1 us on, and returns the events of the file.
fn events(name: &str, tasks: &[Slice]) -> Vec<serde_json::Value> {
    let path = std::env::temp_dir().join(format!("brigade-{name}-{}.json", std::process::id()));
    let file = Arc::new(TraceFile::create(&path, "a \"pool\"").unwrap());
    let mut timeline = Timeline::new(file, &[true], 1000);
    for task in tasks {
        timeline.task(0, task.clone());
    }
    let totals = timeline.finish().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((totals.tasks, totals.bytes), (tasks.len() as u64, text.len() as u64));
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().clone();
    assert_eq!(events[0]["args"]["name"], "pool a \"pool\"");
    assert_eq!(events[1]["args"]["name"], "worker 0");
    assert_eq!(events.len() as u64, totals.events + 1);
    events[2..].to_vec()
}

#[test]
fn short_tasks_of_one_function_that_follow_one_another_are_one_event() {
    let tasks: Vec<_> = (0..500).map(|n| task("f", 2000 + n * 1000, 700)).collect();
    let found = events("merged", &tasks);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["name"], &found[0]["args"]["tasks"]), (&"f".into(), &500.into()));
    assert_eq!(found[0]["args"]["busy_us"], 350.0);
    assert_eq!(found[0]["dur"], 499.7);
}

#[test]
fn an_event_of_short_tasks_has_a_greatest_length() {
    let tasks: Vec<_> = (0..2500).map(|n| task("f", 2000 + n * 1000, 700)).collect();
    assert_eq!(events("long", &tasks).len(), 3);
}

#[test]
fn long_tasks_failures_and_other_functions_have_events_of_their_own() {
    let failed = Slice { ending: Ending::Panicked, ..task("f", 3000, 700) };
    let tasks = [
        task("f", 2000, 700),
        failed,
        task("g", 4000, 700),
        task("g", 5000, 20_000),
        task("g", 26_000, 700),
    ];
    let found = events("apart", &tasks);
    let endings: Vec<_> = found.iter().map(|event| event["args"]["ending"].clone()).collect();
    assert_eq!(endings, ["returned", "panicked", "returned", "returned", "returned"]);
}

#[test]
fn time_without_a_task_is_an_idle_event() {
    let found = events("idle", &[task("f", 2000, 700), task("f", 50_000, 700)]);
    let names: Vec<_> = found.iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["f", "idle", "f"]);
    assert_eq!(found[1]["dur"], 47.3);
}

#[test]
fn times_that_a_worker_cannot_have_reported_stay_in_order() {
    let tasks = [task("f", 50_000, 700), task("g", 3, 5), task("h", u64::MAX - 4, 700)];
    let found = events("wrong", &tasks);
    let names: Vec<_> = found.iter().map(|event| event["name"].clone()).collect();
    assert_eq!(names, ["idle", "f", "g", "idle", "h"]);
    let day = 86_400e6;
    assert!(found.iter().all(|event| event["dur"].as_f64().unwrap() < 3650.0 * day), "{found:?}");
}
