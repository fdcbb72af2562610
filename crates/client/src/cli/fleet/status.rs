//! `linnet fleet status`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use linnet_fleet::repository::{Repository, Role};
use linnet_fleet::waves::{Outcome, PushStanding, Tally, outcome};
use linnet_proto::fleet::{Report, Rollout};
use linnet_proto::words::shortened;

use super::args::{ReportsArgs, StatusArgs};
use super::change::newest_rollout;
use super::devices::{MAX_ROWS, left_out, number, table};
use super::link::{Link, Purpose};
use super::seen::Seen;
use super::{devices_text, fleet_name, load};
use crate::cli::output;
use crate::{ClientError, clock};

const DAY_SECS: u64 = 86_400;
/// Most of a generation's notes that is shown, characters; `--json` has all of them.
const MAX_NOTES_CHARS: usize = 200;
/// How often a watched table is shown anew at most.
const WATCH: Duration = Duration::from_secs(2);

pub(super) async fn run(args: StatusArgs) -> Result<ExitCode, ClientError> {
    let dir = &args.dir.dir;
    let repository = load(dir)?;
    if args.watch {
        let broker = args.reports.broker.required("")?;
        let link = Link::open(&broker, fleet_name(&repository)?, Purpose::Reports).await?;
        args.reports.hear(&link).await?;
        loop {
            let table = link.seen(|seen| Standing::new(&load(dir)?, seen).map(|it| it.for_people(seen)))?;
            // Clears the screen and goes to its first place.
            output::write(&format!("\x1b[2J\x1b[H{table}"))?;
            tokio::time::sleep(WATCH).await;
        }
    }
    let seen = args.reports.seen(&repository).await?;
    let standing = Standing::new(&repository, &seen)?;
    if args.json {
        output::json(&standing.for_scripts(&seen))?;
    } else {
        output::write(&standing.for_people(&seen))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl ReportsArgs {
    /// The reports, from a file or from a broker.
    pub(super) async fn seen(&self, repository: &Repository) -> Result<Seen, ClientError> {
        if let Some(file) = &self.reports {
            return Seen::read(repository.fleet(), file);
        }
        let broker = self.broker.required(", or read reports from a file with --reports")?;
        let link = Link::open(&broker, fleet_name(repository)?, Purpose::Reports).await?;
        self.hear(&link).await?;
        Ok(link.seen(Seen::clone))
    }

    async fn hear(&self, link: &Link) -> Result<(), ClientError> {
        let heard = link.hear(Duration::from_secs(self.listen)).await.ok_or_else(|| link.lost())?;
        if !heard.is_whole {
            eprintln!(
                "linnet: reports still came when {} s were over, so this may not be all of them; --listen says how long they are waited for",
                self.listen
            );
        }
        if heard.devices == 0 {
            eprintln!(
                "linnet: {} has no report of a device of this fleet, or this user may not read linnet/+/config/reported",
                link.address()
            );
        }
        Ok(())
    }
}

/// What the repository says, beside the reports.
struct Standing {
    fleet: String,
    newest: u64,
    /// What its operator wrote of the newest generation.
    notes: String,
    rollout: Option<Rollout>,
    push: Option<String>,
    expiring: Vec<(Role, u64)>,
}

impl Standing {
    fn new(repository: &Repository, seen: &Seen) -> Result<Self, ClientError> {
        let now = clock::now_secs();
        let rollout = newest_rollout(repository)?;
        let push = repository.settings().push.as_ref().map(|push| {
            let state = match &push.state {
                PushStanding::Running => "running".to_owned(),
                PushStanding::Paused(why) => format!("paused: {why}"),
                PushStanding::Done => "done".to_owned(),
            };
            // A generation that is gone was for everybody, for all that can still be said.
            let audience = repository.generation(push.number).map(|generation| generation.audience).unwrap_or_default();
            let (newest, all, _) = seen.tally(push, &seen.meant(&[&push.to, &audience]));
            let number = format!("{} to {}", push.number, push.to);
            if push.state == PushStanding::Done {
                let open = all.working + all.silent;
                let Tally { confirmed, failed, .. } = &all;
                return format!(
                    "generation {number}, done: {confirmed} confirmed, {failed} failed, {open} have not ended"
                );
            }
            format!(
                "generation {number}, wave {} of {}, {state}; the wave: {} confirmed, {} failed, {} at work, {} silent",
                push.wave,
                push.waves.len(),
                newest.confirmed,
                newest.failed,
                newest.working,
                newest.silent
            )
        });
        let expiring = Role::ALL.into_iter().map(|role| (role, repository.expires_secs(role).saturating_sub(now)));
        Ok(Self {
            fleet: repository.fleet().to_owned(),
            newest: repository.newest(),
            notes: repository.generation(repository.newest()).map(|generation| generation.notes).unwrap_or_default(),
            rollout,
            push,
            expiring: expiring.filter(|(_, left)| *left < 14 * DAY_SECS).collect(),
        })
    }

    fn for_people(&self, seen: &Seen) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "fleet     {}, newest generation {}", self.fleet, self.newest);
        if !self.notes.is_empty() {
            let _ = writeln!(text, "notes     {}", shortened(&self.notes, MAX_NOTES_CHARS));
        }
        if let Some(push) = &self.push {
            let _ = writeln!(text, "push      {push}");
        }
        for (role, left) in &self.expiring {
            let _ = writeln!(text, "expires   {role} in {} days; `linnet fleet refresh`", left / DAY_SECS);
        }
        let mut running: BTreeMap<u64, usize> = BTreeMap::new();
        for report in seen.last() {
            *running.entry(report.running.generation).or_default() += 1;
        }
        let running: Vec<String> =
            running.iter().rev().map(|(it, n)| format!("{n} run {}", running_text(*it))).collect();
        let _ = writeln!(
            text,
            "devices   {}{}{}",
            seen.len(),
            if running.is_empty() { "" } else { ": " },
            running.join(", ")
        );
        for (name, reports) in seen.duplicates() {
            let _ = writeln!(text, "duplicate {name} is borne by {}", devices_text(reports.len()));
        }
        let contested = seen.last().filter(|report| report.contested).count();
        if contested > 0 {
            let _ = writeln!(
                text,
                "duplicate {} that another client takes {}; `linnet fleet devices` has the way out",
                if contested == 1 { "1 device says".to_owned() } else { format!("{contested} devices say") },
                if contested == 1 { "its session" } else { "their sessions" }
            );
        }
        if let Some(left_out) = seen.left_out_said() {
            let _ = writeln!(text, "left out  {left_out}");
        }
        if seen.len() > 0 {
            let row = |report: &Report| {
                // Where nothing was ever pushed there is no update whose state could be told.
                let (update, state) = match report.generation {
                    0 => ("-".to_owned(), "-".to_owned()),
                    update => (update.to_string(), report.state.as_str().to_owned()),
                };
                let reason = report.reason.clone().unwrap_or_default();
                [
                    report.device.clone(),
                    number(report.running.generation),
                    update,
                    state,
                    report.linnetd.clone(),
                    reason,
                ]
            };
            let rows: Vec<_> = seen.last().take(MAX_ROWS).map(row).collect();
            text.push('\n');
            text.push_str(&table(["device", "runs", "update", "state", "linnetd", "reason"], &rows));
            text.push_str(&left_out(seen.len()));
        }
        text
    }

    fn for_scripts(&self, seen: &Seen) -> serde_json::Value {
        let mut confirmed = 0;
        let mut failed = 0;
        if let Some(rollout) = &self.rollout {
            for report in seen.last() {
                match outcome(report, rollout.number, rollout.attempt) {
                    Outcome::Confirmed => confirmed += 1,
                    Outcome::Failed => failed += 1,
                    Outcome::Silent | Outcome::Working => {}
                }
            }
        }
        let duplicates: Vec<&String> = seen.duplicates().map(|(name, _)| name).collect();
        let expires: BTreeMap<&str, u64> = self.expiring.iter().map(|(role, left)| (role.as_str(), *left)).collect();
        serde_json::json!({
            "fleet": self.fleet,
            "newest": self.newest,
            "notes": self.notes,
            "rollout": self.rollout,
            "confirmed": confirmed,
            "failed": failed,
            "expires_in_secs": expires,
            "duplicates": duplicates,
            "passed_over": seen.passed_over,
            "left_out": seen.left_out,
            "devices": seen.last().collect::<Vec<&Report>>(),
        })
    }
}

fn running_text(generation: u64) -> String {
    if generation == 0 { "what was shipped".to_owned() } else { generation.to_string() }
}
