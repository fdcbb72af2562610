//! What `linnet fleet promote` tells: what happened, what happens next, what is to be done.

use std::path::Path;

use linnet_fleet::waves::Share;

use super::{command, devices_text};

/// What a promotion has come to.
pub(super) struct Promoted {
    pub(super) number: u64,
    /// Which wave of how many, where a push has laid them out.
    pub(super) wave: Option<(usize, usize)>,
    /// Share of the devices that may begin, and how many of those that had reported when the push began these are; `None` is all.
    pub(super) share: Option<(Share, usize)>,
    /// It was paused.
    pub(super) is_again: bool,
    /// How many devices were told to look; `None` where no broker was named.
    pub(super) told: Option<usize>,
    /// `linnet fleet push` runs on this repository.
    pub(super) is_pushing: bool,
}

impl Promoted {
    /// What happened, what happens next, and what is to be done.
    pub(super) fn text(&self, dir: &Path) -> String {
        let Self { number, wave, share, is_again, told, is_pushing } = self;
        let what = match wave {
            Some((wave, waves)) => format!("wave {wave} of {waves} of generation {number}"),
            None => format!("generation {number}"),
        };
        let whom = match share {
            Some((share, known)) => format!(
                "the first {share} of the devices that it is for may begin, {} of those that had reported when the push began",
                devices_text(*known)
            ),
            None => "every device that it is for may begin".to_owned(),
        };
        let again = if *is_again { " again" } else { "" };
        let mut text = format!("{what} is open{again}: {whom}\n");
        match (told, is_pushing) {
            (_, true) => text.push_str(
                "the push that runs tells the devices, serves the files, and counts this wave's reports before it opens the next\n",
            ),
            (Some(told), false) => {
                text.push_str(&format!(
                    "the broker has it, and {} told to look\n",
                    match told {
                        0 => "no device that has reported had to be".to_owned(),
                        1 => "1 device was".to_owned(),
                        told => format!("{told} devices were"),
                    }
                ));
                text.push_str(
                    "devices fetch files over MQTT only while a push or `serve` runs, and nobody counts reports while no push does\n",
                );
            }
            (None, false) => text.push_str(
                "it is signed in the repository and nowhere else: a `serve` that runs publishes it by itself, else no device hears of it yet\n",
            ),
        }
        if !is_pushing {
            let ways = [
                ("push --resume", true, "tells devices, serves files, and opens wave after wave as reports come"),
                ("serve", true, "publishes and serves files, and opens nothing"),
                ("export DIR", false, "for devices that read a web server or a stick"),
            ];
            text.push_str("next, where none of these runs, one of:\n");
            let lines: Vec<(String, &str)> =
                ways.iter().map(|(verb, mqtt, does)| (command(dir, verb, *mqtt), *does)).collect();
            let width = lines.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
            for (command, does) in lines {
                text.push_str(&format!("  {command:<width$}  # {does}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_of_three() -> Promoted {
        Promoted {
            number: 7,
            wave: Some((2, 3)),
            share: Some((Share::percent(10), 3)),
            is_again: false,
            told: None,
            is_pushing: false,
        }
    }

    #[test]
    fn a_wave_that_no_broker_was_told_of_names_who_carries_it_to_devices() {
        let said = second_of_three().text(Path::new("my home"));
        assert!(said.starts_with("wave 2 of 3 of generation 7 is open: the first 10% of the devices"), "{said}");
        assert!(
            said.contains("3 devices of those that had") && said.contains("else no device hears of it yet"),
            "{said}"
        );
        for way in ["push --resume", "serve", "export DIR"] {
            assert!(said.contains(&format!("linnet fleet {way} --dir 'my home'")), "{way}: {said}");
        }
    }

    #[test]
    fn devices_that_were_told_have_nothing_to_fetch_over_mqtt_while_nobody_serves() {
        let said = Promoted { told: Some(1), ..second_of_three() }.text(Path::new("home"));
        assert!(
            said.contains("1 device was told to look") && said.contains("only while a push or `serve` runs"),
            "{said}"
        );
        assert!(said.contains("linnet fleet serve") && !said.contains("hears of it"), "{said}");
        let said = Promoted { told: Some(0), is_again: true, share: None, ..second_of_three() }.text(Path::new("home"));
        assert!(
            said.contains("is open again: every device") && said.contains("no device that has reported had"),
            "{said}"
        );
    }

    #[test]
    fn a_push_that_runs_leaves_nothing_to_do() {
        let said = Promoted { told: Some(2), is_pushing: true, ..second_of_three() }.text(Path::new("home"));
        assert!(said.contains("the push that runs") && !said.contains("next, where"), "{said}");
    }
}
