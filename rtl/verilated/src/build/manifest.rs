//! Whether a model on disk is still what its sources say.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

/// What a build was made of: settings, and the files that Verilator read, by content.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    settings: Vec<String>,
    files: Vec<(PathBuf, Option<u64>)>,
}

impl Manifest {
    /// Of files as they are now; a missing file is recorded as missing.
    pub fn new(settings: Vec<String>, files: impl IntoIterator<Item = PathBuf>) -> Manifest {
        let files = files.into_iter().map(|f| {
            let hash = content_hash(&f);
            (f, hash)
        });
        Manifest {
            settings: settings.iter().map(|s| s.escape_debug().to_string()).collect(),
            files: files.collect(),
        }
    }

    /// Reads one that was written before. None when there is none, or it is damaged.
    pub fn read(path: &Path) -> Option<Manifest> {
        let text = fs::read_to_string(path).ok()?;
        let mut manifest = Manifest {
            settings: Vec::new(),
            files: Vec::new(),
        };
        for line in text.strip_suffix("end\n")?.lines() {
            match line.split_once(' ')? {
                ("set", setting) => manifest.settings.push(setting.to_owned()),
                ("file", rest) => {
                    let (hash, file) = rest.split_once(' ')?;
                    let hash = if hash == "-" {
                        None
                    } else {
                        Some(u64::from_str_radix(hash, 16).ok()?)
                    };
                    manifest.files.push((file.into(), hash));
                }
                _ => return None,
            }
        }
        Some(manifest)
    }

    /// Writes it, for the next build.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut text = String::new();
        for setting in &self.settings {
            text += &format!("set {setting}\n");
        }
        for (file, hash) in &self.files {
            let hash = hash.map_or("-".to_owned(), |h| format!("{h:016x}"));
            text += &format!("file {hash} {}\n", file.display());
        }
        fs::write(path, text + "end\n")
    }

    /// Whether a build with these settings would read the same.
    pub fn is_current(&self, settings: &[String]) -> bool {
        let files: Vec<PathBuf> = self.files.iter().map(|(f, _)| f.clone()).collect();
        *self == Manifest::new(settings.to_vec(), files)
    }

    /// The files that Verilator read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(f, _)| f.as_path())
    }
}

fn content_hash(file: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(file).ok()?);
    Some(hasher.finish())
}

/// The prerequisites in a makefile rule as Verilator writes it with `-MMD`: `targets : file file`.
pub fn dependencies(rule: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let after = rule.split_once(" : ").map_or("", |(_, after)| after);
    let mut word = String::new();
    let mut chars = after.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            // A space in a name is escaped; a newline ends nothing.
            '\\' if chars.peek() == Some(&' ') => word.extend(chars.next()),
            '\\' if chars.peek() == Some(&'\n') => {}
            c if c.is_whitespace() => add(&mut files, &mut word),
            c => word.push(c),
        }
    }
    add(&mut files, &mut word);
    files
}

fn add(files: &mut Vec<PathBuf>, word: &mut String) {
    let file = PathBuf::from(std::mem::take(word));
    if !file.as_os_str().is_empty() && !files.contains(&file) {
        files.push(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Vec<String> {
        vec!["-GN=4".to_owned(), "two\nlines".to_owned()]
    }

    /// A source, and a manifest of it as read back from disk.
    fn built() -> (tempfile::TempDir, PathBuf, Manifest) {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("a b.sv");
        fs::write(&source, "module a; endmodule").unwrap();
        let at = dir.path().join("manifest");
        Manifest::new(settings(), [source.clone()]).write(&at).unwrap();
        let manifest = Manifest::read(&at).unwrap();
        (dir, source, manifest)
    }

    #[test]
    fn nothing_changed_is_current() {
        let (_dir, _source, manifest) = built();
        assert!(manifest.is_current(&settings()));
    }

    #[test]
    fn a_touched_but_equal_source_is_current() {
        let (_dir, source, manifest) = built();
        fs::write(&source, "module a; endmodule").unwrap();
        assert!(manifest.is_current(&settings()));
    }

    #[test]
    fn an_edited_source_is_not_current() {
        let (_dir, source, manifest) = built();
        fs::write(&source, "module b; endmodule").unwrap();
        assert!(!manifest.is_current(&settings()));
    }

    #[test]
    fn a_removed_source_is_not_current() {
        let (_dir, source, manifest) = built();
        fs::remove_file(&source).unwrap();
        assert!(!manifest.is_current(&settings()));
    }

    #[test]
    fn another_parameter_is_not_current() {
        let (_dir, _source, manifest) = built();
        assert!(!manifest.is_current(&["-GN=5".to_owned(), "two\nlines".to_owned()]));
    }

    #[test]
    fn a_truncated_manifest_counts_as_none() {
        let (dir, ..) = built();
        let at = dir.path().join("manifest");
        let text = fs::read_to_string(&at).unwrap();
        fs::write(&at, &text[..text.len() - 4]).unwrap();
        assert_eq!(Manifest::read(&at), None);
    }

    #[test]
    fn dependencies_are_what_follows_the_colon() {
        let rule = "o/V.cpp o/V.h  : /usr/bin/verilator_bin /usr/bin/verilator_bin inc.svh a\\ b.sv \n";
        assert_eq!(
            dependencies(rule),
            ["/usr/bin/verilator_bin", "inc.svh", "a b.sv"].map(PathBuf::from)
        );
    }
}
