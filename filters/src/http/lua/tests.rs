//! What scripts can do, what they wait for, and what becomes of those that fail.

use sampan_api::envoy::extensions::filters::http::lua::v3 as pb;
use sampan_filters_api::{CounterStore, LocalReply, RequestHead, ResponseHead, StreamInfo};

use super::*;
use crate::testing::{self, bytes, counted, info, request, shown, with_counters};

struct Script {
    filter: Box<dyn HttpFilter>,
    request: RequestHead,
    response: ResponseHead,
    info: StreamInfo,
    clear_route: bool,
    store: Arc<CounterStore>,
}

fn yaml(code: &str) -> String {
    let lines = code.lines().fold(String::new(), |text, line| text + "    " + line + "\n");
    format!("default_source_code:\n  inline_string: |\n{lines}")
}

impl Script {
    fn new(code: &str, fields: &[(&str, &str)]) -> Self {
        let store: Arc<CounterStore> = Arc::default();
        let compiled = config::compile(&bytes::<pb::Lua>(&yaml(code)), &with_counters(&store));
        // The filter borrows from it; it stays until the tests are over.
        let factory = Box::leak(Box::new(compiled.unwrap_or_else(|errors| panic!("{errors:?}"))));
        let (request, info) = (request(fields), info());
        let filter =
            factory.create(&testing::start(&request, &info, &[])).expect("the script has a function");
        let response = ResponseHead { status: 200, headers: Headers::new() };
        Self { filter, request, response, info, clear_route: false, store }
    }

    fn with<R>(&mut self, response: bool, act: impl FnOnce(&mut dyn HttpFilter, &mut Stream<'_>) -> R) -> R {
        let mut stream = Stream {
            request: &mut self.request,
            response: response.then_some(&mut self.response),
            info: &mut self.info,
            clear_route: &mut self.clear_route,
        };
        act(&mut *self.filter, &mut stream)
    }

    fn head(&mut self) -> Flow {
        self.with(false, |filter, stream| filter.on_request_head(stream, false))
    }

    fn errors(&self) -> Vec<String> {
        counted(&self.store).into_iter().filter(|line| line.contains("errors")).collect()
    }
}

fn replied(flow: Flow) -> LocalReply {
    match flow {
        Flow::Reply(reply) => *reply,
        _ => panic!("no reply"),
    }
}

#[test]
fn headers_are_read_and_changed() {
    let code = r#"
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:add("x-path", headers:get(":path"))
  headers:add("x-both", headers:get("x") .. "/" .. headers:getNumValues("x") .. "/" .. headers:getAtIndex("x", 1))
  headers:replace(":path", "/new")
  headers:remove("y")
  local names = {}
  for name, value in pairs(headers) do names[#names + 1] = name end
  headers:add("x-names", table.concat(names, " "))
  headers:replace("x-absent", tostring(headers:get("absent")))
end"#;
    let mut script = Script::new(code, &[("x", "1"), ("X", "2"), ("y", "3")]);
    assert!(matches!(script.head(), Flow::Continue));
    assert_eq!(script.request.path(), b"/new");
    assert!(script.clear_route);
    assert_eq!(
        shown(&script.request.headers),
        [
            "x: 1",
            "X: 2",
            "x-path: /",
            "x-both: 1,2/2/2",
            "x-names: :authority :path :method :scheme x x x-path x-both",
            "x-absent: nil"
        ]
    );
    assert_eq!(script.errors(), [""; 0]);
}

#[test]
fn a_body_is_waited_for_and_replaced() {
    let code = r#"
function envoy_on_request(handle)
  local body = handle:body()
  handle:headers():add("x-body", body:getBytes(0, body:length()))
  body:setBytes("new body")
end"#;
    let mut script = Script::new(code, &[("content-length", "3")]);
    assert!(matches!(script.head(), Flow::Hold(_)));
    let mut held = HeldBody::new(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")], true);
    assert!(matches!(script.with(false, |filter, stream| filter.on_held(stream, &mut held)), Flow::Continue));
    assert_eq!(shown(&script.request.headers), ["content-length: 8", "x-body: abc"]);
    let pieces = [("ab", "new body"), ("c", "")];
    for (piece, expected) in pieces {
        let mut data = Bytes::from_static(piece.as_bytes());
        script.with(false, |filter, stream| filter.on_request_data(stream, &mut data, false));
        assert_eq!(data, expected);
    }
}

#[test]
fn chunks_come_one_by_one() {
    let code = r#"
function envoy_on_request(handle)
  local sum = 0
  for chunk in handle:bodyChunks() do
    sum = sum + chunk:length()
    chunk:setBytes(chunk:getBytes(0, 1))
  end
  handle:streamInfo():dynamicMetadata():set("ns", "sum", sum)
end"#;
    let mut script = Script::new(code, &[]);
    assert!(matches!(script.head(), Flow::Continue));
    for (piece, end) in [("abc", false), ("de", true)] {
        let mut data = Bytes::from_static(piece.as_bytes());
        script.with(false, |filter, stream| filter.on_request_data(stream, &mut data, end));
        assert_eq!(data, piece[..1]);
    }
    let sum = script.info.metadata.namespace("ns").and_then(|tree| tree.at(&["sum"])).cloned();
    assert_eq!(sum, Some(MetadataValue::Number(5.0)));
}

#[test]
fn a_script_may_answer() {
    let code = r#"
function envoy_on_request(handle)
  handle:respond({[":status"] = "403", ["x"] = {"1", "2"}}, "no")
  error("not reached")
end"#;
    let mut script = Script::new(code, &[]);
    let reply = replied(script.head());
    assert_eq!((reply.status, &reply.body[..], &*reply.details), (403, &b"no"[..], "lua_response"));
    assert_eq!(script.errors(), [""; 0]);
}

#[test]
fn responses_are_changed_too() {
    let code = r#"
function envoy_on_response(handle)
  handle:headers():replace(":status", "418")
  handle:headers():add("x-body", tostring(handle:body():length()))
  handle:body():setBytes("other")
end"#;
    let mut script = Script::new(code, &[]);
    assert!(matches!(script.head(), Flow::Continue));
    let flow = script.with(true, |filter, stream| filter.on_response_head(stream, false));
    assert!(matches!(flow, Flow::Hold(_)));
    let (mut body, mut trailers) = (Bytes::from_static(b"1234"), Headers::new());
    script.with(true, |filter, stream| {
        filter.on_response_held(stream, HeldResponse { body: &mut body, trailers: &mut trailers })
    });
    assert_eq!((script.response.status, &body[..]), (418, &b"other"[..]));
    assert_eq!(shown(&script.response.headers), ["x-body: 4", "content-length: 5"]);
}

#[test]
fn errors_are_counted_and_the_message_goes_on() {
    for code in [
        "function envoy_on_request(handle) error('x') end",
        "function envoy_on_request(handle) handle:nothing() end",
        "function envoy_on_request(handle) coroutine.yield('x') end",
        "function envoy_on_request(handle) handle:respond({}) end",
        "function envoy_on_request(handle) handle:headers():add('a', 'b\\r\\nc: d') end",
        "function envoy_on_request(handle) handle:verifySignature('sha256', 'none', '', 0, '', 0) end",
        "function envoy_on_request(handle) while true do end end",
        "function envoy_on_request(handle) while true do pcall(function() while true do end end) end end",
        "function envoy_on_request(handle) local t = {} while true do t[#t + 1] = string.rep('x', 1000000) .. #t end end",
    ] {
        let mut script = Script::new(code, &[]);
        for count in 1..=2 {
            assert!(matches!(script.head(), Flow::Continue), "{code}");
            assert_eq!(script.errors(), [format!("http.h.lua.errors: {count}")], "{code}");
        }
    }
}

#[test]
fn what_is_kept_of_a_stream_is_of_no_use_later() {
    let code = r#"
function envoy_on_request(handle)
  if kept then kept:headers() ; kept:headers():get("x") end
  kept = handle
end"#;
    let mut script = Script::new(code, &[]);
    script.head();
    assert_eq!(script.errors(), [""; 0]);
    script.head();
    assert_eq!(script.errors().len(), 1);
}

#[test]
fn bad_scripts_are_refused_with_their_line() {
    let refused = |code: &str| {
        let errors = config::compile(&bytes::<pb::Lua>(&yaml(code)), &testing::context()).err().unwrap();
        (errors[0].path.clone(), errors[0].reason.clone())
    };
    let (path, reason) = refused("local x = 1\nfunction envoy_on_request(");
    assert_eq!(path, "default_source_code");
    assert!(reason.contains("script:2:") || reason.contains("script:3:"), "{reason}");
    for code in ["error('x')", "os.exit(1)", "io.open('/etc/passwd')", "require('ffi')", "while true do end"]
    {
        refused(code);
    }
}

#[test]
fn a_call_is_waited_for() {
    let code = r#"
function envoy_on_request(handle)
  local found, answer = pcall(handle.httpCall, handle, "c", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, "", 100)
  handle:headers():add("x-answer", tostring(found) .. " " .. answer)
  local ok, why = pcall(handle.httpCall, handle, "c", {}, "", 100)
  handle:headers():add("x-refused", tostring(ok))
end"#;
    let mut script = Script::new(code, &[]);
    let Flow::Await(future) = script.head() else { panic!("nothing to wait for") };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let resume = runtime.block_on(future);
    assert!(matches!(script.with(false, |_, stream| resume(stream)), Flow::Continue));
    assert_eq!(
        shown(&script.request.headers),
        ["x-answer: false http call cluster invalid. Must be configured", "x-refused: false"]
    );
}

#[test]
fn routes_choose_a_script() {
    let route =
        |yaml: &str| config::compile_route(&bytes::<pb::LuaPerRoute>(yaml), &testing::context()).unwrap();
    let code = "{source_codes: {one: {inline_string: 'function envoy_on_request(h) h:headers():add(\"x\", h:filterContext():get(\"k\")) end'}}}";
    let factory = config::compile(&bytes::<pb::Lua>(code), &testing::context()).unwrap();
    let created = |config: &sampan_filters_api::http::RouteConfig| {
        factory.create(&testing::start(&request(&[]), &info(), &[config]))
    };
    assert!(factory.create(&testing::start(&request(&[]), &info(), &[])).is_none());
    assert!(created(&route("disabled: true")).is_none() && created(&route("name: two")).is_none());
    let mut filter = created(&route("{name: one, filter_context: {k: v}}")).unwrap();
    let (mut head, mut info) = (request(&[]), info());
    let mut stream = Stream { request: &mut head, response: None, info: &mut info, clear_route: &mut false };
    filter.on_request_head(&mut stream, true);
    assert_eq!(shown(&head.headers), ["x: v"]);
    assert!(created(&route("source_code: {inline_string: 'function envoy_on_response(h) end'}")).is_some());
}
