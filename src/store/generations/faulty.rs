//! A file system in memory that forgets what was not synced, and stops at a given operation: a power cut as POSIX allows it.
//!
//! Two states are kept: what a program sees (`now`), and what the medium holds (`durable`). A file's bytes become durable by
//! `sync_file`. A directory's names become durable by `sync_dir` on it; each change of a name waits in `pending` until then, and may reach the medium
//! before, in any choice. A rename within a directory is one change. One across directories is two of which the removal never comes first.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{Disk, Entry, too_large};

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All of it is lost.
    All,
    /// None of it is: the kernel had written everything in time.
    Nothing,
    /// Names are kept, bytes are not: files of no length, or of their old content.
    Bytes,
    /// Bytes are kept, names are not.
    Names,
    /// Names are kept, files have their length and zeros where bytes were not synced.
    Zeros,
    /// Each name, and each block of bytes, by chance: kept, lost, or torn.
    Random(u64),
}

/// Bytes that a medium writes at once.
const BLOCK: usize = 8;

#[derive(Debug, Clone)]
enum Node {
    /// `held` is the room that is taken for it, whatever its length.
    File {
        now: Vec<u8>,
        durable: Vec<u8>,
        held: u64,
    },
    Dir {
        now: BTreeMap<String, usize>,
        durable: BTreeMap<String, usize>,
    },
}

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
enum Change {
    Add { dir: usize, name: String, node: usize },
    Remove { dir: usize, name: String },
    Rename { from: (usize, String), to: (usize, String), node: usize },
}

#[derive(Debug, Clone)]
struct Model {
    nodes: Vec<Node>,
    pending: Vec<Change>,
    operations: u64,
    cut_at: Option<u64>,
    capacity: u64,
    writable: bool,
    fails_sync: bool,
    can_hold: bool,
    /// The sync, from 0, that does nothing: for the test that tests the test.
    ignored: Option<usize>,
    /// The operation and the kind of each sync so far.
    syncs: Vec<(u64, String)>,
    last_renamed: String,
}

/// The file system; a clone is a second handle on the same one.
#[derive(Debug, Clone)]
pub(crate) struct FaultyDisk(Arc<Mutex<Model>>);

/// Marsaglia's xorshift64*.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

impl FaultyDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Model {
            nodes: vec![Node::Dir { now: BTreeMap::new(), durable: BTreeMap::new() }],
            pending: Vec::new(),
            operations: 0,
            cut_at: None,
            capacity: 1 << 30,
            writable: true,
            fails_sync: false,
            can_hold: true,
            ignored: None,
            syncs: Vec::new(),
            last_renamed: String::new(),
        })))
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().expect("no test panics while it holds the model")
    }

    /// A file system of its own with the same content.
    pub(crate) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.model().clone())))
    }

    /// Operations that changed something or made it durable, so far.
    pub(crate) fn operations(&self) -> u64 {
        self.model().operations
    }

    /// The power goes before operation `number` (from 0) and stays away.
    pub(crate) fn cut_at(&self, number: u64) {
        self.model().cut_at = Some(number);
    }

    /// Bytes that fit.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.model().capacity = bytes;
    }

    /// Whether anything can be written.
    pub(crate) fn set_writable(&self, writable: bool) {
        self.model().writable = writable;
    }

    /// Whether room can be taken for a file.
    pub(crate) fn set_can_hold(&self, can_hold: bool) {
        self.model().can_hold = can_hold;
    }

    /// The next sync of a file fails, once, as a medium does it that could not write.
    pub(crate) fn fail_next_sync(&self) {
        self.model().fails_sync = true;
    }

    /// Sync `number` (from 0) will do nothing; every other one does what it says.
    pub(crate) fn ignore_sync(&self, number: usize) {
        self.model().ignored = Some(number);
    }

    /// Each sync that was asked for: after how many operations the next one came, and of which kind it was.
    pub(crate) fn syncs(&self) -> Vec<(u64, String)> {
        self.model().syncs.clone()
    }

    /// Whether the power has gone.
    pub(crate) fn is_cut(&self) -> bool {
        let model = self.model();
        model.cut_at.is_some_and(|cut| model.operations >= cut)
    }

    /// The power comes back: what is on the medium, and what of the rest `loss` leaves.
    pub(crate) fn restart(&self, loss: Loss) -> Self {
        let mut model = self.model().clone();
        model.lose(loss);
        model.operations = 0;
        model.cut_at = None;
        model.ignored = None;
        model.syncs.clear();
        Self(Arc::new(Mutex::new(model)))
    }

    /// Every file with its content, and every directory, by path; in order.
    pub(crate) fn tree(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        fn walk(model: &Model, node: usize, path: &str, tree: &mut BTreeMap<String, Option<Vec<u8>>>) {
            match &model.nodes[node] {
                Node::File { now, .. } => drop(tree.insert(path.to_owned(), Some(now.clone()))),
                Node::Dir { now, .. } => {
                    tree.insert(path.to_owned(), None);
                    for (name, &node) in now {
                        let inner = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                        walk(model, node, &inner, tree);
                    }
                }
            }
        }
        let mut tree = BTreeMap::new();
        walk(&self.model(), 0, "", &mut tree);
        tree
    }

    /// Puts a file there as a stranger would, durable at once and uncounted.
    pub(crate) fn plant(&self, path: &str, bytes: &[u8]) {
        let mut model = self.model();
        let (dir, name) = model.place(path).expect("its directory is there");
        let node = Node::File { now: bytes.to_owned(), durable: bytes.to_owned(), held: 0 };
        model.nodes.push(node);
        let number = model.nodes.len() - 1;
        let Node::Dir { now, durable } = &mut model.nodes[dir] else { panic!("{path}: no directory") };
        now.insert(name.clone(), number);
        durable.insert(name, number);
    }

    /// Removes a file as a stranger would.
    pub(crate) fn uproot(&self, path: &str) {
        let mut model = self.model();
        let (dir, name) = model.place(path).expect("its directory is there");
        let Node::Dir { now, durable } = &mut model.nodes[dir] else { panic!("{path}: no directory") };
        now.remove(&name).expect("it is there");
        durable.remove(&name);
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Model {
    /// Counts an operation that changes something.
    fn operation(&mut self) -> io::Result<()> {
        if self.cut_at.is_some_and(|cut| self.operations >= cut) {
            return Err(io::Error::other("the power is gone"));
        }
        if !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.operations += 1;
        Ok(())
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        let mut node = 0;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let Node::Dir { now, .. } = &self.nodes[node] else { return Err(io::ErrorKind::NotADirectory.into()) };
            node = *now.get(part).ok_or_else(not_found)?;
        }
        Ok(node)
    }

    /// The directory that a path's last name stands in, and that name.
    fn place(&self, path: &str) -> io::Result<(usize, String)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.find(dir)?, name.to_owned()))
    }

    fn names(&mut self, dir: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[dir] {
            Node::Dir { now, .. } => Ok(now),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, path: &str, node: Node) -> io::Result<usize> {
        let (dir, name) = self.place(path)?;
        if self.names(dir)?.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.names(dir)?.insert(name.clone(), node);
        self.pending.push(Change::Add { dir, name, node });
        Ok(node)
    }

    fn file(&mut self, path: &str) -> io::Result<&mut Vec<u8>> {
        let node = match self.find(path) {
            Ok(node) => node,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.add(path, Node::File { now: Vec::new(), durable: Vec::new(), held: 0 })?
            }
            Err(e) => return Err(e),
        };
        match &mut self.nodes[node] {
            Node::File { now, .. } => Ok(now),
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn used(&self) -> u64 {
        let mut reached = vec![false; self.nodes.len()];
        let mut next = vec![0];
        let mut used = 0;
        while let Some(node) = next.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                match &self.nodes[node] {
                    Node::File { now, held, .. } => used += held.max(&(now.len() as u64)),
                    Node::Dir { now, .. } => next.extend(now.values()),
                }
            }
        }
        used
    }

    /// Whether a file may come to take `bytes`.
    fn room_for(&self, path: &str, bytes: u64) -> io::Result<()> {
        let taken = self.taken(path).unwrap_or(0);
        let used = self.used() + bytes.saturating_sub(taken);
        if used > self.capacity { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// What a file takes.
    fn taken(&self, path: &str) -> Option<u64> {
        match &self.nodes[self.find(path).ok()?] {
            Node::File { now, held, .. } => Some((*held).max(now.len() as u64)),
            Node::Dir { .. } => None,
        }
    }

    fn durable(&mut self, dir: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[dir] {
            Node::Dir { durable, .. } => durable,
            Node::File { .. } => unreachable!("a name stands in a directory"),
        }
    }

    /// Makes a change durable.
    fn settle(&mut self, change: Change) {
        match change {
            Change::Add { dir, name, node } => {
                self.durable(dir).insert(name, node);
            }
            Change::Remove { dir, name } => {
                self.durable(dir).remove(&name);
            }
            Change::Rename { from, to, node } => {
                self.durable(from.0).remove(&from.1);
                self.durable(to.0).insert(to.1, node);
            }
        }
    }

    /// Notes a kind of sync; whether it is done.
    fn syncs(&mut self, kind: String) -> bool {
        self.syncs.push((self.operations, kind));
        self.ignored != Some(self.syncs.len() - 1)
    }

    fn lose(&mut self, loss: Loss) {
        let mut numbers = Numbers::new(if let Loss::Random(seed) = loss { seed } else { 0 });
        for change in std::mem::take(&mut self.pending) {
            match loss {
                Loss::All | Loss::Names => {}
                Loss::Nothing | Loss::Bytes | Loss::Zeros => self.settle(change),
                Loss::Random(_) => match (numbers.below(3), change) {
                    (0, _) => {}
                    (1, Change::Rename { from, to, node }) if from.0 != to.0 => {
                        self.durable(to.0).insert(to.1, node);
                    }
                    (_, change) => self.settle(change),
                },
            }
        }
        for node in &mut self.nodes {
            match node {
                Node::Dir { now, durable } => now.clone_from(durable),
                Node::File { now, durable, held } => {
                    // Taken room is a record of the file system's own: it may come back or not.
                    if matches!(loss, Loss::All | Loss::Names) {
                        *held = 0;
                    }
                    if now != durable {
                        *durable = left_of(now, durable, loss, &mut numbers);
                    }
                    now.clone_from(durable);
                }
            }
        }
    }
}

/// What the medium holds of a file that was not synced.
fn left_of(now: &[u8], durable: &[u8], loss: Loss, numbers: &mut Numbers) -> Vec<u8> {
    let zeros = |length: usize| {
        let mut left = durable[..durable.len().min(length)].to_vec();
        left.resize(length, 0);
        left
    };
    match loss {
        Loss::All | Loss::Bytes => durable.to_vec(),
        Loss::Nothing | Loss::Names => now.to_vec(),
        Loss::Zeros => zeros(now.len()),
        Loss::Random(_) => {
            let length = match numbers.below(3) {
                0 => now.len(),
                1 => durable.len(),
                _ => durable.len() + numbers.below(now.len().saturating_sub(durable.len()) as u64) as usize,
            };
            let mut left = zeros(length);
            for (block, bytes) in now.chunks(BLOCK).enumerate() {
                let at = block * BLOCK;
                if numbers.below(2) == 0 && at < left.len() {
                    let end = (at + bytes.len()).min(left.len());
                    left[at..end].copy_from_slice(&bytes[..end - at]);
                }
            }
            left
        }
    }
}

/// The kind of a sync: which promise it keeps. `renamed` is the name that a rename gave last.
fn kind(what: &str, path: &str, renamed: &str) -> String {
    let of = match path.split_once('/') {
        None if path.is_empty() => format!("of {renamed}"),
        None => path.to_owned(),
        Some(("files", _)) => "document".to_owned(),
        Some(("partial", _)) => "download".to_owned(),
        Some((_, inner)) if inner.starts_with(".new-") => "inside of a new generation".to_owned(),
        Some(_) => "inside of a generation".to_owned(),
    };
    format!("{what}: {of}")
}

impl Disk for FaultyDisk {
    fn root(&self) -> &Path {
        Path::new("/fleet")
    }

    fn create(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        model.room_for(path, bytes.len() as u64)?;
        *model.file(path)? = bytes.to_owned();
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        let at = offset as usize;
        model.room_for(path, (at + bytes.len()) as u64)?;
        let file = model.file(path)?;
        if file.len() < at + bytes.len() {
            file.resize(at + bytes.len(), 0);
        }
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        let node = model.find(path)?;
        if std::mem::take(&mut model.fails_sync) {
            return Err(io::Error::other("the medium does not take it"));
        }
        let is_done = model.syncs(kind("file", path, ""));
        match &mut model.nodes[node] {
            Node::File { now, durable, .. } if is_done => durable.clone_from(now),
            Node::File { .. } => {}
            Node::Dir { .. } => return Err(io::ErrorKind::IsADirectory.into()),
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        let synced = model.find(path)?;
        let renamed = model.last_renamed.clone();
        if !model.syncs(kind("names", path, &renamed)) {
            return Ok(());
        }
        for change in std::mem::take(&mut model.pending) {
            match &change {
                Change::Add { dir, .. } | Change::Remove { dir, .. } if *dir == synced => model.settle(change),
                Change::Rename { from, .. } if from.0 == synced => model.settle(change),
                // The new name is durable, the old one may come back until its own directory is synced.
                Change::Rename { from, to, node } if to.0 == synced => {
                    let (dir, name) = from.clone();
                    model.settle(Change::Add { dir: to.0, name: to.1.clone(), node: *node });
                    model.pending.push(Change::Remove { dir, name });
                }
                _ => model.pending.push(change),
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut model = self.model();
        let node = model.find(from)?;
        let (from, target) = (model.place(from)?, model.place(to)?);
        model.operation()?;
        model.names(from.0)?.remove(&from.1);
        model.names(target.0)?.insert(target.1.clone(), node);
        model.pending.push(Change::Rename { from, to: target, node });
        model.last_renamed = to.to_owned();
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        let node = model.find(from)?;
        let (dir, name) = model.place(to)?;
        if model.names(dir)?.insert(name.clone(), node).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        model.pending.push(Change::Add { dir, name, node });
        Ok(())
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        let mut model = self.model();
        model.operation()?;
        model.add(path, Node::Dir { now: BTreeMap::new(), durable: BTreeMap::new() }).map(drop)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut model = self.model();
        let node = model.find(path)?;
        if matches!(model.nodes[node], Node::Dir { .. }) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        model.operation()?;
        let (dir, name) = model.place(path)?;
        model.names(dir)?.remove(&name);
        model.pending.push(Change::Remove { dir, name });
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut model = self.model();
        let node = model.find(path)?;
        if !model.names(node)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        model.operation()?;
        let (dir, name) = model.place(path)?;
        model.names(dir)?.remove(&name);
        model.pending.push(Change::Remove { dir, name });
        Ok(())
    }

    fn read(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        let model = self.model();
        match &model.nodes[model.find(path)?] {
            Node::File { now, .. } if now.len() as u64 > most => Err(too_large(most)),
            Node::File { now, .. } => Ok(now.clone()),
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn read_at(&self, path: &str, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.read(path, u64::MAX)?;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn file_bytes(&self, path: &str) -> io::Result<Option<u64>> {
        let model = self.model();
        match model.find(path).map(|node| &model.nodes[node]) {
            Ok(Node::File { now, .. }) => Ok(Some(now.len() as u64)),
            _ => Ok(None),
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let model = self.model();
        match &model.nodes[model.find(path)?] {
            Node::Dir { now, .. } => Ok(now
                .iter()
                .map(|(name, &node)| Entry {
                    name: name.clone(),
                    is_dir: matches!(model.nodes[node], Node::Dir { .. }),
                })
                .collect()),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn hold(&self, path: &str, bytes: u64) -> io::Result<bool> {
        let mut model = self.model();
        if !model.can_hold {
            return Ok(false);
        }
        model.operation()?;
        model.room_for(path, bytes)?;
        model.file(path)?;
        let node = model.find(path)?;
        if let Node::File { held, .. } = &mut model.nodes[node] {
            *held = bytes.max(*held);
        }
        Ok(true)
    }

    fn held_bytes(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(self.model().taken(path))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let model = self.model();
        Ok(model.capacity.saturating_sub(model.used()))
    }
}
