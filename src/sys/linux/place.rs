//! Paths that lead through folders of others.
//!
//! Root makes files and folders there for a user who has fewer rights, and makes that user their owner.
//! Whoever may write to such a folder could put a link there, and would be given a file of the system.
//! So each step is taken by itself, from folder to folder that is open, and a link is followed only where
//! nobody but root could have put it.
use crate::sys::linux::process::{User, is_root};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

/// The kernel follows so many links too.
const MOST_LINKS: usize = 40;

/// A name in a folder that is open: where a path leads to.
pub(super) struct PathHandle {
    /// The folder.
    pub folder: OwnedFd,
    /// The name of what is in it, or will be. It is no link, unless somebody puts one there later.
    pub name: OsString,
    /// Whether root alone may have put there what has the name.
    pub is_safe: bool,
}

impl PathHandle {
    /// Follows `path`, whose last part need not be there. `LOOP` if this process is root and somebody
    /// else may have put a link on the way.
    pub fn new(path: &Path) -> Result<PathHandle, Errno> {
        let mut walk = Walk { folder: start(path)?, rest: VecDeque::new(), links: 0 };
        walk.rest.extend(parts(path));
        while let Some(name) = walk.rest.pop_front() {
            let is_safe = is_safe(&fs::fstat(&walk.folder)?);
            let found = match fs::statat(&walk.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => Some(FileType::from_raw_mode(found.st_mode)),
                Err(Errno::NOENT) if walk.rest.is_empty() => None,
                Err(error) => return Err(error),
            };
            if found == Some(FileType::Symlink) {
                walk.follow(&name, is_safe)?;
            } else if walk.rest.is_empty() && name != ".." {
                return Ok(PathHandle { folder: walk.folder, name, is_safe });
            } else {
                walk.folder = enter(&walk.folder, &name)?;
            }
        }
        // It ends with the root, or with a folder's way up.
        Ok(PathHandle {
            is_safe: is_safe(&fs::fstat(&walk.folder)?),
            folder: walk.folder,
            name: ".".into(),
        })
    }

    /// Opens what is there.
    pub fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        fs::openat(&self.folder, &self.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, mode)
    }

    /// Makes `user` the owner of what was opened here. `LOOP` if it is a file that has another name too:
    /// it may be one of the system's.
    pub fn give(&self, opened: BorrowedFd<'_>, user: &User) -> Result<(), Errno> {
        self.give_to(opened, Some(user.uid), Some(user.gid))
    }

    /// The same with the numbers of a user and a group, of which either may stay what it is.
    pub fn give_to(
        &self,
        opened: BorrowedFd<'_>,
        user: Option<u32>,
        group: Option<u32>,
    ) -> Result<(), Errno> {
        let metadata = fs::fstat(opened)?;
        let is_folder = FileType::from_raw_mode(metadata.st_mode) == FileType::Directory;
        if !self.is_safe && !is_folder && metadata.st_nlink > 1 {
            return Err(Errno::LOOP);
        }
        let user = user.filter(|user| *user != metadata.st_uid).map(Uid::from_raw);
        let group = group.filter(|group| *group != metadata.st_gid).map(Gid::from_raw);
        if user.is_none() && group.is_none() {
            return Ok(());
        }
        fs::chownat(opened, c"", user, group, AtFlags::EMPTY_PATH)
    }
}

/// A path, as far as it was followed.
struct Walk {
    folder: OwnedFd,
    rest: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn follow(&mut self, name: &OsStr, is_safe: bool) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MOST_LINKS || is_root() && !is_safe {
            return Err(Errno::LOOP);
        }
        let target = fs::readlinkat(&self.folder, name, Vec::new())?;
        let target = OsString::from_vec(target.into_bytes());
        let target = Path::new(&target);
        if target.is_absolute() {
            self.folder = start(target)?;
        }
        for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
            self.rest.push_front(part);
        }
        Ok(())
    }
}

/// Where a path begins.
fn start(path: &Path) -> Result<OwnedFd, Errno> {
    let start = if path.is_absolute() { c"/" } else { c"." };
    fs::open(start, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn enter(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder.as_fd(), name, flags, Mode::empty())
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Whether root alone may put something into a folder.
fn is_safe(folder: &Stat) -> bool {
    folder.st_uid == 0 && folder.st_mode & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UnixPath;
    use crate::sys::IoError;
    use crate::sys::linux::testing::alone;
    use crate::sys::linux::{Directory, Listener, LogFile};
    use crate::sys::{Binding, SocketFile};
    use std::fs as files;
    use std::os::unix::fs::{MetadataExt, chown, symlink};
    use std::path::PathBuf;

    const NOBODY: u32 = 65534;
    const REFUSED: IoError = IoError::Linked;

    fn socket(path: PathBuf) -> UnixPath {
        UnixPath::parse(path.to_str().unwrap()).unwrap()
    }

    fn bind(path: PathBuf, user: Option<&User>) -> Result<Listener, IoError> {
        let (owner, group) = (user.map(|user| user.uid), user.map(|user| user.gid));
        let file = SocketFile { mode: 0o660, owner, group };
        Listener::bind(Binding { file, ..Binding::from(socket(path)) }, 16)
    }

    fn nobody() -> User {
        User { name: String::from("nobody"), uid: NOBODY, gid: NOBODY }
    }

    /// A folder of root's, and in it one of somebody else's, and a file and a folder of the system.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Scene {
            let name = format!("httplb-place-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let scene = Scene(path);
            let _ = files::remove_dir_all(&scene.0);
            files::create_dir_all(scene.at("system/folder")).unwrap();
            files::create_dir_all(scene.at("theirs/below")).unwrap();
            files::write(scene.at("system/file"), "precious").unwrap();
            if is_root() {
                chown(scene.at("theirs"), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            scene
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        fn owner(&self, path: &str) -> u32 {
            files::metadata(self.at(path)).unwrap().uid()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = files::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_that_others_have_put_are_refused_and_what_they_lead_to_stays_whose_it_is() {
        let scene = Scene::new("links");
        symlink(scene.at("system/file"), scene.at("theirs/log")).unwrap();
        symlink(scene.at("system/file"), scene.at("theirs/admin.sock")).unwrap();
        symlink(scene.at("system/folder"), scene.at("theirs/cache")).unwrap();
        symlink(scene.at("system"), scene.at("theirs/way")).unwrap();
        if !is_root() {
            // Who is not root is not tricked into anything by links.
            assert!(PathHandle::new(&scene.at("theirs/way/file")).is_ok());
            return;
        }
        let user = nobody();
        for path in ["theirs/log", "theirs/way/log", "theirs/way/file"] {
            assert_eq!(LogFile::open_for(&scene.at(path), &user).err(), Some(REFUSED), "{path}");
        }
        for path in ["theirs/cache", "theirs/way/folder", "theirs/way/new"] {
            assert_eq!(Directory::open_for(&scene.at(path), &user).err(), Some(REFUSED), "{path}");
        }
        for path in ["theirs/admin.sock", "theirs/way/admin.sock"] {
            let bound = bind(scene.at(path), Some(&user));
            assert_eq!(bound.err(), Some(REFUSED), "{path}");
            assert_eq!(Listener::remove_file(&socket(scene.at(path))), Err(REFUSED));
        }
        for path in ["system", "system/file", "system/folder"] {
            assert_eq!(scene.owner(path), 0, "{path}");
        }
        assert_eq!(files::read_dir(scene.at("system")).unwrap().count(), 2);
    }

    #[test]
    fn another_name_of_a_file_of_the_system_is_not_given_away() {
        let scene = Scene::new("names");
        files::hard_link(scene.at("system/file"), scene.at("theirs/log")).unwrap();
        if is_root() {
            assert_eq!(LogFile::open_for(&scene.at("theirs/log"), &nobody()).err(), Some(REFUSED));
            assert_eq!(scene.owner("system/file"), 0);
        }
        // Nor a socket that is put in the place of ours.
        let other = std::os::unix::net::UnixListener::bind(scene.at("system/socket")).unwrap();
        files::hard_link(scene.at("system/socket"), scene.at("theirs/socket")).unwrap();
        let bound = bind(scene.at("theirs/socket"), None);
        assert_eq!(bound.err(), Some(IoError::InUse));
        drop(other);
    }

    #[test]
    fn what_lies_in_folders_of_others_is_theirs_and_links_of_root_are_followed() {
        // What the modes are is a matter of the umask, which is the tests' beside it too.
        if !alone(what_lies_in_folders_of_others_is_theirs_and_links_of_root_are_followed) {
            return;
        }
        let scene = Scene::new("plain");
        symlink("system", scene.at("link")).unwrap();
        symlink(scene.at("link/folder"), scene.at("system/again")).unwrap();
        if !is_root() {
            return;
        }
        let user = nobody();
        for path in ["theirs/log", "theirs/below/log", "link/log", "system/again/../again/log"] {
            LogFile::open_for(&scene.at(path), &user).unwrap();
            assert_eq!(scene.owner(path), NOBODY, "{path}");
            assert_eq!(files::metadata(scene.at(path)).unwrap().mode() & 0o777, 0o640);
        }
        for path in ["theirs/cache", "link/cache", "system/again/cache"] {
            Directory::open_for(&scene.at(path), &user).unwrap();
            assert_eq!(scene.owner(path), NOBODY, "{path}");
        }
        for path in ["theirs/socket", "link/socket"] {
            let listener = bind(scene.at(path), Some(&user)).unwrap();
            assert_eq!(scene.owner(path), NOBODY, "{path}");
            assert_eq!(files::metadata(scene.at(path)).unwrap().mode() & 0o777, 0o660);
            drop(listener);
            Listener::remove_file(&socket(scene.at(path))).unwrap();
        }
        assert_eq!(scene.owner("system"), 0);
    }

    #[test]
    fn links_in_a_circle_and_ways_that_are_not_there_are_errors() {
        let scene = Scene::new("circle");
        symlink("circle", scene.at("circle")).unwrap();
        assert_eq!(PathHandle::new(&scene.at("circle")).err(), Some(Errno::LOOP));
        assert_eq!(PathHandle::new(&scene.at("missing/log")).err(), Some(Errno::NOENT));
        assert_eq!(PathHandle::new(&scene.at("system/file/log")).err(), Some(Errno::NOTDIR));
        assert_eq!(PathHandle::new(Path::new("/")).unwrap().name, ".");
        let place = PathHandle::new(&scene.at("theirs/below/..")).unwrap();
        assert_eq!(place.name, ".");
    }
}
