//! Proof, switch and way back, asked of the daemon's loop.

use std::sync::Arc;
use std::time::Duration;

use super::effects::Device;
use crate::config::{self, GenerationLayer, Sources};
use crate::daemon::update::{Activation, Outcome as Switched, Unapplied};
use crate::push::Progress;
use crate::push::machine::{Fault, Outcome, Persisted};
use crate::push::probe::{Code, ProbeFault};
use crate::push::settle;

impl Device {
    /// Configuration and models prove themselves in a child process. It blocks this thread, which has nothing else to do meanwhile.
    pub(super) fn prove(&mut self, update: &Persisted) -> Progress {
        let candidate = match self.candidate(update.generation) {
            Ok(candidate) => candidate,
            Err(fault) => return Progress::Ended(Outcome::Failed(fault)),
        };
        let packages = self.store.packages_dir(update.generation);
        let dir = packages.parent().unwrap_or(&packages).to_owned();
        let updates = self.updates.clone();
        let plan = match self.wait(updates.plan(candidate, dir)) {
            None => return self.ending(),
            Some(Err(fault)) => return self.not_proved(fault),
            Some(Ok(plan)) => plan,
        };
        if plan.room.is_drained() && self.window.is_none() {
            match self.wait(updates.window()) {
                None | Some(Err(Unapplied::Ending)) => return self.ending(),
                Some(Err(Unapplied::Refused(reason))) => {
                    return Progress::Waiting(Fault::new("window", reason), Duration::from_secs(60));
                }
                Some(Ok(window)) => self.window = Some(window),
            }
        }
        match plan.probe.run(&self.stop.flag) {
            Err(fault) => {
                self.window = None;
                self.not_proved(fault)
            }
            Ok(proved) => {
                for model in &proved.models {
                    log::info!("update: {} {} proved itself in {} ms", model.name, model.version, model.ms);
                }
                Progress::Ended(Outcome::Done)
            }
        }
    }

    fn not_proved(&self, fault: ProbeFault) -> Progress {
        match fault.code {
            Code::Interrupted => self.ending(),
            code => Progress::Ended(Outcome::Failed(Fault::new(code.as_str(), fault.to_string()))),
        }
    }

    /// Live on the disk first: a power cut in between opens it, counted.
    pub(super) fn switch_to(&mut self, update: &Persisted) -> Progress {
        let mqtt_before = self.config.mqtt.clone();
        let candidate = match self.candidate(update.generation) {
            Ok(candidate) => candidate,
            Err(fault) => return Progress::Ended(Outcome::Failed(fault)),
        };
        if let Err(e) = self.store.set_live(update.generation) {
            return match Fault::from(e) {
                fault if fault.code == "not_whole" => Progress::Ended(Outcome::Failed(fault)),
                fault => self.wait_for_disk(fault),
            };
        }
        self.trial.begin(self.events.tally());
        self.watch = super::watch::Watch::default();
        match self.apply(candidate.clone()) {
            None => self.ending(),
            Some(Err(reason)) => Progress::Ended(Outcome::Failed(Fault::new("activate", reason))),
            Some(Ok(activation)) => {
                self.local_packages = activation.local_packages;
                match activation.outcome {
                    Switched::Serves(back) => {
                        self.back = Some(back);
                        self.serving = update.generation;
                        self.adopt(&candidate);
                        if self.config.mqtt != mqtt_before {
                            self.watch.mqtt_before = mqtt_before;
                        }
                        Progress::Ended(Outcome::Done)
                    }
                    Switched::Restart(keys) => {
                        let named: Vec<_> = keys.iter().map(|change| change.key.as_str()).collect();
                        log::warn!("update: linnetd restarts for {}", named.join(", "));
                        Progress::Ended(Outcome::ByRestart)
                    }
                }
            }
        }
    }

    /// The store first, then the process; what cannot go back within it restarts.
    pub(super) fn switch_back(&mut self, update: &Persisted) -> Progress {
        self.window = None;
        if let Err(fault) = settle(&mut self.store, update) {
            return self.wait_for_disk(fault);
        }
        let good = self.store.good();
        if self.serving == good {
            return Progress::Ended(Outcome::Done);
        }
        let back = match self.back.take() {
            Some(back) => {
                let updates = self.updates.clone();
                match self.wait(updates.go_back(back)) {
                    None | Some(Err(Unapplied::Ending)) => return self.ending(),
                    Some(Err(Unapplied::Refused(reason))) => Err(reason),
                    Some(Ok(())) => Ok(()),
                }
            }
            // The trial began in another run of the process: the good one is switched to as any other.
            None => match self.candidate(good).map(|candidate| self.apply(candidate)) {
                Err(fault) => Err(fault.reason),
                Ok(None) => return self.ending(),
                Ok(Some(Err(reason))) => Err(reason),
                Ok(Some(Ok(Activation { outcome: Switched::Serves(_), .. }))) => Ok(()),
                Ok(Some(Ok(Activation { outcome: Switched::Restart(keys), .. }))) => {
                    let named: Vec<_> = keys.iter().map(|change| change.key.as_str()).collect();
                    Err(format!("{} take effect at a restart only", named.join(", ")))
                }
            },
        };
        match back {
            Ok(()) => {
                self.serving = good;
                if let Ok(candidate) = self.candidate(good) {
                    self.adopt(&candidate);
                }
                Progress::Ended(Outcome::Done)
            }
            Err(reason) => {
                log::warn!("update: generation {good} cannot serve again within this process: {reason}");
                Progress::Ended(Outcome::Failed(Fault::new("restart", reason)))
            }
        }
    }

    /// What serves now has other settings, of the broker perhaps.
    fn adopt(&mut self, candidate: &Sources) {
        if let Ok(config) = config::load(candidate) {
            self.config = Arc::new(config);
            self.sources.forget();
        }
    }

    /// `None` when the daemon ends.
    fn apply(&mut self, candidate: Sources) -> Option<Result<Activation, String>> {
        let (updates, window) = (self.updates.clone(), self.window.take());
        match self.wait(updates.activate(candidate, window))? {
            Ok(activation) => Some(Ok(activation)),
            Err(Unapplied::Refused(reason)) => Some(Err(reason)),
            Err(Unapplied::Ending) => None,
        }
    }

    /// Flags, environment and file with a generation's layer; 0 is without one.
    pub(super) fn candidate(&self, number: u64) -> Result<Sources, Fault> {
        if number == 0 {
            return Ok(self.base.with_generation(None));
        }
        let generation = self.store.installed(number).map_err(Fault::from)?;
        let layer = GenerationLayer::of(&generation, Some(self.store.packages_dir(number)));
        Ok(self.base.with_generation(Some(layer)))
    }
}
