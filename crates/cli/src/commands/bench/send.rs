//! The side that sends, and reports.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use clap::value_parser;
use selvedge::{ContentType, Event, Outgoing, Publisher, Subscriber, Topic, wall};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::{ANSWERS, Answer, DATA, Ends, Heard, LISTENER, ORDERS, Order, SENDER, Service};
use super::{cpu_ns, monotonic_ns};
use crate::options::{self, Common};
use crate::output;

/// Largest body that can be measured.
pub const MOST_BYTES: usize = 1 << 20;

/// Bytes at the start of each body: when it was sent, by this host's monotonic clock.
const STAMP: usize = 8;

/// Between two orders, until they are answered.
const AGAIN: Duration = Duration::from_millis(100);

/// How long the last echoes, and the answer to the end, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message without a pace looks at the clock now and then.
const LOOK: u64 = 64;

/// Send to the other host, and report
///
/// Without --rate, as fast as the slower side goes. With it, the other side sends every message
/// back, and half of each round trip is reported as the delay: clocks need not agree then, but what
/// is slow in one direction only is shared by both.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
    /// Bytes of each body
    #[arg(long, value_name = "BYTES", default_value = "256")]
    #[arg(value_parser = value_parser!(u64).range(STAMP as u64..=MOST_BYTES as u64))]
    size: u64,
    /// How many topics, in turn
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = value_parser!(u64).range(1..=10_000))]
    topics: u64,
    /// How long to send
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = options::seconds)]
    seconds: Duration,
    /// How many to send, instead
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    #[arg(value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Messages a second, and measure their delay
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// How long the other side may take to answer
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = options::seconds)]
    wait: Duration,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    messages: u64,
    bytes: u64,
    topics: u64,
    rate: Option<u64>,
    /// Not heard, echoes included.
    lost: u64,
    seconds: f64,
    messages_per_second: f64,
    megabytes_per_second: f64,
    /// Of each process, for each message.
    sender_cpu_ns: f64,
    listener_cpu_ns: f64,
    delay: Option<Delay>,
}

/// Half of the round trip, in microseconds, that so many of the messages kept.
#[derive(Debug, Serialize)]
struct Delay {
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
}

pub async fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let Service { publisher, mut subscriber, _state } =
        Service::start(&args.ends, SENDER, LISTENER)?;
    let run = wall().0; // another one than those before
    let begin = Order::Begin { run, echo: args.rate.is_some() };
    let deadline = Instant::now() + args.wait;
    let Some(Answer::Ready { .. }) = ask(&publisher, &mut subscriber, begin, deadline).await?
    else {
        let Ends { listener, sender, .. } = &args.ends;
        bail!(
            "nobody answers at {listener}: run `selvedge bench listen {listener} {sender}` there, \
             with the same secret, and see that each host reaches the other's port"
        );
    };
    let before = cpu_ns();
    let sending = tokio::task::spawn_blocking({
        let (publisher, plan) = (publisher.clone(), Plan::new(args)?);
        move || plan.send_all(&publisher)
    });
    let (sent, trips) = match args.rate {
        Some(_) => echoes(sending, &mut subscriber).await?,
        None => (sending.await??, Vec::new()),
    };
    let deadline = Instant::now() + PATIENCE;
    let answer = ask(&publisher, &mut subscriber, Order::End { run }, deadline).await?;
    let cpu = cpu_ns() - before;
    let Some(Answer::Heard { heard, .. }) = answer else {
        bail!("the other side does not say what it heard within {} s", PATIENCE.as_secs());
    };
    let report = Report::new(args, sent, cpu, heard, trips);
    match common.json {
        true => output::line(&serde_json::to_string(&report)?)?,
        false => output::line(&report.text())?,
    }
    Ok(if report.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Says an order again and again until it is answered; none at the deadline.
async fn ask(
    publisher: &Publisher,
    subscriber: &mut Subscriber,
    order: Order,
    deadline: Instant,
) -> anyhow::Result<Option<Answer>> {
    let wanted = match order {
        Order::Begin { run, .. } | Order::End { run } => (run, matches!(order, Order::End { .. })),
    };
    while Instant::now() < deadline {
        publisher.send_when_ready(Outgoing::value(ORDERS, &order)?).await?;
        let again = deadline.min(Instant::now() + AGAIN);
        while let Ok(event) = timeout_at(again, subscriber.next()).await {
            let Some(Event::Message(message)) = event else { continue };
            if message.topic().as_str() != ANSWERS {
                continue; // an echo that came late
            }
            let answer = message.decode()?;
            let answers = match answer {
                Answer::Ready { run } => (run, false),
                Answer::Heard { run, .. } => (run, true),
            };
            if answers == wanted {
                return Ok(Some(answer));
            }
        }
    }
    Ok(None)
}

/// Takes echoes while messages are sent, until all are there; how many were sent, and the round
/// trips, in nanoseconds.
async fn echoes(
    sending: tokio::task::JoinHandle<anyhow::Result<u64>>,
    subscriber: &mut Subscriber,
) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut trips = Vec::new();
    let mut sending = std::pin::pin!(sending);
    let mut sent = None;
    while sent.is_none_or(|sent| (trips.len() as u64) < sent) {
        let late = Instant::now() + PATIENCE;
        tokio::select! {
            outcome = &mut sending, if sent.is_none() => sent = Some(outcome??),
            event = timeout_at(late, subscriber.next()) => match event {
                Ok(Some(Event::Message(message))) if message.topic().as_str() != ANSWERS => {
                    let stamp = message.body.first_chunk().copied().map(u64::from_le_bytes);
                    trips.push(monotonic_ns().saturating_sub(stamp.unwrap_or(0)));
                }
                Ok(Some(_)) => {} // what is lost is counted as missing
                Ok(None) | Err(_) => break,
            }
        }
    }
    match sent {
        Some(sent) => Ok((sent, trips)),
        None => Ok((sending.await??, trips)),
    }
}

/// What to send.
struct Plan {
    topics: Vec<Topic>,
    body: Vec<u8>,
    rate: Option<u64>,
    seconds: Duration,
    count: Option<u64>,
    runtime: Handle,
}

impl Plan {
    fn new(args: &Args) -> anyhow::Result<Plan> {
        let topics = (0..args.topics).map(|number| format!("{DATA}t{number}").parse());
        Ok(Plan {
            topics: topics.collect::<Result<_, _>>()?,
            body: vec![b'x'; args.size as usize],
            rate: args.rate,
            seconds: args.seconds,
            count: args.count,
            runtime: Handle::current(),
        })
    }

    /// Sends everything from this thread, as a service would; how many there were.
    fn send_all(mut self, publisher: &Publisher) -> anyhow::Result<u64> {
        let began = monotonic_ns();
        let mut number = 0;
        while self.goes_on(number, began) {
            if let Some(rate) = self.rate {
                let due = began + (number as f64 / rate as f64 * 1e9) as u64;
                thread::sleep(Duration::from_nanos(due.saturating_sub(monotonic_ns())));
                self.body[..STAMP].copy_from_slice(&monotonic_ns().to_le_bytes());
            }
            let topic = self.topics[(number % self.topics.len() as u64) as usize].clone();
            let message = Outgoing::raw(topic, ContentType::BYTES, self.body.clone())?;
            self.runtime.block_on(publisher.send_when_ready(message))?;
            number += 1;
        }
        Ok(number)
    }

    fn goes_on(&self, number: u64, began: u64) -> bool {
        match (self.count, self.rate) {
            (Some(count), _) => number < count,
            (None, Some(rate)) => (number as f64) < rate as f64 * self.seconds.as_secs_f64(),
            (None, None) => {
                let look = number.is_multiple_of(LOOK);
                !look || monotonic_ns() - began < self.seconds.as_nanos() as u64
            }
        }
    }
}

impl Report {
    fn new(args: &Args, sent: u64, cpu: u64, heard: Heard, mut trips: Vec<u64>) -> Report {
        let seconds = heard.wall_ns as f64 / 1e9;
        let rate = heard.messages as f64 / seconds.max(1e-9);
        let missing = sent.saturating_sub(heard.messages);
        let unanswered = args.rate.map_or(0, |_| sent.saturating_sub(trips.len() as u64));
        trips.sort_unstable();
        let at = |of: usize| trips.get(trips.len() * of / 1_000).map(|ns| *ns as f64 / 2e3);
        let delay = at(500).zip(at(990)).zip(at(999));
        Report {
            messages: sent,
            bytes: args.size,
            topics: args.topics,
            rate: args.rate,
            lost: missing.max(unanswered),
            seconds,
            messages_per_second: rate,
            megabytes_per_second: rate * args.size as f64 / 1e6,
            sender_cpu_ns: cpu as f64 / sent.max(1) as f64,
            listener_cpu_ns: heard.cpu_ns as f64 / heard.messages.max(1) as f64,
            delay: delay.map(|((p50_us, p99_us), p999_us)| Delay { p50_us, p99_us, p999_us }),
        }
    }

    fn text(&self) -> String {
        let Report { messages, bytes, topics, lost, seconds, sender_cpu_ns, .. } = self;
        let (rate, megabytes) = (self.messages_per_second, self.megabytes_per_second);
        let topics = if *topics == 1 { String::new() } else { format!(" on {topics} topics") };
        let mut text = format!(
            "{messages} messages of {bytes} B{topics} in {seconds:.1} s, {lost} lost\n\
             {rate:.0} messages/s, {megabytes:.1} MB/s\n\
             CPU a message: {sender_cpu_ns:.0} ns to send, {:.0} ns to hear",
            self.listener_cpu_ns
        );
        if let Some(Delay { p50_us, p99_us, p999_us }) = &self.delay {
            text += &format!(
                "\nhalf a round trip: p50 {p50_us:.0} us, p99 {p99_us:.0} us, p99.9 {p999_us:.0} us"
            );
        }
        text
    }
}
