//! Scripts: what they see, change, wait for and answer, and what becomes of those that fail.

use crate::case::{Case, Group, case};
use crate::harness::bootstrap::{Bootstrap, indent};
use crate::harness::client::h2::Call;
use crate::harness::upstream::answer;

/// Lua.
pub fn group() -> Group {
    Group { name: "lua", bootstrap: bootstrap(), cases: cases() }
}

fn script(code: &str) -> String {
    let lines = indent(code, 8);
    format!(
        "- name: envoy.filters.http.lua\n  typed_config:\n    '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\n    filter_context: {{key: filter}}\n    source_codes: {{named: {{inline_string: 'function envoy_on_request(h) h:headers():add(\"x-named\", h:filterContext():get(\"key\")) end'}}}}\n    default_source_code:\n      inline_string: |\n{lines}"
    )
}

const HEADERS: &str = r#"
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:add("x-path", headers:get(":path"))
  headers:add("x-method", headers:get(":method") .. " " .. headers:get(":authority"))
  headers:add("x-many", (headers:get("x") or "none") .. "/" .. tostring(headers:getNumValues("x")) .. "/" .. (headers:getAtIndex("x", 1) or "none") .. "/" .. (headers:getAtIndex("x", 9) or "none"))
  headers:replace("y", "replaced")
  headers:remove("z")
  local names = ""
  for name, value in pairs(headers) do
    if name == "x" or name == "y" then names = names .. name .. "=" .. value .. ";" end
  end
  headers:add("x-names", names)
  headers:add("x-context", handle:filterContext():get("key"))
  headers:add("x-metadata", handle:metadata():get("nothing") or "none")
  headers:add("x-base64", handle:base64Escape("hello"))
  headers:add("x-type", type(handle:timestamp()))
  headers:add("x-ssl", tostring(handle:connection():ssl()))
end
function envoy_on_response(handle)
  local headers = handle:headers()
  headers:add("x-status", headers:get(":status"))
  headers:replace("x-answer", "changed")
  headers:remove("x-gone")
  if headers:get("x-other-status") ~= nil then headers:replace(":status", headers:get("x-other-status")) end
end"#;

const INFO: &str = r#"
function envoy_on_request(handle)
  local info = handle:streamInfo()
  local headers = handle:headers()
  headers:add("x-protocol", info:protocol())
  headers:add("x-route", info:routeName())
  headers:add("x-server-name", "<" .. info:requestedServerName() .. ">")
  headers:add("x-tls", tostring(info:downstreamSslConnection()))
  local metadata = info:dynamicMetadata()
  metadata:set("own", "text", "value")
  metadata:set("own", "number", 5)
  metadata:set("own", "tree", {a = {b = true}, list = {1, 2}})
  headers:add("x-read", metadata:get("own")["tree"]["list"][2] .. metadata:get("own").text)
  headers:add("x-none", metadata:get("none") or "none")
end"#;

const BODY: &str = r#"
function envoy_on_request(handle)
  local body = handle:body()
  if body == nil then
    handle:headers():add("x-body", "none")
  else
    handle:headers():add("x-body", body:length() .. ":" .. tostring(body:getBytes(0, body:length())))
    if handle:headers():get("x-replace") ~= nil then body:setBytes("replaced by more") end
  end
end
function envoy_on_response(handle)
  local body = handle:body()
  handle:headers():add("x-length", tostring(body and body:length()))
  if body ~= nil then body:setBytes("<" .. body:getBytes(0, body:length()) .. ">") end
end"#;

const CHUNKS: &str = r"
function envoy_on_response(handle)
  for chunk in handle:bodyChunks() do
    if chunk:length() > 0 then chunk:setBytes(string.upper(chunk:getBytes(0, chunk:length()))) end
  end
end";

const RESPOND: &str = r#"
function envoy_on_request(handle)
  local how = handle:headers():get("x-how")
  if how == "text" then
    handle:respond({[":status"] = "403", ["x-one"] = "1", ["x-many"] = {"a", "b"}}, "nope")
  elseif how == "empty" then
    handle:respond({[":status"] = "204"})
  elseif how == "bad" then
    handle:respond({[":status"] = "99"}, "")
  elseif how == "error" then
    error("oops")
  elseif how == "call" then
    local headers, body = handle:httpCall("b", {[":method"] = "POST", [":path"] = "/called", [":authority"] = "other", ["x-list"] = {"1", "2"}}, "asked", 1000)
    handle:headers():add("x-answer", headers[":status"] .. " " .. tostring(body))
  elseif how == "unknown" then
    handle:httpCall("nowhere", {[":method"] = "GET", [":path"] = "/", [":authority"] = "o"}, "", 100)
  elseif how == "incomplete" then
    handle:httpCall("b", {[":method"] = "GET"}, "", 100)
  elseif how == "refused" then
    local headers, body = handle:httpCall("refused", {[":method"] = "GET", [":path"] = "/", [":authority"] = "o"}, nil, 1000)
    handle:respond({[":status"] = "502"}, headers[":status"])
  elseif how == "protected" then
    local ok, headers = pcall(handle.httpCall, handle, "b", {[":method"] = "GET", [":path"] = "/", [":authority"] = "o"}, nil, 1000)
    handle:headers():add("x-ok", tostring(ok) .. tostring(headers[":status"]))
  elseif how == "route" then
    handle:headers():replace(":path", "/b")
  end
end
function envoy_on_response(handle)
  if handle:headers():get("x-respond") ~= nil then handle:respond({[":status"] = "500"}, "") end
  handle:headers():add("x-after", "yes")
end"#;

/// The header `x-check` says which key, which hash, which signature, and what else.
const SIGNED: &str = concat!(
    include_str!("../../fixtures/signatures.lua"),
    r#"
local function bytes(hex) return (hex:gsub("..", function(two) return string.char(tonumber(two, 16)) end)) end
function envoy_on_request(handle)
  local key, hash, of, how = handle:headers():get("x-check"):match("(%w+) (%w+) (%w+) ?(%w*)")
  local der, text, signature = bytes(KEYS[key] or "00"), "hello\0world", bytes(SIGNATURES[key][of])
  if how == "text" then text = "hello\0World" end
  if how == "garbage" then der = "garbage" end
  if how == "trailing" then der = der .. "x" end
  if how == "cut" then signature = signature:sub(1, -2) end
  local length = string.len(der)
  if how == "short" then length = length - 1 end
  local imported = handle:importPublicKey(der, length)
  local got = imported:get()
  handle:headers():add("x-got", type(got))
  if how == "unknown" then got = "unknown" end
  local ok, why = handle:verifySignature(hash, got, signature, string.len(signature), text, string.len(text))
  handle:headers():add("x-ok", tostring(ok))
  handle:headers():add("x-why", tostring(why))
end"#
);

fn bootstrap() -> Bootstrap {
    let route = |fields: &str| {
        format!(
            "typed_per_filter_config: {{envoy.filters.http.lua: {{'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute, {fields}}}}}"
        )
    };
    let routes = format!(
        "- {{match: {{prefix: /off}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /named}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /unnamed}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /own}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /context}}, route: {{cluster: a}}, {}}}\n- {{match: {{prefix: /b}}, route: {{cluster: b}}}}\n- {{match: {{prefix: /}}, name: last, route: {{cluster: a}}, response_headers_to_add: [{{header: {{key: x-own, value: '%DYNAMIC_METADATA(own)%'}}}}]}}\n",
        route("disabled: true"),
        route("name: named"),
        route("name: other"),
        route(
            "source_code: {inline_string: 'function envoy_on_request(h) h:headers():add(\"x-of-route\", \"1\") end'}"
        ),
        route("filter_context: {key: route}"),
    );
    Bootstrap::new()
        .http_filters("headers", &script(HEADERS), &routes)
        .http_filters("info", &script(INFO), &routes)
        .http_filters("body", &script(BODY), &routes)
        .http_filters("chunks", &script(CHUNKS), &routes)
        .http_filters("signed", &script(SIGNED), &routes)
        .http_filters("respond", &script(RESPOND), &routes)
}

fn cases() -> Vec<Case> {
    let with = |name: &'static str, listener, path: &str, lines: &str| {
        case(name, listener).get_with(path, &format!("host: test\r\n{lines}"))
    };
    let how = |name, how: &str| with(name, "respond", "/", &format!("x-how: {how}\r\n"));
    let post = |name: &'static str, lines: &str, body: &str| {
        let length = body.len();
        case(name, "body")
            .send(format!("POST / HTTP/1.1\r\nhost: test\r\n{lines}content-length: {length}\r\n\r\n{body}"))
    };
    let signed = |name, what: &str| with(name, "signed", "/", &format!("x-check: {what}\r\n")).via("a");
    let answered = |name: &'static str, listener, lines: &str| {
        case(name, listener).play("a", answer(format!("HTTP/1.1 200 OK\r\n{lines}"))).get("/")
    };
    vec![
        with("headers", "headers", "/p?q", "x: 1\r\nx: 2\r\ny: a\r\ny: b\r\nz: 3\r\n").want("up:h:x-many", "1,2/2/2/none"),
        with("no-headers", "headers", "/", "").want("up:h:y", "replaced"),
        answered("response-headers", "headers", "x-answer: 1\r\nx-gone: 1\r\ncontent-length: 0\r\n\r\n").want("h:x-answer", "changed"),
        answered("response-status", "headers", "x-other-status: 418\r\ncontent-length: 0\r\n\r\n").want("status", 418),
        with("off", "headers", "/off", "").absent("up:h:x-path"),
        with("named", "headers", "/named", "").want("up:h:x-named", "filter"),
        with("unnamed", "headers", "/unnamed", ""),
        with("of-the-route", "headers", "/own", "").want("up:h:x-of-route", 1),
        with("context", "headers", "/context", "").want("up:h:x-context", "route"),
        with("info", "info", "/", "").want("up:h:x-protocol", "HTTP/1.1").want_in("h:x-own", "\"number\":5"),
        case("info-h2", "info").call(Call::get("/")).want("up:h:x-protocol", "HTTP/2"),
        post("body", "", "hello").want("up:h:x-body", "5:hello"),
        post("body-replaced", "x-replace: 1\r\n", "hello").want("up:body", "replaced by more"),
        with("no-body", "body", "/", "").want("up:h:x-body", "none"),
        case("chunked-body", "body")
            .send("POST / HTTP/1.1\r\nhost: test\r\nx-replace: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .want("up:body", "replaced by more"),
        answered("response-body", "body", "content-length: 2\r\n\r\nhi").want("body", "<hi>").want("h:content-length", 4),
        answered("response-chunked-body", "body", "transfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n").want("body", "<hi>"),
        answered("response-no-body", "body", "content-length: 0\r\n\r\n"),
        answered("chunks", "chunks", "transfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n").want("body", "HI"),
        how("respond", "text").refused(403, "-", "lua_response").want("body", "nope").want("h:x-after", "yes"),
        how("respond-empty", "empty").status(204),
        how("respond-badly", "bad").via("a"),
        how("error", "error").via("a"),
        how("call", "call").want("up", "b").want("2.up", "a").want_in("2.up:h:x-answer", "200 "),
        how("call-unknown", "unknown").via("a"),
        how("call-incomplete", "incomplete").via("a"),
        how("call-refused", "refused").status(502).want("body", "503"),
        how("call-protected", "protected").want("2.up:h:x-ok", "true200"),
        how("rerouted", "route").via("b"),
        answered("no-respond-to-responses", "respond", "x-respond: 1\r\ncontent-length: 0\r\n\r\n").absent("h:x-after"),
        signed("signed-rsa-sha1", "rsa sha1 sha1").want("up:h:x-ok", true),
        signed("signed-rsa-sha256", "rsa sha256 sha256").want("up:h:x-ok", true).want("up:h:x-why", "nil"),
        signed("signed-rsa-sha384", "rsa SHA384 sha384").want("up:h:x-ok", true),
        signed("signed-rsa-sha512", "rsa sha512 sha512").want("up:h:x-ok", true),
        signed("signed-rsa-sha224", "rsa sha224 sha224"),
        signed("signed-rsa-short", "rsa1024 sha256 sha256"),
        signed("signed-p256-sha1", "p256 sha1 sha1").want("up:h:x-ok", true),
        signed("signed-p256", "p256 sha256 sha256").want("up:h:x-ok", true),
        signed("signed-p256-sha512", "p256 sha512 sha512").want("up:h:x-ok", true),
        signed("signed-p384", "p384 sha384 sha384").want("up:h:x-ok", true),
        signed("signed-p384-sha1", "p384 sha1 sha1"),
        signed("signed-p384-sha256", "p384 sha256 sha256").want("up:h:x-ok", true),
        signed("signed-p521", "p521 sha512 sha512").want("up:h:x-ok", true),
        signed("signed-p521-sha1", "p521 sha1 sha1").want("up:h:x-ok", true),
        signed("signed-ed25519", "ed25519 sha512 sha512").want("up:h:x-ok", false),
        signed("signed-other-hash", "rsa sha256 sha512").want("up:h:x-ok", false),
        signed("signed-no-hash", "rsa md5 sha512").want("up:h:x-ok", false),
        signed("signed-other-text", "rsa sha256 sha256 text").want("up:h:x-ok", false),
        signed("signed-ec-other-text", "p256 sha256 sha256 text").want("up:h:x-ok", false),
        signed("signed-cut", "rsa sha256 sha256 cut").want("up:h:x-ok", false),
        signed("signed-garbage", "rsa sha256 sha256 garbage"),
        signed("signed-trailing", "rsa sha256 sha256 trailing"),
        signed("signed-key-cut", "rsa sha256 sha256 short"),
        signed("signed-unknown-key", "rsa sha256 sha256 unknown"),
        case("signed-counted", "signed").get("/").stats(r"http\.signed\.lua\."),
        case("counted", "respond").get("/").stats(r"http\.respond\.lua\."),
    ]
}
