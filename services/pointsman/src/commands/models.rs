//! `pointsman models`

use anyhow::Result;
use pointsman_proto::inference::v1::{Ability, DescribeRequest};
use pointsman_types::TargetName;

use crate::arguments::ClientOptions;
use crate::client::{Mesh, explain};

pub(crate) async fn run(options: ClientOptions) -> Result<()> {
    let mut mesh = Mesh::new(&options)?;
    let request = mesh.request(DescribeRequest {})?;
    let described = mesh.inference.describe(request).await.map_err(|status| explain(&status, &options.address))?;
    println!("{:<16} {:<40} {:>8}  ABILITIES", "MODEL", "TARGET", "CONTEXT");
    for target in described.into_inner().targets {
        let parsed = target.target.parse::<TargetName>();
        // A virtual model is no target: its name is all there is.
        let (model, of) = parsed.as_ref().map_or((&*target.target, "-"), |name| (name.model(), &target.target));
        let abilities: Vec<String> = target.abilities().map(name).collect();
        let now = if target.unavailable { "unavailable now; " } else { "" };
        println!("{model:<16} {of:<40} {:>8}  {now}{}", target.context_tokens, abilities.join(" "));
    }
    Ok(())
}

fn name(ability: Ability) -> String {
    ability.as_str_name().trim_start_matches("ABILITY_").to_ascii_lowercase()
}
