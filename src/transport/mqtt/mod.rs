//! MQTT 5: requests with a response topic or an id, each answered at least once.
//!
//! The way of one message: [`link`] polls the client library and hands what comes to the [`desk`], which reads where the
//! answer goes ([`envelope`]) and what is asked ([`request`], speech by [`payload`]), sees whether it is a repeat ([`fingerprint`], [`repeats`]),
//! and admits a job. The answer lies in the [`outbox`] until the broker has acknowledged it; only then is the request
//! acknowledged, in the order of receipt ([`release`]). Pieces of a streamed answer go before it ([`pieces`]). What ran when the daemon died stands in the [`ledger`]. A panic of the
//! link is survived ([`keeper`]), and a state directory that cannot be written is done without ([`storage`]).
//!
//! `docs/mqtt.md` shows topics, payloads and promises as a client sees them.

pub mod address;
mod announce;
pub mod answer;
mod arrival;
pub(crate) mod backoff;
pub mod bounds;
mod connection;
mod contest;
mod desk;
mod disk;
mod envelope;
pub mod exchange;
mod failure;
pub mod fingerprint;
mod keeper;
mod ledger;
mod link;
pub mod notices;
mod outbox;
pub mod payload;
mod pieces;
mod plan;
mod release;
mod repeats;
pub mod request;
mod spill;
mod storage;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linnet_proto::topic::TopicError;
use linnet_proto::words::without_login;
use rumqttc::v5::{ConnectionError, MqttOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::transport::{IntakeSettings, MqttSettings};
use crate::job::Admit;
use crate::status::{BrokerLink, StatusSource};
use crate::sys::clock;
use crate::sys::liveness::{Loops, Watch};

use bounds::{RECEIVE_SPARE, SAVE_PATIENCE};
use desk::Desk;
use ledger::Ledger;
use link::{Command, Link, Parts};
use notices::Notices;
use outbox::Outbox;
use plan::Plan;
use spill::Spill;
use storage::Storage;

/// Commands that may wait for the link.
const COMMANDS: usize = 4;

/// Why MQTT does not start, or why a reload keeps the old settings. That the broker is absent is no reason.
#[derive(Debug, thiserror::Error)]
pub enum MqttStartError {
    /// The broker's address is none.
    #[error("mqtt.url = {:?} {reason}", without_login(url))]
    Url {
        /// As configured.
        url: String,
        /// What is wrong and what is right.
        reason: String,
    },
    /// The device's name cannot be a topic level.
    #[error("mqtt.device: {0}")]
    Device(TopicError),
    /// A filter of the allow-list is malformed.
    #[error("mqtt.response_topics: {0}")]
    ResponseTopics(TopicError),
    /// MQTT allows no such client id.
    #[error("mqtt.client_id is empty or longer than 65535 bytes")]
    ClientId,
    /// TLS without anybody to trust.
    #[error("mqtt.url = {:?} needs mqtt.ca_file: the authorities that the broker's certificate may come from", without_login(.0))]
    NoAuthorities(String),
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The password's file is read and breaks a rule.
    #[error("{path}: {reason}", path = path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: &'static str,
    },
    /// A certificate or key cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// One sentence.
        reason: String,
    },
    /// The link's task is gone, which only a panic in it can cause.
    #[error("the MQTT link has ended; restart linnetd")]
    Gone,
}

/// MQTT while it serves. Dropping it ends the link at once, without a goodbye; [`MqttTransport::drain`] is the gentle way.
pub struct MqttTransport {
    commands: mpsc::Sender<Command>,
    changed: Arc<Notify>,
    status: Arc<dyn StatusSource>,
    ledger: Arc<Ledger>,
    task: JoinHandle<()>,
    _watch: Watch,
}

impl MqttTransport {
    /// Checks the settings and begins to connect. Never waits for the broker. Must be called on a tokio runtime.
    ///
    /// A state directory that cannot be used is logged and done without: answers then survive a lost link, but not the
    /// daemon's end, and crashes are not counted.
    pub fn start(
        mqtt: MqttSettings,
        intake: IntakeSettings,
        admit: Arc<dyn Admit>,
        status: Arc<dyn StatusSource>,
        link: BrokerLink,
        notices: Notices,
        loops: &Loops,
    ) -> Result<Self, MqttStartError> {
        let plan = Plan::load(mqtt, intake, at_once(&*status))?;
        let storage = Storage::new(plan.settings.state_dir.join("mqtt"), link.clone());
        let ledger = Arc::new(Ledger::new(storage.clone()));
        // The link waits for it, and nobody else.
        let of_ledger = Arc::clone(&ledger);
        let ledger_read = tokio::task::spawn_blocking(move || of_ledger.load(clock::since_epoch()));
        let outbox = Outbox::new(usize::from(plan.receive_maximum), 1);
        let (notes_sender, notes) = mpsc::channel(note_places(&plan));
        let desk = Desk::new(&plan, admit, link.clone(), Arc::clone(&ledger), outbox, notes_sender);
        let (watch, of_link) = (loops.watch("the MQTT link"), link.clone());
        let beat = watch.beat();
        let (commands, received) = mpsc::channel(COMMANDS);
        let changed = Arc::new(Notify::new());
        let parts = Parts {
            plan,
            desk,
            status: Arc::clone(&status),
            link,
            commands: received,
            notes,
            changed: Arc::clone(&changed),
            spill: Spill::new(storage),
            ledger: ledger_read,
            notices,
            beat: beat.clone(),
        };
        let task = tokio::spawn(keeper::keep(Link::new(parts), of_link, beat));
        Ok(Self { commands, changed, status, ledger, task, _watch: watch })
    }

    /// Takes new settings and reads their files again. What a connection does not depend on changes at once; for the rest
    /// the link says goodbye and connects anew, while jobs go on. On an error everything stays as it was. The state
    /// directory cannot be changed.
    pub async fn reload(&self, mqtt: MqttSettings, intake: IntakeSettings) -> Result<(), MqttStartError> {
        let plan = Plan::load(mqtt, intake, at_once(&*self.status))?;
        self.commands.send(Command::Reload(Box::new(plan))).await.map_err(|_| MqttStartError::Gone)
    }

    /// Says that the daemon's state has changed: `state` is published again, at most once a second.
    pub fn state_changed(&self) {
        self.changed.notify_one();
    }

    /// Takes no new request from now on: what the broker delivers stays unacknowledged, for the next start. Called before
    /// the scheduler begins to turn jobs away, so that those too are left to the broker.
    pub async fn stop_intake(&self) {
        // Now, and not when the link comes to it: the end may be asked for a second time before.
        self.blame_nobody().await;
        // Fails only when the link has ended, and then nothing is taken either.
        let _ = self.commands.send(Command::StopIntake).await;
    }

    /// Takes no new request, lets what runs end for at most `grace`, delivers the answers, publishes `offline` and
    /// disconnects. Gives the number of jobs that were left: the broker delivers their requests again at the next start.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.blame_nobody().await;
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Drain { grace, done }).await.is_err() {
            return 0;
        }
        ended.await.unwrap_or(0)
    }

    /// The daemon ends as it was asked to: no request that runs is to blame for that. Waits for the files that say so as long as the end
    /// may wait for the disk.
    pub async fn blame_nobody(&self) {
        self.ledger.close();
        let ledger = Arc::clone(&self.ledger);
        let tidy = tokio::task::spawn_blocking(move || ledger.tidy());
        if tokio::time::timeout(SAVE_PATIENCE, tidy).await.is_err() {
            log::error!(
                "mqtt: the marks of running requests have not been removed within {SAVE_PATIENCE:?}; what stays of them counts as a crash at \
                 the next start"
            );
        }
    }
}

impl Drop for MqttTransport {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Options of a connection that is no device's link: no last will, and no session that outlives it.
pub fn plain_connection(mqtt: MqttSettings, intake: IntakeSettings) -> Result<MqttOptions, MqttStartError> {
    Ok(Plan::load(mqtt, intake, 1)?.beside_link(""))
}

/// Why a connection ended, one sentence that names the way out; `connected` says whether CONNACK had come.
pub fn why_ended(error: &ConnectionError, connected: bool) -> String {
    match failure::End::of(error, connected) {
        failure::End::Lost(why) | failure::End::Malformed(why) | failure::End::Dropped(why) => why,
        failure::End::Closed => "it was closed".to_owned(),
        failure::End::TakenOver => "another client came under the same id".to_owned(),
    }
}

/// Notes that may wait for the link.
fn note_places(plan: &Plan) -> usize {
    usize::from(plan.receive_maximum).max(1)
}

/// Requests that the daemon may hold, and some more, so that one beyond is told `overloaded`.
fn at_once(status: &dyn StatusSource) -> usize {
    let status = status.status();
    status.limits.queue_length + status.workers + RECEIVE_SPARE
}
