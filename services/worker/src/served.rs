//! Which of a worker's engines work now, and what becomes of its readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pointsman_server::Readiness;

/// The engines of a worker, as far as they work. Cheap to clone.
///
/// The worker is ready once each of them was tried, and while at least one works: what one of them cannot serve
/// must not take away what the others can. Whoever watches the worker's health is told again at each change, and
/// finds in its description which targets are unavailable.
#[derive(Clone, Debug)]
pub(crate) struct Engines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    readiness: Readiness,
    /// `None`: not tried yet. Held while the readiness is changed, so that changes are told in their order.
    works: Mutex<Vec<Option<bool>>>,
}

/// One of a worker's engines.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    engines: Engines,
    index: usize,
}

impl Engines {
    pub(crate) fn new(readiness: Readiness, count: usize) -> Self {
        Self(Arc::new(Shared { readiness, works: Mutex::new(vec![None; count]) }))
    }

    pub(crate) fn member(&self, index: usize) -> Member {
        Member { engines: self.clone(), index }
    }

    fn works(&self) -> MutexGuard<'_, Vec<Option<bool>>> {
        self.0.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Says whether the engine works.
    pub(crate) fn set(&self, works: bool) {
        let mut all = self.engines.works();
        let Some(own) = all.get_mut(self.index) else { return };
        if own.replace(works) == Some(works) {
            return;
        }
        let tried = all.iter().all(Option::is_some);
        let ready = tried && all.contains(&Some(true));
        let readiness = &self.engines.0.readiness;
        if ready && readiness.is_ready() {
            readiness.tell_again();
        }
        readiness.set(ready);
    }

    /// Whether the engine has shown that it works, and was not lost since.
    pub(crate) fn works(&self) -> bool {
        self.engines.works().get(self.index) == Some(&Some(true))
    }
}

#[cfg(test)]
mod tests {
    use pointsman_server::Readiness;

    use super::Engines;

    #[test]
    fn a_worker_is_ready_when_all_were_tried_and_while_one_works() {
        let readiness = Readiness::default();
        let engines = Engines::new(readiness.clone(), 2);
        let (one, other) = (engines.member(0), engines.member(1));
        one.set(true);
        assert!(!readiness.is_ready() && one.works() && !other.works(), "the other was not tried");
        other.set(false);
        assert!(readiness.is_ready(), "one works");
        other.set(true);
        one.set(false);
        assert!(readiness.is_ready() && !one.works() && other.works());
        other.set(false);
        assert!(!readiness.is_ready(), "none works");
        one.set(true);
        assert!(readiness.is_ready());
    }
}
