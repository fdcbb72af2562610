//! A copy for a stick or a web server: what devices read, and nothing of the operator's own.

use std::collections::BTreeSet;
use std::path::Path;

use super::disk::list;
use super::{Editor, RepositoryError, disk};

/// The directories that devices read from, each one's files before what names them.
const PARTS: [&str; 4] = ["files", "targets/generations", "targets/rollouts", "metadata"];

/// Bytes that an export copied, of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files that were new.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Editor {
    /// Brings `to` up to date; a device may read it meanwhile: new files first, the timestamp last, then what is no longer needed goes.
    pub fn export(&mut self, to: &Path) -> Result<Exported, RepositoryError> {
        let from = self.repository.dir.clone();
        if to.starts_with(&from) || from.starts_with(to) {
            return Err(RepositoryError::Setting(format!(
                "{} and {} lie in one another; export to a directory beside the repository",
                to.display(),
                from.display()
            )));
        }
        let mut exported = Exported::default();
        let mut copy = |disk: &mut super::disk::Disk, part: &str, name: &str| -> Result<(), RepositoryError> {
            let (source, target) = (from.join(part).join(name), to.join(part).join(name));
            let size = |path: &Path| path.metadata().map(|there| there.len()).ok();
            // Named by content or by version, one that is there is the same; a version may come again only after a theft, and then
            // with other content.
            let same = match part {
                "metadata" => {
                    size(&source) == size(&target)
                        && disk::read(&source, u64::MAX - 1).ok() == disk::read(&target, u64::MAX - 1).ok()
                }
                _ => size(&source) == size(&target),
            };
            if same {
                return Ok(());
            }
            let mut file =
                std::fs::File::open(&source).map_err(|e| RepositoryError::Read { path: source.clone(), source: e })?;
            disk.put_from(&target, &mut file)?;
            exported.files += 1;
            exported.bytes += size(&target).unwrap_or_default();
            Ok(())
        };
        for part in PARTS {
            self.disk.directory(&to.join(part))?;
            // A root is followed as soon as it is there, so it comes when all else that it signs for is.
            let late = |name: &String| name.ends_with(".root.json") || name == "timestamp.json";
            let names = list(&from.join(part))?;
            for name in names.iter().filter(|name| part != "metadata" || !late(name)) {
                if !name.ends_with(disk::UNFINISHED) {
                    copy(&mut self.disk, part, name)?;
                }
            }
        }
        copy(&mut self.disk, "metadata", "timestamp.json")?;
        for name in list(&from.join("metadata"))?.iter().filter(|name| name.ends_with(".root.json")) {
            copy(&mut self.disk, "metadata", name)?;
        }
        for part in PARTS.iter().rev() {
            let wanted: BTreeSet<String> = list(&from.join(part))?.into_iter().collect();
            for name in list(&to.join(part))? {
                if !wanted.contains(&name) {
                    self.disk.remove(&to.join(part).join(name))?;
                }
            }
        }
        Ok(exported)
    }
}
