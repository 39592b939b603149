//! Do the peers of the zeromq crate, another implementation of ZMTP, understand us, and we them?

#[path = "support/fabric.rs"]
mod fabric;
#[path = "support/sealed.rs"]
mod sealed;

use bytes::Bytes;
use fabric::{Fabric, heard, peers, say, soon};
use sealed::Author;
use zeromq::{PubSocket, Socket as _, SocketRecv as _, SocketSend as _, SubSocket, ZmqMessage};

#[tokio::test]
async fn its_sub_hears_our_publisher() {
    let fabric = Fabric::new(&["web"]);
    let publisher = fabric.publisher("web");
    let mut socket = SubSocket::new();
    soon("a connection", socket.connect(&fabric.port("web").endpoint())).await.unwrap();
    soon("a subscription", socket.subscribe("web.a")).await.unwrap();
    heard(&publisher, "web.a").await;
    say(&publisher, "web.b", 0..10).await;
    say(&publisher, "web.a", 10..1_010).await;
    let mut bodies = 0;
    while bodies < 1_000 {
        let message = soon("a message", socket.recv()).await.unwrap().into_vec();
        assert_eq!(&message[0][..], b"web.a");
        assert_eq!(&message[1][..4], b"SV\x01\x01");
        bodies += message.len() - 2;
    }
    assert_eq!(bodies, 1_000);
    assert_eq!(peers(&publisher, "handshakes_failed"), 0);
}

#[tokio::test]
async fn our_subscriber_hears_its_pub() {
    let fabric = Fabric::new(&["web"]);
    let mut socket = PubSocket::new();
    soon("a port", socket.bind(&fabric.port("web").endpoint())).await.unwrap();
    let mut hearing = fabric.hear();
    hearing.connected("web").await;
    let mut author = Author::new(&fabric, "web");
    // It does not tell of subscriptions: the first that arrives begins the stream.
    let mut next = 0;
    let first = loop {
        send(&mut socket, author.commit(&[("web.a", &[next])])).await;
        next += 1;
        tokio::select! {
            event = hearing.subscriber.next() => match event {
                Some(selvedge::Event::Message(message)) => break message.decode::<u64>().unwrap(),
                other => panic!("{other:?}"),
            },
            () = tokio::task::yield_now() => {}
        }
    };
    send(&mut socket, vec![vec![b"hello".to_vec()], vec![b"web.a".to_vec(), b"x".to_vec()]]).await;
    for number in next..next + 1_000 {
        send(&mut socket, author.commit(&[("web.a", &[number])])).await;
    }
    let numbers = hearing.numbers((next + 1_000 - first - 1) as usize).await;
    assert!(numbers.into_iter().eq(first + 1..next + 1_000));
    assert_eq!((hearing.count("malformed"), hearing.count("links_down")), (2, 0));
}

async fn send(socket: &mut PubSocket, messages: Vec<Vec<Vec<u8>>>) {
    for parts in messages {
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let message = ZmqMessage::try_from(parts).unwrap();
        soon("room to send", socket.send(message)).await.unwrap();
    }
}
