//! `selvedge pubkey`: the public half of a key file.

use std::path::PathBuf;
use std::process::ExitCode;

use selvedge::keys;

use crate::output;

/// Print the line for a private key's entry in the directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let key = keys::read(&args.file)?;
    output::line(&format!("key = \"{}\"", key.public()))?;
    Ok(ExitCode::SUCCESS)
}
