//! The hashes of a signature, in Rust: the client needs no TLS library of its own for them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use sha2::{Digest as _, Sha256};

/// SHA-256 and its HMAC.
#[derive(Debug)]
pub(super) struct PureRust;

impl CryptoProvider for PureRust {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        is_sha256(algorithm)?;
        Ok(Box::new(Hash { state: Sha256::new(), result: Vec::new() }))
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        is_sha256(algorithm)?;
        let state = Hmac::new_from_slice(secret).map_err(|_any_length| unsupported("this key"))?;
        Ok(Box::new(Code { state, result: Vec::new() }))
    }

    fn sign(&self, _algorithm: SigningAlgorithm, _pem: &[u8]) -> Result<Box<dyn Signer>> {
        // Of other clouds' requests; S3 signs none with RSA.
        Err(unsupported("RSA"))
    }
}

fn is_sha256(algorithm: DigestAlgorithm) -> Result<()> {
    if algorithm == DigestAlgorithm::Sha256 { Ok(()) } else { Err(unsupported("this hash")) }
}

fn unsupported(what: &str) -> Error {
    Error::NotSupported { source: format!("{what} is not supported").into() }
}

struct Hash {
    state: Sha256,
    result: Vec<u8>,
}

impl DigestContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.state.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.result = self.state.finalize_reset().to_vec();
        Ok(&self.result)
    }
}

struct Code {
    state: Hmac<Sha256>,
    result: Vec<u8>,
}

impl HmacContext for Code {
    fn update(&mut self, data: &[u8]) {
        self.state.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.result = self.state.clone().finalize().into_bytes().to_vec();
        Ok(&self.result)
    }
}
