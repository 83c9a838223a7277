//! A first, plain version; its full form follows.
use super::config::{Normalize, Underscores};
use sampan_filters_api::{LocalReply, RequestHead};
pub struct Refusal(LocalReply);
impl Refusal {
    pub fn into_reply(self) -> Box<LocalReply> {
        Box::new(self.0)
    }
}
pub fn apply(
    _: &Normalize,
    _: Underscores,
    head: &mut RequestHead,
    _port: Option<u16>,
) -> Result<(), Refusal> {
    if head.path().contains(&b'#') {
        return Err(Refusal(LocalReply::new(400, "path_normalization_failed")));
    }
    Ok(())
}
