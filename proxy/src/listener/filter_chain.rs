//! Which filter chain takes a connection: by the rules of the chains, or by the listener's matcher tree.
//!
//! Asked once for each connection, by `listener/connection.rs`, after the listener filters.

use std::sync::Arc;

use sampan_filters_api::ConnectionInfo;

use super::chain_match::ChainRules;
use super::chain_tree::Matcher;
use super::config::FilterChain;

/// The chains of a listener.
#[derive(Default)]
pub struct ChainMatcher {
    /// The configured chains.
    pub chains: Vec<Arc<FilterChain>>,
    /// What chooses among them, by index.
    pub choice: ChainChoice,
    /// `default_filter_chain`
    pub default: Option<Arc<FilterChain>>,
}

/// What chooses a chain.
#[derive(Debug)]
pub enum ChainChoice {
    /// The `filter_chain_match` of each chain.
    Rules(ChainRules),
    /// `filter_chain_matcher`
    Tree(Matcher),
}

impl Default for ChainChoice {
    fn default() -> Self {
        Self::Rules(ChainRules::default())
    }
}

impl ChainMatcher {
    /// The chain for a connection.
    pub fn find(&self, info: &ConnectionInfo) -> Option<&Arc<FilterChain>> {
        let found = match &self.choice {
            ChainChoice::Rules(rules) => rules.find(info),
            ChainChoice::Tree(tree) => tree.find(info),
        };
        match found {
            // A tree may name a chain that there is none of: that is a choice, too.
            Some(index) => self.chains.get(index),
            None => self.default.as_ref(),
        }
    }

    /// Every chain, to put another in its place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Arc<FilterChain>> {
        self.chains.iter_mut().chain(&mut self.default)
    }

    /// Every chain, the default one last.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.chains.iter().chain(&self.default)
    }
}
