//! The side that counts, and answers.

use std::process::ExitCode;

use selvedge::{ContentType, Event, Message, Outgoing};
use tokio_util::sync::CancellationToken;

use super::{ANSWERS, Answer, DATA, ECHOES, Ends, Heard, LISTENER, Order, SENDER, Service};
use super::{cpu_ns, monotonic_ns};
use crate::options::Common;
use crate::{output, signals};

/// Count what the other host sends, run after run, until ended by a signal
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ends: Ends,
}

/// A run that has begun.
#[derive(Debug, Default)]
struct Counting {
    run: u64,
    echo: bool,
    heard: Heard,
    /// When its first message came, by either clock.
    began: Option<(u64, u64)>,
    /// Its end has come.
    over: bool,
}

pub async fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let shutdown = signals::shutdown()?;
    let mut service = Service::start(&args.ends, LISTENER, SENDER)?;
    output::aside(&format!("listening at {}\n", args.ends.listener));
    let mut counting = Counting::default();
    while let Some(event) = next(&mut service, &shutdown).await {
        match event {
            Event::Message(message) if message.topic().as_str().starts_with(DATA) => {
                counting.count();
                if counting.echo {
                    let body = message.body.clone();
                    let echo = Outgoing::raw(ECHOES, ContentType::BYTES, body)?;
                    service.publisher.send_when_ready(echo).await?;
                }
            }
            Event::Message(message) => obey(&service, &mut counting, &message, common).await?,
            Event::Lost(lost) => counting.heard.lost += lost.to.seq.saturating_sub(lost.from.seq),
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn next(service: &mut Service, shutdown: &CancellationToken) -> Option<Event> {
    tokio::select! {
        event = service.subscriber.next() => event,
        () = shutdown.cancelled() => None,
    }
}

async fn obey(
    service: &Service,
    counting: &mut Counting,
    message: &Message,
    common: &Common,
) -> anyhow::Result<()> {
    let answer = match message.decode()? {
        Order::Begin { run, echo } => {
            if counting.run != run {
                *counting = Counting { run, echo, ..Counting::default() };
            }
            Answer::Ready { run }
        }
        Order::End { run } if run == counting.run => {
            let heard = counting.end();
            if !std::mem::replace(&mut counting.over, true) {
                report(&heard, common)?;
            }
            Answer::Heard { run, heard }
        }
        Order::End { .. } => return Ok(()), // of a run that another process began
    };
    service.publisher.send_when_ready(Outgoing::value(ANSWERS, &answer)?).await?;
    Ok(())
}

fn report(heard: &Heard, common: &Common) -> anyhow::Result<()> {
    if common.json {
        return output::line(&serde_json::to_string(heard)?);
    }
    let Heard { messages, lost, wall_ns, cpu_ns } = heard;
    let (seconds, each) = (*wall_ns as f64 / 1e9, *cpu_ns as f64 / (*messages).max(1) as f64);
    output::line(&format!(
        "{messages} messages in {seconds:.1} s, {lost} lost, {each:.0} ns CPU a message"
    ))
}

impl Counting {
    fn count(&mut self) {
        if self.began.is_none() {
            self.began = Some((monotonic_ns(), cpu_ns()));
        }
        self.heard.messages += 1;
    }

    /// The end has come, after everything that was said before it.
    fn end(&mut self) -> Heard {
        if let Some((wall, cpu)) = self.began.filter(|_| !self.over) {
            self.heard.wall_ns = monotonic_ns() - wall;
            self.heard.cpu_ns = cpu_ns() - cpu;
        }
        self.heard
    }
}
