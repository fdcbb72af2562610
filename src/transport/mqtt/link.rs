//! The link: connects, carries what the desk decides, and connects again for ever.
//!
//! One task owns everything here. It never awaits a publish: the event loop's future is polled beside the desk's notes,
//! commands and a clock, and whatever is to go out is handed over without waiting, as far as the window allows.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use linnet_proto::topic::Topic;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::announce::{self, Announcements};
use super::backoff::Backoff;
use super::bounds::{
    CLIENT_CHANNEL, FAREWELL, MALFORMED_BEFORE_CLEAN_START, OPEN_PATIENCE, SAVE_PATIENCE, STEADY, SUBSCRIBE_TIMEOUT,
};
use super::connection::{Connection, Item, Phase};
use super::desk::{Desk, Note};
use super::disk::{Disk, Done};
use super::failure::End;
use super::outbox::{Outbox, Verdict};
use super::plan::{OFFLINE, ONLINE, Plan};
use super::spill::Spill;
use crate::status::{BrokerLink, LinkCount, LinkState, StatusSource};
use crate::sys::liveness::Beat;

/// What the transport asks of its link.
pub(super) enum Command {
    /// Takes other settings.
    Reload(Box<Plan>),
    /// Takes no new request.
    StopIntake,
    /// Lets what runs end until `grace` is over, delivers what is answered, says goodbye. Answers how many jobs were left.
    Drain { grace: Duration, done: oneshot::Sender<usize> },
}

/// What the link waited for.
enum Step<E> {
    Event(E),
    Note(Note),
    Command(Option<Command>),
    StateChanged,
    Disk(Done),
    Tick,
}

struct Draining {
    until: Instant,
    done: oneshot::Sender<usize>,
}

pub(super) struct Link {
    plan: Plan,
    desk: Desk,
    status: Arc<dyn StatusSource>,
    link: BrokerLink,
    commands: mpsc::Receiver<Command>,
    notes: mpsc::Receiver<Note>,
    changed: Arc<Notify>,
    disk: Disk,
    /// The reading of the ledger, which was begun at the start.
    ledger: Option<JoinHandle<()>>,
    announcements: Announcements,
    backoff: Backoff,
    /// Connections in a row that ended with a packet that cannot be read.
    malformed: u32,
    last_reason: String,
    /// Settings that wait for the connection's end.
    next_plan: Option<Box<Plan>>,
    draining: Option<Draining>,
    /// The transport was dropped.
    abandoned: bool,
    beat: Beat,
}

/// What a [`Link`] is made of.
pub(super) struct Parts {
    pub(super) plan: Plan,
    pub(super) desk: Desk,
    pub(super) status: Arc<dyn StatusSource>,
    pub(super) link: BrokerLink,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) notes: mpsc::Receiver<Note>,
    pub(super) changed: Arc<Notify>,
    pub(super) spill: Spill,
    pub(super) ledger: JoinHandle<()>,
    pub(super) beat: Beat,
}

impl Link {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { plan, desk, status, link, commands, notes, changed, spill, ledger, beat } = parts;
        link.set(LinkState::Connecting);
        Self {
            backoff: Backoff::new(plan.settings.backoff),
            plan,
            desk,
            status,
            link,
            commands,
            notes,
            changed,
            disk: Disk::new(spill),
            ledger: Some(ledger),
            announcements: Announcements::default(),
            malformed: 0,
            last_reason: String::new(),
            next_plan: None,
            draining: None,
            abandoned: false,
            beat,
        }
    }

    /// Runs until the transport is drained or dropped.
    pub(super) async fn run(&mut self) {
        loop {
            let end = self.connect().await;
            self.desk.disconnected();
            self.report(&end);
            if let Some(plan) = self.next_plan.take() {
                self.install(*plan);
                self.link.set(LinkState::Connecting);
                continue;
            }
            if self.is_over(Instant::now()) {
                break;
            }
            let pause = self.backoff.next(rand::random());
            self.rest(pause).await;
            if self.is_over(Instant::now()) {
                break;
            }
        }
        self.finish().await;
    }

    /// Waits for what lies on disk before anything is connected: what the broker delivers may have been answered, or may have
    /// been running at a crash. A disk that is slow is waited for no longer than [`OPEN_PATIENCE`].
    pub(super) async fn open(&mut self) {
        let until = tokio::time::Instant::now() + OPEN_PATIENCE;
        let (disk, outbox, allowed) = (&mut self.disk, &mut self.desk.outbox, &self.plan.allowed);
        let ledger = self.ledger.take();
        let open = async {
            if let Some(ledger) = ledger
                && tokio::time::timeout_at(until, ledger).await.is_err()
            {
                log::error!(
                    "mqtt: the marks of requests that ran at a crash have not been read within {OPEN_PATIENCE:?}: until they                      are, such a request is run again"
                );
            }
            disk.open(outbox, allowed, until.saturating_duration_since(tokio::time::Instant::now())).await
        };
        let kept = self.beat.keep(open).await;
        self.desk.keep_from_disk(kept, Instant::now());
    }

    /// After a panic in [`Link::run`]: begins with a new desk, from what lies on disk. Everything that the broker has had no
    /// acknowledgement for comes again; a request that panics each time goes with the session, as one that cannot be read.
    pub(super) async fn recover(&mut self) {
        let outbox = Outbox::new(usize::from(self.plan.receive_maximum), self.desk.outbox.next_number());
        let (sender, notes) = mpsc::channel(super::note_places(&self.plan));
        self.desk = self.desk.renewed(&self.plan, outbox, sender);
        self.notes = notes;
        self.disk.begin_again();
        self.announcements = Announcements::default();
        self.malformed += 1;
        self.link.count(LinkCount::Lost);
        self.open().await;
    }

    /// Waits for `pause` before the first connection after [`Link::recover`].
    pub(super) async fn rest_after_panic(&mut self, pause: Duration) {
        self.rest(pause).await;
    }

    /// One connection, from its first packet to its end.
    async fn connect(&mut self) -> End {
        let clean_start = self.malformed >= MALFORMED_BEFORE_CLEAN_START;
        if clean_start {
            log::error!(
                "mqtt: {} connections in a row ended with a packet that cannot be read, or with a panic; the session at the broker is \
                 thrown away to be rid of it, and with it the requests that wait there",
                self.malformed
            );
            self.malformed = 0;
        }
        let (client, mut events) = AsyncClient::new(self.plan.options(clean_start), CLIENT_CHANNEL);
        let mut connection = Connection::new(client, silence(self.plan.keep_alive()), Instant::now());
        let end = 'connection: loop {
            let event = {
                let poll = AssertUnwindSafe(events.poll()).catch_unwind();
                let mut poll = pin!(poll);
                loop {
                    let now = Instant::now();
                    if let Some(end) = self.pump(&mut connection, now) {
                        break 'connection end;
                    }
                    let wake = self.next_wake(&connection, now);
                    match self.step(Some(poll.as_mut()), wake).await {
                        Step::Event(event) => break event,
                        step => self.take(step, Instant::now()),
                    }
                }
            };
            connection.last_event = Instant::now();
            match event {
                Ok(Ok(event)) => {
                    if let Some(end) = self.on_event(event, &mut connection, &mut events) {
                        break end;
                    }
                }
                Ok(Err(error)) => break Self::failed(&error, &connection),
                Err(_) => break End::Lost("the MQTT library panicked; the log says where".into()),
            }
        };
        // What had come in before the end is not thrown away: nobody sends a QoS 0 request again.
        for event in events.state.events.drain(..) {
            if let Event::Incoming(Packet::Publish(publish)) = event {
                self.desk.receive(publish, Instant::now());
            }
        }
        if connection.up_since.is_some_and(|since| since.elapsed() >= STEADY) {
            self.backoff.reset();
            self.malformed = 0;
        }
        end
    }

    /// Waits for the next thing to happen. The event loop's future is not dropped, only left alone.
    async fn step<F: Future>(&mut self, poll: Option<Pin<&mut F>>, wake: Option<Instant>) -> Step<F::Output> {
        let poll = async {
            match poll {
                Some(poll) => poll.await,
                None => std::future::pending().await,
            }
        };
        let disk = self.disk.done();
        let tick = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let (notes, commands, changed) = (&mut self.notes, &mut self.commands, &self.changed);
        let abandoned = self.abandoned;
        let step = async {
            tokio::select! {
                event = poll => Step::Event(event),
                Some(note) = notes.recv() => Step::Note(note),
                command = commands.recv(), if !abandoned => Step::Command(command),
                () = changed.notified() => Step::StateChanged,
                done = disk => Step::Disk(done),
                () = tick => Step::Tick,
            }
        };
        self.beat.keep(step).await
    }

    /// Takes anything but an event of the connection.
    fn take<E>(&mut self, step: Step<E>, now: Instant) {
        match step {
            Step::Event(_) | Step::Tick => {}
            Step::Note(note) => self.desk.note(note, now),
            Step::StateChanged => self.announcements.state_changed(now),
            Step::Disk(done) => {
                let kept = self.disk.note(done, &mut self.desk.outbox, now);
                self.desk.keep_from_disk(kept, now);
            }
            Step::Command(Some(Command::Reload(plan))) => {
                if plan.same_connection(&self.plan) {
                    self.install(*plan);
                } else {
                    self.next_plan = Some(plan);
                }
            }
            Step::Command(Some(Command::StopIntake)) => self.desk.stop_intake(),
            Step::Command(Some(Command::Drain { grace, done })) => {
                self.desk.stop_intake();
                self.draining = Some(Draining { until: now + grace, done });
                self.announcements.state_changed(now);
            }
            Step::Command(None) => self.abandoned = true,
        }
    }

    /// Takes other settings between two connections, or under one that may stay.
    fn install(&mut self, plan: Plan) {
        self.desk.apply(&plan);
        self.backoff = Backoff::new(plan.settings.backoff);
        self.plan = plan;
        self.announcements.state_changed(Instant::now());
    }

    /// Hands over whatever may go out now. Gives the end when there is nothing more to wait for.
    fn pump(&mut self, connection: &mut Connection, now: Instant) -> Option<End> {
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
    fn wants_to_leave(&self, now: Instant) -> bool {
        self.next_plan.is_some() || self.is_over(now)
    }

    /// Whether the link is to end: nothing runs any more, or its time is up.
    fn is_over(&self, now: Instant) -> bool {
        self.abandoned || self.draining.as_ref().is_some_and(|d| self.desk.is_idle() || d.until <= now)
    }

    fn on_event(&mut self, event: Event, connection: &mut Connection, events: &mut EventLoop) -> Option<End> {
        let now = Instant::now();
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => return self.connected(&connack, connection, events, now),
            Event::Incoming(Packet::SubAck(suback)) if connection.phase == Phase::Subscribing => {
                return match suback.return_codes.first() {
                    Some(SubscribeReasonCode::Success(_)) => {
                        self.up(connection, now);
                        None
                    }
                    refused => Some(End::Lost(format!(
                        "the broker refuses the subscription to {} ({}); check its ACL",
                        Topic::requests_filter(&self.plan.device),
                        refused.map_or_else(|| "no reason".to_owned(), |code| format!("{code:?}"))
                    ))),
                };
            }
            Event::Incoming(Packet::Publish(publish)) => self.desk.receive(publish, now),
            Event::Incoming(Packet::PubAck(puback)) => match connection.acknowledged(puback.pkid) {
                Some(Item::Answer(number)) => self.delivered(number, verdict(puback.reason), now),
                Some(Item::Offline) if connection.phase == Phase::Farewell => {
                    connection.disconnect();
                    connection.enter(Phase::Closing, now);
                }
                Some(Item::Online | Item::State) if verdict(puback.reason) != Verdict::Taken => log::warn!(
                    "mqtt: the broker refuses status or state of {} ({:?}); check its ACL",
                    self.plan.device,
                    puback.reason
                ),
                _ => {}
            },
            Event::Outgoing(Outgoing::Publish(packet_id)) => connection.sent(packet_id),
            Event::Outgoing(Outgoing::Disconnect) => return Some(End::Closed),
            _ => {}
        }
        None
    }

    fn connected(
        &mut self,
        connack: &ConnAck,
        connection: &mut Connection,
        events: &mut EventLoop,
        now: Instant,
    ) -> Option<End> {
        if let Some(properties) = &connack.properties {
            if properties.max_qos == Some(0) {
                return Some(End::Lost("the broker offers QoS 0 only; linnetd needs QoS 1".into()));
            }
            connection.learn(properties);
        }
        if events.options.keep_alive().is_zero() {
            // A broker that wants no pings: rumqttc would send them without a pause.
            events.options.set_keep_alive(self.plan.keep_alive());
        }
        connection.silence = silence(events.options.keep_alive());
        self.desk.connected();
        // On every connection: a session that is present may still be without the subscription.
        if !connection.subscribe(Topic::requests_filter(&self.plan.device)) {
            return Some(End::Lost("the event loop takes nothing".into()));
        }
        connection.enter(Phase::Subscribing, now);
        log::debug!("mqtt: connected to {}, session present: {}", self.plan.settings.url, connack.session_present);
        None
    }

    fn up(&mut self, connection: &mut Connection, now: Instant) {
        connection.enter(Phase::Up, now);
        connection.up_since = Some(now);
        self.announcements.all(now);
        self.link.set(LinkState::Up);
        self.link.count(LinkCount::Connected);
        self.last_reason.clear();
        log::info!("mqtt: {} is reached; requests to {} are taken", self.plan.settings.url, self.plan.device);
    }

    fn failed(error: &ConnectionError, connection: &Connection) -> End {
        // DISCONNECT was sent; the broker may close before the event of it is seen.
        if connection.phase == Phase::Closing {
            return End::Closed;
        }
        End::of(error, connection.phase > Phase::Connecting)
    }

    /// Logs and counts a connection's end; the same reason again only at debug level.
    fn report(&mut self, end: &End) {
        let reason = match end {
            End::Closed => return,
            End::Lost(reason) => reason,
            End::Malformed(reason) => {
                self.malformed += 1;
                reason
            }
        };
        self.link.count(LinkCount::Lost);
        self.link.down(reason);
        let level = if *reason == self.last_reason { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "mqtt: {}: {reason}; linnetd goes on trying", self.plan.settings.url);
        self.last_reason.clone_from(reason);
    }

    /// The pause between two attempts. Jobs go on, and their answers are kept.
    async fn rest(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            let now = Instant::now();
            if now >= until || self.next_plan.is_some() || self.is_over(now) {
                break;
            }
            self.disk.begin(&self.desk.outbox, &self.plan.allowed, now);
            let drain = self.draining.as_ref().map(|d| d.until);
            let wake = [Some(until), drain, self.disk.next_work(&self.desk.outbox)].into_iter().flatten().min();
            let step = self.step(None::<Pin<&mut std::future::Pending<()>>>, wake).await;
            self.take(step, Instant::now());
        }
        if let Some(plan) = self.next_plan.take() {
            self.install(*plan);
        }
    }

    /// The next moment at which something is due although nothing happens.
    fn next_wake(&self, connection: &Connection, now: Instant) -> Option<Instant> {
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

    fn delivered(&mut self, number: u64, verdict: Verdict, now: Instant) {
        if verdict == Verdict::Never {
            log::warn!(
                "mqtt: the broker refuses an answer for good; its ACL must let linnetd publish to response topics"
            );
        }
        if self.desk.delivered(number, verdict, now) {
            self.disk.remove(number);
        }
    }

    /// The end: answers that nobody has taken yet go to disk.
    async fn finish(&mut self) {
        let Some(draining) = self.draining.take() else { return };
        let left = self.desk.close();
        self.beat.keep(self.disk.save(&mut self.desk.outbox, SAVE_PATIENCE)).await;
        self.link.set(LinkState::Off);
        // Nobody may be waiting for the number.
        let _ = draining.done.send(left);
    }
}

/// Twice the keep-alive, in which at least one ping goes out and its answer comes, and some time for a slow network.
fn silence(keep_alive: Duration) -> Duration {
    keep_alive * 2 + Duration::from_secs(10)
}

fn verdict(reason: PubAckReason) -> Verdict {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Verdict::Taken,
        PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => {
            Verdict::Never
        }
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => Verdict::Later,
    }
}
