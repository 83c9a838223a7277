//! `--run-validation`: a connection that is really redirected, or exit code 126.

use std::time::{Duration, Instant};

use sampan_tests::harness::binaries::sampan_init;
use sampan_tests::harness::netns::{Namespace, can_make_namespaces, join};

use crate::back_end::ALL;
use crate::pod::{Run, init, run, serve, words};

const OPTIONS: &str = "-i * -b * -d 15090,15021,15020 --dual-stack";
const SKIP: &str = "-i * -b * -d 15090,15021,15020 --dual-stack --skip-rule-apply --run-validation";

/// Without the proxy: validation comes before it.
fn bare_pod() -> (Namespace, Namespace) {
    let (pod, peer) = (Namespace::new(), Namespace::new());
    join((&pod, "eth0", &["10.77.0.2/24", "fd77::2/64"]), (&peer, "cable", &["10.77.0.1/24"]));
    pod.ip("route add default via 10.77.0.1");
    (pod, peer)
}

fn as_user(pod: &Namespace, privileges: &str, line: &str) -> Run {
    let place = tempfile::TempDir::new().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let copy = place.path().join("sampan-init");
    std::fs::copy(sampan_init(), &copy).unwrap();
    let mut command = pod.command("setpriv");
    run(command.args(words(privileges)).arg(&copy).args(words(line)))
}

#[test]
fn it_succeeds_with_rules_and_fails_with_126_without() {
    if !can_make_namespaces() {
        return;
    }
    for back_end in ALL.into_iter().filter(|back_end| back_end.works(OPTIONS)) {
        let (pod, _peer) = bare_pod();
        let begun = Instant::now();
        let failed = init(&pod, SKIP);
        assert_eq!(failed.code, 126, "{failed:?}");
        assert!(
            failed.err.contains("traffic of this pod is not redirected")
                && failed.err.contains("sampan-init check"),
            "{failed:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "a refused connection is not waited for");

        let applied = init(&pod, &format!("{} {OPTIONS} --run-validation", back_end.options())).succeeded();
        assert!(
            applied
                .out
                .contains("validation: a connection to 127.0.0.6:15002 by user 1337 arrived at port 15006\n"),
            "{applied:?}"
        );
        assert!(
            applied
                .out
                .contains("validation: a connection to [::6]:15002 by user 1337 arrived at port 15006\n"),
            "{applied:?}"
        );
        let other_port = init(&pod, &format!("{SKIP} --iptables-probe-port 15999")).succeeded();
        assert!(other_port.out.contains("127.0.0.6:15999"), "{other_port:?}");

        // The validation container of a pod whose rules the CNI plugin makes: the proxy's user, no capability at all.
        let proxy =
            as_user(&pod, "--reuid 1337 --regid 1337 --clear-groups --bounding-set=-all", SKIP).succeeded();
        assert!(proxy.out.contains("by user 1337"), "{proxy:?}");
        // Root that may not become the proxy proves it by a connection out of the pod.
        let root = as_user(
            &pod,
            "--bounding-set=-setuid,-setgid --inh-caps=-setuid,-setgid",
            &SKIP.replace("--dual-stack", ""),
        )
        .succeeded();
        assert!(
            root.out.contains("a connection to 192.0.2.1:15002 by user 0 arrived at port 15001"),
            "{root:?}"
        );

        init(&pod, &format!("{} {OPTIONS} --cleanup-only", back_end.options())).succeeded();
        assert_eq!(init(&pod, SKIP).code, 126);
    }
}

#[test]
fn a_port_that_is_taken_and_a_plan_without_proof_are_said() {
    if !can_make_namespaces() {
        return;
    }
    let (pod, _peer) = bare_pod();
    serve(&pod, "127.0.0.1:15006".parse().unwrap(), |_, _| String::new());
    let taken = init(&pod, SKIP);
    assert!(taken.code == 126 && taken.err.contains("cannot listen on 127.0.0.1:15006"), "{taken:?}");
    let nothing =
        as_user(&pod, "--reuid 5000 --regid 5000 --clear-groups", "-b * --skip-rule-apply --run-validation");
    assert!(nothing.code == 126 && nothing.err.contains("runAsUser 1337"), "{nothing:?}");
}

/// A connection that neither arrives nor is refused is given up in time.
#[test]
fn silence_is_given_up_on() {
    if !can_make_namespaces() {
        return;
    }
    let (pod, peer) = bare_pod();
    // The peer, which is the way to everywhere, swallows what is sent on.
    peer.ip("route add blackhole 192.0.2.0/24");
    let begun = Instant::now();
    let line = "-i * --skip-rule-apply --run-validation --probe-timeout 300ms";
    let silent = as_user(&pod, "--reuid 5000 --regid 5000 --clear-groups", line);
    let took = begun.elapsed();
    assert_eq!(silent.code, 126, "{silent:?}");
    assert!(silent.err.contains("within 300ms"), "{silent:?}");
    assert!((Duration::from_millis(300)..Duration::from_secs(4)).contains(&took), "{took:?}");
}
