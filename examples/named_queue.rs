//! Two unrelated programs, a queue of orders and a locked tally.

mod support;

use std::process::{Command, ExitCode};
use std::time::Duration;

use brigade::shared::Lock;
use brigade::{Error, Queue};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
named_queue: programs that share a queue and a lock by their names

  --name NAME         begin of their names [brigade-example-PID]
  --orders N          how many orders the kitchen waits for [1000]
  --waiter NAME       be a waiter: put the orders of one table
  --table N           which table [1]
  --json              print one line of JSON

Without --waiter it is the kitchen, starts two waiters, and takes their orders. In another terminal:
`brigade ls` shows both names, `brigade inspect NAME` who uses them.";

/// An order: its table, and its number at that table.
type Order = (u32, u32);

/// A bound on each wait, so that a mistake ends the example.
const LONG: Duration = Duration::from_secs(60);

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    name: &'a str,
    orders: u32,
    tally: [u64; 2],
}

fn main() -> ExitCode {
    run(USAGE, |arguments| match arguments.text("waiter") {
        Some(name) => wait_at_table(name, &arguments),
        None => cook(&arguments),
    })
}

/// The kitchen: creates the queue and the tally, and takes orders from programs that open them.
fn cook(arguments: &Arguments) -> Result<(), Stop> {
    let own = format!("brigade-example-{}", std::process::id());
    let name = arguments.text("name").unwrap_or(&own);
    let orders = arguments.number("orders", 2u32)?.unwrap_or(1000);
    let queue = Queue::<Order>::create(&format!("{name}-orders"), 16)?;
    let tally = Lock::create(&format!("{name}-tally"), [0u64; 2])?;

    let program = std::env::current_exe().map_err(Stop::usage)?;
    let each = orders / 2;
    let waiter = |table: u32| {
        let (table, each) = (table.to_string(), each.to_string());
        let words = ["--waiter", name, "--table", &table, "--orders", &each];
        let json = arguments.has("json").then_some("--json");
        Command::new(&program).args(words).args(json).spawn().map_err(Stop::usage)
    };
    let mut waiters = [waiter(1)?, waiter(2)?];
    let mut next = [0, 0];
    for _ in 0..2 * each {
        let (table, number) = queue.get_timeout(LONG)?;
        let index = if table == 1 { 0 } else { 1 };
        assert_eq!(number, next[index], "orders of a table come in its order");
        next[index] += 1;
    }
    for waiter in &mut waiters {
        assert!(waiter.wait().map_err(Stop::usage)?.success());
    }
    let guard = tally.lock().map_err(|error| Stop::usage(format!("{error:?}")))?;
    let taken = *guard;
    arguments.say(format_args!("{} orders taken; the waiters say {taken:?}", 2 * each));
    assert_eq!(taken, [u64::from(each); 2]);
    drop(guard);
    let gone = queue.name().map(str::to_owned).unwrap_or_default();
    drop((queue, tally));
    assert!(matches!(Queue::<Order>::open(&gone), Err(Error::NotFound { .. })));
    arguments.say("the names went with the last who had them");
    if arguments.has("json") {
        return report::json(&Line { op: "named_queue", name, orders: 2 * each, tally: taken });
    }
    Ok(())
}

/// A waiter: it knows only the name.
fn wait_at_table(name: &str, arguments: &Arguments) -> Result<(), Stop> {
    let table = arguments.number("table", 1u32)?.unwrap_or(1);
    let orders = arguments.number("orders", 1u32)?.unwrap_or(1000);
    let queue = Queue::<Order>::open(&format!("{name}-orders"))?;
    let tally = Lock::<[u64; 2]>::open(&format!("{name}-tally"))?;
    for number in 0..orders {
        queue.put_timeout((table, number), LONG).map_err(Error::from)?;
        let mut said = tally.lock().map_err(|error| Stop::usage(format!("{error:?}")))?;
        said[if table == 1 { 0 } else { 1 }] += 1;
    }
    let pid = std::process::id();
    arguments.say(format_args!("waiter of table {table}, process {pid}: {orders} orders"));
    Ok(())
}
