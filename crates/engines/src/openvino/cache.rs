//! Compiled models kept in files: compiling takes OpenVINO up to a second, reading back a tenth of that.
//!
//! OpenVINO has a cache of its own (`CACHE_DIR`). It is not used: it writes its files in place, and what it reads back it does not check, so that a
//! file with one damaged page gave other answers without a word. Here a file appears whole or not at all, and says by a checksum
//! whether it still is what was written.

use crate::area::Scratch;
use crate::error::LoadError;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Before the checksum; another layout of the file gets another number. Both together keep the alignment of what follows.
const MAGIC: &[u8; 32] = b"flumeway OpenVINO compiled 00001";
const HEAD_BYTES: usize = MAGIC.len() + 32;

/// Files that a killed process has left unfinished are removed when they are this old: a compilation takes seconds.
const ABANDONED: Duration = Duration::from_hours(1);

/// A compiled model as its file holds it, head included.
pub(super) struct Stored(Scratch);

impl Stored {
    /// What was exported.
    pub(super) fn compiled(&self) -> &[u8] {
        &self.0.get()[HEAD_BYTES..]
    }
}

/// Where one compiled model lies.
pub(super) struct Entry {
    folder: PathBuf,
    name: String,
}

impl Entry {
    /// The place, below `cache_dir`, of what is compiled from exactly these `parts`: model, versions, device, settings.
    ///
    /// # Errors
    /// [`LoadError::BadOptions`] if the folder cannot be made.
    pub(super) fn new(cache_dir: &Path, parts: &[&[u8]]) -> Result<Self, LoadError> {
        let folder = cache_dir.join("openvino");
        fs::create_dir_all(&folder).map_err(|error| LoadError::BadOptions {
            reason: format!(
                "cache_dir: {} cannot be made ({error}): name a folder that this user may write",
                folder.display()
            ),
        })?;
        let mut digest = Sha256::new();
        for part in parts {
            // With the lengths, so that no two lists of parts are the same bytes.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Ok(Self { folder, name: hex(&digest.finalize()[..16]) })
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.compiled", self.name))
    }

    /// What was stored here; `None` if nothing was, or if it is damaged.
    pub(super) fn load(&self) -> Option<Stored> {
        let mut file = File::open(self.path()).ok()?;
        let length = usize::try_from(file.metadata().ok()?.len()).ok().filter(|&length| length >= HEAD_BYTES)?;
        let mut bytes = Scratch::new(length);
        file.read_exact(bytes.get_mut()).ok()?;
        let (head, compiled) = bytes.get().split_at(HEAD_BYTES);
        let sound = head.starts_with(MAGIC) && head[MAGIC.len()..] == Sha256::digest(compiled)[..];
        sound.then_some(Stored(bytes))
    }

    /// Stores what `export` writes to the path it is given. A failure leaves nothing: the model is compiled again next time.
    pub(super) fn store(&self, export: impl FnOnce(&Path) -> Result<(), String>) {
        self.remove_abandoned();
        let unique = format!("{}.{}", self.name, std::process::id());
        let (exported, checked) =
            (self.folder.join(format!("{unique}.export")), self.folder.join(format!("{unique}.part")));
        let stored = export(&exported).ok().and_then(|()| {
            let compiled = fs::read(&exported).ok()?;
            let mut file = File::create(&checked).ok()?;
            file.write_all(MAGIC).ok()?;
            file.write_all(&Sha256::digest(&compiled)).ok()?;
            file.write_all(&compiled).ok()?;
            // On the disk before the name: after a loss of power the name must not stand for an empty file. The checksum would tell, at the
            // price of a compilation.
            file.sync_all().ok()?;
            fs::rename(&checked, self.path()).ok()
        });
        // Both may be missing, and a file that cannot be removed is removed as abandoned.
        let _ = fs::remove_file(&exported);
        if stored.is_none() {
            let _ = fs::remove_file(&checked);
        }
    }

    fn remove_abandoned(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let unfinished = path.extension().is_some_and(|extension| extension == "export" || extension == "part");
            if unfinished && age(&path).is_some_and(|age| age > ABANDONED) {
                // Another process may have been faster.
                let _ = fs::remove_file(&path);
            }
        }
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed at the end of the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("flumeway-ov-cache-{}-{name}", std::process::id())))
        }

        fn files(&self) -> Vec<PathBuf> {
            fs::read_dir(self.0.join("openvino")).unwrap().map(|entry| entry.unwrap().path()).collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(bytes: &'static [u8]) -> impl FnOnce(&Path) -> Result<(), String> {
        move |path| fs::write(path, bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_stored_comes_back_and_damage_does_not() {
        let folder = Folder::new("damage");
        let entry = Entry::new(&folder.0, &[b"model", b"CPU"]).unwrap();
        assert!(entry.load().is_none());
        entry.store(write(b"compiled"));
        assert_eq!(entry.load().as_ref().map(Stored::compiled), Some(&b"compiled"[..]));
        let file = entry.path();
        assert_eq!(folder.files(), std::slice::from_ref(&file), "nothing else is left");
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file, &damaged).unwrap();
            assert!(entry.load().is_none(), "byte {at}");
            fs::write(&file, &whole[..at]).unwrap();
            assert!(entry.load().is_none(), "{at} bytes");
        }
        entry.store(write(b"again"));
        assert_eq!(entry.load().as_ref().map(Stored::compiled), Some(&b"again"[..]));
    }

    #[test]
    fn a_failed_export_leaves_nothing() {
        let folder = Folder::new("failed");
        let entry = Entry::new(&folder.0, &[b"model"]).unwrap();
        entry.store(|path| write(b"half")(path).and(Err("the disk is full".to_owned())));
        assert!(entry.load().is_none() && folder.files().is_empty());
    }

    #[test]
    fn other_parts_have_another_place() {
        let folder = Folder::new("parts");
        let name = |parts: &[&[u8]]| Entry::new(&folder.0, parts).unwrap().name;
        assert_ne!(name(&[b"ab", b"c"]), name(&[b"a", b"bc"]));
        assert_eq!(name(&[b"ab", b"c"]), name(&[b"ab", b"c"]));
    }

    #[test]
    fn unfinished_files_go_when_they_are_old() {
        let folder = Folder::new("old");
        let entry = Entry::new(&folder.0, &[b"model"]).unwrap();
        let (old, new) = (entry.folder.join("a.1.export"), entry.folder.join("b.2.part"));
        for path in [&old, &new] {
            fs::write(path, b"half").unwrap();
        }
        let yesterday = SystemTime::now() - Duration::from_hours(24);
        File::options().write(true).open(&old).unwrap().set_modified(yesterday).unwrap();
        entry.store(write(b"compiled"));
        let mut files = folder.files();
        files.sort();
        assert!(!old.exists() && new.exists() && files.len() == 2, "{files:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = Entry::new(Path::new("/proc/nowhere"), &[]).err().unwrap().to_string();
        assert!(error.contains("/proc/nowhere/openvino"), "{error}");
    }
}
