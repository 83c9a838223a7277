//! Resource limits of the process. Called once by `main.rs`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What happened to a soft limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// The soft limit before; `None` is unlimited.
    pub before: Option<u64>,
    /// The soft limit now.
    pub now: Option<u64>,
}

/// Raises the number of open files to the hard limit: the soft limit of most systems (1,024) is for programs
/// that use `select`, and a proxy needs two descriptors per connection.
///
/// # Errors
/// The kernel refuses.
pub fn raise_open_files() -> std::io::Result<Raised> {
    raise(Resource::Nofile)
}

/// `--enable-core-dump`: allows core files up to the hard limit.
///
/// # Errors
/// The kernel refuses.
pub fn allow_core_dumps() -> std::io::Result<Raised> {
    raise(Resource::Core)
}

/// The most descriptors this process may have open; `None` is unlimited.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The downstream connections that are safe where nothing is configured: half of the descriptors, for the other half goes to
/// upstreams. `None` is without limit.
pub fn safe_connections() -> Option<u64> {
    open_files().map(|files| files / 2)
}

fn raise(resource: Resource) -> std::io::Result<Raised> {
    let limit = getrlimit(resource);
    let raised = Raised { before: limit.current, now: limit.maximum };
    if limit.current != limit.maximum {
        setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_reach_the_hard_limit() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise_open_files().expect("it may be raised").now, hard);
        assert_eq!(open_files(), hard);
    }
}
