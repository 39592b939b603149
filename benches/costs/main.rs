//! What does it cost to be there? An idle publisher, a subscriber with a thousand of them, one more
//! subscriber of a busy one, and one changed entry in a large directory.

use std::io::{Write as _, stdout};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use serde::Serialize;

mod directory;
mod fan_out;
mod process;
mod subscriber;

/// Measures what idle parts and one more of something cost.
#[derive(Parser)]
struct Arguments {
    /// One JSON value, instead of text.
    #[arg(long)]
    json: bool,
    /// Less of everything: whether it works, in seconds.
    #[arg(long)]
    smoke: bool,
    /// What a process started by this one has to do.
    #[arg(long, hide = true)]
    task: Option<process::Task>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The result.
#[derive(Serialize)]
struct Report {
    publisher: subscriber::IdlePublisher,
    subscriber: subscriber::IdleSubscriber,
    fan_out: fan_out::FanOut,
    directory: directory::Change,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(task) = arguments.task {
        return process::perform(task).map(|()| ExitCode::SUCCESS);
    }
    let smoke = arguments.smoke;
    let report = Report {
        publisher: subscriber::idle_publisher(if smoke { 1 } else { 25 })?,
        subscriber: subscriber::idle_subscriber(if smoke { (50, 1) } else { (1_000, 25) })?,
        fan_out: fan_out::measure()?,
        directory: directory::measure(if smoke { 500 } else { 10_000 })?,
    };
    match arguments.json {
        true => writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?,
        false => print(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) -> Result<()> {
    let Report { publisher, subscriber, fan_out, directory } = report;
    let mut out = stdout();
    let (seconds, mib) = (publisher.seconds, publisher.resident_mib);
    let wakes = publisher.wake_ups;
    writeln!(out, "an idle publisher: {mib:.1} MiB resident, {wakes} wake-ups in {seconds} s")?;
    let (links, kib) = (subscriber.publishers, subscriber.kib_per_link);
    let (percent, seconds) = (subscriber.cpu_percent, subscriber.seconds);
    writeln!(
        out,
        "a subscriber of {links} idle publishers: {kib:.1} KiB a link, {percent:.2} % of a core \
         over {seconds} s"
    )?;
    let fan_out::FanOut { peers, writes, allocated, allocated_more } = fan_out;
    writeln!(
        out,
        "a commit of 512 messages to {peers} peers: {writes} writes, {allocated} B allocated; \
         {allocated_more} B more for one more peer"
    )?;
    let directory::Change { services, read_ms, applied_ms, links_lost } = directory;
    writeln!(
        out,
        "one of {services} services changed: read in {read_ms:.0} ms, connected to in \
         {applied_ms:.0} ms, {links_lost} other links touched"
    )?;
    Ok(())
}
