//! The workers that speak, and the one that writes down what they finished, in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use linnet_features::audio::SAMPLE_RATE;

use super::effects::{self, Effects};
use super::journal::{Journal, audio_path};
use super::speak::{Manner, Mouth, SpeakError};
use super::voices::{self, Voice};
use super::{Script, SynthArgs, draws, noise, wav};
use crate::audio_header;
use crate::bad::{BadRows, Fault};
use crate::error::{Failure, Result};
use crate::{interrupt, output, progress};

/// Longest utterance, seconds: longer ones cost too much memory in training.
const MAX_UTTERANCE_SECS: f64 = 16.0;
/// Shortest one, seconds.
const MIN_UTTERANCE_SECS: f64 = 0.3;
/// People in the babble.
const BABBLERS: usize = 8;
/// So many failures one after another are the voices' fault and not the text's.
const MOST_FAILURES_RUNNING: usize = 25;

/// Everything that workers share.
pub(super) struct Studio<'a> {
    args: &'a SynthArgs,
    script: &'a Script,
    voices: &'a [Voice],
    scratch: &'a Path,
    babble: Vec<f32>,
    /// Orders of the sentences by pass, made when first wanted.
    orders: Mutex<BTreeMap<u64, Vec<u32>>>,
}

/// What became of one utterance.
enum Take {
    Made { text: String, speaker: String, seconds: f64 },
    Failed { place: usize, fault: Fault },
    Broken(Failure),
}

impl<'a> Studio<'a> {
    /// Makes the babble; the voices must have been checked.
    pub(super) fn new(args: &'a SynthArgs, script: &'a Script, voices: &'a [Voice], scratch: &'a Path) -> Result<Self> {
        let mut studio = Self { args, script, voices, scratch, babble: Vec::new(), orders: Mutex::default() };
        if args.effects == Effects::Full {
            studio.babble = studio.babble()?;
        }
        Ok(studio)
    }

    /// Speaks until the corpus is as long as it should be, or somebody stops it.
    pub(super) fn make(&self, journal: &mut Journal, bad: &mut BadRows) -> Result<()> {
        interrupt::listen();
        let next = AtomicU64::new(journal.next());
        let stop = AtomicBool::new(journal.seconds() >= self.args.hours * 3600.0);
        let outcome = std::thread::scope(|scope| {
            // A worker that is far ahead of a slow one waits here only for the writer; how far ahead it can be is
            // bounded by the time that one sentence may take.
            let (takes, finished) = sync_channel(4 * self.args.workers);
            for worker in 0..self.args.workers {
                let (takes, next, stop) = (takes.clone(), &next, &stop);
                scope.spawn(move || self.work(worker, next, stop, &takes));
            }
            drop(takes);
            let outcome = self.write_down(&finished, journal, bad);
            stop.store(true, Ordering::SeqCst);
            // Workers that wait to hand something over are let go.
            drop(finished);
            outcome
        });
        if journal.seconds() >= self.args.hours * 3600.0 {
            journal.remove_surplus(next.load(Ordering::SeqCst));
        }
        outcome
    }

    /// One worker: takes numbers until it is told to stop.
    fn work(&self, worker: usize, next: &AtomicU64, stop: &AtomicBool, takes: &SyncSender<(u64, Take)>) {
        let mouth = Mouth::new(self.scratch, worker);
        while !stop.load(Ordering::SeqCst) && !interrupt::requested() {
            let number = next.fetch_add(1, Ordering::SeqCst);
            if takes.send((number, self.speak(number, &mouth))).is_err() {
                return;
            }
        }
    }

    /// Puts takes in order and writes their rows.
    fn write_down(&self, finished: &Receiver<(u64, Take)>, journal: &mut Journal, bad: &mut BadRows) -> Result<()> {
        let wanted = self.args.hours * 3600.0;
        let (begun, seconds_before) = (Instant::now(), journal.seconds());
        let mut line = progress::Line::new();
        let mut waiting = BTreeMap::new();
        let mut failures_running = 0;
        while journal.seconds() < wanted {
            // The channel closes when all workers have stopped, which they do only when somebody wants it.
            let Ok((number, take)) = finished.recv() else {
                line.finish(&status(journal, wanted, begun, seconds_before, bad));
                return Err(interrupt::failure("the corpus so far is whole"));
            };
            waiting.insert(number, take);
            while journal.seconds() < wanted
                && let Some(take) = waiting.remove(&journal.next())
            {
                match take {
                    Take::Made { text, speaker, seconds } => {
                        failures_running = 0;
                        journal.append(&text, &speaker, seconds)?;
                    }
                    Take::Failed { place, fault } => {
                        let (file, at) = self.script.origin(place);
                        bad.report(file, at, &fault)?;
                        journal.pass_over();
                        failures_running += 1;
                        if failures_running >= MOST_FAILURES_RUNNING {
                            let message =
                                format!("{failures_running} sentences failed one after another; the last: {fault}");
                            return Err(Failure::unavailable(message));
                        }
                    }
                    Take::Broken(failure) => return Err(failure),
                }
            }
            line.show(|| status(journal, wanted, begun, seconds_before, bad));
        }
        line.finish(&status(journal, wanted, begun, seconds_before, bad));
        Ok(())
    }

    /// Makes one utterance, or finds it made.
    fn speak(&self, number: u64, mouth: &Mouth) -> Take {
        let pass = number / self.script.len();
        let place = self.place(pass, (number % self.script.len()) as usize);
        let text = &self.script.sentences.kept[place];
        let mut random = draws(self.args.seed, pass, text);
        let voice = voices::draw(self.voices, self.args.held_out, &mut random);
        let path = self.args.out.join(audio_path(number));
        let made =
            |seconds: f64| Take::Made { text: text.clone(), speaker: voice.id(), seconds: milliseconds(seconds) };
        if let Ok(Some(header)) = audio_header::read(&path) {
            return made(header.seconds);
        }
        let failed = |reason: String| Take::Failed { place, fault: Fault::Voice(format!("{}: {reason}", voice.id())) };
        let sound = match mouth.say(voice, &Manner::draw(&mut random), text) {
            Ok(sound) => sound,
            Err(SpeakError::Absent(failure)) => return Take::Broken(failure),
            Err(SpeakError::Failed(reason)) => return failed(reason),
        };
        let samples = effects::apply(&sound, self.args.effects, &self.babble, &mut random);
        let seconds = samples.len() as f64 / f64::from(SAMPLE_RATE);
        if !(MIN_UTTERANCE_SECS..=MAX_UTTERANCE_SECS).contains(&seconds) {
            return failed(format!(
                "it is {seconds:.1} s long; {MIN_UTTERANCE_SECS} to {MAX_UTTERANCE_SECS} s are wanted"
            ));
        }
        match write(&path, &samples) {
            Ok(()) => made(seconds),
            Err(failure) => Take::Broken(failure),
        }
    }

    /// Which sentence comes at a place of a pass.
    fn place(&self, pass: u64, at: usize) -> usize {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Only the pass that ends and the one that begins are wanted.
        orders.retain(|&known, _| known + 1 >= pass);
        orders.entry(pass).or_insert_with(|| self.script.order(self.args.seed, pass))[at] as usize
    }

    /// Several people talking at once, some tens of seconds.
    fn babble(&self) -> Result<Vec<f32>> {
        let mouth = Mouth::new(self.scratch, self.args.workers);
        let mut babble: Vec<f32> = Vec::new();
        for person in 0..BABBLERS {
            let mut random = draws(self.args.seed, person as u64, "babble");
            let voice = voices::draw(self.voices, self.args.held_out, &mut random);
            let mut talk = Vec::new();
            for sentence in 0..3 {
                let place = self.place(0, (BABBLERS * sentence + person) % self.script.sentences.kept.len());
                match mouth.say(voice, &Manner::draw(&mut random), &self.script.sentences.kept[place]) {
                    Ok(sound) => talk.extend(effects::apply(&sound, Effects::Clean, &[], &mut random)),
                    Err(SpeakError::Absent(failure)) => return Err(failure),
                    // The others babble on.
                    Err(SpeakError::Failed(_)) => {}
                }
            }
            let level = noise::power(&talk).sqrt().max(1e-9) as f32;
            if babble.len() < talk.len() {
                babble.resize(talk.len(), 0.0);
            }
            if !talk.is_empty() {
                babble.iter_mut().zip(talk.iter().cycle()).for_each(|(b, s)| *b += s / level);
            }
        }
        Ok(babble)
    }
}

fn write(path: &Path, samples: &[f32]) -> Result<()> {
    if let Some(dir) = path.parent() {
        output::create_dir(dir)?;
    }
    wav::write(path, samples).map_err(|e| Failure::write(path, e))
}

fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// `1234 sentences, 1.52 of 20.00 h, 31 h an hour, 0:35:12 left, 2 bad`.
fn status(journal: &Journal, wanted: f64, begun: Instant, seconds_before: f64, bad: &BadRows) -> String {
    let rate = (journal.seconds() - seconds_before) / begun.elapsed().as_secs_f64().max(1e-3);
    format!(
        "{} sentences, {:.2} of {:.2} h, {:.0} h an hour, {} left, {} bad",
        journal.rows(),
        journal.seconds() / 3600.0,
        wanted / 3600.0,
        rate,
        progress::clock((wanted - journal.seconds()) / rate),
        bad.total()
    )
}
