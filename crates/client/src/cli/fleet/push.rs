//! `linnet fleet push`: signs wave after wave as reports come. What decides is `linnet_fleet::waves`; this carries it out.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linnet_fleet::bucket;
use linnet_fleet::keys::Keys;
use linnet_fleet::repository::{Editor, Repository, RepositoryError};
use linnet_fleet::waves::{Decision, PushRecord, PushStanding, Rules, Share, Tally, decide, waves};
use linnet_proto::fleet::Selector;

use super::args::PushArgs;
use super::copies::Told;
use super::hearing::LONGEST;
use super::link::Link;
use super::pulse::{Pulse, time_left};
use super::serve::LOOK;
use super::{ask, devices_text, fleet_name, load};
use crate::cli::output;
use crate::{ClientError, clock};

/// How long devices that come back with a broker are listened to at most before anything is decided.
const LISTEN: Duration = Duration::from_secs(30);
/// Most names of silent devices that are printed.
const MAX_NAMES: usize = 20;
/// Most failures that are printed, each with its reason.
const MAX_FAILED: usize = 3;

pub(super) async fn run(args: PushArgs) -> Result<ExitCode, ClientError> {
    let dir = args.dir.dir.clone();
    let broker = args.broker.required("; devices that fetch over HTTP or from a stick report over MQTT, too")?;
    let repository = load(&dir)?;
    let _only = Editor::hold_push(&dir).map_err(ClientError::Fleet)?;
    let registrar = args.grants.registrar(&dir, repository.fleet())?;
    let mut link = Link::open_to_serve(&broker, fleet_name(&repository)?, &dir, registrar).await?;
    link.publish(&repository).await?;
    let heard = link.hear(LONGEST).await.ok_or_else(|| link.lost())?;
    eprintln!("linnet: {}", heard.said());

    let push = if args.resume { resumed(&repository)? } else { begun(&args, &repository, &link)? };
    let audience = repository.generation(push.number).map_err(ClientError::Fleet)?.audience;
    let mut pushing = Pushing {
        dir,
        link,
        push,
        audience,
        keys: Arc::new(Mutex::new(ask::keys())),
        bar: bar(),
        pulse: Pulse::default(),
        has_begun: false,
        heard_on: heard.connection,
        away: None,
        away_secs: 0,
        untold: None,
        ending: None,
        waits_for: None,
        copies: Told::default(),
    };
    let ended = pushing.run().await;
    pushing.bar.finish_and_clear();
    let (_, all, _) = pushing.tally();
    if args.json {
        let push = &pushing.push;
        let (halted, paused) = match &ended {
            Err(ClientError::Halted(_)) => (true, true),
            Err(ClientError::Paused(_)) => (false, true),
            _ => (false, false),
        };
        output::json(&serde_json::json!({
            "generation": push.number, "attempt": push.attempt, "wave": push.wave, "waves": push.waves.len(),
            "done": ended.is_ok(), "halted": halted, "paused": paused, "confirmed": all.confirmed,
            "failed": all.failed, "working": all.working, "silent": all.silent,
        }))?;
    }
    ended?;
    if !args.json {
        let (number, confirmed, failed, silent) =
            (pushing.push.number, all.confirmed, all.failed, all.silent + all.working);
        let text = match all.devices() {
            0 => format!(
                "no known device is meant: generation {number} is open for those that report later ({})\n",
                pushing.shown_audience()
            ),
            _ => format!(
                "generation {number} is open for every device that is meant: {} confirmed it, {failed} failed, {silent} have not ended\n",
                devices_text(confirmed)
            ),
        };
        output::write(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The push that was left.
fn resumed(repository: &Repository) -> Result<PushRecord, ClientError> {
    let push = repository.settings().push.clone();
    let push =
        push.ok_or_else(|| ClientError::BadUrl("no push was left that could be taken up; begin one with --to".into()))?;
    let newer = match repository.newest() {
        newest if newest > push.number => format!("; generation {newest}, which is newer, is not part of it"),
        _ => String::new(),
    };
    eprintln!(
        "linnet: going on with the push of generation {} at wave {} of {}{newer}",
        push.number,
        push.wave,
        push.waves.len()
    );
    Ok(push)
}

/// A new push over the devices that are known.
fn begun(args: &PushArgs, repository: &Repository, link: &Link) -> Result<PushRecord, ClientError> {
    let number = args.generation.unwrap_or_else(|| repository.newest());
    let generation = repository.generation(number).map_err(ClientError::Fleet)?;
    let rules = Rules {
        waves: args.waves.clone(),
        max_failed: args.max_failed,
        min_reported: args.min_reported,
        wait_secs: args.wait,
    };
    rules.check().map_err(ClientError::BadUrl)?;
    let to = args.to.clone().unwrap_or_default();
    let selectors = [&to, &generation.audience];
    let (devices, too_old) = link.seen(|seen| (seen.meant(&selectors), seen.too_old(&selectors)));
    if devices.is_empty() && rules.waves != [Share::ALL] {
        let old = if too_old.is_empty() { String::new() } else { format!(" ({})", cannot_read(&too_old)) };
        return Err(ClientError::BadUrl(format!(
            "no device that --to means has reported{old}, so nothing would hold a wave back; wait for devices, or open for all \
             that may come with --waves 100%"
        )));
    }
    let earlier = repository.rollout(number).map_err(ClientError::Fleet)?.map_or(0, |rollout| rollout.attempt);
    let attempt = if args.retry { earlier + 1 } else { earlier.max(1) };
    let salt = format!("{:016x}", rand::random::<u64>());
    let waves = waves(&rules, &salt, &devices);
    Ok(PushRecord { number, attempt, to, salt, rules, waves, wave: 0, opened_at_secs: 0, state: PushStanding::Running })
}

fn bar() -> ProgressBar {
    // The template is ours; one that did not parse would fall back to indicatif's own.
    let style = ProgressStyle::with_template("{spinner} {prefix} [{wide_bar:.green}] {pos} of {len} {msg}");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// How a push ends.
type Ending = Result<(), ClientError>;

/// What holds a push up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Broker,
    /// It is there, and refuses, with this reason code.
    Refusing(u8),
    Repository,
}

struct Pushing {
    dir: std::path::PathBuf,
    link: Link,
    push: PushRecord,
    audience: Selector,
    keys: Arc<Mutex<Keys<'static>>>,
    bar: ProgressBar,
    /// What is told in the bar's place where there is no terminal.
    pulse: Pulse,
    has_begun: bool,
    /// The connection that reports were listened for on.
    heard_on: u64,
    /// Since when the broker is away.
    away: Option<Instant>,
    /// How long it was away since the newest wave was opened: no device could report, so `--wait` does not count it.
    away_secs: u64,
    /// Buckets that were opened and whose devices nobody has told yet.
    untold: Option<Range<u32>>,
    /// What the push ends with once the broker has what was signed last.
    ending: Option<Ending>,
    /// What it waits for, where that was said.
    waits_for: Option<Awaited>,
    /// Devices of which it was said that they bear one name.
    copies: Told,
}

impl Pushing {
    async fn run(&mut self) -> Ending {
        loop {
            match self.step().await {
                Ok(Some(ended)) => return ended,
                Ok(None) => self.waits_for = None,
                // Who hears nothing decides nothing.
                Err(ClientError::Broker { reason, .. }) => {
                    self.away.get_or_insert_with(Instant::now);
                    self.say_once(
                        Awaited::Broker,
                        &format!("the broker is away ({reason}); nothing is opened until it is back"),
                    );
                }
                // No device can hear of what it does not take, so that `--wait` does not count this either.
                Err(ClientError::BrokerRefuses { said, code, .. }) => {
                    self.away.get_or_insert_with(Instant::now);
                    self.say_once(Awaited::Refusing(code), &format!("the broker {said}; it is tried again meanwhile"));
                }
                // What is to be signed, a halt above all, is signed as soon as the other one is done.
                Err(ClientError::Fleet(RepositoryError::Locked { holder, .. })) => {
                    let why = format!("the repository is in use by {holder}; what is to be signed waits for that");
                    self.say_once(Awaited::Repository, &why);
                }
                Err(e) => return Err(e),
            }
            // Not at each report: ten thousand come at once, and each look counts them all.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Looks once, and does what there is to do. `Some` where the push has ended.
    async fn step(&mut self) -> Result<Option<Ending>, ClientError> {
        let copies = self.link.seen(|seen| self.copies.untold(seen));
        for line in copies.into_iter().chain(self.link.said()) {
            self.say(&line);
        }
        self.catch_up().await?;
        if !self.has_begun {
            self.begin().await?;
            self.has_begun = true;
        } else {
            self.adopt()?;
            if self.ending.is_none() {
                self.decide().await?;
            }
        }
        self.catch_up().await?;
        // Not before the broker has it: nobody else would tell the devices.
        Ok(self.ending.take())
    }

    /// Has the broker hold what the repository does, and hears what it has kept since it was away.
    async fn catch_up(&mut self) -> Result<(), ClientError> {
        if let Some(fault) = self.link.down() {
            return Err(self.link.of_fault(&fault));
        }
        let connection = self.link.connection();
        self.link.follow(&self.dir).await?;
        if self.heard_on != connection {
            // What was reported meanwhile, a failure above all, may still be on its way to the broker.
            let heard = self.link.hear(LONGEST).await.ok_or_else(|| self.link.lost())?;
            self.heard_on = heard.connection;
            self.say(&heard.said());
            self.link.listen(LISTEN).await;
        }
        if self.link.down().is_some() || self.link.connection() != connection {
            return Err(self.link.lost());
        }
        if let Some(since) = self.away.take() {
            self.away_secs += since.elapsed().as_secs();
        }
        self.tell().await
    }

    /// Begins with the first wave, or goes on with the one that was left.
    async fn begin(&mut self) -> Result<(), ClientError> {
        if self.push.wave == 0 {
            let known = match self.meant().len() {
                0 => "devices that report later, as no known device is meant".to_owned(),
                meant => devices_text(meant),
            };
            self.sign_wave(1).await?;
            let (number, to, waves) = (self.push.number, self.shown_audience(), self.push.waves.len());
            self.say(&format!("generation {number} for {known} ({to}), waves: {waves}"));
            let too_old = self.link.seen(|seen| seen.too_old(&[&self.push.to, &self.audience]));
            if !too_old.is_empty() {
                self.say(&format!("{}; update linnetd there", cannot_read(&too_old)));
            }
        } else if self.push.state != PushStanding::Running {
            // A pause is over when somebody says so; its wave is waited for anew.
            self.sign_wave(self.push.wave).await?;
        } else {
            // Whoever was cut off may have signed it and told nobody.
            self.untold = Some(0..self.push.opened());
        }
        Ok(())
    }

    /// Does what the rules say now.
    async fn decide(&mut self) -> Result<(), ClientError> {
        let (newest, all, open) = self.tally();
        let waited = clock::now_secs().saturating_sub(self.push.opened_at_secs).saturating_sub(self.away_secs);
        self.show(&newest, self.push.rules.wait_secs.saturating_sub(waited));
        let is_last = self.push.wave >= self.push.waves.len();
        match decide(&self.push.rules, &newest, &all, waited, is_last) {
            Decision::Wait => {}
            Decision::Open => {
                let ended = self.push.wave;
                self.sign_wave(ended + 1).await?;
                let Tally { confirmed, failed, .. } = newest;
                let open = newest.devices() - newest.reported();
                let waves = self.push.waves.len();
                self.say(&format!("wave {ended} of {waves}: {confirmed} confirmed, {failed} failed, {open} have not ended; the next one opens"));
            }
            Decision::Done => {
                self.sign(self.push.wave, PushStanding::Done).await?;
                self.ending = Some(Ok(()));
            }
            Decision::Pause(why) => {
                self.sign(self.push.wave, PushStanding::Paused(why.to_string())).await?;
                let number = self.push.number;
                let wave =
                    format!("generation {number} at wave {} of {}: {why}", self.push.wave, self.push.waves.len());
                self.ending = Some(Err(match why {
                    linnet_fleet::waves::Why::Failures { .. } => ClientError::Halted(format!(
                        "{wave}: {}; no further device begins. `linnet fleet status` shows all; go back with `linnet fleet rollback`",
                        self.failed()
                    )),
                    linnet_fleet::waves::Why::Silent { .. } => ClientError::Paused(format!(
                        "{wave}; not ended: {}. `linnet fleet push --resume` waits again, `linnet fleet promote` goes on without them",
                        names(&open)
                    )),
                }));
            }
        }
        Ok(())
    }

    /// Signs that a wave is open. The devices that it adds are to be told; those that have not ended, where it was open before.
    async fn sign_wave(&mut self, wave: usize) -> Result<(), ClientError> {
        let from = if wave == self.push.wave { 0 } else { self.push.opened() };
        self.sign(wave, PushStanding::Running).await?;
        self.is_to_be_told(from);
        Ok(())
    }

    /// The devices from bucket `from` to the newest wave's are to be told, with those of an earlier wave that was opened while the broker went.
    fn is_to_be_told(&mut self, from: u32) {
        let from = self.untold.as_ref().map_or(from, |untold| untold.start.min(from));
        self.untold = Some(from..self.push.opened());
    }

    /// Tells the devices of what was opened since the last call, now that the broker has it.
    async fn tell(&mut self) -> Result<(), ClientError> {
        let Some(untold) = self.untold.clone().filter(|_| self.ending.is_none()) else { return Ok(()) };
        let meant = self.meant();
        let of = (self.push.number, self.push.attempt);
        let told = self.link.seen(|seen| seen.open(of, &self.push.salt, &meant, untold));
        match self.link.hint(&told, self.push.number).await {
            // They look by themselves, too, if later.
            Err(e) if self.link.down().is_none() => self.say(&format!("the devices were not told to look: {e}")),
            told => told?,
        }
        self.untold = None;
        if let Some(opened) = self.push.nth_wave(self.push.wave) {
            let is_open = |device: &&String| bucket(&self.push.salt, device) < opened.opened;
            let open = match meant.len() {
                0 => "no known device is meant".to_owned(),
                all => format!("{} of {}", meant.iter().filter(is_open).count(), devices_text(all)),
            };
            let (wave, waves) = (self.push.wave, self.push.waves.len());
            let wait = match meant.len() {
                0 => String::new(),
                _ => format!("; reports are waited for, {} at most", time_left(self.push.rules.wait_secs)),
            };
            self.say(&format!("wave {wave} of {waves} is open ({}): {open}{wait}", opened.share));
        }
        Ok(())
    }

    /// Signs how far the push is open, and remembers it. Signing may wait for a person, so it does not hold up the connection.
    async fn sign(&mut self, wave: usize, state: PushStanding) -> Result<(), ClientError> {
        let mut push = self.push.clone();
        if wave != push.wave || push.state != PushStanding::Running {
            push.opened_at_secs = clock::now_secs();
        }
        let is_anew = push.opened_at_secs != self.push.opened_at_secs;
        push.wave = wave;
        push.state = state;
        let (dir, keys, signed) = (self.dir.clone(), self.keys.clone(), push.clone());
        let expected = self.push.clone();
        let signing = tokio::task::spawn_blocking(move || {
            let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
            sign(&dir, &expected, &signed, &mut keys)
        });
        signing.await.map_err(|e| ClientError::Beside(e.to_string()))??;
        self.push = push;
        if is_anew {
            self.away_secs = 0;
        }
        Ok(())
    }

    /// Takes over what somebody else did to this push: a pause ends it, a wave that was opened is open.
    fn adopt(&mut self) -> Result<(), ClientError> {
        let now = load(&self.dir)?.settings().push.clone();
        match now {
            Some(push) if push == self.push => {}
            Some(push) if push.salt == self.push.salt => {
                let before = std::mem::replace(&mut self.push, push);
                // The second in which a wave was opened tells nothing of two that were opened in one.
                if (before.opened_at_secs, before.wave) != (self.push.opened_at_secs, self.push.wave) {
                    self.away_secs = 0;
                    // Whoever opened it may have had no broker to tell the devices over.
                    self.is_to_be_told(if before.wave == self.push.wave { 0 } else { before.opened() });
                }
                if let PushStanding::Paused(why) = &self.push.state {
                    self.ending = Some(Err(ClientError::Paused(format!("generation {}: {why}", self.push.number))));
                }
            }
            _ => return Err(ClientError::Paused("another push has begun out of this repository".into())),
        }
        Ok(())
    }

    fn meant(&self) -> BTreeSet<String> {
        self.link.seen(|seen| seen.meant(&[&self.push.to, &self.audience]))
    }

    /// Whom it is for: what `--to` says, and what the generation was published for where that is less than all.
    fn shown_audience(&self) -> String {
        match &self.audience {
            audience if *audience == Selector::default() => self.push.to.to_string(),
            audience => format!("{}, of those that it was published for: {audience}", self.push.to),
        }
    }

    fn tally(&self) -> (Tally, Tally, Vec<String>) {
        let meant = self.meant();
        self.link.seen(|seen| seen.tally(&self.push, &meant))
    }

    /// Who failed, and why.
    fn failed(&self) -> String {
        let meant = self.meant();
        let (named, more) = self.link.seen(|seen| seen.failed(&self.push, &meant, MAX_FAILED));
        let named = named.join(", ");
        if more > 0 { format!("{named} and {more} more") } else { named }
    }

    /// How the newest wave stands, `left` seconds before it is waited for no longer: a bar on a terminal, elsewhere a line now and then.
    fn show(&mut self, newest: &Tally, left: u64) {
        self.bar.set_prefix(format!("wave {} of {}", self.push.wave, self.push.waves.len()));
        self.bar.set_message(format!(
            "ended, {} failed; {} at work, {} silent; {} left",
            newest.failed,
            newest.working,
            newest.silent,
            time_left(left)
        ));
        // Both at once: one after the other they would show more ended than there are.
        self.bar.update(|bar| {
            bar.set_len(newest.devices() as u64);
            bar.set_pos(newest.reported() as u64);
        });
        // Nothing is shown of it before there is something to count.
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        // Still: there is no terminal.
        if self.bar.is_hidden()
            && let Some(line) = self.pulse.line((self.push.wave, self.push.waves.len()), *newest, left, Instant::now())
        {
            self.say(&line);
        }
    }

    /// Says why it waits, if it did not say so last.
    fn say_once(&mut self, what: Awaited, text: &str) {
        if self.waits_for.replace(what) != Some(what) {
            self.say(text);
        }
    }

    fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("linnet: {text}"));
    }
}

/// Signs the rollout of `push` and writes its record, if the record is still the one that was decided on.
fn sign(dir: &Path, expected: &PushRecord, push: &PushRecord, keys: &mut Keys<'_>) -> Result<(), ClientError> {
    let mut editor = begin(dir)?;
    let there = editor.settings().push.as_ref();
    if there.is_some_and(|there| there.salt == expected.salt && there != expected) {
        return Err(ClientError::Paused(
            "somebody else changed this push meanwhile; `linnet fleet push --resume` goes on".into(),
        ));
    }
    let mut rollout = editor.new_rollout(push.number, push.to.clone(), &push.salt).map_err(ClientError::Fleet)?;
    rollout.opened = push.opened();
    rollout.wave = u32::try_from(push.wave).unwrap_or(u32::MAX);
    rollout.paused = matches!(push.state, PushStanding::Paused(_));
    rollout.attempt = push.attempt;
    if editor.rollout(push.number).map_err(ClientError::Fleet)?.as_ref() != Some(&rollout) {
        editor.roll_out(&rollout, keys, clock::now_secs()).map_err(ClientError::Fleet)?;
    }
    // After the rollout: cut off between the two, the wave is opened again, which changes nothing.
    editor.record_push(Some(push.clone())).map_err(ClientError::Fleet)
}

/// Takes the lock; a refresh that just runs is waited for, and whatever holds it longer is named and waited for by the caller.
fn begin(dir: &Path) -> Result<Editor, ClientError> {
    for _ in 0..50 {
        match Editor::begin(dir, "push") {
            Err(RepositoryError::Locked { .. }) => std::thread::sleep(Duration::from_millis(100)),
            begun => return begun.map_err(ClientError::Fleet),
        }
    }
    Editor::begin(dir, "push").map_err(ClientError::Fleet)
}

/// Devices that pass over a push because of what its audience says.
fn cannot_read(devices: &BTreeSet<String>) -> String {
    let listed: Vec<String> = devices.iter().cloned().collect();
    format!(
        "{} would be meant, but run a linnetd that knows no percent=: {}",
        devices_text(devices.len()),
        names(&listed)
    )
}

fn names(devices: &[String]) -> String {
    let more = devices.len().saturating_sub(MAX_NAMES);
    let named = devices.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}
