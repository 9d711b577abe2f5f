//! `postroom healthcheck`: asks the instance of this machine whether it is well; for images that hold no `curl`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::args::{Global, HealthcheckArgs};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fetch::probe;
use crate::cli::settings::loaded;
use crate::cli::terminal::Terminal;

pub(crate) fn run(
    global: &Global,
    arguments: &HealthcheckArgs,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let address = match &arguments.url {
        Some(url) => url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        None => {
            let http = loaded(global, terminal)?.config.http;
            if !http.enabled {
                return Err(Failure::new(Exit::Configuration, "http.enabled is false: nothing can be asked"));
            }
            reachable(http.listen.0).to_string()
        }
    };
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let (code, body) = probe(&address, path)?;
    if code == "200" {
        terminal.text(&body)?;
        return Ok(Exit::Ok);
    }
    terminal.say(&format!("{address}{path} answers {code}: {}", body.trim()));
    Ok(Exit::No)
}

/// Who listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}
