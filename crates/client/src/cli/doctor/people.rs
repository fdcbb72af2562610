//! Users and groups by their names, as far as `/etc` tells them.

use std::collections::BTreeSet;

/// Who runs this program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Every group of this process.
    pub(super) groups: BTreeSet<u32>,
}

impl Caller {
    pub(super) fn look() -> Self {
        let mut groups = BTreeSet::from([rustix::process::getegid().as_raw()]);
        groups.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|group| group.as_raw()));
        Self { uid: rustix::process::geteuid().as_raw(), groups }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// `/etc/passwd` and `/etc/group`. A dynamic user stands in neither: it is told by its number.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    passwd: String,
    group: String,
}

impl Names {
    pub(super) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    #[cfg(test)]
    pub(super) fn of(passwd: &str, group: &str) -> Self {
        Self { passwd: passwd.into(), group: group.into() }
    }

    pub(super) fn user(&self, uid: u32) -> String {
        name(&self.passwd, uid).map_or_else(|| uid.to_string(), ToOwned::to_owned)
    }

    pub(super) fn group(&self, gid: u32) -> String {
        name(&self.group, gid).map_or_else(|| gid.to_string(), ToOwned::to_owned)
    }

    /// Whether the group's line names the user: he is a member from his next login on.
    pub(super) fn is_listed(&self, uid: u32, gid: u32) -> bool {
        let user = self.user(uid);
        let line = self.group.lines().find(|line| line.split(':').nth(2) == Some(gid.to_string().as_str()));
        line.and_then(|line| line.split(':').nth(3)).is_some_and(|members| members.split(',').any(|m| m == user))
    }
}

fn name(file: &str, number: u32) -> Option<&str> {
    let number = number.to_string();
    let line = file.lines().find(|line| line.split(':').nth(2) == Some(number.as_str()))?;
    line.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_names_where_etc_tells_them_and_numbers_otherwise() {
        let names = Names::of("root:x:0:0::/:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n", "linnet:x:990:bob,ann\n");
        assert_eq!((names.user(1000), names.user(61_234)), ("ann".into(), "61234".into()));
        assert_eq!((names.group(990), names.group(7)), ("linnet".into(), "7".into()));
        assert!(names.is_listed(1000, 990) && !names.is_listed(0, 990) && !names.is_listed(1000, 7));
    }
}
