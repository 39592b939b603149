//! Each message has its effect exactly once: the place in each stream is kept in the same database
//! transaction as the effect, and the subscriber goes on from there.
//!
//!     cargo run -p selvedge-tests --example sqlite -- logins.db 'org.example.#'

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Result, params};
use selvedge::{Event, KeyId, Message, Position, Start, Subscriber, directory};

/// What is counted, and how far each stream has come.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS counts (topic TEXT PRIMARY KEY, messages INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS places (key TEXT PRIMARY KEY, epoch TEXT, seq TEXT);
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(database), Some(pattern)) = (args.next(), args.next()) else {
        return Err("give a database and a pattern".into());
    };
    let watched = directory::watch("/etc/selvedge/endpoints.toml".as_ref(), None)?;
    let mut database = open(database.as_ref())?;
    let mut events = Subscriber::to(watched.directory.clone())
        .pattern(pattern.parse()?)
        .start(Start::Oldest) // for streams without a place
        .resume(places(&database)?)
        .connect()?;
    while let Some(event) = events.next().await {
        handle(&mut database, &event)?;
    }
    Ok(())
}

/// Opens the database, and makes it if need be.
pub fn open(path: &Path) -> Result<Connection> {
    let database = Connection::open(path)?;
    database.execute_batch(TABLES)?;
    Ok(database)
}

/// Where each stream goes on.
pub fn places(database: &Connection) -> Result<BTreeMap<KeyId, Position>> {
    let mut rows = database.prepare("SELECT key, epoch, seq FROM places")?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let place = |(key, epoch, seq): (String, String, String)| {
        let at = Position::new(epoch.parse().ok()?, seq.parse().ok()?);
        Some((key.parse().ok()?, at))
    };
    rows.filter_map(|row| row.map(place).transpose()).collect()
}

/// The effect of an event and its place, both or neither.
pub fn handle(database: &mut Connection, event: &Event) -> Result<()> {
    let transaction = database.transaction()?;
    let (key, next) = match event {
        Event::Message(message) => {
            count(&transaction, message)?;
            (message.key, message.position.after())
        }
        Event::Lost(lost) => {
            eprintln!("{} to {} of {} are lost", lost.from, lost.to, lost.publisher);
            (lost.key, lost.to)
        }
    };
    // SQLite's integers have a sign: what does not fit is kept as text.
    transaction.execute(
        "INSERT OR REPLACE INTO places VALUES (?1, ?2, ?3)",
        params![key.to_string(), next.epoch.to_string(), next.seq.to_string()],
    )?;
    transaction.commit()
}

/// The effect of a message.
pub fn count(database: &Connection, message: &Message) -> Result<()> {
    let count = "INSERT INTO counts VALUES (?1, 1)
                 ON CONFLICT (topic) DO UPDATE SET messages = messages + 1";
    database.execute(count, [message.topic().as_str()])?;
    Ok(())
}
