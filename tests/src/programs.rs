//! Programs of the lab's own Debian in a bare guest, with the libraries that they need.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::run;

/// Copying takes a moment in an emulated lab.
const LIMIT: Duration = Duration::from_secs(60);

/// Copies the files that it is given by name, each with the libraries that it names, under the folder that it
/// runs in. Times stay, by which Python knows what it has compiled.
const COPY: &str = "for file in \"$@\"; do echo \"$file\"
    case $file in *.py | *.pyc) ;; *) ldd \"$file\" 2>/dev/null | grep -o '/[^ ]*' || true ;; esac; done |
    sort -u | xargs cp -Lp --parents -t .";

/// Puts `programs` into `root` beneath `folder`, in the places that they have in the lab.
///
/// # Panics
/// When the lab has not got one of them.
pub fn add(folder: &Path, programs: &[&str]) {
    let root = folder.join("root");
    fs::create_dir_all(&root).expect("a folder");
    let mut command = Command::new("sh");
    let _ = run(command.args(["-ec", COPY, "sh"]).args(programs).current_dir(&root), LIMIT).ok();
}

/// Puts Python into `root` beneath `folder`, with its modules that `import` (a statement) brings. With `site`, a
/// folder of more modules, that comes in front of Python's own and into the guest as `/site`.
///
/// # Panics
/// When the lab has not got them.
pub fn add_python(folder: &Path, site: Option<&str>, import: &str) {
    let list = format!(
        "import sys, encodings.idna\n{import}\n\
         for module in list(sys.modules.values()):\n\
         \x20   names = [getattr(module, name, None) for name in ('__file__', '__cached__')]\n\
         \x20   print('\\n'.join(name for name in names if name and name.startswith('/usr')))"
    );
    let mut command = Command::new("/usr/bin/python3");
    let modules = run(command.args(["-c", &list]).env("PYTHONPATH", site.unwrap_or_default()), LIMIT).ok();
    let mut names: Vec<&str> = modules.stdout.lines().filter(|name| Path::new(name).exists()).collect();
    names.push("/usr/bin/python3");
    add(folder, &names);
    if let Some(site) = site {
        let _ = run(Command::new("cp").arg("-rp").arg(site).arg(folder.join("root/site")), LIMIT).ok();
    }
}
