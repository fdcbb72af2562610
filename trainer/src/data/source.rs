//! `--data MANIFEST[*REPEAT][@HOURS]`: which rows an epoch takes from a manifest.

use std::path::PathBuf;
use std::str::FromStr;

use crate::train::random::Random;

/// A manifest and its share in an epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The manifest.
    pub manifest: PathBuf,
    /// How often each row that an epoch takes stands in it.
    pub repeat: usize,
    /// Hours that an epoch takes, a different part each time until all was seen; all where absent.
    pub hours: Option<f64>,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, hours) = match text.rsplit_once('@') {
            None => (text, None),
            Some((rest, hours)) => match hours.parse::<f64>() {
                Ok(value) if value > 0.0 && value.is_finite() => (rest, Some(value)),
                _ => {
                    return Err(format!(
                        "`{hours}` is no number of hours; write MANIFEST[*REPEAT][@HOURS], as in synth.jsonl@3"
                    ));
                }
            },
        };
        let (path, repeat) = match rest.rsplit_once('*') {
            None => (rest, 1),
            Some((path, repeat)) => match repeat.parse::<usize>() {
                Ok(value) if (1..=100).contains(&value) => (path, value),
                _ => {
                    return Err(format!(
                        "`{repeat}` is no count from 1 to 100; write MANIFEST[*REPEAT][@HOURS], as in reader.jsonl*2"
                    ));
                }
            },
        };
        if path.is_empty() {
            return Err("the manifest's path is empty; write MANIFEST[*REPEAT][@HOURS]".into());
        }
        Ok(Self { manifest: path.into(), repeat, hours })
    }
}

impl Source {
    /// The rows that `epoch` takes, by their lengths in seconds: the shard that is due, `repeat` times.
    ///
    /// Shards of one pass are disjoint and cover everything; each pass divides the rows anew.
    pub fn rows(&self, seconds: &[f64], seed: u64, epoch: u64) -> Vec<usize> {
        let total: f64 = seconds.iter().sum();
        let mut rows: Vec<usize> = (0..seconds.len()).collect();
        if let Some(hours) = self.hours
            && total > hours * 3600.0
        {
            let shards = (total / (hours * 3600.0)).ceil().max(1.0);
            let (pass, shard) = (epoch / shards as u64, (epoch % shards as u64) as f64);
            Random::new(&[seed, 0x0073_6861_7264, pass]).shuffle(&mut rows);
            let (from, to) = (total * shard / shards, total * (shard + 1.0) / shards);
            let mut before = 0.0;
            rows.retain(|row| {
                let middle = before + seconds[*row] / 2.0;
                before += seconds[*row];
                (from..to).contains(&middle)
            });
        }
        let once = rows.len();
        (0..once * self.repeat).map(|i| rows[i % once]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_with_its_repeat_and_hours() {
        let source: Source = "reader/train.jsonl*2".parse().unwrap();
        assert_eq!(source, Source { manifest: "reader/train.jsonl".into(), repeat: 2, hours: None });
        let source: Source = "a@b/synth.jsonl*3@2.5".parse().unwrap();
        assert_eq!(source, Source { manifest: "a@b/synth.jsonl".into(), repeat: 3, hours: Some(2.5) });
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["m.jsonl@", "m.jsonl@-1", "m.jsonl@nan", "m.jsonl*0", "m.jsonl*x", "*2"] {
            assert!(text.parse::<Source>().unwrap_err().contains("MANIFEST[*REPEAT][@HOURS]"), "{text}");
        }
    }

    #[test]
    fn the_shards_of_a_pass_cover_every_row_once() {
        let seconds: Vec<f64> = (0..1000).map(|i| 2.0 + f64::from(i % 13)).collect();
        let source = Source { manifest: "m".into(), repeat: 1, hours: Some(0.5) };
        let shards = (seconds.iter().sum::<f64>() / 1800.0).ceil() as u64;
        let mut seen: Vec<usize> = (0..shards).flat_map(|epoch| source.rows(&seconds, 1, epoch)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        assert_ne!(source.rows(&seconds, 1, 0), source.rows(&seconds, 1, shards));
    }

    #[test]
    fn repeats_multiply_and_an_empty_manifest_gives_nothing() {
        let source = Source { manifest: "m".into(), repeat: 3, hours: None };
        assert_eq!(source.rows(&[1.0, 1.0], 1, 0).len(), 6);
        assert!(source.rows(&[], 1, 0).is_empty());
    }
}
