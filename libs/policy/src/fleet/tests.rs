use pointsman_proto::inference::v1::{Ability, TargetDescription};

use super::Fleet;

fn described(target: &str, abilities: &[Ability]) -> TargetDescription {
    let abilities = abilities.iter().map(|ability| (*ability).into()).collect();
    TargetDescription { target: target.into(), abilities, ..TargetDescription::default() }
}

#[test]
fn a_target_has_each_of_its_zones_once() {
    let mut fleet = Fleet::new(1, false);
    for zone in ["north", "south", "north", "", "west", "south"] {
        fleet.add(&described("models/a/versions/1", &[Ability::Tools]), zone);
    }
    for name in ["models/a/versions/1", "a"] {
        let target = fleet.find(name).unwrap();
        let zones: Vec<&str> = target.zones.iter().map(|zone| &**zone).collect();
        assert_eq!(zones, ["north", "south", "", "west"], "by {name}");
        assert_ne!(target.abilities & 1 << Ability::Tools as u64, 0);
    }
    assert_eq!(fleet.targets().count(), 1);
}

#[test]
fn the_name_of_a_model_means_its_first_target_wherever_that_runs() {
    let mut fleet = Fleet::new(1, false);
    fleet.add(&described("models/a/versions/2", &[]), "north");
    fleet.add(&described("models/a/versions/1", &[]), "north");
    fleet.add(&described("models/a/versions/1", &[]), "south");
    fleet.add(&described("models/a/versions/2", &[]), "west");
    let models: Vec<(&str, &str)> = fleet.models().map(|(name, target)| (name, &*target.name)).collect();
    assert_eq!(models, [("a", "models/a/versions/2")]);
    assert_eq!(fleet.find("a").unwrap().zones.len(), 2, "with the zone that came last");
    assert_eq!(fleet.find("models/a/versions/1").unwrap().zones.len(), 2);
    assert!(fleet.find("b").is_none() && fleet.find("models/a/versions/3").is_none());
}

#[test]
fn a_target_is_for_those_tenants_that_every_instance_of_it_names() {
    let mut fleet = Fleet::new(1, false);
    let owned = |tenants: &[&str]| TargetDescription {
        tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
        ..described("models/a/versions/1", &[])
    };
    let is_for = |fleet: &Fleet| ["acme", "globex", "local"].map(|tenant| fleet.find("a").unwrap().is_for(tenant));
    fleet.add(&owned(&[]), "");
    assert_eq!(is_for(&fleet), [true, true, true]);
    assert!(fleet.find("a").unwrap().owners().is_empty());
    fleet.add(&owned(&["acme", "globex"]), "");
    assert_eq!(is_for(&fleet), [true, true, false]);
    fleet.add(&owned(&["local", "acme"]), "");
    assert_eq!(is_for(&fleet), [true, false, false]);
    assert_eq!(fleet.find("a").unwrap().owners(), ["acme"]);
}
