//! Does a subscriber find its publisher again, wherever and however it comes back, and learn
//! whether anything was lost?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::net::{Ipv6Addr, SocketAddr};

use fabric::{Fabric, Hearing, LIMIT, Port, heard, quoted, say, soon, until};
use raw::Raw;
use selvedge::publisher::StartError;
use selvedge::{BindError, Event, Listener, Lost, Publisher, Reason};
use tokio::net::TcpListener;

/// A publisher of `web` in a runtime of its own, which can be killed.
struct Process {
    runtime: tokio::runtime::Runtime,
    publisher: Publisher,
}

impl Process {
    async fn start(fabric: &Fabric) -> Process {
        let (directory, options) = (fabric.directory(), fabric.options("web"));
        let start = move || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).enable_all().build().unwrap();
            let _inside = runtime.enter();
            let publisher = Publisher::start(directory, options).unwrap();
            drop(_inside);
            Process { runtime, publisher }
        };
        soon("a start", tokio::task::spawn_blocking(start)).await.unwrap()
    }

    /// All its tasks and sockets are gone, in the middle of whatever they did.
    async fn kill(self) {
        let kill = move || drop(self.runtime);
        soon("an end", tokio::task::spawn_blocking(kill)).await.unwrap();
    }
}

async fn lost(hearing: &mut Hearing) -> Lost {
    match hearing.event().await {
        Event::Lost(lost) => lost,
        Event::Message(message) => panic!("{message:?}"),
    }
}

#[tokio::test]
async fn after_a_clean_restart_it_goes_on_without_loss() {
    let fabric = Fabric::new(&["web"]);
    let mut hearing = fabric.hear();
    for round in 0..3 {
        let publisher = fabric.publisher("web");
        if round == 0 {
            hearing.started("web").await;
        }
        heard(&publisher, "web.a").await;
        say(&publisher, "web.a", round * 10..round * 10 + 10).await;
        soon("a close", publisher.close(LIMIT)).await.unwrap();
        hearing.disconnected("web").await;
    }
    let mut epochs = Vec::new();
    for expected in 0..30 {
        let message = hearing.message().await;
        assert_eq!(message.decode::<u64>().unwrap(), expected);
        epochs.push(message.position.epoch);
    }
    epochs.dedup();
    assert!(epochs.len() == 3 && epochs.is_sorted());
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn after_a_kill_the_end_of_the_epoch_is_lost_once() {
    let fabric = Fabric::new(&["web"]);
    let mut hearing = fabric.hear();
    let process = Process::start(&fabric).await;
    hearing.started("web").await;
    heard(&process.publisher, "web.a").await;
    say(&process.publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
    let before = process.publisher.epoch();
    process.kill().await;
    hearing.disconnected("web").await;
    let process = Process::start(&fabric).await;
    heard(&process.publisher, "web.a").await;
    say(&process.publisher, "web.a", 10..20).await;
    let lost = lost(&mut hearing).await;
    assert_eq!((lost.from.epoch, lost.from.seq, lost.reason), (before, 10, Reason::UncleanEnd));
    assert_eq!((lost.to.epoch, lost.to.seq), (process.publisher.epoch(), 0));
    assert!(hearing.numbers(10).await.into_iter().eq(10..20));
    assert_eq!(hearing.count("lost_ranges"), 1);
    process.kill().await;
}

#[tokio::test]
async fn what_was_said_while_it_was_away_is_lost_and_said_so() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
    soon("a close", publisher.close(LIMIT)).await.unwrap();
    hearing.disconnected("web").await;
    // In between it listens elsewhere, and nobody hears it.
    let elsewhere = Port::reserve();
    let mut options = fabric.options("web");
    let socket = std::net::TcpListener::bind(elsewhere.address()).unwrap();
    options.listener = Some(Listener::from_tcp(socket).unwrap());
    let unheard = Publisher::start(fabric.directory(), options).unwrap();
    say(&unheard, "web.a", 10..13).await;
    soon("a close", unheard.close(LIMIT)).await.unwrap();
    let publisher = fabric.publisher("web");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 13..20).await;
    let lost = lost(&mut hearing).await;
    assert_eq!((lost.from.seq, lost.to.seq, lost.reason), (0, 3, Reason::NotHeld));
    assert_eq!(lost.from.epoch, lost.to.epoch);
    assert!(hearing.numbers(7).await.into_iter().eq(13..20));
}

#[tokio::test]
async fn endpoints_are_tried_in_turn() {
    let mut fabric = Fabric::new(&["web"]);
    let (first, second) = (Port::reserve(), Port::reserve());
    let silent = TcpListener::bind(second.address()).await.unwrap();
    let (first, second) = (quoted(&first.endpoint()), quoted(&second.endpoint()));
    let third = quoted(&fabric.port("web").endpoint());
    fabric.service("web").endpoint = format!("[{first}, {second}, {third}]");
    fabric.service("web").more = format!("bind = {third}");
    fabric.publish();
    let publisher = fabric.publisher("web");
    let mut hearing = fabric.hear();
    hearing.disconnected("web").await; // nobody listens at the first
    let mut raw = Raw::accept(&silent).await;
    raw.send(b"HTTP/1.1 400 Bad Request\r\n").await; // another program at the second
    hearing.disconnected("web").await;
    hearing.connected("web").await;
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
}

/// Says something where `endpoint` says, and hears it there.
async fn says_and_hears(fabric: &Fabric) {
    let publisher = fabric.publisher("web");
    let mut hearing = fabric.hear();
    hearing.started("web").await;
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
    assert_eq!(hearing.count("links_up"), 1);
    soon("a close", publisher.close(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn localhost_is_a_name_like_any_other() {
    let mut fabric = Fabric::new(&["web"]);
    let number = fabric.port("web").number;
    fabric.service("web").endpoint = format!("\"tcp://localhost:{number}\"");
    fabric.publish();
    says_and_hears(&fabric).await;
}

/// A port of ::1, unless this machine has no IPv6.
fn ipv6() -> Option<u16> {
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)));
    match listener {
        Ok(listener) => Some(listener.local_addr().unwrap().port()),
        Err(error) => {
            println!("not tested: this machine has no IPv6: {error}");
            None
        }
    }
}

#[tokio::test]
async fn an_ipv6_address_is_an_endpoint() {
    let Some(number) = ipv6() else { return };
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").endpoint = format!("\"tcp://[::1]:{number}\"");
    fabric.publish();
    says_and_hears(&fabric).await;
}

#[tokio::test]
async fn a_name_is_reached_by_whichever_of_its_addresses_answers() {
    let Some(number) = ipv6() else { return };
    let mut fabric = Fabric::new(&["web"]);
    fabric.service("web").endpoint = format!("\"tcp://localhost:{number}\"");
    fabric.service("web").more = format!("bind = \"tcp://[::1]:{number}\"");
    fabric.publish();
    let names: Vec<_> = tokio::net::lookup_host("localhost:1").await.unwrap().collect();
    if names.iter().any(SocketAddr::is_ipv6) {
        says_and_hears(&fabric).await;
    } else {
        println!("not tested: localhost has no IPv6 address here");
    }
}

#[tokio::test]
async fn ipc_is_an_endpoint_as_a_path_and_as_an_abstract_name() {
    let mut fabric = Fabric::new(&["web"]);
    let path = fabric.folder.path().join("web.socket");
    for path in [path.to_str().unwrap(), &format!("@selvedge-test-{}", std::process::id())] {
        fabric.service("web").endpoint = format!("\"ipc://{path}\"");
        fabric.publish();
        says_and_hears(&fabric).await;
    }
}

#[tokio::test]
async fn the_socket_file_of_a_killed_publisher_is_replaced() {
    let mut fabric = Fabric::new(&["web"]);
    let path = fabric.folder.path().join("web.socket");
    fabric.service("web").endpoint = format!("\"ipc://{}\"", path.display());
    fabric.publish();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // its file stays
    assert!(path.exists());
    let mut hearing = fabric.hear();
    hearing.disconnected("web").await;
    let publisher = fabric.publisher("web");
    heard(&publisher, "web.a").await;
    say(&publisher, "web.a", 0..10).await;
    assert!(hearing.numbers(10).await.into_iter().eq(0..10));
    soon("a close", publisher.close(LIMIT)).await.unwrap();
    until("its file to be gone", || !path.exists()).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_clear_error() {
    let fabric = Fabric::new(&["web"]);
    let port = fabric.port("web");
    let _other = std::net::TcpListener::bind(port.address()).unwrap();
    let error = Publisher::start(fabric.directory(), fabric.options("web")).unwrap_err();
    assert!(matches!(error, StartError::Bind(BindError::InUse { .. })));
    let text = error.to_string();
    assert!(text.contains(&port.endpoint()) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn a_second_publisher_with_the_same_state_is_refused() {
    let fabric = Fabric::new(&["web"]);
    let _first = fabric.publisher("web");
    let mut options = fabric.options("web");
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    options.listener = Some(Listener::from_tcp(socket).unwrap());
    let error = Publisher::start(fabric.directory(), options).unwrap_err();
    assert!(error.to_string().contains("another process publishes"), "{error}");
}
