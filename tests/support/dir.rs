//! The folders of one test, removed when the last one that needs them is gone.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Dir {
        let dir = Dir(tempfile::tempdir().expect("a temporary folder"));
        for folder in [dir.workspace(), dir.home(), dir.tmp()] {
            fs::create_dir(folder).expect("an empty folder takes a new one");
        }
        dir
    }

    /// The working directory of the program.
    pub fn workspace(&self) -> PathBuf {
        self.0.path().join("workspace")
    }

    pub fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// `XDG_STATE_HOME`; the program has to create it.
    pub fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    pub fn tmp(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// Writes a file of the workspace, with its folders.
    #[track_caller]
    pub fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
        let path = self.workspace().join(path);
        let folder = path.parent().expect("a file stands in a folder");
        fs::create_dir_all(folder).expect("the workspace takes folders");
        fs::write(path, contents).expect("the workspace takes files");
    }

    /// Reads a file of the workspace as text.
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.workspace().join(path);
        match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) => panic!("failed to read file `{}`: {err}", path.display()),
        }
    }
}
