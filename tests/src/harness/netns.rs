//! Network namespaces as pods: made with unique names, joined by virtual cables, gone when dropped, also by a panic. What a
//! killed test process left behind is swept by the next one.
//!
//! Threads enter a namespace, and take on a user, for themselves alone; sockets made there stay there. So a test holds
//! servers and clients of several pods in one process.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_gid, set_thread_groups, set_thread_uid,
};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Names of ours begin with this, then comes the process's id.
const PREFIX: &str = "sampan-test-";
/// Where `ip netns` keeps them.
const DIRECTORY: &str = "/var/run/netns";
/// A peer that does not say more within this time has said all.
const SILENCE: Duration = Duration::from_secs(2);

/// A network namespace of its own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// Who a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Whether tests with namespaces can run here. Where they must (`CI=true`), it panics rather than say no.
pub fn can_make_namespaces() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if Command::new("ip").arg("-V").output().is_err() {
        "the program ip (iproute2) is missing"
    } else {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        return true;
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "network namespaces must be tested in CI: {reason}"
    );
    eprintln!("skipped: network namespaces cannot be made here ({reason})");
    false
}

impl Namespace {
    /// A new one, with its loopback interface up.
    pub fn new() -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}", std::process::id()) };
        succeed(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.ip("link set lo up");
        namespace
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// Runs `ip` for it; must succeed.
    pub fn ip(&self, line: &str) -> String {
        succeed(Command::new("ip").args(["-n", &self.name]).args(line.split(' ')))
    }

    /// A command that will run in it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a program in it, with arguments parted by blanks.
    pub fn run(&self, line: &str) -> Output {
        let mut words = line.split_ascii_whitespace();
        let program = words.next().expect("a program");
        self.command(program).args(words).output().expect("ip can be run")
    }

    /// Does something in it, on a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(self.path()).expect("the namespace is there");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter it");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Does something in it as another user.
    pub fn inside_as<T: Send>(&self, who: Identity, work: impl FnOnce() -> T + Send) -> T {
        self.inside(|| {
            set_thread_groups(&[]).expect("root may");
            set_thread_gid(Gid::from_raw(who.gid)).expect("root may");
            set_thread_uid(Uid::from_raw(who.uid)).expect("root may");
            work()
        })
    }

    /// Connects from it, as somebody, and returns all that the other side says.
    pub fn ask(&self, who: Identity, source: Option<IpAddr>, destination: SocketAddr) -> io::Result<String> {
        self.inside_as(who, || {
            let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None)?;
            if let Some(source) = source {
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            socket.connect_timeout(&destination.into(), PATIENCE)?;
            let mut stream: TcpStream = socket.into();
            stream.set_read_timeout(Some(SILENCE))?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing more can be done about a failure here; the next process sweeps.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Joins two namespaces: an interface in each, up, with its addresses. IPv6 addresses are usable at once.
pub fn join(one: (&Namespace, &str, &[&str]), other: (&Namespace, &str, &[&str])) {
    let (first, second) = (one.0, other.0);
    first.ip(&format!("link add {} type veth peer name {} netns {}", one.1, other.1, second.name));
    for (namespace, interface, addresses) in [one, other] {
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            namespace.ip(&format!("addr add {address} dev {interface}{nodad}"));
        }
        namespace.ip(&format!("link set {interface} up"));
    }
}

/// Deletes the namespaces of processes that are no more.
fn sweep() {
    for entry in std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !PathBuf::from("/proc").join(id).exists()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("ip can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
