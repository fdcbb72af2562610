//! A programmable stand-in for an engine, for tests of everything above it: it answers, is slow, fails, panics or
//! hangs as its script says.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Cache, Engine, EngineError, LoadOptions, Model, Port, Positions, Session, Tensor};

/// What one run of a fake session does.
pub enum FakeRun {
    /// Answers.
    Outputs(Vec<(String, Tensor)>),
    /// Waits, then does the other.
    After(Duration, Box<FakeRun>),
    /// Waits until the gate opens, then does the other: a worker that is stuck.
    Until(Gate, Box<FakeRun>),
    /// Answers with [`EngineError::Run`].
    Fail(String),
    /// Panics.
    Panic(String),
}

type Script = dyn Fn(&[(&str, Tensor)], usize) -> FakeRun + Send + Sync;

/// A model whose runs follow a script.
#[derive(Clone)]
pub struct FakeModel {
    script: Arc<Script>,
    runs: Arc<AtomicUsize>,
    sessions: Arc<AtomicUsize>,
    memory_bytes: u64,
    ports: Arc<(Vec<Port>, Vec<Port>)>,
}

impl std::fmt::Debug for FakeModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeModel").field("runs", &self.runs()).field("sessions", &self.sessions()).finish()
    }
}

impl FakeModel {
    /// A model that asks `script` at each run; it sees the inputs and the run's number, from 0, over all sessions.
    pub fn new(script: impl Fn(&[(&str, Tensor)], usize) -> FakeRun + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            runs: Arc::default(),
            sessions: Arc::default(),
            memory_bytes: 1 << 20,
            ports: Arc::default(),
        }
    }

    /// A CTC model that hears `path` whatever is said: output frame `i` gives unit `path[i]` (blank, 0, beyond its
    /// end) probability 0.99 and shares the rest evenly. `features` is `[1, frames, bins]`, `log_probs`
    /// `[1, ceil(frames / subsampling), units]`.
    pub fn hearing(path: Vec<usize>, units: usize, subsampling: usize) -> Self {
        Self::new(move |inputs, _| {
            let Some((_, features)) = inputs.iter().find(|(name, _)| *name == "features") else {
                return FakeRun::Fail("the input `features` is missing".into());
            };
            let frames = features.shape.get(1).copied().unwrap_or(0).div_ceil(subsampling);
            let rest = (0.01 / (units.max(2) - 1) as f32).ln();
            let mut log_probs = vec![rest; frames * units];
            for (i, row) in log_probs.chunks_exact_mut(units).enumerate() {
                if let Some(best) = row.get_mut(path.get(i).copied().unwrap_or(0)) {
                    *best = 0.99_f32.ln();
                }
            }
            FakeRun::Outputs(vec![("log_probs".into(), Tensor::f32([1, frames, units], log_probs))])
        })
    }

    /// How many runs began.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// How many sessions were opened.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

impl Model for FakeModel {
    fn session(&self) -> Result<Box<dyn Session>, EngineError> {
        self.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FakeSession { model: self.clone() }))
    }

    fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    fn inputs(&self) -> &[Port] {
        &self.ports.0
    }

    fn outputs(&self) -> &[Port] {
        &self.ports.1
    }
}

struct FakeSession {
    model: FakeModel,
}

impl Session for FakeSession {
    fn step(
        &mut self,
        inputs: &[(&str, Tensor)],
        _cache: &mut dyn Cache,
        _positions: Positions,
    ) -> Result<Vec<(String, Tensor)>, EngineError> {
        self.run(inputs)
    }

    fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, EngineError> {
        let number = self.model.runs.fetch_add(1, Ordering::SeqCst);
        let mut step = (self.model.script)(inputs, number);
        loop {
            step = match step {
                FakeRun::Outputs(outputs) => return Ok(outputs),
                FakeRun::Fail(reason) => return Err(EngineError::Run(reason)),
                FakeRun::Panic(text) => std::panic::panic_any(text),
                FakeRun::After(wait, next) => {
                    std::thread::sleep(wait);
                    *next
                }
                FakeRun::Until(gate, next) => {
                    gate.wait();
                    *next
                }
            };
        }
    }
}

/// An engine that gives the same model for every file.
#[derive(Debug, Clone)]
pub struct FakeEngine(pub FakeModel);

impl Engine for FakeEngine {
    fn load_with(&self, _package: &Path, _onnx: &Path, _options: &LoadOptions) -> Result<Arc<dyn Model>, EngineError> {
        Ok(Arc::new(self.0.clone()))
    }

    fn ports(&self, _package: &Path, _onnx: &Path) -> Result<(Vec<Port>, Vec<Port>), EngineError> {
        Ok((*self.0.ports).clone())
    }
}

/// Holds whoever waits until it is opened; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it was opened.
    pub fn is_open(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is opened.
    pub fn wait(&self) {
        let mut open = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self.0.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_sees_its_inputs_and_the_number_of_the_run() {
        let model = FakeModel::new(|inputs, run| FakeRun::Fail(format!("{} {run}", inputs[0].0)));
        let mut a = model.session().expect("fake sessions open");
        let mut b = model.session().expect("fake sessions open");
        let input = [("features", Tensor::f32([1], vec![0.0]))];
        assert_eq!(a.run(&input).unwrap_err().to_string(), "inference failed: features 0");
        assert_eq!(b.run(&input).unwrap_err().to_string(), "inference failed: features 1");
        assert_eq!((model.runs(), model.sessions()), (2, 2));
    }

    #[test]
    fn a_gate_holds_a_run_until_it_opens() {
        let gate = Gate::default();
        let held = gate.clone();
        let model = FakeModel::new(move |_, _| FakeRun::Until(held.clone(), Box::new(FakeRun::Outputs(Vec::new()))));
        let mut session = model.session().expect("fake sessions open");
        let worker = std::thread::spawn(move || session.run(&[]).map(|o| o.len()));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!worker.is_finished(), "the gate is closed");
        gate.open();
        assert_eq!(worker.join().expect("the run does not panic").expect("the run answers"), 0);
    }

    #[test]
    fn a_hearing_model_gives_probabilities_that_sum_to_one() {
        let mut session = FakeModel::hearing(vec![3, 0, 5], 8, 4).session().expect("fake sessions open");
        let out = session.run(&[("features", Tensor::f32([1, 18, 2], vec![0.0; 36]))]).expect("runs");
        assert_eq!(out[0].1.shape, [1, 5, 8]);
        let log_probs = out[0].1.as_f32().expect("floats");
        for (row, best) in log_probs.chunks_exact(8).zip([3, 0, 5, 0, 0]) {
            let sum: f32 = row.iter().map(|p| p.exp()).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!(row.iter().enumerate().all(|(i, p)| i == best || *p < row[best]));
        }
    }
}
