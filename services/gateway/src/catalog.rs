//! The names that callers may use, and what they can ask of each.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_errors::Error;
use pointsman_policy::decide::{self, Found};
use pointsman_policy::fleet::Target;
use pointsman_policy::{CompiledPolicy, Fleet};
use pointsman_proto::inference::v1::TargetDescription;

use crate::exchange::Gateway;

impl Gateway {
    /// Returns the models that callers of this tenant may name, sorted, and what each can do.
    pub(crate) fn models(&self, tenant: &str) -> BTreeMap<String, TargetDescription> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let of_fleet = view.fleet.models().filter(|(_, target)| !policy.virtual_models_only && target.is_for(tenant));
        let of_fleet = of_fleet.map(|(name, target)| (name.to_owned(), target.description.clone()));
        let of_policy = policy.virtual_models();
        let of_policy =
            of_policy.map(|name| (name.to_owned(), describe_virtual(name, Some(tenant), &policy, &view.fleet)));
        // A virtual model's name hides that of a model.
        of_fleet.chain(of_policy).collect()
    }

    /// Describes what callers of this tenant mean by this name. Fails unless they may use it.
    pub(crate) fn resolve(&self, name: &str, tenant: &str) -> Result<TargetDescription, Error> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        Ok(match decide::find(&policy, &view.fleet, name, tenant)? {
            Found::VirtualModel(_) => describe_virtual(name, Some(tenant), &policy, &view.fleet),
            Found::Target(target) => target.description.clone(),
        })
    }

    /// Describes what callers of this tenant may use: virtual models by their names, and the targets of the fleet.
    /// No tenant: a gateway asks, which is told all of them, and whose they are.
    pub(crate) fn describe(&self, tenant: Option<&str>) -> Vec<TargetDescription> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let of_fleet = view.fleet.targets().filter(|target| !policy.virtual_models_only && may_use(tenant, target));
        let describe = |target: &Target| {
            let mut description = view.describe(target);
            if tenant.is_some() {
                description.tenants.clear();
            }
            description
        };
        let of_policy = policy.virtual_models().map(|name| describe_virtual(name, tenant, &policy, &view.fleet));
        of_policy.chain(of_fleet.map(|target| describe(target))).collect()
    }
}

fn may_use(tenant: Option<&str>, target: &Target) -> bool {
    tenant.is_none_or(|tenant| target.is_for(tenant))
}

/// A virtual model can do what any of the targets can that this tenant may use: who cannot is not asked. No tenant:
/// all of its targets.
fn describe_virtual(name: &str, tenant: Option<&str>, policy: &CompiledPolicy, fleet: &Fleet) -> TargetDescription {
    let names = policy.rules(name).into_iter().flatten().flat_map(|rule| rule.target_names());
    let mut description = TargetDescription { target: name.to_owned(), ..TargetDescription::default() };
    let (mut abilities, mut widths) = (BTreeSet::new(), BTreeSet::new());
    let targets: Vec<_> = names.filter_map(|name| fleet.find(name)).filter(|target| may_use(tenant, target)).collect();
    for target in &targets {
        abilities.extend(target.description.abilities.iter().copied());
        widths.insert(target.description.embedding_dimensions);
        description.context_tokens = description.context_tokens.max(target.description.context_tokens);
    }
    description.embeds_only = !targets.is_empty() && targets.iter().all(|target| target.description.embeds_only);
    // Where they differ, what comes is not known.
    widths.remove(&0);
    if let (1, Some(width)) = (widths.len(), widths.first()) {
        description.embedding_dimensions = *width;
    }
    description.abilities = abilities.into_iter().collect();
    description
}
