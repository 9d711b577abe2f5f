//! `postroom schemas` without a server: what is built in, and a folder of one's own.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn postroom(home: &Path, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postroom"));
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command.args(arguments).output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// A home with `schemas/like.added/v1.avsc` and an index of it.
pub(crate) fn home_with_likes() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let schemas = home.path().join("schemas");
    fs::create_dir_all(schemas.join("like.added")).unwrap();
    fs::write(schemas.join("index.toml"), "").unwrap();
    likes(home.path(), 1, r#"{"name": "post_id", "type": "string"}"#);
    home
}

/// Writes a version of the schema, which stands in no index yet.
fn likes(home: &Path, version: u32, fields: &str) {
    let text =
        format!(r#"{{"type": "record", "name": "LikeAdded", "namespace": "blog", "fields": [{fields}]}}"#);
    fs::write(home.join(format!("schemas/like.added/v{version}.avsc")), text).unwrap();
}

/// Takes the lines that `check` gives for the index, as a person would.
pub(crate) fn index_as_told(home: &Path) {
    let told = out(&postroom(home, &["schemas", "check", "schemas", "--offline"]));
    let index = home.join("schemas/index.toml");
    let entries: String = told
        .lines()
        .skip_while(|line| *line != "[[schema]]")
        .take_while(|line| *line == "[[schema]]" || line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    // What it cannot know is left open.
    let entries = entries.replace("\"…\"", "\"blog.likes\"");
    fs::write(&index, format!("{}{entries}\n", fs::read_to_string(&index).unwrap())).unwrap();
}

#[test]
fn what_is_built_in_is_compatible_without_a_network_or_a_folder() {
    let home = tempfile::tempdir().unwrap();

    let checked = postroom(home.path(), &["schemas", "check", "--offline"]);

    assert_eq!(code(&checked), 0, "{}", err(&checked));
    assert!(out(&checked).contains("FULL_TRANSITIVE"), "{}", out(&checked));
}

#[test]
fn a_folder_goes_from_a_new_file_to_an_index_to_a_second_version_that_needs_a_line() {
    let home = home_with_likes();
    let check = || postroom(home.path(), &["schemas", "check", "schemas/", "--offline"]);

    let unlisted = check();
    index_as_told(home.path());
    let listed = check();
    likes(home.path(), 2, r#"{"name": "post", "type": "string"}, {"name": "mood", "type": "string"}"#);
    let renamed = check();
    likes(
        home.path(),
        2,
        r#"{"name": "post", "type": "string", "aliases": ["post_id"]}, {"name": "mood", "type": "string", "default": ""}"#,
    );
    index_as_told(home.path());
    let mended = check();

    assert_eq!(code(&unlisted), 1, "{}", out(&unlisted));
    assert!(out(&unlisted).contains("stands in no index"), "{}", out(&unlisted));
    assert_eq!(code(&listed), 0, "{}", out(&listed));
    assert_eq!(code(&renamed), 1);
    let told = out(&renamed);
    assert!(told.contains("like.added: v2 does not read v1: field post:"), "{told}");
    assert!(told.contains(r#"add "aliases": ["post_id"] to the field post"#), "{told}");
    assert!(told.contains(r#"add "default": "" to the field mood"#), "{told}");
    assert_eq!(code(&mended), 0, "{}", out(&mended));
}

#[test]
fn a_shipped_schema_that_was_changed_is_named() {
    let home = home_with_likes();
    index_as_told(home.path());
    likes(home.path(), 1, r#"{"name": "post_id", "type": "long"}"#);

    let checked = postroom(home.path(), &["schemas", "check", "schemas", "--offline"]);

    assert_eq!(code(&checked), 1);
    assert!(out(&checked).contains("a shipped schema never changes"), "{}", out(&checked));
    assert!(out(&checked).contains("as version 2"), "{}", out(&checked));
}

#[test]
fn the_level_that_is_asked_decides_and_programs_get_it_as_json() {
    let home = home_with_likes();
    index_as_told(home.path());
    // It reads what was written; older readers lack a field that they need.
    likes(home.path(), 2, r#"{"name": "id", "type": "string", "default": ""}"#);
    index_as_told(home.path());
    let check = |level: &str| {
        postroom(home.path(), &["schemas", "check", "schemas", "--offline", "--level", level, "-o", "json"])
    };

    let backward = check("backward_transitive");
    let full = check("full_transitive");

    assert_eq!((code(&backward), code(&full)), (0, 1), "{}", out(&backward));
    let told: Value = serde_json::from_str(&out(&full)).unwrap();
    assert_eq!(told["compatible"], false);
    let like = told["schemas"].as_array().unwrap().iter().find(|one| one["event"] == "like.added").unwrap();
    assert_eq!((&like["level"], &like["version"]), (&Value::from("BACKWARD_TRANSITIVE"), &Value::from(2)));
    assert_eq!(
        (&like["findings"][0]["reader"], &like["findings"][0]["path"]),
        (&"v1".into(), &"post_id".into())
    );
}

#[test]
fn two_schemas_are_compared_by_event_version_and_by_file() {
    let home = home_with_likes();
    likes(home.path(), 2, r#"{"name": "post_id", "type": ["null", "string"], "default": null}"#);
    let [one, two] = ["schemas/like.added/v1.avsc", "schemas/like.added/v2.avsc"];

    let ours = postroom(home.path(), &["schemas", "diff", "post.published@1", "post.published@2"]);
    let files = postroom(home.path(), &["schemas", "diff", one, two, "-o", "json"]);
    let alone = postroom(home.path(), &["schemas", "diff", "post.published"]);
    let unknown = postroom(home.path(), &["schemas", "diff", "post.published@9", two]);

    assert_eq!(code(&ours), 0, "{}", err(&ours));
    assert!(out(&ours).contains("+ tags  array of string, default []"), "{}", out(&ours));
    assert!(out(&ours).contains("post.published@2 reads post.published@1"), "{}", out(&ours));
    let told: Value = serde_json::from_str(&out(&files)).unwrap();
    assert_eq!((&told["after_reads_before"], &told["before_reads_after"]), (&true.into(), &false.into()));
    assert_eq!(code(&alone), 64, "{}", err(&alone));
    assert_eq!(code(&unknown), 66);
    assert!(err(&unknown).contains("post.published has no version 9"), "{}", err(&unknown));
}

#[test]
fn schemas_are_listed_and_shown() {
    let home = home_with_likes();
    index_as_told(home.path());

    let listed = postroom(home.path(), &["schemas", "show", "--folder", "schemas", "-o", "json"]);
    let shown = postroom(home.path(), &["schemas", "show", "post.published@2"]);
    let other = postroom(home.path(), &["schemas", "show", "no.such"]);

    let told: Value = serde_json::from_str(&out(&listed)).unwrap();
    let like = told["schemas"].as_array().unwrap().iter().find(|one| one["event"] == "like.added").unwrap();
    assert_eq!((&like["topic"], &like["record"]), (&"blog.likes".into(), &"blog.LikeAdded".into()));
    assert_eq!(out(&shown).trim_end(), include_str!("../../schemas/post.published/v2.avsc").trim_end());
    assert_eq!(code(&other), 66, "{}", err(&other));
}

#[test]
fn without_a_registry_there_is_nothing_to_register_at() {
    let home = tempfile::tempdir().unwrap();

    let registered = postroom(home.path(), &["schemas", "register"]);

    assert_eq!(code(&registered), 78);
    assert!(err(&registered).contains("registry.url"), "{}", err(&registered));
}
