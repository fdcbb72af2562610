//! What a program asks of the kernel about its files, as `strace` tells it, and the rules by which a power cut leaves them whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{eventually, mosquitto, skip};

/// Calls that change a file or a name, or make either durable.
const TRACED: &str = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,\
                      link,linkat,mkdir,mkdirat,unlink,unlinkat,rmdir,copy_file_range,sendfile,mmap";

/// A log that a traced program writes.
pub struct Strace {
    program: PathBuf,
    dir: TempDir,
}

/// One call that went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which thread.
    pub thread: u32,
    /// What was done.
    pub what: Did,
}

/// What a call does with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// The content of a file changed.
    Write(PathBuf),
    /// A file or directory is durable.
    Sync(PathBuf),
    /// It has another name.
    Rename(PathBuf, PathBuf),
    /// It has a second name.
    Link(PathBuf, PathBuf),
    /// A directory was made.
    MakeDir(PathBuf),
    /// A name is gone.
    Remove(PathBuf),
}

impl Strace {
    /// `None`, said loudly, where there is no `strace` or nobody may trace.
    pub fn find(test: &str) -> Option<Self> {
        let Some(program) = mosquitto::find("strace") else {
            skip(test, "the program `strace` (Debian: apt-get install strace)");
            return None;
        };
        let this = Self { program, dir: tempfile::tempdir().expect("a directory") };
        let words = this.words();
        let tried = Command::new(&words[0]).args(&words[1..]).arg("true").stdin(Stdio::null()).output();
        let tried = tried.expect("strace was found");
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr).into_owned();
            skip(test, &format!("the right to trace a program (ptrace): {}", why.trim()));
            return None;
        }
        Some(this)
    }

    /// What goes before a program and its arguments. The program is then the process that was started, and `strace` one of its own.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.program.clone().into()];
        // Paths of descriptors, no content; only what is traced stops.
        words.extend(["-D", "-f", "--seccomp-bpf", "-q", "-y", "-s", "0", "-o"].map(OsString::from));
        words.push(self.log().into());
        words.extend(["-e", &format!("trace={TRACED}"), "--"].map(OsString::from));
        words
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// What process `pid` did, once it has ended and all of it is told.
    pub fn calls(&self, pid: u32) -> Vec<Call> {
        let text = eventually("strace has told everything", || {
            let text = std::fs::read_to_string(self.log()).unwrap_or_default();
            text.lines().any(|line| is_end(line, pid)).then_some(text)
        });
        parse(&text)
    }
}

/// `1234  +++ exited with 0 +++`
fn is_end(line: &str, pid: u32) -> bool {
    line.split_once(' ').is_some_and(|(thread, rest)| thread == pid.to_string() && rest.trim().starts_with("+++ "))
}

/// Reads a log. What failed changed nothing and is left out.
fn parse(text: &str) -> Vec<Call> {
    let mut unfinished = BTreeMap::<u32, String>::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Ok(thread) = thread.parse() else { continue };
        let mut rest = rest.trim_start().to_owned();
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, begun.to_owned());
            continue;
        }
        if rest.starts_with("<... ")
            && let (Some(begun), Some((_, end))) = (unfinished.remove(&thread), rest.split_once(" resumed>"))
        {
            rest = begun + end;
        }
        calls.extend(read(&rest).into_iter().map(|what| Call { thread, what }));
    }
    calls
}

/// One call: `name(arguments) = result`.
fn read(call: &str) -> Option<Did> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let parts = arguments_of(arguments);
    let part = |n: usize| parts.get(n).map(String::as_str);
    Some(match name {
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "ftruncate" => Did::Write(of_descriptor(part(0)?)?),
        // Takes room and leaves the content as it is, here.
        "fallocate" if part(1)?.contains("KEEP_SIZE") => return None,
        "fallocate" => Did::Write(of_descriptor(part(0)?)?),
        "copy_file_range" => Did::Write(of_descriptor(part(2)?)?),
        "sendfile" => Did::Write(of_descriptor(part(0)?)?),
        "open" | "openat" | "creat" if name == "creat" || arguments.contains("O_TRUNC") => {
            Did::Write(of_descriptor(result)?)
        }
        // A file that can be written through memory is changed behind everybody's back.
        "mmap" if part(2)?.contains("PROT_WRITE") && part(3)?.contains("MAP_SHARED") => {
            Did::Write(of_descriptor(part(4)?)?)
        }
        "fsync" | "fdatasync" => Did::Sync(of_descriptor(part(0)?)?),
        "rename" => Did::Rename(quoted(part(0)?)?, quoted(part(1)?)?),
        "renameat" | "renameat2" => Did::Rename(below(part(0)?, part(1)?)?, below(part(2)?, part(3)?)?),
        "link" => Did::Link(quoted(part(0)?)?, quoted(part(1)?)?),
        "linkat" => Did::Link(below(part(0)?, part(1)?)?, below(part(2)?, part(3)?)?),
        "mkdir" => Did::MakeDir(quoted(part(0)?)?),
        "mkdirat" => Did::MakeDir(below(part(0)?, part(1)?)?),
        "unlink" | "rmdir" => Did::Remove(quoted(part(0)?)?),
        "unlinkat" => Did::Remove(below(part(0)?, part(1)?)?),
        _ => return None,
    })
}

/// Parted by commas that stand neither in quotes nor in brackets.
fn arguments_of(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut is_quoted, mut before) = (vec![String::new()], 0u32, false, ' ');
    for c in text.chars() {
        match c {
            '"' if before != '\\' => is_quoted = !is_quoted,
            '<' | '[' | '{' if !is_quoted => depth += 1,
            '>' | ']' | '}' if !is_quoted => depth = depth.saturating_sub(1),
            ',' if !is_quoted && depth == 0 => {
                parts.push(String::new());
                before = c;
                continue;
            }
            _ => {}
        }
        before = c;
        parts.last_mut().expect("there is one").push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// `12</path>`; none for what is no file.
fn of_descriptor(text: &str) -> Option<PathBuf> {
    let path = text.split_once('<')?.1.rsplit_once('>')?.0;
    path.starts_with('/').then(|| PathBuf::from(path.trim_end_matches("(deleted)")))
}

fn quoted(text: &str) -> Option<PathBuf> {
    Some(PathBuf::from(text.strip_prefix('"')?.strip_suffix('"')?))
}

/// A path from a directory's descriptor on.
fn below(dir: &str, path: &str) -> Option<PathBuf> {
    let path = quoted(path)?;
    if path.is_absolute() { Some(path) } else { Some(of_descriptor(dir)?.join(path)) }
}

/// When the directory that a rename leads to must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Before the same thread renames anything else.
    AtOnce,
    /// Before the program ends.
    InTheEnd,
}

/// What the calls of a program come to, below one directory.
#[derive(Debug, Default)]
pub struct Judged {
    /// Breaches, in order: one sentence each.
    pub faults: Vec<String>,
    /// What got its place by a rename, relative to the directory.
    pub placed: BTreeSet<PathBuf>,
}

/// Holds calls to the rules of a disk that may lose everything that was not synced. Whatever is renamed to its place was durable before: a file by its
/// content, a directory by every content and every name below it. And then the name itself is made durable. A directory that is made and stays has
/// its name made durable, too.
pub fn judge(calls: &[Call], below: &Path, names: Names) -> Judged {
    let mut judged = Judged::default();
    // Files with content, and directories with names, that a power cut takes.
    let (mut content, mut open_names) = (BTreeSet::<PathBuf>::new(), BTreeMap::<PathBuf, BTreeSet<PathBuf>>::new());
    let mut last = BTreeMap::<u32, PathBuf>::new();
    let place = |path: &Path| path.strip_prefix(below).map(Path::to_owned).ok();
    let changes = |open: &mut BTreeMap<PathBuf, BTreeSet<PathBuf>>, path: &Path, is_there: bool| {
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let names = open.entry(dir).or_default();
        if is_there {
            names.insert(path.to_owned())
        } else {
            names.remove(path)
        };
    };
    for Call { thread, what } in calls {
        match what {
            Did::Write(path) if path.starts_with(below) => drop(content.insert(path.clone())),
            Did::Sync(path) => {
                content.remove(path);
                open_names.remove(path);
            }
            Did::Rename(from, to) | Did::Link(from, to) if to.starts_with(below) => {
                let is_rename = matches!(what, Did::Rename(..));
                let shown = place(to).unwrap_or_default();
                if let Some(unsynced) = content.iter().find(|file| file.starts_with(from)) {
                    judged.faults.push(format!(
                        "{} gets its name before {} is synced",
                        shown.display(),
                        unsynced.display()
                    ));
                }
                let inner =
                    open_names.iter().find(|(dir, names)| is_rename && dir.starts_with(from) && !names.is_empty());
                if let Some((dir, _)) = inner {
                    judged.faults.push(format!(
                        "{} gets its name before the names in {} are synced",
                        shown.display(),
                        dir.display()
                    ));
                }
                if is_rename {
                    let before = last.insert(*thread, to.clone());
                    let is_open = |before: &PathBuf| open_names.values().any(|names| names.contains(before));
                    if let Some(before) = before.filter(|before| names == Names::AtOnce && is_open(before)) {
                        let before = place(&before).unwrap_or(before);
                        judged.faults.push(format!(
                            "{} is renamed before the name of {} is synced",
                            shown.display(),
                            before.display()
                        ));
                    }
                    move_all(&mut content, &mut open_names, from, to);
                    changes(&mut open_names, from, false);
                    judged.placed.insert(shown);
                }
                changes(&mut open_names, to, true);
            }
            Did::MakeDir(path) if path.starts_with(below) => changes(&mut open_names, path, true),
            Did::Remove(path) | Did::Rename(path, _) => {
                content.remove(path);
                changes(&mut open_names, path, false);
                // What lay in it went before.
                open_names.remove(path);
            }
            _ => {}
        }
    }
    for name in open_names.values().flatten().filter(|name| name.starts_with(below)) {
        judged.faults.push(format!("the name of {} is never synced", place(name).unwrap_or_default().display()));
    }
    judged
}

/// What is known of `from` and all below it is known of `to`.
fn move_all(content: &mut BTreeSet<PathBuf>, names: &mut BTreeMap<PathBuf, BTreeSet<PathBuf>>, from: &Path, to: &Path) {
    let moved = |path: &PathBuf| path.strip_prefix(from).map_or_else(|_| path.clone(), |inner| to.join(inner));
    // Joined with nothing a path gets a slash at its end, which changes no comparison.
    *content = content.iter().map(moved).collect();
    *names = names.iter().map(|(dir, inner)| (moved(dir), inner.iter().map(moved).collect())).collect();
}

/// Whether each change of a file is made durable before the next one, and the last one too; what is wrong, in order.
pub fn each_write_is_synced(calls: &[Call], file: &Path) -> (usize, Vec<String>) {
    let (mut writes, mut is_open, mut faults) = (0, false, Vec::new());
    for call in calls {
        match &call.what {
            Did::Write(path) if path == file => {
                writes += 1;
                if std::mem::replace(&mut is_open, true) {
                    faults.push(format!(
                        "change {writes} of {} comes before the one before it is synced",
                        file.display()
                    ));
                }
            }
            Did::Sync(path) if path == file => is_open = false,
            _ => {}
        }
    }
    if is_open {
        faults.push(format!("the last change of {} is never synced", file.display()));
    }
    (writes, faults)
}
