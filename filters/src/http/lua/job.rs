//! The native object behind a script's handle: what of a stream it may see and change, while it runs.
//!
//! A stream is lent to a filter for the time of a hook, and a script may wait from one hook to another. So while the script runs, the
//! stream's parts are swapped into the job ([`Entered`]), and back when it waits or ends; in between the object refuses everything.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mlua::{Error, Lua, LuaString, Table, UserData, UserDataMethods, Value};
use sampan_filters_api::http::Stream;
use sampan_filters_api::info::MetadataValue;
use sampan_filters_api::{Call, Headers, Known, LocalReply, RequestHead, ResponseHead, StreamInfo};

use super::fields;
use super::signature::PublicKey;
use super::values::{from_lua, to_lua};

/// What a script works on.
pub(super) struct Job {
    active: bool,
    pub response_side: bool,
    pub request: RequestHead,
    pub response: ResponseHead,
    info: StreamInfo,
    /// The body or the chunk that the script has in its hands.
    pub body: Bytes,
    /// Whether the script has put other bytes in its place.
    pub replaced: bool,
    /// Whether that can still have an effect.
    pub replaceable: bool,
    pub progress: Progress,
    pub trailers: Headers,
    /// What the script answers, or asks for.
    pub reply: Option<Box<LocalReply>>,
    pub call: Option<Call>,
    /// Calls that nobody waits for.
    pub beside: Vec<Call>,
    pub headers_changed: bool,
    pub clear_route: bool,
    context: Option<Arc<MetadataValue>>,
}

/// How far the message has come.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// The head has gone on.
    pub continued: bool,
    /// The whole body is here.
    pub body: bool,
    /// The message has ended.
    pub ended: bool,
    /// Chunks are asked for.
    pub chunks: bool,
}

/// The longest body that a script may ask for, in bytes.
pub(super) const MOST_HELD: usize = 1024 * 1024;
/// The longest answer to a call.
const LONGEST_ANSWER: usize = 1024 * 1024;

impl Job {
    pub fn new(info: &StreamInfo, response_side: bool, context: Option<Arc<MetadataValue>>) -> Self {
        Self {
            active: false,
            response_side,
            request: RequestHead::default(),
            response: ResponseHead::default(),
            info: StreamInfo::new(Rc::clone(&info.connection), Instant::now(), SystemTime::UNIX_EPOCH),
            body: Bytes::new(),
            replaced: false,
            replaceable: false,
            progress: Progress::default(),
            trailers: Headers::new(),
            reply: None,
            call: None,
            beside: Vec::new(),
            headers_changed: false,
            clear_route: false,
            context,
        }
    }

    fn swap(&mut self, stream: &mut Stream<'_>) {
        std::mem::swap(stream.request, &mut self.request);
        std::mem::swap(stream.info, &mut self.info);
        if let Some(response) = stream.response.as_deref_mut() {
            std::mem::swap(response, &mut self.response);
        }
    }
}

/// A stream that is lent to a script.
pub(super) struct Entered<'e, 's> {
    job: &'e RefCell<Job>,
    stream: &'e mut Stream<'s>,
}

impl<'e, 's> Entered<'e, 's> {
    pub fn new(job: &'e RefCell<Job>, stream: &'e mut Stream<'s>) -> Self {
        let mut lent = job.borrow_mut();
        lent.active = true;
        lent.swap(stream);
        drop(lent);
        Self { job, stream }
    }
}

impl Drop for Entered<'_, '_> {
    fn drop(&mut self) {
        let mut lent = self.job.borrow_mut();
        lent.active = false;
        lent.swap(self.stream);
    }
}

/// What Lua holds.
pub(super) struct Native(pub Rc<RefCell<Job>>);

impl Native {
    fn with<R>(&self, act: impl FnOnce(&mut Job) -> Result<R, Error>) -> Result<R, Error> {
        let mut job = self.0.borrow_mut();
        if !job.active {
            return Err(wrong("object used outside of proper scope"));
        }
        act(&mut job)
    }
}

pub(super) fn wrong(what: &str) -> Error {
    Error::RuntimeError(what.to_owned())
}

/// Which fields are meant: `headers` or `trailers`.
type Kind = LuaString;

fn is_trailers(kind: &Kind) -> bool {
    kind.as_bytes()[..] == *b"trailers"
}

impl UserData for Native {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        header_methods(methods);
        body_methods(methods);
        metadata_methods(methods);
        methods.add_method("info", |lua, native, name: String| {
            native.with(|job| lua.pack(super::values::fact(&job.info, &name)))
        });
        methods.add_method("ssl", |lua, native, name: String| {
            native.with(|job| super::values::ssl(lua, &job.info, &name))
        });
        methods.add_method("respond", |_, native, (headers, body): (Table, Option<LuaString>)| {
            native.with(|job| respond(job, &headers, body))
        });
        methods.add_method(
            "call",
            |_, native, (cluster, headers, body, timeout, beside): (String, Table, Option<LuaString>, f64, bool)| {
                native.with(|job| {
                    let call = fields::call(&cluster, &headers, body, timeout, LONGEST_ANSWER)?;
                    if beside {
                        job.beside.push(call);
                    } else {
                        job.call = Some(call);
                    }
                    Ok(!beside)
                })
            },
        );
        methods.add_method("clear_route", |_, native, ()| {
            native.with(|job| {
                job.clear_route = true;
                Ok(())
            })
        });
        methods.add_method("public_key", |_, _, (der, length): (LuaString, usize)| {
            Ok(PublicKey::parse(first(&der.as_bytes(), length)?).map(|_| der.clone()))
        });
        methods.add_method("verify", verify);
        methods.add_method("base64", |_, _, text: LuaString| Ok(STANDARD.encode(&text.as_bytes()[..])));
        methods.add_method("timestamp", |_, _, unit: Option<u32>| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
            match unit.unwrap_or(0) {
                0 => Ok(since.as_millis() as f64),
                1 => Ok(since.as_micros() as f64),
                _ => Err(wrong("timestamp format must be MILLISECOND or MICROSECOND")),
            }
        });
        methods.add_method("log", |_, _, (level, text): (u8, LuaString)| {
            let text = text.to_string_lossy();
            match level {
                1 => tracing::trace!(target: "lua", "script log: {text}"),
                2 => tracing::debug!(target: "lua", "script log: {text}"),
                3 => tracing::info!(target: "lua", "script log: {text}"),
                4 => tracing::warn!(target: "lua", "script log: {text}"),
                _ => tracing::error!(target: "lua", "script log: {text}"),
            }
            Ok(())
        });
    }
}

/// The hash, the key, the signature and the text, the last two with their lengths.
type Signed = (String, LuaString, LuaString, usize, LuaString, usize);

fn verify(_: &Lua, _: &Native, signed: Signed) -> Result<(bool, Option<String>), Error> {
    let (hash, key, signature, signature_length, text, length) = signed;
    let key = PublicKey::parse(&key.as_bytes()).ok_or_else(|| wrong("invalid public key"))?;
    let (signature, text) = (signature.as_bytes(), text.as_bytes());
    let made = key.verify(&hash, first(&signature, signature_length)?, first(&text, length)?);
    Ok((made.is_ok(), made.err()))
}

fn first(bytes: &[u8], length: usize) -> Result<&[u8], Error> {
    bytes.get(..length).ok_or_else(|| wrong("the length is beyond the end of the string"))
}

fn respond(job: &mut Job, headers: &Table, body: Option<LuaString>) -> Result<(), Error> {
    if job.response_side {
        return Err(wrong("respond not currently supported in the response path"));
    }
    if job.progress.continued {
        return Err(wrong("respond() cannot be called if headers have been continued"));
    }
    let mut all = fields::table(headers)?;
    let status = all.value(":status").and_then(|text| std::str::from_utf8(text).ok()?.parse::<u16>().ok());
    let Some(status) = status.filter(|status| (200..600).contains(status)) else {
        return Err(wrong(":status must be between 200-599"));
    };
    all.remove(":status");
    let mut reply = LocalReply::new(status, "lua_response");
    reply.body = body.map(|text| Bytes::copy_from_slice(&text.as_bytes())).unwrap_or_default();
    if !reply.body.is_empty() {
        all.set_known(Known::ContentLength, reply.body.len().to_string());
    }
    reply.headers = all;
    reply.as_is = true;
    job.reply = Some(Box::new(reply));
    Ok(())
}

fn header_methods<M: UserDataMethods<Native>>(methods: &mut M) {
    methods.add_method("field", |lua, native, (kind, name): (Kind, LuaString)| {
        native.with(|job| match fields::value(job, is_trailers(&kind), &name.as_bytes()) {
            Some(value) => lua.create_string(&value).map(Value::String),
            None => Ok(Value::Nil),
        })
    });
    methods.add_method("field_at", |lua, native, (kind, name, index): (Kind, LuaString, i64)| {
        native.with(|job| {
            let values = fields::values(job, is_trailers(&kind), &name.as_bytes());
            match usize::try_from(index).ok().and_then(|index| values.get(index)) {
                Some(value) => lua.create_string(value).map(Value::String),
                None => Ok(Value::Nil),
            }
        })
    });
    methods.add_method("field_count", |_, native, (kind, name): (Kind, LuaString)| {
        native.with(|job| Ok(fields::values(job, is_trailers(&kind), &name.as_bytes()).len()))
    });
    methods.add_method("fields", |lua, native, kind: Kind| {
        native.with(|job| {
            let (names, values) = (lua.create_table()?, lua.create_table()?);
            for (name, value) in fields::all(job, is_trailers(&kind)) {
                names.raw_push(lua.create_string(&name)?)?;
                values.raw_push(lua.create_string(&value)?)?;
            }
            Ok((names, values))
        })
    });
    methods.add_method("add", |_, native, (kind, name, value): (Kind, LuaString, LuaString)| {
        native.with(|job| fields::add(job, is_trailers(&kind), &name.as_bytes(), &value.as_bytes()))
    });
    methods.add_method("replace", |_, native, (kind, name, value): (Kind, LuaString, LuaString)| {
        native.with(|job| fields::replace(job, is_trailers(&kind), &name.as_bytes(), &value.as_bytes()))
    });
    methods.add_method("remove", |_, native, (kind, name): (Kind, LuaString)| {
        native.with(|job| {
            fields::remove(job, is_trailers(&kind), &name.as_bytes());
            Ok(())
        })
    });
}

fn body_methods<M: UserDataMethods<Native>>(methods: &mut M) {
    methods.add_method("body_is_here", |_, native, ()| {
        native.with(|job| {
            if !job.progress.body && job.progress.continued {
                return Err(wrong("cannot call body() after body streaming has started"));
            }
            Ok(job.progress.body || job.progress.ended)
        })
    });
    methods.add_method("has_body", |_, native, always: bool| {
        native.with(|job| Ok(always || !job.body.is_empty()))
    });
    methods.add_method("begins_chunks", |_, native, ()| {
        native.with(|job| {
            if job.progress.body || job.progress.continued {
                return Err(wrong("cannot call bodyChunks after body processing has begun"));
            }
            job.progress.chunks = true;
            Ok(())
        })
    });
    methods.add_method("trailers_are_here", |_, native, ()| native.with(|job| Ok(job.progress.ended)));
    methods.add_method("has_trailers", |_, native, ()| native.with(|job| Ok(!job.trailers.is_empty())));
    methods.add_method("length", |_, native, ()| native.with(|job| Ok(job.body.len())));
    methods.add_method("bytes", |lua, native, (index, length): (usize, usize)| {
        native.with(|job| match index.checked_add(length).filter(|end| *end <= job.body.len()) {
            Some(end) => lua.create_string(&job.body[index..end]),
            None => Err(wrong("index/length must be >= 0 and (index + length) must be <= buffer size")),
        })
    });
    methods.add_method("set_bytes", |_, native, bytes: LuaString| {
        native.with(|job| {
            if !job.replaceable {
                return Err(wrong("setBytes() has no effect after the script has waited for something else"));
            }
            job.body = Bytes::copy_from_slice(&bytes.as_bytes());
            job.replaced = true;
            if job.progress.body {
                let length = job.body.len().to_string();
                let headers =
                    if job.response_side { &mut job.response.headers } else { &mut job.request.headers };
                headers.set_known(Known::ContentLength, length);
            }
            Ok(job.body.len())
        })
    });
}

fn metadata_methods<M: UserDataMethods<Native>>(methods: &mut M) {
    methods.add_method("namespace", |lua, native, name: String| {
        native.with(|job| match job.info.metadata.namespace(&name) {
            Some(value) => to_lua(lua, value),
            None => Ok(Value::Nil),
        })
    });
    methods.add_method("namespaces", |lua, native, ()| {
        native.with(|job| {
            let all = lua.create_table()?;
            for (name, value) in job.info.metadata.iter() {
                all.raw_set(name, to_lua(lua, value)?)?;
            }
            Ok(all)
        })
    });
    methods.add_method("set_metadata", |_, native, (name, key, value): (String, String, Value)| {
        native.with(|job| {
            job.info.metadata.set(&name, &key, from_lua(&value, 0)?);
            Ok(())
        })
    });
    methods.add_method("filter_context", |lua: &Lua, native, ()| {
        native.with(|job| match &job.context {
            Some(context) => to_lua(lua, context),
            None => lua.create_table().map(Value::Table),
        })
    });
}
