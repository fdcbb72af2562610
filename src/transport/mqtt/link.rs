//! The link: connects, carries what the desk decides, and connects again for ever.
//!
//! One task owns everything here. It never awaits a publish: the event loop's future is polled beside the desk's notes,
//! commands and a clock, and whatever is to go out is handed over without waiting, as far as the window allows. Here stands what waits;
//! [`incoming`] says what a packet means, [`outgoing`] what goes out next and when a connection is to end.

mod incoming;
mod outgoing;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::announce::Announcements;
use super::backoff::Backoff;
use super::bounds::{CLIENT_CHANNEL, MALFORMED_BEFORE_CLEAN_START, OPEN_PATIENCE, SAVE_PATIENCE, STEADY};
use super::connection::Connection;
use super::contest::Contest;
use super::desk::{Desk, Note};
use super::disk::{Disk, Done};
use super::failure::End;
use super::notices::Notices;
use super::outbox::Outbox;
use super::plan::Plan;
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
    Reported,
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
    notices: Notices,
    backoff: Backoff,
    contest: Contest,
    /// How long the last connection was up.
    up_for: Option<Duration>,
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
    pub(super) notices: Notices,
    pub(super) beat: Beat,
}

impl Link {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { plan, desk, status, link, commands, notes, changed, spill, ledger, notices, beat } = parts;
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
            contest: Contest::default(),
            up_for: None,
            notices,
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
            let contested = self.report(&end);
            if let Some(plan) = self.next_plan.take() {
                self.install(*plan);
                self.link.set(LinkState::Connecting);
                continue;
            }
            if self.is_over(Instant::now()) {
                break;
            }
            let backoff = self.backoff.next(rand::random());
            let pause = if contested { Contest::pause(rand::random()) } else { backoff };
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
                    "mqtt: the marks of requests that ran at a crash have not been read within {OPEN_PATIENCE:?}: until they \
                     are, such a request is run again"
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
                self.receive(publish, Instant::now());
            }
        }
        self.up_for = connection.up_since.map(|since| since.elapsed());
        if self.up_for.is_some_and(|up| up >= STEADY) {
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
        let (notes, commands, changed, notices) = (&mut self.notes, &mut self.commands, &self.changed, &self.notices);
        let abandoned = self.abandoned;
        let step = async {
            tokio::select! {
                event = poll => Step::Event(event),
                Some(note) = notes.recv() => Step::Note(note),
                command = commands.recv(), if !abandoned => Step::Command(command),
                () = changed.notified() => Step::StateChanged,
                () = notices.reported() => Step::Reported,
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
            Step::Reported => self.announcements.reported(),
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
