//! The value of `date` headers, made once per second and thread.
//!
//! Called for every response by [`super::header_ops`].

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;

struct Cached {
    second: u64,
    text: String,
}

thread_local! {
    static NOW: RefCell<Cached> = const { RefCell::new(Cached { second: u64::MAX, text: String::new() }) };
}

/// Hands the current date to `then`, as RFC 9110 §5.6.7 writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn with_now<T>(then: impl FnOnce(&[u8]) -> T) -> T {
    let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    NOW.with_borrow_mut(|cached| {
        if cached.second != second {
            *cached = Cached { second, text: text(second) };
        }
        then(cached.text.as_bytes())
    })
}

fn text(second: u64) -> String {
    let time = DateTime::from_timestamp(second as i64, 0).unwrap_or_default();
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_as_http_wants_it() {
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let first = with_now(<[u8]>::to_vec);
        assert_eq!(first.len(), 29);
    }
}
