//! Encrypted connections, against Python's TLS with certificates that are made for the test.
