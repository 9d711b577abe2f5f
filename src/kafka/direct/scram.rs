//! SCRAM (RFC 5802) with SHA-256 and SHA-512, the client's side.

use sha2::digest::Digest;
use sha2::{Sha256, Sha512};

use crate::codec::base64;

/// With which hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

/// A dialogue: the first message was made, the server's is to come.
#[derive(Debug)]
pub(crate) struct Scram<'a> {
    hash: Hash,
    password: &'a str,
    nonce: &'a str,
    first_bare: String,
}

/// The client's last message, and the proof that the server has to answer with.
pub(crate) struct Last {
    pub(crate) message: String,
    pub(crate) expected: String,
}

impl<'a> Scram<'a> {
    /// Begins a dialogue. `nonce` has to be new and printable, without commas.
    pub(crate) fn new(hash: Hash, user: &str, password: &'a str, nonce: &'a str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { hash, password, nonce, first_bare: format!("n={user},r={nonce}") }
    }

    /// Returns the client's first message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first message; `None` where that is not one.
    pub(crate) fn last(&self, server_first: &str) -> Option<Last> {
        let field = |name: &str| server_first.split(',').find_map(|part| part.strip_prefix(name));
        let (nonce, salt) = (field("r=")?, base64::decode(field("s=")?)?);
        let rounds: u32 = field("i=")?.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds))?;
        if !nonce.starts_with(self.nonce) || nonce.len() == self.nonce.len() {
            return None;
        }
        let salted = self.stretched(&salt, rounds);
        let bare = format!("c=biws,r={nonce}");
        let signed = format!("{},{server_first},{bare}", self.first_bare);
        let client_key = self.hmac(&salted, b"Client Key");
        let signature = self.hmac(&self.digest(&client_key), signed.as_bytes());
        let proof = base64::encode(&xor(&client_key, &signature));
        let server_key = self.hmac(&salted, b"Server Key");
        let expected = base64::encode(&self.hmac(&server_key, signed.as_bytes()));
        Some(Last { message: format!("{bare},p={proof}"), expected: format!("v={expected}") })
    }

    /// PBKDF2 for one block.
    fn stretched(&self, salt: &[u8], rounds: u32) -> Vec<u8> {
        let key = self.password.as_bytes();
        let mut last = self.hmac(key, &[salt, &[0, 0, 0, 1]].concat());
        let mut sum = last.clone();
        for _ in 1..rounds {
            last = self.hmac(key, &last);
            sum = xor(&sum, &last);
        }
        sum
    }

    fn hmac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let block = match self.hash {
            Hash::Sha256 => 64,
            Hash::Sha512 => 128,
        };
        let mut key = if key.len() > block { self.digest(key) } else { key.to_vec() };
        key.resize(block, 0);
        let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
        let inner = self.digest(&[&padded(0x36), message].concat());
        self.digest(&[padded(0x5c), inner].concat())
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        match self.hash {
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// More than any broker asks for: a hostile one must not keep us busy.
const MOST_ROUNDS: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let scram = Scram::new(Hash::Sha256, "user", "pencil", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");

        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = scram.last(server).unwrap();

        assert_eq!(
            last.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(last.expected, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_server_that_does_not_go_on_with_our_nonce_is_not_answered() {
        let scram = Scram::new(Hash::Sha512, "a,b=c", "p", "abc");
        assert_eq!(scram.first(), "n,,n=a=2Cb=3Dc,r=abc");

        for server in [
            "",
            "r=abd1,s=AAAA,i=4096",
            "r=abc,s=AAAA,i=4096",
            "r=abc1,s=AAAA,i=0",
            "r=abc1,s=AAAA,i=99999999",
        ] {
            assert!(scram.last(server).is_none(), "{server}");
        }
    }
}
