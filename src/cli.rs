//! The command line of `linnetd`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::TypedValueParser as _;
use clap::{Args, Parser, Subcommand};

use crate::config::Overrides;
use crate::push::simulate::SimulateArgs;

/// Speech-to-text on the device that hears you.
#[derive(Debug, Parser)]
#[command(
    name = "linnetd",
    version,
    about = "Speech-to-text on the device that hears you, over a local socket and MQTT.",
    long_about = "Speech-to-text on the device that hears you, over a local socket and MQTT.\n\n\
                  Without a verb it serves, until SIGTERM or Ctrl-C; SIGHUP reads the configuration again. No configuration is \
                  needed: the bundled models are found by themselves, and MQTT is off.",
    after_help = AFTER_HELP,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub struct Cli {
    /// A verb that does one thing and ends.
    #[command(subcommand)]
    pub verb: Option<Verb>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// Flags of serving.
#[derive(Debug, Args)]
pub struct Serve {
    /// Settings that go before the file.
    #[command(flatten)]
    pub layer: Layer,
    /// Check a configuration file and end.
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        conflicts_with = "config",
        help = "Say what is wrong with a configuration file, with line and key, and end"
    )]
    pub check: Option<Option<PathBuf>>,
    /// Say of each key who gave it.
    #[arg(
        long,
        requires = "check",
        help = "With --check: print every key, its value, and who gives it: flag, variable, line of the file, the generation that serves \
                on this device, or default"
    )]
    pub explain: bool,
    /// Check with what a fleet's operator is about to push.
    #[arg(
        long,
        value_name = "PATH",
        requires = "check",
        help = "With --check: a generation (JSON, or its directory), or a configuration that is to be pushed (TOML), in place of the one \
                that serves"
    )]
    pub generation: Option<PathBuf>,
}

/// Flags that are a layer of the configuration.
#[derive(Debug, Args)]
pub struct Layer {
    /// Serve with this configuration file.
    #[arg(long, value_name = "FILE", help = "Serve with this configuration file [env: LINNET_CONFIG]")]
    pub config: Option<PathBuf>,
    /// The local socket.
    #[arg(long, value_name = "PATH", help = "Path of the local socket [env: LINNET_SOCKET]")]
    pub socket: Option<OsString>,
    /// Directories of model packages.
    #[arg(
        long,
        value_name = "DIR",
        help = "Directory of model packages; may be repeated, the earlier goes first [env: LINNET_MODELS, parted by `:`]"
    )]
    pub models: Vec<OsString>,
    /// The model of requests that name none.
    #[arg(
        long,
        value_name = "NAME",
        help = "Model of requests that name none, by name or alias [env: LINNET_DEFAULT_MODEL]"
    )]
    pub default_model: Option<OsString>,
    /// Directory of state.
    #[arg(long, value_name = "DIR", help = "Directory of what must outlive a restart [env: LINNET_STATE]")]
    pub state: Option<OsString>,
    /// Log level.
    #[arg(long, value_name = "LEVEL", help = "off, error, warn, info, debug or trace [env: LINNET_LOG]")]
    pub log: Option<OsString>,
}

/// The verbs that need the daemon's own code.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what Linnet does: a broker, a daemon and one recording over the socket and over MQTT.
    #[cfg(feature = "demo")]
    Demo {
        /// Your own recording instead of the bundled one.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Directory of model packages instead of the bundled ones.
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
    },
    /// Check model packages file by file and run their canaries, without serving.
    #[command(after_help = "Examples:\n  linnetd verify\n  linnetd verify ./my-package --json")]
    Verify {
        /// Package directories, or names of packages in the models directory; all of it when none is named.
        packages: Vec<String>,
        /// Directories of model packages, in place of those that the daemon looks into; its generation's packages are one of these.
        #[arg(
            long,
            value_name = "DIR",
            help = "Directory of model packages, in place of all that the daemon looks into; may be repeated"
        )]
        models: Vec<PathBuf>,
        /// The daemon's configuration, which names the directories of models.
        #[arg(long, value_name = "FILE", help = "The daemon's configuration [env: LINNET_CONFIG]")]
        config: Option<PathBuf>,
        /// The daemon's state directory, where the packages of a generation lie.
        #[arg(long, value_name = "DIR", help = "The daemon's state directory [env: LINNET_STATE]")]
        state: Option<OsString>,
        /// One JSON object a line for each package.
        #[arg(long)]
        json: bool,
    },
    /// Take a model in the layout of its export (Optimum, transformers.js), or a package, into a directory of models.
    #[command(after_help = "Example:\n  linnetd import ./opus-mt-en-de --name en-de --models packages")]
    Import {
        /// The model's directory.
        #[arg(value_name = "DIR")]
        from: PathBuf,
        /// Its name; that of its directory when absent.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Another name that it answers to; may be repeated.
        #[arg(long = "alias", value_name = "NAME")]
        aliases: Vec<String>,
        /// Type of weights to take where there are several: f32, f16, int8, uint8, q4, q4f16.
        #[arg(long, value_name = "DTYPE")]
        dtype: Option<String>,
        /// Copy its files instead of linking them.
        #[arg(long)]
        copy: bool,
        /// Put it in the place of a model of the same name.
        #[arg(long)]
        replace: bool,
        /// The directory of models that it goes into: the first that is configured, else `models` in the state directory.
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
        /// Say which files would be taken, and take nothing.
        #[arg(long, hide = true)]
        files: bool,
        /// The directory of the device's generations.
        #[arg(long, value_name = "DIR", hide = true)]
        fleet_dir: Option<PathBuf>,
        /// Work beside a daemon that serves: it goes before, and ends this one when it ends.
        #[arg(long, hide = true)]
        for_daemon: bool,
    },
    /// Remove a model from the directories of models.
    #[command(after_help = "Example:\n  linnetd remove en-de")]
    Remove {
        /// Its name.
        name: String,
        /// The directory of models.
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
    },
    /// Go back to what was shipped with the device, whatever was pushed to it. No linnetd may run on its state directory.
    #[command(
        after_help = "Example:\n  systemctl stop linnetd && linnetd recover --factory --config /etc/linnet/linnet.toml && systemctl start linnetd"
    )]
    Recover {
        /// To what was shipped; nothing else can be gone back to by hand.
        #[arg(long, required = true)]
        factory: bool,
        /// Settings that go before the file.
        #[command(flatten)]
        layer: Layer,
    },
    /// Measure how fast a model is on this machine.
    #[command(after_help = "Example:\n  linnetd bench stt-en-small --threads 2")]
    Bench {
        /// A model's directory, or its name.
        #[arg(value_name = "DIR|NAME")]
        model: String,
        /// Workers, each with one job on one thread.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256).map(|n| n as usize))]
        threads: usize,
        /// Tokens of the prompt.
        #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=65_536).map(|n| n as usize))]
        prompt_tokens: usize,
        /// Tokens to write.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(2..=65_536).map(|n| n as usize))]
        new_tokens: usize,
        /// How often everything is measured; each figure is the median.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000).map(|n| n as usize))]
        rounds: usize,
        /// Directory of models that a name is looked for in; may be repeated.
        #[arg(long, value_name = "DIR")]
        models: Vec<PathBuf>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Prove a generation in this process, within limits; `linnetd` runs it for itself.
    #[command(hide = true)]
    Probe {
        /// The generation's directory.
        #[arg(long, value_name = "DIR")]
        generation: PathBuf,
        /// The directory of a package that is to prove itself; may be repeated.
        #[arg(long, value_name = "DIR")]
        prove: Vec<PathBuf>,
        /// Memory that it may take, MiB; 0 is no limit.
        #[arg(long, value_name = "MIB", default_value_t = 0)]
        memory_mib: u64,
        /// Time of processors that it may take, seconds; 0 is no limit.
        #[arg(long, value_name = "SECS", default_value_t = 0)]
        cpu_secs: u64,
        /// Settings that go before the file, as the daemon has them.
        #[command(flatten)]
        layer: Layer,
    },
    /// Push a generation to a simulated fleet in virtual time, with the real state machine, signatures and waves.
    Simulate(SimulateArgs),
    /// Print what the processor offers, the kernels that are chosen on it, threads and memory.
    ExplainCpu,
    /// Print the manual page, or write one for each verb into a directory.
    #[command(after_help = "Examples:\n  linnetd man | man -l -\n  linnetd man --dir /usr/share/man/man8")]
    Man {
        /// Directory for linnetd.8, linnetd-verify.8, …
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const AFTER_HELP: &str = "\
Examples:
  linnetd                                        serve with the bundled models
  linnetd --config /etc/linnet/linnet.toml
  linnetd --check /etc/linnet/linnet.toml
  linnetd --check /etc/linnet/linnet.toml --explain
  linnetd --socket ./linnet.sock --models ./models --log debug

A flag goes before the environment, that before what is local in the file, that before a generation that was pushed, that
before the file, that before the default. docs/config.md lists every key.

Exit codes (sysexits.h): 0 ended as asked; 64 wrong use; 65 a package fails its check; 66 no input file; 69 the
socket belongs to another daemon, or the demo got no answer; 70 a fault of linnetd; 71 the system refused a thread; 73
something cannot be created; 74 reading or writing failed; 78 the configuration is wrong; 130 the demo was interrupted.";

impl Serve {
    /// What is wrong with the flags together, beyond what each says of itself; one sentence.
    pub fn wrong_use(&self) -> Option<&'static str> {
        let Some(check) = &self.check else { return None };
        let Layer { socket, models, default_model, state, log, .. } = &self.layer;
        let others = [socket, default_model, state, log];
        if !self.explain && (others.iter().any(|flag| flag.is_some()) || !models.is_empty()) {
            return Some("--check looks at the file alone; add --explain to see what it comes to with other flags");
        }
        if check.is_none() && !self.explain && self.generation.is_none() {
            return Some("--check needs a file, for example --check /etc/linnet/linnet.toml");
        }
        None
    }

    /// The flags as a layer of the configuration; a file that is only checked counts as its file.
    pub fn overrides(&self) -> Overrides {
        let overrides = self.layer.overrides();
        Overrides { config: overrides.config.or_else(|| self.check.clone().flatten()), ..overrides }
    }
}

impl Layer {
    /// As a layer of the configuration.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            socket: self.socket.clone(),
            models: self.models.clone(),
            default_model: self.default_model.clone(),
            state: self.state.clone(),
            log: self.log.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_a_layer_of_the_configuration() {
        let cli = Cli::try_parse_from(["linnetd", "--config", "a.toml", "--log", "debug"]).expect("flags");
        let overrides = cli.serve.overrides();
        assert_eq!(overrides.config, Some(PathBuf::from("a.toml")));
        assert_eq!(overrides.log, Some(OsString::from("debug")));
        assert!(cli.verb.is_none());
    }

    #[test]
    fn a_layer_that_is_given_on_as_flags_is_the_same_layer() {
        let flags =
            ["--config", "a.toml", "--socket", "s", "--models", "b", "--models", "=a", "--state", "", "--log", "x"];
        let serve = |flags: &[OsString]| {
            let line = std::iter::once("linnetd".into()).chain(flags.iter().cloned());
            Cli::try_parse_from(line).expect("flags").serve.overrides()
        };
        let given = serve(&flags.map(OsString::from));
        assert_eq!(given.models, ["b", "=a"]);
        assert_eq!(serve(&given.as_flags()), given);
    }

    #[test]
    fn directories_of_models_keep_their_order() {
        let cli =
            Cli::try_parse_from(["linnetd", "--models", "b", "--default-model", "m", "--models", "a"]).expect("flags");
        let overrides = cli.serve.overrides();
        assert_eq!(overrides.models, ["b", "a"]);
        assert_eq!(overrides.default_model, Some(OsString::from("m")));
    }

    #[test]
    fn checking_takes_no_other_flag_unless_it_is_to_explain_them() {
        let wrong = |line: &[&str]| Cli::try_parse_from(line).expect("each flag is right").serve.wrong_use();
        assert!(wrong(&["linnetd", "--check", "a.toml", "--socket", "s"]).is_some());
        assert!(wrong(&["linnetd", "--check"]).is_some());
        for right in [
            &["linnetd", "--check", "a.toml"][..],
            &["linnetd", "--check", "a.toml", "--socket", "s", "--explain"],
            &["linnetd", "--check", "--explain"],
            &["linnetd", "--check", "--generation", "g.json"],
            &["linnetd", "--check", "a.toml", "--generation", "g.json"],
        ] {
            assert_eq!(wrong(right), None, "{right:?}");
        }
        for refused in [
            &["linnetd", "--explain"][..],
            &["linnetd", "--generation", "g.json"],
            &["linnetd", "--check", "a.toml", "--config", "b.toml"],
        ] {
            assert!(Cli::try_parse_from(refused).is_err(), "{refused:?}");
        }
    }
}
