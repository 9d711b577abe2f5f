//! One port for metrics, health and status, on a thread and runtime of its own: it answers while everything else hangs.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::oneshot;

use crate::config::{Config, Listen, Secret};
use crate::telemetry::board::{Board, Health};
use crate::telemetry::families::Metrics;

/// A server that runs until it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the pages cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is taken, or not ours.
    #[error(
        "cannot listen on {address}: {cause}; set http.listen to another address, or to port 0 for a free one"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The thread could not be started.
    #[error("cannot start the thread that serves the pages: {0}")]
    Thread(std::io::Error),
}

impl HttpServer {
    /// Starts the server that the configuration asks for, if it asks for one. `extra` are further pages, for those who
    /// may use the API.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn configured(config: &Config, metrics: &Metrics, extra: Router) -> Result<Option<Self>, HttpError> {
        let wanted = config.http.enabled;
        wanted
            .then(|| Self::start(config.http.listen, config.admin.token.clone(), metrics.clone(), extra))
            .transpose()
    }

    /// Listens, and serves from a thread of its own.
    ///
    /// # Errors
    /// The address is taken, or the thread cannot be started.
    pub fn start(
        listen: Listen,
        token: Option<Secret>,
        metrics: Metrics,
        extra: Router,
    ) -> Result<Self, HttpError> {
        let failed = |cause| HttpError::Listen { address: listen.0, cause };
        let listener = TcpListener::bind(listen.0).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let pages = Pages { board: Arc::clone(metrics.board()), metrics, access: access(listen, token) };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HttpError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || runtime.block_on(serve(listener, router(pages, extra), stopped));
        let thread =
            std::thread::Builder::new().name("http".to_owned()).spawn(serve).map_err(HttpError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the address it listens on, with the port that was found where port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

/// Serves until it is stopped; open connections do not hold it up.
async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "pages cannot be served");
            return;
        }
    };
    tokio::select! {
        served = axum::serve(listener, router) => {
            if let Err(error) = served {
                tracing::error!(%error, "pages are no longer served");
            }
        }
        _ended = stopped => {}
    }
}

#[derive(Clone)]
struct Pages {
    board: Arc<Board>,
    metrics: Metrics,
    access: Access,
}

/// Who may use the API.
#[derive(Clone)]
enum Access {
    /// Whoever is on this machine, by a name of this machine: a page of a stranger cannot be made to point here.
    Local,
    /// Nobody: the port is open to others and no token is set.
    Nobody,
    /// Who has the token.
    Token(Secret),
}

fn access(listen: Listen, token: Option<Secret>) -> Access {
    match token {
        Some(token) => Access::Token(token),
        None if listen.is_loopback() => Access::Local,
        None => Access::Nobody,
    }
}

fn router(pages: Pages, extra: Router) -> Router {
    let api = Router::new().route("/api/status", get(status)).with_state(pages.clone()).merge(extra);
    let api = api.layer(from_fn_with_state(pages.clone(), guard));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(pages)
        .merge(api)
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let kind = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([kind], pages.metrics.page().to_string()).into_response()
}

async fn livez(State(pages): State<Pages>) -> Response {
    answer(pages.board.liveness())
}

async fn readyz(State(pages): State<Pages>) -> Response {
    answer(pages.board.readiness())
}

async fn status(State(pages): State<Pages>) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (no_store, Json(pages.board.status())).into_response()
}

fn answer(health: Health) -> Response {
    match health {
        Health::Well => (StatusCode::OK, "ok\n").into_response(),
        Health::Ill(lines) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", lines.join("\n"))).into_response()
        }
    }
}

async fn guard(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let refusal = match &pages.access {
        Access::Local if is_local_host(request.headers()) => None,
        Access::Local => Some((StatusCode::MISDIRECTED_REQUEST, "use a loopback name, such as 127.0.0.1\n")),
        Access::Nobody => {
            Some((StatusCode::FORBIDDEN, "set admin.token to use the API from other machines\n"))
        }
        Access::Token(token) if carries(request.headers(), token) => None,
        Access::Token(_) => Some((StatusCode::UNAUTHORIZED, "send the admin token as a bearer token\n")),
    };
    match refusal {
        None => next.run(request).await,
        Some(refusal) => refusal.into_response(),
    }
}

fn is_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.chars().all(|char| char.is_ascii_digit()) { name } else { host }
    });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Compares without telling by its time how much was right.
fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.and_then(|value| value.strip_prefix("Bearer ")) else { return false };
    let (given, token) = (given.as_bytes(), token.expose().as_bytes());
    let differences = given.iter().zip(token).fold(0_u8, |sum, (left, right)| sum | (left ^ right));
    given.len() == token.len() && differences == 0
}
