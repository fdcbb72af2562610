//! Debian's free voices: which there are, how much of the corpus each speaks, what they are called.

use rand::Rng;

use crate::heldout::HeldOut;

/// A voice program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, clap::ValueEnum)]
pub enum Program {
    /// Formant synthesis: robotic, fast, many accents and speakers.
    Espeak,
    /// Statistical and diphone synthesis from recordings.
    Flite,
    /// Diphone and HMM synthesis from recordings.
    Festival,
}

impl Program {
    /// What is run.
    pub fn command(self) -> &'static str {
        match self {
            Self::Espeak => "espeak-ng",
            Self::Flite => "flite",
            Self::Festival => "festival",
        }
    }

    /// What brings it, with its voices.
    pub fn packages(self) -> &'static str {
        match self {
            Self::Espeak => "espeak-ng",
            Self::Flite => "flite",
            Self::Festival => "festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts",
        }
    }

    /// As it stands in a voice's id.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Espeak => "espeak",
            Self::Flite => "flite",
            Self::Festival => "festival",
        }
    }
}

/// One voice.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// Who speaks.
    pub program: Program,
    /// What the program calls it.
    pub name: String,
    /// Its usual pitch, Hz, where the program takes a pitch in Hz.
    pub pitch_hz: Option<f64>,
    /// How often it is drawn, relative to others of the same program.
    weight: f64,
}

impl Voice {
    /// `flite:slt`: the speaker of manifests and the held-out list.
    pub fn id(&self) -> String {
        format!("{}:{}", self.program.prefix(), self.name)
    }
}

/// Shares of the programs in the corpus.
const SHARES: [(Program, f64); 3] = [(Program::Espeak, 0.53), (Program::Flite, 0.36), (Program::Festival, 0.11)];

/// English accents of `espeak-ng`, with weights.
const ACCENTS: [(&str, f64); 7] = [
    ("en-us", 6.0),
    ("en-gb", 2.0),
    ("en-gb-x-rp", 1.0),
    ("en-gb-scotland", 1.0),
    ("en-gb-x-gbcwmd", 0.5),
    ("en-us-nyc", 1.0),
    ("en-029", 0.5),
];

/// Speakers of `espeak-ng`; the whispering, croaking and toy-robot ones are left out.
const VARIANTS: [&str; 24] = [
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "adam", "Alex", "Alicia", "Andrea",
    "Annie", "belinda", "linda", "Michael", "Denis", "steph", "max",
];

/// `flite`'s voices: name, usual pitch, weight.
const FLITE: [(&str, Option<f64>, f64); 4] =
    [("slt", Some(175.0), 3.0), ("rms", Some(95.0), 3.0), ("awb", Some(125.0), 2.0), ("kal16", None, 1.0)];

/// `festival`'s voices.
const FESTIVAL: [(&str, f64); 3] = [("kal_diphone", 1.0), ("ked_diphone", 1.0), ("cmu_us_slt_arctic_hts", 2.0)];

/// All voices of some programs.
pub fn all(programs: &[Program]) -> Vec<Voice> {
    let mut voices = Vec::new();
    for (accent, weight) in ACCENTS {
        voices.extend(VARIANTS.map(|variant| Voice {
            program: Program::Espeak,
            name: format!("{accent}+{variant}"),
            pitch_hz: None,
            weight,
        }));
    }
    voices.extend(FLITE.map(|(name, pitch_hz, weight)| Voice {
        program: Program::Flite,
        name: name.into(),
        pitch_hz,
        weight,
    }));
    voices.extend(FESTIVAL.map(|(name, weight)| Voice {
        program: Program::Festival,
        name: name.into(),
        pitch_hz: None,
        weight,
    }));
    voices.retain(|voice| programs.contains(&voice.program));
    voices
}

/// The voices that may speak: the held-out ones for evaluation, all others for training. There is no third set.
pub fn allowed(programs: &[Program], evaluation: bool, held_out: &HeldOut) -> Vec<Voice> {
    let mut voices = all(programs);
    voices.retain(|voice| held_out.hides_voice(&voice.id()) == evaluation);
    voices
}

/// Draws a program by its share and a voice of it by its weight. `voices` is not empty. Held-out voices are all alike.
pub fn draw<'a>(voices: &'a [Voice], evaluation: bool, random: &mut impl Rng) -> &'a Voice {
    let share = |voice: &Voice| {
        if evaluation {
            return 1.0;
        }
        let of_program: f64 = voices.iter().filter(|v| v.program == voice.program).map(|v| v.weight).sum();
        SHARES.iter().find(|s| s.0 == voice.program).map_or(0.0, |s| s.1) * voice.weight / of_program
    };
    let total: f64 = voices.iter().map(share).sum();
    let mut place = random.random_range(0.0..total);
    for voice in voices {
        place -= share(voice);
        if place < 0.0 {
            return voice;
        }
    }
    &voices[voices.len() - 1]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const PROGRAMS: [Program; 3] = [Program::Espeak, Program::Flite, Program::Festival];

    #[test]
    fn no_held_out_voice_speaks_for_training_and_only_those_for_evaluation() {
        let lists = HeldOut::committed();
        let training = allowed(&PROGRAMS, false, lists);
        assert!(training.len() > 100 && training.iter().all(|v| !lists.hides_voice(&v.id())));
        let evaluation = allowed(&PROGRAMS, true, lists);
        let ids: Vec<String> = evaluation.iter().map(Voice::id).collect();
        assert_eq!(ids.len(), lists.voices().len(), "each listed voice exists: {ids:?}");
        assert!(ids.iter().any(|id| id.starts_with("flite:")) && ids.iter().any(|id| id.starts_with("espeak:")));
    }

    #[test]
    fn programs_are_drawn_by_their_shares() {
        let voices = allowed(&PROGRAMS, false, HeldOut::committed());
        let mut random = StdRng::seed_from_u64(1);
        let drawn: Vec<&Voice> = (0..4000).map(|_| draw(&voices, false, &mut random)).collect();
        for (program, share) in SHARES {
            let found = drawn.iter().filter(|v| v.program == program).count() as f64 / 4000.0;
            assert!((found - share).abs() < 0.04, "{program:?} {found}");
        }
    }
}
