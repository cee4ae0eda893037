//! Room for streams: each is a connection that lasts, so they are counted, in all and by project.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use actix_web::http::header::{HeaderValue, RETRY_AFTER};

use crate::{
    config::notify::NotifyConfig,
    domain::{error::ErrorCode, id::ProjectId},
    http::problem::Problem,
};

/// The count. Clones share it.
#[derive(Debug, Clone)]
pub struct Rooms {
    open: Arc<Mutex<HashMap<ProjectId, usize>>>,
    most: usize,
    each: usize,
}

/// The place of one stream.
#[derive(Debug)]
pub struct Room {
    rooms: Rooms,
    project: ProjectId,
}

impl Rooms {
    /// Room as configured.
    #[must_use]
    pub fn of(config: &NotifyConfig) -> Self {
        Self { open: Arc::default(), most: config.max_streams, each: config.max_streams_per_project }
    }

    /// How many are open.
    #[must_use]
    pub fn taken(&self) -> u64 {
        u64::try_from(self.lock().values().sum::<usize>()).unwrap_or(u64::MAX)
    }

    /// Takes a place.
    pub(super) fn enter(&self, project: ProjectId) -> Result<Room, Problem> {
        let mut open = self.lock();
        if open.values().sum::<usize>() >= self.most {
            return Err(full(format!("{} streams are open; no more are taken", self.most)));
        }
        let own = open.entry(project).or_default();
        if *own >= self.each {
            return Err(full(format!("the project has {} streams open; no more are taken", self.each)));
        }
        *own += 1;
        drop(open);
        Ok(Room { rooms: self.clone(), project })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn full(detail: String) -> Problem {
    Problem::new(ErrorCode::RateLimited, detail).with_header(RETRY_AFTER, HeaderValue::from_static("5"))
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut open = self.rooms.lock();
        let left = open.get(&self.project).copied().unwrap_or(1).saturating_sub(1);
        if left == 0 {
            open.remove(&self.project);
        } else {
            open.insert(self.project, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_cannot_take_all_the_room_and_leaving_frees_it() {
        let rooms = Rooms::of(&NotifyConfig { max_streams: 3, max_streams_per_project: 2, ..NotifyConfig::default() });
        let (one, two, three) = (ProjectId::fresh(), ProjectId::fresh(), ProjectId::fresh());
        let first = rooms.enter(one).unwrap();
        let _second = rooms.enter(one).unwrap();
        assert_eq!(rooms.enter(one).unwrap_err().code(), ErrorCode::RateLimited);
        let _third = rooms.enter(two).unwrap();
        assert!(rooms.enter(three).is_err(), "no room at all");
        drop(first);
        assert_eq!(rooms.taken(), 2);
        assert!(rooms.enter(three).is_ok());
        assert_eq!(rooms.lock().len(), 2, "who has left is forgotten");
    }
}
