//! What the demo's control plane does, step by step, and what the proxy makes of it.

use std::time::{Duration, Instant};

use sampan_xds::server::{Item, ItemError};

use super::control_plane::ControlPlane;
use super::resources::{self, CLUSTERS};

/// How long the proxy may take to answer an update.
const PATIENCE: Duration = Duration::from_secs(5);

/// One change.
pub(super) struct Step {
    /// What it does, for the report.
    pub(super) title: String,
    items: Vec<Item>,
    /// Whether the proxy should refuse it.
    is_bad: bool,
}

/// What became of a step.
pub(super) enum Outcome {
    /// The proxy accepted it, in this time.
    Accepted(u64, Duration),
    /// The proxy refused it, and says why.
    Refused(u64, String),
    /// It did not answer.
    Silent,
}

/// The steps. The first one says what is there at the start.
pub(super) struct Script {
    control_plane: ControlPlane,
    steps: Vec<Step>,
    next: usize,
}

impl Script {
    /// The number of steps.
    pub(super) const STEPS: u32 = 7;

    /// What there is at the start: both clusters, and everything to v1.
    pub(super) fn opening(port: u16, [v1, v2, _]: [u16; 3]) -> Result<Vec<Item>, ItemError> {
        Ok(vec![
            resources::cluster(CLUSTERS[0])?,
            resources::cluster(CLUSTERS[1])?,
            resources::endpoints(CLUSTERS[0], &[v1])?,
            resources::endpoints(CLUSTERS[1], &[v2])?,
            resources::listener(port)?,
            resources::routes(100)?,
        ])
    }

    /// The script for a control plane that serves [`Script::opening`].
    pub(super) fn new(control_plane: ControlPlane, [_, a, b]: [u16; 3]) -> Result<Self, ItemError> {
        let shift = |v1: u32| {
            let title = format!("route: {v1} % to v1, {} % to v2", 100 - v1);
            Ok(Step { title, items: vec![resources::routes(v1)?], is_bad: false })
        };
        let endpoints = |title: &str, ports: &[u16]| {
            let items = vec![resources::endpoints(CLUSTERS[1], ports)?];
            Ok(Step { title: title.to_owned(), items, is_bad: false })
        };
        let steps = vec![
            shift(100)?,
            shift(90)?,
            shift(50)?,
            shift(0)?,
            endpoints("endpoints of v2: v2-b comes", &[a, b])?,
            endpoints("endpoints of v2: v2-b goes", &[a])?,
            Step {
                title: "route: one with two mistakes".to_owned(),
                items: vec![resources::bad_routes()?],
                is_bad: true,
            },
        ];
        // The opening is the first step.
        Ok(Self { control_plane, steps, next: 1 })
    }

    /// Whether every step was played.
    pub(super) fn is_over(&self) -> bool {
        self.next == self.steps.len()
    }

    /// Begins again with the first step.
    pub(super) fn rewind(&mut self) {
        self.next = 0;
    }

    /// Plays the next step; what it was and what became of it.
    pub(super) fn play(&mut self) -> Option<(&Step, Outcome)> {
        let step = self.steps.get(self.next)?;
        self.next += 1;
        let began = Instant::now();
        let version = self.control_plane.change(step.items.clone());
        let outcome = match self.control_plane.answer(version, PATIENCE) {
            None => Outcome::Silent,
            Some(answered) => match answered.error {
                None => Outcome::Accepted(version, began.elapsed()),
                Some(error) => Outcome::Refused(version, error),
            },
        };
        Some((step, outcome))
    }
}

impl Step {
    /// Whether the proxy answered as it should.
    pub(super) fn is_as_expected(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Accepted(..) => !self.is_bad,
            Outcome::Refused(..) => self.is_bad,
            Outcome::Silent => false,
        }
    }
}
