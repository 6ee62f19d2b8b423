//! The master and the seeds beside each other, each read and judged in a task of its own: one that is large or slow holds up
//! no other, and every processor has something to do. Reading only.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use kkp_upgrade_core::rules::{Evaluation, ItemKind, MASTER};
use kube::Client;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::objects::{self, is_read_at};
use super::place::Place;
use super::releases;
use crate::lock;

/// Clusters that are read at the same time.
const PARALLEL_PLACES: usize = 8;
/// Longest that the objects of one cluster may take: a seed with 10,000 user clusters takes some seconds.
const PLACE_TIME: Duration = Duration::from_secs(45);

/// What is looked for everywhere.
#[derive(Clone)]
pub(super) struct Search {
    pub(super) kinds: Arc<[ItemKind]>,
    /// The Helm values that the installer would get: releases are compared with them.
    pub(super) values: Arc<Result<Value, String>>,
}

/// Reads what is still to be read of these places, and says what the rules say, in the order of the places. `blank` is an
/// evaluation of the same.
pub(super) async fn read(places: Vec<(Place, Client)>, search: &Search, blank: &Evaluation) -> Vec<Evaluation> {
    let readings: Vec<BoxFuture<'_, (usize, Evaluation)>> = places
        .into_iter()
        .enumerate()
        .map(|(index, (place, client))| {
            async move {
                let name = place.name().to_owned();
                let work = read_place(place, client, search.clone());
                (index, in_a_task(&name, search, blank, work).await)
            }
            .boxed()
        })
        .collect();
    let mut parts: Vec<(usize, Evaluation)> = stream::iter(readings).buffer_unordered(PARALLEL_PLACES).collect().await;
    parts.sort_by_key(|(index, _)| *index);
    parts.into_iter().map(|(_, part)| part).collect()
}

impl Search {
    /// Kinds that are looked for at a place.
    fn kinds_at(&self, name: &str) -> impl Iterator<Item = ItemKind> + '_ {
        let master = name == MASTER;
        self.kinds.iter().copied().filter(move |kind| is_read_at(*kind, master))
    }

    /// Nothing of what is looked for could be read at a place.
    pub(super) fn unread(&self, evaluation: &mut Evaluation, name: &str, why: &str) {
        for kind in self.kinds_at(name) {
            evaluation.unreadable(kind, name, why);
        }
    }
}

/// What the work of a task says about a place. One that ends before its work has not said anything: nothing is known then.
async fn in_a_task(
    name: &str,
    search: &Search,
    blank: &Evaluation,
    work: impl Future<Output = Evaluation> + Send + 'static,
) -> Evaluation {
    let part = AbortOnDropHandle::new(tokio::spawn(work)).await;
    part.unwrap_or_else(|_| {
        let mut part = blank.part();
        search.unread(&mut part, name, "the operator broke off reading it: see its log");
        part
    })
}

/// All objects of one cluster, and its Helm releases.
async fn read_place(place: Place, client: Client, search: Search) -> Evaluation {
    let here = search.kinds_at(place.name()).filter(|kind| !place.is_complete(*kind));
    let here: Vec<ItemKind> = here.collect();
    // What an etcd ring means is said by its Cluster: Clusters are read first.
    let (mut clusters, others): (Vec<ItemKind>, Vec<ItemKind>) =
        here.iter().partition(|kind| **kind == ItemKind::Cluster);
    if others.contains(&ItemKind::Ring) && clusters.is_empty() && !place.is_complete(ItemKind::Cluster) {
        clusters.push(ItemKind::Cluster);
    }
    let place = Mutex::new(place);
    let reading = async {
        objects::read(&client, &place, &clusters).await;
        tokio::join!(
            objects::read(&client, &place, &others),
            read_releases(&client, &place, &others, &search.values),
        );
    };
    if tokio::time::timeout(PLACE_TIME, reading).await.is_err() {
        let why = format!("not read within {} s", PLACE_TIME.as_secs());
        for kind in &here {
            lock(&place).unreadable(*kind, &why);
        }
    }
    place.into_inner().unwrap_or_else(PoisonError::into_inner).end()
}

async fn read_releases(client: &Client, place: &Mutex<Place>, kinds: &[ItemKind], values: &Result<Value, String>) {
    if !kinds.contains(&ItemKind::Release) {
        return;
    }
    let (name, with_payload) = {
        let mut place = lock(place);
        if let Some(why) = place.given_up().map(str::to_owned) {
            return place.unreadable(ItemKind::Release, &why);
        }
        let with_payload = place.evaluation().reads_documents(ItemKind::Release);
        (place.name().to_owned(), with_payload)
    };
    let (found, unreadable) = releases::read_everywhere(client, &name, with_payload).await;
    let mut place = lock(place);
    place.visited(ItemKind::Release);
    let evaluation = place.evaluation();
    for release in &found {
        evaluation.object(&release.object(&name, values));
    }
    for (namespace, why) in unreadable {
        evaluation.unreadable(ItemKind::Release, &format!("{name}/{namespace}"), &why);
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
