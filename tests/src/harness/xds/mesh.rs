//! A proxy that takes everything from a control plane, with an upstream behind it: the smallest mesh there is.

use std::path::Path;

use super::bootstrap::{Place, Way};
use super::{ControlPlane, Resource, RestPlane, sample, types};
use crate::harness::process::{Process, Program};
use crate::harness::solo::{connect, get};
use crate::harness::upstream::Recorder;
use crate::harness::upstream::h1::{Manner, RawUpstream};
use crate::harness::{PATIENCE, poll};

/// The listener `web` takes the routes `main`, which lead to the cluster `a`, whose endpoints come by name.
pub struct Mesh {
    /// The control plane.
    pub plane: ControlPlane,
    /// The proxy.
    pub process: Process,
    /// The only endpoint of `a`; its answer is `a`.
    pub upstream: RawUpstream,
    /// What the upstream received.
    pub received: Recorder,
    /// How configuration comes.
    pub way: Way,
    dir: tempfile::TempDir,
    _rest: Option<RestPlane>,
}

impl Mesh {
    /// Fills a control plane and starts the proxy, without waiting for it.
    pub fn start(program: Program, way: Way) -> Self {
        Self::start_with(program, way, &[])
    }

    /// The same with more arguments for the proxy.
    pub fn start_with(program: Program, way: Way, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let plane = ControlPlane::start();
        let rest = (way == Way::Rest).then(|| RestPlane::start(&plane));
        let received = Recorder::default();
        let upstream = RawUpstream::start("a", Manner::Http, received.clone());
        let source = |type_url| way.source(type_url, dir.path());
        plane.set(types::CLUSTER, [sample::eds_cluster("a", &source(types::ENDPOINT), "")]);
        plane.set(types::ENDPOINT, [sample::endpoints("a", &[upstream.port])]);
        plane.set(types::LISTENER, [sample::listener("web", &source(types::ROUTE), "main")]);
        plane.set(types::ROUTE, [sample::route_to("main", "a")]);
        let port = rest.as_ref().map_or(plane.port, |rest| rest.port);
        let config = way.bootstrap(&Place::Port(port), dir.path()).render(&[], "");
        let process = Process::launch(program, &config, dir.path(), arguments);
        Self { plane, process, upstream, received, way, dir, _rest: rest }
    }

    /// Where the proxy's files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The `ConfigSource` for a type.
    pub fn source(&self, type_url: &str) -> String {
        self.way.source(type_url, self.dir())
    }

    /// A cluster whose endpoints come by name.
    pub fn eds_cluster(&self, name: &str) -> Resource {
        sample::eds_cluster(name, &self.source(types::ENDPOINT), "")
    }

    /// A listener whose routes come by name.
    pub fn listener(&self, name: &str, routes: &str) -> Resource {
        sample::listener(name, &self.source(types::ROUTE), routes)
    }

    /// The status of one request to a listener on a connection of its own; none if it is not answered.
    pub fn status(&self, listener: &str) -> Option<u16> {
        let port = self.process.await_port(listener, PATIENCE)?;
        connect(port).and_then(|mut wire| get(&mut wire, "/")).map(|message| message.status())
    }

    /// Waits until a request to the listener `web` is answered with the status.
    ///
    /// # Panics
    /// It is not, in time.
    pub fn await_status(&self, wanted: u16) {
        let mut last = None;
        let found = poll(PATIENCE, || {
            last = self.status("web");
            (last == Some(wanted)).then_some(())
        });
        let (log, transcript) = (self.process.stderr(), self.plane.transcript());
        assert!(found.is_some(), "{last:?} instead of {wanted}:\n{log}\n{transcript}");
    }
}
