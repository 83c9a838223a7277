//! Pods of `deploy/sidecar.yaml` out of the image: in two network namespaces, `sampan-init` with the manifest's arguments and rights, then the proxy
//! with its configuration as its user; root file systems are read-only. Two applications that know nothing of it talk over mutual TLS.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sampan_tests::harness::netns::{Identity, Namespace, can_make_namespaces, join};
use sampan_tests::harness::peer::Peer;
use sampan_tests::harness::tls::{Authority, Wanted};
use sampan_tests::harness::{PATIENCE, poll};
use serde_json::Value;

use crate::image::{Image, can_build, succeed};
use crate::shipped::{documents, named, one};

const APPLICATION: Identity = Identity { uid: 1000, gid: 1000 };
const PORT: u16 = 9080;
/// Does what a container runtime does: a root that cannot be written, `/run`, `/proc`, the volumes. Then becomes the program.
const RUNTIME: &str = r#"set -e
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount -t tmpfs -o size=1m tmpfs "$ROOT/run"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o size=1m tmpfs "$ROOT/dev"
for device in null random urandom; do
    : >"$ROOT/dev/$device"
    mount --bind "/dev/$device" "$ROOT/dev/$device"
done
if [ -n "$CONFIG" ]; then
    mount --bind -o ro "$CONFIG" "$ROOT/etc/sampan"
    mount --bind -o ro "$IDENTITY" "$ROOT/etc/sampan-identity"
fi
exec "$@""#;

/// A pod: its namespace, its address, its volumes.
struct Pod<'i> {
    image: &'i Image,
    namespace: Namespace,
    address: IpAddr,
    volumes: tempfile::TempDir,
}

#[test]
fn two_pods_of_the_manifest_talk_over_mutual_tls() {
    if !(can_build() && can_make_namespaces()) {
        return;
    }
    let image = Image::shared();
    // Where the runtime puts volumes.
    for place in ["sampan", "sampan-identity"] {
        std::fs::create_dir_all(image.root.join("etc").join(place)).unwrap();
    }
    let documents = documents();
    let file = "deploy/sidecar.yaml";
    let spec = &one(&documents, file, "Deployment")["spec"]["template"]["spec"];
    let configuration = one(&documents, file, "ConfigMap")["data"]["sampan.yaml"].as_str().unwrap();
    let authority = Authority::new("mesh");
    let [client, server] = ["10.79.0.1", "10.79.0.2"].map(|address| Pod::new(&image, address));
    let cable = |pod: &Pod<'_>| format!("{}/24", pod.address);
    join((&client.namespace, "eth0", &[&cable(&client)]), (&server.namespace, "eth0", &[&cable(&server)]));
    let to = SocketAddr::new(server.address, PORT);
    serve(&server.namespace);
    assert!(
        get(&client, to, "/plain").unwrap().contains("GET /plain"),
        "without the proxies it is plain HTTP"
    );

    let mut proxies = Vec::new();
    for pod in [&client, &server] {
        pod.volumes(
            &authority,
            &configuration.replace("shop.default.svc.cluster.local, port_value", "10.79.0.2, port_value"),
        );
        let said = pod.intercept(named(&spec["initContainers"], "sampan-init"));
        assert!(said.contains("rules were applied"), "{said}");
        proxies.push(pod.proxy(named(&spec["initContainers"], "sampan")));
    }
    for (pod, proxy) in [&client, &server].into_iter().zip(&proxies) {
        let probe = SocketAddr::new(pod.address, 15021);
        let ready = || get(pod, probe, "/ready").ok().filter(|answer| answer.starts_with("HTTP/1.1 200"));
        assert!(poll(PATIENCE, ready).is_some(), "{}", proxy.output());
    }
    let answer = get(&client, to, "/secret").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("GET /secret"), "{answer}");
    assert!(answer.contains(";URI=spiffe://cluster.local/ns/default/sa/shop\r\n"), "{answer}");
    // As the proxy's user it is not intercepted on its way out, so that it comes in as it is.
    let proxy = Identity { uid: 1337, gid: 1337 };
    let plain = client.namespace.inside_as(proxy, || exchange(to, "/plain")).unwrap_or_default();
    assert!(!plain.contains("200"), "plain HTTP must be refused: {plain}");
    let health = get(&client, SocketAddr::new(server.address, 15021), "/app/healthz").unwrap();
    assert!(health.contains("GET /healthz"), "{health}");
}

#[test]
fn the_images_sampan_init_works_with_each_back_end_it_brings() {
    if !(can_build() && can_make_namespaces()) {
        return;
    }
    let image = Image::shared();
    let manifest = serde_json::json!({"command": ["/usr/local/bin/sampan-init"]});
    let options = ["-p", "15001", "-z", "15006", "-u", "1337", "-i", "*", "-b", "*", "--dual-stack"];
    for back_end in
        [&[][..], &["--native-nftables"], &["-m", "TPROXY"], &["--force-iptables-binary", "iptables-legacy"]]
    {
        let pod = Pod::new(&image, "10.79.0.1");
        pod.namespace.ip("addr add 10.79.0.1/32 dev lo");
        pod.namespace.ip("addr add fd79::1/128 dev lo nodad");
        let run = |more: &[&str]| {
            let mut container = manifest.clone();
            container["args"] = [&options[..], back_end, more].concat().into();
            pod.init(&container)
        };
        let first = run(&[]);
        let said =
            String::from_utf8_lossy(&first.stderr).into_owned() + &String::from_utf8_lossy(&first.stdout);
        if !first.status.success() {
            // Legacy and TPROXY are modules that not every kernel has: then the message must blame the kernel and not the image.
            assert!(back_end.len() == 2 && said.contains("kernel"), "{back_end:?}: {said}");
            eprintln!("not on this kernel: {back_end:?}: {said}");
            continue;
        }
        assert!(said.contains("rules were applied"), "{back_end:?}: {said}");
        let mut check = manifest.clone();
        check["args"] = [&["check"], &options[..], back_end].concat().into();
        let checked = pod.init(&check);
        assert!(checked.status.success(), "{back_end:?}: {checked:?}");
        assert!(run(&["--cleanup-only"]).status.success(), "{back_end:?}");
    }
}

impl<'i> Pod<'i> {
    fn new(image: &'i Image, address: &str) -> Self {
        let volumes = tempfile::tempdir().unwrap();
        Self { image, namespace: Namespace::new(), address: address.parse().unwrap(), volumes }
    }

    /// Fills the ConfigMap and the Secret.
    fn volumes(&self, authority: &Authority, configuration: &str) {
        let (config, identity) = (self.volume("config"), self.volume("identity"));
        // The names of services are the business of a cluster's DNS.
        let configuration = configuration.replace("type: STRICT_DNS", "type: STATIC");
        std::fs::write(config.join("sampan.yaml"), configuration).unwrap();
        authority.save(&identity, "ca");
        let wanted = Wanted { uris: &["spiffe://cluster.local/ns/default/sa/shop"], ..Wanted::default() };
        authority.issue(&identity, "tls", wanted);
        std::fs::rename(identity.join("ca.pem"), identity.join("ca.crt")).unwrap();
        std::fs::rename(identity.join("tls.pem"), identity.join("tls.crt")).unwrap();
        succeed(Command::new("chmod").args(["-R", "a+rX"]).arg(self.volumes.path()));
    }

    fn volume(&self, name: &str) -> std::path::PathBuf {
        let path = self.volumes.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A command that runs a container of the pod, behind what sets its rights.
    fn container(&self, rights: &[&str], user: &[&str], container: &Value, volumes: bool) -> Command {
        let root = &self.image.root;
        let mut command = self.namespace.command("unshare");
        let optional = |path: &Path| if volumes { path.to_owned() } else { std::path::PathBuf::new() };
        command.env("ROOT", root).env("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("CONFIG", optional(&self.volumes.path().join("config")));
        command.env("IDENTITY", optional(&self.volumes.path().join("identity")));
        command.args(["--mount", "sh", "-c", RUNTIME, "sh", "setpriv", "--no-new-privs"]);
        command.args(rights).arg("chroot").args(user).arg(root);
        command.arg(container["command"][0].as_str().unwrap_or("/usr/local/bin/sampan"));
        for argument in container["args"].as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            // What kubelet puts in for the downward API.
            command.arg(argument.replace("$(POD_IP)", &self.address.to_string()));
        }
        command
    }

    fn init(&self, container: &Value) -> std::process::Output {
        // The rights of the manifest; the third is for changing the root here.
        let rights = ["--bounding-set=-all,+net_admin,+net_raw,+sys_chroot"];
        self.container(&rights, &[], container, false).output().expect("unshare can be run")
    }

    fn intercept(&self, container: &Value) -> String {
        let output = self.init(container);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    }

    fn proxy(&self, container: &Value) -> Peer {
        let user = ["--userspec=1337:1337", "--groups="];
        Peer::start_with("sampan", &mut self.container(&[], &user, container, true), self.volumes.path())
    }
}

/// The application: on loopback as well as for the neighbours, it answers with what it was asked.
fn serve(namespace: &Namespace) {
    let listener = namespace.inside(|| TcpListener::bind(("0.0.0.0", PORT))).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(n @ 1..) => request.extend_from_slice(&part[..n]),
                    _ => break,
                }
            }
            let n = request.len();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {n}\r\n\r\n");
            // Who has gone has seen enough.
            let _ = stream.write_all(&[head.as_bytes(), &request].concat());
        }
    });
}

/// One request of the application of a pod.
fn get(pod: &Pod<'_>, to: SocketAddr, path: &str) -> io::Result<String> {
    pod.namespace.inside_as(APPLICATION, || exchange(to, path))
}

fn exchange(to: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop:{PORT}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
