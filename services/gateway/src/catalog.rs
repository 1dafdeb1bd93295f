//! The names that callers may use, and what they can ask of each.

use std::collections::BTreeSet;

use pointsman_errors::Error;
use pointsman_policy::fleet::Target;
use pointsman_policy::{CompiledPolicy, Fleet, decide};
use pointsman_proto::inference::v1::TargetDescription;

use crate::exchange::Gateway;

impl Gateway {
    /// Returns the models that callers of this tenant may name, sorted.
    pub(crate) fn models(&self, tenant: &str) -> BTreeSet<String> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let of_fleet = view.fleet.models().filter(|(_, target)| !policy.virtual_models_only && target.is_for(tenant));
        let of_fleet = of_fleet.map(|(name, _)| name);
        policy.virtual_models().chain(of_fleet).map(str::to_owned).collect()
    }

    /// Fails unless callers of this tenant may use this name.
    pub(crate) fn resolve(&self, name: &str, tenant: &str) -> Result<(), Error> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        decide::find(&policy, &view.fleet, name, tenant).map(|_| ())
    }

    /// Describes what callers of this tenant may use: virtual models by their names, and the targets of the fleet.
    /// No tenant: a gateway asks, which is told all of them, and whose they are.
    pub(crate) fn describe(&self, tenant: Option<&str>) -> Vec<TargetDescription> {
        let (policy, view) = (self.policy.get(), self.fleet.view());
        let may_use = |target: &Target| tenant.is_none_or(|tenant| target.is_for(tenant));
        let of_fleet = view.fleet.targets().filter(|target| !policy.virtual_models_only && may_use(target));
        let describe = |target: &Target| {
            let mut description = view.describe(target);
            if tenant.is_some() {
                description.tenants.clear();
            }
            description
        };
        let of_policy = policy.virtual_models().map(|name| describe_virtual(name, &policy, &view.fleet));
        of_policy.chain(of_fleet.map(|target| describe(target))).collect()
    }
}

/// A virtual model can do what any of its targets can: who cannot is not asked.
fn describe_virtual(name: &str, policy: &CompiledPolicy, fleet: &Fleet) -> TargetDescription {
    let names = policy.rules(name).into_iter().flatten().flat_map(|rule| rule.target_names());
    let mut description = TargetDescription { target: name.to_owned(), ..TargetDescription::default() };
    let mut abilities = BTreeSet::new();
    for target in names.filter_map(|name| fleet.find(name)) {
        abilities.extend(target.description.abilities.iter().copied());
        description.context_tokens = description.context_tokens.max(target.description.context_tokens);
    }
    description.abilities = abilities.into_iter().collect();
    description
}
