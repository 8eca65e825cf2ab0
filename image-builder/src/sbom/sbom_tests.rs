use super::*;

fn taken(files: &[(&str, &str)]) -> Result<Inventory, SbomError> {
    let mut taking = Taking::new("test".to_owned());
    for (path, text) in files {
        let Some(database) = Database::at(path.as_bytes()) else { continue };
        taking.take(path.as_bytes(), database, text.len() as u64, |bytes| {
            bytes.copy_from_slice(text.as_bytes());
            Ok(())
        })?;
    }
    Ok(taking.finish())
}

fn purls(inventory: &Inventory) -> Vec<&str> {
    inventory.packages.iter().map(|package| package.purl.as_str()).collect()
}

const DPKG: &str = "Package: libstdc++6\nStatus: install ok installed\nArchitecture: amd64\n\
    Version: 1:12.2.0-14+deb12u1\nDescription: x\n Package: not-this\n\n\n\
    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: no-version\nStatus: install ok installed\n";

#[test]
fn what_package_managers_wrote_is_found() {
    let inventory = taken(&[
        ("var/lib/dpkg/status", DPKG),
        ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\nArchitecture: all\n"),
        ("var/lib/dpkg/status.d/tzdata.md5sums", "Package: x\nVersion: 1\n"),
        (
            "usr/lib/python3/dist-packages/Some_Name-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Some_Name\nVersion: 1.0\nLicense: MIT\n\nName: body\n",
        ),
        (
            "srv/node_modules/@scope/pkg/package.json",
            r#"{"name":"@scope/pkg","version":"2.0.0","license":"ISC"}"#,
        ),
        ("srv/node_modules/bad/package.json", "{"),
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
        ("var/lib/rpm/rpmdb.sqlite", "x"),
    ]);
    let inventory = inventory.unwrap();
    assert_eq!(
        purls(&inventory),
        [
            "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
            "pkg:deb/debian/tzdata@2024a?arch=all&distro=debian-12",
            "pkg:pypi/some-name@1.0",
            "pkg:npm/%40scope/pkg@2.0.0",
        ]
    );
    assert_eq!(inventory.unread.len(), 1);
    let apk = "C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nF:lib\nR:x\n\nP:busybox\nV:1.36\nL:GPL-2.0-only\n";
    let inventory = taken(&[("lib/apk/db/installed", apk)]).unwrap();
    assert_eq!(
        purls(&inventory),
        ["pkg:apk/alpine/busybox@1.36", "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64"]
    );
}

#[test]
fn hostile_databases_are_bounded() {
    let endless = format!("Package: {}\nStatus: install ok installed\nVersion: 1\n", "n".repeat(1 << 20));
    let inventory = taken(&[("var/lib/dpkg/status", &endless)]).unwrap();
    assert_eq!(inventory.packages.first().unwrap().name.len(), 500);
    let many: String = (0..=MAX_PACKAGES).fold(String::new(), |text, index| {
        text + "Package: p" + &index.to_string() + "\nStatus: install ok installed\nVersion: 1\n\n"
    });
    assert!(matches!(taken(&[("var/lib/dpkg/status", &many)]), Err(SbomError::TooMany(_))));
    let mut taking = Taking::new(String::new());
    let large =
        taking.take(b"var/lib/dpkg/status", Database::DpkgStatus, MAX_DATABASE + 1, |_| panic!("read"));
    assert!(matches!(large, Err(SbomError::Large(..))));
    let odd = "Package: a\u{1b}[31m\nStatus: install ok installed\nVersion: 1\r\n: \n:::\n\nx\n";
    let inventory = taken(&[("var/lib/dpkg/status", odd), ("etc/os-release", "ID=../../x\n")]).unwrap();
    assert_eq!(purls(&inventory), ["pkg:deb/debian/a%5B31m@1"]);
    for bytes in ["", "\n\n\n", "Package:", "\u{0}\u{0}", "Package: x\nPackage: y\nVersion: 1"] {
        let _ = taken(&[("var/lib/dpkg/status", bytes), ("lib/apk/db/installed", bytes)]).unwrap();
    }
}

#[test]
fn documents_are_equal_where_lists_are() {
    let one = taken(&[("var/lib/dpkg/status", DPKG)]).unwrap();
    let two = Inventory { name: "other".to_owned(), ..one.clone() };
    for format in [SbomFormat::SpdxJson, SbomFormat::CyclonedxJson] {
        let document = one.document(format, 1_700_000_000).unwrap();
        assert_eq!(document, one.clone().document(format, 1_700_000_000).unwrap());
        assert!(document.contains("2023-11-14T22:13:20Z"), "{document}");
        assert!(document.contains(&format!("urn:uuid:{}", one.identity())));
    }
    assert_ne!(one.identity(), two.identity());
    assert_eq!(one.identity().len(), 36);
}

#[test]
fn times_are_told_as_everyone_tells_them() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (1_700_000_000, "2023-11-14T22:13:20Z"),
        (4_102_444_799, "2099-12-31T23:59:59Z"),
    ] {
        assert_eq!(timestamp(seconds), text);
    }
}
