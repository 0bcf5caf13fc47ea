//! Workers that are killed change nothing.

mod clips;

use std::collections::BTreeSet;
use std::io::{Read, Write};

use clips::{Clip, Random, collect, end, is_running, video, wait_for, workers_of};
use rustix::process::{Pid, Signal, kill_process};
use video::filter::Filter;

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Kills one of the program's workers, when there is one.
fn kill_a_worker(host: u32, random: &mut Random) {
    let mut workers = Vec::new();
    wait_for(host, || {
        workers = workers_of(host);
        !workers.is_empty()
    });
    let chosen = workers[usize::try_from(random.below(workers.len() as u64)).unwrap()];
    // It may end by itself in between.
    let _ = kill_process(pid(chosen), Signal::KILL);
}

/// The deaths that the summary counts.
fn deaths(summary: &str) -> u64 {
    let (_, rest) = summary.split_once("\"deaths\":").expect("a summary");
    rest.split(',').next().unwrap().parse().unwrap()
}

/// The decoder is always ahead, so the workers are nearly always busy when they are killed.
fn sweep(mode: &str, kills: u64) {
    let clip = Clip::new(320, 180, "420jpeg", 300);
    let expected = clip.filtered(&Filter::blur(8, 20.0)).stream();
    let mut arguments = vec!["-", "-", "--filter", "blur", "--sigma", "20", "--json"];
    arguments.extend(["--mode", mode, "--workers", "2", "--retries", "1000"]);
    let mut child = video(&arguments).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (host, stream, mut random) = (child.id(), clip.stream(), Random(7));
    let feeder = std::thread::spawn(move || stdin.write_all(&stream).unwrap());
    let mut found = vec![0; clip.bytes_of(0)];
    stdout.read_exact(&mut found).unwrap();
    let frame_bytes = clip.bytes_of(1) - clip.bytes_of(0);
    for _ in 0..kills {
        // Some frames, so that a worker is ready, and then a part of one.
        let more = 3 + usize::try_from(random.below(2)).unwrap();
        let start = found.len();
        found.resize(start + more * frame_bytes, 0);
        stdout.read_exact(&mut found[start..]).unwrap();
        (0..random.below(3_000_000)).for_each(|i| _ = std::hint::black_box(i));
        kill_a_worker(host, &mut random);
    }
    stdout.read_to_end(&mut found).unwrap();
    feeder.join().unwrap();
    let stderr = child.stderr.take().unwrap();
    let (status, text) = end(child, stderr);
    assert!(status.success(), "{mode}: {text}");
    assert!(found == expected, "{mode}: {text}");
    assert!(deaths(&text) >= kills / 2, "{mode}: {text}");
}

#[test]
fn workers_killed_at_random_moments_change_nothing_in_bands() {
    sweep("bands", 60);
}

#[test]
fn workers_killed_at_random_moments_change_nothing_in_frames() {
    sweep("frames", 60);
}

#[test]
fn without_retries_a_death_is_an_error_with_the_frame_and_all_frames_before_are_written() {
    for mode in ["bands", "frames"] {
        let clip = Clip::new(320, 180, "420jpeg", 1000);
        let expected = clip.filtered(&Filter::blur(8, 20.0));
        let mut arguments = vec!["-", "-", "--filter", "blur", "--sigma", "20"];
        arguments.extend(["--mode", mode, "--workers", "1", "--retries", "0"]);
        let mut child = video(&arguments).spawn().unwrap();
        let found = collect(child.stdout.take().unwrap());
        let (mut stdin, stream, host) = (child.stdin.take().unwrap(), clip.stream(), child.id());
        let feeder = std::thread::spawn(move || stdin.write_all(&stream));
        let killer = std::thread::spawn(move || {
            let (mut random, mut killed) = (Random(3), BTreeSet::new());
            // The only worker is nearly always busy; one kill may meet it between two frames.
            while is_running(host) {
                for worker in workers_of(host) {
                    (0..random.below(3_000_000)).for_each(|i| _ = std::hint::black_box(i));
                    let _ = kill_process(pid(worker), Signal::KILL);
                    killed.insert(worker);
                }
                if killed.len() > 100 {
                    let _ = kill_process(pid(host), Signal::KILL);
                    panic!("the program goes on after {} deaths", killed.len());
                }
            }
        });
        let stderr = child.stderr.take().unwrap();
        let (status, text) = end(child, stderr);
        killer.join().unwrap();
        // The feeder's write fails, or has ended before.
        let _ = feeder.join().unwrap();
        assert_eq!(status.code(), Some(1), "{mode}: {text}");
        let found = found.join().unwrap();
        let frames = (found.len() - clip.bytes_of(0)) / (clip.bytes_of(1) - clip.bytes_of(0));
        assert!(found == expected.stream()[..clip.bytes_of(frames)], "{mode}: {text}");
        assert!(text.contains(&format!("cannot filter frame {}: ", frames + 1)), "{mode}: {text}");
        assert!(text.contains("SIGKILL"), "{mode}: {text}");
    }
}
