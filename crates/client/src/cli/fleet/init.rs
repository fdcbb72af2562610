//! `linnet fleet init`.

use std::process::ExitCode;

use linnet_fleet::repository::{Editor, Founding, Role};

use super::args::InitArgs;
use super::{ask, name_of, new_keys};
use crate::cli::output;
use crate::{ClientError, clock};

pub(super) fn run(args: InitArgs) -> Result<ExitCode, ClientError> {
    let InitArgs { dir, name, keys, days, keep } = args;
    let fleet = name
        .or_else(|| name_of(&dir))
        .ok_or_else(|| ClientError::BadUrl(format!("{}: the fleet has no name; give --name", dir.display())))?;
    linnet_proto::topic::FleetName::new(fleet.as_str()).map_err(|e| ClientError::BadUrl(e.to_string()))?;
    // Before any key is made.
    if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ClientError::Fleet(linnet_fleet::repository::RepositoryError::NotEmpty { dir }));
    }
    std::fs::create_dir_all(&dir).map_err(|source| {
        ClientError::Fleet(linnet_fleet::repository::RepositoryError::MakeDirectory { path: dir.clone(), source })
    })?;
    let roles = new_keys::found(&Role::ALL, &dir, &keys, "")?;
    let warnings = new_keys::warnings(&roles);
    let days = days.into_iter().map(|of| (of.role, of.value)).collect();
    let founding = Founding { fleet: fleet.clone(), roles, days, keep_generations: keep };
    let editor = Editor::init(&dir, &founding, &mut ask::keys(), clock::now_secs()).map_err(ClientError::Fleet)?;
    output::write(&format!(
        "The fleet `{fleet}` is in {dir}. Its keys, and where they belong:\n{warnings}\
         Who has them all owns every device: move them, and keep copies. Devices are given {root}\n\
         (section [fleet]: name = \"{fleet}\", root = \"…/root.json\").\n\
         Next: linnet fleet publish --dir {dir} --config FILE --package DIR\n",
        dir = dir.display(),
        root = editor.root_path().display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
