//! Consistent hashing with bounded loads (`hash_balance_factor`): a host that has more than its share of the requests under way
//! is passed over, for others in an order that the hash alone decides.
//!
//! The order is that of Envoy (a shuffle by the 32-bit Mersenne Twister), so that both proxies fall back to the same hosts.

use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use super::hashing::Share;
use crate::cluster::Member;

/// The hosts of a table with their shares, where loads are bounded.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    factor: u32,
    shares: Vec<Share>,
}

impl Bounded {
    /// `factor` is in percent of the average.
    pub(super) fn new(factor: u32, shares: Vec<Share>) -> Self {
        Self { factor, shares }
    }

    /// `first` if it has room, else the first other one that has; the least overloaded one if none has.
    pub(super) fn pick(&self, members: &[Member], first: u32, hash: u64) -> u32 {
        let under_way = members.iter().map(active).sum::<u64>();
        let slots = (under_way + 1).saturating_mul(u64::from(self.factor)).div_ceil(100) as f64;
        let load = |share: &Share| {
            let own = (slots * share.weight).ceil().max(1.0);
            members.get(share.member as usize).map_or(f64::INFINITY, |member| active(member) as f64 / own)
        };
        let (mut best, mut least) = match self.shares.iter().find(|share| share.member == first) {
            Some(share) => (first, load(share)),
            None => return first,
        };
        if least <= 1.0 {
            return best;
        }
        let mut order: SmallVec<[u32; 64]> = (0..self.shares.len() as u32).collect();
        let mut twister = Twister::new(hash as u32);
        for at in 0..order.len() {
            let other = at + twister.below((order.len() - at) as u32) as usize;
            order.swap(at, other);
            let share = &self.shares[order[at] as usize];
            if share.member == first {
                continue;
            }
            let load = load(share);
            if load <= 1.0 {
                return share.member;
            }
            if load < least {
                (best, least) = (share.member, load);
            }
        }
        best
    }
}

fn active(member: &Member) -> u64 {
    member.host.counters.rq_active.load(Relaxed)
}

/// MT19937 (Matsumoto and Nishimura, 1998).
struct Twister {
    state: [u32; Self::SIZE],
    next: usize,
}

impl Twister {
    const SIZE: usize = 624;
    const MIDDLE: usize = 397;

    fn new(seed: u32) -> Self {
        let mut state = [seed; Self::SIZE];
        for at in 1..Self::SIZE {
            let before = state[at - 1];
            state[at] = (before ^ before >> 30).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        Self { state, next: Self::SIZE }
    }

    fn number(&mut self) -> u32 {
        if self.next == Self::SIZE {
            self.twist();
        }
        let mut value = self.state[self.next];
        self.next += 1;
        value ^= value >> 11;
        value ^= value << 7 & 0x9d2c_5680;
        value ^= value << 15 & 0xefc6_0000;
        value ^ value >> 18
    }

    fn twist(&mut self) {
        for at in 0..Self::SIZE {
            let pair = self.state[at] & 0x8000_0000 | self.state[(at + 1) % Self::SIZE] & 0x7fff_ffff;
            let odd = if pair & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[at] = self.state[(at + Self::MIDDLE) % Self::SIZE] ^ pair >> 1 ^ odd;
        }
        self.next = 0;
    }

    /// A number below `end`, which is above zero.
    fn below(&mut self, end: u32) -> u32 {
        let step = (1u64 << 32) / u64::from(end);
        loop {
            let drawn = (u64::from(self.number()) / step) as u32;
            if drawn < end {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::cluster::{HostSet, HostSetOptions, HostSpec};

    #[test]
    fn the_twister_is_the_standard_one() {
        // Numbers of `std::mt19937` with its default seed: the first, and the ten-thousandth that the standard requires.
        let mut twister = Twister::new(5489);
        assert_eq!(twister.number(), 3_499_211_612);
        for _ in 2..10_000 {
            twister.number();
        }
        assert_eq!(twister.number(), 4_123_659_995);
    }

    #[test]
    fn a_busy_host_is_passed_over_in_one_order() {
        let specs = (1..=4).map(|port| HostSpec::new(SocketAddr::from(([10, 0, 0, 1], port)).into()));
        let hosts = HostSet::new(specs, None, HostSetOptions::default());
        let shares = (0..4).map(|member| Share { member, weight: 0.25 }).collect();
        let bounded = Bounded::new(150, shares);
        let busy = |at: usize, count| hosts.members()[at].host.counters.rq_active.store(count, Relaxed);
        let pick = |hash| bounded.pick(hosts.members(), 0, hash);
        assert_eq!(pick(7), 0);
        // (10 + 1) * 1.5 / 4 is five at most.
        busy(0, 5);
        busy(1, 5);
        assert_eq!(pick(7), 0);
        busy(0, 6);
        busy(1, 4);
        let chosen: Vec<u32> = (0..40).map(pick).collect();
        assert!(!chosen.contains(&0) && [1, 2, 3].iter().all(|at| chosen.contains(at)), "{chosen:?}");
        assert_eq!(chosen, (0..40).map(pick).collect::<Vec<_>>());
        // Nobody has room: the least overloaded one, by its weight.
        let few = Bounded::new(100, (0..2).map(|member| Share { member, weight: 0.01 }).collect());
        busy(1, 5);
        assert_eq!(few.pick(hosts.members(), 0, 1), 1);
    }
}
