//! The daemon as a library, so that the binary is thin and everything is testable.
//!
//! A request reads as a sentence: [`transport`] decodes a `linnet_proto` message, [`job`] admits it, [`scheduler`]
//! orders it, a worker runs a [`task`] pipeline on an [`engine`] session, and the reply leaves by the transport that
//! it came from. `docs/ARCHITECTURE.md` is the map.

pub mod bench;
pub mod cli;
pub mod config;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
pub mod engine;
pub mod exit;
pub mod import;
pub mod job;
pub mod limits;
pub mod logging;
pub mod provision;
pub mod push;
pub mod scheduler;
pub mod status;
pub mod store;
pub mod sys;
pub mod task;
pub mod transport;
pub mod verify;

use std::path::{Path, PathBuf};

use cli::{Cli, Verb};
use exit::Exit;

/// Does what the command line asks; errors are one sentence on stderr.
pub fn run(cli: Cli) -> Exit {
    match cli.verb {
        #[cfg(feature = "demo")]
        Some(Verb::Demo { file, models }) => run_demo(file, models),
        Some(Verb::ExplainCpu) => print(&engine::tract::cpu_report().to_string()),
        Some(Verb::Man { dir }) => man(dir.as_deref()),
        Some(Verb::Probe { generation, prove, memory_mib, cpu_secs, layer }) => {
            let environment = config::Overrides::from_environment(|name| std::env::var_os(name));
            let layers = (layer.overrides(), environment);
            push::probe::run_child(push::probe::Asked { generation, prove, memory_mib, cpu_secs, layers })
        }
        Some(Verb::Verify { packages, models, config, state, json }) => {
            let flags = config::Overrides { config, state, ..config::Overrides::default() };
            verify_packages(&packages, models, flags, json)
        }
        Some(Verb::Import { from, dtype, files: true, .. }) => list_files(&from, dtype.as_deref()),
        Some(Verb::Import {
            from, name, aliases, dtype, copy, replace, models, json, fleet_dir, for_daemon, ..
        }) => {
            let into = PathBuf::new();
            let asked = import::Import { from, into, name, aliases, dtype, copy, replace, fleet: fleet_dir };
            import_model(asked, models, json, for_daemon)
        }
        Some(Verb::Remove { name, models }) => remove_model(&name, models),
        Some(Verb::Recover { factory: _, layer }) => recover(layer.overrides()),
        Some(Verb::Bench { model, threads, prompt_tokens, new_tokens, rounds, models, json }) => {
            let asked = bench::Bench { dir: PathBuf::new(), threads, prompt_tokens, new_tokens, rounds };
            bench_model(asked, &model, models, json)
        }
        Some(Verb::Simulate(args)) => simulate_push(&args),
        None => match (&cli.serve.check, cli.serve.wrong_use()) {
            (_, Some(wrong)) => fail(Exit::Usage, &wrong),
            (Some(_), None) => check(&cli.serve),
            (None, None) => serve(&cli.serve),
        },
    }
}

/// `linnetd` without a verb.
fn serve(flags: &cli::Serve) -> Exit {
    linnet_kernels::allocator::keep_small();
    let sources = config::Sources {
        flags: flags.overrides(),
        environment: config::Overrides::from_environment(|name| std::env::var_os(name)),
        around: sys::surroundings::look(),
        generation: None,
    };
    match daemon::serve(sources) {
        Ok(daemon::Ended::Done) => Exit::Ok,
        Ok(daemon::Ended::Restart) => {
            let error = sys::restart::replace_self();
            fail(Exit::OsError, &format!("linnetd cannot begin anew: {error}"))
        }
        Err(e) => fail(e.exit(), &e),
    }
}

/// `linnetd --check FILE`: the file, or what is to be pushed, or both, by the rules of the start.
fn check(flags: &cli::Serve) -> Exit {
    let read = match flags.generation.as_deref().map(config::generation::read).transpose() {
        Ok(read) => read,
        Err(refused) => return fail(Exit::Config, &refused),
    };
    let generation = read.as_ref().and_then(|read| read.generation.as_ref());
    if let Some(Err(reason)) = generation.map(push::versions::fit) {
        let number = generation.map_or(0, |generation| generation.number);
        return fail(Exit::Config, &format!("generation {number}: {reason}"));
    }
    let mut sources = config::Sources {
        flags: flags.overrides(),
        // What is checked is the file; what it comes to here and now is what is explained.
        environment: match flags.explain {
            true => config::Overrides::from_environment(|name| std::env::var_os(name)),
            false => config::Overrides::default(),
        },
        around: sys::surroundings::look(),
        generation: read.as_ref().map(|read| read.layer.clone()),
    };
    let mut serves = String::new();
    if flags.explain && sources.generation.is_none() {
        serves = take_serving(&mut sources);
    }
    let checked = config::explain::explain(&sources).and_then(|(config, explained)| {
        daemon::models::check_default(&config, &daemon::models::listed(&config, generation))?;
        push::check_authorities(&config)?;
        Ok(explained)
    });
    match checked {
        Ok(explained) if flags.explain => print(&(serves + &config::explain::page(&explained))),
        Ok(_) => {
            let named = [sources.file(), flags.generation.as_deref()];
            let named = named.into_iter().flatten().map(|path| format!("{}: ok\n", path.display()));
            print(&named.collect::<String>())
        }
        Err(refused) => fail(Exit::Config, &refused),
    }
}

/// Adds the generation that serves on this device, where there is one; a comment that says so. Faults of the file are told by who explains it.
fn take_serving(sources: &mut config::Sources) -> String {
    let Ok(local) = config::load(sources) else { return String::new() };
    let Some(root) = push::held::fleet_dir(&local) else { return String::new() };
    match push::held::serving_layer(&local) {
        Ok(None) => format!("# what was shipped serves: no generation is live in {}\n", root.display()),
        Ok(Some(layer)) => {
            let said = format!("# generation {} serves, from {}\n", layer.number, root.display());
            sources.generation = Some(layer);
            said
        }
        Err(e) => {
            let way_out = match &e {
                store::generations::StoreError::Read { source, .. }
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    "; ask as root, or as the daemon's user"
                }
                _ => "",
            };
            eprintln!("linnetd: which generation serves cannot be told, and none is counted: {e}{way_out}");
            "# which generation serves could not be told: none is counted\n".to_owned()
        }
    }
}

/// `linnetd man`: the page, or all of them into a directory.
fn man(dir: Option<&Path>) -> Exit {
    /// The manual's section of daemons.
    const SECTION: &str = "8";
    let command = <Cli as clap::CommandFactory>::command();
    match dir {
        None => match linnet_manual::page(command, SECTION) {
            Ok(page) => print(&String::from_utf8_lossy(&page)),
            Err(e) => fail(Exit::IoError, &e),
        },
        Some(dir) => match linnet_manual::write_pages(command, SECTION, dir) {
            Ok(()) => Exit::Ok,
            Err(e) => fail(Exit::CannotCreate, &format!("{}: {e}", dir.display())),
        },
    }
}

/// `linnetd verify`. Prints each report as soon as it is there.
fn verify_packages(packages: &[String], models: Vec<PathBuf>, flags: config::Overrides, json: bool) -> Exit {
    logging::start(log::LevelFilter::Error);
    let places = match models.is_empty() {
        true => verify::Places::of_daemon(flags),
        false => verify::Places { models, ..verify::Places::default() },
    };
    let mut exit = Exit::Ok;
    // What could not be looked at is no success, unless nobody asked for it.
    for hidden in places.hidden.iter().filter(|_| packages.is_empty()) {
        exit = fail(Exit::NoInput, hidden);
    }
    let dirs = match verify::choose(packages, &places.models) {
        Ok(dirs) => dirs,
        // It was told.
        Err(_) if exit != Exit::Ok => return exit,
        Err(e) => return fail(Exit::NoInput, &e),
    };
    if dirs.is_empty() && exit == Exit::Ok {
        let looked: Vec<_> = places.models.iter().map(|dir| dir.display().to_string()).collect();
        return fail(Exit::NoInput, &format!("there is no model package to verify in {}", looked.join(", ")));
    }
    for dir in dirs {
        let mut report = verify::verify(&dir);
        report.generation = places.generation.as_ref().filter(|(of, _)| dir.starts_with(of)).map(|(_, number)| *number);
        let line = if json { serde_json::to_string(&report).unwrap_or_default() } else { report.line() };
        if let Exit::IoError = print(&format!("{line}\n")) {
            return Exit::IoError;
        }
        if !report.ok {
            exit = Exit::Data;
        }
    }
    exit
}

/// `linnetd import`. What is being done goes to stderr, the result to stdout.
fn import_model(mut asked: import::Import, models: Option<PathBuf>, json: bool, for_daemon: bool) -> Exit {
    logging::start(log::LevelFilter::Error);
    if for_daemon {
        if let Err(e) = push::probe::give_way() {
            return fail(Exit::OsError, &format!("it cannot limit itself: {e}"));
        }
        asked.into = models.unwrap_or_default();
    } else {
        let places = match own_places(models) {
            Ok(places) => places,
            Err(e) => return fail(Exit::Config, &e),
        };
        asked.into = places.own.into_iter().next().unwrap_or_default();
        asked.fleet = places.fleet;
    }
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let mut progress = |what: &str| {
        if terminal {
            eprintln!("linnetd: {what} …");
        }
    };
    match import::import(&asked, &mut progress) {
        Ok(done) if json => print(&format!("{}\n", serde_json::to_string(&done).unwrap_or_default())),
        Ok(done) => print(&done.to_string()),
        Err(e) => fail(e.exit(), &e),
    }
}

/// `linnetd import --files`: what has to be sent to a daemon that cannot read the model's directory.
fn list_files(from: &Path, dtype: Option<&str>) -> Exit {
    match import::files(from, dtype) {
        Ok(files) => print(&format!("{}\n", serde_json::to_string(&files).unwrap_or_default())),
        Err(e) => fail(e.exit(), &e),
    }
}

/// `linnetd remove`.
fn remove_model(name: &str, models: Option<PathBuf>) -> Exit {
    let places = match own_places(models) {
        Ok(places) => places,
        Err(e) => return fail(Exit::Config, &e),
    };
    match import::remove(name, &places.own, places.fleet.as_deref()) {
        Ok(dir) => print(&format!("removed {}\n", dir.display())),
        Err(e) => fail(e.exit(), &e),
    }
}

/// `linnetd recover --factory`.
fn recover(flags: config::Overrides) -> Exit {
    logging::start(log::LevelFilter::Error);
    let environment = config::Overrides::from_environment(|name| std::env::var_os(name));
    let around = sys::surroundings::look();
    let config = match config::load(&config::Sources { flags, environment, around, generation: None }) {
        Ok(config) => config,
        Err(e) => return fail(Exit::Config, &e),
    };
    match push::recover::to_factory(&config) {
        Ok(done) if done.from == 0 => print("what was shipped served already\n"),
        Ok(done) => print(&format!(
            "generation {} is left; what was shipped serves from the next start, and that generation comes back only when it is asked for again\n",
            done.from
        )),
        Err(e) => fail(Exit::Unavailable, &e),
    }
}

/// `linnetd bench`.
fn bench_model(mut asked: bench::Bench, model: &str, mut models: Vec<PathBuf>, json: bool) -> Exit {
    logging::start(log::LevelFilter::Error);
    if models.is_empty() {
        models.extend(own_places(None).map(|places| places.own).unwrap_or_default());
        models.extend(sys::surroundings::look().models);
    }
    asked.dir = bench::find(model, &models);
    match bench::bench(&asked) {
        Ok(measured) if json => print(&format!("{}\n", serde_json::to_string(&measured).unwrap_or_default())),
        Ok(measured) => print(&measured.lines()),
        Err(bench::BenchError::Package(e)) => fail(Exit::NoInput, &e),
        Err(e) => fail(Exit::Data, &e),
    }
}

/// `linnetd simulate`. A fault that was asked for is no failure of the program, whatever it leads to.
fn simulate_push(args: &push::simulate::SimulateArgs) -> Exit {
    logging::start(log::LevelFilter::Error);
    let plan = match args.plan() {
        Ok(plan) => plan,
        Err(e) => return fail(Exit::Usage, &e),
    };
    let mut line = push::simulate::ProgressLine::new();
    let done = push::simulate::simulate(&plan, &mut |progress| line.show(&progress));
    line.clear();
    match done {
        Ok(summary) => {
            let text = if args.json { format!("{}\n", summary.json()) } else { summary.lines() };
            match print(&text) {
                Exit::Ok if !summary.converged && plan.fault.is_none() => Exit::Software,
                exit => exit,
            }
        }
        Err(e) => fail(e.exit(), &e),
    }
}

/// Where a site may put models.
struct OwnPlaces {
    /// Those that are configured, else `models` in the state directory; the first is what models are added to.
    own: Vec<PathBuf>,
    /// The directory of generations whose names are taken there.
    fleet: Option<PathBuf>,
}

/// By the configuration, or `models` alone. In a directory that is none of this device's own no generation takes a name.
fn own_places(models: Option<PathBuf>) -> Result<OwnPlaces, config::ConfigError> {
    let environment = config::Overrides::from_environment(|name| std::env::var_os(name));
    let around = sys::surroundings::look();
    let bundled = around.models.clone();
    let local = config::Sources { flags: config::Overrides::default(), environment, around, generation: None };
    let config = match (config::load(&local), models.clone()) {
        (Ok(config), _) => config,
        // A wrong configuration does not hinder who says where.
        (Err(_), Some(models)) => return Ok(OwnPlaces { own: vec![models], fleet: None }),
        (Err(e), None) => return Err(e),
    };
    let fleet = push::held::fleet_dir(&config);
    let first = config.own_models(bundled.as_deref());
    let others = config.models.into_iter().filter(|dir| *dir != first && Some(dir) != bundled.as_ref());
    let own: Vec<_> = std::iter::once(first.clone()).chain(others).collect();
    Ok(match models {
        None => OwnPlaces { own, fleet },
        Some(models) => OwnPlaces { fleet: fleet.filter(|_| own.contains(&models)), own: vec![models] },
    })
}

#[cfg(feature = "demo")]
fn run_demo(file: Option<PathBuf>, models: Option<PathBuf>) -> Exit {
    use demo::DemoError;
    match demo::run(&demo::DemoOptions { file, models }, &mut std::io::stdout()) {
        Ok(()) => Exit::Ok,
        // A reader that has gone away (`| head`) has seen enough.
        Err(DemoError::Output(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(e) => fail(
            match &e {
                DemoError::File { .. } => Exit::NoInput,
                DemoError::Output(_) => Exit::IoError,
                DemoError::Start(_) | DemoError::Answer { .. } => Exit::Unavailable,
                DemoError::Interrupted => Exit::Interrupted,
            },
            &e,
        ),
    }
}

/// Prints to stdout. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Exit {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => fail(Exit::IoError, &format!("stdout: {e}")),
        _ => Exit::Ok,
    }
}

/// Says why on stderr; in the journal it is an error, line by line.
fn fail(exit: Exit, why: &dyn std::fmt::Display) -> Exit {
    let mark = logging::error_mark();
    eprintln!("{mark}linnetd: {}", why.to_string().replace('\n', &format!("\n{mark}")));
    exit
}
