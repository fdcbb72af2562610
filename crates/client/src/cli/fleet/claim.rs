//! `linnet fleet claim`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linnet_fleet::claims::ledger::Standing;
use linnet_fleet::claims::{CreateError, Draft, Ledger, LedgerError, Names, create, date};
use linnet_fleet::repository::Repository;

use super::claim_args::{ClaimCommand, CreateArgs, LedgerArgs, ListArgs, ReleaseArgs, RevokeArgs};
use super::devices::table;
use super::load;
use super::new_keys::keys_dir;
use super::secret_file::SecretFile;
use crate::cli::output;
use crate::{ClientError, clock};

/// Largest file that goes into a claim, bytes.
const MAX_FILE_BYTES: u64 = 128 << 10;

pub(super) fn run(command: ClaimCommand) -> Result<ExitCode, ClientError> {
    match command {
        ClaimCommand::Create(args) => make(*args),
        ClaimCommand::List(args) => list(&args),
        ClaimCommand::Revoke(args) => revoke(&args),
        ClaimCommand::Release(args) => release(&args),
    }
}

impl LedgerArgs {
    /// The repository, and the directory of keys, which must not lie in it.
    fn places(&self) -> Result<(Repository, PathBuf), ClientError> {
        let dir = &self.dir.dir;
        let repository = load(dir)?;
        let keys = keys_dir(dir, self.keys.as_deref())?;
        if std::path::absolute(dir).is_ok_and(|dir| keys.starts_with(dir)) {
            return Err(ClientError::BadUrl(format!(
                "claims would be remembered in {}, in the repository, which others read; name a directory elsewhere with --keys",
                keys.display()
            )));
        }
        Ok((repository, keys))
    }

    fn ledger(&self) -> Result<Ledger, ClientError> {
        let (repository, keys) = self.places()?;
        Ledger::open(&keys, repository.fleet()).map_err(of_ledger)
    }
}

fn of_ledger(e: LedgerError) -> ClientError {
    match e {
        LedgerError::Refused(reason) => ClientError::BadUrl(reason),
        e => ClientError::Beside(e.to_string()),
    }
}

fn make(args: CreateArgs) -> Result<ExitCode, ClientError> {
    let (repository, keys) = args.ledger.places()?;
    // Before anything is remembered: a claim that nobody has is worth nothing.
    let output = match args.output.as_os_str() == "-" {
        true => None,
        false => Some(SecretFile::begin(&args.output)?),
    };
    let newest = format!("{}.root.json", repository.version(linnet_fleet::repository::Role::Root));
    let files = repository.metadata_files().map_err(ClientError::Fleet)?;
    let root = files.into_iter().find(|(name, _)| *name == newest).map(|(_, bytes)| bytes).unwrap_or_default();
    let names = match (args.name, args.pattern) {
        (Some(name), _) => Names::One(name),
        (None, Some(pattern)) => Names::Pattern(pattern),
        (None, None) => Names::Own,
    };
    // The operator's own login is in LINNET_MQTT_URL, and no device's.
    if let Some((_, address)) = args.mqtt.rsplit_once('@') {
        return Err(ClientError::BadUrl(format!(
            "the claim gives devices the broker's address, without a user: --mqtt mqtt://{address} (or mqtts://…); --mqtt-user names the user that they ask \
             for their names as"
        )));
    }
    let password = args.mqtt_password_file.as_deref().map(read).transpose()?;
    let draft = Draft {
        uses: args.uses,
        days: args.days,
        names,
        groups: args.group.into_iter().collect(),
        labels: args.label.into_iter().collect(),
        url: args.mqtt,
        username: args.mqtt_user,
        password: password.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()),
        client_cert: args.client_cert.zip(args.client_key),
        ca: args.ca_file.as_deref().map(read).transpose()?,
        root: String::from_utf8_lossy(&root).into_owned(),
    };
    if ["://localhost", "://127.", "://[::1]"].iter().any(|here| draft.url.contains(here)) {
        eprintln!(
            "linnet: {} is this machine alone; other devices need the broker's address as they reach it (--mqtt)",
            draft.url
        );
    }
    let (now, uses, days) = (clock::now_secs(), draft.uses, draft.days);
    let claim = create(&keys, repository.fleet(), draft, now).map_err(|e| match e {
        CreateError::Draft(reason) => ClientError::BadUrl(reason),
        CreateError::Ledger(e) => of_ledger(e),
        e => ClientError::Beside(e.to_string()),
    })?;
    let Some(output) = output else {
        output::write(&claim.to_text())?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Err(e) = output.end(claim.to_text().as_bytes()) {
        // It need not stand there as open.
        Ledger::open(&keys, repository.fleet()).and_then(|mut it| it.revoke(&claim.claim, now)).map_err(of_ledger)?;
        return Err(e);
    }
    let devices = super::devices_text(usize::try_from(uses).unwrap_or(usize::MAX));
    output::write(&format!(
        "{path} is a claim for {devices}, good for {days} days; it is a secret, and this is its only copy. On a device:\n\
         /etc/linnet/claim.toml, readable by linnetd alone, and in linnet.toml:\n  [fleet]\n  claim = \"/etc/linnet/claim.toml\"\n\
         Names are granted while `linnet fleet serve` (or push) runs. Its id is {id}\n",
        path = args.output.display(),
        id = claim.claim,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String, ClientError> {
    use std::io::Read;
    let failed = |source| ClientError::Read { path: path.display().to_string(), source };
    let mut text = String::new();
    std::fs::File::open(path).map_err(failed)?.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// How a claim stands, in one word.
fn state(standing: &Standing, now: u64) -> &'static str {
    match standing {
        standing if standing.revoked => "revoked",
        standing if standing.used >= standing.claim.uses => "used up",
        standing if now >= standing.claim.expires_secs => "expired",
        _ => "open",
    }
}

fn list(args: &ListArgs) -> Result<ExitCode, ClientError> {
    let ledger = args.ledger.ledger()?;
    let now = clock::now_secs();
    if args.json {
        let claims = ledger.claims().map(|standing| {
            let claim = &standing.claim;
            serde_json::json!({
                "claim": claim.id, "state": state(standing, now), "used": standing.used, "uses": claim.uses,
                "expires_secs": claim.expires_secs, "names": claim.names.described(), "groups": claim.groups, "labels": claim.labels,
            })
        });
        let claims: Vec<_> = claims.collect();
        let devices = ledger.granted().into_iter().map(|granted| {
            serde_json::json!({
                "device": granted.device, "fingerprint": granted.key, "claim": granted.claim, "machine": granted.machine,
                "at_secs": granted.at_secs,
            })
        });
        output::json(&serde_json::json!({ "claims": claims, "devices": devices.collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let claims = ledger.claims().map(|standing| {
        let claim = &standing.claim;
        let used = format!("{} of {}", standing.used, claim.uses);
        [claim.id.clone(), state(standing, now).to_owned(), used, date(claim.expires_secs), claim.names.described()]
    });
    let claims: Vec<_> = claims.collect();
    let mut text = table(["claim", "state", "used", "good until", "names"], &claims);
    if args.devices {
        let granted = ledger.granted().into_iter();
        let granted = granted.map(|it| [it.device.clone(), it.claim.clone(), date(it.at_secs), it.key.to_string()]);
        let granted: Vec<_> = granted.collect();
        text.push('\n');
        text.push_str(&table(["device", "claim", "since", "key"], &granted));
    }
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn revoke(args: &RevokeArgs) -> Result<ExitCode, ClientError> {
    args.ledger.ledger()?.revoke(&args.claim, clock::now_secs()).map_err(of_ledger)?;
    output::write(&format!("claim {} is revoked: nobody gets a name by it any more\n", args.claim))?;
    Ok(ExitCode::SUCCESS)
}

fn release(args: &ReleaseArgs) -> Result<ExitCode, ClientError> {
    args.ledger.ledger()?.release(&args.name, clock::now_secs()).map_err(of_ledger)?;
    output::write(&format!(
        "the name {} is free; the device that bore it keeps calling itself so until it is reset, and its account at the broker is yours to remove\n",
        args.name
    ))?;
    Ok(ExitCode::SUCCESS)
}
