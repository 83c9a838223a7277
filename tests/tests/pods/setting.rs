//! A client's and a server's pod as most tests want them.

use std::net::IpAddr;

use sampan_tests::harness::process::Program;
use sampan_tests::harness::process::Program::{Envoy, Sampan};
use sampan_tests::harness::tls::Authority;

use crate::identity::{account, secrets};
use crate::inbound::{self, Mode};
use crate::network::Pod;
use crate::outbound::{Outbound, Policy};
use crate::sidecar::Sidecar;

/// Who is the client's proxy and who the server's. The last pair is there to judge the tests.
pub const PAIRS: [(Program, Program); 4] =
    [(Sampan, Sampan), (Sampan, Envoy), (Envoy, Sampan), (Envoy, Envoy)];

/// What the client's proxy knows of the service when all is well.
pub fn outbound(endpoints: &[IpAddr]) -> Outbound {
    Outbound {
        endpoints: endpoints.to_vec(),
        account: account("server"),
        mutual_tls: true,
        policy: Policy::Passthrough,
    }
}

/// A client's proxy, not started yet.
pub fn client<'p>(
    program: Program,
    pod: &'p Pod,
    endpoints: &[IpAddr],
    authority: &Authority,
) -> Sidecar<'p> {
    let sidecar = Sidecar::new(program, pod);
    sidecar.identify(secrets(&account("client"), authority, &[authority]));
    sidecar.serve(outbound(endpoints).resources());
    sidecar.serve(inbound::resources(Mode::Permissive));
    sidecar
}

/// A server's proxy, not started yet.
pub fn server<'p>(program: Program, pod: &'p Pod, mode: Mode, authority: &Authority) -> Sidecar<'p> {
    let sidecar = Sidecar::new(program, pod);
    sidecar.identify(secrets(&account("server"), authority, &[authority]));
    sidecar.serve(outbound(&[]).resources());
    sidecar.serve(inbound::resources(mode));
    sidecar
}
