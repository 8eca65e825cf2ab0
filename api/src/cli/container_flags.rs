//! What `run` says of the container, in Docker's words.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bulkhead_image::{granted_capabilities, seccomp_profile};
use bulkhead_protocol::oci::Seccomp;
use clap::Args;

use super::CliError;
use crate::service::model::{ContainerSpec, TmpfsSpec, Ulimit};

/// No profile is read beyond this, in bytes.
const MAX_PROFILE: u64 = 1 << 20;

/// Privileges, limits of processes, and mounts beside the image.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The container")]
pub struct ContainerFlags {
    /// Add a capability, such as NET_ADMIN, or ALL. May be repeated.
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away, or ALL. May be repeated.
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// seccomp=FILE (a profile of Docker's or of the OCI runtime specification), seccomp=unconfined, or
    /// no-new-privileges. May be repeated.
    #[arg(long, value_name = "OPTION", value_parser = security)]
    security_opt: Vec<Security>,
    /// Put an init above the program, which hands signals on to it and reaps whoever is left to it.
    #[arg(long)]
    init: bool,
    /// The root can be read only.
    #[arg(long)]
    read_only: bool,
    /// An empty file system in memory: /PATH[:OPTION,...], such as /run:size=64m. May be repeated.
    #[arg(long, value_name = "/PATH[:OPTIONS]", value_parser = tmpfs)]
    tmpfs: Vec<TmpfsSpec>,
    /// A limit of each process: NAME=SOFT[:HARD], such as nofile=1024:2048; -1 is none. May be repeated.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
    /// A kernel parameter: NAME=VALUE, such as net.core.somaxconn=1024. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl)]
    sysctl: Vec<(String, String)>,
}

/// A word behind `--security-opt`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Security {
    Seccomp(String),
    NoNewPrivileges(bool),
}

fn security(text: &str) -> Result<Security, String> {
    match text.split_once(['=', ':']).unwrap_or((text, "true")) {
        ("seccomp", "true" | "") => Err("seccomp= takes a file, or unconfined".to_owned()),
        ("seccomp", profile) => Ok(Security::Seccomp(profile.to_owned())),
        ("no-new-privileges", value) => value
            .parse()
            .map(Security::NoNewPrivileges)
            .map_err(|_| format!("{value:?} is neither true nor false")),
        (name, _) => Err(format!("{name:?} is neither seccomp nor no-new-privileges")),
    }
}

fn tmpfs(text: &str) -> Result<TmpfsSpec, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') {
        return Err(format!("{text:?} is not /PATH[:OPTIONS]"));
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned);
    Ok(TmpfsSpec { destination: destination.to_owned(), options: options.collect() })
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("{text:?} is not NAME=SOFT[:HARD]");
    let (name, values) = text.split_once('=').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong()),
    };
    // One number is both, as Docker has it.
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

fn sysctl(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ContainerFlags {
    /// The same for the daemon; reads the profile of system calls if there is one.
    pub fn spec(self) -> Result<ContainerSpec, CliError> {
        let mut spec = ContainerSpec {
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            init: self.init,
            read_only: self.read_only,
            tmpfs: self.tmpfs,
            ulimits: self.ulimit,
            sysctls: self.sysctl.into_iter().collect(),
            ..ContainerSpec::default()
        };
        for option in self.security_opt {
            match option {
                Security::NoNewPrivileges(on) => spec.no_new_privileges = on,
                Security::Seccomp(profile) => spec.seccomp = Some(seccomp(&profile, &spec)?),
            }
        }
        Ok(spec)
    }
}

fn seccomp(profile: &str, spec: &ContainerSpec) -> Result<Seccomp, CliError> {
    if profile == "unconfined" {
        return Ok(Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), ..Seccomp::default() });
    }
    let wrong = |message: String| CliError::Argument {
        what: "--security-opt",
        given: format!("seccomp={profile}"),
        message,
    };
    let capabilities =
        granted_capabilities(&spec.cap_add, &spec.cap_drop).map_err(|error| CliError::Argument {
            what: "--cap-add and --cap-drop",
            given: spec.cap_add.iter().chain(&spec.cap_drop).cloned().collect::<Vec<_>>().join(" "),
            message: error.to_string(),
        })?;
    let mut text = String::new();
    let read =
        File::open(Path::new(profile)).and_then(|file| file.take(MAX_PROFILE).read_to_string(&mut text));
    read.map_err(|error| wrong(format!("it cannot be read ({error})")))?;
    seccomp_profile(&text, &capabilities).map_err(|error| wrong(crate::service::chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_dockers() {
        assert_eq!(security("no-new-privileges"), Ok(Security::NoNewPrivileges(true)));
        assert_eq!(security("no-new-privileges:false"), Ok(Security::NoNewPrivileges(false)));
        assert_eq!(security("seccomp=a=b.json"), Ok(Security::Seccomp("a=b.json".to_owned())));
        for wrong in ["seccomp", "seccomp=", "apparmor=x", "no-new-privileges=yes"] {
            assert!(security(wrong).is_err(), "{wrong}");
        }
        let limit = |soft, hard| Ok(Ulimit { name: "nofile".to_owned(), soft, hard });
        assert_eq!(ulimit("nofile=1:2"), limit(Some(1), Some(2)));
        assert_eq!(ulimit("nofile=3"), limit(Some(3), Some(3)));
        assert_eq!(ulimit("nofile=3:-1"), limit(Some(3), None));
        assert!(ulimit("nofile").is_err() && ulimit("nofile=x").is_err());
        let mount = tmpfs("/run:size=1m,exec").unwrap();
        assert_eq!(
            (mount.destination.as_str(), mount.options.join(" ")),
            ("/run", "size=1m exec".to_owned())
        );
        assert!(tmpfs("run").is_err());
        assert_eq!(sysctl("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
    }

    #[test]
    fn a_profile_that_is_not_there_is_said_in_a_sentence() {
        let flags = ContainerFlags {
            security_opt: vec![Security::Seccomp("/no/such".to_owned())],
            ..Default::default()
        };
        let error = flags.spec().unwrap_err().to_string();
        assert!(error.starts_with("--security-opt \"seccomp=/no/such\": it cannot be read"), "{error}");
    }
}
