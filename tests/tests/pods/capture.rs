//! What passes over the bridge: every frame, kept up to a limit, to be looked through once all is over.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sampan_tests::harness::netns::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

/// ETH_P_ALL in network byte order: frames of all protocols.
const ALL: i32 = (0x0003_u16).to_be() as i32;
const MOST: usize = 64 << 20;

/// A capture that runs.
pub struct Capture {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<u8>>>,
}

/// What was captured.
pub struct Captured(Vec<u8>);

impl Capture {
    /// Begins to capture in a namespace.
    pub fn start(hub: &Namespace) -> Self {
        let mut socket =
            hub.inside(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL)))).unwrap();
        // The kernel gives what its limit allows.
        socket.set_recv_buffer_size(16 << 20).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let asked = over.clone();
        let thread = std::thread::spawn(move || {
            let (mut all, mut frame) = (Vec::new(), vec![0; 128 * 1024]);
            loop {
                match socket.read(&mut frame) {
                    Ok(length) if all.len() + length < MOST => all.extend_from_slice(&frame[..length]),
                    Ok(_) => {}
                    // Silence: all that was sent before the end was asked for has been read.
                    Err(_) if asked.load(Ordering::Acquire) => return all,
                    Err(_) => {}
                }
            }
        });
        Self { over, thread: Some(thread) }
    }

    /// Ends it; what was captured.
    pub fn stop(mut self) -> Captured {
        self.over.store(true, Ordering::Release);
        Captured(self.thread.take().unwrap().join().unwrap())
    }
}

impl Captured {
    /// Whether a text passed.
    pub fn has(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0).contains(text)
    }

    /// How many TLS records with data of applications began in it, about.
    pub fn records(&self) -> usize {
        self.0.windows(3).filter(|window| *window == [0x17, 3, 3]).count()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}
