//! One case on one runtime: a bundle of its own, a container, and what is left over taken away.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::WaitOptions;
use serde_json::{Value, json};

use crate::bundle;
use crate::process::{self, Ran, Reader};
use crate::runtime::Runtime;

/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(40);

/// One case on one runtime.
#[derive(Debug)]
pub struct Trial<'a> {
    runtime: &'a Runtime,
    /// The container's ID.
    pub id: String,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// When all of it is ended.
    pub deadline: Instant,
    state: PathBuf,
    config: Value,
    deaf: bool,
    passes_deaf: bool,
    quick: bool,
    changes: usize,
    commands: usize,
    said: Option<Reader>,
    init: Option<(u32, OwnedFd)>,
    /// Whether the runtime may know of the container.
    known: bool,
}

impl<'a> Trial<'a> {
    /// Makes the bundle in `folder`. A `deaf` trial hears no change of the configuration: a case that passes
    /// then does not look.
    pub fn new(runtime: &'a Runtime, id: &str, folder: &Path, deaf: bool) -> Result<Self> {
        let bundle = folder.join(id);
        bundle::make_root(&bundle.join("rootfs"))?;
        Ok(Self {
            runtime,
            id: id.to_owned(),
            deadline: Instant::now() + LIMIT,
            state: bundle.join("state"),
            config: bundle::base_config(&format!("/conformance/{id}")),
            bundle,
            deaf,
            passes_deaf: false,
            quick: false,
            changes: 0,
            commands: 0,
            said: None,
            init: None,
            known: false,
        })
    }

    /// How many changes the case made to the configuration that it cannot pass without.
    pub fn changes(&self) -> usize {
        if self.passes_deaf { 0 } else { self.changes }
    }

    /// Leaves out the proof that what is refused is accepted without its fault.
    pub fn hurry(&mut self) {
        self.quick = true;
    }

    /// What the case asks for is what a runtime may do unasked.
    pub fn passes_deaf(&mut self) {
        self.passes_deaf = true;
    }

    /// A file's place in the container's root, from outside.
    pub fn root(&self, path: &str) -> PathBuf {
        self.bundle.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Writes a file into the bundle; a script can be executed.
    pub fn file(&self, path: &str, text: &str) -> Result<PathBuf> {
        let place = self.bundle.join(path);
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&place, text).with_context(|| format!("Cannot write {}", place.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        Ok(place)
    }

    /// Makes a folder in the bundle.
    pub fn folder(&self, path: &str) -> Result<PathBuf> {
        let place = self.bundle.join(path);
        fs::create_dir_all(&place).with_context(|| format!("Cannot make {}", place.display()))?;
        Ok(place)
    }

    /// Changes a field, which a pointer names.
    pub fn set(&mut self, pointer: &str, value: Value) -> Result<()> {
        self.changes += 1;
        if !self.deaf {
            *bundle::place(&mut self.config, pointer)? = value;
        }
        Ok(())
    }

    /// Adds to a list.
    pub fn push(&mut self, pointer: &str, value: Value) -> Result<()> {
        self.changes += 1;
        if !self.deaf {
            let list = bundle::place(&mut self.config, pointer)?;
            if list.is_null() {
                *list = json!([]);
            }
            list.as_array_mut().with_context(|| format!("{pointer} is no list"))?.push(value);
        }
        Ok(())
    }

    /// Takes a field out.
    pub fn remove(&mut self, pointer: &str) -> Result<()> {
        self.changes += 1;
        if self.deaf { Ok(()) } else { bundle::remove(&mut self.config, pointer) }
    }

    /// Has a mount more.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Result<()> {
        let entry = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        self.push("/mounts", entry)
    }

    /// Takes out the mount on this place.
    pub fn unmount(&mut self, destination: &str) -> Result<()> {
        self.changes += 1;
        if !self.deaf {
            let mounts = bundle::place(&mut self.config, "/mounts")?.as_array_mut().context("a list")?;
            mounts.retain(|mount| mount.get("destination") != Some(&json!(destination)));
        }
        Ok(())
    }

    /// Has a namespace more.
    pub fn namespace(&mut self, kind: &str) -> Result<()> {
        self.push("/linux/namespaces", json!({ "type": kind }))
    }

    /// Has no namespace of this kind, or joins another's.
    pub fn replace_namespace(&mut self, kind: &str, path: Option<&str>) -> Result<()> {
        self.changes += 1;
        if !self.deaf {
            let list =
                bundle::place(&mut self.config, "/linux/namespaces")?.as_array_mut().context("a list")?;
            list.retain(|entry| entry.get("type") != Some(&json!(kind)));
            list.extend(path.map(|path| json!({ "type": kind, "path": path })));
        }
        Ok(())
    }

    /// Gives the process these capabilities in the sets that count for root.
    pub fn capable(&mut self, names: &[&str]) -> Result<()> {
        for set in ["bounding", "effective", "permitted"] {
            self.set(&format!("/process/capabilities/{set}"), json!(names))?;
        }
        Ok(())
    }

    /// What runs: a script. It is no change, for what it says is what is looked at.
    pub fn script(&mut self, script: &str) -> Result<()> {
        *bundle::place(&mut self.config, "/process/args")? = json!(["/bin/sh", "-ec", script]);
        Ok(())
    }

    /// The configuration as it is now.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Writes the configuration.
    pub fn write_config(&self) -> Result<()> {
        self.write_config_text(&self.config.to_string())
    }

    /// Writes this as the configuration.
    pub fn write_config_text(&self, text: &str) -> Result<()> {
        fs::write(self.bundle.join("config.json"), text).context("Cannot write config.json")
    }

    /// Types a command of the runtime.
    pub fn type_command(&mut self, arguments: &[&str]) -> Result<Ran> {
        let errors = self.errors();
        process::run_alone(self.command(arguments), &errors, self.deadline)
    }

    /// A command of the runtime that is yet to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.runtime.command(&self.state, arguments);
        command.current_dir(&self.bundle);
        command
    }

    /// Where the next command's errors go.
    pub fn errors(&mut self) -> PathBuf {
        self.commands += 1;
        self.bundle.join(format!("errors-{}", self.commands))
    }

    /// `run`, to its end.
    pub fn run(&mut self) -> Result<Ran> {
        self.write_config()?;
        let (bundle, id) = (self.bundle.display().to_string(), self.id.clone());
        let known = std::mem::replace(&mut self.known, true);
        let ran = self.type_command(&["run", "--bundle", &bundle, &id])?;
        self.known = known || ran.status != 0;
        Ok(ran)
    }

    /// `run` on a terminal, as a person types it.
    pub fn run_on(&mut self, terminal: &OwnedFd) -> Result<Child> {
        self.write_config()?;
        self.known = true;
        let (bundle, id) = (self.bundle.display().to_string(), self.id.clone());
        let mut command = self.command(&["run", "--bundle", &bundle, &id]);
        let copy = || terminal.try_clone().context("Cannot copy a descriptor");
        command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
        command.spawn().context("Cannot start the runtime")
    }

    /// Runs a script in the container to its good end; gives what it says, without white space at the ends.
    pub fn output(&mut self, script: &str) -> Result<String> {
        self.script(script)?;
        Ok(self.run()?.ok("run")?.stdout.trim().to_owned())
    }

    /// Runs a script in the container; fails unless it says exactly this.
    pub fn prints(&mut self, script: &str, wanted: &str) -> Result<()> {
        let said = self.output(script)?;
        ensure!(said == wanted, "it says {said:?} and not {wanted:?}");
        Ok(())
    }

    /// `create` with this ID, and what more is typed; what the container says can be waited for.
    pub fn create_as(&mut self, id: &str, more: &[&str]) -> Result<Ran> {
        self.make("create", id, more)
    }

    /// `run` or `create` with what more is typed; what the container says can be waited for.
    pub fn create_like(&mut self, verb: &str, more: &[&str]) -> Result<Ran> {
        self.make(verb, &self.id.clone(), more)
    }

    fn make(&mut self, verb: &str, id: &str, more: &[&str]) -> Result<Ran> {
        let bundle = self.bundle.display().to_string();
        let arguments = [&[verb, "--bundle", &bundle], more, &[id]].concat();
        let (mut reader, writer) = Reader::pair()?;
        let errors = self.errors();
        self.known = true;
        let ran = process::run(self.command(&arguments), &mut reader, writer, &errors, self.deadline)?;
        self.said = Some(reader);
        Ok(ran)
    }

    /// `create`, as it ends.
    pub fn try_create(&mut self) -> Result<Ran> {
        self.create_with(&[])
    }

    /// `create` with what more is typed, as it ends.
    pub fn create_with(&mut self, more: &[&str]) -> Result<Ran> {
        self.write_config()?;
        let file = self.bundle.join("pid");
        let _ = fs::remove_file(&file);
        let file_text = file.display().to_string();
        let ran = self.create_as(&self.id.clone(), &[&["--pid-file", &file_text], more].concat())?;
        if ran.status == 0 {
            let text = fs::read_to_string(&file).context("create wrote no pid file")?;
            let init = text.trim().parse().with_context(|| format!("the pid file says {text:?}"))?;
            self.init = Some((init, process::pidfd(init)?));
        }
        Ok(ran)
    }

    /// `create`, well.
    pub fn create(&mut self) -> Result<()> {
        self.try_create()?.ok("create").map(drop)
    }

    /// `start`, well.
    pub fn start(&mut self) -> Result<()> {
        self.try_start()?.ok("start").map(drop)
    }

    /// `start`, as it ends.
    pub fn try_start(&mut self) -> Result<Ran> {
        self.type_command(&["start", &self.id.clone()])
    }

    /// Creates and starts a script that says `ready` when what it waits for can come.
    pub fn launch(&mut self, script: &str) -> Result<()> {
        self.script(script)?;
        self.create()?;
        self.start()?;
        self.says("ready")
    }

    /// Waits until the container has said this.
    pub fn says(&mut self, wanted: &str) -> Result<()> {
        let deadline = self.deadline;
        self.said.as_mut().context("the container was not created")?.until(wanted, deadline)
    }

    /// What the container has said.
    pub fn said(&mut self) -> Result<String> {
        let reader = self.said.as_mut().context("the container was not created")?;
        reader.drain()?;
        Ok(reader.text())
    }

    /// `state`.
    pub fn state(&mut self) -> Result<Value> {
        let ran = self.type_command(&["state", &self.id.clone()])?.ok("state")?;
        serde_json::from_str(&ran.stdout).with_context(|| format!("state says {:?}", ran.stdout))
    }

    /// The status that `state` tells.
    pub fn status(&mut self) -> Result<String> {
        let state = self.state()?;
        Ok(state.get("status").and_then(Value::as_str).context("state tells no status")?.to_owned())
    }

    /// Fails unless `state` tells this status.
    pub fn is(&mut self, wanted: &str) -> Result<()> {
        let status = self.status()?;
        ensure!(status == wanted, "the container is {status} and not {wanted}");
        Ok(())
    }

    /// Fails when the runtime still knows the container.
    pub fn is_gone(&mut self) -> Result<()> {
        let ran = self.type_command(&["state", &self.id.clone()])?;
        ensure!(ran.status != 0, "there is still a container: {}", ran.stdout.trim());
        Ok(())
    }

    /// Types a command about the container that has to fail.
    pub fn fails(&mut self, arguments: &[&str]) -> Result<()> {
        let ran = self.type_command(arguments)?;
        ensure!(ran.status != 0, "{arguments:?} succeeded: {}", ran.stdout.trim());
        Ok(())
    }

    /// `kill` with a signal, well.
    pub fn kill(&mut self, signal: &str) -> Result<()> {
        self.type_command(&["kill", &self.id.clone(), signal])?.ok("kill").map(drop)
    }

    /// `delete`, well.
    pub fn delete(&mut self) -> Result<()> {
        self.type_command(&["delete", &self.id.clone()])?.ok("delete")?;
        self.known = false;
        Ok(())
    }

    /// The container's first process, outside.
    pub fn init(&self) -> Result<u32> {
        Ok(self.init.as_ref().context("the container was not created")?.0)
    }

    /// Waits until the container's process ends; gives its status, 128 + the signal that ended it.
    pub fn wait(&self) -> Result<i32> {
        let (init, descriptor) = self.init.as_ref().context("the container was not created")?;
        process::wait_readable(&[descriptor.as_fd()], self.deadline).context("The container does not end")?;
        let status = rustix::process::waitpid(Some(process::pid(*init)?), WaitOptions::empty())
            .context("The container's process is nobody's child")?;
        let Some((_, status)) = status else { bail!("the container's process did not end") };
        Ok(status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0)))
    }

    /// The container's cgroup, from outside.
    pub fn cgroup(&self) -> Result<PathBuf> {
        let path = format!("/proc/{}/cgroup", self.init()?);
        let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {path}"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::")).context("there is no cgroup v2")?;
        Ok(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
    }

    /// Creates the container, and fails unless a file of its cgroup says this.
    pub fn limits(&mut self, file: &str, wanted: &str) -> Result<()> {
        self.create()?;
        let path = self.cgroup()?.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("Cannot read {}", path.display()))?;
        ensure!(text.trim() == wanted, "{file} is {:?} and not {wanted:?}", text.trim());
        Ok(())
    }

    /// What `/proc` says outside of the container's first process.
    pub fn proc_file(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.init()?);
        fs::read_to_string(&path).with_context(|| format!("Cannot read {path}"))
    }

    /// Fails unless the container can be made with `good` in the field, and cannot with `bad`: then `create`
    /// fails. What is in `process` may be found at `start`, before the program runs.
    pub fn refuses(&mut self, pointer: &str, bad: Value, good: Value) -> Result<()> {
        self.set(pointer, good)?;
        self.control()?;
        self.set(pointer, bad)?;
        self.refused(pointer.starts_with("/process"))
    }

    /// Fails unless the container can be created and started as it is configured now; takes it away again.
    pub fn control(&mut self) -> Result<()> {
        self.script("true")?;
        if self.quick {
            // What a run leaves in the bundle is there either way.
            return self.write_config();
        }
        self.run()?.ok("run").context("What should be accepted is refused").map(drop)
    }

    /// Fails unless the container is refused as it is configured now.
    pub fn refused(&mut self, late: bool) -> Result<()> {
        let marker = self.root("/tmp/ran");
        if self.config.pointer("/process/args/2").is_some() {
            self.script("touch /tmp/ran")?;
        }
        let ran = self.try_create()?;
        if ran.status == 0 {
            ensure!(late, "it is accepted");
            let started = self.try_start()?;
            ensure!(started.status != 0, "it is accepted");
        }
        ensure!(!marker.exists(), "it is refused, and the program has run");
        Ok(())
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.deadline = Instant::now() + Duration::from_secs(10);
        if self.known {
            let _ = self.type_command(&["delete", "--force", &self.id.clone()]);
        }
        let cgroup = format!("/sys/fs/cgroup/conformance/{}", self.id);
        let _ = fs::write(Path::new(&cgroup).join("cgroup.kill"), "1");
        if let Some((init, descriptor)) = self.init.take() {
            let _ = rustix::process::pidfd_send_signal(&descriptor, rustix::process::Signal::KILL);
            let _ = process::wait_readable(&[descriptor.as_fd()], self.deadline);
            let _ = process::pid(init).map(|pid| rustix::process::waitpid(Some(pid), WaitOptions::NOHANG));
        }
        let _ = fs::remove_dir(&cgroup);
        crate::cleanup::remove(&self.bundle);
    }
}
