//! One run of `tough` over a scratch copy of what is trusted.

use std::path::Path;

use futures_core::Stream;
use linnet_proto::fleet::{RELEASES, ROLLOUTS};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tough::schema::{DelegatedRole, Delegations, RoleType, Root, Signed, Targets};
use tough::{
    Bytes, ExpirationEnforcement, Repository, RepositoryLoader, Transport, TransportError, TransportErrorKind,
    TransportStream, async_trait,
};
use url::Url;

use super::File;
use super::contents::Contents;
use super::error::TrustError;
use super::fetcher::{Fetcher, SNAPSHOT, TARGETS, TIMESTAMP};
use super::limits::Limits;
use super::trusted::{Accepted, Metadata, Terms, Trusted, read};
use super::{refusal, shape};

/// Verifies what the source has against `trusted`; gives what is to be trusted now, if it has not expired.
pub(super) async fn load(
    trusted: &Trusted,
    fetcher: &mut Fetcher<'_>,
    limits: &Limits,
) -> Result<(Accepted, Contents), TrustError> {
    let scratch = scratch(trusted, &limits.scratch).await?;
    let repository = run(trusted, fetcher, limits, scratch.path()).await;
    // Removing is work for the disk, and nothing depends on when it is done.
    drop(tokio::task::spawn_blocking(move || drop(scratch)));
    let repository = repository?;
    let root = &repository.root().signed;
    shape::require_root(root)?;
    let targets = &repository.targets().signed;
    let delegations = shape::require_delegations(targets)?;
    let releases = loaded(shape::delegated(delegations, RELEASES)?)?;
    let rollouts = loaded(shape::delegated(delegations, ROLLOUTS)?)?;
    require_no_step_back(trusted, root, targets, delegations, releases)?;
    let contents = Contents::read(releases, rollouts)?;

    let root_terms = Terms::of(root);
    let timestamp = Terms::of(&repository.timestamp().signed);
    let snapshot = Terms::of(&repository.snapshot().signed);
    let (targets, releases, rollouts) = (Terms::of(targets), Terms::of(releases), Terms::of(rollouts));
    let file = |name: String| fetcher.fetched(&name).ok_or(TrustError::Missing { name });
    let root_file = if root_terms.version == trusted.versions().root {
        trusted.root().clone()
    } else {
        file(format!("{}.root.json", root_terms.version))?
    };
    let metadata = Metadata {
        timestamp: file(TIMESTAMP.into())?,
        snapshot: file(format!("{}.{SNAPSHOT}", snapshot.version))?,
        targets: file(format!("{}.{TARGETS}", targets.version))?,
        releases: file(format!("{}.{RELEASES}.json", releases.version))?,
        rollouts: file(format!("{}.{ROLLOUTS}.json", rollouts.version))?,
        terms: [timestamp, snapshot, targets, releases, rollouts],
    };
    Ok((Accepted { root: root_file, root_terms, metadata }, contents))
}

/// A datastore as `tough` expects it, without the latest known time: time is Linnet's.
async fn scratch(trusted: &Trusted, within: &Path) -> Result<TempDir, TrustError> {
    let within = within.to_owned();
    let old = trusted.metadata().map(|metadata| (metadata.timestamp.clone(), metadata.snapshot.clone()));
    let made = tokio::task::spawn_blocking(move || -> std::io::Result<TempDir> {
        let dir = tempfile::Builder::new().prefix("linnet-trust-").tempdir_in(within)?;
        if let Some((timestamp, snapshot)) = old {
            std::fs::write(dir.path().join(TIMESTAMP), timestamp)?;
            std::fs::write(dir.path().join(SNAPSHOT), snapshot)?;
        }
        Ok(dir)
    });
    match made.await {
        Ok(Ok(dir)) => Ok(dir),
        Ok(Err(e)) => Err(TrustError::Scratch(format!("the scratch directory cannot be made: {e}"))),
        Err(e) => Err(TrustError::Scratch(e.to_string())),
    }
}

async fn run(
    trusted: &Trusted,
    fetcher: &mut Fetcher<'_>,
    limits: &Limits,
    scratch: &Path,
) -> Result<Repository, TrustError> {
    let base = |of: &str| Url::parse(&format!("linnet://source/{of}/")).map_err(|e| TrustError::Scratch(e.to_string()));
    let (ask, mut asked) = mpsc::channel::<Question>(1);
    let loader = RepositoryLoader::new(trusted.root(), base("metadata")?, base("targets")?)
        .transport(Asking { ask })
        .limits(tough::Limits {
            max_root_size: limits.root_bytes,
            max_targets_size: limits.targets_bytes.max(limits.delegated_bytes),
            max_timestamp_size: limits.timestamp_bytes,
            max_snapshot_size: limits.snapshot_bytes,
            max_root_updates: limits.root_updates,
        })
        .datastore(scratch)
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    let mut load = Box::pin(loader.load());
    let loaded = loop {
        tokio::select! {
            biased;
            loaded = &mut load => break loaded,
            Some(question) = asked.recv() => {
                let answer = fetcher.get(&question.name).await;
                // Who asked has gone: the load is over.
                drop(question.answer.send(answer));
            }
        }
    };
    match (fetcher.fault(), loaded) {
        (Some(fault), _) => Err(fault.clone()),
        (None, Ok(repository)) => Ok(repository),
        (None, Err(error)) => Err(refusal::of(&error, fetcher.last())),
    }
}

/// A file that `tough` asks for.
#[derive(Debug)]
struct Question {
    name: String,
    answer: oneshot::Sender<Result<Option<File>, TrustError>>,
}

/// The transport that hands each question to the refresh, which holds the source.
#[derive(Debug, Clone)]
struct Asking {
    ask: mpsc::Sender<Question>,
}

#[async_trait]
impl Transport for Asking {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let name = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default().to_owned();
        let gone = || TransportError::new(TransportErrorKind::Other, &url);
        let (answer, answered) = oneshot::channel();
        self.ask.send(Question { name, answer }).await.map_err(|_| gone())?;
        match answered.await {
            Ok(Ok(Some(file))) => Ok(Box::pin(Once(Some(file)))),
            Ok(Ok(None)) => Err(TransportError::new(TransportErrorKind::FileNotFound, &url)),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }
}

/// A stream of one chunk.
struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// The metadata of a delegated role. `tough` goes on without them where the snapshot does not name them.
fn loaded(role: &DelegatedRole) -> Result<&Targets, TrustError> {
    let targets = role.targets.as_ref().ok_or_else(|| TrustError::missing(&format!("{}.json", role.name)))?;
    shape::require_leaf(&role.name, &targets.signed)?;
    Ok(&targets.signed)
}

/// The offline roles never step back while their own keys stay. `tough` compares their versions through the trusted snapshot, which
/// a rotation of the online keys rightly throws away; a new online key must not bring old releases back with it.
fn require_no_step_back(
    trusted: &Trusted,
    root: &Root,
    targets: &Targets,
    delegations: &Delegations,
    releases: &Targets,
) -> Result<(), TrustError> {
    let Some(old) = trusted.metadata() else { return Ok(()) };
    let [_, _, old_targets, old_releases, _] = old.terms.map(|terms| terms.version);
    let (targets_version, releases_version) = (targets.version.get(), releases.version.get());
    if targets_version >= old_targets && releases_version >= old_releases {
        return Ok(());
    }
    let step_back = |role: &str, old: u64, new: u64| {
        Err(TrustError::Rollback(format!("version {new} of {role}, and version {old} is trusted")))
    };
    let old_root: Signed<Root> = read(trusted.root(), "root.json")?;
    let same_keys = old_root.signed.roles.get(&RoleType::Targets) == root.roles.get(&RoleType::Targets);
    if same_keys && targets_version < old_targets {
        return step_back("targets", old_targets, targets_version);
    }
    let old: Signed<Targets> = read(&old.targets, TARGETS)?;
    let keys = |delegations| -> Result<_, TrustError> { Ok(shape::delegated(delegations, RELEASES)?.keys()) };
    let same_keys = keys(shape::require_delegations(&old.signed)?)? == keys(delegations)?;
    if same_keys && releases_version < old_releases {
        return step_back(RELEASES, old_releases, releases_version);
    }
    Ok(())
}
