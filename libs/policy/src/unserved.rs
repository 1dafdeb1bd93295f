//! Targets that a policy names and no instance serves: misspelt, or not there yet.

use std::collections::BTreeSet;

use pointsman_types::TargetName;

use crate::near::nearest;
use crate::{CompiledPolicy, Fleet};

/// A target that no instance of a fleet serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unserved {
    /// The virtual model that leads to it.
    pub virtual_model: String,
    /// The target, as the policy names it.
    pub target: String,
    /// What may have been meant.
    pub near: Option<String>,
}

impl CompiledPolicy {
    /// Returns the targets that the policy names and no instance of this fleet serves, each once for a virtual
    /// model.
    pub fn unserved(&self, fleet: &Fleet) -> BTreeSet<Unserved> {
        let mut unserved = BTreeSet::new();
        for model in self.virtual_models() {
            let names = self.rules(model).into_iter().flatten().flat_map(|rule| rule.target_names());
            unserved.extend(names.filter(|name| fleet.find(name).is_none()).map(|name| Unserved {
                virtual_model: model.to_owned(),
                target: name.to_string(),
                near: near(name, fleet).map(str::to_owned),
            }));
        }
        unserved
    }
}

/// The name in the fleet that is nearest: another version of the same model, or one that is written nearly so.
fn near<'f>(name: &str, fleet: &'f Fleet) -> Option<&'f str> {
    let targets = || fleet.targets().map(|target| &*target.name);
    let Ok(wanted) = name.parse::<TargetName>() else {
        return nearest(name, fleet.models().map(|(model, _)| model).chain(targets()));
    };
    let is_version = |name: &&str| name.parse::<TargetName>().is_ok_and(|other| other.model() == wanted.model());
    nearest(name, targets()).or_else(|| targets().find(is_version))
}

#[cfg(test)]
mod tests {
    use pointsman_proto::inference::v1::TargetDescription;

    use crate::Fleet;
    use crate::source::load;

    #[test]
    fn each_target_that_nobody_serves_is_told_once_for_a_virtual_model() {
        let policy = load(
            "virtual_models:\n\
             - name: chat\n\
            \x20 rules:\n\
            \x20 - name: a\n\
            \x20   when: request.tools > 0\n\
            \x20   targets: [{target: simulated}, {target: simulatd}]\n\
            \x20   fallbacks: [{target: models/pip/versions/1}, {target: models/pip/versions/f5e2d34cd543}]\n\
            \x20 - name: b\n\
            \x20   targets: [{target: simulatd}, {target: models/pipp/versions/1}, {target: gpt}]\n\
             - name: code\n\
            \x20 rules: [{name: a, targets: [{target: simulatd}, {target: code-gateway}, {target: code-gatewy}]}]\n",
        )
        .unwrap();
        let mut fleet = Fleet::new(1, false);
        for target in ["models/simulated/versions/1", "models/pip/versions/1", "code-gateway"] {
            fleet.add(&TargetDescription { target: target.into(), ..TargetDescription::default() }, "");
        }
        let told: Vec<_> = policy.unserved(&fleet).into_iter().map(|u| (u.virtual_model, u.target, u.near)).collect();
        let expected = [
            ("chat", "gpt", None),
            ("chat", "models/pip/versions/f5e2d34cd543", Some("models/pip/versions/1")),
            ("chat", "models/pipp/versions/1", Some("models/pip/versions/1")),
            ("chat", "simulatd", Some("simulated")),
            ("code", "code-gatewy", Some("code-gateway")),
            ("code", "simulatd", Some("simulated")),
        ];
        assert_eq!(told, expected.map(|(model, name, near)| (model.into(), name.into(), near.map(str::to_owned))));
    }
}
