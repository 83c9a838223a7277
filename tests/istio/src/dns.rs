//! The cluster's DNS: the addresses of its services, and names that a scenario adds. Answers A questions over UDP; all else has no answer.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// The names and their addresses.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<BTreeMap<String, Ipv4Addr>>>);

impl Names {
    /// Adds one.
    pub fn add(&self, name: &str, address: &str) -> Result<()> {
        let address = address.parse().with_context(|| format!("no address: {address}"))?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_ascii_lowercase(), address);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Ipv4Addr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&name.to_ascii_lowercase()).copied()
    }

    /// Answers at an address until the process ends.
    pub fn serve(&self, address: &str) -> Result<()> {
        // The bridge comes up with the first container.
        let socket =
            crate::process::until("DNS", Duration::from_secs(10), || Ok(UdpSocket::bind((address, 53))?))?;
        let names = self.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if let Some(answer) = names.answer(&packet[..length]) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(())
    }

    /// RFC 1035 §4: the header with the question again, and one record if there is one.
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut labels = Vec::new();
        let mut at = 12;
        loop {
            let length = usize::from(*query.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
            at += length;
        }
        let kind = query.get(at..at + 2)?;
        let found = self.find(&labels.join("."));
        let address = found.filter(|_| kind == [0, 1]);
        // QR, AA, RD, RA; the code is NXDOMAIN where there is no such name.
        let code = if found.is_some() { 0x80 } else { 0x83 };
        let mut answer =
            vec![query[0], query[1], 0x85, code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
        answer.extend_from_slice(query.get(12..at + 4)?);
        if let Some(address) = address {
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            answer.extend_from_slice(&address.octets());
        }
        Some(answer)
    }
}
