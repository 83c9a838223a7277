//! Ring hash: every host has points on a circle, in proportion to its share; a request goes to the host whose point follows its hash.
//!
//! The number of points is Envoy's: the lightest host gets a whole number of them, the ring at least the minimum and at most the
//! maximum.

use super::hashing::{Share, key, xx_hash};
use super::murmur;
use super::policy::RingHash;
use crate::cluster::Member;

/// A point of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    hash: u64,
    member: u32,
}

pub(super) fn build(settings: &RingHash, members: &[Member], shares: &[Share]) -> Vec<Point> {
    let lightest = shares.iter().map(|share| share.weight).fold(1.0, f64::min);
    let whole = (lightest * settings.minimum as f64).ceil() / lightest;
    let scale = whole.min(settings.maximum as f64);
    let mut points = Vec::with_capacity(scale.ceil() as usize);
    // Both are sums over all hosts so far, so that rounding evens out.
    let (mut due, mut done) = (0.0, 0.0);
    for share in shares {
        let Some(member) = members.get(share.member as usize) else { continue };
        let mut name = key(member, settings.key).into_bytes();
        name.push(b'_');
        let stem = name.len();
        due += scale * share.weight;
        let mut number = 0u64;
        while done < due {
            name.truncate(stem);
            name.extend_from_slice(number.to_string().as_bytes());
            let hash = if settings.murmur { murmur::hash(&name) } else { xx_hash(&name, 0) };
            points.push(Point { hash, member: share.member });
            number += 1;
            done += 1.0;
        }
    }
    points.sort_by_key(|point| point.hash);
    points
}

/// The first point that is not before `hash`, around the circle; one further for each host turned down.
pub(super) fn pick(points: &[Point], hash: u64, turned_down: u32) -> Option<u32> {
    if points.is_empty() {
        return None;
    }
    let at = points.partition_point(|point| point.hash < hash) + turned_down as usize;
    points.get(at % points.len()).map(|point| point.member)
}
