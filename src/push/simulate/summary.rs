//! What a simulation came to: for people, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::arguments::Plan;
use super::bounds::REFRESH;
use super::operator::{Operator, Standing};
use super::shard::Judged;

/// Looks that the interval asks for in a day.
const LOOKS_A_DAY: f64 = 86_400.0 / REFRESH.as_secs() as f64;

/// The result. In virtual time it holds nothing that differs between two runs of the same seed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Every device is where the rules say it must be, and none was ever where it must not.
    pub converged: bool,
    /// The push stopped before its end, so that nobody else begins: too many failures, or no reports.
    pub halted: bool,
    /// Devices that are, or were, where they must not be.
    pub wrong_generation: u64,
    /// Devices.
    pub devices: u64,
    /// Of these, devices that the new generation fails on.
    pub bad: u64,
    /// Devices that serve the new generation in the end.
    pub on_new: u64,
    /// Devices that serve the old one.
    pub on_old: u64,
    /// The waves that were opened.
    pub waves: Vec<WaveSummary>,
    /// Waves that the push had.
    pub waves_planned: usize,
    /// Why it stopped, one clause; none where every wave is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How often it was taken up again after a pause for silence.
    pub resumed: u32,
    /// How many devices' last update stands how; `not_begun` where there was none.
    pub states: BTreeMap<&'static str, u64>,
    /// What devices refused of the malicious mirror, by the code of the refusal.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Virtual time from the push's beginning to the end, seconds.
    pub virtual_secs: u64,
    /// Messages per device, mean: questions, answers, hints, reports, repeats.
    pub messages_per_device: f64,
    /// The most of one device.
    pub most_messages: u64,
    /// Bytes per device, mean.
    pub bytes_per_device: f64,
    /// The most of one device.
    pub most_bytes: u64,
    /// What an update costs a device that began one: messages, mean. Looks by the interval are no part of it.
    pub messages_per_update: f64,
    /// The same, bytes.
    pub bytes_per_update: f64,
    /// What a device fetched in looks by the interval because the push had signed something, mean: at most four messages for each signature, and
    /// for each look.
    pub wave_messages_per_device: f64,
    /// The same, bytes.
    pub wave_bytes_per_device: f64,
    /// How often the push signed how far it is open.
    pub signatures: usize,
    /// What looks by the interval cost a device in a day where nothing is new: messages, mean.
    pub idle_messages_per_day: f64,
    /// The same, bytes.
    pub idle_bytes_per_day: f64,
    /// The seed.
    pub seed: u64,
}

/// One wave as it went; the devices are those that it added.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WaveSummary {
    /// The share that it opens for, all before it included.
    pub share: String,
    /// Devices.
    pub devices: usize,
    /// When it was opened, seconds of virtual time.
    pub opened_secs: u64,
    /// When the next one was opened, or the push ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_secs: Option<u64>,
    /// Devices that confirmed, in the end.
    pub confirmed: usize,
    /// Devices that failed, in the end.
    pub failed: usize,
    /// Devices that began and had not ended.
    pub working: usize,
    /// Devices that have said nothing of it.
    pub silent: usize,
}

impl Summary {
    /// What an operator saw and what became of the devices, when a run ended; `is_over`: nothing was under way any more.
    pub(super) fn of(plan: &Plan, operator: &Operator, judged: Judged, is_over: bool, end_ms: u64) -> Self {
        let waves =
            operator.log.iter().zip(&operator.waves).zip(&operator.tallies).map(|((log, wave), tally)| WaveSummary {
                share: wave.share.to_string(),
                devices: tally.devices(),
                opened_secs: log.opened_ms / 1000,
                decided_secs: log.decided_ms.map(|ms| ms / 1000),
                confirmed: tally.confirmed,
                failed: tally.failed,
                working: tally.working,
                silent: tally.silent,
            });
        let devices = u64::from(plan.devices);
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        let mean = |sum: u64, of: u64| tenths(sum as f64 / of.max(1) as f64);
        let traffic = &judged.traffic;
        let daily = |sum: u64| tenths(sum as f64 / traffic.routine_looks.max(1) as f64 * LOOKS_A_DAY);
        Self {
            converged: is_over && judged.wrong == 0,
            halted: matches!(operator.standing, Standing::Halted(_)),
            wrong_generation: judged.wrong,
            devices,
            bad: judged.bad,
            on_new: judged.on_new,
            on_old: judged.on_old,
            waves: waves.collect(),
            waves_planned: operator.waves.len(),
            stopped: match operator.standing {
                Standing::Halted(why) => Some(why.to_string()),
                Standing::Silent(_) => Some("too few devices have reported".to_owned()),
                Standing::Running => Some("the time was over".to_owned()),
                Standing::Done => None,
            },
            resumed: operator.resumed,
            states: judged.states,
            refusals: judged.refusals,
            virtual_secs: end_ms / 1000,
            messages_per_device: mean(judged.messages.sum, devices),
            most_messages: judged.messages.most,
            bytes_per_device: mean(judged.bytes.sum, devices),
            most_bytes: judged.bytes.most,
            messages_per_update: mean(judged.update.messages, judged.began),
            bytes_per_update: mean(judged.update.bytes, judged.began),
            wave_messages_per_device: mean(traffic.waves.messages, devices),
            wave_bytes_per_device: mean(traffic.waves.bytes, devices),
            signatures: operator.signatures,
            idle_messages_per_day: daily(traffic.idle.messages),
            idle_bytes_per_day: daily(traffic.idle.bytes),
            seed: plan.seed,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A few lines for people.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "wave   opened      took      devices  confirmed  failed  working  silent")?;
        for wave in &self.waves {
            let took = wave.decided_secs.map_or("-".to_owned(), |at| clock(at - wave.opened_secs));
            let (share, opened) = (&wave.share, clock(wave.opened_secs));
            let WaveSummary { devices, confirmed, failed, working, silent, .. } = wave;
            writeln!(
                text,
                "{share:<6} {opened:<10}  {took:<8}  {devices:>7}  {confirmed:>9}  {failed:>6}  {working:>7}  {silent:>6}"
            )?;
        }
        match &self.stopped {
            Some(why) if self.halted => writeln!(text, "halted: {why}")?,
            Some(why) => writeln!(text, "stopped: {why}")?,
            None => writeln!(text, "every wave is open")?,
        }
        if self.resumed > 0 {
            writeln!(text, "taken up again after silence: {} times", self.resumed)?;
        }
        writeln!(text, "states: {}", counts(&self.states))?;
        writeln!(text, "generation: {} on the new one, {} on the old one", self.on_new, self.on_old)?;
        writeln!(text, "refused of the malicious mirror: {}", counts(&self.refusals))?;
        writeln!(
            text,
            "per device: {:.1} messages (most {}), {:.1} kB (most {:.1})",
            self.messages_per_device,
            self.most_messages,
            self.bytes_per_device / 1e3,
            self.most_bytes as f64 / 1e3
        )?;
        let Self { messages_per_update, wave_messages_per_device, idle_messages_per_day, signatures, .. } = self;
        writeln!(
            text,
            "an update: {messages_per_update:.1} messages, {:.1} kB; waves found by the interval: {wave_messages_per_device:.1}, {:.1} kB of \
             {signatures} signatures; a day without news: {idle_messages_per_day:.1}, {:.1} kB",
            self.bytes_per_update / 1e3,
            self.wave_bytes_per_device / 1e3,
            self.idle_bytes_per_day / 1e3
        )?;
        writeln!(text, "virtual time: {}", clock(self.virtual_secs))?;
        match (self.converged, self.wrong_generation) {
            (true, _) => writeln!(text, "converged: every device is where the rules say it must be"),
            (false, 0) => writeln!(text, "not converged: something was still under way when the time was over"),
            (false, wrong) => writeln!(
                text,
                "not converged: {wrong} of {} devices are, or were, where they must not be",
                self.devices
            ),
        }
    }
}

/// Hours, minutes and seconds.
pub(super) fn clock(secs: u64) -> String {
    format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

fn counts(of: &BTreeMap<&'static str, u64>) -> String {
    let each: Vec<String> = of.iter().map(|(word, count)| format!("{} {count}", word.replace('_', " "))).collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
}
