//! TLS and logins, against a real PostgreSQL.
#![expect(clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use postroom::adapters::store::{AnyStore, PostgresSettings, PostgresStore};
use postroom::config::{Sources, load};
use postroom::core::{Partition, Topic, TopicPartition};
use postroom::ports::{Claim, Store as _, StoreError};

use crate::certificates::signed;
use crate::server::{Server, settings};

/// A server with a certificate for `localhost`; the role `clerk` needs TLS and the password `s3cret`.
struct Guarded {
    server: Server,
    folder: tempfile::TempDir,
    authority: (X509, PKey<Private>),
}

impl Guarded {
    async fn start() -> Option<Self> {
        let server = Server::start()?;
        let folder = tempfile::tempdir().unwrap();
        let authority = signed("The authority", None);
        let (other, _) = signed("Another authority", None);
        std::fs::write(folder.path().join("authority.pem"), authority.0.to_pem().unwrap()).unwrap();
        std::fs::write(folder.path().join("other.pem"), other.to_pem().unwrap()).unwrap();
        let guarded = Self { server, folder, authority };
        let rules = "hostssl all clerk 127.0.0.1/32 scram-sha-256\nhost all postroom 127.0.0.1/32 trust\n";
        guarded.written("pg_hba.conf", rules).await;
        guarded.shows(&guarded.authority).await;
        guarded
            .does(&[
                "SET password_encryption = 'scram-sha-256'; CREATE ROLE clerk LOGIN PASSWORD 's3cret';
                 GRANT CREATE ON DATABASE postgres TO clerk",
                "ALTER SYSTEM SET ssl = on",
                "SELECT pg_reload_conf()",
            ])
            .await;
        while !guarded.has_tls().await {}
        Some(guarded)
    }

    /// From its next connections on it shows a certificate for `localhost` of this authority; those that are there end.
    async fn shows(&self, (authority, key): &(X509, PKey<Private>)) {
        let (certificate, key) = signed("localhost", Some((authority, key)));
        let pem = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        self.written("server.crt", &pem(certificate.to_pem().unwrap())).await;
        self.written("server.key", &pem(key.private_key_to_pem_pkcs8().unwrap())).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'clerk'";
        self.does(&["SELECT pg_reload_conf()", end]).await;
    }

    /// Lets the server write a file, so that it is its own, as it demands of its key.
    async fn written(&self, name: &str, text: &str) {
        let text = text.trim();
        let lines = format!("SELECT unnest(string_to_array('{text}', E'\\n'))");
        let program = format!("umask 077; cat >{name}");
        self.does(&[&format!("COPY ({lines}) TO PROGRAM '{program}'")]).await;
    }

    async fn does(&self, statements: &[&str]) {
        let (direct, connection) =
            tokio_postgres::connect(&self.server.url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        for statement in statements {
            direct.batch_execute(statement).await.unwrap();
        }
        drop(direct);
        connection.await.unwrap().unwrap();
    }

    /// What a connection is told that is made now.
    async fn has_tls(&self) -> bool {
        let (direct, connection) =
            tokio_postgres::connect(&self.server.url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let told: String = direct.query_one("SHOW ssl", &[]).await.unwrap().get(0);
        drop(direct);
        connection.await.unwrap().unwrap();
        told == "on"
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of a host of the server's, for `clerk`.
    fn url(&self, host: &str, sslmode: &str, authority: Option<&str>) -> String {
        let url = self.server.url.replace("postroom@127.0.0.1", &format!("clerk@{host}"));
        let root = authority.map(|name| format!("&sslrootcert={}", self.file(name).display()));
        format!("{url}?sslmode={sslmode}{}", root.unwrap_or_default())
    }
}

async fn connected(url: &str, password: Option<&str>) -> Result<PostgresStore, StoreError> {
    let password = password.map(str::to_owned);
    PostgresStore::connect(url, PostgresSettings { password, ..settings() }).await
}

/// Whether the connection that asks is encrypted, and how the login went.
async fn is_encrypted(store: &PostgresStore) -> bool {
    let sql = "SELECT CAST(ssl AS INT) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    format!("{:?}", store.query(sql, Vec::new()).await.unwrap()) == "[[Integer(1)]]"
}

#[tokio::test]
async fn server_is_trusted_as_far_as_sslmode_says() {
    let Some(guarded) = Guarded::start().await else { return };
    let own = Some("authority.pem");
    let trusted = [
        ("127.0.0.1", "prefer", None),
        ("127.0.0.1", "require", None),
        ("127.0.0.1", "require", own),
        ("127.0.0.1", "verify-ca", own),
        ("localhost", "verify-full", own),
    ];
    let other = Some("other.pem");
    let refused = [
        ("127.0.0.1", "require", other, "certificate verify failed"),
        ("127.0.0.1", "verify-ca", other, "certificate verify failed"),
        ("127.0.0.1", "verify-ca", None, "certificate verify failed"),
        ("localhost", "verify-full", other, "certificate verify failed"),
        ("127.0.0.1", "verify-full", own, "certificate verify failed"),
        ("127.0.0.1", "disable", None, "no encryption"),
    ];

    for (host, sslmode, authority) in trusted {
        let store = connected(&guarded.url(host, sslmode, authority), Some("s3cret")).await;
        let store = store.unwrap_or_else(|error| panic!("{host} {sslmode} {authority:?}: {error}"));
        assert!(is_encrypted(&store).await, "{host} {sslmode}");
    }
    for (host, sslmode, authority, words) in refused {
        let error = connected(&guarded.url(host, sslmode, authority), Some("s3cret")).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unusable(why) if why.contains(words)),
            "{host} {sslmode} {authority:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn password_is_asked_for_and_a_wrong_or_missing_one_is_a_wrong_configuration() {
    let Some(guarded) = Guarded::start().await else { return };
    let url = guarded.url("127.0.0.1", "require", None);

    let right = connected(&url, Some("s3cret")).await;
    let in_the_address = connected(&url.replace("clerk@", "clerk:s3cret@"), None).await;
    let wrong = connected(&url, Some("secret")).await.unwrap_err();
    let missing = connected(&url, None).await.unwrap_err();

    assert!(right.is_ok(), "{right:?}");
    assert!(in_the_address.is_ok(), "{in_the_address:?}");
    assert!(
        matches!(&wrong, StoreError::Unusable(why) if why.contains("password authentication failed")),
        "{wrong:?}"
    );
    assert!(matches!(&missing, StoreError::Unusable(why) if why.contains("password missing")), "{missing:?}");
}

#[tokio::test]
async fn password_comes_from_the_file_that_the_configuration_names() {
    let Some(guarded) = Guarded::start().await else { return };
    let (good, bad) = (guarded.file("password"), guarded.file("bad"));
    std::fs::write(&good, "s3cret\n").unwrap();
    std::fs::write(&bad, "wr0ng-one\n").unwrap();
    let url = guarded.url("localhost", "verify-full", Some("authority.pem"));
    let opened = async |password: &Path| {
        let file = guarded.file("postroom.toml");
        let (schema, password) = (settings().schema, password.display());
        let text =
            format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\npassword_file = \"{password}\"\n");
        std::fs::write(&file, text).unwrap();
        let loaded = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        AnyStore::open(&loaded.config).await
    };

    let right = opened(&good).await.unwrap();
    let wrong = opened(&bad).await.unwrap_err();

    assert_eq!(right.summary(0).await.unwrap().posts, 0);
    assert!(matches!(&wrong, StoreError::Unusable(why) if !why.contains("wr0ng")), "{wrong:?}");
}

#[tokio::test]
async fn server_without_tls_is_a_wrong_configuration_where_tls_is_required() {
    let Some(url) = crate::server::shared() else { return };

    for sslmode in ["require", "verify-ca", "verify-full"] {
        let error = connected(&format!("{url}?sslmode={sslmode}"), None).await.unwrap_err();

        assert!(
            matches!(&error, StoreError::Unusable(why) if why.contains("does not support TLS")),
            "{sslmode}: {error:?}"
        );
    }
}

#[tokio::test]
async fn certificate_that_is_bad_in_mid_run_is_an_outage_until_it_is_mended() {
    let Some(guarded) = Guarded::start().await else { return };
    let url = guarded.url("localhost", "verify-full", Some("authority.pem"));
    let place = TopicPartition::new(Topic::new("t"), Partition(0));
    let store = connected(&url, Some("s3cret")).await.unwrap();
    // Until it is as wished; whatever comes before is an outage and no reason to end.
    let until = async |wished: &dyn Fn(&Result<Claim, StoreError>) -> bool| loop {
        let claim = store.claim("g", &place).await;
        assert!(matches!(claim, Ok(_) | Err(StoreError::Away(_))), "{claim:?}");
        if wished(&claim) {
            break;
        }
        tokio::task::yield_now().await;
    };
    let untrusted = |claim: &Result<Claim, StoreError>| {
        claim.as_ref().is_err_and(|error| error.to_string().contains("no longer trusted"))
    };
    until(&Result::is_ok).await;

    let other = signed("Another authority", None);
    guarded.shows(&other).await;
    until(&untrusted).await;
    guarded.shows(&guarded.authority).await;
    until(&Result::is_ok).await;
    // A new authority, at first on one side alone.
    guarded.shows(&other).await;
    until(&untrusted).await;
    std::fs::write(guarded.file("authority.pem"), other.0.to_pem().unwrap()).unwrap();
    until(&Result::is_ok).await;

    let anew = guarded.url("localhost", "verify-full", Some("other.pem"));
    let at_the_start = connected(&anew, Some("s3cret")).await;
    assert!(matches!(at_the_start, Err(StoreError::Unusable(_))), "{at_the_start:?}");
}

/// A server that goes in the middle of the greeting comes back.
#[tokio::test]
async fn server_that_goes_during_the_handshake_is_away() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        for answer in [&b""[..], b"S"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            // Until the other side has gone as well.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap_or_default();
        }
    });

    for _ in 0..2 {
        let url = format!("postgres://clerk@127.0.0.1:{port}/postgres?sslmode=require");
        let error = connected(&url, None).await.unwrap_err();

        assert!(matches!(error, StoreError::Away(_)), "{error:?}");
    }
    serving.await.unwrap();
}
