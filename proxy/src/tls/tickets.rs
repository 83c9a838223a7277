//! Session tickets: sealed with keys that rotate, or with keys from the configuration.
//!
//! ```text
//! key name (16) | nonce (12) | sealed: time of issue (8), session | tag (16)
//! ```
//!
//! A ticket stands for a client that proved who it is, by rules that may have changed since. So every key is derived for one set
//! of rules: under other rules (a CA removed, a name no longer accepted) the ticket cannot be opened, and the client
//! makes a full handshake. Keys of our own live for half a day and are gone after a day; nothing is written down.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

use super::material::MaterialError;

/// Bytes of a key as Envoy configures it: a name, a key for HMAC, a key for AES.
const CONFIGURED: usize = 80;
const NAME: usize = 16;
/// How long a key of our own seals tickets; it opens them for as long again.
const ROTATION: Duration = Duration::from_hours(12);
/// How long a session may be resumed where nothing is configured, as in BoringSSL.
const LIFETIME: Duration = Duration::from_hours(2);

/// `session_ticket_keys`: the first seals, all open.
pub struct TicketKeys(Vec<Box<[u8]>>);

impl TicketKeys {
    /// Checks the keys.
    ///
    /// # Errors
    /// One has the wrong length.
    pub fn new(keys: Vec<Vec<u8>>) -> Result<Self, MaterialError> {
        match keys.iter().find(|key| key.len() != CONFIGURED) {
            Some(key) => Err(MaterialError::TicketKey(key.len())),
            None => Ok(Self(keys.into_iter().map(Into::into).collect())),
        }
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

/// Seals and opens the tickets of one context.
pub struct Tickets {
    keys: Keys,
    context: [u8; 32],
    lifetime: Duration,
}

enum Keys {
    Configured(Vec<Key>),
    Rotating(Mutex<Rotation>),
}

struct Rotation {
    since: Instant,
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
}

struct Key {
    name: [u8; NAME],
    aead: RandomizedNonceKey,
}

/// The system has no random numbers or the key no meaning; neither happens.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("session ticket keys cannot be made")]
pub struct NoKeys;

impl Tickets {
    /// Tickets for the rules whose digest is `context`.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(
        keys: Option<&TicketKeys>,
        context: [u8; 32],
        lifetime: Option<Duration>,
    ) -> Result<Self, NoKeys> {
        let keys = match keys {
            Some(keys) => Keys::Configured(
                keys.0.iter().map(|key| Key::derive(key, &context)).collect::<Result<_, _>>()?,
            ),
            None => Keys::Rotating(Mutex::new(Rotation {
                since: Instant::now(),
                current: Arc::new(Key::random(&context)?),
                previous: None,
            })),
        };
        Ok(Self { keys, context, lifetime: lifetime.unwrap_or(LIFETIME) })
    }

    fn rotated(&self, rotation: &Mutex<Rotation>) -> (Arc<Key>, Option<Arc<Key>>) {
        let mut rotation = rotation.lock().unwrap_or_else(PoisonError::into_inner);
        let age = rotation.since.elapsed();
        if age >= ROTATION
            && let Ok(next) = Key::random(&self.context)
        {
            let old = std::mem::replace(&mut rotation.current, Arc::new(next));
            rotation.previous = (age < ROTATION * 2).then_some(old);
            rotation.since = Instant::now();
        }
        (rotation.current.clone(), rotation.previous.clone())
    }

    fn open_with(&self, key: &Key, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        if *name != key.name {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = key.aead.open_in_place(nonce, Aad::from(self.context), &mut sealed).ok()?;
        let (issued, session) = plain.split_first_chunk::<8>()?;
        let age = now().checked_sub(u64::from_be_bytes(*issued))?;
        (age <= self.lifetime.as_secs()).then(|| session.to_vec())
    }

    fn seal_with(&self, key: &Key, session: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = now().to_be_bytes().to_vec();
        sealed.extend_from_slice(session);
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(self.context), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }
}

impl Key {
    fn random(context: &[u8; 32]) -> Result<Self, NoKeys> {
        let mut material = [0; CONFIGURED];
        rand::fill(&mut material).map_err(|_| NoKeys)?;
        Self::derive(&material, context)
    }

    fn derive(material: &[u8], context: &[u8; 32]) -> Result<Self, NoKeys> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                NAME + 32
            }
        }
        let secret = Salt::new(HKDF_SHA256, b"sampan session ticket").extract(material);
        let mut out = [0; NAME + 32];
        let info = [&context[..]];
        let okm = secret.expand(&info, Length).map_err(|_| NoKeys)?;
        okm.fill(&mut out).map_err(|_| NoKeys)?;
        let mut name = [0; NAME];
        name.copy_from_slice(&out[..NAME]);
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &out[NAME..]).map_err(|_| NoKeys)?;
        Ok(Self { name, aead })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Configured(keys) => self.seal_with(keys.first()?, plain),
            Keys::Rotating(rotation) => self.seal_with(&self.rotated(rotation).0, plain),
        }
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Configured(keys) => keys.iter().find_map(|key| self.open_with(key, cipher)),
            Keys::Rotating(rotation) => {
                let (current, previous) = self.rotated(rotation);
                self.open_with(&current, cipher).or_else(|| self.open_with(previous.as_ref()?, cipher))
            }
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(first: &[u8]) -> TicketKeys {
        TicketKeys::new(first.iter().map(|&n| vec![n; CONFIGURED]).collect()).unwrap()
    }

    #[test]
    fn tickets_open_under_the_same_rules_only() {
        let (rules, others) = ([1; 32], [2; 32]);
        let keys = keys(&[7]);
        let tickets = Tickets::new(Some(&keys), rules, None).unwrap();
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        let neighbour = Tickets::new(Some(&keys), rules, None).unwrap();
        assert_eq!(
            neighbour.decrypt(&ticket).as_deref(),
            Some(&b"session"[..]),
            "instances share configured keys"
        );
        let changed = Tickets::new(Some(&keys), others, None).unwrap();
        assert_eq!(changed.decrypt(&ticket), None);
        let own = Tickets::new(None, rules, None).unwrap();
        assert_eq!(own.decrypt(&ticket), None);
        assert_eq!(own.decrypt(&own.encrypt(b"x").unwrap()).as_deref(), Some(&b"x"[..]));
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None);
        }
    }

    #[test]
    fn an_older_key_still_opens() {
        let old = Tickets::new(Some(&keys(&[1])), [0; 32], None).unwrap();
        let new = Tickets::new(Some(&keys(&[2, 1])), [0; 32], None).unwrap();
        assert!(new.decrypt(&old.encrypt(b"x").unwrap()).is_some());
        assert!(old.decrypt(&new.encrypt(b"x").unwrap()).is_none());
        assert!(TicketKeys::new(vec![vec![0; 48]]).is_err());
    }

    #[test]
    fn own_keys_rotate_and_are_forgotten() {
        let tickets = Tickets::new(None, [0; 32], None).unwrap();
        let ticket = tickets.encrypt(b"x").unwrap();
        let age = |by: Duration| {
            let Keys::Rotating(rotation) = &tickets.keys else { panic!("keys of our own") };
            let mut rotation = rotation.lock().unwrap();
            if let Some(since) = rotation.since.checked_sub(by) {
                rotation.since = since;
                return true;
            }
            false
        };
        if !age(ROTATION) {
            return; // The machine has not been up for long enough for its clock to be set back.
        }
        assert!(tickets.decrypt(&ticket).is_some(), "the previous key opens");
        assert_ne!(tickets.encrypt(b"x").unwrap()[..NAME], ticket[..NAME]);
        assert!(age(ROTATION));
        assert!(tickets.decrypt(&ticket).is_none());
    }
}
