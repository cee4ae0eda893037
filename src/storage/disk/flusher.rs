//! Flushes folders for many files at once: whoever comes while a flush is under way shares the next one. A flush costs the same
//! for one new entry as for fifty.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Where somebody waits for a flush.
type Waiter = oneshot::Sender<Result<(), (io::ErrorKind, String)>>;

/// The folders that are being flushed, each with those who wait for the next flush of it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Flusher {
    folders: Arc<Mutex<HashMap<PathBuf, Vec<Waiter>>>>,
}

impl Flusher {
    /// Returns once the folder was flushed by a flush that began after this call. Cancel safe.
    pub(super) async fn flushed(&self, folder: PathBuf) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let idle = {
            let mut folders = self.lock();
            let idle = !folders.contains_key(&folder);
            folders.entry(folder.clone()).or_default().push(tell);
            idle
        };
        if idle {
            let own = self.clone();
            drop(tokio::task::spawn_blocking(move || own.flush_while_wanted(&folder, super::flush_folder)));
        }
        match told.await {
            Ok(done) => done.map_err(|(kind, text)| io::Error::new(kind, text)),
            Err(_) => Err(io::Error::other("the flush was broken off")),
        }
    }

    fn flush_while_wanted(&self, folder: &Path, flush: impl Fn(&Path) -> io::Result<()>) {
        while let Some(waiting) = self.next(folder) {
            let done = flush(folder).map_err(|error| (error.kind(), error.to_string()));
            for waiter in waiting {
                // Who has gone away needs no answer.
                let _gone = waiter.send(done.clone());
            }
        }
    }

    /// Those who wait now; with nobody left the folder is idle.
    fn next(&self, folder: &Path) -> Option<Vec<Waiter>> {
        let mut folders = self.lock();
        let waiting = std::mem::take(folders.get_mut(folder)?);
        if waiting.is_empty() {
            folders.remove(folder);
            return None;
        }
        Some(waiting)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Vec<Waiter>>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::{Path, PathBuf},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::oneshot;

    use super::Flusher;

    #[test]
    fn those_who_come_during_a_flush_share_the_next_one_and_its_error() {
        let (flusher, folder, flushes) = (Flusher::default(), PathBuf::from("f"), AtomicUsize::new(0));
        let wait = || {
            let (tell, told) = oneshot::channel();
            flusher.lock().entry(folder.clone()).or_default().push(tell);
            told
        };
        let (mut first, mut late) = (wait(), Vec::new());
        let late_ones = std::cell::RefCell::new(&mut late);
        flusher.flush_while_wanted(&folder, |_: &Path| {
            if flushes.fetch_add(1, Ordering::SeqCst) > 0 {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "full"));
            }
            late_ones.borrow_mut().extend((0..3).map(|_| wait()));
            Ok(())
        });
        assert_eq!(flushes.into_inner(), 2);
        assert_eq!(first.try_recv().unwrap(), Ok(()));
        for mut told in late {
            assert_eq!(told.try_recv().unwrap(), Err((io::ErrorKind::StorageFull, "full".to_owned())));
        }
        assert!(flusher.lock().is_empty());
    }

    #[tokio::test]
    async fn a_folder_is_flushed_and_a_missing_one_is_an_error() {
        let (flusher, folder) = (Flusher::default(), tempfile::tempdir().unwrap());
        flusher.flushed(folder.path().to_owned()).await.unwrap();
        let missing = flusher.flushed(folder.path().join("nowhere")).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
