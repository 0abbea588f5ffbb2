//! Confines the file tools to the working directory and the folders that the user adds.
//!
//! A path is resolved with all its links and checked. Then it is opened component by component from a handle on the
//! folder, without following links: if somebody swaps a component in between, that is an error and no way out.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use uuid::Uuid;

use super::Answer;

/// The kernel too follows this many links in one path (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// PATH_MAX without its final NUL (limits.h), in bytes.
const LONGEST_PATH: usize = 4095;

/// The largest file that is read, in bytes. A larger one is not source code, and reading it would take as much memory.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A file is binary if there is a NUL in this many bytes at its start, as for git (buffer_is_binary in xdiff-interface.c).
const LOOK_FOR_NUL: usize = 8000;

pub struct Workspace {
    /// The working directory first.
    roots: Vec<Root>,
    /// The folder with the logs of background tasks, which may be read. It may not exist yet.
    logs: Option<PathBuf>,
    writable: bool,
}

/// A folder that the file tools may use.
struct Root {
    /// Absolute, without links.
    path: PathBuf,
    handle: OwnedFd,
}

impl Workspace {
    /// A workspace of this working directory. Fails if that can't be opened.
    pub fn open(folder: &Path) -> io::Result<Workspace> {
        Ok(Workspace { roots: vec![Root::open(folder)?], logs: None, writable: true })
    }

    /// Adds another folder. Fails if that can't be opened.
    pub fn add(&mut self, folder: &Path) -> io::Result<()> {
        self.roots.push(Root::open(folder)?);
        Ok(())
    }

    /// Allows reading the logs in this folder, once it exists.
    pub fn add_logs(&mut self, folder: Option<PathBuf>) {
        self.logs = folder;
    }

    /// Refuses all writes from now on.
    pub fn make_read_only(&mut self) {
        self.writable = false;
    }

    /// The whole content of a regular file, at most `LARGEST` bytes. Fails with an answer for the model.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, Answer> {
        let (folder, name) = self.place(path, false)?;
        // NONBLOCK, since opening a FIFO would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, &name, flags, Mode::empty()) {
            // Sockets can't be opened, and neither can some devices.
            Err(Errno::NXIO) => return Err(irregular(path)),
            file => file.map_err(|err| failure("read", path, err))?,
        };
        let stat = rustix::fs::fstat(&file).map_err(|err| failure("read", path, err))?;
        regular(path, FileType::from_raw_mode(stat.st_mode))?;
        if stat.st_size as u64 > LARGEST {
            return Err(Answer::error(format!(
                "{path} has {} bytes, and the limit is {LARGEST}: use bash with head, tail, sed or grep",
                stat.st_size
            )));
        }
        let mut content = Vec::with_capacity(stat.st_size as usize);
        File::from(file).read_to_end(&mut content).map_err(|err| failure("read", path, err))?;
        Ok(content)
    }

    /// Replaces or creates a regular file and its parent folders. Mode and owner of an old file stay. On an error,
    /// which is an answer for the model, the old file is unchanged.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<(), Answer> {
        self.check_writable(path)?;
        let (folder, name) = self.place(path, true)?;
        let old = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            stat => Some(stat.map_err(|err| failure("write", path, err))?),
        };
        if let Some(old) = &old {
            regular(path, FileType::from_raw_mode(old.st_mode))?;
            // A rename needs no permission on the file, but whoever made a file read-only wants it to stay.
            rustix::fs::accessat(&folder, &name, Access::WRITE_OK, AtFlags::empty())
                .map_err(|err| failure("write", path, err))?;
        }
        let temporary = format!(".meanwhile-{}.tmp", Uuid::new_v4().simple());
        let written = write_new(&folder, &temporary, content, old.as_ref())
            .and_then(|()| Ok(rustix::fs::renameat(&folder, &temporary, &folder, &name)?));
        written.map_err(|err| {
            let _ = rustix::fs::unlinkat(&folder, &temporary, AtFlags::empty());
            failure("write", path, err)
        })
    }

    /// Fails with an answer for the model if no file may be written there.
    pub fn check_writable(&self, path: &str) -> Result<(), Answer> {
        if !self.writable {
            let text = format!("failed to write {path}: the sandbox is read-only");
            return Err(Answer::error(text));
        }
        let resolved = self.resolve(path)?;
        let is_inside = self.roots.iter().any(|root| resolved.starts_with(&root.path));
        if is_inside { Ok(()) } else { Err(escapes(path)) }
    }

    /// The size in bytes of a file that can't be read here. None if there is no file.
    pub fn size(&self, path: &str) -> Option<u64> {
        Some(fs::metadata(self.resolve(path).ok()?).ok()?.len())
    }

    /// What `path` names, without links; relative to the working directory if it is inside.
    pub fn name(&self, path: &str) -> Result<String, Answer> {
        let resolved = self.resolve(path)?;
        let name = resolved.strip_prefix(&self.roots[0].path).unwrap_or(&resolved);
        Ok(name.to_string_lossy().into_owned())
    }

    /// The folder of `path` in the workspace and its name in there; the file may not exist. With `create`, creates
    /// its parent folders.
    fn place(&self, path: &str, create: bool) -> Result<(OwnedFd, OsString), Answer> {
        let resolved = self.resolve(path)?;
        let is_log = !create && resolved.extension() == Some("log".as_ref());
        let logs = self.logs.as_ref().filter(|_| is_log);
        let logs = logs.and_then(|logs| Root::open(logs).ok());
        let logs = logs.filter(|logs| resolved.parent() == Some(&logs.path));
        let mut roots = self.roots.iter().chain(&logs);
        let found = roots.find_map(|root| Some((root, resolved.strip_prefix(&root.path).ok()?)));
        let (root, relative) = found.ok_or_else(|| escapes(path))?;
        let name = relative.file_name().filter(|_| !path.ends_with('/')).ok_or_else(|| is_folder(path))?;
        let open =
            |folder: &OwnedFd, name| open_folder(folder, name).map_err(|err| failure("open", path, err));
        let mut folder = open(&root.handle, OsStr::new("."))?;
        for part in relative.parent().into_iter().flat_map(Path::iter) {
            if create {
                match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(err) => return Err(failure("create the folder of", path, err)),
                }
            }
            folder = open(&folder, part)?;
        }
        Ok((folder, name.to_owned()))
    }

    /// `path` made absolute, without links and dots. Components that don't exist stay as they are.
    fn resolve(&self, path: &str) -> Result<PathBuf, Answer> {
        if path.len() > LONGEST_PATH {
            let text = format!("the path has {} bytes, and the limit is {LONGEST_PATH}", path.len());
            return Err(Answer::error(text));
        }
        let mut resolved = PathBuf::from("/");
        let mut ahead = parts(&self.roots[0].path.join(path));
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(part);
            let Ok(target) = fs::read_link(&resolved) else { continue };
            links += 1;
            if links > MOST_LINKS {
                return Err(Answer::error(format!("{path} has too many symbolic links")));
            }
            resolved.pop();
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            ahead.extend(parts(&target));
        }
        Ok(resolved)
    }
}

impl Root {
    fn open(folder: &Path) -> io::Result<Root> {
        let path = fs::canonicalize(folder)?;
        let handle = open_folder(CWD, path.as_os_str())?;
        Ok(Root { path, handle })
    }
}

/// Whether this is the content of a file that is not text.
pub fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(LOOK_FOR_NUL)].contains(&0)
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}

fn open_folder(at: impl std::os::fd::AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Creates a file, writes it and syncs it, with mode and owner of `old`. Fails if the file exists.
fn write_new(folder: &OwnedFd, name: &str, content: &[u8], old: Option<&rustix::fs::Stat>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?);
    file.write_all(content)?;
    if let Some(old) = old {
        // The group may change, since only its members can keep it, but the owner must not. The mode is set last,
        // since a change of owner clears its special bits.
        let _ = std::os::unix::fs::fchown(&file, Some(old.st_uid), Some(old.st_gid));
        if rustix::fs::fstat(&file)?.st_uid != old.st_uid {
            let text = "it belongs to another user, and a new file would not: write to it with bash";
            return Err(io::Error::other(text));
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(old.st_mode & 0o7777))?;
    }
    file.sync_all()
}

fn regular(path: &str, kind: FileType) -> Result<(), Answer> {
    match kind {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(is_folder(path)),
        _ => Err(irregular(path)),
    }
}

fn irregular(path: &str) -> Answer {
    Answer::error(format!("{path} is not a regular file"))
}

fn escapes(path: &str) -> Answer {
    Answer::error(format!("Path escapes workspace: {path}"))
}

fn is_folder(path: &str) -> Answer {
    Answer::error(format!("{path} is a directory: list it with bash and ls"))
}

fn failure(doing: &str, path: &str, err: impl Into<io::Error>) -> Answer {
    Answer::error(format!("failed to {doing} {path}: {}", err.into()))
}
