use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_client::{Config, in_process};
use pointsman_policy::decide::Circumstances;
use pointsman_policy::pick::{Prefix, Wish};
use pointsman_policy::{Cause, CompiledPolicy, Facts, decide};
use pointsman_proto::inference::v1::{DescribeResponse, GenerateRequest, Priority, TargetDescription};
use tonic::service::Routes;

use super::{Asking, Fleet, Picked};

const ONE: &str = "models/one/versions/1";
const TWO: &str = "models/two/versions/1";

/// Two instances, each with both targets.
fn fleet() -> Fleet {
    let channel = in_process(Routes::default(), &Config::default());
    let fleet = Fleet::new(["a", "b"].map(|name| (name.to_owned(), channel.clone())).into());
    let targets = [ONE, TWO].map(|target| TargetDescription { target: target.into(), ..TargetDescription::default() });
    for index in 0..2 {
        fleet.describe(index, DescribeResponse { targets: targets.to_vec(), ..DescribeResponse::default() });
    }
    fleet
}

fn pick(fleet: &Fleet, target: &str, seed: u64, now: u64) -> Picked {
    let (view, request) = (fleet.view(), GenerateRequest { model: target.to_owned(), ..GenerateRequest::default() });
    let given = Circumstances { caller_zones: Arc::default(), time: SystemTime::UNIX_EPOCH, seed };
    let decision = decide(&CompiledPolicy::none(), &view.fleet, &Facts::new(&request, "t", ""), given).unwrap();
    let wish = Wish { decision: &decision, home_zone: "", prefix: Prefix::default(), seed };
    view.pick(&Asking { wish, target, tried: &[], tokens: 1, priority: Priority::Default, now }).unwrap()
}

fn picked(fleet: &Fleet, target: &str, now: u64) -> BTreeSet<String> {
    (0..64).map(|seed| pick(fleet, target, seed, now).name.to_string()).collect()
}

#[test]
fn who_is_full_for_one_model_is_asked_for_another() {
    let fleet = fleet();
    let both = BTreeSet::from(["a", "b"].map(str::to_owned));
    assert_eq!((picked(&fleet, ONE, 1), picked(&fleet, TWO, 1)), (both.clone(), both.clone()));
    let full = pick(&fleet, ONE, 0, 1);
    full.cooling.begin(1, Duration::from_secs(1), Cause::Saturated);
    let other = &both - &BTreeSet::from([full.name.to_string()]);
    drop(full);
    assert_eq!((picked(&fleet, ONE, 1000), picked(&fleet, TWO, 1000)), (other.clone(), both.clone()));
    // What an instance says of itself meanwhile changes nothing of it.
    fleet.unready(0);
    let targets = vec![TargetDescription { target: ONE.into(), ..TargetDescription::default() }];
    fleet.describe(0, DescribeResponse { targets, ..DescribeResponse::default() });
    assert_eq!((picked(&fleet, ONE, 1000), picked(&fleet, ONE, 1001)), (other, both));
}
