//! Do publishers and subscribers follow the directory file while they run, and leave alone what a
//! change does not concern?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/raw.rs"]
mod raw;

use std::path::PathBuf;

use fabric::{Fabric, Hearing, Port, heard, peers, quoted, say, soon, until};
use raw::Raw;
use selvedge::directory::{Watched, watch};
use selvedge::publisher::PublishError;
use selvedge::{Event, Publisher, Reason, Subscriber, keys};
use tokio::net::TcpListener;

/// A fabric whose directory is a file that is watched.
struct Site {
    fabric: Fabric,
    watched: Watched,
    path: PathBuf,
}

impl Site {
    fn new(names: &[&str]) -> Site {
        let fabric = Fabric::new(names);
        let path = fabric.folder.path().join("endpoints.toml");
        std::fs::write(&path, fabric.text()).unwrap();
        let watched = watch(&path, None).unwrap();
        Site { fabric, watched, path }
    }

    /// Replaces the file, as configuration management does, and waits until that was seen.
    async fn change(&mut self) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, self.fabric.text()).unwrap();
        let before = self.watched.health.borrow().changes;
        std::fs::rename(&new, &self.path).unwrap();
        let seen = self.watched.health.wait_for(|health| health.changes > before);
        assert!(soon("the change to be seen", seen).await.is_ok());
    }

    fn publisher(&self, name: &str) -> Publisher {
        let options = self.fabric.options(name);
        Publisher::start(self.watched.directory.clone(), options).unwrap()
    }

    fn hear(&self) -> Hearing {
        Hearing::new(Subscriber::to(self.watched.directory.clone()))
    }
}

/// Each publisher says 10 messages, and all of them arrive.
async fn all_arrive(publishers: &[(&str, &Publisher)], hearing: &mut Hearing) {
    for (topic, publisher) in publishers {
        heard(publisher, topic).await;
        let next = publisher.accepted();
        say(publisher, topic, next..next + 10).await;
        assert!(hearing.numbers(10).await.into_iter().eq(next..next + 10));
    }
}

#[tokio::test]
async fn a_service_that_is_added_is_heard_and_others_stay_connected() {
    let mut site = Site::new(&["web"]);
    let web = site.publisher("web");
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    site.fabric.add("shop");
    site.change().await;
    let shop = site.publisher("shop");
    hearing.started("shop").await;
    all_arrive(&[("web.a", &web), ("shop.a", &shop)], &mut hearing).await;
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (2, 0));
}

#[tokio::test]
async fn a_service_that_is_removed_is_left_and_others_stay_connected() {
    let mut site = Site::new(&["shop", "web"]);
    let (shop, web) = (site.publisher("shop"), site.publisher("web"));
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web), ("shop.a", &shop)], &mut hearing).await;
    site.fabric.services.remove("shop");
    site.change().await;
    until("the connection to be gone", || peers(&shop, "peers") == 0).await;
    until("it to be counted", || hearing.count("links_down") == 1).await;
    let denied = shop.publish("shop.a", &0);
    assert!(matches!(denied, Err(PublishError::Denied { .. })), "{denied:?}");
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    assert_eq!((peers(&web, "peers"), hearing.count("links_up")), (1, 2));
}

#[tokio::test]
async fn an_endpoint_that_changed_is_followed() {
    let mut site = Site::new(&["shop", "web"]);
    let (shop, web) = (site.publisher("shop"), site.publisher("web"));
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web), ("shop.a", &shop)], &mut hearing).await;
    soon("a close", web.close(fabric::LIMIT)).await.unwrap();
    let port = Port::reserve();
    site.fabric.service("web").endpoint = quoted(&port.endpoint());
    site.change().await;
    let web = site.publisher("web");
    all_arrive(&[("web.a", &web), ("shop.a", &shop)], &mut hearing).await;
    assert_eq!(peers(&shop, "peers"), 1);
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (3, 1));
}

#[tokio::test]
async fn an_endpoint_that_changes_during_a_handshake_is_followed_at_once() {
    let mut site = Site::new(&["web"]);
    let hole = TcpListener::bind(site.fabric.port("web").address()).await.unwrap();
    let mut hearing = site.hear();
    let mut raw = Raw::accept(&hole).await; // and says nothing, for which it has five seconds
    let port = Port::reserve();
    site.fabric.service("web").endpoint = quoted(&port.endpoint());
    let real = TcpListener::bind(port.address()).await.unwrap();
    let started = tokio::time::Instant::now();
    site.change().await;
    raw.closed().await;
    assert!(hearing.disconnected("web").await.contains("endpoints"));
    Raw::accept(&real).await.greet().await;
    hearing.connected("web").await;
    assert!(started.elapsed() < selvedge_core::limits::HANDSHAKE);
}

#[tokio::test]
async fn a_key_is_rotated_by_a_list_of_two() {
    let mut site = Site::new(&["web"]);
    let web = site.publisher("web");
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    // Both keys verify while the publisher still signs with the old one.
    let (old, new) = (site.fabric.services["web"].key.clone(), keys::generate().unwrap());
    let both = format!("[\"{}\", \"{}\"]", new.public(), old.public());
    site.fabric.service("web").keys = both;
    site.change().await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (1, 0));
    // It restarts with the new one, and then the old one goes.
    soon("a close", web.close(fabric::LIMIT)).await.unwrap();
    site.fabric.service("web").key = new.clone();
    let web = site.publisher("web");
    hearing.started("web").await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    site.fabric.service("web").keys = quoted(&new.public().to_string());
    site.change().await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    assert_eq!(hearing.count("links_up"), 2);
    assert_eq!(hearing.count("lost_ranges"), 0);
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_from_load_on() {
    let mut site = Site::new(&["shop", "web"]);
    let (shop, web) = (site.publisher("shop"), site.publisher("web"));
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web), ("shop.a", &shop)], &mut hearing).await;
    // A thief has the key too, and a directory that does not say so.
    let thief = site.fabric.directory();
    site.fabric.revoked.push(site.fabric.services["shop"].key.public().to_string());
    let before = shop.publish("shop.a", &0).unwrap();
    assert!(soon("it to be sent", before.sent()).await.is_ok());
    assert_eq!(hearing.numbers(1).await, [0]);
    site.change().await;
    let denied = shop.publish("shop.a", &1);
    assert!(matches!(denied, Err(PublishError::Denied { .. })), "{denied:?}");
    soon("a close", shop.close(fabric::LIMIT)).await.unwrap();
    let thief = Publisher::start(thief, site.fabric.options("shop")).unwrap();
    let revoked = hearing.count("revoked");
    heard(&thief, "shop.a").await;
    say(&thief, "shop.a", 0..10).await;
    until("it to be refused", || hearing.count("revoked") > revoked).await;
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    assert_eq!(hearing.count("delivered"), 31);
}

#[tokio::test]
async fn topics_that_are_narrowed_are_refused_at_once_on_both_sides() {
    let mut site = Site::new(&["web"]);
    let web = site.publisher("web");
    let mut hearing = site.hear();
    hearing.started("web").await;
    all_arrive(&[("web.a", &web), ("web.b", &web)], &mut hearing).await;
    // One that does not hear of the change goes on saying it.
    let unaware = site.fabric.directory();
    site.fabric.service("web").topics = "web.a.#".to_owned();
    site.change().await;
    let denied = web.publish("web.b", &0);
    assert!(matches!(denied, Err(PublishError::Denied { .. })), "{denied:?}");
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    soon("a close", web.close(fabric::LIMIT)).await.unwrap();
    let web = Publisher::start(unaware, site.fabric.options("web")).unwrap();
    heard(&web, "web.a").await;
    say(&web, "web.b", 0..1).await;
    say(&web, "web.a", 1..2).await;
    until("it to be refused", || hearing.count("topic_denied") > 0).await;
    loop {
        match hearing.event().await {
            Event::Message(message) => {
                assert_eq!(message.topic().as_str(), "web.a");
                break;
            }
            // It was said, and what was said with it may not be told apart from it.
            Event::Lost(lost) => assert_eq!(lost.reason, Reason::NotHeld),
        }
    }
}

#[tokio::test]
async fn a_broken_file_changes_nothing() {
    let mut site = Site::new(&["web"]);
    let web = site.publisher("web");
    let mut hearing = site.hear();
    hearing.started("web").await;
    std::fs::write(&site.path, "format = 1\n[services.web]\nendpoint = ").unwrap();
    let broken = site.watched.health.wait_for(|health| !health.problems.is_empty());
    assert!(soon("the fault to be seen", broken).await.is_ok());
    all_arrive(&[("web.a", &web)], &mut hearing).await;
    assert_eq!((hearing.count("links_up"), hearing.count("links_down")), (1, 0));
}
