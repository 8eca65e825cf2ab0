use super::*;

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: owned(&["/entry"]),
        cmd: owned(&["serve", "-v"]),
        env: owned(&["A=1", "PATH=/opt/bin"]),
        working_dir: "/srv".to_owned(),
        user: "redis:redis".to_owned(),
        ..ImageConfig::default()
    }
}

#[test]
fn an_image_runs_as_it_says() {
    let spec = runtime_spec(&image(), &RuntimeOptions::default()).unwrap();
    assert_eq!(spec.process.args, ["/entry", "serve", "-v"]);
    assert_eq!(spec.process.env, ["PATH=/opt/bin", "A=1"]);
    assert_eq!(spec.process.cwd, "/srv");
    assert_eq!(spec.process.user.username.as_deref(), Some("redis:redis"));
    assert_eq!(spec.linux.resources, None);
    assert!(!spec.linux.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Network));
}

#[test]
fn what_is_asked_for_replaces_what_the_image_says() {
    let options = RuntimeOptions {
        command: Some(owned(&["check"])),
        env: owned(&["A=2=3", "B="]),
        working_dir: Some("/".to_owned()),
        user: Some("5:6".to_owned()),
        hostname: Some("box".to_owned()),
        memory: Some(64 << 20),
        milli_cpus: Some(1500),
        pids: Some(100),
        ..RuntimeOptions::default()
    };
    let spec = runtime_spec(&image(), &options).unwrap();
    assert_eq!(spec.process.args, ["/entry", "check"]);
    assert_eq!(spec.process.env, ["PATH=/opt/bin", "HOSTNAME=box", "A=2=3", "B="]);
    assert_eq!((spec.process.user.uid, spec.process.user.gid), (5, 6));
    let resources = spec.linux.resources.unwrap();
    assert_eq!(resources.memory.unwrap().limit, Some(64 << 20));
    assert_eq!(resources.cpu.unwrap().quota, Some(150_000));
    assert_eq!(resources.pids.unwrap().limit, 100);

    let options = RuntimeOptions { entrypoint: Some(owned(&["sh"])), ..RuntimeOptions::default() };
    assert_eq!(runtime_spec(&image(), &options).unwrap().process.args, ["sh"]);
}

#[test]
fn options_applied_to_a_configuration_need_not_be_given_again() {
    let all = RuntimeOptions {
        entrypoint: Some(owned(&["sh"])),
        command: Some(owned(&["-c", "x"])),
        env: owned(&["A=2", "B=3"]),
        working_dir: Some("/tmp".to_owned()),
        user: Some("5".to_owned()),
        ..RuntimeOptions::default()
    };
    let few = RuntimeOptions { command: Some(owned(&["check"])), ..RuntimeOptions::default() };
    let none = RuntimeOptions { entrypoint: Some(owned(&["sh"])), ..RuntimeOptions::default() };
    for options in [all, few, none, RuntimeOptions::default()] {
        let applied = options.applied_to(&image());
        let again = runtime_spec(&applied, &RuntimeOptions::default());
        assert_eq!(again, runtime_spec(&image(), &options));
    }
}

#[test]
fn users_of_its_own_are_none_of_the_guest_s() {
    let shared = runtime_spec(&image(), &RuntimeOptions::default()).unwrap().linux;
    assert!(shared.uid_mappings.is_empty() && shared.gid_mappings.is_empty());
    assert!(!shared.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User));
    let options = RuntimeOptions { private_users: true, ..RuntimeOptions::default() };
    let own = runtime_spec(&image(), &options).unwrap().linux;
    assert!(own.namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::User));
    assert_eq!((own.uid_mappings, own.gid_mappings), (vec![PRIVATE_IDS], vec![PRIVATE_IDS]));
}

#[test]
fn what_cannot_run_is_refused() {
    let nothing = ImageConfig::default();
    assert_eq!(runtime_spec(&nothing, &RuntimeOptions::default()), Err(RuntimeSpecError::NoCommand));
    let refused = |options: RuntimeOptions| runtime_spec(&image(), &options).unwrap_err();
    let options = RuntimeOptions { env: owned(&["=x"]), ..RuntimeOptions::default() };
    assert_eq!(refused(options), RuntimeSpecError::Environment("=x".to_owned()));
    let options = RuntimeOptions { working_dir: Some("srv".to_owned()), ..RuntimeOptions::default() };
    assert_eq!(refused(options), RuntimeSpecError::WorkingDir("srv".to_owned()));
    let options = RuntimeOptions { command: Some(owned(&["a\0b"])), ..RuntimeOptions::default() };
    assert_eq!(refused(options), RuntimeSpecError::Nul("command"));
    let options = RuntimeOptions { milli_cpus: Some(1), ..RuntimeOptions::default() };
    assert!(matches!(refused(options), RuntimeSpecError::Limit(_)));
}

#[test]
fn privileges_limits_and_mounts_are_passed_on() {
    let options = RuntimeOptions {
        cap_add: owned(&["net_admin"]),
        cap_drop: owned(&["ALL"]),
        no_new_privileges: true,
        init: true,
        read_only: true,
        sysctls: [("kernel.shmmax".to_owned(), "1".to_owned())].into(),
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 64, hard: 128 }],
        tmpfs: vec![("/run".to_owned(), owned(&["size=1m", "exec"]))],
        seccomp: Some(Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), ..Seccomp::default() }),
        ..RuntimeOptions::default()
    };
    let spec = runtime_spec(&image(), &options).unwrap();
    let capabilities = spec.process.capabilities.unwrap();
    assert_eq!((capabilities.bounding, capabilities.ambient.len()), (owned(&["CAP_NET_ADMIN"]), 0));
    assert!(spec.process.no_new_privileges && spec.root.unwrap().readonly);
    assert_eq!((spec.process.rlimits, spec.linux.sysctl), (options.rlimits, options.sysctls));
    let mount = spec.mounts.last().unwrap();
    assert_eq!((mount.destination.as_str(), mount.options.last().unwrap().as_str()), ("/run", "exec"));
    assert_eq!(spec.linux.seccomp, options.seccomp);
    assert_eq!(spec.annotations.get(INIT).map(String::as_str), Some("true"));
    let refused = RuntimeOptions { cap_add: owned(&["FLY"]), ..RuntimeOptions::default() };
    assert_eq!(runtime_spec(&image(), &refused), Err(RuntimeSpecError::Capability("FLY".to_owned())));
}
