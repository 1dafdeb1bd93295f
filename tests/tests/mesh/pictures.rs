//! A model that sees, and one that does not.

use anyhow::{Context, Result};
use pointsman_proto::inference::v1::{Ability, DescribeRequest};
use pointsman_testkit::{seeing_model, tools};

use crate::caller::connect;
use crate::program::python;
use crate::service::Pair;

#[tokio::test]
async fn pictures_are_seen_by_who_can_and_refused_by_name() -> Result<()> {
    let eyes = tempfile::tempdir()?;
    seeing_model::write(eyes.path())?;
    let models = [("pip", tools::workspace()?.join("models/demo/model")), ("eyes", eyes.path().to_owned())];
    let models = models.map(|(name, folder)| format!("{{name: {name}, model: \"{}\"}}", folder.display()));
    let mesh = Pair::start(&format!("engine: {{mistralrs: [{}]}}\n", models.join(", ")), &[]).await?;
    let described = connect(&mesh.gateway.address).await?.describe(DescribeRequest {}).await?.into_inner();
    for (model, sees) in [("pip", false), ("eyes", true)] {
        let of = |target: &str| target.starts_with(&format!("models/{model}/"));
        let target = described.targets.iter().find(|it| of(&it.target)).context(model)?;
        assert_eq!(target.abilities.contains(&i32::from(Ability::Images)), sees, "{target:?}");
    }
    python("tests/python/openai_pictures.py", &[&mesh.gateway.address], None).await?;
    mesh.stop().await
}
