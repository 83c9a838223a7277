//! Certificates and authorities change under load, and no request is lost.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sampan_tests::harness::netns::can_make_namespaces;
use sampan_tests::harness::poll;
use sampan_tests::harness::process::Program::{self, Envoy, Sampan};
use sampan_tests::harness::tls::Authority;

use crate::application::{self, HTTP};
use crate::client;
use crate::identity::{account, secrets};
use crate::inbound::Mode;
use crate::network::{Network, Pod};
use crate::outbound::{HOST, SERVICE_V4};
use crate::setting;
use crate::sidecar::{START, Sidecar};

#[test]
fn certificates_rotate_under_load_and_nothing_is_lost() {
    if !can_make_namespaces() {
        return;
    }
    std::thread::scope(|scope| {
        for (client, server) in [(Sampan, Sampan), (Envoy, Sampan), (Sampan, Envoy)] {
            scope.spawn(move || rotate(client, server));
        }
    });
}

/// What the clients have seen so far.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    lost: Mutex<Vec<String>>,
    /// The certificates that the server's proxy was shown.
    hashes: Mutex<BTreeSet<String>>,
}

impl Load {
    /// Requests, some on one connection and some on their own, until it is over.
    fn run(&self, pod: &Pod, keep: bool) {
        let service: IpAddr = SERVICE_V4.parse().unwrap();
        let mut wire = None;
        while !self.over.load(Ordering::Acquire) {
            let mut current = match wire.take().filter(|_| keep) {
                Some(open) => open,
                None => match client::wire(pod, SocketAddr::new(service, HTTP)) {
                    Ok(opened) => opened,
                    Err(error) => return self.lose(format!("connect: {error}")),
                },
            };
            match client::post(&mut current, &format!("{HOST}:{HTTP}"), "load") {
                Ok(answer) if answer.status() == 200 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    let told = answer.header("x-certificate").unwrap_or_default();
                    let hash = told.split(';').find_map(|part| part.strip_prefix("Hash="));
                    self.hashes.lock().unwrap().insert(hash.unwrap_or_default().to_owned());
                }
                other => self.lose(format!("{other:?}")),
            }
            wire = Some(current);
        }
    }

    fn lose(&self, how: String) {
        self.lost.lock().unwrap().push(how);
    }

    fn certificates(&self) -> usize {
        self.hashes.lock().unwrap().len()
    }
}

fn rotate(of_client: Program, of_server: Program) {
    let network = Network::new();
    let (here, there) = (network.pod(), network.pod());
    application::start(&there);
    here.intercept();
    there.intercept();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = setting::server(of_server, &there, Mode::Strict, &old).start();
    let client = setting::client(of_client, &here, &[there.v4], &old).start();
    let ready = poll(START, || {
        client::request(&here, SERVICE_V4.parse().unwrap(), HTTP).ok().filter(|a| a.status() == 200)
    });
    assert!(ready.is_some(), "{}\n{}", client.story(), server.story());
    let load = Load::default();
    std::thread::scope(|scope| {
        // The load ends with this, also when something here fails.
        let _over = Over(&load.over);
        for keep in [true, true, false] {
            let (load, here) = (&load, &here);
            scope.spawn(move || load.run(here, keep));
        }
        // A new certificate, then both authorities, then certificates of the new one, then the old one no more.
        let steps: [(&Authority, &[&Authority]); 5] =
            [(&old, &[&old]), (&old, &[&old]), (&old, &[&old, &new]), (&new, &[&old, &new]), (&new, &[&new])];
        for (number, (issuer, believed)) in steps.into_iter().enumerate() {
            for (sidecar, name) in [(&server, "server"), (&client, "client")] {
                sidecar.identify(secrets(&account(name), issuer, believed));
            }
            settle(&load, number + 2, &client, &server);
        }
    });
    let lost = load.lost.into_inner().unwrap();
    let answered = load.answered.into_inner();
    assert!(
        lost.is_empty() && answered > 100,
        "{of_client:?} to {of_server:?}: {answered} answered, lost {lost:?}\n{}\n{}",
        client.story(),
        server.story()
    );
}

/// Waits until the server's proxy has been shown another certificate, and some requests more have been answered.
fn settle(load: &Load, certificates: usize, client: &Sidecar<'_>, server: &Sidecar<'_>) {
    let shown = poll(START, || (load.certificates() >= certificates).then_some(()));
    let before = load.answered.load(Ordering::Relaxed);
    let more = poll(START, || (load.answered.load(Ordering::Relaxed) >= before + 60).then_some(()));
    assert!(
        shown.is_some() && more.is_some(),
        "{} of {certificates} certificates; lost {:?}\n{}\n{}",
        load.certificates(),
        load.lost.lock().unwrap(),
        client.story(),
        server.story()
    );
}

/// Ends the load when dropped.
struct Over<'l>(&'l AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
