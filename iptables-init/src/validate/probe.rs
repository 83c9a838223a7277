//! Carries out one probe: listener here, connection by a thread that takes on the user the plan asks for. The kernel
//! keeps users by thread, so the rest of the process stays what it is.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{ip_original_dst, ipv6_original_dst};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use socket2::{Domain, SockRef, Socket, Type};

use super::{Identity, Probe, ValidationError, loopback};
use crate::plan::Family;

/// How long one wait for a connection lasts, before it is seen whether the connecting side has given up.
const TURN: Duration = Duration::from_millis(50);

/// What the connecting thread came to.
enum Fate {
    Connected,
    NoConnection(io::Error),
    NoSetup(ValidationError),
}

impl Probe {
    /// Makes the connection and sees it arrive.
    ///
    /// # Errors
    /// It cannot be made, or has not arrived within `patience`.
    pub(super) fn carry_out(self, patience: Duration) -> Result<(), ValidationError> {
        let address = SocketAddr::new(loopback(Family::of(self.destination.ip())), self.port);
        let listen = |reason| ValidationError::Listen { address, reason };
        let listener = TcpListener::bind(address).map_err(listen)?;
        SockRef::from(&listener).set_read_timeout(Some(TURN)).map_err(listen)?;
        let deadline = Instant::now() + patience;
        std::thread::scope(|scope| {
            let connecting = scope.spawn(move || self.connect(patience));
            let arrived = self.arrives(&listener, deadline, || connecting.is_finished());
            // A connection that arrived has its other side, so this does not wait.
            let fate = connecting.join();
            if arrived {
                return Ok(());
            }
            let fate = match fate {
                Ok(Fate::NoSetup(error)) => return Err(error),
                Ok(Fate::NoConnection(error)) => error.to_string(),
                Ok(Fate::Connected) => "it was connected to something else".to_owned(),
                Err(_) => "the connecting thread died".to_owned(),
            };
            Err(ValidationError::NotRedirected {
                destination: self.destination,
                uid: self.identity.uid,
                port: self.port,
                patience,
                fate,
            })
        })
    }

    /// Whether the connection arrives. Others may too: they are closed.
    fn arrives(self, listener: &TcpListener, deadline: Instant, gave_up: impl Fn() -> bool) -> bool {
        loop {
            let over = gave_up() || Instant::now() >= deadline;
            match listener.accept() {
                Ok((stream, _)) if original_destination(&stream) == Some(self.destination) => return true,
                Ok(_) => {}
                // Looked once more after the other side was done: it may have connected just before.
                Err(_) if over => return false,
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return false;
            }
        }
    }

    fn connect(self, patience: Duration) -> Fate {
        let attempt = || -> io::Result<Socket> {
            let socket = Socket::new(Domain::for_address(self.destination), Type::STREAM, None)?;
            if let Some(source) = self.source {
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            Ok(socket)
        };
        if self.taken_on
            && let Err(reason) = take_on(self.identity)
        {
            let what = format!("cannot become user {} of group {}", self.identity.uid, self.identity.gid);
            return Fate::NoSetup(ValidationError::Setup { what, reason });
        }
        match attempt() {
            Ok(socket) => match socket.connect_timeout(&self.destination.into(), patience) {
                Ok(()) => Fate::Connected,
                Err(error) => Fate::NoConnection(error),
            },
            Err(reason) => {
                let what = format!("cannot prepare a connection to {}", self.destination);
                Fate::NoSetup(ValidationError::Setup { what, reason })
            }
        }
    }
}

/// Changes who this thread is; the last step gives the power to do so away.
fn take_on(identity: Identity) -> io::Result<()> {
    set_thread_groups(&[])?;
    set_thread_gid(Gid::from_raw(identity.gid))?;
    set_thread_uid(Uid::from_raw(identity.uid))?;
    Ok(())
}

fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    match stream.local_addr().ok()? {
        SocketAddr::V4(_) => ip_original_dst(stream).ok().map(|address: SocketAddrV4| address.into()),
        SocketAddr::V6(_) => ipv6_original_dst(stream).ok().map(Into::into),
    }
}
