//! Runs a voice program on one sentence.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;

use super::voices::{Program, Voice};
use super::wav::{self, Sound};
use crate::error::{Failure, Result};

/// A program that takes longer for one sentence hangs.
const MAX_SECS: u64 = 60;

/// How a sentence is said: drawn once for each utterance.
#[derive(Debug, Clone, PartialEq)]
pub struct Manner {
    /// Speed relative to the voice's own.
    pub speed: f64,
    /// Pitch relative to the voice's own.
    pub pitch: f64,
}

impl Manner {
    /// Any manner that people use when they talk to a device.
    pub fn draw(random: &mut impl Rng) -> Self {
        Self { speed: random.random_range(0.82..1.18), pitch: random.random_range(0.82..1.22) }
    }

    /// The voice's own.
    pub fn plain() -> Self {
        Self { speed: 1.0, pitch: 1.0 }
    }
}

/// A place for one worker's intermediate file.
#[derive(Debug)]
pub struct Mouth {
    file: PathBuf,
}

/// Why a sentence was not said.
#[derive(Debug)]
pub enum SpeakError {
    /// The program is not there, or cannot be started.
    Absent(Failure),
    /// The program failed on this sentence.
    Failed(String),
}

impl Mouth {
    /// Works in `dir`, which must exist.
    pub fn new(dir: &Path, worker: usize) -> Self {
        Self { file: dir.join(format!("voice-{worker}.wav")) }
    }

    /// Says a normalised text (letters, apostrophes and blanks, so that it cannot be taken for an option or a command).
    pub fn say(&self, voice: &Voice, manner: &Manner, text: &str) -> Result<Sound, SpeakError> {
        debug_assert!(text.chars().all(|c| c == ' ' || crate::text::ALPHABET.contains(c)));
        // What an earlier sentence left must not be taken for this one.
        let _ = std::fs::remove_file(&self.file);
        run(voice.program, &mut self.command(voice, manner, text))?;
        let bytes = std::fs::read(&self.file).map_err(|e| SpeakError::Failed(format!("it wrote no file: {e}")))?;
        let sound = wav::parse(&bytes).map_err(SpeakError::Failed)?;
        if !(4_000..=96_000).contains(&sound.rate) {
            return Err(SpeakError::Failed(format!("its rate is {}", sound.rate)));
        }
        Ok(sound)
    }

    fn command(&self, voice: &Voice, manner: &Manner, text: &str) -> Command {
        let mut command = Command::new(voice.program.command());
        match voice.program {
            Program::Espeak => {
                // 175 words a minute and pitch 50 of 99 are its defaults.
                command.args(["-v", &voice.name]);
                command.args(["-s", &format!("{:.0}", 165.0 * manner.speed)]);
                command.args(["-p", &format!("{:.0}", (50.0 + 110.0 * (manner.pitch - 1.0)).clamp(0.0, 99.0))]);
                command.arg("-w").arg(&self.file).arg(text);
            }
            Program::Flite => {
                command.args(["-voice", &voice.name]);
                command.args(["--setf", &format!("duration_stretch={:.3}", 1.0 / manner.speed)]);
                if let Some(hz) = voice.pitch_hz {
                    command.args(["--setf", &format!("int_f0_target_mean={:.1}", hz * manner.pitch)]);
                }
                command.args(["-t", text, "-o"]).arg(&self.file);
            }
            Program::Festival => {
                // Scheme strings end at `"` and escape with `\`; a text has neither, a path might.
                let path = self.file.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
                // Its own heap of 10 million cells takes longer to lay out than a sentence to say.
                command.args(["--heap", "1000000"]).arg("-b").arg(format!(
                    "(begin (voice_{}) (Parameter.set 'Duration_Stretch {:.3}) (set! u (Utterance Text \"{text}\")) \
                     (utt.synth u) (utt.save.wave u \"{path}\" 'riff))",
                    voice.name,
                    1.0 / manner.speed,
                ));
            }
        }
        command
    }
}

/// Runs one sentence's program to its end, within the bound.
fn run(program: Program, command: &mut Command) -> Result<(), SpeakError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // In its own group, so that Ctrl-C reaches this program and not the voice in the middle of a sentence.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    let mut child = command.spawn().map_err(|e| SpeakError::Absent(absent(program, &e)))?;
    let end = Instant::now() + Duration::from_secs(MAX_SECS);
    let mut nap = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(SpeakError::Failed(format!("{} ended with {status}", program.command()))),
            Ok(None) if Instant::now() < end => {
                std::thread::sleep(nap);
                nap = (nap * 2).min(Duration::from_millis(8));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(SpeakError::Failed(format!("{} did not end in {MAX_SECS} s", program.command())));
            }
        }
    }
}

fn absent(program: Program, error: &std::io::Error) -> Failure {
    Failure::unavailable(format!(
        "the voice program {} cannot be started ({error}): apt-get install {}, or leave it out with --programs",
        program.command(),
        program.packages()
    ))
}

/// Says one word with each program's voices (one of `espeak-ng`'s, which all come together), so that what is missing is
/// found before hours of work.
pub fn check(voices: &[Voice], mouth: &Mouth) -> Result<()> {
    let mut seen_espeak = false;
    for voice in voices {
        if voice.program == Program::Espeak && std::mem::replace(&mut seen_espeak, true) {
            continue;
        }
        match mouth.say(voice, &Manner::plain(), "hello") {
            Ok(_) => {}
            Err(SpeakError::Absent(failure)) => return Err(failure),
            Err(SpeakError::Failed(reason)) => {
                return Err(Failure::unavailable(format!(
                    "the voice {} does not speak ({reason}): apt-get install {}, or leave it out with --programs",
                    voice.id(),
                    voice.program.packages()
                )));
            }
        }
    }
    Ok(())
}
