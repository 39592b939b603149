//! `selvedge`: one binary to operate a fabric. It parses, calls and prints.
//!
//! Exit codes: 0 good; 1 a finding or failure, its reason on standard error; 2 wrong usage.

mod commands;
mod demo;
mod logging;
mod notices;
mod options;
mod output;
mod signals;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{
    bench, bridge, check, dead, journal, keygen, pubkey, publish, record, relay, replay, tail,
};
use options::Common;

/// A brokerless pub/sub fabric: signed messages, a shared directory, no broker.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Keygen(keygen::Args),
    Pubkey(pubkey::Args),
    Check(check::Args),
    Publish(publish::Args),
    Tail(tail::Args),
    Replay(replay::Args),
    Record(record::Args),
    Journal(journal::Args),
    Relay(relay::Args),
    Bridge(bridge::Args),
    Dead(dead::Args),
    Bench(bench::Args),
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let outcome = match &command {
        Command::Keygen(args) => keygen::run(args),
        Command::Pubkey(args) => pubkey::run(args),
        Command::Check(args) => check::run(args, &common),
        Command::Publish(args) => publish::run(args, &common),
        Command::Tail(args) => tail::run(args, &common),
        Command::Replay(args) => replay::run(args, &common),
        Command::Record(args) => record::run(args, &common),
        Command::Journal(args) => journal::run(args, &common),
        Command::Relay(args) => relay::run(args, &common),
        Command::Bridge(args) => bridge::run(args, &common),
        Command::Dead(args) => dead::run(args, &common),
        Command::Bench(args) => bench::run(args, &common),
        Command::Demo(args) => demo::run(args, &common),
    };
    match outcome {
        Ok(code) => code,
        // Whoever reads has enough, as `| head` does.
        Err(error) if error.is::<output::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            output::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
