//! `linnet fleet pause|promote|rollback|refresh|rotate-key|export`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use linnet_fleet::repository::{Diff, Editor, Repository, Role};
use linnet_fleet::waves::{PushRecord, PushStanding};
use linnet_proto::fleet::Rollout;

use super::args::{BrokerArgs, ChangeArgs, ExportArgs, PromoteArgs, RefreshArgs, RollbackArgs, RotateArgs};
use super::hearing::LONGEST;
use super::link::{Link, Purpose};
use super::promoted::Promoted;
use super::{ask, command, fleet_name, new_keys, next_push};
use crate::cli::output;
use crate::mqtt::Broker;
use crate::{ClientError, clock};

const DAY_SECS: u64 = 86_400;
/// How often it is looked whether the broker has what the repository holds.
const LOOKS: usize = 3;

/// Publishes what has changed, where a broker is named; elsewhere `serve`, a web server or a stick does. The editor is done: a broker
/// may be slow, and a push that wants to halt does not wait for it.
async fn tell(broker: &BrokerArgs, editor: Editor) -> Result<Repository, ClientError> {
    let repository = editor.repository().clone();
    drop(editor);
    let Some(broker) = broker.broker()? else { return Ok(repository) };
    let published = publish(&broker, &repository).await;
    published.inspect_err(|_| {
        // Whoever repeats the command signs a second time.
        let again = command(repository.dir(), "refresh --within 1d", true);
        eprintln!("linnet: it is signed and stands in the repository; the broker does not have it yet: `{again}` brings it there, as `serve` does");
    })?;
    Ok(repository)
}

async fn publish(broker: &Broker, repository: &Repository) -> Result<(), ClientError> {
    let mut link = Link::open(broker, fleet_name(repository)?, Purpose::Publish).await?;
    // What was signed and published meanwhile may just have been overwritten with what was read before: so it is read once more.
    for _ in 0..LOOKS {
        link.follow(repository.dir()).await?;
    }
    Ok(())
}

/// Has the devices look that have something to begin with: their buckets are opened now and were not `before`. How many they are, where a broker
/// is named.
async fn hint(
    broker: &BrokerArgs,
    repository: &Repository,
    rollout: &Rollout,
    before: u32,
) -> Result<Option<usize>, ClientError> {
    let Some(broker) = broker.broker()? else { return Ok(None) };
    let audience = repository.generation(rollout.number).map_err(ClientError::Fleet)?.audience;
    let link = Link::open(&broker, fleet_name(repository)?, Purpose::Tell).await?;
    link.hear(LONGEST).await.ok_or_else(|| link.lost())?;
    let told = link.seen(|seen| {
        let meant = seen.meant(&[&rollout.to, &audience]);
        seen.open((rollout.number, rollout.attempt), &rollout.salt, &meant, before..rollout.opened)
    });
    link.hint(&told, rollout.number).await?;
    Ok(Some(told.len()))
}

/// The rollout of the newest generation that has one.
pub(super) fn newest_rollout(repository: &Repository) -> Result<Option<Rollout>, ClientError> {
    Ok(repository.rollouts().map_err(ClientError::Fleet)?.into_values().next_back())
}

fn no_push(dir: &std::path::Path) -> ClientError {
    ClientError::BadUrl(format!("nothing was pushed out of {} yet; `linnet fleet push` does it", dir.display()))
}

/// Signs that nobody else begins with the newest generation that was opened; `None` where none is open.
fn pause_newest(editor: &mut Editor, why: &str) -> Result<Option<Rollout>, ClientError> {
    let Some(mut rollout) = newest_rollout(editor)? else { return Ok(None) };
    if !rollout.paused {
        rollout.paused = true;
        editor.roll_out(&rollout, &mut ask::keys(), clock::now_secs()).map_err(ClientError::Fleet)?;
    }
    // A push that is done stays done: what is paused are devices that come later.
    let of_it = |push: &PushRecord| push.number == rollout.number && push.state != PushStanding::Done;
    if let Some(mut push) = editor.settings().push.clone().filter(of_it) {
        push.state = PushStanding::Paused(why.to_owned());
        editor.record_push(Some(push)).map_err(ClientError::Fleet)?;
    }
    Ok(Some(rollout))
}

pub(super) async fn pause(args: ChangeArgs) -> Result<ExitCode, ClientError> {
    let dir = &args.dir.dir;
    // An address that is none is told before anything is signed.
    args.broker.broker()?;
    let mut editor = Editor::begin(dir, "pause").map_err(ClientError::Fleet)?;
    let rollout = pause_newest(&mut editor, "somebody paused it")?.ok_or_else(|| no_push(dir))?;
    let newest = editor.newest();
    let newer = match newest > rollout.number {
        true => format!("generation {newest}, which is newer, was pushed to nobody yet\n"),
        false => String::new(),
    };
    tell(&args.broker, editor).await?;
    let unpublished = match args.broker.mqtt.is_none() && !Editor::is_pushing(dir) {
        true => format!(
            "no device hears of it before it is published: a `serve` that runs does so, else `{}`, or `{}` where devices read a web server or a stick\n",
            command(dir, "pause", true),
            command(dir, "export DIR", false)
        ),
        false => String::new(),
    };
    output::write(&format!(
        "generation {} is paused at wave {}: no device begins with it, whoever has begun goes on\n{newer}{unpublished}",
        rollout.number, rollout.wave
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn promote(args: PromoteArgs) -> Result<ExitCode, ClientError> {
    let PromoteArgs { change: ChangeArgs { dir, broker }, all } = args;
    // An address that is none is told before anything is signed.
    broker.broker()?;
    let mut editor = Editor::begin(&dir.dir, "promote").map_err(ClientError::Fleet)?;
    let push = editor.settings().push.clone();
    let mut rollout = newest_rollout(&editor)?.ok_or_else(|| no_push(&dir.dir))?;
    let push = push.filter(|push| push.number == rollout.number);
    let (was_paused, before) = (std::mem::take(&mut rollout.paused), rollout.opened);
    match (&push, all) {
        (_, true) | (None, _) => rollout.opened = Rollout::BUCKETS,
        // A paused wave goes on; an open one is followed by the next.
        (Some(_), false) if was_paused => {}
        (Some(push), false) => match push.nth_wave(push.wave + 1) {
            Some(next) => {
                rollout.opened = next.opened;
                rollout.wave += 1;
            }
            None => {
                output::write(&format!("every wave of generation {} is open already\n", rollout.number))?;
                return Ok(ExitCode::SUCCESS);
            }
        },
    }
    let now = clock::now_secs();
    editor.roll_out(&rollout, &mut ask::keys(), now).map_err(ClientError::Fleet)?;
    let waves = push.as_ref().map(|push| push.waves.len());
    let (mut wave, mut share) = (rollout.wave as usize, None);
    if let Some(mut push) = push {
        push.wave = if rollout.opened == Rollout::BUCKETS { push.waves.len() } else { rollout.wave as usize };
        push.opened_at_secs = now;
        if push.state != PushStanding::Done {
            push.state = PushStanding::Running;
        }
        wave = push.wave;
        share =
            push.nth_wave(wave).filter(|_| rollout.opened < Rollout::BUCKETS).map(|wave| (wave.share, wave.devices));
        editor.record_push(Some(push)).map_err(ClientError::Fleet)?;
    }
    let repository = tell(&broker, editor).await?;
    let told = hint(&broker, &repository, &rollout, if was_paused { 0 } else { before }).await?;
    let promoted = Promoted {
        number: rollout.number,
        wave: waves.map(|waves| (wave, waves)),
        share,
        is_again: was_paused && !all,
        told,
        is_pushing: Editor::is_pushing(&dir.dir),
    };
    output::write(&promoted.text(&dir.dir))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rollback(args: RollbackArgs) -> Result<ExitCode, ClientError> {
    let RollbackArgs { generation, change: ChangeArgs { dir, broker }, notes, yes } = args;
    broker.broker()?;
    let mut editor = Editor::begin(&dir.dir, "rollback").map_err(ClientError::Fleet)?;
    let newest = editor.newest();
    let before = editor.generations().into_keys().rev().nth(1);
    let to = generation.or(before).ok_or_else(|| {
        ClientError::BadUrl(format!("there is no generation before {newest} to go back to; publish another instead"))
    })?;
    let now = clock::now_secs();
    let prepared = editor.prepare_rollback(to, &notes, now).map_err(ClientError::Fleet)?;
    let number = prepared.generation.number;
    let old = editor.generation(newest).map_err(ClientError::Fleet)?;
    output::write(&format!(
        "generation {newest} -> {number}, which is what {to} was\n{}",
        Diff::between(Some(&old), &prepared.generation)
    ))?;
    if !yes {
        // Who thinks about it holds nobody up.
        drop(editor);
        if !ask::confirm(&format!("Pause generation {newest} and sign generation {number}?"))? {
            output::write("nothing was signed\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        editor = ask::again(&dir.dir, "rollback", newest)?;
    }
    // First nobody else begins with what is bad.
    let why = format!("generation {number} goes back to {to}");
    let paused = match pause_newest(&mut editor, &why)? {
        Some(rollout) => format!("; {} is paused", rollout.number),
        None => String::new(),
    };
    editor.publish(&prepared, &mut ask::keys(), now).map_err(ClientError::Fleet)?;
    tell(&broker, editor).await?;
    output::write(&format!(
        "generation {number} is published with what {to} was{paused}\n{}",
        next_push(&dir.dir, " --waves 100%")
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn refresh(args: RefreshArgs) -> Result<ExitCode, ClientError> {
    let RefreshArgs { change: ChangeArgs { dir, broker }, within, role } = args;
    broker.broker()?;
    let mut editor = Editor::begin(&dir.dir, "refresh").map_err(ClientError::Fleet)?;
    let now = clock::now_secs();
    let mut roles: BTreeSet<Role> = role.into_iter().chain(Role::ONLINE).collect();
    if let Some(within) = within {
        let expiring = editor.expiring(within, now);
        roles.retain(|role| expiring.contains(role));
    }
    let is_due = !roles.is_empty();
    if is_due {
        editor.refresh(&roles, &mut ask::keys(), now).map_err(ClientError::Fleet)?;
    }
    // Where nothing is due, too: what was signed the last time may not have reached a broker that was away.
    let repository = tell(&broker, editor).await?;
    if is_due {
        let until = Role::ONLINE.iter().map(|role| repository.expires_secs(*role)).min().unwrap_or_default();
        output::write(&format!("signed anew; good for {} days\n", until.saturating_sub(now) / DAY_SECS))?;
    } else {
        output::write("nothing expires in that time\n")?;
    }
    // A timer's log is where this is noticed in time.
    for role in repository.expiring(60 * DAY_SECS, now) {
        if !Role::ONLINE.contains(&role) {
            let days = repository.expires_secs(role).saturating_sub(now) / DAY_SECS;
            eprintln!(
                "linnet: {role} expires in {days} days; with its key at hand: linnet fleet refresh --role {role}"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn rotate_key(args: RotateArgs) -> Result<ExitCode, ClientError> {
    let RotateArgs { roles, change: ChangeArgs { dir, broker }, keys } = args;
    broker.broker()?;
    let roles: BTreeSet<Role> = roles.into_iter().flatten().collect();
    let roles: Vec<Role> = roles.into_iter().collect();
    let mut editor = Editor::begin(&dir.dir, "rotate-key").map_err(ClientError::Fleet)?;
    let now = clock::now_secs();
    // New files beside the old ones, which stay until somebody removes them.
    let founding = new_keys::found(&roles, &dir.dir, &keys, &format!("-{now}"))?;
    let old = editor.settings().keys.clone();
    let old = old.iter().filter(|(role, _)| roles.contains(role)).map(|(role, keys)| {
        let places: Vec<String> = keys.iter().map(ToString::to_string).collect();
        format!("  {role:<10}{}\n", places.join(", "))
    });
    let old: String = old.collect();
    editor.rotate(&founding, &mut ask::keys(), now).map_err(ClientError::Fleet)?;
    let version = editor.version(Role::Root);
    // Before the broker is asked, which may be away: they sign from now on.
    output::write(&format!(
        "the root has version {version}; the new keys:\n{}the old ones sign nothing any more: destroy them\n{old}",
        new_keys::warnings(&founding)
    ))?;
    tell(&broker, editor).await?;
    output::write(&after_rotation(&dir.dir, version, broker.broker()?.is_some()))?;
    Ok(ExitCode::SUCCESS)
}

/// Who learns of new keys when, and what is to be done for it.
fn after_rotation(dir: &std::path::Path, version: u64, is_published: bool) -> String {
    let export = command(dir, "export DIR", false);
    let by_mqtt = match is_published {
        true => "the broker has them: devices that read MQTT learn them at their next look (fleet.refresh_secs, an hour unless it is set)".to_owned(),
        false => format!(
            "no device knows them yet: `{}` gives them to those that read MQTT, at their next look (fleet.refresh_secs, an hour unless it is set); \
             a push or serve that runs does so by itself",
            command(dir, "serve", true)
        ),
    };
    format!(
        "{by_mqtt}\n\
         those that read a web server or a stick learn them after `{export}`; those that are switched off when they are back. Each root \
         from theirs to {version} must be there for them: none of metadata/*.root.json may be removed\n\
         the image of new devices may keep its root.json: they follow the roots from there\n"
    )
}

pub(super) fn export(args: &ExportArgs) -> Result<ExitCode, ClientError> {
    let absolute = |path: &std::path::Path| {
        std::path::absolute(path).map_err(|source| ClientError::Read { path: path.display().to_string(), source })
    };
    let mut editor = Editor::begin(&absolute(&args.dir.dir)?, "export").map_err(ClientError::Fleet)?;
    let exported = editor.export(&absolute(&args.to)?).map_err(ClientError::Fleet)?;
    output::write(&format!(
        "{} is up to date: {} new files, {:.1} MiB\n",
        args.to.display(),
        exported.files,
        exported.bytes as f64 / f64::from(1 << 20)
    ))?;
    Ok(ExitCode::SUCCESS)
}
