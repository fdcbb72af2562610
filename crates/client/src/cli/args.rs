//! The arguments of `linnet`, with their help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use linnet_proto::topic::DeviceName;
use linnet_proto::{Priority, TranscribeOptions};

use crate::Terms;

use super::fleet::FleetArgs;
use super::tasks::chat::ChatArgs;
use super::tasks::generate::GenerateArgs;
use super::tasks::labels::{ClassifyArgs, FillArgs, IntentArgs, TagArgs};
use super::tasks::reading::{AnswerArgs, EmbedArgs, SummarizeArgs, WordsArgs};
use super::tasks::translate::{DetectArgs, TranslateArgs};

/// Speech, translation and language by the linnetd on this machine, or on another one over MQTT.
#[derive(Debug, Parser)]
#[command(
    name = "linnet",
    version,
    propagate_version = true,
    after_help = "Examples:\n  \
        linnet transcribe recording.wav\n  \
        arecord -f S16_LE -r 16000 -d 5 | linnet transcribe -\n  \
        linnet transcribe talk.mp3 --format srt > talk.srt\n  \
        linnet transcribe door.ogg --mqtt mqtt://broker.local --device kitchen\n  \
        linnet translate --from en --to de - < lines.txt\n  \
        linnet chat 'What does a linnet eat?'\n  \
        linnet classify 'What a day!' --labels glad,sad\n  \
        linnet status\n  \
        linnet doctor\n  \
        linnet fleet push --to all --mqtt mqtt://broker.local\n\n\
        Exit codes are those of sysexits.h: 64 usage, 65 bad audio or text, 66 no such file, 69 no daemon, 70 its fault,\n\
        74 the output cannot be written, 75 busy or too late (try again), 76 broken answer, 77 not allowed, 130 interrupted."
)]
pub struct Cli {
    /// The daemon's socket [default: $XDG_RUNTIME_DIR/linnet/linnet.sock, else /run/linnet/linnet.sock]
    #[arg(long, global = true, env = "LINNET_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One variant for each command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write down what is said in a recording
    Transcribe(Box<TranscribeArgs>),
    /// Translate text: line in, line out
    Translate(Box<TranslateArgs>),
    /// Say which language a text is in
    Detect(Box<DetectArgs>),
    /// Write text that follows a prompt
    Generate(Box<GenerateArgs>),
    /// Talk with a model
    Chat(Box<ChatArgs>),
    /// Make a text shorter
    Summarize(Box<SummarizeArgs>),
    /// Answer a question out of a text
    Answer(Box<AnswerArgs>),
    /// Turn texts into vectors
    Embed(Box<EmbedArgs>),
    /// Find the neighbours of words
    Words(Box<WordsArgs>),
    /// Fill the masks of a text
    Fill(Box<FillArgs>),
    /// Choose labels for a text
    Classify(Box<ClassifyArgs>),
    /// Find the entities in a text
    Tag(Box<TagArgs>),
    /// Say what somebody wants
    Intent(Box<IntentArgs>),
    /// Say what the daemon is and does
    Status(StatusArgs),
    /// Say what is wrong, with or without a running daemon, and what to do about it
    Doctor(DoctorArgs),
    /// Measure how fast a model is on this machine; needs linnetd beside linnet, but no running daemon
    #[command(after_help = "Example:\n  linnet bench stt-en-small --threads 2 --json")]
    Bench {
        /// A model's directory, or its name
        model: String,
        /// Workers, each with one job on one thread
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Tokens of the prompt
        #[arg(long, default_value_t = 128)]
        prompt_tokens: usize,
        /// Tokens to write
        #[arg(long, default_value_t = 64)]
        new_tokens: usize,
        /// How often everything is measured; each figure is the median
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// One JSON object on one line
        #[arg(long)]
        json: bool,
    },
    /// List the daemon's models, or verify packages
    Models(ModelsArgs),
    /// Push signed configuration and models to many devices, wave by wave
    Fleet(Box<FleetArgs>),
    /// Print completions for a shell: linnet completions bash > /etc/bash_completion.d/linnet
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a directory
    #[command(after_help = "Examples:\n  linnet man | man -l -\n  linnet man --dir /usr/share/man/man1")]
    Man {
        /// Directory for linnet.1, linnet-transcribe.1, …
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

impl Command {
    /// What becomes of a request that Ctrl-C leaves.
    pub fn after_interrupt(&self) -> &'static str {
        let over_mqtt = match self {
            Self::Transcribe(args) => args.mqtt.is_some(),
            Self::Translate(args) => args.via.mqtt.is_some(),
            Self::Detect(args) => args.via.mqtt.is_some(),
            Self::Generate(args) => args.via.mqtt.is_some(),
            Self::Chat(args) => args.via.mqtt.is_some(),
            Self::Summarize(args) => args.via.mqtt.is_some(),
            Self::Answer(args) => args.via.mqtt.is_some(),
            Self::Embed(args) => args.via.mqtt.is_some(),
            Self::Words(args) => args.via.mqtt.is_some(),
            Self::Fill(args) => args.via.mqtt.is_some(),
            Self::Classify(args) => args.via.mqtt.is_some(),
            Self::Tag(args) => args.via.mqtt.is_some(),
            Self::Intent(args) => args.via.mqtt.is_some(),
            Self::Fleet(args) => return args.command.after_interrupt(),
            Self::Status(_)
            | Self::Doctor(_)
            | Self::Models(_)
            | Self::Bench { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => {
                return "";
            }
        };
        if over_mqtt {
            "; a request that was sent cannot be taken back over MQTT, the device may still finish it"
        } else {
            "; linnetd stops working on it"
        }
    }
}

/// Arguments of `linnet transcribe`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  linnet transcribe interview.flac --json --prompt 'Zoë Kravitz, Linnet'")]
pub struct TranscribeArgs {
    /// WAV, FLAC, MP3, Ogg Vorbis, Opus or M4A; - is standard input
    pub file: PathBuf,
    /// One JSON object on one line: text, words, segments, model, duration_secs, rtf
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Shape of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Model or alias [default: the daemon's default speech model]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Language of the speech, as a tag: en
    #[arg(long, value_name = "TAG")]
    pub language: Option<String>,
    /// Words to favour (names, places), parted by commas; for Whisper text that stands before what is said
    #[arg(long, value_name = "WORDS")]
    pub prompt: Option<String>,
    /// Bonus for each of them, 0 to 20
    #[arg(long, value_name = "N")]
    pub hot_word_boost: Option<f32>,
    /// Beam width, 1 (greedy) to 64
    #[arg(long, value_name = "N")]
    pub beam_width: Option<u32>,
    /// Weight of the language model, 0 to 4
    #[arg(long, value_name = "N")]
    pub lm_weight: Option<f32>,
    /// Whisper: temperature to begin at, 0 (the likeliest text) to 1
    #[arg(long, value_name = "N")]
    pub temperature: Option<f32>,
    /// Whisper: seed of what is sampled
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Whisper: write each window with the text before it in mind
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub condition_on_previous_text: Option<bool>,
    /// Capitals and full stops by rule, where the model gives none
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    pub punctuate: Option<bool>,
    /// Give up after this many seconds [default: as long as the daemon allows; 45 over MQTT]
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Who goes first when requests wait for a worker [default: normal]
    #[arg(long, value_enum, value_name = "WHO")]
    pub priority: Option<Rank>,
    /// Show no progress
    #[arg(long, short)]
    pub quiet: bool,
    /// Ask over this broker instead of the local socket: mqtt://user@host:1883 or mqtts://…; the password is taken from
    /// LINNET_MQTT_PASSWORD
    #[arg(long, value_name = "URL", requires = "device")]
    pub mqtt: Option<String>,
    /// The device whose linnetd is to answer
    #[arg(long, value_name = "NAME", requires = "mqtt", value_parser = |name: &str| DeviceName::new(name))]
    pub device: Option<DeviceName>,
    /// Password for the broker
    #[arg(long, env = "LINNET_MQTT_PASSWORD", hide_env_values = true, value_name = "PASSWORD", hide = true)]
    pub mqtt_password: Option<String>,
    /// Certificate that signed the broker's, PEM (mqtts://)
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    pub ca_file: Option<PathBuf>,
}

impl TranscribeArgs {
    /// The options of the request.
    pub fn options(&self) -> TranscribeOptions {
        TranscribeOptions {
            model: self.model.clone(),
            language: self.language.clone(),
            prompt: self.prompt.clone(),
            hot_word_boost: self.hot_word_boost,
            beam_width: self.beam_width,
            lm_weight: self.lm_weight,
            temperature: self.temperature,
            seed: self.seed,
            condition_on_previous_text: self.condition_on_previous_text,
            punctuate: self.punctuate,
            ..TranscribeOptions::default()
        }
    }

    /// How the request is to be treated.
    pub fn terms(&self) -> Terms {
        Terms { timeout: self.timeout, priority: self.priority.map(Priority::from) }
    }
}

/// Values of `--priority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rank {
    /// Somebody is waiting for it
    High,
    /// As any other
    Normal,
    /// After all others
    Low,
}

impl From<Rank> for Priority {
    fn from(rank: Rank) -> Self {
        match rank {
            Rank::High => Self::High,
            Rank::Normal => Self::Normal,
            Rank::Low => Self::Low,
        }
    }
}

/// A time in seconds, of a millisecond at least and a day at most.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.001..=86_400.0).contains(s));
    let rule = || "it must be a number of seconds from 0.001 to 86400, such as 0.5 or 30".to_owned();
    seconds.map(Duration::from_secs_f64).ok_or_else(rule)
}

/// Shapes of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Format {
    /// The words alone
    Text,
    /// SubRip subtitles
    Srt,
    /// WebVTT subtitles
    Vtt,
    /// Linnet's whole answer on one line
    Json,
    /// OpenAI's verbose_json with words
    VerboseJson,
}

/// Arguments of `linnet status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One JSON object on one line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `linnet doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        linnet doctor\n  \
        sudo linnet doctor --bundle linnet-support.tar.gz\n\n\
        Exit codes: 0 nothing is wrong (warnings do not count), else that of the first thing that is: 69 something that is needed is\n\
        missing or does not work, 70 a fault of linnetd, 77 permissions, 78 the configuration or a file that it names.")]
pub struct DoctorArgs {
    /// One JSON object on one line
    #[arg(long)]
    pub json: bool,
    /// The daemon's configuration [default: that of the running daemon, else /etc/linnet/linnet.toml]
    #[arg(long, value_name = "FILE", env = "LINNET_CONFIG")]
    pub config: Option<PathBuf>,
    /// Write a support file too: versions, findings, status, metrics, configuration and log, but nothing of any request and nothing
    /// that is secret
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<PathBuf>,
}

/// Arguments of `linnet models`.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ModelsCommand,
}

/// What `linnet models` can do.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the daemon's models
    List {
        /// One JSON array on one line
        #[arg(long)]
        json: bool,
    },
    /// Add a model in the layout of its export (Optimum, transformers.js), or a package; a running daemon serves it at once
    #[command(after_help = "Example:\n  linnet models add ./opus-mt-en-de --name en-de --dtype int8")]
    Add {
        /// The model's directory
        dir: PathBuf,
        /// Its name [default: that of its directory]
        #[arg(long)]
        name: Option<String>,
        /// Another name that it answers to; may be repeated
        #[arg(long = "alias", value_name = "NAME")]
        aliases: Vec<String>,
        /// Type of weights to take where there are several: f32, f16, int8, uint8, q4, q4f16
        #[arg(long)]
        dtype: Option<String>,
        /// Copy its files instead of linking them
        #[arg(long)]
        copy: bool,
        /// Put it in the place of a model of the same name
        #[arg(long)]
        replace: bool,
        /// Directory of models that it goes into [default: the running daemon's, else that of LINNET_MODELS or of the state]
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// One JSON object on one line
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model from a hub (Hugging Face or a mirror), then add it; resumed where it stopped, each file checked
    #[command(after_help = "Example:\n  linnet models pull Xenova/opus-mt-en-de --name en-de --dtype int8")]
    Pull {
        /// ORG/NAME of the repository
        repository: String,
        /// A branch, a tag or a commit
        #[arg(long, default_value = "main")]
        revision: String,
        /// Its name [default: NAME]
        #[arg(long)]
        name: Option<String>,
        /// Type of weights: int8, f32, f16, uint8, q4, q4f16 [default: int8 where there is one]
        #[arg(long)]
        dtype: Option<String>,
        /// The hub, or a mirror [env: HF_ENDPOINT] [default: `https://huggingface.co`]
        #[arg(long, value_name = "URL")]
        endpoint: Option<String>,
        /// Where files are kept [env: HF_HOME] [default: ~/.cache/huggingface/hub]
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// Put it in the place of a model of the same name
        #[arg(long)]
        replace: bool,
        /// Directory of models that it goes into [default: the running daemon's, else that of LINNET_MODELS or of the state]
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// One JSON object on one line
        #[arg(long)]
        json: bool,
    },
    /// Remove a model; a running daemon lets go of it when nothing runs on it any more
    #[command(after_help = "Example:\n  linnet models remove en-de")]
    Remove {
        /// Its name
        name: String,
        /// Directory of models [default: the running daemon's, else that of LINNET_MODELS or of the state]
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
    },
    /// Check packages file by file and run their canaries; needs linnetd beside linnet, but no running daemon
    #[command(after_help = "Examples:\n  linnet models verify\n  linnet models verify ./my-package --json")]
    Verify {
        /// Package directories, or names of packages [default: all that the daemon looks into, those of its generation too; else those of LINNET_MODELS]
        packages: Vec<String>,
        /// One JSON object a line for each package
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_interrupt_promises_only_what_the_transport_can_keep() {
        let after = |line: &[&str]| Cli::try_parse_from(line).expect("a command line").command.after_interrupt();
        assert!(after(&["linnet", "transcribe", "a.wav"]).contains("stops working"));
        assert!(
            after(&["linnet", "transcribe", "a.wav", "--mqtt", "mqtt://h", "--device", "d"])
                .contains("may still finish")
        );
        assert_eq!(after(&["linnet", "status"]), "");
    }

    #[test]
    fn a_timeout_may_be_a_part_of_a_second_and_a_wrong_one_is_told_the_rule() {
        let parse = |value: &str| Cli::try_parse_from(["linnet", "transcribe", "a.wav", "--timeout", value]);
        for (value, ms) in [("0.5", 500), ("30", 30_000), ("86400", 86_400_000), ("1e-3", 1)] {
            let Command::Transcribe(args) = parse(value).expect(value).command else { panic!("another command") };
            assert_eq!(args.terms().timeout, Some(Duration::from_millis(ms)), "{value}");
        }
        for value in ["0", "-1", "soon", "NaN", "inf", "86401", "1 s"] {
            let e = parse(value).expect_err(value).to_string();
            assert!(e.contains("from 0.001 to 86400") || value == "-1", "{e}");
        }
    }

    #[test]
    fn a_priority_is_one_of_three_and_left_to_the_daemon_otherwise() {
        let parse = |more: &[&str]| Cli::try_parse_from([&["linnet", "transcribe", "a.wav"], more].concat());
        for (name, priority) in [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)] {
            let Command::Transcribe(args) = parse(&["--priority", name]).expect(name).command else { panic!("{name}") };
            assert_eq!(args.terms().priority, Some(priority));
        }
        let Command::Transcribe(args) = parse(&[]).expect("no priority").command else { panic!("another command") };
        assert_eq!(args.terms(), Terms::default());
        assert!(parse(&["--priority", "urgent"]).is_err());
    }

    #[test]
    fn a_device_without_a_broker_is_a_mistake() {
        assert!(Cli::try_parse_from(["linnet", "transcribe", "a.wav", "--device", "kitchen"]).is_err());
        assert!(Cli::try_parse_from(["linnet", "transcribe", "a.wav", "--mqtt", "mqtt://h"]).is_err());
        assert!(Cli::try_parse_from(["linnet", "transcribe", "a.wav", "--json", "--format", "srt"]).is_err());
        assert!(
            Cli::try_parse_from(["linnet", "transcribe", "a.wav", "--mqtt", "mqtt://h", "--device", "a/b"]).is_err()
        );
    }
}
