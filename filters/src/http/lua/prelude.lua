-- What scripts see of a stream: Envoy's handle, made of functions of the one native object behind it.
--
-- A method that has to wait yields a word; the data plane resumes the script when what it waits for is there.
local native_error, yield = error, coroutine.yield
local Handle, Headers, Buffer, Info, Metadata, Namespaces, Ssl, Connection, PublicKey = {}, {}, {}, {}, {}, {}, {}, {}, {}

local function class(methods)
  methods.__index = methods
  methods.__metatable = "protected"
  return methods
end

local function of(methods, fields)
  return setmetatable(fields, methods)
end

-- Headers and trailers. An iteration goes over the fields as they were when it began.
class(Headers)
function Headers:get(name) return self.native:field(self.kind, name) end
function Headers:getAtIndex(name, index) return self.native:field_at(self.kind, name, index) end
function Headers:getNumValues(name) return self.native:field_count(self.kind, name) end
function Headers:add(name, value) self.native:add(self.kind, name, value) end
function Headers:replace(name, value) self.native:replace(self.kind, name, value) end
function Headers:remove(name) self.native:remove(self.kind, name) end
function Headers:setHttp1ReasonPhrase() native_error("setHttp1ReasonPhrase() is not supported", 2) end
function Headers:__pairs()
  local names, values, at = self.native:fields(self.kind)
  at = 0
  return function()
    at = at + 1
    if names[at] ~= nil then return names[at], values[at] end
  end
end

class(Buffer)
function Buffer:length() return self.native:length() end
function Buffer:getBytes(index, length) return self.native:bytes(index, length) end
function Buffer:setBytes(bytes) return self.native:set_bytes(bytes) end

-- A table of values that were converted; it is read alone.
class(Metadata)
function Metadata:get(key) return self.values[key] end
function Metadata:__pairs() return pairs(self.values) end

class(Namespaces)
function Namespaces:get(name) return self.native:namespace(name) end
function Namespaces:set(name, key, value) self.native:set_metadata(name, key, value) end
function Namespaces:__pairs() return pairs(self.native:namespaces()) end

class(Ssl)
for _, name in ipairs({
  "peerCertificatePresented", "peerCertificateValidated", "uriSanLocalCertificate", "sha256PeerCertificateDigest",
  "serialNumberPeerCertificate", "issuerPeerCertificate", "subjectPeerCertificate", "uriSanPeerCertificate",
  "subjectLocalCertificate", "dnsSansPeerCertificate", "dnsSansLocalCertificate", "validFromPeerCertificate",
  "expirationPeerCertificate", "sessionId", "ciphersuiteId", "ciphersuiteString", "tlsVersion",
  "urlEncodedPemEncodedPeerCertificate",
}) do
  Ssl[name] = function(self) return self.native:ssl(name) end
end

class(Connection)
function Connection:ssl()
  return self.native:ssl("is") and of(Ssl, { native = self.native }) or nil
end

-- Of what is no key that can be used there is nothing to get.
class(PublicKey)
function PublicKey:get() return self.key end

class(Info)
for _, name in ipairs({
  "protocol", "routeName", "virtualClusterName", "downstreamLocalAddress", "downstreamDirectLocalAddress",
  "downstreamRemoteAddress", "downstreamDirectRemoteAddress", "requestedServerName",
}) do
  Info[name] = function(self) return self.native:info(name) end
end
function Info:dynamicMetadata() return of(Namespaces, { native = self.native }) end
Info.downstreamSslConnection = Connection.ssl

class(Handle)
function Handle:headers() return of(Headers, { native = self.native, kind = "headers" }) end
function Handle:body(always_wrap_body)
  if not self.native:body_is_here() then yield("body") end
  return self.native:has_body(always_wrap_body == true) and of(Buffer, { native = self.native }) or nil
end
function Handle:bodyChunks()
  self.native:begins_chunks()
  return function()
    if yield("chunk") then return of(Buffer, { native = self.native }) end
  end
end
function Handle:trailers()
  if not self.native:trailers_are_here() then yield("trailers") end
  return self.native:has_trailers() and of(Headers, { native = self.native, kind = "trailers" }) or nil
end
function Handle:respond(headers, body)
  self.native:respond(headers, body)
  yield("respond")
end
function Handle:httpCall(cluster, headers, body, timeout, asynchronous)
  if type(timeout) == "table" then
    timeout, asynchronous = timeout.timeout_ms or 0, timeout.asynchronous
  end
  if asynchronous ~= nil and type(asynchronous) ~= "boolean" then
    native_error("http call asynchronous flag must be 'true', 'false', or empty", 2)
  end
  if not self.native:call(cluster, headers, body, timeout, asynchronous == true) then return end
  local answer, content = yield("call")
  if answer == nil then native_error(content, 2) end
  return answer, content
end
function Handle:metadata() return of(Metadata, { values = {} }) end
function Handle:filterContext() return of(Metadata, { values = self.native:filter_context() }) end
function Handle:streamInfo() return of(Info, { native = self.native }) end
function Handle:connection() return of(Connection, { native = self.native }) end
function Handle:clearRouteCache() self.native:clear_route() end
function Handle:base64Escape(text) return self.native:base64(text) end
function Handle:timestamp(resolution) return self.native:timestamp(resolution) end
function Handle:timestampString(resolution) return string.format("%.0f", self.native:timestamp(resolution)) end
function Handle:importPublicKey(der, length)
  return of(PublicKey, { key = self.native:public_key(der, length) })
end
function Handle:verifySignature(hash, key, signature, signature_length, text, length)
  return self.native:verify(hash, key, signature, signature_length, text, length)
end
for level, name in ipairs({ "logTrace", "logDebug", "logInfo", "logWarn", "logErr", "logCritical" }) do
  Handle[name] = function(self, text) self.native:log(level, text) end
end

EnvoyTimestampResolution = { MILLISECOND = 0, MICROSECOND = 1 }

return function(native) return of(Handle, { native = native }) end
