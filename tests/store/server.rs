//! The engines that the tests run on: SQLite, and a PostgreSQL of the test program's own.
#![expect(clippy::panic, clippy::print_stderr, clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postroom::adapters::store::{AnyStore, PostgresSettings, PostgresStore, SqliteStore};
use postroom::ports::Param;
use postroom::testkit::store_contract::Bench;

/// A server that ends with whoever started it, also where that one is killed: then its input ends.
pub(crate) struct Server {
    pub(crate) url: String,
    folder: tempfile::TempDir,
    _guard: Child,
}

impl Server {
    /// Starts one; `None`, said loudly, where PostgreSQL is not on this machine.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // The server's own user passes through.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        }
        let mut guard =
            script("while", folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut url).unwrap();
        if url.is_empty() {
            let code = guard.wait().unwrap().code();
            assert_eq!(code, Some(69), "PostgreSQL is here and does not start");
            assert!(std::env::var_os("CI").is_none(), "PostgreSQL is missing: apt-get install postgresql");
            eprintln!("SKIPPED: PostgreSQL is missing: apt-get install postgresql");
            return None;
        }
        Some(Self { url: url.trim().to_owned(), folder, _guard: guard })
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn crash(&self) {
        self.does("kill");
    }

    /// Starts it again with the same data.
    pub(crate) fn start_again(&self) {
        self.does("start");
    }

    fn does(&self, what: &str) {
        assert!(script(what, self.folder.path()).stdout(Stdio::null()).status().unwrap().success(), "{what}");
    }
}

fn script(what: &str, folder: &Path) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres"));
    command.arg(what).arg(folder.join("server"));
    command
}

/// The address of the server that all tests of this program share.
pub(crate) fn shared() -> Option<&'static str> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref().map(|server| server.url.as_str())
}

/// Settings with a schema of its own.
pub(crate) fn settings() -> PostgresSettings {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let schema = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    PostgresSettings { schema, connections: 4, ..PostgresSettings::default() }
}

/// Connects to new tables.
pub(crate) async fn postgres(url: &str) -> PostgresStore {
    match PostgresStore::connect(url, settings()).await {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    }
}

/// Returns new tables in every engine that is here.
pub(crate) async fn everywhere() -> Vec<AnyStore> {
    let mut stores = vec![AnyStore::from(SqliteStore::in_memory().unwrap())];
    if let Some(url) = shared() {
        stores.push(postgres(url).await.into());
    }
    stores
}

/// Tables in PostgreSQL that any number of handles share.
pub(crate) struct OnPostgres {
    url: String,
    settings: PostgresSettings,
}

impl OnPostgres {
    pub(crate) fn new() -> Option<Self> {
        Some(Self { url: shared()?.to_owned(), settings: settings() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn schema(&self) -> &str {
        &self.settings.schema
    }
}

impl Bench for OnPostgres {
    type Store = PostgresStore;

    async fn open(&self) -> PostgresStore {
        PostgresStore::connect(&self.url, self.settings.clone()).await.unwrap()
    }

    fn numbered(&self) -> &'static str {
        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    }

    async fn rows(&self, store: &PostgresStore, sql: &str) -> Vec<Vec<Param>> {
        store.query(sql, Vec::new()).await.unwrap()
    }
}
