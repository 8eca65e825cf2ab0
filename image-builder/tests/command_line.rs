//! Completions that shells take, and manual pages that man's own tools can read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::process::Command;

use support::{bulkhead_image, run};

#[test]
fn bash_completes_commands_and_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = bulkhead_image(&["completion", "bash"]);
    let path = folder.path().join("completion");
    fs::write(&path, script.stdout).unwrap();
    let ask = |words: &[&str]| {
        let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
        let asked = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; \
             $(complete -p bulkhead-image | sed 's/.*-F \\([^ ]*\\).*/\\1/') {} {last} {before}; echo ${{COMPREPLY[@]}}",
            path.display(),
            words.join(" "),
            words.len() - 1,
            words[0],
        );
        let answered = Command::new("bash").args(["-c", &asked]).output().unwrap();
        String::from_utf8(answered.stdout).unwrap()
    };
    assert_eq!(ask(&["bulkhead-image", "sb"]).trim(), "sbom");
    assert!(ask(&["bulkhead-image", "build", "--app"]).contains("--appliance"));
    for shell in ["zsh", "fish"] {
        let script = String::from_utf8(bulkhead_image(&["completion", shell]).stdout).unwrap();
        assert!(script.contains("sbom") && script.contains("appliance"), "{shell}");
    }
    assert_eq!(bulkhead_image(&["completion", "cmd"]).status.code(), Some(2));
}

#[test]
fn there_is_a_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    assert!(bulkhead_image(&["man", &path]).status.success());
    let help = String::from_utf8(bulkhead_image(&["--help"]).stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|command| !command.is_empty() && *command != "help")
        .collect();
    assert!(commands.len() >= 6, "{help}");
    for command in commands {
        let page = folder.path().join(format!("bulkhead-image-{command}.1"));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(text.contains(".SH NAME") && text.contains(command), "{text}");
    }
    assert!(run("ls", &[&path]).contains("bulkhead-image.1"));
    assert_eq!(bulkhead_image(&["man", "/nonexistent"]).status.code(), Some(1));
}
