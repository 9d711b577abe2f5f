//! The commands as a user types them: output, messages, exit codes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use postroom::cli::Exit;
use serde_json::Value;

/// The program in a home of its own: what other processes of this machine left behind does not count.
fn postroom(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command
}

fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    postroom(home.path()).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Ends a demo even where its test fails.
struct Demo(Child);

impl Demo {
    fn start(home: &Path, arguments: &[&str]) -> (Self, String) {
        let mut command = postroom(home);
        command
            .args(["demo", "--port", "0", "--deadline", "60"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut demo = Self(command.spawn().unwrap());
        let mut said = String::new();
        let messages = BufReader::new(demo.0.stderr.take().unwrap());
        for line in messages.lines() {
            let line = line.unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.contains("stays up") {
                break;
            }
        }
        (demo, said)
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([format!("-{name}"), self.0.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    fn wait(&mut self, patience: Duration) -> i32 {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < deadline, "the demo does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

const COMMANDS: [&[&str]; 22] = [
    &[],
    &["check"],
    &["completions"],
    &["config"],
    &["config", "show"],
    &["demo"],
    &["dlq"],
    &["dlq", "discard"],
    &["dlq", "groups"],
    &["dlq", "ls"],
    &["dlq", "show"],
    &["dlq", "replay"],
    &["emit"],
    &["import"],
    &["run"],
    &["status"],
    &["tail"],
    &["topics"],
    &["topics", "plan"],
    &["topics", "apply"],
    &["version"],
    &["help"],
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        for flag in ["-h", "--help"] {
            if command == ["help"] {
                continue;
            }
            let output = run(&[command, &[flag]].concat());
            assert_eq!(code(&output), 0, "{command:?} {flag}: {}", err(&output));
            assert!(out(&output).contains("Usage: postroom"), "{command:?} {flag}");
            assert!(err(&output).is_empty(), "{command:?} {flag}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_64_and_the_nearest_command() {
    let cases: [(&[&str], &str); 5] = [
        (&[], "Usage: postroom"),
        (&["statsu"], "a similar subcommand exists: 'status'"),
        (&["check", "--strikt"], "a similar argument exists: '--strict'"),
        (&["version", "-o", "yaml"], "[possible values: json, text]"),
        (&["--set", "kafka.brokers", "check"], "write NAME=VALUE"),
    ];
    for (arguments, hint) in cases {
        let output = run(arguments);
        assert_eq!(code(&output), 64, "{arguments:?}");
        assert!(err(&output).contains(hint), "{arguments:?}: {}", err(&output));
        assert!(out(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_ends_with_78() {
    let output = run(&["check", "--set", "kafka.brokrs=a:1", "--set", "shutdown.deadline=soon"]);

    assert_eq!(code(&output), 78);
    assert_eq!(
        err(&output),
        "error: the configuration cannot be used: 2 problems\n  \
         --set: shutdown.deadline: \"soon\" is not a span of time; write a number with a unit, such as \"30s\", \"200ms\" or \"1h30m\"\n  \
         --set: kafka.brokrs: is not a setting; did you mean kafka.brokers?\n"
    );
}

#[test]
fn a_good_configuration_is_said_to_be_one_and_strict_counts_warnings() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("postroom.toml"), "[http]\nlisten = \"0.0.0.0:9464\"\n").unwrap();

    let lenient = postroom(home.path()).arg("check").output().unwrap();
    let strict = postroom(home.path()).args(["check", "--strict"]).output().unwrap();

    assert_eq!((code(&lenient), code(&strict)), (0, 1));
    assert!(err(&lenient).starts_with("warning: postroom.toml:2: http.listen: "), "{}", err(&lenient));
    assert!(out(&lenient).ends_with("the configuration can be used\n"));
}

#[test]
fn what_config_show_prints_is_a_file_that_can_be_loaded() {
    let home = tempfile::tempdir().unwrap();
    let shown = run(&["config", "show", "--set", "kafka.client_id=from-the-flag"]);
    std::fs::write(home.path().join("postroom.toml"), out(&shown)).unwrap();

    let again = postroom(home.path()).args(["config", "show"]).output().unwrap();

    assert_eq!(code(&again), 0, "{}", err(&again));
    assert_eq!(out(&again), out(&shown));
}

#[test]
fn secrets_are_in_no_output() {
    let home = tempfile::tempdir().unwrap();
    let toml = "[admin]\ntoken = \"hunter2\"\n[kafka]\nsecurity = \"sasl_ssl\"\n[kafka.sasl]\nmechanism = \"PLAIN\"\n\
                username = \"ana\"\npassword = \"hunter2\"\n";
    std::fs::write(home.path().join("postroom.toml"), toml).unwrap();

    for arguments in [
        ["config", "show", "--origin"],
        ["config", "show", "-ojson"],
        ["check", "--strict", "--log-level=trace"],
    ] {
        let output = postroom(home.path()).args(arguments).output().unwrap();
        assert!(!out(&output).contains("hunter2") && !err(&output).contains("hunter2"), "{arguments:?}");
    }
    let shown = postroom(home.path()).args(["config", "show"]).output().unwrap();
    assert!(out(&shown).contains("token = [redacted]") || out(&shown).contains("token = \"[redacted]\""));
}

#[test]
fn flags_cover_the_environment_which_covers_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("other.toml"), "[kafka]\nclient_id = \"file\"\n").unwrap();
    let shown = |more: &[&str]| {
        let mut command = postroom(home.path());
        command.env("POSTROOM_CONFIG", "other.toml").env("POSTROOM_KAFKA__CLIENT_ID", "environment");
        out(&command.args(["config", "show", "-o", "json"]).args(more).output().unwrap())
    };
    let of = |text: &str| {
        let rows: Vec<Value> = serde_json::from_str(text).unwrap();
        let row = rows.into_iter().find(|row| row["setting"] == "kafka.client_id").unwrap();
        (row["value"].clone(), row["origin"].clone())
    };

    assert_eq!(of(&shown(&[])), (Value::from("\"environment\""), Value::from("POSTROOM_KAFKA__CLIENT_ID")));
    assert_eq!(
        of(&shown(&["--set", "kafka.client_id=flag"])),
        (Value::from("\"flag\""), Value::from("--set"))
    );
}

#[test]
fn the_version_for_programs_has_everything_a_bug_report_needs() {
    let version: Value = serde_json::from_str(&out(&run(&["version", "-o", "json"]))).unwrap();

    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    for part in ["revision", "rustc", "librdkafka"] {
        assert!(version[part].as_str().is_some_and(|text| !text.is_empty()), "{part}");
    }
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        assert!(out(&output).contains("topics") && out(&output).contains("until-idle"), "{shell}");
    }
}

#[test]
fn colours_come_only_where_they_are_asked_for() {
    let plain = run(&["config", "show"]);
    let painted = run(&["config", "show", "--color", "always"]);

    assert!(!out(&plain).contains('\u{1b}'));
    assert!(out(&painted).contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut command = postroom(home.path());
    command.args(["config", "reference"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());

    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(said, "");
}

#[test]
fn status_without_an_instance_says_how_to_start_one() {
    let output = run(&["status", "--url", "127.0.0.1:9"]);

    assert_eq!(code(&output), 69);
    assert!(err(&output).starts_with("error: no Postroom answers at 127.0.0.1:9: "), "{}", err(&output));
    assert!(err(&output).contains("fix: start one with `postroom demo`"));
}

#[test]
fn run_without_a_broker_says_what_to_check() {
    let home = tempfile::tempdir().unwrap();

    let output = postroom(home.path()).args(["run", "--effects", "nobody"]).output().unwrap();

    assert_eq!(code(&output), 64);
    assert!(err(&output).contains("there is no effect \"nobody\""), "{}", err(&output));
}

#[test]
fn an_event_is_checked_before_it_is_published() {
    let cases = [
        (["emit", "comment.creatd", "--dry-run", "x=1"], 65, "did you mean \"comment.created\"?"),
        (["emit", "comment.created", "--dry-run", "blog=b"], 65, "comment.created needs "),
        (["emit", "comment.created", "--dry-run", "athor=ada"], 65, "did you mean \"author\"?"),
        (["emit", "comment.created", "--file", "absent.json"], 66, "absent.json cannot be read"),
    ];
    for (arguments, expected, hint) in cases {
        let output = run(&arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(hint), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn a_file_with_a_bad_line_is_refused_before_anything_is_published() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("events.jsonl"), "{\"type\":\"post_exploded\"}\n").unwrap();

    let output = postroom(home.path()).args(["import", "events.jsonl"]).output().unwrap();

    assert_eq!(code(&output), 65);
    assert!(err(&output).contains("bad line: events.jsonl:1: "), "{}", err(&output));
    assert!(err(&output).contains("1 of 1 lines are no events: nothing was published"), "{}", err(&output));
}

#[test]
fn a_demo_ends_by_itself_and_its_figures_add_up() {
    let output = run(&["demo", "--until-idle", "--events", "400", "--port", "0", "-o", "json"]);

    assert_eq!(code(&output), 0, "{}", err(&output));
    let figures: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(figures["events"]["published"], 400);
    assert_eq!(figures["events"]["spoilt"], 5);
    for group in ["postroom.notify", "postroom.project", "postroom.search"] {
        let dead = &figures["dead_letters"][group];
        assert_eq!(dead["undecodable"], 3, "{group}: {dead}");
        assert_eq!(dead["unknown_schema"], 1, "{group}: {dead}");
        assert_eq!(dead["invalid"], 1, "{group}: {dead}");
        assert_eq!(figures["effects"][group]["dead_lettered"], 5);
    }
    let of_topic = |topic: &str| figures["events"]["by_topic"][topic].as_u64().unwrap();
    let due = of_topic("blog.posts") + of_topic("blog.comments") + of_topic("blog.users");
    let finished: u64 =
        figures["effects"]["postroom.project"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(finished, due, "each message counts exactly once");
    let pictures = &figures["effects"]["postroom.thumbnails"];
    let done = pictures["ok"].as_u64().unwrap();
    let broken = pictures["dead_lettered"].as_u64().unwrap_or_default();
    assert_eq!(done + broken, of_topic("blog.media"), "{pictures}");
    assert!(done > 0, "{pictures}");
    assert_eq!(figures["retries"], 0, "every picture is there before its event");
    assert!(figures["tables"]["posts"].as_u64().unwrap() > 0);
}

#[test]
fn other_commands_find_a_running_demo_and_sigterm_drains_it() {
    let home = tempfile::tempdir().unwrap();
    let (mut demo, said) = Demo::start(home.path(), &["--events", "200"]);
    assert!(said.contains("page     http://127.0.0.1:"), "{said}");

    let status = postroom(home.path()).args(["status", "-o", "json"]).output().unwrap();
    assert_eq!(code(&status), 0, "{}", err(&status));
    let status: Value = serde_json::from_str(&out(&status)).unwrap();
    let groups: Vec<_> =
        status["groups"].as_array().unwrap().iter().filter_map(|group| group["group"].as_str()).collect();
    for group in ["postroom.notify", "postroom.project", "postroom.search"] {
        assert!(groups.contains(&group), "{groups:?}");
    }

    let groups = status["groups"].as_array().unwrap();
    for name in ["postroom.notify", "postroom.project", "postroom.thumbnails"] {
        assert!(groups.iter().any(|group| group["group"] == name), "{name}: {status}");
    }

    let groups: Vec<_> = status["groups"].as_array().unwrap().iter().map(|group| &group["group"]).collect();
    for group in ["postroom.notify", "postroom.project", "postroom.webhooks"] {
        assert!(groups.iter().any(|known| *known == group), "{groups:?}");
    }
    assert_eq!(status["pid"], demo.0.id());

    let words = ["emit", "comment.created", "post_id=p", "comment_id=c", "author=ada", "body=First!"];
    let emitted = postroom(home.path()).args(words).output().unwrap();
    assert_eq!(code(&emitted), 0, "{}", err(&emitted));
    assert!(out(&emitted).starts_with("blog.comments/"), "{}", out(&emitted));

    let listed = postroom(home.path()).args(["dlq", "ls", "-o", "json"]).output().unwrap();
    assert_eq!(code(&listed), 0, "{}", err(&listed));
    let listed: Value = serde_json::from_str(&out(&listed)).unwrap();
    let letters = listed["letters"].as_array().unwrap();
    let of_group = |name: &str| letters.iter().filter(|letter| letter["group"] == name).count();
    assert_eq!((of_group("postroom.project"), of_group("postroom.search")), (5, 5), "{listed}");
    let id = letters[0]["id"].as_str().unwrap();
    let shown = postroom(home.path()).args(["dlq", "show", id]).output().unwrap();
    assert!(out(&shown).contains(id), "{}", err(&shown));
    causes_are_grouped_shown_and_discarded(home.path());
    let aimless = postroom(home.path()).args(["dlq", "replay"]).output().unwrap();
    assert_eq!(code(&aimless), 64, "{}", err(&aimless));
    let absent = postroom(home.path()).args(["dlq", "show", "g/t/0/1"]).output().unwrap();
    assert_eq!(code(&absent), 66, "{}", err(&absent));

    let found = postroom(home.path()).args(["search", "ferry", "-o", "json"]).output().unwrap();
    assert_eq!(code(&found), 0, "{}", err(&found));
    let found: Value = serde_json::from_str(&out(&found)).unwrap();
    assert!(found["total"].as_u64().unwrap() > 0, "the store of the demo is read: {found}");

    let tailed =
        postroom(home.path()).args(["tail", "blog.users", "-n", "3", "-o", "json"]).output().unwrap();
    let lines: Vec<Value> = out(&tailed).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", err(&tailed));
    let masked = lines
        .iter()
        .filter_map(|line| line["event"]["email"].as_str())
        .all(|address| address.contains("***@"));
    assert!(masked, "{lines:?}");
    let nowhere = postroom(home.path()).args(["tail", "blog.nowhere", "-n", "1"]).output().unwrap();
    assert_eq!(code(&nowhere), 66, "{}", err(&nowhere));

    demo.signal("TERM");
    assert_eq!(demo.wait(Duration::from_secs(30)), 0);
    let gone = postroom(home.path()).args(["status", "--set", "http.listen=127.0.0.1:9"]).output().unwrap();
    assert_eq!(code(&gone), 69, "the demo's file is gone with it");
}

/// Each of these commands reads all dead-letter topics: no more of them than needed.
fn causes_are_grouped_shown_and_discarded(home: &Path) {
    let dlq = |words: &[&str]| postroom(home).arg("dlq").args(words).output().unwrap();
    let read = |words: &[&str]| -> Value {
        let output = dlq(words);
        assert_eq!(code(&output), 0, "{words:?}: {}", err(&output));
        serde_json::from_str(&out(&output)).unwrap()
    };
    let listed = read(&["groups", "-o", "json"]);
    let causes = listed["causes"].as_array().unwrap();
    let count = |cause: &Value| usize::try_from(cause["count"].as_u64().unwrap()).unwrap();
    let counts: Vec<usize> = causes.iter().map(count).collect();
    let total: usize = counts.iter().sum();
    assert!(total >= 10, "two groups met five ways to be poison, at least: {listed}");
    assert!(counts.is_sorted_by(|one, next| one >= next), "{counts:?}");
    let cause = causes[0]["cause"].as_str().unwrap();
    assert!(cause.len() == 4 && causes[0]["event_types"].is_array(), "{}", causes[0]);

    let would = dlq(&["discard", "--cause", cause]);
    assert_eq!((code(&would), out(&would)), (0, format!("{} would be discarded\n", counts[0])));
    let done = read(&["discard", "--cause", cause, "--yes", "--why", "a test", "--by", "ops", "-o", "json"]);
    assert_eq!(done["discarded"].as_array().unwrap().len(), counts[0]);
    let told = dlq(&["groups"]);
    assert!(!out(&told).contains(cause) && out(&told).contains("FIRST FAILED"), "{}", out(&told));
    let all = read(&["ls", "--all", "-o", "json"]);
    let letters = all["letters"].as_array().unwrap();
    let marked: Vec<_> = letters.iter().filter(|letter| letter["state_why"] == "a test").collect();
    assert_eq!((letters.len(), marked.len()), (total, counts[0]));
    assert!(marked.iter().all(|letter| letter["cause"].as_str().unwrap().starts_with(cause)));
    let shown = dlq(&["show", "--cause", cause]);
    assert!(out(&shown).contains(causes[0]["newest"].as_str().unwrap()), "{}", err(&shown));
    assert!(out(&shown).contains("by ops: a test"), "{}", out(&shown));

    for (words, said) in [
        (&["ls", "--group", "typo"][..], "postroom.project"),
        (&["groups", "--group", "notify"], "did you mean postroom.notify?"),
        (&["ls", "--cause", "zzzz"], "there is no cause"),
    ] {
        let refused = dlq(words);
        assert_eq!(code(&refused), 66, "{words:?}: {}", err(&refused));
        assert!(err(&refused).contains(said), "{words:?}: {}", err(&refused));
    }
    let typo = dlq(&["ls", "--reason", "undecodeable", "--source", "blog.post"]);
    assert!(code(&typo) == 64 && err(&typo).contains("did you mean undecodable?"), "{}", err(&typo));
    let typo = dlq(&["ls", "--source", "blog.post"]);
    assert!(code(&typo) == 66 && err(&typo).contains("did you mean blog.posts?"), "{}", err(&typo));
    let again = dlq(&["replay", "--cause", cause]);
    assert_eq!((code(&again), out(&again)), (1, "0 sent to their groups\n".to_owned()));
    assert!(err(&again).contains("by ops; --force sends it all the same"), "{}", err(&again));
    assert_eq!(code(&dlq(&["discard", "--yes"])), 64);
}

#[test]
fn an_event_without_a_broker_fails_soon_and_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let words = [
        "emit",
        "comment.created",
        "post_id=p",
        "comment_id=c",
        "author=ada",
        "body=x",
        "--brokers",
        "127.0.0.1:9",
    ];

    let output = postroom(home.path()).args(words).output().unwrap();

    assert_eq!(code(&output), 69, "{}", err(&output));
    assert!(
        err(&output).contains("127.0.0.1:9") && err(&output).contains("check kafka.brokers"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).lines().any(|line| line.starts_with('{')), "it is for people: {}", err(&output));
}

#[test]
fn check_names_the_effects_that_are_left_out_and_why() {
    let home = tempfile::tempdir().unwrap();

    let output = postroom(home.path()).args(["check"]).output().unwrap();

    let said = out(&output);
    assert!(said.contains("left out  mail: mail.relay and mail.from are not set"), "{said}");
    assert!(said.contains("left out  purge: "), "{said}");
    let effects = said.lines().find(|line| line.starts_with("effects")).unwrap();
    assert!(effects.contains("notify") && !effects.contains("mail"), "{effects}");
}

#[test]
fn an_effect_that_lacks_its_settings_is_an_error_only_where_it_is_named() {
    let output = run(&["run", "--effects", "purge"]);

    assert_eq!(code(&output), 78, "{}", err(&output));
    assert!(
        err(&output).contains("purge cannot run") && err(&output).contains("purge.urls"),
        "{}",
        err(&output)
    );
}

#[test]
fn exit_codes_are_those_of_the_documents() {
    let numbers: Vec<_> = Exit::ALL.iter().map(|exit| exit.number()).collect();

    assert_eq!(numbers, [0, 1, 2, 64, 65, 66, 69, 70, 73, 74, 75, 77, 78, 130, 143]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    if let Ok(page) = std::fs::read_to_string(path) {
        for number in numbers.into_iter().filter(|number| *number < 128) {
            assert!(page.contains(&format!("| {number} |")), "docs/operations.md lacks {number}");
        }
    }
}

#[test]
fn a_preview_says_where_an_event_is_too_old_for_a_mail() {
    let home = tempfile::tempdir().unwrap();
    let preview = |occurred_at: &str| {
        let event = format!(
            r#"{{"type":"user.registered","event_id":"e1","user_id":"ana","email":"ana@example.org","occurred_at":"{occurred_at}"}}"#
        );
        std::fs::write(home.path().join("event.json"), event).unwrap();
        postroom(home.path()).args(["mail", "preview", "event.json"]).output().unwrap()
    };

    let (old, young) = (preview("2020-01-01T00:00:00Z"), preview("2999-01-01T00:00:00Z"));

    assert!(
        out(&old).contains("Subject: ") && err(&old).contains("mail.max_age = 2d: no mail"),
        "{}",
        err(&old)
    );
    assert!(out(&young).contains("Subject: ") && !err(&young).contains("max_age"), "{}", err(&young));
}
