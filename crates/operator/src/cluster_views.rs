//! What the watches inside seeds hold of user clusters. Talks to seeds, reading only.
//!
//! A view says at once what is *not yet* so. What a run may rest on, it never says by itself: that was read live, by a list
//! that began when the view was as it is now. Either way a live read must not be long ago, so a watch that is frozen or loses
//! events neither vouches for a seed nor holds it up for longer than that.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use kkp_upgrade_connection::{EndlessList, bounded_list};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::lock;
use crate::observe::{Change, ClusterPieces, NAME, OBJECTS};
use crate::seeds::SeedConnection;

/// Objects per page of a first list.
const PAGE: u32 = 100;
/// First lists at the same time: bounds what their pages take.
const FIRST_LISTS: usize = 4;
/// How long a seed may be silent in its first list before another one may begin beside it: a dead seed holds up nobody.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// How long a view stays that no round asks for: the run is at another version, or the Seed is gone.
const UNASKED: Duration = Duration::from_mins(15);

/// The kinds that are watched.
const KINDS: usize = 3;

#[derive(Default)]
struct State {
    pieces: ClusterPieces,
    /// By kind: the first list is complete, and no error since the last event.
    complete: [bool; KINDS],
    alive: [bool; KINDS],
    /// Counts everything that changed what the view says.
    generation: u64,
    settled: bool,
    /// The last live read.
    read: Option<Instant>,
    /// Where that found what the view holds.
    confirmed: Option<u64>,
}

/// The user clusters of one seed.
pub(crate) struct ClusterView {
    state: Arc<Mutex<State>>,
    lasts: Duration,
    identity: (String, String),
    /// When a round last asked for it.
    asked: Mutex<tokio::time::Instant>,
    tasks: Vec<AbortHandle>,
}

impl Drop for ClusterView {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// By name of the Seed and version that they are judged against.
type Known = BTreeMap<(String, String), Arc<ClusterView>>;

/// The views of all seeds that are looked at.
pub(crate) struct ClusterViews {
    known: Mutex<Known>,
    wake: watch::Sender<u64>,
    /// Counts the rounds that have ended.
    rounds: watch::Sender<u64>,
    trusted: Duration,
    first_lists: Arc<Semaphore>,
}

/// The view of a seed where it is of this connection, version and worker name.
fn good(
    known: &Known,
    seed: &str,
    connection: &SeedConnection,
    target: &str,
    worker_name: &str,
) -> Option<Arc<ClusterView>> {
    let view = known.get(&(seed.to_owned(), target.to_owned()))?;
    *lock(&view.asked) = tokio::time::Instant::now();
    let good = view.identity == connection.identity && lock(&view.state).pieces.is_about(target, worker_name);
    good.then(|| view.clone())
}

impl ClusterViews {
    /// None yet; `wake` is told when something may be decided otherwise. After a live read a view is trusted for `trusted`
    /// to twice that: each seed has its own time, so that they are not all read again in the same round.
    pub(crate) fn new(wake: watch::Sender<u64>, trusted: Duration) -> Self {
        Self {
            known: Mutex::default(),
            wake,
            rounds: watch::Sender::new(0),
            trusted,
            first_lists: Arc::new(Semaphore::new(FIRST_LISTS)),
        }
    }

    /// The view of a seed where there is one for this connection, version and worker name.
    pub(crate) fn known(
        &self,
        seed: &str,
        connection: &SeedConnection,
        target: &str,
        worker_name: &str,
    ) -> Option<Arc<ClusterView>> {
        good(&lock(&self.known), seed, connection, target, worker_name)
    }

    /// The view of a seed; made where there is none for this connection, version and worker name.
    pub(crate) fn of(
        &self,
        seed: &str,
        connection: &SeedConnection,
        target: &str,
        worker_name: &str,
    ) -> Arc<ClusterView> {
        let mut known = lock(&self.known);
        good(&known, seed, connection, target, worker_name).unwrap_or_else(|| {
            let view = Arc::new(self.start(seed, connection, target, worker_name));
            known.insert((seed.to_owned(), target.to_owned()), view.clone());
            view
        })
    }

    /// A round has ended: the watches of views that were made in it begin. Each begins with a list of everything, which would hold up
    /// the round.
    pub(crate) fn begin(&self) {
        self.rounds.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Ends all views: nothing is looked at any more.
    pub(crate) fn end(&self) {
        lock(&self.known).clear();
    }

    /// Ends the views of connections that are not used any more, and those that nobody has asked for in a while.
    pub(crate) fn retain(&self, used: impl Fn(&str, &(String, String)) -> bool) {
        let recent = |view: &ClusterView| lock(&view.asked).elapsed() < UNASKED;
        lock(&self.known).retain(|(seed, _), view| used(seed, &view.identity) && recent(view));
    }

    fn start(&self, seed: &str, connection: &SeedConnection, target: &str, worker_name: &str) -> ClusterView {
        let state = Arc::new(Mutex::new(State {
            pieces: ClusterPieces::new(target, worker_name),
            ..State::default()
        }));
        let client = &connection.client;
        let named = watcher::Config::default().fields("metadata.name=usercluster-controller");
        let tasks = vec![
            self.follow(
                client,
                watcher::Config::default(),
                &state,
                Kind {
                    index: 0,
                    clear: ClusterPieces::clear_clusters,
                    set: ClusterPieces::set_cluster,
                    remove: ClusterPieces::remove_cluster,
                },
            ),
            self.follow(
                client,
                named,
                &state,
                Kind {
                    index: 1,
                    clear: ClusterPieces::clear_controllers,
                    set: ClusterPieces::set_controller,
                    remove: ClusterPieces::remove_controller,
                },
            ),
            self.follow(
                client,
                watcher::Config::default(),
                &state,
                Kind {
                    index: 2,
                    clear: ClusterPieces::clear_addons,
                    set: ClusterPieces::set_addon,
                    remove: ClusterPieces::remove_addon,
                },
            ),
        ];
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 16).unwrap_or(0);
        ClusterView {
            state,
            lasts: self.trusted + self.trusted * share / 16,
            identity: connection.identity.clone(),
            asked: Mutex::new(tokio::time::Instant::now()),
            tasks,
        }
    }

    fn follow<K>(
        &self,
        client: &Client,
        config: watcher::Config,
        state: &Arc<Mutex<State>>,
        kind: Kind<K>,
    ) -> AbortHandle
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    {
        let api = Api::<K>::all(bounded_list(client, OBJECTS.div_ceil(PAGE)));
        let (state, wake, first_lists) = (state.clone(), self.wake.clone(), self.first_lists.clone());
        let mut rounds = self.rounds.subscribe();
        let task = async move {
            if rounds.changed().await.is_err() {
                return;
            }
            let mut permit = first_lists.acquire().await.ok();
            let mut stream = std::pin::pin!(watcher(api, config.page_size(PAGE)).default_backoff());
            loop {
                let event = if permit.is_some() {
                    let Ok(event) = tokio::time::timeout(FIRST_ANSWER, stream.next()).await else {
                        permit = None;
                        continue;
                    };
                    event
                } else {
                    stream.next().await
                };
                let Some(event) = event else { return };
                if matches!(event, Ok(Event::InitDone) | Err(_)) {
                    permit = None;
                }
                if absurd(&event) || is_endless(&event) || lock(&state).is_overfull() {
                    lock(&state).give_up();
                    return;
                }
                if lock(&state).note(event.ok(), &kind) == Change::Decision {
                    wake.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        };
        tokio::spawn(task).abort_handle()
    }
}

/// Whether the object has a name that no object can have.
fn absurd<K: Resource, E>(event: &Result<Event<K>, E>) -> bool {
    let Ok(Event::Apply(object) | Event::InitApply(object)) = event else {
        return false;
    };
    object.meta().name.as_ref().is_some_and(|name| name.len() > NAME)
}

/// Whether the seed says after more pages than it may have that there is another one.
fn is_endless<K>(event: &watcher::Result<Event<K>>) -> bool {
    event.as_ref().is_err_and(|error| EndlessList::is_behind(error))
}

/// How objects of one kind change the pieces.
struct Kind<K> {
    index: usize,
    clear: fn(&mut ClusterPieces),
    set: fn(&mut ClusterPieces, &K) -> Change,
    remove: fn(&mut ClusterPieces, &K) -> Change,
}

impl State {
    /// An event of a watch; `None` = an error. Says whether anything may be decided otherwise.
    fn note<K>(&mut self, event: Option<Event<K>>, kind: &Kind<K>) -> Change {
        self.mark(kind.index, event.is_some(), None);
        let change = match event {
            None => Change::Count,
            Some(Event::Init) => {
                self.mark(kind.index, true, Some(false));
                (kind.clear)(&mut self.pieces);
                Change::Count
            }
            Some(Event::InitApply(object)) => (kind.set)(&mut self.pieces, &object).min(Change::Count),
            Some(Event::InitDone) => {
                self.mark(kind.index, true, Some(true));
                Change::Count
            }
            Some(Event::Apply(object)) => (kind.set)(&mut self.pieces, &object),
            Some(Event::Delete(object)) => (kind.remove)(&mut self.pieces, &object),
        };
        if change == Change::None {
            return change;
        }
        self.generation += 1;
        let settled = self.is_complete() && self.pieces.is_settled();
        let turned = std::mem::replace(&mut self.settled, settled) != settled;
        if turned { Change::Decision } else { change }
    }

    /// Whether a seed has sent more objects than it is believed to have.
    fn is_overfull(&self) -> bool {
        u32::try_from(self.pieces.len()).map_or(true, |objects| objects > OBJECTS)
    }

    /// Nothing more is kept of a hostile seed, and nothing more is said: live reads have bounds of their own.
    fn give_up(&mut self) {
        self.pieces.clear_clusters();
        self.pieces.clear_controllers();
        self.pieces.clear_addons();
        self.complete = [false; KINDS];
        self.alive = [false; KINDS];
    }

    fn mark(&mut self, kind: usize, alive: bool, complete: Option<bool>) {
        if let Some(place) = self.alive.get_mut(kind) {
            *place = alive;
        }
        if let (Some(place), Some(complete)) = (self.complete.get_mut(kind), complete) {
            *place = complete;
        }
    }

    fn is_complete(&self) -> bool {
        self.complete.iter().chain(&self.alive).all(|good| *good)
    }
}

impl ClusterView {
    /// What the view holds, where that is enough: something that is not yet so, or what was read live and has not changed
    /// since.
    pub(crate) fn pieces(&self) -> Option<ClusterPieces> {
        let state = lock(&self.state);
        if !state.is_complete() {
            return None;
        }
        let recent = state.read.is_some_and(|time| time.elapsed() < self.lasts);
        let confirmed = state.confirmed == Some(state.generation);
        (recent && (confirmed || !state.settled)).then(|| state.pieces.clone())
    }

    /// Counts what has changed so far.
    pub(crate) fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    /// A live read that began at `generation` found `pieces`: it counts where the view holds the very same.
    pub(crate) fn confirm(&self, generation: u64, pieces: &ClusterPieces) {
        let mut state = lock(&self.state);
        let same = state.is_complete() && state.generation == generation && state.pieces == *pieces;
        state.read = Some(Instant::now());
        state.confirmed = same.then_some(generation);
    }
}

#[cfg(test)]
#[path = "cluster_views_tests.rs"]
mod tests;
