//! Keep-alive PINGs of one HTTP/2 connection (`connection_keepalive`), for either side.
//!
//! ```text
//!  resting --interval, or asked for--> waiting --answer--> resting
//!                                         \--timeout--> the connection is dead
//! ```
//!
//! Polled by the task of the connection: [`super::server`] and the pool's driver in `upstream/pool/h2.rs`.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::h2::{Ping, PingPong};
use sampan_model::cluster::Http2Keepalive;

use crate::net::alarm::Alarm;

/// The PINGs of a connection.
pub struct KeepAlive {
    pings: PingPong,
    settings: Http2Keepalive,
    alarm: Alarm,
    state: State,
}

enum State {
    /// Until then; `None` until asked.
    Resting(Option<Instant>),
    /// For an answer, until then.
    Waiting(Instant),
}

impl KeepAlive {
    /// Begins with an interval; `random` is for its jitter.
    pub fn new(pings: PingPong, settings: Http2Keepalive, random: u64) -> Self {
        let state = State::Resting(next(&settings, Instant::now(), random));
        Self { pings, settings, alarm: Alarm::default(), state }
    }

    /// Sends a PING now, unless one is on its way.
    pub fn ask(&mut self) {
        if matches!(self.state, State::Resting(_)) {
            self.send();
        }
    }

    /// Ready when an answer did not come in time.
    pub fn poll_dead(&mut self, cx: &mut Context<'_>, random: impl Fn() -> u64) -> Poll<()> {
        loop {
            match self.state {
                State::Resting(at) => {
                    if self.alarm.poll(cx, at).is_pending() {
                        return Poll::Pending;
                    }
                    self.send();
                }
                State::Waiting(until) => {
                    match self.pings.poll_pong(cx) {
                        Poll::Ready(Ok(_)) => {
                            self.state = State::Resting(next(&self.settings, Instant::now(), random()));
                            continue;
                        }
                        // The connection has ended; whoever polls it is told.
                        Poll::Ready(Err(_)) => {
                            self.state = State::Resting(None);
                            return Poll::Pending;
                        }
                        Poll::Pending => {}
                    }
                    return self.alarm.poll(cx, Some(until));
                }
            }
        }
    }

    fn send(&mut self) {
        // Failing means that the connection has ended.
        let sent = self.pings.send_ping(Ping::opaque()).is_ok();
        self.state =
            if sent { State::Waiting(Instant::now() + self.settings.timeout) } else { State::Resting(None) };
    }
}

/// When the next PING is due: the interval and up to so many percent of it.
fn next(settings: &Http2Keepalive, now: Instant, random: u64) -> Option<Instant> {
    let interval = settings.interval?;
    let most = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX) / 100
        * u64::from(settings.interval_jitter_percent);
    let jitter = if most == 0 { 0 } else { random % most };
    Some(now + interval + Duration::from_millis(jitter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_has_its_jitter() {
        let second = Duration::from_secs(1);
        let settings = Http2Keepalive {
            interval: Some(second),
            timeout: second,
            interval_jitter_percent: 15,
            connection_idle_interval: None,
        };
        let now = Instant::now();
        for (random, jitter) in [(0, 0), (149, 149), (150, 0), (u64::MAX, u64::MAX % 150)] {
            assert_eq!(next(&settings, now, random), Some(now + second + Duration::from_millis(jitter)));
        }
        let never = Http2Keepalive { interval: None, ..settings };
        assert_eq!(next(&never, now, 7), None);
        let exact = Http2Keepalive { interval_jitter_percent: 0, ..settings };
        assert_eq!(next(&exact, now, 7), Some(now + second));
    }
}
