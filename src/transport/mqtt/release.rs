//! Acknowledgements of requests leave in the order in which the requests came (MQTT 5, section 4.6), each only when its
//! answer is safe, and only to the connection that it came by.

use std::collections::VecDeque;

/// A received message's place in the queue. It is worth nothing once its connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    connection: u64,
    number: u64,
}

/// One connection's received messages that are not acknowledged yet.
#[derive(Debug, Default)]
pub struct ReleaseQueue {
    connection: u64,
    /// Number of the first waiting message.
    first: u64,
    /// Packet id, and whether its answer is safe.
    waiting: VecDeque<(u16, bool)>,
}

impl ReleaseQueue {
    /// Forgets everything: the broker sends again what was not acknowledged on the connection before.
    pub fn begin_connection(&mut self) {
        self.connection += 1;
        self.first = 0;
        self.waiting.clear();
    }

    /// Takes a place for the message `packet_id`; `None` for QoS 0, which has no id and is never acknowledged.
    pub fn receive(&mut self, packet_id: u16) -> Option<Slot> {
        if packet_id == 0 {
            return None;
        }
        let number = self.first + self.waiting.len() as u64;
        self.waiting.push_back((packet_id, false));
        Some(Slot { connection: self.connection, number })
    }

    /// The message's answer is safe, or none is owed. A place of an older connection is passed over.
    pub fn finish(&mut self, slot: Slot) {
        let place = slot.number.checked_sub(self.first).and_then(|p| usize::try_from(p).ok());
        if slot.connection == self.connection
            && let Some(waiting) = place.and_then(|p| self.waiting.get_mut(p))
        {
            waiting.1 = true;
        }
    }

    /// The packet id that may be acknowledged now.
    pub fn ready(&self) -> Option<u16> {
        self.waiting.front().filter(|(_, done)| *done).map(|(packet_id, _)| *packet_id)
    }

    /// The acknowledgement of [`ReleaseQueue::ready`] is on its way.
    pub fn released(&mut self) {
        if self.ready().is_some() {
            self.waiting.pop_front();
            self.first += 1;
        }
    }

    /// Whether everything is acknowledged.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(queue: &mut ReleaseQueue) -> Vec<u16> {
        let mut left = Vec::new();
        while let Some(packet_id) = queue.ready() {
            left.push(packet_id);
            queue.released();
        }
        left
    }

    #[test]
    fn a_later_answer_waits_for_the_earlier_request() {
        let mut queue = ReleaseQueue::default();
        queue.begin_connection();
        let slots: Vec<_> = [7, 3, 9].iter().map(|id| queue.receive(*id).expect("QoS 1")).collect();
        queue.finish(slots[2]);
        queue.finish(slots[1]);
        assert!(drain(&mut queue).is_empty());
        queue.finish(slots[0]);
        assert_eq!(drain(&mut queue), [7, 3, 9]);
        assert!(queue.is_empty());
    }

    #[test]
    fn an_acknowledgement_never_crosses_into_another_connection() {
        let mut queue = ReleaseQueue::default();
        queue.begin_connection();
        let old = queue.receive(1).expect("QoS 1");
        queue.begin_connection();
        let new = queue.receive(1).expect("QoS 1");
        queue.finish(old);
        assert!(drain(&mut queue).is_empty());
        queue.finish(new);
        assert_eq!(drain(&mut queue), [1]);
        queue.finish(new);
        assert!(drain(&mut queue).is_empty());
    }

    #[test]
    fn quality_zero_takes_no_place() {
        let mut queue = ReleaseQueue::default();
        assert_eq!(queue.receive(0), None);
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn in_whatever_order_answers_come_packet_ids_leave_in_order_of_receipt(
            order in Just((0..40_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut queue = ReleaseQueue::default();
            let slots: Vec<_> = (1..=40).map(|id| queue.receive(id).expect("QoS 1")).collect();
            let mut left = Vec::new();
            for place in order {
                queue.finish(slots[place]);
                left.extend(drain(&mut queue));
            }
            prop_assert_eq!(left, (1..=40).collect::<Vec<u16>>());
        }
    }
}
