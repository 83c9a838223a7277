//! Tells when files are moved into directories: how configuration files are replaced, by `mv` or by a mounted ConfigMap whose
//! `..data` link is swapped. As in Envoy, a file that is written in place does not count: it might be half written.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// Directories under watch.
pub(crate) struct Watch {
    fd: AsyncFd<OwnedFd>,
    directories: HashMap<i32, PathBuf>,
}

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This path was replaced.
    Moved(PathBuf),
    /// The directory is gone; it is watched no more.
    Lost(PathBuf),
    /// There was more than the kernel could remember; anything may have changed.
    Overflow,
}

impl Watch {
    #[expect(
        deprecated,
        reason = "unsound only for a type whose descriptor may change, which OwnedFd's does not"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let fd = AsyncFd::with_interest(inotify::init(flags)?, tokio::io::Interest::READABLE)?;
        Ok(Self { fd, directories: HashMap::new() })
    }

    /// Watches a directory. Doing it twice is doing it once.
    pub(crate) fn add(&mut self, directory: &Path) -> io::Result<()> {
        use inotify::WatchFlags as On;
        let flags = On::MOVED_TO | On::DELETE_SELF | On::MOVE_SELF | On::ONLYDIR;
        let id = inotify::add_watch(self.fd.get_ref(), directory, flags)?;
        self.directories.insert(id, directory.to_owned());
        Ok(())
    }

    /// Waits for something to happen. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<Seen>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut seen = Vec::new();
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(ready.get_inner(), &mut buffer);
            let mut gone = Vec::new();
            loop {
                let event = match reader.next() {
                    Ok(event) => event,
                    Err(rustix::io::Errno::WOULDBLOCK) => break,
                    Err(error) => return Err(error.into()),
                };
                let flags = event.events();
                if flags.contains(inotify::ReadFlags::QUEUE_OVERFLOW) {
                    seen.push(Seen::Overflow);
                }
                let Some(directory) = self.directories.get(&event.wd()) else { continue };
                if flags.intersects(inotify::ReadFlags::DELETE_SELF | inotify::ReadFlags::MOVE_SELF) {
                    seen.push(Seen::Lost(directory.clone()));
                    gone.push(event.wd());
                } else if let Some(name) = event.file_name() {
                    seen.push(Seen::Moved(directory.join(OsString::from_vec(name.to_bytes().to_vec()))));
                }
            }
            ready.clear_ready();
            for id in gone {
                self.directories.remove(&id);
                // A directory that was moved away still has its watch; one that was deleted has none.
                let _ = inotify::remove_watch(self.fd.get_ref(), id);
            }
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
    }
}
