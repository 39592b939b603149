//! What happens to links, in words.

use std::collections::BTreeMap;

use selvedge::{Name, Notice, Notices};
use tokio::sync::mpsc;

/// Notices that may wait to be told; more are dropped (and counted by reason all the same).
const WAITING: usize = 1_024;

/// A line for people.
pub struct Line {
    /// Whether somebody should look into it.
    pub alarm: bool,
    pub text: String,
}

/// What to give to a subscriber or relay, and where its notices come out.
pub fn channel() -> (Notices, mpsc::Receiver<Notice>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Notices::to(sender), receiver)
}

/// Hands each notice to `tell`, as long as there are any; a link that stays down is told once.
pub async fn tell_each(mut notices: mpsc::Receiver<Notice>, tell: impl Fn(Line)) {
    let mut down = BTreeMap::new();
    while let Some(notice) = notices.recv().await {
        if is_news(&notice, &mut down)
            && let Some(line) = line(notice)
        {
            tell(line);
        }
    }
}

/// Whether the notice says anything but that a link is still down for the reason in `down`.
fn is_news(notice: &Notice, down: &mut BTreeMap<(Name, String), String>) -> bool {
    match notice {
        Notice::Disconnected { name, endpoint, why } => {
            let before = down.insert((name.clone(), endpoint.clone()), why.clone());
            before.as_ref() != Some(why)
        }
        Notice::Connected { name, .. } => {
            down.retain(|(of, _), _| of != name);
            true
        }
        _ => true,
    }
}

/// Logs a line.
pub fn log(Line { alarm, text }: Line) {
    if alarm { tracing::warn!("{text}") } else { tracing::info!("{text}") }
}

fn line(notice: Notice) -> Option<Line> {
    let (alarm, text) = match notice {
        Notice::Connected { name, endpoint } => {
            (false, format!("connected to {name} at {endpoint}"))
        }
        Notice::Disconnected { name, endpoint, why } => {
            (false, format!("no connection to {name} at {endpoint}: {why}; trying again"))
        }
        Notice::Refused { name, why, key, topic, times } => {
            let key = key.map_or(String::new(), |key| format!(" of key {key}"));
            let times = if times > 1 { format!(" ({times} times)") } else { String::new() };
            (true, format!("refused from {name}: topic {topic}{key}: {why}{times}"))
        }
        Notice::Forked { publisher } => (
            true,
            format!(
                "{publisher} signed two messages under one number: its key leaked, or runs twice"
            ),
        ),
        Notice::Superseded { publisher, epoch } => {
            (true, format!("{publisher} still speaks in its old epoch {epoch}: its key runs twice"))
        }
        _ => return None,
    };
    Some(Line { alarm, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_that_stays_down_is_told_once_for_each_reason() {
        let name: Name = "web".parse().unwrap();
        let endpoint = "ipc://@web".to_owned();
        let down = |why: &str| {
            let (name, endpoint) = (name.clone(), endpoint.clone());
            Notice::Disconnected { name, endpoint, why: why.into() }
        };
        let up = Notice::Connected { name: name.clone(), endpoint: endpoint.clone() };
        let (sender, receiver) = mpsc::channel(9);
        for notice in [down("a"), down("a"), down("b"), up, down("b")] {
            sender.try_send(notice).unwrap();
        }
        drop(sender);
        let told = std::cell::RefCell::new(Vec::new());
        tell_each(receiver, |line| told.borrow_mut().push(line.text)).await;
        let lost = |why| format!("no connection to web at ipc://@web: {why}; trying again");
        let up = "connected to web at ipc://@web".to_owned();
        assert_eq!(*told.borrow(), [lost("a"), lost("b"), up, lost("b")]);
    }
}
