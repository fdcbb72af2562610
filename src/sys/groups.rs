//! The group of the local socket, by name or by number.

use std::fs::File;
use std::io::Read;

use crate::limits::MAX_GROUP_FILE_BYTES;

/// The number of `group`: a number as it is, a name by `/etc/group`. Groups that only a directory service knows are given
/// by number.
pub fn group_id(group: &str) -> Result<u32, String> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let mut text = String::new();
    File::open("/etc/group")
        .and_then(|file| file.take(MAX_GROUP_FILE_BYTES).read_to_string(&mut text))
        .map_err(|e| format!("/etc/group cannot be read: {e}"))?;
    find(&text, group)
        .ok_or_else(|| format!("there is no group {group:?} in /etc/group; name another, or give its number"))
}

/// `name:password:number:members`, one group a line.
fn find(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let text = "root:x:0:\naudiovisual:x:30:\naudio:x:29:pulse,alice\nbroken\nbad:x:many:\n";
        assert_eq!(find(text, "audio"), Some(29));
        assert_eq!(find(text, "aud"), None);
        assert_eq!(find(text, "bad"), None);
        assert_eq!(find(text, "broken"), None);
    }

    #[test]
    fn a_number_is_taken_as_it_is_and_an_unknown_name_is_refused_by_name() {
        assert_eq!(group_id("4242"), Ok(4242));
        assert!(group_id("no-such-group-here").expect_err("a refusal").contains("no-such-group-here"));
    }
}
