//! What is known of the targets that instances serve, as far as decisions need it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_proto::abilities;
use pointsman_proto::inference::v1::TargetDescription;
use pointsman_types::TargetName;

/// The targets of the fleet. Made anew when one changes; load is not in it.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// Grows with each change.
    pub revision: u64,
    /// Whether some instance was never asked what it serves: what is not here may come.
    pub incomplete: bool,
    targets: BTreeMap<Arc<str>, Arc<Target>>,
    models: BTreeMap<Box<str>, Arc<Target>>,
}

/// A model version in the fleet.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its resource name.
    pub name: Arc<str>,
    /// What it can do.
    pub description: TargetDescription,
    /// Its abilities, as bits.
    pub(crate) abilities: u64,
    /// The zones of the instances that serve it, each once, ready or not.
    pub zones: Vec<Box<str>>,
    /// What the instances that serve it say of whose it is, each list once. Empty: everybody's.
    owners: Vec<Box<[String]>>,
}

impl Target {
    /// Returns the tenants that may use it; none: all.
    pub fn owners(&self) -> Vec<String> {
        let all = self.owners.iter().flat_map(|owners| owners.iter());
        let mut owners: Vec<String> = all.filter(|owner| self.is_for(owner)).cloned().collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Whether a tenant may use it. Where instances differ, all of them must say so: the request may go to any.
    pub fn is_for(&self, tenant: &str) -> bool {
        self.owners.iter().all(|owners| owners.iter().any(|owner| owner == tenant))
    }
}

impl Fleet {
    /// Begins a fleet without targets.
    pub fn new(revision: u64, incomplete: bool) -> Self {
        Self { revision, incomplete, ..Self::default() }
    }

    /// Adds what an instance in this zone serves. A model's name means the target that was added first.
    pub fn add(&mut self, description: &TargetDescription, zone: &str) {
        let name: Arc<str> = description.target.as_str().into();
        let target = self.targets.entry(Arc::clone(&name)).or_insert_with(|| {
            let abilities = abilities::of(description);
            Arc::new(Target {
                name,
                description: description.clone(),
                abilities,
                zones: Vec::new(),
                owners: Vec::new(),
            })
        });
        if !target.zones.iter().any(|known| **known == *zone) {
            Arc::make_mut(target).zones.push(zone.into());
        }
        let owners = &description.tenants;
        if !owners.is_empty() && !target.owners.iter().any(|known| **known == **owners) {
            Arc::make_mut(target).owners.push(owners.as_slice().into());
        }
        let target = Arc::clone(target);
        if let Ok(parsed) = target.name.parse::<TargetName>() {
            match self.models.get_mut(parsed.model()) {
                // The same target, now with one zone more.
                Some(known) if known.name == target.name => *known = target,
                Some(_) => {}
                None => {
                    self.models.insert(parsed.model().into(), target);
                }
            }
        }
    }

    /// Finds a target by its resource name, or by its model's.
    pub fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.models.get(name).or_else(|| self.targets.get(name))
    }

    /// All targets, by name.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.targets.values()
    }

    /// Model names and the targets they mean.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Arc<Target>)> {
        self.models.iter().map(|(name, target)| (&**name, target))
    }
}
