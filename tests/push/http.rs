//! Updates from a web server: one that breaks, one that lies, one that drips. What it does is told; the honest one is followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Asked, Daemon, Reply, Web};
use crate::operator::{Operator, answers, half_written, look, looking, served_version, status, wait_for, wait_for_log};

/// An operator whose repository a web server hands out, and a device that serves its first generation.
struct Site {
    operator: Operator,
    web: Web,
    daemon: Daemon,
}

const TWO: &str = "[limits]\nmax_upload_mib = 8\n";

impl Site {
    fn new() -> Self {
        let operator = Operator::new();
        let web = Web::start(&operator.repository());
        let one = operator.push("[limits]\nmax_upload_mib = 7\n", &[]);
        let daemon = operator.device_of(&web.url()).start();
        wait_for(&daemon, one);
        web.asked();
        Self { operator, web, daemon }
    }

    /// Has the server answer so until the device has said `says` of it. The first generation serves on, and nothing of another is left.
    fn refuses(&self, says: &str, answer: impl Fn(&Asked, &Reply) -> Option<Reply> + Send + Sync + 'static) {
        let said = self.daemon.log().len();
        self.web.answers(answer);
        let line = looking(&self.daemon, &format!("it is told: {says}"), || {
            let log = self.daemon.log();
            log[said..].lines().find(|line| line.contains(says)).map(str::to_owned)
        });
        // The server and the file are named once, however many hands the sentence went through.
        assert_eq!(line.matches(&self.web.url()).count(), 1, "{line}");
        assert!(line.matches(".json").count() <= 2 && line.matches("timestamp.json").count() <= 1, "{line}");
        answers(&self.daemon);
        let serving = status(&self.daemon);
        assert_eq!(serving["generation"]["generation"], 1, "{says}");
        assert_eq!(serving["limits"]["max_upload_bytes"], 7 << 20, "{says}");
        assert_eq!(half_written(&self.daemon), Vec::<std::path::PathBuf>::new(), "{says}");
        self.web.is_honest();
        look(&self.daemon);
    }

    /// What the operator publishes next is taken.
    fn goes_on(&self) {
        let next = self.operator.push(TWO, &[]);
        wait_for(&self.daemon, next);
        assert_eq!(status(&self.daemon)["limits"]["max_upload_bytes"], 8 << 20);
    }
}

#[test]
fn a_download_that_is_cut_off_goes_on_where_it_stopped() {
    let site = Site::new();
    let pieces = 6;
    let package = site.operator.large_package("pushed", "1.0.0", pieces << 20);
    // The third piece of the large file breaks off in its middle, each time for a while.
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    site.web.answers(move |asked, honest| {
        let is_third = asked.range.is_some_and(|(first, _)| first == 2 << 20);
        (is_third && counted.fetch_add(1, Ordering::Relaxed) < 2).then(|| {
            let half = honest.body() + (honest.bytes.len() - honest.body()) / 2;
            Reply { bytes: honest.bytes[..half].to_vec(), close: true, ..Reply::default() }
        })
    });
    let two = site.operator.push("", &[package]);
    wait_for(&site.daemon, two);
    assert_eq!(served_version(&site.daemon, "pushed").as_deref(), Some("1.0.0"));
    assert_eq!(cuts.load(Ordering::Relaxed), 3);
    let asked = site.web.asked();
    let times = |first: usize| asked.iter().filter(|asked| asked.range.is_some_and(|range| range.0 == first)).count();
    assert_eq!((times(1 << 20), times(2 << 20), times(3 << 20)), (1, 3, 1), "what has come is not asked for again");
}

#[test]
fn a_download_outlives_a_restart_and_a_server_without_ranges_is_told() {
    let operator = Operator::new();
    let web = Web::start(&operator.repository());
    let home = tempfile::tempdir().expect("a directory");
    let device = || operator.device_of(&web.url()).in_home(home.path());
    let package = operator.large_package("pushed", "1.0.0", 20 << 20);
    let two = operator.push("", &[package]);
    // Nothing behind the twelfth MiB, and then no ranges at all.
    web.answers(|asked, _| {
        let is_behind = asked.range.is_some_and(|(first, _)| first >= 12 << 20);
        is_behind.then(|| Reply { close: true, ..Reply::new("500 Internal Server Error", "", b"") })
    });
    let daemon = device().start();
    wait_for_log(&daemon, "status 500");
    assert!(daemon.stop().status.success());
    let whole = web.asked().iter().filter(|asked| asked.range.is_some_and(|(first, _)| first >= 1 << 20)).count();
    assert!(whole >= 11, "{whole} pieces");
    web.answers(|asked, _| {
        (asked.range.is_some_and(|(first, _)| first > 0)).then(|| Reply::new("200 OK", "", b"all of it, as it says"))
    });
    let daemon = device().start();
    wait_for_log(&daemon, "ranges");
    answers(&daemon);
    assert_eq!(status(&daemon)["generation"]["generation"], 0);
    web.asked();
    web.is_honest();
    wait_for(&daemon, two);
    let least =
        web.asked().iter().filter_map(|asked| asked.range).map(|(first, _)| first).filter(|first| *first > 0).min();
    // The last step before a restart is not believed, and no more than that.
    assert!(least.is_some_and(|least| least >= 7 << 20), "{least:?}");
}

#[test]
fn a_malicious_mirror_can_only_withhold() {
    let site = Site::new();
    site.operator.publish(TWO, &[]);
    let is = |name: &'static str| move |asked: &Asked| asked.path.ends_with(name);
    let timestamp = is("timestamp.json");
    // What no server may say, and what is made of it.
    let statuses = [
        ("404 Not Found", "the source has no timestamp.json"),
        ("403 Forbidden", "status 403"),
        ("500 Internal Server Error", "status 500"),
        ("503 Service Unavailable", "status 503"),
    ];
    for (status, says) in statuses {
        site.refuses(says, move |asked, _| timestamp(asked).then(|| Reply::new(status, "", b"")));
    }
    let elsewhere = Web::start(&site.operator.repository());
    let location = format!("location: {}/metadata/timestamp.json\r\n", elsewhere.url());
    site.refuses("redirect", move |asked, _| timestamp(asked).then(|| Reply::new("302 Found", &location, b"")));
    assert_eq!(elsewhere.asked(), [], "nobody is sent elsewhere");
    let closes = |bytes: &[u8]| Reply { bytes: bytes.to_vec(), close: true, ..Reply::default() };
    site.refuses("(unreachable: ", move |asked, _| timestamp(asked).then(|| closes(b"\0\0 what is this?\r\n\r\n")));
    site.refuses("(unreachable: ", move |_, _| Some(closes(b"")));
    site.refuses("(garbage: ", move |asked, _| timestamp(asked).then(|| Reply::new("200 OK", "", b"{}")));
    site.refuses("(garbage: ", move |asked, honest| {
        timestamp(asked).then(|| Reply::new("200 OK", "", &honest.bytes[honest.body()..][..100]))
    });
    // Without an end, with a length that is too long and without any.
    for head in ["content-length: 4000000000", "x-nothing: 1"] {
        site.refuses("(too_large: ", move |asked, _| {
            timestamp(asked).then(|| {
                let bytes = [format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(), &[b' '; 1024]].concat();
                Reply { bytes, endless: true, ..Reply::default() }
            })
        });
    }
    // One file in the place of another, for each that signed metadata name.
    for name in ["snapshot.json", "releases.json"] {
        site.operator.publish(TWO, &[]);
        let asks = is(name);
        let other = std::fs::read(site.operator.repository().join("metadata/1.root.json")).expect("readable");
        site.refuses("(mix_and_match: ", move |asked, honest| {
            let length = honest.bytes.len() - honest.body();
            asks(asked).then(|| Reply::new("200 OK", "", &other[..length.min(other.len())]))
        });
    }
    site.goes_on();
}

#[test]
fn a_server_that_drips_is_given_up_and_the_next_source_is_asked() {
    let operator = Operator::new();
    let one = operator.push("", &[operator.package("pushed", "1.0.0")]);
    // Ten bytes a second; the head comes at once.
    let drips = |which: fn(&str, usize) -> bool| {
        let web = Web::start(&operator.repository());
        web.answers(move |asked, honest| {
            which(&asked.path, honest.bytes.len())
                .then(|| Reply { pause: Duration::from_millis(100), ..honest.clone() })
        });
        web
    };
    let metadata = drips(|path, _| path.ends_with("timestamp.json"));
    // The weights; the others are too short to be waited for twice.
    let files = drips(|path, bytes| path.starts_with("files/") && bytes > 100_000);
    let (honest, stick) = (Web::start(&operator.repository()), operator.repository().display().to_string());
    let device = |web: &Web, more: &str| {
        let config =
            operator.device_config(&stick).replace(&format!("[{stick:?}]"), &format!("[{:?}{more}]", web.url()));
        Daemon::builder().models_of_the_configuration().config(config).start()
    };
    let alone = device(&metadata, "");
    let beside = device(&metadata, &format!(", {stick:?}"));
    let fetching = device(&files, &format!(", {:?}", honest.url()));
    for daemon in [&beside, &fetching] {
        wait_for(daemon, one);
        assert_eq!(served_version(daemon, "pushed").as_deref(), Some("1.0.0"));
    }
    assert!(files.asked().iter().any(|asked| asked.path.starts_with("files/")), "it was asked first");
    wait_for_log(&alone, "(too_slow: ");
    assert!(alone.log().contains("at least 1024 a second are asked for"), "{}", alone.log());
    answers(&alone);
    metadata.is_honest();
    wait_for(&alone, one);
}
