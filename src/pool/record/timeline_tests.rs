//! Tests of what a recorder merges, and of the file.

use super::*;
use crate::pool::record::task::TaskKind;
use crate::pool::record::trace_event::Ending;

fn task(name: &'static str, start_ns: u64, elapsed_ns: u64) -> Slice {
    Slice::new(name, TaskKind::Single, 7, start_ns, elapsed_ns, Ending::Returned)
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
    assert_eq!(
        (&found[0]["args"]["busy_us"], &found[0]["args"]["task_number"]),
        (&350.0.into(), &7.into())
    );
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

#[test]
fn a_time_that_a_worker_cannot_have_reported_leaves_time_for_later_tasks() {
    let path = std::env::temp_dir().join(format!("brigade-limit-{}.json", std::process::id()));
    let file = Arc::new(TraceFile::create(&path, "limit").unwrap());
    let mut timeline = Timeline::new(file, &[true], 1000);
    timeline.task(0, task("f", u64::MAX - 4, 700));
    let end_ns = timeline.tracks[0].end_ns;
    assert!(end_ns <= clock::now_ns() + AHEAD_NS, "{end_ns}");
    timeline.finish().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn events_are_passed_on_when_that_is_due_and_not_whenever_the_supervisor_runs() {
    let path = std::env::temp_dir().join(format!("brigade-due-{}.json", std::process::id()));
    let file = Arc::new(TraceFile::create(&path, "due").unwrap());
    let mut timeline = Timeline::new(file, &[true], 1000);
    timeline.task(0, task("f", 2000, 700));
    timeline.flush_at = Instant::now() + 1000 * FLUSH_INTERVAL;
    let due = timeline.flush_if_due();
    assert!(timeline.tracks[0].open.is_some(), "a task that follows may still be added");
    assert_eq!(due, timeline.flush_at);
    timeline.flush_at = Instant::now();
    assert!(timeline.flush_if_due() > due - 1000 * FLUSH_INTERVAL);
    assert!(timeline.tracks[0].open.is_none());
    timeline.finish().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_that_another_recording_writes_is_refused_and_kept() {
    let path = std::env::temp_dir().join(format!("brigade-locked-{}.json", std::process::id()));
    let first = TraceFile::create(&path, "first").unwrap();
    let error = TraceFile::create(&path, "second").unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("already"), "{error}");
    first.finish().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("pool first"));
    TraceFile::create(&path, "third").unwrap().finish().unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("pool third"));
    std::fs::remove_file(&path).unwrap();
}
