//! Watches that lie: the events of a stream, one a line, left out, doubled, in another order, or cut off.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::answer::{Body, Broken, status};
use super::plan::{WatchDoes, WatchFault};

/// How long an event is kept for another one to overtake it.
const OVERTAKE: Duration = Duration::from_millis(300);

/// The body of a watch, with the fault in it.
pub(super) fn body(inner: Body, fault: WatchFault) -> Body {
    let events = lines(inner);
    let state = Editor {
        fault,
        seen: 0,
        ready: VecDeque::new(),
        kept: None,
        ended: false,
    };
    let edited = futures::stream::unfold((Box::pin(events), state), |(mut events, mut state)| async move {
        let next = state.next(&mut events).await?;
        Some((next.map(http_body::Frame::data), (events, state)))
    });
    StreamBody::new(edited).boxed_unsync()
}

/// The lines of a body, each with its end.
fn lines(body: Body) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    let start = (body.into_data_stream(), BytesMut::new());
    futures::stream::unfold(start, |(mut frames, mut buffer)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                return Some((Ok(line), (frames, buffer)));
            }
            match frames.next().await? {
                Ok(bytes) => buffer.extend_from_slice(&bytes),
                Err(error) => return Some((Err(error), (frames, buffer))),
            }
        }
    })
}

struct Editor {
    fault: WatchFault,
    seen: usize,
    ready: VecDeque<Bytes>,
    kept: Option<Bytes>,
    ended: bool,
}

impl Editor {
    async fn next<S>(&mut self, events: &mut S) -> Option<Result<Bytes, Broken>>
    where
        S: Stream<Item = Result<Bytes, Broken>> + Unpin,
    {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.ended || self.cut() {
                return None;
            }
            if self.strikes() && self.fault.does == WatchDoes::Freezes {
                // Still read: otherwise other calls on the same connection would have to wait as well.
                while events.next().await.is_some() {}
                std::future::pending::<()>().await;
            }
            if self.ended {
                continue;
            }
            let event = match self.kept.take() {
                None => events.next().await,
                Some(kept) => {
                    if let Ok(event) = tokio::time::timeout(OVERTAKE, events.next()).await {
                        self.kept = Some(kept);
                        event
                    } else {
                        self.ready.push_back(kept);
                        continue;
                    }
                }
            };
            match event {
                Some(Ok(event)) => self.take(event),
                other => {
                    self.ready.extend(self.kept.take());
                    self.ended = true;
                    if let Some(Err(error)) = other {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn strikes(&self) -> bool {
        (self.fault.after..self.fault.after.saturating_add(self.fault.events)).contains(&self.seen)
    }

    /// Whether the stream ends here; its last words are made ready.
    fn cut(&mut self) -> bool {
        if !self.strikes() {
            return false;
        }
        match self.fault.does {
            WatchDoes::Closes => true,
            WatchDoes::Expires => {
                let error = json!({"type": "ERROR", "object": status(410, "too old resource version: 1 (2)")});
                self.ready.push_back(format!("{error}\n").into());
                self.ended = true;
                false
            }
            _ => false,
        }
    }

    fn take(&mut self, event: Bytes) {
        let strikes = self.strikes();
        self.seen += 1;
        match self.fault.does {
            WatchDoes::Drops if strikes => {}
            WatchDoes::Duplicates if strikes => self.ready.extend([event.clone(), event]),
            WatchDoes::Reorders => match self.kept.take() {
                Some(kept) if may_overtake(&kept, &event) => self.ready.extend([event, kept]),
                Some(kept) => self.ready.extend([kept, event]),
                None if strikes => self.kept = Some(event),
                None => self.ready.push_back(event),
            },
            _ => self.ready.push_back(event),
        }
    }
}

/// Only events of different objects may change places.
fn may_overtake(kept: &[u8], event: &[u8]) -> bool {
    object(kept)
        .zip(object(event))
        .is_some_and(|(kept, event)| kept != event)
}

fn object(event: &[u8]) -> Option<(Option<String>, Option<String>)> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    // A bookmark stands for everything before it: nothing may overtake it.
    (text("/type")? != "BOOKMARK").then(|| (text("/object/metadata/namespace"), text("/object/metadata/name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, version: usize) -> String {
        format!("{{\"type\":\"MODIFIED\",\"object\":{{\"metadata\":{{\"name\":\"{name}\",\"v\":{version}}}}}}}\n")
    }

    async fn seen(does: WatchDoes, after: usize, events: usize) -> Vec<String> {
        // In frames that do not end where events end.
        let text: String = [event("a", 1), event("b", 2), event("b", 3), event("c", 4)].concat();
        let frames: Vec<_> = text
            .as_bytes()
            .chunks(7)
            .map(|chunk| Ok::<_, Broken>(http_body::Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let inner = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let bytes = body(inner, WatchFault { does, after, events });
        let bytes = bytes.collect().await.unwrap().to_bytes();
        let number = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            let code = event.pointer("/object/code").or(event.pointer("/object/metadata/v"));
            code.unwrap().to_string()
        };
        String::from_utf8(bytes.to_vec()).unwrap().lines().map(number).collect()
    }

    #[tokio::test]
    async fn events_are_left_out_doubled_reordered_or_cut_off() {
        assert_eq!(seen(WatchDoes::Drops, 1, 2).await, ["1", "4"]);
        assert_eq!(seen(WatchDoes::Duplicates, 3, 9).await, ["1", "2", "3", "4", "4"]);
        assert_eq!(seen(WatchDoes::Reorders, 0, 9).await, ["2", "1", "4", "3"]);
        assert_eq!(seen(WatchDoes::Reorders, 1, 1).await, ["1", "2", "3", "4"]);
        assert_eq!(seen(WatchDoes::Expires, 2, 9).await, ["1", "2", "410"]);
        assert_eq!(seen(WatchDoes::Closes, 1, 9).await, ["1"]);
    }

    #[tokio::test]
    async fn a_frozen_watch_neither_speaks_nor_ends() {
        let frozen = tokio::time::timeout(Duration::from_millis(200), seen(WatchDoes::Freezes, 1, 9)).await;
        assert!(frozen.is_err());
    }
}
