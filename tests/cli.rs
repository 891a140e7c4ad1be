//! The real binary without a server: exit codes, streams, help, completions, configuration.

use std::process::{Command, Output, Stdio};

fn kwq(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    // Whatever the caller's environment says must not decide a test.
    for name in ["KWQ_URL", "KWQ_TOKEN", "KWQ_TOKEN_FILE", "KWQ_CONFIG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.args(args).stdin(Stdio::null()).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An address nobody listens at: bound, then given back.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn help_and_version_are_data() {
    for args in [&["--help"][..], &["help"], &["help", "serve"], &["job", "wait", "--help"]] {
        let ran = kwq(args);
        assert_eq!(ran.status.code(), Some(0), "{args:?}");
        assert!(text(&ran.stdout).contains("Usage: kwq"), "{args:?}");
        assert!(ran.stderr.is_empty(), "{args:?}");
    }
    let version = kwq(&["--version"]);
    assert_eq!(text(&version.stdout), format!("kwq {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_offers_the_nearest_word() {
    let ran = kwq(&["sbumit"]);
    assert_eq!(ran.status.code(), Some(2));
    let said = text(&ran.stderr);
    assert!(said.starts_with("error[usage]: ") && said.contains("'submit'"), "{said}");
    assert!(ran.stdout.is_empty());
    for args in [&[][..], &["job"], &["task", "get"], &["submit", "--array", "9-1"]] {
        assert_eq!(kwq(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn an_error_code_has_its_page() {
    let ran = kwq(&["help", "lease_lost"]);
    assert_eq!(ran.status.code(), Some(0));
    assert!(text(&ran.stdout).contains("409"));
    let ran = kwq(&["help", "lease_losd"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stderr).contains("did you mean `lease_lost`?"), "{}", text(&ran.stderr));
}

#[test]
fn a_server_that_is_not_there_ends_with_5_and_says_how_to_start_one() {
    let url = nowhere();
    for args in [&["job", "ls"][..], &["submit", "--payload", "x"], &["queue", "ls"]] {
        let ran = kwq(&[&["--url", &url], args].concat());
        assert_eq!(ran.status.code(), Some(5), "{args:?}");
        let said = text(&ran.stderr);
        assert!(said.starts_with("error[unreachable]: ") && said.contains("kwq dev"), "{said}");
    }
    assert_eq!(kwq(&["--url", &url, "healthcheck"]).status.code(), Some(1));
}

#[test]
fn a_worker_without_a_server_gives_up_when_it_was_idle_for_too_long() {
    let ran = kwq(&["--url", &nowhere(), "work", "--idle-exit", "300ms", "--", "cat"]);
    assert_eq!(ran.status.code(), Some(5), "{}", text(&ran.stderr));
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ran = kwq(&["completions", shell]);
        assert_eq!(ran.status.code(), Some(0), "{shell}");
        assert!(text(&ran.stdout).contains("healthcheck"), "{shell}");
    }
}

#[test]
fn the_default_configuration_checks_and_a_typing_error_is_found() {
    let default = kwq(&["config", "default"]);
    assert_eq!(default.status.code(), Some(0));
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let good = dir.join("cli-good.toml");
    std::fs::write(&good, &default.stdout).expect("a file can be written");
    let ran = kwq(&["config", "check", &good.display().to_string()]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));

    let bad = dir.join("cli-bad.toml");
    std::fs::write(&bad, "[log]\nsegmnet = \"64MiB\"\n").expect("a file can be written");
    let ran = kwq(&["config", "check", &bad.display().to_string()]);
    assert_eq!(ran.status.code(), Some(8));
    assert!(text(&ran.stderr).contains("log.segment"), "{}", text(&ran.stderr));
    let ran = kwq(&["serve", "--config", &bad.display().to_string()]);
    assert_eq!(ran.status.code(), Some(2), "{}", text(&ran.stderr));
    std::fs::write(&bad, "[telemetry]\nlevel = \"loud,=\"\n").expect("the file");
    for args in [&["config", "check"][..], &["serve", "--config"]] {
        let ran = kwq(&[args, &[&bad.display().to_string()]].concat());
        assert!(!ran.status.success());
        assert!(text(&ran.stderr).contains("telemetry.level"), "{}", text(&ran.stderr));
    }
}

#[test]
fn the_origin_of_a_value_is_shown() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).env("KWQ_LOG__PARTITIONS", "7");
    let ran = command.args(["config", "show", "--origin"]).output().expect("the binary runs");
    let said = text(&ran.stdout);
    let line = said.lines().find(|line| line.contains("\"log.partitions\"")).expect("the key");
    assert!(line.contains("\"7\"") && line.contains("KWQ_LOG__PARTITIONS"), "{line}");
}

#[test]
fn the_secret_of_instances_is_shown_nowhere_and_their_port_is_looked_at() {
    const SECRET: &str = "a-secret-of-24-characters";
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|addr| (taken, addr.to_string())).expect("it is bound");
    let run = |backend: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kwq"));
        command.current_dir(env!("CARGO_TARGET_TMPDIR")).env("KWQ_LOG__BACKEND", backend);
        command.env("KWQ_NODE__SECRET", SECRET).env("KWQ_NODE__INTERNAL_LISTEN", &taken.1);
        let ran = command.args(args).output().expect("the binary runs");
        let said = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
        assert!(!said.contains(SECRET), "{said}");
        said
    };
    let shown = run("kafka", &["config", "show"]);
    let line = shown.lines().find(|line| line.contains("\"node.secret\"")).expect("the key");
    assert!(line.contains("(hidden)"), "{line}");
    let looked = run("kafka", &["doctor", "--listen", "127.0.0.1:0", "-o", "ndjson"]);
    let line = looked.lines().find(|line| line.contains("\"internal port\"")).expect("a check");
    assert!(line.contains("\"fail\"") && line.contains("node.internal-listen"), "{line}");
    let refused = run("embedded", &["serve"]);
    assert!(refused.contains("log.backend=kafka"), "{refused}");
}

#[test]
fn a_directory_that_is_no_data_directory_is_refused_and_not_made() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-nothing-here");
    let path = dir.display().to_string();
    assert_eq!(kwq(&["log", "verify", "--data-dir", &path]).status.code(), Some(3));
    assert_eq!(kwq(&["state", "hash", "--data-dir", &path]).status.code(), Some(1));
    assert!(!dir.exists(), "looking must not create it");
}
