//! `images`, `import`, `rmi`

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use super::client::{Client, segment};
use super::output::{self, FormatArguments};
use super::pull::{self, JsonArgument};
use crate::service::model::{Image, ImportImage, List};

/// The words that start a source, as they are in the API.
const TRANSPORTS: [&str; 6] = ["file", "oci", "oci-archive", "docker-archive", "dir", "tar"];

/// What starts a root that the daemon makes: `root:busybox`, `root:debian:SUITE`.
const ROOT: &str = "root:";

/// What starts an image of a registry.
pub const DOCKER: &str = "docker://";

/// A source, its path made absolute; none when the text names an image. A path alone is a file that
/// bulkhead-image made.
pub fn source(text: &str) -> Result<Option<String>, CliError> {
    let failed = |source: std::io::Error| CliError::Argument {
        what: "The source",
        given: text.to_owned(),
        message: source.to_string(),
    };
    let absolute = |path: &str| -> Result<String, CliError> {
        let path = std::path::absolute(path).map_err(failed)?;
        Ok(path.to_string_lossy().into_owned())
    };
    if text.starts_with(ROOT) {
        return Ok(Some(text.to_owned()));
    }
    if let Some((transport, rest)) = text.split_once(':')
        && TRANSPORTS.contains(&transport)
    {
        let (path, tag) = match (transport, rest.split_once(':')) {
            ("oci" | "oci-archive" | "docker-archive", Some((path, tag))) => (path, format!(":{tag}")),
            _ => (rest, String::new()),
        };
        if path == "-" {
            let message = "standard input is taken by bulkhead-image build, and what that makes is imported";
            return Err(CliError::Argument {
                what: "The source",
                given: text.to_owned(),
                message: message.into(),
            });
        }
        return Ok(Some(format!("{transport}:{}{tag}", absolute(path)?)));
    }
    let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || Path::new(text).is_file();
    if is_path { Ok(Some(format!("file:{}", absolute(text)?))) } else { Ok(None) }
}

/// List images.
#[derive(Debug, Args)]
pub struct Images {
    /// Ids only.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: FormatArguments,
}

impl Images {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let images = client.get::<List<Image>>("/api/v1/images").await?.items;
        if self.format.is_json() {
            return output::json(&images);
        }
        if self.quiet {
            for image in &images {
                output::line(&image.metadata.id)?;
            }
            return Ok(0);
        }
        let rows: Vec<Vec<String>> = images
            .iter()
            .map(|image| {
                vec![
                    output::short(&image.metadata.id),
                    image.metadata.name.clone(),
                    image.status.kind.clone(),
                    format!("{:.1} MiB", image.status.size as f64 / f64::from(1 << 20)),
                    image.metadata.created_at.get(..19).unwrap_or_default().replace('T', " "),
                ]
            })
            .collect();
        output::table(&["ID", "NAME", "KIND", "SIZE", "CREATED"], &rows)
    }
}

/// Make an image from a file or a source.
#[derive(Debug, Args)]
pub struct Import {
    /// A file made by bulkhead-image, or docker://REFERENCE, oci:DIR:TAG, oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE,
    /// or root:busybox, root:debian:SUITE?include=A,B.
    source: String,
    /// The image's name.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    format: JsonArgument,
}

impl Import {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        let mut credentials = None;
        let source = match source(&self.source)? {
            None if self.source.starts_with(DOCKER) => {
                // What is no reference the daemon refuses with a sentence.
                if let Ok(reference) = self.source.trim_start_matches(DOCKER).parse() {
                    credentials = pull::own_credentials(&reference)?;
                }
                self.source
            }
            Some(source) => source,
            None => {
                let path: PathBuf = std::path::absolute(&self.source).unwrap_or_default();
                format!("file:{}", path.display())
            }
        };
        let body = ImportImage { source, name: self.name, credentials };
        self.format.image(&pull::import(client, &body).await?)
    }
}

/// Delete images.
#[derive(Debug, Args)]
pub struct Rmi {
    /// Ids or names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Rmi {
    /// Runs it.
    pub async fn execute(self, client: &Client) -> Result<u8, CliError> {
        for name in &self.names {
            client.delete(&format!("/api/v1/images/{}", segment(name))).await?;
            output::line(name)?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_names_are_told_apart() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        for (text, expected) in [
            ("redis", None),
            ("library/redis:7", None),
            ("./redis.img", Some(format!("file:{here}/./redis.img"))),
            ("/a/redis.img", Some("file:/a/redis.img".to_owned())),
            ("oci:layout:latest", Some(format!("oci:{here}/layout:latest"))),
            ("dir:/a:b", Some("dir:/a:b".to_owned())),
            ("tar:x.tar", Some(format!("tar:{here}/x.tar"))),
            ("debian:12", None),
            ("root:debian:bookworm?include=redis", Some("root:debian:bookworm?include=redis".to_owned())),
        ] {
            let found = source(text).unwrap();
            let plain = |text: String| text.replace("/./", "/");
            assert_eq!(found.map(plain), expected.map(plain), "{text}");
        }
        assert!(source("tar:-").is_err() && source("docker-archive:-:x").is_err());
    }
}
