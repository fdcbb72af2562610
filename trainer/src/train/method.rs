//! What a method of training brings to the loop that all of them share.

use std::fmt::Debug;

use burn::tensor::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::model::{Bound, Noise, Shape, Weights};

/// A method of training: its rows, its loss, and how it judges weights.
pub trait Method {
    /// What fixes the model's shape.
    type Config: Shape + Clone + PartialEq + Debug + Serialize + DeserializeOwned;
    /// What a step is measured by, for people (`s of audio`) …
    const AMOUNT: &'static str;
    /// … and in the log, for each second (`audio_secs_per_sec`).
    const AMOUNT_KEY: &'static str;
    /// What [`Score::rank`] is, in the log (`wer`).
    const RANK_KEY: &'static str;

    /// The model's shape.
    fn config(&self) -> &Self::Config;

    /// Files that stand beside the weights: name and content.
    fn files(&self) -> &[(&'static str, Vec<u8>)];

    /// Reads the training rows.
    fn load(&mut self) -> Result<Loaded>;

    /// The batches of an epoch, as rows that the other functions understand. The same arguments give the same batches.
    fn plan(&mut self, seed: u64, epoch: u64) -> Vec<Vec<usize>>;

    /// Where a row comes from, for people.
    fn place(&self, row: usize) -> String;

    /// The loss of a batch, with dropout by `noise`.
    fn objective(&mut self, bound: &Bound, batch: &[usize], at: At, noise: Noise) -> Result<Objective>;

    /// Takes in a row whose loss is no number.
    fn bad_loss(&mut self, row: usize, loss: f32) -> Result<()>;

    /// Judges weights on a device without autodiff.
    fn validate(&mut self, weights: &Weights, device: &Device) -> Result<Score>;

    /// [`Score::rank`] for people.
    fn rank(rank: f64) -> String;

    /// What was left out, for the end of the run.
    fn left_out(&self) -> Option<String>;
}

/// The configuration of a method.
pub type Config<M> = <M as Method>::Config;

/// Training rows that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Digest of the rows: another one is other data.
    pub digest: String,
    /// A line about each source.
    pub said: Vec<String>,
}

/// A place in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Step of the run, from 0.
    pub step: u64,
}

/// What a batch costs.
#[derive(Debug)]
pub struct Objective {
    /// Loss of each row, natural log.
    pub losses: Vec<f32>,
    /// Units that all losses are over.
    pub units: usize,
    /// What is differentiated, one number: the losses' sum over the units.
    pub mean: Tensor<1>,
    /// Size of the batch in [`Method::AMOUNT`].
    pub amount: f64,
}

/// How good weights are.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// What chooses the best: less is better.
    pub rank: f64,
    /// For people.
    pub said: String,
    /// For the log.
    pub event: Map<String, Value>,
    /// A few examples, two labelled lines each.
    pub examples: Vec<[(&'static str, String); 2]>,
}

/// Whether a row's loss is one: a text that fits into no path has an infinite one, or a number that stands for it.
pub fn is_loss(loss: f32) -> bool {
    loss.is_finite() && loss < 1e29
}
