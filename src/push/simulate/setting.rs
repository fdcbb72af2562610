//! A fleet as it stands before a push begins: a signed repository, a malicious mirror of it, and devices that run the old generation.

use std::collections::BTreeSet;
use std::sync::Arc;

use linnet_fleet::bucket;
use linnet_fleet::clock::VirtualClock;
use linnet_fleet::trust::{Limits, Trusted, refresh};
use linnet_proto::fleet::Rollout;

use super::arguments::{Break, Plan};
use super::device::{Device, World};
use super::expected::Nature;
use super::mirror::Mirror;
use super::names::Names;
use super::operator::{BEGAN_SECS, Home, OLD, Operator, Publication, model};
use super::random::Random;
use super::reach::Reach;
use super::{SimulateError, bounds};

/// Everything as it stands before the push begins.
pub(super) struct Setting<R> {
    pub(super) devices: Vec<Device<R>>,
    pub(super) operator: Operator,
    pub(super) world: World,
    pub(super) publications: Vec<Arc<Publication>>,
    /// Each device's place in the waves, by its index.
    pub(super) buckets: Vec<u32>,
}

/// Streams of random numbers.
const KEYS: u64 = 1;
const ATTACKER: u64 = 2;
const CONTENT: u64 = 3;
const BAD: u64 = 4;
const AWAY: u64 = 5;

impl<R: Reach> Setting<R> {
    /// Founds the fleet. `reach` gives each device its way to the others.
    pub(super) fn new(
        plan: &Plan,
        names: Names,
        reach: impl Fn(u32) -> Result<R, SimulateError>,
    ) -> Result<Self, SimulateError> {
        let random = |stream| Random::of(plan.seed, stream);
        let limits = Limits { memo: Some(Arc::default()), ..Limits::default() };
        let mut home = Home::found(&limits.scratch, random(KEYS), &names)?;
        let mut content = model(random(CONTENT));
        home.publish(&content)?;
        let open = Rollout { opened: Rollout::BUCKETS, wave: 1, ..home.rollout(OLD, "old")? };
        home.sign(&open, 0)?;
        let before = Arc::new(home.now()?);
        let old_files = home.generation(OLD)?.files().into_iter().map(|file| file.sha256.clone()).collect::<Vec<_>>();
        content.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        home.publish(&content)?;
        let mirror = Arc::new(Mirror::new(&limits.scratch, random(ATTACKER), &before, &home, &names)?);

        let root = before.metadata.iter().find(|(name, _)| name == "1.root.json").map(|(_, bytes)| bytes.clone());
        let shipped = Trusted::begin(&root.unwrap_or_default())?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(SimulateError::disk)?;
        let clock = VirtualClock::at(BEGAN_SECS);
        let trusted = runtime.block_on(refresh(&shipped, &before.memory, &clock, &limits))?.trusted;

        let salt = format!("{:016x}", plan.seed);
        let devices: BTreeSet<String> = (0..plan.devices).map(|index| names.device(index)).collect();
        let buckets: Vec<u32> = (0..plan.devices).map(|index| bucket(&salt, &names.device(index))).collect();
        let natures = natures(plan, random(BAD));
        let back = away(plan, random(AWAY));
        let operator = Operator::new(home, plan, &salt, &devices, &buckets, |device| back[device].is_none())?;
        let device = |index: u32| {
            let at = index as usize;
            let reach = reach(index)?;
            Ok(Device::new(index, buckets[at], natures[at], back[at], reach, &trusted, &old_files))
        };
        let devices = (0..plan.devices).map(device).collect::<Result<_, SimulateError>>()?;
        let names = Arc::new(names);
        let world = World { origin: Arc::clone(&before), mirror, limits, fault: plan.fault, names };
        Ok(Self { devices, operator, world, publications: vec![before], buckets })
    }

    /// What is outside of the devices, as it stands.
    pub(super) fn world(&self) -> World {
        self.world.clone()
    }
}

/// What each device is like: exactly the share that was asked for is bad.
fn natures(plan: &Plan, mut random: Random) -> Vec<Nature> {
    let mut natures = vec![Nature::Sound; plan.devices as usize];
    let bad = random.shuffled(plan.devices).into_iter().take(plan.bad.of(plan.devices as usize));
    for (nth, device) in bad.enumerate() {
        let on_trial = plan.fault == Some(Break::Rollback) || nth % 2 == 1;
        natures[device as usize] = if on_trial { Nature::FailsOnTrial } else { Nature::FailsProbe };
    }
    natures
}

/// When each device comes back, where it is away.
fn away(plan: &Plan, mut random: Random) -> Vec<Option<u64>> {
    let mut back = vec![None; plan.devices as usize];
    let away = random.shuffled(plan.devices);
    for device in away.into_iter().take(plan.offline.of(plan.devices as usize)) {
        back[device as usize] = Some(random.millis(bounds::BACK));
    }
    back
}
