//! The configuration as a user meets it: layers, messages, secrets.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use postroom::config::{Flag, Loaded, Problems, Sources, load};

fn sources(toml: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postroom.toml");
    std::fs::write(&file, toml).unwrap();
    let effects = vec!["notify".to_owned(), "project".to_owned()];
    (dir, Sources { file: Some(file), effects, ..Sources::default() })
}

fn read(toml: &str) -> Result<Loaded, Problems> {
    let (_dir, sources) = sources(toml);
    load(&sources)
}

/// The message, with the folder of the file removed.
fn refusal(toml: &str) -> String {
    let (dir, sources) = sources(toml);
    let problems = load(&sources).unwrap_err();
    problems.to_string().replace(&format!("{}/", dir.path().display()), "")
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn flag(name: &str, setting: &str, value: &str) -> Flag {
    Flag { name: name.to_owned(), setting: setting.to_owned(), value: value.to_owned() }
}

fn origin(loaded: &Loaded, path: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.path == path).unwrap();
    (setting.value.clone(), setting.origin.to_string())
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(&Sources { effects: vec!["project".to_owned()], ..Sources::default() }).unwrap();

    assert_eq!(loaded.config.kafka.brokers.to_string(), "127.0.0.1:9092");
    assert_eq!(loaded.config.effects.named("project").max_attempts.get(), 8);
    assert_eq!(origin(&loaded, "shutdown.deadline"), ("\"25s\"".to_owned(), "default".to_owned()));
}

#[test]
fn each_layer_covers_the_one_below_and_is_named_as_origin() {
    let (dir, mut sources) =
        sources("[kafka]\nclient_id = \"file\"\nsession_timeout = \"40s\"\n\n[log]\nlevel = \"warn\"\n");
    sources.environment =
        vec![variable("POSTROOM_KAFKA__CLIENT_ID", "environment"), variable("POSTROOM_LOG__LEVEL", "debug")];
    sources.flags = vec![flag("--log-level", "log.level", "trace")];

    let loaded = load(&sources).unwrap();

    let file = dir.path().join("postroom.toml").display().to_string();
    assert_eq!(origin(&loaded, "kafka.session_timeout"), ("\"40s\"".to_owned(), format!("{file}:3")));
    assert_eq!(
        origin(&loaded, "kafka.client_id"),
        ("\"environment\"".to_owned(), "POSTROOM_KAFKA__CLIENT_ID".to_owned())
    );
    assert_eq!(origin(&loaded, "log.level"), ("\"trace\"".to_owned(), "--log-level".to_owned()));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_a_line_each() {
    let said = refusal(
        "[kafka]\nbroker = \"a:1\"\nsession_timeout = 30\nprotocol = \"clasic\"\n\n[efects.notify]\nenabled = true\n\n\
         [effects.notify]\nmax_atempts = 3\nenabled = \"perhaps\"\n\n[memory]\nbudget = \"much\"\n",
    );

    assert_eq!(
        said,
        r#"the configuration cannot be used: 7 problems
  postroom.toml:11: effects.notify.enabled: "perhaps" is neither true nor false; write true or false
  postroom.toml:4: kafka.protocol: "clasic" is not known; write one of "classic", "consumer"
  postroom.toml:3: kafka.session_timeout: "30" is not a span of time; write a number with a unit, such as "30s", "200ms" or "1h30m"
  postroom.toml:14: memory.budget: "much" is not a size; write a number with a unit, such as "64MiB" or "512KiB"
  postroom.toml:7: efects.notify.enabled: is not a setting; did you mean effects.notify.enabled?
  postroom.toml:10: effects.notify.max_atempts: is not a setting; did you mean effects.notify.max_attempts?
  postroom.toml:2: kafka.broker: is not a setting; did you mean kafka.brokers?"#
    );
}

#[test]
fn unknown_variables_with_two_underscores_are_refused_others_are_not_ours() {
    let (_dir, mut sources) = sources("");
    sources.environment =
        vec![variable("POSTROOM_KAFKA__BROKRES", "a:1"), variable("POSTROOM_SERVICE_HOST", "10.0.0.1")];

    let said = load(&sources).unwrap_err().to_string();

    assert_eq!(
        said,
        "the configuration cannot be used: 1 problem\n  \
         POSTROOM_KAFKA__BROKRES: kafka.brokres: is not a setting; did you mean kafka.brokers?"
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_line() {
    let said = refusal("[kafka]\nbrokers = \"a:1\nprotocol = 1\n");

    assert!(said.contains("postroom.toml:2: is not TOML: "), "{said}");
    assert!(said.ends_with("; correct that line"), "{said}");
}

#[test]
fn a_repeated_key_is_refused() {
    let said = refusal("[kafka]\nclient_id = \"a\"\nclient_id = \"b\"\n");

    assert!(said.contains("postroom.toml:3: is not TOML: duplicate key"), "{said}");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let loaded = read("\u{feff}[kafka]\r\nclient_id = \"a\"\r\n").unwrap();

    assert_eq!(loaded.config.kafka.client_id, "a");
}

#[test]
fn files_that_cannot_be_the_configuration_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.toml");
    std::fs::write(&huge, "#".repeat(2_000_000)).unwrap();
    let cases = [
        (dir.path().join("absent.toml"), "No such file or directory"),
        (dir.path().to_owned(), "it is a directory"),
        (huge, "it is larger than 1024 KiB"),
    ];

    for (file, why) in cases {
        let said = load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err().to_string();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let toml = "[admin]\ntoken = \"hunter2-token\"\n\n[kafka]\nsecurity = \"sasl_ssl\"\n\n[kafka.sasl]\nmechanism = \"PLAIN\"\n\
                username = \"ana\"\npassword = \"hunter2-password\"\n\n[kafka.librdkafka]\n\"ssl.keystore.password\" = \"hunter2-raw\"\n";

    let loaded = read(toml).unwrap();

    let shown =
        format!("{loaded:?} {}", loaded.config.admin.token.clone().unwrap()).replace("hunter2-raw", "");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(loaded.settings.iter().all(|setting| !setting.value.contains("hunter2")));
    assert_eq!(loaded.config.kafka.sasl.password.unwrap().expose(), "hunter2-password");
}

#[test]
fn secrets_are_not_in_messages_either() {
    let said = refusal(
        "[admin]\ntoken = [\"hunter2\"]\n\n[kafka.sasl]\npassword = \"changeme\"\n\n[store]\nurl = \"mysql://ana:hunter2@db/x\"\n",
    );

    assert_eq!(
        said,
        "the configuration cannot be used: 3 problems
  postroom.toml:2: admin.token: is a list, not a secret; write it in quotes
  postroom.toml:5: kafka.sasl.password: is a placeholder; set the real secret, best in a file
  postroom.toml:8: store.url: names an engine that is not known; write \"sqlite:PATH\" or \"postgres://USER@HOST/DATABASE\""
    );
}

#[test]
fn a_secret_is_read_from_the_file_that_its_twin_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "from-the-file\n").unwrap();
    let (_toml, mut sources) = sources("[admin]\ntoken = \"from-the-toml\"\n");
    sources.environment = vec![variable("POSTROOM_ADMIN__TOKEN_FILE", &file.display().to_string())];

    let loaded = load(&sources).unwrap();

    assert_eq!(loaded.config.admin.token.unwrap().expose(), "from-the-file");
}

#[test]
fn a_secret_and_its_twin_in_one_layer_are_refused() {
    let said = refusal("[admin]\ntoken = \"a-token\"\ntoken_file = \"/tmp/x\"\n");

    assert!(said.contains("admin.token: admin.token_file is set as well; keep one of the two"), "{said}");
}

#[test]
fn a_secret_file_that_is_missing_is_named() {
    let said = refusal("[admin]\ntoken_file = \"/nonexistent/token\"\n");

    assert!(said.contains("postroom.toml:2: admin.token_file: /nonexistent/token cannot be read"), "{said}");
}

#[test]
fn secrets_in_flags_are_refused_without_repeating_them() {
    let (_dir, mut sources) = sources("");
    sources.flags = vec![flag("--set", "admin.token", "hunter2")];

    let said = load(&sources).unwrap_err().to_string();

    assert_eq!(
        said,
        "the configuration cannot be used: 1 problem\n  --set: admin.token: is a secret, which everybody could see in \
         the list of processes; put it in a file and set admin.token_file"
    );
}

#[test]
fn no_secret_whatever_is_taken_from_a_flag_not_even_within_an_address() {
    for setting in [
        "kafka.sasl.password",
        "kafka.tls.key_password",
        "mail.password",
        "s3.secret_access_key",
        "purge.redis_password",
        "registry.password",
        "registry.token",
        "store.password",
        "kafka.librdkafka.sasl.oauthbearer.client.secret",
        "kafka.librdkafka.ssl_keystore_password",
    ] {
        let (_dir, mut sources) = sources("");
        sources.flags = vec![flag("--set", setting, "hunter2")];

        let said = load(&sources).unwrap_err().to_string();

        assert!(said.contains(&format!("--set: {setting}: ")), "{said}");
        assert!(said.contains("list of processes") && !said.contains("hunter2"), "{said}");
    }
    for url in [
        "postgres://ana:hunter2@db/blog",
        "postgresql://ana@db/blog?password=hunter2",
        "postgres://db/blog?sslmode=require&pass%77ord=hunter2",
        "postgres:ana:hunter2@db/blog",
    ] {
        let (_dir, mut sources) = sources("");
        sources.flags = vec![flag("--set", "store.url", url)];

        let said = load(&sources).unwrap_err().to_string();

        assert!(said.contains("--set: store.url: ") && !said.contains("hunter2"), "{said}");
        let fix = "set store.password_file, or set the whole in POSTROOM_STORE__URL";
        assert!(!url.contains("//") || said.contains(fix), "{said}");
    }
    let (_dir, mut sources) = sources("");
    let url = "postgres://ana@db/blog?sslmode=require";
    sources.flags = vec![flag("--set", "store.url", url)];
    assert_eq!(load(&sources).unwrap().config.store.url.to_string(), url);
}

#[test]
fn properties_that_break_a_promise_are_refused() {
    let cases = [
        ("enable.auto.commit", "true"),
        ("enable.auto.offset.store", "true"),
        ("auto.offset.reset", "latest"),
        ("isolation.level", "read_uncommitted"),
        ("partition.assignment.strategy", "range,cooperative-sticky"),
        ("acks", "1"),
        ("enable.ssl.certificate.verification", "false"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("bootstrap.servers", "a:1"),
    ];
    for (name, value) in cases {
        let said = refusal(&format!("[kafka.librdkafka]\n\"{name}\" = \"{value}\"\n"));
        assert!(said.contains(&format!("postroom.toml:2: kafka.librdkafka.{name}: ")), "{said}");
    }
}

#[test]
fn other_properties_pass_through_from_file_and_environment() {
    let (_dir, mut sources) =
        sources("[kafka.librdkafka]\n\"fetch.wait.max.ms\" = 10\nsocket.keepalive.enable = true\n");
    sources.environment = vec![variable("POSTROOM_KAFKA__LIBRDKAFKA__LINGER_MS", "5")];

    let loaded = load(&sources).unwrap();

    let properties: Vec<_> = loaded.config.kafka.librdkafka.iter().collect();
    assert_eq!(
        properties,
        [("fetch.wait.max.ms", "10"), ("linger.ms", "5"), ("socket.keepalive.enable", "true")]
    );
    assert_eq!(origin(&loaded, "kafka.librdkafka.linger.ms").1, "POSTROOM_KAFKA__LIBRDKAFKA__LINGER_MS");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_values() {
    let said = refusal(
        "[kafka]\nsession_timeout = \"20s\"\nmax_poll_interval = \"50s\"\n\n[effects.notify]\ndeadline = \"1m\"\n\
         backoff = { base = \"1m\", cap = \"1s\" }\n\n[topics]\ndead_letter_retention = \"1d\"\n\n\
         [memory]\nbudget = \"1MiB\"\n",
    );

    assert_eq!(
        said,
        "the configuration cannot be used: 5 problems
  shutdown.deadline: a drain of 25s is not shorter than kafka.session_timeout = 20s: the partitions would go to others in mid-work; shorten the one or lengthen the other
  postroom.toml:10: topics.dead_letter_retention: 1d is shorter than topics.retention = 7d; keep dead letters at least as long as their source
  postroom.toml:13: memory.budget: 1MiB is less than 4MiB: 2 groups that each hold one record of topics.max_record_bytes = 1MiB and fetch the next; use 4MiB or more
  postroom.toml:6: effects.notify.deadline: 1m is not shorter than kafka.max_poll_interval = 50s: the member would be put out in mid-work; shorten the one or lengthen the other
  postroom.toml:7: effects.notify.backoff.base: 1m is longer than effects.notify.backoff.cap = 1s; shorten the one or lengthen the other"
    );
}

#[test]
fn plaintext_to_other_machines_needs_a_word_of_consent() {
    let said = refusal("[kafka]\nbrokers = [\"kafka-1:9092\", \"kafka-2:9092\"]\n");
    let allowed = read("[kafka]\nbrokers = [\"kafka-1:9092\"]\ninsecure_dev = true\n").unwrap();

    assert!(
        said.contains("kafka.security: plaintext to kafka-1:9092,kafka-2:9092 lets others read"),
        "{said}"
    );
    assert_eq!(allowed.warnings.len(), 1);
}

#[test]
fn a_port_that_others_can_reach_without_a_token_is_pointed_out() {
    let loaded = read("[http]\nlisten = \"0.0.0.0:9464\"\n").unwrap();

    let warning = loaded.warnings.first().unwrap().to_string();
    assert!(warning.contains("http.listen: 0.0.0.0:9464 can be reached from other machines"), "{warning}");
}

#[test]
fn a_bucket_needs_a_build_that_knows_s3_and_settings_that_fit() {
    let place = "[objects]\nsource = \"s3://media/uploads\"\n";
    if cfg!(feature = "s3") {
        let loaded = read(place).unwrap();
        assert_eq!(loaded.config.objects.target().unwrap().to_string(), "s3://media/uploads");
    } else {
        let said = refusal(place);
        assert!(
            said.contains("objects.source: s3://media/uploads is in S3, and this program was built without the feature s3"),
            "{said}"
        );
        assert!(said.contains("--features s3"), "{said}");
    }
    let said =
        refusal("[s3]\nendpoint = \"http://minio:9000\"\naccess_key_id = \"canary-id\"\ntimeout = \"0s\"\n");
    for word in ["s3.endpoint: over http others can read", "belong together", "nothing is read in no time"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!said.contains("canary"), "{said}");
    let slow = format!("{place}target = \"/srv/thumbs\"\n[s3]\ntimeout = \"20s\"\n");
    let said = refusal(&slow);
    assert!(said.contains("are not shorter than effects.thumbnails.deadline = 1m"), "{said}");
}

#[test]
fn the_keys_of_a_bucket_come_from_files_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "canary-key\n").unwrap();
    let (_dir, mut sources) = sources("[s3]\naccess_key_id = \"canary-id\"\n");
    sources.environment = vec![variable("POSTROOM_S3__SECRET_ACCESS_KEY_FILE", &key.display().to_string())];

    let loaded = load(&sources).unwrap();

    assert_eq!(loaded.config.s3.secret_access_key.as_ref().unwrap().expose(), "canary-key");
    assert!(loaded.settings.iter().all(|setting| !setting.value.contains("canary")));
}

#[test]
fn the_reference_page_is_up_to_date() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let page = postroom::config::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }

    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        page,
        "run UPDATE_DOCS=1 cargo test --test config_loading"
    );
}

#[test]
fn the_variable_of_the_platform_names_the_database_where_nothing_else_does() {
    let url = ("DATABASE_URL".to_owned(), "postgres://ana:hunter2@db/blog".to_owned());
    let environment = vec![url, ("POSTROOM_STORE__SCHEMA".to_owned(), "mail".to_owned())];

    let loaded = load(&Sources { environment: environment.clone(), ..Sources::default() }).unwrap();
    let flag = Flag {
        name: "--set".to_owned(),
        setting: "store.url".to_owned(),
        value: "sqlite:mine.db".to_owned(),
    };
    let with_a_flag = load(&Sources { environment, flags: vec![flag], ..Sources::default() }).unwrap();

    let shown = loaded.settings.iter().find(|setting| setting.path == "store.url").unwrap();
    assert_eq!(shown.value, "\"postgres://ana:[redacted]@db/blog\"");
    assert_eq!(shown.origin.to_string(), "DATABASE_URL");
    assert_eq!(loaded.config.store.schema, "mail");
    assert_eq!(with_a_flag.config.store.url.to_string(), "sqlite:mine.db");
}

#[test]
fn a_store_that_cannot_be_is_refused() {
    let said = refusal(
        "[store]\nurl = \"postgres://ana:hunter2@db/x\"\npassword = \"other\"\nschema = \"mail; DROP\"\n",
    );

    assert!(said.contains("store.schema: \"mail; DROP\" is not a name of small letters"), "{said}");
    assert!(said.contains("store.password: is set and the address has a password as well"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
