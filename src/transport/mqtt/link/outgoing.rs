//! What goes out over a connection, and when it is to end: decided from what the desk, the announcements and the clock say. Nothing here waits.

use std::time::Instant;

use super::Link;
use crate::transport::mqtt::announce;
use crate::transport::mqtt::bounds::{FAREWELL, SUBSCRIBE_TIMEOUT};
use crate::transport::mqtt::connection::{Connection, Item, Phase};
use crate::transport::mqtt::failure::End;
use crate::transport::mqtt::outbox::Verdict;
use crate::transport::mqtt::plan::{OFFLINE, ONLINE};

impl Link {
    /// Hands over whatever may go out now. Gives the end when there is nothing more to wait for.
    pub(super) fn pump(&mut self, connection: &mut Connection, now: Instant) -> Option<End> {
        self.disk.begin(&self.desk.outbox, &self.plan.allowed, now);
        if self.abandoned {
            return Some(End::Closed);
        }
        if connection.phase == Phase::Connecting {
            return self.wants_to_leave(now).then_some(End::Closed);
        }
        if now.saturating_duration_since(connection.last_event) >= connection.silence {
            return Some(End::Lost("the connection hangs: nothing goes out and nothing comes in".into()));
        }
        if connection.phase == Phase::Subscribing
            && now.saturating_duration_since(connection.since) >= SUBSCRIBE_TIMEOUT
        {
            return Some(End::Lost(format!("the broker has not answered SUBSCRIBE within {SUBSCRIBE_TIMEOUT:?}")));
        }
        while let Some(packet_id) = self.desk.release.ready() {
            if !connection.acknowledge(packet_id) {
                break;
            }
            self.desk.release.released();
        }
        while connection.has_room() && self.publish_next(connection, now) {}
        self.leave(connection, now)
    }

    /// Publishes one message; `false` when there is none or no place for it.
    fn publish_next(&mut self, connection: &mut Connection, now: Instant) -> bool {
        if connection.phase == Phase::Up
            && let Some(item) = self.announcements.next(now)
        {
            let message = match item {
                Item::State => announce::state(&self.plan, &*self.status),
                Item::Reported => match self.notices.newest() {
                    Some(report) => announce::report(&self.plan, report),
                    None => {
                        self.announcements.published(item, now);
                        return true;
                    }
                },
                _ => announce::status(&self.plan, ONLINE),
            };
            let published = connection.publish(item, message);
            if published {
                self.announcements.published(item, now);
            }
            return published;
        }
        let Some((number, entry)) = self.desk.outbox.next_to_send(now) else { return false };
        let message = announce::answer(entry);
        let bytes = Connection::packet_bytes(&message);
        if let Some(max) = connection.max_packet_bytes().filter(|max| bytes as u64 > u64::from(*max)) {
            // Published, it would end the connection, and the next one, for ever.
            if self.desk.outbox.is_piece(number) {
                // The whole answer will be told of instead.
                self.delivered(number, Verdict::Taken, now);
            } else if entry.body.error.is_some() {
                log::error!("mqtt: the broker takes packets of {max} bytes at most, which no refusal fits in");
                self.delivered(number, Verdict::Never, now);
            } else {
                self.desk.outbox.replace(number, announce::too_large(bytes, max));
            }
            return true;
        }
        let published = connection.publish(Item::Answer(number), message);
        if published {
            self.desk.outbox.sent(number);
        }
        published
    }

    /// Says goodbye step by step when the connection is to end: `offline`, its acknowledgement, DISCONNECT.
    fn leave(&mut self, connection: &mut Connection, now: Instant) -> Option<End> {
        let overdue = now.saturating_duration_since(connection.since) >= FAREWELL;
        match connection.phase {
            Phase::Connecting | Phase::Subscribing => self.wants_to_leave(now).then_some(End::Closed),
            Phase::Up => {
                let delivered = self.desk.outbox.is_empty() && self.desk.release.ready().is_none();
                let drained = self.draining.as_ref().is_some_and(|d| delivered || d.until <= now);
                if self.wants_to_leave(now) && (self.next_plan.is_some() || drained) {
                    connection.publish(Item::Offline, announce::status(&self.plan, OFFLINE));
                    connection.enter(Phase::Farewell, now);
                }
                None
            }
            Phase::Farewell if overdue => {
                connection.disconnect();
                connection.enter(Phase::Closing, now);
                None
            }
            Phase::Farewell => None,
            Phase::Closing => overdue.then_some(End::Closed),
        }
    }

    /// Whether the connection has no more purpose: other settings wait, or nothing is left to do before the end.
    pub(super) fn wants_to_leave(&self, now: Instant) -> bool {
        self.next_plan.is_some() || self.is_over(now)
    }

    /// Whether the link is to end: nothing runs any more, or its time is up.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.abandoned || self.draining.as_ref().is_some_and(|d| self.desk.is_idle() || d.until <= now)
    }

    /// The next moment at which something is due although nothing happens.
    pub(super) fn next_wake(&self, connection: &Connection, now: Instant) -> Option<Instant> {
        let mut due = vec![self.draining.as_ref().map(|d| d.until), self.disk.next_work(&self.desk.outbox)];
        match connection.phase {
            Phase::Connecting => {}
            Phase::Subscribing => due.push(Some(connection.since + SUBSCRIBE_TIMEOUT)),
            Phase::Up => due.extend([self.announcements.next_state(), self.desk.outbox.next_attempt(now)]),
            Phase::Farewell | Phase::Closing => due.push(Some(connection.since + FAREWELL)),
        }
        if connection.phase != Phase::Connecting {
            due.push(Some(connection.last_event + connection.silence));
        }
        // What is due already waits for room, which an event makes.
        due.into_iter().flatten().filter(|at| *at > now).min()
    }
}
