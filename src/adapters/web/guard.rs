//! Which addresses somebody else may make us connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::config::{AllowedHosts, Ports};
use crate::ports::WebError;

/// What may be reached. Every name is judged by its addresses, after it was resolved.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Whether `http` addresses may be used.
    pub allow_http: bool,
    /// What may be reached although it is private.
    pub allow_private: AllowedHosts,
    /// The ports that may be connected to.
    pub ports: Ports,
}

impl Guard {
    /// Reads an address and refuses what can be refused before its name is resolved: other schemes, credentials, odd
    /// ports, and hosts that are addresses themselves. All spellings of an address (`127.1`, `0x7f000001`,
    /// `2130706433`) are one.
    ///
    /// # Errors
    /// `BadUrl` or `Blocked`. The text of the address is not repeated: it may hold what is secret.
    pub fn target(&self, text: &str) -> Result<Url, WebError> {
        let bad = |why: String| WebError::BadUrl(why);
        if text.len() > LONGEST {
            return Err(bad(format!("it is longer than {LONGEST} bytes")));
        }
        let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(bad("http is not encrypted; use https".to_owned())),
            other => return Err(bad(format!("the scheme {other:?} is neither https nor http"))),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it holds a user or a password".to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.ports.allows(port) {
            return Err(bad(format!("port {port} is not among those allowed: {}", self.ports)));
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(bad("it names no host".to_owned())),
        };
        if let Some(address) = address {
            self.admit(&address.to_string(), &[address])?;
        }
        Ok(url)
    }

    /// Returns those of a host's addresses that may be connected to.
    ///
    /// # Errors
    /// `Blocked` where none of them may be, `Connect` where there is none at all.
    pub fn admit(&self, host: &str, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, WebError> {
        if self.allow_private.has_host(host) {
            return Ok(addresses.to_vec());
        }
        let mut refused = None;
        let mut admitted = Vec::new();
        for address in addresses {
            match blocked(*address) {
                Some(why) if !self.allow_private.has_address(*address) => {
                    refused = refused.or(Some((*address, why)));
                }
                _ => admitted.push(*address),
            }
        }
        match refused {
            Some((address, why)) if admitted.is_empty() => {
                Err(WebError::Blocked { host: host.to_owned(), address, why })
            }
            _ if admitted.is_empty() => Err(WebError::Connect(format!("{host} has no address"))),
            _ => Ok(admitted),
        }
    }
}

/// Says what an address is, where that is anything but a host of the public internet.
pub fn blocked(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => blocked_v4(address),
        IpAddr::V6(address) => blocked_v6(address),
    }
}

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    let is = match address.octets() {
        [0, ..] => "of this network itself",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "private",
        [100, 64..=127, ..] => "of a carrier's own network",
        [127, ..] => "this machine",
        [169, 254, 169, 254] | [168, 63, 129, 16] => "a cloud's metadata service",
        [169, 254, ..] => "link-local",
        [192, 0, 0, _] => "reserved for protocols",
        [192, 88, 99, _] => "a 6to4 relay",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documentation",
        [198, 18..=19, ..] => "for benchmarks",
        [224..=239, ..] => "multicast",
        [240..=255, ..] => "reserved",
        _ => return None,
    };
    Some(is)
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    let is = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "this machine",
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4 address in another form",
        [0x64, 0xff9b, 0..=1, ..] => "an IPv4 address behind NAT64",
        [0x2001, 0, ..] => "a Teredo tunnel",
        [0x2001, 2, 0, ..] => "for benchmarks",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "for documentation",
        [0x2001, 0..=0x1ff, ..] => "reserved for protocols",
        [0x2002, ..] => "a 6to4 tunnel",
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => "a cloud's metadata service",
        [0xfc00..=0xfdff, ..] => "private",
        [0xfe80..=0xfebf, ..] => "link-local",
        [0xfec0..=0xfeff, ..] => "site-local",
        [0xff00..=0xffff, ..] => "multicast",
        // The public internet is 2000::/3.
        [0x2000..=0x3fff, ..] => return None,
        _ => "reserved",
    };
    Some(is)
}

/// The longest address that is used, in bytes.
const LONGEST: usize = 2_048;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn guard() -> Guard {
        Guard { allow_http: true, allow_private: AllowedHosts::default(), ports: Ports::Only(vec![443, 80]) }
    }

    #[test]
    fn addresses_inside_are_blocked_and_those_of_the_internet_are_not() {
        for (address, what) in [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private"),
            ("100.64.0.1", "carrier"),
            ("100.100.100.200", "carrier"),
            ("100.127.255.255", "carrier"),
            ("127.0.0.1", "this machine"),
            ("127.255.255.254", "this machine"),
            ("168.63.129.16", "metadata"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.192", "protocols"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.1.1", "private"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.250", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "this machine"),
            ("::127.0.0.1", "reserved"),
            ("::ffff:127.0.0.1", "another form"),
            ("::ffff:8.8.8.8", "another form"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b:1::a00:1", "NAT64"),
            ("100::1", "reserved"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "benchmarks"),
            ("2001:10::1", "protocols"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("3fff::1", "documentation"),
            ("5f00::1", "reserved"),
            ("fc00::1", "private"),
            ("fd00::1", "private"),
            ("fd00:ec2::254", "metadata"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            let why = blocked(address.parse().unwrap());
            assert!(why.is_some_and(|why| why.contains(what)), "{address}: {why:?}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "198.17.0.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2400:cb00::1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert_eq!(blocked(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn every_spelling_of_an_address_inside_is_blocked() {
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://1２7.0.0.1/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:7f00:1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
            "https://[64:ff9b::a9fe:a9fe]/",
        ] {
            assert!(matches!(guard().target(url), Err(WebError::Blocked { .. })), "{url}");
        }
    }

    #[test]
    fn what_is_no_address_for_us_is_refused() {
        for url in [
            "",
            "hooks.example",
            "//hooks.example/",
            "file:///etc/passwd",
            "gopher://hooks.example/",
            "data:text/plain,x",
            "javascript:alert(1)",
            "ftp://hooks.example/",
            "http:///",
            "https://",
            "https://user:pass@hooks.example/",
            "https://user@hooks.example/",
            "https://:pass@hooks.example/",
            "https://hooks.example:25/",
            "https://hooks.example:8443/",
            "https://hooks.example:0/",
            "https://hooks.example:99999/",
            "https://[fe80::1%25eth0]/",
            "https://a b/",
        ] {
            assert!(matches!(guard().target(url), Err(WebError::BadUrl(_))), "{url}");
        }
        let long = format!("https://hooks.example/{}", "a".repeat(3_000));
        assert!(matches!(guard().target(&long), Err(WebError::BadUrl(_))));
        assert!(guard().target("https://hooks.example/x?token=1").is_ok());
        assert!(guard().target("https://hÖöks.example:443/").is_ok());
        let strict = Guard { allow_http: false, ..guard() };
        assert!(matches!(strict.target("http://hooks.example/"), Err(WebError::BadUrl(_))));
    }

    #[test]
    fn of_mixed_addresses_only_the_public_ones_are_left() {
        let [public, private] = ["1.1.1.1", "10.0.0.1"].map(|text| text.parse().unwrap());

        assert_eq!(guard().admit("mixed", &[private, public]), Ok(vec![public]));
        assert!(matches!(guard().admit("inside", &[private]), Err(WebError::Blocked { .. })));
        assert!(matches!(guard().admit("nowhere", &[]), Err(WebError::Connect(_))));
    }

    #[test]
    fn what_is_allowed_by_name_or_network_passes() {
        let allow_private = AllowedHosts::read(["hooks.internal", "10.0.0.0/8"]).unwrap();
        let guard = Guard { allow_private, ..guard() };
        let [ten, loopback] = ["10.0.0.1", "127.0.0.1"].map(|text| text.parse().unwrap());

        assert_eq!(guard.admit("any", &[ten, loopback]), Ok(vec![ten]));
        assert_eq!(guard.admit("hooks.internal", &[loopback]), Ok(vec![loopback]));
        assert!(guard.target("http://10.1.2.3/").is_ok());
        assert!(guard.target("http://127.0.0.1/").is_err());
    }
}
