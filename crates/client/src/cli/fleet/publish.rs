//! `linnet fleet publish`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use linnet_fleet::repository::{Diff, Draft, Editor};
use linnet_proto::fleet::Generation;

use super::args::PublishArgs;
use super::{ask, next_push};
use crate::cli::{models, output};
use crate::{ClientError, clock};

/// Version of the configuration's form that this linnet publishes.
const CONFIG_VERSION: u32 = 1;
/// Largest configuration that is read, bytes.
const MAX_CONFIG_BYTES: u64 = 256 << 10;
const DAY_SECS: u64 = 86_400;

pub(super) async fn run(args: PublishArgs) -> Result<ExitCode, ClientError> {
    let dir = &args.dir.dir;
    let now = clock::now_secs();
    let mut editor = Editor::begin(dir, "publish").map_err(ClientError::Fleet)?;
    let newest = editor.newest();
    let old = match newest {
        0 => None,
        newest => Some(editor.generation(newest).map_err(ClientError::Fleet)?),
    };
    let (config, config_version) = match (&args.config, &old) {
        (Some(file), _) => (read_config(file)?, CONFIG_VERSION),
        (None, Some(old)) => (old.config.clone(), old.config_version),
        (None, None) => {
            return Err(ClientError::BadUrl("the first generation needs a configuration: give --config FILE".into()));
        }
    };
    let draft = Draft {
        config,
        config_version,
        packages: args.package,
        keep_packages: true,
        without: args.without,
        min_linnetd: args.min_linnetd,
        max_linnetd: args.max_linnetd,
        audience: args.audience,
        lifetime_secs: u64::from(args.days) * DAY_SECS,
        notes: args.notes,
    };
    let prepared = editor.prepare(&draft, now).map_err(ClientError::Fleet)?;
    let number = prepared.generation.number;
    if !args.no_check {
        let mut checked = prepared.generation.clone();
        if args.any_linnetd {
            (checked.min_linnetd, checked.max_linnetd) = (None, None);
        }
        check(&checked, args.config.as_deref()).await?;
    }
    let diff = Diff::between(old.as_ref(), &prepared.generation);
    let from = if newest == 0 { "the first generation".to_owned() } else { format!("generation {newest} -> {number}") };
    output::write(&format!("{from}\n{diff}"))?;
    if args.dry_run {
        output::write("nothing was signed (--dry-run)\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        // Who thinks about it holds nobody up.
        drop(editor);
        if !ask::confirm(&format!("Sign generation {number}?"))? {
            output::write("nothing was signed\n")?;
            return Ok(ExitCode::SUCCESS);
        }
        editor = ask::again(dir, "publish", newest)?;
    }
    editor.publish(&prepared, &mut ask::keys(), now).map_err(ClientError::Fleet)?;
    output::write(&format!("generation {number} is published; no device begins with it yet\n{}", next_push(dir, "")))?;
    Ok(ExitCode::SUCCESS)
}

fn read_config(file: &Path) -> Result<String, ClientError> {
    let failed = |source| ClientError::Read { path: file.display().to_string(), source };
    if file.metadata().map_err(failed)?.len() > MAX_CONFIG_BYTES {
        let e = std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("a generation's configuration has at most {MAX_CONFIG_BYTES} bytes"),
        );
        return Err(failed(e));
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// Has the linnetd beside this program check what is to be signed, the way a device will: `linnetd --check LOCAL --generation NEW`, where
/// the local configuration is an empty one.
async fn check(generation: &Generation, named: Option<&Path>) -> Result<(), ClientError> {
    let failed = |e: std::io::Error| ClientError::Beside(format!("the generation cannot be checked: {e}"));
    let dir = tempfile::tempdir().map_err(failed)?;
    let (local, new) = (dir.path().join("linnet.toml"), dir.path().join("generation.json"));
    let json = serde_json::to_vec(generation).map_err(|e| failed(e.into()))?;
    std::fs::write(&local, "device = \"checked-here\"\n").map_err(failed)?;
    std::fs::write(&new, json).map_err(failed)?;
    let mut command = models::program();
    command.arg("--check").arg(&local).arg("--generation").arg(&new);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = command.output().await.map_err(|e| {
        ClientError::Beside(format!(
            "linnetd, which checks a configuration before it is signed, does not run: {e}; install it beside linnet, or give --no-check"
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    let mut error = std::io::stderr().lock();
    let _ = error.write_all(&output.stdout).and_then(|()| error.write_all(&output.stderr));
    let what = named.map_or("the configuration".to_owned(), |file| file.display().to_string());
    // The configuration may be right: this linnetd is none of those that the generation is for.
    let way_out = match generation.min_linnetd.is_some() || generation.max_linnetd.is_some() {
        true => "; where it is this linnetd that does not fit, and the devices' does, give --any-linnetd",
        false => "",
    };
    Err(ClientError::Checked(format!("linnetd --check refuses {what}; nothing was signed{way_out}")))
}
