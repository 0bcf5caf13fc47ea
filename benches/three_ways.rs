//! How fast are processes, threads and async tasks at one job?

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use brigade::Pool;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

#[allow(dead_code, reason = "shared with the examples")]
#[path = "../examples/support/arguments.rs"]
mod arguments;
use arguments::{Arguments, Stop, run};

const USAGE: &str = "\
three_ways: one job by worker processes, by threads, and by async tasks

  --workers N         processes, or threads, of each way [2]
  --repeat N          rounds, of which the median counts [7]
  --csv               print CSV instead of a table
  --crash WAY         run the job with a crash in it: processes, threads or async

The job is 200 tasks. `compute` is 1 ms of arithmetic; `ask` asks a server that answers after 10 ms;
`ask, compute` does both, one after the other. `empty` is 100000 tasks that do nothing.";

/// The tasks of a job, and those of the job of empty tasks.
const TASKS: u64 = 200;
const EMPTY_TASKS: u64 = 100_000;
/// Steps of arithmetic that take about a millisecond.
const STEPS: u32 = 400_000;
/// How long the server thinks about each question.
const ANSWER: Duration = Duration::from_millis(10);
/// The task that aborts, in the job with a crash.
const CRASHES: u64 = 100;

type Failure = Box<dyn Error + Send + Sync>;

/// What each task of a job does.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Job {
    /// The port of the server to ask first.
    asks: Option<u16>,
    computes: bool,
    /// Whether the task with number `CRASHES` aborts.
    crashes: bool,
}

/// Arithmetic that cannot be shortened: each step needs the one before.
fn compute(seed: u64) -> u64 {
    (0..STEPS).fold(seed, |x, _| (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
}

fn abort_if(job: Job, number: u64) {
    if job.crashes && number == CRASHES {
        std::process::abort();
    }
}

/// A task, as processes and threads run it. Returns a number that all ways must agree on.
fn task((job, number): (Job, u64)) -> u64 {
    abort_if(job, number);
    let answer = job.asks.map_or(Ok(0), ask).expect("the server runs in this machine");
    if job.computes { compute(number + answer) } else { answer }
}

fn ask(port: u16) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.write_all(&[1])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(u64::from(answer[0]))
}

/// The same task, as an async runtime runs it.
async fn async_task(job: Job, number: u64) -> u64 {
    abort_if(job, number);
    let answer = match job.asks {
        Some(port) => async_ask(port).await.expect("the server runs in this machine"),
        None => 0,
    };
    if job.computes { compute(number + answer) } else { answer }
}

async fn async_ask(port: u16) -> std::io::Result<u64> {
    let mut stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(&[1]).await?;
    Ok(u64::from(stream.read_u8().await?))
}

/// Starts a server that answers each question after a while; returns its port.
fn serve() -> Result<u16, Failure> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> Result<(), Failure> {
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            // Room for all at once: a connection that finds none is tried again after a second.
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            let listener = socket.listen(1024)?;
            send.send(listener.local_addr()?.port())?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                tokio::spawn(async move {
                    let question = stream.read_u8().await?;
                    tokio::time::sleep(ANSWER).await;
                    stream.write_u8(question).await
                });
            }
        })
    });
    Ok(receive.recv()?)
}

/// A way to run jobs.
enum Way {
    Processes(Pool),
    Threads(rayon::ThreadPool),
    ThreadPerTask,
    Async(Runtime),
}

const WAYS: [&str; 5] = ["processes", "processes-64", "threads", "thread-per-task", "async"];

impl Way {
    fn new(name: &str, workers: usize) -> Result<Way, Failure> {
        Ok(match name {
            "processes" => Way::Processes(Pool::builder().workers(workers).build()?),
            "processes-64" => Way::Processes(Pool::builder().workers(64).build()?),
            "threads" => {
                Way::Threads(rayon::ThreadPoolBuilder::new().num_threads(workers).build()?)
            }
            "thread-per-task" => Way::ThreadPerTask,
            "async" => Way::Async(
                Builder::new_multi_thread().worker_threads(workers).enable_all().build()?,
            ),
            _ => return Err(format!("{name:?} is none of {}", WAYS.join(", ")).into()),
        })
    }

    /// The results of all tasks that returned one, added up, and how many did.
    fn run(&self, job: Job, tasks: u64) -> Result<(u64, u64), Failure> {
        let results: Vec<u64> = match self {
            // Empty tasks go in batches, as rayon runs them.
            Way::Processes(pool) if tasks == EMPTY_TASKS => {
                pool.map((0..tasks).map(|number| (job, number)), task)?.collect()
            }
            Way::Processes(pool) => {
                let handles = (0..tasks).map(|number| pool.submit(task, (job, number)));
                let handles = handles.collect::<Result<Vec<_>, _>>()?;
                handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
            }
            Way::Threads(pool) => pool.install(|| {
                let numbers: Vec<u64> = (0..tasks).collect();
                numbers.into_par_iter().with_max_len(1).map(|n| task((job, n))).collect()
            }),
            Way::ThreadPerTask => std::thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..tasks).map(|number| scope.spawn(move || task((job, number)))).collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
            }),
            Way::Async(runtime) => runtime.block_on(async {
                let tasks: Vec<_> =
                    (0..tasks).map(|number| tokio::spawn(async_task(job, number))).collect();
                let mut results = Vec::with_capacity(tasks.len());
                for task in tasks {
                    results.extend(task.await.ok());
                }
                results
            }),
        };
        let sum = results.iter().fold(0u64, |sum, result| sum.wrapping_add(*result));
        Ok((sum, results.len() as u64))
    }
}

fn main() -> ExitCode {
    run(USAGE, |arguments| {
        let failed = |error: Failure| Stop::Failure(error.to_string());
        let workers = arguments.number("workers", 1)?.unwrap_or(2);
        let repeat = arguments.number("repeat", 1)?.unwrap_or(7);
        match arguments.has("crash") {
            true => {
                let name = arguments.choice("crash", &["processes", "threads", "async"])?;
                crash(name, workers).map_err(failed)
            }
            false => compare(&arguments, workers, repeat).map_err(failed),
        }
    })
}

/// Runs a job with a task that aborts, in this process: it may end here.
fn crash(name: &str, workers: usize) -> Result<(), Failure> {
    let job = Job { asks: None, computes: true, crashes: true };
    let (_, results) = Way::new(name, workers)?.run(job, TASKS)?;
    println!("{results}");
    Ok(())
}

/// Measures each job by each way, in rotation, and prints the table.
fn compare(arguments: &Arguments, workers: usize, repeat: usize) -> Result<(), Failure> {
    let is_csv = arguments.has("csv");
    let port = Some(serve()?);
    let job = |asks, computes| Job { asks, computes, crashes: false };
    let jobs = [
        ("compute", job(None, true), TASKS, &WAYS[..]),
        ("ask", job(port, false), TASKS, &WAYS[..]),
        ("ask, compute", job(port, true), TASKS, &WAYS[..]),
        ("empty", job(None, false), EMPTY_TASKS, &["processes", "threads", "async"][..]),
    ];
    match is_csv {
        true => println!("job,way,workers,median_ms,lowest_ms,highest_ms"),
        false => println!("{:<14}{:<18}{:>12}{:>12}{:>12}", "job", "way", "ms", "least", "most"),
    }
    for (name, job, tasks, ways) in jobs {
        let mut times = vec![Vec::with_capacity(repeat); ways.len()];
        let mut expected = None;
        for _ in 0..repeat {
            for (way, times) in ways.iter().zip(&mut times) {
                let way = Way::new(way, workers)?;
                // Workers and threads are started, and their code is loaded.
                way.run(job, tasks)?;
                let since = Instant::now();
                let found = way.run(job, tasks)?;
                times.push(1e3 * since.elapsed().as_secs_f64());
                assert_eq!(*expected.get_or_insert(found), found, "{name}: the ways disagree");
            }
        }
        for (way, times) in ways.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let (least, median, most) = (times[0], times[repeat / 2], times[repeat - 1]);
            let name = if is_csv { name.replace(", ", "-") } else { name.to_owned() };
            match is_csv {
                true => println!("{name},{way},{workers},{median:.3},{least:.3},{most:.3}"),
                false => println!("{name:<14}{way:<18}{median:>12.1}{least:>12.1}{most:>12.1}"),
            }
        }
    }
    if !is_csv {
        println!();
        for way in ["processes", "threads", "async"] {
            println!("{way}: {}", after_a_crash(way, workers)?);
        }
    }
    Ok(())
}

/// What is left of a job, one of whose tasks aborts.
fn after_a_crash(way: &str, workers: usize) -> Result<String, Failure> {
    let workers = workers.to_string();
    let words = ["--crash", way, "--workers", &workers];
    let output = Command::new(std::env::current_exe()?).args(words).output()?;
    let results = String::from_utf8(output.stdout)?;
    let results = results.trim().parse().unwrap_or(0u64);
    Ok(format!("one task aborts: {results} of {TASKS} results, {}", ending(output.status)))
}

fn ending(status: ExitStatus) -> String {
    if status.success() { "the program goes on".to_owned() } else { format!("ended by {status}") }
}
