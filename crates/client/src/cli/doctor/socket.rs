//! The daemon's socket: whether it is there, whether this user may use it, and whether a daemon answers behind it.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::finding::{Finding, Trouble};
use super::people::{Caller, Names};
use crate::{ClientError, Local};

const CHECK: &str = "socket";
/// Largest answer of `/readyz`, bytes.
const MAX_READY_BYTES: usize = 64 << 10;
/// How long the connection may take.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What lies at the socket's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Empty,
    /// This user may not look; `gid` is that of the directory that keeps him out.
    Closed { gid: Option<u32> },
    /// Something that is no socket.
    Other,
    /// A socket.
    Socket { mode: u32, gid: u32 },
}

/// What became of a connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody connected: nothing is there.
    NotTried,
    /// Nobody listens.
    Refused,
    NotAllowed,
    Failed(String),
    /// `/readyz` answered with this HTTP status.
    Http(u16),
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) answer: Answer,
    /// Process and user behind the socket.
    pub(super) peer: Option<(Option<i32>, u32)>,
    /// `Date` of the answer.
    pub(super) date: Option<String>,
}

impl Seen {
    /// Whether a daemon answers.
    pub(super) fn answers(&self) -> bool {
        matches!(self.answer, Answer::Http(_))
    }

    pub(super) fn ready(&self) -> bool {
        self.answer == Answer::Http(200)
    }
}

pub(super) async fn look(local: &Local) -> Seen {
    let path = local.socket().to_owned();
    let place = place(&path);
    let mut seen = Seen { path, place, answer: Answer::NotTried, peer: None, date: None };
    if !matches!(seen.place, Place::Socket { .. } | Place::Closed { .. }) {
        return seen;
    }
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(&seen.path)).await;
    seen.answer = match connected {
        Err(_) => Answer::Failed(format!("it takes no connection within {} s", CONNECT_TIMEOUT.as_secs())),
        Ok(Err(e)) if e.kind() == ErrorKind::PermissionDenied => Answer::NotAllowed,
        Ok(Err(e)) if e.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(e)) => Answer::Failed(e.to_string()),
        Ok(Ok(stream)) => {
            seen.peer = stream.peer_cred().ok().map(|peer| (peer.pid(), peer.uid()));
            drop(stream);
            match local.get("/readyz", MAX_READY_BYTES).await {
                Ok(got) => {
                    seen.date = got.date;
                    Answer::Http(got.status)
                }
                Err(ClientError::TimedOut(limit)) => {
                    Answer::Failed(format!("it gives no answer within {} s", limit.as_secs()))
                }
                Err(ClientError::Broken(why)) => Answer::Failed(format!("its answer is no HTTP: {why}")),
                Err(e) => Answer::Failed(e.to_string()),
            }
        }
    };
    seen
}

fn place(path: &Path) -> Place {
    match std::fs::metadata(path) {
        Ok(found) if found.file_type().is_socket() => Place::Socket { mode: found.mode() & 0o7777, gid: found.gid() },
        Ok(_) => Place::Other,
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let directory = path.ancestors().skip(1).find_map(|dir| std::fs::metadata(dir).ok());
            Place::Closed { gid: directory.map(|dir| dir.gid()) }
        }
        Err(_) => Place::Empty,
    }
}

pub(super) fn judge(seen: &Seen, caller: &Caller, names: &Names) -> Vec<Finding> {
    let path = seen.path.display();
    let start = "start linnetd (`systemctl start linnetd`, or `linnetd &`), or name its socket with --socket";
    let unavailable = |sentence: String, way_out: &str| Finding::wrong(CHECK, Trouble::Unavailable, sentence, way_out);
    let found = match (&seen.place, &seen.answer) {
        (Place::Empty, _) => unavailable(format!("{path} is not there: no linnetd listens on it"), start),
        (Place::Other, _) => unavailable(
            format!("{path} is no socket"),
            "name linnetd's socket with --socket, or remove what lies there and restart linnetd",
        ),
        (Place::Closed { gid }, answer) if !matches!(answer, Answer::Http(_)) => {
            not_allowed(format!("{path}: its directory lets this user in no further"), *gid, caller, names)
        }
        (Place::Socket { gid, mode }, Answer::NotAllowed) => {
            not_allowed(format!("{path} (mode {mode:04o}) does not admit this user"), Some(*gid), caller, names)
        }
        (_, Answer::Refused | Answer::NotTried) => {
            unavailable(format!("{path} is there and nobody listens: linnetd has ended"), start)
        }
        (_, Answer::NotAllowed) => not_allowed(format!("{path} does not admit this user"), None, caller, names),
        (_, Answer::Failed(why)) => unavailable(
            format!("{path}: {why}"),
            "if this is linnetd's socket, restart linnetd; if it is another program's, name the right one with --socket",
        ),
        (_, Answer::Http(200)) => Finding::ok(CHECK, format!("{path} answers")),
        // How far it is, the daemon's health tells.
        (_, Answer::Http(503)) => Finding::ok(CHECK, format!("{path} answers, and says that it is not ready")),
        (_, Answer::Http(status)) => unavailable(
            format!("{path} answers /readyz with HTTP status {status}, as no linnetd does"),
            "name linnetd's socket with --socket",
        ),
    };
    let mut findings = vec![found];
    if let Place::Socket { mode, .. } = seen.place
        && mode & 0o002 != 0
    {
        findings.push(Finding::warning(
            CHECK,
            format!("{path} has mode {mode:04o}: every user of this machine may use linnetd"),
            "set http.socket_mode = \"0660\" and restart linnetd, unless that is what you want",
        ));
    }
    findings
}

fn not_allowed(sentence: String, gid: Option<u32>, caller: &Caller, names: &Names) -> Finding {
    let way_out = match gid {
        // The group root is nobody's to join, and whoever is in the group already is kept out by the mode.
        Some(gid) if gid != 0 && !caller.groups.contains(&gid) => {
            let (user, group) = (names.user(caller.uid), names.group(gid));
            if names.is_listed(caller.uid, gid) {
                format!("you are a member of the group {group} from your next login on: log out and in")
            } else {
                format!("join the socket's group (`sudo usermod -aG {group} {user}`), then log out and in")
            }
        }
        _ => "run as the user of linnetd, or give the socket a group and mode with http.socket_group and \
              http.socket_mode"
            .to_owned(),
    };
    Finding::wrong(CHECK, Trouble::NotAllowed, sentence, way_out)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn seen(place: Place, answer: Answer) -> Seen {
        Seen { path: "/run/linnet/linnet.sock".into(), place, answer, peer: None, date: None }
    }

    const OWN: Place = Place::Socket { mode: 0o660, gid: 990 };

    #[test]
    fn each_state_of_the_socket_has_its_verdict_code_and_way_out() {
        let names = Names::of("ann:x:1000:1000::/:\nbob:x:1001:1001::/:\n", "linnet:x:990:bob\n");
        let ann = Caller { uid: 1000, groups: [1000].into() };
        for (place, answer, verdict, code, words) in [
            (Place::Empty, Answer::NotTried, Verdict::Wrong, Some(69), "systemctl start linnetd"),
            (Place::Other, Answer::NotTried, Verdict::Wrong, Some(69), "is no socket"),
            (OWN, Answer::Refused, Verdict::Wrong, Some(69), "nobody listens"),
            (OWN, Answer::NotAllowed, Verdict::Wrong, Some(77), "usermod -aG linnet ann"),
            (Place::Closed { gid: Some(990) }, Answer::NotAllowed, Verdict::Wrong, Some(77), "usermod -aG linnet ann"),
            (Place::Closed { gid: Some(0) }, Answer::NotAllowed, Verdict::Wrong, Some(77), "http.socket_group"),
            (OWN, Answer::Failed("it gives no answer".into()), Verdict::Wrong, Some(69), "restart linnetd"),
            (OWN, Answer::Http(404), Verdict::Wrong, Some(69), "404"),
            (OWN, Answer::Http(503), Verdict::Ok, None, "not ready"),
            (OWN, Answer::Http(200), Verdict::Ok, None, "answers"),
        ] {
            let what = format!("{place:?} {answer:?}");
            let findings = judge(&seen(place, answer), &ann, &names);
            let [finding] = &findings[..] else { panic!("{what}: {findings:?}") };
            assert_eq!((finding.verdict, finding.code), (verdict, code), "{what}");
            let all = format!("{} {:?}", finding.sentence, finding.way_out);
            assert!(all.contains(words), "{what}: {all}");
            assert_eq!(finding.way_out.is_some(), verdict == Verdict::Wrong, "{what}");
        }
        let bob = Caller { uid: 1001, groups: [1001].into() };
        let findings = judge(&seen(OWN, Answer::NotAllowed), &bob, &names);
        assert!(findings[0].way_out.as_deref().is_some_and(|w| w.contains("log out and in")), "{findings:?}");
    }

    #[test]
    fn a_socket_that_is_open_to_everybody_is_worth_a_warning() {
        let place = Place::Socket { mode: 0o666, gid: 990 };
        let findings = judge(&seen(place, Answer::Http(200)), &Caller::default(), &Names::default());
        assert_eq!(findings[1].verdict, Verdict::Warning, "{findings:?}");
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_seen_as_such() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("linnet.sock");
        assert_eq!(look(&Local::new(&path)).await.place, Place::Empty);
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let seen = look(&Local::new(&path)).await;
        assert!(matches!(seen.place, Place::Socket { .. }) && seen.answer == Answer::Refused, "{seen:?}");
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "").expect("a file");
        assert_eq!(look(&Local::new(&path)).await.place, Place::Other);
    }
}
