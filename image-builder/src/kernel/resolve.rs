//! Finds which modules are needed and in which order they must be inserted, from what the modules say of
//! themselves: a Debian package has no `modules.dep`, that file is made when it is installed.

use std::collections::BTreeSet;

use super::KernelError;
use super::modinfo::normal;
use super::package::Survey;

/// The names of the modules to insert, every one behind those that it needs.
pub(super) fn insertion_order<'a>(
    survey: &Survey,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, KernelError> {
    let mut walk = Walk { survey, order: Vec::new(), done: BTreeSet::new(), open: BTreeSet::new() };
    for name in wanted {
        walk.visit(&normal(name), "every guest")?;
    }
    Ok(walk.order)
}

struct Walk<'a> {
    survey: &'a Survey,
    order: Vec<String>,
    done: BTreeSet<String>,
    open: BTreeSet<String>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str, needed_by: &str) -> Result<(), KernelError> {
        if self.done.contains(name) || self.survey.built_in.contains(name) {
            return Ok(());
        }
        // The depth is bounded: a module is open at most once.
        if !self.open.insert(name.to_owned()) {
            return Err(KernelError::Circle(name.to_owned()));
        }
        let Some(module) = self.survey.modules.get(name) else {
            return Err(KernelError::MissingModule(name.to_owned(), needed_by.to_owned()));
        };
        for soft in &module.info.soft {
            // A wish, often by an alias of an algorithm that is built in: taken where it names a module.
            for candidate in [soft.clone(), format!("{soft}_generic")] {
                if self.survey.modules.contains_key(&candidate) && !self.open.contains(&candidate) {
                    self.visit(&candidate, name)?;
                }
            }
        }
        for dependency in &module.info.depends {
            self.visit(dependency, name)?;
        }
        self.open.remove(name);
        self.done.insert(name.to_owned());
        self.order.push(name.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::modinfo::ModInfo;
    use super::super::package::Module;
    use super::*;

    fn survey(modules: &[(&str, &[&str], &[&str])], built_in: &[&str]) -> Survey {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let modules = modules.iter().map(|(name, depends, soft)| {
            let info = ModInfo { name: (*name).to_owned(), depends: owned(depends), soft: owned(soft) };
            ((*name).to_owned(), Module { path: format!("{name}.ko"), info })
        });
        Survey {
            version: "1".to_owned(),
            vmlinuz: Vec::new(),
            modules: modules.collect(),
            built_in: owned(built_in).into_iter().collect(),
            configuration: None,
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let modules: &[(&str, &[&str], &[&str])] = &[
            ("net", &["virtio", "failover"], &[]),
            ("blk", &["virtio", "ring"], &[]),
            ("virtio", &[], &[]),
            ("failover", &["core"], &[]),
            ("fs", &["crc"], &[]),
            ("crc", &[], &["crc32c"]),
            ("crc32c_generic", &[], &[]),
        ];
        let survey = survey(modules, &["ring", "core"]);
        let order = insertion_order(&survey, ["blk", "net", "ring", "fs"].into_iter()).unwrap();
        assert_eq!(order, ["virtio", "blk", "failover", "net", "crc32c_generic", "crc", "fs"]);
    }

    #[test]
    fn a_missing_module_and_a_circle_are_errors() {
        let survey = survey(&[("a", &["b"], &[]), ("b", &["a"], &[]), ("c", &["d"], &[])], &[]);
        let refused = |name| insertion_order(&survey, [name].into_iter()).unwrap_err().to_string();
        assert!(refused("a").contains("depends on itself"));
        assert_eq!(refused("c"), "The kernel has no module d (needed by c), nor is it built in");
    }
}
