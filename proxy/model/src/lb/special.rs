//! Picks that take more than a rotation over the hosts of a priority: by hash, within a subset, by locality, with slow start.

use ahash::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::edf::Edf;
use super::policy::SlowStart;
use super::subset::{Found, Subsets};
use super::zone::{self, Routing};
use super::{
    LbPolicy, LoadBalancer, Notes, PeakEwma, Pick, PickContext, Settings, SubsetUse, Turn, active, below,
    biased_weight, least_of_all, least_of_some, load, weight,
};
use crate::cluster::priority::{HostSource, PriorityChoice};
use crate::cluster::{HostSet, LocalityHosts, Member};

/// The state of such picks, for one host set.
#[derive(Debug, Default)]
pub(super) struct Special {
    /// Where rotations stand; by priority and source, and locality (0 is all of them).
    turns: HashMap<(u32, u32), Turn, RandomState>,
    /// The rotation over the localities of a priority and source.
    localities: HashMap<u32, Localities, RandomState>,
    /// A balancer for each subset that was used, by the id of its host set.
    subsets: HashMap<u64, LoadBalancer, RandomState>,
    /// When the last host's slow start is over, in the clock of [`PickContext::now`].
    slow_until: u64,
    /// Which localities requests go to, and the set of local proxies that it was planned with.
    zone: (u64, Routing),
    /// The weights of all members by their load reports, and until when they hold.
    weights: (u64, Vec<f64>),
}

/// The localities that have a share, in rotation.
#[derive(Debug)]
struct Localities {
    shares: Vec<(u32, f64)>,
    rotation: Edf,
}

/// No host is to be used, even if there is one.
struct Fails;

/// A list of hosts to pick from.
struct Pool<'h> {
    hosts: &'h HostSet,
    list: &'h [u32],
    key: (u32, u32),
    weighted: bool,
}

impl LoadBalancer {
    pub(super) fn pick_special<'h>(
        &mut self,
        hosts: &'h HostSet,
        context: &mut PickContext<'_>,
    ) -> Option<Pick<'h>> {
        self.renew(hosts, context);
        if let Some(subsets) = hosts.subsets() {
            return self.pick_subset(subsets, context);
        }
        if self.settings.policy.hashes() {
            return pick_hashed(hosts, context);
        }
        let choice = context.choose(hosts)?;
        if choice.source == HostSource::All && hosts.options().fail_traffic_on_panic {
            return None;
        }
        let pool = self.pool(hosts, choice, context)?;
        let at = match pool.list {
            [] => return None,
            [only] => *only,
            list => *list.get(self.place(&pool, context))?,
        };
        let panic = choice.source == HostSource::All;
        Some(Pick { member: hosts.members().get(at as usize)?, panic, subset: SubsetUse::None })
    }

    /// Forgets what belongs to another host set, and what slow start made different once that is over; plans anew.
    fn renew(&mut self, hosts: &HostSet, context: &mut PickContext<'_>) {
        let Some(special) = &mut self.special else { return };
        let now = context.now;
        let changed = self.known != hosts.id();
        if let Some(reports) = &self.settings.reports
            && (changed || now >= special.weights.0)
        {
            let loads = hosts.members().iter().map(|member| &member.host.load);
            let until = now.saturating_add(reports.update.as_millis() as u64);
            let weights = load::weights(loads, reports, now);
            if weights != special.weights.1 {
                // Of another scale, perhaps: a rotation by the old ones would take long to come round.
                special.turns.clear();
            }
            special.weights = (until, weights);
        }
        if let (Some(zone), Some(local)) = (&self.settings.zone, context.local)
            && hosts.subsets().is_none()
            && (changed || special.zone.0 != local.id())
        {
            special.zone = (local.id(), zone::plan(zone, hosts, local, &mut context.notes));
        }
        if changed {
            self.known = hosts.id();
            special.turns.clear();
            special.localities.clear();
            special.subsets.clear();
            special.slow_until = self.settings.slow_start.map_or(0, |slow| slow_until(hosts, &slow, now));
        } else if special.slow_until != 0 && now >= special.slow_until {
            special.slow_until = 0;
            special.turns.clear();
        }
    }

    /// The hosts of the chosen priority, or of one of its localities.
    fn pool<'h>(
        &mut self,
        hosts: &'h HostSet,
        choice: PriorityChoice,
        context: &mut PickContext<'_>,
    ) -> Option<Pool<'h>> {
        let priority = hosts.priorities().get(choice.priority)?;
        let source = (choice.priority * 3 + choice.source as usize) as u32;
        let whole = match choice.source {
            HostSource::Healthy => &priority.healthy,
            HostSource::Degraded => &priority.degraded,
            HostSource::All => &priority.all,
        };
        let mut pool = Pool { hosts, list: whole, key: (source, 0), weighted: priority.weighted };
        if choice.source == HostSource::All {
            return Some(pool);
        }
        let mut locality = None;
        if self.settings.locality_weighted {
            locality = self.locality(hosts, choice, source, context.rng);
        }
        if locality.is_none() && choice.priority == 0 {
            locality = self.zone(hosts, context).ok()?;
        }
        if let Some(locality) = locality
            && let Some(chosen) = priority.localities.get(locality as usize)
        {
            pool.key.1 = locality + 1;
            pool.list = match choice.source {
                HostSource::Degraded => &chosen.degraded,
                _ => &chosen.healthy,
            };
        }
        Some(pool)
    }

    /// The locality that zone-aware routing chooses; `None` for any.
    fn zone(&self, hosts: &HostSet, context: &mut PickContext<'_>) -> Result<Option<u32>, Fails> {
        let (Some(zone), Some(special), Some(local)) = (&self.settings.zone, &self.special, context.local)
        else {
            return Ok(None);
        };
        let routing = &special.zone.1;
        if *routing == Routing::None || zone.enabled < 100 && context.rng.u32(0..100) >= zone.enabled {
            return Ok(None);
        }
        if zone::in_panic(local, hosts.options().panic_threshold) {
            context.notes.add(Notes::LOCAL_NOT_OK);
            return if hosts.options().fail_traffic_on_panic { Err(Fails) } else { Ok(None) };
        }
        Ok(routing.choose(context.rng, &mut context.notes))
    }

    /// The next locality by weight; `None` if none has a share.
    fn locality(
        &mut self,
        hosts: &HostSet,
        choice: PriorityChoice,
        source: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<u32> {
        let special = self.special.as_mut()?;
        let turn = special.localities.entry(source).or_insert_with(|| Localities::new(hosts, choice, rng));
        let Localities { shares, rotation } = turn;
        if shares.is_empty() {
            return None;
        }
        let at = rotation.pick(|at| shares.get(at).map_or(1.0, |share| share.1));
        shares.get(at).map(|share| share.0)
    }

    /// The position in a list of two hosts or more.
    fn place(&mut self, pool: &Pool<'_>, context: &mut PickContext<'_>) -> usize {
        let Settings { policy, slow_start, .. } = self.settings;
        let Some(special) = &mut self.special else { return 0 };
        let slow = slow_start.filter(|_| special.slow_until != 0);
        let (hosts, list, now) = (pool.hosts, pool.list, context.now);
        let share = |at: usize| slow.map_or(1.0, |slow| share(hosts, list[at], &slow, now));
        let learned = policy == LbPolicy::ClientWeighted;
        let weighted = pool.weighted || slow.is_some() || learned;
        let Special { turns, weights, .. } = &mut **special;
        let bias = match policy {
            LbPolicy::PeakEwma(settings) => return cheaper_of_two(pool, &settings, context),
            LbPolicy::Random => return below(context.rng, list.len()),
            LbPolicy::LeastRequest(settings) if !weighted && settings.full_scan => {
                return least_of_all(hosts, list, context.rng);
            }
            LbPolicy::LeastRequest(settings) if !weighted => {
                return least_of_some(hosts, list, settings.choice_count, context.rng);
            }
            LbPolicy::LeastRequest(settings) => Some(settings.active_request_bias),
            _ => None,
        };
        let reported = |at: usize| weights.1.get(list[at] as usize).copied().unwrap_or(1.0);
        let turn = turns.entry(pool.key).or_insert_with(|| {
            if learned {
                Turn::Weighted(Edf::new(list.len(), reported, context.rng))
            } else {
                Turn::new(hosts, list, weighted, context.rng)
            }
        });
        turn.advance(list.len(), |at| {
            let own = match bias {
                Some(bias) => biased_weight(hosts, list[at], bias),
                None if learned => reported(at),
                None => weight(hosts, list[at]),
            };
            own * share(at)
        })
    }

    fn pick_subset<'h>(&mut self, subsets: &'h Subsets, context: &mut PickContext<'_>) -> Option<Pick<'h>> {
        match subsets.find(context.criteria) {
            Found::Chosen(hosts) => self.pick_within(hosts, SubsetUse::Selected, context),
            Found::Listed(sets) => {
                sets.into_iter().find_map(|(hosts, usage)| self.pick_within(hosts, usage, context))
            }
            Found::Nothing => None,
        }
    }

    fn pick_within<'h>(
        &mut self,
        hosts: &'h HostSet,
        usage: SubsetUse,
        context: &mut PickContext<'_>,
    ) -> Option<Pick<'h>> {
        let settings = &self.settings;
        let special = self.special.as_mut()?;
        let balancer = special.subsets.entry(hosts.id()).or_insert_with(|| {
            let aware = settings.subsets.as_ref().is_some_and(|subsets| subsets.locality_weight_aware);
            LoadBalancer::new(Settings {
                subsets: None,
                locality_weighted: settings.locality_weighted && aware,
                ..settings.clone()
            })
        });
        let pick = balancer.pick(hosts, context)?;
        Some(Pick { subset: usage, ..pick })
    }
}

/// The priority and the host are both the hash's choice.
fn pick_hashed<'h>(hosts: &'h HostSet, context: &mut PickContext<'_>) -> Option<Pick<'h>> {
    let hash = context.hash.unwrap_or_else(|| context.rng.u64(..));
    let choice = match context.within {
        Some(within) => hosts.loads().within(within),
        None => hosts.loads().choose(hash)?,
    };
    let at = hosts.hash_table(choice.priority)?.pick(hosts.members(), hash, context.turned_down)?;
    let panic = hosts.loads().in_panic(choice.priority);
    Some(Pick { member: hosts.members().get(at as usize)?, panic, subset: SubsetUse::None })
}

impl Localities {
    fn new(hosts: &HostSet, choice: PriorityChoice, rng: &mut fastrand::Rng) -> Self {
        let localities = hosts.priorities().get(choice.priority).map_or(&[][..], |p| &p.localities);
        let factor = f64::from(hosts.options().overprovisioning_factor) / 100.0;
        let share = |locality: &LocalityHosts| {
            let usable = match choice.source {
                HostSource::Degraded => locality.degraded.len(),
                _ => locality.healthy.len(),
            };
            let counted = locality.hosts.len().saturating_sub(locality.excluded as usize);
            if counted == 0 {
                return 0.0;
            }
            f64::from(locality.weight.unwrap_or(0)) * (factor * usable as f64 / counted as f64).min(1.0)
        };
        let all = localities.iter().enumerate().map(|(at, locality)| (at as u32, share(locality)));
        let shares: Vec<(u32, f64)> = all.filter(|(_, share)| *share > 0.0).collect();
        let rotation = Edf::new(shares.len(), |at| shares.get(at).map_or(1.0, |share| share.1), rng);
        Self { shares, rotation }
    }
}

/// The one of two hosts drawn at random that is likely to answer sooner, for its weight.
fn cheaper_of_two(pool: &Pool<'_>, settings: &PeakEwma, context: &mut PickContext<'_>) -> usize {
    let count = pool.list.len();
    let first = below(context.rng, count);
    // Another one: with replacement, a slow host would be left to itself now and then.
    let second = (first + 1 + below(context.rng, count - 1)) % count;
    let cost = |at: usize| {
        let member = pool.list[at];
        let busy = active(pool.hosts, member);
        let load = pool.hosts.members().get(member as usize).map(|member| &member.host.load);
        load.map_or(f64::INFINITY, |load| load.cost(busy, settings, context.now)) / weight(pool.hosts, member)
    };
    if cost(second) < cost(first) { second } else { first }
}

/// Hosts seen for the first time start now; the end of the last slow start, 0 if there is none.
fn slow_until(hosts: &HostSet, slow: &SlowStart, now: u64) -> u64 {
    let window = slow.window.as_millis() as u64;
    let since = |member: &Member| member.host.healthy_since(now);
    let last = hosts.members().iter().map(since).max().unwrap_or(0);
    let until = last.saturating_add(window);
    if until > now { until } else { 0 }
}

fn share(hosts: &HostSet, member: u32, slow: &SlowStart, now: u64) -> f64 {
    let Some(member) = hosts.members().get(member as usize) else { return 1.0 };
    slow.share(now.saturating_sub(member.host.healthy_since(now)))
}

/// The sets to try, each with what it counts as.
pub(super) type Tries<'h> = SmallVec<[(&'h HostSet, SubsetUse); 2]>;

#[cfg(test)]
mod tests;
