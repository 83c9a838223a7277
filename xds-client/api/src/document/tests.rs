use super::*;

fn json(text: &str) -> Result<Node, ParseError> {
    super::json::parse(text)
}

fn yaml(text: &str) -> Result<Node, ParseError> {
    super::yaml::parse(text)
}

fn text(value: &str) -> Node {
    Node::String(value.to_owned())
}

#[test]
fn json_tolerates_what_envoys_parser_tolerates() {
    let node = json("{'a':[1,2,],b:\"x\ty\\u00e9\\ud83d\\ude00\",\"c\":-1.5e2,}").unwrap();
    assert_eq!(node.key("a"), Some(&Node::List(vec![Node::Int(1), Node::Int(2)])));
    assert_eq!(node.key("b"), Some(&text("x\tyé😀")));
    assert_eq!(node.key("c"), Some(&Node::Float(-150.0)));
    assert_eq!(json("18446744073709551615").unwrap(), Node::Uint(u64::MAX));
}

#[test]
fn json_refuses_what_envoys_parser_refuses() {
    let bad = [
        "",
        "{",
        "[1",
        "{\"a\" 1}",
        "{\"a\":}",
        "{,}",
        "[,]",
        "{\"a\":1,,}",
        "[1 2]",
        "{} x",
        "// c\n{}",
        "{/**/}",
        "# c\n{}",
        "012",
        "0x12",
        "1.",
        ".5",
        "NaN",
        "-",
        "1e",
        "tru",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"abc",
        "\u{feff}{}",
        "{1:2}",
    ];
    for case in bad {
        assert!(json(case).is_err(), "{case}");
    }
}

#[test]
fn json_errors_say_where() {
    let error = Document::parse("{\n  \"a\": 1,\n  \"a\": 2\n}", Format::Json).unwrap_err();
    assert_eq!(error.to_string(), "line 3, column 3: the key \"a\" is given twice");
    assert_eq!(
        Document::parse("[]", Format::Json).unwrap_err().reason,
        "expected a map of fields at the top, found a list"
    );
}

#[test]
fn duplicates_are_found_in_large_maps_too() {
    let keys = (0..40).map(|key| format!("k{key}: 1\n")).collect::<Vec<_>>().concat();
    assert!(yaml(&keys).is_ok());
    assert!(yaml(&(keys + "k7: 2\n")).unwrap_err().reason.contains("twice"));
}

#[test]
fn yaml_scalars_follow_version_1_1() {
    let cases = [
        ("yes", Node::Bool(true)),
        ("Off", Node::Bool(false)),
        ("N", Node::Bool(false)),
        ("oN", text("oN")),
        ("\"yes\"", text("yes")),
        ("'1'", text("1")),
        ("! 5", text("5")),
        ("!!str 5", text("5")),
        ("~", Node::Null),
        ("NULL", Node::Null),
        ("0x1F", Node::Int(31)),
        ("0777", Node::Int(511)),
        ("+5", Node::Int(5)),
        ("-5", Node::Int(-5)),
        ("5000000000", text("5000000000")),
        ("1_000", text("1_000")),
        ("1.5", text("1.5")),
        ("08", text("08")),
        ("2001-01-01", text("2001-01-01")),
        ("|-\n  1", text("1")),
    ];
    for (source, expected) in cases {
        let node = yaml(&format!("a: {source}\n")).unwrap();
        assert_eq!(node.key("a"), Some(&expected), "{source}");
    }
}

#[test]
fn yaml_anchors_merge_keys_and_ignored_keys_work() {
    let node =
        yaml("!ignore base: &b {x: 1, y: 2}\na: *b\nc: {<<: *b, y: 3}\nd: {<<: [{x: 9}, *b]}\n").unwrap();
    assert_eq!(node.key("base"), None);
    assert_eq!(node.key("a").and_then(|a| a.key("x")), Some(&Node::Int(1)));
    assert_eq!(node.key("c").and_then(|c| c.key("y")), Some(&Node::Int(3)));
    assert_eq!(node.key("d").and_then(|d| d.key("x")), Some(&Node::Int(9)));
    assert_eq!(node.key("d").and_then(|d| d.key("y")), Some(&Node::Int(2)));
}

#[test]
fn only_the_first_yaml_document_counts() {
    assert_eq!(yaml("%YAML 1.1\n---\na: 1\n---\na: 2\n").unwrap().key("a"), Some(&Node::Int(1)));
    for bad in ["", "# c\n", "a:\n\tb: 1", "a: *x", "? {a: b}\n: c\n", "a: &x [*x]", "a: 1\na: 2"] {
        assert!(yaml(bad).is_err(), "{bad}");
    }
}

#[test]
fn aliases_cannot_explode() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{aliases}]\n");
    }
    assert_eq!(yaml(&bomb).unwrap_err().reason, "aliases expand to too many values");
}

#[test]
fn nesting_is_limited() {
    for (open, format) in
        [("[", Format::Json), ("{\"a\":", Format::Json), ("[", Format::Yaml), ("- ", Format::Yaml)]
    {
        assert!(Document::parse(&open.repeat(100_000), format).is_err());
    }
}
