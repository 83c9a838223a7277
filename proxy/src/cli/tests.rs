//! What launchers type, and what the original answers to mistakes.

use std::time::Duration;

use super::*;
use crate::logging::Level;

fn parse_line(line: &str) -> Result<Invocation, UsageError> {
    parse(std::iter::once("envoy").chain(line.split_whitespace()).map(str::to_owned))
}

fn options(line: &str) -> Options {
    match parse_line(line) {
        Ok(Invocation::Run(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> String {
    match parse_line(line) {
        Err(error) => error.to_string(),
        Ok(other) => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_line_pilot_agent_uses() {
    let o = options(
        "-c etc/envoy-rev.json --drain-time-s 45 --drain-strategy immediate --local-address-ip-version v4 \
         --file-flush-interval-msec 1000 --disable-hot-restart --allow-unknown-static-fields -l warning \
         --component-log-level misc:error,http:debug --skip-deprecated-logs --enable-core-dump --concurrency 2",
    );
    assert_eq!(o.config_path.as_deref(), Some("etc/envoy-rev.json"));
    assert_eq!(o.drain_time.as_secs(), 45);
    assert_eq!(o.drain_strategy, DrainStrategy::Immediate);
    assert_eq!(o.file_flush_interval.as_millis(), 1000);
    assert_eq!(o.log_level, Level::Warning);
    assert_eq!(o.component_log_levels, [("misc", Level::Error), ("http", Level::Debug)]);
    assert_eq!(o.concurrency, Some(2));
    assert!(o.inert.disable_hot_restart && o.allow_unknown_static_fields && o.enable_core_dump);
}

#[test]
fn the_line_func_e_uses_ends_at_the_double_dash() {
    assert_eq!(options("--config-yaml --a=b").config_yaml.as_deref(), Some("--a=b"));
    let o = options(
        "--service-cluster c --service-node n --config-yaml {} --log-level info --cpuset-threads \
         --admin-address-path f -- --run-id 7 -l x -l y",
    );
    assert_eq!((o.service_cluster.as_str(), o.service_node.as_str()), ("c", "n"));
    assert_eq!(o.config_yaml.as_deref(), Some("{}"));
    assert!(o.cpuset_threads);
}

#[test]
fn defaults_are_envoys() {
    let o = options("");
    assert_eq!((o.drain_time.as_secs(), o.drain_strategy), (600, DrainStrategy::Gradual));
    assert_eq!((o.mode, o.log_level, o.concurrency), (Mode::Serve, Level::Info, None));
    assert_eq!(o.inert.socket_path, "@envoy_domain_socket");
    assert_eq!(options("--concurrency 0").concurrency, Some(1));
}

#[test]
fn mistakes_are_told_in_envoys_words() {
    for (line, argument, reason) in [
        ("-l info -l debug", "-l (--log-level)", "Argument already set!"),
        ("-l info --log-level info", "-l (--log-level)", "Argument already set!"),
        ("--log-format a --log-format b", "(--log-format)", "Argument already set!"),
        ("--disable-hot-restart --disable-hot-restart", "(--disable-hot-restart)", "Argument already set!"),
        ("--bogus", "--bogus", "Couldn't find match for argument"),
        ("--conc 1", "--conc", "Couldn't find match for argument"),
        ("--concurrency=2 -c x", "--concurrency=2", "Couldn't find match for argument"),
        ("-linfo", "-linfo", "Couldn't find match for argument"),
        ("-x", "-x", "Couldn't find match for argument"),
        ("extra", "extra", "Couldn't find match for argument"),
        ("-c f serve", "serve", "Couldn't find match for argument"),
        ("-l", "-l (--log-level)", "Missing a value for this argument!"),
        ("--concurrency abc", "(--concurrency)", "Couldn't read argument value from string 'abc'"),
        ("--drain-time-s 1.5", "(--drain-time-s)", "Couldn't read argument value from string '1.5'"),
        ("--base-id 99999999999", "(--base-id)", "Couldn't read argument value from string '99999999999'"),
    ] {
        let text = error(line);
        assert!(
            text.starts_with(&format!("PARSE ERROR: Argument: {argument}\n             {reason}\n\n")),
            "{line}: {text}"
        );
        assert!(text.ends_with(&format!("\n{argument} -- {reason}\n")), "{line}: {text}");
    }
}

#[test]
fn refused_values() {
    for (line, text) in [
        ("-l foo", "invalid log level specified 'foo'"),
        ("-l --mode", "invalid log level specified '--mode'"),
        ("--mode foo", "unknown mode 'foo'"),
        ("--local-address-ip-version v5", "unknown IP address version 'v5'"),
        ("--component-log-level a:debug", "invalid component specified 'a'"),
        ("--component-log-level http", "component log level not correctly specified 'http'"),
        ("--component-log-level http:bad", "invalid log level specified 'bad'"),
        (
            "--component-log-level http:info --enable-fine-grain-logging",
            "--component-log-level will not work with --enable-fine-grain-logging",
        ),
        (
            "--use-dynamic-base-id --restart-epoch 1",
            "cannot use --restart-epoch=1 with --use-dynamic-base-id",
        ),
        ("--stats-tag foo", "misformatted stats-tag 'foo'"),
        ("--stats-tag a-b:c", "misformatted stats-tag 'a-b:c' contains invalid char in 'a-b'"),
        ("--stats-tag a:c.d", "misformatted stats-tag 'a:c.d' contains invalid char in 'c.d'"),
        ("--last-good-max-age-s 5", "--last-good-max-age-s has no effect without --last-good-file"),
        ("--socket-mode 999", "error converting socket-mode '999' to an octal number"),
    ] {
        assert_eq!(error(line), format!("error: {text}\n"), "{line}");
    }
}

#[test]
fn help_and_version_act_where_they_stand() {
    assert!(matches!(parse_line("--version --bogus"), Ok(Invocation::Print(t)) if t.contains("version: ")));
    assert!(
        matches!(parse_line("-h -x"), Ok(Invocation::Print(t)) if t.contains("--component-log-level <string>"))
    );
    assert!(error("--bogus --version").contains("--bogus"));
}

#[test]
fn a_last_good_file_has_an_age_limit_unless_told_otherwise() {
    let of = |line: &str| options(line).last_good;
    let file = |max_age| Some(LastGood { path: "f".to_owned(), max_age });
    assert_eq!(of("-c x"), None);
    assert_eq!(of("--last-good-file f"), file(Some(Duration::from_hours(24))));
    assert_eq!(of("--last-good-file f --last-good-max-age-s 0"), file(None));
}

#[test]
fn demo_is_a_verb_and_only_in_first_place() {
    assert!(matches!(parse_line("demo --port 1"), Ok(Invocation::Demo(rest)) if rest == ["--port", "1"]));
    assert!(matches!(parse_line("diff 3"), Ok(Invocation::Diff(rest)) if rest == ["3"]));
    assert_eq!(options("-c demo").config_path.as_deref(), Some("demo"));
}
