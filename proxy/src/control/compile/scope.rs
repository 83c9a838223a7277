//! Where in a resource the compile step stands, and what it found wrong.
//!
//! A [`Scope`] is a link in a chain from the field at hand up to the resource. Walking down allocates nothing; the path is
//! put together only for an error: `filter_chains[3].filters[0].typed_config.route_config`.

use std::cell::RefCell;
use std::fmt;

/// A refused resource: where, what, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Kind and name of the resource: `listener web`, `bootstrap`.
    pub resource: String,
    /// The field's path in proto names.
    pub path: String,
    /// The value, shortened; empty if there is none to show.
    pub value: String,
    /// What is wrong.
    pub reason: String,
    /// What to do; empty if the reason says it.
    pub hint: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.resource, self.path)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}", self.reason)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// Collects what was found wrong.
#[derive(Debug, Default)]
pub struct Rejects(RefCell<Vec<Reject>>);

impl Rejects {
    /// All of them, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Reject> {
        self.0.into_inner()
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The number found so far; compare before and after to learn whether a part was good.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Adds one made elsewhere.
    pub fn push(&self, reject: Reject) {
        self.0.borrow_mut().push(reject);
    }
}

/// A place in a resource.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    rejects: &'a Rejects,
    resource: &'a str,
    parent: Option<&'a Scope<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Scope<'a> {
    /// The top of a resource.
    pub fn root(resource: &'a str, rejects: &'a Rejects) -> Self {
        Self { rejects, resource, parent: None, step: Step::Root }
    }

    /// A field of this message.
    pub fn field(&'a self, name: &'a str) -> Scope<'a> {
        self.step(Step::Field(name))
    }

    /// An element of this list.
    pub fn index(&'a self, index: usize) -> Scope<'a> {
        self.step(Step::Index(index))
    }

    /// An entry of this map.
    pub fn key(&'a self, key: &'a str) -> Scope<'a> {
        self.step(Step::Key(key))
    }

    fn step(&'a self, step: Step<'a>) -> Scope<'a> {
        Scope { rejects: self.rejects, resource: self.resource, parent: Some(self), step }
    }

    /// Reports that the value here is refused. Returns `None` so that `return scope.reject(..)` reads well.
    pub fn reject<T>(&self, reason: impl Into<String>) -> Option<T> {
        self.report(String::new(), reason.into(), String::new())
    }

    /// As [`Scope::reject`], with the value and a hint.
    pub fn reject_value<T>(
        &self,
        value: impl fmt::Display,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<T> {
        self.report(shorten(&value.to_string()), reason.into(), hint.into())
    }

    fn report<T>(&self, value: String, reason: String, hint: String) -> Option<T> {
        self.rejects.push(Reject {
            resource: self.resource.to_owned(),
            path: self.path(),
            value,
            reason,
            hint,
        });
        None
    }

    /// The resource's kind and name.
    pub fn resource(&self) -> &'a str {
        self.resource
    }

    /// What has been found so far, here and elsewhere.
    pub fn rejects(&self) -> &'a Rejects {
        self.rejects
    }

    /// The path from the resource to here.
    pub fn path(&self) -> String {
        let mut path = self.parent.map(Scope::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) if path.is_empty() => path.push_str(name),
            Step::Field(name) => path.extend([".", name]),
            Step::Index(index) => path.extend(["[", &index.to_string(), "]"]),
            Step::Key(key) => path.extend(["[\"", key, "\"]"]),
        }
        path
    }
}

/// A value short enough for one line.
fn shorten(value: &str) -> String {
    const MOST: usize = 120;
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST + 1).collect();
    if clean.chars().count() > MOST { clean.chars().take(MOST).chain(['…']).collect() } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_tells_where() {
        let rejects = Rejects::default();
        let root = Scope::root("listener web", &rejects);
        let chains = root.field("filter_chains");
        let third = chains.index(3);
        let entry = third.field("typed_per_filter_config");
        let entry = entry.key("a.b");
        assert_eq!(entry.reject_value::<()>("x\ny", "is bad", "do better"), None);
        let found = rejects.into_vec();
        assert_eq!(
            found[0].to_string(),
            "listener web: filter_chains[3].typed_per_filter_config[\"a.b\"] = x y: is bad (do better)"
        );
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shorten(&"é".repeat(500)).chars().count(), 121);
    }
}
