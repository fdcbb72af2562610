//! `SIGHUP`: the configuration is read again and the difference applied, part by part; when a part refuses, those that
//! have already taken it are put back.

use std::fmt::Display;
use std::sync::Arc;

use super::change_models::Places;
use super::{Daemon, limits, models, scheduler_settings, state_dir};
use crate::config::Config;
use crate::config::diff::{Diff, Part};
use crate::logging::{self, message_id};
use crate::status::LinkState;
use crate::sys::{descriptors, notify};
use crate::{config, task::catalog::Catalog};

/// Where the models of a new configuration come from.
pub(super) enum Known {
    /// They are loaded; what this catalog serves unchanged is taken over.
    Beside(Arc<Catalog>),
    /// This catalog is put in place as it is: it has served under that configuration before.
    Exactly(Arc<Catalog>),
}

/// A part that has taken the new settings, with what its way back needs.
enum Done {
    /// The old configuration is enough.
    Part(Part),
    /// The models that served before: put back as they were, without loading anything.
    Models(Arc<Catalog>),
}

impl Daemon {
    /// Reads the configuration again; whatever comes of it, the daemon serves on.
    pub(super) async fn reload(&mut self) {
        notify::reloading();
        self.reloads.begin();
        match config::load(&self.sources).and_then(|new| Diff::between(&self.config, &new, &self.sources.around)) {
            Err(refused) => {
                for line in refused.to_string().lines() {
                    refuse(&format!("the new configuration is refused, the old one stays: {line}"));
                }
            }
            Ok(diff) => {
                for change in &diff.refused {
                    refuse(&format!("needs a restart and keeps its old value: {change}"));
                }
                let changed = diff.changed.len();
                match self.apply_all(diff, Known::Beside(self.catalog.get())).await {
                    Ok(_) => {
                        log::info!(MESSAGE_ID = message_id::RELOADED; "the configuration was read again; keys changed: {changed}");
                    }
                    Err(reason) => refuse(&reason),
                }
            }
        }
        self.tell_ready();
        // Whoever asks for a reload wants what is newest.
        self.notices.look();
        self.reloads.end();
    }

    /// Where models are, by the configuration that serves.
    pub(super) fn places(&self) -> Places {
        Places::of(&self.config, self.sources.around.models.as_deref())
    }

    /// Looks at the directories of models again: what is new serves, what is gone is let go of when nothing runs on it any more. That nothing
    /// is left to serve is no fault here: somebody has asked for each removal.
    pub(super) async fn load_models(&mut self) -> Result<(), String> {
        let known = self.catalog.get();
        let loaded = models::load(&self.loader, &self.config, Some(known)).await.map_err(|e| e.to_string())?;
        self.scheduler.swap_catalog(Arc::new(loaded));
        if let Some(mqtt) = &self.mqtt {
            mqtt.state_changed();
        }
        self.tell_ready();
        Ok(())
    }

    /// Applies `diff` part by part, with the models of `known`, and gives those that served before. When a part refuses, those that
    /// have taken it are put back; the error is one sentence.
    pub(super) async fn apply_all(&mut self, diff: Diff, known: Known) -> Result<Arc<Catalog>, String> {
        let served = self.catalog.get();
        // What is told of the limits is also what MQTT counts with, so it changes first.
        self.status.set_limits(limits(&diff.to));
        let mut done = Vec::new();
        for part in diff.parts() {
            match self.apply(part, &diff.to, &known).await {
                Ok(step) => done.push(step),
                Err(reason) => {
                    let back = diff.reverse();
                    self.status.set_limits(limits(&back.to));
                    while let Some(step) = done.pop() {
                        self.take_back(step, &back.to).await;
                    }
                    let part = part.as_str();
                    return Err(format!("{part} cannot take the new configuration, the old one stays: {reason}"));
                }
            }
        }
        for change in &diff.changed {
            log::info!("changed: {change}");
        }
        self.idle.set(diff.to.memory.idle_unload);
        self.config = diff.to;
        if let Some(mqtt) = &self.mqtt {
            mqtt.state_changed();
        }
        Ok(served)
    }

    async fn apply(&mut self, part: Part, to: &Config, known: &Known) -> Result<Done, String> {
        match part {
            Part::Http => {
                descriptors::make_room_for(to.http.max_connections);
                self.http.reload(to.http.clone(), to.intake.clone()).map_err(|e| e.to_string())?;
            }
            Part::Scheduler => self.scheduler.reconfigure(scheduler_settings(to)),
            Part::Models => {
                let known = match known {
                    Known::Exactly(catalog) => {
                        self.loader.budget.set_limit(to.memory.limit_bytes);
                        return Ok(Done::Models(self.scheduler.swap_catalog(Arc::clone(catalog))));
                    }
                    Known::Beside(catalog) => Arc::clone(catalog),
                };
                let loaded = models::load(&self.loader, to, Some(known)).await.map_err(|e| e.to_string())?;
                if !loaded.serves() && self.catalog.get().serves() {
                    return Err("no model in it serves; the log says why".to_owned());
                }
                return Ok(Done::Models(self.scheduler.swap_catalog(Arc::new(loaded))));
            }
            Part::Mqtt => self.apply_mqtt(to).await?,
            Part::Log => logging::set_level(to.log),
        }
        Ok(Done::Part(part))
    }

    /// On, off, or other settings; a link that stays keeps its jobs and its answers.
    async fn apply_mqtt(&mut self, to: &Config) -> Result<(), String> {
        // The transport stays where it is until it has drained: the end may be asked for meanwhile.
        match (&to.mqtt, &self.mqtt) {
            (Some(settings), Some(mqtt)) => {
                mqtt.reload(settings.clone(), to.mqtt_intake.clone()).await.map_err(|e| e.to_string())
            }
            (Some(_), None) => {
                state_dir::prepare(to);
                // Held already where the device belongs to a fleet.
                let state = match self.state.take() {
                    None => state_dir::claim(to).map_err(|e| e.to_string())?,
                    held => held,
                };
                let started = self.start_mqtt(to);
                self.state = state.filter(|_| started.is_ok() || to.fleet.is_some());
                self.mqtt = started.map_err(|e| e.to_string())?;
                Ok(())
            }
            (None, Some(mqtt)) => {
                mqtt.drain(self.config.scheduler.drain).await;
                self.mqtt = None;
                if to.fleet.is_none() {
                    self.state = None;
                }
                self.link.set(LinkState::Off);
                self.link.set_storage(None);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    async fn take_back(&mut self, step: Done, old: &Config) {
        let (part, back) = match step {
            Done::Models(before) => {
                self.scheduler.swap_catalog(before);
                return;
            }
            Done::Part(part) => {
                let known = Known::Beside(self.catalog.get());
                (part, self.apply(part, old, &known).await)
            }
        };
        if let Err(reason) = back {
            refuse(&format!("{} cannot go back to the old configuration: {reason}", part.as_str()));
        }
    }
}

/// One line in the log of what a reload did not do.
fn refuse(what: &dyn Display) {
    log::error!(MESSAGE_ID = message_id::RELOAD_REFUSED; "reload: {what}");
}
