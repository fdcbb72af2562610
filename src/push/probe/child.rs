//! The child's side: limits first, then the work, one line for each step.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};

use super::{Code, Line, starved};
use crate::config::{self, Config, Overrides, Sources};
use crate::daemon::models;
use crate::exit::Exit;
use crate::limits::PROBE_ADDRESSES_MIB;
use crate::push::versions;
use crate::status::Events;
use crate::store::{Package, memory};
use crate::task::catalog::{Loader, Unproved};

/// What the command line asks for.
#[derive(Debug)]
pub struct Asked {
    /// The generation's directory.
    pub generation: PathBuf,
    /// Directories of packages to prove.
    pub prove: Vec<PathBuf>,
    /// Memory, MiB; 0 is no limit.
    pub memory_mib: u64,
    /// Time of processors, seconds; 0 is no limit.
    pub cpu_secs: u64,
    /// Flags and environment, as the daemon has them.
    pub layers: (Overrides, Overrides),
}

/// What did not prove itself.
struct Fault(Code, String);

/// Proves what is asked for and says so on stdout.
pub fn run(asked: Asked) -> Exit {
    starved::notice_panics(asked.memory_mib);
    let done = limit(asked.memory_mib, asked.cpu_secs)
        .map_err(|e| Fault(Code::Start, format!("it cannot limit itself: {e}")))
        .and_then(|()| prove_all(asked));
    let line = match &done {
        Ok(models) => Line::Done { models: *models },
        Err(Fault(code, reason)) => Line::Failed { code: *code, reason: reason.clone() },
    };
    match (say(&line), done) {
        (Err(_), _) => Exit::IoError,
        (Ok(()), Ok(_)) => Exit::Ok,
        (Ok(()), Err(_)) => Exit::Data,
    }
}

/// Takes the limits upon this process.
fn limit(memory_mib: u64, cpu_secs: u64) -> io::Result<()> {
    give_way()?;
    if cpu_secs > 0 {
        set(Resource::Cpu, cpu_secs)?;
    }
    if memory_mib > 0 {
        // What is written to counts as data. Files that are mapped, stacks and what allocators reserve without using are addresses.
        set(Resource::Data, memory_mib.saturating_mul(1 << 20))?;
        set(Resource::As, memory_mib.saturating_add(PROBE_ADDRESSES_MIB).saturating_mul(1 << 20))?;
    }
    Ok(())
}

/// Has what serves go before this process, which ends with who asked for it.
pub fn give_way() -> io::Result<()> {
    // Who asked is gone: nobody wants to know any more.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set(Resource::Core, 0)?;
    // A sandbox may forbid both; then it is only less polite.
    let _ = nice(NICE);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

/// By how much what serves goes before.
const NICE: i32 = 10;

fn set(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |allowed| allowed.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// The number of models that proved themselves.
fn prove_all(asked: Asked) -> Result<usize, Fault> {
    let (flags, environment) = asked.layers;
    let config = check(&asked.generation, flags, environment)?;
    tell(&Line::Config)?;
    let loader = models::loader(Events::default());
    let memory_mib = asked.memory_mib;
    for dir in &asked.prove {
        tell(&Line::Begins { dir: dir.clone() })?;
        let proved = prove(dir, &config, &loader).map_err(|Fault(code, reason)| match code {
            Code::Load | Code::Canary if starved::is_starved(&reason) => {
                Fault(Code::Memory, format!("it needed more than the {memory_mib} MiB that it may take: {reason}"))
            }
            code => Fault(code, reason),
        })?;
        tell(&proved)?;
        // What the next one may take is not what this one has left behind.
        linnet_kernels::allocator::give_back();
    }
    Ok(asked.prove.len())
}

fn check(generation: &Path, flags: Overrides, environment: Overrides) -> Result<Config, Fault> {
    let read = config::generation::read(generation).map_err(|e| Fault(Code::Config, e.to_string()))?;
    if let Some(generation) = &read.generation {
        versions::fit(generation).map_err(|reason| Fault(Code::Version, reason))?;
    }
    let (around, generation) = (crate::sys::surroundings::look(), Some(read.layer));
    let config = config::load(&Sources { flags, environment, around, generation })
        .and_then(|config| models::check_default(&config, &models::listed(&config, None)).map(|()| config))
        .map_err(|e| Fault(Code::Config, e.to_string()))?;
    match models::clash(&config) {
        Some(clash) => Err(Fault(Code::Clash, clash)),
        None => Ok(config),
    }
}

fn prove(dir: &Path, config: &Config, loader: &Loader) -> Result<Line, Fault> {
    let began = Instant::now();
    let mut package = Package::open(dir).map_err(|e| Fault(Code::Package, e.to_string()))?;
    if package.manifest.dtype.is_none() {
        package.manifest.dtype.clone_from(&config.memory.dtype);
    }
    package.check_memory(memory::memory()).map_err(|e| Fault(Code::NoMemory, e.to_string()))?;
    let proved = loader.try_out(&package).map_err(|unproved| {
        let code = match &unproved {
            Unproved::Load(_) | Unproved::Panic => Code::Load,
            Unproved::Canary(_) => Code::Canary,
        };
        Fault(code, unproved.to_string())
    })?;
    drop(proved);
    Ok(Line::Proved {
        name: package.manifest.name,
        version: package.manifest.version,
        ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        peak_mib: memory::peak_mib().unwrap_or(0),
    })
}

fn tell(line: &Line) -> Result<(), Fault> {
    say(line).map_err(|e| Fault(Code::Output, format!("it cannot say anything: {e}")))
}

fn say(line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
