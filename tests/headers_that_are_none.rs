//! Is a message whose headers nobody can read still delivered, and counted?

use std::sync::Arc;

use selvedge::directory::Directory;
use selvedge::{ContentType, Event, Outgoing, Publisher, Subscriber, keys, publisher};
use tokio::sync::watch;

#[tokio::test]
async fn a_message_with_undecodable_headers_is_delivered_and_counted() {
    let key = keys::generate().unwrap();
    let text = format!(
        "format = 1\nfabric = \"test\"\n[services.web]\nendpoint = \"ipc://@headers-{}\"\n\
         key = \"{}\"\ntopics = [\"a.#\"]\n",
        std::process::id(),
        key.public()
    );
    let directory = Directory::from_text("endpoints.toml", &text).unwrap();
    let directory = watch::channel(Arc::new(directory)).1;
    let state = tempfile::tempdir().unwrap();
    let mut options = publisher::Options::new("web".parse().unwrap(), key);
    options.state = state.path().into();
    let publisher = Publisher::start(directory.clone(), options).unwrap();
    let mut subscriber = Subscriber::to(directory).connect().unwrap();
    publisher.listeners(&"a.b".parse().unwrap()).await;
    let message = Outgoing::raw("a.b", ContentType::TEXT, "good").unwrap();
    publisher.send(message.extension("no map").unwrap()).unwrap();
    let Some(Event::Message(message)) = subscriber.next().await else { panic!("no message") };
    assert_eq!(&message.body[..], b"good");
    assert!(message.headers().is_err());
    assert_eq!(subscriber.counters().snapshot()["bad_extensions"], 1);
}
