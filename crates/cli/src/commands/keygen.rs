//! `selvedge keygen`: a new private key, and the line that makes it known.

use std::path::PathBuf;
use std::process::ExitCode;

use selvedge::keys::{self, KeyFileError};

use crate::output;

/// Make a private key, and print the line for its entry in the directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it; never overwrites
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Keep a key that is there already, and print its line
    #[arg(long)]
    if_missing: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let new = keys::generate()?;
    let key = match keys::write_new(&args.out, &new) {
        Err(KeyFileError::Exists { .. }) if args.if_missing => keys::read(&args.out)?,
        written => written.map(|()| new)?,
    };
    output::line(&format!("key = \"{}\"", key.public()))?;
    Ok(ExitCode::SUCCESS)
}
