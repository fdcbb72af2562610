//! A repository behind a broker: metadata are retained by name, an index says which there are, pieces of files are asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use linnet_proto::fleet::{FleetTopic, Index, MAX_RANGE_BYTES, RangeHead, RangeRequest, RangeStatus};
use linnet_proto::topic::FleetName;
use tough::async_trait;

use super::{Source, SourceFault, require_plain};

/// How often a busy server is asked again for one piece, before the piece counts as not to be had.
const MAX_BUSY: u32 = 20;
/// Bounds of the wait that a busy server can ask for.
const BUSY_WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What a client of a broker does for this source; the daemon's and the client's connections implement it. A call that is dropped
/// is over: an answer that comes later goes nowhere.
#[async_trait]
pub trait Exchange: Send + Sync {
    /// The newest retained message of a topic, or none where the broker holds none. A message above `cap` bytes is
    /// [`SourceFault::TooLarge`], a broker that cannot be reached is [`SourceFault::Unreachable`].
    async fn retained(&self, topic: &str, cap: u64) -> Result<Option<Bytes>, SourceFault>;

    /// Publishes `payload` with `id` as correlation data and as last level of the response topic, and gives the answer that bears
    /// the id. Nobody answering is [`SourceFault::Unreachable`].
    async fn ask(&self, topic: &str, id: &str, payload: Bytes) -> Result<Bytes, SourceFault>;
}

/// A fleet's topics.
#[derive(Clone)]
pub struct Mqtt {
    exchange: Arc<dyn Exchange>,
    fleet: FleetName,
    /// The index that was read last. It saves reading one for each file; what it lacks is looked for in a new one.
    index: Arc<Mutex<Index>>,
}

impl Mqtt {
    /// The repository of `fleet`, over `exchange`.
    pub fn new(exchange: Arc<dyn Exchange>, fleet: FleetName) -> Self {
        Self { exchange, fleet, index: Arc::default() }
    }

    /// The size of a metadata file, bytes; none where an index that was read just now does not name it.
    ///
    /// A look begins with the question for a root that there usually is not, and so reads an index; the files that it then asks for stand in
    /// that one, unless something is published meanwhile.
    async fn listed(&self, name: &str) -> Result<Option<u64>, SourceFault> {
        let bytes = |index: &Index| index.files.iter().find(|file| file.name == name).map(|file| file.bytes);
        let known = bytes(&self.index.lock().unwrap_or_else(PoisonError::into_inner));
        if known.is_some() {
            return Ok(known);
        }
        let topic = FleetTopic::Index(self.fleet.clone()).to_string();
        let index = self.exchange.retained(&topic, Index::MAX_BYTES as u64).await?;
        // No index is no statement: the broker may have lost what it retained.
        let index = index.ok_or_else(|| {
            SourceFault::Unreachable(format!(
                "the broker retains nothing on {topic}; `linnet fleet push` and `serve` publish it"
            ))
        })?;
        let index = Index::parse(&index).map_err(SourceFault::Lied)?;
        let found = bytes(&index);
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
        Ok(found)
    }

    /// A metadata file that has `bytes`, as the index says.
    async fn found(&self, name: &str, bytes: u64, cap: u64) -> Result<Bytes, SourceFault> {
        // The timestamp is changed in place: of another one's size nothing follows.
        if bytes > cap {
            return Err(SourceFault::TooLarge { cap });
        }
        let topic = FleetTopic::of_file(&self.fleet, name).to_string();
        let found = self.exchange.retained(&topic, cap).await?.ok_or_else(|| {
            SourceFault::Unreachable(format!("the fleet's index names it, but the broker retains nothing on {topic}"))
        })?;
        if found.len() as u64 > cap { Err(SourceFault::TooLarge { cap }) } else { Ok(found) }
    }
}

impl std::fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mqtt").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for Mqtt {
    fn name(&self) -> String {
        format!("linnet/fleet/{}", self.fleet)
    }

    async fn metadata(&self, name: &str, cap: u64) -> Result<Bytes, SourceFault> {
        require_plain(name)?;
        let Some(bytes) = self.listed(name).await? else { return Err(SourceFault::NotThere) };
        let found = self.found(name, bytes, cap).await;
        if found.is_err() {
            // The next look reads an index anew: this one may name what has been removed since, or lie.
            *self.index.lock().unwrap_or_else(PoisonError::into_inner) = Index::default();
        }
        found
    }

    async fn piece(&self, path: &str, offset: u64, bytes: u64) -> Result<Bytes, SourceFault> {
        require_plain(path)?;
        let bytes = bytes.min(MAX_RANGE_BYTES);
        let request = RangeRequest { path: path.to_owned(), offset, bytes };
        let payload = serde_json::to_vec(&request)
            .map_err(|e| SourceFault::Unreachable(format!("the request cannot be written: {e}")))?;
        let payload = Bytes::from(payload);
        let topic = FleetTopic::Fetch(self.fleet.clone()).to_string();
        for _ in 0..MAX_BUSY {
            let id = format!("{:016x}", rand::random::<u64>());
            let reply = self.exchange.ask(&topic, &id, payload.clone()).await?;
            let (head, came) = RangeHead::parse(&reply).map_err(SourceFault::Lied)?;
            match head.status {
                RangeStatus::Ok => {
                    let came = reply.slice_ref(came);
                    return judge(&request, &head, came);
                }
                RangeStatus::NotFound => return Err(SourceFault::NotThere),
                RangeStatus::Refused => {
                    return Err(SourceFault::Lied(format!("the server refuses bytes from {offset} on")));
                }
                RangeStatus::Busy => {
                    let wait = Duration::from_millis(head.retry_after_ms.unwrap_or_default());
                    tokio::time::sleep(wait.clamp(BUSY_WAIT.0, BUSY_WAIT.1)).await;
                }
            }
        }
        Err(SourceFault::Unreachable(format!("who serves the fleet's files was busy {MAX_BUSY} times")))
    }
}

/// The bytes of an answer that fits its question.
fn judge(request: &RangeRequest, head: &RangeHead, came: Bytes) -> Result<Bytes, SourceFault> {
    let RangeRequest { offset, bytes, .. } = request;
    if head.offset != *offset || came.len() as u64 > *bytes {
        return Err(SourceFault::Lied(format!(
            "asked for {bytes} bytes from {offset}, the server gave {} from {}",
            came.len(),
            head.offset
        )));
    }
    if came.is_empty() {
        return Err(SourceFault::Lied(format!("it ends before byte {offset}")));
    }
    Ok(came)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use linnet_proto::fleet::{FLEET_WIRE, IndexEntry};

    use super::*;

    /// A broker with its retained messages, and a server behind it that answers by `serve`.
    struct Broker<F> {
        retained: BTreeMap<String, Bytes>,
        asked: Mutex<Vec<(String, String)>>,
        serve: F,
    }

    #[async_trait]
    impl<F: Fn(usize, RangeRequest) -> Vec<u8> + Send + Sync> Exchange for Broker<F> {
        async fn retained(&self, topic: &str, cap: u64) -> Result<Option<Bytes>, SourceFault> {
            match self.retained.get(topic) {
                Some(found) if found.len() as u64 > cap => Err(SourceFault::TooLarge { cap }),
                found => Ok(found.cloned()),
            }
        }

        async fn ask(&self, topic: &str, id: &str, payload: Bytes) -> Result<Bytes, SourceFault> {
            let request = serde_json::from_slice(&payload).expect("a request");
            let nth = {
                let mut asked = self.asked.lock().expect("no panic");
                asked.push((topic.to_owned(), id.to_owned()));
                asked.len()
            };
            Ok((self.serve)(nth, request).into())
        }
    }

    fn source<F>(retained: &[(&str, Vec<u8>)], serve: F) -> (Mqtt, Arc<Broker<F>>)
    where
        F: Fn(usize, RangeRequest) -> Vec<u8> + Send + Sync + 'static,
    {
        let retained = retained.iter().map(|(topic, content)| (topic.to_string(), content.clone().into())).collect();
        let broker = Arc::new(Broker { retained, asked: Mutex::default(), serve });
        (Mqtt::new(broker.clone(), FleetName::new("home").expect("a name")), broker)
    }

    fn index(files: &[(&str, u64)]) -> Vec<u8> {
        let files = files.iter().map(|(name, bytes)| IndexEntry { name: name.to_string(), bytes: *bytes }).collect();
        serde_json::to_vec(&Index { wire: FLEET_WIRE, files }).expect("JSON")
    }

    fn no_answer(_: usize, _: RangeRequest) -> Vec<u8> {
        Vec::new()
    }

    #[tokio::test]
    async fn metadata_are_found_by_name_and_the_index_says_what_is_not_there() {
        let index = index(&[("2.root.json", 3), ("timestamp.json", 4), ("1.snapshot.json", 5), ("9.targets.json", 99)]);
        let (source, _) = source(
            &[
                ("linnet/fleet/home/index", index),
                ("linnet/fleet/home/root/2", b"two".to_vec()),
                ("linnet/fleet/home/metadata/timestamp.json", b"time".to_vec()),
            ],
            no_answer,
        );
        assert_eq!(source.metadata("2.root.json", 9).await.expect("found"), "two");
        assert_eq!(source.metadata("timestamp.json", 9).await.expect("found"), "time");
        assert_eq!(source.metadata("timestamp.json", 3).await, Err(SourceFault::TooLarge { cap: 3 }));
        assert_eq!(source.metadata("3.root.json", 9).await, Err(SourceFault::NotThere));
        assert_eq!(source.metadata("9.targets.json", 9).await, Err(SourceFault::TooLarge { cap: 9 }));
        assert!(matches!(source.metadata("1.snapshot.json", 9).await, Err(SourceFault::Unreachable(_))), "on its way");
    }

    #[tokio::test]
    async fn a_look_reads_one_index_and_what_it_lacks_is_looked_for_in_a_new_one() {
        let exchange = Arc::new(Changing::default());
        let source = Mqtt::new(exchange.clone(), FleetName::new("home").expect("a name"));
        exchange.put("index", &index(&[("timestamp.json", 4), ("1.snapshot.json", 5)]));
        exchange.put("metadata/timestamp.json", b"time");
        exchange.put("metadata/1.snapshot.json", b"first");
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::NotThere));
        assert_eq!(source.metadata("timestamp.json", 9).await.expect("found"), "time");
        assert_eq!(source.metadata("1.snapshot.json", 9).await.expect("found"), "first");
        assert_eq!(exchange.asked("index"), 1);

        // Published between two questions of a look.
        exchange.put("metadata/2.snapshot.json", b"second");
        exchange.put("index", &index(&[("timestamp.json", 4), ("2.snapshot.json", 6)]));
        assert_eq!(source.metadata("2.snapshot.json", 9).await.expect("found"), "second");
        assert_eq!(exchange.asked("index"), 2);
        // What is not there is never said of an index that was read before.
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::NotThere));
        exchange.put("index", &index(&[("2.root.json", 3)]));
        exchange.put("root/2", b"two");
        assert_eq!(source.metadata("2.root.json", 9).await.expect("found"), "two");
        assert_eq!(exchange.asked("index"), 4);
        // An index that names what was removed is not kept.
        exchange.put("root/2", b"");
        assert!(matches!(source.metadata("2.root.json", 9).await, Err(SourceFault::Unreachable(_))));
        exchange.put("index", &index(&[]));
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::NotThere));
        // Nor is one that lies about a size.
        exchange.put("index", &index(&[("2.root.json", u64::MAX)]));
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::TooLarge { cap: 9 }));
        exchange.put("index", &index(&[]));
        assert_eq!(source.metadata("2.root.json", 9).await, Err(SourceFault::NotThere));
    }

    /// A broker whose retained messages change, and that counts who asks for them.
    #[derive(Default)]
    struct Changing {
        retained: Mutex<BTreeMap<String, Bytes>>,
        asked: Mutex<Vec<String>>,
    }

    impl Changing {
        fn put(&self, topic: &str, content: &[u8]) {
            let topic = format!("linnet/fleet/home/{topic}");
            self.retained.lock().expect("no panic").insert(topic, Bytes::copy_from_slice(content));
        }

        fn asked(&self, topic: &str) -> usize {
            let topic = format!("linnet/fleet/home/{topic}");
            self.asked.lock().expect("no panic").iter().filter(|asked| **asked == topic).count()
        }
    }

    #[async_trait]
    impl Exchange for Changing {
        async fn retained(&self, topic: &str, _: u64) -> Result<Option<Bytes>, SourceFault> {
            self.asked.lock().expect("no panic").push(topic.to_owned());
            let retained = self.retained.lock().expect("no panic");
            Ok(retained.get(topic).filter(|content| !content.is_empty()).cloned())
        }

        async fn ask(&self, _: &str, _: &str, _: Bytes) -> Result<Bytes, SourceFault> {
            Err(SourceFault::NotThere)
        }
    }

    #[tokio::test]
    async fn without_an_index_nothing_is_known_and_a_bad_one_is_said_so() {
        let (without, _) = source(&[], no_answer);
        assert!(matches!(without.metadata("2.root.json", 9).await, Err(SourceFault::Unreachable(_))));
        for bad in [b"{".to_vec(), br#"{"wire":2,"files":[]}"#.to_vec(), vec![b'['; 10_000]] {
            let (bad, _) = source(&[("linnet/fleet/home/index", bad)], no_answer);
            assert!(matches!(bad.metadata("2.root.json", 9).await, Err(SourceFault::Lied(_))));
        }
    }

    fn serve(request: &RangeRequest, content: &[u8]) -> Vec<u8> {
        let from = (request.offset as usize).min(content.len());
        let to = (from + request.bytes as usize).min(content.len());
        let total = content.len() as u64;
        RangeHead { status: RangeStatus::Ok, offset: from as u64, total, retry_after_ms: None }.with(&content[from..to])
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_under_a_new_id() {
        let busy = RangeHead { status: RangeStatus::Busy, offset: 0, total: 0, retry_after_ms: Some(u64::MAX) };
        let (source, broker) =
            source(&[], move |nth, request| if nth < 3 { busy.with(&[]) } else { serve(&request, b"0123456789") });
        assert_eq!(source.piece("files/a", 4, 3).await.expect("found"), "456");
        let asked = broker.asked.lock().expect("no panic");
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|(topic, _)| topic == "linnet/fleet/home/fetch"));
        assert!(asked[0].1 != asked[1].1 && asked[1].1 != asked[2].1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_busy_is_left() {
        let busy = RangeHead { status: RangeStatus::Busy, offset: 0, total: 0, retry_after_ms: None };
        let (source, _) = source(&[], move |_, _| busy.with(&[]));
        assert!(matches!(source.piece("files/a", 0, 3).await, Err(SourceFault::Unreachable(_))));
    }

    #[tokio::test]
    async fn answers_that_do_not_fit_their_question_are_refused() {
        type Serve = fn(usize, RangeRequest) -> Vec<u8>;
        fn ok(offset: u64, bytes: &[u8]) -> Vec<u8> {
            RangeHead { status: RangeStatus::Ok, offset, total: 1000, retry_after_ms: None }.with(bytes)
        }
        let lies: [Serve; 4] =
            [|_, _| ok(5, b"x"), |_, _| ok(4, b"xxxx"), |_, _| ok(4, b""), |_, _| b"no head".to_vec()];
        for lie in lies {
            let (source, _) = source(&[], lie);
            assert!(matches!(source.piece("files/a", 4, 3).await, Err(SourceFault::Lied(_))));
        }
        let not_found: Serve =
            |_, _| RangeHead { status: RangeStatus::NotFound, offset: 0, total: 0, retry_after_ms: None }.with(b"");
        let (source, _) = source(&[], not_found);
        assert_eq!(source.piece("files/a", 4, 3).await, Err(SourceFault::NotThere));
    }

    #[tokio::test]
    async fn a_question_is_never_larger_than_a_reply_may_be() {
        let content = vec![7u8; 2 * MAX_RANGE_BYTES as usize];
        let (source, _) = source(&[], move |_, request| serve(&request, &content));
        let piece = source.piece("files/a", 0, u64::MAX).await.expect("a piece");
        assert_eq!(piece.len() as u64, MAX_RANGE_BYTES);
    }
}
