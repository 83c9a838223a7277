//! What a request must show, and whether it does.
//!
//! A check runs from beginning to end without waiting. Where keys are missing it ends with [`Outcome::Needs`], and is begun anew once
//! they are there; until it is done it changes only a copy of the request.

use std::rc::Rc;
use std::sync::Arc;

use sampan_filters_api::RequestHead;
use sampan_filters_api::info::MetadataValue;

use super::keys::Keys;
use super::provider::{Audiences, Place, Provider};
use super::source::Source;
use super::token::{Status, Token};

/// `JwtRequirement`
#[derive(Debug)]
pub enum Requirement {
    /// Nothing.
    Nothing,
    /// `provider_name`, `provider_and_audiences`
    Provider(Arc<Provider>, Option<Audiences>),
    /// `requires_any`
    Any(Vec<Requirement>),
    /// `requires_all`
    All(Vec<Requirement>),
    /// `allow_missing`, of tokens of these providers.
    AllowMissing(Vec<Arc<Provider>>),
    /// `allow_missing_or_failed`, of tokens of these providers.
    AllowFailed(Vec<Arc<Provider>>),
}

/// How a check ended.
pub enum Outcome {
    /// With a status.
    Done(Status),
    /// It needs the keys of a provider.
    Needs(Arc<Provider>),
}

/// What fetches came to for this request, by the provider's id.
pub type Fetched = Vec<(u64, Option<Arc<Keys>>)>;

/// A check under way.
pub struct Check<'c> {
    /// The request as it came.
    pub request: &'c RequestHead,
    /// The request as it will be, once it is another.
    pub changed: Option<RequestHead>,
    /// For the dynamic metadata.
    pub metadata: Vec<(Box<str>, MetadataValue)>,
    /// The route is to be chosen again.
    pub clear_route: bool,
    /// What was fetched.
    pub fetched: &'c Fetched,
    /// Every provider, by which those of unknown tokens are found.
    pub providers: &'c [Arc<Provider>],
    /// Tokens that were good before, and others.
    pub cached: (u64, u64),
    /// Seconds of Unix time.
    pub now: u64,
}

/// Either a status, or what is missing.
type Step = Result<Status, Arc<Provider>>;

impl Check<'_> {
    /// Checks a requirement.
    pub fn run(&mut self, requirement: &Requirement) -> Outcome {
        match self.check(requirement) {
            Ok(status) => Outcome::Done(status),
            Err(provider) => Outcome::Needs(provider),
        }
    }

    fn check(&mut self, requirement: &Requirement) -> Step {
        match requirement {
            Requirement::Nothing => Ok(Status::Ok),
            Requirement::Provider(provider, audiences) => {
                let providers = std::slice::from_ref(provider);
                self.tokens(providers, Some((provider, audiences.as_ref())), false, false)
            }
            Requirement::AllowMissing(providers) => self.tokens(providers, None, true, false),
            Requirement::AllowFailed(providers) => self.tokens(providers, None, true, true),
            Requirement::All(all) => {
                for one in all {
                    let status = self.check(one)?;
                    if status != Status::Ok {
                        return Ok(status);
                    }
                }
                Ok(Status::Ok)
            }
            Requirement::Any(any) => {
                let mut failed = Status::Missing;
                for one in any {
                    let status = self.check(one)?;
                    if status == Status::Ok {
                        return Ok(Status::Ok);
                    }
                    // What says most is told.
                    let vague = |status| matches!(status, Status::Missing | Status::UnknownIssuer);
                    if !vague(status) || (vague(failed) && status != Status::Missing) {
                        failed = status;
                    }
                }
                Ok(failed)
            }
        }
    }

    fn head(&self) -> &RequestHead {
        self.changed.as_ref().unwrap_or(self.request)
    }

    fn edit(&mut self) -> &mut RequestHead {
        self.changed.get_or_insert_with(|| self.request.clone())
    }

    /// Checks every token in the places of some providers.
    fn tokens(
        &mut self,
        providers: &[Arc<Provider>],
        only: Option<(&Arc<Provider>, Option<&Audiences>)>,
        allow_missing: bool,
        allow_failed: bool,
    ) -> Step {
        // What says who the client is comes from tokens alone.
        for name in providers.iter().flat_map(|provider| provider.own_headers()) {
            if self.head().headers.value(name).is_some() {
                self.edit().headers.remove(name);
            }
        }
        let mut found = Vec::new();
        let mut places: Vec<&Place> = Vec::new();
        for place in providers.iter().flat_map(|provider| &provider.places) {
            if !places.contains(&place) {
                places.push(place);
                place.tokens(self.head(), &mut found);
            }
        }
        let mut status = Status::Missing;
        // The last one first, as in Envoy.
        while let Some((place, text)) = found.pop() {
            status = self.token(providers, only, &place, &text)?;
            if status != Status::Ok && !allow_missing {
                break;
            }
        }
        if status != Status::Ok {
            let provider =
                only.map(|(provider, _)| provider).filter(|provider| !provider.failure_key.is_empty());
            if let Some(provider) = provider {
                let fields = vec![
                    ("code".into(), MetadataValue::Number(status.code().into())),
                    ("message".into(), MetadataValue::String(status.text().into())),
                ];
                self.metadata.push((provider.failure_key.clone(), MetadataValue::Struct(fields)));
            }
        }
        Ok(match status {
            _ if allow_failed => Status::Ok,
            Status::Missing if allow_missing => Status::Ok,
            status => status,
        })
    }

    /// Checks one token.
    fn token(
        &mut self,
        providers: &[Arc<Provider>],
        only: Option<(&Arc<Provider>, Option<&Audiences>)>,
        place: &Place,
        text: &str,
    ) -> Step {
        let cached = match only {
            Some((provider, _)) => {
                let cached = self.cached(provider, text);
                let counted = if cached.is_some() { &mut self.cached.0 } else { &mut self.cached.1 };
                *counted += 1;
                cached
            }
            None => None,
        };
        let token = match &cached {
            Some(token) => Rc::clone(token),
            None => match Token::parse(text) {
                Ok(token) => Rc::new(token),
                Err(status) => return Ok(status),
            },
        };
        let allowed = providers.iter().filter(|provider| provider.places.contains(place));
        if !allowed.into_iter().any(|p| p.issuer.is_empty() || p.issuer == token.issuer) {
            return Ok(Status::UnknownIssuer);
        }
        let by_issuer = || {
            let exact = self.providers.iter().find(|p| !p.issuer.is_empty() && p.issuer == token.issuer);
            exact.or_else(|| self.providers.iter().find(|p| p.issuer.is_empty())).cloned()
        };
        let Some(provider) = only.map(|(provider, _)| Arc::clone(provider)).or_else(by_issuer) else {
            return Ok(Status::UnknownIssuer);
        };
        if let Err(status) = provider.check(&token, only.and_then(|(_, audiences)| audiences), self.now) {
            return Ok(status);
        }
        if cached.is_none() {
            let keys = match self.keys(&provider)? {
                Ok(keys) => keys,
                Err(status) => return Ok(status),
            };
            let status = keys.verify(&token);
            if status != Status::Ok {
                return Ok(status);
            }
            if only.is_some() {
                provider.remember(text, &token, &keys);
            }
        }
        if provider.changes(place) {
            provider.change(&token, place, self.edit());
        }
        provider.metadata(&token, &mut self.metadata);
        self.clear_route |= provider.clears_route();
        Ok(Status::Ok)
    }

    fn cached(&self, provider: &Arc<Provider>, text: &str) -> Option<Rc<Token>> {
        provider.cache?;
        let keys = self.keys(provider).ok().and_then(Result::ok);
        provider.known(text, &keys?)
    }

    /// The keys of a provider.
    fn keys(&self, provider: &Arc<Provider>) -> Result<Result<Arc<Keys>, Status>, Arc<Provider>> {
        let remote = match &provider.source {
            Source::Local(keys) => return Ok(Ok(Arc::clone(keys))),
            Source::Remote(remote) => remote,
        };
        if let Some((_, fetched)) = self.fetched.iter().find(|(id, _)| *id == provider.id) {
            return Ok(fetched.clone().ok_or(Status::FetchFail));
        }
        remote.keys().map(Ok).ok_or_else(|| Arc::clone(provider))
    }
}
