//! A first, plain version; its full form follows.
use super::{
    body::Frame, chain::Shared, config::HeaderOps, connection::HttpContext, exchange::Responder, h1::Framing,
    stream::Ended,
};
use sampan_filters_api::{LocalReply, RequestHead};
use sampan_model::route::{DirectResponse, Redirect, RouteMatch};
use std::cell::RefCell;
pub fn missing_host() -> LocalReply {
    LocalReply::new(400, "missing_host_header")
}
pub fn https_redirect(_: &RequestHead) -> LocalReply {
    LocalReply::new(301, "x")
}
pub fn redirect(_: &Redirect, _: &RouteMatch, _: &RequestHead) -> LocalReply {
    LocalReply::new(301, "direct_response")
}
pub fn direct(d: &DirectResponse) -> LocalReply {
    LocalReply::new(d.status, "direct_response").body(d.body.to_vec())
}
pub async fn send(
    context: &HttpContext,
    shared: &RefCell<Shared<'_>>,
    responder: Responder<'_>,
    reply: LocalReply,
    _: &[&HeaderOps],
) -> Ended {
    let started = {
        let mut s = shared.borrow_mut();
        s.response.clear();
        s.response.status = reply.status;
        s.has_response = true;
        s.info.response_code = reply.status;
        s.info.details = reply.details.clone();
        s.info.flags.merge(reply.flags);
        super::header_ops::finish_response(context, &mut s);
        let len = reply.body.len() as u64;
        responder.start(s.response, Framing::Length(len), len == 0, reply.close)
    };
    let Ok(mut started) = started else { return Ended { keep: false } };
    if !reply.body.is_empty() {
        let _ = started.body.start(Frame::Data(reply.body, true));
    }
    let ok = std::future::poll_fn(|cx| started.body.poll_flush(cx)).await.is_ok();
    Ended { keep: started.keep && ok }
}
